//! Reads of what is committed, each on one snapshot. Calls block; clones are cheap.

use crate::index::MessageRow;
use backscroll_core::change::{ChangeHash, DocKind};
use backscroll_core::directory::{Directory, Entry};
use backscroll_core::message::MessageId;
use backscroll_core::viewport::Query;
use backscroll_core::window::Window;
use bytes::Bytes;

/// Reads what is committed.
#[derive(Clone, Debug)]
pub struct Reader {}

/// One snapshot: everything read through it is of one moment.
#[derive(Debug)]
pub struct View<'a> {}

impl Reader {
    /// Takes a snapshot.
    pub fn view(&self) -> View<'_>;
}

impl View<'_> {
    /// All channels, by name.
    pub fn channels(&self) -> Result<Vec<ChannelSummary>, ReadError>;
    /// Head of a channel; seq 0 and total 0 where nobody wrote.
    pub fn head(&self, channel: &str) -> Result<Head, ReadError>;
    /// Messages of a viewport (design 5.2).
    pub fn history(&self, channel: &str, query: &Query) -> Result<History, ReadError>;
    /// A message by id.
    pub fn message(&self, channel: &str, id: MessageId) -> Result<Option<MessageRow>, ReadError>;
    /// The whole directory.
    pub fn directory(&self, channel: &str) -> Result<Directory, ReadError>;
    /// The entries that changed after `seq`.
    pub fn directory_since(&self, channel: &str, seq: u64) -> Result<Directory, ReadError>;
    /// Whether `seq` is the last seq of the change `hash` (or both are of an empty channel).
    pub fn cursor_matches(&self, channel: &str, seq: u64, hash: &ChangeHash) -> Result<bool, ReadError>;
    /// Late messages after `seq`, as runs.
    pub fn late_since(&self, channel: &str, seq: u64) -> Result<LateSince, ReadError>;
    /// What `fetch` answers for one window.
    pub fn segment(&self, channel: &str, window: Window, have: HaveSeqs) -> Result<SegmentAnswer, ReadError>;
    /// Stored changes after `seq`, in order, at most `limit`.
    pub fn changes(&self, channel: &str, seq: u64, limit: usize) -> Result<Vec<StoredChange>, ReadError>;
}
