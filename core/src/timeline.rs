//! The order-statistic index over messages and holes (design, section 5.1).
//!
//! A message weighs 1; a hole, a window known by its directory entry and not loaded, weighs as many
//! messages as it has, spread evenly over its time. The timeline knows ids and nothing else of a
//! message: each id carries a small value for its owner, such as the number of its window.
//!
//! Row numbers are exact where no hole lies: the row of the k-th loaded message is k plus the
//! messages in holes before it, which no estimate enters unless a hole's time covers the message's.

mod blocks;
mod fenwick;
mod holes;

use std::ops::Range;

use crate::message::TIME_MS_MAX;
use thiserror::Error;

pub use blocks::{BLOCK_LEN, Blocks, UnsortedRun};
pub use fenwick::{Fenwick, FenwickError};
pub use holes::{Hole, HoleError, HoleKey, Holes, LEVELS};

/// Where the millisecond of an id begins: 48 bits of time stand before 80 others.
const TIME_SHIFT: u32 = 80;

/// Why a window was not loaded or unloaded. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TimelineError {
    /// The ids given were not in order.
    #[error(transparent)]
    Unsorted(#[from] UnsortedRun),
    /// The hole to leave behind is not possible.
    #[error(transparent)]
    Hole(#[from] HoleError),
}

/// What stands in one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row<V> {
    /// A loaded message.
    Message {
        /// Its id.
        id: u128,
        /// What its owner keeps with it.
        value: V,
    },
    /// A placeholder for a message of some hole.
    Hole,
}

/// A piece of the timeline, oldest row first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows<V> {
    /// The number of the first row.
    pub start: u64,
    /// How many rows the timeline has.
    pub total: u64,
    /// One entry per row.
    pub items: Vec<Row<V>>,
    /// The holes to load before these rows are certain, by level and start.
    pub needed: Vec<HoleKey>,
}

impl<V> Rows<V> {
    /// Whether these rows are exactly the channel's, as far as its directory is known.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.needed.is_empty()
    }
}

/// All messages of a channel in order of their ids, loaded or not.
///
/// In the costs below n counts loaded messages and h holes.
#[derive(Debug, Clone)]
pub struct Timeline<V> {
    loaded: Blocks<V>,
    holes: Holes,
}

impl<V> Default for Timeline<V> {
    fn default() -> Self {
        Self { loaded: Blocks::new(), holes: Holes::new() }
    }
}

impl<V: Copy> Timeline<V> {
    /// An empty timeline.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The loaded messages.
    #[must_use]
    pub fn loaded(&self) -> &Blocks<V> {
        &self.loaded
    }

    /// The windows known and not loaded.
    #[must_use]
    pub fn holes(&self) -> &Holes {
        &self.holes
    }

    /// How many rows there are. O(levels).
    #[must_use]
    pub fn total(&self) -> u64 {
        self.loaded.len() + self.holes.total()
    }

    /// What is kept with a loaded message. O(log n).
    #[must_use]
    pub fn get(&self, id: u128) -> Option<V> {
        self.loaded.get(id)
    }

    /// How many rows stand before `id`, which need not exist: the row it has or would have.
    /// Exact unless a hole covers its millisecond. O(log n + levels log h).
    #[must_use]
    pub fn rank(&self, id: u128) -> u64 {
        self.loaded.rank(id) + self.holes.holes_below(id)
    }

    /// How many rows stand before the first instant of a millisecond. As [`Timeline::rank`]; a time
    /// no id can carry stands after all.
    #[must_use]
    pub fn rank_of_time(&self, ms: u64) -> u64 {
        if ms > TIME_MS_MAX { self.total() } else { self.rank(first_id(ms)) }
    }

    /// The row of a number, None beyond the last.
    /// O(log n (log n + levels log h)) with holes, O(log n) without.
    #[must_use]
    pub fn select(&self, rank: u64) -> Option<Row<V>> {
        if rank >= self.total() {
            return None;
        }
        let next = self.first_loaded_from(rank);
        Some(match self.loaded.select(next) {
            Some((id, value)) if next + self.holes.holes_below(id) == rank => {
                Row::Message { id, value }
            }
            _ => Row::Hole,
        })
    }

    /// When the message of a row was sent, None beyond the last row; for a placeholder, about when.
    /// Costs as [`Timeline::select`], plus 48 times O(levels log h) for a placeholder.
    #[must_use]
    pub fn time_of_row(&self, rank: u64) -> Option<u64> {
        (rank < self.total()).then(|| self.row_ms(rank, self.first_loaded_from(rank)))
    }

    /// The rows `[range.start, range.end)`, as far as they exist, and what to load to make them
    /// certain: the holes that have messages between the times of the first and the last row.
    ///
    /// The caller bounds the length of the range: it is what is allocated.
    /// O(log n (log n + levels log h)), then O(levels log h) a row.
    #[must_use]
    pub fn rows(&self, range: Range<u64>) -> Rows<V> {
        let total = self.total();
        let (start, end) = (range.start.min(total), range.end.min(total));
        let mut rows = Rows { start, total, items: Vec::new(), needed: Vec::new() };
        if start >= end {
            return rows;
        }
        let first = self.first_loaded_from(start);
        let (mut next, mut row) = (first, start);
        for (id, value) in self.loaded.walk_from_rank(first) {
            let own_row = next + self.holes.holes_below(id);
            if own_row >= end {
                break;
            }
            rows.items.extend((row..own_row).map(|_| Row::Hole));
            rows.items.push(Row::Message { id, value });
            (next, row) = (next + 1, own_row + 1);
        }
        rows.items.extend((row..end).map(|_| Row::Hole));
        if !self.holes.is_empty() {
            let last_ms = match rows.items.last() {
                Some(Row::Message { id, .. }) => time_ms(*id),
                _ => self.row_ms(end - 1, next),
            };
            rows.needed = self.holes.overlapping(self.row_ms(start, first)..=last_ms);
        }
        rows
    }

    /// Adds one message; false, and nothing changed, if it is loaded already. O(log n).
    pub fn insert(&mut self, id: u128, value: V) -> bool {
        self.loaded.insert(id, value)
    }

    /// Keeps another value with a loaded message and returns the one before. O(log n).
    pub fn replace(&mut self, id: u128, value: V) -> Option<V> {
        self.loaded.replace(id, value)
    }

    /// Takes one loaded message out and returns what was kept with it. O(log n).
    pub fn remove(&mut self, id: u128) -> Option<V> {
        self.loaded.remove(id)
    }

    /// Adds or changes the hole of a window that is not loaded; see [`Holes::set`].
    ///
    /// # Errors
    /// If such a hole is not possible; nothing is changed then.
    pub fn set_hole(&mut self, hole: Hole) -> Result<Option<Hole>, HoleError> {
        self.holes.set(hole)
    }

    /// Forgets a window that is not loaded.
    pub fn remove_hole(&mut self, key: HoleKey) -> Option<Hole> {
        self.holes.remove(key)
    }

    /// Puts a window's messages, in order of their ids, in the place of its hole (if it is one), and
    /// returns the ids skipped because they are loaded already: an id may stand in two windows.
    /// O(m) for m messages, O(log n) per block of the index they fall into, O(h).
    ///
    /// # Errors
    /// If the ids do not ascend; nothing is changed then.
    pub fn load(&mut self, key: HoleKey, run: &[(u128, V)]) -> Result<Vec<u128>, TimelineError> {
        let skipped = self.loaded.insert_run(run)?;
        self.holes.remove(key);
        Ok(skipped)
    }

    /// Puts a hole in the place of a window's messages. Of the ids, which must ascend, those go whose
    /// value `mine` accepts: an id that stands in two windows stays with the other. Returns the ids
    /// left alone. Costs as [`Timeline::load`].
    ///
    /// # Errors
    /// If the ids do not ascend or the hole is not possible; nothing is changed then.
    pub fn unload(
        &mut self,
        ids: &[u128],
        mine: impl Fn(V) -> bool,
        hole: Hole,
    ) -> Result<Vec<u128>, TimelineError> {
        hole.check()?;
        let kept = self.loaded.remove_run(ids, mine)?;
        self.holes.set(hole)?;
        Ok(kept)
    }

    /// Checks what the other methods rely on. O(n + h).
    ///
    /// # Errors
    /// A sentence about the first disagreement found.
    pub fn check_invariants(&self) -> Result<(), String> {
        self.loaded.check_invariants()?;
        self.holes.check_invariants()
    }

    /// How many loaded messages stand in rows before `rank`: the index of the first that does not.
    /// The rows of loaded messages ascend strictly, so this is a binary search.
    fn first_loaded_from(&self, rank: u64) -> u64 {
        let (mut low, mut high) =
            (rank.saturating_sub(self.holes.total()), rank.min(self.loaded.len()));
        while low < high {
            let middle = low + (high - low) / 2;
            match self.loaded.select(middle) {
                Some((id, _)) if middle + self.holes.holes_below(id) < rank => low = middle + 1,
                _ => high = middle,
            }
        }
        low
    }

    /// The time of an existing row, given how many loaded messages stand in rows before it. If it is
    /// a placeholder: the millisecond in which the messages before it come to exceed its number, so
    /// that at least one hole covers that millisecond.
    fn row_ms(&self, rank: u64, loaded_before: u64) -> u64 {
        let next = self.loaded.select(loaded_before).map(|(id, _)| id);
        if let Some(id) = next
            && loaded_before + self.holes.holes_below(id) == rank
        {
            return time_ms(id);
        }
        let previous = loaded_before.checked_sub(1).and_then(|index| self.loaded.select(index));
        let mut low = previous.map_or(0, |(id, _)| time_ms(id));
        let mut high = next.map_or(TIME_MS_MAX, time_ms);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if loaded_before + self.holes.holes_below(first_id(middle)) <= rank {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        low
    }
}

/// The sent time in an id.
fn time_ms(id: u128) -> u64 {
    u64::try_from(id >> TIME_SHIFT).unwrap_or(TIME_MS_MAX)
}

/// The smallest id of a millisecond.
fn first_id(ms: u64) -> u128 {
    u128::from(ms) << TIME_SHIFT
}

#[cfg(test)]
mod tests;
