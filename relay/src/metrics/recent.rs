//! Commits of the last minute, second by second, with their latencies: what the admin page shows.
//! Prometheus' buckets are too coarse for that, and count from the start.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Seconds that are remembered.
const SECONDS: u64 = 60;

/// Longest commit that is told apart, in us.
const COMMIT_US_MAX: u64 = 10_000_000;

static RECENT: LazyLock<Mutex<Recent>> = LazyLock::new(|| Mutex::new(Recent::new()));
static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Notes a batch of `commands` that took `took`.
pub(super) fn committed(commands: usize, took: Duration) {
    let second = BEGUN.elapsed().as_secs();
    // Nothing panics while it holds the lock; the writer and the page take it.
    let mut recent = RECENT.lock().unwrap_or_else(PoisonError::into_inner);
    recent.note(second, commands as u64, took);
}

/// The last minute.
pub(crate) fn last_minute() -> LastMinute {
    let second = BEGUN.elapsed().as_secs();
    RECENT.lock().unwrap_or_else(PoisonError::into_inner).summary(second)
}

/// Commits of the last minute.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct LastMinute {
    /// Batches.
    pub(crate) commits: u64,
    /// Commands in them.
    pub(crate) commands: u64,
    /// Median of the time of a batch, in ms.
    pub(crate) p50_ms: f64,
    /// Its 99th percentile.
    pub(crate) p99_ms: f64,
    /// The longest.
    pub(crate) max_ms: f64,
}

struct Recent {
    slots: Vec<Slot>,
}

struct Slot {
    second: u64,
    commits: u64,
    commands: u64,
    /// In us; made with the first commit.
    took: Option<Histogram<u32>>,
}

fn empty() -> Option<Histogram<u32>> {
    // Two digits: 9 KB, 600 KB in all. The bounds are constants that the crate takes.
    Histogram::new_with_max(COMMIT_US_MAX, 2).ok()
}

impl Recent {
    fn new() -> Self {
        let slot = |_| Slot { second: u64::MAX, commits: 0, commands: 0, took: None };
        Self { slots: (0..SECONDS).map(slot).collect() }
    }

    fn note(&mut self, second: u64, commands: u64, took: Duration) {
        let place = usize::try_from(second % SECONDS).unwrap_or(0);
        let Some(slot) = self.slots.get_mut(place) else { return };
        if slot.second != second {
            (slot.second, slot.commits, slot.commands) = (second, 0, 0);
            slot.took.as_mut().map(Histogram::reset);
        }
        slot.commits += 1;
        slot.commands += commands;
        if slot.took.is_none() {
            slot.took = empty();
        }
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(all) = &mut slot.took {
            all.saturating_record(us);
        }
    }

    fn summary(&self, second: u64) -> LastMinute {
        let mut last = LastMinute::default();
        let Some(mut took) = empty() else { return last };
        let oldest = (second + 1).saturating_sub(SECONDS);
        for slot in self.slots.iter().filter(|slot| (oldest..=second).contains(&slot.second)) {
            last.commits += slot.commits;
            last.commands += slot.commands;
            if let Some(one) = &slot.took {
                // Equal bounds always add.
                let _ = took.add(one);
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a time for people")]
        let ms = |share| took.value_at_quantile(share) as f64 / 1_000.0;
        (last.p50_ms, last.p99_ms, last.max_ms) = (ms(0.5), ms(0.99), ms(1.0));
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_remembered_and_no_more() {
        let mut recent = Recent::new();
        assert_eq!(recent.summary(5), LastMinute::default());
        recent.note(5, 10, Duration::from_millis(900));
        for second in 6..=64 {
            recent.note(second, 2, Duration::from_millis(3));
        }
        let minute = recent.summary(64);
        assert_eq!((minute.commits, minute.commands), (60, 128));
        assert!((2.9..3.1).contains(&minute.p50_ms) && minute.max_ms > 800.0, "{minute:?}");
        let later = recent.summary(65);
        assert_eq!((later.commits, later.commands), (59, 118));
        assert!(later.max_ms < 4.0, "{later:?}");
        recent.note(65, 1, Duration::from_millis(1));
        assert_eq!(recent.summary(65).commits, 60, "the slot of second 5 was taken over");
        assert_eq!(recent.summary(1_000), LastMinute::default());
    }
}
