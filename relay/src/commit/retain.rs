//! Drops whole windows: their messages, changes, documents and counts (retention).
//!
//! The seq never goes back, and what is left is all that a channel shows and counts. Nor does a
//! window's generation, which is kept: messages of its time may still come, and what they begin is
//! another document than the one that clients may have. A mark in the log
//! takes one seq and is the channel's *floor*: a cursor below it gets a new directory instead of a
//! resume, because a difference cannot tell of windows that are gone.

use super::channel::Channel;
use super::check::Stop;
use super::erase::{delete_all, members_of, seqs_of};
use super::event::{Committed, CommittedDrop};
use super::writer::Work;
use crate::index::MessageRow;
use crate::limits::{RETOLD_BYTES, RETOLD_MESSAGES};
use crate::store::StoreError;
use crate::store::keys::{self, bounds};
use crate::store::kv::{Direction, Family, Snapshot};
use crate::store::rows::{DirectoryRow, IndexRow, LogRow, MemberRow, Row};
use backscroll_core::change::{ChangeHash, DocKind};
use backscroll_core::directory::Directory;
use backscroll_core::message::MessageId;
use backscroll_core::window::Window;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Windows of a channel to drop.
#[derive(Clone, Debug)]
pub(crate) struct DropWindows {
    pub(crate) channel: String,
    /// Each with the last seq that whoever asks knows of it: one that has more stays.
    pub(crate) windows: Vec<(Window, u64)>,
    /// The mark's name; random.
    pub(crate) hash: ChangeHash,
}

/// What was dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DroppedWindows {
    pub(crate) windows: u64,
    pub(crate) messages: u64,
}

/// Drops windows; those that are gone or have changed are passed over.
pub(super) fn drop_windows(
    work: &mut Work<'_>,
    channel: &mut Channel,
    request: &DropWindows,
    epoch: [u8; 16],
) -> Result<DroppedWindows, Stop> {
    let mut dropped = DroppedWindows::default();
    for (window, latest_seq) in &request.windows {
        let row = channel.window(&work.txn, *window)?;
        let Some(row) = row.filter(|row| row.entry.latest_seq() == *latest_seq) else { continue };
        dropped.windows += 1;
        dropped.messages += row.entry.messages;
        drop_window(work, channel, *window, row.entry.generation)?;
    }
    if dropped.windows == 0 {
        return Ok(dropped);
    }
    channel.head.newest = newest(&work.txn, channel)?;
    channel.head.seq += 1;
    channel.head.hash = request.hash.0;
    channel.head.floor = channel.head.seq;
    let key = keys::log(channel.number, channel.head.seq);
    work.txn.put(Family::Log, key, LogRow::mark(request.hash).encode());
    channel.put_head(&mut work.txn);
    work.done.events.push(Committed::Dropped(CommittedDrop {
        channel: channel.name.clone(),
        epoch,
        seq: channel.head.seq,
        hash: request.hash,
        total: channel.head.total,
        directory: Arc::new(directory(&work.txn, channel)?),
        newest: newest_rows(&work.txn, channel)?.into(),
    }));
    Ok(dropped)
}

fn drop_window(
    work: &mut Work<'_>,
    channel: &mut Channel,
    window: Window,
    generation: u32,
) -> Result<(), StoreError> {
    let txn = &mut work.txn;
    let number = channel.number;
    for (id, MemberRow { seq, late }) in members_of(txn, channel, window)? {
        txn.delete(Family::Index, keys::message(number, id));
        if late {
            txn.delete(Family::Late, keys::late(number, seq));
        }
        channel.ranks(txn)?.remove(txn, id)?;
        channel.head.total = channel.head.total.saturating_sub(1);
    }
    for doc in [DocKind::Messages, DocKind::Annotations] {
        for seq in seqs_of(txn, channel, window, doc)? {
            txn.delete(Family::Log, keys::log(number, seq));
        }
        txn.delete(Family::Docs, keys::doc(number, window, doc));
    }
    for family in
        [Family::WindowLog, Family::Actors, Family::Members, Family::Annotations, Family::Hashes]
    {
        delete_all(txn, family, &keys::of_window(number, window))?;
    }
    channel.delete_window(txn, window, generation);
    channel.retire_author(window);
    Ok(())
}

/// The greatest id that is left.
fn newest(rows: &dyn Snapshot, channel: &Channel) -> Result<Option<MessageId>, StoreError> {
    let range = keys::channel(channel.number);
    let mut newest = None;
    rows.scan(Family::Index, bounds(&range), Direction::Reverse, &mut |key, _| {
        newest = keys::message_of(key);
        ControlFlow::Break(())
    })?;
    Ok(newest)
}

/// The newest messages that are left, oldest to newest, as many as are told; from one that does not
/// read on, none.
fn newest_rows(rows: &dyn Snapshot, channel: &Channel) -> Result<Vec<MessageRow>, StoreError> {
    let range = keys::channel(channel.number);
    let (mut found, mut bytes) = (Vec::new(), 0);
    rows.scan(Family::Index, bounds(&range), Direction::Reverse, &mut |key, row| {
        bytes += row.len();
        let row = keys::message_of(key)
            .and_then(|id| MessageRow::of(id, IndexRow::decode(row).ok()?).ok());
        let Some(row) = row.filter(|_| bytes <= RETOLD_BYTES || found.is_empty()) else {
            return ControlFlow::Break(());
        };
        found.push(row);
        if found.len() < RETOLD_MESSAGES {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    found.reverse();
    Ok(found)
}

/// The windows that are left.
fn directory(rows: &dyn Snapshot, channel: &Channel) -> Result<Directory, StoreError> {
    let range = keys::channel(channel.number);
    let (mut entries, mut damage) = (Vec::new(), None);
    rows.scan(Family::Directory, bounds(&range), Direction::Forward, &mut |key, row| {
        match (keys::window_of(key), DirectoryRow::decode(row)) {
            (Some(window), Ok(row)) => entries.push((window, row.entry)),
            (_, Err(error)) => damage = Some(error),
            (None, _) => {}
        }
        ControlFlow::Continue(())
    })?;
    damage.map_or_else(|| Ok(entries.into_iter().collect()), Err)
}
