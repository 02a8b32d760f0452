//! One client, its store, and the relay, moved step by step by a script.

use super::changes::T0;
use super::relay::Relay;
use super::script::{Script, fix_chunk, seal, unseal};
use backscroll_core::annotation::Edit;
use backscroll_core::client::{Client, Edge, Event, Follow, Now, Options, ViewId};
use backscroll_core::message::{Content, MessageId};
use backscroll_core::storage::{Key, ReadRequest, StorageBatch, StoredRecord};
use backscroll_core::viewport::{At, Query};
use backscroll_core::wire::{
    Code, RelayFrame, decode_client, decode_relay, encode_relay, into_parts,
};
use std::collections::{BTreeMap, VecDeque};

/// The channel that the relay has.
pub const CHANNEL: &str = "c";

/// Frames of the client, and of the relay.
pub type Trace = (Vec<Vec<u8>>, Vec<Vec<u8>>);

/// A client and what is around it.
#[derive(Debug)]
pub struct World {
    /// The client.
    pub client: Client,
    /// The other end.
    pub relay: Relay,
    /// What is stored.
    pub store: BTreeMap<Vec<u8>, Vec<u8>>,
    steady_ms: u64,
    starts: u8,
    is_stored: bool,
    is_connected: bool,
    up: VecDeque<Vec<u8>>,
    down: VecDeque<Vec<u8>>,
    writing: VecDeque<StorageBatch>,
    reading: VecDeque<ReadRequest>,
    views: Vec<ViewId>,
    ids: Vec<MessageId>,
    /// The frames of both ends so far, if they are kept: the client's, and the relay's.
    pub trace: Option<Trace>,
}

fn start(starts: u8, is_stored: bool) -> Client {
    let options = Options {
        newest: 4,
        // Some dozens of messages: eviction happens.
        segment_bytes_max: 60_000,
        storage: is_stored,
        ..Options::new("ada")
    };
    Client::new(options, [starts; 32]).expect("a name")
}

impl World {
    /// A client that begins with what a store has, if it has one at all.
    pub fn new(store: Option<BTreeMap<Vec<u8>, Vec<u8>>>) -> Self {
        let is_stored = store.is_some();
        let mut world = Self {
            client: start(0, is_stored),
            relay: Relay::new(CHANNEL, T0),
            store: store.unwrap_or_default(),
            steady_ms: 0,
            starts: 0,
            is_stored,
            is_connected: false,
            up: VecDeque::new(),
            down: VecDeque::new(),
            writing: VecDeque::new(),
            reading: VecDeque::new(),
            views: Vec::new(),
            ids: Vec::new(),
            trace: None,
        };
        world.drain();
        world
    }

    fn now(&self) -> Now {
        Now { wall_ms: T0 + self.steady_ms, steady_ms: self.steady_ms }
    }

    /// Takes what the client wants done, and asks whether it agrees with itself.
    pub fn drain(&mut self) {
        while let Some(event) = self.client.poll_event() {
            match event {
                Event::Connect => {
                    self.is_connected = true;
                    self.client.handle_connected(None, self.now());
                }
                Event::Disconnect { .. } => self.cut(),
                _ => {}
            }
        }
        while let Some(batch) = self.client.poll_storage() {
            self.writing.push_back(batch);
        }
        while let Some(request) = self.client.poll_read() {
            self.reading.push_back(request);
        }
        while let Some(frame) = self.client.poll_frame() {
            self.up.push_back(frame);
        }
        self.client.check_invariants().expect("the client agrees with itself");
    }

    fn cut(&mut self) {
        self.is_connected = false;
        self.up.clear();
        self.down.clear();
        self.relay.closed();
    }

    fn down(&mut self, frames: &[RelayFrame]) {
        if self.is_connected {
            self.down.extend(frames.iter().map(encode_relay));
        }
    }

    fn give(&mut self, bytes: &[u8]) {
        self.client.handle_bytes(bytes, self.now());
        self.drain();
    }

    /// Time passes.
    pub fn advance(&mut self, ms: u64) {
        self.steady_ms += ms;
        self.relay.now_ms += ms;
        let now = self.now();
        if self.client.poll_timeout(now).is_some_and(|at_ms| at_ms <= self.steady_ms) {
            self.client.handle_timeout(now);
        }
        self.drain();
    }

    /// Everything that is on its way comes, honestly; a bounded number of steps.
    pub fn settle(&mut self) {
        let mut idle = 0;
        for _ in 0..60 {
            let moved = self.relay_answers() | self.frame_comes() | self.write() | self.read(None);
            idle = if moved { 0 } else { idle + 1 };
            match idle {
                0 => {}
                1..=4 => self.advance(700),
                _ => return,
            }
        }
    }

    fn relay_answers(&mut self) -> bool {
        let Some(bytes) = self.up.pop_front() else { return false };
        let frame = decode_client(&bytes).expect("a frame of ours").expect("a known one");
        if let Some((said, _)) = &mut self.trace {
            said.push(bytes);
        }
        let answers = self.relay.handle(frame);
        self.down(&answers);
        true
    }

    fn frame_comes(&mut self) -> bool {
        let Some(bytes) = self.down.pop_front() else { return false };
        if let Some((_, heard)) = &mut self.trace {
            heard.push(bytes.clone());
        }
        self.give(&bytes);
        true
    }

    fn write(&mut self) -> bool {
        let Some(batch) = self.writing.pop_front() else { return false };
        for StoredRecord { key, value } in batch.records {
            match value {
                Some(value) => _ = self.store.insert(key, value),
                None => _ = self.store.remove(&key),
            }
        }
        self.client.handle_stored(batch.number, self.now());
        self.drain();
        true
    }

    /// A question is answered, with records changed as the script says.
    fn read(&mut self, mut script: Option<&mut Script<'_>>) -> bool {
        let Some(request) = self.reading.pop_front() else { return false };
        let range = request.range.from.clone()..request.range.to.clone();
        let there = self.store.range(range).take(request.limit);
        let records = there.map(|(key, value)| StoredRecord {
            key: key.clone(),
            value: request.values.then(|| match &mut script {
                Some(script) => {
                    let mut record = unseal(value).to_vec();
                    mutate(&mut record, script);
                    seal(key, &record)
                }
                None => value.clone(),
            }),
        });
        let records = records.collect();
        self.client.handle_read(request.id, records, self.now());
        self.drain();
        true
    }

    /// The process dies and starts anew with what is stored.
    fn crash(&mut self) {
        self.cut();
        self.writing.clear();
        self.reading.clear();
        self.views.clear();
        self.starts = self.starts.wrapping_add(1);
        self.client = start(self.starts, self.is_stored);
        self.drain();
    }

    /// Does what the next byte says; None at the end of the script.
    pub fn step(&mut self, script: &mut Script<'_>) -> Option<()> {
        let op = script.byte()?;
        match op % 27 {
            0 => self.advance(1 << (script.byte()? % 17)),
            1 => _ = self.relay_answers(),
            2 => _ = self.frame_comes(),
            3 => self.settle(),
            4..=6 => self.local(op % 27, script)?,
            7..=9 => self.look(op % 27, script)?,
            10..=15 => self.network(op % 27, script)?,
            16..=19 => self.others(op % 27, script)?,
            20 => _ = self.write(),
            21 => _ = self.read(None),
            22 => _ = self.read(Some(script)),
            23 => self.storage_fails(script)?,
            24 => self.crash(),
            25 => self.foreign(script)?,
            _ => self.client.save(self.now()),
        }
        self.drain();
        Some(())
    }

    fn local(&mut self, op: u8, script: &mut Script<'_>) -> Option<()> {
        let now = self.now();
        match op {
            4 => {
                let at = script.byte()?;
                let ago_ms = u64::from(at) << (at % 24);
                let sent_at_ms = (at > 127).then(|| now.wall_ms.saturating_sub(ago_ms));
                let text = String::from_utf8_lossy(script.bytes()?).into_owned();
                let sent = self.client.send(CHANNEL, Content::text("ada", &text), sent_at_ms, now);
                self.ids.extend(sent.ok());
            }
            5 => {
                let what = script.byte()?;
                let id = self.id(script.byte()?);
                let edit = Edit::text("edited", now.wall_ms);
                match what % 8 {
                    4 => _ = self.client.edit(CHANNEL, id, edit, now),
                    5 => _ = self.client.delete(CHANNEL, id, now),
                    6 => _ = self.client.react(CHANNEL, id, "+1", what > 127, now),
                    7 => self.client.mark_read(CHANNEL, Some(id), now),
                    0 => _ = self.client.retry(CHANNEL, id, now),
                    1 => _ = self.client.discard(CHANNEL, id, now),
                    2 => self.client.mark_seen(CHANNEL, Some((id, id)), now),
                    _ => self.client.mark_seen(CHANNEL, None, now),
                }
            }
            _ => match script.byte()? % 4 {
                0 => _ = self.client.open_channel(CHANNEL, now),
                1 => _ = self.client.close_channel(CHANNEL, now),
                2 => _ = self.client.open_channel("another", now),
                _ => self.client.ask_channels(),
            },
        }
        Some(())
    }

    fn id(&self, n: u8) -> MessageId {
        let all: Vec<_> = self.relay.ids().chain(self.ids.iter().copied()).collect();
        let known = all.get(usize::from(n) % all.len().max(1));
        known.copied().unwrap_or(MessageId::first_of(T0 + u64::from(n)))
    }

    fn query(&self, script: &mut Script<'_>) -> Option<Query> {
        let (at, n, rows) = (script.byte()?, script.byte()?, script.byte()?);
        let at = match at % 7 {
            0 => At::Latest,
            1 => At::Oldest,
            2 => At::FirstUnread,
            3 => At::Id(self.id(n)),
            4 => At::Time(T0 - (u64::from(n) << 12)),
            5 => At::Index(n.into()),
            _ => At::Fraction(f64::from(n) / 255.0),
        };
        Some(Query { at, before: u64::from(rows) % 16, after: u64::from(rows) / 16 })
    }

    fn look(&mut self, op: u8, script: &mut Script<'_>) -> Option<()> {
        let (query, now) = (self.query(script)?, self.now());
        let view = self.views.last().copied();
        match (op, view) {
            (7, _) | (_, None) => {
                self.views.extend(self.client.open_view(CHANNEL, query, now));
            }
            (8, Some(view)) => _ = self.client.move_view(view, query, now),
            (_, Some(view)) => {
                let first = Edge::Index(query.before);
                let last = match query.at {
                    At::Id(id) => Edge::Id(id),
                    _ => Edge::Index(query.before + query.after),
                };
                let follow = if query.at == At::Latest { Follow::End } else { Follow::Stay };
                let _seen = self.client.set_visible(view, first, last, follow, now);
            }
        }
        for view in self.views.clone() {
            if let Ok(rows) = self.client.view(view) {
                let total = self.client.channel(CHANNEL).map(|channel| channel.total());
                assert_eq!(Some(rows.total), total);
                assert!(rows.start + rows.items.len() as u64 <= rows.total);
            }
        }
        if self.views.len() > 3 {
            self.client.close_view(self.views.remove(0));
        }
        Some(())
    }

    fn network(&mut self, op: u8, script: &mut Script<'_>) -> Option<()> {
        match op {
            10 => {
                let mut bytes = self.down.pop_front()?;
                mutate(&mut bytes, script);
                let bytes = with_checksums(&bytes).unwrap_or(bytes);
                self.give(&bytes);
            }
            11 => _ = self.down.pop_front(),
            12 => {
                let again = self.down.front()?.clone();
                self.down.push_back(again);
            }
            13 => {
                let bytes = script.bytes()?;
                let fixed = with_checksums(bytes);
                self.give(fixed.as_deref().unwrap_or(bytes));
            }
            14 => {
                let code = script.byte()?;
                let code = (code > 200).then(|| 4_250 + u16::from(code));
                self.cut();
                self.client.handle_closed(code, self.now());
            }
            _ => {
                let bytes = self.down.pop_front()?;
                let frame = decode_relay(&bytes).ok()??;
                let cut = bytes.len() / 2;
                for (index, piece) in (0..).zip([&bytes[..cut], &bytes[cut..]]) {
                    let part =
                        RelayFrame::Part { id: 3, index, last: index == 1, bytes: piece.to_vec() };
                    self.give(&encode_relay(&part));
                }
                assert_eq!(into_parts(encode_relay(&frame), 1).len(), 1, "seeds are small");
            }
        }
        Some(())
    }

    fn others(&mut self, op: u8, script: &mut Script<'_>) -> Option<()> {
        let frames = match op {
            16 => {
                let (writer, ago, count) = (script.byte()?, script.byte()?, script.byte()?);
                let from_ms = self.relay.now_ms.saturating_sub(u64::from(ago) << (ago % 24));
                self.relay.write(writer % 5, from_ms, count % 40, "from another")
            }
            17 => {
                let id = self.id(script.byte()?);
                self.relay.annotate(id, script.byte()?)
            }
            18 => {
                match script.byte()? % 8 {
                    0..=5 => self.relay.compact(),
                    _ => {
                        self.relay.new_epoch();
                        self.cut();
                        self.client.handle_closed(None, self.now());
                    }
                }
                Vec::new()
            }
            _ => {
                let codes = ["duplicate", "id_taken", "window_full", "bad_change", "forbidden"];
                let code =
                    codes.get(usize::from(script.byte()?) % 8).unwrap_or(&"stale_generation");
                let Ok(code) = code.parse::<Code>();
                self.relay.refuse = Some(code);
                Vec::new()
            }
        };
        self.down(&frames);
        Some(())
    }

    fn storage_fails(&mut self, script: &mut Script<'_>) -> Option<()> {
        let now = self.now();
        if script.byte()? % 2 == 0 {
            let request = self.reading.pop_front()?;
            self.client.handle_read_failed(request.id, "it hurts", now);
        } else {
            let batch = self.writing.pop_front()?;
            self.client.handle_storage_failed(batch.number, "it hurts", now);
        }
        Some(())
    }

    fn foreign(&mut self, script: &mut Script<'_>) -> Option<()> {
        let n = usize::from(script.byte()?);
        let key = match self.store.keys().nth(n) {
            Some(key) => key.clone(),
            None => {
                Key::Unsent { channel: CHANNEL.to_owned(), id: self.id(script.byte()?) }.encode()
            }
        };
        self.client.handle_foreign(&[key], self.now());
        Some(())
    }
}

/// Changes bytes as the script says: some of them set, the end cut off.
fn mutate(bytes: &mut Vec<u8>, script: &mut Script<'_>) {
    let edits = script.byte().unwrap_or(0) % 8;
    for _ in 0..edits {
        let (Some(at), Some(value)) = (script.u16(), script.byte()) else { return };
        let len = bytes.len();
        match usize::from(at) {
            0xffff => bytes.truncate(usize::from(value)),
            at if len > 0 => bytes[at % len] = value,
            _ => {}
        }
    }
}

/// A frame whose chunks and documents have the right checksums.
fn with_checksums(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut frame = decode_relay(bytes).ok()??;
    match &mut frame {
        RelayFrame::Changes { chunk, .. } => fix_chunk(chunk),
        RelayFrame::Segment { message_tail, annotation_tail, messages, annotations, .. } => {
            let tails = message_tail.iter_mut().chain(annotation_tail);
            tails.for_each(|tail| fix_chunk(&mut tail.chunk));
            let saved = messages.iter_mut().chain(annotations);
            saved.for_each(|saved| fix_chunk(&mut saved.bytes));
        }
        _ => {}
    }
    Some(encode_relay(&frame))
}
