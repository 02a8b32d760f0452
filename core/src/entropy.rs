//! Randomness as the host gave it: one seed, drawn from in a fixed order.
//!
//! The core draws nothing from its surroundings (style 4.2), so a run repeats with its seed.

use crate::change::ActorId16;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A source of random numbers for one client.
#[derive(Clone, Debug)]
pub struct Entropy(ChaCha12Rng);

impl Entropy {
    /// A source that begins at `seed`, which the host draws from its system.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        Self(ChaCha12Rng::from_seed(seed))
    }

    /// The random bits of a message id.
    pub fn tail(&mut self) -> u128 {
        u128::from(self.0.next_u64()) << 64 | u128::from(self.0.next_u64())
    }

    /// The actor of a new own-document (design 4.2: drawn for each, never kept).
    pub fn actor(&mut self) -> ActorId16 {
        ActorId16(self.tail().to_be_bytes())
    }

    /// A delay of at most `max_ms`, uniformly (full jitter).
    pub fn jitter_ms(&mut self, max_ms: u64) -> u64 {
        match max_ms.checked_add(1) {
            Some(range) => self.0.next_u64() % range,
            None => self.0.next_u64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_runs_and_jitter_stays_below_its_bound() {
        let (mut a, mut b) = (Entropy::new([7; 32]), Entropy::new([7; 32]));
        assert_eq!(a.actor(), b.actor());
        assert_ne!(a.actor(), a.actor());
        assert!((0..100).all(|_| b.jitter_ms(10) <= 10));
    }
}
