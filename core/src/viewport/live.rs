//! Live windows: rows that stay around their reader's place while others come and go (design 5.2).
//!
//! A [`LiveWindow`] remembers what its consumer was told. [`LiveWindow::poll`] compares that with the
//! timeline as it is now, so that all that happened in between is one batch: there is no queue, and a
//! consumer that polls seldom gets fewer, larger updates. The window knows its rows by their ids and
//! not by their numbers: its first and last message stay its ends, whatever comes in above.
//!
//! What a consumer keeps of a [`Delta`]: (1) it takes out the rows of `removed`, found by their ids;
//! (2) its first row has the number `start` from then on; (3) it puts in the rows of `inserted`, in
//! their order, each at its number; (4) it replaces the rows of `updated`.
//!
//! ```
//! use backscroll_core::message::MessageId;
//! use backscroll_core::viewport::{At, Batch, LiveRow, LiveWindow, Query, Ranked, Reason, Source, Update};
//! use std::ops::Range;
//!
//! /// A timeline of nothing but ids.
//! struct Ids(Vec<MessageId>);
//!
//! #[derive(Clone, Debug, PartialEq)]
//! struct Row(MessageId);
//!
//! impl LiveRow for Row {}
//!
//! impl Ranked for Ids {
//!     fn total(&self) -> u64 {
//!         self.0.len() as u64
//!     }
//!     fn rank(&self, id: MessageId) -> u64 {
//!         self.0.partition_point(|known| *known < id) as u64
//!     }
//! }
//!
//! impl Source for Ids {
//!     type Row = Row;
//!     fn ids(&self, rows: Range<u64>) -> Vec<Option<MessageId>> {
//!         rows.map(|row| Some(self.0[row as usize])).collect()
//!     }
//!     fn row(&self, index: u64, _: Option<MessageId>) -> Row {
//!         Row(self.0[index as usize])
//!     }
//! }
//!
//! let id = |time_ms| MessageId::first_of(time_ms);
//! let mut timeline = Ids((1..=10).map(|i| id(i * 100)).collect());
//! let mut window = LiveWindow::new();
//! let query = Query { at: At::Id(id(500)), before: 2, after: 2 };
//! let batch = Batch { live: true, ..Batch::default() };
//!
//! let Some(Update::Reset(rows)) = window.poll(&query, &timeline, batch)? else { panic!() };
//! assert_eq!((rows.reason, rows.start, rows.rows.len()), (Reason::Init, 2, 4));
//! window.settle();
//! assert_eq!(window.poll(&query, &timeline, batch)?, None);
//!
//! timeline.0.insert(0, id(50)); // above
//! timeline.0.insert(5, id(450)); // between the window's rows
//! timeline.0.push(id(1_100)); // below
//! let Some(Update::Delta(delta)) = window.poll(&query, &timeline, batch)? else { panic!() };
//! assert_eq!((delta.start, delta.above, delta.below), (3, 1, 1));
//! assert_eq!(delta.inserted, [(5, Row(id(450)))]);
//! # Ok::<(), backscroll_core::viewport::QueryError>(())
//! ```

mod diff;

use super::{At, Query, QueryError, Ranked, resolve};
use crate::message::MessageId;
use diff::{Steps, diff};
use std::ops::Range;

/// How many rows more than asked for a small window may grow to; a large one grows to twice its
/// rows. Beyond it the rows far from the anchor leave.
const GROWTH_MIN: u64 = 32;

/// A timeline that can show its rows.
pub trait Source: Ranked {
    /// What stands in a row.
    type Row: LiveRow;

    /// The ids of a range of existing rows, ascending; None where a message is not loaded.
    fn ids(&self, rows: Range<u64>) -> Vec<Option<MessageId>>;

    /// What stands in an existing row, of which `id` is the id.
    fn row(&self, index: u64, id: Option<MessageId>) -> Self::Row;
}

/// What a live window asks of a row, to tell why it changed.
pub trait LiveRow: Clone + PartialEq {
    /// Whether its message came late (design 5.3).
    fn is_late(&self) -> bool {
        false
    }

    /// Whether the reader wrote it.
    fn is_own(&self) -> bool {
        false
    }
}

/// Why a window changed. Of all that one update tells, the first of this list is its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The window is new, or the first that is known of its channel came.
    Init,
    /// The reader went elsewhere.
    Goto,
    /// The channel's history was replaced, or rows went from where they cannot be told one by one.
    Reset,
    /// The reader wrote a message.
    Send,
    /// Messages came late, or were seen: in the window or elsewhere.
    Late,
    /// Messages came in their turn.
    Live,
    /// Something was said of messages that were there, or one's way out went on.
    Edit,
    /// Messages were loaded or dropped, or the window followed its reader's scrolling.
    Loaded,
}

/// What happened to a timeline since it was last asked about, as far as its owner noted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that may have happened")]
pub struct Batch {
    /// The reader wrote a message.
    pub wrote: bool,
    /// Messages came in their turn.
    pub live: bool,
    /// Messages came late.
    pub late: bool,
    /// Rows that were there may look different: edits, reactions, the state of own messages.
    pub edited: bool,
    /// Messages were loaded or dropped.
    pub loaded: bool,
    /// All rows may be others.
    pub reset: bool,
}

impl Batch {
    /// Whether anything did.
    #[must_use]
    pub fn any(self) -> bool {
        self != Self::default()
    }

    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            wrote: self.wrote || other.wrote,
            live: self.live || other.live,
            late: self.late || other.late,
            edited: self.edited || other.edited,
            loaded: self.loaded || other.loaded,
            reset: self.reset || other.reset,
        }
    }

    /// Whether rows that were there may look different.
    const fn changes_rows(self) -> bool {
        self.edited || self.loaded || self.reset
    }

    /// The reason of an update that all of it may have caused.
    const fn reason(self) -> Reason {
        match self {
            Self { reset: true, .. } => Reason::Reset,
            Self { wrote: true, .. } => Reason::Send,
            Self { late: true, .. } => Reason::Late,
            Self { live: true, .. } => Reason::Live,
            Self { loaded: true, .. } => Reason::Loaded,
            Self { edited: true, .. } => Reason::Edit,
            _ => Reason::Reset,
        }
    }
}

/// All rows of a window.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot<R> {
    /// Why all of them are told.
    pub reason: Reason,
    /// The number of the first.
    pub start: u64,
    /// How many rows the timeline has.
    pub total: u64,
    /// The rows, oldest first.
    pub rows: Vec<R>,
}

/// What changed in a window. All numbers are as after it.
#[derive(Clone, Debug, PartialEq)]
pub struct Delta<R> {
    /// Why.
    pub reason: Reason,
    /// The number of the window's first row.
    pub start: u64,
    /// How many rows the timeline has.
    pub total: u64,
    /// Rows that came in above the window.
    pub above: u64,
    /// Rows that came in below the window.
    pub below: u64,
    /// Rows that came into the window, by ascending number.
    pub inserted: Vec<(u64, R)>,
    /// Rows of the window that look different, by ascending number.
    pub updated: Vec<(u64, R)>,
    /// Messages that went from the window, and the numbers where they would stand.
    pub removed: Vec<(u64, MessageId)>,
    /// Whether the timeline's first row is in the window.
    pub found_oldest: bool,
    /// Whether the timeline's last row is in the window.
    pub found_newest: bool,
}

/// What a window's consumer is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Update<R> {
    /// All rows anew.
    Reset(Snapshot<R>),
    /// What changed.
    Delta(Delta<R>),
}

#[derive(Clone, Debug)]
struct Cell<R> {
    id: Option<MessageId>,
    row: R,
}

/// A window that follows its rows.
#[derive(Clone, Debug)]
pub struct LiveWindow<R> {
    start: u64,
    total: u64,
    cells: Vec<Cell<R>>,
    /// The number of the row that the window was opened at.
    anchor: u64,
    /// Why the next update tells all rows.
    reset: Option<Reason>,
    /// Whether the rows are those the query asked for, so that their ids are its place from then on.
    is_settled: bool,
    /// Rows it may grow to, if its host says so.
    rows_max: Option<u64>,
}

impl<R: LiveRow> Default for LiveWindow<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: LiveRow> LiveWindow<R> {
    /// A window that nobody was told of.
    #[must_use]
    pub const fn new() -> Self {
        let reset = Some(Reason::Init);
        let cells = Vec::new();
        Self { start: 0, total: 0, cells, anchor: 0, reset, is_settled: false, rows_max: None }
    }

    /// A window that may grow to this many rows before it is told anew, rather than to twice those
    /// asked for.
    #[must_use]
    pub fn with_rows_max(rows_max: u64) -> Self {
        Self { rows_max: Some(rows_max), ..Self::new() }
    }

    /// The query was replaced: the next update tells all rows.
    pub fn moved(&mut self, reason: Reason) {
        self.reset = Some(self.reset.map_or(reason, |before| before.min(reason)));
    }

    /// The rows told last are exactly those that the query asked for: they stay, and no estimate moves
    /// them any more.
    pub const fn settle(&mut self) {
        self.is_settled = true;
    }

    /// Whether [`LiveWindow::settle`] was called since the window last moved.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// Whether the next poll tells all rows in any case.
    #[must_use]
    pub const fn is_reset(&self) -> bool {
        self.reset.is_some()
    }

    /// The numbers of the rows told last.
    #[must_use]
    pub const fn range(&self) -> Range<u64> {
        self.start..self.start + self.cells.len() as u64
    }

    /// How many rows the timeline had.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// The message that stood at the query's anchor when all rows were last told; None if it is not
    /// loaded or the anchor is the end.
    #[must_use]
    pub fn anchor(&self) -> Option<MessageId> {
        let at = usize::try_from(self.anchor.checked_sub(self.start)?).ok()?;
        self.cells.get(at)?.id
    }

    /// What changed since the last poll, None if nothing did. `query` is the one the window was opened
    /// with or moved to; an anchor by number or time should be replaced by [`LiveWindow::anchor`] once
    /// the rows are settled. `batch` says what may have happened.
    ///
    /// # Errors
    /// The query is out of bounds.
    ///
    /// # Complexity
    /// O(rows of the window), reading only those that are new, or all if `batch` says that some may
    /// look different. A window grows with what comes in between its ends, or at an end of the
    /// timeline it has reached, to about twice the rows asked for.
    pub fn poll<S: Source<Row = R>>(
        &mut self,
        query: &Query,
        source: &S,
        batch: Batch,
    ) -> Result<Option<Update<R>>, QueryError> {
        if let Some(reason) = self.reset {
            return self.tell_all(query, source, reason).map(Some);
        }
        let total = source.total();
        let reason = batch.reason();
        if batch.reset {
            return self.tell_all(query, source, reason).map(Some);
        }
        let Some(range) = self.range_now(query, source, total)? else {
            return self.tell_all(query, source, reason).map(Some);
        };
        let ids = source.ids(range.clone());
        let outside = self.came_outside(&range, total);
        let steps = diff(self.cells.iter().map(|cell| cell.id), &ids);
        // As long as its place is uncertain a row may turn out to stand elsewhere.
        let is_elsewhere = |steps: &Steps| {
            let left = steps.removed.iter().filter_map(|at| self.cells.get(*at)?.id);
            left.into_iter().any(|id| is_at(source, id, total))
        };
        let steps = steps.filter(|steps| !is_elsewhere(steps));
        let (Some((above, below)), Some(steps)) = (outside, steps) else {
            return self.tell_all(query, source, reason).map(Some);
        };
        let is_filled =
            steps.fills.iter().any(|(_, new)| ids.get(*new).is_some_and(|id| id.is_some()));
        let mut delta = self.take_steps(source, &range, &ids, &steps, batch.changes_rows());
        (delta.total, delta.above, delta.below) = (total, above, below);
        let is_news = delta.above + delta.below > 0 || !delta.inserted.is_empty();
        let is_changed = is_news || !delta.updated.is_empty() || !delta.removed.is_empty();
        if !is_changed && total == self.total {
            return Ok(None);
        }
        self.total = total;
        delta.found_newest = range.end >= total;
        let inserted = || delta.inserted.iter().map(|(_, row)| row);
        delta.reason = if inserted().any(LiveRow::is_own) || is_news && batch.wrote {
            Reason::Send
        } else if inserted().any(LiveRow::is_late) || is_news && batch.late {
            Reason::Late
        } else if is_news && (batch.live || !batch.loaded) {
            Reason::Live
        } else if is_filled || batch.loaded && !batch.edited {
            Reason::Loaded
        } else {
            Reason::Edit
        };
        Ok(Some(Update::Delta(delta)))
    }

    /// An update that says only where the window is: for a consumer that is to be told of something
    /// beside the rows.
    #[must_use]
    pub const fn unchanged(&self, reason: Reason) -> Delta<R> {
        let range = self.range();
        Delta {
            reason,
            start: range.start,
            total: self.total,
            above: 0,
            below: 0,
            inserted: Vec::new(),
            updated: Vec::new(),
            removed: Vec::new(),
            found_oldest: range.start == 0,
            found_newest: range.end >= self.total,
        }
    }

    fn tell_all<S: Source<Row = R>>(
        &mut self,
        query: &Query,
        source: &S,
        reason: Reason,
    ) -> Result<Update<R>, QueryError> {
        let range = resolve(query, source)?;
        let was_reset = self.reset.take().is_some();
        self.is_settled &= !was_reset;
        self.anchor = resolve(&Query { before: 0, after: 1, ..*query }, source)?.start;
        (self.start, self.total) = (range.start, source.total());
        let ids = source.ids(range.clone());
        let cell = |(index, id)| Cell { id, row: source.row(index, id) };
        self.cells = range.zip(ids).map(cell).collect();
        let rows = self.cells.iter().map(|cell| cell.row.clone()).collect();
        Ok(Update::Reset(Snapshot { reason, start: self.start, total: self.total, rows }))
    }

    /// The rows that the window has now; None if they cannot be told from those before.
    fn range_now<S: Source<Row = R>>(
        &self,
        query: &Query,
        source: &S,
        total: u64,
    ) -> Result<Option<Range<u64>>, QueryError> {
        let old = self.range();
        let is_end = matches!(query.at, At::Latest | At::Oldest);
        let first = self.cells.iter().position(|cell| cell.id.is_some());
        let last = self.cells.iter().rposition(|cell| cell.id.is_some());
        let range = match first.zip(last) {
            Some((first, last)) if self.is_settled || is_end => {
                let after = (self.cells.len() - last - 1) as u64;
                let id = |at: usize| self.cells.get(at).and_then(|cell| cell.id);
                let Some((first_id, last_id)) = id(first).zip(id(last)) else { return Ok(None) };
                let (first_row, last_row) = (source.rank(first_id), source.rank(last_id));
                let at_last = source.ids(last_row..(last_row + 1).min(total)).first().copied();
                // Dropped from memory, it is there still, as a placeholder.
                let is_there = at_last.is_some_and(|id| id.is_none_or(|id| id == last_id));
                let end = last_row + u64::from(is_there) + after;
                first_row.saturating_sub(first as u64)..end.min(total)
            }
            // Nothing to hold on to: the place is the query's.
            _ => {
                let range = resolve(query, source)?;
                let stays =
                    range.start == old.start && range.end - range.start == old.end - old.start;
                if !stays && !self.cells.is_empty() {
                    return Ok(None);
                }
                range
            }
        };
        let start = if old.start == 0 { 0 } else { range.start };
        let end = if old.end >= self.total { total } else { range.end };
        let rows = query.before.saturating_add(query.after);
        let grown = || rows.saturating_mul(2).max(rows.saturating_add(GROWTH_MIN));
        let rows_max = self.rows_max.unwrap_or_else(grown);
        let fits = start <= end && (end - start <= rows_max || end - start <= old.end - old.start);
        Ok(fits.then_some(start..end))
    }

    /// How many rows came in above and below; None if rows went there.
    fn came_outside(&self, range: &Range<u64>, total: u64) -> Option<(u64, u64)> {
        let above = range.start.checked_sub(self.start)?;
        let below = (total - range.end).checked_sub(self.total - self.range().end)?;
        Some((above, below))
    }

    /// Makes the cells what they are now, and tells what changed.
    fn take_steps<S: Source<Row = R>>(
        &mut self,
        source: &S,
        range: &Range<u64>,
        ids: &[Option<MessageId>],
        steps: &Steps,
        is_reread: bool,
    ) -> Delta<R> {
        self.start = range.start;
        let mut delta = self.unchanged(Reason::Live);
        let mut old: Vec<_> = std::mem::take(&mut self.cells).into_iter().map(Some).collect();
        let removed = steps.removed.iter().filter_map(|at| old.get(*at)?.as_ref()?.id);
        delta.removed = removed.map(|id| (source.rank(id), id)).collect();
        let mut kept = steps.kept.iter().chain(&steps.fills).copied().collect::<Vec<_>>();
        kept.sort_unstable_by_key(|(_, new)| *new);
        let mut kept = kept.into_iter().peekable();
        for (at, (index, id)) in range.clone().zip(ids.iter().copied()).enumerate() {
            let before = kept.next_if(|(_, new)| *new == at);
            let before = before.and_then(|(from, _)| old.get_mut(from)?.take());
            let cell = match before {
                None => {
                    let row = source.row(index, id);
                    delta.inserted.push((index, row.clone()));
                    Cell { id, row }
                }
                Some(before) if before.id == id && id.is_some() && !is_reread => before,
                Some(before) => {
                    let row = source.row(index, id);
                    let is_placeholder = before.id.is_none() && id.is_none();
                    if before.row != row && !is_placeholder {
                        delta.updated.push((index, row.clone()));
                    }
                    Cell { id, row }
                }
            };
            self.cells.push(cell);
        }
        delta
    }
}

/// Whether a message stands in a row.
fn is_at(source: &impl Source, id: MessageId, total: u64) -> bool {
    let row = source.rank(id);
    row < total && source.ids(row..row + 1).first() == Some(&Some(id))
}

#[cfg(test)]
mod tests;
