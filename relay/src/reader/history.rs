//! Viewports over the message index (design 5.2).

use super::{ReadError, View, message_row, scan_rows};
use crate::index::MessageRow;
use crate::ranks::Ranks;
use crate::store::StoreError;
use crate::store::keys::{self, ChannelId};
use crate::store::kv::Direction;
use crate::store::rows::{HeadRow, IndexRow};
use backscroll_core::message::MessageId;
use backscroll_core::viewport::{Query, Ranked, resolve};
use std::cell::RefCell;
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
    channel: ChannelId,
    total: u64,
    ranks: RefCell<Option<Arc<Ranks>>>,
    failed: RefCell<Option<StoreError>>,
}

impl Counts<'_> {
    fn ranks(&self) -> Result<Arc<Ranks>, StoreError> {
        let mut known = self.ranks.borrow_mut();
        if let Some(ranks) = &*known {
            return Ok(ranks.clone());
        }
        let ranks = self.view.ranks.get(&*self.view.rows, self.channel, self.total)?;
        *known = Some(ranks.clone());
        Ok(ranks)
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

impl View<'_> {
    /// The messages of a viewport. A channel that nobody wrote to is empty.
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
            channel: number,
            total: head.total,
            ranks: RefCell::new(None),
            failed: RefCell::new(None),
        };
        let range = resolve(query, &counts)?;
        if let Some(error) = counts.failed.take() {
            return Err(error.into());
        }
        let rows = self.rows_of(&counts, &range)?;
        if rows.len() as u64 != range.end - range.start {
            let what = "it has other messages than are counted";
            return Err(StoreError::damaged(crate::store::kv::Family::Index, what).into());
        }
        let messages = rows
            .into_iter()
            .map(|(id, row)| message_row(id, row))
            .collect::<Result<_, StoreError>>()?;
        Ok(History {
            messages,
            start: range.start,
            total: head.total,
            found_oldest: range.start == 0,
            found_newest: range.end == head.total,
            seq: head.seq,
        })
    }

    fn rows_of(
        &self,
        counts: &Counts<'_>,
        range: &Range<u64>,
    ) -> Result<Vec<(MessageId, IndexRow)>, StoreError> {
        let wanted = range.end.saturating_sub(range.start);
        if wanted == 0 {
            return Ok(Vec::new());
        }
        // From whichever place is known: the end, the beginning, or a block of ids.
        let is_tail = range.end == counts.total;
        let (from, skip, direction) = if is_tail {
            (0, 0, Direction::Reverse)
        } else if range.start == 0 {
            (0, 0, Direction::Forward)
        } else {
            let place = counts.ranks()?.find(range.start);
            let (from, skip) = place.unwrap_or((0, 0));
            (from, skip, Direction::Forward)
        };
        let keys = keys::messages(counts.channel, from, None);
        let mut rows = Vec::with_capacity(usize::try_from(wanted).unwrap_or(0));
        let mut left = skip;
        let mut damage = None;
        self.rows.scan(
            crate::store::kv::Family::Index,
            keys::bounds(&keys),
            direction,
            &mut |key, value| {
                if left > 0 {
                    left -= 1;
                    return ControlFlow::Continue(());
                }
                match read_row(key, value) {
                    Ok(row) => rows.push(row),
                    Err(error) => damage = Some(error),
                }
                let is_done = damage.is_some() || rows.len() as u64 >= wanted;
                if is_done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            },
        )?;
        if let Some(error) = damage {
            return Err(error);
        }
        if direction == Direction::Reverse {
            rows.reverse();
        }
        Ok(rows)
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
            match id_of(key).and_then(|id| message_row(id, row)) {
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
    keys::message_of(key)
        .ok_or(StoreError::damaged(crate::store::kv::Family::Index, "a key holds no id"))
}

fn read_row(key: &[u8], value: &[u8]) -> Result<(MessageId, IndexRow), StoreError> {
    use crate::store::rows::Row as _;
    Ok((id_of(key)?, IndexRow::decode(value)?))
}
