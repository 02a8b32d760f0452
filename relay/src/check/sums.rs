//! Rows held against the log by sums, so that each family is read once from its first row to its last.
//!
//! The log is in the order of arrival, the index in that of ids: looking up each message's row would
//! take a seek for each. So both sides are hashed row by row, and the hashes added up, whatever their
//! order. Only where a sum differs are the rows looked up one by one, to name what is wrong.

use super::Channel;
use super::log::Told;
use crate::reader::ReadError;
use crate::store::keys::{self, bounds};
use crate::store::kv::{Direction, Family};
use crate::store::rows::{IndexRow, LateRow, LogRow, MemberRow, Row};
use backscroll_core::annotation::Annotations;
use backscroll_core::change::{ChangeBody, ChangeView, MessageOp};
use backscroll_core::message::MessageId;
use backscroll_core::segment::SegmentDoc;
use backscroll_core::window::Window;
use backscroll_core::wire::is_late;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Sums over the rows of a channel: what the log says they are, or what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    index: u64,
    members: u64,
    late: u64,
    pointers: u64,
}

/// A message as the log has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Logged<'a> {
    pub(super) id: MessageId,
    pub(super) seq: u64,
    pub(super) late: bool,
    pub(super) window: Window,
    pub(super) body: &'a [u8],
}

fn hash_of(parts: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish()
}

fn add(sum: &mut u64, parts: impl Hash) {
    *sum = sum.wrapping_add(hash_of(parts));
}

/// A fold of annotations as bytes; the same for equal ones.
fn fold_of(annotations: &Annotations) -> String {
    format!("{annotations:?}")
}

impl Told {
    /// Adds what the rows of a message must be.
    pub(super) fn add_message(&mut self, message: Logged<'_>) {
        let Logged { id, seq, late, window, body } = message;
        add(&mut self.sums.index, (id, seq, late, window.level(), body));
        add(&mut self.sums.members, (window, id, seq, late));
        if late {
            self.late += 1;
            add(&mut self.sums.late, (id, seq));
        }
        add(self.bodies.entry(window).or_default(), (id, body));
    }

    /// Adds the pointer to a change.
    pub(super) fn add_pointer(&mut self, key: &[u8]) {
        add(&mut self.sums.pointers, key);
    }
}

impl Channel<'_> {
    /// Holds index, members, the list of late ones and pointers against the log.
    pub(super) fn verify_rows(&mut self, told: &mut Told) -> Result<(), ReadError> {
        let mut found = Sums::default();
        let rows = self.rows;
        let (range, mut damaged) = (keys::channel(self.number), 0_u64);
        rows.scan(Family::Index, bounds(&range), Direction::Forward, &mut |key, row| {
            match (keys::message_of(key), IndexRow::decode(row)) {
                (Some(id), Ok(row)) => {
                    add(&mut found.index, (id, row.seq, row.late, row.level, &*row.body));
                    if !row.annotations.is_empty() {
                        let window = Window::covering(row.level, id.time_ms());
                        let sum = told.annotated.entry(window).or_default();
                        add(sum, (id, fold_of(&row.annotations)));
                    }
                }
                _ => damaged += 1,
            }
            ControlFlow::Continue(())
        })?;
        rows.scan(Family::Members, bounds(&range), Direction::Forward, &mut |key, row| {
            match (keys::window_of(key), keys::member_of(key), MemberRow::decode(row)) {
                (Some(window), Some(id), Ok(row)) => {
                    add(&mut found.members, (window, id, row.seq, row.late));
                }
                _ => damaged += 1,
            }
            ControlFlow::Continue(())
        })?;
        rows.scan(Family::Late, bounds(&range), Direction::Forward, &mut |key, row| {
            match (keys::seq_of(key), LateRow::decode(row)) {
                (Some(seq), Ok(LateRow(id))) => add(&mut found.late, (id, seq)),
                _ => damaged += 1,
            }
            ControlFlow::Continue(())
        })?;
        rows.scan(Family::WindowLog, bounds(&range), Direction::Forward, &mut |key, _| {
            add(&mut found.pointers, key);
            ControlFlow::Continue(())
        })?;
        if damaged > 0 {
            self.problem(format!("{damaged} rows of messages do not read back"));
        }
        told.is_index_sound = damaged == 0 && found == told.sums;
        if !told.is_index_sound {
            let before = self.problems.len();
            self.name_wrong_rows()?;
            if self.problems.len() == before {
                self.problem("there are rows of messages that no change accounts for".to_owned());
            }
        }
        Ok(())
    }

    /// Looks up the rows of each change.
    fn name_wrong_rows(&mut self) -> Result<(), ReadError> {
        let mut from = 0;
        loop {
            let (changes, _) = self.log_rows(from)?;
            let Some((last, _)) = changes.last() else { return Ok(()) };
            from = last + 1;
            for (first_seq, row) in changes {
                if !row.is_mark() {
                    self.name_wrong_rows_of(first_seq, &row)?;
                }
            }
        }
    }

    fn name_wrong_rows_of(&mut self, first_seq: u64, row: &LogRow) -> Result<(), ReadError> {
        let LogRow { window, doc, .. } = *row;
        let pointer = keys::window_log(self.number, window, doc, first_seq);
        if self.rows.get(Family::WindowLog, &pointer)?.is_none() {
            self.problem(format!("change {first_seq} is missing in window {window}"));
        }
        // What does not read back was told before.
        let read = || ChangeView::read(&row.chunk, window, doc).ok();
        let view = catch_unwind(AssertUnwindSafe(read)).ok().flatten();
        let Some(ChangeBody::Messages(ops)) = view.map(|view| view.body) else { return Ok(()) };
        let mut ops: Vec<&MessageOp> = ops.iter().collect();
        ops.sort_unstable_by_key(|op| op.id);
        for (position, op) in ops.into_iter().enumerate() {
            let (seq, late) = (first_seq + position as u64, is_late(&row.late, position));
            let stored: Option<IndexRow> = self.get(&keys::message(self.number, op.id))?;
            let is_same = stored.is_some_and(|stored| {
                (stored.seq, stored.late, stored.level) == (seq, late, window.level())
                    && stored.body == op.body
            });
            if !is_same {
                let what = format!("is not indexed as change {first_seq} says");
                self.problem(format!("message {} {what}", op.id));
            }
            if late {
                let listed: Option<LateRow> = self.get(&keys::late(self.number, seq))?;
                if listed != Some(LateRow(op.id)) {
                    self.problem(format!("message {} is not listed as late", op.id));
                }
            }
            let key = keys::member(self.number, window, op.id);
            let member: Option<MemberRow> = self.get(&key)?;
            if member != Some(MemberRow { seq, late }) {
                self.problem(format!("message {} is not listed in its window", op.id));
            }
        }
        Ok(())
    }

    /// Whether the documents of a window say what log and index do.
    pub(super) fn agrees(told: &Told, window: Window, documents: [&SegmentDoc; 2]) -> bool {
        let [segment, annotations] = documents;
        let mut bodies = 0;
        for (id, body) in segment.messages() {
            add(&mut bodies, (id, &*body));
        }
        let annotated: BTreeSet<_> = annotations.annotations().map(|(key, _)| key.id()).collect();
        let mut folds = 0;
        for id in annotated {
            let summary = annotations.summary(id);
            if !summary.is_empty() {
                add(&mut folds, (id, fold_of(&summary)));
            }
        }
        let of = |sums: &BTreeMap<Window, u64>| sums.get(&window).copied().unwrap_or(0);
        told.is_index_sound && bodies == of(&told.bodies) && folds == of(&told.annotated)
    }
}
