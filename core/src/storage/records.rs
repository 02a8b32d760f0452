//! The records, as they are in memory, and their bytes.
//!
//! Each is a CBOR map with numbered fields in an envelope; a reader skips fields it does not know.
//! What a record repeats of its key is not in it; what can be read from a change chunk is not beside
//! it. Lengths are checked against what is there before anything is reserved for them.

use super::envelope::{RecordError, open, seal};
use super::facts::{Fact, Facts};
use super::{Key, StoredRecord};
use crate::change::{ActorId16, ChangeBody, ChangeHash, ChangeView, DocKind};
use crate::directory::{Directory, Entry};
use crate::limits::DATA_DEPTH_MAX;
use crate::message::body::skip_item;
use crate::message::{Content, MessageId};
use crate::window::Window;
use crate::wire::{Cursor, Epoch};
use minicbor::{Decode, Decoder, Encode};

/// A line of the list of channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SummaryRecord {
    /// Messages in it.
    #[n(0)]
    pub total: u64,
    /// Of them, not read on this device.
    #[n(1)]
    pub unread: u64,
    /// Sent time of the newest, in ms since the Unix epoch.
    #[n(2)]
    pub newest_ms: Option<u64>,
}

/// Where a replica stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelRecord {
    /// Its place in the relay's order.
    pub head: Cursor,
    /// The windows as of then, or a little later.
    pub directory: Directory,
    /// Until when nothing is missing, by the relay's clock, in ms since the Unix epoch.
    pub as_of_ms: u64,
    /// The history in which the relay is known to have every message of family 6.
    pub pushed_epoch: Epoch,
}

/// A message of this device.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnRecord {
    /// What it says.
    pub content: Content,
    /// Local time of writing, in ms since the Unix epoch.
    pub written_ms: u64,
    /// Its window, once one is chosen.
    pub window: Option<Window>,
    /// Where it stands.
    pub stage: OwnStage,
}

/// Where a stored message of this device stands.
#[derive(Clone, Debug, PartialEq)]
pub enum OwnStage {
    /// In no own-document.
    Held {
        /// Not to be written before this time of the relay's clock, in ms since the Unix epoch.
        not_before_ms: u64,
    },
    /// In an own-document, in the record's window.
    Written(WrittenChange),
    /// Refused for good.
    Failed {
        /// The relay's stable code.
        code: String,
    },
}

/// The change that brings one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenChange {
    /// Its name.
    pub hash: ChangeHash,
    /// Its own-document. The name tells changes of one document from others; nothing is written
    /// under it again.
    pub actor: ActorId16,
    /// Its number in that document, from 1.
    pub position: u64,
    /// Its bytes.
    pub chunk: Vec<u8>,
    /// Bytes of the message's body.
    pub body_len: u64,
}

/// The documents of a window, as they are when its entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentRecord {
    /// The history that its seqs belong to.
    pub epoch: Epoch,
    /// Its directory entry.
    pub entry: Entry,
    /// The saved segment.
    pub messages: Vec<u8>,
    /// The saved annotations, where there are any.
    pub annotations: Option<Vec<u8>>,
    /// What is known of its messages, in the order of the document's keys.
    pub facts: Vec<Fact>,
}

/// A change of a window after its documents were saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendedRecord {
    /// The history that its seqs belong to.
    pub epoch: Epoch,
    /// The window's directory entry with it.
    pub entry: Entry,
    /// Its bytes.
    pub chunk: Vec<u8>,
    /// Which of its messages are late, in ascending id order.
    pub late: Vec<u8>,
    /// Local time at which it came, in ms since the Unix epoch.
    pub arrived_ms: Option<u64>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct RawChannel {
    #[n(0)]
    head: Cursor,
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    directory: Vec<u8>,
    #[n(2)]
    as_of_ms: u64,
    #[n(3)]
    pushed_epoch: Epoch,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct RawOwn {
    #[n(0)]
    written_ms: u64,
    #[n(1)]
    window: Option<Window>,
    /// A message in no own-document.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    body: Option<Vec<u8>>,
    #[n(3)]
    not_before_ms: Option<u64>,
    #[n(4)]
    code: Option<String>,
    /// One in an own-document: its content is in the chunk.
    #[n(5)]
    #[cbor(with = "minicbor::bytes")]
    chunk: Option<Vec<u8>>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct RawSegment {
    #[n(0)]
    epoch: Epoch,
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    entry: Vec<u8>,
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    messages: Vec<u8>,
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    annotations: Option<Vec<u8>>,
    #[n(4)]
    facts: Facts,
    #[n(5)]
    facts_len: u64,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct RawAppended {
    #[n(0)]
    epoch: Epoch,
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    entry: Vec<u8>,
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    chunk: Vec<u8>,
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    late: Vec<u8>,
    #[n(4)]
    arrived_ms: Option<u64>,
}

pub(super) fn stored<T: Encode<()>>(key: &Key, raw: &T) -> StoredRecord {
    let mut record = Vec::new();
    // Writing to a vector cannot fail, and these types have nothing that CBOR lacks.
    let written = minicbor::encode(raw, &mut record);
    debug_assert!(written.is_ok());
    let key = key.encode();
    let value = seal(&key, &record);
    StoredRecord { key, value: Some(value) }
}

pub(super) fn raw<'b, T: Decode<'b, ()>>(key: &Key, value: &'b [u8]) -> Result<T, RecordError> {
    let record = open(&key.encode(), value)?;
    // Shape first: what follows may then skip unknown fields without bounds of its own.
    skip_item(&mut Decoder::new(record), DATA_DEPTH_MAX)?;
    Ok(minicbor::decode(record)?)
}

fn window_of(key: &Key) -> Result<Window, RecordError> {
    match key {
        Key::Segment { window, .. } | Key::Appended { window, .. } => Ok(*window),
        _ => Err(RecordError::Contradiction("key")),
    }
}

/// A window's entry as its records have it; none if the key is no window's, which is a mistake.
fn entry_bytes(key: &Key, entry: Entry) -> Vec<u8> {
    let bytes = window_of(key).map(|window| Directory::of_one(window, entry).encode());
    debug_assert!(bytes.is_ok());
    bytes.unwrap_or_default()
}

fn entry_of(window: Window, bytes: &[u8]) -> Result<Entry, RecordError> {
    let entry = Directory::decode(bytes)?.get(window).copied();
    entry.ok_or(RecordError::Contradiction("window"))
}

impl SummaryRecord {
    /// The record under its key.
    #[must_use]
    pub fn to_stored(&self, key: &Key) -> StoredRecord {
        stored(key, self)
    }

    /// Reads a record.
    ///
    /// # Errors
    /// The value is not one of this kind and key.
    pub fn read(key: &Key, value: &[u8]) -> Result<Self, RecordError> {
        raw(key, value)
    }
}

impl ChannelRecord {
    /// The record under its key.
    #[must_use]
    pub fn to_stored(&self, key: &Key) -> StoredRecord {
        let (head, directory) = (self.head, self.directory.encode());
        let (as_of_ms, pushed_epoch) = (self.as_of_ms, self.pushed_epoch);
        stored(key, &RawChannel { head, directory, as_of_ms, pushed_epoch })
    }

    /// Reads a record.
    ///
    /// # Errors
    /// The value is not one of this kind and key.
    pub fn read(key: &Key, value: &[u8]) -> Result<Self, RecordError> {
        let RawChannel { head, directory, as_of_ms, pushed_epoch } = raw(key, value)?;
        let directory = Directory::decode(&directory)?;
        Ok(Self { head, directory, as_of_ms, pushed_epoch })
    }
}

impl OwnRecord {
    /// The record under its key.
    #[must_use]
    pub fn to_stored(&self, key: &Key) -> StoredRecord {
        let mut raw = RawOwn {
            written_ms: self.written_ms,
            window: self.window,
            body: None,
            not_before_ms: None,
            code: None,
            chunk: None,
        };
        match &self.stage {
            OwnStage::Written(change) => raw.chunk = Some(change.chunk.clone()),
            OwnStage::Held { not_before_ms } => raw.not_before_ms = Some(*not_before_ms),
            OwnStage::Failed { code } => raw.code = Some(code.clone()),
        }
        if raw.chunk.is_none() {
            // Its content was checked when it was sent.
            raw.body = self.content.to_body().ok();
        }
        stored(key, &raw)
    }

    /// Reads a record.
    ///
    /// # Errors
    /// The value is not one of this kind and key.
    pub fn read(key: &Key, value: &[u8]) -> Result<Self, RecordError> {
        let (Key::Unsent { id, .. } | Key::Relayed { id, .. }) = key else {
            return Err(RecordError::Contradiction("key"));
        };
        let RawOwn { written_ms, window, body, not_before_ms, code, chunk } = raw(key, value)?;
        let (content, stage) = match (body, window, not_before_ms, code, chunk) {
            (None, Some(window), None, None, Some(chunk)) => written(*id, window, chunk)?,
            (Some(body), _, Some(not_before_ms), None, None) => {
                (Content::from_body(&body)?, OwnStage::Held { not_before_ms })
            }
            (Some(body), _, None, Some(code), None) => {
                (Content::from_body(&body)?, OwnStage::Failed { code })
            }
            _ => return Err(RecordError::Contradiction("stage")),
        };
        Ok(Self { content, written_ms, window, stage })
    }
}

/// What the change of one message says of it.
fn written(
    id: MessageId,
    window: Window,
    chunk: Vec<u8>,
) -> Result<(Content, OwnStage), RecordError> {
    let view = ChangeView::read(&chunk, window, DocKind::Messages)?;
    let ChangeBody::Messages(ops) = view.body else {
        return Err(RecordError::Contradiction("document"));
    };
    let mut ops = ops.into_iter();
    let (Some(op), None) = (ops.next(), ops.next()) else {
        return Err(RecordError::Contradiction("number of messages"));
    };
    if op.id != id {
        return Err(RecordError::Contradiction("id"));
    }
    let (hash, actor, position, body_len) = (view.hash, view.actor, view.seq, op.body.len() as u64);
    Ok((op.content, OwnStage::Written(WrittenChange { hash, actor, position, chunk, body_len })))
}

impl SegmentRecord {
    /// The record under its key, which must be a segment's.
    #[must_use]
    pub fn to_stored(&self, key: &Key) -> StoredRecord {
        let entry = entry_bytes(key, self.entry);
        let raw = RawSegment {
            epoch: self.epoch,
            entry,
            messages: self.messages.clone(),
            annotations: self.annotations.clone(),
            facts: Facts::of(&self.facts),
            facts_len: self.facts.len() as u64,
        };
        stored(key, &raw)
    }

    /// Reads a record; its documents are not loaded.
    ///
    /// # Errors
    /// The value is not one of this kind and key.
    pub fn read(key: &Key, value: &[u8]) -> Result<Self, RecordError> {
        let RawSegment { epoch, entry, messages, annotations, facts, facts_len } = raw(key, value)?;
        let entry = entry_of(window_of(key)?, &entry)?;
        let facts = facts.read(usize::try_from(facts_len).unwrap_or(usize::MAX))?;
        Ok(Self { epoch, entry, messages, annotations, facts })
    }
}

impl AppendedRecord {
    /// The record under its key, which must be an appended change's.
    #[must_use]
    pub fn to_stored(&self, key: &Key) -> StoredRecord {
        let entry = entry_bytes(key, self.entry);
        let raw = RawAppended {
            epoch: self.epoch,
            entry,
            chunk: self.chunk.clone(),
            late: self.late.clone(),
            arrived_ms: self.arrived_ms,
        };
        stored(key, &raw)
    }

    /// Reads a record; its chunk is not read.
    ///
    /// # Errors
    /// The value is not one of this kind and key.
    pub fn read(key: &Key, value: &[u8]) -> Result<Self, RecordError> {
        let RawAppended { epoch, entry, chunk, late, arrived_ms } = raw(key, value)?;
        let entry = entry_of(window_of(key)?, &entry)?;
        Ok(Self { epoch, entry, chunk, late, arrived_ms })
    }
}

#[cfg(test)]
mod tests;
