//! Attachments, and what a user has stored of them.

use super::bytes::{Take, put_bytes, put_number};
use super::{Row, take_text};
use crate::store::kv::Family;

/// An attachment; its bytes are in parts of [`BLOB_PART_BYTES`](crate::limits::BLOB_PART_BYTES).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobRow {
    /// Its length in bytes.
    pub bytes: u64,
    /// As what it is served.
    pub media_type: String,
    /// Who stored it, and has it counted; none in rows of format 4 and before.
    pub user: Option<String>,
}

/// What a user has stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlobUsageRow {
    /// Bytes of attachments that nobody had stored before.
    pub bytes: u64,
}

/// An attachment whose parts are being stored: what it takes is counted already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobReservedRow {
    /// Who stores it.
    pub user: String,
    /// Its length in bytes.
    pub bytes: u64,
}

impl Row for BlobReservedRow {
    const FAMILY: Family = Family::Blobs;

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        put_number(&mut out, self.bytes);
        put_bytes(&mut out, self.user.as_bytes());
        out
    }

    fn take(take: &mut Take<'_>) -> Option<Self> {
        Some(Self { bytes: take.number()?, user: take_text(take)? })
    }
}

impl Row for BlobRow {
    const FAMILY: Family = Family::Blobs;

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        put_number(&mut out, self.bytes);
        put_bytes(&mut out, self.media_type.as_bytes());
        if let Some(user) = &self.user {
            put_bytes(&mut out, user.as_bytes());
        }
        out
    }

    fn take(take: &mut Take<'_>) -> Option<Self> {
        let (bytes, media_type) = (take.number()?, take_text(take)?);
        let user = if take.is_at_end() { None } else { Some(take_text(take)?) };
        Some(Self { bytes, media_type, user })
    }
}

impl Row for BlobUsageRow {
    const FAMILY: Family = Family::Blobs;

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(10);
        put_number(&mut out, self.bytes);
        out
    }

    fn take(take: &mut Take<'_>) -> Option<Self> {
        Some(Self { bytes: take.number()? })
    }
}
