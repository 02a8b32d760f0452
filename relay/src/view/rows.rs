//! The rows of a live view: which messages stand in it, and where.

use crate::reader::History;
use backscroll_core::message::MessageId;
use backscroll_core::viewport::{LiveRow, Ranked, Source};
use std::ops::Range;

/// What is remembered of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) id: MessageId,
    /// The seq of what made it look as it does.
    pub(crate) version: u64,
    pub(crate) late: bool,
    /// The reader wrote it.
    pub(crate) own: bool,
}

impl LiveRow for Mark {
    fn is_late(&self) -> bool {
        self.late
    }

    fn is_own(&self) -> bool {
        self.own
    }
}

/// Where a message came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Inside,
    Above,
    Below,
}

/// Consecutive rows of a timeline.
#[derive(Debug, Default)]
pub(super) struct Rows {
    start: u64,
    total: u64,
    marks: Vec<Mark>,
}

impl Rows {
    /// Those of an answer.
    pub(super) fn of(history: &History, user: Option<&str>) -> Self {
        let mark = |row: &crate::index::MessageRow| Mark {
            id: row.id,
            version: row.seq,
            late: row.late,
            own: user == Some(row.content.from.as_str()),
        };
        let marks = history.messages.iter().map(mark).collect();
        Self { start: history.start, total: history.total, marks }
    }

    pub(super) const fn total(&self) -> u64 {
        self.total
    }

    /// Their numbers.
    pub(super) const fn range(&self) -> Range<u64> {
        self.start..self.start + self.marks.len() as u64
    }

    /// The first and the last message.
    pub(super) fn ends(&self) -> Option<(MessageId, MessageId)> {
        Some((self.marks.first()?.id, self.marks.last()?.id))
    }

    /// A message came: it is one of the rows if it stands between them, or at an end of the timeline
    /// that they have reached.
    pub(super) fn insert(&mut self, mark: Mark) -> Place {
        let reaches_end = self.range().end == self.total;
        self.total += 1;
        let at = self.marks.partition_point(|known| known.id < mark.id);
        let place = if self.marks.is_empty() {
            if reaches_end { Place::Inside } else { Place::Below }
        } else if at == 0 && self.start > 0 {
            Place::Above
        } else if at == self.marks.len() && !reaches_end {
            Place::Below
        } else {
            Place::Inside
        };
        match place {
            Place::Inside => self.marks.insert(at, mark),
            Place::Above => self.start += 1,
            Place::Below => {}
        }
        place
    }

    /// Something was said of a message; whether it is one of the rows.
    pub(super) fn touch(&mut self, id: MessageId, version: u64) -> bool {
        let at = self.marks.binary_search_by_key(&id, |mark| mark.id);
        let Some(mark) = at.ok().and_then(|at| self.marks.get_mut(at)) else { return false };
        mark.version = version;
        true
    }

    /// Forgets the rows outside a range; the first one's number is the range's from then on.
    pub(super) fn keep(&mut self, range: &Range<u64>) {
        let own = self.range();
        let len = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX).min(self.marks.len());
        let end = len(range.end.saturating_sub(own.start));
        let start = len(range.start.saturating_sub(own.start)).min(end);
        self.marks.truncate(end);
        self.marks.drain(..start);
        self.start = range.start;
    }

    fn mark(&self, index: u64) -> Option<&Mark> {
        self.marks.get(usize::try_from(index.checked_sub(self.start)?).ok()?)
    }
}

impl Ranked for Rows {
    fn total(&self) -> u64 {
        self.total
    }

    /// Exact for what stands in the rows; anything else is at their nearer end.
    fn rank(&self, id: MessageId) -> u64 {
        self.start + self.marks.partition_point(|known| known.id < id) as u64
    }
}

impl Source for Rows {
    type Row = Mark;

    fn ids(&self, rows: Range<u64>) -> Vec<Option<MessageId>> {
        rows.map(|index| self.mark(index).map(|mark| mark.id)).collect()
    }

    fn row(&self, index: u64, id: Option<MessageId>) -> Mark {
        // Rows that are not here are told by nobody: the view is opened anew then.
        let id = id.unwrap_or(MessageId::first_of(0));
        self.mark(index).copied().unwrap_or(Mark { id, version: 0, late: false, own: false })
    }
}
