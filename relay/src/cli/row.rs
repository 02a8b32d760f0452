//! A message as a line of JSON Lines: what import reads, export and simulate write.

use backscroll_core::annotation::Annotations;
use backscroll_core::message::{Attachment, Content, Data, MessageId};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

/// The fields of design 8.1 in the order people read them; absent ones are left out.
#[derive(Debug, Serialize)]
pub(super) struct Row<'a> {
    channel: &'a str,
    from: &'a str,
    text: &'a str,
    sent_at: u64,
    id: MessageId,
    #[serde(skip_serializing_if = "Option::is_none")]
    edited_at: Option<u64>,
    #[serde(skip_serializing_if = "is_false")]
    deleted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reactions: Option<&'a BTreeMap<String, BTreeSet<String>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<MessageId>,
    #[serde(skip_serializing_if = "<[Attachment]>::is_empty")]
    attachments: &'a [Attachment],
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Data>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_false(value: &bool) -> bool {
    !*value
}

impl<'a> Row<'a> {
    /// A message as it was written.
    pub(super) fn written(channel: &'a str, id: MessageId, content: &'a Content) -> Self {
        Self {
            channel,
            from: &content.from,
            text: &content.text,
            sent_at: id.time_ms(),
            id,
            edited_at: None,
            deleted: false,
            reactions: None,
            reply_to: content.reply_to,
            attachments: &content.attachments,
            data: content.data.as_ref(),
        }
    }

    /// What is attached to it.
    pub(super) const fn attachments(&self) -> &'a [Attachment] {
        self.attachments
    }

    /// A message with what was made of it since: an edit replaces fields, a deletion empties them.
    pub(super) fn current(
        channel: &'a str,
        id: MessageId,
        content: &'a Content,
        annotations: &'a Annotations,
    ) -> Self {
        let written = Self::written(channel, id, content);
        if annotations.deleted {
            return Self { text: "", attachments: &[], data: None, deleted: true, ..written };
        }
        let reactions = Some(&annotations.reactions).filter(|reactions| !reactions.is_empty());
        let Some(edit) = &annotations.edit else { return Self { reactions, ..written } };
        Self {
            text: edit.text.as_deref().unwrap_or(written.text),
            attachments: edit.attachments.as_deref().unwrap_or(written.attachments),
            data: edit.data.as_ref().or(written.data),
            edited_at: Some(edit.edited_at),
            reactions,
            ..written
        }
    }

    /// Writes the line.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn write(&self, mut out: impl Write) -> io::Result<()> {
        serde_json::to_writer(&mut out, self)?;
        out.write_all(b"\n")
    }
}
