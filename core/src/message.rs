//! A message: its id, its fields, and the bounds every maker and reader holds them to.

pub(crate) mod body;
mod data;
mod id;

pub use body::BodyError;
pub use data::Data;
pub use id::{IdError, IdMaker, MessageId, TIME_MS_MAX};

use crate::limits::{
    ATTACHMENT_FIELD_BYTES_MAX, ATTACHMENTS_MAX, CHANNEL_NAME_BYTES_MAX, EMOJI_BYTES_MAX,
    TEXT_BYTES_MAX, USER_NAME_BYTES_MAX,
};
use serde::{Deserialize, Serialize};

/// What a message says; with its id it is the message. Written once, by its sender.
///
/// The serde form is the JSON of design 8.2 (absent fields are left out).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Content {
    /// The sender's name, 1-255 bytes.
    pub from: String,
    /// The text, up to 65,536 bytes; may be empty.
    pub text: String,
    /// The message that this one answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<MessageId>,
    /// Files that belong to the message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// The application's own JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Data>,
}

/// A file that belongs to a message, by URL or by the hash of its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// File name to show.
    pub name: String,
    /// Media type (RFC 6838), as `image/png`.
    pub media_type: String,
    /// Size in bytes.
    pub size: u64,
    /// Where it is, if not at the relay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// SHA-256 of the content in lower-case hex, if the relay keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// A message: content under the id that says when it was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The id: time and identity.
    pub id: MessageId,
    /// What it says.
    pub content: Content,
}

/// Why a name or a content is refused. Names the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// A field that must not be empty is.
    #[error("{field} is empty")]
    Empty {
        /// The field.
        field: &'static str,
    },
    /// A field is longer than its bound.
    #[error("{field} is larger than {max} {unit}")]
    TooLarge {
        /// The field.
        field: &'static str,
        /// The bound.
        max: usize,
        /// What the bound counts.
        unit: &'static str,
    },
    /// An attachment has neither a URL nor a hash, or a malformed hash.
    #[error("an attachment needs a url or the sha256 of its content in hex")]
    Attachment,
}

/// Checks a channel's name: 1-255 bytes.
///
/// # Errors
/// It is empty or too long.
pub fn check_channel(name: &str) -> Result<(), ContentError> {
    check_text("channel", name, 1, CHANNEL_NAME_BYTES_MAX)
}

/// Checks a sender's name: 1-255 bytes.
///
/// # Errors
/// It is empty or too long.
pub fn check_user(name: &str) -> Result<(), ContentError> {
    check_text("from", name, 1, USER_NAME_BYTES_MAX)
}

/// Checks a reaction: 1-64 bytes.
///
/// # Errors
/// It is empty or too long.
pub fn check_emoji(emoji: &str) -> Result<(), ContentError> {
    check_text("emoji", emoji, 1, EMOJI_BYTES_MAX)
}

/// Checks a message's text: up to 65,536 bytes.
///
/// # Errors
/// It is too long.
pub fn check_message_text(text: &str) -> Result<(), ContentError> {
    check_text("text", text, 0, TEXT_BYTES_MAX)
}

fn check_text(field: &'static str, text: &str, min: usize, max: usize) -> Result<(), ContentError> {
    if text.len() < min {
        return Err(ContentError::Empty { field });
    }
    check_count(field, text.len(), max, "bytes")
}

fn check_count(
    field: &'static str,
    count: usize,
    max: usize,
    unit: &'static str,
) -> Result<(), ContentError> {
    if count > max { Err(ContentError::TooLarge { field, max, unit }) } else { Ok(()) }
}

impl Content {
    /// A plain text message.
    #[must_use]
    pub fn text(from: &str, text: &str) -> Self {
        Self {
            from: from.to_owned(),
            text: text.to_owned(),
            reply_to: None,
            attachments: Vec::new(),
            data: None,
        }
    }

    /// Checks every field against its bound.
    ///
    /// # Errors
    /// The first field that is out of bounds.
    ///
    /// # Complexity
    /// O(size of the content).
    pub fn check(&self) -> Result<(), ContentError> {
        check_user(&self.from)?;
        check_message_text(&self.text)?;
        check_attachments(&self.attachments)?;
        match &self.data {
            Some(data) => check_data(data),
            None => Ok(()),
        }
    }
}

impl Attachment {
    fn check(&self) -> Result<(), ContentError> {
        let max = ATTACHMENT_FIELD_BYTES_MAX;
        check_text("attachment name", &self.name, 1, max)?;
        check_text("attachment media_type", &self.media_type, 1, max)?;
        if let Some(url) = &self.url {
            check_text("attachment url", url, 1, max)?;
        }
        let hash_is_well_formed = self.sha256.as_ref().is_none_or(|h| {
            h.len() == 64 && h.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        });
        if hash_is_well_formed && (self.url.is_some() || self.sha256.is_some()) {
            Ok(())
        } else {
            Err(ContentError::Attachment)
        }
    }
}

/// Checks the files of a message: their number and each one's fields.
pub(crate) fn check_attachments(attachments: &[Attachment]) -> Result<(), ContentError> {
    check_count("attachments", attachments.len(), ATTACHMENTS_MAX, "entries")?;
    attachments.iter().try_for_each(Attachment::check)
}

/// Checks application JSON: its nesting and its size.
pub(crate) fn check_data(data: &Data) -> Result<(), ContentError> {
    data.check()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(change: impl FnOnce(&mut Content)) -> String {
        let mut content = Content::text("ada", "hello");
        change(&mut content);
        content.check().expect_err("must be refused").to_string()
    }

    #[test]
    fn each_bound_is_named_when_it_is_broken() {
        assert_eq!(refused(|c| c.from.clear()), "from is empty");
        assert_eq!(refused(|c| c.from = "x".repeat(256)), "from is larger than 255 bytes");
        assert_eq!(refused(|c| c.text = "x".repeat(65_537)), "text is larger than 65536 bytes");
        assert!(
            refused(|c| c.data = Some(json!("x".repeat(70_000)).into()))
                .starts_with("data is larger")
        );
        let mut deep = json!(1);
        for _ in 0..33 {
            deep = json!([deep]);
        }
        assert_eq!(
            refused(|c| c.data = Some(deep.into())),
            "data nesting is larger than 32 levels"
        );
        let file = Attachment {
            name: "a.png".to_owned(),
            media_type: "image/png".to_owned(),
            size: 3,
            url: None,
            sha256: None,
        };
        assert!(refused(|c| c.attachments.push(file.clone())).contains("url or the sha256"));
        let with_hash = Attachment { sha256: Some("A".repeat(64)), ..file };
        assert!(refused(|c| c.attachments.push(with_hash)).contains("in hex"));
    }

    #[test]
    fn bounds_themselves_are_allowed() {
        let mut content = Content::text(&"x".repeat(255), &"y".repeat(65_536));
        content.data = Some(json!({"a": [1, 2.5, null, "z"]}).into());
        assert_eq!(content.check(), Ok(()));
        assert_eq!(Content::text("a", "").check(), Ok(()));
    }
}
