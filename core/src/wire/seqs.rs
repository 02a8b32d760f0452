//! What a `segment` says of the messages of a saved document: their seqs and which are late.
//!
//! Both go by the order of the document's keys: newest millisecond first, within one the smallest id
//! first. Seqs are written as steps, so that a document whose messages came in order takes one byte
//! for each.

use super::codec::WireError;
use crate::limits::SEQ_MAX;
use crate::varint::{self, Reader};

/// Writes seqs: each as the zigzag LEB128 of its difference to the one before, the first to 0.
#[must_use]
pub fn encode_seqs(seqs: impl IntoIterator<Item = u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut before = 0;
    for seq in seqs {
        varint::put_step(&mut bytes, before, seq);
        before = seq;
    }
    bytes
}

/// Reads the seqs of `len` messages.
///
/// # Errors
/// The bytes are not exactly `len` seqs, each spelt the one way it has.
///
/// # Complexity
/// O(len); reserves nothing unless the bytes can hold so many.
pub fn decode_seqs(bytes: &[u8], len: usize) -> Result<Vec<u64>, WireError> {
    const BAD: WireError = WireError::Bounds("seqs");
    if len > bytes.len() {
        return Err(BAD);
    }
    let mut reader = Reader::new(bytes);
    let mut seqs = Vec::with_capacity(len);
    let mut before = 0;
    for _ in 0..len {
        before = reader.step(before).filter(|seq| (1..=SEQ_MAX).contains(seq)).ok_or(BAD)?;
        seqs.push(before);
    }
    if reader.is_empty() { Ok(seqs) } else { Err(BAD) }
}

/// Writes a set of messages: the i-th is bit i % 8 of byte i / 8; zero bytes at the end are left
/// out, so that no late message at all takes no byte.
#[must_use]
pub fn encode_late(late: impl IntoIterator<Item = bool>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (i, is_late) in late.into_iter().enumerate() {
        if is_late {
            bytes.resize(i / 8 + 1, 0);
            if let Some(byte) = bytes.last_mut() {
                *byte |= 1 << (i % 8);
            }
        }
    }
    bytes
}

/// Whether the message at `idx` is in the set.
#[must_use]
pub fn is_late(bits: &[u8], idx: usize) -> bool {
    bits.get(idx / 8).is_some_and(|byte| byte >> (idx % 8) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_that_came_in_order_take_a_byte_each() {
        let bytes = encode_seqs((1..=2_048).rev());
        assert_eq!(bytes.len(), 2_049);
        assert_eq!(&bytes[..4], [0x80, 0x20, 1, 1]);
        assert_eq!(decode_seqs(&bytes, 2_048).unwrap(), (1..=2_048).rev().collect::<Vec<_>>());
    }

    #[test]
    fn another_number_of_seqs_is_refused() {
        let bytes = encode_seqs([3, 9, 4]);
        for (bytes, len) in [
            (&bytes[..], 2),
            (&bytes, 4),
            (&bytes, usize::MAX),
            (&bytes[..2], 3),
            (&[0], 1),
            (&[2, 1], 2),
            (&[2, 3], 2),
            (&[0x82, 0], 1),
        ] {
            assert!(decode_seqs(bytes, len).is_err(), "{bytes:?} {len}");
        }
        assert!(decode_seqs(&[], 0).unwrap().is_empty());
    }

    #[test]
    fn late_bits_have_these_bytes() {
        let late = |set: &[usize]| encode_late((0..20).map(|i| set.contains(&i)));
        assert!(late(&[]).is_empty());
        assert_eq!(late(&[0]), [1]);
        assert_eq!(late(&[1, 9, 10]), [2, 6]);
        assert_eq!(late(&[19]), [0, 0, 8]);
    }

    proptest! {
        #[test]
        fn any_seqs_come_back(seqs in proptest::collection::vec(1..=SEQ_MAX, 0..100)) {
            let bytes = encode_seqs(seqs.iter().copied());
            prop_assert_eq!(decode_seqs(&bytes, seqs.len()).unwrap(), seqs);
        }

        #[test]
        fn any_bits_come_back(late in proptest::collection::vec(any::<bool>(), 0..100)) {
            let bits = encode_late(late.iter().copied());
            for (idx, expected) in late.iter().enumerate() {
                prop_assert_eq!(is_late(&bits, idx), *expected);
            }
            prop_assert!(!is_late(&bits, late.len()));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, len in 0..50_usize) {
            if let Ok(seqs) = decode_seqs(&bytes, len) {
                prop_assert_eq!(encode_seqs(seqs), bytes);
            }
        }
    }
}
