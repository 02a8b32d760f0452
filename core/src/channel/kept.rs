//! What a store is to be told of a replica, and when it is worth a record.
//!
//! Own messages are written at once. The rest waits for the next round: the channel record with all
//! that it counts, changes of loaded windows, and the documents of windows that were just loaded or
//! have many changes appended. Nothing is told while there is no store.

use super::Channel;
use super::loaded::{Loaded, Saved};
use super::notes::NoteId;
use super::unseen;
use crate::change::{ChangeHash, DocKind};
use crate::storage::{
    AppendedRecord, ChannelRecord, Key, SeenRecord, SegmentRecord, StoredRecord, SummaryRecord,
    UnsureRecord,
};
use crate::window::Window;
use crate::wire::Epoch;
use std::collections::{BTreeMap, BTreeSet};

/// A window's documents are written anew when more changes than this follow them: a save of 2,048
/// messages takes 5 ms, a change is 0.3 kB to write and a few microseconds to read.
const APPENDED_LEN_MAX: usize = 64;

/// A window's documents are written anew when the changes after them are larger than this, in bytes:
/// about the size of a full window.
const APPENDED_BYTES_MAX: usize = 128 * 1_024;

/// Most windows whose documents are in one batch, so that own messages do not wait behind them.
const SEGMENTS_MAX: usize = 8;

/// Whether own messages that the relay had are to be pushed again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Repush {
    /// Nothing is known to be missing there.
    #[default]
    Done,
    /// They are to be read from the store.
    Wanted,
    /// They are being read; nothing is pushed meanwhile.
    Reading,
    /// They are on their way.
    Pushing,
    /// They could not be read; another start tries again.
    Failed,
}

/// What may be on its way once its record is stored.
#[derive(Clone, Debug)]
pub(crate) enum Secured {
    /// The change of a message.
    Change(ChangeHash),
    /// A value of an annotation.
    Note(NoteId, u64),
}

/// What the store has and lacks.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) is_on: bool,
    /// The channel record is behind.
    pub(super) channel: bool,
    /// The seen record is behind.
    pub(super) seen: bool,
    /// The line in the list of channels is behind.
    pub(super) summary: bool,
    /// Loaded windows whose documents are to be written.
    unsaved: BTreeSet<Window>,
    /// Changes to be appended.
    appended: BTreeMap<Window, Vec<(u64, DocKind, AppendedRecord)>>,
    appended_len: usize,
    /// Windows that the store has something of, as far as known.
    pub(super) stored: BTreeSet<Window>,
    /// Windows that are being read from the store.
    pub(super) looking: BTreeSet<Window>,
    /// Records that are void.
    gone: BTreeSet<Vec<u8>>,
    /// Windows that were erased: what the store has of them is to be found and deleted.
    erased: BTreeSet<Window>,
    /// The history in which the relay has every relayed message of the store.
    pub(super) pushed_epoch: Option<Epoch>,
    pub(super) repush: Repush,
}

impl Kept {
    /// Forgets what belongs to a history of the relay that is over.
    pub(super) fn epoch_changed(&mut self) {
        self.unsaved.clear();
        self.appended.clear();
        self.appended_len = 0;
        self.stored.clear();
    }

    /// A window is loaded as the relay has it: its documents are to be written.
    pub(super) fn loaded(&mut self, window: Window) {
        if self.is_on {
            self.drop_appended(window);
            self.unsaved.insert(window);
        }
    }

    /// A window was dropped: what was not written of it is fetched again.
    pub(super) fn unloaded(&mut self, window: Window) {
        self.unsaved.remove(&window);
    }

    /// A change came for a loaded window that was current.
    pub(super) fn append(
        &mut self,
        window: Window,
        seq: u64,
        doc: DocKind,
        record: AppendedRecord,
    ) {
        self.appended.entry(window).or_default().push((seq, doc, record));
        self.appended_len += 1;
    }

    /// What was in view changed.
    pub(super) fn saw(&mut self) {
        self.seen |= self.is_on;
    }

    /// The directory or the place in the relay's order changed.
    pub(super) fn moved(&mut self) {
        self.channel |= self.is_on;
    }

    /// A message of this client is in the rows, or no longer.
    pub(super) fn counted(&mut self) {
        self.summary |= self.is_on;
    }

    /// Whether the changes of a loaded window are to be appended to what the store has of it.
    pub(super) fn takes(&self, window: Window, loaded: &Loaded) -> bool {
        self.is_on && loaded.is_stored && !self.unsaved.contains(&window)
    }

    /// What the store has of a window is void.
    pub(super) fn erased(&mut self, window: Window) {
        if self.is_on {
            self.drop_appended(window);
            self.unsaved.remove(&window);
            self.stored.remove(&window);
            self.erased.insert(window);
        }
    }

    /// A record is void.
    pub(super) fn delete(&mut self, key: Vec<u8>) {
        if self.is_on {
            self.gone.insert(key);
        }
    }

    fn drop_appended(&mut self, window: Window) {
        self.appended_len -= self.appended.remove(&window).map_or(0, |changes| changes.len());
    }

    fn len(&self) -> usize {
        usize::from(self.channel)
            + usize::from(self.seen)
            + usize::from(self.summary)
            + self.unsaved.len()
            + self.appended_len
            + self.gone.len()
    }

    /// Whether the window's changes since its documents were saved have become too many.
    fn is_long(&self, window: Window, loaded: &Loaded) -> bool {
        let waiting = self.appended.get(&window).map_or(&[][..], Vec::as_slice);
        let bytes = waiting.iter().map(|(.., record)| record.chunk.len()).sum::<usize>();
        loaded.appended.len() + waiting.len() > APPENDED_LEN_MAX
            || loaded.appended_bytes + bytes > APPENDED_BYTES_MAX
    }
}

impl Channel {
    /// Has a store keep this replica from now on.
    pub(crate) fn start_keeping(&mut self) {
        self.kept.is_on = true;
        self.outbox.start_keeping();
        self.notes.start_keeping();
    }

    /// No store keeps it any more.
    pub(crate) fn stop_keeping(&mut self) {
        self.kept = Kept::default();
        self.outbox.stop_keeping();
        self.notes.stop_keeping();
        self.outbox.is_blocked = false;
    }

    /// Whether own messages are to be written at once.
    pub(crate) fn has_urgent(&self) -> bool {
        self.outbox.has_urgent() || self.notes.has_urgent()
    }

    /// How many other records are to be written, about.
    pub(crate) fn unsaved_len(&self) -> usize {
        let moved = self.outbox.relayed_len() + self.notes.relayed_len();
        if self.kept.is_on { self.kept.len() + moved } else { 0 }
    }

    /// The records of own messages and annotations that are to be written at once, and what may be
    /// on its way when they are stored.
    pub(crate) fn take_urgent(&mut self, name: &str) -> (Vec<StoredRecord>, Vec<Secured>) {
        let (mut records, hashes) = self.outbox.take_urgent(name);
        let (notes, stored) = self.notes.take_urgent(name);
        records.extend(notes);
        let changes = hashes.into_iter().map(Secured::Change);
        let notes = stored.into_iter().map(|(id, version)| Secured::Note(id, version));
        (records, changes.chain(notes).collect())
    }

    /// The store has something of this client.
    pub(crate) fn secured(&mut self, what: &Secured) {
        match what {
            Secured::Change(hash) => self.outbox.is_stored(hash),
            Secured::Note(id, version) => self.notes.is_stored(id, *version),
        }
    }

    /// Everything else that is to be written; more may be left for the next batch.
    ///
    /// # Complexity
    /// O(windows), and O(messages) of each window whose documents are written.
    pub(crate) fn take_unsaved(&mut self, name: &str, relay_now_ms: u64) -> Vec<StoredRecord> {
        if !self.kept.is_on {
            return Vec::new();
        }
        self.flush();
        let gone = std::mem::take(&mut self.kept.gone);
        let mut records: Vec<_> =
            gone.into_iter().map(|key| StoredRecord { key, value: None }).collect();
        self.save_segments(name, &mut records);
        self.append_changes(name, &mut records);
        let (channel, seen, summary) = (self.kept.channel, self.kept.seen, self.kept.summary);
        if channel || seen || summary {
            records.push(self.summary().to_stored(&Key::Summary { channel: name.to_owned() }));
            self.kept.summary = false;
        }
        if channel && let Some(record) = self.channel_record(relay_now_ms) {
            records.push(record.to_stored(&Key::Channel { channel: name.to_owned() }));
            self.kept.channel = false;
        }
        if seen && let Some(record) = self.seen_record() {
            records.push(record.to_stored(&Key::Seen { channel: name.to_owned() }));
            self.kept.seen = false;
        }
        records.extend(self.notes.take_relayed(name));
        let directory = &self.directory;
        records.extend(self.outbox.take_relayed(name, |own, seq| {
            let entry = own.window.and_then(|window| directory.get(window));
            entry.is_some_and(|entry| seq <= entry.message_doc.last_seq)
        }));
        records
    }

    /// Writes the documents of windows that were loaded, or have many changes appended.
    fn save_segments(&mut self, name: &str, records: &mut Vec<StoredRecord>) {
        let long = self.kept.appended.keys().copied().filter(|window| {
            self.windows.get(window).is_some_and(|loaded| self.kept.is_long(*window, loaded))
        });
        for window in long.collect::<Vec<_>>() {
            self.kept.loaded(window);
        }
        let first: Vec<_> = self.kept.unsaved.iter().copied().take(SEGMENTS_MAX).collect();
        for window in first {
            self.kept.unsaved.remove(&window);
            if self.save_segment(name, window, records).is_none()
                && let Some(loaded) = self.windows.get_mut(&window)
            {
                // Not as the relay has it: nothing can be appended to what the store has.
                loaded.is_stored = false;
            }
        }
    }

    fn save_segment(
        &mut self,
        name: &str,
        window: Window,
        records: &mut Vec<StoredRecord>,
    ) -> Option<()> {
        let epoch = self.head.as_ref()?.epoch;
        let entry = *self.directory.get(window)?;
        let loaded = self.windows.get_mut(&window)?;
        if !loaded.is_current(&entry) || loaded.has_waiting() || !loaded.matches(&entry) {
            return None;
        }
        let Saved { messages, annotations, facts } = loaded.saved()?;
        loaded.is_stored = true;
        loaded.appended_bytes = 0;
        for (seq, doc) in std::mem::take(&mut loaded.appended) {
            let key = Key::Appended { channel: name.to_owned(), window, seq, doc };
            records.push(StoredRecord { key: key.encode(), value: None });
        }
        let record = SegmentRecord { epoch, entry, messages, annotations, facts };
        records.push(record.to_stored(&Key::Segment { channel: name.to_owned(), window }));
        self.kept.stored.insert(window);
        Some(())
    }

    /// Writes the changes of the other windows.
    fn append_changes(&mut self, name: &str, records: &mut Vec<StoredRecord>) {
        self.kept.appended_len = 0;
        for (window, changes) in std::mem::take(&mut self.kept.appended) {
            self.kept.stored.insert(window);
            for (seq, doc, record) in changes {
                let key = Key::Appended { channel: name.to_owned(), window, seq, doc };
                records.push(record.to_stored(&key));
                if let Some(loaded) = self.windows.get_mut(&window) {
                    loaded.appended.push((seq, doc));
                    loaded.appended_bytes += record.chunk.len();
                }
            }
        }
    }

    /// The channel's line in a list.
    pub(crate) fn summary(&self) -> SummaryRecord {
        let total = self.timeline.total();
        let newest = total.checked_sub(1).and_then(|row| self.timeline.time_of_row(row));
        let listed = self.directory.iter().map(|(_, entry)| entry.last_ms).max();
        SummaryRecord { total, unread: self.unread(), newest_ms: newest.max(listed) }
    }

    fn channel_record(&self, relay_now_ms: u64) -> Option<ChannelRecord> {
        let head = self.head?;
        Some(ChannelRecord {
            head,
            directory: self.directory.clone(),
            as_of_ms: self.complete_until_ms.unwrap_or(relay_now_ms),
            pushed_epoch: self.kept.pushed_epoch.unwrap_or(head.epoch),
        })
    }

    fn seen_record(&self) -> Option<SeenRecord> {
        let (seen_to, read) = (self.reading.seen_to?, self.reading.read);
        let unsure = self.reading.unsure.iter().map(|unsure| UnsureRecord {
            since_seq: unsure.since_seq,
            upto_seq: unsure.upto_seq,
            windows: unsure.windows.iter().copied().collect(),
        });
        let (unseen, unsure) = (unseen::to_records(&self.unseen), unsure.collect());
        let fresh_seq = self.reading.is_fresh.then_some(self.reading.first_seq);
        Some(SeenRecord { seen_to, read, unseen, told_to: self.head, unsure, fresh_seq })
    }

    /// Windows that were erased since this was last called: what the store has of them is void.
    pub(crate) fn take_erased(&mut self) -> Vec<Window> {
        std::mem::take(&mut self.kept.erased).into_iter().collect()
    }

    /// Has records deleted.
    pub(crate) fn delete_stored(&mut self, keys: impl IntoIterator<Item = Vec<u8>>) {
        for key in keys {
            self.kept.delete(key);
        }
    }

    /// Has the records of an erased window deleted, unless there are new ones.
    pub(crate) fn delete_erased(
        &mut self,
        window: Window,
        keys: impl IntoIterator<Item = Vec<u8>>,
    ) {
        if !self.kept.stored.contains(&window) {
            self.delete_stored(keys);
        }
    }

    /// Where pushing own messages again stands.
    pub(crate) const fn repush(&self) -> Repush {
        self.kept.repush
    }

    /// Notes that all own messages are at the relay again, when they are.
    pub(crate) fn check_repush(&mut self) {
        let is_all_said = self.notes.pending() == 0;
        if self.kept.repush == Repush::Pushing && self.outbox.is_all_acked() && is_all_said {
            self.kept.repush = Repush::Done;
            self.kept.pushed_epoch = self.head.as_ref().map(|head| head.epoch);
            self.kept.channel = true;
        }
    }

    /// The relayed messages of the store are being read.
    pub(crate) fn repush_started(&mut self) {
        self.kept.repush = Repush::Reading;
    }

    /// Whether what is to be written agrees with what is there.
    pub(super) fn check_kept(&self) -> Result<(), String> {
        let kept = &self.kept;
        if !kept.is_on && (kept.len() > 0 || !kept.stored.is_empty()) {
            return Err("there is something to store, and no store".to_owned());
        }
        if kept.appended_len != kept.appended.values().map(Vec::len).sum::<usize>() {
            return Err("the changes to append are not counted".to_owned());
        }
        if let Some(window) = kept.unsaved.iter().find(|w| !self.windows.contains_key(w)) {
            return Err(format!("window {window} is to be saved and not loaded"));
        }
        if let Some(window) = kept.unsaved.iter().find(|w| kept.appended.contains_key(w)) {
            return Err(format!("window {window} is to be saved and appended to"));
        }
        let blocks = matches!(kept.repush, Repush::Wanted | Repush::Reading);
        if blocks != self.outbox.is_blocked {
            return Err("pushes are held back by mistake, or are not".to_owned());
        }
        Ok(())
    }
}
