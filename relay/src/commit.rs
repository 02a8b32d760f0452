//! The write path: what may be asked of the writer ([`command`]), what it tells ([`event`]), and the
//! writer itself, the only part that assigns seqs (design 7 and 11).

pub mod command;
pub mod event;

pub use command::{
    Code, Identity, Mark, NewMessage, Push, PushOutcome, PushRefusal, Refusal, Rights, SendRequest,
    Sent,
};
pub use event::{Committed, CommittedChange, CommittedMark, Nobody, Publish, Published};
