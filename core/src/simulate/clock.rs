//! When simulated messages are sent: at a rate, with a day's rhythm, ending at a given instant.

use super::dice::{Dice, ONE};

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// How busy each hour of the day (UTC) is, in percent of the mean; the sum is 2,400.
const RHYTHM: [u64; 24] = [
    70, 50, 40, 35, 35, 40, 55, 75, 100, 120, 125, 125, 120, 125, 130, 130, 130, 135, 145, 150,
    145, 130, 105, 85,
];

/// Messages whose places are drawn together: random within the block, in order between blocks.
const BLOCK: u64 = 32;

/// Hands out the times of a known number of messages, in ascending order, the last one exactly at
/// the end.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    dice: Dice,
    /// Milliseconds of a message's slot, in fixed point.
    slot_ms: u64,
    until_ms: u64,
    count: u64,
    next_index: u64,
    quiet: Option<Quiet>,
    /// Places of the block's messages still to come, in fixed point, latest first.
    block: Vec<u64>,
}

/// After every `every` messages, half way to the next such place, nobody writes for `slots` slots:
/// that is where the messages of a writer who was offline belong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quiet {
    pub(super) every: u64,
    pub(super) slots: u64,
}

impl Quiet {
    /// Slots of silence before the message of this index.
    const fn before(self, index: u64) -> u64 {
        (index + self.every / 2) / self.every * self.slots
    }
}

impl Clock {
    /// A clock for `count` messages at a mean distance of `slot_ms` (fixed point).
    pub(super) fn new(
        seed: u64,
        slot_ms: u64,
        until_ms: u64,
        count: u64,
        quiet: Option<Quiet>,
    ) -> Self {
        let dice = Dice::new(seed);
        Self { dice, slot_ms, until_ms, count, next_index: 0, quiet, block: Vec::new() }
    }

    /// Whether the next message is the last one.
    pub(super) const fn is_at_last(&self) -> bool {
        self.next_index + 1 >= self.count
    }

    /// When the next message is sent, in ms since the Unix epoch.
    pub(super) fn next_ms(&mut self) -> u64 {
        let index = self.next_index;
        self.next_index += 1;
        if index + 1 >= self.count {
            return self.until_ms;
        }
        if self.block.is_empty() {
            self.block.extend((0..BLOCK).map(|_| self.dice.below(BLOCK * ONE)));
            self.block.sort_unstable_by(|a, b| b.cmp(a));
        }
        let within = self.block.pop().unwrap_or(0);
        let place = self.place(index / BLOCK * BLOCK, index) + u128::from(within);
        let end = self.place(self.count, self.count);
        let before_end = end.saturating_sub(place) * u128::from(self.slot_ms);
        let before_end_ms = u64::try_from(before_end / u128::from(ONE * ONE)).unwrap_or(u64::MAX);
        time_before(self.until_ms, before_end_ms)
    }

    /// The place of slot `slot` for the message `index`, in fixed point.
    fn place(&self, slot: u64, index: u64) -> u128 {
        let quiet = self.quiet.map_or(0, |quiet| quiet.before(index));
        (u128::from(slot) + u128::from(quiet)) * u128::from(ONE)
    }
}

/// The time that lies `active_ms` of mean activity before `until_ms`.
fn time_before(until_ms: u64, active_ms: u64) -> u64 {
    time_at_activity(activity_at(until_ms).saturating_sub(active_ms)).min(until_ms)
}

/// Activity from the Unix epoch to an instant, in ms of mean activity.
fn activity_at(time_ms: u64) -> u64 {
    let (day, mut left) = (time_ms / DAY_MS, time_ms % DAY_MS);
    let mut percent_ms = 0;
    for weight in RHYTHM {
        let here = left.min(HOUR_MS);
        percent_ms += here * weight;
        left -= here;
    }
    day * DAY_MS + percent_ms / 100
}

/// The inverse of [`activity_at`], to within a few ms.
fn time_at_activity(activity_ms: u64) -> u64 {
    let (day, activity) = (activity_ms / DAY_MS, activity_ms % DAY_MS);
    let mut left = activity * 100;
    let mut time_ms = day * DAY_MS;
    for weight in RHYTHM {
        let here = (left / weight).min(HOUR_MS);
        time_ms += here;
        if here < HOUR_MS {
            break;
        }
        left -= HOUR_MS * weight;
    }
    time_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNTIL: u64 = 1_735_689_600_000;

    #[test]
    fn a_day_has_a_days_activity_and_the_way_back_agrees() {
        assert_eq!(RHYTHM.iter().sum::<u64>(), 2_400);
        assert_eq!(activity_at(DAY_MS), DAY_MS);
        for time_ms in (0..3 * DAY_MS).step_by(777_777) {
            let back = time_at_activity(activity_at(time_ms));
            assert!(back.abs_diff(time_ms) <= 4, "{time_ms} {back}");
        }
    }

    #[test]
    fn times_ascend_at_the_rate_and_end_at_the_end() {
        let count = 100_000;
        let mut clock = Clock::new(1, 2_000 * ONE, UNTIL, count, None);
        let times: Vec<_> = (0..count).map(|_| clock.next_ms()).collect();
        assert!(times.is_sorted());
        assert_eq!(times.last(), Some(&UNTIL));
        let span = UNTIL - times[0];
        let expected = 2_000 * count;
        assert!(span.abs_diff(expected) < expected / 10, "{span} {expected}");
    }

    #[test]
    fn nights_are_quieter_than_evenings() {
        let count = 200_000;
        let mut clock = Clock::new(1, 5_000 * ONE, UNTIL, count, None);
        let mut hours = [0_u32; 24];
        for _ in 0..count {
            hours[usize::try_from(clock.next_ms() / HOUR_MS % 24).unwrap()] += 1;
        }
        assert!(hours[19] > 3 * hours[3], "{hours:?}");
    }

    #[test]
    fn quiet_times_come_where_they_belong() {
        let quiet = Quiet { every: 100, slots: 50 };
        let mut clock = Clock::new(1, 1_000 * ONE, UNTIL, 1_000, Some(quiet));
        let times: Vec<_> = (0..1_000).map(|_| clock.next_ms()).collect();
        for round in 0..9 {
            let at = 50 + 100 * round;
            let gap = times[at] - times[at - 1];
            assert!(gap > 30_000, "{gap} before {at}");
        }
    }

    #[test]
    fn more_time_than_there_was_begins_at_the_epoch() {
        let mut clock = Clock::new(1, DAY_MS * ONE, 1_000, 10_000, None);
        let times: Vec<_> = (0..10_000).map(|_| clock.next_ms()).collect();
        assert!(times.is_sorted() && times.last() == Some(&1_000));
    }
}
