//! Whatever passes the checks, Automerge applies, saves and reloads.
//!
//! Honest histories are taken, their chunks changed in every way we could think of, and offered to
//! a store. What it accepts goes into stock documents, one by one and at once: nothing may panic,
//! hang, or fail to load again.
#![allow(clippy::disallowed_methods, reason = "stock documents are what we compare with")]

use crate::store::{Store, actor, body, id, window};
use automerge::legacy::{self, OpType};
use automerge::{Automerge, Change, ExpandedChange, ReadDoc, ScalarValue};
use backscroll_core::annotation::{AnnotationKey, AnnotationValue};
use backscroll_core::change::{DocKind, MessageAuthor};
use backscroll_core::segment::SegmentDoc;
use proptest::collection::vec;
use proptest::prelude::*;
use std::num::NonZeroU64;

/// One hostile edit of a decoded change.
#[derive(Clone, Debug)]
enum Edit {
    Seq(i64),
    StartOp(i64),
    StartOpNearMax,
    DropDep(prop::sample::Index),
    AddDep(prop::sample::Index),
    UnknownDep,
    Actor(u8),
    Time(i64),
    DropPreds,
    AddPred(u64, u8),
    SameKey,
    Key(u8),
    Action(u8),
    Insert,
    DropOp,
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (-2..3_i64).prop_map(Edit::Seq),
        (-3..4_i64).prop_map(Edit::StartOp),
        Just(Edit::StartOpNearMax),
        any::<prop::sample::Index>().prop_map(Edit::DropDep),
        any::<prop::sample::Index>().prop_map(Edit::AddDep),
        Just(Edit::UnknownDep),
        (0..4_u8).prop_map(Edit::Actor),
        (-1..2_i64).prop_map(Edit::Time),
        Just(Edit::DropPreds),
        (0..9_u64, 0..5_u8).prop_map(|(counter, actor)| Edit::AddPred(counter, actor)),
        Just(Edit::SameKey),
        (0..4_u8).prop_map(Edit::Key),
        (0..5_u8).prop_map(Edit::Action),
        Just(Edit::Insert),
        Just(Edit::DropOp),
    ]
}

fn apply_edit(change: &mut ExpandedChange, edit: &Edit, hashes: &[automerge::ChangeHash]) {
    let start = change.start_op.get();
    match edit {
        Edit::Seq(by) => change.seq = change.seq.saturating_add_signed(*by),
        Edit::StartOp(by) => {
            change.start_op =
                NonZeroU64::new(start.saturating_add_signed(*by)).unwrap_or(NonZeroU64::MIN);
        }
        Edit::StartOpNearMax => {
            change.start_op = NonZeroU64::new(u64::from(u32::MAX) - 1).unwrap();
        }
        Edit::DropDep(at) if !change.deps.is_empty() => {
            change.deps.remove(at.index(change.deps.len()));
        }
        Edit::AddDep(at) => change.deps.push(*at.get(hashes)),
        Edit::UnknownDep => change.deps.push(automerge::ChangeHash([0xee; 32])),
        Edit::Actor(n) => change.actor_id = actor(*n).to_automerge(),
        Edit::Time(time) => change.time = *time,
        Edit::DropDep(_) => {}
        _ => change.operations.iter_mut().take(1).for_each(|op| edit_op(op, edit)),
    }
    match edit {
        Edit::SameKey => change.operations.extend(change.operations.first().cloned()),
        Edit::DropOp => {
            change.operations.pop();
        }
        _ => {}
    }
}

fn edit_op(op: &mut legacy::Op, edit: &Edit) {
    match edit {
        Edit::DropPreds => op.pred = Vec::new().into(),
        Edit::AddPred(counter, n) => {
            let mut preds: Vec<_> = op.pred.iter().cloned().collect();
            preds.push(legacy::OpId(*counter, actor(*n).to_automerge()));
            op.pred = preds.into();
        }
        Edit::Key(n) => {
            let suffix = if id(*n).time_ms() % 2 == 0 { ":d" } else { "" };
            op.key = legacy::Key::Map(format!("{}{suffix}", id(*n).to_key()).into());
        }
        Edit::Action(0) => op.action = OpType::Delete,
        Edit::Action(1) => op.action = OpType::Increment(1),
        Edit::Action(2) => op.action = OpType::Make(automerge::ObjType::Map),
        Edit::Action(3) => op.action = OpType::Put(ScalarValue::Str("x".into())),
        Edit::Action(_) => op.action = OpType::Put(ScalarValue::Boolean(true)),
        Edit::Insert => op.insert = true,
        _ => {}
    }
}

/// An honest history of three writers who hear of each other now and then.
fn honest(kind: DocKind, turns: &[(u8, u8)]) -> Vec<Vec<u8>> {
    let mut chunks = Vec::new();
    let mut authors: Vec<_> = (0..3).map(|n| MessageAuthor::new(window(), actor(n))).collect();
    let mut docs: Vec<_> = (0..3).map(|_| SegmentDoc::new(window(), kind)).collect();
    for (turn, (writer, what)) in turns.iter().enumerate() {
        let n = u8::try_from(turn).unwrap();
        let chunk = match kind {
            DocKind::Messages => {
                let messages: Vec<_> =
                    (0..=what % 3).map(|k| (id(n * 4 + k), body("hi"))).collect();
                authors[usize::from(*writer)].write(&messages).unwrap().chunk
            }
            DocKind::Annotations => {
                let doc = &mut docs[usize::from(*writer)];
                if what % 2 == 0 {
                    doc.apply(&chunks).unwrap();
                }
                let key = AnnotationKey::Reaction {
                    id: id(what % 3),
                    user: "ada".to_owned(),
                    emoji: "x".to_owned(),
                };
                doc.annotate(actor(*writer), &[(key, AnnotationValue::Reaction(turn % 2 == 0))])
                    .unwrap()
                    .chunk
            }
        };
        chunks.push(chunk);
    }
    chunks
}

/// What was accepted goes into stock documents and ours, one by one and at once.
fn automerge_agrees(store: &Store, kind: DocKind) {
    let changes: Vec<_> =
        store.chunks.iter().map(|chunk| Change::try_from(&chunk[..]).unwrap()).collect();
    let mut one_by_one = Automerge::new();
    for change in &changes {
        one_by_one.apply_changes([change.clone()]).unwrap();
    }
    let mut at_once = Automerge::new();
    at_once.apply_changes(changes.clone()).unwrap();
    // Saved bytes depend on the order in which changes came; what they hold does not.
    let saved = at_once.save();
    assert_eq!(one_by_one.get_heads(), at_once.get_heads());
    assert_eq!(one_by_one.hydrate(None), at_once.hydrate(None));
    assert!(Automerge::load(&one_by_one.save()).is_ok());
    assert!(at_once.get_missing_deps(&[]).is_empty());
    let reloaded = Automerge::load(&saved).unwrap();
    assert_eq!(reloaded.get_heads(), at_once.get_heads());
    assert_eq!(reloaded.hydrate(None), at_once.hydrate(None));
    assert_eq!(reloaded.get_changes(&[]).len(), changes.len(), "none hangs in a queue");
    // A local put on top of it all still works.
    let mut forked = reloaded.fork();
    let mut tx = forked.transaction();
    automerge::transaction::Transactable::put(&mut tx, automerge::ROOT, "next", 1).unwrap();
    tx.commit();
    assert!(Automerge::load(&forked.save()).is_ok());
    let mut ours = SegmentDoc::new(window(), kind);
    ours.apply(&store.chunks).unwrap();
    let (digest, heads) = (ours.digest(), ours.heads());
    let mut ours = SegmentDoc::load(window(), kind, &saved).unwrap();
    assert_eq!((ours.digest(), ours.heads()), (digest, heads));
    assert_eq!(ours.apply(&store.chunks).unwrap().known_len, changes.len());
}

fn kind() -> impl Strategy<Value = DocKind> {
    prop_oneof![Just(DocKind::Messages), Just(DocKind::Annotations)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_passes_after_hostile_edits_is_sound(
        kind in kind(),
        turns in vec((0..3_u8, any::<u8>()), 1..12),
        edits in vec((any::<prop::sample::Index>(), vec(edit(), 1..4)), 1..6),
    ) {
        let chunks = honest(kind, &turns);
        let decoded: Vec<_> =
            chunks.iter().map(|chunk| Change::try_from(&chunk[..]).unwrap()).collect();
        let hashes: Vec<_> = decoded.iter().map(Change::hash).collect();
        let mut store = Store::new(kind);
        for (at, chunk) in chunks.iter().enumerate() {
            for (of, edits) in &edits {
                if of.index(chunks.len()) != at {
                    continue;
                }
                let mut change = decoded[at].decode();
                edits.iter().for_each(|edit| apply_edit(&mut change, edit, &hashes));
                // What is accepted here takes the honest change's place.
                let _ = store.offer(Change::from(change).raw_bytes());
            }
            let _ = store.offer(chunk);
        }
        automerge_agrees(&store, kind);
    }

    #[test]
    fn what_passes_after_changed_bytes_is_sound(
        kind in kind(),
        turns in vec((0..3_u8, any::<u8>()), 1..6),
        changes in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..20),
    ) {
        let chunks = honest(kind, &turns);
        let mut store = Store::new(kind);
        for (at, chunk) in chunks.iter().enumerate() {
            for (of, byte, value) in &changes {
                if of.index(chunks.len()) == at {
                    let mut changed = chunk.clone();
                    let byte = 9 + byte.index(chunk.len() - 9);
                    changed[byte] = *value;
                    with_checksum(&mut changed);
                    let _ = store.offer(&changed);
                }
            }
            let _ = store.offer(chunk);
        }
        automerge_agrees(&store, kind);
    }
}

/// Writes the right checksum into a chunk, for content that was changed.
fn with_checksum(chunk: &mut [u8]) {
    use sha2::{Digest, Sha256};
    let hash = Sha256::digest(&chunk[8..]);
    chunk[4..8].copy_from_slice(&hash[..4]);
}

#[test]
fn honest_histories_pass_whole() {
    let turns: Vec<_> = (0..30_u8).map(|n| (n % 3, n.wrapping_mul(37))).collect();
    for kind in DocKind::ALL {
        let mut store = Store::new(kind);
        for chunk in honest(kind, &turns) {
            store.offer(&chunk).unwrap();
        }
        assert_eq!(store.chunks.len(), 30);
        automerge_agrees(&store, kind);
    }
}

/// A change over nothing but what `edit` adds, as no check of ours would let it through.
fn forged(writer: u8, edit: impl FnOnce(&mut ExpandedChange)) -> Change {
    let chunk = MessageAuthor::new(window(), actor(writer)).write(&[(id(0), body("hi"))]).unwrap();
    let mut change = Change::try_from(&chunk.chunk[..]).unwrap().decode();
    edit(&mut change);
    Change::from(change)
}

fn pred(counter: u64, writer: u8) -> legacy::SortedVec<legacy::OpId> {
    vec![legacy::OpId(counter, actor(writer).to_automerge())].into()
}

/// Whether Automerge takes the changes at once, and what it saves loads again.
fn is_sound(changes: Vec<Change>) -> bool {
    let outcome = std::panic::catch_unwind(|| {
        let mut doc = Automerge::new();
        doc.apply_changes(changes).is_ok() && Automerge::load(&doc.save()).is_ok()
    });
    outcome.unwrap_or(false)
}

#[test]
fn without_the_header_checks_automerge_breaks() {
    let first = forged(0, |_| {});
    let beside = forged(1, |_| {});
    let at = |counter| NonZeroU64::new(counter).unwrap();
    let second = |edit: fn(&mut ExpandedChange)| {
        let hash = first.hash();
        let change = forged(0, |change| {
            (change.seq, change.start_op, change.deps) = (2, at(2), vec![hash]);
            edit(change);
        });
        vec![first.clone(), change]
    };
    assert!(is_sound(second(|_| {})), "the control");
    assert!(!is_sound(second(|change| change.seq = 3)), "a gap");
    assert!(!is_sound(second(|change| change.operations[0].pred = pred(1, 9))), "unknown actor");
    assert!(!is_sound(second(|change| change.operations[0].pred = pred(7, 0))), "unknown op");
    let low = second(|change| {
        change.start_op = NonZeroU64::MIN;
        change.operations[0].pred = pred(1, 0);
    });
    assert!(!is_sound(low), "a first op that is not above its dependencies");
    // The actor's second change is ready before its first, whose dependency comes later.
    let waiting = forged(0, |change| (change.deps, change.start_op) = (vec![beside.hash()], at(2)));
    let ready = forged(0, |change| (change.seq, change.start_op) = (2, at(3)));
    assert!(!is_sound(vec![waiting, ready, beside]), "an actor's last change not depended on");
}
