//! Clients and a relay on a network of queues and virtual time.

use crate::sync_relay::Relay;
use crate::sync_store::{Desk, Store};
use backscroll_core::annotation::{Annotations, Edit};
use backscroll_core::change::{ChangeBody, ChangeView, DocKind};
use backscroll_core::channel::{Item, View};
use backscroll_core::client::{Client, ConnectionState, Event, Now, ViewId};
use backscroll_core::message::{Content, MessageId};
use backscroll_core::viewport::{At, Query};
use backscroll_core::window::Window;
use backscroll_core::wire::{ClientFrame, RelayFrame, decode_client, encode_relay};
use std::collections::{BTreeMap, VecDeque};

pub(crate) const CHANNEL: &str = "#room";
pub(crate) const T0: u64 = 1_700_000_000_000;

/// Steps after which a world that should be quiet is stuck.
const STEPS_MAX: usize = 200_000;

/// A client and its connection.
pub(crate) struct Peer {
    pub(crate) client: Client,
    pub(crate) name: String,
    /// How far its clock is ahead of true time, in ms.
    pub(crate) skew_ms: i64,
    /// Whether it can reach the relay.
    pub(crate) online: bool,
    pub(crate) desk: Desk,
    /// Bytes of loaded windows that it keeps.
    pub(crate) bytes_max: u64,
    connection: Option<u64>,
    up: VecDeque<Vec<u8>>,
    down: VecDeque<Vec<u8>>,
    pub(crate) events: Vec<Event>,
    pub(crate) view: ViewId,
}

pub(crate) struct World {
    pub(crate) relay: Relay,
    pub(crate) peers: Vec<Peer>,
    pub(crate) stores: Vec<Store>,
    /// How many clients began.
    pub(crate) started: u8,
    pub(crate) steady_ms: u64,
    connections: u64,
    /// Whether invariants are checked after each step; it costs O(everything held).
    pub(crate) checked: bool,
}

impl World {
    pub(crate) fn new(names: &[&str]) -> Self {
        let relay = Relay::new(T0);
        let mut world = Self {
            relay,
            peers: Vec::new(),
            stores: Vec::new(),
            started: 0,
            steady_ms: 0,
            connections: 0,
            checked: true,
        };
        for name in names {
            world.join(name, 64 << 20);
        }
        world
    }

    /// A new client, with the newest 20 messages in view.
    pub(crate) fn join(&mut self, name: &str, segment_bytes_max: u64) -> usize {
        self.enter(name, segment_bytes_max, Desk::default())
    }

    pub(crate) fn enter(&mut self, name: &str, bytes_max: u64, desk: Desk) -> usize {
        let now = Now { wall_ms: self.relay.now_ms, steady_ms: self.steady_ms };
        let client = self.new_client(name, bytes_max, &desk, now);
        let view = ViewId(1);
        self.peers.push(Peer {
            desk,
            bytes_max,
            client,
            name: name.to_owned(),
            skew_ms: 0,
            online: true,
            connection: None,
            up: VecDeque::new(),
            down: VecDeque::new(),
            events: Vec::new(),
            view,
        });
        self.drain(self.peers.len() - 1);
        self.peers.len() - 1
    }

    pub(crate) fn now(&self, peer: usize) -> Now {
        let wall_ms = self.relay.now_ms.saturating_add_signed(self.peers[peer].skew_ms);
        Now { wall_ms, steady_ms: self.steady_ms }
    }

    pub(crate) fn advance(&mut self, ms: u64) {
        self.steady_ms += ms;
        self.relay.now_ms += ms;
        for peer in 0..self.peers.len() {
            let now = self.now(peer);
            if self.peers[peer].client.poll_timeout(now).is_some_and(|at| at <= self.steady_ms) {
                self.peers[peer].client.handle_timeout(now);
                self.drain(peer);
            }
        }
    }

    pub(crate) fn send(&mut self, peer: usize, text: &str) -> MessageId {
        self.send_at(peer, text, None)
    }

    pub(crate) fn send_at(&mut self, peer: usize, text: &str, at_ms: Option<u64>) -> MessageId {
        let now = self.now(peer);
        let content = Content::text(&self.peers[peer].name, text);
        let id = self.peers[peer].client.send(CHANNEL, content, at_ms, now).expect("it is open");
        self.drain(peer);
        let row = self.peers[peer].client.channel(CHANNEL).and_then(|channel| channel.get(id));
        assert_eq!(row.expect("shown at once").content.text, text);
        id
    }

    /// Has one client write `count` messages, a second apart, ending at the world's time.
    pub(crate) fn fill(&mut self, peer: usize, count: u64) {
        self.checked = false;
        for i in 0..count {
            self.send_at(peer, &format!("message {i}"), Some(T0 - (count - i) * 1_000));
            if i % 200 == 0 {
                self.settle();
            }
        }
        self.checked = true;
        self.settle();
    }

    /// Takes what the client wants done.
    pub(crate) fn drain(&mut self, peer: usize) {
        while let Some(event) = self.peers[peer].client.poll_event() {
            match event {
                Event::Connect => {
                    let now = self.now(peer);
                    let one = &mut self.peers[peer];
                    if one.online {
                        self.connections += 1;
                        one.connection = Some(self.connections);
                        one.client.handle_connected(None, now);
                    } else {
                        one.client.handle_closed(None, now);
                    }
                }
                Event::Disconnect { .. } => self.cut(peer),
                event => self.peers[peer].events.push(event),
            }
        }
        let one = &mut self.peers[peer];
        one.desk.poll(&mut one.client);
        while let Some(frame) = one.client.poll_frame() {
            assert!(one.connection.is_some(), "a frame without a connection");
            one.up.push_back(frame);
        }
        if self.checked {
            one.client.check_invariants().expect("invariants");
        }
    }

    pub(crate) fn cut(&mut self, peer: usize) {
        let one = &mut self.peers[peer];
        one.up.clear();
        one.down.clear();
        if let Some(connection) = one.connection.take() {
            self.relay.closed(connection);
        }
    }

    /// The connection breaks; frames on their way are lost.
    pub(crate) fn drop_connection(&mut self, peer: usize) {
        if self.peers[peer].connection.is_some() {
            self.cut(peer);
            let now = self.now(peer);
            self.peers[peer].client.handle_closed(None, now);
            self.drain(peer);
        }
    }

    pub(crate) fn set_online(&mut self, peer: usize, online: bool) {
        self.peers[peer].online = online;
        if online {
            let now = self.now(peer);
            self.peers[peer].client.handle_online(now);
            self.drain(peer);
        } else {
            self.drop_connection(peer);
        }
    }

    /// One frame of a client reaches the relay.
    pub(crate) fn step_up(&mut self, peer: usize) -> bool {
        let Some(bytes) = self.peers[peer].up.pop_front() else { return false };
        let frame = decode_client(&bytes).expect("a frame").expect("a known frame");
        if let ClientFrame::Push { window, chunks, doc: DocKind::Messages, .. } = &frame {
            let ids = chunks.iter().flat_map(|chunk| ids_of(chunk, *window));
            self.assert_stored(&self.peers[peer], ids);
        }
        let connection = self.peers[peer].connection.expect("it is connected");
        self.relay_takes(connection, frame);
        true
    }

    /// A frame reaches the relay, of a client or of someone beside them.
    pub(crate) fn relay_takes(&mut self, connection: u64, frame: ClientFrame) {
        for (to, frame) in self.relay.handle(connection, frame) {
            if let Some(peer) = self.peers.iter_mut().find(|peer| peer.connection == Some(to)) {
                peer.down.push_back(encode_relay(&frame));
            }
        }
    }

    /// The relay says something of its own accord.
    pub(crate) fn relay_says(&mut self, peer: usize, frame: &RelayFrame) {
        if self.peers[peer].connection.is_some() {
            self.peers[peer].down.push_back(encode_relay(frame));
        }
    }

    /// One frame of the relay reaches a client.
    pub(crate) fn step_down(&mut self, peer: usize) -> bool {
        let Some(bytes) = self.peers[peer].down.pop_front() else { return false };
        let now = self.now(peer);
        self.peers[peer].client.handle_bytes(&bytes, now);
        self.drain(peer);
        true
    }

    /// A frame on its way to or from a client comes twice.
    pub(crate) fn repeat(&mut self, peer: usize) {
        let one = &mut self.peers[peer];
        let is_push = |bytes: &Vec<u8>| {
            let frame = decode_client(bytes).expect("a frame");
            matches!(frame, Some(ClientFrame::Push { .. } | ClientFrame::Fetch { .. }))
        };
        if let Some(frame) = one.up.front().filter(|frame| is_push(frame)).cloned() {
            one.up.push_front(frame);
        }
        if let Some(frame) = one.down.front().cloned() {
            one.down.push_front(frame);
        }
    }

    /// The relay stops and starts from a backup: another history.
    pub(crate) fn restore(&mut self, backup: &Relay) {
        for peer in 0..self.peers.len() {
            self.drop_connection(peer);
        }
        self.relay.restore(backup);
    }

    /// Until nothing moves any more and every client is live.
    pub(crate) fn settle(&mut self) {
        for _ in 0..STEPS_MAX {
            let mut moved = false;
            for peer in 0..self.peers.len() {
                moved |= self.step_up(peer) | self.step_down(peer);
                moved |= self.step_store(peer) | self.step_read(peer) | self.step_foreign(peer);
            }
            if moved {
                continue;
            }
            let live = |peer: &Peer| {
                let live = peer.client.state() == ConnectionState::Live && !peer.client.is_busy();
                peer.client.is_saved() && (!peer.online || live)
            };
            if self.peers.iter().all(live) {
                return;
            }
            self.advance(500);
        }
        let states: Vec<_> = self
            .peers
            .iter()
            .map(|peer| (peer.client.state(), peer.client.pending_len()))
            .collect();
        panic!("the world does not come to rest: {states:?}");
    }

    /// The rows of a client's view, once it has what it needs.
    pub(crate) fn look(&mut self, peer: usize, query: Query) -> View {
        let (view, now) = (self.peers[peer].view, self.now(peer));
        self.peers[peer].client.move_view(view, query, now).expect("a query");
        self.drain(peer);
        for _ in 0..STEPS_MAX {
            let rows = self.peers[peer].client.view(view).expect("a view");
            if rows.exact {
                return rows;
            }
            let moved = self.step_up(peer) | self.step_down(peer);
            if !(moved | self.step_store(peer) | self.step_read(peer)) {
                if !self.peers[peer].online {
                    return rows;
                }
                self.advance(500);
            }
        }
        panic!("the view stays incomplete");
    }

    /// All that a client shows, loaded page by page.
    pub(crate) fn timeline(&mut self, peer: usize) -> Vec<(MessageId, String)> {
        let mut all = Vec::new();
        loop {
            let at = At::Index(all.len() as u64);
            let rows = self.look(peer, Query { at, before: 0, after: 1_000 });
            assert_eq!(rows.start, (all.len() as u64).min(rows.total));
            all.extend(rows.items.iter().map(message_of));
            if all.len() as u64 >= rows.total {
                return all;
            }
        }
    }

    /// What the relay has.
    pub(crate) fn stored(&self) -> Vec<(MessageId, String)> {
        let said: BTreeMap<_, _> = self.relay.said(CHANNEL).into_iter().collect();
        let text = |(id, content): (MessageId, Content)| match said.get(&id) {
            Some(said) if said.deleted => (id, String::new()),
            Some(Annotations { edit: Some(Edit { text: Some(text), .. }), .. }) => {
                (id, text.clone())
            }
            _ => (id, content.text),
        };
        let messages = self.relay.messages(CHANNEL).into_iter();
        messages.map(|(id, _, _, content)| text((id, content))).collect()
    }

    /// Asserts that every client shows exactly what the relay has.
    pub(crate) fn assert_converged(&mut self) {
        let stored = self.stored();
        for peer in 0..self.peers.len() {
            let shown = self.timeline(peer);
            let differs = shown.iter().zip(&stored).find(|(shown, stored)| shown != stored);
            assert_eq!(differs, None, "{}", self.peers[peer].name);
            assert_eq!(shown.len(), stored.len(), "{}", self.peers[peer].name);
            let channel = self.peers[peer].client.channel(CHANNEL).expect("it is open");
            assert_eq!(*channel.directory(), self.relay.directory(CHANNEL));
            let problems: Vec<_> = self.peers[peer]
                .events
                .iter()
                .filter(|event| matches!(event, Event::Problem { .. }))
                .collect();
            assert!(problems.is_empty(), "{problems:?}");
        }
    }
}

/// The messages that a chunk brings.
fn ids_of(chunk: &[u8], window: Window) -> Vec<MessageId> {
    let view = ChangeView::read(chunk, window, DocKind::Messages).expect("a change");
    let ChangeBody::Messages(ops) = view.body else { panic!("messages") };
    ops.iter().map(|op| op.id).collect()
}

pub(crate) fn message_of(item: &Item) -> (MessageId, String) {
    match item {
        Item::Message(message) => (message.id, message.content.text.clone()),
        Item::Placeholder { index } => panic!("row {index} is not loaded"),
    }
}
