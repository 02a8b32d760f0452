//! Counts with running sums: add, prefix and find in O(log n), push at the end in O(1) amortised.
//!
//! A Fenwick (binary indexed) tree. It knows nothing of messages; the timeline keeps the lengths of
//! its blocks and the counts of its holes in one, the relay the counts of its id blocks.

use thiserror::Error;

/// Why a count could not be changed. The tree is as it was before the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FenwickError {
    /// There is no such entry.
    #[error("no entry {index} among {len}")]
    OutOfRange {
        /// The entry asked for.
        index: usize,
        /// How many entries there are.
        len: usize,
    },
    /// The entry's count would leave `0..=u32::MAX`.
    #[error("count {count} of entry {index} cannot change by {delta}")]
    CountRange {
        /// The entry asked for.
        index: usize,
        /// Its count.
        count: u32,
        /// The change asked for.
        delta: i64,
    },
}

/// A list of counts that answers "how many before entry i" and "which entry holds the r-th".
///
/// One count is a `u32`, sums are `u64`: a list that fits in memory cannot overflow its sum, so
/// only a single count's range has to be checked.
///
/// # Examples
/// ```
/// use backscroll_core::timeline::Fenwick;
/// let mut counts = Fenwick::from_counts(&[3, 0, 2]);
/// assert_eq!(counts.prefix(2), 3);
/// assert_eq!(counts.find(3), Some((2, 0)));
/// counts.add(1, 4)?;
/// assert_eq!(counts.find(3), Some((1, 0)));
/// # Ok::<(), backscroll_core::timeline::FenwickError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fenwick {
    /// Node i sums the entries `(i + 1) - lowbit(i + 1) ..= i`.
    nodes: Vec<u64>,
    /// Kept apart, so that the sum of all costs nothing.
    total: u64,
}

impl Fenwick {
    /// An empty list.
    #[must_use]
    pub const fn new() -> Self {
        Self { nodes: Vec::new(), total: 0 }
    }

    /// The list of `counts`. O(n).
    #[must_use]
    pub fn from_counts(counts: &[u32]) -> Self {
        counts.iter().copied().collect()
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The sum of all counts. O(1).
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The sum of the entries `[0, end)`; an `end` beyond the list means all of it. O(log n).
    #[must_use]
    pub fn prefix(&self, end: usize) -> u64 {
        self.sum_down(end.min(self.nodes.len()), 0)
    }

    /// The count of one entry, if there is such an entry. O(log n), O(1) on average.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<u32> {
        let node = self.nodes.get(index)?;
        let below = self.sum_down(index, parent(index + 1));
        u32::try_from(node - below).ok()
    }

    /// Changes one count by `delta`. O(log n).
    ///
    /// # Errors
    /// If there is no such entry, or its count would leave `0..=u32::MAX`; nothing is changed then.
    pub fn add(&mut self, index: usize, delta: i64) -> Result<(), FenwickError> {
        let Some(count) = self.get(index) else {
            return Err(FenwickError::OutOfRange { index, len: self.len() });
        };
        match i64::from(count).checked_add(delta).map(u32::try_from) {
            Some(Ok(_)) => {}
            _ => return Err(FenwickError::CountRange { index, count, delta }),
        }
        let mut end = index + 1;
        while let Some(node) = self.nodes.get_mut(end - 1) {
            // Wrapping is exact here: the true sum lies in 0..=total on both sides.
            *node = node.wrapping_add_signed(delta);
            end += lowbit(end);
        }
        self.total = self.total.wrapping_add_signed(delta);
        Ok(())
    }

    /// Gives one entry another count. O(log n).
    ///
    /// # Errors
    /// If there is no such entry.
    pub fn set(&mut self, index: usize, count: u32) -> Result<(), FenwickError> {
        let Some(old) = self.get(index) else {
            return Err(FenwickError::OutOfRange { index, len: self.len() });
        };
        self.add(index, i64::from(count) - i64::from(old))
    }

    /// Adds an entry at the end. O(1) amortised.
    pub fn push(&mut self, count: u32) {
        let end = self.nodes.len() + 1;
        let below = self.sum_down(end - 1, parent(end));
        self.nodes.push(below + u64::from(count));
        self.total += u64::from(count);
    }

    /// Drops the entries from `len` on. Together with [`Extend`] this is how entries come and go
    /// in the middle: a node depends on entries before it only. O(log n).
    pub fn truncate(&mut self, len: usize) {
        if len < self.nodes.len() {
            self.total = self.prefix(len);
            self.nodes.truncate(len);
        }
    }

    /// The entry that holds the `rank`-th unit (from 0), and which of the entry's units that is.
    /// None if `rank >= total`. Entries with count 0 hold nothing. O(log n), one descent.
    #[must_use]
    pub fn find(&self, rank: u64) -> Option<(usize, u64)> {
        if rank >= self.total {
            return None;
        }
        let mut step = self.nodes.len().checked_ilog2().map_or(0, |log| 1_usize << log);
        let (mut index, mut rest) = (0, rank);
        while step > 0 {
            if let Some(node) = self.nodes.get(index + step - 1)
                && *node <= rest
            {
                index += step;
                rest -= node;
            }
            step >>= 1;
        }
        Some((index, rest))
    }

    /// The sum of the entries `[stop, end)`, where `stop` is reached from `end` by [`parent`].
    fn sum_down(&self, mut end: usize, stop: usize) -> u64 {
        let mut sum = 0;
        while end > stop {
            sum += self.nodes.get(end - 1).copied().unwrap_or_default();
            end = parent(end);
        }
        sum
    }
}

impl Extend<u32> for Fenwick {
    fn extend<I: IntoIterator<Item = u32>>(&mut self, counts: I) {
        for count in counts {
            self.push(count);
        }
    }
}

impl FromIterator<u32> for Fenwick {
    fn from_iter<I: IntoIterator<Item = u32>>(counts: I) -> Self {
        let mut made = Self::new();
        made.extend(counts);
        made
    }
}

/// The lowest set bit: how many entries the node that ends at `end` (exclusive) sums.
const fn lowbit(end: usize) -> usize {
    end & end.wrapping_neg()
}

/// Where the node that ends at `end` begins.
const fn parent(end: usize) -> usize {
    end & end.wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(tree: &Fenwick, counts: &[u32]) {
        assert_eq!(tree.len(), counts.len());
        let mut sum = 0;
        for (i, count) in counts.iter().enumerate() {
            assert_eq!(tree.prefix(i), sum);
            assert_eq!(tree.get(i), Some(*count));
            if *count > 0 {
                assert_eq!(tree.find(sum), Some((i, 0)));
                let last = u64::from(*count) - 1;
                assert_eq!(tree.find(sum + last), Some((i, last)));
            }
            sum += u64::from(*count);
        }
        assert_eq!(tree.total(), sum);
        assert_eq!(tree.prefix(usize::MAX), sum);
        assert_eq!((tree.find(sum), tree.get(counts.len())), (None, None));
    }

    #[test]
    fn refused_changes_leave_the_counts() {
        let mut tree = Fenwick::from_counts(&[u32::MAX, 1, 7]);
        assert_eq!(tree.add(3, 1), Err(FenwickError::OutOfRange { index: 3, len: 3 }));
        assert_eq!(tree.set(3, 1), Err(FenwickError::OutOfRange { index: 3, len: 3 }));
        for (index, count, delta) in [(1, 1, -2), (0, u32::MAX, 1), (2, 7, i64::MAX)] {
            assert_eq!(
                tree.add(index, delta),
                Err(FenwickError::CountRange { index, count, delta })
            );
        }
        check(&tree, &[u32::MAX, 1, 7]);
        check(&Fenwick::new(), &[]);
    }

    proptest! {
        #[test]
        fn equals_plain_sums(
            start in prop::collection::vec(0_u32..4, 0..40),
            steps in prop::collection::vec((0_u8..4, any::<prop::sample::Index>(), 0_u32..5), 0..60),
        ) {
            let mut tree = Fenwick::from_counts(&start);
            let mut counts = start;
            for (kind, index, count) in steps {
                let at = index.index(counts.len() + 1);
                match kind {
                    0 => {
                        tree.push(count);
                        counts.push(count);
                    }
                    1 => {
                        tree.truncate(at);
                        counts.truncate(at);
                    }
                    2 => prop_assert_eq!(tree.set(at, count).is_ok(), at < counts.len()),
                    _ => {
                        let possible = counts.get(at).is_some_and(|old| *old >= count);
                        prop_assert_eq!(tree.add(at, -i64::from(count)).is_ok(), possible);
                        if possible {
                            counts[at] -= count;
                        }
                    }
                }
                if kind == 2 && at < counts.len() {
                    counts[at] = count;
                }
                check(&tree, &counts);
            }
        }
    }
}
