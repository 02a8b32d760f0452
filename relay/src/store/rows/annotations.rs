//! Annotation ops, and their fold in a message's row.

use super::bytes::{Take, put_bytes, put_number};
use super::{Row, take_text};
use crate::store::kv::Family;
use backscroll_core::annotation::{AnnotationValue, Annotations, Edit};
use std::collections::BTreeSet;

const EDIT: u8 = 1;
const DELETED: u8 = 2;
const REACTIONS: u8 = 4;

/// The value of one annotation op.
#[derive(Clone, Debug, PartialEq)]
pub struct AnnotationRow(pub AnnotationValue);

fn put_edit(out: &mut Vec<u8>, edit: &Edit) {
    // Only edits that were read from a change are stored, and those are within their bounds.
    let bytes = edit.to_bytes();
    debug_assert!(bytes.is_ok());
    put_bytes(out, &bytes.unwrap_or_default());
}

fn take_edit(take: &mut Take<'_>) -> Option<Edit> {
    Edit::from_bytes(take.bytes()?).ok()
}

impl Row for AnnotationRow {
    const FAMILY: Family = Family::Annotations;

    fn encode(&self) -> Vec<u8> {
        match &self.0 {
            AnnotationValue::Edit(edit) => {
                let mut out = vec![0];
                put_edit(&mut out, edit);
                out
            }
            AnnotationValue::Delete => vec![1],
            AnnotationValue::Reaction(on) => vec![2, u8::from(*on)],
        }
    }

    fn take(take: &mut Take<'_>) -> Option<Self> {
        let value = match take.byte()? {
            0 => AnnotationValue::Edit(take_edit(take)?),
            1 => AnnotationValue::Delete,
            2 => AnnotationValue::Reaction(take.byte()? == 1),
            _ => return None,
        };
        Some(Self(value))
    }
}

/// Writes a fold: nothing at all for a message that nothing is said of, as for most.
pub(super) fn put_annotations(out: &mut Vec<u8>, annotations: &Annotations) {
    let Annotations { edit, deleted, reactions } = annotations;
    if annotations.is_empty() {
        return;
    }
    let flag = |set, bit| if set { bit } else { 0 };
    out.push(
        flag(edit.is_some(), EDIT)
            | flag(*deleted, DELETED)
            | flag(!reactions.is_empty(), REACTIONS),
    );
    if let Some(edit) = edit {
        put_edit(out, edit);
    }
    if reactions.is_empty() {
        return;
    }
    put_number(out, reactions.len() as u64);
    for (emoji, users) in reactions {
        put_bytes(out, emoji.as_bytes());
        put_number(out, users.len() as u64);
        for user in users {
            put_bytes(out, user.as_bytes());
        }
    }
}

pub(super) fn take_annotations(take: &mut Take<'_>) -> Option<Annotations> {
    let mut annotations = Annotations::default();
    if take.is_at_end() {
        return Some(annotations);
    }
    let flags = take.byte()?;
    annotations.deleted = flags & DELETED != 0;
    if flags & EDIT != 0 {
        annotations.edit = Some(take_edit(take)?);
    }
    if flags & REACTIONS != 0 {
        for _ in 0..take.number()? {
            let emoji = take_text(take)?;
            let mut users = BTreeSet::new();
            for _ in 0..take.number()? {
                users.insert(take_text(take)?);
            }
            annotations.reactions.insert(emoji, users);
        }
    }
    Some(annotations)
}
