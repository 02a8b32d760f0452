//! What the writer tells the world after the fsync, in seq order.

use crate::index::MessageRow;
use backscroll_core::change::{ChangeHash, DocKind};
use backscroll_core::directory::{Directory, Entry};
use backscroll_core::message::MessageId;
use backscroll_core::window::Window;
use backscroll_core::wire::LateRun;
use bytes::Bytes;
use std::fmt::Debug;
use std::sync::Arc;

/// Receives what is durable. The hub implements it.
///
/// Called on the writer thread, once per committed batch, in the order of seqs: it must only hand on
/// and never block.
pub trait Publish: Debug + Send + Sync + 'static {
    /// Takes the events of one batch.
    fn publish(&self, events: &[Committed]);
}

/// Publishes to nobody: for tools and tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl Publish for Nobody {
    fn publish(&self, _events: &[Committed]) {}
}

/// Something that is now durable.
#[derive(Clone, Debug)]
pub enum Committed {
    /// A change, with what it means for clients that have no documents.
    Change(CommittedChange),
    /// A user's marks in a channel.
    Mark(CommittedMark),
    /// A window was rewritten under a new generation.
    Entry(CommittedEntry),
    /// Windows are gone.
    Dropped(CommittedDrop),
}

/// A window's directory entry that changed by something else than the changes that are told. The
/// change that follows is of the new generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedEntry {
    /// The channel's name.
    pub channel: Arc<str>,
    /// First seq of the change that follows.
    pub seq: u64,
    /// The window.
    pub window: Window,
    /// Its entry before that change.
    pub entry: Entry,
}

/// What is left of a channel whose oldest windows were dropped.
#[derive(Clone, Debug, PartialEq)]
pub struct CommittedDrop {
    /// The channel's name.
    pub channel: Arc<str>,
    /// The store's epoch.
    pub epoch: [u8; 16],
    /// Seq of the mark in the log: the head.
    pub seq: u64,
    /// Hash of the mark.
    pub hash: ChangeHash,
    /// Messages that are left.
    pub total: u64,
    /// All windows that are left.
    pub directory: Arc<Directory>,
    /// The newest messages that are left, oldest to newest: what JSON clients are told.
    pub newest: Arc<[MessageRow]>,
}

/// A stored change. The same bytes go to every sync client: the hub encodes its frame once, and only
/// if the channel has sync subscribers.
#[derive(Clone, Debug)]
pub struct CommittedChange {
    /// The channel's name.
    pub channel: Arc<str>,
    /// Seq of its first op.
    pub first_seq: u64,
    /// Seq of its last op: the channel's head after it.
    pub last_seq: u64,
    /// The window.
    pub window: Window,
    /// The window's generation.
    pub generation: u32,
    /// Which of its documents.
    pub doc: DocKind,
    /// The change's hash: with `last_seq` a cursor.
    pub hash: ChangeHash,
    /// The chunk.
    pub chunk: Bytes,
    /// Late bits of its messages in id order ([`backscroll_core::wire::is_late`]).
    pub late: Bytes,
    /// The messages it brought, in id order.
    pub messages: Arc<[Published]>,
    /// Messages whose edits, deletion or reactions it changed, in id order.
    pub updates: Arc<[Published]>,
}

/// A message as JSON clients get it, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// The message.
    pub row: MessageRow,
    /// Messages with a smaller id when this was committed.
    pub index: u64,
    /// Messages in the channel then, this one included.
    pub total: u64,
    /// Of a late message that came, which stood next to it then; elsewhere none are told.
    pub beside: [Option<MessageId>; 2],
}

/// A user's marks after a merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedMark {
    /// The channel's name.
    pub channel: Arc<str>,
    /// Whose.
    pub user: String,
    /// The head seq when the user last had messages in view.
    pub seq: u64,
    /// The greatest id had in view.
    pub read: Option<MessageId>,
    /// Everything up to this seq has been delivered; 0 if nothing is known.
    pub delivered: u64,
    /// Late messages not yet had in view: for the user alone.
    pub unseen_late: Vec<LateRun>,
}
