//! Seeded arrivals as a peer-to-peer chat makes them: mostly newest, some late, now and then what
//! somebody wrote offline (design 8.1).
//!
//! [`Arrivals`] is a channel's past: an exact number of messages up to a given instant.
//! [`Live`] goes on for ever at the caller's clock. Equal plans give equal messages, byte for byte:
//! there is no arithmetic in them whose result depends on the platform. Nothing is looked up ahead
//! or kept back; memory is bounded whatever the number of messages.

mod clock;
mod dice;
mod gaps;
mod text;

use crate::limits::LATE_AFTER_MS;
use crate::message::{Content, Message, MessageId};
use clock::{Clock, Quiet};
use dice::{Dice, ONE};
use gaps::{Gap, Gaps};
use std::collections::VecDeque;

/// What to simulate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// How many messages of a hundred are late, chunks apart; 0 to 100.
    pub late_percent: f64,
    /// Chunks of consecutive messages that somebody wrote offline.
    pub chunk: Option<Chunk>,
    /// The same seed gives the same messages.
    pub seed: u64,
    /// Messages a second in the mean of a day, chunks apart.
    pub rate_per_second: f64,
}

/// After every `every` messages come `size` consecutive ones of one sender, arbitrarily late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Messages between two chunks; at least 1.
    pub every: u64,
    /// Messages in a chunk; at least 1.
    pub size: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self { late_percent: 3.0, chunk: None, seed: 1, rate_per_second: 1.0 }
    }
}

/// Why a plan cannot be simulated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The share of late messages is not within 0 and 100.
    #[error("the late share is a number of percent within 0 and 100")]
    Late,
    /// The rate is not positive, or out of all proportion.
    #[error("the rate is a number of messages a second within 0.000001 and 1000000")]
    Rate,
    /// A chunk has no size, or no messages between it and the next.
    #[error("a chunk has at least 1 message and comes after at least 1")]
    Chunk,
}

/// A message that arrives.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrival {
    /// When it arrives, in ms since the Unix epoch; its id says when it was sent.
    pub arrived_ms: u64,
    /// The message.
    pub message: Message,
}

/// Late messages are late by at least this, in ms.
const LATE_MIN_MS: u64 = 60_000;

/// Late messages are late by at most this, in ms: about a day.
const LATE_MAX_MS: u64 = 26 * 3_600_000;

/// Means of how late they are beyond the least, in ms: a lift, a meeting, a flight, a night.
const LATE_MEANS_MS: [u64; 4] = [5 * 60_000, 30 * 60_000, 2 * 3_600_000, 7 * 3_600_000];

/// Most a message in time takes to arrive, in ms: the network's jitter.
const JITTER_MS: u64 = 400;

/// One message in 2^32 / this answers another.
const REPLY_CHANCE: u64 = (1 << 32) / 16;

/// Messages that may still be answered.
const ANSWERABLE: usize = 32;

impl Plan {
    fn check(&self) -> Result<(), PlanError> {
        if !(0.0..=100.0).contains(&self.late_percent) {
            return Err(PlanError::Late);
        }
        if !(1e-6..=1e6).contains(&self.rate_per_second) {
            return Err(PlanError::Rate);
        }
        let has_sense = |chunk: Chunk| chunk.every > 0 && chunk.size > 0;
        if self.chunk.is_none_or(has_sense) { Ok(()) } else { Err(PlanError::Chunk) }
    }

    /// The mean time between two messages, in ms and fixed point.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    fn slot_ms(&self) -> u64 {
        (1_000.0 * ONE as f64 / self.rate_per_second) as u64
    }

    /// The chance that a message is late, in 2^32.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn late_chance(&self) -> u64 {
        (self.late_percent / 100.0 * 4_294_967_296.0) as u64
    }
}

/// Says what arrives next, and when it was sent; when it arrives is the caller's business.
#[derive(Clone, Debug)]
struct Chat {
    dice: Dice,
    late_chance: u64,
    late_min_ms: u64,
    chunk: Option<Chunk>,
    /// Messages since the last chunk.
    since_chunk: u64,
    offline: Option<Offline>,
    gaps: Gaps,
    answerable: VecDeque<MessageId>,
}

/// What is still to come of somebody's offline messages.
#[derive(Clone, Copy, Debug)]
struct Offline {
    from: &'static str,
    gap: Gap,
    sent: u64,
    size: u64,
}

impl Chat {
    fn new(plan: &Plan) -> Self {
        let slot_ms = plan.slot_ms() / ONE;
        Self {
            dice: Dice::new(plan.seed),
            late_chance: plan.late_chance(),
            // In a quiet channel a message is late only if others were sent meanwhile.
            late_min_ms: LATE_MIN_MS + 6 * slot_ms,
            chunk: plan.chunk,
            since_chunk: 0,
            offline: None,
            gaps: Gaps::new(),
            answerable: VecDeque::with_capacity(ANSWERABLE),
        }
    }

    /// Whether the next message is one of a chunk; it arrives together with the one before.
    fn is_in_chunk(&self) -> bool {
        self.offline.is_some() || self.chunk.is_some_and(|chunk| self.since_chunk >= chunk.every)
    }

    /// The message that arrives at `now_ms`.
    fn next(&mut self, now_ms: u64, may_be_late: bool) -> Message {
        if let Some(message) = self.next_of_chunk(now_ms) {
            return message;
        }
        self.since_chunk += 1;
        if may_be_late && self.dice.chance(self.late_chance) {
            return self.late(now_ms);
        }
        let jitter_ms = if may_be_late { self.dice.below(JITTER_MS) } else { 0 };
        let sent_ms = now_ms.saturating_sub(jitter_ms);
        self.gaps.observe(sent_ms, now_ms.saturating_sub(JITTER_MS));
        let id = MessageId::from_parts(sent_ms, self.tail());
        let message = self.message(id, text::sender);
        if self.answerable.len() == ANSWERABLE {
            self.answerable.pop_front();
        }
        self.answerable.push_back(id);
        message
    }

    fn late(&mut self, now_ms: u64) -> Message {
        let mean_ms = self.dice.one_of(&LATE_MEANS_MS);
        let beyond_ms = self.dice.exponential() * mean_ms / ONE;
        let late_ms = (self.late_min_ms + beyond_ms).min(LATE_MAX_MS.max(2 * self.late_min_ms));
        let sent_ms = self.gaps.place_late(now_ms.saturating_sub(late_ms));
        let id = MessageId::from_parts(sent_ms, self.tail());
        self.message(id, text::sender)
    }

    fn next_of_chunk(&mut self, now_ms: u64) -> Option<Message> {
        let mut offline = match (self.offline, self.chunk) {
            (Some(offline), _) => offline,
            (None, Some(chunk)) if self.since_chunk >= chunk.every => {
                // Older than anything counts as late only if something newer has come.
                let ended_ms = now_ms.saturating_sub(JITTER_MS + LATE_AFTER_MS + 1);
                let kept_ms = now_ms.saturating_sub(LATE_MAX_MS.max(2 * self.late_min_ms));
                let gap = self.gaps.take(&mut self.dice, ended_ms, kept_ms);
                let from = text::sender(&mut self.dice);
                Offline { from, gap, sent: 0, size: chunk.size }
            }
            _ => return None,
        };
        let id = offline.gap.id(&mut self.dice, offline.sent, offline.size);
        let message = self.message(id, |_| offline.from);
        offline.sent += 1;
        let is_over = offline.sent == offline.size;
        self.offline = (!is_over).then_some(offline);
        if is_over {
            self.since_chunk = 0;
        }
        Some(message)
    }

    fn message(
        &mut self,
        id: MessageId,
        sender: impl FnOnce(&mut Dice) -> &'static str,
    ) -> Message {
        let mut content = Content::text(sender(&mut self.dice), "");
        content.text = text::text(&mut self.dice);
        if self.dice.chance(REPLY_CHANCE) {
            let answered = self.answerable.get(self.dice.index(self.answerable.len()));
            content.reply_to = answered.copied().filter(|answered| *answered < id);
        }
        Message { id, content }
    }

    fn tail(&mut self) -> u128 {
        u128::from(self.dice.u64()) << 10 | u128::from(self.dice.u32() & 0x3ff)
    }
}

/// A channel's past, in arrival order: an exact number of messages, the newest sent and arrived at
/// the very end.
#[derive(Clone, Debug)]
pub struct Arrivals {
    chat: Chat,
    clock: Clock,
    now_ms: u64,
    left: u64,
}

impl Arrivals {
    /// `count` messages, late ones and chunks included, until `until_ms` (ms since the Unix epoch).
    ///
    /// # Errors
    /// The plan makes no sense.
    pub fn new(plan: &Plan, count: u64, until_ms: u64) -> Result<Self, PlanError> {
        plan.check()?;
        let (in_clock, quiet) = match plan.chunk {
            None => (count, None),
            Some(Chunk { every, size }) => {
                let round = every.saturating_add(size);
                let in_clock = count / round * every + (count % round).min(every);
                // Offline writers are a little faster than all others together.
                (in_clock, Some(Quiet { every, slots: size / 4 + 1 }))
            }
        };
        let clock_seed = plan.seed ^ 0x636c_6f63_6b00_0000;
        let clock = Clock::new(clock_seed, plan.slot_ms(), until_ms, in_clock, quiet);
        Ok(Self { chat: Chat::new(plan), clock, now_ms: until_ms, left: count })
    }
}

impl Iterator for Arrivals {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        self.left = self.left.checked_sub(1)?;
        let is_last = self.clock.is_at_last();
        if !self.chat.is_in_chunk() {
            self.now_ms = self.clock.next_ms();
        }
        let message = self.chat.next(self.now_ms, !is_last);
        Some(Arrival { arrived_ms: self.now_ms, message })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.left);
        (left.unwrap_or(usize::MAX), left.ok())
    }
}

/// Arrivals without end, at the caller's clock.
#[derive(Clone, Debug)]
pub struct Live {
    chat: Chat,
    pause: Dice,
    slot_ms: u64,
}

impl Live {
    /// A chat that goes on from now.
    ///
    /// # Errors
    /// The plan makes no sense.
    pub fn new(plan: &Plan) -> Result<Self, PlanError> {
        plan.check()?;
        let pause = Dice::new(plan.seed ^ 0x7061_7573_6500_0000);
        Ok(Self { chat: Chat::new(plan), pause, slot_ms: plan.slot_ms() })
    }

    /// How long to wait before the next message, in microseconds; exponentially distributed, and 0
    /// within a chunk, whose messages arrive together.
    pub fn pause_us(&mut self) -> u64 {
        if self.chat.is_in_chunk() {
            return 0;
        }
        // Messages that are in time arrive in the order of a memoryless clock.
        let us = u128::from(self.pause.exponential()) * u128::from(self.slot_ms) * 1_000;
        u64::try_from(us / u128::from(ONE * ONE)).unwrap_or(u64::MAX)
    }

    /// The message that arrives now; ids are never later than `now_ms`.
    pub fn next(&mut self, now_ms: u64) -> Arrival {
        Arrival { arrived_ms: now_ms, message: self.chat.next(now_ms, true) }
    }
}

#[cfg(test)]
mod tests;
