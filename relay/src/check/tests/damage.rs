//! Every kind of damage is found, and named.

use crate::bulk::Import;
use crate::check::verify;
use crate::store::Store;
use crate::store::keys;
use crate::store::kv::{Batch, Direction, Durability, Family, Kv};
use crate::store::memory::MemoryKv;
use crate::store::rows::{
    ActorRow, DirectoryRow, DocRow, HeadRow, IndexRow, LateRow, LogRow, MemberRow, Row,
};
use backscroll_core::annotation::{AnnotationKey, AnnotationValue};
use backscroll_core::message::{Content, MessageId};
use backscroll_core::read_state::ReadState;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

const T0: u64 = 1_700_000_000_000;
const CHANNEL: u64 = 1;

/// A copy of one store that agrees.
fn sound_store() -> Store {
    static ROWS: OnceLock<Batch> = OnceLock::new();
    let rows = ROWS.get_or_init(|| {
        let (store, range, mut rows) = (make_store(), keys::everything(), Batch::new());
        assert_eq!(verify(&store, |_| {}).unwrap(), []);
        for family in Family::ALL {
            let mut visit = |key: &[u8], row: &[u8]| {
                rows.put(family, key.to_vec(), row.to_vec());
                ControlFlow::Continue(())
            };
            let (snapshot, bounds) = (store.snapshot(), keys::bounds(&range));
            snapshot.scan(family, bounds, Direction::Forward, &mut visit).unwrap();
        }
        rows
    });
    let kv = MemoryKv::default();
    kv.write(rows.clone(), Durability::Sync).unwrap();
    Store::over(Arc::new(kv)).unwrap()
}

/// A channel with several windows, saved documents and tails, and reactions.
fn make_store() -> Store {
    let store = Store::in_memory().unwrap();
    let id = |i: u64| MessageId::from_parts(T0 + i * 1_000, 1);
    let body = |i: u64| Content::text("ada", &format!("number {i}")).to_body().unwrap();
    for parity in [0, 1] {
        let mut import = Import::begin(&store, "c", T0 * 2).unwrap();
        for i in (0..4_400).filter(|i| i % 2 == parity) {
            import.add(id(i), body(i)).unwrap();
        }
        let react = |i| {
            let key = AnnotationKey::Reaction { id: id(i), user: "bob".into(), emoji: "+".into() };
            (key, AnnotationValue::Reaction(true))
        };
        import.annotate((0..20).map(|i| react(i * 50 + parity))).unwrap();
        import.finish().unwrap();
    }
    store
}

/// The first row of a kind.
fn first(store: &Store, family: Family) -> (Vec<u8>, Vec<u8>) {
    let (range, mut found) = (keys::channel(CHANNEL), None);
    let bounds = keys::bounds(&range);
    let mut visit = |key: &[u8], row: &[u8]| {
        found = Some((key.to_vec(), row.to_vec()));
        ControlFlow::Break(())
    };
    store.snapshot().scan(family, bounds, Direction::Forward, &mut visit).unwrap();
    found.unwrap()
}

fn put(store: &Store, family: Family, key: Vec<u8>, row: Vec<u8>) {
    let mut batch = Batch::new();
    batch.put(family, key, row);
    store.kv().write(batch, Durability::Sync).unwrap();
}

fn delete(store: &Store, family: Family) {
    let mut batch = Batch::new();
    batch.delete(family, first(store, family).0);
    store.kv().write(batch, Durability::Sync).unwrap();
}

/// Changes the first row of a kind.
fn alter<R: Row>(store: &Store, change: impl FnOnce(&mut R)) {
    let (key, row) = first(store, R::FAMILY);
    let mut row = R::decode(&row).unwrap();
    change(&mut row);
    put(store, R::FAMILY, key, row.encode());
}

/// A second row with the first one's value, under a key that ends differently.
fn duplicate(store: &Store, family: Family) {
    let (mut key, row) = first(store, family);
    let last = key.last_mut().unwrap();
    *last = last.wrapping_add(1);
    put(store, family, key, row);
}

fn alter_head(store: &Store, change: impl FnOnce(&mut HeadRow)) {
    let key = keys::head(CHANNEL);
    let row = store.snapshot().get(Family::Meta, &key).unwrap().unwrap();
    let mut row = HeadRow::decode(&row).unwrap();
    change(&mut row);
    put(store, Family::Meta, key, row.encode());
}

#[track_caller]
fn assert_found(expected: &str, damage: impl FnOnce(&Store)) {
    let store = sound_store();
    damage(&store);
    let problems = verify(&store, |_| {}).unwrap();
    let is_found = problems.iter().any(|problem| problem.to_string().contains(expected));
    assert!(is_found, "no {expected:?} in {problems:#?}");
}

#[test]
fn damage_of_the_log_is_found() {
    assert_found("follows where 1 is the next seq", |store| delete(store, Family::Log));
    assert_found("does not read back", |store| {
        alter(store, |row: &mut LogRow| *row.chunk.last_mut().unwrap() ^= 1);
    });
    assert_found("is not the one its row names", |store| {
        alter(store, |row: &mut LogRow| row.hash.0[0] ^= 1);
    });
    assert_found("is not the one its row names", |store| {
        alter(store, |row: &mut LogRow| row.ops += 1);
    });
    assert_found("is not the next of its actor, or another user's", |store| {
        alter(store, |row: &mut LogRow| row.user = "eve".to_owned());
    });
    assert_found("change 1 of the log is damaged", |store| {
        let (key, mut row) = first(store, Family::Log);
        row.pop();
        put(store, Family::Log, key, row);
    });
    assert_found("change 1 is missing in window", |store| delete(store, Family::WindowLog));
    assert_found("number of rows of kind wlog", |store| duplicate(store, Family::WindowLog));
}

#[test]
fn damage_of_a_message_is_found() {
    assert_found("is not indexed as change 1 says", |store| delete(store, Family::Index));
    assert_found("is not indexed as change 1 says", |store| {
        alter(store, |row: &mut IndexRow| row.seq += 1);
    });
    assert_found("is another one in the segment", |store| {
        alter(store, |row: &mut IndexRow| {
            row.body = Content::text("eve", "other").to_body().unwrap();
        });
    });
    assert_found("number of rows of kind index", |store| duplicate(store, Family::Index));
    assert_found("is not listed in its window", |store| delete(store, Family::Members));
    assert_found("is not listed in its window", |store| {
        alter(store, |row: &mut MemberRow| row.seq += 1);
    });
    assert_found("number of rows of kind members", |store| duplicate(store, Family::Members));
    assert_found("number of rows of kind late", |store| {
        let row = LateRow(MessageId::from_parts(T0, 1));
        put(store, Family::Late, keys::late(CHANNEL, 1), row.encode());
    });
    assert_found("is not listed as late", |store| {
        alter(store, |row: &mut LogRow| row.late = vec![1]);
    });
    assert_found("has late = true, which is wrong", |store| {
        let first_id = MessageId::from_parts(T0, 1);
        let window = LogRow::decode(&first(store, Family::Log).1).unwrap().window;
        alter(store, |row: &mut LogRow| row.late = vec![1]);
        alter(store, |row: &mut IndexRow| row.late = true);
        let member = keys::member(CHANNEL, window, first_id);
        put(store, Family::Members, member, MemberRow { seq: 1, late: true }.encode());
    });
}

#[test]
fn damage_of_counts_is_found() {
    assert_found("the rank block at 0", |store| {
        let (key, row) = first(store, Family::Ranks);
        let count = u32::from_be_bytes(row.try_into().unwrap());
        put(store, Family::Ranks, key, (count + 1).to_be_bytes().to_vec());
    });
    assert_found("a block has no start or no count", |store| delete(store, Family::Ranks));
    assert_found("the sum of the rank blocks", |store| duplicate(store, Family::Ranks));
    assert_found("the head is", |store| alter_head(store, |head| head.total += 1));
    assert_found("the head is", |store| alter_head(store, |head| head.seq -= 1));
    assert_found("the head is", |store| alter_head(store, |head| head.newest = None));
    assert_found("it does not read back", |store| {
        put(store, Family::Meta, keys::head(CHANNEL), vec![1]);
    });
    for change in [
        |row: &mut DirectoryRow| row.entry.messages += 1,
        |row: &mut DirectoryRow| row.entry.bytes -= 1,
        |row: &mut DirectoryRow| row.entry.first_ms += 1,
        |row: &mut DirectoryRow| row.entry.last_ms -= 1,
        |row: &mut DirectoryRow| row.entry.message_doc.digest ^= 1,
        |row: &mut DirectoryRow| row.entry.message_doc.last_seq += 1,
        |row: &mut DirectoryRow| row.entry.annotation_doc.digest ^= 1,
    ] {
        assert_found("c: window 0-", |store| alter(store, change));
    }
    assert_found("is missing in the directory", |store| delete(store, Family::Directory));
    assert_found("the tail of the segment", |store| {
        alter(store, |row: &mut DirectoryRow| row.message_tail.changes += 1);
    });
    assert_found("actor", |store| alter(store, |row: &mut ActorRow| row.state.max_op += 1));
    assert_found("number of rows of kind actors", |store| duplicate(store, Family::Actors));
    assert_found("read states", |store| {
        let row = ReadState { seq: 1 << 40, ..ReadState::default() };
        put(store, Family::Reads, keys::read_state(CHANNEL, "ada"), row.encode());
    });
}

#[test]
fn damage_of_documents_is_found() {
    assert_found("cannot be read", |store| {
        alter(store, |row: &mut DocRow| {
            let middle = row.bytes.len() / 2;
            row.bytes.truncate(middle);
        });
    });
    assert_found("the saved segment of window", |store| {
        alter(store, |row: &mut DocRow| row.digest ^= 1);
    });
    assert_found("are not what their row says", |store| {
        alter(store, |row: &mut DocRow| row.generation += 1);
    });
    assert_found("where no change of it ends", |store| {
        alter(store, |row: &mut DocRow| row.upto_seq += 1 << 30);
    });
    assert_found("where no change of it ends", |store| {
        alter(store, |row: &mut DocRow| row.upto_seq -= 1);
    });
    assert_found("the tail of the segment", |store| delete(store, Family::Docs));
    assert_found("the number of saved documents", |store| {
        let window = backscroll_core::window::Window::covering(11, T0);
        let key = keys::doc(CHANNEL, window, backscroll_core::change::DocKind::Messages);
        put(store, Family::Docs, key, first(store, Family::Docs).1);
    });
}

#[test]
fn damage_of_annotations_is_found() {
    assert_found("is missing", |store| delete(store, Family::Annotations));
    assert_found("number of rows of kind anns", |store| duplicate(store, Family::Annotations));
    assert_found("is not found by its hash", |store| delete(store, Family::Hashes));
    assert_found("number of rows of kind hashes", |store| duplicate(store, Family::Hashes));
    assert_found("is annotated with", |store| {
        alter(store, |row: &mut IndexRow| row.annotations.deleted = true);
    });
}

#[test]
fn rows_of_no_channel_and_twisted_names_are_found() {
    assert_found("rows of kind index of no channel, 77", |store| {
        let row = first(store, Family::Index).1;
        put(store, Family::Index, keys::message(77, MessageId::from_parts(T0, 1)), row);
    });
    assert_found("its number is that of the channel c", |store| {
        put(store, Family::Meta, keys::channel_name("d"), CHANNEL.to_be_bytes().to_vec());
    });
    assert_found("its name or its number is damaged", |store| {
        put(store, Family::Meta, keys::channel_name("d"), vec![1]);
    });
    assert_found("is to be given again", |store| {
        put(store, Family::Meta, keys::META_NEXT_CHANNEL.to_vec(), vec![0; 8]);
    });
}
