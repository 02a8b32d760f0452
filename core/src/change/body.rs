//! What the ops of a change mean in each of the two documents.

use super::columns::{Op, OpValue};
use super::{ActorId16, ChangeError, DocKind};
use crate::annotation::{AnnotationKey, AnnotationValue, Edit};
use crate::message::{Content, MessageId};
use crate::window::Window;

/// The ops of a change, in their order.
#[derive(Clone, Debug, PartialEq)]
pub enum ChangeBody {
    /// Of a segment: new messages, of distinct ids.
    Messages(Vec<MessageOp>),
    /// Of an annotations document: puts under distinct keys.
    Annotations(Vec<AnnotationOp>),
}

/// A new message.
#[derive(Clone, Debug, PartialEq)]
pub struct MessageOp {
    /// Its id.
    pub id: MessageId,
    /// Its content as it stands in the document.
    pub body: Vec<u8>,
    /// Its content.
    pub content: Content,
}

/// A put under an annotation's key.
#[derive(Clone, Debug, PartialEq)]
pub struct AnnotationOp {
    /// The op's counter; with the change's actor it is the op's id. The greatest id wins a key.
    pub op: u64,
    /// What is annotated.
    pub target: AnnotationKey,
    /// The key's text.
    pub key: String,
    /// What is said.
    pub value: AnnotationValue,
    /// The ops of this key that it replaces, ascending.
    pub preds: Vec<(u64, ActorId16)>,
}

/// Reads the ops, which have distinct keys.
pub(super) fn read(
    ops: &[Op<'_>],
    start_op: u64,
    window: Window,
    doc: DocKind,
) -> Result<ChangeBody, ChangeError> {
    match doc {
        DocKind::Messages => {
            let messages = ops.iter().map(|op| read_message(op, window)).collect::<Result<_, _>>();
            messages.map(ChangeBody::Messages)
        }
        DocKind::Annotations => {
            let numbered = (start_op..).zip(ops);
            let annotations = numbered.map(|(number, op)| read_annotation(op, number, window));
            annotations.collect::<Result<_, _>>().map(ChangeBody::Annotations)
        }
    }
}

/// Checks that no key comes twice.
pub(super) fn check_distinct(ops: &[Op<'_>]) -> Result<(), ChangeError> {
    let mut keys: Vec<_> = ops.iter().map(|op| op.key).collect();
    keys.sort_unstable();
    if keys.is_sorted_by(|a, b| a < b) {
        Ok(())
    } else {
        Err(ChangeError::Shape("a key that comes twice"))
    }
}

/// Checks that a message lies in the window.
pub(crate) fn check_inside(id: MessageId, window: Window) -> Result<(), ChangeError> {
    let time_ms = id.time_ms();
    if window.contains(time_ms) {
        Ok(())
    } else {
        Err(ChangeError::OutsideWindow { time_ms, window })
    }
}

fn read_message(op: &Op<'_>, window: Window) -> Result<MessageOp, ChangeError> {
    let id = MessageId::from_key(op.key).map_err(ChangeError::MessageKey)?;
    check_inside(id, window)?;
    if !op.preds.is_empty() {
        return Err(ChangeError::Shape("an op that replaces a message"));
    }
    let OpValue::Bytes(body) = op.value else {
        return Err(ChangeError::Shape("a message that is not bytes"));
    };
    Ok(MessageOp { id, body: body.to_vec(), content: Content::from_body(body)? })
}

fn read_annotation(op: &Op<'_>, number: u64, window: Window) -> Result<AnnotationOp, ChangeError> {
    let target: AnnotationKey = op.key.parse().map_err(ChangeError::AnnotationKey)?;
    check_inside(target.id(), window)?;
    let value = read_annotation_value(&target, op.value)?;
    let (key, preds) = (op.key.to_owned(), op.preds.clone());
    Ok(AnnotationOp { op: number, target, key, value, preds })
}

fn read_annotation_value(
    target: &AnnotationKey,
    value: OpValue<'_>,
) -> Result<AnnotationValue, ChangeError> {
    match (target, value) {
        (AnnotationKey::Edit { .. }, OpValue::Bytes(bytes)) => {
            Ok(AnnotationValue::Edit(Edit::from_bytes(bytes)?))
        }
        (AnnotationKey::Delete { .. }, OpValue::Bool(true)) => Ok(AnnotationValue::Delete),
        (AnnotationKey::Reaction { .. }, OpValue::Bool(on)) => Ok(AnnotationValue::Reaction(on)),
        _ => Err(ChangeError::Shape("a value of another kind than its key's")),
    }
}
