//! The writer's thread: drains what is ready, commits it, answers, publishes. No timer.

use super::event::Publish;
use super::writer::{Command, Done, TailJob, Writer};
use crate::limits::{BATCH_BYTES_MAX, BATCH_COMMANDS_MAX};
use crate::metrics::CommitMetrics;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

/// A command in the queue.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) command: Command,
    /// About how many bytes the command holds.
    pub(crate) bytes: usize,
    /// Its share of the queue's bytes; given back when it is done.
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

/// What the queue carries.
#[derive(Debug)]
pub(crate) enum Queue {
    /// Something to do.
    Do(Queued),
    /// What came before is to be committed; nothing after it.
    Stop,
}

/// Receives the documents whose tails have grown.
pub(crate) trait Tails: Send {
    /// Notes one; never blocks.
    fn note(&self, job: TailJob);
}

/// Says that the writer is gone, however that came about.
struct Gone<'a>(&'a watch::Sender<bool>);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("the writer panicked");
            self.0.send_replace(true);
        }
    }
}

/// Runs until it is told to stop, nobody can ask any more, or a write fails.
///
/// After a failed write nothing is known of the store's state on disk: no command of the batch is
/// answered, `failed` turns true, and the queue closes, so that all later ones are refused.
pub(crate) fn run(
    mut writer: Writer,
    mut queue: mpsc::Receiver<Queue>,
    publish: &Arc<dyn Publish>,
    tails: &dyn Tails,
    failed: &watch::Sender<bool>,
) {
    let _gone = Gone(failed);
    let metrics = CommitMetrics::new();
    let mut is_open = true;
    while is_open && let Some(first) = queue.blocking_recv() {
        let (mut commands, mut permits, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut next = Some(first);
        while let Some(entry) = next.take() {
            let Queue::Do(queued) = entry else {
                is_open = false;
                break;
            };
            bytes += queued.bytes;
            permits.extend(queued.permit);
            commands.push(queued.command);
            if commands.len() < BATCH_COMMANDS_MAX && bytes < BATCH_BYTES_MAX {
                next = queue.try_recv().ok();
            }
        }
        if commands.is_empty() {
            break;
        }
        let (asked, since) = (commands.len(), Instant::now());
        metrics.begun(asked, bytes, queue.len());
        match writer.commit(commands) {
            Ok(Done { events, tails: grown }) => {
                metrics.committed(asked, since);
                if !events.is_empty() {
                    publish.publish(&events);
                }
                grown.into_iter().for_each(|job| tails.note(job));
            }
            Err(error) => {
                let error = super::check::chain(&error);
                metrics.failed();
                tracing::error!(error, "a write failed; the store takes no more");
                failed.send_replace(true);
                return;
            }
        }
        drop(permits);
    }
}
