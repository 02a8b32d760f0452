//! The bulk load of `backscroll import`: sorted messages into a channel, on all cores.
//!
//! The caller's thread places messages and puts rows, with the functions of the write path
//! ([`crate::commit`]); other threads author the changes and save the documents (`worker`). What
//! is written is what the write path would have written, so nothing downstream knows the difference,
//! but for three things: imported messages are never late (design 5.3), windows that the import fills
//! from the start have a saved document at once, and batches are not synced until the end. Each batch
//! agrees with itself, so a store whose import was cut off opens, and the next import completes it.

mod annotate;
mod load;
mod worker;

pub(crate) use annotate::cut as annotation_lists;
pub use load::{Added, Import, Outcome};
pub(crate) use worker::cut as message_runs;

use crate::compact::CompactError;
use crate::store::StoreError;
use backscroll_core::change::ChangeError;
use backscroll_core::message::{BodyError, ContentError};
use backscroll_core::segment::SegmentError;

/// Why an import ends early. What was written before is good.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BulkError {
    /// The channel's name is none.
    #[error("bad channel name")]
    Channel(#[source] ContentError),
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored document cannot be read or renewed.
    #[error("a stored document cannot be renewed")]
    Compact(#[from] CompactError),
    /// A change or a document cannot be made.
    #[error("a segment cannot be made")]
    Segment(#[from] SegmentError),
    /// A change that was made here does not read back.
    #[error("a change that was made here is malformed")]
    Change(#[from] ChangeError),
    /// An edit is out of its bounds.
    #[error("an edit is out of its bounds")]
    Edit(#[source] BodyError),
    /// No randomness for an author.
    #[error("the system gives no random numbers")]
    Random(#[from] getrandom::Error),
    /// A thread cannot be started.
    #[error("a thread cannot be started")]
    Thread(#[source] std::io::Error),
    /// A thread ended without an answer.
    #[error("a thread of the import failed")]
    Worker,
}

#[cfg(test)]
mod tests;
