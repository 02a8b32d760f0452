//! Late messages that came and were not in view yet, in runs (design 5.3).
//!
//! It knows ids and nothing of windows or views: who calls it says which messages stand next to each
//! other. Messages that this replica was told of one by one are *known*; their runs split and join
//! with what is between them. Of a *block*, which the relay counted while this replica was away, only
//! the ends and the number are known, until its windows are loaded.

mod stored;

use crate::message::MessageId;
use crate::timeline::Blocks;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Most runs kept; beyond it the oldest are joined.
const RUNS_MAX: usize = 4_096;

/// Most messages known one by one; beyond it the oldest run becomes a block.
const KNOWN_MAX: u64 = 1 << 16;

/// A run of late messages not yet in view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnseenRun {
    /// Its first message.
    pub first: MessageId,
    /// Its last message, inclusive.
    pub last: MessageId,
    /// How many late messages it has.
    pub count: u64,
}

/// A run whose messages are not known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub(crate) run: UnseenRun,
    /// Its messages have greater seqs.
    pub(crate) since_seq: u64,
}

/// Late messages not yet in view, in order.
#[derive(Clone, Debug)]
pub struct Unseen {
    known: Blocks<()>,
    /// Runs of known messages by their first: every known message is in one.
    runs: BTreeMap<MessageId, UnseenRun>,
    blocks: BTreeMap<MessageId, Block>,
    in_blocks: u64,
}

impl Default for Unseen {
    fn default() -> Self {
        let (runs, blocks) = (BTreeMap::new(), BTreeMap::new());
        Self { known: Blocks::new(), runs, blocks, in_blocks: 0 }
    }
}

impl Unseen {
    /// How many there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.known.len() + self.in_blocks
    }

    /// Its runs, oldest first.
    ///
    /// # Complexity
    /// O(runs).
    pub fn runs(&self) -> impl DoubleEndedIterator<Item = &UnseenRun> {
        let blocks = self.blocks.values().map(|block| &block.run);
        let mut runs: Vec<_> = self.runs.values().chain(blocks).collect();
        runs.sort_by_key(|run| run.first);
        runs.into_iter()
    }

    /// How many lie before `first` and how many after `last`, the ends of a view.
    ///
    /// # Complexity
    /// O(runs).
    #[must_use]
    pub fn around(&self, first: MessageId, last: MessageId) -> (u64, u64) {
        let blocks = || self.blocks.values().map(|block| block.run);
        let above: u64 = blocks().filter(|run| run.last < first).map(|run| run.count).sum();
        let below: u64 = blocks().filter(|run| run.first > last).map(|run| run.count).sum();
        let known_to_last = self.known.rank(last.as_u128() + 1);
        (above + self.known.rank(first.as_u128()), below + self.known.len() - known_to_last)
    }

    /// How many lie at or before a message; of a block only if it does as a whole.
    pub(crate) fn count_to(&self, last: MessageId) -> u64 {
        let blocks = self.blocks.values().map(|block| block.run);
        let whole: u64 = blocks.filter(|run| run.last <= last).map(|run| run.count).sum();
        whole + self.known.rank(last.as_u128() + 1)
    }

    /// Adds one message: a run of its own, unless it stands inside one. One that is there already
    /// changes nothing.
    ///
    /// # Complexity
    /// O(log n), as everything about one message.
    pub(crate) fn add(&mut self, id: MessageId) {
        let before = self.blocks.range_mut(..=id).next_back().map(|(_, block)| block);
        match before.filter(|block| id <= block.run.last) {
            Some(block) => {
                block.run.count += 1;
                self.in_blocks += 1;
            }
            None => self.list(id),
        }
    }

    /// Adds one message as known, also one that a block had counted.
    pub(crate) fn list(&mut self, id: MessageId) {
        if !self.known.insert(id.as_u128(), ()) {
            return;
        }
        match self.runs.range_mut(..id).next_back() {
            Some((_, run)) if id < run.last => run.count += 1,
            _ => _ = self.runs.insert(id, UnseenRun { first: id, last: id, count: 1 }),
        }
        self.bound();
    }

    /// Adds a run whose messages are not known, of seqs above `since_seq`.
    pub(crate) fn add_block(&mut self, run: UnseenRun, since_seq: u64) {
        if run.first > run.last || run.count == 0 {
            return;
        }
        let before = self.blocks.insert(run.first, Block { run, since_seq });
        self.in_blocks += run.count;
        self.in_blocks -= before.map_or(0, |before| before.run.count);
        self.bound();
    }

    /// The blocks that reach into a span of ids.
    pub(crate) fn blocks_in(&self, span: &RangeInclusive<MessageId>) -> Vec<Block> {
        let reaching = self.blocks.range(..=*span.end()).map(|(_, block)| *block);
        reaching.filter(|block| block.run.last >= *span.start()).collect()
    }

    /// Takes a block out.
    pub(crate) fn remove_block(&mut self, first: MessageId) {
        if let Some(block) = self.blocks.remove(&first) {
            self.in_blocks -= block.run.count;
        }
    }

    /// Whether a message is known to be unseen.
    pub(crate) fn contains(&self, id: MessageId) -> bool {
        self.known.get(id.as_u128()).is_some()
    }

    /// The known messages around a place: the greatest below `id`, the least above it.
    pub(crate) fn neighbours(&self, id: MessageId) -> (Option<MessageId>, Option<MessageId>) {
        let below = self.known.rank(id.as_u128()).checked_sub(1);
        let above = self.known.rank(id.as_u128() + 1);
        (below.and_then(|rank| self.known_at(rank)), self.known_at(above))
    }

    /// The known messages in a span, and the one after it.
    pub(crate) fn known_in(&self, span: &RangeInclusive<MessageId>) -> Vec<MessageId> {
        let from = self.known.rank(span.start().as_u128());
        let to = self.known.rank(span.end().as_u128() + 1);
        (from..=to).map_while(|rank| self.known_at(rank)).collect()
    }

    fn known_at(&self, rank: u64) -> Option<MessageId> {
        self.known.select(rank).and_then(|(id, ())| MessageId::from_u128(id).ok())
    }

    /// The first message of the run that a known message is in.
    pub(crate) fn run_of(&self, id: MessageId) -> Option<MessageId> {
        let run = self.runs.range(..=id).next_back()?.1;
        (id <= run.last).then_some(run.first)
    }

    /// Lets a run begin with a known message.
    pub(crate) fn split(&mut self, at: MessageId) {
        self.part(at);
        self.bound();
    }

    fn part(&mut self, at: MessageId) {
        if !self.contains(at) {
            return;
        }
        let Some(run) = self.run_of(at).and_then(|first| self.runs.get_mut(&first)) else { return };
        let before = self.known.rank(at.as_u128()) - self.known.rank(run.first.as_u128());
        let Some(rank) = self.known.rank(at.as_u128()).checked_sub(1).filter(|_| before > 0) else {
            return;
        };
        let last = self.known.select(rank).and_then(|(id, ())| MessageId::from_u128(id).ok());
        let later = UnseenRun { first: at, last: run.last, count: run.count - before };
        (run.last, run.count) = (last.unwrap_or(run.first), before);
        self.runs.insert(at, later);
    }

    /// Joins the run that begins with a known message to the one before it.
    pub(crate) fn join(&mut self, at: MessageId) {
        if self.runs.range(..at).next_back().is_none() {
            return;
        }
        if let Some(later) = self.runs.remove(&at)
            && let Some((_, run)) = self.runs.range_mut(..at).next_back()
        {
            (run.last, run.count) = (later.last, run.count + later.count);
        }
    }

    /// Takes what lies in `[first, last]` out of its runs; whether there was anything. Of blocks, those
    /// that lie in it as a whole.
    ///
    /// # Complexity
    /// O(log n), and what is taken out.
    pub(crate) fn mark_seen(&mut self, first: MessageId, last: MessageId) -> bool {
        if first > last {
            return false;
        }
        let blocks = self.blocks.range(first..=last).filter(|(_, block)| block.run.last <= last);
        let blocks: Vec<_> = blocks.map(|(id, _)| *id).collect();
        blocks.iter().for_each(|id| self.remove_block(*id));
        let seen = self.take_known(first, last);
        seen || !blocks.is_empty()
    }

    fn take_known(&mut self, first: MessageId, last: MessageId) -> bool {
        let mut known = self.known_in(&(first..=last));
        if known.first().is_none_or(|id| *id > last) {
            return false;
        }
        let after = known.last().copied().filter(|id| *id > last);
        for id in [known.first().copied(), after].into_iter().flatten() {
            self.part(id);
        }
        known.retain(|id| *id <= last);
        for id in &known {
            self.known.remove(id.as_u128());
            self.runs.remove(id);
        }
        true
    }

    /// Removes all; whether there were any.
    pub(crate) fn clear(&mut self) -> bool {
        let any = self.total() > 0;
        *self = Self::default();
        any
    }

    /// Keeps the number of runs and of known messages within their bounds.
    fn bound(&mut self) {
        if self.runs.len() > RUNS_MAX
            && let Some(second) = self.runs.keys().nth(1).copied()
        {
            self.join(second);
        }
        if self.blocks.len() > RUNS_MAX
            && let (Some((_, a)), Some((_, b))) = (self.blocks.pop_first(), self.blocks.pop_first())
        {
            let (first, last) = (a.run.first, a.run.last.max(b.run.last));
            let run = UnseenRun { first, last, count: a.run.count + b.run.count };
            let since_seq = a.since_seq.min(b.since_seq);
            self.blocks.insert(first, Block { run, since_seq });
        }
        if self.known.len() > KNOWN_MAX
            && let Some((_, run)) = self.runs.first_key_value()
        {
            let run = *run;
            self.take_known(run.first, run.last);
            self.add_block(run, 0);
        }
    }

    /// Checks what the other methods rely on.
    ///
    /// # Errors
    /// A sentence about the first disagreement found.
    pub(crate) fn check_invariants(&self) -> Result<(), String> {
        let in_blocks: u64 = self.blocks.values().map(|block| block.run.count).sum();
        if in_blocks != self.in_blocks {
            return Err(format!("blocks have {in_blocks} messages, not {}", self.in_blocks));
        }
        let mut rank = 0;
        for (first, run) in &self.runs {
            let last = rank + run.count - 1;
            let ends = (self.known_at(rank), self.known_at(last));
            if ends != (Some(*first), Some(run.last)) || *first != run.first {
                return Err(format!("the run {run:?} has the ends {ends:?}"));
            }
            rank = last + 1;
        }
        if rank == self.known.len() {
            Ok(())
        } else {
            Err("a late message is in no run".to_owned())
        }
    }
}

#[cfg(test)]
mod tests;
