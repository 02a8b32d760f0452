//! Changes: reading, checking and making an Automerge change chunk without a document.
//!
//! A chunk is read in two steps (design 7). [`ChangeView::read`] needs nothing but the chunk: it
//! decodes the few columns that our two documents use, never more rows than a change may have, then
//! lets Automerge encode what was read and compares the bytes. So a chunk that is read is exactly
//! what Automerge itself writes for these ops, and nothing else can be in it. [`check_header`] then
//! holds it against what is stored: the author's last change, the dependencies, the ops it replaces.
//!
//! Automerge's own reader is called for no chunk that has not passed both.

mod author;
mod body;
mod columns;
mod container;
mod history;

pub(crate) use author::encode_annotations;
pub use author::{Authored, MessageAuthor, Standing, write_annotation};
pub(crate) use body::check_inside;
pub use body::{AnnotationOp, ChangeBody, MessageOp};
pub(crate) use container::Reader;
pub use history::{ActorState, HistoryError, check_header};

use crate::annotation::AnnotationKeyError;
use crate::limits::{CHANGE_DEPS_MAX, CHANGE_OPS_MAX, CHUNK_BYTES_MAX};
use crate::message::{BodyError, IdError};
use crate::window::Window;
use automerge::legacy;
use std::fmt;

/// The SHA-256 that Automerge names a change by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangeHash(pub [u8; 32]);

/// An Automerge actor id of 16 bytes: the only length we write and accept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActorId16(pub [u8; 16]);

/// Which of a window's two documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DocKind {
    /// The segment: messages, grow-only.
    Messages,
    /// Edits, deletions and reactions.
    Annotations,
}

/// A change that is well-formed in itself: what [`ChangeView::read`] found in a chunk.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangeView {
    /// Its name.
    pub hash: ChangeHash,
    /// Whose own-document wrote it.
    pub actor: ActorId16,
    /// Its number among its actor's changes of this document, from 1.
    pub seq: u64,
    /// The counter of its first op; the others count up from it.
    pub start_op: u64,
    /// How many ops it has, at least 1.
    pub ops_len: u64,
    /// The changes it was made over, in ascending order.
    pub deps: Vec<ChangeHash>,
    /// What its ops say.
    pub body: ChangeBody,
}

/// Why a chunk is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// The chunk is larger than any may be.
    #[error("the chunk is larger than {CHUNK_BYTES_MAX} bytes")]
    TooLarge,
    /// A chunk of another type: a document (0), a deflated change (2), a bundle (3), or no chunk.
    #[error("not a plain change chunk but one of type {0}")]
    ChunkType(u8),
    /// The bytes are not what Automerge writes.
    #[error("the chunk is malformed: {0}")]
    Malformed(&'static str),
    /// The chunk's checksum is not that of its content.
    #[error("the chunk's checksum is wrong")]
    Checksum,
    /// More ops, dependencies or replaced ops than a change may have.
    #[error("the change has more than {max} {what}")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// How many there may be.
        max: usize,
    },
    /// Something that a change may carry in Automerge but not here.
    #[error("the change has {0}, which none may have")]
    Extra(&'static str),
    /// The op at this place does what no op of this document may do.
    #[error("{0} has no place in this document")]
    Shape(&'static str),
    /// A key is no message's.
    #[error("a message key is malformed")]
    MessageKey(#[source] IdError),
    /// A key is no annotation's.
    #[error("an annotation key is malformed")]
    AnnotationKey(#[source] AnnotationKeyError),
    /// A key's message lies outside the window.
    #[error("a message of {time_ms} ms lies outside window {window}")]
    OutsideWindow {
        /// The message's time, in ms since the Unix epoch.
        time_ms: u64,
        /// The window that the chunk is for.
        window: Window,
    },
    /// A message body or an edit is malformed.
    #[error("a value is malformed")]
    Body(#[from] BodyError),
    /// The change does not fit what is stored.
    #[error(transparent)]
    History(#[from] HistoryError),
}

impl ChangeView {
    /// Reads a change chunk for one document of `window`, checking everything that needs no store.
    ///
    /// # Errors
    /// The chunk is not exactly what Automerge writes for a change that this document may have.
    ///
    /// # Complexity
    /// O(length of the chunk): run lengths are counted before anything is allocated for them.
    pub fn read(chunk: &[u8], window: Window, doc: DocKind) -> Result<Self, ChangeError> {
        Self::read_change(chunk, window, doc).map(|(view, _)| view)
    }

    /// Like [`Self::read`], and the change as Automerge made it from what was read.
    pub(crate) fn read_change(
        chunk: &[u8],
        window: Window,
        doc: DocKind,
    ) -> Result<(Self, automerge::Change), ChangeError> {
        let header = container::Header::read(chunk)?;
        let ops = columns::read_ops(&header)?;
        body::check_distinct(&ops)?;
        let encoded = encode(&header.parts(), ops.iter().map(columns::Op::to_automerge).collect());
        if encoded.raw_bytes() != chunk {
            return Err(difference(chunk, encoded.raw_bytes()));
        }
        let body = body::read(&ops, header.start_op, window, doc)?;
        if doc == DocKind::Messages && header.deps.len() > 1 {
            return Err(ChangeError::TooMany { what: "dependencies", max: 1 });
        }
        let view = Self {
            hash: ChangeHash(encoded.hash().0),
            actor: header.actor,
            seq: header.seq,
            start_op: header.start_op,
            ops_len: ops.len() as u64,
            deps: header.deps,
            body,
        };
        Ok((view, encoded))
    }

    /// The counter of its last op.
    #[must_use]
    pub const fn max_op(&self) -> u64 {
        self.start_op + self.ops_len - 1
    }

    /// What a store knows of this change's actor once the change is stored.
    #[must_use]
    pub const fn actor_state(&self) -> ActorState {
        ActorState { seq: self.seq, hash: self.hash, max_op: self.max_op() }
    }
}

/// Names what is wrong with a chunk whose parts were read but encode differently.
fn difference(chunk: &[u8], encoded: &[u8]) -> ChangeError {
    let without_checksum = |bytes: &[u8]| {
        let magic = bytes.get(..container::CHECKSUM.start).map(<[u8]>::to_vec);
        magic.zip(bytes.get(container::CHECKSUM.end..).map(<[u8]>::to_vec))
    };
    if without_checksum(chunk) == without_checksum(encoded) {
        ChangeError::Checksum
    } else {
        ChangeError::Malformed("it is not encoded as Automerge encodes it")
    }
}

/// The header fields of a change that vary.
#[derive(Clone, Debug)]
pub(crate) struct HeaderParts {
    pub(crate) actor: ActorId16,
    pub(crate) seq: u64,
    pub(crate) start_op: std::num::NonZeroU64,
    pub(crate) deps: Vec<ChangeHash>,
}

/// Encodes a change as Automerge's own commit does, with time 0 and nothing extra.
pub(crate) fn encode(parts: &HeaderParts, operations: Vec<legacy::Op>) -> automerge::Change {
    automerge::Change::from(automerge::ExpandedChange {
        operations,
        actor_id: parts.actor.to_automerge(),
        hash: None,
        seq: parts.seq,
        start_op: parts.start_op,
        time: 0,
        message: None,
        deps: parts.deps.iter().map(|dep| automerge::ChangeHash(dep.0)).collect(),
        extra_bytes: Vec::new(),
        author: None,
    })
}

impl ActorId16 {
    /// This id as Automerge's type.
    #[must_use]
    pub fn to_automerge(self) -> automerge::ActorId {
        automerge::ActorId::from(self.0)
    }

    /// The id from Automerge's type, if it has 16 bytes.
    #[must_use]
    pub fn from_automerge(actor: &automerge::ActorId) -> Option<Self> {
        actor.to_bytes().try_into().ok().map(Self)
    }
}

impl DocKind {
    /// Both, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Messages, Self::Annotations];

    /// Its number on the wire and on disk.
    #[must_use]
    pub const fn to_u8(self) -> u8 {
        match self {
            Self::Messages => 0,
            Self::Annotations => 1,
        }
    }

    /// The document with this number.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Messages),
            1 => Some(Self::Annotations),
            _ => None,
        }
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Debug for ChangeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for ActorId16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

const _: () = assert!(CHANGE_OPS_MAX < CHUNK_BYTES_MAX && CHANGE_DEPS_MAX > 1);

#[cfg(test)]
mod tests;
