//! Times at which nobody wrote: where the messages of a writer who was offline go, so that they are
//! consecutive in the timeline.

use super::dice::Dice;
use crate::message::MessageId;
use std::collections::BTreeMap;

/// Gaps that wait for a chunk: the more, the later a chunk can be.
const WAITING_MAX: usize = 32;

/// A time without messages: first and last instant, in ms since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) first_ms: u64,
    pub(super) last_ms: u64,
}

impl Gap {
    const fn width_ms(self) -> u64 {
        self.last_ms - self.first_ms
    }

    /// The id of message `index` of `size`, spread evenly; ascending also within a millisecond.
    pub(super) fn id(self, dice: &mut Dice, index: u64, size: u64) -> MessageId {
        let into = u128::from(self.width_ms()) * u128::from(index) / u128::from(size.max(1));
        let time_ms = self.first_ms + u64::try_from(into).unwrap_or(0);
        let tail = u128::from(index & 0xff_ffff) << 50 | u128::from(dice.u64() >> 14);
        MessageId::from_parts(time_ms, tail)
    }
}

/// The gaps seen so far: the widest since the last chunk, those that wait, those in use.
#[derive(Clone, Debug)]
pub(super) struct Gaps {
    /// Sent time of the newest message; none before the first.
    newest_ms: Option<u64>,
    oldest_ms: u64,
    widest: Option<Gap>,
    waiting: Vec<Gap>,
    /// Every gap that late messages must keep out of, by its first instant.
    kept: BTreeMap<u64, u64>,
}

impl Gaps {
    pub(super) const fn new() -> Self {
        Self {
            newest_ms: None,
            oldest_ms: u64::MAX,
            widest: None,
            waiting: Vec::new(),
            kept: BTreeMap::new(),
        }
    }

    /// Takes note of a message in time; all later ones are sent after `all_after_ms`.
    pub(super) fn observe(&mut self, sent_ms: u64, all_after_ms: u64) {
        let Some(newest_ms) = self.newest_ms else {
            self.newest_ms = Some(sent_ms);
            self.oldest_ms = self.oldest_ms.min(sent_ms);
            return;
        };
        let last_ms = sent_ms.min(all_after_ms).saturating_sub(1);
        if last_ms > newest_ms {
            let gap = Gap { first_ms: newest_ms + 1, last_ms };
            if self.widest.is_none_or(|widest| widest.width_ms() < gap.width_ms()) {
                self.keep(gap);
            }
        }
        self.newest_ms = Some(newest_ms.max(sent_ms));
        self.oldest_ms = self.oldest_ms.min(sent_ms);
    }

    fn keep(&mut self, gap: Gap) {
        if let Some(narrower) = self.widest.replace(gap) {
            self.kept.remove(&narrower.first_ms);
        }
        self.kept.insert(gap.first_ms, gap.last_ms);
    }

    /// A gap for a chunk, one of those that ended before `ended_ms`. Used gaps that ended before
    /// `kept_ms` are forgotten: no late message goes back so far.
    pub(super) fn take(&mut self, dice: &mut Dice, ended_ms: u64, kept_ms: u64) -> Gap {
        if let Some(widest) = self.widest.take() {
            if self.waiting.len() == WAITING_MAX {
                self.waiting.swap_remove(dice.index(WAITING_MAX));
            }
            self.waiting.push(widest);
        }
        self.forget(kept_ms);
        // One gap comes and one goes with each chunk: some wait only because now and then a chunk
        // goes before everything instead.
        let at = dice.index(self.waiting.len() + 1);
        match self.waiting.get(at) {
            Some(gap) if gap.last_ms < ended_ms => self.waiting.swap_remove(at),
            _ => self.before_all(ended_ms),
        }
    }

    fn forget(&mut self, kept_ms: u64) {
        let waiting = &self.waiting;
        let waits = |first_ms: u64| waiting.iter().any(|gap| gap.first_ms == first_ms);
        self.kept.retain(|first_ms, last_ms| *last_ms >= kept_ms || waits(*first_ms));
    }

    /// A gap before everything: no gap in between is old enough yet.
    fn before_all(&mut self, ended_ms: u64) -> Gap {
        let last_ms = self.oldest_ms.min(ended_ms).saturating_sub(1);
        let gap = Gap { first_ms: last_ms.saturating_sub(60_000), last_ms };
        self.oldest_ms = gap.first_ms;
        self.kept.insert(gap.first_ms, gap.last_ms);
        gap
    }

    /// Makes room for a late message: the time itself, or the instant before the gap it lies in.
    pub(super) fn place_late(&mut self, time_ms: u64) -> u64 {
        let time_ms = match self.kept.range(..=time_ms).next_back() {
            Some((first_ms, last_ms)) if time_ms <= *last_ms => first_ms.saturating_sub(1),
            _ => time_ms,
        };
        self.oldest_ms = self.oldest_ms.min(time_ms);
        time_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_gap_is_taken_and_kept_free() {
        let mut gaps = Gaps::new();
        for sent_ms in [1_000, 1_100, 5_000, 5_100, 7_000] {
            gaps.observe(sent_ms, sent_ms);
        }
        let widest = Gap { first_ms: 1_101, last_ms: 4_999 };
        let taken: Vec<_> =
            (0..9).map(|seed| gaps.clone().take(&mut Dice::new(seed), 90_000, 0)).collect();
        assert!(taken.contains(&widest) && taken.iter().all(|g| *g == widest || g.last_ms < 1_000));
        assert_eq!(
            [1_100, 1_101, 4_999, 5_000].map(|ms| gaps.place_late(ms)),
            [1_100, 1_100, 1_100, 5_000]
        );
    }

    #[test]
    fn without_an_old_gap_a_chunk_comes_before_everything() {
        let mut gaps = Gaps::new();
        gaps.observe(100_000, 100_000);
        gaps.observe(100_500, 100_500);
        for end_ms in [94_999, 34_998] {
            let gap = gaps.take(&mut Dice::new(1), 95_000, 0);
            assert_eq!(gap, Gap { first_ms: end_ms - 60_000.min(end_ms), last_ms: end_ms });
        }
    }

    #[test]
    fn ids_ascend_evenly_over_the_gap() {
        let gap = Gap { first_ms: 1_000, last_ms: 1_010 };
        let mut dice = Dice::new(1);
        let ids: Vec<_> = (0..100).map(|index| gap.id(&mut dice, index, 100)).collect();
        assert!(ids.is_sorted_by(|one, two| one < two));
        assert!(ids.iter().all(|id| (1_000..=1_010).contains(&id.time_ms())));
    }
}
