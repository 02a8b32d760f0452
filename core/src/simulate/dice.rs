//! Random choices by integer arithmetic only, so that a seed means the same on every platform.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// One in fixed point.
pub(super) const ONE: u64 = 1 << 16;

/// A seeded source of choices.
#[derive(Clone, Debug)]
pub(super) struct Dice(ChaCha8Rng);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    pub(super) fn u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    pub(super) fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// 0 to `end - 1`; 0 for an `end` of 0. Biased by less than `end` / 2^64.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        let wide = u128::from(self.u64()) * u128::from(end);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// An index below `len`; 0 for a `len` of 0.
    pub(super) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// True in `per_2_32` of 2^32 cases.
    pub(super) fn chance(&mut self, per_2_32: u64) -> bool {
        u64::from(self.u32()) < per_2_32
    }

    /// One of a list; the list's type has a neutral value for the empty one.
    pub(super) fn one_of<T: Copy + Default>(&mut self, items: &[T]) -> T {
        let wide = u64::from(self.u32()) * items.len() as u64;
        usize::try_from(wide >> 32).ok().and_then(|at| items.get(at)).copied().unwrap_or_default()
    }

    /// Exponentially distributed with mean [`ONE`], by von Neumann's comparison of uniform numbers:
    /// the usual logarithm differs in its last bits between platforms.
    pub(super) fn exponential(&mut self) -> u64 {
        let mut whole = 0;
        loop {
            let first = self.u32();
            let (mut last, mut run) = (first, 1);
            loop {
                let next = self.u32();
                if next >= last {
                    break;
                }
                (last, run) = (next, run + 1);
            }
            if run % 2 == 1 {
                return whole * ONE + u64::from(first >> 16);
            }
            whole += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_have_their_shares() {
        let mut dice = Dice::new(7);
        let (mut sum, mut above_two, mut hits) = (0_u64, 0, 0);
        for _ in 0..100_000 {
            let value = dice.exponential();
            sum += value;
            above_two += u32::from(value > 2 * ONE);
            hits += u32::from(dice.chance((1 << 32) / 10));
            assert!(dice.below(3) < 3);
        }
        let mean = sum as f64 / 100_000.0 / ONE as f64;
        assert!((0.98..1.02).contains(&mean), "{mean}");
        // exp(-2) = 0.1353
        assert!((13_000..14_100).contains(&above_two), "{above_two}");
        assert!((9_500..10_500).contains(&hits), "{hits}");
        assert_eq!(dice.below(0), 0);
        assert_eq!(dice.one_of::<u8>(&[]), 0);
    }
}
