//! Attachments: stored once under their hash, counted for whoever stored them first.
//!
//! The parts come first, each a command of its own, so that messages are stored between them; then the
//! row that names them, without which they are nothing. Parts of an upload that was cut short stay
//! until the same attachment comes again.

use super::command::{Code, NewBlob, Refusal};
use super::writer::Work;
use crate::store::StoreError;
use crate::store::keys;
use crate::store::kv::{Family, Snapshot};
use crate::store::rows::{BlobRow, BlobUsageRow, Row};

/// Puts the row of an attachment whose parts are there; false if it is there. Whoever asks has
/// checked the hash.
pub(super) fn put_blob(
    work: &mut Work<'_>,
    blob: &NewBlob,
) -> Result<Result<bool, Refusal>, StoreError> {
    let key = keys::blob(&blob.sha256);
    if work.txn.get(Family::Blobs, &key)?.is_some() {
        return Ok(Ok(false));
    }
    let usage_key = keys::blob_usage(&blob.user);
    let usage = work.txn.get(Family::Blobs, &usage_key)?;
    let usage = usage.map(|row| BlobUsageRow::decode(&row)).transpose()?.unwrap_or_default();
    let bytes = blob.bytes.len() as u64;
    let used = match room(usage, bytes, blob.quota_bytes) {
        Ok(used) => used,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let row = BlobRow { bytes, media_type: blob.media_type.clone() };
    work.txn.put(Family::Blobs, key, row.encode());
    work.txn.put(Family::Blobs, usage_key, BlobUsageRow { bytes: used }.encode());
    Ok(Ok(true))
}

/// What a user has used with so many bytes more.
///
/// # Errors
/// That is beyond the quota.
pub(crate) fn room(usage: BlobUsageRow, bytes: u64, quota_bytes: u64) -> Result<u64, Refusal> {
    let used = usage.bytes.saturating_add(bytes);
    if used <= quota_bytes {
        return Ok(used);
    }
    let before = usage.bytes;
    let text = format!(
        "{before} of {quota_bytes} bytes for attachments are used, and this one has {bytes}"
    );
    Err(Refusal::new(Code::TooLarge, text))
}
