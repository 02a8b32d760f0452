//! A channel of many messages as a relay has it, in memory, and the frames it answers with.
//!
//! Messages are those of `simulate`: 3 % late, and somebody's 2,000 offline ones after every 50,000.
//! Each is a change of its own by its sender's own-document, placed with full knowledge when it
//! arrives, as by senders that are online. Saved documents lag behind by as many changes as the
//! relay's compaction lets them. Documents are made when they are asked for; digests are those of
//! all changes from the start.
#![allow(dead_code, unreachable_pub, reason = "each bench uses a part of it")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a bench fails by panicking"
)]

use backscroll_core::change::{ActorId16, ChangeHash, DocKind, MessageAuthor};
use backscroll_core::client::{Client, Event, Now, Options, ViewId};
use backscroll_core::directory::{Directory, DocMark, Entry};
use backscroll_core::limits::LATE_AFTER_MS;
use backscroll_core::message::{Content, MessageId};
use backscroll_core::segment::{SegmentDoc, digest_of};
use backscroll_core::simulate::{Arrivals, Chunk, Plan};
use backscroll_core::viewport::{At, Query};
use backscroll_core::window::{Knowledge, Window, home_of};
use backscroll_core::wire::{
    ClientFrame, Cursor, Epoch, PROTOCOL_VERSION, RelayFrame, SavedDoc, Tail, WireLimits,
    decode_client, encode_late, encode_relay, encode_seqs, into_parts,
};
use std::collections::BTreeMap;

/// The channel's name.
pub const CHANNEL: &str = "#bench";

/// When the last message arrives, in ms since the Unix epoch: 2025-01-01T00:00Z.
pub const UNTIL_MS: u64 = 1_735_689_600_000;

/// Changes after the saved document of the newest window, and of others, at most (the relay's).
const TAIL_NEWEST: usize = 64;
const TAIL: usize = 256;

const EPOCH: Epoch = Epoch([7; 16]);

/// A message in its window.
#[derive(Clone, Debug)]
pub struct Stored {
    pub seq: u64,
    pub id: MessageId,
    pub late: bool,
    pub sender: u32,
    pub body: Box<[u8]>,
}

/// The relay's end.
#[derive(Debug)]
pub struct World {
    windows: BTreeMap<Window, Vec<Stored>>,
    directory: Directory,
    senders: BTreeMap<String, u32>,
    /// All ids, ascending.
    pub ids: Vec<MessageId>,
    head: Cursor,
    newest_ms: u64,
    frames: BTreeMap<Window, Vec<u8>>,
    extra: BTreeMap<Window, MessageAuthor>,
}

/// One arrival a second, 3 % late, and chunks.
pub fn plan() -> Plan {
    Plan { chunk: Some(Chunk { every: 50_000, size: 2_000 }), ..Plan::default() }
}

impl World {
    /// A channel of `count` messages.
    pub fn new(count: u64) -> Self {
        let mut world = Self {
            windows: BTreeMap::new(),
            directory: Directory::new(),
            senders: BTreeMap::new(),
            ids: Vec::new(),
            head: Cursor { epoch: EPOCH, seq: 0, hash: ChangeHash([0; 32]) },
            newest_ms: 0,
            frames: BTreeMap::new(),
            extra: BTreeMap::new(),
        };
        for arrival in Arrivals::new(&plan(), count, UNTIL_MS).expect("a plan") {
            world.place(arrival.message.id, &arrival.message.content);
        }
        world.seal();
        world
    }

    fn place(&mut self, id: MessageId, content: &Content) {
        let body = content.to_body().expect("a message").into_boxed_slice();
        let entries = &self.directory;
        let window =
            home_of(id.time_ms(), Knowledge::FULL, |window| entries.get(window).map(Entry::fill));
        self.head.seq += 1;
        let late = self.newest_ms > id.time_ms() + LATE_AFTER_MS;
        self.newest_ms = self.newest_ms.max(id.time_ms());
        let next = u32::try_from(self.senders.len()).expect("few");
        let sender = *self.senders.entry(content.from.clone()).or_insert(next);
        let bytes = body.len() as u64;
        let entry = match entries.get(window) {
            Some(entry) => {
                let mut entry = *entry;
                entry.add_message(id.time_ms(), bytes);
                entry
            }
            None => Entry::one(0, id.time_ms(), bytes),
        };
        self.directory.set(window, entry);
        let stored = Stored { seq: self.head.seq, id, late, sender, body };
        self.windows.entry(window).or_default().push(stored);
        self.ids.push(id);
    }

    /// Gives every entry its digest, and the head its hash.
    fn seal(&mut self) {
        self.ids.sort_unstable();
        for (window, stored) in &self.windows {
            let mut mark = DocMark::default();
            for (tail, hash) in changes(*window, stored) {
                mark.record(tail.seq, &hash);
                if tail.seq == self.head.seq {
                    self.head.hash = hash;
                }
            }
            let mut entry = *self.directory.get(*window).expect("it has messages");
            entry.message_doc = mark;
            self.directory.set(*window, entry);
        }
    }

    /// Messages in the channel.
    pub fn total(&self) -> u64 {
        self.ids.len() as u64
    }

    /// The windows.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Every message, window by window.
    pub fn messages(&self) -> impl Iterator<Item = &Stored> {
        self.windows.values().flatten()
    }

    /// The channel as it was when `back` messages fewer had arrived.
    pub fn before(&self, back: u64) -> Self {
        let upto = self.head.seq - back;
        let mut world = Self {
            windows: BTreeMap::new(),
            directory: self.directory.clone(),
            senders: BTreeMap::new(),
            ids: Vec::new(),
            head: Cursor { seq: upto, ..self.head },
            newest_ms: 0,
            frames: BTreeMap::new(),
            extra: BTreeMap::new(),
        };
        let mut entries = Vec::new();
        for (window, stored) in &self.windows {
            let kept = stored.partition_point(|message| message.seq <= upto);
            let Some((first, others)) = stored[..kept].split_first() else { continue };
            let mut entry = *self.directory.get(*window).expect("it has messages");
            if kept < stored.len() {
                entry = Entry::one(0, first.id.time_ms(), first.body.len() as u64);
                for message in others {
                    entry.add_message(message.id.time_ms(), message.body.len() as u64);
                }
                for (tail, hash) in changes(*window, &stored[..kept]) {
                    entry.message_doc.record(tail.seq, &hash);
                }
            }
            entries.push((*window, entry));
            if entry.last_ms + 86_400_000 > UNTIL_MS {
                world.windows.insert(*window, stored[..kept].to_vec());
            }
        }
        world.directory = entries.into_iter().collect();
        let ids = world.windows.values().flatten().map(|message| message.id);
        world.ids = ids.collect();
        world.ids.sort_unstable();
        world
    }

    fn opened(&self) -> Vec<u8> {
        encode_relay(&RelayFrame::Opened {
            channel: CHANNEL.to_owned(),
            head: self.head,
            resumed: false,
            directory: self.directory.encode(),
            total: self.directory.total(),
            late: Vec::new(),
            late_complete: true,
        })
    }

    fn segment(&mut self, reference: u64, window: Window) -> Vec<u8> {
        let stored = &self.windows[&window];
        let is_newest = self.ids.last() == stored.iter().map(|message| &message.id).max();
        let saved = stored.len() - stored.len() % if is_newest { TAIL_NEWEST } else { TAIL };
        let chunks: Vec<_> = changes(window, stored).map(|(tail, _)| tail).collect();
        let (before, after) = chunks.split_at(saved);
        let mut document = SegmentDoc::new(window, DocKind::Messages);
        let before: Vec<_> = before.iter().map(|tail| &tail.chunk).collect();
        document.apply(&before).expect("they apply");
        let facts: BTreeMap<_, _> =
            stored.iter().map(|message| (message.id, (message.seq, message.late))).collect();
        let of_saved: Vec<_> = document.ids().into_iter().map(|id| facts[&id]).collect();
        let entry = self.directory.get(window).expect("it has messages");
        encode_relay(&RelayFrame::Segment {
            reference,
            channel: CHANNEL.to_owned(),
            window,
            as_of: self.head.seq,
            entry: Directory::of_one(window, *entry).encode(),
            messages: (saved > 0)
                .then(|| SavedDoc { upto_seq: stored[saved - 1].seq, bytes: document.save() }),
            seqs: encode_seqs(of_saved.iter().map(|(seq, _)| *seq)),
            late: encode_late(of_saved.iter().map(|(_, late)| *late)),
            message_tail: after.to_vec(),
            annotations: None,
            annotation_tail: Vec::new(),
        })
    }

    /// The frames that answer a client's.
    pub fn answer(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        let frames = match decode_client(frame).expect("a frame").expect("a known frame") {
            ClientFrame::Hello { .. } => vec![welcome()],
            ClientFrame::Open { newest, .. } => {
                let mut frames = vec![self.opened()];
                for window in self.newest_windows(newest) {
                    frames.push(self.segment(0, window));
                }
                frames
            }
            ClientFrame::Fetch { reference, windows, .. } => {
                windows.iter().map(|have| self.cached(reference, have.window)).collect()
            }
            _ => Vec::new(),
        };
        (1..).zip(frames).flat_map(|(id, frame)| into_parts(frame, id)).collect()
    }

    /// A window's answer, made once: a client does not look at the reference.
    fn cached(&mut self, reference: u64, window: Window) -> Vec<u8> {
        if let Some(frame) = self.frames.get(&window) {
            return frame.clone();
        }
        let frame = self.segment(reference, window);
        self.frames.insert(window, frame.clone());
        frame
    }

    /// Forgets the answers it keeps.
    pub fn forget(&mut self) {
        self.frames.clear();
    }

    fn newest_windows(&self, newest: u32) -> Vec<Window> {
        let newest = usize::try_from(newest).expect("few").min(self.ids.len());
        let Some(first) = self.ids.get(self.ids.len() - newest) else { return Vec::new() };
        let since_ms = first.time_ms();
        let reaches = |(_, entry): &(Window, &Entry)| entry.last_ms >= since_ms;
        self.directory.iter().filter(reaches).map(|(window, _)| window).collect()
    }

    /// The frame of one more message of somebody, written at `time_ms`.
    pub fn arrive(&mut self, time_ms: u64, tail: u128) -> Vec<u8> {
        let id = MessageId::from_parts(time_ms, tail);
        let window =
            home_of(time_ms, Knowledge::FULL, |window| self.directory.get(window).map(Entry::fill));
        let actor = ActorId16(u128::MAX.wrapping_sub(u128::from(self.head.seq)).to_be_bytes());
        let author = self.extra.entry(window).or_insert_with(|| MessageAuthor::new(window, actor));
        let body = Content::text("somebody", "one more message, as late as it is")
            .to_body()
            .expect("a message");
        let bytes = body.len() as u64;
        let authored = author.write(&[(id, body)]).expect("a change");
        self.head.seq += 1;
        self.head.hash = authored.hash;
        let mut entry =
            self.directory.get(window).copied().unwrap_or(Entry::one(0, time_ms, bytes));
        entry.add_message(time_ms, bytes);
        entry.message_doc.record(self.head.seq, &authored.hash);
        self.directory.set(window, entry);
        let late = self.newest_ms > time_ms + LATE_AFTER_MS;
        encode_relay(&RelayFrame::Changes {
            channel: CHANNEL.to_owned(),
            seq: self.head.seq,
            window,
            generation: 0,
            doc: DocKind::Messages,
            chunk: authored.chunk,
            late: encode_late([late]),
        })
    }
}

fn welcome() -> Vec<u8> {
    encode_relay(&RelayFrame::Welcome {
        version: PROTOCOL_VERSION,
        epoch: EPOCH,
        server_time_ms: UNTIL_MS,
        limits: WireLimits {
            frame_bytes: 1 << 20,
            chunk_bytes: 1 << 18,
            push_chunks: 256,
            fetch_windows: 64,
        },
    })
}

/// The changes that brought a window's messages, one each, by their senders' own-documents.
fn changes(window: Window, stored: &[Stored]) -> impl Iterator<Item = (Tail, ChangeHash)> {
    let mut authors: BTreeMap<u32, MessageAuthor> = BTreeMap::new();
    stored.iter().map(move |message| {
        let author = authors.entry(message.sender).or_insert_with(|| {
            // As random as a real actor's to who compresses it, and the same in each run.
            let place = u128::from(message.sender) << 64 | u128::from(window.start_ms());
            let mixed = (place + 1 + u128::from(window.level()))
                .wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
            MessageAuthor::new(window, ActorId16(mixed.to_be_bytes()))
        });
        let authored = author.write(&[(message.id, message.body.to_vec())]).expect("a change");
        debug_assert_ne!(digest_of(authored.hash), 0);
        let late = encode_late([message.late]);
        (Tail { seq: message.seq, chunk: authored.chunk, late }, authored.hash)
    })
}

/// A client of the world, live, with the newest 50 messages in view.
#[derive(Debug)]
pub struct Reader {
    pub client: Client,
    pub view: ViewId,
    /// Bytes received so far.
    pub received: u64,
}

/// The only time there is: nothing here waits.
pub const NOW: Now = Now { wall_ms: UNTIL_MS, steady_ms: 1_000 };

/// The query for the newest rows.
pub const LATEST: Query = Query { at: At::Latest, before: 50, after: 0 };

impl Reader {
    /// A client that knows nothing, and the first frame for it.
    pub fn new() -> Self {
        let mut client = Client::new(Options::new("reader"), [5; 32]).expect("a name");
        let view = client.open_view(CHANNEL, LATEST, NOW).expect("a query");
        client.handle_timeout(NOW);
        Self { client, view, received: 0 }
    }

    /// Hands over frames until the client asks for nothing more.
    pub fn exchange(&mut self, world: &mut World) {
        loop {
            while let Some(event) = self.client.poll_event() {
                if event == Event::Connect {
                    self.client.handle_connected(None, NOW);
                }
            }
            let Some(frame) = self.client.poll_frame() else { return };
            for answer in world.answer(&frame) {
                self.give(&answer);
            }
        }
    }

    /// Hands over one frame.
    pub fn give(&mut self, frame: &[u8]) {
        self.received += frame.len() as u64;
        self.client.handle_bytes(frame, NOW);
    }

    /// A client with everything its view needs.
    pub fn live(world: &mut World) -> Self {
        let mut reader = Self::new();
        reader.exchange(world);
        reader.look(world, LATEST);
        reader
    }

    /// Moves the view, and loads what it needs.
    pub fn look(&mut self, world: &mut World, query: Query) {
        self.client.move_view(self.view, query, NOW).expect("a query");
        for _ in 0..8 {
            self.exchange(world);
            if self.client.view(self.view).expect("a view").exact {
                return;
            }
            self.client.move_view(self.view, query, NOW).expect("a query");
        }
        panic!("the view stays incomplete");
    }

    /// The frames that an empty client gets until it has the newest messages.
    pub fn opening(world: &mut World) -> Vec<Vec<u8>> {
        let mut frames = vec![welcome()];
        let open = backscroll_core::wire::encode_client(&ClientFrame::Open {
            channel: CHANNEL.to_owned(),
            cursor: None,
            newest: 50,
        });
        frames.extend(world.answer(&open));
        frames
    }

    /// Opens a channel by the frames of [`Reader::opening`]; what it shows must be exact.
    pub fn open(frames: &[Vec<u8>]) -> Self {
        let mut reader = Self::new();
        while let Some(event) = reader.client.poll_event() {
            if event == Event::Connect {
                reader.client.handle_connected(None, NOW);
            }
        }
        for frame in frames {
            reader.give(frame);
        }
        let view = reader.client.view(reader.view).expect("a view");
        assert!(view.exact && view.items.len() == 50, "the newest 50 are in hand");
        reader
    }
}

/// A spread of numbers that is the same in each run.
pub fn mixed(n: u64) -> u64 {
    let n = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (n ^ n >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 11
}
