//! Keeps the runs of unseen late messages in step with what is shown (design 5.3).
//!
//! Two late messages are of one run if no other message stands between them. Where that is not
//! known, because a hole is there, those that came shortly after one another are one run until the
//! hole is loaded.

use super::{Channel, window_of};
use crate::late::{Block, BlockKey, UnseenRun};
use crate::message::MessageId;
use crate::window::Window;
use std::collections::{BTreeMap, BTreeSet};

/// How many seqs apart two late messages in a hole may be to count as one run: a writer who was away
/// pushes up to 256 messages at a time, and those of others come between the pushes.
const NEAR_SEQS: u64 = 256;

impl Channel {
    /// A late message of someone else came live.
    ///
    /// # Complexity
    /// O(log n).
    pub(super) fn late_came(&mut self, id: MessageId, seq: u64) {
        self.changed.late = true;
        self.reading.last_late_seq = seq;
        // A device that is opened for the first time hears of it from the relay only.
        self.saw_more();
        if self.unseen.add(id, seq) && self.unseen.run_of(id) == Some(id) {
            let is_near = |last_seq: u64| last_seq > 0 && seq.abs_diff(last_seq) <= NEAR_SEQS;
            let [before, after] = self.unseen.runs_beside(id);
            if let Some((run, last_seq)) = after
                && is_near(last_seq)
                && !self.is_loaded_between(id, run.first)
            {
                self.unseen.join(run.first);
            }
            if let Some((run, last_seq)) = before
                && is_near(last_seq)
                && !self.is_loaded_between(run.last, id)
            {
                self.unseen.join(id);
            }
        }
        self.settle_late(id);
    }

    /// Whether a loaded message stands between two places.
    fn is_loaded_between(&self, a: MessageId, b: MessageId) -> bool {
        let loaded = self.timeline.loaded();
        loaded.rank(b.as_u128()) > loaded.rank(a.as_u128() + 1)
    }

    /// A message is shown, or came where it is not: runs around it split or join.
    ///
    /// # Complexity
    /// O(log n).
    pub(super) fn settle_late(&mut self, id: MessageId) {
        if self.unseen.total() == 0 {
            return;
        }
        let (below, above) = self.unseen.neighbours(id);
        if self.unseen.contains(id) {
            self.settle_pair(below, Some(id));
            self.settle_pair(Some(id), above);
        } else if let (Some(_), Some(above)) = (below, above) {
            self.unseen.split(above);
        }
    }

    /// A message that was shown is there no more: what stood on both sides of it may be of one run.
    pub(super) fn settle_gone(&mut self, id: MessageId) {
        let (below, above) = self.unseen.neighbours(id);
        self.settle_pair(below, above);
    }

    /// Two unseen messages with no other unseen one between them: apart if a message stands between
    /// them, of one run if it is certain that none does.
    fn settle_pair(&mut self, a: Option<MessageId>, b: Option<MessageId>) {
        let (Some(a), Some(b)) = (a, b) else { return };
        if self.is_loaded_between(a, b) {
            self.unseen.split(b);
            return;
        }
        let shown = |id: MessageId| self.timeline.get(id.as_u128()).is_some();
        if self.unseen.run_of(b) == Some(b) && shown(a) && shown(b) {
            let holes = self.timeline.holes().overlapping(a.time_ms()..=b.time_ms());
            if holes.is_empty() {
                self.unseen.join(b);
            }
        }
    }

    /// Takes in the runs that came while this replica was away: they count everyone's messages
    /// above `since_seq`.
    pub(super) fn late_missed(&mut self, runs: Vec<UnseenRun>, since_seq: u64) {
        let upto_seq = self.head.as_ref().map_or(u64::MAX, |head| head.seq);
        for mut run in runs {
            let own: Vec<_> = self.outbox.relayed_in(run.first..=run.last, since_seq).collect();
            let sure = own.iter().filter(|(_, is_sure)| *is_sure).count() as u64;
            let all = own.len() as u64;
            // What was pushed may be among them or not. One too many is put right when its window
            // is loaded; none would be a message missed.
            let is_own = run.count == 1 && all == 1 && run.first == run.last;
            run.count = match run.count.saturating_sub(sure) {
                0 => 0,
                _ if is_own => 0,
                others => others.saturating_sub(all - sure).max(1),
            };
            if run.count == 0 {
                continue;
            }
            // Another client on the same store may have listed some of it before.
            let listed = self.unseen.seqs_in(&(run.first..=run.last)).into_iter();
            let listed = listed.filter(|(_, seq)| *seq > since_seq).count() as u64;
            run.count = run.count.saturating_sub(listed);
            // A message alone as well: whose it is will be known when its window is loaded.
            let (listed, partly) = (BTreeSet::new(), BTreeMap::new());
            self.unseen.add_block(Block { run, since_seq, upto_seq, listed, partly });
            self.changed.late = true;
        }
        self.settle_blocks();
    }

    /// Lists what loaded windows have of blocks, and takes out blocks of which nothing can be left.
    ///
    /// # Complexity
    /// As [`Self::list_late`] for each loaded window that blocks reach over, and O(loaded windows) and
    /// O(holes that they reach over) for each block.
    pub(super) fn settle_blocks(&mut self) {
        let everything = MessageId::first_of(0)..=MessageId::from_parts(u64::MAX, u128::MAX);
        let mut windows = BTreeSet::new();
        for (_, block) in self.unseen.blocks_in(&everything) {
            let (from_ms, to_ms) = (block.run.first.time_ms(), block.run.last.time_ms());
            let loaded = self
                .windows
                .keys()
                .filter(|window| window.start_ms() <= to_ms && from_ms < window.end_ms());
            windows.extend(loaded.filter(|window| !block.listed.contains(window)).copied());
        }
        for window in windows {
            self.list_late(window);
        }
        let over = self.unseen.blocks_in(&everything).into_iter();
        let over = over.filter(|(_, block)| self.rest_of(block).is_none());
        for at in over.map(|(at, _)| at).collect::<Vec<_>>() {
            self.unseen.list(at, &[], None);
            self.changed.late = true;
        }
    }

    /// A window is loaded: its unseen messages are known one by one, and what stands between them.
    ///
    /// # Complexity
    /// O(its messages inside blocks, its unseen messages, blocks), times O(log n).
    pub(super) fn list_late(&mut self, window: Window) {
        if self.unseen.total() == 0 {
            self.list_unsure(window);
        }
        if self.unseen.total() == 0 {
            return;
        }
        let Some(loaded) = self.windows.get(&window) else { return };
        let mut ids = loaded.ids();
        let Some(first) = ids.next() else { return };
        let mut span = first..=ids.last().unwrap_or(first);
        let is_whole =
            self.directory.get(window).is_some_and(|entry| loaded.has_messages_of(entry));
        let upto_seq = (!is_whole).then_some(loaded.seqs().0);
        let blocks = self.unseen.blocks_in(&span).into_iter();
        let blocks = blocks.filter(|(_, block)| {
            let is_news = is_whole || block.partly.get(&window).copied() != upto_seq;
            is_news && !block.listed.contains(&window)
        });
        for (at, block) in blocks.map(|(at, block)| (at, block.clone())).collect::<Vec<_>>() {
            // What a block hid of what stands between its messages is to be looked at as well.
            span = block.run.first.min(*span.start())..=block.run.last.max(*span.end());
            self.list_block(window, at, block, upto_seq);
        }
        self.list_unsure(window);
        self.drop_seen(window);
        let known = self.unseen.known_in(&span);
        if let Some(first) = known.first() {
            let (below, _) = self.unseen.neighbours(*first);
            self.settle_pair(below, Some(*first));
        }
        for pair in known.windows(2) {
            self.settle_pair(pair.first().copied(), pair.last().copied());
        }
    }

    /// Of a loaded window's unseen messages the seqs are known, and whose they are: some of them may
    /// have been in view on another device, or be the user's own.
    fn drop_seen(&mut self, window: Window) {
        let Some(loaded) = self.windows.get(&window) else { return };
        let mut ids = loaded.ids();
        let Some(first) = ids.next() else { return };
        let span = first..=ids.last().unwrap_or(first);
        let (mut seen, mut left) = (Vec::new(), Vec::new());
        for (id, _) in self.unseen.seqs_in(&span) {
            let Some(fact) = loaded.fact(id) else { continue };
            // What was listed in a history that is over stays listed.
            let is_void = self.unseen.is_seq_unknown(id);
            if self.is_own(window, id) || !is_void && self.reading.has_seen_late(id, fact.seq) {
                seen.push(id);
            } else if !is_void {
                left.push((id, fact.seq));
            }
        }
        left.into_iter().for_each(|(id, seq)| self.unseen.note_seq(id, seq));
        for id in seen {
            self.changed.late |= self.unseen.mark_seen(id, id);
        }
    }

    /// What was erased from a window is no news, and no row that could be seen.
    ///
    /// # Complexity
    /// O(unseen messages of the window's span) times O(log n).
    pub(super) fn drop_erased(&mut self, window: Window) {
        self.flush();
        let first = MessageId::first_of(window.start_ms());
        let last = MessageId::from_parts(window.end_ms() - 1, u128::MAX);
        let holes = self.timeline.holes();
        let is_hidden = |id: MessageId| {
            let over = holes.overlapping(id.time_ms()..=id.time_ms());
            over.into_iter().any(|key| holes.get(key).is_some_and(|hole| hole.count > 0))
        };
        let known = self.unseen.seqs_in(&(first..=last)).into_iter().map(|(id, _)| id);
        let gone = known.filter(|id| {
            // What is of a history that is over may be pushed again.
            let is_void = self.unseen.is_seq_unknown(*id);
            !is_void && self.timeline.get(id.as_u128()).is_none() && !is_hidden(*id)
        });
        for id in gone.collect::<Vec<_>>() {
            self.late_seen(id, id);
        }
    }

    /// Lists what a window has of a block, all of it or up to a seq; what is left lies in windows that
    /// are not loaded, or are behind.
    fn list_block(
        &mut self,
        window: Window,
        at: BlockKey,
        mut block: Block,
        upto_seq: Option<u64>,
    ) {
        let Some(loaded) = self.windows.get(&window) else { return };
        let UnseenRun { first, last, count } = block.run;
        // What was listed before and seen since is not listed again.
        let since_seq = block.partly.get(&window).copied().unwrap_or(0).max(block.since_seq);
        let late = loaded.late_in(first..=last, since_seq);
        let late = late.filter_map(|id| Some((id, loaded.fact(id)?.seq)));
        // What was listed in a history that is over stays listed.
        let is_void = block.upto_seq == u64::MAX;
        let is_seen = |id, seq| !is_void && self.reading.has_seen_late(id, seq);
        let is_new = |id| !self.unseen.contains(id) && !self.is_own(window, id);
        let news =
            late.filter(|(id, seq)| *seq <= block.upto_seq && is_new(*id) && !is_seen(*id, *seq));
        let news: Vec<_> = news.collect();
        match upto_seq {
            Some(upto_seq) => _ = block.partly.insert(window, upto_seq),
            None => _ = block.listed.insert(window),
        }
        let rest = self.rest_of(&block).map(|(from, to)| UnseenRun {
            first: first.max(from),
            last: last.min(to),
            count: count.saturating_sub(news.len() as u64),
        });
        let rest = rest.map(|run| Block { run, ..block });
        self.unseen.list(at, &news, rest);
    }

    /// Where messages of a block can be that are not listed: in windows that are not loaded and got
    /// messages after its `since_seq`.
    fn rest_of(&self, block: &Block) -> Option<(MessageId, MessageId)> {
        let UnseenRun { first, last, .. } = block.run;
        let holes = self.timeline.holes();
        let over = holes.overlapping(first.time_ms()..=last.time_ms());
        let over = over.into_iter().filter_map(|key| {
            let hole = holes.get(key).filter(|hole| hole.count > 0)?;
            let window = window_of(&key).filter(|window| !block.listed.contains(window))?;
            let entry = self.directory.get(window)?;
            (entry.message_doc.last_seq > block.since_seq).then_some((hole.min_ms, hole.max_ms))
        });
        let (min_ms, max_ms) = over.reduce(|(a, b), (min, max)| (a.min(min), b.max(max)))?;
        Some((MessageId::first_of(min_ms), MessageId::from_parts(max_ms, u128::MAX)))
    }
}
