//! What a user has read of a channel, and what the user's devices have received (design 4.4).
//!
//! It is no part of any document: a relay keeps one for each user, merged from what the user's
//! devices tell.

use crate::message::MessageId;
use crate::wire::LateRun;

/// A user's marks in a channel.
///
/// The greatest id that was in view does not tell everything: a message that came late stands below
/// it and may not have been seen. So the channel's head at that time is kept as well, and the late
/// messages that were known then and not in view.
///
/// ```
/// use backscroll_core::message::MessageId;
/// use backscroll_core::read_state::ReadState;
///
/// let id = |ms| MessageId::first_of(ms);
/// let mut ada = ReadState { seq: 7, read: Some(id(1_000)), ..ReadState::default() };
/// assert!(ada.has_read(id(900), 7, false));
/// // It came after ada looked, though it was written before.
/// assert!(!ada.has_read(id(900), 8, true));
/// let phone = ReadState { seq: 9, read: Some(id(800)), ..ReadState::default() };
/// assert!(ada.merge(&phone));
/// assert_eq!((ada.read, ada.seq), (Some(id(1_000)), 9));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadState {
    /// The greatest id had in view.
    pub read: Option<MessageId>,
    /// The channel's head when the user last had messages in view.
    pub seq: u64,
    /// A device of the user has everything up to this seq; 0 if none told.
    pub delivered: u64,
    /// Late messages known at `seq` and not had in view.
    pub unseen_late: Vec<LateRun>,
}

impl ReadState {
    /// Merges what another device tells, in any order and any number of times: the greatest id and
    /// the greatest seqs count, and of late messages what the device with the greater seq says.
    /// Whether that changed anything.
    ///
    /// # Complexity
    /// O(late runs).
    pub fn merge(&mut self, other: &Self) -> bool {
        let before = self.clone();
        self.read = self.read.max(other.read);
        self.delivered = self.delivered.max(other.delivered);
        if other.seq >= self.seq {
            self.seq = other.seq;
            self.unseen_late.clone_from(&other.unseen_late);
        }
        *self != before
    }

    /// Whether the user had a message in view, as far as can be told: of a late one it cannot where
    /// late runs are not known, which is so for other users.
    #[must_use]
    pub fn has_read(&self, id: MessageId, seq: u64, late: bool) -> bool {
        !late && seq <= self.seq && self.read.is_some_and(|read| id <= read)
    }

    /// Whether a device of the user has a message.
    #[must_use]
    pub const fn has_received(&self, seq: u64) -> bool {
        seq <= self.delivered
    }
}
