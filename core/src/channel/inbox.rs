//! Keeps the runs of unseen late messages in step with what is shown (design 5.3).
//!
//! Two late messages are of one run if no other message stands between them. Where that is not
//! known, in a hole, those of consecutive seqs are one run until the window is loaded.

use super::Channel;
use super::unseen::{Block, UnseenRun};
use crate::message::MessageId;
use crate::window::Window;

impl Channel {
    /// A late message of someone else came live.
    pub(super) fn late_came(&mut self, id: MessageId, seq: u64, window: Window) {
        self.unseen.add(id);
        self.changed.late = true;
        let before = self.last_late.replace((seq, window, id));
        if let Some((last_seq, last_window, last_id)) = before
            && (last_seq + 1, last_window) == (seq, window)
            && self.unseen.run_of(id) == Some(id)
        {
            let run = self.unseen.run_of(last_id);
            let of_run = |id: &MessageId| run.is_some() && self.unseen.run_of(*id) == run;
            let (below, above) = self.unseen.neighbours(id);
            let joins = (below.filter(of_run).is_some(), above.filter(of_run));
            match joins {
                (true, _) => self.unseen.join(id),
                (false, Some(above)) => self.unseen.join(above),
                (false, None) => {}
            }
        }
        self.settle_late(id);
    }

    /// A message is shown, or came where it is not: runs around it split or join.
    ///
    /// # Complexity
    /// O(log n).
    pub(super) fn settle_late(&mut self, id: MessageId) {
        let (below, above) = self.unseen.neighbours(id);
        if self.unseen.contains(id) {
            self.settle_pair(below, Some(id));
            self.settle_pair(Some(id), above);
        } else if let (Some(_), Some(above)) = (below, above) {
            self.unseen.split(above);
        }
    }

    /// Two unseen messages with no other unseen one between them, if both are shown.
    fn settle_pair(&mut self, a: Option<MessageId>, b: Option<MessageId>) {
        let (Some(a), Some(b)) = (a, b) else { return };
        let shown = |id: MessageId| self.timeline.get(id.as_u128()).is_some();
        if !shown(a) || !shown(b) {
            return;
        }
        if self.timeline.rank(b.as_u128()) != self.timeline.rank(a.as_u128()) + 1 {
            self.unseen.split(b);
        } else if self.unseen.run_of(b) == Some(b) {
            self.unseen.join(b);
        }
    }

    /// Takes in the runs that came while this replica was away: they count everyone's messages
    /// above `since_seq`.
    pub(super) fn late_missed(&mut self, runs: Vec<UnseenRun>, since_seq: u64) {
        for mut run in runs {
            let own = self.outbox.relayed_in(run.first..=run.last, since_seq);
            run.count = run.count.saturating_sub(own);
            if run.count > 0 && run.first == run.last {
                self.unseen.list(run.first);
            } else {
                self.unseen.add_block(run, since_seq);
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
        let Some(loaded) = self.windows.get(&window) else { return };
        let mut ids = loaded.ids();
        let Some(first) = ids.next() else { return };
        let span = first..=ids.last().unwrap_or(first);
        for block in self.unseen.blocks_in(&span) {
            self.list_block(window, block);
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

    /// Lists what a window has of a block; what is left lies in holes.
    fn list_block(&mut self, window: Window, Block { run, since_seq }: Block) {
        let Some(loaded) = self.windows.get(&window) else { return };
        let late = loaded.late_in(run.first..=run.last, since_seq);
        let late: Vec<_> = late.filter(|id| self.outbox.get(*id).is_none()).collect();
        self.unseen.remove_block(run.first);
        late.iter().for_each(|id| self.unseen.list(*id));
        let holes = self.timeline.holes();
        let over = holes.overlapping(run.first.time_ms()..=run.last.time_ms());
        let over: Vec<_> = over.iter().filter_map(|key| holes.get(*key)).collect();
        let ends =
            (over.iter().map(|hole| hole.min_ms).min(), over.iter().map(|hole| hole.max_ms).max());
        if let (Some(min_ms), Some(max_ms)) = ends {
            let first = run.first.max(MessageId::first_of(min_ms));
            let last = run.last.min(MessageId::from_parts(max_ms, u128::MAX));
            let count = run.count.saturating_sub(late.len() as u64);
            self.unseen.add_block(UnseenRun { first, last, count }, since_seq);
        }
    }
}
