//! The names of changes and of the two documents of a window.

/// The hash of a change chunk, by which other changes and cursors name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangeHash(pub [u8; 32]);

/// Which of a window's two documents (design 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DocKind {
    /// The messages: the segment.
    Messages,
    /// Edits, deletions and reactions.
    Annotations,
}
