//! Making changes without a document.

use super::body::check_inside;
use super::columns::{PREDS_MAX, set_op};
use super::{ActorId16, ActorState, ChangeError, ChangeHash, HeaderParts, HistoryError, encode};
use crate::annotation::{AnnotationKey, AnnotationValue};
use crate::limits::{
    BODY_BYTES_MAX, CHANGE_DEPS_MAX, CHANGE_OPS_MAX, CHUNK_BYTES_MAX, OP_COUNTER_MAX,
};
use crate::message::{BodyError, MessageId};
use crate::window::Window;
use automerge::{ScalarValue, legacy};
use std::num::NonZeroU64;

/// A change that was made here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authored {
    /// Its name.
    pub hash: ChangeHash,
    /// Its bytes.
    pub chunk: Vec<u8>,
}

/// The author of a segment's changes: an own-document (design 4.2) without the document.
///
/// A segment's change depends on its author's previous one only, so all that an author has to
/// remember is that. An actor belongs to one author in memory: it is drawn at random by the host,
/// never stored, and never used again after the author is dropped, or replicas that saw two changes
/// of one seq refuse each other for good.
#[derive(Debug)]
pub struct MessageAuthor {
    window: Window,
    actor: ActorId16,
    last: Option<ActorState>,
}

impl MessageAuthor {
    /// An author that has written nothing.
    #[must_use]
    pub const fn new(window: Window, actor: ActorId16) -> Self {
        Self { window, actor, last: None }
    }

    /// The author whose last change is `last`. Only for one who holds the actor alone, as an
    /// importer that goes on in the same run; not for starting again after a crash.
    #[must_use]
    pub const fn resume(window: Window, actor: ActorId16, last: ActorState) -> Self {
        Self { window, actor, last: Some(last) }
    }

    /// The window it writes to.
    #[must_use]
    pub const fn window(&self) -> Window {
        self.window
    }

    /// The actor it writes as.
    #[must_use]
    pub const fn actor(&self) -> ActorId16 {
        self.actor
    }

    /// Its last change.
    #[must_use]
    pub const fn state(&self) -> Option<ActorState> {
        self.last
    }

    /// Writes messages as one change; the bodies are those of [`Content::to_body`].
    ///
    /// Nothing is written after an error, and the author stays as it was.
    ///
    /// [`Content::to_body`]: crate::message::Content::to_body
    ///
    /// # Errors
    /// There are no messages, too many, an id twice or outside the window, or the chunk is larger
    /// than any may be: the caller writes fewer at once.
    ///
    /// # Complexity
    /// O(n log n) in messages, O(size) in their bodies; a few microseconds for one.
    pub fn write(&mut self, messages: &[(MessageId, Vec<u8>)]) -> Result<Authored, ChangeError> {
        self.write_change(messages).map(|(authored, _)| authored)
    }

    /// Like [`Self::write`], and the change as Automerge has it.
    pub(crate) fn write_change(
        &mut self,
        messages: &[(MessageId, Vec<u8>)],
    ) -> Result<(Authored, automerge::Change), ChangeError> {
        let mut ids: Vec<_> = messages.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        if !ids.is_sorted_by(|a, b| a < b) {
            return Err(ChangeError::Shape("a key that comes twice"));
        }
        let mut ops = Vec::with_capacity(messages.len());
        for (id, body) in messages {
            check_inside(*id, self.window)?;
            if body.len() > BODY_BYTES_MAX {
                return Err(BodyError::TooLarge.into());
            }
            ops.push(set_op(&id.to_key(), ScalarValue::Bytes(body.clone()), &[]));
        }
        let deps = self.last.iter().map(|last| last.hash).collect();
        let max_op = self.last.map_or(0, |last| last.max_op);
        let seq = self.last.map_or(0, |last| last.seq) + 1;
        let (authored, change) = finish(self.actor, seq, max_op, deps, ops)?;
        self.last = Some(ActorState { seq, hash: authored.hash, max_op: change.max_op() });
        Ok((authored, change))
    }
}

/// An op under an annotation key, and the last change of the actor that wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The op's counter.
    pub counter: u64,
    /// Who wrote it.
    pub actor: ActorId16,
    /// The actor's last change in this document.
    pub last: ActorState,
}

/// Writes one annotation as a change, without the document.
///
/// The change replaces the ops `standing` under its key: for each actor that wrote any there, its
/// greatest. It depends on their actors' last changes and on the author's own, so on all that it
/// replaces: an actor's change depends on the one before. Other changes of the document it need not
/// know. `last` is the last change of `actor` in this document; a host that draws an actor at random
/// and looks its last change up where all changes are stored has nothing else to remember.
///
/// # Errors
/// The key lies outside the window, the value is out of its bounds or of another kind than the key's,
/// or more ops stand there than a change may depend on.
///
/// # Complexity
/// O(size of the value) and O(ops that stand); a few microseconds.
pub fn write_annotation(
    window: Window,
    actor: ActorId16,
    last: Option<ActorState>,
    (key, value): (&AnnotationKey, &AnnotationValue),
    standing: &[Standing],
) -> Result<Authored, ChangeError> {
    let states = last.iter().chain(standing.iter().map(|op| &op.last));
    let mut deps: Vec<_> = states.clone().map(|state| state.hash).collect();
    deps.sort_unstable();
    deps.dedup();
    if deps.len() > CHANGE_DEPS_MAX {
        return Err(ChangeError::TooMany { what: "dependencies", max: CHANGE_DEPS_MAX });
    }
    let max_op = states.map(|state| state.max_op).max().unwrap_or(0);
    let mut preds: Vec<_> = standing.iter().map(|op| (op.counter, op.actor)).collect();
    preds.sort_unstable();
    let seq = last.map_or(0, |last| last.seq) + 1;
    let puts = [(key, value, preds)];
    encode_annotations(window, (actor, seq), max_op, deps, &puts).map(|(authored, _)| authored)
}

/// One put of an annotation change: key, value and the ops it replaces.
pub(crate) type AnnotationPut<'a> = (&'a AnnotationKey, &'a AnnotationValue, Vec<(u64, ActorId16)>);

/// Makes an annotation change over `deps`, whose greatest op counter is `max_op`.
pub(crate) fn encode_annotations(
    window: Window,
    (actor, seq): (ActorId16, u64),
    max_op: u64,
    deps: Vec<ChangeHash>,
    puts: &[AnnotationPut<'_>],
) -> Result<(Authored, automerge::Change), ChangeError> {
    let mut keys: Vec<_> = puts.iter().map(|(key, ..)| *key).collect();
    keys.sort_unstable();
    if !keys.is_sorted_by(|a, b| a < b) {
        return Err(ChangeError::Shape("a key that comes twice"));
    }
    let mut ops = Vec::with_capacity(puts.len());
    for (key, value, preds) in puts {
        check_inside(key.id(), window)?;
        if preds.len() > PREDS_MAX {
            return Err(ChangeError::TooMany { what: "replaced ops", max: PREDS_MAX });
        }
        let value = match (key, value) {
            (AnnotationKey::Edit { .. }, AnnotationValue::Edit(edit)) => {
                ScalarValue::Bytes(edit.to_bytes()?)
            }
            (AnnotationKey::Delete { .. }, AnnotationValue::Delete) => ScalarValue::Boolean(true),
            (AnnotationKey::Reaction { .. }, AnnotationValue::Reaction(on)) => {
                ScalarValue::Boolean(*on)
            }
            _ => return Err(ChangeError::Shape("a value of another kind than its key's")),
        };
        let key = key.to_string();
        // A key is written as its reader demands it, or it would be refused everywhere.
        key.parse::<AnnotationKey>().map_err(ChangeError::AnnotationKey)?;
        ops.push(set_op(&key, value, preds));
    }
    finish(actor, seq, max_op, deps, ops)
}

fn finish(
    actor: ActorId16,
    seq: u64,
    max_op: u64,
    deps: Vec<ChangeHash>,
    ops: Vec<legacy::Op>,
) -> Result<(Authored, automerge::Change), ChangeError> {
    if ops.is_empty() {
        return Err(ChangeError::Malformed("it has no ops"));
    }
    if ops.len() > CHANGE_OPS_MAX {
        return Err(ChangeError::TooMany { what: "ops", max: CHANGE_OPS_MAX });
    }
    if max_op + ops.len() as u64 > OP_COUNTER_MAX {
        return Err(HistoryError::CounterTooLarge.into());
    }
    let start_op = NonZeroU64::MIN.saturating_add(max_op);
    let change = encode(&HeaderParts { actor, seq, start_op, deps }, ops);
    if change.raw_bytes().len() > CHUNK_BYTES_MAX {
        return Err(ChangeError::TooLarge);
    }
    let authored =
        Authored { hash: ChangeHash(change.hash().0), chunk: change.raw_bytes().to_vec() };
    Ok((authored, change))
}
