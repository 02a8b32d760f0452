//! The write path: what may be asked of the writer ([`command`]), what it tells ([`event`]), and the
//! writer itself, the only part that assigns seqs (design 7 and 11).
//!
//! A batch of commands goes through `Writer::commit`: each is checked against the rows as its
//! predecessors in the batch leave them, its rows are put into one overlay, and the overlay is one
//! synced batch. Answers and events come after that, or not at all.

mod annotate;
pub(crate) mod apply;
pub(crate) mod blob;
pub(crate) mod channel;
pub(crate) mod check;
pub mod command;
mod damage;
pub(crate) mod erase;
pub mod event;
mod mark;
mod quota;
pub(crate) mod retain;
mod send;
pub(crate) mod thread;
pub(crate) mod writer;

pub(crate) use check::chain;
pub use command::{
    AnnotateRequest, Code, Identity, Mark, NewBlob, NewMessage, Note, Permit, Push, PushOutcome,
    PushRefusal, Refusal, Rights, SendRequest, Sent,
};
pub use event::{
    Committed, CommittedChange, CommittedDrop, CommittedEntry, CommittedMark, Nobody, Publish,
    Published,
};
