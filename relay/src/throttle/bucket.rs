//! Token buckets: so many a second, so many at once; one, or a table of bounded size by key.
//!
//! A bucket is one number, the time at which it would be empty of debt (the "theoretical arrival
//! time" of GCRA), so that a table of them is an array. A table has no entries to evict: a key has
//! one place in each of two rows, and is refused only if both are used up. Who floods it with keys
//! (addresses are cheap) gets no memory of ours, and resets nobody's count.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::{Mutex, PoisonError};

/// Places in one row of a table: a million keys of attackers hurt no one else for longer than
/// their buckets take to fill.
const ROW: usize = 1 << 14;

/// A rate with a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Time after which one more is allowed, in us; 0 is without limit.
    every_us: u64,
    /// How many may come at once.
    burst: u64,
}

impl Rate {
    /// So many a second; 0 is without limit.
    pub(crate) const fn per_second(count: u32, burst: u32) -> Self {
        Self::per(1_000_000, count, burst)
    }

    /// So many a minute; 0 is without limit.
    pub(crate) const fn per_minute(count: u32, burst: u32) -> Self {
        Self::per(60_000_000, count, burst)
    }

    const fn per(span_us: u64, count: u32, burst: u32) -> Self {
        let every_us = if count == 0 { 0 } else { span_us / count as u64 };
        let burst = if burst == 0 { 1 } else { burst as u64 };
        Self { every_us, burst }
    }

    /// The same rate with a burst of so many times as much.
    pub(crate) const fn with_burst_times(self, factor: u64) -> Self {
        Self { burst: self.burst.saturating_mul(factor), ..self }
    }

    /// The bucket after one more at `now_us`, or how long until it takes one.
    const fn after(self, bucket: u64, now_us: u64) -> Result<u64, u64> {
        let from_us = if bucket > now_us { bucket } else { now_us };
        let next = from_us.saturating_add(self.every_us);
        let latest = now_us.saturating_add(self.every_us.saturating_mul(self.burst));
        if next <= latest { Ok(next) } else { Err(next - latest) }
    }
}

/// One token bucket.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket(u64);

impl Bucket {
    /// Takes one.
    ///
    /// # Errors
    /// There is none now; how long until there is, in us.
    pub(crate) fn take(&mut self, rate: Rate, now_us: u64) -> Result<(), u64> {
        self.0 = rate.after(self.0, now_us)?;
        Ok(())
    }
}

/// Token buckets by key, in bounded memory.
#[derive(Debug)]
pub(crate) struct Buckets {
    rate: Rate,
    hashers: [RandomState; 2],
    rows: Mutex<[Vec<u64>; 2]>,
}

impl Buckets {
    /// Buckets of this rate, all full.
    pub(crate) fn new(rate: Rate) -> Self {
        let len = if rate.every_us == 0 { 0 } else { ROW };
        let hashers = [RandomState::new(), RandomState::new()];
        Self { rate, hashers, rows: Mutex::new([vec![0; len], vec![0; len]]) }
    }

    /// Takes one of `key`'s.
    ///
    /// # Errors
    /// There is none now; how long until there is, in us.
    pub(crate) fn take(&self, key: &impl Hash, now_us: u64) -> Result<(), u64> {
        let taken = self.at(key, |bucket| match self.rate.after(*bucket, now_us) {
            Ok(next) => {
                *bucket = next;
                Ok(())
            }
            Err(wait_us) => Err(wait_us),
        });
        match taken {
            [Err(one), Err(other)] => Err(one.min(other)),
            _ => Ok(()),
        }
    }

    /// Gives back one of `key`'s that was taken.
    pub(crate) fn give_back(&self, key: &impl Hash) {
        let _ = self.at(key, |bucket| {
            *bucket = bucket.saturating_sub(self.rate.every_us);
            Ok(())
        });
    }

    #[cfg(test)]
    fn has_any(&self, key: &impl Hash, now_us: u64) -> bool {
        self.at(key, |bucket| self.rate.after(*bucket, now_us)).iter().any(Result::is_ok)
    }

    /// Does something with the bucket of each row; without a limit there is none.
    fn at<T>(
        &self,
        key: &impl Hash,
        mut visit: impl FnMut(&mut u64) -> Result<T, u64>,
    ) -> [Result<T, u64>; 2] {
        // Nothing panics while it holds the lock, so what it guards is whole.
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let [first, second] = &mut *rows;
        let [one, other] = &self.hashers;
        let mut of = |row: &mut Vec<u64>, hasher: &RandomState| {
            let place = usize::try_from(hasher.hash_one(key) % ROW as u64).unwrap_or(0);
            let mut unlimited = 0;
            visit(row.get_mut(place).unwrap_or(&mut unlimited))
        };
        [of(first, one), of(second, other)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate::per_second(20, 60);

    #[test]
    fn a_burst_is_allowed_and_then_the_rate() {
        let mut bucket = Bucket::default();
        let mut taken =
            |from_us: u64| (0..1_000).take_while(|_| bucket.take(RATE, from_us).is_ok()).count();
        assert_eq!(taken(5_000_000), 60);
        assert_eq!(taken(5_000_000), 0);
        assert_eq!(taken(5_049_999), 0);
        assert_eq!(taken(5_050_000), 1);
        assert_eq!(taken(6_050_000), 20);
        assert_eq!(taken(3_600_000_000), 60, "it never holds more than the burst");
        assert_eq!(bucket.take(RATE, 3_600_000_000), Err(50_000));
    }

    #[test]
    fn no_rate_is_no_limit() {
        let (rate, mut bucket) = (Rate::per_second(0, 0), Bucket::default());
        let buckets = Buckets::new(rate);
        for _ in 0..1_000 {
            assert!(bucket.take(rate, 0).is_ok() && buckets.take(&"k", 0).is_ok());
        }
        assert!(buckets.has_any(&"k", 0));
    }

    #[test]
    fn a_flood_of_keys_neither_resets_a_count_nor_locks_others_out() {
        let buckets = Buckets::new(Rate::per_minute(10, 10));
        while buckets.take(&"guesser", 0).is_ok() {}
        for key in 0..100 {
            while buckets.take(&key, 0).is_ok() {}
        }
        assert!(!buckets.has_any(&"guesser", 0));
        let locked_out = (1_000..2_000).filter(|key| !buckets.has_any(key, 0)).count();
        assert!(locked_out < 5, "{locked_out} of 1,000");
        assert!(buckets.has_any(&"guesser", 6_000_000), "one more after six seconds");
        buckets.give_back(&"guesser");
        assert!(buckets.take(&"guesser", 0).is_ok(), "or what was given back");
        assert!(buckets.take(&"guesser", 0).is_err());
    }
}
