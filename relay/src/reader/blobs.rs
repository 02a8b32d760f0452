//! Attachments by their hash.

use super::{ReadError, View};
use crate::store::keys;
use crate::store::kv::Family;
use crate::store::rows::{BlobRow, BlobUsageRow};

impl View<'_> {
    /// What is known of an attachment.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn blob(&self, sha256: &[u8; 32]) -> Result<Option<BlobRow>, ReadError> {
        Ok(self.row(Family::Blobs, &keys::blob(sha256))?)
    }

    /// What a user has stored of attachments.
    pub(crate) fn blob_usage(&self, user: &str) -> Result<BlobUsageRow, ReadError> {
        Ok(self.row(Family::Blobs, &keys::blob_usage(user))?.unwrap_or_default())
    }

    /// A part of an attachment's bytes, from 0; they have
    /// [`BLOB_PART_BYTES`](crate::limits::BLOB_PART_BYTES) each but for the last.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn blob_part(&self, sha256: &[u8; 32], part: u32) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.rows.get(Family::Blobs, &keys::blob_part(sha256, part))?)
    }
}
