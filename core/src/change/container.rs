//! The container and the header of a change chunk: everything before its columns.
//!
//! Layout (automerge 0.12, `storage/chunk.rs` and `storage/change.rs`): magic, checksum (4 bytes),
//! type (1 byte), length; then dependencies, actor, seq, first op, time, message, other actors,
//! column metadata, columns, extra bytes. Numbers are LEB128. That numbers are in their shortest
//! form, actors sorted and so on is left to the comparison with Automerge's encoding.

use super::{ActorId16, ChangeError, ChangeHash, HeaderParts};
use crate::limits::{CHANGE_DEPS_MAX, CHUNK_BYTES_MAX, OP_COUNTER_MAX};
use std::num::NonZeroU64;
use std::ops::Range;

const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];

/// Where a chunk has its checksum.
pub(super) const CHECKSUM: Range<usize> = 4..8;

const CHANGE: u8 = 1;

/// Most actors whose ops a change replaces.
const OTHER_ACTORS_MAX: usize = super::columns::PREDS_MAX;

/// Most columns: as many as the two documents use.
const COLUMNS_MAX: usize = 8;

/// A cursor over untrusted bytes; every read says what was missing.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], ChangeError> {
        let (taken, rest) =
            self.0.split_at_checked(len).ok_or(ChangeError::Malformed("it is cut short"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], ChangeError> {
        let (taken, rest) =
            self.0.split_first_chunk().ok_or(ChangeError::Malformed("it is cut short"))?;
        self.0 = rest;
        Ok(*taken)
    }

    /// An unsigned LEB128 number.
    pub(crate) fn unsigned(&mut self) -> Result<u64, ChangeError> {
        let (bits, _) = self.leb128()?;
        u64::try_from(bits).map_err(|_| ChangeError::Malformed("a number is too large"))
    }

    /// A signed LEB128 number.
    pub(crate) fn signed(&mut self) -> Result<i64, ChangeError> {
        let (bits, len) = self.leb128()?;
        let unused = 128 - 7 * len;
        let extended = (bits.cast_signed() << unused) >> unused;
        i64::try_from(extended).map_err(|_| ChangeError::Malformed("a number is too large"))
    }

    /// A length that cannot exceed what is left.
    pub(crate) fn length(&mut self) -> Result<usize, ChangeError> {
        usize::try_from(self.unsigned()?).map_err(|_| ChangeError::Malformed("it is cut short"))
    }

    fn leb128(&mut self) -> Result<(u128, u32), ChangeError> {
        let mut bits = 0_u128;
        for len in 1..=10 {
            let [byte] = self.array()?;
            bits |= u128::from(byte & 0x7f) << (7 * (len - 1));
            if byte & 0x80 == 0 {
                return Ok((bits, len));
            }
        }
        Err(ChangeError::Malformed("a number is too large"))
    }

    /// A number of entries, each at least `entry_bytes` long.
    fn count(
        &mut self,
        what: &'static str,
        max: usize,
        entry_bytes: usize,
    ) -> Result<usize, ChangeError> {
        let count = self.length()?;
        if count > max {
            return Err(ChangeError::TooMany { what, max });
        }
        if count * entry_bytes > self.len() {
            return Err(ChangeError::Malformed("it is cut short"));
        }
        Ok(count)
    }
}

/// What stands before the columns, and the columns not yet looked into.
#[derive(Debug)]
pub(super) struct Header<'a> {
    pub(super) actor: ActorId16,
    pub(super) seq: u64,
    pub(super) start_op: u64,
    start_op_non_zero: NonZeroU64,
    pub(super) deps: Vec<ChangeHash>,
    /// The author and then the other actors, as columns number them.
    pub(super) actors: Vec<ActorId16>,
    /// Column specifications (id, kind, deflated) and content.
    pub(super) columns: Vec<(u32, &'a [u8])>,
}

impl<'a> Header<'a> {
    pub(super) fn read(chunk: &'a [u8]) -> Result<Self, ChangeError> {
        if chunk.len() > CHUNK_BYTES_MAX {
            return Err(ChangeError::TooLarge);
        }
        let mut r = Reader::new(chunk);
        if r.array()? != MAGIC {
            return Err(ChangeError::Malformed("it does not begin as a chunk"));
        }
        r.take(CHECKSUM.len())?;
        let [chunk_type] = r.array()?;
        if chunk_type != CHANGE {
            return Err(ChangeError::ChunkType(chunk_type));
        }
        let len = r.length()?;
        if len < r.len() {
            return Err(ChangeError::Malformed("other bytes follow it"));
        }
        if len > r.len() {
            return Err(ChangeError::Malformed("it is cut short"));
        }
        Self::read_content(&mut r)
    }

    fn read_content(r: &mut Reader<'a>) -> Result<Self, ChangeError> {
        let deps = read_deps(r)?;
        let actor = read_actor(r)?;
        let seq = r.unsigned()?;
        let start_op = r.unsigned()?;
        let start_op_non_zero =
            NonZeroU64::new(start_op).ok_or(ChangeError::Malformed("its first op is 0"))?;
        if start_op > OP_COUNTER_MAX || seq == 0 || seq > OP_COUNTER_MAX {
            return Err(ChangeError::Malformed("its seq or first op is out of range"));
        }
        if r.signed()? != 0 {
            return Err(ChangeError::Extra("a time"));
        }
        if r.unsigned()? != 0 {
            return Err(ChangeError::Extra("a commit message"));
        }
        let others = r.count("other actors", OTHER_ACTORS_MAX, 1 + size_of::<ActorId16>())?;
        let mut actors = vec![actor];
        for _ in 0..others {
            actors.push(read_actor(r)?);
        }
        let columns = read_columns(r)?;
        if !r.is_empty() {
            return Err(ChangeError::Extra("extra bytes"));
        }
        Ok(Self { actor, seq, start_op, start_op_non_zero, deps, actors, columns })
    }

    pub(super) fn parts(&self) -> HeaderParts {
        HeaderParts {
            actor: self.actor,
            seq: self.seq,
            start_op: self.start_op_non_zero,
            deps: self.deps.clone(),
        }
    }
}

fn read_deps(r: &mut Reader<'_>) -> Result<Vec<ChangeHash>, ChangeError> {
    let count = r.count("dependencies", CHANGE_DEPS_MAX, size_of::<ChangeHash>())?;
    let mut deps = Vec::with_capacity(count);
    for _ in 0..count {
        let dep = ChangeHash(r.array()?);
        if deps.last().is_some_and(|last| *last >= dep) {
            return Err(ChangeError::Malformed("its dependencies are not in ascending order"));
        }
        deps.push(dep);
    }
    Ok(deps)
}

fn read_actor(r: &mut Reader<'_>) -> Result<ActorId16, ChangeError> {
    if r.length()? != size_of::<ActorId16>() {
        return Err(ChangeError::Malformed("an actor id has another length than 16 bytes"));
    }
    r.array().map(ActorId16)
}

fn read_columns<'a>(r: &mut Reader<'a>) -> Result<Vec<(u32, &'a [u8])>, ChangeError> {
    let count = r.count("columns", COLUMNS_MAX, 2)?;
    let mut lens = Vec::with_capacity(count);
    for _ in 0..count {
        let spec = u32::try_from(r.unsigned()?)
            .map_err(|_| ChangeError::Malformed("a number is too large"))?;
        lens.push((spec, r.length()?));
    }
    lens.into_iter().map(|(spec, len)| r.take(len).map(|column| (spec, column))).collect()
}
