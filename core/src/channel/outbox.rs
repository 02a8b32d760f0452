//! What this client wrote to one channel: kept until the relay has it, and after that for a relay
//! that loses its history (design 6: after an epoch change each client pushes its own changes again).
//!
//! It knows own-documents, chunks and their fate; it knows nothing of segments or of the directory.

use crate::change::{ActorId16, ChangeHash, MessageAuthor};
use crate::message::{Content, MessageId};
use crate::window::{Fill, Window};
use std::collections::{BTreeMap, BTreeSet};

/// Most bytes of chunks in one push: half a frame, so that one fits beside its header.
const PUSH_BYTES_MAX: usize = 512 * 1_024;

/// Where a message of this client stands; `queued`, `relayed`, `failed` on the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendState {
    /// Not yet acknowledged.
    Queued,
    /// Stored by the relay.
    Relayed,
    /// Refused for good, with the relay's stable code.
    Failed(String),
}

/// A message of this client.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    pub(crate) content: Content,
    /// Local time of writing, in ms since the Unix epoch.
    pub(crate) written_ms: u64,
    /// Chosen once, when it is placed.
    pub(crate) window: Option<Window>,
    pub(crate) stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// In no own-document yet: the directory is not known, or its time has not come.
    Held {
        /// Not to be written before this time of the relay's clock, in ms since the Unix epoch.
        not_before_ms: u64,
    },
    /// In an own-document; not acknowledged.
    Written,
    /// Stored by the relay, under this seq if it is known.
    Relayed { seq: Option<u64> },
    /// Refused for good.
    Failed { code: String },
}

/// One change of an own-document: one message.
#[derive(Clone, Debug)]
struct OwnChange {
    id: MessageId,
    hash: ChangeHash,
    chunk: Vec<u8>,
    body_len: u64,
}

/// Changes on their way: `[first, first + count)` of their document.
#[derive(Clone, Copy, Debug)]
struct Flight {
    reference: u64,
    first: usize,
    count: usize,
}

/// An own-document: the chain of this client's changes of one window (design 4.2).
#[derive(Debug)]
struct OwnDocument {
    window: Window,
    /// None once retired: an actor whose change was refused writes no more.
    author: Option<MessageAuthor>,
    changes: Vec<OwnChange>,
    /// Changes before this one are acknowledged.
    acked: usize,
    /// Changes before this one were pushed at least once.
    sent: usize,
    flight: Option<Flight>,
}

/// Chunks for one `push`, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// The client's reference, by which the answer names it.
    pub reference: u64,
    /// The window of all of them.
    pub window: Window,
    /// Change chunks of one own-document, in order.
    pub chunks: Vec<Vec<u8>>,
}

/// What a nack asks of the channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Nothing in flight had that reference.
    Unknown,
    /// The message stays shown, failed.
    Failed(MessageId),
    /// The relay has the message already, in some window.
    Duplicate(MessageId),
    /// The message is written again, elsewhere.
    WindowFull(MessageId, Window),
    /// The message is written again, later.
    Postponed(MessageId),
}

/// How long a message waits that the relay still takes for one from the future, in ms.
const POSTPONE_MS: u64 = 30_000;

/// How long a message waits for the news of an erasure that voided its window, in ms.
const ERASED_MS: u64 = 1_000;

/// The messages this client wrote to one channel.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    own: BTreeMap<MessageId, Own>,
    by_window: BTreeMap<Window, BTreeSet<MessageId>>,
    by_hash: BTreeMap<ChangeHash, MessageId>,
    /// Messages in no own-document, in id order.
    held: BTreeSet<MessageId>,
    documents: BTreeMap<u64, OwnDocument>,
    /// The own-document that takes new messages of a window.
    current: BTreeMap<Window, u64>,
    /// Documents with changes that are not acknowledged.
    busy: BTreeSet<u64>,
    next_document: u64,
    pending: usize,
}

impl Outbox {
    pub(crate) fn get(&self, id: MessageId) -> Option<&Own> {
        self.own.get(&id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (MessageId, &Own)> {
        self.own.iter().map(|(id, own)| (*id, own))
    }

    /// Messages that the relay does not have, failed ones included.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = MessageId> + '_ {
        let stored = |own: &Own| matches!(own.stage, Stage::Relayed { .. });
        self.own.iter().filter(move |(_, own)| !stored(own)).map(|(id, _)| *id)
    }

    /// Own messages placed in a window.
    pub(crate) fn in_window(&self, window: Window) -> impl Iterator<Item = (MessageId, &Own)> {
        let ids = self.by_window.get(&window).into_iter().flatten();
        ids.filter_map(|id| Some((*id, self.own.get(id)?)))
    }

    /// How many messages wait for the relay.
    pub(crate) const fn pending(&self) -> usize {
        self.pending
    }

    pub(crate) fn state(&self, id: MessageId) -> Option<SendState> {
        Some(match &self.own.get(&id)?.stage {
            Stage::Held { .. } | Stage::Written => SendState::Queued,
            Stage::Relayed { .. } => SendState::Relayed,
            Stage::Failed { code } => SendState::Failed(code.clone()),
        })
    }

    /// Takes a new message in; it is written when its window is known.
    pub(crate) fn hold(&mut self, id: MessageId, content: Content, written_ms: u64) {
        let stage = Stage::Held { not_before_ms: 0 };
        self.own.insert(id, Own { content, written_ms, window: None, stage });
        self.held.insert(id);
        self.pending += 1;
    }

    /// Held messages that may be written at `now_ms`, in id order.
    pub(crate) fn due(&self, now_ms: u64, ahead_ms: u64) -> Vec<MessageId> {
        let is_due = |id: &&MessageId| {
            let not_before = match self.own.get(id).map(|own| &own.stage) {
                Some(Stage::Held { not_before_ms }) => *not_before_ms,
                _ => return false,
            };
            due_ms(**id, ahead_ms).max(not_before) <= now_ms
        };
        self.held.iter().filter(is_due).copied().collect()
    }

    /// When the first held message becomes due, in ms of the relay's clock.
    pub(crate) fn next_due_ms(&self, ahead_ms: u64) -> Option<u64> {
        let of = |id: &MessageId| match self.own.get(id)?.stage {
            Stage::Held { not_before_ms } => Some(due_ms(*id, ahead_ms).max(not_before_ms)),
            Stage::Written | Stage::Relayed { .. } | Stage::Failed { .. } => None,
        };
        self.held.iter().filter_map(of).min()
    }

    /// What waits in a window for the relay, on top of what the directory says of it.
    pub(crate) fn unsent_fill(&self, window: Window, mut known: Option<Fill>) -> Option<Fill> {
        let documents = self.busy.iter().filter_map(|number| self.documents.get(number));
        for document in documents.filter(|document| document.window == window) {
            for change in document.changes.iter().skip(document.acked) {
                let time_ms = change.id.time_ms();
                known = Some(match known {
                    Some(fill) => fill.with(time_ms, change.body_len),
                    None => Fill::one(time_ms, change.body_len),
                });
            }
        }
        known
    }

    /// Writes a held message into its window's own-document; `actor` is for a new one.
    ///
    /// # Errors
    /// The message cannot be written at all; it has failed then.
    pub(crate) fn write(
        &mut self,
        id: MessageId,
        window: Window,
        actor: impl FnOnce() -> ActorId16,
    ) -> Result<(), String> {
        let Some(own) = self.own.get_mut(&id) else { return Ok(()) };
        let number = match self.current.get(&window) {
            Some(number) => *number,
            None => {
                let number = self.next_document;
                self.next_document += 1;
                self.current.insert(window, number);
                let author = Some(MessageAuthor::new(window, actor()));
                let changes = Vec::new();
                let document =
                    OwnDocument { window, author, changes, acked: 0, sent: 0, flight: None };
                self.documents.insert(number, document);
                number
            }
        };
        let Some(document) = self.documents.get_mut(&number) else { return Ok(()) };
        let Some(author) = &mut document.author else { return Ok(()) };
        let body = own.content.to_body().map_err(|error| error.to_string())?;
        let body_len = body.len() as u64;
        let authored = author.write(&[(id, body)]).map_err(|error| error.to_string())?;
        own.window = Some(window);
        own.stage = Stage::Written;
        self.by_window.entry(window).or_default().insert(id);
        self.by_hash.insert(authored.hash, id);
        let change = OwnChange { id, hash: authored.hash, chunk: authored.chunk, body_len };
        document.changes.push(change);
        self.busy.insert(number);
        self.held.remove(&id);
        Ok(())
    }

    /// Marks a message as refused for good.
    pub(crate) fn fail(&mut self, id: MessageId, code: &str) {
        self.held.remove(&id);
        self.set_stage(id, Stage::Failed { code: code.to_owned() });
    }

    /// Forgets a failed message; false if it is not one.
    pub(crate) fn discard(&mut self, id: MessageId) -> bool {
        let failed = matches!(self.own.get(&id).map(|own| &own.stage), Some(Stage::Failed { .. }));
        if failed {
            self.leave_window(id);
            self.own.remove(&id);
        }
        failed
    }

    /// Queues a failed message again, under its id; false if it is not one.
    pub(crate) fn retry(&mut self, id: MessageId) -> bool {
        let failed = matches!(self.own.get(&id).map(|own| &own.stage), Some(Stage::Failed { .. }));
        if failed {
            self.hold_again(id, 0);
        }
        failed
    }

    /// The next push, if some document has changes to push and none of its own on the way.
    ///
    /// A change that was never pushed and is not due yet goes back to the held ones with all that
    /// follow it in its document: they are written anew in time, in the window chosen already.
    pub(crate) fn next_push(
        &mut self,
        reference: u64,
        now_ms: u64,
        ahead_ms: u64,
        chunks_max: usize,
    ) -> Option<Push> {
        let ready = |number: &u64| self.documents.get(number).is_some_and(|d| d.flight.is_none());
        for number in self.busy.iter().copied().filter(ready).collect::<Vec<_>>() {
            let Some(document) = self.documents.get_mut(&number) else { continue };
            let first = document.acked;
            let (mut count, mut bytes) = (0, 0);
            for (at, change) in document.changes.iter().enumerate().skip(first) {
                let is_due = at < document.sent || due_ms(change.id, ahead_ms) <= now_ms;
                bytes += change.chunk.len();
                let fits = count < chunks_max && (count == 0 || bytes <= PUSH_BYTES_MAX);
                if !is_due || !fits {
                    break;
                }
                count += 1;
            }
            if count == 0 {
                self.withdraw(number, first, 0);
                continue;
            }
            document.flight = Some(Flight { reference, first, count });
            document.sent = document.sent.max(first + count);
            let chunks = document.changes.iter().skip(first).take(count);
            let chunks = chunks.map(|change| change.chunk.clone()).collect();
            return Some(Push { reference, window: document.window, chunks });
        }
        None
    }

    /// The relay has stored a push, or a prefix of it: the first seq of each change. Returns the
    /// messages concerned.
    pub(crate) fn acked(&mut self, reference: u64, seqs: &[u64]) -> Vec<MessageId> {
        let Some((number, flight)) = self.flight(reference) else { return Vec::new() };
        let Some(document) = self.documents.get_mut(&number) else { return Vec::new() };
        let count = seqs.len().min(flight.count);
        let stored = document.changes.iter().skip(flight.first).take(count);
        let ids: Vec<_> = stored.map(|change| change.id).collect();
        document.acked = document.acked.max(flight.first + count);
        if count == flight.count {
            document.flight = None;
        }
        self.settle(number);
        for (id, seq) in ids.iter().zip(seqs) {
            self.set_stage(*id, Stage::Relayed { seq: Some(*seq) });
        }
        ids
    }

    /// The relay has refused the change `index` of a push, and with it those that follow.
    ///
    /// Its document takes no more messages; what follows is written anew, ids and window unchanged.
    pub(crate) fn nacked(
        &mut self,
        reference: u64,
        index: usize,
        code: &str,
        now_ms: u64,
    ) -> Refused {
        let Some((number, flight)) = self.flight(reference) else { return Refused::Unknown };
        let Some(document) = self.documents.get_mut(&number) else { return Refused::Unknown };
        document.flight = None;
        let at = flight.first + index.min(flight.count.saturating_sub(1));
        let Some(refused) = document.changes.get(at).map(|change| change.id) else {
            return Refused::Unknown;
        };
        let window = document.window;
        let stored = document.changes.iter().take(at).skip(flight.first);
        let stored: Vec<_> = stored.map(|change| change.id).collect();
        document.acked = document.acked.max(at);
        self.withdraw(number, at, 0);
        for id in stored {
            if matches!(self.own.get(&id).map(|own| &own.stage), Some(Stage::Written)) {
                self.set_stage(id, Stage::Relayed { seq: None });
            }
        }
        match code {
            "duplicate" => {
                self.held.remove(&refused);
                self.leave_window(refused);
                self.set_stage(refused, Stage::Relayed { seq: None });
                Refused::Duplicate(refused)
            }
            "window_full" => {
                self.leave_window(refused);
                self.forget_windows(window);
                Refused::WindowFull(refused, window)
            }
            // Erased meanwhile: written anew for the window as it is now.
            "stale_generation" => self.postpone(refused, now_ms.saturating_add(ERASED_MS)),
            "future_id" => self.postpone(refused, now_ms.saturating_add(POSTPONE_MS)),
            _ => {
                self.fail(refused, code);
                Refused::Failed(refused)
            }
        }
    }

    fn postpone(&mut self, id: MessageId, not_before_ms: u64) -> Refused {
        self.set_stage(id, Stage::Held { not_before_ms });
        Refused::Postponed(id)
    }

    /// A change of this client came back from the relay, in the channel's order.
    pub(crate) fn confirmed(&mut self, hash: &ChangeHash, seq: u64) -> Option<MessageId> {
        let id = *self.by_hash.get(hash)?;
        self.set_stage(id, Stage::Relayed { seq: Some(seq) });
        Some(id)
    }

    /// The connection is gone: the fate of what was on its way is unknown, it is pushed again.
    pub(crate) fn disconnected(&mut self) {
        for document in self.documents.values_mut() {
            document.flight = None;
        }
    }

    /// The relay has another history: every seq is void, and every own change is pushed again.
    pub(crate) fn epoch_changed(&mut self) {
        for (number, document) in &mut self.documents {
            document.flight = None;
            document.acked = 0;
            if !document.changes.is_empty() {
                self.busy.insert(*number);
            }
        }
        let of_documents: BTreeSet<_> = self.by_hash.values().copied().collect();
        let ids: Vec<_> = self.own.keys().copied().collect();
        for id in ids {
            if matches!(self.own.get(&id).map(|own| &own.stage), Some(Stage::Relayed { .. })) {
                let known = of_documents.contains(&id);
                self.set_stage(
                    id,
                    if known { Stage::Written } else { Stage::Relayed { seq: None } },
                );
            }
        }
    }

    /// Whether a push is on its way.
    pub(crate) fn is_pushing(&self, reference: u64) -> bool {
        self.flight(reference).is_some()
    }

    fn flight(&self, reference: u64) -> Option<(u64, Flight)> {
        let mut flights =
            self.busy.iter().filter_map(|n| Some((*n, self.documents.get(n)?.flight?)));
        flights.find(|(_, flight)| flight.reference == reference)
    }

    /// Takes the changes from `at` on out of a document, retires it, and holds their messages.
    fn withdraw(&mut self, number: u64, at: usize, not_before_ms: u64) {
        let Some(document) = self.documents.get_mut(&number) else { return };
        document.author = None;
        document.sent = document.sent.min(at);
        let window = document.window;
        let withdrawn = document.changes.split_off(at.min(document.changes.len()));
        if self.current.get(&window) == Some(&number) {
            self.current.remove(&window);
        }
        for change in &withdrawn {
            self.by_hash.remove(&change.hash);
        }
        self.settle(number);
        for change in withdrawn {
            self.hold_again(change.id, not_before_ms);
        }
    }

    fn hold_again(&mut self, id: MessageId, not_before_ms: u64) {
        self.held.insert(id);
        self.set_stage(id, Stage::Held { not_before_ms });
    }

    /// Held messages that were placed in a window that is full are placed anew.
    fn forget_windows(&mut self, window: Window) {
        for id in self.held.clone() {
            if self.own.get(&id).is_some_and(|own| own.window == Some(window)) {
                self.leave_window(id);
            }
        }
    }

    fn leave_window(&mut self, id: MessageId) {
        let Some(own) = self.own.get_mut(&id) else { return };
        if let Some(window) = own.window.take()
            && let Some(ids) = self.by_window.get_mut(&window)
        {
            ids.remove(&id);
        }
    }

    fn settle(&mut self, number: u64) {
        let done = self.documents.get(&number).is_none_or(|d| d.acked >= d.changes.len());
        if done {
            self.busy.remove(&number);
        }
    }

    fn set_stage(&mut self, id: MessageId, stage: Stage) {
        let waits = |stage: &Stage| matches!(stage, Stage::Held { .. } | Stage::Written);
        let Some(own) = self.own.get_mut(&id) else { return };
        self.pending += usize::from(waits(&stage));
        self.pending -= usize::from(waits(&own.stage));
        own.stage = stage;
    }

    /// Whether counts and indices agree with the messages themselves.
    pub(crate) fn check_invariants(&self) -> Result<(), String> {
        let waiting = |own: &&Own| matches!(own.stage, Stage::Held { .. } | Stage::Written);
        let pending = self.own.values().filter(waiting).count();
        if pending != self.pending {
            return Err(format!("{pending} messages wait, not {}", self.pending));
        }
        let held = |own: &&Own| matches!(own.stage, Stage::Held { .. });
        if self.own.values().filter(held).count() != self.held.len() {
            return Err("the held messages are not those in the queue".to_owned());
        }
        for (number, document) in &self.documents {
            if (document.acked < document.changes.len()) != self.busy.contains(number) {
                return Err(format!("own-document {number} is busy or not by mistake"));
            }
            if document.flight.is_some_and(|f| f.first + f.count > document.changes.len()) {
                return Err(format!("more is on its way than own-document {number} has"));
            }
        }
        Ok(())
    }
}

/// When a message may be pushed, by the relay's clock.
fn due_ms(id: MessageId, ahead_ms: u64) -> u64 {
    id.time_ms().saturating_sub(ahead_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_thousand_held_messages_are_written_pushed_and_acknowledged() {
        const COUNT: u64 = 100_000;
        let mut outbox = Outbox::default();
        for i in (0..COUNT).rev() {
            outbox.hold(MessageId::from_parts(i * 1_000, 1), Content::text("ada", "x"), 0);
        }
        let due = outbox.due(u64::MAX, 0);
        assert!(due.len() == 100_000 && due.is_sorted());
        for id in due {
            let window = Window::covering(4, id.time_ms());
            let actor = || ActorId16(u128::from(window.start_ms()).to_be_bytes());
            outbox.write(id, window, actor).expect("it is written");
        }
        assert!(outbox.held.is_empty() && outbox.next_due_ms(0).is_none());
        let mut seq = 0;
        while let Some(push) = outbox.next_push(seq, u64::MAX, 0, 256) {
            let seqs: Vec<_> = (seq + 1..).take(push.chunks.len()).collect();
            assert_eq!(outbox.acked(push.reference, &seqs).len(), seqs.len());
            seq += seqs.len() as u64;
        }
        assert_eq!((seq, outbox.pending()), (COUNT, 0));
        outbox.check_invariants().expect("they hold");
    }
}
