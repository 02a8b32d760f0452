//! What this client wrote to one channel: kept until the relay has it, and after that for a relay
//! that loses its history (design 6: after an epoch change each client pushes its own changes again).
//!
//! It knows own-documents, chunks and their fate; it knows nothing of segments or of the directory.
//!
//! Where a host keeps records, each message has one ([`filed`]), and its change is pushed once the
//! record that holds it is stored.

mod answers;
mod filed;

pub(super) use filed::Filed;

use crate::change::{ActorId16, ChangeHash, DocKind, MessageAuthor};
use crate::message::{Content, MessageId};
use crate::window::{Fill, Window};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

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
    /// Its own-document, and its position there.
    place: Option<(u64, u64)>,
    /// Where the store has it.
    filed: Filed,
    /// Whether another client on the same store wrote it.
    is_foreign: bool,
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
    /// Its number in the document, from 1; those of a restored one may begin later.
    position: u64,
    hash: ChangeHash,
    chunk: Vec<u8>,
    body_len: u64,
    /// Whether the store has it.
    is_stored: bool,
    /// Whether the relay has the message by another change, so that it will refuse this one.
    is_void: bool,
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
    actor: ActorId16,
    /// None once retired: an actor whose change was refused, or one of an earlier run of the
    /// program, writes no more.
    author: Option<MessageAuthor>,
    /// Whether it came from the store.
    is_restored: bool,
    /// Not to be pushed before this time of the relay's clock, in ms since the Unix epoch: another
    /// client is expected to push it.
    not_before_ms: u64,
    /// By position.
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
    /// Which of the window's documents they are for.
    pub doc: DocKind,
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
    /// Documents that came from the store.
    restored: BTreeMap<(Window, ActorId16), u64>,
    next_document: u64,
    pending: usize,
    /// Whether a store keeps the messages.
    is_kept: bool,
    /// Messages whose records are to be written at once: those that the relay does not have.
    urgent: BTreeSet<MessageId>,
    /// Messages that the relay has, and their records do not say so yet.
    relayed: BTreeSet<MessageId>,
    /// Whether the relay is another since, and what it lacks is not known: nothing is pushed.
    pub(super) is_blocked: bool,
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

    /// Messages newer than another that the relay does not have, failed ones included.
    pub(crate) fn waiting_after(&self, id: MessageId) -> impl Iterator<Item = MessageId> + '_ {
        let stored = |own: &Own| matches!(own.stage, Stage::Relayed { .. });
        let newer = self.own.range(id.next()..);
        newer.filter(move |(_, own)| !stored(own)).map(|(id, _)| *id)
    }

    /// Own messages placed in a window.
    pub(crate) fn in_window(&self, window: Window) -> impl Iterator<Item = (MessageId, &Own)> {
        let ids = self.by_window.get(&window).into_iter().flatten();
        ids.filter_map(|id| Some((*id, self.own.get(id)?)))
    }

    /// Messages of a span that the relay has under seqs above `since_seq`, or may have: what was
    /// pushed and not acknowledged. With each, whether it is certain.
    pub(crate) fn relayed_in(
        &self,
        span: RangeInclusive<MessageId>,
        since_seq: u64,
    ) -> impl Iterator<Item = (MessageId, bool)> + '_ {
        let is_relayed = move |own: &Own| match own.stage {
            Stage::Written => self.was_pushed(own).then_some(false),
            Stage::Relayed { seq } => seq.is_some_and(|seq| seq > since_seq).then_some(true),
            Stage::Held { .. } | Stage::Failed { .. } => None,
        };
        self.own.range(span).filter_map(move |(id, own)| Some((*id, is_relayed(own)?)))
    }

    fn was_pushed(&self, own: &Own) -> bool {
        let Some((number, position)) = own.place else { return false };
        let Some(document) = self.documents.get(&number) else { return false };
        let at = document.changes.binary_search_by_key(&position, |change| change.position);
        document.is_restored || at.is_ok_and(|at| at < document.sent)
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
        self.enter(id, Own::new(content, written_ms, stage));
        self.mark(id);
    }

    /// Takes a message in that is in no own-document.
    fn enter(&mut self, id: MessageId, own: Own) {
        match own.stage {
            Stage::Held { .. } => {
                self.held.insert(id);
            }
            Stage::Written | Stage::Relayed { .. } | Stage::Failed { .. } => {}
        }
        self.pending += usize::from(own.stage.waits());
        if let Some(window) = own.window {
            self.by_window.entry(window).or_default().insert(id);
        }
        self.own.insert(id, own);
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
        let documents = self.busy.iter().filter_map(|number| self.documents.get(number));
        let documents = documents.map(|document| document.not_before_ms).filter(|ms| *ms > 0);
        self.held.iter().filter_map(of).chain(documents).min()
    }

    /// Lets documents be pushed that were left to another client, if their time has come.
    pub(crate) fn wake(&mut self, now_ms: u64) {
        for number in &self.busy {
            if let Some(document) = self.documents.get_mut(number)
                && document.not_before_ms <= now_ms
            {
                document.not_before_ms = 0;
            }
        }
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
                let actor = actor();
                let author = Some(MessageAuthor::new(window, actor));
                let document = OwnDocument { author, ..OwnDocument::new(window, actor) };
                self.documents.insert(number, document);
                number
            }
        };
        let Some(document) = self.documents.get_mut(&number) else { return Ok(()) };
        let Some(author) = &mut document.author else { return Ok(()) };
        let body = own.content.to_body().map_err(|error| error.to_string())?;
        let body_len = body.len() as u64;
        let authored = author.write(&[(id, body)]).map_err(|error| error.to_string())?;
        let position = author.state().map_or(0, |state| state.seq);
        own.window = Some(window);
        own.stage = Stage::Written;
        own.place = Some((number, position));
        own.is_foreign = false;
        self.by_window.entry(window).or_default().insert(id);
        self.by_hash.insert(authored.hash, id);
        let (hash, chunk) = (authored.hash, authored.chunk);
        document.changes.push(OwnChange::new(id, position, hash, chunk, body_len));
        self.busy.insert(number);
        self.held.remove(&id);
        self.mark(id);
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
            self.mark(id);
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
    /// A change that was never pushed and is not due yet, or would be refused, goes back to the held
    /// ones with all that follow it in its document: they are written anew in time, in the window
    /// chosen already.
    pub(crate) fn next_push(
        &mut self,
        reference: u64,
        now_ms: u64,
        ahead_ms: u64,
        chunks_max: usize,
    ) -> Option<Push> {
        if self.is_blocked {
            return None;
        }
        let ready = |number: &u64| {
            let document = self.documents.get(number);
            document.is_some_and(|d| d.flight.is_none() && d.not_before_ms <= now_ms)
        };
        for number in self.busy.iter().copied().filter(ready).collect::<Vec<_>>() {
            self.skip_relayed(number);
            let Some(document) = self.documents.get_mut(&number) else { continue };
            let first = document.acked;
            let (mut count, mut bytes, mut ends) = (0, 0, false);
            for (at, change) in document.changes.iter().enumerate().skip(first) {
                let is_early = at >= document.sent && due_ms(change.id, ahead_ms) > now_ms;
                ends = is_early || change.is_void;
                bytes += change.chunk.len();
                let fits = count < chunks_max && (count == 0 || bytes <= PUSH_BYTES_MAX);
                if ends || !fits || self.is_kept && !change.is_stored {
                    break;
                }
                count += 1;
            }
            if count == 0 {
                if ends {
                    self.withdraw(number, first, 0);
                }
                continue;
            }
            document.flight = Some(Flight { reference, first, count });
            document.sent = document.sent.max(first + count);
            let chunks = document.changes.iter().skip(first).take(count);
            let chunks = chunks.map(|change| change.chunk.clone()).collect();
            let (window, doc) = (document.window, DocKind::Messages);
            return Some(Push { reference, window, doc, chunks });
        }
        None
    }

    /// Passes over changes that the relay is known to have, though it did not answer for them.
    fn skip_relayed(&mut self, number: u64) {
        let Some(document) = self.documents.get_mut(&number) else { return };
        let rest = document.changes.iter().skip(document.acked);
        let relayed = rest.take_while(|change| {
            let stage = self.own.get(&change.id).map(|own| &own.stage);
            !change.is_void && matches!(stage, Some(Stage::Relayed { .. }))
        });
        document.acked += relayed.count();
        self.settle(number);
    }

    /// Whether every change was acknowledged.
    pub(crate) fn is_all_acked(&self) -> bool {
        self.busy.is_empty()
    }

    /// Whether counts and indices agree with the messages themselves.
    pub(crate) fn check_invariants(&self) -> Result<(), String> {
        let pending = self.own.values().filter(|own| own.stage.waits()).count();
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
            if !document.changes.is_sorted_by(|a, b| a.position < b.position) {
                return Err(format!("own-document {number} is not in order"));
            }
            for change in &document.changes {
                let place = self.own.get(&change.id).and_then(|own| own.place);
                if place != Some((*number, change.position)) {
                    return Err(format!("message {} is not where it was written", change.id));
                }
            }
        }
        self.check_filed()
    }
}

impl Own {
    const fn new(content: Content, written_ms: u64, stage: Stage) -> Self {
        let (window, place, filed, is_foreign) = (None, None, Filed::Nowhere, false);
        Self { content, written_ms, window, stage, place, filed, is_foreign }
    }
}

impl Stage {
    /// Whether the relay is to get the message.
    const fn waits(&self) -> bool {
        matches!(self, Self::Held { .. } | Self::Written)
    }
}

impl OwnChange {
    const fn new(
        id: MessageId,
        position: u64,
        hash: ChangeHash,
        chunk: Vec<u8>,
        body_len: u64,
    ) -> Self {
        Self { id, position, hash, chunk, body_len, is_stored: false, is_void: false }
    }
}

impl OwnDocument {
    /// A document without changes that takes none.
    const fn new(window: Window, actor: ActorId16) -> Self {
        Self {
            window,
            actor,
            author: None,
            is_restored: false,
            not_before_ms: 0,
            changes: Vec::new(),
            acked: 0,
            sent: 0,
            flight: None,
        }
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
