//! Large answers in parts: cutting them at the relay, putting them together at the client.

use super::codec::{self, WireError};
use super::frames::RelayFrame;
use crate::limits::{CHUNK_BYTES_MAX, PART_BYTES, PART_STREAMS_MAX, PARTED_BYTES_MAX};
use std::collections::BTreeMap;

/// A relay sends frames up to this size whole: one with the largest chunk, as every `changes` is,
/// so that what goes to everyone needs no part id.
pub const WHOLE_BYTES_MAX: usize = CHUNK_BYTES_MAX + 4_096;

/// Cuts a relay's frame into `part` frames if it is too large to be sent whole.
///
/// `id` must differ from that of every other frame that is still being sent in parts on the same
/// connection; parts of different frames, and whole frames, may come between.
#[must_use]
pub fn into_parts(frame: Vec<u8>, id: u64) -> Vec<Vec<u8>> {
    if frame.len() <= WHOLE_BYTES_MAX {
        return vec![frame];
    }
    let count = frame.len().div_ceil(PART_BYTES);
    let part = |(index, bytes): (u32, &[u8])| {
        let last = index as usize + 1 == count;
        codec::encode_relay(&RelayFrame::Part { id, index, last, bytes: bytes.to_vec() })
    };
    (0..).zip(frame.chunks(PART_BYTES)).map(part).collect()
}

/// Why a part does not fit; the connection cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PartError {
    /// A part is missing, or comes twice.
    #[error("part {got} of frame {id} came where part {wanted} was due")]
    Gap {
        /// The frame.
        id: u64,
        /// The index that came.
        got: u32,
        /// The index that was due.
        wanted: u32,
    },
    /// A part holds nothing.
    #[error("a part of frame {0} is empty")]
    Empty(u64),
    /// All open frames together are larger than allowed.
    #[error("frames in parts take more than {PARTED_BYTES_MAX} bytes")]
    TooLarge,
    /// More frames are open than allowed.
    #[error("more than {PART_STREAMS_MAX} frames are open in parts")]
    TooMany,
    /// What was put together is itself a part.
    #[error("the parts of frame {0} make a part")]
    Nested(u64),
}

/// Puts a relay's frames together again: the reading end of one connection.
#[derive(Debug, Default)]
pub struct Assembler {
    open: BTreeMap<u64, Parts>,
    held_bytes: usize,
}

/// The parts of one frame so far.
#[derive(Debug, Default)]
struct Parts {
    next_index: u32,
    bytes: Vec<u8>,
}

impl Assembler {
    /// An assembler for a connection that begins.
    #[must_use]
    pub const fn new() -> Self {
        Self { open: BTreeMap::new(), held_bytes: 0 }
    }

    /// Reads what came: a whole frame, or a part. `None` while parts are missing, and for frames of
    /// a later version that may be skipped; never a part.
    ///
    /// # Errors
    /// The bytes are no frame, or a part that does not fit. The connection cannot go on.
    ///
    /// # Complexity
    /// O(length); holds the parts of open frames, [`PARTED_BYTES_MAX`] bytes at most.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Option<RelayFrame>, WireError> {
        let (id, assembled) = match codec::decode_relay(bytes)? {
            Some(RelayFrame::Part { id, index, last, bytes }) => {
                (id, self.take(id, index, last, &bytes)?)
            }
            whole => return Ok(whole),
        };
        let Some(assembled) = assembled else {
            return Ok(None);
        };
        match codec::decode_assembled(&assembled)? {
            Some(RelayFrame::Part { .. }) => Err(PartError::Nested(id).into()),
            frame => Ok(frame),
        }
    }

    fn take(
        &mut self,
        id: u64,
        index: u32,
        last: bool,
        bytes: &[u8],
    ) -> Result<Option<Vec<u8>>, PartError> {
        if bytes.is_empty() {
            return Err(PartError::Empty(id));
        }
        if self.held_bytes + bytes.len() > PARTED_BYTES_MAX {
            return Err(PartError::TooLarge);
        }
        let wanted = self.open.get(&id).map_or(0, |parts| parts.next_index);
        if index != wanted {
            return Err(PartError::Gap { id, got: index, wanted });
        }
        if index == 0 && self.open.len() == PART_STREAMS_MAX {
            return Err(PartError::TooMany);
        }
        let parts = self.open.entry(id).or_default();
        parts.next_index += 1;
        parts.bytes.extend_from_slice(bytes);
        self.held_bytes += bytes.len();
        if !last {
            return Ok(None);
        }
        let whole = self.open.remove(&id).map(|parts| parts.bytes).unwrap_or_default();
        self.held_bytes -= whole.len();
        Ok(Some(whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn large(len: usize) -> RelayFrame {
        let directory = (0..=250).cycle().take(len).collect();
        RelayFrame::Entries { channel: "c".to_owned(), directory }
    }

    fn part(id: u64, index: u32, last: bool, len: usize) -> Vec<u8> {
        codec::encode_relay(&RelayFrame::Part { id, index, last, bytes: vec![7; len] })
    }

    fn part_error(result: Result<Option<RelayFrame>, WireError>) -> PartError {
        match result {
            Err(WireError::Part(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn small_frames_stay_whole_and_large_ones_come_back() {
        let mut assembler = Assembler::new();
        for len in [1, PART_BYTES, WHOLE_BYTES_MAX, 2 * PART_BYTES, 1_000_000, 3_000_000] {
            let frame = large(len);
            let bytes = codec::encode_relay(&frame);
            let parts = into_parts(bytes.clone(), 5);
            if bytes.len() <= WHOLE_BYTES_MAX {
                assert_eq!(parts, vec![bytes]);
            } else {
                assert_eq!(parts.len(), bytes.len().div_ceil(PART_BYTES));
                assert!(parts.iter().all(|part| part.len() <= PART_BYTES + 32));
            }
            let (last, before) = parts.split_last().unwrap();
            for part in before {
                assert_eq!(assembler.read(part).unwrap(), None);
            }
            assert_eq!(assembler.read(last).unwrap(), Some(frame));
            assert_eq!(assembler.held_bytes, 0);
        }
    }

    #[test]
    fn the_largest_change_is_sent_whole() {
        let frame = RelayFrame::Changes {
            channel: "x".repeat(255),
            seq: crate::limits::SEQ_MAX,
            window: crate::window::Window::covering(11, crate::message::TIME_MS_MAX),
            generation: u32::MAX,
            doc: crate::change::DocKind::Messages,
            chunk: vec![1; CHUNK_BYTES_MAX],
            late: vec![255; crate::limits::CHANGE_OPS_MAX / 8],
        };
        assert!(codec::encode_relay(&frame).len() <= WHOLE_BYTES_MAX);
    }

    #[test]
    fn parts_of_several_frames_and_whole_frames_may_alternate() {
        let (one, two) = (large(600_000), large(700_000));
        let ones = into_parts(codec::encode_relay(&one), 1);
        let twos = into_parts(codec::encode_relay(&two), 2);
        assert_eq!((ones.len(), twos.len()), (3, 3));
        let whole = large(10);
        let mut assembler = Assembler::new();
        let mut frames = Vec::new();
        for (one, two) in ones.iter().zip(&twos) {
            frames.extend(assembler.read(one).unwrap());
            frames.extend(assembler.read(&codec::encode_relay(&whole)).unwrap());
            frames.extend(assembler.read(two).unwrap());
        }
        assert_eq!(frames, [whole.clone(), whole.clone(), one, whole, two]);
    }

    #[test]
    fn gaps_and_repeats_are_told() {
        let gap = |got, wanted| PartError::Gap { id: 1, got, wanted };
        let mut assembler = Assembler::new();
        assert_eq!(part_error(assembler.read(&part(1, 1, false, 5))), gap(1, 0));
        assert_eq!(assembler.read(&part(1, 0, false, 5)).unwrap(), None);
        assert_eq!(part_error(assembler.read(&part(1, 0, false, 5))), gap(0, 1));
        assert_eq!(part_error(assembler.read(&part(1, 2, true, 5))), gap(2, 1));
        assert_eq!(part_error(assembler.read(&part(1, 1, false, 0))), PartError::Empty(1));
    }

    #[test]
    fn open_frames_are_bounded_in_number_and_bytes() {
        let mut assembler = Assembler::new();
        for id in 0..PART_STREAMS_MAX as u64 {
            assert_eq!(assembler.read(&part(id, 0, false, 1)).unwrap(), None);
        }
        assert_eq!(part_error(assembler.read(&part(99, 0, false, 1))), PartError::TooMany);

        let mut assembler = Assembler::new();
        let len = 1_000_000;
        let fitting = u32::try_from(PARTED_BYTES_MAX / len).unwrap();
        for index in 0..fitting {
            assert_eq!(assembler.read(&part(1, index, false, len)).unwrap(), None);
        }
        assert_eq!(part_error(assembler.read(&part(2, 0, false, len))), PartError::TooLarge);
    }

    #[test]
    fn a_part_made_of_parts_is_refused() {
        let inner = part(9, 0, true, 3);
        let outer = RelayFrame::Part { id: 1, index: 0, last: true, bytes: inner };
        let error = part_error(Assembler::new().read(&codec::encode_relay(&outer)));
        assert_eq!(error, PartError::Nested(1));
    }
}
