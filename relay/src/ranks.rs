//! Ranks: how many messages come before an id, and which message holds a rank.
//!
//! A channel's ids are cut into blocks of about 1,000; one row a block holds its count, written in
//! the same batch as the messages. In memory a channel in use has the blocks' first ids and a
//! Fenwick tree over their counts: rank and select are one descent and one scan of half a block.
//!
//! The writer keeps one [`Ranks`] per channel and updates it. Readers build theirs from their own
//! snapshot ([`RankCache`]), so that a rank always belongs to the rows it is used with; a channel
//! only grows, so its total names the version. Copying the writer's blocks to readers after each
//! commit would cost every commit (20 kB at a million messages) for reads that may never come; a
//! rebuild costs only the reads that need ranks, 1,000 short rows at a million messages, and `latest`
//! needs none.

use crate::limits::{RANK_BLOCK, RANK_BLOCK_SPLIT, READER_BLOCKS_MAX};
use crate::store::StoreError;
use crate::store::keys::{self, ChannelId, bounds};
use crate::store::kv::{Direction, Family, Snapshot};
use crate::store::txn::Txn;
use backscroll_core::message::MessageId;
use backscroll_core::timeline::Fenwick;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

/// Rows that are counted back from a block's end before they are counted from its start: of what was
/// written last, a step back costs RocksDB many times a step forward.
const BACK_MAX: u64 = 64;

/// The blocks of one channel.
#[derive(Clone, Debug, Default)]
pub struct Ranks {
    channel: ChannelId,
    /// First number of each block, ascending; the first block starts at 0.
    starts: Vec<u128>,
    counts: Fenwick,
}

impl Ranks {
    /// Reads the blocks of a channel.
    ///
    /// # Errors
    /// The store cannot be read, or a row is damaged.
    ///
    /// # Complexity
    /// O(blocks): one for about 1,000 messages.
    pub fn load(rows: &dyn Snapshot, channel: ChannelId) -> Result<Self, StoreError> {
        let (mut starts, mut counts) = (Vec::new(), Vec::new());
        let mut damaged = false;
        let range = keys::channel(channel);
        rows.scan(Family::Ranks, bounds(&range), Direction::Forward, &mut |key, value| match (
            keys::rank_of(key),
            value.try_into().map(u32::from_be_bytes),
        ) {
            (Some(start), Ok(count)) => {
                starts.push(start);
                counts.push(count);
                ControlFlow::Continue(())
            }
            _ => {
                damaged = true;
                ControlFlow::Break(())
            }
        })?;
        if damaged || starts.first().is_some_and(|first| *first != 0) {
            return Err(StoreError::damaged(Family::Ranks, "a block has no start or no count"));
        }
        Ok(Self { channel, starts, counts: Fenwick::from_counts(&counts) })
    }

    /// Messages in all blocks.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.total()
    }

    /// Number of blocks.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there is no block, and no message.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Each block's first number and count, in order.
    pub fn blocks(&self) -> impl Iterator<Item = (u128, u32)> {
        self.starts.iter().enumerate().map(|(i, start)| (*start, self.count(i)))
    }

    fn count(&self, block: usize) -> u32 {
        self.counts.get(block).unwrap_or(0)
    }

    fn block_of(&self, number: u128) -> usize {
        self.starts.partition_point(|start| *start <= number).saturating_sub(1)
    }

    /// End of a block, exclusive; `None` is the channel's end.
    fn end_of(&self, block: usize) -> Option<u128> {
        self.starts.get(block + 1).copied()
    }

    /// How many messages have a smaller id.
    ///
    /// # Errors
    /// The store cannot be read.
    ///
    /// # Complexity
    /// One descent and a scan of at most half a block in the usual case, from the nearer end; of the
    /// first and the last block, of at most a block.
    pub fn rank(&self, rows: &dyn Snapshot, id: MessageId) -> Result<u64, StoreError> {
        let number = id.as_u128();
        let Some(start) = self.starts.get(self.block_of(number)).copied() else { return Ok(0) };
        let block = self.block_of(number);
        let (before, end) = (self.counts.prefix(block), self.end_of(block));
        // The last block is open: what matters there is nearly always at its end.
        let is_near_end = end.is_none_or(|end| number - start > (end - start) / 2);
        if is_near_end {
            // Of the first block and the last it is not known where in them the id stands.
            let is_guess = end.is_none() || start == 0;
            let back_max = if is_guess { BACK_MAX } else { u64::MAX };
            let above = self.count_rows(rows, (number, end), Direction::Reverse, back_max)?;
            if above < back_max {
                return Ok((before + u64::from(self.count(block))).saturating_sub(above));
            }
        }
        Ok(before + self.count_rows(rows, (start, Some(number)), Direction::Forward, u64::MAX)?)
    }

    /// Counts rows, at most `most` of them.
    fn count_rows(
        &self,
        rows: &dyn Snapshot,
        (from, to): (u128, Option<u128>),
        direction: Direction,
        most: u64,
    ) -> Result<u64, StoreError> {
        let range = keys::messages(self.channel, from, to);
        let mut count = 0;
        rows.scan(Family::Index, bounds(&range), direction, &mut |_, _| {
            count += 1;
            if count < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(count)
    }

    /// Where the message of this rank is: a number at or below its id, and how many messages from
    /// there on to skip. `None` beyond the end.
    ///
    /// # Complexity
    /// O(log blocks).
    #[must_use]
    pub fn find(&self, rank: u64) -> Option<(u128, u64)> {
        let (block, skip) = self.counts.find(rank)?;
        Some((*self.starts.get(block)?, skip))
    }

    /// Counts a message that the channel did not have. `is_newest`: its id is the greatest of the
    /// channel.
    ///
    /// # Errors
    /// A block's count is out of range.
    ///
    /// # Complexity
    /// O(log blocks).
    pub fn insert(
        &mut self,
        txn: &mut Txn<'_>,
        id: MessageId,
        is_newest: bool,
    ) -> Result<(), StoreError> {
        let last = self.starts.len().saturating_sub(1);
        if self.starts.is_empty() || (is_newest && self.count(last) >= RANK_BLOCK) {
            let start = if self.starts.is_empty() { 0 } else { id.as_u128() };
            self.starts.push(start);
            self.counts.push(1);
            self.put(txn, self.starts.len() - 1);
            return Ok(());
        }
        let block = self.block_of(id.as_u128());
        self.counts
            .add(block, 1)
            .map_err(|_| StoreError::damaged(Family::Ranks, "a block's count is out of range"))?;
        self.put(txn, block);
        Ok(())
    }

    /// Counts a message less. A block that becomes empty goes, but for the first.
    ///
    /// # Errors
    /// The block counts no message.
    ///
    /// # Complexity
    /// O(log blocks); O(blocks) for one that goes.
    pub fn remove(&mut self, txn: &mut Txn<'_>, id: MessageId) -> Result<(), StoreError> {
        let none = || StoreError::damaged(Family::Ranks, "a block counts less than the index has");
        let block = self.block_of(id.as_u128());
        let count = self.count(block).checked_sub(1).ok_or_else(none)?;
        if count > 0 || block == 0 {
            self.counts.add(block, -1).map_err(|_| none())?;
            self.put(txn, block);
            return Ok(());
        }
        let start = self.starts.remove(block);
        txn.delete(Family::Ranks, keys::rank(self.channel, start));
        let mut counts: Vec<u32> = (0..self.counts.len()).map(|i| self.count(i)).collect();
        counts.remove(block);
        self.counts = Fenwick::from_counts(&counts);
        Ok(())
    }

    /// Splits the block around `id` if it has grown too large; its message must be in `txn` by now.
    ///
    /// # Errors
    /// The store cannot be read.
    ///
    /// # Complexity
    /// Once in 1,000 messages it reads half a block and rebuilds the tree.
    pub fn settle(&mut self, txn: &mut Txn<'_>, id: MessageId) -> Result<(), StoreError> {
        let block = self.block_of(id.as_u128());
        let count = self.count(block);
        if count <= RANK_BLOCK_SPLIT {
            return Ok(());
        }
        let keep = count / 2;
        let from = self.starts.get(block).copied().unwrap_or(0);
        let range = keys::messages(self.channel, from, self.end_of(block));
        let (mut seen, mut middle) = (0, None);
        txn.scan(Family::Index, bounds(&range), Direction::Forward, &mut |key, _| {
            if seen == keep {
                middle = keys::message_of(key);
                return ControlFlow::Break(());
            }
            seen += 1;
            ControlFlow::Continue(())
        })?;
        let middle = middle
            .ok_or(StoreError::damaged(Family::Ranks, "a block counts more than the index has"))?;
        self.starts.insert(block + 1, middle.as_u128());
        let mut counts: Vec<u32> = (0..self.counts.len()).map(|i| self.count(i)).collect();
        if let Some(slot) = counts.get_mut(block) {
            *slot = keep;
        }
        counts.insert(block + 1, count - keep);
        self.counts = Fenwick::from_counts(&counts);
        self.put(txn, block);
        self.put(txn, block + 1);
        Ok(())
    }

    fn put(&self, txn: &mut Txn<'_>, block: usize) {
        if let Some(start) = self.starts.get(block) {
            let count = self.count(block).to_be_bytes().to_vec();
            txn.put(Family::Ranks, keys::rank(self.channel, *start), count);
        }
    }
}

/// The blocks of channels that readers used last, each as of a total and a floor: between two
/// retentions a channel only grows, so equal totals are equal blocks.
#[derive(Debug, Default)]
pub struct RankCache {
    inner: Mutex<Cached>,
}

#[derive(Debug, Default)]
struct Cached {
    channels: HashMap<ChannelId, Known>,
    blocks: usize,
    clock: u64,
}

#[derive(Debug)]
struct Known {
    used: u64,
    floor: u64,
    ranks: Arc<Ranks>,
}

impl RankCache {
    /// The blocks of `channel` as `rows` has them; `total` and `floor` are the channel's there.
    ///
    /// # Errors
    /// The store cannot be read, or the blocks do not add up to `total`.
    ///
    /// # Complexity
    /// O(1) if they were asked for at this total before, else O(blocks).
    pub fn get(
        &self,
        rows: &dyn Snapshot,
        channel: ChannelId,
        (total, floor): (u64, u64),
    ) -> Result<Arc<Ranks>, StoreError> {
        {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            inner.clock += 1;
            let clock = inner.clock;
            if let Some(known) = inner.channels.get_mut(&channel)
                && (known.ranks.total(), known.floor) == (total, floor)
            {
                known.used = clock;
                return Ok(known.ranks.clone());
            }
        }
        let ranks = Arc::new(Ranks::load(rows, channel)?);
        if ranks.total() != total {
            return Err(StoreError::damaged(Family::Ranks, "blocks do not add up to the total"));
        }
        self.keep(channel, floor, &ranks);
        Ok(ranks)
    }

    fn keep(&self, channel: ChannelId, floor: u64, ranks: &Arc<Ranks>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let known = Known { used: inner.clock, floor, ranks: ranks.clone() };
        if let Some(before) = inner.channels.insert(channel, known) {
            inner.blocks -= before.ranks.len();
        }
        inner.blocks += ranks.len();
        while inner.blocks > READER_BLOCKS_MAX && inner.channels.len() > 1 {
            let oldest = inner.channels.iter().min_by_key(|(_, known)| known.used);
            let Some(oldest) = oldest.map(|(channel, _)| *channel) else { break };
            if let Some(known) = inner.channels.remove(&oldest) {
                inner.blocks -= known.ranks.len();
            }
        }
    }
}
