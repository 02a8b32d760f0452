//! The message index: the row a JSON client gets, and its JSON form (design 8.2).

use crate::store::StoreError;
use crate::store::kv::Family;
use crate::store::rows::IndexRow;
use backscroll_core::annotation::Annotations;
use backscroll_core::message::{Attachment, Content, Data, MessageId};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// A message as the relay serves it: what was written, and what was made of it since.
#[derive(Clone, Debug, PartialEq)]
pub struct MessageRow {
    /// The id.
    pub id: MessageId,
    /// Its seq.
    pub seq: u64,
    /// Whether it came late (design 5.3).
    pub late: bool,
    /// What its sender wrote.
    pub content: Content,
    /// Edit, deletion and reactions.
    pub annotations: Annotations,
}

/// The content of a stored message.
///
/// # Errors
/// It does not read back.
pub(crate) fn content_of(row: &IndexRow) -> Result<Content, StoreError> {
    Content::from_body(&row.body)
        .map_err(|_| StoreError::damaged(Family::Index, "a message body does not read back"))
}

/// Whether nothing of a message is left but its sender and its tombstone: what erasing it leaves.
#[must_use]
pub(crate) fn is_erased(content: &Content, annotations: &Annotations) -> bool {
    let Content { from: _, text, reply_to, attachments, data } = content;
    let is_blank =
        text.is_empty() && reply_to.is_none() && attachments.is_empty() && data.is_none();
    is_blank && annotations.deleted && annotations.edit.is_none()
}

impl MessageRow {
    /// The row of a stored message.
    ///
    /// # Errors
    /// Its content does not read back.
    pub(crate) fn of(id: MessageId, row: IndexRow) -> Result<Self, StoreError> {
        let content = content_of(&row)?;
        let IndexRow { seq, late, annotations, .. } = row;
        Ok(Self { id, seq, late, content, annotations })
    }

    /// About how many bytes of memory it takes, with everything that was said of it.
    ///
    /// # Complexity
    /// O(attachments and reactions).
    #[must_use]
    pub(crate) fn memory_bytes(&self) -> usize {
        let Content { from, text, reply_to: _, attachments, data } = &self.content;
        let of_edit = self.annotations.edit.as_ref().map_or(0, |edit| {
            let files = edit.attachments.iter().flatten().map(attachment_bytes).sum::<usize>();
            edit.text.as_ref().map_or(0, String::len) + files + data_bytes(edit.data.as_ref())
        });
        let name_bytes = |name: &String| name.len() + size_of::<String>();
        let of_reactions =
            self.annotations.reactions.iter().map(|(emoji, users)| {
                name_bytes(emoji) + users.iter().map(name_bytes).sum::<usize>()
            });
        let files = attachments.iter().map(attachment_bytes).sum::<usize>();
        let content = from.len() + text.len() + files + data_bytes(data.as_ref());
        size_of::<Self>() + content + of_edit + of_reactions.sum::<usize>()
    }

    /// The JSON form in `channel`: edits applied; a deleted message keeps its place and loses its
    /// text, attachments and data.
    #[must_use]
    pub const fn json<'a>(&'a self, channel: &'a str) -> MessageJson<'a> {
        MessageJson { channel, row: self }
    }
}

fn attachment_bytes(file: &Attachment) -> usize {
    let Attachment { name, media_type, size: _, url, sha256 } = file;
    let of = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    size_of::<Attachment>() + name.len() + media_type.len() + of(url) + of(sha256)
}

fn data_bytes(data: Option<&Data>) -> usize {
    data.map_or(0, Data::byte_len)
}

/// The JSON form of a message; absent fields are left out.
#[derive(Clone, Copy, Debug)]
pub struct MessageJson<'a> {
    channel: &'a str,
    row: &'a MessageRow,
}

impl Serialize for MessageJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let MessageRow { id, seq, late, content, annotations } = self.row;
        let edit = annotations.edit.as_ref();
        let deleted = annotations.deleted;
        let text = edit.and_then(|edit| edit.text.as_deref()).unwrap_or(&content.text);
        let attachments =
            edit.and_then(|edit| edit.attachments.as_ref()).unwrap_or(&content.attachments);
        let data = edit.and_then(|edit| edit.data.as_ref()).or(content.data.as_ref());
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", id)?;
        map.serialize_entry("channel", self.channel)?;
        map.serialize_entry("from", &content.from)?;
        map.serialize_entry("text", if deleted { "" } else { text })?;
        map.serialize_entry("sent_at", &id.time_ms())?;
        map.serialize_entry("seq", seq)?;
        map.serialize_entry("late", late)?;
        if let Some(edit) = edit.filter(|_| !deleted) {
            map.serialize_entry("edited_at", &edit.edited_at)?;
        }
        if deleted {
            map.serialize_entry("deleted", &true)?;
        }
        if !annotations.reactions.is_empty() && !deleted {
            map.serialize_entry("reactions", &annotations.reactions)?;
        }
        if let Some(reply_to) = content.reply_to {
            map.serialize_entry("reply_to", &reply_to)?;
        }
        if !attachments.is_empty() && !deleted {
            map.serialize_entry("attachments", attachments)?;
        }
        if let Some(data) = data.filter(|_| !deleted) {
            map.serialize_entry("data", data)?;
        }
        map.end()
    }
}
