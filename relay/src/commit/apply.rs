//! Puts the rows of a checked change: log, directory, index, annotations, ranks, head.

use super::channel::Channel;
use super::check::Target;
use super::event::{Committed, CommittedChange, Published};
use crate::index::{MessageRow, content_of};
use crate::store::StoreError;
use crate::store::keys;
use crate::store::kv::{Direction, Family, Snapshot};
use crate::store::rows::{
    ActorRow, AnnotationRow, DirectoryRow, HashRow, IndexRow, LateRow, LogRow, MemberRow, Row,
    TailSize,
};
use crate::store::txn::Txn;
use backscroll_core::annotation::Annotations;
use backscroll_core::change::{
    ActorId16, ActorState, AnnotationOp, ChangeBody, ChangeView, DocKind, MessageOp,
};
use backscroll_core::directory::Entry;
use backscroll_core::limits::LATE_AFTER_MS;
use backscroll_core::message::MessageId;
use backscroll_core::wire::encode_late;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// What a change meant for JSON clients.
#[derive(Debug, Default)]
struct Effect {
    messages: Vec<Published>,
    updates: Vec<Published>,
}

/// A change as the rows have it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChangeRows<'a> {
    pub(crate) actor: ActorId16,
    /// Whose actor it is; empty is the relay's.
    pub(crate) actor_user: &'a str,
    /// The actor's state with this change; the change's hash is in it.
    pub(crate) state: ActorState,
    pub(crate) ops: u64,
    pub(crate) chunk: &'a [u8],
    /// Late bits of its messages in id order.
    pub(crate) late: &'a [u8],
}

/// A message as the rows have it, when nothing is said of it yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MessageRows<'a> {
    pub(crate) id: MessageId,
    pub(crate) seq: u64,
    pub(crate) late: bool,
    pub(crate) body: &'a [u8],
}

/// Stores a change that [`super::check::check`] found new; gives its first seq.
pub(crate) fn apply(
    txn: &mut Txn<'_>,
    channel: &mut Channel,
    target: Target,
    actor_user: &str,
    view: &ChangeView,
    chunk: Bytes,
    events: &mut Vec<Committed>,
) -> Result<u64, StoreError> {
    let first_seq = channel.head.seq + 1;
    let mut entry = channel.window(txn, target.window)?;
    let effect = match &view.body {
        ChangeBody::Messages(ops) => {
            put_messages(txn, channel, target, ops, first_seq, &mut entry)?
        }
        ChangeBody::Annotations(ops) => {
            put_annotations(txn, channel, target, view, ops, first_seq)?
        }
    };
    let late = encode_late(effect.messages.iter().map(|message| message.row.late));
    let rows = ChangeRows {
        actor: view.actor,
        actor_user,
        state: view.actor_state(),
        ops: view.ops_len,
        chunk: &chunk,
        late: &late,
    };
    put_change(txn, channel, target, entry, &rows)?;
    events.push(Committed::Change(CommittedChange {
        channel: channel.name.clone(),
        first_seq,
        last_seq: channel.head.seq,
        window: target.window,
        generation: target.generation,
        doc: target.doc,
        hash: view.hash,
        chunk,
        late: late.into(),
        messages: effect.messages.into(),
        updates: effect.updates.into(),
    }));
    Ok(first_seq)
}

/// Puts what a change leaves besides its ops: log, directory, actor, head. `entry` counts its
/// messages already. The change's first seq is the one after the head's.
pub(crate) fn put_change(
    txn: &mut Txn<'_>,
    channel: &mut Channel,
    target: Target,
    entry: Option<DirectoryRow>,
    change: &ChangeRows<'_>,
) -> Result<(), StoreError> {
    let first_seq = channel.head.seq + 1;
    let last_seq = channel.head.seq + change.ops;
    let mut entry =
        entry.ok_or(StoreError::damaged(Family::Directory, "a window with messages is missing"))?;
    let mark = match target.doc {
        DocKind::Messages => &mut entry.entry.message_doc,
        DocKind::Annotations => &mut entry.entry.annotation_doc,
    };
    mark.record(last_seq, &change.state.hash);
    let tail = entry.tail_mut(target.doc);
    tail.changes += 1;
    tail.bytes += change.chunk.len() as u64;
    channel.put_window(txn, target.window, entry);
    put_log(txn, channel, target, first_seq, change);
    channel.head.seq = last_seq;
    channel.head.hash = change.state.hash.0;
    channel.put_head(txn);
    Ok(())
}

fn put_log(
    txn: &mut Txn<'_>,
    channel: &Channel,
    target: Target,
    first_seq: u64,
    change: &ChangeRows<'_>,
) {
    let Target { window, generation, doc } = target;
    let row = LogRow {
        window,
        generation,
        doc,
        hash: change.state.hash,
        ops: change.ops,
        user: change.actor_user.to_owned(),
        late: change.late.to_vec(),
        chunk: change.chunk.to_vec(),
    };
    let number = channel.number;
    txn.put(Family::Log, keys::log(number, first_seq), row.encode());
    txn.put(Family::WindowLog, keys::window_log(number, window, doc, first_seq), Vec::new());
    let key = keys::actor(number, window, doc, &change.actor);
    let row = ActorRow { user: change.actor_user.to_owned(), state: change.state };
    txn.put(Family::Actors, key, row.encode());
}

fn put_messages(
    txn: &mut Txn<'_>,
    channel: &mut Channel,
    target: Target,
    ops: &[MessageOp],
    first_seq: u64,
    entry: &mut Option<DirectoryRow>,
) -> Result<Effect, StoreError> {
    let newest_before = channel.head.newest;
    let mut ops: Vec<&MessageOp> = ops.iter().collect();
    ops.sort_unstable_by_key(|op| op.id);
    let mut messages = Vec::with_capacity(ops.len());
    for (seq, op) in (first_seq..).zip(ops) {
        let id = op.id;
        let late = is_late(newest_before, id);
        let index = match channel.head.newest {
            Some(newest) if id < newest => channel.ranks(txn)?.rank(txn, id)?,
            _ => channel.head.total,
        };
        put_message(txn, channel, target, entry, MessageRows { id, seq, late, body: &op.body })?;
        let row = MessageRow {
            id,
            seq,
            late,
            content: op.content.clone(),
            annotations: Annotations::default(),
        };
        let beside = if late { beside(txn, channel, id)? } else { [None; 2] };
        messages.push(Published { row, index, total: channel.head.total, beside });
    }
    Ok(Effect { messages, updates: Vec::new() })
}

/// The messages before and after one.
fn beside(
    rows: &dyn Snapshot,
    channel: &Channel,
    id: MessageId,
) -> Result<[Option<MessageId>; 2], StoreError> {
    let nearest = |range: &keys::KeyRange, direction| {
        let mut found = None;
        rows.scan(Family::Index, keys::bounds(range), direction, &mut |key, _| {
            found = keys::message_of(key);
            ControlFlow::Break(())
        })?;
        Ok::<_, StoreError>(found)
    };
    let (number, id) = (channel.number, id.as_u128());
    let before = nearest(&keys::messages(number, 0, Some(id)), Direction::Reverse)?;
    let after = nearest(&keys::messages(number, id.saturating_add(1), None), Direction::Forward)?;
    Ok([before, after])
}

/// Whether a message comes late to a channel whose greatest id was `newest_before` before the
/// change that brings it (design 5.3).
pub(crate) fn is_late(newest_before: Option<MessageId>, id: MessageId) -> bool {
    newest_before.is_some_and(|newest| newest.time_ms() > id.time_ms() + LATE_AFTER_MS)
}

/// Puts the rows of a message that the channel does not have, and counts it: index, members, ranks,
/// its window's entry, the head's total and newest.
pub(crate) fn put_message(
    txn: &mut Txn<'_>,
    channel: &mut Channel,
    target: Target,
    entry: &mut Option<DirectoryRow>,
    message: MessageRows<'_>,
) -> Result<(), StoreError> {
    let MessageRows { id, seq, late, body } = message;
    let is_newest = channel.head.newest.is_none_or(|newest| id > newest);
    let row = IndexRow {
        seq,
        late,
        level: target.window.level(),
        body: body.to_vec(),
        annotations: Annotations::default(),
    };
    txn.put(Family::Index, keys::message(channel.number, id), row.encode());
    let member = keys::member(channel.number, target.window, id);
    txn.put(Family::Members, member, MemberRow { seq, late }.encode());
    if late {
        txn.put(Family::Late, keys::late(channel.number, seq), LateRow(id).encode());
    }
    let ranks = channel.ranks(txn)?;
    ranks.insert(txn, id, is_newest)?;
    ranks.settle(txn, id)?;
    channel.head.total += 1;
    if is_newest {
        channel.head.newest = Some(id);
        channel.ids.observe(id);
    }
    count_message(entry, target.generation, id.time_ms(), body.len() as u64);
    Ok(())
}

/// Counts a message in its window's row, which the first one makes.
pub(crate) fn count_message(
    row: &mut Option<DirectoryRow>,
    generation: u32,
    time_ms: u64,
    bytes: u64,
) {
    match row {
        Some(row) => row.entry.add_message(time_ms, bytes),
        None => {
            *row = Some(DirectoryRow {
                entry: Entry::one(generation, time_ms, bytes),
                message_tail: TailSize::default(),
                annotation_tail: TailSize::default(),
            });
        }
    }
}

fn put_annotations(
    txn: &mut Txn<'_>,
    channel: &mut Channel,
    target: Target,
    view: &ChangeView,
    ops: &[AnnotationOp],
    first_seq: u64,
) -> Result<Effect, StoreError> {
    let number = channel.number;
    let hash = HashRow { first_seq, max_op: view.max_op() };
    txn.put(Family::Hashes, keys::hash(number, target.window, &view.hash), hash.encode());
    let mut changed: BTreeMap<MessageId, IndexRow> = BTreeMap::new();
    for op in ops {
        let wins = greatest_op(txn, channel, target, &op.key)?
            .is_none_or(|greatest| greatest < (op.op, view.actor));
        let key = keys::annotation(number, target.window, &op.key, op.op, &view.actor);
        txn.put(Family::Annotations, key, AnnotationRow(op.value.clone()).encode());
        if !wins {
            continue;
        }
        let id = op.target.id();
        let row = match changed.remove(&id) {
            Some(row) => Some(row),
            None => super::check::message(txn, channel, id)?,
        };
        let mut row =
            row.ok_or(StoreError::damaged(Family::Index, "an annotated message is missing"))?;
        row.annotations.apply(&op.target, op.value.clone());
        changed.insert(id, row);
    }
    let mut updates = Vec::new();
    for (id, row) in changed {
        let key = keys::message(number, id);
        let encoded = row.encode();
        if txn.get(Family::Index, &key)?.as_ref() == Some(&encoded) {
            continue;
        }
        txn.put(Family::Index, key, encoded);
        let index = channel.ranks(txn)?.rank(txn, id)?;
        let content = content_of(&row)?;
        let IndexRow { seq, late, annotations, .. } = row;
        let row = MessageRow { id, seq, late, content, annotations };
        updates.push(Published { row, index, total: channel.head.total, beside: [None; 2] });
    }
    Ok(Effect { messages: Vec::new(), updates })
}

/// The greatest op under an annotation key: the one that Automerge's register shows, since no op
/// with a smaller id can replace it.
fn greatest_op(
    rows: &dyn Snapshot,
    channel: &Channel,
    target: Target,
    key: &str,
) -> Result<Option<(u64, ActorId16)>, StoreError> {
    let range = keys::annotation_ops(channel.number, target.window, key);
    let mut greatest = None;
    rows.scan(Family::Annotations, keys::bounds(&range), Direction::Reverse, &mut |key, _| {
        greatest = keys::op_of(key);
        ControlFlow::Break(())
    })?;
    Ok(greatest)
}
