//! What every value is wrapped in: a format's number before it, a checksum after it.
//!
//! The checksum covers the key as well, so that a record in a wrong place is none.

use crate::change::ChangeError;
use crate::directory::DirectoryError;
use crate::message::BodyError;
use crate::wire::WireError;
use sha2::{Digest, Sha256};

/// The only format there is yet.
const FORMAT: u8 = 1;

/// Bytes of the checksum: enough to tell damage, which is all it is for.
const CHECKSUM_BYTES: usize = 4;

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// It was written by another version.
    #[error("the record has the unknown format {0}")]
    Format(u8),
    /// It was cut off or changed, or is not the record of its key.
    #[error("the record is damaged")]
    Damaged,
    /// It is not the CBOR of its kind of record.
    #[error("the record is malformed")]
    Malformed(#[from] minicbor::decode::Error),
    /// Its directory or directory entry is malformed.
    #[error("the record's directory is malformed")]
    Directory(#[from] DirectoryError),
    /// Its change chunk is malformed.
    #[error("the record's change is malformed")]
    Change(#[from] ChangeError),
    /// Its message is malformed.
    #[error("the record's message is malformed")]
    Body(#[from] BodyError),
    /// What it says of messages is malformed.
    #[error("the record's facts are malformed")]
    Facts(#[from] WireError),
    /// Its parts contradict each other.
    #[error("the record contradicts itself: {0}")]
    Contradiction(&'static str),
}

/// Wraps a record.
pub(super) fn seal(key: &[u8], record: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(record.len() + 1 + CHECKSUM_BYTES);
    value.push(FORMAT);
    value.extend(record);
    let sum = checksum(key, &value);
    value.extend(sum);
    value
}

/// Unwraps a record.
///
/// # Errors
/// It has another format, or is not as it was written under this key.
pub(super) fn open<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], RecordError> {
    let (body, sum) = value.split_last_chunk::<CHECKSUM_BYTES>().ok_or(RecordError::Damaged)?;
    if checksum(key, body) != *sum {
        return Err(RecordError::Damaged);
    }
    match body.split_first() {
        Some((&FORMAT, record)) => Ok(record),
        Some((&format, _)) => Err(RecordError::Format(format)),
        None => Err(RecordError::Damaged),
    }
}

fn checksum(key: &[u8], body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = Sha256::new();
    // The key's length keeps a key and its value apart.
    hasher.update((key.len() as u64).to_be_bytes());
    hasher.update(key);
    hasher.update(body);
    let hash: [u8; 32] = hasher.finalize().into();
    let [a, b, c, d, ..] = hash;
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_under_its_key_only() {
        let value = seal(b"key", b"record");
        assert_eq!(open(b"key", &value).unwrap(), b"record");
        assert!(matches!(open(b"kez", &value), Err(RecordError::Damaged)));
        for at in 0..value.len() {
            let mut other = value.clone();
            other[at] ^= 1;
            assert!(open(b"key", &other).is_err());
            assert!(open(b"key", &value[..at]).is_err());
        }
    }

    #[test]
    fn another_format_is_told_apart_from_damage() {
        let mut body = vec![9, 1, 2];
        let sum = checksum(b"key", &body);
        body.extend(sum);
        assert!(matches!(open(b"key", &body), Err(RecordError::Format(9))));
    }
}
