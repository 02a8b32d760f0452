//! What can be said of a message after it was sent: edits, deletion and reactions (design 4.2).
//!
//! Each is one entry of a window's annotations document: a text key that names message and kind,
//! and a scalar value. Their fold is [`Annotations`], the state that a reader shows.

use crate::limits::{BODY_BYTES_MAX, DATA_DEPTH_MAX};
use crate::message::body::{
    decode_attachments, encode_attachment, for_each_field, once, skip_item,
};
use crate::message::{
    Attachment, BodyError, ContentError, Data, IdError, MessageId, check_attachments, check_data,
    check_emoji, check_message_text, check_user,
};
use minicbor::encode::write::Write;
use minicbor::{Decoder, Encoder, encode};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;

/// The key of an annotation: which message, and what is said of it.
///
/// Its text is `<key>:e`, `<key>:d` or `<key>:r:<user>:<emoji>`, where `<key>` is the message's key
/// in its segment, and user and emoji are percent-encoded: every byte that is not an unreserved
/// character (RFC 3986 2.3) as `%` and two upper-case hex digits. Only this one text is accepted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AnnotationKey {
    /// The message's newest edit.
    Edit {
        /// The message.
        id: MessageId,
    },
    /// The message's tombstone.
    Delete {
        /// The message.
        id: MessageId,
    },
    /// Whether a user reacts to the message with an emoji.
    Reaction {
        /// The message.
        id: MessageId,
        /// Who reacts.
        user: String,
        /// With what.
        emoji: String,
    },
}

/// What stands under an [`AnnotationKey`].
#[derive(Clone, Debug, PartialEq)]
pub enum AnnotationValue {
    /// The edited fields; bytes of CBOR in the document.
    Edit(Edit),
    /// The tombstone; `true` in the document.
    Delete,
    /// Whether the reaction is on; a boolean in the document.
    Reaction(bool),
}

/// The fields that an edit replaces. Those that are `None` stay as the message has them.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    /// The text.
    pub text: Option<String>,
    /// The files.
    pub attachments: Option<Vec<Attachment>>,
    /// The application's own JSON.
    pub data: Option<Data>,
    /// When it was edited, in ms since the Unix epoch.
    pub edited_at: u64,
}

/// Why an annotation's key is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnnotationKeyError {
    /// Not of one of the three forms.
    #[error("an annotation key is <key>:e, <key>:d or <key>:r:<user>:<emoji>")]
    Form,
    /// The first part is no message key.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A part is percent-encoded in another way than the one that is accepted.
    #[error("an annotation key is percent-encoded in another way than the one accepted")]
    Encoding,
    /// The user or the emoji is out of its bounds.
    #[error(transparent)]
    Content(#[from] ContentError),
}

impl AnnotationKey {
    /// The message that is annotated.
    #[must_use]
    pub const fn id(&self) -> MessageId {
        match self {
            Self::Edit { id } | Self::Delete { id } | Self::Reaction { id, .. } => *id,
        }
    }
}

impl fmt::Display for AnnotationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id().to_key())?;
        match self {
            Self::Edit { .. } => f.write_str(":e"),
            Self::Delete { .. } => f.write_str(":d"),
            Self::Reaction { user, emoji, .. } => {
                f.write_str(":r:")?;
                percent_encode(f, user)?;
                f.write_char(':')?;
                percent_encode(f, emoji)
            }
        }
    }
}

impl FromStr for AnnotationKey {
    type Err = AnnotationKeyError;

    fn from_str(text: &str) -> Result<Self, AnnotationKeyError> {
        let (id, kind) = text.split_once(':').ok_or(AnnotationKeyError::Form)?;
        let id = MessageId::from_key(id)?;
        match kind {
            "e" => return Ok(Self::Edit { id }),
            "d" => return Ok(Self::Delete { id }),
            _ => {}
        }
        let names = kind.strip_prefix("r:").and_then(|names| names.split_once(':'));
        let (user, emoji) = names.ok_or(AnnotationKeyError::Form)?;
        let decode = |part| percent_decode(part).ok_or(AnnotationKeyError::Encoding);
        let (user, emoji) = (decode(user)?, decode(emoji)?);
        check_user(&user)?;
        check_emoji(&emoji)?;
        Ok(Self::Reaction { id, user, emoji })
    }
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn percent_encode(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    text.bytes().try_for_each(|byte| {
        if is_unreserved(byte) { f.write_char(byte.into()) } else { write!(f, "%{byte:02X}") }
    })
}

/// Decodes what [`percent_encode`] writes, and nothing else.
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let byte = hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)?;
            decoded.push(Some(byte).filter(|byte| !is_unreserved(*byte))?);
        } else {
            decoded.push(Some(byte).filter(|byte| is_unreserved(*byte))?);
        }
    }
    String::from_utf8(decoded).ok()
}

const fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

type Encoded<E> = Result<(), encode::Error<E>>;

impl Edit {
    /// An edit of the text alone.
    #[must_use]
    pub fn text(text: &str, edited_at: u64) -> Self {
        Self { text: Some(text.to_owned()), attachments: None, data: None, edited_at }
    }

    /// Checks every field against its bound.
    ///
    /// # Errors
    /// The first field that is out of bounds.
    pub fn check(&self) -> Result<(), ContentError> {
        self.text.as_deref().map_or(Ok(()), check_message_text)?;
        self.attachments.as_deref().map_or(Ok(()), check_attachments)?;
        self.data.as_ref().map_or(Ok(()), check_data)
    }

    /// The edit as CBOR: a map with the text keys `text`, `attachments`, `data` (each only if
    /// edited) and `edited_at`.
    ///
    /// # Errors
    /// A field is out of its bounds, or all of them together are larger than a body may be.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BodyError> {
        self.check()?;
        let mut bytes = Vec::new();
        // Writing to a vector cannot fail, and checked fields have nothing that CBOR lacks.
        let written = encode_edit(&mut Encoder::new(&mut bytes), self);
        debug_assert!(written.is_ok());
        if bytes.len() > BODY_BYTES_MAX { Err(BodyError::TooLarge) } else { Ok(bytes) }
    }

    /// Reads the CBOR of an edit: keys in any order, unknown ones skipped, none twice.
    ///
    /// # Errors
    /// The bytes are too large, malformed, incomplete, or hold a field out of its bounds.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BodyError> {
        if bytes.len() > BODY_BYTES_MAX {
            return Err(BodyError::TooLarge);
        }
        let mut d = Decoder::new(bytes);
        let (mut text, mut attachments, mut data, mut edited_at) = (None, None, None, None);
        for_each_field(&mut d, |key, d| match key {
            "text" => once(&mut text, d.str()?.to_owned(), key),
            "attachments" => once(&mut attachments, decode_attachments(d)?, key),
            "data" => once(&mut data, Data::decode(d)?, key),
            "edited_at" => once(&mut edited_at, d.u64()?, key),
            _ => skip_item(d, DATA_DEPTH_MAX),
        })?;
        if d.position() != bytes.len() {
            return Err(BodyError::Trailing);
        }
        let edited_at = edited_at.ok_or(BodyError::Missing("edited_at"))?;
        let edit = Self { text, attachments, data, edited_at };
        edit.check()?;
        Ok(edit)
    }
}

fn encode_edit<W: Write>(e: &mut Encoder<W>, edit: &Edit) -> Encoded<W::Error> {
    let Edit { text, attachments, data, edited_at } = edit;
    let fields = 1
        + u64::from(text.is_some())
        + u64::from(attachments.is_some())
        + u64::from(data.is_some());
    e.map(fields)?;
    if let Some(text) = text {
        e.str("text")?.str(text)?;
    }
    if let Some(attachments) = attachments {
        e.str("attachments")?.array(attachments.len() as u64)?;
        attachments.iter().try_for_each(|attachment| encode_attachment(e, attachment))?;
    }
    if let Some(data) = data {
        e.str("data")?;
        data.encode(e)?;
    }
    e.str("edited_at")?.u64(*edited_at)?;
    Ok(())
}

/// All that is said of one message: the fold of the winning value of each of its keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Annotations {
    /// The edit that counts. Kept under a tombstone, but [`Self::deleted`] beats it.
    pub edit: Option<Edit>,
    /// Whether the message is deleted; for good.
    pub deleted: bool,
    /// Who reacts with what; an emoji that nobody reacts with any more is not in it.
    pub reactions: BTreeMap<String, BTreeSet<String>>,
}

impl Annotations {
    /// Sets what stands under one key. The caller passes winning values, in any order of keys;
    /// for an edit or a reaction the last one passed counts, and a tombstone always stays.
    pub fn apply(&mut self, key: &AnnotationKey, value: AnnotationValue) {
        match (key, value) {
            (AnnotationKey::Edit { .. }, AnnotationValue::Edit(edit)) => self.edit = Some(edit),
            (AnnotationKey::Delete { .. }, AnnotationValue::Delete) => self.deleted = true,
            (AnnotationKey::Reaction { user, emoji, .. }, AnnotationValue::Reaction(on)) => {
                let users = self.reactions.entry(emoji.clone()).or_default();
                if on {
                    users.insert(user.clone());
                } else {
                    users.remove(user);
                }
                if users.is_empty() {
                    self.reactions.remove(emoji);
                }
            }
            // Readers of documents and changes pair each key with its own kind of value.
            _ => debug_assert!(false, "the value is of another kind than its key"),
        }
    }

    /// Whether nothing is said of the message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.edit.is_none() && !self.deleted && self.reactions.is_empty()
    }
}

#[cfg(test)]
mod tests;
