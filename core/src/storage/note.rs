//! The record of an annotation of this device: what stands under its key.

use super::envelope::RecordError;
use super::records::{raw, stored};
use super::{Key, StoredRecord};
use crate::annotation::{AnnotationKey, AnnotationValue, Edit};
use minicbor::{Decode, Encode};

/// An annotation of this device.
#[derive(Clone, Debug, PartialEq)]
pub struct NoteRecord {
    /// The newest value that this device gave it.
    pub value: AnnotationValue,
}

/// Of an edit the bytes, of a reaction whether it is on, of a tombstone nothing.
#[derive(Encode, Decode)]
#[cbor(map)]
struct RawNote {
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    edit: Option<Vec<u8>>,
    #[n(1)]
    on: Option<bool>,
}

impl NoteRecord {
    /// The record under its key.
    #[must_use]
    pub fn to_stored(&self, key: &Key) -> StoredRecord {
        let (edit, on) = match &self.value {
            // Its content was checked when it was said.
            AnnotationValue::Edit(edit) => (edit.to_bytes().ok(), None),
            AnnotationValue::Delete => (None, None),
            AnnotationValue::Reaction(on) => (None, Some(*on)),
        };
        stored(key, &RawNote { edit, on })
    }

    /// Reads a record.
    ///
    /// # Errors
    /// The value is not one of this kind and key.
    pub fn read(key: &Key, value: &[u8]) -> Result<Self, RecordError> {
        let (Key::UnsentNote { note, .. } | Key::RelayedNote { note, .. }) = key else {
            return Err(RecordError::Contradiction("key"));
        };
        let value = match (note, raw(key, value)?) {
            (AnnotationKey::Edit { .. }, RawNote { edit: Some(edit), on: None }) => {
                AnnotationValue::Edit(Edit::from_bytes(&edit)?)
            }
            (AnnotationKey::Delete { .. }, RawNote { edit: None, on: None }) => {
                AnnotationValue::Delete
            }
            (AnnotationKey::Reaction { .. }, RawNote { edit: None, on: Some(on) }) => {
                AnnotationValue::Reaction(on)
            }
            _ => return Err(RecordError::Contradiction("value")),
        };
        Ok(Self { value })
    }
}
