//! What may be asked of the writer, and how it answers. Nothing here knows sockets or storage.

use backscroll_core::change::DocKind;
use backscroll_core::message::{Content, MessageId};
use backscroll_core::window::Window;
use backscroll_core::wire::LateRun;
use bytes::Bytes;

pub use crate::identity::{Identity, Rights};
pub use backscroll_core::wire::Code;

/// Change chunks for one document of one window, from a sync client.
#[derive(Clone, Debug)]
pub struct Push {
    /// Who pushes.
    pub from: Identity,
    /// The channel's name.
    pub channel: String,
    /// The window whose document is changed.
    pub window: Window,
    /// The generation of that window the client knows.
    pub generation: u32,
    /// Which of its documents.
    pub doc: DocKind,
    /// The chunks, in order; accepted as a prefix.
    pub chunks: Vec<Bytes>,
}

/// What became of a push: a prefix of its chunks is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushOutcome {
    /// The first seq of each stored chunk; the same again for a chunk that was stored before.
    pub stored: Vec<u64>,
    /// Why the rest is not, if not all are.
    pub refused: Option<PushRefusal>,
}

impl PushOutcome {
    /// Nothing of it is stored.
    #[must_use]
    pub const fn refused(refusal: Refusal) -> Self {
        Self { stored: Vec::new(), refused: Some(PushRefusal { chunk_index: 0, refusal }) }
    }
}

/// The first chunk that was refused; it refuses all after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushRefusal {
    /// Its place in the push.
    pub chunk_index: u32,
    /// Why.
    pub refusal: Refusal,
}

/// A stable code for programs and a text for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {text}")]
pub struct Refusal {
    /// The stable code (design 8.2).
    pub code: Code,
    /// What is wrong, for people.
    pub text: String,
}

impl Refusal {
    /// A refusal under `code`.
    #[must_use]
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

/// A message from a JSON client, before it has a place.
#[derive(Clone, Debug, PartialEq)]
pub struct NewMessage {
    /// The id, if the client made one.
    pub id: Option<MessageId>,
    /// Alone the new id's time; beside an id it must agree with it (ms since the Unix epoch).
    pub sent_at: Option<u64>,
    /// What it says; `from` is settled (and allowed) before this is made.
    pub content: Content,
}

/// A message that the relay authors for a client that has no documents (design 8.2, 8.3).
#[derive(Clone, Debug)]
pub struct SendRequest {
    /// The channel's name.
    pub channel: String,
    /// The message.
    pub message: NewMessage,
    /// `Idempotency-Key`: the same key from the same sender within 24 h is the same message.
    pub idempotency: Option<String>,
}

/// What a client that has no documents says of a message (design 8.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// It has another text.
    Edit {
        /// The text.
        text: String,
    },
    /// It is deleted, for good.
    Delete,
    /// Someone reacts to it, or no longer.
    React {
        /// Who; settled (and allowed) before this is made.
        user: String,
        /// With what.
        emoji: String,
        /// Whether the reaction is on.
        on: bool,
    },
}

/// Answers whether a note may be made of a message from this author.
type May = dyn Fn(&str) -> Result<(), Refusal> + Send + Sync;

/// Whether a note may be made of a message from a given author: only the writer knows who that is.
pub struct Permit(Box<May>);

impl Permit {
    /// A permit that asks `may`.
    #[must_use]
    pub fn new(may: impl Fn(&str) -> Result<(), Refusal> + Send + Sync + 'static) -> Self {
        Self(Box::new(may))
    }

    /// Asks for a message from `author`.
    ///
    /// # Errors
    /// It may not be made.
    pub fn check(&self, author: &str) -> Result<(), Refusal> {
        (self.0)(author)
    }
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Permit")
    }
}

/// An edit, a deletion or a reaction that the relay authors for a client that has no documents.
#[derive(Debug)]
pub struct AnnotateRequest {
    /// The channel's name.
    pub channel: String,
    /// The message.
    pub id: MessageId,
    /// What is said of it.
    pub note: Note,
    /// Whether it may be said.
    pub permit: Permit,
}

/// A message, or what was said of one, that is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The message's id.
    pub id: MessageId,
    /// The seq of the message or of what was said.
    pub seq: u64,
    /// Whether the channel had it before.
    pub duplicate: bool,
}

/// An attachment whose hash was checked.
#[derive(Clone, Debug)]
pub struct NewBlob {
    /// Its SHA-256.
    pub sha256: [u8; 32],
    /// As what it is served.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Bytes,
    /// Who stores it.
    pub user: String,
    /// What the user may store in all.
    pub quota_bytes: u64,
}

/// A user's read state and delivered mark in a channel (design 4.4), merged by max; the unseen late
/// runs are those of the mark with the greater seq.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Whose.
    pub user: String,
    /// The channel's name.
    pub channel: String,
    /// The epoch the client speaks of; another one than the store's is refused.
    pub epoch: [u8; 16],
    /// The head seq when this was read; above the store's head it is refused.
    pub seq: u64,
    /// The greatest id had in view.
    pub read: Option<MessageId>,
    /// Everything up to this seq has been delivered.
    pub delivered: Option<u64>,
    /// Late messages at or below `read` that were not in view.
    pub unseen_late: Vec<LateRun>,
}
