//! How records cross to JavaScript and back: one array of bytes a batch, numbers little-endian.
//!
//! A record is the length of its key as `u32`, that of its value (all ones if there is none), key,
//! value; a batch has its number as `f64` before them.

use crate::error::Refusal;
use backscroll_core::storage::{StorageBatch, StoredRecord};

/// Stands for the length of a value that is not there.
const NONE: u32 = u32::MAX;

/// A batch to write.
#[expect(clippy::cast_precision_loss, reason = "batches are counted from 1")]
pub(crate) fn pack_batch(batch: &StorageBatch) -> Vec<u8> {
    let mut bytes = (batch.number as f64).to_le_bytes().to_vec();
    for StoredRecord { key, value } in &batch.records {
        bytes.extend(length(key).to_le_bytes());
        bytes.extend(value.as_deref().map_or(NONE, length).to_le_bytes());
        bytes.extend(key);
        bytes.extend(value.iter().flatten());
    }
    bytes
}

/// Records from JavaScript.
pub(crate) fn unpack(mut bytes: &[u8]) -> Result<Vec<StoredRecord>, Refusal> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let key_length = take_length(&mut bytes)?;
        let value_length = take_length(&mut bytes)?;
        let key = take(&mut bytes, key_length)?.to_vec();
        let value = match value_length {
            NONE => None,
            length => Some(take(&mut bytes, length)?.to_vec()),
        };
        records.push(StoredRecord { key, value });
    }
    Ok(records)
}

/// Wasm's memory is below 2^32 bytes.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(NONE)
}

fn take_length(bytes: &mut &[u8]) -> Result<u32, Refusal> {
    let (first, rest) = bytes.split_first_chunk().ok_or_else(cut)?;
    *bytes = rest;
    Ok(u32::from_le_bytes(*first))
}

fn take<'a>(bytes: &mut &'a [u8], length: u32) -> Result<&'a [u8], Refusal> {
    let length = usize::try_from(length).map_err(|_| cut())?;
    let (first, rest) = bytes.split_at_checked(length).ok_or_else(cut)?;
    *bytes = rest;
    Ok(first)
}

fn cut() -> Refusal {
    Refusal::new("bad_request", "records that end too early")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_cross_and_come_back() {
        let record = |key: &[u8], value: Option<&[u8]>| StoredRecord {
            key: key.to_vec(),
            value: value.map(<[u8]>::to_vec),
        };
        let records = vec![record(b"a", None), record(b"", Some(b"")), record(b"key", Some(b"v"))];
        let batch = StorageBatch { number: 7, records: records.clone() };
        let bytes = pack_batch(&batch);
        assert_eq!(bytes[..8], 7_f64.to_le_bytes());
        assert_eq!(unpack(&bytes[8..]).ok(), Some(records));
    }

    #[test]
    fn records_that_end_too_early_are_refused() {
        let record = StoredRecord { key: b"key".to_vec(), value: Some(b"value".to_vec()) };
        let bytes = pack_batch(&StorageBatch { number: 1, records: vec![record] });
        for end in 9..bytes.len() {
            assert!(unpack(&bytes[8..end]).is_err(), "cut at {end}");
        }
    }
}
