//! Commands about messages that are there: edit, delete, react.

use super::{Client, CommandError, Now};
use crate::annotation::{AnnotationKey, AnnotationValue, Edit};
use crate::message::{MessageId, check_emoji};

impl Client {
    /// Edits a message: the fields given replace its own. It is shown at once, and stays an edit of
    /// the same message; of several the one made last counts. Messages of windows that are not loaded
    /// are looked for first.
    ///
    /// # Errors
    /// The channel is not open here, is known not to have the message, or a field is out of its
    /// bounds. What the relay refuses comes as [`super::Event::Refused`].
    pub fn edit(
        &mut self,
        channel: &str,
        id: MessageId,
        edit: Edit,
        now: Now,
    ) -> Result<(), CommandError> {
        let known = self.channel(channel).and_then(|replica| replica.get(id)?.edited_ms);
        let edited_at = edit.edited_at.max(known.map_or(0, |edited_ms| edited_ms + 1));
        let edit = Edit { edited_at, ..edit };
        edit.to_bytes()?;
        self.annotate(channel, AnnotationKey::Edit { id }, AnnotationValue::Edit(edit), now)
    }

    /// Deletes a message: its row stays as a tombstone, for good. One that the relay refused to store
    /// is dropped.
    ///
    /// # Errors
    /// The channel is not open here, or is known not to have the message.
    pub fn delete(&mut self, channel: &str, id: MessageId, now: Now) -> Result<(), CommandError> {
        if self.discard(channel, id, now) {
            return Ok(());
        }
        self.annotate(channel, AnnotationKey::Delete { id }, AnnotationValue::Delete, now)
    }

    /// Reacts to a message with an emoji, or no longer.
    ///
    /// # Errors
    /// The channel is not open here, is known not to have the message, or the emoji is out of its
    /// bounds.
    pub fn react(
        &mut self,
        channel: &str,
        id: MessageId,
        emoji: &str,
        on: bool,
        now: Now,
    ) -> Result<(), CommandError> {
        check_emoji(emoji)?;
        let user = self.options.user.clone();
        let key = AnnotationKey::Reaction { id, user, emoji: emoji.to_owned() };
        self.annotate(channel, key, AnnotationValue::Reaction(on), now)
    }

    fn annotate(
        &mut self,
        channel: &str,
        key: AnnotationKey,
        value: AnnotationValue,
        now: Now,
    ) -> Result<(), CommandError> {
        let id = key.id();
        let no_channel = || CommandError::NoChannel(channel.to_owned());
        let slot = self.slots.get_mut(channel).ok_or_else(no_channel)?;
        if !slot.replica.annotate(key, value) {
            return Err(CommandError::NoMessage(channel.to_owned(), id));
        }
        slot.hungry = true;
        self.settle(now);
        Ok(())
    }
}
