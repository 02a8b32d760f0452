//! Each kind of damage is found.

use super::*;
use crate::commit::writer::{Command, Writer};
use crate::commit::{Identity, Push};
use crate::store::kv::{Batch, Durability};
use backscroll_core::change::{ActorId16, DocKind, MessageAuthor};
use backscroll_core::message::{Content, MessageId};
use backscroll_core::window::Window;
use tokio::sync::oneshot;

mod attachments;
mod damage;

const T0: u64 = 1_700_000_000_000;

fn channel_of_three() -> Store {
    let store = Store::in_memory().unwrap();
    let mut writer = Writer::new(store.clone()).unwrap();
    let window = Window::covering(0, T0);
    let mut author = MessageAuthor::new(window, ActorId16([1; 16]));
    for i in 0..3 {
        let body = Content::text("ada", "hi").to_body().unwrap();
        let chunk = author.write(&[(MessageId::from_parts(T0 + i, 1), body)]).unwrap().chunk;
        let push = Push {
            from: Identity::user("ada"),
            channel: "c".to_owned(),
            window,
            generation: 0,
            doc: DocKind::Messages,
            chunks: vec![chunk.into()],
        };
        let (reply, _answer) = oneshot::channel();
        writer.commit(vec![Command::Push { push, now_ms: T0, reply }]).unwrap();
    }
    store
}

/// The last row of a family.
fn last_row(store: &Store, family: Family) -> (Vec<u8>, Vec<u8>) {
    let mut found = None;
    let range = keys::everything();
    let snapshot = store.snapshot();
    let mut visit = |key: &[u8], row: &[u8]| {
        found = Some((key.to_vec(), row.to_vec()));
        ControlFlow::Break(())
    };
    snapshot.scan(family, bounds(&range), Direction::Reverse, &mut visit).unwrap();
    found.unwrap()
}

#[test]
fn a_whole_store_has_no_problems() {
    let mut told = Vec::new();
    let tell = |progress: &Progress<'_>| told.push((progress.done, progress.of));
    let problems = verify(&channel_of_three(), tell).unwrap();
    // Three ops of the log, then three messages of the one document.
    assert_eq!((problems, told), (Vec::new(), vec![(3, 6), (6, 6)]));
}

#[test]
fn a_missing_row_of_any_kind_is_found() {
    for family in [
        Family::Log,
        Family::WindowLog,
        Family::Directory,
        Family::Actors,
        Family::Index,
        Family::Members,
        Family::Ranks,
    ] {
        let store = channel_of_three();
        let mut batch = Batch::new();
        batch.delete(family, last_row(&store, family).0);
        store.kv().write(batch, Durability::Sync).unwrap();
        assert!(!verify(&store, |_| {}).unwrap().is_empty(), "{family:?}");
    }
}

#[test]
fn a_row_too_many_of_any_kind_is_found() {
    for family in [Family::Index, Family::Members, Family::Actors, Family::Hashes] {
        let store = channel_of_three();
        let mut batch = Batch::new();
        let (_, row) = last_row(&store, Family::Index);
        let mut key = 1_u64.to_be_bytes().to_vec();
        key.extend([7; 40]);
        batch.put(family, key, row);
        store.kv().write(batch, Durability::Sync).unwrap();
        assert!(!verify(&store, |_| {}).unwrap().is_empty(), "{family:?}");
    }
}

#[test]
fn a_changed_byte_of_any_row_is_found() {
    for family in [
        Family::Log,
        Family::Directory,
        Family::Actors,
        Family::Index,
        Family::Members,
        Family::Ranks,
    ] {
        let whole = channel_of_three();
        let (key, row) = last_row(&whole, family);
        for at in 0..row.len() {
            let store = channel_of_three();
            let mut changed = row.clone();
            changed[at] ^= 1;
            let mut batch = Batch::new();
            batch.put(family, key.clone(), changed);
            store.kv().write(batch, Durability::Sync).unwrap();
            let found = verify(&store, |_| {});
            assert!(found.map_or(true, |found| !found.is_empty()), "{family:?} at {at}");
        }
    }
}
