//! What every request and socket of a running relay shares.

use crate::access::Access;
use crate::engine::Engine;
use crate::http::{Blobs, Origins};
use crate::hub::Hub;
use crate::reads::Reads;
use crate::shutdown::PhaseSetter;
use crate::throttle::Throttle;
use metrics_exporter_prometheus::PrometheusHandle;
use std::fmt;
use std::sync::Arc;
use tokio_util::task::TaskTracker;

/// What every request and socket of a running relay shares.
pub(crate) struct App {
    /// Writes.
    pub(crate) engine: Engine,
    /// Reads.
    pub(crate) reads: Reads,
    /// Fan-out.
    pub(crate) hub: Arc<Hub>,
    /// Who may do what.
    pub(crate) access: Access,
    /// How much anyone gets.
    pub(crate) throttle: Arc<Throttle>,
    /// Which web pages may connect.
    pub(crate) origins: Origins,
    /// What is taken of attachments.
    pub(crate) blobs: Blobs,
    /// Whether the relay runs, drains or failed.
    pub(crate) phases: PhaseSetter,
    /// The open sockets.
    pub(crate) sockets: TaskTracker,
    /// The figures; `None` if another recorder of this process has them.
    pub(crate) metrics: Option<PrometheusHandle>,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("phase", &self.phases.phase()).finish_non_exhaustive()
    }
}
