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

/// What a change counts beside its chunk and its messages.
const CHANGE_COST: usize = size_of::<CommittedChange>();

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
        queue.bytes += bytes_of(change);
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

/// What a change keeps in memory: a deflated chunk may be small beside its messages, and an edit's
/// chunk beside the message with all its reactions.
fn bytes_of(change: &CommittedChange) -> usize {
    let published = change.messages.iter().chain(change.updates.iter());
    let rows = published.map(|published| size_of_val(published) + published.row.memory_bytes());
    CHANGE_COST + change.chunk.len() + rows.sum::<usize>()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::Published;
    use crate::index::MessageRow;
    use backscroll_core::annotation::Annotations;
    use backscroll_core::change::{ChangeHash, DocKind};
    use backscroll_core::message::{Content, MessageId};
    use backscroll_core::window::Window;
    use bytes::Bytes;

    /// A change of a few bytes that is about a message with many reactions.
    fn reacted(reactions: usize) -> Arc<CommittedChange> {
        let mut annotations = Annotations::default();
        let users = (0..reactions).map(|n| format!("{n:0200}")).collect();
        annotations.reactions.insert("+".to_owned(), users);
        let (id, content) = (MessageId::from_parts(1, 1), Content::text("ada", "x"));
        let row = MessageRow { id, seq: 1, late: false, content, annotations };
        let update = Published { row, index: 0, total: 1, beside: [None; 2] };
        Arc::new(CommittedChange {
            channel: "c".into(),
            first_seq: 2,
            last_seq: 2,
            window: Window::covering(0, 0),
            generation: 0,
            doc: DocKind::Annotations,
            hash: ChangeHash([0; 32]),
            chunk: Bytes::from_static(b"small"),
            late: Bytes::new(),
            messages: [].into(),
            updates: [update].into(),
        })
    }

    #[test]
    fn what_waits_is_bounded_by_what_it_keeps_in_memory() {
        let (viewer, change) = (Viewer::default(), reacted(5_000));
        viewer.deliver(&change);
        assert!(!viewer.lock().is_lossy);
        // Each keeps a megabyte of names.
        (0..4).for_each(|_| viewer.deliver(&change));
        let waiting = viewer.lock();
        assert!(waiting.is_lossy && waiting.changes.len() < 4);
        assert!(waiting.bytes <= VIEW_QUEUE_BYTES_MAX);
    }
}
