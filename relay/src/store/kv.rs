//! What the relay asks of a key-value store: column families, atomic batches, snapshots, bounded
//! scans. Knows nothing of channels or messages.

use super::StoreError;
use std::fmt::Debug;
use std::ops::{ControlFlow, Range};
use std::path::Path;

/// A column family: rows of one kind. The names are on disk for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Format version, epoch, channel names and heads.
    Meta,
    /// Every change by (channel, first seq).
    Log,
    /// Pointers into the log by (channel, window, document, first seq).
    WindowLog,
    /// Saved documents by (channel, window, document).
    Docs,
    /// Directory entries by (channel, window).
    Directory,
    /// What is known of an actor by (channel, window, document, actor).
    Actors,
    /// Message rows by (channel, id).
    Index,
    /// Seq and late bit of a window's messages, in the order of its keys.
    Members,
    /// Late messages by (channel, seq): what a resuming client missed is one short scan.
    Late,
    /// Every annotation op by (channel, window, annotation key, op id).
    Annotations,
    /// Annotation changes by (channel, window, hash).
    Hashes,
    /// Counts per block of ids by (channel, first id).
    Ranks,
    /// Idempotency keys by (channel, hash of sender and key).
    Idempotency,
    /// Read states by (channel, user).
    Reads,
    /// Attachments by hash.
    Blobs,
}

impl Family {
    /// All families.
    pub const ALL: [Self; 15] = [
        Self::Meta,
        Self::Log,
        Self::WindowLog,
        Self::Docs,
        Self::Directory,
        Self::Actors,
        Self::Index,
        Self::Members,
        Self::Late,
        Self::Annotations,
        Self::Hashes,
        Self::Ranks,
        Self::Idempotency,
        Self::Reads,
        Self::Blobs,
    ];

    /// The name on disk.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Log => "log",
            Self::WindowLog => "wlog",
            Self::Docs => "docs",
            Self::Directory => "dir",
            Self::Actors => "actors",
            Self::Index => "index",
            Self::Members => "members",
            Self::Late => "late",
            Self::Annotations => "anns",
            Self::Hashes => "hashes",
            Self::Ranks => "ranks",
            Self::Idempotency => "idem",
            Self::Reads => "reads",
            Self::Blobs => "blobs",
        }
    }
}

/// Whether a write returns after it is on disk, or after the system has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After the fsync: survives a power failure.
    Sync,
    /// Before: a later synced write makes it durable too. For bulk loads.
    Buffered,
}

/// Which way a scan goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the least key up.
    Forward,
    /// From the greatest key down.
    Reverse,
}

/// Puts and deletes that happen together or not at all; the last one of a key wins.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    ops: Vec<(Family, Vec<u8>, Option<Vec<u8>>)>,
    bytes: usize,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub const fn new() -> Self {
        Self { ops: Vec::new(), bytes: 0 }
    }

    /// Adds a put.
    pub fn put(&mut self, family: Family, key: Vec<u8>, value: Vec<u8>) {
        self.bytes += key.len() + value.len();
        self.ops.push((family, key, Some(value)));
    }

    /// Adds a delete.
    pub fn delete(&mut self, family: Family, key: Vec<u8>) {
        self.bytes += key.len();
        self.ops.push((family, key, None));
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Bytes of all keys and values.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The operations, in order; `None` deletes.
    #[must_use]
    pub fn into_ops(self) -> Vec<(Family, Vec<u8>, Option<Vec<u8>>)> {
        self.ops
    }
}

/// What a store says of itself, as far as it has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Rows that are not in tables yet.
    pub memtable_bytes: u64,
    /// Blocks of tables that are held in memory.
    pub cache_bytes: u64,
    /// What compaction has still to rewrite.
    pub pending_compaction_bytes: u64,
    /// Logs that a start would read.
    pub wal_bytes: u64,
    /// Tables.
    pub sst_bytes: u64,
    /// Values that live apart from tables.
    pub blob_bytes: u64,
    /// Everything in the folder.
    pub files_bytes: u64,
    /// What the folder's disk has left, where it can tell.
    pub free_bytes: Option<u64>,
    /// For how long writes were held back, since the start.
    pub stall_us: u64,
}

/// Receives the rows of a scan and says whether to go on.
pub type Visit<'v> = &'v mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// A key-value store. Writes are atomic; one thread writes, any thread reads.
pub trait Kv: Debug + Send + Sync + 'static {
    /// Applies a batch.
    ///
    /// # Errors
    /// The store failed; the batch may or may not be there after a restart.
    fn write(&self, batch: Batch, durability: Durability) -> Result<(), StoreError>;

    /// Puts a copy of everything that is written into `folder`, which must not exist. Tables are
    /// linked where the file system allows it, so it is quick and the copy must be moved away to be
    /// a backup.
    ///
    /// # Errors
    /// The copy cannot be made, or this store has no files.
    fn checkpoint(&self, folder: &Path) -> Result<(), StoreError> {
        let _ = folder;
        Err(StoreError::NoFiles)
    }

    /// Rewrites what lies in `ranges`, so that the bytes of rows that were deleted or replaced are
    /// in no file any more. Waits for reads that began before.
    ///
    /// # Errors
    /// The store failed, or reads that began before did not end in time: it is to be tried again.
    ///
    /// # Complexity
    /// O(tables that touch the ranges); all saved documents if they are among them.
    fn purge(&self, ranges: &[(Family, Range<Vec<u8>>)]) -> Result<(), StoreError> {
        // Of a store without files the bytes are gone with the last snapshot that has them.
        let _ = ranges;
        Ok(())
    }

    /// What the store says of itself; all zero where it says nothing.
    ///
    /// # Complexity
    /// O(files).
    fn figures(&self) -> Figures {
        Figures::default()
    }

    /// The store as it is now. What is written later is not seen through it.
    fn snapshot(&self) -> Box<dyn Snapshot + '_>;
}

/// The store at one moment.
pub trait Snapshot {
    /// The value of a key.
    ///
    /// # Errors
    /// The store cannot be read.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Visits the rows whose keys lie in the half-open `range`, in byte order or against it, until
    /// `visit` breaks. An empty or inverted range has no rows.
    ///
    /// # Errors
    /// The store cannot be read.
    fn scan(
        &self,
        family: Family,
        range: Range<&[u8]>,
        direction: Direction,
        visit: Visit<'_>,
    ) -> Result<(), StoreError>;
}
