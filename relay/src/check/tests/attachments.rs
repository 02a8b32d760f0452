//! Damage of attachments is found, and a repair leaves what is whole.

use super::*;
use crate::commit::NewBlob;
use crate::limits::BLOB_PART_BYTES;
use crate::repair::repair_attachments;
use crate::store::rows::{BlobReservedRow, BlobRow, BlobUsageRow};
use sha2::{Digest, Sha256};

fn blob(byte: u8, len: usize, user: &str) -> NewBlob {
    let bytes = vec![byte; len];
    NewBlob {
        sha256: Sha256::digest(&bytes).into(),
        media_type: "image/png".to_owned(),
        bytes: bytes.into(),
        user: user.to_owned(),
        quota_bytes: u64::MAX,
    }
}

fn put(store: &Store, blob: &NewBlob) {
    let mut writer = Writer::new(store.clone()).unwrap();
    let (reply, mut answer) = oneshot::channel();
    writer.commit(vec![Command::BlobBegin { blob: blob.clone(), reply }]).unwrap();
    assert_eq!(answer.try_recv().unwrap(), Ok(true));
    for (key, bytes) in crate::commit::blob::parts(blob).skip(1) {
        let (reply, _) = oneshot::channel();
        writer.commit(vec![Command::BlobPart { key, bytes, reply }]).unwrap();
    }
    let (reply, _) = oneshot::channel();
    writer.commit(vec![Command::BlobFinish { blob: blob.clone(), reply }]).unwrap();
}

/// Two of ada's, one of them of three parts and first, and an empty one of bob's.
fn store() -> (Store, [NewBlob; 3]) {
    let store = Store::in_memory().unwrap();
    let blobs = [blob(1, 2 * BLOB_PART_BYTES + 5, "ada"), blob(2, 1_000, "ada"), blob(3, 0, "bob")];
    blobs.iter().for_each(|blob| put(&store, blob));
    assert_eq!(verify(&store, |_| {}).unwrap(), []);
    (store, blobs)
}

fn write(store: &Store, key: Vec<u8>, row: Option<Vec<u8>>) {
    let mut batch = Batch::new();
    match row {
        Some(row) => batch.put(Family::Blobs, key, row),
        None => batch.delete(Family::Blobs, key),
    }
    store.kv().write(batch, Durability::Sync).unwrap();
}

fn used(store: &Store, user: &str) -> u64 {
    let row = store.snapshot().get(Family::Blobs, &keys::blob_usage(user)).unwrap();
    BlobUsageRow::decode(&row.unwrap()).unwrap().bytes
}

#[test]
fn damage_of_an_attachment_is_found_and_a_repair_drops_it() {
    let part = |blob: &NewBlob, part| keys::blob_part(&blob.sha256, part);
    type Damage<'a> = &'a dyn Fn(&Store, &NewBlob);
    let kinds: [(&str, Damage<'_>); 7] = [
        ("others than its hash", &|store, blob| {
            write(store, part(blob, 1), Some(vec![9; BLOB_PART_BYTES]));
        }),
        ("parts are not those", &|store, blob| write(store, part(blob, 1), None)),
        ("parts are not those", &|store, blob| write(store, part(blob, 1), Some(vec![1; 7]))),
        ("parts are not those", &|store, blob| write(store, part(blob, 3), Some(vec![1]))),
        ("5 of its 524293 bytes are missing", &|store, blob| write(store, part(blob, 2), None)),
        ("its row is damaged", &|store, blob| {
            write(store, keys::blob(&blob.sha256), Some(vec![0xff; 3]));
        }),
        ("its row is missing", &|store, blob| write(store, keys::blob(&blob.sha256), None)),
    ];
    for (expected, damage) in kinds {
        let (store, blobs) = store();
        damage(&store, &blobs[0]);
        let problems = verify(&store, |_| {}).unwrap();
        let text = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let named = format!("attachment {}: ", crate::blob_hash::BlobHash(blobs[0].sha256));
        assert!(text.starts_with(&named) && text.contains(expected), "{expected}: {text}");
        assert!(text.contains("attachments of ada: 525293 bytes are counted, 1000 are stored"));
        assert_eq!(repair_attachments(&store, |_| {}).unwrap(), 1, "{expected}");
        assert_eq!(verify(&store, |_| {}).unwrap(), [], "{expected}");
        assert_eq!((used(&store, "ada"), used(&store, "bob")), (1_000, 0));
        // Whoever has it may store it again.
        put(&store, &blobs[0]);
        assert_eq!(verify(&store, |_| {}).unwrap(), [], "{expected}");
    }
}

#[test]
fn what_is_counted_wrongly_is_counted_anew() {
    let (store, _) = store();
    let row = |bytes| Some(BlobUsageRow { bytes }.encode());
    for (user, row) in [("ada", row(7)), ("ada", Some(vec![0xff; 12])), ("eve", row(5))] {
        write(&store, keys::blob_usage(user), row);
        let problems = verify(&store, |_| {}).unwrap();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].what.starts_with(&format!("attachments of {user}: ")), "{problems:?}");
        assert_eq!(repair_attachments(&store, |_| {}).unwrap(), 0);
        assert_eq!(verify(&store, |_| {}).unwrap(), []);
    }
    assert_eq!((used(&store, "ada"), used(&store, "eve")), (525_293, 0));
}

#[test]
fn what_is_being_stored_or_was_by_nobody_known_is_no_damage() {
    let (store, blobs) = store();
    // As a kill in the middle of an upload leaves it.
    let begun = blob(4, 3 * BLOB_PART_BYTES, "bob");
    let mut writer = Writer::new(store.clone()).unwrap();
    let (reply, _) = oneshot::channel();
    writer.commit(vec![Command::BlobBegin { blob: begun.clone(), reply }]).unwrap();
    assert_eq!(verify(&store, |_| {}).unwrap(), []);
    // As format 4 has it.
    let row = BlobRow { bytes: 1_000, media_type: "image/png".to_owned(), user: None };
    write(&store, keys::blob(&blobs[1].sha256), Some(row.encode()));
    assert_eq!(verify(&store, |_| {}).unwrap(), []);
    write(&store, keys::blob_usage("ada"), Some(BlobUsageRow { bytes: 999_999_999 }.encode()));
    assert_eq!(verify(&store, |_| {}).unwrap().len(), 1);
    repair_attachments(&store, |_| {}).unwrap();
    assert_eq!(verify(&store, |_| {}).unwrap(), []);
    // A reservation that does not read back would hold its hash for ever.
    let key = keys::blob_reserved(&begun.sha256);
    let row = BlobReservedRow { user: "bob".to_owned(), bytes: 1 }.encode();
    write(&store, key, Some([row, vec![0]].concat()));
    assert!(!verify(&store, |_| {}).unwrap().is_empty());
    repair_attachments(&store, |_| {}).unwrap();
    assert_eq!(verify(&store, |_| {}).unwrap(), []);
    put(&store, &begun);
}
