//! Writing: the id of a new message, its window, and its place in an own-document.
//!
//! A window is chosen once, by what this replica knows when the message is written (design 4.3).
//! Without the channel's directory messages are held: shown under their final ids, and placed when
//! the directory comes.

use super::Channel;
use super::outbox::{Push, SendState};
use crate::entropy::Entropy;
use crate::limits::{MAKER_AHEAD_MS_MAX, WINDOW_MESSAGES_FULL, WINDOW_REFUSE};
use crate::message::{BodyError, Content, MessageId, TIME_MS_MAX};
use crate::window::{Fill, Knowledge, Window, home_of};

/// Messages over which the rate of the others is taken: fewer make more dust in bursty chat
/// (references/segments 12).
const RATE_MESSAGES: u64 = 20_000;

/// How far beyond the relay's clock a message may be pushed, in ms: half of what the relay takes.
const PUSH_AHEAD_MS: u64 = MAKER_AHEAD_MS_MAX;

/// The clocks a message is written by, in ms since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WritingTime {
    /// This device's clock.
    pub local_ms: u64,
    /// The relay's clock as far as known, else this device's.
    pub relay_ms: u64,
}

impl Channel {
    /// Writes a message: it has its final id and is in the rows when this returns. `sent_at_ms` is a
    /// time that the application sets, for a message that was written earlier.
    ///
    /// # Errors
    /// The content is out of its bounds, or the time beyond what an id can carry.
    pub fn send(
        &mut self,
        content: Content,
        sent_at_ms: Option<u64>,
        now: WritingTime,
        entropy: &mut Entropy,
    ) -> Result<MessageId, BodyError> {
        content.to_body()?;
        if let Some(time_ms) = sent_at_ms.filter(|time_ms| *time_ms > TIME_MS_MAX) {
            return Err(BodyError::SentAt(time_ms));
        }
        let id = match sent_at_ms {
            Some(time_ms) => self.ids.make_at(time_ms, entropy.tail()),
            None => self.ids.make(now.relay_ms, entropy.tail()),
        };
        self.outbox.hold(id, content, now.local_ms);
        self.timeline.insert(id.as_u128(), None);
        self.settle_late(id);
        self.changed.sent = true;
        self.kept.counted();
        if sent_at_ms.is_none() {
            self.wrote(id);
        }
        self.write_held(now.relay_ms, entropy);
        Ok(id)
    }

    /// Places and writes the held messages whose time has come, once the directory is known.
    pub fn write_held(&mut self, relay_now_ms: u64, entropy: &mut Entropy) {
        if self.head.is_none() {
            return;
        }
        self.outbox.wake(relay_now_ms);
        for id in self.outbox.due(relay_now_ms, PUSH_AHEAD_MS) {
            let chosen = self.outbox.get(id).and_then(|own| own.window);
            let window = chosen.unwrap_or_else(|| self.home(id.time_ms()));
            if let Err(error) = self.outbox.write(id, window, || entropy.actor()) {
                self.outbox.fail(id, "bad_request");
                self.problems.push(super::Problem { window, hash: None, text: error.to_string() });
            }
            self.changed.sent = true;
        }
    }

    /// The window for a new message, by the directory and what waits to be sent.
    fn home(&self, time_ms: u64) -> Window {
        let knowledge = Knowledge {
            complete_until_ms: self.complete_until_ms.unwrap_or(u64::MAX),
            messages_per_ms: self.rate_per_ms(),
            deepest_level: self.directory.deepest_level(),
        };
        home_of(time_ms, knowledge, |window| {
            let known = self.directory.get(window).map(|entry| entry.fill());
            let known = self.outbox.unsent_fill(window, known);
            if self.full.contains(&window) {
                let messages = WINDOW_MESSAGES_FULL * WINDOW_REFUSE;
                return Some(Fill { messages, ..known.unwrap_or(Fill::one(time_ms, 0)) });
            }
            known
        })
    }

    /// Messages per ms over the last [`RATE_MESSAGES`] known ones.
    #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
    fn rate_per_ms(&self) -> f64 {
        let Some(last) = self.timeline.total().checked_sub(1) else { return 0.0 };
        let count = last.min(RATE_MESSAGES);
        let times = (self.timeline.time_of_row(last - count), self.timeline.time_of_row(last));
        match times {
            (Some(from), Some(to)) if to > from => count as f64 / (to - from) as f64,
            _ => 0.0,
        }
    }

    /// The next push, if there is something to push. Call it again until there is none.
    pub fn next_push(
        &mut self,
        reference: u64,
        relay_now_ms: u64,
        chunks_max: usize,
    ) -> Option<(Push, u32)> {
        self.head.as_ref()?;
        let push = self.outbox.next_push(reference, relay_now_ms, PUSH_AHEAD_MS, chunks_max);
        let Some(push) = push else { return self.next_note_push(reference) };
        let generation = self.directory.get(push.window).map_or(0, |entry| entry.generation);
        Some((push, generation))
    }

    /// When a message that lies in the future becomes due, by the relay's clock.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<u64> {
        self.head.as_ref()?;
        let notes = self.notes.next_due_ms();
        self.outbox.next_due_ms(PUSH_AHEAD_MS).into_iter().chain(notes).min()
    }

    /// Sends a failed message again, under its id; false if it has not failed.
    pub fn retry(&mut self, id: MessageId, relay_now_ms: u64, entropy: &mut Entropy) -> bool {
        let again = self.outbox.retry(id);
        if again {
            self.write_held(relay_now_ms, entropy);
            self.changed.sent = true;
        }
        again
    }

    /// Drops a failed message; false if it has not failed.
    pub fn discard(&mut self, id: MessageId) -> bool {
        let failed = matches!(self.outbox.state(id), Some(SendState::Failed(_)));
        if failed && self.outbox.discard(id) {
            if self.timeline.get(id.as_u128()) == Some(None) {
                self.timeline.remove(id.as_u128());
                self.settle_gone(id);
            }
            self.reading.written.remove(&id);
            self.changed.sent = true;
            self.kept.counted();
        }
        failed
    }
}
