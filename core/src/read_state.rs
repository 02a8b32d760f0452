//! What a user has read of a channel, and what the user's devices have received (design 4.4).
//!
//! It is no part of any document: a relay keeps one for each user, merged from what the user's
//! devices tell.

use crate::message::MessageId;
use crate::wire::LateRun;
use std::cmp::Ordering;

/// Most late runs in a mark; a relay takes no more. Of more, the oldest are told as one: who hears of
/// it takes what is in none of them for seen.
pub const MARK_RUNS_MAX: usize = 256;

/// A user's marks in a channel.
///
/// The greatest id that was in view does not tell everything: a message that came late stands below
/// it and may not have been seen. So the channel's head at that time is kept as well, and the late
/// messages that were known then and not in view.
///
/// ```
/// use backscroll_core::message::MessageId;
/// use backscroll_core::read_state::ReadState;
///
/// let id = |ms| MessageId::first_of(ms);
/// let mut ada = ReadState { seq: 7, read: Some(id(1_000)), ..ReadState::default() };
/// assert!(ada.has_read(id(900), 7, false));
/// // It came after ada looked, though it was written before.
/// assert!(!ada.has_read(id(900), 8, true));
/// let phone = ReadState { seq: 9, read: Some(id(800)), ..ReadState::default() };
/// assert!(ada.merge(&phone));
/// assert_eq!((ada.read, ada.seq), (Some(id(1_000)), 9));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadState {
    /// The greatest id had in view.
    pub read: Option<MessageId>,
    /// The channel's head when a device of the user last told: of late messages up to it, those in no
    /// run of `unseen_late` were in view.
    pub seq: u64,
    /// A device of the user has everything up to this seq; 0 if none told.
    pub delivered: u64,
    /// Late messages up to `seq` that were not in view, ascending and apart from each other, at most
    /// [`MARK_RUNS_MAX`]. A run with the count 0 says that there may be some: the device that told was not there
    /// when they came.
    pub unseen_late: Vec<LateRun>,
}

impl ReadState {
    /// Merges what another device tells: the greatest id and the greatest seqs count, and of late
    /// messages what the device with the greater seq says. What two say of the same seq, both count for
    /// seen what either does. So states merge in any order and any number of times to the same. Whether
    /// that changed anything.
    ///
    /// # Complexity
    /// O(late runs).
    pub fn merge(&mut self, other: &Self) -> bool {
        let before = self.clone();
        self.read = self.read.max(other.read);
        self.delivered = self.delivered.max(other.delivered);
        match other.seq.cmp(&self.seq) {
            Ordering::Greater => {
                self.seq = other.seq;
                self.unseen_late.clone_from(&other.unseen_late);
            }
            Ordering::Equal => {
                self.unseen_late = join_oldest(common(&self.unseen_late, &other.unseen_late));
            }
            Ordering::Less => {}
        }
        *self != before
    }

    /// Whether a late message of this seq was in view, on a device that has told.
    #[must_use]
    pub fn has_seen_late(&self, id: MessageId, seq: u64) -> bool {
        seq <= self.seq && !is_in(&self.unseen_late, id)
    }

    /// Whether the user had a message in view, as far as can be told: of a late one it cannot where
    /// late runs are not known, which is so for other users.
    #[must_use]
    pub fn has_read(&self, id: MessageId, seq: u64, late: bool) -> bool {
        !late && seq <= self.seq && self.read.is_some_and(|read| id <= read)
    }

    /// Whether a device of the user has a message.
    #[must_use]
    pub const fn has_received(&self, seq: u64) -> bool {
        seq <= self.delivered
    }
}

/// Whether a message is in one of some runs, which ascend.
pub(crate) fn is_in(runs: &[LateRun], id: MessageId) -> bool {
    let at = runs.partition_point(|run| run.last < id);
    runs.get(at).is_some_and(|run| run.first <= id)
}

/// Joins the oldest runs until there are no more than a mark can name.
pub(crate) fn join_oldest(mut runs: Vec<LateRun>) -> Vec<LateRun> {
    let over = runs.len().saturating_sub(MARK_RUNS_MAX);
    let joined = runs.drain(..over).reduce(and);
    if let (Some(joined), Some(first)) = (joined, runs.first_mut()) {
        *first = and(joined, *first);
    }
    runs
}

/// Two runs as one. Where one does not know how many, neither do both.
pub(crate) fn and(a: LateRun, b: LateRun) -> LateRun {
    let is_known = a.count > 0 && b.count > 0;
    let count = if is_known { a.count.saturating_add(b.count) } else { 0 };
    LateRun { first: a.first.min(b.first), last: a.last.max(b.last), count }
}

/// What lies in runs of both.
fn common(a: &[LateRun], b: &[LateRun]) -> Vec<LateRun> {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    let mut common = Vec::new();
    while let (Some(one), Some(two)) = (a.peek(), b.peek()) {
        let (first, last) = (one.first.max(two.first), one.last.min(two.last));
        let count = match (one.count, two.count) {
            (0, count) | (count, 0) => count,
            (one, two) => one.min(two),
        };
        if first <= last {
            common.push(LateRun { first, last, count });
        }
        if one.last <= two.last {
            a.next();
        } else {
            b.next();
        }
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn runs() -> impl Strategy<Value = Vec<LateRun>> {
        let run = |(gap, len, count): (u64, u64, u32)| (gap, len, count);
        prop::collection::vec((1..5_u64, 0..5_u64, 0..4_u32).prop_map(run), 0..8).prop_map(
            |steps| {
                let mut at_ms = 0;
                let mut run = |(gap, len, count): (u64, u64, u32)| {
                    let first = at_ms + gap;
                    at_ms = first + len;
                    let id = MessageId::first_of;
                    LateRun { first: id(first), last: id(at_ms), count }
                };
                steps.into_iter().map(&mut run).collect()
            },
        )
    }

    fn state() -> impl Strategy<Value = ReadState> {
        let read = prop::option::of((0..20_u64).prop_map(MessageId::first_of));
        (read, 1..4_u64, 0..4_u64, runs()).prop_map(|(read, seq, delivered, unseen_late)| {
            ReadState { read, seq, delivered, unseen_late }
        })
    }

    fn merged(states: &[&ReadState]) -> ReadState {
        let mut all = ReadState::default();
        states.iter().for_each(|state| _ = all.merge(state));
        all
    }

    proptest! {
        #[test]
        fn states_merge_in_any_order_and_any_number_of_times(
            a in state(), b in state(), c in state(),
        ) {
            let all = merged(&[&a, &b, &c]);
            for order in [[&a, &c, &b], [&b, &a, &c], [&b, &c, &a], [&c, &a, &b], [&c, &b, &a]] {
                prop_assert_eq!(&merged(&order), &all);
            }
            prop_assert_eq!(&merged(&[&a, &b, &a, &c, &b]), &all);
            prop_assert_eq!(&merged(&[&a, &merged(&[&b, &c])]), &all);
        }

        #[test]
        fn of_two_that_tell_of_the_same_seq_either_may_have_seen(
            a in state(), b in state(), at_ms in 0..80_u64,
        ) {
            let both = merged(&[&ReadState { seq: 5, ..a.clone() }, &ReadState { seq: 5, ..b.clone() }]);
            let id = MessageId::first_of(at_ms);
            let either = !is_in(&a.unseen_late, id) || !is_in(&b.unseen_late, id);
            prop_assert_eq!(both.has_seen_late(id, 5), either);
            prop_assert!(!both.has_seen_late(id, 6));
        }
    }

    #[test]
    fn more_runs_than_a_mark_can_name_are_the_oldest_as_one() {
        let id = MessageId::first_of;
        let run = |at: u64| LateRun { first: id(at * 10), last: id(at * 10 + 5), count: 2 };
        let all: Vec<_> = (1..=300).map(run).collect();
        let told = join_oldest(all.clone());
        assert_eq!(told.len(), MARK_RUNS_MAX);
        assert_eq!(told[0], LateRun { first: id(10), last: all[44].last, count: 90 });
        assert_eq!(told[1..], all[45..]);
    }
}
