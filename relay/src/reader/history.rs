//! Viewports over the message index (design 5.2).

use super::{ReadError, View, scan_rows};
use crate::index::MessageRow;
use crate::limits::HISTORY_BYTES_MAX;
use crate::ranks::Ranks;
use crate::store::StoreError;
use crate::store::keys::{self, ChannelId};
use crate::store::kv::{Direction, Family};
use crate::store::rows::{HeadRow, IndexRow, Row as _};
use backscroll_core::message::MessageId;
use backscroll_core::viewport::{Query, Ranked, resolve};
use std::cell::RefCell;
use std::io;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// The answer to a viewport query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// The messages, oldest to newest.
    pub messages: Vec<MessageRow>,
    /// Index of the first of them, or where it would be.
    pub start: u64,
    /// Messages in the channel, deleted ones included.
    pub total: u64,
    /// Whether the channel's oldest message is the first of them, or nothing is before.
    pub found_oldest: bool,
    /// Whether the channel's newest message is the last of them, or nothing is after.
    pub found_newest: bool,
    /// The channel's head at the cut.
    pub seq: u64,
}

/// A channel's ranks, read when a query first needs them.
struct Counts<'v> {
    view: &'v View<'v>,
    name: &'v str,
    channel: ChannelId,
    total: u64,
    floor: u64,
    ranks: RefCell<Option<Arc<Ranks>>>,
    failed: RefCell<Option<StoreError>>,
}

impl Counts<'_> {
    fn ranks(&self) -> Result<Arc<Ranks>, StoreError> {
        let mut known = self.ranks.borrow_mut();
        if let Some(ranks) = &*known {
            return Ok(ranks.clone());
        }
        let ranks =
            self.view.ranks.get(&*self.view.rows, self.channel, (self.total, self.floor))?;
        *known = Some(ranks.clone());
        Ok(ranks)
    }

    /// The rows that a query is about.
    fn resolve(&self, query: &Query) -> Result<Range<u64>, ReadError> {
        let range = resolve(query, self)?;
        match self.failed.take() {
            Some(error) => Err(error.into()),
            None => Ok(range),
        }
    }

    /// The first number of the block that holds a rank, and how many rows to skip there. The end is
    /// behind all rows of the last block.
    fn place(&self, rank: u64) -> Result<(u128, u64), StoreError> {
        if rank == 0 {
            return Ok((0, 0));
        }
        if rank >= self.total {
            let (from, skip) = self.place(self.total - 1)?;
            return Ok((from, skip + 1));
        }
        Ok(self.ranks()?.find(rank).unwrap_or((0, 0)))
    }
}

impl Ranked for Counts<'_> {
    fn total(&self) -> u64 {
        self.total
    }

    fn rank(&self, id: MessageId) -> u64 {
        self.ranks().and_then(|ranks| ranks.rank(&*self.view.rows, id)).unwrap_or_else(|error| {
            self.failed.borrow_mut().get_or_insert(error);
            0
        })
    }
}

/// Rows next to each other, each with the bytes of its JSON form.
#[derive(Debug, Default)]
struct Part {
    rows: Vec<(MessageRow, usize)>,
    bytes: usize,
    /// It ends early: the next row would be beyond the bound of an answer.
    is_cut: bool,
}

impl Part {
    /// Adds a row, unless it is beyond the bound; the first one never is.
    fn add(&mut self, row: MessageRow, bytes: usize) {
        self.is_cut = self.bytes + bytes > HISTORY_BYTES_MAX && !self.rows.is_empty();
        if !self.is_cut {
            self.bytes += bytes;
            self.rows.push((row, bytes));
        }
    }
}

impl View<'_> {
    /// The messages of a viewport. A channel that nobody wrote to is empty.
    ///
    /// An answer is bounded in bytes: where the messages take more than [`HISTORY_BYTES_MAX`] as
    /// JSON, it has fewer rows than were asked for, those nearest to the anchor, as many before it
    /// as after it as far as there are. There is at least one if there is any, `start` is the index
    /// of the first, and `found_oldest` and `found_newest` are false where rows were left out: who
    /// wants the rest asks again from there, as at the end of any page.
    ///
    /// # Errors
    /// The query is out of its bounds, or the store cannot be read.
    ///
    /// # Complexity
    /// O(rows asked for), and one rank or select; the newest and the oldest rows need neither.
    pub fn history(&self, channel: &str, query: &Query) -> Result<History, ReadError> {
        let (number, head) = self.find(channel)?.unwrap_or_else(|| (0, HeadRow::default()));
        let counts = Counts {
            view: self,
            name: channel,
            channel: number,
            total: head.total,
            floor: head.floor,
            ranks: RefCell::new(None),
            failed: RefCell::new(None),
        };
        let range = counts.resolve(query)?;
        let (start, messages) = match self.rows_of(&counts, &range)? {
            Some(messages) => (range.start, messages),
            None => {
                let anchor = counts.resolve(&Query { before: 0, after: 0, ..*query })?.start;
                self.rows_around(&counts, &range, anchor)?
            }
        };
        let end = start + messages.len() as u64;
        Ok(History {
            messages,
            start,
            total: head.total,
            found_oldest: start == 0,
            found_newest: end == head.total,
            seq: head.seq,
        })
    }

    /// All rows of a range; `None` if they are beyond the bound of an answer.
    fn rows_of(
        &self,
        counts: &Counts<'_>,
        range: &Range<u64>,
    ) -> Result<Option<Vec<MessageRow>>, StoreError> {
        let wanted = range.end.saturating_sub(range.start);
        if wanted == 0 {
            return Ok(Some(Vec::new()));
        }
        // From whichever place is known: the end, the beginning, or a block of ids.
        let is_tail = range.end == counts.total;
        let direction = if is_tail { Direction::Reverse } else { Direction::Forward };
        let (from, skip) = if is_tail { (0, 0) } else { counts.place(range.start)? };
        let keys = keys::messages(counts.channel, from, None);
        let part = self.part(counts, &keys, skip, direction, wanted)?;
        if part.is_cut {
            return Ok(None);
        }
        let mut messages: Vec<_> = part.rows.into_iter().map(|(row, _)| row).collect();
        if is_tail {
            messages.reverse();
        }
        Ok(Some(messages))
    }

    /// The rows of a range nearest to `anchor` that an answer has room for, and the index of the
    /// first: row by row after and before it in turn.
    fn rows_around(
        &self,
        counts: &Counts<'_>,
        range: &Range<u64>,
        anchor: u64,
    ) -> Result<(u64, Vec<MessageRow>), StoreError> {
        let (from, skip) = counts.place(anchor)?;
        let keys = keys::messages(counts.channel, from, None);
        let wanted = range.end.saturating_sub(anchor);
        let after = self.part(counts, &keys, skip, Direction::Forward, wanted)?;
        let to = match after.rows.first() {
            Some((row, _)) => Some(row.id.as_u128()),
            // Nothing is asked for after the anchor: it may be there all the same.
            None => self.id_at(counts, &keys, skip)?,
        };
        let keys = keys::messages(counts.channel, 0, to);
        let wanted = anchor.saturating_sub(range.start);
        let before = self.part(counts, &keys, 0, Direction::Reverse, wanted)?;
        let (mut older, mut newer) = (Vec::new(), Vec::new());
        let (mut rows_before, mut rows_after) = (before.rows.into_iter(), after.rows.into_iter());
        let mut bytes = 0;
        loop {
            let no_more_after = rows_after.len() == 0 && !after.is_cut;
            let no_more_before = rows_before.len() == 0 && !before.is_cut;
            let is_after = if newer.len() <= older.len() { !no_more_after } else { no_more_before };
            // A part that was cut short ends the other as well, or the rows would lie on one side.
            let next = if is_after { rows_after.next() } else { rows_before.next() };
            let Some((row, more)) = next else { break };
            bytes += more;
            if bytes > HISTORY_BYTES_MAX && !(older.is_empty() && newer.is_empty()) {
                break;
            }
            if is_after { newer.push(row) } else { older.push(row) }
        }
        let start = anchor - older.len() as u64;
        older.reverse();
        older.append(&mut newer);
        Ok((start, older))
    }

    /// The id behind `skip` others.
    fn id_at(
        &self,
        counts: &Counts<'_>,
        keys: &keys::KeyRange,
        skip: u64,
    ) -> Result<Option<u128>, StoreError> {
        let (mut left, mut found) = (skip, None);
        if counts.total == 0 {
            return Ok(None);
        }
        let mut visit = |key: &[u8], _: &[u8]| {
            if left > 0 {
                left -= 1;
                return ControlFlow::Continue(());
            }
            found = keys::message_of(key).map(MessageId::as_u128);
            ControlFlow::Break(())
        };
        self.rows.scan(Family::Index, keys::bounds(keys), Direction::Forward, &mut visit)?;
        Ok(found)
    }

    /// `wanted` rows behind `skip` others, or as many of them as an answer has room for.
    fn part(
        &self,
        counts: &Counts<'_>,
        keys: &keys::KeyRange,
        skip: u64,
        direction: Direction,
        wanted: u64,
    ) -> Result<Part, StoreError> {
        let mut part = Part::default();
        if wanted == 0 {
            return Ok(part);
        }
        let mut left = skip;
        let mut damage = None;
        let mut visit = |key: &[u8], value: &[u8]| {
            if left > 0 {
                left -= 1;
                return ControlFlow::Continue(());
            }
            match read_row(key, value) {
                Ok(row) => {
                    let bytes = json_bytes(&row, counts.name);
                    part.add(row, bytes);
                }
                Err(error) => damage = Some(error),
            }
            let is_done = damage.is_some() || part.is_cut || part.rows.len() as u64 >= wanted;
            if is_done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        self.rows.scan(Family::Index, keys::bounds(keys), direction, &mut visit)?;
        if let Some(error) = damage {
            return Err(error);
        }
        if !part.is_cut && (part.rows.len() as u64) < wanted {
            let what = "it has other messages than are counted";
            return Err(StoreError::damaged(Family::Index, what));
        }
        Ok(part)
    }

    /// The rows of messages from `from` on while `take` goes on; for exports.
    ///
    /// # Errors
    /// The store cannot be read.
    ///
    /// # Complexity
    /// O(rows taken).
    pub fn each_message(
        &self,
        channel: &str,
        from: Option<MessageId>,
        mut take: impl FnMut(MessageRow) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let Some((number, _)) = self.find(channel)? else { return Ok(()) };
        let range = keys::messages(number, from.map_or(0, MessageId::as_u128), None);
        let mut damage = None;
        scan_rows(&*self.rows, &range, Direction::Forward, |key, row: IndexRow| {
            match id_of(key).and_then(|id| MessageRow::of(id, row)) {
                Ok(row) => take(row),
                Err(error) => {
                    damage = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        damage.map_or(Ok(()), |error| Err(error.into()))
    }
}

fn id_of(key: &[u8]) -> Result<MessageId, StoreError> {
    keys::message_of(key).ok_or(StoreError::damaged(Family::Index, "a key holds no id"))
}

fn read_row(key: &[u8], value: &[u8]) -> Result<MessageRow, StoreError> {
    MessageRow::of(id_of(key)?, IndexRow::decode(value)?)
}

/// Bytes of a message's JSON form, and the comma behind it.
fn json_bytes(row: &MessageRow, channel: &str) -> usize {
    let mut count = Count(0);
    // It counts, and that does not fail.
    let _ = serde_json::to_writer(&mut count, &row.json(channel));
    count.0 + 1
}

/// Counts what is written.
struct Count(usize);

impl io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
