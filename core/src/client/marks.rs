//! Marks and presence: what was read, told to the relay now and then, and what it tells of others.

use super::{Client, CommandError, Event, Now, SlotStage};
use crate::limits::EPHEMERAL_BYTES_MAX;
use crate::message::MessageId;
use crate::read_state::ReadState;
use crate::wire::{ClientFrame, encode_client};

/// How long more may come into view before the relay is told, in ms: reading is one mark a second.
const MARK_MS: u64 = 1_000;

/// How long the user's marks may take to come after `opened`, in ms. They are the next frame, if there
/// are any; a mark that went out before them would claim that nobody else knows of unseen late messages.
const AWAIT_MS: u64 = 10_000;

impl Client {
    /// Marks a channel as read up to a message, or all of it; late messages there are seen.
    pub fn mark_read(&mut self, channel: &str, up_to: Option<MessageId>, now: Now) {
        if let Some(slot) = self.slots.get_mut(channel) {
            slot.replica.mark_read(up_to);
        }
        self.settle(now);
    }

    /// Tells who has a channel open something that is not kept: presence, typing. It is dropped where
    /// there is no connection.
    ///
    /// # Errors
    /// The channel is not open here, or the payload larger than a relay passes on.
    pub fn say_ephemeral(&mut self, channel: &str, payload: &[u8]) -> Result<(), CommandError> {
        let no_channel = || CommandError::NoChannel(channel.to_owned());
        let slot = self.slots.get(channel).ok_or_else(no_channel)?;
        if payload.len() > EPHEMERAL_BYTES_MAX {
            return Err(CommandError::TooLarge { bytes_max: EPHEMERAL_BYTES_MAX });
        }
        if slot.stage == SlotStage::Open {
            let (channel, payload) = (channel.to_owned(), payload.to_vec());
            self.frames.push_back(encode_client(&ClientFrame::Ephemeral { channel, payload }));
        }
        Ok(())
    }

    /// Notes when the relay is to be told.
    pub(super) fn plan_marks(&mut self, now: Now) {
        for slot in self.slots.values_mut() {
            let wants = slot.stage == SlotStage::Open && slot.replica.has_mark();
            let delay_ms = match slot.replica.awaits_marks() {
                true => AWAIT_MS,
                // Until it is heard, another first device takes all there is for history.
                false if slot.replica.is_unheard() => 0,
                false => MARK_MS,
            };
            let at_ms = now.steady_ms + delay_ms;
            let at_ms = slot.mark_at_ms.map_or(at_ms, |planned_ms| planned_ms.min(at_ms));
            slot.mark_at_ms = wants.then_some(at_ms);
        }
    }

    /// Tells the relay what is due, or everything.
    pub(super) fn send_marks(&mut self, now: Now, is_all: bool) {
        let names: Vec<_> = self
            .slots
            .iter()
            .filter_map(|(name, slot)| {
                let is_due = slot.mark_at_ms.is_some_and(|at_ms| is_all || at_ms <= now.steady_ms);
                is_due.then(|| name.clone())
            })
            .collect();
        for name in names {
            if !is_all {
                self.marks_are_told(&name);
            }
            self.send_mark(&name);
        }
    }

    /// The user's marks have come that were there when a channel was opened, or there are none.
    pub(super) fn marks_are_told(&mut self, name: &str) {
        if self.slots.get_mut(name).is_some_and(|slot| slot.replica.marks_are_told()) {
            self.place_unread(name);
        }
    }

    /// Tells the relay what was read of a channel, if it does not know.
    pub(super) fn send_mark(&mut self, name: &str) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        if slot.stage != SlotStage::Open || !slot.replica.has_mark() || slot.replica.awaits_marks()
        {
            return;
        }
        slot.mark_at_ms = None;
        let epoch = slot.replica.head().map(|head| head.epoch);
        let mark = slot.replica.take_mark(self.options.delivered);
        if let (Some(epoch), Some(mark)) = (epoch, mark) {
            let ReadState { read, seq, delivered, unseen_late } = mark;
            let delivered = (delivered > 0).then_some(delivered);
            let channel = name.to_owned();
            let frame = ClientFrame::Mark { channel, epoch, seq, read, delivered, unseen_late };
            self.frames.push_back(encode_client(&frame));
        }
    }

    /// The relay tells what a user had in view.
    pub(super) fn marks_came(&mut self, channel: &str, user: String, marks: &ReadState) {
        let slot = self.slots.get_mut(channel).filter(|slot| slot.stage == SlotStage::Open);
        let Some(slot) = slot else { return };
        if user == self.options.user {
            slot.replica.own_marks(marks);
        } else {
            slot.replica.others_marks(user, marks);
        }
        slot.hungry = true;
        // The user's own come first.
        self.marks_are_told(channel);
    }

    pub(super) fn ephemeral_came(&mut self, channel: String, user: String, payload: Vec<u8>) {
        if self.slots.get(&channel).is_some_and(|slot| slot.stage == SlotStage::Open) {
            self.events.push_back(Event::Ephemeral { channel, user, payload });
        }
    }
}
