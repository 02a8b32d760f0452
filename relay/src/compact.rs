//! Folds the tails of raw changes into saved documents, in the background (design 7).
//!
//! Automerge is slow where the writer must be fast: a window's document takes milliseconds to load
//! and save. So it happens on a thread of its own, over a snapshot, and the writer only puts the
//! result if nothing else has replaced its base. The newest window is folded early, so that opening
//! a channel stays cheap. The thread rests three times as long as it worked: under load it takes a
//! quarter of one core at most, and the longer tails it finds are folded for the same price.

use crate::commit::retain::DropWindows;
use crate::commit::thread::{Queue, Queued, Tails};
use crate::commit::writer::{Command, Compacted, TailJob};
use crate::engine::now_ms;
use crate::limits::{
    IDEMPOTENCY_MS, RETENTION_EVERY, TAIL_BYTES, TAIL_BYTES_NEWEST, TAIL_CHANGES,
    TAIL_CHANGES_NEWEST,
};
use crate::metrics;
use crate::ranks::RankCache;
use crate::reader::{Reader, View};
use crate::retention::{self, Rule, rule_of};
use crate::store::keys;
use crate::store::kv::Family;
use crate::store::rows::{DirectoryRow, DocRow, TailSize};
use crate::store::{Store, StoreError};
use backscroll_core::change::ChangeHash;
use backscroll_core::message::MessageId;
use backscroll_core::segment::{SegmentDoc, SegmentError};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// How often old idempotency keys are looked for.
const EXPIRY_EVERY: Duration = Duration::from_secs(3_600);

/// Why a document is not folded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompactError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The document refuses a stored change.
    #[error("a stored document or change is refused")]
    Segment(#[from] SegmentError),
    /// The document holds other changes than the directory counts.
    #[error("the document's digest is {found:016x}, the directory's {expected:016x}")]
    Digest {
        /// The directory's.
        expected: u64,
        /// The document's.
        found: u64,
    },
    /// Automerge panicked.
    #[error("automerge panicked")]
    Panicked,
}

/// Tells the thread what to do; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Compactor {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    jobs: BTreeSet<TailJob>,
    is_stopped: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tails for Compactor {
    fn note(&self, job: TailJob) {
        let mut state = self.shared.state();
        if state.jobs.insert(job) {
            self.shared.changed.notify_all();
        }
    }
}

impl Compactor {
    /// The handle, and what its thread runs.
    pub(crate) fn new(
        store: Store,
        queue: mpsc::WeakSender<Queue>,
        retention: Vec<Rule>,
    ) -> (Self, Worker) {
        let shared = Arc::new(Shared::default());
        let reader = Reader::new(store, Arc::new(RankCache::default()));
        let given_up = BTreeMap::new();
        (Self { shared: shared.clone() }, Worker { reader, queue, shared, given_up, retention })
    }

    /// Ends the thread after the document it is at.
    pub(crate) fn stop(&self) {
        self.shared.state().is_stopped = true;
        self.shared.changed.notify_all();
    }
}

/// What the compactor's thread runs.
#[derive(Debug)]
pub(crate) struct Worker {
    reader: Reader,
    queue: mpsc::WeakSender<Queue>,
    shared: Arc<Shared>,
    /// Documents that cannot be folded, with their generations: damage, which `check` tells more
    /// about. A rewritten one is another document.
    given_up: BTreeMap<TailJob, u32>,
    retention: Vec<Rule>,
}

/// The writer is gone.
struct Gone;

impl Worker {
    /// Folds what is noted until it is stopped or the writer is gone.
    pub(crate) fn run(mut self) {
        if let Err(error) = self.survey() {
            tracing::error!(%error, "the tails of changes cannot be looked through");
        }
        let (mut expiry, mut sweep) = (Instant::now(), Instant::now());
        loop {
            if sweep <= Instant::now() && !self.retention.is_empty() {
                if self.sweep().is_err() {
                    return;
                }
                sweep = Instant::now() + RETENTION_EVERY;
            }
            let until_expiry = expiry.saturating_duration_since(Instant::now());
            if until_expiry.is_zero() {
                expiry = Instant::now() + EXPIRY_EVERY;
                let before_ms = now_ms().saturating_sub(IDEMPOTENCY_MS);
                if self.submit(Command::Expire { before_ms }).is_err() {
                    return;
                }
                continue;
            }
            let until_sweep = sweep.saturating_duration_since(Instant::now());
            let wait = match self.retention.as_slice() {
                [] => until_expiry,
                _ => until_expiry.min(until_sweep),
            };
            let job = match self.next(wait) {
                Next::Job(job) => job,
                Next::TimedOut => continue,
                Next::Stopped => return,
            };
            let began = Instant::now();
            if self.fold(&job).is_err() || self.rest(3 * began.elapsed()) {
                return;
            }
        }
    }

    /// Notes what a run before this one left.
    fn survey(&self) -> Result<(), crate::reader::ReadError> {
        let view = self.reader.view();
        for channel in view.channel_names()? {
            match due(&view, &channel) {
                Ok(due) => self.shared.state().jobs.extend(due),
                Err(error) => {
                    tracing::error!(channel, %error, "the tails of a channel cannot be looked through");
                }
            }
        }
        Ok(())
    }

    /// Has the writer drop what the rules say, a bounded part at a time.
    fn sweep(&self) -> Result<(), Gone> {
        let channels = match self.reader.view().channel_names() {
            Ok(channels) => channels,
            Err(error) => {
                tracing::error!(%error, "the channels cannot be looked through");
                return Ok(());
            }
        };
        for channel in channels {
            let Some(rule) = rule_of(&self.retention, &channel) else { continue };
            loop {
                let began = Instant::now();
                if !self.drop_some(&channel, rule)? {
                    break;
                }
                if self.rest(3 * began.elapsed()) {
                    return Err(Gone);
                }
            }
        }
        Ok(())
    }

    /// Drops what is due of a channel; false if nothing was.
    fn drop_some(&self, channel: &str, rule: &Rule) -> Result<bool, Gone> {
        let windows = match retention::due(&self.reader.view(), channel, rule, now_ms()) {
            Ok(windows) if windows.is_empty() => return Ok(false),
            Ok(windows) => windows,
            Err(error) => {
                if error.is_damage() {
                    metrics::damaged_row();
                }
                tracing::error!(channel, %error, "a channel's retention cannot be looked through");
                return Ok(false);
            }
        };
        let mut hash = ChangeHash([0; 32]);
        if let Err(error) = getrandom::fill(&mut hash.0) {
            tracing::error!(%error, "no random numbers: nothing is dropped");
            return Ok(false);
        }
        let windows = Box::new(DropWindows { channel: channel.to_owned(), windows, hash });
        let (reply, done) = oneshot::channel();
        self.submit(Command::Drop { windows, reply })?;
        // What is refused is in the log: the next sweep asks again.
        let Ok(dropped) = done.blocking_recv().map_err(|_| Gone)? else { return Ok(false) };
        tracing::info!(dropped.windows, dropped.messages, "messages beyond the retention dropped");
        Ok(dropped.windows > 0)
    }

    fn next(&self, timeout: Duration) -> Next {
        let mut state = self.shared.state();
        if state.jobs.is_empty() && !state.is_stopped {
            let waited = self.shared.changed.wait_timeout(state, timeout);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.is_stopped {
            return Next::Stopped;
        }
        state.jobs.pop_first().map_or(Next::TimedOut, Next::Job)
    }

    /// Waits; true if it is stopped.
    fn rest(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut state = self.shared.state();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if state.is_stopped || left.is_zero() {
                return state.is_stopped;
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn fold(&mut self, job: &TailJob) -> Result<(), Gone> {
        let view = self.reader.view();
        let generation = match view.window_row(&job.channel, job.window) {
            Ok(row) => row.map_or(0, |(_, row)| row.entry.generation),
            Err(error) => {
                tracing::error!(?job, %error, "a document cannot be folded");
                return Ok(());
            }
        };
        if self.given_up.get(job) == Some(&generation) {
            return Ok(());
        }
        let folded = compacted(&view, job, IfDue::Only);
        // No snapshot is held while the writer is waited for.
        drop(view);
        match folded {
            Ok(None) => Ok(()),
            Ok(Some(compacted)) => {
                let (reply, done) = oneshot::channel();
                self.submit(Command::Compacted { compacted: Box::new(compacted), reply })?;
                // Until it is put, the same tail would be found too long again.
                if done.blocking_recv().map_err(|_| Gone)?.is_err() {
                    self.given_up.insert(job.clone(), generation);
                }
                Ok(())
            }
            Err(error) => {
                let error = crate::commit::chain(&error);
                tracing::error!(?job, error, "a document cannot be folded");
                self.given_up.insert(job.clone(), generation);
                Ok(())
            }
        }
    }

    fn submit(&self, command: Command) -> Result<(), Gone> {
        let queue = self.queue.upgrade().ok_or(Gone)?;
        let bytes = match &command {
            Command::Compacted { compacted, .. } => compacted.row.bytes.len(),
            _ => 0,
        };
        let queued = Queued { command, bytes, permit: None };
        queue.blocking_send(Queue::Do(queued)).map_err(|_| Gone)
    }
}

enum Next {
    Job(TailJob),
    TimedOut,
    Stopped,
}

/// Whether a tail has grown beyond its bound.
pub(crate) fn is_due(row: &DirectoryRow, tail: TailSize, newest: Option<MessageId>) -> bool {
    let is_newest = newest.is_some_and(|newest| newest.time_ms() == row.entry.last_ms);
    let (changes, bytes) = if is_newest {
        (TAIL_CHANGES_NEWEST, TAIL_BYTES_NEWEST)
    } else {
        (TAIL_CHANGES, TAIL_BYTES)
    };
    tail.changes > changes || tail.bytes > bytes
}

/// The documents of a channel whose tails have grown beyond their bounds.
pub(crate) fn due(
    view: &View<'_>,
    channel: &str,
) -> Result<Vec<TailJob>, crate::reader::ReadError> {
    use backscroll_core::change::DocKind::{Annotations, Messages};
    let newest = view.head(channel)?.newest;
    let mut jobs = Vec::new();
    for (window, row) in view.window_rows(channel)? {
        for doc in [Messages, Annotations] {
            if is_due(&row, row.tail(doc), newest) {
                jobs.push(TailJob { channel: channel.to_owned(), window, doc });
            }
        }
    }
    Ok(jobs)
}

/// Whether a document is folded that need not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), expect(dead_code, reason = "tests fold without waiting for a long tail"))]
pub(crate) enum IfDue {
    /// Only if its tail is too long.
    Only,
    /// If there is a tail at all.
    Any,
}

/// Folds a document's tail; `None` if there is no need.
pub(crate) fn compacted(
    view: &View<'_>,
    job: &TailJob,
    if_due: IfDue,
) -> Result<Option<Compacted>, CompactError> {
    let TailJob { channel, window, doc } = job;
    let Some((number, row)) = view.window_row(channel, *window)? else { return Ok(None) };
    let is_wanted = match if_due {
        IfDue::Any => row.tail(*doc).changes > 0,
        IfDue::Only => is_due(&row, row.tail(*doc), view.newest(channel)?),
    };
    if !is_wanted {
        return Ok(None);
    }
    let base: Option<DocRow> = view.row(Family::Docs, &keys::doc(number, *window, *doc))?;
    let base_seq = base.as_ref().map_or(0, |base| base.upto_seq);
    let tail = view.tail((number, *window, *doc), base_seq, usize::MAX)?.unwrap_or_default();
    if tail.is_empty() {
        return Ok(None);
    }
    let chunks: Vec<_> = tail.into_iter().map(|change| change.chunk).collect();
    let taken = TailSize {
        changes: chunks.len() as u64,
        bytes: chunks.iter().map(|chunk| chunk.len() as u64).sum(),
    };
    let folded = catch_unwind(AssertUnwindSafe(|| -> Result<_, SegmentError> {
        let mut document = match &base {
            Some(base) => SegmentDoc::load(*window, *doc, &base.bytes)?,
            None => SegmentDoc::new(*window, *doc),
        };
        document.apply(&chunks)?;
        Ok((document.save(), document.digest()))
    }));
    let (bytes, found) = folded.map_err(|_| CompactError::Panicked)??;
    let mark = row.mark(*doc);
    if found != mark.digest {
        return Err(CompactError::Digest { expected: mark.digest, found });
    }
    let generation = row.entry.generation;
    let row = DocRow { upto_seq: mark.last_seq, generation, digest: found, bytes };
    let (floor, channel) = (view.floor(channel)?, channel.clone());
    Ok(Some(Compacted { channel, window: *window, doc: *doc, base_seq, floor, taken, row }))
}
