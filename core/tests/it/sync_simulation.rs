//! Whole lives of a channel on virtual time: clients with skewed clocks that come and go, are cut off
//! and crash, on a network that delays, loses and repeats, and a relay that is restored from copies.
//! Some are devices of the same user.
//!
//! In the end everyone shows what the relay has, nothing that a store had is lost or doubled, what was
//! said of messages is the same everywhere, each user was told of every late message once, whichever
//! device saw it, the relay knows what was read, and a user's devices agree on what is unread.

use crate::sync_crashes::setting;
use crate::sync_relay::Relay;
use crate::sync_world::{CHANNEL, World};
use backscroll_core::annotation::Edit;
use backscroll_core::channel::Item;
use backscroll_core::client::{Edge, Follow};
use backscroll_core::message::MessageId;
use backscroll_core::storage::Key;
use backscroll_core::viewport::{At, Query, Ranked};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::collections::BTreeSet;

/// What is expected of one client's late inbox.
#[derive(Default)]
struct Inbox {
    /// The head when the client first saw the channel: what came before is history.
    since_seq: Option<u64>,
    seen: BTreeSet<MessageId>,
    /// What was seen and perhaps not stored.
    at_risk: BTreeSet<MessageId>,
    /// What was seen and not stored when the client crashed: it may be told again.
    forgotten: BTreeSet<MessageId>,
    /// Whether the client was started and has not found its place since.
    is_new: bool,
    /// Whether it began anew, so that what it is to be told is not known here.
    is_vague: bool,
}

struct Simulation {
    world: World,
    rng: ChaCha8Rng,
    inboxes: Vec<Inbox>,
    backup: Relay,
    /// Whether the relay lost its history: then what came meanwhile cannot be told from what is pushed
    /// again.
    was_restored: bool,
    busy: u64,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut world = World::new(&[]);
        let peers = 2 + rng.next_u64() % 9;
        let users = 1 + rng.next_u64() % peers;
        let budget = if rng.next_u64().is_multiple_of(3) { 20_000 } else { 64 << 20 };
        let mut inboxes = Vec::new();
        for peer in 0..peers {
            let peer = world.join_stored(&format!("user {}", peer % users), budget, None);
            let skew_ms = match rng.next_u64() % 4 {
                0 => 3_600_000,
                1 => 600_000,
                _ => 2_000,
            };
            let skew_ms = i64::try_from(rng.next_u64() % skew_ms).expect("small");
            world.peers[peer].skew_ms =
                if rng.next_u64().is_multiple_of(2) { skew_ms } else { -skew_ms };
            inboxes.push(Inbox { is_new: true, ..Inbox::default() });
        }
        let backup = world.relay.clone();
        let busy = 1 + rng.next_u64() % 6;
        Self { world, rng, inboxes, backup, was_restored: false, busy }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound
    }

    fn chance(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    fn run(&mut self, ticks: u64) {
        for _ in 0..ticks {
            for peer in 0..self.world.peers.len() {
                self.tick(peer);
            }
            match self.below(400) {
                0 => self.backup = self.world.relay.clone(),
                1 if self.busy > 3 => {
                    self.world.restore(&self.backup);
                    self.was_restored = true;
                }
                2 => self.world.relay.compact(),
                _ => {}
            }
            let ms = 1 + self.below(400);
            self.world.advance(ms);
        }
    }

    /// What happens to one client in a moment.
    fn tick(&mut self, peer: usize) {
        self.act(peer);
        for _ in 0..self.below(6) {
            match self.below(6) {
                0 | 1 => _ = self.world.step_up(peer),
                2 | 3 => _ = self.world.step_down(peer),
                4 => _ = self.world.step_store(peer),
                _ => _ = self.world.step_read(peer),
            }
            self.note(peer);
        }
        if self.chance(40) {
            self.world.repeat(peer);
        }
        if self.world.peers[peer].client.is_saved() {
            self.inboxes[peer].at_risk.clear();
        }
    }

    fn act(&mut self, peer: usize) {
        let is_there = self.world.peers[peer].client.channel(CHANNEL).is_some();
        match self.below(100) {
            0..=9 if is_there => {
                for i in 0..=self.below(self.busy) {
                    let at_ms = match self.below(8) {
                        0 => Some(self.world.relay.now_ms - self.below(10_000)),
                        1 => Some(self.world.relay.now_ms - self.below(100_000_000)),
                        _ => None,
                    };
                    self.world.send_at(peer, &format!("text {i}"), at_ms);
                }
            }
            10..=13 => self.look(peer),
            14..=17 => self.say(peer),
            18 => self.world.drop_connection(peer),
            19 => self.world.set_online(peer, false),
            20..=23 => self.world.set_online(peer, true),
            24 if self.chance(2) => self.crash(peer),
            _ => {}
        }
    }

    /// Looks somewhere, and sees what is there.
    fn look(&mut self, peer: usize) {
        let at = match self.below(3) {
            0 => At::Latest,
            _ => At::Index(self.below(200)),
        };
        let (view, now) = (self.world.peers[peer].view, self.world.now(peer));
        let client = &mut self.world.peers[peer].client;
        client.move_view(view, Query { at, before: 4, after: 8 }, now).expect("a query");
        let rows = client.view(view).expect("a view");
        let id = |item: &Item| match item {
            Item::Message(row) => Some(row.id),
            Item::Placeholder { .. } => None,
        };
        let ids: Vec<_> = rows.items.iter().filter_map(id).collect();
        if let (Some(first), Some(last), false) = (ids.first(), ids.last(), self.chance(2)) {
            let (first, last) = (Edge::Id(*first), Edge::Id(*last));
            let client = &mut self.world.peers[peer].client;
            client.set_visible(view, first, last, Follow::Stay, now).expect("a view");
            // What came while it was looking is in view as well.
            let channel = client.channel(CHANNEL).expect("it is open");
            let (Edge::Id(first), Edge::Id(last)) = (first, last) else { unreachable!() };
            let ids: Vec<_> = channel.ids(channel.rank(first)..channel.rank(last) + 1);
            self.inboxes[peer].seen.extend(ids.iter().flatten());
            self.inboxes[peer].at_risk.extend(ids.iter().flatten());
        }
        self.world.drain(peer);
        self.note(peer);
    }

    /// Edits, deletes or reacts to some message.
    fn say(&mut self, peer: usize) {
        let now = self.world.now(peer);
        let name = self.world.peers[peer].name.clone();
        let index = self.below(100);
        let client = &mut self.world.peers[peer].client;
        let Some(channel) = client.channel(CHANNEL) else { return };
        let id = channel.ids(index..index + 1).first().copied().flatten();
        let Some(row) = id.and_then(|id| channel.get(id)) else { return };
        let is_own = row.content.from == name;
        let said = match self.rng.next_u64() % 4 {
            0 if is_own => client.delete(CHANNEL, row.id, now),
            1 if is_own => client.edit(CHANNEL, row.id, Edit::text("edited", now.wall_ms), now),
            2 => client.react(CHANNEL, row.id, "+1", false, now),
            _ => client.react(CHANNEL, row.id, "+1", true, now),
        };
        said.expect("it is there");
        self.world.drain(peer);
    }

    fn crash(&mut self, peer: usize) {
        let written = self.chance(2);
        self.world.crash(peer, written);
        let inbox = &mut self.inboxes[peer];
        let lost = std::mem::take(&mut inbox.at_risk);
        inbox.seen.retain(|id| !lost.contains(id));
        inbox.forgotten.extend(lost);
        inbox.is_new = true;
    }

    /// Notes where a client's history begins, once it has a place in it.
    fn note(&mut self, peer: usize) {
        let inbox = &mut self.inboxes[peer];
        let head = self.world.peers[peer].client.channel(CHANNEL).and_then(|c| c.head().copied());
        let Some(head) = head.filter(|_| inbox.is_new) else { return };
        inbox.is_new = false;
        let store = self.world.peers[peer].desk.store.expect("a store");
        let is_known = |key: &Key| matches!(key, Key::Channel { .. });
        if inbox.since_seq.is_none() || self.world.stores[store].keys(is_known).is_empty() {
            // Of one that was there before, the relay has marks that tell what it had not seen.
            let is_vague = inbox.since_seq.is_some();
            *inbox = Inbox { since_seq: Some(head.seq), is_vague, ..Inbox::default() };
        }
    }

    /// Everyone comes together.
    fn end(&mut self) {
        for peer in 0..self.world.peers.len() {
            self.world.set_online(peer, true);
        }
        // Where the history of one begins that was not there before is not noted.
        let is_there: Vec<_> = self.inboxes.iter().map(|inbox| !inbox.is_new).collect();
        // What lies in the future by clocks that are fast becomes due.
        self.world.settle();
        let stored: Vec<_> = self.world.stored().into_iter().map(|(id, _)| id).collect();
        let kept: BTreeSet<_> =
            self.world.stores.iter().flat_map(|store| &store.kept).copied().collect();
        assert_eq!(stored, kept.into_iter().collect::<Vec<_>>(), "nothing lost or doubled");
        self.world.assert_converged();
        self.check_said();
        self.pass();
        self.check_read();
        for peer in (0..self.world.peers.len()).filter(|peer| is_there[*peer]) {
            self.check_inbox(peer);
        }
        self.check_devices();
    }

    /// Everything is loaded once, and marks go round.
    fn pass(&mut self) {
        for _ in 0..4 {
            for peer in 0..self.world.peers.len() {
                self.world.timeline(peer);
            }
            // Longer than a client waits for marks before it tells its own.
            for _ in 0..6 {
                self.world.advance(2_000);
                self.world.settle();
            }
        }
    }

    fn devices_of(&self, name: &str) -> Vec<usize> {
        let peers = 0..self.world.peers.len();
        peers.filter(|peer| self.world.peers[*peer].name == name).collect()
    }

    /// What was read on any device and not lost with it is known to the relay.
    fn check_read(&self) {
        let reads = &self.world.relay.channels[CHANNEL].reads;
        for (peer, inbox) in self.world.peers.iter().zip(&self.inboxes) {
            let read = reads.get(&peer.name).and_then(|state| state.read);
            assert!(read >= inbox.seen.last().copied(), "{}: {read:?}", peer.name);
        }
    }

    /// The late messages that a client lists.
    fn told(&self, peer: usize) -> Vec<MessageId> {
        let channel = self.world.peers[peer].client.channel(CHANNEL).expect("it is open");
        let runs: Vec<_> = channel.unseen().runs().copied().collect();
        let is_told = |id: &MessageId| runs.iter().any(|run| run.first <= *id && *id <= run.last);
        let messages = self.world.relay.messages(CHANNEL);
        messages.into_iter().filter(|row| row.2).map(|row| row.0).filter(is_told).collect()
    }

    /// Devices of a user that have looked at the same agree on what is unread.
    fn check_devices(&mut self) {
        for peer in 0..self.world.peers.len() {
            self.world.look(peer, Query { at: At::Latest, before: 8, after: 0 });
            let (view, now) = (self.world.peers[peer].view, self.world.now(peer));
            let client = &mut self.world.peers[peer].client;
            let total = client.channel(CHANNEL).expect("it is open").total();
            let (first, last) = (Edge::Index(total.saturating_sub(8)), Edge::Index(total));
            client.set_visible(view, first, last, Follow::Stay, now).expect("a view");
            self.world.drain(peer);
        }
        self.pass();
        for peer in 0..self.world.peers.len() {
            let name = &self.world.peers[peer].name;
            let first = self.devices_of(name)[0];
            let unread = |peer: usize| {
                let channel = self.world.peers[peer].client.channel(CHANNEL);
                let channel = channel.expect("it is open");
                (channel.unread(), channel.unseen().total(), self.told(peer))
            };
            if !self.was_restored {
                assert_eq!(unread(peer), unread(first), "{name}, {peer} and {first}");
            }
            let (all, late, _) = unread(peer);
            assert_eq!(all, late, "{name} has read everything that was not late");
        }
    }

    /// Everyone shows what is said of each message as the relay has it.
    fn check_said(&mut self) {
        let said = self.world.relay.said(CHANNEL);
        for peer in 0..self.world.peers.len() {
            self.world.timeline(peer);
            let client = &self.world.peers[peer].client;
            assert_eq!(client.pending_len(), 0, "something waits at {peer}");
            let channel = client.channel(CHANNEL).expect("it is open");
            let whole = channel.memory_bytes() > 20_000 || channel.loaded_len() > 0;
            for (id, said) in said.iter().filter(|_| whole) {
                // Of windows that were dropped again nothing is to be compared.
                let Some(row) = channel.get(*id) else { continue };
                assert_eq!(row.deleted, said.deleted, "{id}");
                if !said.deleted {
                    assert_eq!(row.reactions, said.reactions, "{id}");
                    let edited = said.edit.as_ref().map(|edit| edit.edited_at);
                    assert_eq!(row.edited_ms, edited, "{id}");
                }
            }
        }
    }

    /// A client was told of each late message of others that came since it was there, once.
    fn check_inbox(&mut self, peer: usize) {
        if self.was_restored {
            return;
        }
        let name = &self.world.peers[peer].name;
        // What one device of a user saw all have seen, and what one was there for all are told.
        let inboxes = self.devices_of(name).into_iter().map(|peer| &self.inboxes[peer]);
        let inboxes: Vec<_> = inboxes.collect();
        // Two that began before the relay heard of either take all there was for history.
        let began_at_once = self.world.relay.unheard.get(name).is_some_and(|first| *first > 1);
        if began_at_once || inboxes.iter().any(|inbox| inbox.is_vague) {
            return;
        }
        let seqs = inboxes.iter().filter_map(|inbox| inbox.since_seq);
        let first_seq = seqs.min().expect("one was there");
        let since_seq = self.inboxes[peer].since_seq.expect("it was there");
        let messages = self.world.relay.messages(CHANNEL);
        let channel = self.world.peers[peer].client.channel(CHANNEL).expect("it is open");
        let runs: Vec<_> = channel.unseen().runs().copied().collect();
        let is_told = |id: MessageId| runs.iter().any(|run| run.first <= id && id <= run.last);
        let mut told = 0;
        for (id, seq, late, content) in &messages {
            let is_news = *late && content.from != *name;
            let seen = inboxes.iter().any(|inbox| inbox.seen.contains(id));
            let forgotten = inboxes.iter().any(|inbox| inbox.forgotten.contains(id));
            if is_news && *seq > since_seq && !seen && !forgotten {
                assert!(is_told(*id), "{name} was not told of {id}");
            }
            told += u64::from(is_told(*id));
            if is_told(*id) {
                let is_news = is_news && *seq > first_seq;
                assert!(is_news && !seen, "{name} was told of {id}: news {is_news}, seen {seen}");
            }
        }
        assert_eq!(channel.unseen().total(), told, "{name}: each once");
    }
}

/// `SEED=n` replays one life, `RUNS=n` runs as many.
#[test]
fn whatever_happens_everyone_agrees_in_the_end_and_is_told_of_every_late_message_once() {
    let seeds = match setting("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..setting("RUNS").unwrap_or(300),
    };
    for seed in seeds {
        let told = std::panic::catch_unwind(|| {
            let mut simulation = Simulation::new(seed);
            simulation.world.checked = seed % 4 == 0;
            let ticks = 50 + simulation.below(250);
            simulation.run(ticks);
            simulation.end();
        });
        assert!(told.is_ok(), "SEED={seed} replays it");
    }
}
