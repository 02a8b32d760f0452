//! Late messages that came and were not in view yet, in runs (design 5.3).
//!
//! It knows ids and seqs, and nothing of windows' contents or views: who calls it says which messages
//! stand next to each other. Messages that this replica was told of one by one are *known*. Of a
//! *block*, which the relay counted while this replica was away, only the ends and the number are
//! known; as its windows are loaded its messages become known. A run is made of known messages and
//! blocks, and splits between any two of them that do not overlap.

mod told;

use crate::message::MessageId;
use crate::timeline::Blocks;
use crate::window::Window;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// Most runs kept, and most blocks; beyond it the oldest are joined.
pub(crate) const RUNS_MAX: usize = 4_096;

/// Most messages known one by one; beyond it those of the oldest run become a block.
pub(crate) const KNOWN_MAX: u64 = 1 << 16;

/// The seq of a message of which it is not known.
const UNKNOWN_SEQ: u64 = u64::MAX;

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

/// Late messages of which only this is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// Its ends, and how many of its messages are not known.
    pub(crate) run: UnseenRun,
    /// Its messages have greater seqs.
    pub(crate) since_seq: u64,
    /// Its messages have no greater seqs.
    pub(crate) upto_seq: u64,
    /// Windows that were loaded since: what they have of it is known.
    pub(crate) listed: BTreeSet<Window>,
    /// Windows of which that is so up to a seq: they are loaded, and behind.
    pub(crate) partly: BTreeMap<Window, u64>,
}

/// A block's first message, and a number that tells it from others that begin there.
pub(crate) type BlockKey = (u128, u32);

#[derive(Clone, Copy, Debug)]
struct Run {
    run: UnseenRun,
    /// Its messages have greater seqs, as far as it is known: else 0.
    since_seq: u64,
    /// The greatest known seq of its messages, 0 if none is.
    last_seq: u64,
}

/// Late messages not yet in view, in order.
#[derive(Clone, Debug)]
pub struct Unseen {
    /// With the seq of each, or one that its seq is not above; [`UNKNOWN_SEQ`] if nothing is known of it.
    known: Blocks<u64>,
    /// By their first message. Their spans do not overlap; each known message and each block is in one.
    runs: BTreeMap<MessageId, Run>,
    /// By their first message.
    blocks: BTreeMap<BlockKey, Block>,
    in_blocks: u64,
    runs_max: usize,
    known_max: u64,
}

impl Default for Unseen {
    fn default() -> Self {
        Self::with_bounds(RUNS_MAX, KNOWN_MAX)
    }
}

impl Unseen {
    pub(crate) fn with_bounds(runs_max: usize, known_max: u64) -> Self {
        let (runs, blocks) = (BTreeMap::new(), BTreeMap::new());
        Self { known: Blocks::new(), runs, blocks, in_blocks: 0, runs_max, known_max }
    }

    /// How many there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.known.len() + self.in_blocks
    }

    /// Its runs, oldest first.
    ///
    /// # Complexity
    /// O(1) each.
    pub fn runs(&self) -> impl DoubleEndedIterator<Item = &UnseenRun> {
        self.runs.values().map(|run| &run.run)
    }

    /// The runs that begin at or after a message, oldest first.
    pub(crate) fn runs_from(&self, id: MessageId) -> impl Iterator<Item = &UnseenRun> {
        self.runs.range(id..).map(|(_, run)| &run.run)
    }

    /// The runs that begin before a message, newest first.
    pub(crate) fn runs_before(&self, id: MessageId) -> impl Iterator<Item = &UnseenRun> {
        self.runs.range(..id).rev().map(|(_, run)| &run.run)
    }

    /// How many lie before `first` and how many after `last`, the ends of a view. A block that reaches
    /// over an end is taken as spread evenly over its time.
    ///
    /// # Complexity
    /// O(log n) and O(blocks).
    #[must_use]
    pub fn around(&self, first: MessageId, last: MessageId) -> (u64, u64) {
        (self.before(first.as_u128()), self.total() - self.before(last.as_u128() + 1))
    }

    /// How many lie at or before a message.
    pub(crate) fn count_to(&self, last: MessageId) -> u64 {
        self.before(last.as_u128() + 1)
    }

    fn before(&self, id: u128) -> u64 {
        let of_block = |block: &Block| {
            let (first, last) = (block.run.first.as_u128(), block.run.last.as_u128());
            if last < id {
                return block.run.count;
            }
            // Ids are as good as evenly spread if their first 64 bits are.
            let (offset, span) = ((id - first) >> 64, ((last - first) >> 64) + 1);
            u64::try_from(u128::from(block.run.count) * offset / span).unwrap_or(block.run.count)
        };
        let blocks = self.blocks.values().take_while(|block| block.run.first.as_u128() < id);
        self.known.rank(id) + blocks.map(of_block).sum::<u64>()
    }

    /// A late message came, and these stand next to it on both sides: it is of one run with those of
    /// them that are unseen late ones as well. False if it is there already.
    ///
    /// For one who knows all messages, as a relay does; a replica with holes cannot tell who stands
    /// next to whom.
    ///
    /// # Complexity
    /// O(log n).
    pub fn came(&mut self, id: MessageId, seq: u64, beside: [Option<MessageId>; 2]) -> bool {
        if !self.add(id, seq) {
            return false;
        }
        let [before, after] = beside;
        if let Some(after) = after.filter(|after| self.run_of(*after) == Some(*after)) {
            self.join(after);
        }
        if before.is_some_and(|before| self.run_at(before).is_some_and(|run| run.last == before)) {
            self.join(id);
        }
        true
    }

    /// A message that is none of these stands at `id`: no run goes on beyond it.
    ///
    /// # Complexity
    /// O(log n).
    pub fn part_at(&mut self, id: MessageId) {
        if let (Some(_), Some(above)) = self.neighbours(id) {
            self.split(above);
        }
    }

    /// Late messages came of which no more than this is known.
    pub fn came_as_run(&mut self, run: UnseenRun) {
        let (listed, partly) = (BTreeSet::new(), BTreeMap::new());
        self.add_block(Block { run, since_seq: 0, upto_seq: u64::MAX, listed, partly });
    }

    /// Adds one message under its seq, 0 if that is not known; false if it is there already. It is a run
    /// of its own unless it stands inside one.
    ///
    /// # Complexity
    /// O(log n), as everything about one message.
    pub(crate) fn add(&mut self, id: MessageId, seq: u64) -> bool {
        let bound = if seq > 0 { seq } else { UNKNOWN_SEQ };
        if !self.known.insert(id.as_u128(), bound) {
            self.note_seq(id, seq);
            return false;
        }
        let since_seq = seq.saturating_sub(1);
        let run = UnseenRun { first: id, last: id, count: 1 };
        let run = Run { run, since_seq, last_seq: seq };
        match self.run_of(id).and_then(|first| self.runs.get_mut(&first)) {
            Some(before) => *before = before.and(run),
            None => _ = self.runs.insert(id, run),
        }
        self.bound();
        true
    }

    /// Adds messages that are not known. Runs that they reach into become one with them.
    pub(crate) fn add_block(&mut self, block: Block) {
        let UnseenRun { first, last, count } = block.run;
        if first > last || count == 0 {
            return;
        }
        let mut run = Run { run: block.run, since_seq: block.since_seq, last_seq: 0 };
        self.put_block(block);
        let reached = self.runs.range(..=last).rev().take_while(|(_, run)| first <= run.run.last);
        for at in reached.map(|(at, _)| *at).collect::<Vec<_>>() {
            if let Some(other) = self.runs.remove(&at) {
                run = run.and(other);
            }
        }
        self.put_run((run.run.first.as_u128(), run.run.last.as_u128() + 1), run);
        self.bound();
    }

    fn put_block(&mut self, block: Block) {
        let first = block.run.first.as_u128();
        let before = self.blocks.range((first, 0)..=(first, u32::MAX)).next_back();
        let number = before.map_or(0, |((_, number), _)| number.saturating_add(1));
        self.in_blocks += block.run.count;
        let before = self.blocks.insert((first, number), block);
        self.in_blocks -= before.map_or(0, |before| before.run.count);
    }

    fn take_block(&mut self, at: BlockKey) -> Option<Block> {
        let block = self.blocks.remove(&at)?;
        self.in_blocks -= block.run.count;
        Some(block)
    }

    /// The blocks that reach into a span of ids, oldest first.
    pub(crate) fn blocks_in(&self, span: &RangeInclusive<MessageId>) -> Vec<(BlockKey, &Block)> {
        let reaching = self.blocks.range(..=(span.end().as_u128(), u32::MAX));
        let reaching = reaching.filter(|(_, block)| block.run.last >= *span.start());
        reaching.map(|(at, block)| (*at, block)).collect()
    }

    /// Some messages of a block, with their seqs, become known; `rest` is what is left of it.
    ///
    /// # Complexity
    /// O(log n) for each message, and O(blocks of its run).
    pub(crate) fn list(&mut self, at: BlockKey, ids: &[(MessageId, u64)], rest: Option<Block>) {
        let Some(block) = self.take_block(at) else { return };
        let inside = |id: MessageId| block.run.first <= id && id <= block.run.last;
        for (id, seq) in ids.iter().filter(|(id, _)| inside(*id)) {
            self.known.insert(id.as_u128(), *seq);
        }
        let fits = |rest: &Block| {
            let UnseenRun { first, last, count } = rest.run;
            count > 0 && first <= last && inside(first) && inside(last)
        };
        if let Some(rest) = rest.filter(|rest| fits(rest)) {
            self.put_block(rest);
        }
        if let Some(run) = self.run_of(block.run.first).and_then(|first| self.runs.remove(&first)) {
            let last_seq = ids.iter().map(|(_, seq)| *seq).fold(run.last_seq, u64::max);
            let span = (run.run.first.as_u128(), run.run.last.as_u128() + 1);
            self.put_run(span, Run { last_seq, ..run });
        }
        self.bound();
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
        let past = self.known.rank(span.end().as_u128() + 1) + 1;
        let known = self.known.walk_from_rank(from);
        let count = usize::try_from(past - from).unwrap_or(usize::MAX);
        known.take(count).filter_map(|(id, _)| MessageId::from_u128(id).ok()).collect()
    }

    fn known_at(&self, rank: u64) -> Option<MessageId> {
        self.known.select(rank).and_then(|(id, _)| MessageId::from_u128(id).ok())
    }

    /// The first message of the run whose span a message is in.
    pub(crate) fn run_of(&self, id: MessageId) -> Option<MessageId> {
        let run = self.runs.range(..=id).next_back()?.1;
        (id <= run.run.last).then_some(run.run.first)
    }

    /// The run whose span a message is in.
    pub(crate) fn run_at(&self, id: MessageId) -> Option<&UnseenRun> {
        let first = self.run_of(id)?;
        self.runs.get(&first).map(|run| &run.run)
    }

    /// The run before the one that a message is in, with the greatest known seq of its messages; and
    /// the one after.
    pub(crate) fn runs_beside(&self, id: MessageId) -> [Option<(UnseenRun, u64)>; 2] {
        let Some(first) = self.run_of(id) else { return [None; 2] };
        let told = |(_, run): (&MessageId, &Run)| (run.run, run.last_seq);
        [self.runs.range(..first).next_back().map(told), self.runs.range(first..).nth(1).map(told)]
    }

    /// Lets a run begin with a known message, unless it stands inside a block.
    pub(crate) fn split(&mut self, at: MessageId) {
        if !self.contains(at) {
            return;
        }
        let Some(first) = self.run_of(at).filter(|first| *first < at) else { return };
        let blocks = self.blocks.range((first.as_u128(), 0)..(at.as_u128(), 0));
        if blocks.map(|(_, block)| block.run.last).max().is_some_and(|last| last >= at) {
            return;
        }
        if let Some(run) = self.runs.remove(&first) {
            self.put_run((first.as_u128(), at.as_u128()), run);
            self.put_run((at.as_u128(), run.run.last.as_u128() + 1), run);
        }
        self.bound();
    }

    /// Joins the run that begins with a message to the one before it.
    pub(crate) fn join(&mut self, at: MessageId) {
        if self.runs.range(..at).next_back().is_none() {
            return;
        }
        if let Some(later) = self.runs.remove(&at)
            && let Some((_, run)) = self.runs.range_mut(..at).next_back()
        {
            *run = run.and(later);
        }
    }

    /// Takes what lies in `[first, last]` out of its runs; whether there was anything. Of blocks, those
    /// that lie in it as a whole.
    ///
    /// # Complexity
    /// O(log n), and what is taken out.
    pub fn mark_seen(&mut self, first: MessageId, last: MessageId) -> bool {
        let any = first <= last && self.take(first, last);
        // What is left of one run may be two.
        self.bound();
        any
    }

    fn take(&mut self, first: MessageId, last: MessageId) -> bool {
        let blocks = self.blocks.range((first.as_u128(), 0)..=(last.as_u128(), u32::MAX));
        let blocks = blocks.filter(|(_, block)| block.run.last <= last);
        let blocks: Vec<_> = blocks.map(|(id, _)| *id).collect();
        let mut known = self.known_in(&(first..=last));
        known.retain(|id| *id <= last);
        if blocks.is_empty() && known.is_empty() {
            return false;
        }
        let reached = self.runs.range(..=last).rev().take_while(|(_, run)| first <= run.run.last);
        let reached: Vec<_> = reached.map(|(_, run)| *run).collect();
        for at in blocks {
            self.take_block(at);
        }
        let keys: Vec<_> = known.iter().map(|id| id.as_u128()).collect();
        let left = self.known.remove_run(&keys, |_| true);
        debug_assert_eq!(left.map(|left| left.len()), Ok(0), "they ascend and are there");
        for run in reached {
            self.runs.remove(&run.run.first);
            let (from, to) = (run.run.first.as_u128(), run.run.last.as_u128() + 1);
            let (first, after) = (first.as_u128(), last.as_u128() + 1);
            // Where a block reaches over what was seen it is not known what stands on which side.
            let over =
                self.blocks.range((from, 0)..(after.min(to), 0)).map(|(_, block)| block.run.last);
            if over.max().is_some_and(|end| end.as_u128() >= first) {
                self.put_run((from, to), run);
            } else {
                self.put_run((from, first.min(to)), run);
                self.put_run((after.max(from), to), run);
            }
        }
        true
    }

    /// Makes a run of what begins in a half-open span, if anything does.
    fn put_run(&mut self, (from, to): (u128, u128), run: Run) {
        if from >= to {
            return;
        }
        let (low, high) = (self.known.rank(from), self.known.rank(to));
        let known = (low < high).then(|| self.known_at(low).zip(self.known_at(high - 1))).flatten();
        let (mut count, mut ends) = (high - low, known);
        for block in self.blocks.range((from, 0)..(to, 0)).map(|(_, block)| block.run) {
            count += block.count;
            let both = |(a, b): (MessageId, MessageId)| (a.min(block.first), b.max(block.last));
            ends = Some(ends.map_or((block.first, block.last), both));
        }
        if let Some((first, last)) = ends {
            self.runs.insert(first, Run { run: UnseenRun { first, last, count }, ..run });
        }
    }

    /// Removes all; whether there were any.
    pub(crate) fn clear(&mut self) -> bool {
        let any = self.total() > 0;
        *self = Self::with_bounds(self.runs_max, self.known_max);
        any
    }

    /// What it is made of, for a store: blocks, and runs with the messages that are known of them.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.blocks.values()
    }

    /// Keeps the number of runs, blocks and known messages within their bounds.
    fn bound(&mut self) {
        if self.runs.len() > self.runs_max
            && let Some(second) = self.runs.keys().nth(1).copied()
        {
            self.join(second);
        }
        if self.blocks.len() > self.runs_max
            && let (Some((_, a)), Some((_, b))) = (self.blocks.pop_first(), self.blocks.pop_first())
        {
            self.in_blocks -= a.run.count + b.run.count;
            let (first, last) = (a.run.first, a.run.last.max(b.run.last));
            let run = UnseenRun { first, last, count: a.run.count + b.run.count };
            let since_seq = a.since_seq.min(b.since_seq);
            let upto_seq = a.upto_seq.max(b.upto_seq);
            let listed = a.listed.intersection(&b.listed).copied().collect();
            self.add_block(Block { run, since_seq, upto_seq, listed, partly: BTreeMap::new() });
        }
        if self.known.len() > self.known_max
            && let Some(run) = self.known_at(0).and_then(|id| self.run_of(id))
            && let Some(Run { run, since_seq, last_seq }) = self.runs.get(&run).copied()
        {
            self.take(run.first, run.last);
            let is_known = since_seq > 0 && last_seq > 0;
            let upto_seq = if is_known { last_seq } else { u64::MAX };
            let (listed, partly) = (BTreeSet::new(), BTreeMap::new());
            self.add_block(Block { run, since_seq, upto_seq, listed, partly });
        }
    }

    /// Checks what the other methods rely on.
    ///
    /// # Errors
    /// A sentence about the first disagreement found.
    pub(crate) fn check_invariants(&self) -> Result<(), String> {
        self.known.check_invariants()?;
        let in_blocks: u64 = self.blocks.values().map(|block| block.run.count).sum();
        if in_blocks != self.in_blocks {
            return Err(format!("blocks have {in_blocks} messages, not {}", self.in_blocks));
        }
        let (mut rank, mut past) = (0, None);
        let mut blocks = self.blocks.values().peekable();
        for (at, Run { run, .. }) in &self.runs {
            if run.first != *at || past.is_some_and(|past| past >= run.first) {
                return Err(format!("the run {run:?} is out of order"));
            }
            past = Some(run.last);
            let to = self.known.rank(run.last.as_u128() + 1);
            let mut count = to - rank;
            let mut firsts: Vec<_> =
                self.known_at(rank).filter(|_| to > rank).into_iter().collect();
            let mut lasts: Vec<_> = firsts.iter().filter_map(|_| self.known_at(to - 1)).collect();
            while let Some(block) = blocks.next_if(|block| block.run.first <= run.last) {
                count += block.run.count;
                firsts.push(block.run.first);
                lasts.push(block.run.last);
            }
            let ends = (firsts.into_iter().min(), lasts.into_iter().max());
            if ends != (Some(run.first), Some(run.last)) || count != run.count {
                return Err(format!("the run {run:?} has {count} messages from and to {ends:?}"));
            }
            rank = to;
        }
        if rank == self.known.len() && blocks.next().is_none() {
            Ok(())
        } else {
            Err("a late message is in no run".to_owned())
        }
    }
}

impl Run {
    /// Both as one.
    fn and(self, other: Self) -> Self {
        let (a, b) = (self.run, other.run);
        let (first, last) = (a.first.min(b.first), a.last.max(b.last));
        Self {
            run: UnseenRun { first, last, count: a.count + b.count },
            since_seq: self.since_seq.min(other.since_seq),
            last_seq: self.last_seq.max(other.last_seq),
        }
    }
}
