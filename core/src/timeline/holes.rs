//! Windows known by their directory entry only: how many of their messages stand before an id.
//!
//! Windows form a trie of time (design, section 4.3). Those of one level never overlap, so each level
//! is a sorted list under a [`Fenwick`] tree and at most one window per level covers an instant: what
//! stands before an id is one prefix sum per level and at most one interpolation.

use std::ops::RangeInclusive;

use thiserror::Error;

use super::fenwick::Fenwick;
use crate::message::TIME_MS_MAX;
use crate::window::{LEVEL_LAST, Window, WindowError};

/// Levels of the time trie: level 0 is the widest.
pub const LEVELS: u8 = LEVEL_LAST + 1;

/// Why a hole was refused. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HoleError {
    /// There is no such level.
    #[error("level {0} does not exist")]
    Level(u8),
    /// No window of that level begins there.
    #[error("no window of level {level} starts at {start_ms} ms")]
    Start {
        /// The level asked for.
        level: u8,
        /// The start asked for.
        start_ms: u64,
    },
    /// The oldest or newest message lies outside the window, or they are the wrong way round.
    #[error("messages from {min_ms} to {max_ms} ms do not fit the window")]
    Span {
        /// The time of the oldest message.
        min_ms: u64,
        /// The time of the newest message.
        max_ms: u64,
    },
}

/// Which window a hole stands for. Orders as windows do: by level, then by start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HoleKey {
    /// The level in the time trie, 0 the widest.
    pub level: u8,
    /// The first millisecond of the window.
    pub start_ms: u64,
}

/// A window that is known and not loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hole {
    /// The level in the time trie, 0 the widest.
    pub level: u8,
    /// The first millisecond of the window, a multiple of its width.
    pub start_ms: u64,
    /// The sent time of the oldest message in it.
    pub min_ms: u64,
    /// The sent time of the newest message in it, inclusive.
    pub max_ms: u64,
    /// How many messages it has. A hole of 0 is none.
    pub count: u32,
}

impl HoleKey {
    /// # Errors
    /// If the trie has no such window.
    fn check(self) -> Result<Window, HoleError> {
        let Self { level, start_ms } = self;
        Window::new(level, start_ms).map_err(|error| match error {
            WindowError::Level(level) => HoleError::Level(level),
            WindowError::Start { .. } | WindowError::Text => HoleError::Start { level, start_ms },
        })
    }
}

impl Hole {
    /// The window this hole stands for.
    #[must_use]
    pub const fn key(&self) -> HoleKey {
        HoleKey { level: self.level, start_ms: self.start_ms }
    }

    /// # Errors
    /// If the trie has no such window or the messages, if any, do not fit it.
    pub(super) fn check(&self) -> Result<(), HoleError> {
        let window = self.key().check()?;
        let fits = || window.contains(self.min_ms) && window.contains(self.max_ms);
        if self.count == 0 || self.min_ms <= self.max_ms && fits() {
            Ok(())
        } else {
            Err(HoleError::Span { min_ms: self.min_ms, max_ms: self.max_ms })
        }
    }

    /// How many of its messages stand before `at`, as if they were spread evenly from the first
    /// instant of `min_ms` to the last of `max_ms`. Never falls as `at` grows.
    fn below(&self, at: Instant) -> u64 {
        let count = u64::from(self.count);
        let span = (self.max_ms - self.min_ms + 1) << Instant::FRACTION_BITS;
        let Some(offset) = at.0.checked_sub(self.min_ms << Instant::FRACTION_BITS) else {
            return 0;
        };
        if offset >= span {
            return count;
        }
        // Dividing 128 bits costs some 30 ns, and only the widest windows with many messages need it.
        match count.checked_mul(offset).and_then(|units| units.checked_add(span / 2)) {
            Some(units) => units / span,
            None => {
                let units = u128::from(count) * u128::from(offset) + u128::from(span / 2);
                u64::try_from(units / u128::from(span)).unwrap_or(count)
            }
        }
    }
}

/// The first 64 bits of an id: milliseconds with a fraction. Finer does not matter to an estimate.
#[derive(Debug, Clone, Copy)]
struct Instant(u64);

impl Instant {
    const FRACTION_BITS: u32 = TIME_MS_MAX.leading_zeros();

    fn of_id(id: u128) -> Self {
        Self(u64::try_from(id >> u64::BITS).unwrap_or(u64::MAX))
    }

    const fn ms(self) -> u64 {
        self.0 >> Self::FRACTION_BITS
    }
}

/// All holes of a channel.
///
/// In the costs below n counts holes; there are some thousand of them for a million messages.
#[derive(Debug, Clone, Default)]
pub struct Holes {
    levels: [Level; LEVELS as usize],
}

/// The holes of one level, ascending. Their windows do not overlap, so `min_ms` and `max_ms` ascend too.
#[derive(Debug, Clone, Default)]
struct Level {
    /// The start of each, side by side for the search.
    starts: Vec<u64>,
    holes: Vec<Hole>,
    counts: Fenwick,
}

impl Holes {
    /// No holes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many holes there are. O(levels).
    #[must_use]
    pub fn len(&self) -> usize {
        self.levels.iter().map(|level| level.holes.len()).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.levels.iter().all(|level| level.holes.is_empty())
    }

    /// How many messages all holes have. O(levels).
    #[must_use]
    pub fn total(&self) -> u64 {
        self.levels.iter().map(|level| level.counts.total()).sum()
    }

    /// The hole of a window. O(log n).
    #[must_use]
    pub fn get(&self, key: HoleKey) -> Option<&Hole> {
        let level = self.levels.get(usize::from(key.level))?;
        level.holes.get(level.starts.binary_search(&key.start_ms).ok()?)
    }

    /// All holes, by level and start.
    pub fn iter(&self) -> impl Iterator<Item = &Hole> + '_ {
        self.levels.iter().flat_map(|level| &level.holes)
    }

    /// About how many messages in holes stand before `id`: all those of holes that end before its
    /// millisecond, none of those that begin after it, a linear share of the others.
    /// Never falls as `id` grows. O(levels log n).
    #[must_use]
    pub fn holes_below(&self, id: u128) -> u64 {
        let at = Instant::of_id(id);
        self.levels.iter().filter(|level| !level.starts.is_empty()).map(|l| l.below(at)).sum()
    }

    /// Adds a hole or changes the one of its window, which is returned. A count of 0 removes.
    /// O(log n) to change one or to add the newest of its level, O(n) to add another.
    ///
    /// # Errors
    /// If the trie has no such window or the messages do not fit it; nothing is changed then.
    pub fn set(&mut self, hole: Hole) -> Result<Option<Hole>, HoleError> {
        hole.check()?;
        if hole.count == 0 {
            return Ok(self.remove(hole.key()));
        }
        Ok(self.levels.get_mut(usize::from(hole.level)).and_then(|level| level.set(hole)))
    }

    /// Takes a hole out. O(log n) for the newest of its level, O(n) for another.
    pub fn remove(&mut self, key: HoleKey) -> Option<Hole> {
        let level = self.levels.get_mut(usize::from(key.level))?;
        let at = level.starts.binary_search(&key.start_ms).ok()?;
        level.starts.remove(at);
        let hole = level.holes.remove(at);
        level.recount(at);
        Some(hole)
    }

    /// The holes that have or may have messages sent in `span_ms`, by level and start.
    /// O(levels log n), then O(1) each.
    #[must_use]
    pub fn overlapping(&self, span_ms: RangeInclusive<u64>) -> Vec<HoleKey> {
        let mut found = Vec::new();
        for level in &self.levels {
            let first = level.holes.partition_point(|hole| hole.max_ms < *span_ms.start());
            let later = level.holes.iter().skip(first);
            found.extend(later.take_while(|hole| hole.min_ms <= *span_ms.end()).map(Hole::key));
        }
        found
    }

    /// Checks what the other methods rely on. O(n).
    ///
    /// # Errors
    /// A sentence about the first disagreement found.
    pub fn check_invariants(&self) -> Result<(), String> {
        for (number, level) in self.levels.iter().enumerate() {
            let counts: Vec<u32> = level.holes.iter().map(|hole| hole.count).collect();
            if level.counts != Fenwick::from_counts(&counts) || counts.contains(&0) {
                return Err(format!("holes of level {number} are counted wrongly"));
            }
            if !level.holes.iter().map(|hole| hole.start_ms).eq(level.starts.iter().copied())
                || !level.starts.is_sorted_by(|a, b| a < b)
            {
                return Err(format!("holes of level {number} are out of order"));
            }
            for hole in &level.holes {
                hole.check().map_err(|error| error.to_string())?;
                if usize::from(hole.level) != number {
                    return Err(format!("a hole of level {} in level {number}", hole.level));
                }
            }
        }
        Ok(())
    }
}

impl Level {
    fn below(&self, at: Instant) -> u64 {
        let ms = at.ms();
        let Some(last) = self.starts.partition_point(|start| *start <= ms).checked_sub(1) else {
            return 0;
        };
        self.counts.prefix(last) + self.holes.get(last).map_or(0, |hole| hole.below(at))
    }

    fn set(&mut self, hole: Hole) -> Option<Hole> {
        match self.starts.binary_search(&hole.start_ms) {
            Ok(at) => {
                let counted = self.counts.set(at, hole.count);
                debug_assert!(counted.is_ok(), "each hole has a count");
                self.holes.get_mut(at).map(|old| std::mem::replace(old, hole))
            }
            Err(at) => {
                self.starts.insert(at, hole.start_ms);
                self.holes.insert(at, hole);
                self.recount(at);
                None
            }
        }
    }

    /// After a hole came or went at `from`.
    fn recount(&mut self, from: usize) {
        self.counts.truncate(from);
        self.counts.extend(self.holes.iter().skip(from).map(|hole| hole.count));
    }
}

#[cfg(test)]
mod tests;
