//! The record of what was in view on this device.
//!
//! Late messages that were not are in runs. Of one whose messages are known each id is kept, so that
//! after a restart neither a message that was seen since nor one of this device counts as unseen.

use super::Key;
use super::StoredRecord;
use super::envelope::RecordError;
use super::records::{raw, stored};
use crate::limits::SEQ_MAX;
use crate::message::MessageId;
use crate::window::Window;
use crate::wire::{Cursor, decode_seqs, encode_seqs};
use minicbor::{Decode, Encode};

/// Bytes of an id.
const ID_BYTES: usize = 16;

/// What was in view on this device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenRecord {
    /// Everything up to it counts as seen.
    pub seen_to: MessageId,
    /// The greatest id that was in view; what was there before the first look was not.
    pub read: Option<MessageId>,
    /// Late messages that were not, oldest first.
    pub unseen: Vec<UnseenRecord>,
    /// Up to where in the relay's order they were told: a channel record may be of another client on
    /// the store that was told of more.
    pub told_to: Option<Cursor>,
    /// Windows that may have late messages which were not told.
    pub unsure: Vec<UnsureRecord>,
    /// The relay's seq when the channel was opened for the first time, as long as nothing is known of
    /// the marks of the user's other devices.
    pub fresh_seq: Option<u64>,
}

/// Windows that may have late messages of some seqs that were not told.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct UnsureRecord {
    /// They have greater seqs.
    #[n(0)]
    pub since_seq: u64,
    /// They have no greater seqs.
    #[n(1)]
    pub upto_seq: u64,
    /// The windows.
    #[n(2)]
    pub windows: Vec<Window>,
}

/// A run of late messages that were not in view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnseenRecord {
    /// One whose messages are known, in ascending order, at least one; with the seq of each or one that
    /// it is not above, 0 if that is not known.
    Known(Vec<(MessageId, u64)>),
    /// One of which only this is known.
    Block {
        /// The smallest id.
        first: MessageId,
        /// The greatest id.
        last: MessageId,
        /// How many.
        count: u64,
        /// Its messages have greater seqs.
        since_seq: u64,
        /// Its messages have no greater seqs.
        upto_seq: u64,
        /// Windows of which the messages are known one by one since.
        listed: Vec<Window>,
    },
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct RawSeen {
    #[n(0)]
    seen_to: MessageId,
    #[n(1)]
    runs: Vec<RawRun>,
    /// The ids of the known runs, one after the other.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    ids: Vec<u8>,
    #[n(3)]
    read: Option<MessageId>,
    #[n(4)]
    told_to: Option<Cursor>,
    /// The seqs of those ids; without them none is known.
    #[n(5)]
    #[cbor(with = "minicbor::bytes")]
    seqs: Option<Vec<u8>>,
    #[n(6)]
    unsure: Option<Vec<UnsureRecord>>,
    #[n(7)]
    fresh_seq: Option<u64>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct RawRun {
    #[n(0)]
    count: u64,
    /// The rest is a block's.
    #[n(1)]
    block: Option<RawBlock>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct RawBlock {
    #[n(0)]
    first: MessageId,
    #[n(1)]
    last: MessageId,
    #[n(2)]
    since_seq: u64,
    #[n(3)]
    listed: Option<Vec<Window>>,
    /// Absent if there is no bound.
    #[n(4)]
    upto_seq: Option<u64>,
}

impl SeenRecord {
    /// The record under its key.
    #[must_use]
    pub fn to_stored(&self, key: &Key) -> StoredRecord {
        let (mut runs, mut ids) = (Vec::with_capacity(self.unseen.len()), Vec::new());
        let mut seqs = Vec::new();
        for run in &self.unseen {
            runs.push(match run {
                UnseenRecord::Known(known) => {
                    ids.extend(known.iter().flat_map(|(id, _)| id.as_u128().to_be_bytes()));
                    seqs.extend(known.iter().map(|(_, seq)| seq_or_none(*seq)));
                    RawRun { count: known.len() as u64, block: None }
                }
                UnseenRecord::Block { first, last, count, since_seq, upto_seq, listed } => {
                    let (first, last, since_seq) = (*first, *last, *since_seq);
                    let listed = (!listed.is_empty()).then(|| listed.clone());
                    let upto_seq = Some(*upto_seq).filter(|upto_seq| *upto_seq < u64::MAX);
                    let block = RawBlock { first, last, since_seq, listed, upto_seq };
                    RawRun { count: *count, block: Some(block) }
                }
            });
        }
        let seqs = (!seqs.is_empty()).then(|| encode_seqs(seqs));
        let unsure = (!self.unsure.is_empty()).then(|| self.unsure.clone());
        let (seen_to, read, told_to) = (self.seen_to, self.read, self.told_to);
        let fresh_seq = self.fresh_seq;
        stored(key, &RawSeen { seen_to, runs, ids, read, told_to, seqs, unsure, fresh_seq })
    }

    /// Reads a record.
    ///
    /// # Errors
    /// The value is not one of this kind and key.
    pub fn read(key: &Key, value: &[u8]) -> Result<Self, RecordError> {
        let RawSeen { seen_to, runs, ids, read, told_to, seqs, unsure, fresh_seq } =
            raw(key, value)?;
        let len = ids.len() / ID_BYTES;
        let seqs = match seqs {
            Some(seqs) => {
                decode_seqs(&seqs, len).map_err(|_| RecordError::Contradiction("seqs"))?
            }
            None => vec![SEQ_MAX; len],
        };
        let seqs = seqs.into_iter().map(seq_or_none).chain(std::iter::repeat(0));
        let known = ids.chunks(ID_BYTES).map(id_of).zip(seqs);
        let mut known = known.map(|(id, seq)| Ok::<_, RecordError>((id?, seq)));
        let mut unseen = Vec::new();
        for RawRun { count, block } in runs {
            if count == 0 {
                return Err(RecordError::Contradiction("empty run"));
            }
            unseen.push(match block {
                Some(RawBlock { first, last, since_seq, listed, upto_seq }) => {
                    let listed = listed.unwrap_or_default();
                    let upto_seq = upto_seq.unwrap_or(u64::MAX);
                    UnseenRecord::Block { first, last, count, since_seq, upto_seq, listed }
                }
                None => {
                    let count = usize::try_from(count).unwrap_or(usize::MAX);
                    let ids = known.by_ref().take(count).collect::<Result<Vec<_>, _>>()?;
                    if ids.len() != count || !ids.is_sorted_by(|(a, _), (b, _)| a < b) {
                        return Err(RecordError::Contradiction("ids of a run"));
                    }
                    UnseenRecord::Known(ids)
                }
            });
        }
        match known.next() {
            Some(_) => Err(RecordError::Contradiction("ids of no run")),
            None => Ok(Self {
                seen_to,
                read,
                unseen,
                told_to,
                unsure: unsure.unwrap_or_default(),
                fresh_seq,
            }),
        }
    }
}

/// What stands for a seq that is not known: 0 here, the greatest where 0 cannot be.
const fn seq_or_none(seq: u64) -> u64 {
    match seq {
        0 => SEQ_MAX,
        SEQ_MAX => 0,
        seq => seq,
    }
}

fn id_of(bytes: &[u8]) -> Result<MessageId, RecordError> {
    let bytes = bytes.try_into().map_err(|_| RecordError::Contradiction("length of an id"))?;
    let id = MessageId::from_u128(u128::from_be_bytes(bytes));
    id.map_err(|_| RecordError::Contradiction("an id"))
}
