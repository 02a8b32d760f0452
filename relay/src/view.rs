//! A live viewport of a client without documents (design 5.2, 8.2): what stands in it, what came in
//! around it, and which late messages its reader has not had in view.
//!
//! It begins at a [`History`] and is kept in step by committed changes; the rules are those of the
//! core's [`LiveWindow`]. Of its rows it keeps ids: the messages themselves were sent. A change
//! outside costs a comparison with both ends. Knows nothing of sockets or of the store.

mod rows;

use crate::commit::{CommittedChange, Published};
use crate::index::MessageRow;
use crate::limits::{LATE_RUNS_TOLD_MAX, VIEW_PENDING_BYTES_MAX};
use crate::reader::History;
use backscroll_core::late::{Late, Unseen};
use backscroll_core::limits::ROWS_MAX;
use backscroll_core::message::MessageId;
use backscroll_core::viewport::{
    At, Batch, Delta, LiveWindow, Query, QueryError, Reason, Update, resolve,
};
use rows::{Mark, Place, Rows};
use std::collections::HashMap;

/// One reader's place in a channel.
#[derive(Debug)]
pub(crate) struct LiveView {
    /// What this user writes is no late news; `None` is nobody in particular.
    user: Option<String>,
    query: Query,
    window: LiveWindow<Mark>,
    rows: Rows,
    /// Messages that came into the rows or changed there and were not told yet.
    pending: HashMap<MessageId, MessageRow>,
    pending_bytes: usize,
    batch: Batch,
    news: News,
    late: Unseen,
    /// Late messages up to this seq are counted; none yet before it is first placed.
    late_seq: Option<u64>,
    /// The rows are as of this seq.
    rows_seq: u64,
}

/// How much there is to tell; the greatest counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum News {
    /// Nothing.
    #[default]
    None,
    /// Other counts only.
    Counts,
    /// Other rows.
    Rows,
    /// More than a delta tells: the view is to be opened anew.
    Stale,
}

/// A delta, with the messages it is about.
#[derive(Debug)]
pub(crate) struct ViewDelta {
    pub(crate) delta: Delta<Mark>,
    pub(crate) messages: HashMap<MessageId, MessageRow>,
    pub(crate) late: Late,
}

impl ViewDelta {
    /// The message of a row that came in or changed.
    pub(crate) fn message(&self, mark: Mark) -> Option<&MessageRow> {
        self.messages.get(&mark.id)
    }
}

impl LiveView {
    /// A view that is not placed yet, of a reader who has not had these late messages in view.
    pub(crate) fn new(user: Option<String>, late: Unseen) -> Self {
        let query = Query { at: At::Latest, before: 0, after: 0 };
        Self {
            user,
            query,
            window: LiveWindow::new(),
            rows: Rows::default(),
            pending: HashMap::new(),
            pending_bytes: 0,
            batch: Batch::default(),
            news: News::None,
            late,
            late_seq: None,
            rows_seq: 0,
        }
    }

    /// Places it at what was read for `query`.
    ///
    /// # Errors
    /// The query is out of bounds.
    pub(crate) fn open(&mut self, query: Query, history: &History) -> Result<(), QueryError> {
        self.rows = Rows::of(history, self.user.as_deref());
        self.rows_seq = history.seq;
        self.late_seq.get_or_insert(history.seq);
        self.query = self.fitted(query)?;
        let asked = self.query.before + self.query.after;
        self.window = LiveWindow::with_rows_max(ROWS_MAX.max(asked.saturating_mul(2)));
        self.window.poll(&self.query, &self.rows, Batch::default())?;
        self.window.settle();
        self.query = self.held(self.query);
        self.told();
        self.see();
        Ok(())
    }

    /// The query without the rows that an answer had no room for.
    fn fitted(&self, query: Query) -> Result<Query, QueryError> {
        let range = self.rows.range();
        if resolve(&query, &self.rows)? == range {
            return Ok(query);
        }
        let anchor = resolve(&Query { before: 0, after: 0, ..query }, &self.rows)?.start;
        let anchor = anchor.clamp(range.start, range.end);
        Ok(Query { before: anchor - range.start, after: range.end - anchor, ..query })
    }

    /// The query that finds this place again when other messages have come: anchored to a message, as
    /// numbers and fractions mean another place then.
    fn held(&self, query: Query) -> Query {
        let end = self.rows.range().end;
        match query.at {
            At::Latest | At::Oldest => query,
            _ => match (self.window.anchor(), self.rows.ends()) {
                (Some(id), _) => Query { at: At::Id(id), ..query },
                (None, _) if end == self.rows.total() => Query { at: At::Latest, ..query },
                (None, Some((_, last))) if query.after == 0 => {
                    Query { at: At::Id(last), before: query.before.saturating_sub(1), after: 1 }
                }
                (None, _) => query,
            },
        }
    }

    /// Where to open it anew.
    pub(crate) const fn query(&self) -> Query {
        self.query
    }

    /// How much there is to tell.
    pub(crate) const fn news(&self) -> News {
        self.news
    }

    /// The late messages not had in view, and the seq up to which they are counted.
    pub(crate) fn late(&self) -> (&Unseen, u64) {
        (&self.late, self.late_seq.unwrap_or(0))
    }

    /// The late messages around the view.
    pub(crate) fn late_around(&self) -> Late {
        Late::around(&self.late, self.rows.ends(), LATE_RUNS_TOLD_MAX)
    }

    /// Changes went by unseen: it is to be opened anew, with late messages counted elsewhere.
    pub(crate) const fn lose(&mut self) {
        self.news = News::Stale;
    }

    /// Takes late messages that were counted elsewhere, up to a seq; from then on it counts itself.
    pub(crate) fn recount(&mut self, late: Unseen, upto_seq: u64) {
        (self.late, self.late_seq) = (late, Some(upto_seq));
    }

    /// Takes in a committed change; in the order of seqs, each once or more often.
    ///
    /// # Complexity
    /// O(log n) in rows and late messages for a message in the view or late, O(1) for any other.
    pub(crate) fn apply(&mut self, change: &CommittedChange) {
        if self.late_seq.is_none_or(|seq| change.first_seq > seq) {
            self.late_seq = Some(change.last_seq);
            change.messages.iter().for_each(|new| self.count_late(new));
        }
        if change.first_seq <= self.rows_seq {
            return;
        }
        self.rows_seq = change.last_seq;
        for new in change.messages.iter() {
            self.insert(new);
        }
        for update in change.updates.iter() {
            if self.rows.touch(update.row.id, change.first_seq) {
                self.batch.edited = true;
                self.await_telling(&update.row);
            }
        }
    }

    fn is_own(&self, row: &MessageRow) -> bool {
        self.user.as_ref().is_some_and(|user| *user == row.content.from)
    }

    fn count_late(&mut self, new: &Published) {
        let id = new.row.id;
        if new.row.late && !self.is_own(&new.row) {
            self.late.came(id, new.row.seq, new.beside);
            // Its place may be one that was read already: then nothing else tells of it.
            self.news = self.news.max(News::Counts);
        } else {
            self.late.part_at(id);
        }
    }

    fn insert(&mut self, new: &Published) {
        let row = &new.row;
        let own = self.is_own(row);
        let mark = Mark { id: row.id, version: row.seq, late: row.late, own };
        self.batch.late |= row.late;
        self.batch.live |= !row.late;
        self.batch.wrote |= own;
        match self.rows.insert(mark) {
            Place::Inside => self.await_telling(row),
            Place::Above | Place::Below => self.news = self.news.max(News::Counts),
        }
        if self.rows.total() != new.total {
            self.lose();
        }
    }

    fn await_telling(&mut self, row: &MessageRow) {
        self.news = self.news.max(News::Rows);
        self.pending_bytes += row.memory_bytes();
        // Told once, as it is last.
        if let Some(before) = self.pending.insert(row.id, row.clone()) {
            self.pending_bytes = self.pending_bytes.saturating_sub(before.memory_bytes());
        }
        if self.pending_bytes > VIEW_PENDING_BYTES_MAX {
            self.lose();
        }
    }

    /// What changed since it was last told; `None` if nothing did, or if the view is stale then.
    ///
    /// # Errors
    /// The query is out of bounds.
    ///
    /// # Complexity
    /// O(rows of the view) and O(late runs told).
    pub(crate) fn poll(&mut self) -> Result<Option<ViewDelta>, QueryError> {
        match self.news {
            News::None | News::Stale => return Ok(None),
            News::Counts | News::Rows => {}
        }
        let update = self.window.poll(&self.query, &self.rows, self.batch)?;
        let delta = match update {
            // It has grown beyond its bound, or cannot be told from what stood there.
            Some(Update::Reset(_)) => {
                self.lose();
                return Ok(None);
            }
            Some(Update::Delta(delta)) => delta,
            None => self.window.unchanged(Reason::Late),
        };
        self.rows.keep(&self.window.range());
        self.see();
        let messages = self.told();
        Ok(Some(ViewDelta { delta, messages, late: self.late_around() }))
    }

    /// What stands in the view was seen.
    fn see(&mut self) {
        if let Some((first, last)) = self.rows.ends() {
            self.late.mark_seen(first, last);
        }
    }

    fn told(&mut self) -> HashMap<MessageId, MessageRow> {
        (self.batch, self.news, self.pending_bytes) = (Batch::default(), News::None, 0);
        std::mem::take(&mut self.pending)
    }
}

#[cfg(test)]
mod tests;
