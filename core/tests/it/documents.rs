//! The index folded from changes equals what Automerge documents with these changes say.
#![allow(clippy::disallowed_methods, reason = "stock documents are what we compare with")]

use crate::store::{Store, actor, body, id, window};
use automerge::{Automerge, Change, ReadDoc};
use backscroll_core::annotation::{AnnotationKey, AnnotationValue, Annotations, Edit};
use backscroll_core::change::{ChangeHash, ChangeView, DocKind, MessageAuthor};
use backscroll_core::message::MessageId;
use backscroll_core::segment::SegmentDoc;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const WRITERS: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    /// A writer annotates.
    Annotate(usize, Vec<(AnnotationKey, AnnotationValue)>),
    /// A writer gets some or all of what another has, in its order.
    Deliver { from: usize, to: usize, share: f64 },
}

fn entry() -> impl Strategy<Value = (AnnotationKey, AnnotationValue)> {
    let (message, user) = (0..3_u8, prop_oneof![Just("ada"), Just("b:b"), Just("ç")]);
    (message, user, 0..4_u8, any::<bool>()).prop_map(|(message, user, kind, on)| {
        let id = id(message);
        match kind {
            0 => {
                let edit = Edit::text(&format!("by {user}, {on}"), u64::from(message));
                (AnnotationKey::Edit { id }, AnnotationValue::Edit(edit))
            }
            1 => (AnnotationKey::Delete { id }, AnnotationValue::Delete),
            _ => {
                let emoji = if kind == 2 { "+1" } else { "👍" };
                let (user, emoji) = (user.to_owned(), emoji.to_owned());
                (AnnotationKey::Reaction { id, user, emoji }, AnnotationValue::Reaction(on))
            }
        }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let entries = vec(entry(), 1..4).prop_map(|entries| {
        let mut seen = BTreeSet::new();
        entries.into_iter().filter(|(key, _)| seen.insert(key.clone())).collect()
    });
    prop_oneof![
        3 => (0..WRITERS, entries).prop_map(|(writer, entries)| Step::Annotate(writer, entries)),
        2 => (0..WRITERS, 0..WRITERS, 0.0..1.3).prop_map(|(from, to, share)| {
            Step::Deliver { from, to, share }
        }),
    ]
}

struct Writer {
    doc: SegmentDoc,
    chunks: Vec<Vec<u8>>,
}

/// Runs the steps; returns the writers and all chunks, in the order in which they were made.
fn run(steps: Vec<Step>) -> (Vec<Writer>, Vec<Vec<u8>>) {
    let new = || SegmentDoc::new(window(), DocKind::Annotations);
    let mut writers: Vec<_> =
        (0..WRITERS).map(|_| Writer { doc: new(), chunks: Vec::new() }).collect();
    let mut all = Vec::new();
    for step in steps {
        match step {
            Step::Annotate(writer, entries) => {
                let name = actor(u8::try_from(writer).unwrap());
                let writer = &mut writers[writer];
                let chunk = writer.doc.annotate(name, &entries).unwrap().chunk;
                writer.chunks.push(chunk.clone());
                all.push(chunk);
            }
            Step::Deliver { from, to, share } => {
                let chunks = writers[from].chunks.clone();
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    clippy::cast_precision_loss
                )]
                let len = (chunks.len() as f64 * share) as usize;
                let chunks = &chunks[..len.min(chunks.len())];
                let to = &mut writers[to];
                to.doc.apply(chunks).unwrap();
                let new: Vec<_> =
                    chunks.iter().filter(|c| !to.chunks.contains(c)).cloned().collect();
                to.chunks.extend(new);
            }
        }
    }
    (writers, all)
}

/// Some order in which each change comes after its dependencies, by `priorities`.
fn causal_order(chunks: &[Vec<u8>], priorities: &[u32]) -> Vec<Vec<u8>> {
    let view = |chunk: &Vec<u8>| ChangeView::read(chunk, window(), DocKind::Annotations).unwrap();
    let mut waiting: Vec<_> = chunks.iter().map(|chunk| (view(chunk), chunk)).collect();
    let (mut done, mut order) = (BTreeSet::new(), Vec::new());
    while !waiting.is_empty() {
        let ready = |(_, (view, _)): &(usize, &(ChangeView, _))| {
            view.deps.iter().all(|dep| done.contains(dep))
        };
        let next = waiting.iter().enumerate().filter(ready);
        let (next, _) = next
            .max_by_key(|(at, (view, _))| {
                priorities[(at + view.hash.0[0] as usize) % priorities.len()]
            })
            .unwrap();
        let (view, chunk) = waiting.remove(next);
        done.insert(view.hash);
        order.push(chunk.clone());
    }
    order
}

/// What a stock document says, read with nothing of ours but keys and values.
fn stock_summaries(doc: &Automerge) -> BTreeMap<MessageId, Annotations> {
    let mut summaries: BTreeMap<MessageId, Annotations> = BTreeMap::new();
    for key in doc.keys(automerge::ROOT) {
        let (value, _) = doc.get(automerge::ROOT, &key).unwrap().unwrap();
        let key: AnnotationKey = key.parse().unwrap();
        let value = match (&key, value.as_bool(), value.as_bytes()) {
            (AnnotationKey::Edit { .. }, _, Some(bytes)) => {
                AnnotationValue::Edit(Edit::from_bytes(bytes).unwrap())
            }
            (AnnotationKey::Delete { .. }, Some(true), _) => AnnotationValue::Delete,
            (AnnotationKey::Reaction { .. }, Some(on), _) => AnnotationValue::Reaction(on),
            other => panic!("{other:?}"),
        };
        summaries.entry(key.id()).or_default().apply(&key, value);
    }
    summaries
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn the_index_says_what_documents_say(
        steps in vec(step(), 1..40),
        priorities in vec(any::<u32>(), 8),
    ) {
        let (mut writers, all) = run(steps);
        let mut store = Store::new(DocKind::Annotations);
        let order = causal_order(&all, &priorities);
        for chunk in &order {
            store.offer(chunk).unwrap();
        }

        let mut stock = Automerge::new();
        let changes = order.iter().map(|chunk| Change::try_from(&chunk[..]).unwrap());
        stock.apply_changes(changes.collect::<Vec<_>>()).unwrap();
        let reloaded = Automerge::load(&stock.save()).unwrap();
        prop_assert_eq!(store.summaries(), stock_summaries(&stock));
        prop_assert_eq!(store.summaries(), stock_summaries(&reloaded));
        prop_assert_eq!(reloaded.get_heads(), stock.get_heads());

        for writer in &mut writers {
            writer.doc.apply(&order).unwrap();
            let heads: Vec<_> = stock.get_heads().iter().map(|hash| ChangeHash(hash.0)).collect();
            prop_assert_eq!(writer.doc.heads(), heads);
            for n in 0..3 {
                let expected = store.summaries().remove(&id(n)).unwrap_or_default();
                prop_assert_eq!(writer.doc.summary(id(n)), expected);
            }
        }
        let loaded = SegmentDoc::load(window(), DocKind::Annotations, &stock.save()).unwrap();
        prop_assert_eq!(loaded.digest(), writers[0].doc.digest());
    }

    #[test]
    fn segments_hold_what_their_authors_wrote(
        turns in vec((0..WRITERS, 1..4_usize), 1..40),
        at in any::<prop::sample::Index>(),
    ) {
        let mut authors: Vec<_> = (0..WRITERS)
            .map(|n| MessageAuthor::new(window(), actor(u8::try_from(n).unwrap())))
            .collect();
        let (mut store, mut number) = (Store::new(DocKind::Messages), 0_u8);
        for (author, len) in turns {
            let messages: Vec<_> = (0..len).map(|_| {
                number += 1;
                (id(number.reverse_bits()), body(&format!("message {number}")))
            }).collect();
            let chunk = authors[author].write(&messages).unwrap().chunk;
            store.offer(&chunk).unwrap();
        }
        // Some changes on their own, then all: a saved document and the changes after it.
        let mut doc = SegmentDoc::new(window(), DocKind::Messages);
        doc.apply(&store.chunks[..at.index(store.chunks.len())]).unwrap();
        let mut doc = SegmentDoc::load(window(), DocKind::Messages, &doc.save()).unwrap();
        doc.apply(&store.chunks).unwrap();
        let mut messages: Vec<_> =
            doc.messages().map(|(id, body)| (id, body.into_owned())).collect();
        messages.sort();
        prop_assert!(messages.into_iter().eq(store.messages.clone()));
        let by_key: BTreeMap<_, _> = store.messages.keys().map(|id| (id.to_key(), *id)).collect();
        prop_assert!(doc.ids().iter().eq(by_key.values()));
    }
}
