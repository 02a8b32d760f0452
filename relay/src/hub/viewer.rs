//! One live view's place in the hub: committed changes wait in it until the view's task takes them.
//!
//! The hub never waits for it. What is more than it holds is dropped, and the view is read anew.

use super::Hub;
use crate::commit::CommittedChange;
use crate::limits::VIEW_QUEUE_BYTES_MAX;
use crate::metrics::{self, Change};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What a change counts beside its chunk: its messages' rows.
const CHANGE_COST: usize = 256;

/// The changes that wait for one live view.
#[derive(Debug, Default)]
pub(super) struct Viewer {
    queue: Mutex<Waiting>,
    filled: Notify,
}

/// Changes that waited, in the order of their seqs.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// The changes.
    pub(crate) changes: VecDeque<Arc<CommittedChange>>,
    /// Others were dropped.
    pub(crate) is_lossy: bool,
    bytes: usize,
}

impl Viewer {
    /// Takes a change.
    pub(super) fn deliver(&self, change: &Arc<CommittedChange>) {
        let mut queue = self.lock();
        queue.bytes += change.chunk.len() + CHANGE_COST * change.messages.len().max(1);
        if queue.bytes > VIEW_QUEUE_BYTES_MAX {
            *queue = Waiting { is_lossy: true, ..Waiting::default() };
        } else {
            queue.changes.push_back(change.clone());
        }
        drop(queue);
        self.filled.notify_one();
    }

    /// Has the view read anew.
    pub(super) fn lose(&self) {
        *self.lock() = Waiting { is_lossy: true, ..Waiting::default() };
        self.filled.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while it holds the lock, so what it guards is whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A live view's place in the hub; leaving is dropping it.
#[derive(Debug)]
pub(crate) struct Viewing {
    hub: Arc<Hub>,
    channel: Arc<str>,
    id: u64,
    viewer: Arc<Viewer>,
}

impl Viewing {
    pub(super) fn new(hub: Arc<Hub>, channel: Arc<str>, id: u64, viewer: Arc<Viewer>) -> Self {
        metrics::views(Change::Joined);
        Self { hub, channel, id, viewer }
    }

    /// The channel's name.
    pub(crate) fn channel(&self) -> &str {
        &self.channel
    }

    /// Takes what waits.
    pub(crate) fn take(&self) -> Waiting {
        std::mem::take(&mut self.viewer.lock())
    }

    /// Waits until something came since this last returned.
    pub(crate) async fn filled(&self) {
        self.viewer.filled.notified().await;
    }
}

impl Drop for Viewing {
    fn drop(&mut self) {
        self.hub.remove_viewer(&self.channel, self.id);
        metrics::views(Change::Left);
    }
}
