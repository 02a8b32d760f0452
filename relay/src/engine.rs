//! The running relay's handle on its storage: submits commands to the writer, gives out readers.
//!
//! The one place of the write path that looks at the clock and draws random numbers.

mod erase;
mod erase_blobs;

pub use erase::{EraseError, Erased};
pub use erase_blobs::ErasedBlobs;

use crate::commit::blob;
use crate::commit::thread::{Queue, Queued, run};
use crate::commit::writer::{Command, ReadySend, Writer};
use crate::commit::{
    AnnotateRequest, Code, Mark, NewBlob, Note, Publish, Push, PushOutcome, Refusal, SendRequest,
    Sent,
};
use crate::compact::Compactor;
use crate::disk::DiskRoom;
use crate::limits::{
    BLOB_PART_BYTES, BLOB_UPLOADS_MAX, DISK_PATIENCE, IDEMPOTENCY_KEY_BYTES_MAX, QUEUE_BYTES_MAX,
    QUEUE_COMMANDS_MAX,
};
use crate::ranks::RankCache;
use crate::reader::Reader;
use crate::retention::Rule;
use crate::store::{Store, StoreError};
use backscroll_core::message::{
    BodyError, ContentError, check_channel, check_emoji, check_message_text, check_user,
};
use sha2::{Digest, Sha256};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::{RwLock, Semaphore, mpsc, oneshot, watch};

/// A running writer and compactor over one store; cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    ranks: Arc<RankCache>,
    queue: mpsc::Sender<Queue>,
    /// Bytes that may wait in the queue.
    room: Arc<Semaphore>,
    /// Held while there is a checkpoint, and alone while messages are erased: a checkpoint keeps the
    /// files as they were.
    files: Arc<RwLock<()>>,
    /// Attachments that may be stored at a time.
    blobs: Arc<Semaphore>,
    disk: DiskRoom,
    failed: watch::Receiver<bool>,
    compactor: Compactor,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// The writer takes nothing (more): it failed or is shutting down. The outcome of a command in
/// flight is unknown; close the connection with the resume code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store takes no writes")]
pub struct Unavailable;

impl From<Unavailable> for Refusal {
    fn from(error: Unavailable) -> Self {
        Self::new(Code::Retry, error.to_string())
    }
}

/// The clock, in ms since the Unix epoch.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Engine {
    /// Starts the writer and the compactor on threads of their own.
    ///
    /// # Errors
    /// A thread cannot be started, or the store cannot be read.
    pub fn start(store: Store, publish: Arc<dyn Publish>) -> Result<Self, StoreError> {
        Self::start_on(store, publish, DiskRoom::endless(), Vec::new())
    }

    /// As [`Self::start`], on a disk that may fill: without room writes are not taken. `retention` has
    /// the rules for how long messages are kept.
    ///
    /// # Errors
    /// A thread cannot be started, or the store cannot be read.
    pub fn start_on(
        store: Store,
        publish: Arc<dyn Publish>,
        disk: DiskRoom,
        retention: Vec<Rule>,
    ) -> Result<Self, StoreError> {
        let (queue, commands) = mpsc::channel(QUEUE_COMMANDS_MAX);
        let (fail, failed) = watch::channel(false);
        let taken_back = blob::take_back_unfinished(&store)?;
        if taken_back > 0 {
            tracing::info!(taken_back, "attachments that were cut short are taken back");
        }
        let writer = Writer::new(store.clone())?;
        let (compactor, worker) = Compactor::new(store.clone(), queue.downgrade(), retention);
        let tails = compactor.clone();
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(work)
                .map_err(StoreError::Thread)
        };
        let writing =
            spawn("writer", Box::new(move || run(writer, commands, &publish, &tails, &fail)))?;
        let compacting = spawn("compactor", Box::new(move || worker.run()))?;
        let inner = Inner {
            store,
            ranks: Arc::default(),
            queue,
            room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)),
            files: Arc::default(),
            blobs: Arc::new(Semaphore::new(BLOB_UPLOADS_MAX)),
            disk,
            failed,
            compactor,
            threads: Mutex::new(vec![writing, compacting]),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Stores changes of a sync client; answers after the fsync. Waits while the queue is full.
    ///
    /// # Errors
    /// The writer takes nothing (more).
    pub async fn push(&self, push: Push) -> Result<PushOutcome, Unavailable> {
        let names = check_channel(&push.channel)
            .map_err(|error| (Code::BadChannel, error))
            .and_then(|()| check_user(&push.from.user).map_err(|error| (Code::BadRequest, error)));
        if let Err((code, error)) = names {
            let refusal = Refusal::new(code, error.to_string());
            return Ok(PushOutcome::refused(refusal));
        }
        // A nack would be final and the client would lose what it wrote: it has to wait.
        if !self.inner.disk.wait(DISK_PATIENCE).await {
            return Err(Unavailable);
        }
        let bytes = push.chunks.iter().map(|chunk| chunk.len() + 64).sum();
        let now_ms = now_ms();
        self.ask(bytes, |reply| Command::Push { push, now_ms, reply }).await
    }

    /// Authors and stores a message for a JSON client; answers after the fsync.
    ///
    /// # Errors
    /// The message is refused; `retry` if the writer takes nothing (more).
    pub async fn send(&self, send: SendRequest) -> Result<Sent, Refusal> {
        self.check_disk()?;
        let send = Box::new(ready(send, now_ms())?);
        let bytes = send.body.len() + 256;
        self.ask(bytes, |reply| Command::Send { send, reply }).await?
    }

    /// Authors and stores what a JSON client says of a message; answers after the fsync.
    ///
    /// # Errors
    /// There is no such message, it may not be said or is out of its bounds; `retry` if the writer
    /// takes nothing (more).
    pub async fn annotate(&self, request: AnnotateRequest) -> Result<Sent, Refusal> {
        check_note(&request)?;
        self.check_disk()?;
        let bytes = match &request.note {
            Note::Edit { text } => text.len() + 512,
            Note::Delete | Note::React { .. } => 1_024,
        };
        let now_ms = now_ms();
        self.ask(bytes, |reply| Command::Annotate { request, now_ms, reply }).await?
    }

    /// Merges a user's marks; answers after the fsync.
    ///
    /// # Errors
    /// The marks are refused; `retry` if the writer takes nothing (more).
    pub async fn mark(&self, mark: Mark) -> Result<(), Refusal> {
        check_channel(&mark.channel)
            .map_err(|error| Refusal::new(Code::BadChannel, error.to_string()))?;
        self.check_disk()?;
        let bytes = mark.unseen_late.len() * 48 + 256;
        self.ask(bytes, |reply| Command::Mark { mark, reply }).await?
    }

    fn check_disk(&self) -> Result<(), Refusal> {
        if self.inner.disk.is_there() {
            return Ok(());
        }
        Err(Refusal::new(Code::Retry, "the relay's disk is full"))
    }

    /// Stores an attachment; answers after the fsync, false if it was there. It goes to the writer part
    /// by part, each after the one before is on disk, so that messages need not wait for all of it.
    /// What was begun is finished, whether or not anyone waits for the answer.
    ///
    /// # Errors
    /// The user's quota is used up; `retry` if the same attachment is being stored, or if the writer
    /// takes nothing (more).
    pub async fn put_blob(&self, blob: NewBlob) -> Result<bool, Refusal> {
        self.check_disk()?;
        let turn = self.inner.blobs.clone().acquire_owned().await.map_err(|_| Unavailable)?;
        let engine = self.clone();
        let storing = tokio::spawn(async move {
            // It is in memory until it is stored, so only so many are.
            let _turn = turn;
            engine.store_blob(blob).await
        });
        storing.await.map_err(|_| Unavailable)?
    }

    async fn store_blob(&self, blob: NewBlob) -> Result<bool, Refusal> {
        let bytes = blob.bytes.len().min(BLOB_PART_BYTES) + 512;
        let begun = blob.clone();
        let is_new = self.ask(bytes, |reply| Command::BlobBegin { blob: begun, reply }).await??;
        if is_new {
            for (key, bytes) in blob::parts(&blob).skip(1) {
                let len = bytes.len() + 64;
                self.ask(len, |reply| Command::BlobPart { key, bytes, reply }).await?;
            }
            self.ask(512, |reply| Command::BlobFinish { blob, reply }).await?;
        }
        Ok(is_new)
    }

    async fn ask<T>(
        &self,
        bytes: usize,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, Unavailable> {
        let share = u32::try_from(bytes.min(QUEUE_BYTES_MAX)).map_err(|_| Unavailable)?;
        let room = self.inner.room.clone();
        let permit = room.acquire_many_owned(share).await.map_err(|_| Unavailable)?;
        let (reply, answer) = oneshot::channel();
        let queued = Queued { command: command(reply), bytes, permit: Some(permit) };
        self.inner.queue.send(Queue::Do(queued)).await.map_err(|_| Unavailable)?;
        answer.await.map_err(|_| Unavailable)
    }

    /// Reads what is committed. Its calls block: use them from blocking threads.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(self.inner.store.clone(), self.inner.ranks.clone())
    }

    /// The store itself, for what is done with its files.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// What the store says of itself. Blocks.
    pub(crate) fn figures(&self) -> crate::store::kv::Figures {
        self.inner.store.kv().figures()
    }

    /// The store's epoch.
    #[must_use]
    pub fn epoch(&self) -> [u8; 16] {
        self.inner.store.epoch()
    }

    /// Whether there is room on the disk.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.inner.disk.is_there()
    }

    /// Turns true when a write failed: close sockets, go unready, exit non-zero.
    #[must_use]
    pub fn failed(&self) -> watch::Receiver<bool> {
        self.inner.failed.clone()
    }

    /// Commits what is queued, then stops the threads. Idempotent; blocks, so call it from a
    /// blocking thread.
    pub fn shutdown(&self) {
        self.inner.compactor.stop();
        // An error means that the writer has gone already.
        let _ = self.inner.queue.blocking_send(Queue::Stop);
        let threads =
            std::mem::take(&mut *self.inner.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The writer ends with the last sender; the compactor has to be told.
        self.compactor.stop();
    }
}

/// Checks what needs no store, and draws what a message without an id may need.
fn ready(send: SendRequest, now_ms: u64) -> Result<ReadySend, Refusal> {
    check_channel(&send.channel)
        .map_err(|error| Refusal::new(Code::BadChannel, error.to_string()))?;
    let body = send.message.content.to_body().map_err(|error| {
        let code = match &error {
            BodyError::TooLarge | BodyError::Content(ContentError::TooLarge { .. }) => {
                Code::TooLarge
            }
            _ => Code::BadRequest,
        };
        Refusal::new(code, error.to_string())
    })?;
    let idempotency = send
        .idempotency
        .as_deref()
        .map(|key| idempotency_digest(&send.message.content.from, key))
        .transpose()?;
    let mut entropy = [0; 16];
    getrandom::fill(&mut entropy).map_err(|error| Refusal::new(Code::Retry, error.to_string()))?;
    let entropy = u128::from_ne_bytes(entropy);
    Ok(ReadySend { request: send, body, idempotency, now_ms, entropy })
}

/// Checks what needs no store.
fn check_note(request: &AnnotateRequest) -> Result<(), Refusal> {
    check_channel(&request.channel)
        .map_err(|error| Refusal::new(Code::BadChannel, error.to_string()))?;
    let checked = match &request.note {
        Note::Edit { text } => check_message_text(text),
        Note::Delete => Ok(()),
        Note::React { user, emoji, .. } => check_user(user).and_then(|()| check_emoji(emoji)),
    };
    checked.map_err(|error| {
        let code = match &error {
            ContentError::TooLarge { field: "text", .. } => Code::TooLarge,
            _ => Code::BadRequest,
        };
        Refusal::new(code, error.to_string())
    })
}

/// Sender and key as one short key; the sender's length keeps them apart.
fn idempotency_digest(from: &str, key: &str) -> Result<[u8; 16], Refusal> {
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        let text = format!("an idempotency key has 1-{IDEMPOTENCY_KEY_BYTES_MAX} bytes");
        return Err(Refusal::new(Code::BadRequest, text));
    }
    let mut hash = Sha256::new();
    hash.update(from.len().to_be_bytes());
    hash.update(from.as_bytes());
    hash.update(key.as_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    Ok(digest.first_chunk().copied().unwrap_or_default())
}

#[cfg(test)]
mod tests;
