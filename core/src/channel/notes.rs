//! What this client says of messages (edits, deletions, reactions), until the relay has it and after
//! that for a relay that loses its history.
//!
//! A note is the newest value of one annotation key. It is shown at once, laid over what the window's
//! annotations say; it is written as a change once its window is loaded and current, because an
//! annotation change depends on the heads it was made over (design 4.2). Of a window one change is on
//! its way at a time, and the next is written when that one is in the loaded document.

use super::outbox::Filed;
use crate::annotation::{AnnotationKey, AnnotationValue, Annotations};
use crate::change::ChangeHash;
use crate::message::MessageId;
use crate::storage::{Key, NoteRecord, StoredRecord};
use crate::window::Window;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// How often a note is written anew that a relay refused for what its change follows.
const ATTEMPTS_MAX: u8 = 5;

/// Which annotation of which message, in the order of messages.
pub(crate) type NoteId = (MessageId, AnnotationKey);

/// One key's newest value.
#[derive(Clone, Debug)]
struct Note {
    value: AnnotationValue,
    /// Greater with each value of the key.
    version: u64,
    stage: Stage,
    /// Whether the store has this value.
    is_stored: bool,
    /// Where the store has it.
    filed: Filed,
    /// Not to be written before this time of the relay's clock: another client is expected to.
    not_before_ms: u64,
    attempts: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// In no change.
    Waiting,
    /// In the change of its window that is on its way.
    Written,
    /// The relay has it.
    Relayed,
}

/// A change on its way.
#[derive(Clone, Debug)]
struct Flight {
    hash: ChangeHash,
    chunk: Vec<u8>,
    /// None while it is not pushed on this connection.
    reference: Option<u64>,
    /// The seq under which the relay has it.
    seq: Option<u64>,
    notes: Vec<(NoteId, u64)>,
}

/// The relay would not take a note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The message that was annotated.
    pub id: MessageId,
    /// The relay's stable code.
    pub code: String,
}

/// What this client says of a channel's messages.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    notes: BTreeMap<NoteId, Note>,
    flights: BTreeMap<Window, Flight>,
    /// Windows whose notes go one to a change, because a change of several was refused.
    single: BTreeSet<Window>,
    /// Notes that the relay does not have.
    open: BTreeSet<NoteId>,
    versions: u64,
    pub(super) is_kept: bool,
    /// Notes whose records are to be written at once.
    urgent: BTreeSet<NoteId>,
    /// Notes that the relay has, and their records do not say so yet.
    relayed: BTreeSet<NoteId>,
    pub(super) refusals: Vec<Refusal>,
}

impl Notes {
    /// How many the relay does not have.
    pub(crate) fn pending(&self) -> usize {
        self.open.len()
    }

    /// Says something of a message; the newest value of a key counts.
    pub(crate) fn say(&mut self, key: AnnotationKey, value: AnnotationValue) {
        let id = (key.id(), key);
        let filed = self.notes.get(&id).map_or(Filed::Nowhere, |note| note.filed);
        self.enter(id.clone(), value, filed, 0);
        if self.is_kept {
            self.relayed.remove(&id);
            self.urgent.insert(id);
        }
    }

    fn enter(&mut self, id: NoteId, value: AnnotationValue, filed: Filed, not_before_ms: u64) {
        self.versions += 1;
        let is_stored = !self.is_kept || filed != Filed::Nowhere;
        let (stage, attempts, version) = (Stage::Waiting, 0, self.versions);
        let note = Note { value, version, stage, is_stored, filed, not_before_ms, attempts };
        self.open.insert(id.clone());
        self.notes.insert(id, note);
    }

    /// Lays what is not at the relay yet over what the relay says of a message.
    pub(crate) fn overlay(&self, id: MessageId, annotations: &mut Annotations) {
        for ((_, key), note) in self.of(id) {
            if note.stage != Stage::Relayed {
                annotations.apply(key, note.value.clone());
            }
        }
    }

    fn of(&self, id: MessageId) -> impl Iterator<Item = (&NoteId, &Note)> {
        let from = (id, AnnotationKey::Edit { id });
        self.notes.range(from..).take_while(move |((of, _), _)| *of == id)
    }

    /// Notes that can be written at `now_ms`, with their values.
    pub(crate) fn due(&self, now_ms: u64) -> impl Iterator<Item = (&NoteId, &AnnotationValue)> {
        let is_due = move |note: &Note| {
            note.stage == Stage::Waiting && note.is_stored && note.not_before_ms <= now_ms
        };
        let open = self.open.iter().filter_map(|id| Some((id, self.notes.get(id)?)));
        open.filter(move |(_, note)| is_due(note)).map(|(id, note)| (id, &note.value))
    }

    /// When a note becomes due that was left to another client.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        let open = self.open.iter().filter_map(|id| self.notes.get(id));
        let waiting = open.filter(|note| note.stage == Stage::Waiting);
        waiting.map(|note| note.not_before_ms).filter(|ms| *ms > 0).min()
    }

    /// Whether a change of a window is on its way.
    pub(crate) fn is_flying(&self, window: Window) -> bool {
        self.flights.contains_key(&window)
    }

    /// Whether notes of a window go one to a change.
    pub(crate) fn is_single(&self, window: Window) -> bool {
        self.single.contains(&window)
    }

    /// Notes are written as a change of their window.
    pub(crate) fn written(
        &mut self,
        window: Window,
        ids: &[NoteId],
        hash: ChangeHash,
        chunk: Vec<u8>,
    ) {
        let mut notes = Vec::with_capacity(ids.len());
        for id in ids {
            if let Some(note) = self.notes.get_mut(id) {
                note.stage = Stage::Written;
                notes.push((id.clone(), note.version));
            }
        }
        let flight = Flight { hash, chunk, reference: None, seq: None, notes };
        self.flights.insert(window, flight);
    }

    /// The next change to push, under a reference.
    pub(crate) fn next_push(&mut self, reference: u64) -> Option<(Window, Vec<u8>)> {
        let idle = |flight: &&mut Flight| flight.reference.is_none() && flight.seq.is_none();
        let mut flights = self.flights.iter_mut().map(|(window, flight)| (*window, flight));
        let (window, flight) = flights.find(|(_, flight)| idle(flight))?;
        flight.reference = Some(reference);
        Some((window, flight.chunk.clone()))
    }

    /// Whether a push is on its way.
    pub(crate) fn is_pushing(&self, reference: u64) -> bool {
        self.flights.values().any(|flight| flight.reference == Some(reference))
    }

    /// The relay has stored a push.
    pub(crate) fn acked(&mut self, reference: u64, seq: u64) {
        let mut flights = self.flights.values_mut();
        if let Some(flight) = flights.find(|flight| flight.reference == Some(reference)) {
            (flight.reference, flight.seq) = (None, Some(seq));
        }
    }

    /// A change came from the relay; whether it is of this client.
    pub(crate) fn confirmed(&mut self, hash: &ChangeHash, last_seq: u64) -> bool {
        let mut flights = self.flights.values_mut();
        let own = flights.find(|flight| flight.hash == *hash);
        own.map(|flight| flight.seq = Some(last_seq)).is_some()
    }

    /// The reactions of some messages that the relay has, with their values.
    pub(crate) fn relayed_reactions(
        &self,
        span: RangeInclusive<MessageId>,
    ) -> impl Iterator<Item = (&NoteId, &AnnotationValue)> {
        let (first, last) = span.into_inner();
        let notes = self.notes.range((first, AnnotationKey::Edit { id: first })..);
        let notes = notes.take_while(move |((id, _), _)| *id <= last);
        let is_one = |(id, note): &(&NoteId, &Note)| {
            note.stage == Stage::Relayed && matches!(id.1, AnnotationKey::Reaction { .. })
        };
        notes.filter(is_one).map(|(id, note)| (id, &note.value))
    }

    /// The value of a reaction that the relay has.
    pub(crate) fn relayed_reaction(&self, id: &NoteId) -> Option<&AnnotationValue> {
        let note = self.notes.get(id).filter(|note| note.stage == Stage::Relayed)?;
        matches!(id.1, AnnotationKey::Reaction { .. }).then_some(&note.value)
    }

    /// Takes the changes off that the relay has and this client shows. Gives their windows.
    pub(crate) fn land(&mut self, is_shown: impl Fn(Window, u64) -> bool) -> Vec<Window> {
        let landed = self.flights.iter().filter_map(|(window, flight)| {
            let seq = flight.seq.filter(|seq| is_shown(*window, *seq));
            seq.map(|_| *window)
        });
        let landed: Vec<_> = landed.collect();
        for window in &landed {
            let Some(flight) = self.flights.remove(window) else { continue };
            for (id, version) in flight.notes {
                if self.notes.get(&id).is_some_and(|note| note.version == version) {
                    self.is_relayed(&id);
                }
            }
        }
        landed
    }

    /// The relay has a note.
    pub(crate) fn is_relayed(&mut self, id: &NoteId) {
        let Some(note) = self.notes.get_mut(id) else { return };
        self.open.remove(id);
        note.stage = Stage::Relayed;
        note.attempts = 0;
        self.urgent.remove(id);
        if self.is_kept && note.filed != Filed::Relayed {
            self.relayed.insert(id.clone());
        }
    }

    /// The relay has refused a push. `None` is returned if it was none of these.
    pub(crate) fn nacked(&mut self, reference: u64, code: &str) -> Option<Window> {
        let mut flights = self.flights.iter();
        let window = *flights.find(|(_, flight)| flight.reference == Some(reference))?.0;
        let flight = self.flights.remove(&window)?;
        let is_alone = flight.notes.len() == 1;
        if !is_alone {
            self.single.insert(window);
        }
        for (id, version) in flight.notes {
            let Some(note) = self.notes.get_mut(&id).filter(|note| note.version == version) else {
                continue;
            };
            note.stage = Stage::Waiting;
            note.attempts += 1;
            // What its change follows is another here than there: it is written anew.
            let may_pass = matches!(code, "bad_change" | "stale_generation");
            let is_over = is_alone && !may_pass || note.attempts > ATTEMPTS_MAX;
            if is_over {
                self.refuse(&id, code);
            }
        }
        Some(window)
    }

    /// Drops a note that cannot be.
    pub(crate) fn refuse(&mut self, id: &NoteId, code: &str) {
        self.remove(id);
        self.refusals.push(Refusal { id: id.0, code: code.to_owned() });
    }

    /// Drops a note, and its record.
    pub(crate) fn remove(&mut self, id: &NoteId) {
        if self.notes.remove(id).is_none() {
            return;
        }
        self.open.remove(id);
        self.relayed.remove(id);
        if self.is_kept {
            self.urgent.insert(id.clone());
        }
    }

    /// The connection is gone: what was on its way is pushed again.
    pub(crate) fn disconnected(&mut self) {
        self.flights.values_mut().for_each(|flight| flight.reference = None);
    }

    /// The relay has another history: everything is written anew that it lacks.
    pub(crate) fn epoch_changed(&mut self) {
        self.flights.clear();
        for note in self.notes.values_mut() {
            note.stage = Stage::Waiting;
            note.is_stored |= note.filed != Filed::Nowhere;
        }
        // Records stay where they are: the channel's says that these are written again.
        self.relayed.clear();
        self.open = self.notes.keys().cloned().collect();
    }

    /// Takes a note of the store in, unless a newer one is there; whether it did.
    pub(crate) fn restore(
        &mut self,
        id: NoteId,
        record: NoteRecord,
        filed: Filed,
        not_before_ms: u64,
    ) -> bool {
        if self.notes.contains_key(&id) {
            return false;
        }
        self.enter(id, record.value, filed, not_before_ms);
        true
    }

    /// Another client on the store wrote, changed or dropped a note.
    pub(crate) fn foreign(&mut self, id: &NoteId, record: Option<NoteRecord>, until_ms: u64) {
        if self.urgent.contains(id) {
            return;
        }
        let known = self.notes.get(id);
        if known.is_some_and(|note| note.stage != Stage::Waiting) {
            return;
        }
        match record {
            Some(record) if known.is_none_or(|note| note.value != record.value) => {
                self.enter(id.clone(), record.value, Filed::Unsent, until_ms);
            }
            Some(_) => {}
            None => {
                self.notes.remove(id);
                self.open.remove(id);
                self.relayed.remove(id);
            }
        }
    }

    /// Has a store keep the notes from now on.
    pub(crate) const fn start_keeping(&mut self) {
        self.is_kept = true;
    }

    /// No store keeps them any more.
    pub(crate) fn stop_keeping(&mut self) {
        self.is_kept = false;
        self.urgent.clear();
        self.relayed.clear();
        self.notes.values_mut().for_each(|note| note.is_stored = true);
    }

    /// Whether records are to be written at once.
    pub(crate) fn has_urgent(&self) -> bool {
        !self.urgent.is_empty()
    }

    /// How many records are to be moved.
    pub(crate) fn relayed_len(&self) -> usize {
        self.relayed.len()
    }

    /// The records to be written at once, and which values are in them.
    pub(crate) fn take_urgent(&mut self, channel: &str) -> (Vec<StoredRecord>, Vec<(NoteId, u64)>) {
        let (mut records, mut stored) = (Vec::new(), Vec::new());
        for id in std::mem::take(&mut self.urgent) {
            let note = id.1.clone();
            let unsent = Key::UnsentNote { channel: channel.to_owned(), note: note.clone() };
            let relayed = Key::RelayedNote { channel: channel.to_owned(), note };
            let Some(note) = self.notes.get_mut(&id) else {
                records.extend([unsent.deletion(), relayed.deletion()]);
                continue;
            };
            let record = NoteRecord { value: note.value.clone() };
            records.push(record.to_stored(&unsent));
            if note.filed == Filed::Relayed {
                records.push(relayed.deletion());
            }
            note.filed = Filed::Unsent;
            stored.push((id, note.version));
        }
        (records, stored)
    }

    /// The records of notes that the relay has by now, moved to where they are kept for it.
    pub(crate) fn take_relayed(&mut self, channel: &str) -> Vec<StoredRecord> {
        let mut records = Vec::new();
        for id in std::mem::take(&mut self.relayed) {
            let Some(note) = self.notes.get_mut(&id) else { continue };
            let key = id.1;
            let unsent = Key::UnsentNote { channel: channel.to_owned(), note: key.clone() };
            records.push(unsent.deletion());
            let record = NoteRecord { value: note.value.clone() };
            let relayed = Key::RelayedNote { channel: channel.to_owned(), note: key };
            records.push(record.to_stored(&relayed));
            note.filed = Filed::Relayed;
        }
        records
    }

    /// The store has a value: it may be on its way.
    pub(crate) fn is_stored(&mut self, id: &NoteId, version: u64) {
        if let Some(note) = self.notes.get_mut(id).filter(|note| note.version == version) {
            note.is_stored = true;
        }
    }

    /// Checks what the other methods rely on.
    ///
    /// # Errors
    /// A sentence about the first disagreement found.
    pub(crate) fn check_invariants(&self) -> Result<(), String> {
        let open = self.notes.iter().filter(|(_, note)| note.stage != Stage::Relayed);
        if !open.map(|(id, _)| id).eq(&self.open) {
            return Err("the notes that wait are not those in the list".to_owned());
        }
        let flying: BTreeSet<_> =
            self.flights.values().flat_map(|flight| &flight.notes).cloned().collect();
        for (id, note) in &self.notes {
            if id.0 != id.1.id() {
                return Err(format!("the note {id:?} is under another message"));
            }
            let is_written = note.stage == Stage::Written;
            if is_written && !flying.contains(&(id.clone(), note.version)) {
                return Err(format!("the note {id:?} is written and in no change"));
            }
            if self.is_kept && note.filed == Filed::Nowhere && !self.urgent.contains(id) {
                return Err(format!("the note {id:?} has no record"));
            }
        }
        Ok(())
    }
}
