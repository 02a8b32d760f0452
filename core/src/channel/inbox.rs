//! Keeps the runs of unseen late messages in step with what is shown (design 5.3).
//!
//! Two late messages are of one run if no other message stands between them. Where that is not
//! known, because a hole is there, those that came shortly after one another are one run until the
//! hole is loaded.

use super::{Channel, window_of};
use crate::late::{Block, BlockKey, UnseenRun};
use crate::message::MessageId;
use crate::window::Window;
use std::collections::BTreeSet;

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
            if run.first == run.last {
                self.unseen.add(run.first, 0);
            } else {
                let listed = BTreeSet::new();
                self.unseen.add_block(Block { run, since_seq, upto_seq, listed });
            }
            self.changed.late = true;
        }
        let windows: Vec<_> = self.windows.keys().copied().collect();
        for window in windows {
            self.list_late(window);
        }
    }

    /// A window is loaded: its unseen messages are known one by one, and what stands between them.
    ///
    /// # Complexity
    /// O(its messages inside blocks, its unseen messages, blocks), times O(log n).
    pub(super) fn list_late(&mut self, window: Window) {
        if self.unseen.total() == 0 {
            return;
        }
        let Some(loaded) = self.windows.get(&window) else { return };
        let mut ids = loaded.ids();
        let Some(first) = ids.next() else { return };
        let mut span = first..=ids.last().unwrap_or(first);
        let is_whole =
            self.directory.get(window).is_some_and(|entry| loaded.has_messages_of(entry));
        let blocks = self.unseen.blocks_in(&span).into_iter();
        let blocks = blocks.filter(|(_, block)| is_whole && !block.listed.contains(&window));
        for (at, block) in blocks.map(|(at, block)| (at, block.clone())).collect::<Vec<_>>() {
            // What a block hid of what stands between its messages is to be looked at as well.
            span = block.run.first.min(*span.start())..=block.run.last.max(*span.end());
            self.list_block(window, at, block);
        }
        let known = self.unseen.known_in(&span);
        if let Some(first) = known.first() {
            let (below, _) = self.unseen.neighbours(*first);
            self.settle_pair(below, Some(*first));
        }
        for pair in known.windows(2) {
            self.settle_pair(pair.first().copied(), pair.last().copied());
        }
    }

    /// Lists what a window has of a block; what is left lies in windows that are not loaded.
    fn list_block(&mut self, window: Window, at: BlockKey, mut block: Block) {
        let Some(loaded) = self.windows.get(&window) else { return };
        let UnseenRun { first, last, count } = block.run;
        let late = loaded.late_in(first..=last, block.since_seq);
        let late = late.filter_map(|id| Some((id, loaded.fact(id)?.seq)));
        let is_own = |id: MessageId| {
            self.outbox.get(id).is_some()
                || loaded.content(id).is_some_and(|content| content.from == self.user)
        };
        let is_new = |id| !self.unseen.contains(id) && !is_own(id);
        let news = late.filter(|(id, seq)| *seq <= block.upto_seq && is_new(*id));
        let news: Vec<_> = news.collect();
        block.listed.insert(window);
        let holes = self.timeline.holes();
        let over = holes.overlapping(first.time_ms()..=last.time_ms());
        let over = over.into_iter().filter_map(|key| {
            let hole = holes.get(key)?;
            let window = window_of(&key).filter(|window| !block.listed.contains(window))?;
            let entry = self.directory.get(window)?;
            (entry.message_doc.last_seq > block.since_seq).then_some((hole.min_ms, hole.max_ms))
        });
        let ends = over.reduce(|(a, b), (min_ms, max_ms)| (a.min(min_ms), b.max(max_ms)));
        let rest = ends.map(|(min_ms, max_ms)| UnseenRun {
            first: first.max(MessageId::first_of(min_ms)),
            last: last.min(MessageId::from_parts(max_ms, u128::MAX)),
            count: count.saturating_sub(news.len() as u64),
        });
        let rest = rest.map(|run| Block { run, ..block });
        self.unseen.list(at, &news, rest);
    }
}
