//! What the relay says of a channel, taken in: its directory, single changes, whole windows.

use super::Channel;
use super::loaded::{Arrived, Loaded};
use super::outbox::Refused;
use super::unsure::Unsure;
use crate::change::{ChangeBody, ChangeError, ChangeView, DocKind};
use crate::directory::{Directory, Entry};
use crate::late::UnseenRun;
use crate::message::{MessageId, TIME_MS_MAX};
use crate::segment::SegmentError;
use crate::storage::Fact;
use crate::timeline::{Row, Timeline};
use crate::window::Window;
use crate::wire::{Cursor, WireError, is_late};
use std::collections::BTreeSet;

/// The answer to an `open`.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Where the channel stands.
    pub head: Cursor,
    /// Whether `directory` is the difference since the cursor that was sent, or all of it.
    pub resumed: bool,
    /// The directory, or its difference.
    pub directory: Directory,
    /// The late messages since the cursor.
    pub late: Vec<UnseenRun>,
    /// Whether these are all of them: of very many none is listed.
    pub late_complete: bool,
}

/// One live change.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The seq of its first op.
    pub seq: u64,
    /// Which window it belongs to.
    pub window: Window,
    /// The window's generation it was made for.
    pub generation: u32,
    /// Which of the window's documents.
    pub doc: DocKind,
    /// The change chunk.
    pub chunk: Vec<u8>,
    /// Which of its messages are late, in ascending id order ([`is_late`]).
    pub late: Vec<u8>,
}

/// A saved segment, and what the relay says of its messages.
#[derive(Clone, Debug)]
pub struct SavedAnswer {
    /// What Automerge saved.
    pub bytes: Vec<u8>,
    /// The messages' seqs, in the order of the document's keys
    /// ([`crate::wire::decode_seqs`]).
    pub seqs: Vec<u8>,
    /// Which of them are late, in that order ([`is_late`]).
    pub late: Vec<u8>,
}

/// A change after a saved segment, or after what this replica has.
#[derive(Clone, Debug)]
pub struct AnswerTail {
    /// The seq of its first op.
    pub seq: u64,
    /// The change chunk.
    pub chunk: Vec<u8>,
    /// Which of its messages are late, in ascending id order ([`is_late`]).
    pub late: Vec<u8>,
}

/// The answer to a fetch of one window.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The window.
    pub window: Window,
    /// The seq up to which the answer goes; live changes above it are applied on top.
    pub as_of: u64,
    /// The window's directory entry as of then; None if it holds nothing.
    pub entry: Option<Entry>,
    /// A saved segment that replaces what this replica has of it.
    pub messages: Option<SavedAnswer>,
    /// The changes after it, or after what this replica said it has.
    pub message_tail: Vec<AnswerTail>,
    /// Saved annotations that replace what this replica has of them.
    pub annotations: Option<Vec<u8>>,
    /// The changes after them.
    pub annotation_tail: Vec<Vec<u8>>,
}

/// Why something from the relay was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// A live change came before the channel was opened.
    #[error("a change came for a channel that is not open")]
    NotOpen,
    /// Live changes are missing in between; a resume by cursor brings them.
    #[error("seq {came} came where {expected} was due")]
    Gap {
        /// The seq that was due.
        expected: u64,
        /// The seq that came.
        came: u64,
    },
    /// A chunk is not what the relay may pass on.
    #[error("a change of the relay is malformed")]
    Change(#[from] ChangeError),
    /// Seqs of an answer are malformed.
    #[error("the seqs of a window are malformed")]
    Seqs(#[from] WireError),
    /// A document does not load, or does not take its tail.
    #[error("a window of the relay does not load")]
    Segment(#[from] SegmentError),
    /// An answer's documents are not those of its directory entry, or its seqs not those of its
    /// messages.
    #[error("the answer for window {0} does not match its directory entry")]
    Mismatch(Window),
}

impl Channel {
    /// Takes in the answer to an `open`. Windows that are behind are fetched by the next views.
    ///
    /// # Complexity
    /// O(entries of the directory given); without resume O(everything loaded).
    pub fn opened(&mut self, opened: Opened, now_ms: u64) {
        let is_first = self.head.is_none();
        let since_seq = self.head.as_ref().map_or(0, |head| head.seq);
        let new_epoch = self.head.as_ref().is_some_and(|head| head.epoch != opened.head.epoch);
        self.fetching.clear();
        self.damaged.clear();
        self.full.clear();
        self.complete_until_ms = None;
        self.head = Some(opened.head);
        self.kept.moved();
        self.check_epoch(new_epoch || is_first);
        for (_, entry) in opened.directory.iter() {
            self.observe_time(entry.last_ms, now_ms);
        }
        self.reading.opened();
        if is_first {
            self.reading.first_seq = opened.head.seq;
            self.reading.is_fresh = true;
            // After what is there, and after what was written before it was known.
            let newest_ms = opened.directory.iter().map(|(_, entry)| entry.last_ms).max();
            let newest = MessageId::from_parts(newest_ms.unwrap_or(0), u128::MAX);
            self.reading.seen_to = self.reading.seen_to.max(Some(newest));
            self.kept.saw();
        }
        self.flush();
        if opened.resumed {
            self.take_entries(&opened.directory);
            if !opened.late.is_empty() {
                self.reading.last_late_seq = opened.head.seq;
                self.late_missed(opened.late, since_seq);
                self.kept.saw();
            }
            if !opened.late_complete {
                self.add_unsure(Unsure::since(since_seq, opened.head.seq, &opened.directory));
            }
            self.changed.live = true;
            return;
        }
        self.directory = opened.directory;
        if new_epoch {
            self.windows.clear();
            self.outbox.epoch_changed();
            self.notes.epoch_changed();
            self.forget_marks();
            // What came late and was not seen is news still; what is pushed again may be told again.
            self.unseen.void_seqs();
            self.kept.epoch_changed();
            self.kept.saw();
        }
        let (directory, kept) = (&self.directory, &mut self.kept);
        self.windows.retain(|window, loaded| {
            let stays = directory.get(*window).is_some_and(|entry| loaded.is_current(entry));
            if !stays {
                kept.unloaded(*window);
            }
            stays
        });
        self.rebuild();
        if !is_first && !new_epoch {
            self.add_unsure(Unsure::since(since_seq, opened.head.seq, &self.directory));
        }
        if !is_first && !new_epoch && opened.head.seq > since_seq {
            self.forget_late_of_dropped();
        }
        self.changed.reset = true;
    }

    /// Late messages older than all there is were dropped by a retention: nobody can see them.
    fn forget_late_of_dropped(&mut self) {
        let oldest_ms = self.directory.iter().map(|(_, entry)| entry.first_ms).min();
        let Some(last_ms) = oldest_ms.unwrap_or(TIME_MS_MAX).checked_sub(1) else { return };
        self.late_seen(MessageId::first_of(0), MessageId::from_parts(last_ms, u128::MAX));
    }

    /// Builds the timeline anew from directory, loaded windows and own messages.
    pub(super) fn rebuild(&mut self) {
        let shown: Vec<_> = self.timeline.loaded().walk_from_rank(0).collect();
        self.timeline = Timeline::new();
        for (id, holder) in shown {
            // Own messages stay shown unless the directory counts them in a window not loaded.
            let own = MessageId::from_u128(id).ok().and_then(|id| self.outbox.get(id));
            if own.is_some() && holder.is_none() {
                self.timeline.insert(id, None);
            }
        }
        let waiting: Vec<_> = self.outbox.waiting().collect();
        for id in waiting {
            self.timeline.insert(id.as_u128(), None);
        }
        for (window, loaded) in &self.windows {
            for id in loaded.ids() {
                Self::hold(&mut self.timeline, id, *window);
            }
        }
        let windows: Vec<_> = self.directory.iter().map(|(window, _)| window).collect();
        for window in windows {
            self.refresh_hole(window);
        }
    }

    /// The connection is gone: answers and acks that were out will not come.
    pub fn disconnected(&mut self, relay_now_ms: u64) {
        self.fetching.clear();
        self.outbox.disconnected();
        self.notes.disconnected();
        if self.head.is_some() && self.complete_until_ms.is_none() {
            self.complete_until_ms = Some(relay_now_ms);
        }
    }

    /// Takes in one live change, in the relay's order. One that came before is skipped.
    ///
    /// # Errors
    /// It is malformed, or others are missing before it: the channel must be opened again.
    ///
    /// # Complexity
    /// O(length of the chunk); it is applied with the next batch.
    pub fn change(&mut self, arrival: Arrival, now_ms: u64) -> Result<(), ChannelError> {
        let Some(head) = &mut self.head else { return Err(ChannelError::NotOpen) };
        let expected = head.seq + 1;
        if arrival.seq < expected {
            return Ok(());
        }
        if arrival.seq > expected {
            return Err(ChannelError::Gap { expected, came: arrival.seq });
        }
        let view = ChangeView::read(&arrival.chunk, arrival.window, arrival.doc)?;
        let last_seq = arrival.seq + view.ops_len - 1;
        (head.seq, head.hash) = (last_seq, view.hash);
        self.kept.moved();
        let own = self.outbox.confirmed(&view.hash, arrival.seq).is_some();
        self.notes.confirmed(&view.hash, last_seq);
        self.find_own(&view, &arrival);
        let facts = self.facts_of(&view, &arrival, own, now_ms);
        let known = self.directory.get(arrival.window);
        let is_new = known.is_none();
        let follows = self.windows.get(&arrival.window).zip(known);
        let follows = is_new || follows.is_some_and(|(loaded, entry)| loaded.is_current(entry));
        if self.count(&view, &arrival, last_seq) {
            let Arrival { window, generation, doc, chunk, .. } = arrival;
            let (seq, hash) = (arrival.seq, view.hash);
            let arrived = Arrived { doc, seq, last_seq, hash, chunk, facts };
            if doc == DocKind::Annotations && !self.windows.contains_key(&window) {
                self.drop_overruled(&view);
            }
            if is_new && doc == DocKind::Messages && self.is_near_shown(&view) {
                // Nobody wrote to it before, so this replica has all of it, and so will the store.
                let mut loaded = Loaded::empty(window, generation);
                loaded.is_stored = true;
                self.windows.insert(window, loaded);
            }
            self.keep(window, arrived, follows);
        } else {
            // The entry counts it already; one of this client it is known to count only now.
            self.refresh_hole(arrival.window);
        }
        self.see_written();
        Ok(())
    }

    /// Whether a message of a change stands beside one that is shown, or would be the first of all.
    /// Others may make windows anywhere, and each that is loaded takes memory.
    fn is_near_shown(&self, view: &ChangeView) -> bool {
        let is_shown = |row: u64| matches!(self.timeline.select(row), Some(Row::Message { .. }));
        let is_near = |id: MessageId| {
            let row = self.timeline.rank(id.as_u128());
            is_shown(row) || row.checked_sub(1).is_none_or(is_shown)
        };
        ids_of(view).into_iter().any(is_near)
    }

    /// A sibling wrote messages of this client as well, and was first.
    fn find_own(&mut self, view: &ChangeView, arrival: &Arrival) {
        let ChangeBody::Messages(ops) = &view.body else { return };
        for (seq, id) in (arrival.seq..).zip(ids_of(view)) {
            if !self.outbox.is_waiting(id) {
                continue;
            }
            let content = ops.iter().find(|op| op.id == id).map(|op| &op.content);
            if self.outbox.get(id).map(|own| &own.content) == content {
                self.outbox.found(id, arrival.window, seq, true);
                self.changed.sent = true;
            }
        }
    }

    /// What the relay and the clock say of the messages of a live change.
    fn facts_of(
        &mut self,
        view: &ChangeView,
        arrival: &Arrival,
        own: bool,
        now_ms: u64,
    ) -> Vec<(MessageId, Fact)> {
        if arrival.doc == DocKind::Annotations {
            self.changed.edited = true;
            return Vec::new();
        }
        let ids = ids_of(view);
        let of_user = self.written_by_user(view);
        let mut facts = Vec::with_capacity(ids.len());
        for (seq, (at, id)) in (arrival.seq..).zip(ids.into_iter().enumerate()) {
            let late = is_late(&arrival.late, at);
            facts.push((id, Fact { seq, late, arrived_ms: Some(now_ms) }));
            self.ids.observe(id);
            if late && !own && !of_user.contains(&id) {
                self.late_came(id, seq);
            } else {
                self.settle_late(id);
            }
        }
        self.changed.sent |= own;
        self.changed.live |= !own;
        facts
    }

    /// The messages of a change that the user of this replica wrote, on whichever device.
    fn written_by_user(&self, view: &ChangeView) -> BTreeSet<MessageId> {
        let ChangeBody::Messages(ops) = &view.body else { return BTreeSet::new() };
        let of_user = ops.iter().filter(|op| op.content.from == self.user);
        of_user.map(|op| op.id).collect()
    }

    /// Counts a change in the directory; false if its window's entry has it already, because an
    /// answer ran ahead of the live changes.
    fn count(&mut self, view: &ChangeView, arrival: &Arrival, last_seq: u64) -> bool {
        let mut entry = self.directory.get(arrival.window).copied();
        let mark = |entry: &Entry| match arrival.doc {
            DocKind::Messages => entry.message_doc.last_seq,
            DocKind::Annotations => entry.annotation_doc.last_seq,
        };
        if entry.as_ref().is_some_and(|entry| last_seq <= mark(entry)) {
            return false;
        }
        if let ChangeBody::Messages(ops) = &view.body {
            for op in ops {
                let (time_ms, bytes) = (op.id.time_ms(), op.body.len() as u64);
                match &mut entry {
                    Some(entry) => entry.add_message(time_ms, bytes),
                    None => entry = Some(Entry::one(arrival.generation, time_ms, bytes)),
                }
            }
        }
        // Annotations of a window without messages concern nothing that could be shown.
        let Some(mut entry) = entry else { return false };
        match arrival.doc {
            DocKind::Messages => entry.message_doc.record(last_seq, &view.hash),
            DocKind::Annotations => entry.annotation_doc.record(last_seq, &view.hash),
        }
        self.directory.set(arrival.window, entry);
        true
    }

    /// Puts a counted change where its window can use it: kept, queued for the batch, or dropped. A
    /// window that was behind takes none: it would seem to have what lies between, and the fetch that
    /// brings that brings this as well.
    pub(super) fn keep(&mut self, window: Window, arrived: Arrived, follows: bool) {
        if let Some(kept) = self.fetching.get_mut(&window) {
            kept.push(arrived);
        } else if let Some(loaded) = self.windows.get_mut(&window).filter(|_| follows) {
            if self.kept.takes(window, loaded)
                && let (Some(head), Some(entry)) = (&self.head, self.directory.get(window))
            {
                let record = arrived.to_record(head.epoch, *entry);
                self.kept.append(window, arrived.seq, arrived.doc, record);
            }
            loaded.push(arrived);
            self.waiting.insert(window);
        } else {
            self.holes_grown = true;
        }
        self.refresh_hole(window);
    }

    /// Applies the changes that wait, in one batch for each window.
    pub fn flush(&mut self) {
        for window in std::mem::take(&mut self.waiting) {
            let Some(loaded) = self.windows.get_mut(&window) else { continue };
            let is_said = loaded.has_waiting_annotations();
            let came = loaded.flush(&mut self.problems);
            for id in &came {
                Self::hold(&mut self.timeline, *id, window);
            }
            came.into_iter().for_each(|id| self.settle_late(id));
            if is_said {
                self.drop_contradicted(window);
            }
        }
    }

    /// Takes over entries that changed by an erasure: what is loaded of an older generation goes.
    pub fn replace_entries(&mut self, entries: &Directory) {
        self.flush();
        self.take_entries(entries);
        self.changed.edited = true;
    }

    /// Merges newer entries: windows of an older generation go, others that lack something are behind.
    fn take_entries(&mut self, entries: &Directory) {
        let mut erased = Vec::new();
        for (window, entry) in entries.iter() {
            let void = |loaded: &Loaded| loaded.generation < entry.generation;
            if self.windows.get(&window).is_some_and(void) {
                self.unload(window);
            }
            if self.directory.get(window).is_some_and(|known| known.generation < entry.generation) {
                self.kept.erased(window);
                erased.push(window);
            }
        }
        self.directory.merge(entries);
        for (window, _) in entries.iter() {
            self.refresh_hole(window);
        }
        self.kept.moved();
        if !erased.is_empty() {
            erased.into_iter().for_each(|window| self.drop_erased(window));
            self.settle_blocks();
        }
    }

    /// The relay has stored a push, or a prefix of it.
    pub fn acked(&mut self, reference: u64, seqs: &[u64]) {
        if self.notes.is_pushing(reference) {
            if let Some(seq) = seqs.last() {
                self.notes.acked(reference, *seq);
            }
            return;
        }
        for id in self.outbox.acked(reference, seqs) {
            self.stored(id);
        }
        self.see_written();
        self.changed.sent = true;
    }

    /// The relay has refused the change `index` of a push for good.
    pub fn nacked(&mut self, reference: u64, index: usize, code: &str, relay_now_ms: u64) {
        if let Some(window) = self.notes.nacked(reference, code) {
            if let Some(loaded) = self.windows.get_mut(&window) {
                loaded.retire_annotator();
            }
            self.changed.edited = true;
            return;
        }
        match self.outbox.nacked(reference, index, code, relay_now_ms) {
            Refused::Duplicate(id) => {
                // It is counted in whichever window has it, and shown once that is loaded.
                if self.timeline.get(id.as_u128()) == Some(None) {
                    self.timeline.remove(id.as_u128());
                }
            }
            Refused::WindowFull(_, window) => {
                self.full.insert(window);
            }
            Refused::Unknown | Refused::Failed(_) | Refused::Postponed(_) => {}
        }
        self.changed.sent = true;
    }

    /// An own message is in the relay's order: if the directory counts it, its hole does not.
    fn stored(&mut self, id: MessageId) {
        if let Some(window) = self.outbox.get(id).and_then(|own| own.window) {
            self.refresh_hole(window);
        }
    }

    /// Follows the newest message the directory knows, so that what is written next comes after it.
    pub(super) fn observe_time(&mut self, time_ms: u64, now_ms: u64) {
        if time_ms < TIME_MS_MAX && time_ms >= now_ms {
            self.ids.observe(MessageId::first_of(time_ms + 1));
        }
    }
}

/// The messages of a change, in ascending id order: the order of their seqs.
pub(super) fn ids_of(view: &ChangeView) -> Vec<MessageId> {
    let ChangeBody::Messages(ops) = &view.body else { return Vec::new() };
    let mut ids: Vec<_> = ops.iter().map(|op| op.id).collect();
    ids.sort_unstable();
    ids
}
