//! The running relay's handle on its storage: submits commands to the writer, gives out readers.

use crate::commit::{Mark, Publish, Push, PushOutcome, Refusal, SendRequest, Sent};
use crate::reader::Reader;
use crate::store::{Store, StoreError};
use std::sync::Arc;
use tokio::sync::watch;

/// A running writer and compactor over one store; cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {}

/// The writer takes nothing (more): it failed or is shutting down. The outcome of a command in
/// flight is unknown; close the connection with the resume code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store takes no writes")]
pub struct Unavailable;

impl Engine {
    /// Starts the writer and the compactor on threads of their own.
    ///
    /// # Errors
    /// A thread cannot be started, or the store cannot be read.
    pub fn start(store: Store, publish: Arc<dyn Publish>) -> Result<Self, StoreError>;

    /// Stores changes of a sync client; answers after the fsync. Waits while the queue is full.
    ///
    /// # Errors
    /// The writer takes nothing (more).
    pub async fn push(&self, push: Push) -> Result<PushOutcome, Unavailable>;

    /// Authors and stores a message for a JSON client; answers after the fsync.
    ///
    /// # Errors
    /// The message is refused; `retry` if the writer takes nothing (more).
    pub async fn send(&self, send: SendRequest) -> Result<Sent, Refusal>;

    /// Merges a user's marks; answers after the fsync.
    ///
    /// # Errors
    /// The marks are refused; `retry` if the writer takes nothing (more).
    pub async fn mark(&self, mark: Mark) -> Result<(), Refusal>;

    /// Reads what is committed. Its calls block: use them from blocking threads.
    pub fn reader(&self) -> Reader;

    /// The store's epoch.
    pub fn epoch(&self) -> [u8; 16];

    /// Turns true when a write failed: close sockets, go unready, exit non-zero.
    pub fn failed(&self) -> watch::Receiver<bool>;

    /// Commits what is queued, then stops the threads and closes the store's writing side.
    /// Idempotent; blocks.
    pub fn shutdown(&self);
}
