//! True erasure (design 4.2): a window is rewritten without the text of some of its messages.
//!
//! Automerge keeps what was deleted, so the window's two documents are made anew under the next
//! generation, by the relay and from the index, which is what the documents say. Each message stays
//! where it was, with its id, sender and seq; of an erased one nothing else does but a tombstone.
//!
//! ```text
//!   log       each change of the window keeps its place, seqs, hash and late bits, without its chunk
//!   documents saved anew; older ones, and what was known of their actors and changes, are deleted
//!   log       + one change of the new generation: the tombstones of what was erased
//! ```
//! That last change takes seqs, so a client that resumes from any cursor hears of the window.

use super::apply::apply;
use super::channel::Channel;
use super::check::{Stop, Target, message};
use super::command::{Code, Refusal};
use super::event::{Committed, CommittedEntry};
use super::writer::Work;
use crate::bulk::{annotation_lists, message_runs};
use crate::index::{content_of, is_erased};
use crate::store::StoreError;
use crate::store::keys::{self, KeyRange, bounds};
use crate::store::kv::{Direction, Family, Snapshot};
use crate::store::rows::{
    ActorRow, AnnotationRow, DirectoryRow, DocRow, HashRow, IndexRow, LogRow, MemberRow, Row,
    TailSize,
};
use crate::store::txn::Txn;
use backscroll_core::annotation::{AnnotationKey, AnnotationValue, Annotations};
use backscroll_core::change::{ActorId16, ActorState, ChangeBody, ChangeView, DocKind};
use backscroll_core::directory::DocMark;
use backscroll_core::limits::CHANGE_OPS_MAX;
use backscroll_core::message::{Content, MessageId};
use backscroll_core::segment::{Built, SegmentDoc, SegmentError};
use backscroll_core::window::Window;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Messages of one window to erase.
#[derive(Clone, Debug)]
pub(crate) struct Erase {
    pub(crate) channel: String,
    pub(crate) window: Window,
    /// At most [`CHANGE_OPS_MAX`].
    pub(crate) ids: BTreeSet<MessageId>,
    /// Drawn for this rewriting alone, one for each document.
    pub(crate) actors: [ActorId16; 2],
}

/// What an erasure did in one window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ErasedWindow {
    /// Messages that had something to erase.
    pub(crate) erased: u64,
    /// Where their bytes are still to be found until these are purged.
    pub(crate) ranges: Vec<(Family, KeyRange)>,
}

/// The documents of the new generation.
struct Rewritten {
    segment: Built,
    /// What still stands of the annotations, as changes and document; none if nothing does.
    base: Option<Base>,
    /// The change that deletes what is erased.
    tombstones: Vec<u8>,
}

struct Base {
    changes: Vec<ChangeView>,
    author: ActorState,
    document: Vec<u8>,
    digest: u64,
}

/// Rewrites a window without the content of some of its messages. Those that are not in it, and
/// those that are erased already, are passed over.
pub(super) fn erase(
    work: &mut Work<'_>,
    channel: &mut Channel,
    request: &Erase,
) -> Result<ErasedWindow, Stop> {
    let refuse = |text: String| Err(Refusal::new(Code::BadRequest, text).into());
    if request.ids.len() > CHANGE_OPS_MAX {
        return refuse(format!("at most {CHANGE_OPS_MAX} messages are erased at once"));
    }
    let window = request.window;
    let Some(entry) = channel.window(&work.txn, window)? else {
        return refuse(format!("there is no window {window}"));
    };
    let ranges = ranges_of(&work.txn, channel, window)?;
    let mut messages = messages_of(&work.txn, channel, window)?;
    let mut erased = BTreeSet::new();
    for id in &request.ids {
        let Some(row) = messages.get_mut(id) else { continue };
        let content = content_of(row)?;
        if is_erased(&content, &row.annotations) {
            continue;
        }
        let body = Content::text(&content.from, "").to_body();
        row.body = body.map_err(|_| StoreError::damaged(Family::Index, "a name is none"))?;
        row.annotations = Annotations::default();
        erased.insert(*id);
    }
    if erased.is_empty() {
        return Ok(ErasedWindow { erased: 0, ranges });
    }
    // Automerge panics on some damage, and one command must not take the writer down.
    let rewrite = || rewrite(window, request.actors, &messages, &erased);
    let rewritten = match catch_unwind(AssertUnwindSafe(rewrite)) {
        Ok(Ok(rewritten)) => rewritten,
        Ok(Err(error)) => return refuse(super::chain(&error)),
        Err(_panic) => return refuse("automerge panicked".to_owned()),
    };
    for id in &erased {
        if let Some(row) = messages.get(id) {
            work.txn.put(Family::Index, keys::message(channel.number, *id), row.encode());
        }
    }
    let bytes = messages.values().map(|row| row.body.len() as u64).sum();
    put(work, channel, request, (entry, bytes), rewritten)?;
    Ok(ErasedWindow { erased: erased.len() as u64, ranges })
}

fn rewrite(
    window: Window,
    [segment_actor, annotation_actor]: [ActorId16; 2],
    messages: &BTreeMap<MessageId, IndexRow>,
    erased: &BTreeSet<MessageId>,
) -> Result<Rewritten, SegmentError> {
    let bodies: Vec<_> = messages.iter().map(|(id, row)| (*id, row.body.clone())).collect();
    let runs = message_runs(&bodies);
    let runs = runs.iter().map(|run| bodies.get(run.clone()).unwrap_or_default());
    let segment = SegmentDoc::build(window, segment_actor, runs)?;
    let mut document = SegmentDoc::new(window, DocKind::Annotations);
    let mut changes = Vec::new();
    let lists = annotation_lists(standing(messages)).map_err(|_| SegmentError::Kind)?;
    for list in lists {
        let chunk = document.annotate(annotation_actor, &list)?.chunk;
        let view = ChangeView::read(&chunk, window, DocKind::Annotations);
        changes.push(view.map_err(SegmentError::Author)?);
    }
    let base = document.actor(annotation_actor).map(|author| Base {
        changes,
        author,
        document: document.save(),
        digest: document.digest(),
    });
    let deletes =
        erased.iter().map(|id| (AnnotationKey::Delete { id: *id }, AnnotationValue::Delete));
    let deletes: Vec<_> = deletes.collect();
    let tombstones = document.author(annotation_actor, &deletes)?.chunk;
    Ok(Rewritten { segment, base, tombstones })
}

/// What is said of the messages now.
fn standing(messages: &BTreeMap<MessageId, IndexRow>) -> BTreeMap<AnnotationKey, AnnotationValue> {
    let mut entries = BTreeMap::new();
    for (id, row) in messages {
        let (id, Annotations { edit, deleted, reactions }) = (*id, &row.annotations);
        if let Some(edit) = edit {
            entries.insert(AnnotationKey::Edit { id }, AnnotationValue::Edit(edit.clone()));
        }
        if *deleted {
            entries.insert(AnnotationKey::Delete { id }, AnnotationValue::Delete);
        }
        for (emoji, users) in reactions {
            for user in users {
                let (user, emoji) = (user.clone(), emoji.clone());
                let key = AnnotationKey::Reaction { id, user, emoji };
                entries.insert(key, AnnotationValue::Reaction(true));
            }
        }
    }
    entries
}

/// Puts the rows of a rewritten window.
fn put(
    work: &mut Work<'_>,
    channel: &mut Channel,
    request: &Erase,
    (before, bytes): (DirectoryRow, u64),
    rewritten: Rewritten,
) -> Result<(), StoreError> {
    let Rewritten { segment, base, tombstones } = rewritten;
    let (number, window) = (channel.number, request.window);
    let txn = &mut work.txn;
    for doc in [DocKind::Messages, DocKind::Annotations] {
        empty_log(txn, channel, window, doc)?;
        delete_all(txn, Family::Actors, &keys::of_doc(number, window, doc))?;
        txn.delete(Family::Docs, keys::doc(number, window, doc));
    }
    delete_all(txn, Family::Annotations, &keys::of_window(number, window))?;
    delete_all(txn, Family::Hashes, &keys::of_window(number, window))?;
    channel.retire_author(window);
    let generation = before.entry.generation + 1;
    let mut entry = before.entry;
    entry.generation = generation;
    entry.bytes = bytes;
    let upto_seq = entry.message_doc.last_seq;
    entry.message_doc.digest = segment.digest;
    let row = DocRow { upto_seq, generation, digest: segment.digest, bytes: segment.document };
    txn.put(Family::Docs, keys::doc(number, window, DocKind::Messages), row.encode());
    let [segment_actor, annotation_actor] = request.actors;
    if let Some(state) = segment.author {
        put_actor(txn, channel, (window, DocKind::Messages, segment_actor), state);
    }
    let last_seq = entry.annotation_doc.last_seq;
    entry.annotation_doc = DocMark { last_seq, digest: 0 };
    if let Some(base) = base {
        entry.annotation_doc.digest = base.digest;
        put_base(txn, channel, (window, annotation_actor), (last_seq, generation), base);
    }
    let tail = TailSize::default();
    let row = DirectoryRow { entry, message_tail: tail, annotation_tail: tail };
    channel.put_window(txn, window, row);
    let told =
        CommittedEntry { channel: channel.name.clone(), seq: channel.head.seq + 1, window, entry };
    work.done.events.push(Committed::Entry(told));
    let doc = DocKind::Annotations;
    let view = ChangeView::read(&tombstones, window, doc).map_err(|_| {
        StoreError::damaged(Family::Log, "a tombstone made here does not read back")
    })?;
    let target = Target { window, generation, doc };
    apply(&mut work.txn, channel, target, "", &view, tombstones.into(), &mut work.done.events)?;
    Ok(())
}

/// Takes the chunks out of the changes of a document.
fn empty_log(
    txn: &mut Txn<'_>,
    channel: &Channel,
    window: Window,
    doc: DocKind,
) -> Result<(), StoreError> {
    for seq in seqs_of(txn, channel, window, doc)? {
        let key = keys::log(channel.number, seq);
        let row = txn.get(Family::Log, &key)?;
        let row = row.ok_or(StoreError::damaged(Family::Log, "a window's change is missing"))?;
        let mut row = LogRow::decode(&row)?;
        if !row.is_erased() {
            row.chunk.clear();
            txn.put(Family::Log, key, row.encode());
        }
    }
    Ok(())
}

fn put_actor(
    txn: &mut Txn<'_>,
    channel: &Channel,
    (window, doc, actor): (Window, DocKind, ActorId16),
    state: ActorState,
) {
    let row = ActorRow { user: String::new(), state };
    txn.put(Family::Actors, keys::actor(channel.number, window, doc, &actor), row.encode());
}

fn put_base(
    txn: &mut Txn<'_>,
    channel: &Channel,
    (window, actor): (Window, ActorId16),
    (upto_seq, generation): (u64, u32),
    base: Base,
) {
    let (number, doc) = (channel.number, DocKind::Annotations);
    for view in &base.changes {
        // They have no place in the log but that of what they stand for.
        let row = HashRow { first_seq: upto_seq, max_op: view.max_op() };
        txn.put(Family::Hashes, keys::hash(number, window, &view.hash), row.encode());
        let ChangeBody::Annotations(ops) = &view.body else { continue };
        for op in ops {
            let key = keys::annotation(number, window, &op.key, op.op, &view.actor);
            txn.put(Family::Annotations, key, AnnotationRow(op.value.clone()).encode());
        }
    }
    put_actor(txn, channel, (window, doc, actor), base.author);
    let row = DocRow { upto_seq, generation, digest: base.digest, bytes: base.document };
    txn.put(Family::Docs, keys::doc(number, window, doc), row.encode());
}

/// First seqs of a document's changes.
pub(super) fn seqs_of(
    rows: &dyn Snapshot,
    channel: &Channel,
    window: Window,
    doc: DocKind,
) -> Result<Vec<u64>, StoreError> {
    let mut seqs = Vec::new();
    let range = keys::window_log_from(channel.number, window, doc, 0);
    rows.scan(Family::WindowLog, bounds(&range), Direction::Forward, &mut |key, _| {
        seqs.extend(keys::seq_of(key));
        ControlFlow::Continue(())
    })?;
    Ok(seqs)
}

/// A window's messages.
fn messages_of(
    rows: &dyn Snapshot,
    channel: &Channel,
    window: Window,
) -> Result<BTreeMap<MessageId, IndexRow>, StoreError> {
    let mut messages = BTreeMap::new();
    for (id, _) in members_of(rows, channel, window)? {
        let row = message(rows, channel, id)?;
        let row = row.ok_or(StoreError::damaged(Family::Index, "a listed message is missing"))?;
        messages.insert(id, row);
    }
    Ok(messages)
}

/// A window's messages and their places, in the order of its document's keys.
pub(super) fn members_of(
    rows: &dyn Snapshot,
    channel: &Channel,
    window: Window,
) -> Result<Vec<(MessageId, MemberRow)>, StoreError> {
    let (mut members, mut damage) = (Vec::new(), None);
    let range = keys::members(channel.number, window);
    rows.scan(Family::Members, bounds(&range), Direction::Forward, &mut |key, row| {
        match MemberRow::decode(row) {
            Ok(row) => members.extend(keys::member_of(key).map(|id| (id, row))),
            Err(error) => damage = Some(error),
        }
        ControlFlow::Continue(())
    })?;
    damage.map_or(Ok(members), Err)
}

/// Deletes the rows of a range.
pub(super) fn delete_all(
    txn: &mut Txn<'_>,
    family: Family,
    range: &KeyRange,
) -> Result<(), StoreError> {
    let mut found = Vec::new();
    txn.scan(family, bounds(range), Direction::Forward, &mut |key, _| {
        found.push(key.to_vec());
        ControlFlow::Continue(())
    })?;
    for key in found {
        txn.delete(family, key);
    }
    Ok(())
}

/// Where a window's texts are, in whatever form.
pub(super) fn ranges_of(
    rows: &dyn Snapshot,
    channel: &Channel,
    window: Window,
) -> Result<Vec<(Family, KeyRange)>, StoreError> {
    let number = channel.number;
    let mut ranges = vec![
        (Family::Docs, keys::of_window(number, window)),
        (Family::Annotations, keys::of_window(number, window)),
    ];
    for doc in [DocKind::Messages, DocKind::Annotations] {
        let seqs = seqs_of(rows, channel, window, doc)?;
        if let (Some(first), Some(last)) = (seqs.first(), seqs.last()) {
            ranges.push((Family::Log, keys::log(number, *first)..keys::log(number, last + 1)));
        }
    }
    let members = members_of(rows, channel, window)?;
    let ids: Vec<_> = members.into_iter().map(|(id, _)| id).collect();
    if let (Some(first), Some(last)) = (ids.iter().min(), ids.iter().max()) {
        let end = last.as_u128().saturating_add(1);
        ranges.push((Family::Index, keys::messages(number, first.as_u128(), Some(end))));
    }
    Ok(ranges)
}
