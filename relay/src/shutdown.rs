//! The relay's phases, and the signals that end it.
//!
//! Running -> Draining (asked to stop) or Failed (the store takes no more). Sockets watch the phase
//! and close themselves with the code that tells their client to come back.

use crate::metrics;
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
pub(crate) struct Phases(watch::Receiver<Phase>);

/// Sets the phase; it only ever rises.
#[derive(Clone, Debug)]
pub(crate) struct PhaseSetter(std::sync::Arc<watch::Sender<Phase>>);

impl PhaseSetter {
    /// A relay that runs.
    pub(crate) fn running() -> Self {
        Self(std::sync::Arc::new(watch::Sender::new(Phase::Running)))
    }

    /// Raises the phase.
    pub(crate) fn raise(&self, phase: Phase) {
        self.0.send_if_modified(|current| {
            let rises = *current < phase;
            *current = (*current).max(phase);
            rises
        });
        metrics::phase(self.phase());
    }

    /// The phase now.
    pub(crate) fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// A watch on the phase.
    pub(crate) fn watch(&self) -> Phases {
        Phases(self.0.subscribe())
    }
}

impl Phases {
    /// Waits until the relay no longer runs; tells what it does instead.
    pub(crate) async fn left_running(&mut self) -> Phase {
        match self.0.wait_for(|phase| *phase != Phase::Running).await {
            Ok(phase) => *phase,
            // The setter is gone, and with it the relay.
            Err(_) => Phase::Draining,
        }
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
