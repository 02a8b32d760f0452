//! What the store is told: own messages at once, the rest in one batch at a time.
//!
//! While a batch is being written what is not of this client gathers for the next one, so that a slow
//! store gets fewer and larger ones; what was written here never waits for another batch. A store that failed is left alone: the client goes on in memory and nothing waits for it.

use super::{Client, Event, Now};
use crate::channel::Secured;
use crate::storage::{StorageBatch, StoredRecord, SummaryRecord};
use std::collections::BTreeMap;

/// How long changes of the replica wait for others to be written with, in ms.
const WRITE_MS: u64 = 1_000;

/// How many changes do not wait for others.
const WRITE_CHANGES_MAX: usize = 256;

/// A channel of the store's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredChannel {
    /// Its name.
    pub name: String,
    /// Messages in it, when it was stored.
    pub total: u64,
    /// Of them, not read on this device.
    pub unread: u64,
    /// Sent time of the newest, in ms since the Unix epoch.
    pub newest_ms: Option<u64>,
}

impl StoredChannel {
    pub(super) fn new(name: &str, summary: &SummaryRecord) -> Self {
        let SummaryRecord { total, unread, newest_ms } = *summary;
        Self { name: name.to_owned(), total, unread, newest_ms }
    }
}

/// The client's side of its store.
#[derive(Debug, Default)]
pub(super) struct Storage {
    pub(super) is_on: bool,
    batches: u64,
    /// The batches that are being written, and what of this client is in them.
    out: BTreeMap<u64, Vec<(String, Secured)>>,
    /// What is to be written that no open channel has: of channels that were closed, or are bad.
    loose: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    pub(super) reads: super::reads::Reads,
    /// The time when the client was last told it.
    now: Now,
}

impl Storage {
    pub(super) fn new(is_on: bool) -> Self {
        Self { is_on, ..Self::default() }
    }
}

impl Client {
    /// The next batch for the store, to be written after those before it, wholly or not at all; then
    /// [`Client::handle_stored`] or [`Client::handle_storage_failed`]. While one is being written
    /// there are only batches of own messages.
    ///
    /// # Complexity
    /// O(what is in it), and for each loaded window that is in it O(messages).
    pub fn poll_storage(&mut self) -> Option<StorageBatch> {
        if !self.storage.is_on {
            return None;
        }
        let now = self.storage.now;
        let relay_ms = self.clock.relay_ms(now);
        let is_idle = self.storage.out.is_empty();
        let mut records =
            if is_idle { std::mem::take(&mut self.storage.loose) } else { BTreeMap::new() };
        let mut changes = Vec::new();
        for (name, slot) in &mut self.slots {
            let (urgent, secured) = slot.replica.take_urgent(name);
            records.extend(urgent.into_iter().map(pair));
            changes.extend(secured.into_iter().map(|secured| (name.clone(), secured)));
            if is_idle
                && !slot.is_loading()
                && slot.write_at_ms.is_some_and(|at_ms| at_ms <= now.steady_ms)
            {
                records.extend(slot.replica.take_unsaved(name, relay_ms).into_iter().map(pair));
                let more = slot.replica.unsaved_len() > 0;
                slot.write_at_ms = more.then_some(now.steady_ms + WRITE_MS);
            }
        }
        if records.is_empty() {
            return None;
        }
        self.storage.batches += 1;
        let number = self.storage.batches;
        self.storage.out.insert(number, changes);
        let record = |(key, value)| StoredRecord { key, value };
        Some(StorageBatch { number, records: records.into_iter().map(record).collect() })
    }

    /// A batch is stored: what is in it outlives a crash. Its messages may be pushed.
    pub fn handle_stored(&mut self, number: u64, now: Now) {
        let Some(changes) = self.storage.out.remove(&number) else { return };
        for (channel, secured) in changes {
            if let Some(slot) = self.slots.get_mut(&channel) {
                slot.replica.secured(&secured);
            }
        }
        self.settle(now);
    }

    /// A batch could not be stored: the client goes on without a store, and tells so once by
    /// [`Event::StorageFailed`]. What was written before stays there for another start.
    pub fn handle_storage_failed(&mut self, number: u64, text: &str, now: Now) {
        if self.storage.out.remove(&number).is_none() {
            return;
        }
        self.storage.out.clear();
        self.storage.is_on = false;
        self.storage.loose.clear();
        for slot in self.slots.values_mut() {
            slot.replica.stop_keeping();
            slot.write_at_ms = None;
            slot.hungry = true;
        }
        self.events.push_back(Event::StorageFailed { text: text.to_owned() });
        self.settle(now);
    }

    /// Has everything written without delay, as before a page is hidden: [`Client::poll_storage`]
    /// gives it, in one batch or several.
    pub fn save(&mut self, now: Now) {
        self.storage.now = now;
        self.send_marks(now, true);
        for slot in self.slots.values_mut() {
            if slot.replica.unsaved_len() > 0 {
                slot.write_at_ms = Some(now.steady_ms);
            }
        }
        self.settle(now);
    }

    /// Whether everything is stored that is to be, or there is no store.
    #[must_use]
    pub fn is_saved(&self) -> bool {
        let saved = |slot: &super::Slot| {
            !slot.replica.has_urgent() && slot.replica.unsaved_len() == 0 && !slot.is_loading()
        };
        !self.storage.is_on
            || self.storage.out.is_empty()
                && self.storage.loose.is_empty()
                && self.storage.reads.is_idle()
                && self.slots.values().all(saved)
    }

    /// The channels that the store had at the start, and those closed since as they were then; open
    /// ones tell themselves how they are. [`Event::Channels`] tells when the list changed.
    #[must_use]
    pub fn stored_channels(&self) -> &[StoredChannel] {
        self.storage.reads.channels()
    }

    /// Notes what is to be written when.
    pub(super) fn plan_writes(&mut self, now: Now) {
        self.storage.now = now;
        if !self.storage.is_on {
            return;
        }
        for slot in self.slots.values_mut() {
            // What the store has is not overwritten before it is read.
            let changes = if slot.is_loading() { 0 } else { slot.replica.unsaved_len() };
            let delay_ms = if changes >= WRITE_CHANGES_MAX { 0 } else { WRITE_MS };
            let at_ms = now.steady_ms + delay_ms;
            let planned_ms = slot.write_at_ms.map_or(at_ms, |known| known.min(at_ms));
            slot.write_at_ms = (changes > 0).then_some(planned_ms);
        }
    }

    /// When something is to be written next, in steady ms.
    pub(super) fn next_write_ms(&self) -> Option<u64> {
        if !self.storage.is_on || !self.storage.out.is_empty() {
            return None;
        }
        self.slots.values().filter_map(|slot| slot.write_at_ms).min()
    }

    /// Keeps what a channel that is closed has to write.
    pub(super) fn keep_loose(&mut self, name: &str, now: Now) {
        let relay_ms = self.clock.relay_ms(now);
        let Some(slot) = self.slots.get_mut(name) else { return };
        if slot.replica.head().is_some() {
            let channel = StoredChannel::new(name, &slot.replica.summary());
            self.storage.reads.note_channel(channel);
            self.events.push_back(Event::Channels);
        }
        let (urgent, _) = slot.replica.take_urgent(name);
        self.storage.loose.extend(urgent.into_iter().map(pair));
        self.storage.loose.extend(slot.replica.take_unsaved(name, relay_ms).into_iter().map(pair));
    }

    /// Has a record deleted that cannot be read.
    pub(super) fn delete_bad(&mut self, key: Vec<u8>) {
        if self.storage.is_on {
            self.storage.loose.insert(key, None);
        }
    }
}

fn pair(record: StoredRecord) -> (Vec<u8>, Option<Vec<u8>>) {
    (record.key, record.value)
}
