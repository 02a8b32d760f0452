//! Reads the log from its first change to its last, and adds up what all other rows must be.

use super::rewritten::Rewritten;
use super::sums::{Logged, Sums};
use super::{Channel, Progress};
use crate::commit::apply::{count_message, is_late as comes_late};
use crate::reader::ReadError;
use crate::store::keys::{self, bounds};
use crate::store::kv::{Direction, Family};
use crate::store::rows::{
    ActorRow, AnnotationRow, DirectoryRow, HashRow, HeadRow, LogRow, Row, TailSize,
};
use backscroll_core::change::{
    ActorId16, AnnotationOp, ChangeBody, ChangeView, DocKind, MessageOp,
};
use backscroll_core::window::Window;
use backscroll_core::wire::is_late;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Changes read at a time.
const STRIDE: usize = 256;

/// Bytes of chunks read at a time.
const STRIDE_BYTES: usize = 4 << 20;

/// What the log tells of a channel.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) head: HeadRow,
    pub(super) windows: BTreeMap<Window, DirectoryRow>,
    pub(super) actors: BTreeMap<(Window, DocKind, ActorId16), ActorRow>,
    /// Windows that were rewritten by an erasure.
    pub(super) rewritten: BTreeMap<Window, Rewritten>,
    /// Rows of rewritten windows that no change of the log accounts for.
    pub(super) base_actors: u64,
    pub(super) base_hashes: u64,
    pub(super) base_ops: u64,
    /// What the rows of messages must add up to, and per window their bodies and annotations.
    pub(super) sums: Sums,
    pub(super) bodies: BTreeMap<Window, u64>,
    pub(super) annotated: BTreeMap<Window, u64>,
    /// Whether the rows of messages are what the log says.
    pub(super) is_index_sound: bool,
    changes: u64,
    annotation_changes: u64,
    pub(super) late: u64,
    annotation_ops: u64,
}

/// Changes by their first seqs, and seqs of rows that do not read back.
pub(super) type LogPart = (Vec<(u64, LogRow)>, Vec<u64>);

impl Channel<'_> {
    pub(super) fn verify_log(
        &mut self,
        head: &HeadRow,
        progress: &mut dyn FnMut(&Progress<'_>),
    ) -> Result<Told, ReadError> {
        let mut told = Told::default();
        loop {
            let (changes, damaged) = self.log_rows(told.head.seq + 1)?;
            for seq in damaged {
                self.problem(format!("change {seq} of the log is damaged"));
            }
            if changes.is_empty() {
                break;
            }
            for (first_seq, row) in changes {
                self.verify_change(&mut told, head.floor, first_seq, &row)?;
            }
            let (done, of) = (told.head.seq, head.seq + head.total);
            progress(&Progress { channel: &self.name, done, of });
        }
        self.expect("the head", head, &told.head);
        let directory: BTreeMap<_, _> = self.view.window_rows(&self.name)?.into_iter().collect();
        self.complete_rewritten(&mut told, &directory);
        self.verify_directory(&told, &directory)?;
        self.verify_dropped(&directory)?;
        Ok(told)
    }

    /// Changes from a seq on, a bounded number, and seqs of rows among them that do not read back.
    pub(super) fn log_rows(&self, from: u64) -> Result<LogPart, ReadError> {
        let range = keys::log_from(self.number, from);
        let (mut changes, mut damaged, mut bytes) = (Vec::new(), Vec::new(), 0);
        self.rows.scan(Family::Log, bounds(&range), Direction::Forward, &mut |key, row| {
            let seq = keys::seq_of(key).unwrap_or(0);
            match LogRow::decode(row) {
                Ok(row) => {
                    bytes += row.chunk.len();
                    changes.push((seq, row));
                }
                Err(_) => damaged.push(seq),
            }
            let is_enough = changes.len() >= STRIDE || bytes >= STRIDE_BYTES;
            if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok((changes, damaged))
    }

    fn verify_change(
        &mut self,
        told: &mut Told,
        floor: u64,
        first_seq: u64,
        row: &LogRow,
    ) -> Result<(), ReadError> {
        // What was dropped below the floor is missing in the log.
        let is_next =
            first_seq == told.head.seq + 1 || (first_seq > told.head.seq && first_seq <= floor);
        if !is_next {
            let expected = told.head.seq + 1;
            self.problem(format!("change {first_seq} follows where {expected} is the next seq"));
        }
        told.head.seq = row.last_seq(first_seq);
        told.head.hash = row.hash.0;
        if row.is_mark() {
            told.head.floor = first_seq;
            return Ok(());
        }
        told.changes += 1;
        let LogRow { window, doc, generation, .. } = *row;
        told.add_pointer(&keys::window_log(self.number, window, doc, first_seq));
        if row.is_erased() {
            return self.verify_erased(told, first_seq, row);
        }
        let Some(view) = self.read_change(first_seq, row) else { return Ok(()) };
        let mut entry = told.windows.remove(&window);
        match &view.body {
            ChangeBody::Messages(ops) => {
                for op in ops {
                    count_message(&mut entry, generation, op.id.time_ms(), op.body.len() as u64);
                }
                self.verify_messages(told, floor, first_seq, row, ops);
            }
            ChangeBody::Annotations(ops) => {
                if !told.rewritten.contains_key(&window) {
                    told.annotation_changes += 1;
                    told.annotation_ops += view.ops_len;
                }
                self.verify_annotations(first_seq, window, &view, ops)?;
            }
        }
        let is_rewritten = told.rewritten.contains_key(&window);
        if let Some(mut entry) = entry {
            if is_rewritten && generation > entry.entry.generation {
                entry.entry.generation = generation;
            }
            if generation != entry.entry.generation {
                self.problem(format!("change {first_seq} is of generation {generation}"));
            }
            match doc {
                DocKind::Messages => &mut entry.entry.message_doc,
                DocKind::Annotations => &mut entry.entry.annotation_doc,
            }
            .record(told.head.seq, &row.hash);
            let TailSize { changes, bytes } = entry.tail_mut(doc);
            *changes += 1;
            *bytes += row.chunk.len() as u64;
            told.windows.insert(window, entry);
        } else {
            self.problem(format!("change {first_seq} annotates an empty window"));
        }
        self.verify_actor(told, first_seq, row, &view);
        Ok(())
    }

    /// Reads a change that must be the one its row names.
    fn read_change(&mut self, first_seq: u64, row: &LogRow) -> Option<ChangeView> {
        // Automerge panics on some damage.
        let read = || ChangeView::read(&row.chunk, row.window, row.doc);
        let what = match catch_unwind(AssertUnwindSafe(read)) {
            Ok(Ok(view)) if view.hash == row.hash && view.ops_len == row.ops => return Some(view),
            Ok(Ok(_)) => "is not the one its row names".to_owned(),
            Ok(Err(error)) => format!("does not read back: {error}"),
            Err(_panic) => "does not read back: automerge panicked".to_owned(),
        };
        self.problem(format!("change {first_seq} {what}"));
        None
    }

    fn verify_actor(&mut self, told: &mut Told, first_seq: u64, row: &LogRow, view: &ChangeView) {
        let LogRow { window, doc, .. } = *row;
        let actor = ActorRow { user: row.user.clone(), state: view.actor_state() };
        let before = told.actors.insert((window, doc, view.actor), actor);
        // What an actor wrote before may be erased.
        let is_rewritten = told.rewritten.contains_key(&window);
        let first = if is_rewritten { view.seq.saturating_sub(1) } else { 0 };
        let (seq, user) = before.map_or((first, row.user.clone()), |row| (row.state.seq, row.user));
        if seq + 1 != view.seq || user != row.user {
            let what = "is not the next of its actor, or another user's";
            self.problem(format!("change {first_seq} {what}"));
        }
    }

    fn verify_messages(
        &mut self,
        told: &mut Told,
        floor: u64,
        first_seq: u64,
        row: &LogRow,
        ops: &[MessageOp],
    ) {
        let mut ops: Vec<_> = ops.iter().collect();
        ops.sort_unstable_by_key(|op| op.id);
        let newest_before = told.head.newest;
        for (position, op) in ops.into_iter().enumerate() {
            let (seq, late) = (first_seq + position as u64, is_late(&row.late, position));
            // What the relay wrote itself may be imported, which is never late.
            let is_backfill = row.user.is_empty() && !late;
            // Below the floor what it came after may be dropped.
            let is_known = seq > floor;
            if is_known && late != comes_late(newest_before, op.id) && !is_backfill {
                self.problem(format!("message {} has late = {late}, which is wrong", op.id));
            }
            told.head.total += 1;
            told.head.newest = told.head.newest.max(Some(op.id));
            told.add_message(Logged { id: op.id, seq, late, window: row.window, body: &op.body });
        }
    }

    fn verify_annotations(
        &mut self,
        first_seq: u64,
        window: Window,
        view: &ChangeView,
        ops: &[AnnotationOp],
    ) -> Result<(), ReadError> {
        let row: Option<HashRow> = self.get(&keys::hash(self.number, window, &view.hash))?;
        if row != Some(HashRow { first_seq, max_op: view.max_op() }) {
            self.problem(format!("annotation change {first_seq} is not found by its hash"));
        }
        for op in ops {
            let key = keys::annotation(self.number, window, &op.key, op.op, &view.actor);
            let row: Option<AnnotationRow> = self.get(&key)?;
            if row.is_none_or(|row| row.0 != op.value) {
                self.problem(format!("annotation {} of change {first_seq} is missing", op.key));
            }
        }
        Ok(())
    }

    fn verify_directory(
        &mut self,
        told: &Told,
        directory: &BTreeMap<Window, DirectoryRow>,
    ) -> Result<(), ReadError> {
        for (window, stored) in directory {
            match told.windows.get(window) {
                Some(expected) => {
                    self.expect(&format!("window {window}"), &stored.entry, &expected.entry);
                }
                None => self.problem(format!("window {window} has no changes")),
            }
        }
        for window in told.windows.keys().filter(|window| !directory.contains_key(window)) {
            self.problem(format!("window {window} is missing in the directory"));
        }
        for ((window, doc, actor), expected) in &told.actors {
            let stored: Option<ActorRow> =
                self.get(&keys::actor(self.number, *window, *doc, actor))?;
            if stored.as_ref() != Some(expected) {
                self.problem(format!("actor {actor:?} of window {window} is not where it is"));
            }
        }
        Ok(())
    }

    /// A window that was dropped begins again above what it was, or has.
    fn verify_dropped(
        &mut self,
        directory: &BTreeMap<Window, DirectoryRow>,
    ) -> Result<(), ReadError> {
        let mut problems = Vec::new();
        let range = keys::dropped_of(self.number);
        self.rows.scan(Family::Meta, bounds(&range), Direction::Forward, &mut |key, row| {
            let window = keys::dropped_window(key);
            let least = <[u8; 4]>::try_from(row).map(u32::from_be_bytes);
            problems.extend(match (window, least) {
                (Some(window), Ok(least)) => {
                    let now = directory.get(&window).map(|row| row.entry.generation);
                    now.filter(|now| *now < least)
                        .map(|now| format!("window {window} has generation {now}, below {least}"))
                }
                (Some(window), Err(_)) => {
                    Some(format!("the generation of the dropped window {window} is damaged"))
                }
                (None, _) => Some("a generation is of no window".to_owned()),
            });
            ControlFlow::Continue(())
        })?;
        problems.into_iter().for_each(|problem| self.problem(problem));
        Ok(())
    }

    /// Rows that no change accounts for.
    pub(super) fn verify_counts(&mut self, told: &Told) -> Result<(), ReadError> {
        for (family, expected) in [
            (Family::WindowLog, told.changes),
            (Family::Index, told.head.total),
            (Family::Members, told.head.total),
            (Family::Actors, told.actors.len() as u64 + told.base_actors),
            (Family::Late, told.late),
            (Family::Hashes, told.annotation_changes + told.base_hashes),
            (Family::Annotations, told.annotation_ops + told.base_ops),
        ] {
            let stored = self.count(family)?;
            self.expect(
                &format!("the number of rows of kind {}", family.name()),
                &stored,
                &expected,
            );
        }
        Ok(())
    }
}
