//! `/sync`: binary frames (design 6).

use crate::app::App;
use crate::commit::Committed;
use crate::connection::{Answers, Close, Incoming, Outbox, Protocol};
use std::sync::Arc;
use tokio_tungstenite::tungstenite::Message;

/// One sync client.
#[derive(Debug)]
pub(crate) struct SyncProtocol {}

impl SyncProtocol {
    /// A client that has not said hello.
    pub(crate) fn new(_app: Arc<App>, _outbox: Arc<Outbox>, _answers: Answers) -> Self {
        Self {}
    }
}

impl Protocol for SyncProtocol {
    async fn handle(&mut self, _frame: Incoming) -> Option<Close> {
        None
    }
}

/// The frames of what was committed.
pub(crate) fn frames_of(_event: &Committed) -> Vec<Message> {
    Vec::new()
}
