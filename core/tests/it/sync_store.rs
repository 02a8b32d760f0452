//! A store in memory, clients that keep their records in one, and crashes.

use crate::sync_world::{CHANNEL, Peer, World};
use backscroll_core::client::{Client, Now, Options};
use backscroll_core::message::MessageId;
use backscroll_core::storage::{Key, KeyRange, ReadRequest, StorageBatch, StoredRecord};
use backscroll_core::viewport::{At, Query};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What a host's store does, as plainly as it can be written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    pub(crate) records: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Messages that were in it at some time.
    pub(crate) kept: BTreeSet<MessageId>,
    /// How many batches came, for tests.
    pub(crate) batches: u64,
    /// How many bytes came, for tests.
    pub(crate) bytes: u64,
}

impl Store {
    pub(crate) fn write(&mut self, batch: &StorageBatch) {
        self.batches += 1;
        let mut keys = BTreeSet::new();
        for StoredRecord { key, value } in &batch.records {
            assert!(keys.insert(key), "a key comes twice in a batch");
            match value {
                Some(value) => {
                    self.bytes += value.len() as u64;
                    if let Some(Key::Unsent { id, .. }) = Key::decode(key) {
                        self.kept.insert(id);
                    }
                    self.records.insert(key.clone(), value.clone());
                }
                None => _ = self.records.remove(key),
            }
        }
    }

    pub(crate) fn read(&self, request: &ReadRequest) -> Vec<StoredRecord> {
        let KeyRange { from, to } = request.range.clone();
        let there = self.records.range(from..to).take(request.limit);
        let record = |(key, value): (&Vec<u8>, &Vec<u8>)| StoredRecord {
            key: key.clone(),
            value: request.values.then(|| value.clone()),
        };
        there.map(record).collect()
    }

    /// The keys of this kind.
    pub(crate) fn keys(&self, kind: impl Fn(&Key) -> bool) -> Vec<Key> {
        let keys = self.records.keys().map(|key| Key::decode(key).expect("a key"));
        keys.filter(|key| kind(key)).collect()
    }
}

/// A client's way to its store.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    /// Which store it is.
    pub(crate) store: Option<usize>,
    writing: VecDeque<StorageBatch>,
    reading: VecDeque<ReadRequest>,
    /// Keys that siblings wrote.
    foreign: Vec<Vec<u8>>,
    /// Whether this client is never told of siblings.
    pub(crate) deaf: bool,
    /// Whether it looks at nothing.
    pub(crate) is_blind: bool,
}

impl Desk {
    /// Takes what the client wants of its store.
    pub(crate) fn poll(&mut self, client: &mut Client) {
        while let Some(batch) = client.poll_storage() {
            assert!(self.store.is_some(), "a batch without a store");
            let is_own = |record: &StoredRecord| {
                let key = Key::decode(&record.key);
                let is_note =
                    |key: &Key| matches!(key, Key::UnsentNote { .. } | Key::RelayedNote { .. });
                matches!(key, Some(Key::Unsent { .. })) || key.as_ref().is_some_and(is_note)
            };
            let may_come = self.writing.is_empty() || batch.records.iter().all(is_own);
            assert!(may_come, "only own messages go while a batch is being written");
            self.writing.push_back(batch);
        }
        while let Some(request) = client.poll_read() {
            self.reading.push_back(request);
        }
    }
}

impl World {
    /// A new client that keeps its records in a store; with a store of another it is a sibling.
    pub(crate) fn join_stored(
        &mut self,
        name: &str,
        bytes_max: u64,
        store: Option<usize>,
    ) -> usize {
        let store = store.unwrap_or_else(|| {
            self.stores.push(Store::default());
            self.stores.len() - 1
        });
        let desk = Desk { store: Some(store), ..Desk::default() };
        self.enter(name, bytes_max, desk)
    }

    /// A client, beginning with what its store has.
    pub(crate) fn new_client(
        &mut self,
        name: &str,
        bytes_max: u64,
        desk: &Desk,
        now: Now,
    ) -> Client {
        self.started += 1;
        let seed = [self.started; 32];
        let storage = desk.store.is_some();
        let options =
            Options { newest: 20, segment_bytes_max: bytes_max, storage, ..Options::new(name) };
        let mut client = Client::new(options, seed).expect("a name");
        if desk.is_blind {
            return client;
        }
        let query = Query { at: At::Latest, before: 20, after: 0 };
        client.open_view(CHANNEL, query, now).expect("a query");
        client
    }

    /// A client on the store of a peer that looks at nothing.
    pub(crate) fn new_client_without_view(&mut self, name: &str, peer: usize) -> Client {
        let desk = Desk { store: self.peers[peer].desk.store, is_blind: true, ..Desk::default() };
        let client = self.new_client(name, 64 << 20, &desk, self.now(peer));
        self.peers[peer].desk = desk;
        client
    }

    /// All rows that a client can show now, as far as its store has them.
    pub(crate) fn timeline_so_far(&mut self, peer: usize) -> Vec<Option<MessageId>> {
        let query = Query { at: At::Oldest, before: 0, after: 1_000 };
        self.look(peer, query);
        let channel = self.peers[peer].client.channel(CHANNEL).expect("it is open");
        channel.ids(0..1_000)
    }

    /// Makes a record one of a format that is not known yet, as its writer would.
    pub(crate) fn later_format(&mut self, peer: usize, key: &[u8]) {
        use sha2::{Digest, Sha256};
        let value = self.store_of(peer).records.get_mut(key).expect("a record");
        value[0] = 9;
        let body = value.len() - 4;
        let mut hasher = Sha256::new();
        hasher.update((key.len() as u64).to_be_bytes());
        hasher.update(key);
        hasher.update(&value[..body]);
        let sum = hasher.finalize();
        value[body..].copy_from_slice(&sum[..4]);
    }

    /// The client's process dies, with or without the batch that was being written, and starts anew.
    pub(crate) fn crash(&mut self, peer: usize, written: bool) {
        if written {
            self.write_batch(peer);
        }
        self.cut(peer);
        let now = self.now(peer);
        let one = &self.peers[peer];
        let (name, bytes_max) = (one.name.clone(), one.bytes_max);
        let desk = Desk { store: one.desk.store, deaf: one.desk.deaf, ..Desk::default() };
        let client = self.new_client(&name, bytes_max, &desk, now);
        let one = &mut self.peers[peer];
        (one.client, one.desk) = (client, desk);
        one.view = backscroll_core::client::ViewId(1);
        self.drain(peer);
    }

    fn write_batch(&mut self, peer: usize) -> Option<StorageBatch> {
        let desk = &mut self.peers[peer].desk;
        let (store, batch) = (desk.store?, desk.writing.pop_front()?);
        self.stores[store].write(&batch);
        let keys: Vec<_> = batch.records.iter().map(|record| record.key.clone()).collect();
        for (other, sibling) in self.peers.iter_mut().enumerate() {
            if other != peer && sibling.desk.store == Some(store) && !sibling.desk.deaf {
                sibling.desk.foreign.extend(keys.iter().cloned());
            }
        }
        Some(batch)
    }

    /// A batch is stored, and the client told.
    pub(crate) fn step_store(&mut self, peer: usize) -> bool {
        let Some(batch) = self.write_batch(peer) else { return false };
        let now = self.now(peer);
        self.peers[peer].client.handle_stored(batch.number, now);
        self.drain(peer);
        true
    }

    /// A question to the store is answered.
    pub(crate) fn step_read(&mut self, peer: usize) -> bool {
        let desk = &mut self.peers[peer].desk;
        let Some(request) = desk.reading.pop_front() else { return false };
        let records = self.stores[desk.store.expect("a store")].read(&request);
        let now = self.now(peer);
        self.peers[peer].client.handle_read(request.id, records, now);
        self.drain(peer);
        true
    }

    /// A client hears what its siblings wrote.
    pub(crate) fn step_foreign(&mut self, peer: usize) -> bool {
        let keys = std::mem::take(&mut self.peers[peer].desk.foreign);
        if keys.is_empty() {
            return false;
        }
        let now = self.now(peer);
        self.peers[peer].client.handle_foreign(&keys, now);
        self.drain(peer);
        true
    }

    /// The batch that is being written fails.
    pub(crate) fn fail_store(&mut self, peer: usize) {
        let batch = self.peers[peer].desk.writing.pop_front().expect("a batch");
        let now = self.now(peer);
        self.peers[peer].client.handle_storage_failed(batch.number, "no space left", now);
        self.drain(peer);
    }

    /// Everything that a client has to do with its store is done.
    pub(crate) fn settle_store(&mut self, peer: usize) {
        let now = self.now(peer);
        self.peers[peer].client.save(now);
        self.drain(peer);
        while self.step_store(peer) | self.step_read(peer) | self.step_foreign(peer) {
            let now = self.now(peer);
            self.peers[peer].client.save(now);
            self.drain(peer);
        }
    }

    /// The store of a client.
    pub(crate) fn store_of(&mut self, peer: usize) -> &mut Store {
        let store = self.peers[peer].desk.store.expect("a store");
        &mut self.stores[store]
    }

    /// Asserts that what a client pushes is in its store.
    pub(crate) fn assert_stored(&self, peer: &Peer, ids: impl IntoIterator<Item = MessageId>) {
        if let Some(store) = peer.desk.store {
            for id in ids {
                assert!(self.stores[store].kept.contains(&id), "{id} is pushed and not stored");
            }
        }
    }
}

/// The rules that every store of a host is held against; the places of the npm package keep them too
/// (`wasm/test/storage.test.mjs`, `tests/browser/storage.test.mjs`).
#[test]
fn the_model_store_does_what_stores_must() {
    let rules = include_str!("../../../tests/data/storage-rules.json");
    let rules: Vec<Value> = serde_json::from_str(rules).expect("rules");
    for rule in &rules {
        let mut store = Store::default();
        for step in rule["steps"].as_array().expect("steps") {
            let together = step["together"].as_array().map_or(&[][..], Vec::as_slice);
            for batch in together.iter().chain(step.get("write")) {
                let records = batch.as_array().expect("a batch").iter().map(record_of);
                store.write(&StorageBatch { number: 1, records: records.collect() });
            }
            let Some(read) = step.get("read") else { continue };
            let range = KeyRange { from: bytes_of(&read["from"]), to: bytes_of(&read["to"]) };
            let values = read["values"].as_bool().expect("whether");
            let limit = read["limit"].as_u64().and_then(|n| n.try_into().ok()).expect("a number");
            let is = store.read(&ReadRequest { id: 1, range, values, limit });
            let gives: Vec<_> =
                step["gives"].as_array().expect("records").iter().map(record_of).collect();
            assert_eq!(is, gives, "{}", rule["rule"]);
        }
    }
}

fn record_of(record: &Value) -> StoredRecord {
    let value = Some(&record[1]).filter(|value| !value.is_null()).map(bytes_of);
    StoredRecord { key: bytes_of(&record[0]), value }
}

fn bytes_of(value: &Value) -> Vec<u8> {
    if let Some(len) = value["bytes"].as_u64() {
        return (0..len).map(|i| u8::try_from(i % 251).expect("small")).collect();
    }
    let hex = value.as_str().expect("hex");
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
    (0..hex.len()).step_by(2).map(byte).collect()
}
