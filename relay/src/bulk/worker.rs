//! The threads that author changes and save documents.

use super::BulkError;
use crate::limits::{BULK_CHANGE_BYTES, BULK_CHANGE_MESSAGES};
use backscroll_core::change::{ActorId16, ActorState, Authored, MessageAuthor};
use backscroll_core::message::MessageId;
use backscroll_core::segment::{SegmentDoc, SegmentError};
use backscroll_core::window::Window;
use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Messages of one window, ascending, to be authored.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) window: Window,
    /// Drawn for this job alone.
    pub(super) actor: ActorId16,
    /// Whether the window has nothing yet: then its document is saved as well.
    pub(super) is_new: bool,
    pub(super) messages: Vec<(MessageId, Vec<u8>)>,
}

/// What became of a job.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) actor: ActorId16,
    pub(super) messages: Vec<(MessageId, Vec<u8>)>,
    pub(super) changes: Vec<MadeChange>,
    /// The saved document and the digest of its changes.
    pub(super) document: Option<(Vec<u8>, u64)>,
}

/// One change of a job.
#[derive(Debug)]
pub(super) struct MadeChange {
    /// Its messages, by their places in the job.
    pub(super) messages: Range<usize>,
    pub(super) chunk: Vec<u8>,
    pub(super) state: ActorState,
}

type Answer = Result<Made, SegmentError>;

/// The threads; they end when this is dropped.
#[derive(Debug)]
pub(super) struct Workers {
    jobs: Option<SyncSender<(Job, SyncSender<Answer>)>>,
    threads: Vec<JoinHandle<()>>,
}

/// A job in the works.
#[derive(Debug)]
pub(super) struct Ticket(Receiver<Answer>);

impl Ticket {
    /// Waits until the job is done.
    pub(super) fn wait(self) -> Result<Made, BulkError> {
        Ok(self.0.recv().map_err(|_| BulkError::Worker)??)
    }
}

impl Workers {
    /// One thread for each core.
    pub(super) fn start() -> Result<Self, BulkError> {
        let (jobs, queue) = sync_channel(1);
        let queue = Arc::new(Mutex::new(queue));
        let mut this = Self { jobs: Some(jobs), threads: Vec::new() };
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        for _ in 0..cores {
            let queue = queue.clone();
            let thread = thread::Builder::new().name("import".to_owned());
            let thread = thread.spawn(move || work(&queue)).map_err(BulkError::Thread)?;
            this.threads.push(thread);
        }
        Ok(this)
    }

    /// Hands over a job; waits while all threads are busy.
    pub(super) fn take(&self, job: Job) -> Result<Ticket, BulkError> {
        let (done, ticket) = sync_channel(1);
        let jobs = self.jobs.as_ref().ok_or(BulkError::Worker)?;
        jobs.send((job, done)).map_err(|_| BulkError::Worker)?;
        Ok(Ticket(ticket))
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.jobs.take();
        for thread in self.threads.drain(..) {
            // One that panicked has been noticed by its ticket.
            let _ = thread.join();
        }
    }
}

fn work(queue: &Mutex<Receiver<(Job, SyncSender<Answer>)>>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((job, done)) = next else { return };
        // Whoever waits may have given up: then nobody minds.
        let _ = done.send(make(job));
    }
}

fn make(job: Job) -> Answer {
    let Job { window, actor, is_new, messages } = job;
    let runs = cut(&messages);
    let slices = runs.iter().map(|run| messages.get(run.clone()).unwrap_or_default());
    let (authored, document) = if is_new {
        let built = SegmentDoc::build(window, actor, slices)?;
        (built.changes, Some((built.document, built.digest)))
    } else {
        let mut author = MessageAuthor::new(window, actor);
        let written = slices.map(|run| author.write(run).map_err(SegmentError::Author));
        (written.collect::<Result<_, _>>()?, None)
    };
    let changes = changes(runs, authored);
    Ok(Made { actor, messages, changes, document })
}

/// The changes with their author's state after each: ops count up from 1, one for each message.
fn changes(runs: Vec<Range<usize>>, authored: Vec<Authored>) -> Vec<MadeChange> {
    let with_seq = (1..).zip(runs.into_iter().zip(authored));
    let made = with_seq.map(|(seq, (messages, Authored { hash, chunk }))| {
        let state = ActorState { seq, hash, max_op: messages.end as u64 };
        MadeChange { messages, chunk, state }
    });
    made.collect()
}

/// Cuts messages into runs that each fit a change.
pub(crate) fn cut(messages: &[(MessageId, Vec<u8>)]) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, (_, body)) in messages.iter().enumerate() {
        let more = body.len() + 64;
        if at > start && (at - start >= BULK_CHANGE_MESSAGES || bytes + more > BULK_CHANGE_BYTES) {
            runs.push(start..at);
            (start, bytes) = (at, 0);
        }
        bytes += more;
    }
    if start < messages.len() {
        runs.push(start..messages.len());
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_fit_a_change_and_leave_nothing_out() {
        let message = |i: usize, len| (MessageId::from_parts(1_000, i as u128), vec![7_u8; len]);
        let small: Vec<_> = (0..2_500).map(|i| message(i, 10)).collect();
        assert_eq!(cut(&small), [0..1_000, 1_000..2_000, 2_000..2_500]);
        let large: Vec<_> = (0..3).map(|i| message(i, 200 * 1_024)).collect();
        assert_eq!(cut(&large), [0..1, 1..2, 2..3]);
        assert!(cut(&[]).is_empty());
    }
}
