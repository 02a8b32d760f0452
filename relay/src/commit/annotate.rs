//! Edits, deletions and reactions of JSON clients: authored by the relay without a document, then
//! checked and put like any change.
//!
//! Such a change replaces what stands under its key, and depends on the last changes of those who
//! wrote that. Both are rows: nothing is loaded, whatever the window's annotations have grown to. The
//! actor is drawn for a channel in use and lives in memory; its last change in a document is read from
//! the rows, so one that was refused or never written leaves no gap.

use super::channel::Channel;
use super::check::{Author, Stop, Target, chain, message};
use super::command::{AnnotateRequest, Code, Note, Refusal, Sent};
use super::writer::Work;
use crate::index::content_of;
use crate::limits::{STANDING_ACTORS_MAX, STANDING_OPS_MAX, STANDING_SEEK_MAX};
use crate::store::StoreError;
use crate::store::keys;
use crate::store::kv::{Direction, Family, Snapshot};
use crate::store::rows::{ActorRow, LogRow, Row};
use backscroll_core::annotation::{AnnotationKey, AnnotationValue, Annotations, Edit};
use backscroll_core::change::{
    ActorId16, ActorState, ChangeView, DocKind, Standing, write_annotation,
};
use backscroll_core::window::Window;
use std::ops::ControlFlow;

/// Authors what a client says of a message and stores it, unless it says what is said already.
pub(super) fn annotate(
    work: &mut Work<'_>,
    channel: &mut Channel,
    request: &AnnotateRequest,
    now_ms: u64,
) -> Result<Sent, Stop> {
    let id = request.id;
    let Some(row) = message(&work.txn, channel, id)? else {
        return Err(Refusal::new(Code::NotFound, format!("there is no message {id}")).into());
    };
    request.permit.check(&content_of(&row)?.from)?;
    let window = Window::covering(row.level, id.time_ms());
    let generation = channel.window(&work.txn, window)?.map_or(0, |row| row.entry.generation);
    let target = Target { window, generation, doc: DocKind::Annotations };
    let key = request.key();
    let standing = standing(&work.txn, channel, window, &key.to_string())?;
    if is_said(&row.annotations, &request.note) {
        let seq = seq_of(&work.txn, channel, window, standing.first())?;
        let seq = seq.unwrap_or(channel.head.seq);
        return Ok(Sent { id, seq, duplicate: true });
    }
    let value = value_of(&request.note, row.annotations.edit, now_ms);
    let actor = channel.annotator()?;
    let last = state_of(&work.txn, channel, window, &actor)?;
    let authored = write_annotation(window, actor, last, (&key, &value), &standing)
        .map_err(|error| Refusal::new(Code::BadRequest, chain(&error)))?;
    let seq = work.store(channel, target, Author::RELAY, &authored.chunk.into(), now_ms)?;
    Ok(Sent { id, seq, duplicate: false })
}

impl AnnotateRequest {
    fn key(&self) -> AnnotationKey {
        let id = self.id;
        match &self.note {
            Note::Edit { .. } => AnnotationKey::Edit { id },
            Note::Delete => AnnotationKey::Delete { id },
            Note::React { user, emoji, .. } => {
                AnnotationKey::Reaction { id, user: user.clone(), emoji: emoji.clone() }
            }
        }
    }
}

/// Whether a message stands as a note would leave it.
fn is_said(there: &Annotations, note: &Note) -> bool {
    match note {
        Note::Edit { text } => {
            there.edit.as_ref().is_some_and(|edit| edit.text.as_ref() == Some(text))
        }
        Note::Delete => there.deleted,
        Note::React { user, emoji, on } => {
            there.reactions.get(emoji).is_some_and(|users| users.contains(user)) == *on
        }
    }
}

/// An edit of the text keeps what the one before made of the rest, and is later than it.
fn value_of(note: &Note, before: Option<Edit>, now_ms: u64) -> AnnotationValue {
    match note {
        Note::Edit { text } => {
            let text = Some(text.clone());
            AnnotationValue::Edit(match before {
                None => Edit { text, attachments: None, data: None, edited_at: now_ms },
                Some(edit) => {
                    let edited_at = now_ms.max(edit.edited_at.saturating_add(1));
                    Edit { text, edited_at, ..edit }
                }
            })
        }
        Note::Delete => AnnotationValue::Delete,
        Note::React { on, .. } => AnnotationValue::Reaction(*on),
    }
}

/// The ops that stand under a key, the one that counts first: the greatest of each actor that wrote
/// there. Where many did, those are enough that are greater than all others: what is not replaced has
/// a smaller op id than what is, and never shows.
fn standing(
    rows: &dyn Snapshot,
    channel: &Channel,
    window: Window,
    key: &str,
) -> Result<Vec<Standing>, StoreError> {
    let mut ops: Vec<(u64, ActorId16)> = Vec::new();
    let (mut looked, range) = (0, keys::annotation_ops(channel.number, window, key));
    rows.scan(Family::Annotations, keys::bounds(&range), Direction::Reverse, &mut |key, _| {
        if let Some(op) = keys::op_of(key)
            && ops.iter().all(|(_, actor)| *actor != op.1)
        {
            ops.push(op);
        }
        looked += 1;
        let is_enough = ops.len() >= STANDING_ACTORS_MAX || looked >= STANDING_OPS_MAX;
        if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    let missing = StoreError::damaged(Family::Actors, "the actor of an annotation is missing");
    let mut standing = Vec::with_capacity(ops.len());
    for (counter, actor) in ops {
        let Some(last) = state_of(rows, channel, window, &actor)? else { return Err(missing) };
        standing.push(Standing { counter, actor, last });
    }
    Ok(standing)
}

fn state_of(
    rows: &dyn Snapshot,
    channel: &Channel,
    window: Window,
    actor: &ActorId16,
) -> Result<Option<ActorState>, StoreError> {
    let key = keys::actor(channel.number, window, DocKind::Annotations, actor);
    let row = rows.get(Family::Actors, &key)?.map(|row| ActorRow::decode(&row)).transpose()?;
    Ok(row.map(|row| row.state))
}

/// The seq of an op, looked for among the newest changes of its document.
fn seq_of(
    rows: &dyn Snapshot,
    channel: &Channel,
    window: Window,
    op: Option<&Standing>,
) -> Result<Option<u64>, StoreError> {
    let Some(op) = op else { return Ok(None) };
    let (mut seqs, number) = (Vec::new(), channel.number);
    let range = keys::window_log_from(number, window, DocKind::Annotations, 0);
    rows.scan(Family::WindowLog, keys::bounds(&range), Direction::Reverse, &mut |key, _| {
        seqs.extend(keys::seq_of(key));
        if seqs.len() < STANDING_SEEK_MAX {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    for first_seq in seqs {
        let Some(row) = rows.get(Family::Log, &keys::log(number, first_seq))? else { continue };
        let row = LogRow::decode(&row)?;
        let Ok(view) = ChangeView::read(&row.chunk, row.window, row.doc) else { continue };
        if view.actor == op.actor && (view.start_op..=view.max_op()).contains(&op.counter) {
            return Ok(Some(first_seq + (op.counter - view.start_op)));
        }
    }
    Ok(None)
}
