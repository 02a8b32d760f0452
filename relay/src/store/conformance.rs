//! What every key-value store must do; each one passes the same suite.

use super::kv::{Batch, Direction, Durability, Family, Kv};
use super::memory::MemoryKv;
use crate::store::rocks::{Opening, RocksKv};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

fn put(kv: &dyn Kv, rows: &[(&[u8], &[u8])]) {
    let mut batch = Batch::new();
    for (key, value) in rows {
        batch.put(Family::Index, key.to_vec(), value.to_vec());
    }
    kv.write(batch, Durability::Sync).unwrap();
}

fn keys(kv: &dyn Kv, from: &[u8], to: &[u8], direction: Direction, limit: usize) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut visit = |key: &[u8], _: &[u8]| {
        found.push(key.to_vec());
        if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    kv.snapshot().scan(Family::Index, from..to, direction, &mut visit).unwrap();
    found
}

fn scans_keep_to_their_bounds(kv: &dyn Kv) {
    put(kv, &[(b"a1", b"x"), (b"a2", b"y"), (b"b1", b"z"), (b"a", b"w"), (b"\xff\xff", b"v")]);
    let all = |from, to, direction| keys(kv, from, to, direction, 99);
    assert_eq!(all(b"a", b"b", Direction::Forward), [&b"a"[..], b"a1", b"a2"]);
    assert_eq!(all(b"a1", b"b", Direction::Reverse), [b"a2", b"a1"]);
    assert_eq!(all(b"a1", b"a2", Direction::Reverse), [b"a1"]);
    assert!(all(b"b", b"a", Direction::Forward).is_empty());
    assert!(all(b"a", b"a", Direction::Reverse).is_empty());
    assert_eq!(keys(kv, b"a", b"\xff\xff\xff", Direction::Reverse, 2), [&b"\xff\xff"[..], b"b1"]);
}

fn families_are_apart(kv: &dyn Kv) {
    let mut batch = Batch::new();
    for family in Family::ALL {
        batch.put(family, b"key".to_vec(), family.name().as_bytes().to_vec());
    }
    kv.write(batch, Durability::Buffered).unwrap();
    for family in Family::ALL {
        let value = kv.snapshot().get(family, b"key").unwrap();
        assert_eq!(value.as_deref(), Some(family.name().as_bytes()));
    }
}

fn snapshots_do_not_move(kv: &dyn Kv) {
    put(kv, &[(b"s", b"before")]);
    let snapshot = kv.snapshot();
    put(kv, &[(b"s", b"after"), (b"t", b"new")]);
    assert_eq!(snapshot.get(Family::Index, b"s").unwrap().as_deref(), Some(&b"before"[..]));
    let mut seen = 0;
    let mut count = |_: &[u8], _: &[u8]| {
        seen += 1;
        ControlFlow::Continue(())
    };
    snapshot.scan(Family::Index, b"s"..b"u", Direction::Forward, &mut count).unwrap();
    assert_eq!(seen, 1);
    drop(snapshot);
    assert_eq!(kv.snapshot().get(Family::Index, b"s").unwrap().as_deref(), Some(&b"after"[..]));
}

fn the_last_write_of_a_batch_wins(kv: &dyn Kv) {
    let mut batch = Batch::new();
    batch.put(Family::Index, b"k".to_vec(), b"1".to_vec());
    batch.delete(Family::Index, b"k".to_vec());
    batch.put(Family::Index, b"l".to_vec(), b"1".to_vec());
    batch.put(Family::Index, b"l".to_vec(), b"2".to_vec());
    kv.write(batch, Durability::Sync).unwrap();
    assert_eq!(kv.snapshot().get(Family::Index, b"k").unwrap(), None);
    assert_eq!(kv.snapshot().get(Family::Index, b"l").unwrap(), Some(b"2".to_vec()));
}

fn agrees_with_a_sorted_map(kv: &dyn Kv) {
    let mut model = BTreeMap::new();
    let mut state = 7_u32;
    for _ in 0..2_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [high, low, ..] = state.to_be_bytes();
        let key = vec![b'm', high, low & 3];
        let mut batch = Batch::new();
        if state & 0x300 == 0 {
            model.remove(&key);
            batch.delete(Family::Index, key);
        } else {
            model.insert(key.clone(), ());
            batch.put(Family::Index, key, vec![1]);
        }
        kv.write(batch, Durability::Buffered).unwrap();
    }
    let expected: Vec<_> = model.into_keys().collect();
    assert_eq!(keys(kv, b"m", b"n", Direction::Forward, usize::MAX), expected);
}

fn conforms(kv: &dyn Kv) {
    scans_keep_to_their_bounds(kv);
    families_are_apart(kv);
    snapshots_do_not_move(kv);
    the_last_write_of_a_batch_wins(kv);
    agrees_with_a_sorted_map(kv);
}

#[test]
fn memory_conforms() {
    conforms(&MemoryKv::default());
}

#[test]
fn rocks_conforms_and_keeps_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let before = {
        let kv = RocksKv::open(folder.path(), Opening::Usual).unwrap();
        conforms(&kv);
        keys(&kv, b"", b"\xff\xff\xff", Direction::Forward, usize::MAX)
    };
    let again = RocksKv::open(folder.path(), Opening::Usual).unwrap();
    assert_eq!(keys(&again, b"", b"\xff\xff\xff", Direction::Forward, usize::MAX), before);
}
