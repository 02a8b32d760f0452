//! What the write-ahead log may lose and what not (references: relay R5), and stores of old formats.

use super::kv::{Batch, Durability, Family};
use super::{FORMAT_VERSION, Store, StoreError, keys};
use crate::check;
use crate::reader::Reader;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const RECORDS: u8 = 20;

fn put(store: &Store, n: u8, len: usize) {
    let mut batch = Batch::new();
    batch.put(Family::Blobs, vec![n], vec![n; len]);
    store.kv().write(batch, Durability::Sync).unwrap();
}

/// How many of the records are there; they are the first ones.
fn records(store: &Store) -> u8 {
    let snapshot = store.snapshot();
    let is_there = |n: &u8| snapshot.get(Family::Blobs, &[*n]).unwrap().is_some();
    let count = (0..RECORDS).take_while(is_there).count();
    assert!((0..RECORDS).skip(count).all(|n| !is_there(&n)), "a gap");
    u8::try_from(count).unwrap()
}

/// The write-ahead log in use: the newest one.
fn log_of(folder: &Path) -> PathBuf {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let logs = paths.filter(|path| path.extension().is_some_and(|name| name == "log"));
    logs.max().unwrap()
}

/// A copy of a store's files.
fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// A closed store whose log holds the records, and its length before the last one.
fn store_with_log(folder: &Path) -> (PathBuf, u64) {
    let data = folder.join("data");
    let store = Store::open(&data).unwrap();
    let mut before_last = 0;
    for n in 0..RECORDS {
        before_last = fs::metadata(log_of(&data)).unwrap().len();
        put(&store, n, if n + 1 == RECORDS { 4 } else { 2_000 });
    }
    drop(store);
    (data, before_last)
}

#[test]
fn a_log_cut_at_any_byte_of_its_last_record_opens_with_all_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let (data, before_last) = store_with_log(folder.path());
    let len = fs::metadata(log_of(&data)).unwrap().len();
    assert!((before_last + 1..before_last + 200).contains(&len), "{before_last} {len}");
    let cut = folder.path().join("cut");
    for at in before_last..=len {
        copy(&data, &cut);
        fs::File::options().write(true).open(log_of(&cut)).unwrap().set_len(at).unwrap();
        let store = Store::open(&cut).unwrap_or_else(|error| panic!("cut at {at}: {error:?}"));
        assert_eq!(records(&store), if at == len { RECORDS } else { RECORDS - 1 }, "cut at {at}");
    }
}

#[test]
fn a_log_damaged_before_its_end_is_refused_and_taken_up_to_there_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (data, before_last) = store_with_log(folder.path());
    let bad = folder.path().join("bad");
    for part in [3, 5, 8] {
        copy(&data, &bad);
        let mut bytes = fs::read(log_of(&bad)).unwrap();
        bytes[usize::try_from(before_last * part / 10).unwrap()] ^= 4;
        fs::write(log_of(&bad), bytes).unwrap();
        let refused = Store::open(&bad).unwrap_err();
        assert!(matches!(refused, StoreError::DamagedFiles { .. }), "{refused:?}");
        let text = refused.to_string();
        assert!(text.contains("restore") && text.contains("--recover-wal point-in-time"), "{text}");
        let epoch = Store::open_read_only(&data).unwrap().epoch();
        let store = Store::recover(&bad).unwrap();
        assert_ne!(store.epoch(), epoch, "seqs after the damage will be given again");
        let left = records(&store);
        assert!(left > 0 && left < RECORDS - 1, "{left}");
        drop(store);
        assert_eq!(records(&Store::open(&bad).unwrap()), left, "and it opens from then on");
    }
}

#[test]
fn a_store_of_format_2_is_taken_over_and_all_of_it_is_there() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/format-2");
    let folder = tempfile::tempdir().unwrap();
    let copied = folder.path().join("copied");
    copy(&data.join("store"), &copied);
    let store = Store::open_existing(&copied).unwrap();
    let format = store.snapshot().get(Family::Meta, keys::META_FORMAT).unwrap();
    assert_eq!(format, Some(FORMAT_VERSION.to_be_bytes().to_vec()));
    assert_eq!(check::verify(&store, |_| {}).unwrap(), []);
    let reader = Reader::new(store, Arc::default());
    let mut found = Vec::new();
    for channel in reader.view().channels_after(None, usize::MAX, |_| true).unwrap() {
        let each = |row: crate::index::MessageRow| {
            found.push((channel.channel.clone(), row.id.to_string(), row.content.text));
            std::ops::ControlFlow::Continue(())
        };
        reader.view().each_message(&channel.channel, None, each).unwrap();
    }
    let exported = fs::read_to_string(data.join("export.jsonl")).unwrap();
    let rows =
        exported.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let text = |row: &serde_json::Value, name: &str| row[name].as_str().unwrap().to_owned();
    let expected: Vec<_> =
        rows.map(|row| (text(&row, "channel"), text(&row, "id"), text(&row, "text"))).collect();
    assert_eq!(found, expected);
}
