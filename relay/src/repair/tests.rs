//! Whatever follows from the log is rebuilt, byte by byte; a damaged log is refused.

use super::*;
use crate::bulk::Import;
use crate::check::verify;
use crate::commit::retain::DropWindows;
use crate::commit::writer::{Command, Writer};
use crate::commit::{Identity, Push};
use crate::reader::Reader;
use crate::store::kv::Kv;
use crate::store::memory::MemoryKv;
use backscroll_core::annotation::{AnnotationKey, AnnotationValue, Edit};
use backscroll_core::change::{ActorId16, ChangeHash, DocKind, MessageAuthor};
use backscroll_core::message::{Content, MessageId};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::oneshot;

const T0: u64 = 1_700_000_000_000;

/// Several windows, saved documents and tails, annotations.
fn store() -> Store {
    let store = Store::in_memory().unwrap();
    let id = |i: u64| MessageId::from_parts(T0 + i * 1_000, 1);
    for parity in [0, 1] {
        let mut import = Import::begin(&store, "c", T0 * 2).unwrap();
        for i in (0..4_400).filter(|i| i % 2 == parity) {
            let body = Content::text("ada", &format!("number {i}")).to_body().unwrap();
            import.add(id(i), body).unwrap();
        }
        let edit = |i| {
            let edit = Edit::text(&format!("edit {i}"), T0);
            (AnnotationKey::Edit { id: id(i) }, AnnotationValue::Edit(edit))
        };
        import.annotate((0..20).map(|i| edit(i * 50 + parity))).unwrap();
        import.finish().unwrap();
    }
    for i in 0..5 {
        push_late(&store, T0 + i * 600_000);
    }
    assert_eq!(verify(&store, |_| {}).unwrap(), []);
    store
}

/// A message that comes long after newer ones.
fn push_late(store: &Store, time_ms: u64) {
    let window = Window::covering(8, time_ms);
    let [level, ..] = time_ms.to_le_bytes();
    let mut author = MessageAuthor::new(window, ActorId16([level; 16]));
    let body = Content::text("bob", "late").to_body().unwrap();
    let chunk = author.write(&[(MessageId::from_parts(time_ms, 7), body)]).unwrap().chunk;
    let push = Push {
        from: Identity::user("bob"),
        channel: "c".to_owned(),
        window,
        generation: 0,
        doc: DocKind::Messages,
        chunks: vec![chunk.into()],
    };
    let (reply, mut answer) = oneshot::channel();
    let mut writer = Writer::new(store.clone()).unwrap();
    writer.commit(vec![Command::Push { push, now_ms: T0 * 2, reply }]).unwrap();
    assert_eq!(answer.try_recv().unwrap().refused, None);
}

fn rows(store: &Store, family: Family) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let (mut rows, range) = (BTreeMap::new(), keys::everything());
    let mut visit = |key: &[u8], row: &[u8]| {
        rows.insert(key.to_vec(), row.to_vec());
        ControlFlow::Continue(())
    };
    let direction = Direction::Forward;
    store.snapshot().scan(family, bounds(&range), direction, &mut visit).unwrap();
    rows
}

fn damage(store: &Store, family: Family, change: impl Fn(usize, Vec<u8>) -> Option<Vec<u8>>) {
    let mut batch = Batch::new();
    for (n, (key, row)) in rows(store, family).into_iter().enumerate() {
        match change(n, row) {
            Some(row) => batch.put(family, key, row),
            None => batch.delete(family, key),
        }
    }
    store.kv().write(batch, Durability::Sync).unwrap();
}

#[test]
fn what_follows_from_the_log_is_rebuilt_from_any_damage() {
    const DERIVED: [Family; 9] = [
        Family::WindowLog,
        Family::Directory,
        Family::Actors,
        Family::Index,
        Family::Members,
        Family::Late,
        Family::Annotations,
        Family::Hashes,
        Family::Ranks,
    ];
    let store = store();
    let sound: Vec<_> = DERIVED.map(|family| rows(&store, family)).into();
    let repaired = |what: &str| {
        assert_ne!(verify(&store, |_| {}).unwrap(), [], "{what}: the damage is found");
        repair(&store, |_| {}).unwrap();
        assert_eq!(verify(&store, |_| {}).unwrap(), [], "{what}");
        for (family, before) in DERIVED.iter().zip(&sound) {
            // Blocks of ranks are cut anew, the rest is what it was.
            let is_same = *family == Family::Ranks || rows(&store, *family) == *before;
            assert!(is_same, "{what}: {family:?}");
        }
    };
    for family in DERIVED {
        assert!(!rows(&store, family).is_empty(), "{family:?}");
        damage(&store, family, |n, row| (n % 3 != 0).then_some(row));
        repaired(&format!("rows of {family:?} lost"));
    }
    for family in DERIVED {
        damage(&store, family, |n, row| Some(if n % 3 == 1 { vec![0xff; 3] } else { row }));
        let is_empty = family == Family::WindowLog;
        if !is_empty {
            repaired(&format!("rows of {family:?} overwritten"));
        }
    }
    damage(&store, Family::Docs, |n, row| (n % 2 == 0).then_some(row));
    repaired_documents(&store);
    damage(&store, Family::Docs, |_, row| Some(row[..row.len() / 2].to_vec()));
    repaired_documents(&store);
    damage(&store, Family::Meta, |_, row| Some(if row.len() > 16 { vec![1; 3] } else { row }));
    repair(&store, |_| {}).unwrap();
    assert_eq!(verify(&store, |_| {}).unwrap(), []);
}

/// A saved document that is lost or damaged is no loss: the changes are in the log.
fn repaired_documents(store: &Store) {
    assert_ne!(verify(store, |_| {}).unwrap(), []);
    repair(store, |_| {}).unwrap();
    assert_eq!(verify(store, |_| {}).unwrap(), []);
}

#[test]
fn the_generation_of_a_dropped_window_is_found_damaged_and_set_above_all_others() {
    let store = store();
    let reader = Reader::new(store.clone(), Arc::default());
    let directory = reader.view().directory("c").unwrap();
    let (window, entry) = directory.iter().next().unwrap();
    let known = vec![(window, entry.latest_seq())];
    let (reply, mut answer) = oneshot::channel();
    let hash = ChangeHash([9; 32]);
    let windows = Box::new(DropWindows { channel: "c".to_owned(), windows: known, hash });
    Writer::new(store.clone()).unwrap().commit(vec![Command::Drop { windows, reply }]).unwrap();
    assert_eq!(answer.try_recv().unwrap().unwrap().windows, 1);
    assert_eq!(verify(&store, |_| {}).unwrap(), []);
    let (number, _) = crate::check::channels(&*store.snapshot()).unwrap().pop_first().unwrap();
    let key = keys::dropped(number, window);
    let generation = || store.snapshot().get(Family::Meta, &key).unwrap();
    assert_eq!(generation(), Some(1_u32.to_be_bytes().to_vec()));
    let mut batch = Batch::new();
    batch.put(Family::Meta, key.clone(), vec![1; 3]);
    store.kv().write(batch, Durability::Sync).unwrap();
    assert_eq!(verify(&store, |_| {}).unwrap().len(), 1, "the window is not there, the damage is");
    repair(&store, |_| {}).unwrap();
    assert_eq!(generation(), Some(1_u32.to_be_bytes().to_vec()));
    assert_eq!(verify(&store, |_| {}).unwrap(), []);
}

#[test]
fn a_log_that_lost_its_end_is_refused() {
    let store = store();
    let last = rows(&store, Family::Log).len() - 1;
    damage(&store, Family::Log, |n, row| (n != last).then_some(row));
    let before = rows(&store, Family::Index);
    let refused = repair(&store, |_| {}).unwrap_err();
    assert!(matches!(refused, RepairError::Log { .. }), "{refused:?}");
    assert!(rows(&store, Family::Index) == before);
    assert!(!store.is_repairing().unwrap());
}

/// Fails from its `left`-th write on, as a process that is killed.
#[derive(Debug)]
struct Killed {
    rows: Arc<MemoryKv>,
    left: AtomicUsize,
}

impl Kv for Killed {
    fn write(&self, batch: Batch, durability: Durability) -> Result<(), StoreError> {
        let take = |left: usize| left.checked_sub(1);
        let is_alive = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        if is_alive { self.rows.write(batch, durability) } else { Err(StoreError::NoFiles) }
    }

    fn snapshot(&self) -> Box<dyn Snapshot + '_> {
        self.rows.snapshot()
    }
}

#[test]
fn a_store_whose_repair_was_cut_off_is_opened_to_repair_it_only() {
    let kv = Arc::new(MemoryKv::default());
    let whole = store();
    let mut batch = Batch::new();
    for family in Family::ALL {
        rows(&whole, family).into_iter().for_each(|(key, row)| batch.put(family, key, row));
    }
    kv.write(batch, Durability::Sync).unwrap();
    let mut cut_off = 0;
    for left in 0_usize.. {
        let killed = Killed { rows: kv.clone(), left: AtomicUsize::new(left) };
        let opened = Store::over_any(Arc::new(killed)).unwrap();
        let is_done = repair(&opened, |_| {}).is_ok();
        let again = Store::over(kv.clone());
        if is_done {
            assert_eq!(verify(&again.unwrap(), |_| {}).unwrap(), []);
            break;
        }
        match again {
            Err(StoreError::Repairing) => cut_off += 1,
            // Nothing was changed yet, or all was done.
            Ok(store) => assert_eq!(verify(&store, |_| {}).unwrap(), [], "{left}"),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(cut_off > 0);
}

#[test]
fn a_damaged_log_is_refused_and_nothing_is_changed() {
    for lost in [true, false] {
        let store = store();
        damage(&store, Family::Index, |n, row| (n > 7).then_some(row));
        damage(&store, Family::Log, |n, mut row| {
            if n == 2 {
                let last = row.last_mut().unwrap();
                *last ^= 1;
                return (!lost).then_some(row);
            }
            Some(row)
        });
        let before = rows(&store, Family::Index);
        let refused = repair(&store, |_| {}).unwrap_err();
        assert!(matches!(refused, RepairError::Log { .. }), "{refused:?}");
        assert!(refused.to_string().ends_with("restore a backup"), "{refused}");
        assert!(rows(&store, Family::Index) == before);
    }
}
