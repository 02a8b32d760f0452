//! What the store is asked, and what its answers are for.
//!
//! At the start: the list of channels, and which of them have unsent messages; those are opened. Of a
//! channel that is opened: its unsent messages, where it stands, and the names of its windows; it is
//! opened at the relay after that. Windows one by one, as views need them. After a change of epoch:
//! the messages that the relay had.

use super::storage::StoredChannel;
use super::{Client, Event, Now};
use crate::annotation::AnnotationKey;
use crate::channel::{OwnRecords, Repush, Restored};
use crate::message::MessageId;
use crate::storage::{
    ChannelRecord, Key, KeyRange, NoteRecord, OwnRecord, ReadRequest, RecordError, SeenRecord,
    StoredRecord, SummaryRecord,
};
use crate::viewport::Query;
use crate::window::Window;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Most records of one answer with values.
const RECORDS_MAX: usize = 1_000;

/// Most records of one answer without values.
const KEYS_MAX: usize = 10_000;

/// Windows of a channel that are read at a time.
const LOOK_UPS_MAX: usize = 8;

/// What a question is for.
#[derive(Clone, Debug)]
enum Purpose {
    /// The list of channels.
    Summaries,
    /// Which channels have unsent messages.
    Unsent,
    /// A part of what a channel that is opened has.
    Open { channel: String },
    /// One window.
    Window { channel: String, window: Window },
    /// The keys of a window that was erased.
    Erased { channel: String, window: Window },
    /// The messages that the relay had.
    Relayed { channel: String },
    /// Messages that a sibling wrote or removed, from the first to the last.
    Siblings { channel: String, first: MessageId, last: MessageId },
    /// An annotation that a sibling wrote or removed.
    Note { channel: String, note: AnnotationKey },
    /// What a sibling has seen.
    Seen { channel: String },
}

/// A question that is out, and what came of it in earlier pages.
#[derive(Debug)]
struct Asked {
    purpose: Purpose,
    request: ReadRequest,
    records: Vec<StoredRecord>,
}

/// The client's questions to its store.
#[derive(Debug, Default)]
pub(super) struct Reads {
    count: u64,
    queue: VecDeque<ReadRequest>,
    asked: BTreeMap<u64, Asked>,
    channels: Vec<StoredChannel>,
}

/// What came so far of a channel that is opened.
#[derive(Debug, Default)]
pub(super) struct Loading {
    /// Questions without an answer.
    waiting: usize,
    restored: Restored,
    /// What siblings wrote or deleted meanwhile.
    foreign: Vec<Vec<u8>>,
}

impl Reads {
    pub(super) fn channels(&self) -> &[StoredChannel] {
        &self.channels
    }

    /// Notes how a channel is when it is closed.
    pub(super) fn note_channel(&mut self, channel: StoredChannel) {
        match self.channels.binary_search_by(|known| known.name.cmp(&channel.name)) {
            Ok(at) => self.channels.splice(at..=at, [channel]).for_each(drop),
            Err(at) => self.channels.insert(at, channel),
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.asked.is_empty()
    }

    fn ask(&mut self, purpose: Purpose, range: KeyRange, values: bool) {
        let limit = if values { RECORDS_MAX } else { KEYS_MAX };
        self.ask_on(purpose, ReadRequest { id: 0, range, values, limit }, Vec::new());
    }

    fn ask_on(&mut self, purpose: Purpose, request: ReadRequest, records: Vec<StoredRecord>) {
        self.count += 1;
        let request = ReadRequest { id: self.count, ..request };
        self.queue.push_back(request.clone());
        self.asked.insert(self.count, Asked { purpose, request, records });
    }

    /// Takes an answer in: gives what the question was for and all its records, once the last page
    /// is there.
    fn answered(
        &mut self,
        id: u64,
        came: Vec<StoredRecord>,
    ) -> Option<(Purpose, Vec<StoredRecord>)> {
        let Asked { purpose, request, mut records } = self.asked.remove(&id)?;
        let is_full = came.len() >= request.limit;
        let last = came.last().map(|record| record.key.clone());
        records.extend(came);
        if let Some(last) = last.filter(|_| is_full) {
            let range = request.range.clone().after(&last);
            self.ask_on(purpose, ReadRequest { range, ..request }, records);
            return None;
        }
        Some((purpose, records))
    }
}

impl Client {
    /// The next question for the store; answered by [`Client::handle_read`] or
    /// [`Client::handle_read_failed`], in any order.
    pub fn poll_read(&mut self) -> Option<ReadRequest> {
        self.storage.reads.queue.pop_front()
    }

    /// Whether an answer of the store may still bring rows of an open channel.
    #[must_use]
    pub fn is_reading(&self, channel: &str) -> bool {
        let is_reading = |slot: &super::Slot| slot.is_loading() || slot.replica.looking_len() > 0;
        self.slots.get(channel).is_some_and(is_reading)
    }

    /// The store's answer: the records of the range in the order of their keys, from its start on,
    /// as many as the limit allows.
    ///
    /// # Complexity
    /// O(records), and for a window O(messages).
    pub fn handle_read(&mut self, id: u64, records: Vec<StoredRecord>, now: Now) {
        if let Some((purpose, records)) = self.storage.reads.answered(id, records) {
            self.answered(purpose, records, now);
            self.settle(now);
        }
    }

    /// The store could not answer: taken as if it had nothing there. Nothing is deleted.
    pub fn handle_read_failed(&mut self, id: u64, text: &str, now: Now) {
        let Some(asked) = self.storage.reads.asked.remove(&id) else { return };
        let key = asked.request.range.from;
        self.events.push_back(Event::BadRecord { key, text: text.to_owned() });
        match asked.purpose {
            Purpose::Relayed { channel } => self.relayed_read(&channel, None),
            purpose => self.answered(purpose, Vec::new(), now),
        }
        self.settle(now);
    }

    /// Another client of the same store (another tab) wrote or deleted records with these keys. Its
    /// messages are shown; they are pushed if it has not pushed them some seconds later.
    pub fn handle_foreign(&mut self, keys: &[Vec<u8>], now: Now) {
        if !self.storage.is_on {
            return;
        }
        let mut siblings: BTreeMap<String, (MessageId, MessageId)> = BTreeMap::new();
        let keys: Vec<_> = keys.iter().filter_map(|key| Key::decode(key)).collect();
        // Moved, not dropped: it stays until it comes from the relay.
        let relayed = |key: &Key| match key {
            Key::Relayed { channel, id } => Some((channel.clone(), *id)),
            _ => None,
        };
        let relayed: BTreeSet<_> = keys.iter().filter_map(relayed).collect();
        let is_moved = |key: &Key| match key {
            Key::Unsent { channel, id } => relayed.contains(&(channel.clone(), *id)),
            _ => false,
        };
        for key in keys.iter().filter(|key| !is_moved(key)).cloned() {
            let is_unsent = matches!(key, Key::Unsent { .. } | Key::UnsentNote { .. });
            if is_unsent && !self.connection.is_ready() {
                // It may be closed before it can send: this client sends it then.
                self.open_slot(key.channel(), now);
            }
            let Some(slot) = self.slots.get_mut(key.channel()) else { continue };
            if let Some(loading) = &mut slot.loading {
                loading.foreign.push(key.encode());
                continue;
            }
            match key {
                Key::Unsent { channel, id } => {
                    let (first, last) = siblings.entry(channel).or_insert((id, id));
                    (*first, *last) = (id.min(*first), id.max(*last));
                }
                Key::UnsentNote { ref channel, ref note } => {
                    let purpose = Purpose::Note { channel: channel.clone(), note: note.clone() };
                    self.storage.reads.ask(purpose, KeyRange::one(&key), true);
                }
                Key::Segment { window, .. } => slot.replica.window_stored(window),
                Key::Seen { ref channel } => {
                    let purpose = Purpose::Seen { channel: channel.clone() };
                    self.storage.reads.ask(purpose, KeyRange::one(&key), true);
                }
                _ => {}
            }
        }
        for (channel, (first, last)) in siblings {
            let to = KeyRange::one(&Key::Unsent { channel: channel.clone(), id: last }).to;
            let from = Key::Unsent { channel: channel.clone(), id: first }.encode();
            let purpose = Purpose::Siblings { channel, first, last };
            self.storage.reads.ask(purpose, KeyRange { from, to }, true);
        }
        self.settle(now);
    }

    /// Asks what the store has, as a client does that begins.
    pub(super) fn ask_start(&mut self) {
        self.storage.reads.ask(Purpose::Unsent, KeyRange::all_unsent(), false);
        self.storage.reads.ask(Purpose::Summaries, KeyRange::summaries(), true);
    }

    /// Asks what the store has of a channel. Unsent messages come first: one that is moved meanwhile
    /// is then there twice, which a push repairs, and not missing.
    pub(super) fn ask_channel(&mut self, name: &str) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        slot.replica.start_keeping();
        slot.loading = Some(Loading { waiting: 4, ..Loading::default() });
        let channel = name.to_owned();
        let ranges = [
            (KeyRange::unsent(name), true),
            (KeyRange::one(&Key::Channel { channel: channel.clone() }), true),
            (KeyRange::one(&Key::Seen { channel: channel.clone() }), true),
            (KeyRange::windows(name), false),
        ];
        for (range, values) in ranges {
            self.storage.reads.ask(Purpose::Open { channel: channel.clone() }, range, values);
        }
    }

    /// Asks for windows that views need and the store has, and for what replicas want of it.
    pub(super) fn look_up_all(&mut self) {
        for (channel, query) in self.queries_of_views() {
            self.look_up(&channel, &query);
        }
        let hungry = |slot: &super::Slot| slot.hungry && !slot.is_loading();
        for (name, slot) in self.slots.iter_mut().filter(|(_, slot)| hungry(slot)) {
            for window in slot.replica.wanted_stored_by_notes() {
                if slot.replica.looking_len() < LOOK_UPS_MAX {
                    slot.replica.look_up_started(window);
                    let purpose = Purpose::Window { channel: name.clone(), window };
                    self.storage.reads.ask(purpose, KeyRange::window(name, window), true);
                }
            }
        }
        for (name, slot) in &mut self.slots {
            for window in slot.replica.take_erased() {
                let purpose = Purpose::Erased { channel: name.clone(), window };
                self.storage.reads.ask(purpose, KeyRange::window(name, window), false);
            }
            slot.replica.check_repush();
            if slot.replica.repush() == Repush::Wanted {
                slot.replica.repush_started();
                let purpose = Purpose::Relayed { channel: name.clone() };
                self.storage.reads.ask(purpose, KeyRange::relayed(name), true);
            }
        }
    }

    fn look_up(&mut self, channel: &str, query: &Query) {
        let hungry = |slot: &&mut super::Slot| slot.hungry && !slot.is_loading();
        let Some(slot) = self.slots.get_mut(channel).filter(hungry) else { return };
        for window in slot.replica.wanted_stored(query) {
            if slot.replica.looking_len() >= LOOK_UPS_MAX {
                return;
            }
            slot.replica.look_up_started(window);
            let purpose = Purpose::Window { channel: channel.to_owned(), window };
            self.storage.reads.ask(purpose, KeyRange::window(channel, window), true);
        }
    }

    fn answered(&mut self, purpose: Purpose, records: Vec<StoredRecord>, now: Now) {
        match purpose {
            Purpose::Summaries => self.summaries_read(records),
            Purpose::Unsent => {
                let keys = records.iter().filter_map(|record| Key::decode(&record.key));
                let channels: BTreeSet<_> = keys.map(|key| key.channel().to_owned()).collect();
                for channel in channels {
                    self.open_slot(&channel, now);
                }
            }
            Purpose::Open { channel } => self.channel_read(&channel, records, now),
            Purpose::Window { channel, window } => self.window_read(&channel, window, records),
            Purpose::Erased { channel, window } => {
                if let Some(slot) = self.slots.get_mut(&channel) {
                    let keys = records.into_iter().map(|record| record.key);
                    slot.replica.delete_erased(window, keys);
                }
            }
            Purpose::Relayed { channel } => {
                let own = self.own_records(records);
                self.relayed_read(&channel, Some(own));
            }
            Purpose::Siblings { channel, first, last } => {
                let own = self.own_records(records);
                self.siblings_read(&channel, (first, last), own.messages, now);
            }
            Purpose::Note { channel, note } => {
                let record = self.own_records(records).notes.pop().map(|(_, record)| record);
                let relay_ms = self.clock.relay_ms(now);
                if let Some(slot) = self.slots.get_mut(&channel) {
                    slot.replica.restore_foreign_note(&(note.id(), note), record, relay_ms);
                    slot.hungry = true;
                }
            }
            Purpose::Seen { channel } => {
                let seen =
                    records.into_iter().find_map(|record| self.record(record, SeenRecord::read));
                if let (Some((_, seen)), Some(slot)) = (seen, self.slots.get_mut(&channel)) {
                    slot.replica.merge_seen(&seen);
                }
            }
        }
    }

    fn summaries_read(&mut self, records: Vec<StoredRecord>) {
        let mut channels = Vec::new();
        for record in records {
            if let Some((key, summary)) = self.record(record, SummaryRecord::read) {
                channels.push(StoredChannel::new(key.channel(), &summary));
            }
        }
        channels.sort_by(|a, b| a.name.cmp(&b.name));
        // What was closed meanwhile is told as it was then.
        let closed = std::mem::replace(&mut self.storage.reads.channels, channels);
        closed.into_iter().for_each(|channel| self.storage.reads.note_channel(channel));
        self.events.push_back(Event::Channels);
    }

    /// A part of what the store has of a channel; with the last one it is opened.
    fn channel_read(&mut self, channel: &str, records: Vec<StoredRecord>, now: Now) {
        let mut part = Restored::default();
        for record in records {
            match Key::decode(&record.key) {
                Some(Key::Channel { .. }) => {
                    part.channel =
                        self.record(record, ChannelRecord::read).map(|(_, record)| record);
                }
                Some(Key::Seen { .. }) => {
                    part.seen = self.record(record, SeenRecord::read).map(|(_, record)| record);
                }
                Some(Key::Segment { window, .. } | Key::Appended { window, .. }) => {
                    part.windows.insert(window);
                }
                _ => {
                    let own = self.own_records(vec![record]);
                    part.own.extend(own.messages);
                    part.notes.extend(own.notes);
                }
            }
        }
        let relay_ms = self.clock.relay_ms(now);
        let Some(slot) = self.slots.get_mut(channel) else { return };
        let Some(loading) = &mut slot.loading else { return };
        let restored = &mut loading.restored;
        restored.channel = restored.channel.take().or(part.channel);
        restored.seen = restored.seen.take().or(part.seen);
        restored.own.extend(part.own);
        restored.notes.extend(part.notes);
        restored.windows.extend(part.windows);
        loading.waiting = loading.waiting.saturating_sub(1);
        if loading.waiting > 0 {
            return;
        }
        if let Some(loading) = slot.loading.take() {
            slot.replica.restore(loading.restored, relay_ms);
            slot.hungry = true;
            self.place_unread(channel);
            self.open_all(now);
            if !loading.foreign.is_empty() {
                self.handle_foreign(&loading.foreign, now);
            }
        }
    }

    fn window_read(&mut self, channel: &str, window: Window, records: Vec<StoredRecord>) {
        let Some(slot) = self.slots.get_mut(channel) else { return };
        if records.is_empty() {
            slot.replica.look_up_failed(window);
        } else {
            let record = |record: StoredRecord| Some((Key::decode(&record.key)?, record.value?));
            let records = records.into_iter().filter_map(record).collect();
            for (key, error) in slot.replica.restore_window(window, records) {
                let (key, text) = (key.encode(), error.to_string());
                self.events.push_back(Event::BadRecord { key, text });
            }
        }
        slot.hungry = true;
    }

    fn relayed_read(&mut self, channel: &str, own: Option<OwnRecords>) {
        if let Some(slot) = self.slots.get_mut(channel) {
            slot.replica.restore_relayed(own);
            slot.hungry = true;
        }
    }

    fn siblings_read(
        &mut self,
        channel: &str,
        range: (MessageId, MessageId),
        own: Vec<(MessageId, OwnRecord)>,
        now: Now,
    ) {
        let relay_ms = self.clock.relay_ms(now);
        let Some(slot) = self.slots.get_mut(channel) else { return };
        slot.replica.keep_foreign(range, &own.iter().map(|(id, _)| *id).collect());
        for (id, record) in own {
            slot.replica.restore_foreign(id, record, relay_ms);
        }
    }

    fn own_records(&mut self, records: Vec<StoredRecord>) -> OwnRecords {
        let mut own = OwnRecords::default();
        for record in records {
            match Key::decode(&record.key) {
                Some(Key::Unsent { id, .. } | Key::Relayed { id, .. }) => {
                    let read = self.record(record, OwnRecord::read);
                    own.messages.extend(read.map(|(_, record)| (id, record)));
                }
                Some(Key::UnsentNote { note, .. } | Key::RelayedNote { note, .. }) => {
                    let read = self.record(record, NoteRecord::read);
                    own.notes.extend(read.map(|(_, record)| ((note.id(), note), record)));
                }
                _ => {}
            }
        }
        own
    }

    /// Reads a record; one that cannot be read is reported, and deleted if it is damaged.
    fn record<T>(
        &mut self,
        record: StoredRecord,
        read: impl FnOnce(&Key, &[u8]) -> Result<T, RecordError>,
    ) -> Option<(Key, T)> {
        let (key, value) = (Key::decode(&record.key)?, record.value?);
        match read(&key, &value) {
            Ok(read) => Some((key, read)),
            Err(error) => {
                // A later version of this program may read what this one cannot.
                if !matches!(error, RecordError::Format(_)) {
                    self.delete_bad(record.key.clone());
                }
                let text = error.to_string();
                self.events.push_back(Event::BadRecord { key: record.key, text });
                None
            }
        }
    }
}
