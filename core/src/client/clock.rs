//! The client's clocks: its host's two, and what it knows of the relay's.

/// The host's clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The device's wall clock, in ms since the Unix epoch; it may be wrong, and may jump.
    pub wall_ms: u64,
    /// A clock that never goes back, in ms since any start: for delays and deadlines.
    pub steady_ms: u64,
}

/// How far the relay's wall clock is ahead of this device's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RelayClock {
    /// None until a `welcome` told.
    ahead_ms: Option<i64>,
}

impl RelayClock {
    /// Takes in the relay's time, as it told it.
    pub(super) fn set(&mut self, relay_ms: u64, now: Now) {
        let of = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        self.ahead_ms = Some(of(relay_ms).saturating_sub(of(now.wall_ms)));
    }

    /// The relay's time as far as known, else this device's, in ms since the Unix epoch.
    pub(super) const fn relay_ms(self, now: Now) -> u64 {
        match self.ahead_ms {
            Some(ahead_ms) => now.wall_ms.saturating_add_signed(ahead_ms),
            None => now.wall_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_clock_is_corrected_once_the_relay_told_its_time() {
        let mut clock = RelayClock::default();
        let now = |wall_ms| Now { wall_ms, steady_ms: 0 };
        assert_eq!(clock.relay_ms(now(1_000_000)), 1_000_000);
        clock.set(400_000, now(1_000_000));
        assert_eq!(clock.relay_ms(now(1_000_007)), 400_007);
        clock.set(4_000_000, now(1_000_000));
        assert_eq!(clock.relay_ms(now(1_000_007)), 4_000_007);
    }
}
