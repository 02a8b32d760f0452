//! The rows that follow from a channel's log, made anew.

use super::{Changes, Log, Out, RepairError};
use crate::commit::apply::count_message;
use crate::limits::RANK_BLOCK;
use crate::store::StoreError;
use crate::store::keys::{self, ChannelId, bounds};
use crate::store::kv::{Direction, Family, Snapshot};
use crate::store::rows::{
    ActorRow, AnnotationRow, DirectoryRow, DocRow, HashRow, HeadRow, IndexRow, LateRow, LogRow,
    MemberRow, Row, TailSize,
};
use backscroll_core::annotation::{AnnotationKey, Annotations};
use backscroll_core::change::{ActorId16, ChangeBody, ChangeHash, ChangeView, DocKind};
use backscroll_core::message::MessageId;
use backscroll_core::segment::{SegmentDoc, digest};
use backscroll_core::window::Window;
use backscroll_core::wire::is_late;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Changes read at a time.
const STRIDE: usize = 256;

/// Behind an annotation key's text in a row's key: a NUL, a counter of 8 bytes, an actor of 16.
const OP_SUFFIX_LEN: usize = 25;

const DOCS: [DocKind; 2] = [DocKind::Messages, DocKind::Annotations];

/// A change in its document.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    last_seq: u64,
    hash: ChangeHash,
    bytes: u64,
}

/// What a replay of the log leaves to be written.
#[derive(Debug, Default)]
pub(super) struct Derived {
    windows: BTreeMap<Window, DirectoryRow>,
    changes: Changes,
    annotated: BTreeSet<Window>,
}

/// The keys of a channel in a family.
fn keys_of(
    rows: &dyn Snapshot,
    family: Family,
    number: ChannelId,
    mut wanted: impl FnMut(&[u8]) -> bool,
) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut found = Vec::new();
    let range = keys::channel(number);
    rows.scan(family, bounds(&range), Direction::Forward, &mut |key, _| {
        if wanted(key) {
            found.push(key.to_vec());
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

impl Derived {
    /// Deletes what follows from the log, but for the rows of rewritten windows.
    pub(super) fn delete(
        out: &mut Out<'_>,
        number: ChannelId,
        log: &Log,
    ) -> Result<(), RepairError> {
        let snapshot = out.store.snapshot();
        let is_rewritten =
            |key: &[u8]| keys::window_of(key).is_some_and(|window| log.rewritten.contains(&window));
        let members = keys_of(&*snapshot, Family::Members, number, |key| is_rewritten(key))?;
        let kept: BTreeSet<_> = members.iter().filter_map(|key| keys::member_of(key)).collect();
        let is_kept = |key: &[u8]| keys::message_of(key).is_some_and(|id| kept.contains(&id));
        for key in keys_of(&*snapshot, Family::Index, number, |key| !is_kept(key))? {
            out.delete(Family::Index, key)?;
        }
        for family in [
            Family::Members,
            Family::Annotations,
            Family::Hashes,
            Family::Actors,
            Family::Directory,
        ] {
            for key in keys_of(&*snapshot, family, number, |key| !is_rewritten(key))? {
                out.delete(family, key)?;
            }
        }
        for family in [Family::WindowLog, Family::Ranks, Family::Late] {
            for key in keys_of(&*snapshot, family, number, |_| true)? {
                out.delete(family, key)?;
            }
        }
        Ok(())
    }

    /// Puts the rows of each change.
    pub(super) fn replay(
        out: &mut Out<'_>,
        number: ChannelId,
        log: &Log,
    ) -> Result<Self, RepairError> {
        let mut derived = Self::default();
        let mut from = 0;
        loop {
            let mut changes = Vec::with_capacity(STRIDE);
            let range = keys::log_from(number, from);
            let store = out.store;
            store.snapshot().scan(
                Family::Log,
                bounds(&range),
                Direction::Forward,
                &mut |key, row| {
                    changes.extend(keys::seq_of(key).zip(LogRow::decode(row).ok()));
                    let is_enough = changes.len() >= STRIDE;
                    if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                },
            )?;
            let Some((last, _)) = changes.last() else { return Ok(derived) };
            from = last + 1;
            for (first_seq, row) in changes {
                if !row.is_mark() {
                    derived.replay_change(out, number, log, first_seq, &row)?;
                }
            }
        }
    }

    fn replay_change(
        &mut self,
        out: &mut Out<'_>,
        number: ChannelId,
        log: &Log,
        first_seq: u64,
        row: &LogRow,
    ) -> Result<(), RepairError> {
        let LogRow { window, doc, .. } = *row;
        let pointer = keys::window_log(number, window, doc, first_seq);
        out.put(Family::WindowLog, pointer, Vec::new())?;
        if log.rewritten.contains(&window) {
            return Ok(());
        }
        let unreadable = || StoreError::damaged(Family::Log, "a change does not read back");
        let view = ChangeView::read(&row.chunk, window, doc).map_err(|_| unreadable())?;
        match &view.body {
            ChangeBody::Messages(ops) => {
                let mut ops: Vec<_> = ops.iter().collect();
                ops.sort_unstable_by_key(|op| op.id);
                let mut entry = self.windows.remove(&window);
                for (at, (seq, op)) in (first_seq..).zip(ops).enumerate() {
                    let late = is_late(&row.late, at);
                    put_message(out, number, window, (op.id, seq, late), &op.body)?;
                    let bytes = op.body.len() as u64;
                    count_message(&mut entry, row.generation, op.id.time_ms(), bytes);
                }
                self.windows.extend(entry.map(|entry| (window, entry)));
            }
            ChangeBody::Annotations(ops) => {
                self.annotated.insert(window);
                let hash = HashRow { first_seq, max_op: view.max_op() };
                out.put(Family::Hashes, keys::hash(number, window, &view.hash), hash.encode())?;
                for op in ops {
                    let key = keys::annotation(number, window, &op.key, op.op, &view.actor);
                    out.put(Family::Annotations, key, AnnotationRow(op.value.clone()).encode())?;
                }
            }
        }
        let actor = ActorRow { user: row.user.clone(), state: view.actor_state() };
        put_actor(out, number, (window, doc, view.actor), &actor)?;
        let last_seq = row.last_seq(first_seq);
        if let Some(entry) = self.windows.get_mut(&window) {
            match doc {
                DocKind::Messages => &mut entry.entry.message_doc,
                DocKind::Annotations => &mut entry.entry.annotation_doc,
            }
            .record(last_seq, &row.hash);
        }
        let place = Place { last_seq, hash: row.hash, bytes: row.chunk.len() as u64 };
        self.changes.entry((window, doc)).or_default().push(place);
        Ok(())
    }

    /// Lists the late messages of rewritten windows, whose changes do not tell them any more.
    pub(super) fn list_late(
        out: &mut Out<'_>,
        number: ChannelId,
        log: &Log,
    ) -> Result<(), RepairError> {
        for window in &log.rewritten {
            let (mut late, range) = (Vec::new(), keys::members(number, *window));
            let mut visit = |key: &[u8], row: &[u8]| {
                if let (Some(id), Ok(row)) = (keys::member_of(key), MemberRow::decode(row)) {
                    late.extend(row.late.then_some((row.seq, id)));
                }
                ControlFlow::Continue(())
            };
            let (snapshot, direction) = (out.store.snapshot(), Direction::Forward);
            snapshot.scan(Family::Members, bounds(&range), direction, &mut visit)?;
            for (seq, id) in late {
                out.put(Family::Late, keys::late(number, seq), LateRow(id).encode())?;
            }
        }
        Ok(())
    }

    /// Writes into the index what is said of messages: the last op of each key.
    pub(super) fn fold_annotations(
        &mut self,
        out: &mut Out<'_>,
        number: ChannelId,
    ) -> Result<(), RepairError> {
        for window in &self.annotated {
            let mut winners = BTreeMap::new();
            let range = keys::annotations(number, *window);
            let prefix_len = keys::directory(number, *window).len();
            let snapshot = out.store.snapshot();
            let mut visit = |key: &[u8], row: &[u8]| {
                let end = key.len().saturating_sub(OP_SUFFIX_LEN);
                let text = key.get(prefix_len..end).and_then(|text| str::from_utf8(text).ok());
                let key = text.and_then(|text| text.parse::<AnnotationKey>().ok());
                winners.extend(key.zip(AnnotationRow::decode(row).ok()));
                ControlFlow::Continue(())
            };
            let direction = Direction::Forward;
            snapshot.scan(Family::Annotations, bounds(&range), direction, &mut visit)?;
            let mut folds: BTreeMap<MessageId, Annotations> = BTreeMap::new();
            for (key, AnnotationRow(value)) in winners {
                folds.entry(key.id()).or_default().apply(&key, value);
            }
            for (id, annotations) in folds {
                let key = keys::message(number, id);
                let row = snapshot.get(Family::Index, &key)?;
                let Some(row) = row else { continue };
                let row = IndexRow { annotations, ..IndexRow::decode(&row)? };
                out.put(Family::Index, key, row.encode())?;
            }
        }
        Ok(())
    }

    /// Keeps the saved documents that are what the log says, deletes the others, and puts the
    /// directory: the changes behind a saved document are its tail.
    pub(super) fn settle_documents(
        &mut self,
        out: &mut Out<'_>,
        number: ChannelId,
        log: &Log,
    ) -> Result<(), RepairError> {
        let snapshot = out.store.snapshot();
        let is_stray = |key: &[u8]| {
            keys::window_of(key).is_none_or(|window| {
                !self.windows.contains_key(&window) && !log.rewritten.contains(&window)
            })
        };
        for key in keys_of(&*snapshot, Family::Docs, number, is_stray)? {
            out.delete(Family::Docs, key)?;
        }
        for (window, row) in &mut self.windows {
            for doc in DOCS {
                let places = self.changes.get(&(*window, doc)).map_or(&[][..], Vec::as_slice);
                let key = keys::doc(number, *window, doc);
                let saved = snapshot.get(Family::Docs, &key)?;
                let upto = saved.as_ref().and_then(|saved| {
                    saved_upto(saved, *window, doc, row.entry.generation, places)
                });
                if saved.is_some() && upto.is_none() {
                    out.delete(Family::Docs, key)?;
                }
                let behind = places.iter().filter(|place| place.last_seq > upto.unwrap_or(0));
                let tail = row.tail_mut(doc);
                *tail = TailSize::default();
                for place in behind {
                    tail.changes += 1;
                    tail.bytes += place.bytes;
                }
            }
            out.put(Family::Directory, keys::directory(number, *window), row.encode())?;
        }
        Ok(())
    }

    /// Puts ranks and head, counted from the index.
    pub(super) fn count(
        &self,
        out: &mut Out<'_>,
        number: ChannelId,
        log: &Log,
    ) -> Result<(), RepairError> {
        let mut blocks: Vec<(u128, u32)> = Vec::new();
        let (mut total, mut newest) = (0, None);
        let range = keys::channel(number);
        let mut visit = |key: &[u8], _: &[u8]| {
            let Some(id) = keys::message_of(key) else { return ControlFlow::Continue(()) };
            (total, newest) = (total + 1, Some(id));
            match blocks.last_mut() {
                Some((_, count)) if *count < RANK_BLOCK => *count += 1,
                Some(_) => blocks.push((id.as_u128(), 1)),
                None => blocks.push((0, 1)),
            }
            ControlFlow::Continue(())
        };
        let direction = Direction::Forward;
        out.store.snapshot().scan(Family::Index, bounds(&range), direction, &mut visit)?;
        for (start, count) in blocks {
            out.put(Family::Ranks, keys::rank(number, start), count.to_be_bytes().to_vec())?;
        }
        let Log { seq, hash, floor, .. } = *log;
        let head = HeadRow { seq, hash, total, newest, floor };
        out.put(Family::Meta, keys::head(number), head.encode())?;
        Ok(())
    }
}

fn put_message(
    out: &mut Out<'_>,
    number: ChannelId,
    window: Window,
    (id, seq, late): (MessageId, u64, bool),
    body: &[u8],
) -> Result<(), StoreError> {
    let (level, body) = (window.level(), body.to_vec());
    let row = IndexRow { seq, late, level, body, annotations: Annotations::default() };
    out.put(Family::Index, keys::message(number, id), row.encode())?;
    if late {
        out.put(Family::Late, keys::late(number, seq), LateRow(id).encode())?;
    }
    let row = MemberRow { seq, late };
    out.put(Family::Members, keys::member(number, window, id), row.encode())
}

fn put_actor(
    out: &mut Out<'_>,
    number: ChannelId,
    (window, doc, actor): (Window, DocKind, ActorId16),
    row: &ActorRow,
) -> Result<(), StoreError> {
    out.put(Family::Actors, keys::actor(number, window, doc, &actor), row.encode())
}

/// The seq up to which a saved document holds the changes of the log, and no others.
fn saved_upto(
    saved: &[u8],
    window: Window,
    doc: DocKind,
    generation: u32,
    places: &[Place],
) -> Option<u64> {
    let row = DocRow::decode(saved).ok().filter(|row| row.generation == generation)?;
    let count = places.iter().position(|place| place.last_seq == row.upto_seq)? + 1;
    let expected = digest(places.iter().take(count).map(|place| place.hash));
    // Automerge panics on some damage.
    let load = || SegmentDoc::load(window, doc, &row.bytes).ok().map(|document| document.digest());
    let found = catch_unwind(AssertUnwindSafe(load)).ok().flatten()?;
    (row.digest == expected && found == expected).then_some(row.upto_seq)
}
