//! Sorted keys in blocks under a [`Fenwick`] tree: an order-statistic map without tree nodes.
//!
//! Measured against B-trees and other block lengths in the design (section 5.1): at a million keys
//! the first keys of all blocks fit in the processor's cache, so a key is found by two binary
//! searches, and inserting moves half a block.

use std::ops::Range;

use thiserror::Error;

use super::fenwick::Fenwick;

/// The most keys of a block. 512: the fastest of 256, 512 and 1,024 for inserts at a million keys.
/// Tiny in tests, so that small inputs reach many blocks, splits and merges.
pub const BLOCK_LEN: usize = if cfg!(test) { 8 } else { 512 };

/// The keys of a bulk call did not ascend. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the keys of a run must ascend")]
pub struct UnsortedRun;

/// A map from keys to small values, in key order, that knows the rank of each key.
///
/// `LEN` is the most keys of a block, [`BLOCK_LEN`] but where lengths are compared. In the costs below n
/// counts keys. The block list adds a term of n / 512 moves to what splits
/// or merges a block, which is rare enough to vanish in the mean up to some ten million keys.
#[derive(Debug, Clone)]
pub struct Blocks<V, const LEN: usize = BLOCK_LEN> {
    /// Never empty ones; two neighbours hold more than [`Block::MERGE_LEN`] keys together.
    blocks: Vec<Block<V, LEN>>,
    /// The first key of each block, side by side for the first of the two searches.
    firsts: Vec<u128>,
    /// The length of each block.
    counts: Fenwick,
}

/// Keys and their values in two lists: a search then touches keys only.
#[derive(Debug, Clone)]
struct Block<V, const LEN: usize> {
    keys: Vec<u128>,
    values: Vec<V>,
}

impl<V, const LEN: usize> Default for Blocks<V, LEN> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V, const LEN: usize> Default for Block<V, LEN> {
    fn default() -> Self {
        Self { keys: Vec::new(), values: Vec::new() }
    }
}

impl<V, const LEN: usize> Blocks<V, LEN> {
    /// An empty map.
    #[must_use]
    pub const fn new() -> Self {
        Self { blocks: Vec::new(), firsts: Vec::new(), counts: Fenwick::new() }
    }
}

impl<V: Copy, const LEN: usize> Blocks<V, LEN> {
    /// How many keys there are. O(1).
    #[must_use]
    pub fn len(&self) -> u64 {
        self.counts.total()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The value of `key`. O(log n).
    #[must_use]
    pub fn get(&self, key: u128) -> Option<V> {
        let block = self.blocks.get(self.block_of(key))?;
        let at = block.keys.binary_search(&key).ok()?;
        block.values.get(at).copied()
    }

    /// How many keys are smaller than `key`, which need not be present. O(log n).
    #[must_use]
    pub fn rank(&self, key: u128) -> u64 {
        let index = self.block_of(key);
        let Some(block) = self.blocks.get(index) else { return 0 };
        self.counts.prefix(index) + block.keys.partition_point(|k| *k < key) as u64
    }

    /// The key with `rank` smaller ones, and its value. O(log n).
    #[must_use]
    pub fn select(&self, rank: u64) -> Option<(u128, V)> {
        let (index, at) = self.counts.find(rank)?;
        let (block, at) = (self.blocks.get(index)?, usize::try_from(at).ok()?);
        Some((*block.keys.get(at)?, *block.values.get(at)?))
    }

    /// The keys from rank `rank` on, ascending. O(log n), then O(1) a key.
    pub fn walk_from_rank(&self, rank: u64) -> impl Iterator<Item = (u128, V)> + '_ {
        let (index, at) = self.counts.find(rank).unwrap_or((self.blocks.len(), 0));
        self.walk(index, usize::try_from(at).unwrap_or(usize::MAX))
    }

    /// The keys from `key` on, ascending; `key` need not be present. O(log n), then O(1) a key.
    pub fn walk_from_key(&self, key: u128) -> impl Iterator<Item = (u128, V)> + '_ {
        let index = self.block_of(key);
        let at = self.blocks.get(index).map_or(0, |b| b.keys.partition_point(|k| *k < key));
        self.walk(index, at)
    }

    /// Adds a key; false, and nothing changed, if it is present. O(log n + block length).
    pub fn insert(&mut self, key: u128, value: V) -> bool {
        if self.last_key().is_none_or(|last| last < key) {
            self.append(key, value);
            return true;
        }
        let mut index = self.block_of(key);
        if self.blocks.get(index).is_some_and(|b| b.keys.len() >= LEN) {
            if self.get(key).is_some() {
                return false;
            }
            self.split(index);
            index = self.block_of(key);
        }
        let Some(block) = self.blocks.get_mut(index) else { return false };
        let Err(at) = block.keys.binary_search(&key) else { return false };
        block.insert(at, key, value);
        self.recount(index, 1);
        true
    }

    /// Gives a present key another value and returns the one before. O(log n).
    pub fn replace(&mut self, key: u128, value: V) -> Option<V> {
        let index = self.block_of(key);
        let block = self.blocks.get_mut(index)?;
        let at = block.keys.binary_search(&key).ok()?;
        block.values.get_mut(at).map(|old| std::mem::replace(old, value))
    }

    /// Takes a key out and returns its value. O(log n + block length).
    pub fn remove(&mut self, key: u128) -> Option<V> {
        let index = self.block_of(key);
        let block = self.blocks.get_mut(index)?;
        let at = block.keys.binary_search(&key).ok()?;
        block.keys.remove(at);
        let value = block.values.remove(at);
        self.recount(index, -1);
        if self.is_sparse(index) {
            let block = self.blocks.get_mut(index).map(std::mem::take);
            self.put(index..index + 1, block.into_iter().collect());
        }
        Some(value)
    }

    /// Adds many keys, which must ascend, and returns those skipped because they were present (or
    /// came twice). O(m) for m keys plus O(log n + block length) per block they fall into.
    ///
    /// # Errors
    /// If the keys do not ascend; nothing is changed then.
    pub fn insert_run(&mut self, run: &[(u128, V)]) -> Result<Vec<u128>, UnsortedRun> {
        if !run.is_sorted_by_key(|(key, _)| *key) {
            return Err(UnsortedRun);
        }
        let (Some((first, _)), Some((last, _))) = (run.first(), run.last()) else {
            return Ok(Vec::new());
        };
        let range = self.block_of(*first)..(self.block_of(*last) + 1).min(self.blocks.len());
        let reaches_end = range.end == self.blocks.len();
        let (mut rest, mut fresh, mut skipped) = (run, Vec::new(), Vec::new());
        for (block, end) in self.take(range.clone()) {
            let (group, later) = rest.split_at(
                end.map_or(rest.len(), |end| rest.partition_point(|(key, _)| *key < end)),
            );
            rest = later;
            if group.is_empty() {
                fresh.push(block);
            } else {
                let room = if reaches_end && end.is_none() { Room::Later } else { Room::Even };
                block.merge(group, &mut skipped).cut(room, &mut fresh);
            }
        }
        self.put(range, fresh);
        Ok(skipped)
    }

    /// Takes out many keys, which must ascend, where `mine` accepts their value, and returns those
    /// that were not present or not accepted. Costs as [`Blocks::insert_run`].
    ///
    /// # Errors
    /// If the keys do not ascend; nothing is changed then.
    pub fn remove_run(
        &mut self,
        keys: &[u128],
        mine: impl Fn(V) -> bool,
    ) -> Result<Vec<u128>, UnsortedRun> {
        if !keys.is_sorted() {
            return Err(UnsortedRun);
        }
        let (Some(first), Some(last)) = (keys.first(), keys.last()) else {
            return Ok(Vec::new());
        };
        let range = self.block_of(*first)..(self.block_of(*last) + 1).min(self.blocks.len());
        let (mut rest, mut fresh, mut kept) = (keys, Vec::new(), Vec::new());
        for (block, end) in self.take(range.clone()) {
            let (group, later) =
                rest.split_at(end.map_or(rest.len(), |end| rest.partition_point(|key| *key < end)));
            rest = later;
            fresh.push(if group.is_empty() {
                block
            } else {
                block.without(group, &mine, &mut kept)
            });
        }
        self.put(range, fresh);
        Ok(kept)
    }

    /// Checks what the other methods rely on. O(n).
    ///
    /// # Errors
    /// A sentence about the first disagreement found.
    pub fn check_invariants(&self) -> Result<(), String> {
        if self.firsts.len() != self.blocks.len() || self.counts.len() != self.blocks.len() {
            return Err("blocks, first keys and counts differ in number".to_owned());
        }
        let mut before: Option<(u128, usize)> = None;
        for (index, block) in self.blocks.iter().enumerate() {
            let (len, first) = (block.keys.len(), block.keys.first().copied());
            if len > LEN || len != block.values.len() {
                return Err(format!("block {index} has {len} keys"));
            }
            if first.is_none() || first != self.firsts.get(index).copied() {
                return Err(format!("block {index} begins with {first:?}"));
            }
            if self.counts.get(index).map(|count| count as usize) != Some(len) {
                return Err(format!("block {index} is counted wrongly"));
            }
            if !block.keys.is_sorted_by(|a, b| a < b) || before.map(|(key, _)| key) >= first {
                return Err(format!("block {index} is out of order"));
            }
            if before.is_some_and(|(_, len_before)| len_before + len <= Block::<V, LEN>::MERGE_LEN)
            {
                return Err(format!("block {index} should be one with the block before"));
            }
            before = block.keys.last().map(|key| (*key, len));
        }
        Ok(())
    }

    /// The block that holds `key` or would: the last one that begins at or before it, else the first.
    fn block_of(&self, key: u128) -> usize {
        self.firsts.partition_point(|first| *first <= key).saturating_sub(1)
    }

    fn last_key(&self) -> Option<u128> {
        self.blocks.last().and_then(|block| block.keys.last()).copied()
    }

    fn walk(&self, index: usize, at: usize) -> impl Iterator<Item = (u128, V)> + '_ {
        let mut skip = at;
        self.blocks.iter().skip(index).flat_map(move |block| {
            let at = std::mem::take(&mut skip);
            let keys = block.keys.get(at..).unwrap_or_default();
            keys.iter().copied().zip(block.values.iter().skip(at).copied())
        })
    }

    /// Adds a key greater than all others.
    fn append(&mut self, key: u128, value: V) {
        match self.blocks.last_mut() {
            Some(block) if block.keys.len() < Block::<V, LEN>::APPEND_LEN => {
                block.insert(block.keys.len(), key, value);
                self.recount(self.blocks.len() - 1, 1);
            }
            _ => {
                self.blocks.push(Block { keys: vec![key], values: vec![value] });
                self.firsts.push(key);
                self.counts.push(1);
            }
        }
    }

    /// After one key came to or went from a block.
    fn recount(&mut self, index: usize, delta: i64) {
        let counted = self.counts.add(index, delta);
        debug_assert!(counted.is_ok(), "a block's count must follow its keys");
        let first = self.blocks.get(index).and_then(|block| block.keys.first());
        if let (Some(slot), Some(first)) = (self.firsts.get_mut(index), first) {
            *slot = *first;
        }
    }

    /// Whether a block is empty or should become one with a neighbour.
    fn is_sparse(&self, index: usize) -> bool {
        let len = |index: usize| self.blocks.get(index).map(|block| block.keys.len());
        let own = len(index).unwrap_or_default();
        let near = |index: Option<usize>| {
            index.and_then(len).is_some_and(|l| l + own <= Block::<V, LEN>::MERGE_LEN)
        };
        own == 0 || near(index.checked_sub(1)) || near(index.checked_add(1))
    }

    fn split(&mut self, index: usize) {
        let Some(mut left) = self.blocks.get_mut(index).map(std::mem::take) else { return };
        let at = left.keys.len() / 2;
        let right = Block { keys: left.keys.split_off(at), values: left.values.split_off(at) };
        self.put(index..index + 1, vec![left, right]);
    }

    /// Takes the blocks of `range` out for a bulk call, each with the key that ends its share of the
    /// run: the next block's first, none for the last. An empty map gives one empty block.
    /// [`Blocks::put`] must follow.
    fn take(&mut self, range: Range<usize>) -> Vec<(Block<V, LEN>, Option<u128>)> {
        if range.is_empty() {
            return vec![(Block::default(), None)];
        }
        let ends = self.firsts.get(range.start + 1..range.end).unwrap_or_default();
        let ends = ends.iter().copied().map(Some).chain([None]);
        let blocks = self.blocks.get_mut(range).unwrap_or_default();
        blocks.iter_mut().map(std::mem::take).zip(ends).collect()
    }

    /// Puts `fresh` in the place of the blocks of `range`, merging neighbours that became small.
    fn put(&mut self, range: Range<usize>, fresh: Vec<Block<V, LEN>>) {
        let later = self.blocks.split_off(range.end);
        self.blocks.truncate(range.start);
        // The block before may take in the first fresh one.
        let from = range.start.saturating_sub(1);
        for mut block in fresh.into_iter().chain(later) {
            match self.blocks.last_mut() {
                _ if block.keys.is_empty() => {}
                Some(last) if last.keys.len() + block.keys.len() <= Block::<V, LEN>::MERGE_LEN => {
                    last.keys.append(&mut block.keys);
                    last.values.append(&mut block.values);
                }
                _ => self.blocks.push(block),
            }
        }
        self.firsts.truncate(from);
        self.counts.truncate(from);
        let changed = self.blocks.get(from..).unwrap_or_default();
        self.firsts.extend(changed.iter().filter_map(|block| block.keys.first()));
        self.counts.extend(changed.iter().map(Block::count));
    }
}

/// How a bulk insert leaves the blocks it cuts.
#[derive(Debug, Clone, Copy)]
enum Room {
    /// At the end of the map: all but the last as full as appending leaves them.
    Later,
    /// Elsewhere: of one length.
    Even,
}

impl<V, const LEN: usize> Block<V, LEN> {
    /// An appended block is left with room, so that late messages do not split it in half.
    const APPEND_LEN: usize = LEN / 8 * 7;

    /// Neighbours with so few keys together become one block. Half a block: far enough from a full
    /// one that alternating inserts and removes do not split and merge for ever.
    const MERGE_LEN: usize = LEN / 2;
}

impl<V: Copy, const LEN: usize> Block<V, LEN> {
    fn count(&self) -> u32 {
        u32::try_from(self.keys.len()).unwrap_or(u32::MAX)
    }

    fn insert(&mut self, at: usize, key: u128, value: V) {
        if self.keys.len() == self.keys.capacity() {
            // Doubling a block that was made 7/8 full would reserve nearly two blocks.
            let room = self.keys.len().max(4).min(LEN.saturating_sub(self.keys.len()).max(1));
            self.keys.reserve_exact(room);
            self.values.reserve_exact(room);
        }
        self.keys.insert(at, key);
        self.values.insert(at, value);
    }

    fn push(&mut self, key: u128, value: V) {
        self.keys.push(key);
        self.values.push(value);
    }

    /// This block and `run` as one, of any length. Keys already there go to `skipped`.
    fn merge(self, run: &[(u128, V)], skipped: &mut Vec<u128>) -> Self {
        let len = self.keys.len() + run.len();
        let mut merged = Self { keys: Vec::with_capacity(len), values: Vec::with_capacity(len) };
        let mut own = self.keys.into_iter().zip(self.values).peekable();
        for (key, value) in run {
            while let Some((k, v)) = own.next_if(|(k, _)| k <= key) {
                merged.push(k, v);
            }
            if merged.keys.last() == Some(key) {
                skipped.push(*key);
            } else {
                merged.push(*key, *value);
            }
        }
        own.for_each(|(k, v)| merged.push(k, v));
        merged
    }

    /// This block without the `keys` whose value `mine` accepts; the other keys go to `kept`.
    fn without(self, keys: &[u128], mine: impl Fn(V) -> bool, kept: &mut Vec<u128>) -> Self {
        let mut left = Self::default();
        let mut keys = keys.iter().copied().peekable();
        for (key, value) in self.keys.into_iter().zip(self.values) {
            while let Some(absent) = keys.next_if(|k| *k < key) {
                kept.push(absent);
            }
            match keys.next_if_eq(&key) {
                Some(_) if mine(value) => {}
                asked => {
                    kept.extend(asked);
                    left.push(key, value);
                }
            }
        }
        kept.extend(keys);
        left
    }

    /// Cuts a merged block into blocks that are short enough.
    fn cut(self, room: Room, fresh: &mut Vec<Self>) {
        if self.keys.len() <= LEN {
            fresh.push(self);
            return;
        }
        let len = match room {
            Room::Later => Self::APPEND_LEN,
            Room::Even => self.keys.len().div_ceil(self.keys.len().div_ceil(Self::APPEND_LEN)),
        };
        for (keys, values) in self.keys.chunks(len).zip(self.values.chunks(len)) {
            fresh.push(Self { keys: keys.to_vec(), values: values.to_vec() });
        }
    }
}

#[cfg(test)]
mod tests;
