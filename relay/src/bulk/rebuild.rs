//! Documents out of the store: the saved one and the changes after it.

use super::BulkError;
use crate::commit::channel::Channel;
use crate::limits::{TAIL_BYTES, TAIL_CHANGES};
use crate::store::kv::{Direction, Family, Snapshot};
use crate::store::rows::{DocRow, LogRow, Row, TailSize};
use crate::store::txn::Txn;
use crate::store::{StoreError, keys};
use backscroll_core::change::DocKind;
use backscroll_core::segment::SegmentDoc;
use backscroll_core::window::Window;
use std::ops::ControlFlow;

/// Renews a saved document whose tail has grown beyond its bound.
pub(super) fn rebuild(
    txn: &mut Txn<'_>,
    channel: &mut Channel,
    window: Window,
    kind: DocKind,
) -> Result<(), BulkError> {
    let Some(mut row) = channel.window(txn, window)? else { return Ok(()) };
    let tail = row.tail(kind);
    if tail.changes <= TAIL_CHANGES && tail.bytes <= TAIL_BYTES {
        return Ok(());
    }
    let document = document(txn, channel, window, kind)?;
    let (mark, digest) = (row.mark(kind), document.digest());
    if digest != mark.digest {
        return Err(StoreError::damaged(Family::Docs, "its changes are not the window's").into());
    }
    let (upto_seq, generation) = (mark.last_seq, row.entry.generation);
    let saved = DocRow { upto_seq, generation, digest, bytes: document.save() };
    *row.tail_mut(kind) = TailSize::default();
    channel.put_window(txn, window, row);
    txn.put(Family::Docs, keys::doc(channel.number, window, kind), saved.encode());
    Ok(())
}

/// A document with all its changes.
pub(super) fn document(
    rows: &dyn Snapshot,
    channel: &Channel,
    window: Window,
    kind: DocKind,
) -> Result<SegmentDoc, BulkError> {
    let saved = rows.get(Family::Docs, &keys::doc(channel.number, window, kind))?;
    let saved = saved.map(|row| DocRow::decode(&row)).transpose()?;
    let after = saved.as_ref().map_or(0, |row| row.upto_seq + 1);
    let mut document = match saved {
        Some(row) => SegmentDoc::load(window, kind, &row.bytes)?,
        None => SegmentDoc::new(window, kind),
    };
    let mut seqs = Vec::new();
    let range = keys::window_log_from(channel.number, window, kind, after);
    rows.scan(Family::WindowLog, keys::bounds(&range), Direction::Forward, &mut |key, _| {
        seqs.extend(keys::seq_of(key));
        ControlFlow::Continue(())
    })?;
    let mut chunks = Vec::with_capacity(seqs.len());
    for seq in seqs {
        let row = rows
            .get(Family::Log, &keys::log(channel.number, seq))?
            .ok_or(StoreError::damaged(Family::Log, "a change of a window is missing"))?;
        chunks.push(LogRow::decode(&row)?.chunk);
    }
    document.apply(&chunks)?;
    Ok(document)
}
