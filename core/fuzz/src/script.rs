//! A fuzzer's bytes as a script: numbers and byte strings, read until they end.
//!
//! And what a fuzzer cannot guess: the checksums of chunks and of stored records.

use sha2::{Digest, Sha256};

/// A script that is read.
#[derive(Debug)]
pub struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    /// Reads from the start.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next byte.
    pub fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    /// The next two bytes.
    pub fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes([self.byte()?, self.byte()?]))
    }

    /// A length in two bytes and so many bytes, or as many as there are.
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::from(self.u16()?).min(self.0.len());
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        Some(bytes)
    }

    /// Everything that is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// A script that is written.
#[derive(Clone, Debug, Default)]
pub struct Tape(pub Vec<u8>);

impl Tape {
    /// Writes single bytes.
    pub fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    /// Writes a byte string.
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(u16::try_from(bytes.len()).expect("a short string").to_le_bytes());
        self.0.extend(bytes);
        self
    }
}

/// Writes the right checksum into a chunk of Automerge whose content was changed.
pub fn fix_chunk(chunk: &mut [u8]) {
    if let Some((head, content)) = chunk.split_at_mut_checked(8) {
        let hash = Sha256::digest(&*content);
        head[4..].copy_from_slice(&hash[..4]);
    }
}

/// Wraps a record as the store's envelope does: a format's number, and a checksum over the key too.
pub fn seal(key: &[u8], record: &[u8]) -> Vec<u8> {
    let mut value = vec![1];
    value.extend(record);
    let mut hasher = Sha256::new();
    hasher.update((key.len() as u64).to_be_bytes());
    hasher.update(key);
    hasher.update(&value);
    value.extend(&hasher.finalize()[..4]);
    value
}

/// A record without its envelope.
pub fn unseal(value: &[u8]) -> &[u8] {
    value.get(1..value.len().saturating_sub(4)).unwrap_or_default()
}
