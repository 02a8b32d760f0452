//! A live view, the late inbox and the channel under random histories, against plain lists: what a
//! consumer made of the deltas, which late messages were not seen, and how they stand in runs.
//!
//! Someone beside the reader writes into windows of any width, so that a few messages make many
//! windows; a small budget drops them again.

use crate::sync_world::{CHANNEL, T0, World};
use crate::view_live::{Consumer, id_of};
use backscroll_core::change::{ActorId16, DocKind, MessageAuthor};
use backscroll_core::channel::Item;
use backscroll_core::client::{ConnectionState, Edge, Follow, ViewUpdate};
use backscroll_core::late::Toward;
use backscroll_core::message::{Content, MessageId};
use backscroll_core::viewport::{At, Query, Reason};
use backscroll_core::window::Window;
use backscroll_core::wire::{ClientFrame, Code, PROTOCOL_VERSION};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// How far back messages are written, in ms: eight windows of level 6, sixty-four of level 7.
const SPAN_MS: u64 = 1 << 20;

/// The writer's connection.
const WRITER: u64 = 1 << 40;

#[derive(Clone, Debug)]
enum Step {
    /// Messages a step apart, the first so long ago, into windows of a level.
    Write {
        back_ms: u64,
        step_ms: u64,
        count: u64,
        level: u8,
    },
    Up(u8),
    Down(u8),
    Wait(u64),
    Poll,
    Move {
        at: At,
        before: u64,
        after: u64,
    },
    /// What the reader sees, from a place in the view on.
    Show {
        from: f64,
        rows: u64,
        follow: bool,
    },
    Send,
    SendBad,
    Discard,
    SeenOldest,
    Clear,
    Drop,
    Compact,
}

fn step() -> impl Strategy<Value = Step> {
    let at = prop_oneof![
        (0..SPAN_MS).prop_map(|back_ms| At::Time(T0 - back_ms)),
        (0..SPAN_MS).prop_map(|back_ms| At::Id(MessageId::first_of(T0 - back_ms))),
        (0..200_u64).prop_map(At::Index),
        (0.0..=1.0_f64).prop_map(At::Fraction),
        Just(At::Latest),
        Just(At::Oldest),
    ];
    let level = prop_oneof![1 => Just(0_u8), 1 => Just(5), 3 => Just(6), 3 => Just(7)];
    let back_ms = prop_oneof![2 => Just(0_u64), 3 => 0..SPAN_MS];
    let count = prop_oneof![6 => 1..4_u64, 1 => 20..60_u64];
    let write =
        (back_ms, 1..2_000_u64, count, level).prop_map(|(back_ms, step_ms, count, level)| {
            Step::Write { back_ms, step_ms, count, level }
        });
    prop_oneof![
        10 => write,
        6 => (1..8_u8).prop_map(Step::Up),
        10 => (1..20_u8).prop_map(Step::Down),
        3 => (0..8_000_u64).prop_map(Step::Wait),
        8 => Just(Step::Poll),
        4 => (at, 0..15_u64, 0..15_u64)
            .prop_map(|(at, before, after)| Step::Move { at, before, after }),
        4 => (0.0..=1.0_f64, 1..12_u64, any::<bool>())
            .prop_map(|(from, rows, follow)| Step::Show { from, rows, follow: follow && from > 0.7 }),
        2 => Just(Step::Send),
        1 => Just(Step::SendBad),
        1 => Just(Step::Discard),
        1 => Just(Step::SeenOldest),
        1 => Just(Step::Clear),
        1 => Just(Step::Drop),
        1 => Just(Step::Compact),
    ]
}

struct Model {
    world: World,
    consumer: Consumer,
    authors: BTreeMap<Window, MessageAuthor>,
    written: u64,
    /// Late messages of others that were told of and not seen.
    unseen: BTreeSet<MessageId>,
    /// Up to where the reader was told.
    told_seq: Option<u64>,
    /// Whether late messages came of which only their runs were told.
    has_resumed: bool,
    bad: Vec<MessageId>,
    /// The message that the view was moved to, once its place is certain.
    anchor: Option<MessageId>,
    moved_to: Option<Query>,
    /// Whether all rows of the view were there when it was last polled.
    was_whole: bool,
}

impl Model {
    fn new(bytes_max: u64) -> Self {
        let mut world = World::new(&[]);
        let reader = world.join("reader", bytes_max);
        world.relay.refused_texts.insert("bad".to_owned(), Code::Forbidden);
        let hello = ClientFrame::Hello {
            version: PROTOCOL_VERSION,
            user: "writer".to_owned(),
            token: None,
        };
        world.relay_takes(WRITER, hello);
        Self {
            consumer: Consumer::new(&world, reader),
            world,
            authors: BTreeMap::new(),
            written: 0,
            unseen: BTreeSet::new(),
            told_seq: None,
            has_resumed: false,
            bad: Vec::new(),
            anchor: None,
            moved_to: None,
            was_whole: false,
        }
    }

    fn step(&mut self, step: &Step) {
        let now = self.world.now(0);
        let view = self.world.peers[0].view;
        match *step {
            Step::Write { back_ms, step_ms, count, level } => {
                let from_ms = self.world.relay.now_ms - back_ms;
                (0..count).for_each(|i| self.write(from_ms.saturating_add(i * step_ms), level));
            }
            Step::Up(count) => (0..count).for_each(|_| _ = self.world.step_up(0)),
            Step::Down(count) => (0..count).for_each(|_| _ = self.down()),
            Step::Wait(ms) => self.world.advance(ms),
            Step::Poll => self.poll(),
            Step::Move { at, before, after } => {
                let query = Query { at, before, after };
                self.world.peers[0].client.move_view(view, query, now).expect("a query");
                (self.anchor, self.moved_to) = (None, Some(query));
            }
            Step::Show { from, rows, follow } => self.show(from, rows, follow),
            Step::Send => _ = self.world.send(0, "own"),
            Step::SendBad => self.bad.push(self.world.send(0, "bad")),
            Step::Discard => {
                let client = &mut self.world.peers[0].client;
                self.bad.retain(|id| !client.discard(CHANNEL, *id, now));
            }
            Step::SeenOldest => {
                let client = &mut self.world.peers[0].client;
                if let Some(run) = client.late_next(view, Toward::Oldest).expect("a view") {
                    client.late_seen(CHANNEL, Some(&run), now).expect("it is open");
                    self.unseen.retain(|id| *id < run.first || run.last < *id);
                }
            }
            Step::Clear => {
                self.world.peers[0].client.late_seen(CHANNEL, None, now).expect("it is open");
                self.unseen.clear();
            }
            Step::Drop => {
                // What the relay has of messages on their way is not known afterwards.
                while self.world.peers[0].client.pending_len() > 0 && self.exchange() {}
                self.has_resumed = true;
                self.world.drop_connection(0);
            }
            Step::Compact => self.world.relay.compact(),
        }
        self.world.drain(0);
        self.check_late();
    }

    fn write(&mut self, ms: u64, level: u8) {
        let ms = ms.min(self.world.relay.now_ms);
        self.written += 1;
        let id = MessageId::from_parts(ms, u128::from(self.written));
        let window = Window::covering(level, ms);
        let actor = ActorId16([u8::try_from(self.authors.len() + 1).expect("few windows"); 16]);
        let author =
            self.authors.entry(window).or_insert_with(|| MessageAuthor::new(window, actor));
        let body = Content::text("writer", &format!("text {}", self.written)).to_body();
        let chunk = author.write(&[(id, body.expect("in bounds"))]).expect("in bounds").chunk;
        let frame = ClientFrame::Push {
            reference: self.written,
            channel: CHANNEL.to_owned(),
            window,
            generation: 0,
            doc: DocKind::Messages,
            chunks: vec![chunk],
        };
        self.world.relay_takes(WRITER, frame);
    }

    /// One frame reaches the reader, and the late messages in it.
    fn down(&mut self) -> bool {
        let moved = self.world.step_down(0);
        let channel = self.world.peers[0].client.channel(CHANNEL).expect("it is open");
        let head = channel.head().map(|head| head.seq);
        if let (Some(told), Some(head)) = (self.told_seq, head) {
            let messages = self.world.relay.messages(CHANNEL).into_iter();
            let news = messages.filter(|(_, seq, late, content)| {
                *late && (told + 1..=head).contains(seq) && content.from != "reader"
            });
            self.unseen.extend(news.map(|(id, ..)| id));
        }
        self.told_seq = head.or(self.told_seq);
        moved
    }

    fn exchange(&mut self) -> bool {
        self.world.step_up(0) | self.down()
    }

    fn settle(&mut self) {
        for _ in 0..10_000 {
            if self.exchange() {
                continue;
            }
            let client = &self.world.peers[0].client;
            if client.state() == ConnectionState::Live && !client.is_busy() {
                return;
            }
            self.world.advance(500);
        }
        panic!("the world does not come to rest");
    }

    fn show(&mut self, from: f64, rows: u64, follow: bool) {
        let (view, now) = (self.world.peers[0].view, self.world.now(0));
        let client = &mut self.world.peers[0].client;
        let held = client.view(view).expect("a view");
        let rows_before = held.items.len() as f64 * from;
        let first = (0..held.items.len()).take_while(|row| (*row as f64) < rows_before).count();
        let shown = held.items.iter().skip(first).take(usize::try_from(rows).expect("small"));
        let shown: Vec<_> = shown.collect();
        if shown.is_empty() {
            return;
        }
        let first = held.start + first as u64;
        let last = first + shown.len() as u64 - 1;
        for id in shown.iter().filter_map(|item| id_of(item)) {
            self.unseen.remove(&id);
        }
        let follow = if follow { Follow::End } else { Follow::Stay };
        client
            .set_visible(view, Edge::Index(first), Edge::Index(last), follow, now)
            .expect("a view");
        (self.anchor, self.moved_to) = (None, None);
    }

    /// The consumer takes in what changed: its own checks compare its copy with the channel.
    fn poll(&mut self) {
        let before: Vec<_> = self.consumer.rows.iter().filter_map(id_of).collect();
        let start = self.consumer.start;
        let update = self.consumer.poll(&mut self.world);
        let rows = &self.consumer.rows;
        let shows = |id: MessageId| rows.iter().any(|row| id_of(row) == Some(id));
        match &update {
            Some(ViewUpdate::Delta(delta)) => {
                let channel = self.world.peers[0].client.channel(CHANNEL).expect("it is open");
                let gone = before.iter().find(|id| channel.get(**id).is_some() && !shows(**id));
                assert_eq!(gone, None, "a row left the view by a delta");
                assert!(delta.start >= start);
            }
            Some(ViewUpdate::Reset { reason, .. }) => {
                let is_first = matches!(reason, Reason::Goto | Reason::Init);
                let channel = self.world.peers[0].client.channel(CHANNEL).expect("it is open");
                self.anchor = self.anchor.filter(|id| !is_first && channel.get(*id).is_some());
                if let Some(anchor) = self.anchor {
                    assert!(shows(anchor), "the anchor left the view: {reason:?}");
                }
            }
            None => {}
        }
        let is_whole = rows.iter().all(|row| matches!(row, Item::Message(_)));
        if let Some(query) = self.moved_to.take_if(|_| is_whole && update.is_some()) {
            // The place is certain from now on if nothing that it depends on is missing.
            let view = self.world.peers[0].view;
            let exact = self.world.peers[0].client.view(view).expect("a view").exact;
            let at = usize::try_from(query.before).expect("small");
            if exact && !matches!(query.at, At::Latest | At::Oldest) && query.after > 0 {
                let clipped = self.consumer.start == 0;
                self.anchor = rows.get(at).and_then(id_of).filter(|_| !clipped);
            }
        }
        self.was_whole = is_whole;
    }

    fn check_late(&mut self) {
        let view = self.world.peers[0].view;
        let client = &mut self.world.peers[0].client;
        let late = client.late(view).expect("a view");
        assert_eq!(late.total, self.unseen.len() as u64, "each late message is told of once");
        assert_eq!(late.total, late.above + late.in_view + late.below);
        assert_eq!(late.total, late.runs.iter().map(|run| run.count).sum::<u64>());
        assert!(late.runs.is_sorted_by(|a, b| a.last < b.first));
        if !self.has_resumed {
            for run in &late.runs {
                let inside = self.unseen.range(run.first..=run.last).count() as u64;
                assert_eq!(
                    (inside, run.from_ms, run.to_ms),
                    (run.count, run.first.time_ms(), run.last.time_ms())
                );
                assert!(self.unseen.contains(&run.first) && self.unseen.contains(&run.last));
            }
        }
    }

    /// Once everything is loaded the runs are those with no other message between them.
    fn check_runs(&mut self) {
        let rows = self.world.timeline(0);
        assert_eq!(rows, self.world.stored());
        self.check_late();
        let mut runs: Vec<(MessageId, MessageId, u64)> = Vec::new();
        let mut is_open = false;
        for (id, _) in rows {
            let is_unseen = self.unseen.contains(&id);
            match runs.last_mut() {
                Some(run) if is_open && is_unseen => (run.1, run.2) = (id, run.2 + 1),
                _ if is_unseen => runs.push((id, id, 1)),
                _ => {}
            }
            is_open = is_unseen;
        }
        let channel = self.world.peers[0].client.channel(CHANNEL).expect("it is open");
        let told: Vec<_> =
            channel.unseen().runs().map(|run| (run.first, run.last, run.count)).collect();
        assert_eq!(told, runs);
    }
}

fn run(steps: &[Step], bytes_max: u64) {
    let mut model = Model::new(bytes_max);
    for step in steps {
        model.step(step);
    }
    model.settle();
    model.poll();
    model.check_late();
    let now = model.world.now(0);
    for id in std::mem::take(&mut model.bad) {
        assert!(model.world.peers[0].client.discard(CHANNEL, id, now));
    }
    model.world.drain(0);
    model.poll();
    if bytes_max > 1 << 20 {
        model.check_runs();
    }
    model.world.assert_converged();
}

proptest! {
    #[test]
    fn whatever_happens_the_view_and_the_inbox_are_those_of_plain_lists(
        steps in prop::collection::vec(step(), 1..80),
        is_small in any::<bool>(),
    ) {
        run(&steps, if is_small { 12_000 } else { 64 << 20 });
    }
}
