//! Rebuilds what follows from the log: index, members, ranks, counts, directory, actors, pointers.
//!
//! The log is the truth and is only read; where it is damaged itself nothing is changed, and a backup
//! has to be restored. Windows that were rewritten by an erasure have no other truth than their rows
//! and documents: those are left as they are. A store whose repair was cut off is not opened but to
//! begin that anew. Of attachments, which nothing follows from, those that are damaged are deleted.
//! Behind `backscroll check --repair`, which verifies the store before and after.

mod derived;

use crate::blob_hash::BlobHash;
use crate::check::attachments::Attachments;
use crate::reader::ReadError;
use crate::store::keys::{self, ChannelId, bounds};
use crate::store::kv::{Batch, Direction, Durability, Family, Snapshot};
use crate::store::rows::{BlobUsageRow, DirectoryRow, HeadRow, LogRow, Row};
use crate::store::{Store, StoreError};
use backscroll_core::change::ChangeView;
use backscroll_core::read_state::ReadState;
use backscroll_core::window::Window;
use derived::Derived;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Bytes of rows that are written at once.
const BATCH_BYTES: usize = 4 << 20;

/// Why a store is not repaired. Nothing of the channel was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// The log of a channel is damaged: what it says cannot be told from anything else.
    #[error(
        "{channel}: change {seq} of the log {what}; what follows from the log can be repaired, the \
         log cannot: restore a backup"
    )]
    Log {
        /// The channel.
        channel: String,
        /// First seq of the change.
        seq: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A window that was rewritten by an erasure has lost its directory entry.
    #[error("{channel}: window {window} was rewritten and its entry is gone: restore a backup")]
    Rewritten {
        /// The channel.
        channel: String,
        /// The window.
        window: Window,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Rebuilds what follows from the logs of all channels. `progress` is told the changes read.
///
/// # Errors
/// A log is damaged, or the store cannot be read or written.
///
/// # Complexity
/// O(everything stored); keeps about 100 bytes in memory for each change of a channel.
pub fn repair(store: &Store, mut progress: impl FnMut(u64)) -> Result<(), RepairError> {
    let channels = crate::check::channels(&*store.snapshot())?;
    let mut done = 0;
    for (number, name) in &channels {
        let log = Log::read(&*store.snapshot(), *number, name, &mut |read| progress(done + read))?;
        done += log.changes;
        repair_channel(store, *number, name, &log)?;
    }
    let mut out = Out::new(store);
    if let Some((last, _)) = channels.last_key_value() {
        out.put(Family::Meta, keys::META_NEXT_CHANNEL.to_vec(), (last + 1).to_be_bytes().to_vec())?;
    }
    out.finish()
}

/// Deletes attachments that are not whole or not what they are called, and counts anew what users
/// have stored; how many were deleted. Those who have them may store them again.
///
/// # Errors
/// The store cannot be read or written.
///
/// # Complexity
/// O(bytes of all attachments).
pub fn repair_attachments(store: &Store, progress: impl FnMut(u64)) -> Result<usize, RepairError> {
    let snapshot = store.snapshot();
    let found = Attachments::look(&*snapshot, progress)?;
    let mut out = Out::new(store);
    for (BlobHash(sha256), _) in &found.bad {
        let mut parts = Vec::new();
        let range = keys::parts_of(sha256);
        snapshot.scan(Family::Blobs, bounds(&range), Direction::Forward, &mut |key, _| {
            parts.push(key.to_vec());
            ControlFlow::Continue(())
        })?;
        for key in parts.into_iter().chain([keys::blob(sha256), keys::blob_reserved(sha256)]) {
            out.delete(Family::Blobs, key)?;
        }
    }
    for (user, bytes) in found.miscounted() {
        out.put(Family::Blobs, keys::blob_usage(user), BlobUsageRow { bytes }.encode())?;
    }
    out.finish()?;
    Ok(found.bad.len())
}

fn repair_channel(
    store: &Store,
    number: ChannelId,
    name: &str,
    log: &Log,
) -> Result<(), RepairError> {
    let snapshot = store.snapshot();
    let head = snapshot.get(Family::Meta, &keys::head(number))?;
    // Of a head that is damaged itself nothing can be told.
    if head.and_then(|head| HeadRow::decode(&head).ok()).is_some_and(|head| head.seq > log.seq) {
        // Seqs that clients know would be given again.
        let what = "is missing, the channel went on to a later one";
        return Err(RepairError::Log { channel: name.to_owned(), seq: log.seq + 1, what });
    }
    for window in &log.rewritten {
        if snapshot.get(Family::Directory, &keys::directory(number, *window))?.is_none() {
            return Err(RepairError::Rewritten { channel: name.to_owned(), window: *window });
        }
    }
    drop(snapshot);
    let mut out = Out::new(store);
    // Until all is there again nobody else may open it.
    out.put(Family::Meta, keys::META_REPAIRING.to_vec(), Vec::new())?;
    out.sync()?;
    Derived::delete(&mut out, number, log)?;
    out.sync()?;
    let mut derived = Derived::replay(&mut out, number, log)?;
    // What was put is read from here on.
    out.sync()?;
    Derived::list_late(&mut out, number, log)?;
    derived.fold_annotations(&mut out, number)?;
    derived.settle_documents(&mut out, number, log)?;
    out.sync()?;
    derived.count(&mut out, number, log)?;
    delete_bad_read_states(&mut out, number, log.seq)?;
    out.sync()?;
    restore_generations(&mut out, number)?;
    out.delete(Family::Meta, keys::META_REPAIRING.to_vec())?;
    out.finish()
}

/// What of a channel's log must be known before anything is changed.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) changes: u64,
    /// Seq of its last op, and hash of its last change.
    pub(crate) seq: u64,
    pub(crate) hash: [u8; 32],
    /// Seq of the last mark of a retention.
    pub(crate) floor: u64,
    /// Windows with erased changes.
    pub(crate) rewritten: BTreeSet<Window>,
}

impl Log {
    /// Reads a channel's log, which must be whole.
    fn read(
        rows: &dyn Snapshot,
        number: ChannelId,
        name: &str,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self, RepairError> {
        let (mut log, mut gaps, mut damage) = (Self::default(), Vec::new(), None);
        let range = keys::channel(number);
        rows.scan(Family::Log, bounds(&range), Direction::Forward, &mut |key, row| {
            let seq = keys::seq_of(key).unwrap_or(0);
            log.changes += 1;
            progress(log.changes);
            if seq != log.seq + 1 {
                gaps.push(seq);
            }
            match read_change(row) {
                Ok(row) => log.take(seq, &row),
                Err(what) => {
                    damage = Some((seq, what));
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        // Below the floor what was dropped is missing.
        let floor = log.floor;
        let gap = gaps.into_iter().find(|seq| *seq > floor);
        match damage.or(gap.map(|seq| (seq, "does not follow the one before it"))) {
            Some((seq, what)) => Err(RepairError::Log { channel: name.to_owned(), seq, what }),
            None => Ok(log),
        }
    }

    fn take(&mut self, seq: u64, row: &LogRow) {
        self.seq = row.last_seq(seq);
        self.hash = row.hash.0;
        if row.is_mark() {
            self.floor = seq;
        } else if row.is_erased() {
            self.rewritten.insert(row.window);
        }
    }
}

/// Reads a row of the log and its chunk, if that is there.
fn read_change(row: &[u8]) -> Result<LogRow, &'static str> {
    let row = LogRow::decode(row).map_err(|_| "is damaged")?;
    if row.is_erased() {
        return Ok(row);
    }
    // Automerge panics on some damage.
    let read = || ChangeView::read(&row.chunk, row.window, row.doc).ok();
    let view = catch_unwind(AssertUnwindSafe(read)).ok().flatten().ok_or("does not read back")?;
    let is_its = view.hash == row.hash && view.ops_len == row.ops;
    if is_its { Ok(row) } else { Err("is not the one its row names") }
}

/// Gives windows that were dropped a generation to begin again with: one that is damaged was below all
/// that the channel will have had by then.
fn restore_generations(out: &mut Out<'_>, number: ChannelId) -> Result<(), RepairError> {
    let snapshot = out.store.snapshot();
    let (mut known, mut bad, mut greatest) = (BTreeMap::new(), Vec::new(), 0);
    let range = keys::channel(number);
    snapshot.scan(Family::Directory, bounds(&range), Direction::Forward, &mut |key, row| {
        if let (Some(window), Ok(row)) = (keys::window_of(key), DirectoryRow::decode(row)) {
            greatest = row.entry.generation.max(greatest);
            known.insert(window, row.entry.generation);
        }
        ControlFlow::Continue(())
    })?;
    let range = keys::dropped_of(number);
    snapshot.scan(Family::Meta, bounds(&range), Direction::Forward, &mut |key, row| {
        let now = keys::dropped_window(key).and_then(|window| known.get(&window).copied());
        match (<[u8; 4]>::try_from(row).map(u32::from_be_bytes), now) {
            (Ok(least), None) => greatest = least.max(greatest),
            (Ok(least), Some(now)) if least <= now => {}
            (_, now) => bad.push((key.to_vec(), now)),
        }
        ControlFlow::Continue(())
    })?;
    for (key, now) in bad {
        let least = now.unwrap_or(greatest.saturating_add(1));
        out.put(Family::Meta, key, least.to_be_bytes().to_vec())?;
    }
    Ok(())
}

fn delete_bad_read_states(
    out: &mut Out<'_>,
    number: ChannelId,
    head_seq: u64,
) -> Result<(), RepairError> {
    let mut bad = Vec::new();
    let range = keys::channel(number);
    out.store.snapshot().scan(
        Family::Reads,
        bounds(&range),
        Direction::Forward,
        &mut |key, row| {
            let is_good = ReadState::decode(row)
                .is_ok_and(|row| row.seq <= head_seq && row.delivered <= head_seq);
            if !is_good {
                bad.push(key.to_vec());
            }
            ControlFlow::Continue(())
        },
    )?;
    for key in bad {
        out.delete(Family::Reads, key)?;
    }
    Ok(())
}

/// Writes rows a bounded number at a time.
#[derive(Debug)]
pub(crate) struct Out<'s> {
    pub(crate) store: &'s Store,
    batch: Batch,
}

impl<'s> Out<'s> {
    const fn new(store: &'s Store) -> Self {
        Self { store, batch: Batch::new() }
    }

    pub(crate) fn put(
        &mut self,
        family: Family,
        key: Vec<u8>,
        row: Vec<u8>,
    ) -> Result<(), StoreError> {
        self.batch.put(family, key, row);
        self.write_if_large()
    }

    pub(crate) fn delete(&mut self, family: Family, key: Vec<u8>) -> Result<(), StoreError> {
        self.batch.delete(family, key);
        self.write_if_large()
    }

    fn write_if_large(&mut self) -> Result<(), StoreError> {
        if self.batch.bytes() < BATCH_BYTES {
            return Ok(());
        }
        self.store.kv().write(std::mem::take(&mut self.batch), Durability::Buffered)
    }

    /// Writes what is left, so that it can be read.
    fn sync(&mut self) -> Result<(), StoreError> {
        self.store.kv().write(std::mem::take(&mut self.batch), Durability::Sync)
    }

    fn finish(mut self) -> Result<(), RepairError> {
        Ok(self.sync()?)
    }
}

/// First seqs and rows of changes, as far as they are kept in memory.
pub(crate) type Changes = BTreeMap<(Window, backscroll_core::change::DocKind), Vec<derived::Place>>;

#[cfg(test)]
mod tests;
