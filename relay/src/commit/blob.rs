//! Attachments: stored once under their hash, counted for whoever stored them first.
//!
//! ```text
//!   begin   counts it, reserves its hash, puts the first part
//!   part    each a command of its own, so that messages are stored between them
//!   finish  puts the row that names it, without which the parts are nothing
//! ```
//! What was begun and not finished when the process ended is taken back before the writer starts.

use super::check::Stop;
use super::command::{Code, NewBlob, Refusal};
use super::erase::delete_all;
use super::writer::Work;
use crate::limits::BLOB_PART_BYTES;
use crate::metrics;
use crate::store::kv::{Batch, Direction, Durability, Family, Snapshot};
use crate::store::rows::{BlobReservedRow, BlobRow, BlobUsageRow, Row};
use crate::store::{Store, StoreError, keys};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// The parts of an attachment, from 0.
pub(crate) fn parts(blob: &NewBlob) -> impl Iterator<Item = (Vec<u8>, bytes::Bytes)> {
    let len = blob.bytes.len();
    (0..).zip((0..len).step_by(BLOB_PART_BYTES)).map(move |(part, from)| {
        let bytes = blob.bytes.slice(from..len.min(from + BLOB_PART_BYTES));
        (keys::blob_part(&blob.sha256, part), bytes)
    })
}

/// Counts an attachment and puts its first part; false if it is there. Whoever asks has checked the
/// hash, and finishes it.
pub(super) fn begin_blob(work: &mut Work<'_>, blob: &NewBlob) -> Result<bool, Stop> {
    if work.txn.get(Family::Blobs, &keys::blob(&blob.sha256))?.is_some() {
        return Ok(false);
    }
    let reserved_key = keys::blob_reserved(&blob.sha256);
    if work.txn.get(Family::Blobs, &reserved_key)?.is_some() {
        let text = "this attachment is being stored already, ask again";
        return Err(Refusal::new(Code::Retry, text).into());
    }
    let usage_key = keys::blob_usage(&blob.user);
    let usage = work.txn.get(Family::Blobs, &usage_key)?;
    let usage = usage.map(|row| BlobUsageRow::decode(&row)).transpose()?.unwrap_or_default();
    let bytes = blob.bytes.len() as u64;
    let used = room(usage, bytes, blob.quota_bytes)?;
    let row = BlobReservedRow { user: blob.user.clone(), bytes };
    work.txn.put(Family::Blobs, reserved_key, row.encode());
    work.txn.put(Family::Blobs, usage_key, BlobUsageRow { bytes: used }.encode());
    if let Some((key, bytes)) = parts(blob).next() {
        work.txn.put(Family::Blobs, key, bytes.to_vec());
    }
    Ok(true)
}

/// Puts the row of an attachment whose parts are there.
pub(super) fn finish_blob(work: &mut Work<'_>, blob: &NewBlob) {
    let bytes = blob.bytes.len() as u64;
    let (media_type, user) = (blob.media_type.clone(), Some(blob.user.clone()));
    let row = BlobRow { bytes, media_type, user };
    work.txn.delete(Family::Blobs, keys::blob_reserved(&blob.sha256));
    work.txn.put(Family::Blobs, keys::blob(&blob.sha256), row.encode());
}

/// Deletes an attachment and gives its user the room back; its length, or none if it is not there. One
/// whose row is damaged is deleted all the same.
pub(super) fn erase_blob(work: &mut Work<'_>, sha256: &[u8; 32]) -> Result<Option<u64>, Stop> {
    if work.txn.get(Family::Blobs, &keys::blob_reserved(sha256))?.is_some() {
        return Err(Refusal::new(Code::Retry, "it is being stored, ask again").into());
    }
    let key = keys::blob(sha256);
    let Some(row) = work.txn.get(Family::Blobs, &key)? else { return Ok(None) };
    let row = BlobRow::decode(&row).ok();
    let bytes = row.as_ref().map_or(0, |row| row.bytes);
    // First, as it may fail: then nothing is put.
    delete_all(&mut work.txn, Family::Blobs, &keys::parts_of(sha256))?;
    if let Some(user) = row.and_then(|row| row.user) {
        let usage_key = keys::blob_usage(&user);
        let usage = work.txn.get(Family::Blobs, &usage_key)?.unwrap_or_default();
        // What a damaged row should say is for a repair to find out.
        if let Ok(usage) = BlobUsageRow::decode(&usage) {
            let bytes = usage.bytes.saturating_sub(bytes);
            work.txn.put(Family::Blobs, usage_key, BlobUsageRow { bytes }.encode());
        }
    }
    work.txn.delete(Family::Blobs, key);
    Ok(Some(bytes))
}

/// Takes back what was begun and not finished when the process before ended; how many attachments.
/// Comes before the writer starts.
///
/// # Errors
/// The store cannot be read or written.
///
/// # Complexity
/// O(parts of these attachments): as many as were stored at a time.
pub(crate) fn take_back_unfinished(store: &Store) -> Result<usize, StoreError> {
    let snapshot = store.snapshot();
    let mut found = Vec::new();
    let range = keys::blobs_reserved();
    let scanned = keys::bounds(&range);
    snapshot.scan(Family::Blobs, scanned, Direction::Forward, &mut |key, row| {
        match BlobReservedRow::decode(row) {
            Ok(row) => found.extend(keys::sha256_of(key).map(|sha256| (sha256, row))),
            Err(error) => tell_damage(&error),
        }
        ControlFlow::Continue(())
    })?;
    if found.is_empty() {
        return Ok(0);
    }
    let (mut batch, mut usages) = (Batch::new(), BTreeMap::<_, u64>::new());
    for (sha256, row) in &found {
        let count = row.bytes.div_ceil(BLOB_PART_BYTES as u64);
        for part in (0..).take(usize::try_from(count).unwrap_or(usize::MAX)) {
            batch.delete(Family::Blobs, keys::blob_part(sha256, part));
        }
        batch.delete(Family::Blobs, keys::blob_reserved(sha256));
        *usages.entry(&row.user).or_default() += row.bytes;
    }
    for (user, unused) in usages {
        let key = keys::blob_usage(user);
        let usage = snapshot.get(Family::Blobs, &key)?.unwrap_or_default();
        match BlobUsageRow::decode(&usage) {
            Ok(BlobUsageRow { bytes }) => {
                let bytes = bytes.saturating_sub(unused);
                batch.put(Family::Blobs, key, BlobUsageRow { bytes }.encode());
            }
            Err(error) => tell_damage(&error),
        }
    }
    store.kv().write(batch, Durability::Sync)?;
    Ok(found.len())
}

/// A relay does not stay down for a row that its repair mends.
fn tell_damage(error: &StoreError) {
    metrics::damaged_row();
    tracing::error!(%error, "a row of attachments is damaged: run `backscroll check --repair`");
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::Nobody;
    use crate::commit::writer::{Command, Writer};
    use crate::engine::Engine;
    use crate::reader::Reader;
    use std::sync::Arc;
    use std::task::{Context, Waker};
    use std::time::Duration;
    use tokio::sync::oneshot;

    fn blob(sha256: u8, len: usize, user: &str) -> NewBlob {
        NewBlob {
            sha256: [sha256; 32],
            media_type: "image/png".to_owned(),
            bytes: vec![sha256; len].into(),
            user: user.to_owned(),
            quota_bytes: 1_000_000,
        }
    }

    fn begin(writer: &mut Writer, blob: NewBlob) -> Result<bool, Refusal> {
        let (reply, mut answer) = oneshot::channel();
        writer.commit(vec![Command::BlobBegin { blob, reply }]).unwrap();
        answer.try_recv().unwrap()
    }

    fn used(store: &Store, user: &str) -> u64 {
        let reader = Reader::new(store.clone(), Arc::default());
        reader.view().blob_usage(user).unwrap().bytes
    }

    fn rows(store: &Store) -> usize {
        let (mut rows, range) = (0, keys::everything());
        let mut count = |_: &[u8], _: &[u8]| {
            rows += 1;
            ControlFlow::Continue(())
        };
        let (family, direction) = (Family::Blobs, Direction::Forward);
        store.snapshot().scan(family, keys::bounds(&range), direction, &mut count).unwrap();
        rows
    }

    #[test]
    fn the_quota_counts_from_the_first_part_and_a_refused_one_leaves_nothing() {
        let store = Store::in_memory().unwrap();
        let mut writer = Writer::new(store.clone()).unwrap();
        assert_eq!(begin(&mut writer, blob(1, 600_000, "ada")), Ok(true));
        assert_eq!(used(&store, "ada"), 600_000);
        let before = rows(&store);
        let refused = begin(&mut writer, blob(2, 600_000, "ada")).unwrap_err();
        assert_eq!(refused.code, Code::TooLarge);
        let refused = begin(&mut writer, blob(1, 600_000, "bob")).unwrap_err();
        assert_eq!(refused.code, Code::Retry);
        assert_eq!((rows(&store), used(&store, "bob")), (before, 0));
    }

    #[test]
    fn what_was_begun_and_not_finished_is_taken_back() {
        let store = Store::in_memory().unwrap();
        let mut writer = Writer::new(store.clone()).unwrap();
        let (whole, cut) = (blob(1, 300_000, "ada"), blob(2, 400_000, "ada"));
        assert_eq!(begin(&mut writer, whole.clone()), Ok(true));
        for (key, bytes) in parts(&whole).skip(1) {
            let (reply, _) = oneshot::channel();
            writer.commit(vec![Command::BlobPart { key, bytes, reply }]).unwrap();
        }
        let (reply, _) = oneshot::channel();
        writer.commit(vec![Command::BlobFinish { blob: whole.clone(), reply }]).unwrap();
        let before = rows(&store);
        assert_eq!(begin(&mut writer, cut.clone()), Ok(true));
        assert_eq!(used(&store, "ada"), 700_000);
        assert_eq!(take_back_unfinished(&store).unwrap(), 1);
        assert_eq!((rows(&store), used(&store, "ada")), (before, 300_000));
        assert_eq!(take_back_unfinished(&store).unwrap(), 0);
        let mut writer = Writer::new(store).unwrap();
        assert_eq!(begin(&mut writer, whole), Ok(false));
        assert_eq!(begin(&mut writer, cut), Ok(true));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_begun_is_finished_though_nobody_waits() {
        let store = Store::in_memory().unwrap();
        let engine = Engine::start(store.clone(), Arc::new(Nobody)).unwrap();
        let blob = blob(1, 900_000, "ada");
        let mut dropped = Box::pin(engine.put_blob(blob.clone()));
        let mut context = Context::from_waker(Waker::noop());
        assert!(dropped.as_mut().poll(&mut context).is_pending());
        drop(dropped);
        let again = async {
            loop {
                match engine.put_blob(blob.clone()).await {
                    Err(refusal) if refusal.code == Code::Retry => tokio::task::yield_now().await,
                    stored => return stored,
                }
            }
        };
        let again = tokio::time::timeout(Duration::from_secs(60), again).await.unwrap();
        assert_eq!((again, used(&store, "ada")), (Ok(false), 900_000));
        tokio::task::spawn_blocking(move || engine.shutdown()).await.unwrap();
    }
}
