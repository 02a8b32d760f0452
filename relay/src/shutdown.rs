//! The relay's phases, and the signals that end it.
//!
//! Running -> Draining (asked to stop) or Failed (the store takes no more). Sockets watch the phase
//! and close themselves with the code that tells their client to come back: not all at once, or
//! their clients would all come back at once.

use crate::limits::{DRAIN_SPREAD_MAX, DRAIN_SPREAD_PER_SOCKET};
use crate::metrics;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// What the relay is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Serving.
    Running,
    /// Asked to stop: takes nothing new and lets sockets end.
    Draining,
    /// A write failed: nothing can be promised any more.
    Failed,
}

/// Watches the phase.
#[derive(Clone, Debug)]
pub(crate) struct Phases {
    phase: watch::Receiver<Phase>,
    spread_ms: Arc<AtomicU64>,
    /// Whose turn it is among all watches when the relay drains, as a part of 2^32.
    turn: u32,
}

/// Sets the phase; it only ever rises.
#[derive(Clone, Debug)]
pub(crate) struct PhaseSetter {
    phase: Arc<watch::Sender<Phase>>,
    /// The time over which sockets close.
    spread_ms: Arc<AtomicU64>,
    watches: Arc<AtomicU64>,
}

impl PhaseSetter {
    /// A relay that runs.
    pub(crate) fn running() -> Self {
        let phase = Arc::new(watch::Sender::new(Phase::Running));
        Self { phase, spread_ms: Arc::default(), watches: Arc::default() }
    }

    /// Begins to drain `sockets`, within a part of `timeout`.
    pub(crate) fn drain(&self, sockets: usize, timeout: Duration) {
        let each = u32::try_from(sockets).unwrap_or(u32::MAX);
        let spread = DRAIN_SPREAD_PER_SOCKET.saturating_mul(each);
        let spread = spread.min(DRAIN_SPREAD_MAX).min(timeout / 4);
        let spread_ms = u64::try_from(spread.as_millis()).unwrap_or(0);
        self.spread_ms.store(spread_ms, Ordering::Relaxed);
        self.raise(Phase::Draining);
    }

    /// Raises the phase.
    pub(crate) fn raise(&self, phase: Phase) {
        self.phase.send_if_modified(|current| {
            let rises = *current < phase;
            *current = (*current).max(phase);
            rises
        });
        metrics::phase(self.phase());
    }

    /// The phase now.
    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// A watch on the phase.
    pub(crate) fn watch(&self) -> Phases {
        let watch = self.watches.fetch_add(1, Ordering::Relaxed);
        // Steps of the golden ratio: however many there are, their turns lie apart evenly.
        let turn = u32::try_from(watch.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).unwrap_or(0);
        Phases { phase: self.phase.subscribe(), spread_ms: self.spread_ms.clone(), turn }
    }
}

impl Phases {
    /// Waits until the relay no longer runs; tells what it does instead.
    pub(crate) async fn left_running(&mut self) -> Phase {
        match self.phase.wait_for(|phase| *phase != Phase::Running).await {
            Ok(phase) => *phase,
            // The setter is gone, and with it the relay.
            Err(_) => Phase::Draining,
        }
    }

    /// Waits until it is the turn of whoever watches to close; tells why.
    pub(crate) async fn turn_to_leave(&mut self) -> Phase {
        let phase = self.left_running().await;
        if phase == Phase::Failed {
            return phase;
        }
        let turn = tokio::time::sleep(self.turn());
        tokio::select! {
            () = turn => Phase::Draining,
            Ok(phase) = self.phase.wait_for(|phase| *phase == Phase::Failed) => *phase,
        }
    }

    /// How long after the drain began it is the turn of whoever watches.
    fn turn(&self) -> Duration {
        let spread_ms = self.spread_ms.load(Ordering::Relaxed);
        Duration::from_millis(spread_ms.saturating_mul(u64::from(self.turn)) >> 32)
    }
}

/// Watches SIGTERM and SIGINT from now on; the future is done when one has come.
///
/// # Errors
/// The system does not let signals be watched.
pub(crate) fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_leave_one_after_the_other_within_a_bounded_time() {
        let setter = PhaseSetter::running();
        let watches: Vec<_> = (0..1_000).map(|_| setter.watch()).collect();
        setter.drain(1_000, Duration::from_secs(10));
        let mut by_tenth = [0; 10];
        for watch in &watches {
            by_tenth[usize::try_from(watch.turn().as_millis() / 100).unwrap()] += 1;
        }
        assert!(by_tenth.iter().all(|turns| (80..=120).contains(turns)), "{by_tenth:?}");
        for (sockets, timeout_s, longest_ms) in
            [(1_000_000, 60, 2_000), (1_000_000, 1, 250), (3, 9, 3)]
        {
            setter.drain(sockets, Duration::from_secs(timeout_s));
            let longest = watches.iter().map(Phases::turn).max().unwrap();
            assert!(longest <= Duration::from_millis(longest_ms), "{longest:?}");
            assert!(longest >= Duration::from_millis(longest_ms / 2), "{longest:?}");
        }
    }

    #[tokio::test]
    async fn a_failing_store_ends_the_waiting_for_a_turn() {
        let setter = PhaseSetter::running();
        let mut watch = setter.watch();
        watch.turn = u32::MAX;
        setter.drain(1_000_000, Duration::from_secs(36_000));
        let mut leave = Box::pin(watch.turn_to_leave());
        assert!(futures_util::poll!(&mut leave).is_pending());
        setter.raise(Phase::Failed);
        assert_eq!(leave.await, Phase::Failed);
    }
}
