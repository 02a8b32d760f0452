//! Late messages that came and were not in view yet: the counts that a reader is shown.
//!
//! It knows ids and nothing of windows or views. (The inbox of design 5.3, with its runs inside
//! holes and its order of visits, builds on this.)

use crate::message::MessageId;
use std::collections::BTreeMap;

/// Most runs kept; beyond it neighbours are joined.
const RUNS_MAX: usize = 4_096;

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

/// Late messages not yet in view, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unseen {
    runs: BTreeMap<MessageId, UnseenRun>,
    total: u64,
}

impl Unseen {
    /// How many there are.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Its runs, oldest first.
    pub fn runs(&self) -> impl DoubleEndedIterator<Item = &UnseenRun> {
        self.runs.values()
    }

    /// How many lie before `first` and how many after `last`, the ends of a view.
    ///
    /// # Complexity
    /// O(runs).
    #[must_use]
    pub fn around(&self, first: MessageId, last: MessageId) -> (u64, u64) {
        let above = self.runs().filter(|run| run.last < first).map(|run| run.count).sum();
        let below = self.runs().filter(|run| run.first > last).map(|run| run.count).sum();
        (above, below)
    }

    /// Adds one message.
    pub(crate) fn add(&mut self, id: MessageId) {
        self.add_run(UnseenRun { first: id, last: id, count: 1 });
    }

    /// Adds a run; one that begins with the same message is replaced.
    pub(crate) fn add_run(&mut self, run: UnseenRun) {
        if run.first > run.last || run.count == 0 {
            return;
        }
        let before = self.runs.insert(run.first, run);
        self.total = self.total + run.count - before.map_or(0, |before| before.count);
        if self.runs.len() > RUNS_MAX {
            self.join_oldest();
        }
    }

    /// Removes the runs inside `[first, last]`; whether there were any.
    pub(crate) fn mark_seen(&mut self, first: MessageId, last: MessageId) -> bool {
        if first > last {
            return false;
        }
        let inside = self.runs.range(first..=last).filter(|(_, run)| run.last <= last);
        let seen: Vec<_> = inside.map(|(id, run)| (*id, run.count)).collect();
        for (id, count) in &seen {
            self.runs.remove(id);
            self.total -= count;
        }
        !seen.is_empty()
    }

    /// Removes all; whether there were any.
    pub(crate) fn clear(&mut self) -> bool {
        let any = self.total > 0;
        *self = Self::default();
        any
    }

    fn join_oldest(&mut self) {
        let (Some((_, a)), Some((_, b))) = (self.runs.pop_first(), self.runs.pop_first()) else {
            return;
        };
        let joined =
            UnseenRun { first: a.first, last: a.last.max(b.last), count: a.count + b.count };
        self.runs.insert(joined.first, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(time_ms: u64) -> MessageId {
        MessageId::from_parts(time_ms, 0)
    }

    #[test]
    fn counts_follow_the_view_and_what_it_saw() {
        let mut unseen = Unseen::default();
        for time_ms in [10, 20, 30, 40, 50] {
            unseen.add(id(time_ms));
        }
        unseen.add(id(30));
        assert_eq!(unseen.total(), 5);
        assert_eq!(unseen.around(id(25), id(45)), (2, 1));
        assert!(unseen.mark_seen(id(25), id(45)));
        assert!(!unseen.mark_seen(id(25), id(45)));
        assert_eq!((unseen.total(), unseen.runs().count()), (3, 3));
        assert!(unseen.clear());
        assert_eq!(unseen.total(), 0);
    }

    #[test]
    fn a_run_is_seen_as_a_whole() {
        let mut unseen = Unseen::default();
        unseen.add_run(UnseenRun { first: id(10), last: id(20), count: 7 });
        assert!(!unseen.mark_seen(id(0), id(15)));
        assert_eq!(unseen.total(), 7);
        assert!(unseen.mark_seen(id(0), id(20)));
        assert_eq!(unseen.total(), 0);
    }
}
