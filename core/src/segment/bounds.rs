//! Measures a saved document before Automerge unpacks it.
//!
//! Automerge inflates columns without a limit and walks as many rows as run lengths say. So this
//! walks the chunk first: exactly one document chunk, its columns inflated up to a limit and
//! dropped again, their rows counted from the run lengths. Layout: automerge 0.12,
//! `storage/document.rs`.

use super::SegmentError;
use crate::change::{ChangeError, Reader};
use crate::limits::PARTED_BYTES_MAX;
use flate2::bufread::DeflateDecoder;
use std::borrow::Cow;
use std::io::Read as _;

const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
const DOCUMENT: u8 = 0;

/// Most bytes of all columns once inflated: text and CBOR deflate to a half or a third.
const INFLATED_BYTES_MAX: usize = 2 * PARTED_BYTES_MAX;

/// Most rows of one column; a window is refused at some 8,000 messages.
const ROWS_MAX: u64 = 1 << 20;

/// Most actors and heads.
const ENTRIES_MAX: usize = 1 << 16;

/// Most columns; documents have 22.
const COLUMNS_MAX: usize = 64;

const DEFLATED: u32 = 0b1000;

/// Checks that `bytes` are one document chunk whose columns are within bounds.
pub(super) fn check(bytes: &[u8]) -> Result<(), SegmentError> {
    walk(bytes).map_err(|error| match error {
        Walk::TooLarge => SegmentError::TooLarge,
        Walk::Malformed(what) => SegmentError::Malformed(what),
    })
}

enum Walk {
    TooLarge,
    Malformed(&'static str),
}

impl From<ChangeError> for Walk {
    fn from(_: ChangeError) -> Self {
        Self::Malformed("it is cut short or has a number out of range")
    }
}

fn walk(bytes: &[u8]) -> Result<(), Walk> {
    let mut r = Reader::new(bytes);
    let (magic, _checksum, [chunk_type]): ([u8; 4], [u8; 4], [u8; 1]) =
        (r.array()?, r.array()?, r.array()?);
    if magic != MAGIC || chunk_type != DOCUMENT {
        return Err(Walk::Malformed("it does not begin as a saved document"));
    }
    if r.length()? != r.len() {
        return Err(Walk::Malformed("it is cut short or followed by other bytes"));
    }
    for _ in 0..bounded(r.length()?, ENTRIES_MAX)? {
        let len = r.length()?;
        r.take(len)?;
    }
    for _ in 0..bounded(r.length()?, ENTRIES_MAX)? {
        r.array::<32>()?;
    }
    let changes = read_specs(&mut r)?;
    let ops = read_specs(&mut r)?;
    let mut room = INFLATED_BYTES_MAX;
    for (spec, len) in changes.into_iter().chain(ops) {
        let column = inflate(spec, r.take(len)?, room)?;
        room -= column.len();
        check_rows(spec, &column)?;
    }
    Ok(())
}

const fn bounded(count: usize, max: usize) -> Result<usize, Walk> {
    if count > max { Err(Walk::TooLarge) } else { Ok(count) }
}

fn read_specs(r: &mut Reader<'_>) -> Result<Vec<(u32, usize)>, Walk> {
    let count = bounded(r.length()?, COLUMNS_MAX)?;
    let mut specs = Vec::with_capacity(count);
    for _ in 0..count {
        let spec = u32::try_from(r.unsigned()?)
            .map_err(|_| Walk::Malformed("a column's specification is out of range"))?;
        specs.push((spec, r.length()?));
    }
    Ok(specs)
}

fn inflate(spec: u32, column: &[u8], room: usize) -> Result<Cow<'_, [u8]>, Walk> {
    if spec & DEFLATED == 0 {
        return if column.len() > room { Err(Walk::TooLarge) } else { Ok(Cow::Borrowed(column)) };
    }
    let mut inflated = Vec::new();
    DeflateDecoder::new(column)
        .take(room as u64 + 1)
        .read_to_end(&mut inflated)
        .map_err(|_| Walk::Malformed("a column does not inflate"))?;
    if inflated.len() > room { Err(Walk::TooLarge) } else { Ok(Cow::Owned(inflated)) }
}

/// Counts a column's rows from its run lengths. The low 3 bits of its specification are its type.
fn check_rows(spec: u32, column: &[u8]) -> Result<(), Walk> {
    let mut r = Reader::new(column);
    let mut rows = 0_u64;
    while !r.is_empty() {
        let len = match spec & 0b111 {
            7 => return Ok(()),
            4 => r.unsigned()?,
            kind => skip_run(&mut r, kind)?,
        };
        rows = rows.saturating_add(len);
        if rows > ROWS_MAX {
            return Err(Walk::TooLarge);
        }
    }
    Ok(())
}

/// Passes over one run: (n > 0, value), (-n, n values) or (0, n) for nulls; returns its rows.
fn skip_run(r: &mut Reader<'_>, kind: u32) -> Result<u64, Walk> {
    let len = r.signed()?;
    if len == 0 {
        return Ok(r.unsigned()?);
    }
    let rows = len.unsigned_abs();
    let values = if len > 0 { 1 } else { rows };
    if values > r.len() as u64 {
        return Err(Walk::Malformed("a column is cut short"));
    }
    for _ in 0..values {
        match kind {
            3 => {
                r.signed()?;
            }
            5 => {
                let len = r.length()?;
                r.take(len)?;
            }
            _ => {
                r.unsigned()?;
            }
        }
    }
    Ok(rows)
}
