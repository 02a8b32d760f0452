//! What a host keeps for a client, and how: records in an ordered map of bytes.
//!
//! A store is dumb. It keeps records by key, writes batches of them one after the other, each wholly
//! or not at all, and reads ranges in the order of the keys' bytes. It needs to know nothing of what
//! it keeps; a value that is lost or damaged costs that record and nothing else.
//!
//! The client gives its batches by [`Client::poll_storage`] and its questions by
//! [`Client::poll_read`]. It never waits for a store but where it must: a message is on its way only
//! once its record is stored.
//!
//! | family | key after it | record |
//! |---|---|---|
//! | 1 | channel | [`SummaryRecord`]: a line of the list of channels |
//! | 2 | channel, id | [`OwnRecord`]: a message that the relay does not have yet, or refused |
//! | 2 | channel, id, annotation | [`NoteRecord`]: an annotation that the relay does not have yet |
//! | 3 | channel | [`ChannelRecord`]: where the replica stands, and its directory |
//! | 4 | channel | [`SeenRecord`]: what was in view |
//! | 5 | channel, window | [`SegmentRecord`]: a window's saved documents |
//! | 5 | channel, window, seq, document | [`AppendedRecord`]: a change after them |
//! | 6 | channel, id | [`OwnRecord`]: a message that the relay has, for one that loses its history |
//! | 6 | channel, id, annotation | [`NoteRecord`]: an annotation that the relay has, likewise |
//!
//! **What a crash leaves.** Batches are atomic and in order, so what is there is a state the replica
//! was in. A message moves from family 2 to 6 in the batch whose channel record counts it. Segments
//! may be behind the channel record or ahead of it: digests tell what they hold, and a segment that
//! is behind is fetched from where it stands.
//!
//! **Several clients on one store** (tabs of a page) write the same records or records of their own;
//! what a stale one overwrites is behind afterwards, which costs a fetch. A seen record says up to where
//! late messages were told to its writer: if the channel record is of a client that was told of more,
//! the relay is asked from there on, so that none is missed; one that was seen since may be told again,
//! until the relay's marks say that it was.
//!
//! [`Client::poll_storage`]: crate::client::Client::poll_storage
//! [`Client::poll_read`]: crate::client::Client::poll_read

mod envelope;
mod facts;
mod keys;
mod note;
mod records;
mod seen;

pub use envelope::RecordError;
pub use facts::Fact;
pub use keys::{Key, KeyRange};
pub use note::NoteRecord;
pub use records::{
    AppendedRecord, ChannelRecord, OwnRecord, OwnStage, SegmentRecord, SummaryRecord, WrittenChange,
};
pub use seen::{SeenRecord, UnseenRecord, UnsureRecord};

/// One record of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its key.
    pub key: Vec<u8>,
    /// Its value. In a batch None deletes the record; in an answer it is None where only keys were
    /// asked for.
    pub value: Option<Vec<u8>>,
}

/// Records to write or delete, all of them or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageBatch {
    /// Its number, by which the host reports it done or failed; they count up.
    pub number: u64,
    /// What to write and what to delete; no key comes twice.
    pub records: Vec<StoredRecord>,
}

/// A question to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// Its number, by which the host answers it.
    pub id: u64,
    /// The keys.
    pub range: KeyRange,
    /// Whether values are wanted, or keys only.
    pub values: bool,
    /// Most records to answer with, from the range's start on.
    pub limit: usize,
}
