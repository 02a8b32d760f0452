//! Attachments: stored once under their hash, counted for whoever stored them first.

use super::command::{Code, NewBlob, Refusal};
use super::writer::Work;
use crate::limits::BLOB_PART_BYTES;
use crate::store::StoreError;
use crate::store::keys;
use crate::store::kv::{Family, Snapshot};
use crate::store::rows::{BlobRow, BlobUsageRow, Row};

/// Puts an attachment; false if it is there. Whoever asks has checked the hash.
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
    let used = usage.bytes.saturating_add(bytes);
    if used > blob.quota_bytes {
        let text = format!(
            "{} of {} bytes for attachments are used; this one has {bytes}",
            usage.bytes, blob.quota_bytes
        );
        return Ok(Err(Refusal::new(Code::TooLarge, text)));
    }
    for (part, bytes) in (0..).zip(blob.bytes.chunks(BLOB_PART_BYTES)) {
        work.txn.put(Family::Blobs, keys::blob_part(&blob.sha256, part), bytes.to_vec());
    }
    let row = BlobRow { bytes, media_type: blob.media_type.clone() };
    work.txn.put(Family::Blobs, key, row.encode());
    work.txn.put(Family::Blobs, usage_key, BlobUsageRow { bytes: used }.encode());
    Ok(Ok(true))
}
