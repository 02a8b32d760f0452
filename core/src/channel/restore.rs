//! What a store gives back: where the replica stood, its own messages, and windows.
//!
//! Nothing is trusted further than it can be checked. A window's documents count if their digests
//! are those of their record; the changes after them as far as each entry's digests follow from the
//! one before. What is behind the directory is loaded and then fetched from where it stands; what is
//! ahead moves the directory on, as an answer of the relay would.

use super::Channel;
use super::kept::Repush;
use super::loaded::Loaded;
use super::notes::NoteId;
use super::outbox::Filed;
use super::receive::ids_of;
use super::unseen;
use super::unsure::Unsure;
use crate::change::{ChangeView, DocKind};
use crate::directory::{DocMark, Entry};
use crate::limits::MAKER_AHEAD_MS_MAX;
use crate::message::MessageId;
use crate::storage::{
    AppendedRecord, ChannelRecord, Fact, Key, NoteRecord, OwnRecord, RecordError, SeenRecord,
    SegmentRecord, UnsureRecord,
};
use crate::window::Window;
use crate::wire::{Cursor, Epoch, is_late};
use std::collections::BTreeSet;

/// How long a sibling's message is left to the sibling, in ms.
const SIBLING_MS: u64 = 5_000;

/// What a store has of a channel.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    pub(crate) channel: Option<ChannelRecord>,
    pub(crate) seen: Option<SeenRecord>,
    /// Messages that the relay does not have.
    pub(crate) own: Vec<(MessageId, OwnRecord)>,
    /// Annotations that the relay does not have.
    pub(crate) notes: Vec<(NoteId, NoteRecord)>,
    /// Windows that there is something of.
    pub(crate) windows: BTreeSet<Window>,
}

/// What a store has of this device's own.
#[derive(Debug, Default)]
pub(crate) struct OwnRecords {
    pub(crate) messages: Vec<(MessageId, OwnRecord)>,
    pub(crate) notes: Vec<(NoteId, NoteRecord)>,
}

/// A window as it came from the store.
struct RestoredWindow {
    loaded: Loaded,
    entry: Entry,
    /// Whether every record was of use; else it is to be written anew.
    is_whole: bool,
}

impl Channel {
    /// Takes in what the store has of the channel, before it is opened at the relay. What was sent
    /// meanwhile stays.
    pub(crate) fn restore(&mut self, restored: Restored, relay_now_ms: u64) {
        if self.kept.is_on {
            self.kept.stored.extend(restored.windows);
        }
        // Without a record it is not known what the relay has: the rest is read when it is opened.
        self.kept.pushed_epoch = Some(Epoch([0; 16]));
        if let Some(record) = restored.channel.filter(|_| self.head.is_none()) {
            // Another client on the store may have written it, and have been told of late messages that
            // the seen record does not have: the relay is asked for those again.
            let told_to = restored.seen.as_ref().and_then(|seen| seen.told_to);
            let is_behind =
                |told: &Cursor| told.epoch == record.head.epoch && told.seq < record.head.seq;
            self.head = Some(told_to.filter(is_behind).unwrap_or(record.head));
            self.directory = record.directory;
            self.complete_until_ms = Some(record.as_of_ms);
            self.kept.pushed_epoch = Some(record.pushed_epoch);
            let times: Vec<_> = self.directory.iter().map(|(_, entry)| entry.last_ms).collect();
            for time_ms in &times {
                self.observe_time(*time_ms, relay_now_ms);
            }
            let newest = MessageId::from_parts(times.into_iter().max().unwrap_or(0), u128::MAX);
            self.reading.seen_to = self.reading.read.max(Some(newest));
        }
        if let Some(record) = restored.seen {
            // What was written while it was read was in view.
            self.reading.seen_to = self.reading.read.max(Some(record.seen_to));
            self.reading.read = self.reading.read.max(record.read);
            unseen::restore(&mut self.unseen, record.unseen);
            if self.unseen.total() > 0 {
                // The relay may not know yet.
                self.reading.last_late_seq = self.head.as_ref().map_or(0, |head| head.seq);
            }
            let is_same = |told: &Cursor| self.head.is_some_and(|head| head.epoch == told.epoch);
            if record.told_to.as_ref().is_some_and(is_same) {
                let of = |unsure: UnsureRecord| Unsure {
                    since_seq: unsure.since_seq,
                    upto_seq: unsure.upto_seq,
                    windows: unsure.windows.into_iter().collect(),
                };
                self.reading.unsure = record.unsure.into_iter().map(of).collect();
                self.reading.is_fresh = record.fresh_seq.is_some();
                self.reading.first_seq = record.fresh_seq.unwrap_or(0);
            } else {
                self.unseen.void_seqs();
            }
        }
        for (id, record) in restored.own {
            if id.time_ms() <= relay_now_ms.saturating_add(MAKER_AHEAD_MS_MAX) {
                self.ids.observe(id);
            }
            self.outbox.restore(id, record, Filed::Unsent, None);
            self.reading.written.insert(id);
        }
        for (id, record) in restored.notes {
            self.notes.restore(id, record, Filed::Unsent, 0);
        }
        self.check_epoch(true);
        self.rebuild();
        self.changed.reset = true;
    }

    /// Whether own messages that the relay had are to be pushed again: it has another history since
    /// they were.
    pub(super) fn check_epoch(&mut self, is_new: bool) {
        let Some(epoch) = self.head.as_ref().map(|head| head.epoch) else { return };
        let pushed_epoch = *self.kept.pushed_epoch.get_or_insert(epoch);
        let is_reading = self.kept.repush == Repush::Reading;
        if !self.kept.is_on || !is_new || pushed_epoch == epoch || is_reading {
            return;
        }
        self.kept.repush = Repush::Wanted;
        self.outbox.is_blocked = true;
    }

    /// Takes in the relayed messages and annotations of the store: they are pushed again. None if
    /// they could not be read.
    pub(crate) fn restore_relayed(&mut self, relayed: Option<OwnRecords>) {
        self.outbox.is_blocked = false;
        let Some(OwnRecords { messages, notes }) = relayed else {
            self.kept.repush = Repush::Failed;
            return;
        };
        self.kept.repush = Repush::Pushing;
        for (id, record) in notes {
            self.changed.edited |= self.notes.restore(id, record, Filed::Relayed, 0);
        }
        for (id, record) in messages {
            if self.outbox.restore(id, record, Filed::Relayed, None)
                && self.timeline.insert(id.as_u128(), None)
            {
                self.changed.sent = true;
            }
        }
        self.flush();
        for window in self.windows.keys().copied().collect::<Vec<_>>() {
            self.find_loaded(window);
        }
    }

    /// A sibling's message was written: it is shown, and left to the sibling for some seconds.
    pub(crate) fn restore_foreign(&mut self, id: MessageId, record: OwnRecord, relay_now_ms: u64) {
        self.flush();
        self.changed.sent |= self.outbox.drop_outdated(id, &record);
        if self.timeline.get(id.as_u128()).flatten().is_some() {
            // It came from the relay meanwhile.
            return;
        }
        // An answer that is written here comes after it.
        if id.time_ms() <= relay_now_ms.saturating_add(MAKER_AHEAD_MS_MAX) {
            self.ids.observe(id);
        }
        let foreign_until_ms = relay_now_ms.saturating_add(SIBLING_MS);
        if self.outbox.restore(id, record, Filed::Unsent, Some(foreign_until_ms)) {
            self.timeline.insert(id.as_u128(), None);
            self.changed.sent = true;
        }
    }

    /// A sibling wrote, changed or dropped an annotation.
    pub(crate) fn restore_foreign_note(
        &mut self,
        id: &NoteId,
        record: Option<NoteRecord>,
        relay_now_ms: u64,
    ) {
        self.notes.foreign(id, record, relay_now_ms.saturating_add(SIBLING_MS));
        self.changed.edited = true;
    }

    /// Of the messages between two, a sibling's that are not in the store any more go: they were
    /// relayed, or dropped.
    pub(crate) fn keep_foreign(
        &mut self,
        (first, last): (MessageId, MessageId),
        there: &BTreeSet<MessageId>,
    ) {
        for id in self.outbox.foreign_between(first, last) {
            if !there.contains(&id) && self.outbox.drop_foreign(id) {
                if self.timeline.get(id.as_u128()) == Some(None) {
                    self.timeline.remove(id.as_u128());
                    self.settle_gone(id);
                }
                self.changed.sent = true;
            }
        }
    }

    /// Another client on the store saw more.
    pub(crate) fn merge_seen(&mut self, record: &SeenRecord) {
        match record.read {
            Some(read) => self.see(read),
            None => self.reading.seen_to = self.reading.seen_to.max(Some(record.seen_to)),
        }
    }

    /// A window is written by another client: it may be read from now on.
    pub(crate) fn window_stored(&mut self, window: Window) {
        if self.kept.is_on {
            self.kept.stored.insert(window);
        }
    }

    /// A window is being read from the store.
    pub(crate) fn look_up_started(&mut self, window: Window) {
        self.kept.looking.insert(window);
    }

    /// How many windows are being read from the store.
    pub(crate) fn looking_len(&self) -> usize {
        self.kept.looking.len()
    }

    /// Takes in what the store has of a window, in the order of its keys. Returns the records that
    /// cannot be read.
    ///
    /// # Complexity
    /// O(messages of the window).
    pub(crate) fn restore_window(
        &mut self,
        window: Window,
        records: Vec<(Key, Vec<u8>)>,
    ) -> Vec<(Key, RecordError)> {
        self.kept.looking.remove(&window);
        if self.windows.contains_key(&window) || self.fetching.contains_key(&window) {
            return Vec::new();
        }
        let Some(epoch) = self.head.as_ref().map(|head| head.epoch) else { return Vec::new() };
        let keys: Vec<_> = records.iter().map(|(key, _)| key.encode()).collect();
        let mut bad = Vec::new();
        let restored = read_window(window, epoch, records, &mut bad);
        for (key, _) in &bad {
            self.kept.delete(key.encode());
        }
        match restored.filter(|restored| self.fits(window, &restored.entry)) {
            Some(restored) => self.show_restored(window, restored),
            None => {
                // Of no use: it is fetched, and written anew.
                self.kept.stored.remove(&window);
                self.delete_stored(keys);
            }
        }
        bad
    }

    /// Whether documents with this entry can be the window's, now or before.
    fn fits(&self, window: Window, entry: &Entry) -> bool {
        let Some(known) = self.directory.get(window) else { return true };
        let marks = |entry: &Entry| (entry.message_doc, entry.annotation_doc);
        entry.generation == known.generation
            && (entry.latest_seq() != known.latest_seq() || marks(entry) == marks(known))
    }

    fn show_restored(&mut self, window: Window, restored: RestoredWindow) {
        let RestoredWindow { mut loaded, entry, is_whole } = restored;
        loaded.is_stored = is_whole;
        loaded.is_restored = true;
        self.windows.insert(window, loaded);
        self.show(window);
        self.take_entry(window, entry);
        // It may be behind: a hole stands for what it lacks, late messages among it.
        self.refresh_hole(window);
        self.list_late(window);
        self.drop_contradicted(window);
        if !is_whole {
            self.kept.loaded(window);
        }
        self.changed.loaded = true;
    }

    /// A window could not be read: it is fetched.
    pub(crate) fn look_up_failed(&mut self, window: Window) {
        self.kept.looking.remove(&window);
        self.kept.stored.remove(&window);
    }
}

type Appended = (u64, DocKind, AppendedRecord);

/// Puts a window's records together, as far as they fit.
fn read_window(
    window: Window,
    epoch: Epoch,
    records: Vec<(Key, Vec<u8>)>,
    bad: &mut Vec<(Key, RecordError)>,
) -> Option<RestoredWindow> {
    let (mut base, mut appended) = (None, Vec::new());
    for (key, value) in records {
        let read =
            match key {
                Key::Segment { .. } => SegmentRecord::read(&key, &value)
                    .map(|record| base = Some((key.clone(), record))),
                Key::Appended { seq, doc, .. } => AppendedRecord::read(&key, &value)
                    .map(|record| appended.push((seq, doc, record))),
                _ => Ok(()),
            };
        if let Err(error) = read {
            bad.push((key, error));
        }
    }
    if bad.iter().any(|(key, _)| matches!(key, Key::Segment { .. })) {
        return None;
    }
    let first = match base {
        Some((key, record)) => {
            if record.epoch != epoch {
                return None;
            }
            match load_base(window, &record) {
                Ok(loaded) => Some((loaded, record.entry)),
                Err(error) => {
                    bad.push((key, error));
                    return None;
                }
            }
        }
        None => None,
    };
    let mut restored = follow(window, epoch, first, appended)?;
    restored.is_whole &= bad.is_empty();
    Some(restored)
}

/// The saved documents, if they are what their entry says.
fn load_base(window: Window, record: &SegmentRecord) -> Result<Loaded, RecordError> {
    let bad = |_| RecordError::Contradiction("a document that does not load");
    let mut loaded = Loaded::empty(window, record.entry.generation);
    loaded.load(DocKind::Messages, &record.messages).map_err(bad)?;
    if let Some(annotations) = &record.annotations {
        loaded.load(DocKind::Annotations, annotations).map_err(bad)?;
    }
    let ids = loaded.ids_in_document();
    if ids.len() != record.facts.len() || !loaded.matches(&record.entry) {
        return Err(RecordError::Contradiction("documents of another entry"));
    }
    for (id, fact) in ids.into_iter().zip(&record.facts) {
        loaded.note(id, *fact);
    }
    loaded.set_marks(&record.entry);
    Ok(loaded)
}

/// The changes that follow the documents, up to the first that does not.
#[derive(Default)]
struct Chain {
    chunks: Vec<(DocKind, Vec<u8>)>,
    facts: Vec<(MessageId, Fact)>,
    keys: Vec<(u64, DocKind)>,
    bytes: usize,
    entry: Option<Entry>,
}

/// Applies the changes that follow a window's documents, or an empty window.
fn follow(
    window: Window,
    epoch: Epoch,
    base: Option<(Loaded, Entry)>,
    appended: Vec<Appended>,
) -> Option<RestoredWindow> {
    let mut marks = base.as_ref().map(|(_, entry)| (entry.message_doc, entry.annotation_doc));
    let generation = match &base {
        Some((_, entry)) => entry.generation,
        None => appended.first()?.2.entry.generation,
    };
    let (mut chain, mut rest) = (Chain::default(), Vec::new());
    let mut is_broken = false;
    for (seq, doc, record) in appended {
        is_broken |= record.epoch != epoch || record.entry.generation != generation;
        let marks = marks.get_or_insert_default();
        match (!is_broken).then(|| link(window, marks, seq, doc, record, &mut chain)) {
            Some(Link::Follows) => continue,
            Some(Link::Old) => {}
            Some(Link::Broken) | None => is_broken = true,
        }
        rest.push((seq, doc));
    }
    let (mut loaded, entry) = match (base, chain.entry) {
        (Some((loaded, _)), Some(last)) => (loaded, last),
        (Some((loaded, entry)), None) => (loaded, entry),
        (None, Some(last)) => (Loaded::empty(window, generation), last),
        (None, None) => return None,
    };
    for doc in [DocKind::Messages, DocKind::Annotations] {
        let chunks = chain.chunks.iter().filter(|(of, _)| *of == doc).map(|(_, chunk)| chunk);
        loaded.apply(doc, &chunks.collect::<Vec<_>>()).ok()?;
    }
    if !loaded.matches(&entry) {
        return None;
    }
    for (id, fact) in chain.facts {
        loaded.note(id, fact);
    }
    loaded.set_marks(&entry);
    let is_whole = rest.is_empty();
    // Those of no use are deleted with the others when the documents are saved next.
    loaded.appended = chain.keys;
    loaded.appended.extend(rest);
    loaded.appended_bytes = chain.bytes;
    Some(RestoredWindow { loaded, entry, is_whole })
}

enum Link {
    Follows,
    /// The documents have it.
    Old,
    Broken,
}

/// Adds a change to the chain if its entry's digests follow from those before.
fn link(
    window: Window,
    marks: &mut (DocMark, DocMark),
    seq: u64,
    doc: DocKind,
    record: AppendedRecord,
    chain: &mut Chain,
) -> Link {
    let Ok(view) = ChangeView::read(&record.chunk, window, doc) else { return Link::Broken };
    let last_seq = seq.saturating_add(view.ops_len - 1);
    let mark = match doc {
        DocKind::Messages => &mut marks.0,
        DocKind::Annotations => &mut marks.1,
    };
    if last_seq <= mark.last_seq {
        return Link::Old;
    }
    mark.record(last_seq, &view.hash);
    if *marks != (record.entry.message_doc, record.entry.annotation_doc) {
        return Link::Broken;
    }
    for (seq, (at, id)) in (seq..).zip(ids_of(&view).into_iter().enumerate()) {
        let (late, arrived_ms) = (is_late(&record.late, at), record.arrived_ms);
        chain.facts.push((id, Fact { seq, late, arrived_ms }));
    }
    chain.entry = Some(record.entry);
    chain.keys.push((seq, doc));
    chain.bytes += record.chunk.len();
    chain.chunks.push((doc, record.chunk));
    Link::Follows
}
