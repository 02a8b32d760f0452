//! What live views tell, applied to a consumer's copy as its docs say, against the channel itself.

use crate::sync_world::{CHANNEL, T0, World};
use backscroll_core::channel::Item;
use backscroll_core::client::{Edge, Follow, ViewDelta, ViewId, ViewUpdate};
use backscroll_core::message::MessageId;
use backscroll_core::viewport::{At, Query, Reason, Source};

/// A consumer of one view.
#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) peer: usize,
    view: ViewId,
    pub(crate) start: u64,
    pub(crate) total: u64,
    pub(crate) rows: Vec<Item>,
    /// How many rows it was told of.
    pub(crate) told: usize,
}

pub(crate) fn id_of(item: &Item) -> Option<MessageId> {
    match item {
        Item::Message(message) => Some(message.id),
        Item::Placeholder { .. } => None,
    }
}

impl Consumer {
    pub(crate) fn new(world: &World, peer: usize) -> Self {
        Self::of(peer, world.peers[peer].view)
    }

    pub(crate) const fn of(peer: usize, view: ViewId) -> Self {
        Self { peer, view, start: 0, total: 0, rows: Vec::new(), told: 0 }
    }

    /// Takes one update in, and compares what it has with the channel.
    pub(crate) fn poll(&mut self, world: &mut World) -> Option<ViewUpdate> {
        let client = &mut world.peers[self.peer].client;
        let update = client.poll_view(self.view).expect("a view");
        match &update {
            Some(ViewUpdate::Reset { view, .. }) => {
                (self.start, self.total, self.rows) = (view.start, view.total, view.items.clone());
                self.told += self.rows.len();
            }
            Some(ViewUpdate::Delta(delta)) => self.apply(delta),
            None => {}
        }
        let client = &mut world.peers[self.peer].client;
        assert_eq!(client.poll_view(self.view).expect("a view"), None, "all was told");
        let channel = client.channel(CHANNEL).expect("it is open");
        assert_eq!(self.total, channel.total());
        let range = self.start..self.start + self.rows.len() as u64;
        let ids = channel.ids(range.clone());
        assert_eq!(self.rows.iter().map(id_of).collect::<Vec<_>>(), ids);
        for ((row, index), id) in self.rows.iter().zip(range).zip(ids) {
            // A placeholder's own number is not told again.
            assert!(id.is_none() || *row == channel.row(index, id), "row {index} is {row:?}");
        }
        let Some(ViewUpdate::Reset { late, .. } | ViewUpdate::Delta(ViewDelta { late, .. })) =
            &update
        else {
            return update;
        };
        assert_eq!(late.total, channel.unseen().total());
        assert_eq!(late.total, late.above + late.in_view + late.below);
        assert_eq!(late.total, late.runs.iter().map(|run| run.count).sum::<u64>());
        update
    }

    fn apply(&mut self, delta: &ViewDelta) {
        self.told += delta.inserted.len() + delta.updated.len();
        for (_, id) in &delta.removed {
            let at = self.rows.iter().position(|row| id_of(row) == Some(*id));
            self.rows.remove(at.expect("it was there"));
        }
        assert_eq!(delta.start, self.start + delta.above);
        let came = delta.inserted.len() as u64 + delta.above + delta.below;
        assert_eq!(delta.total, self.total + came - delta.removed.len() as u64);
        let place = |row: &u64| usize::try_from(row - delta.start).expect("small");
        for (row, item) in &delta.inserted {
            self.rows.insert(place(row), item.clone());
        }
        for (row, item) in &delta.updated {
            self.rows[place(row)] = item.clone();
        }
        (self.start, self.total) = (delta.start, delta.total);
        assert_eq!(delta.found_oldest, self.start == 0);
        assert_eq!(delta.found_newest, self.start + self.rows.len() as u64 == self.total);
    }

    fn delta(&mut self, world: &mut World) -> ViewDelta {
        match self.poll(world) {
            Some(ViewUpdate::Delta(delta)) => delta,
            other => panic!("{other:?} is no delta"),
        }
    }

    fn reset(&mut self, world: &mut World) -> Reason {
        match self.poll(world) {
            Some(ViewUpdate::Reset { reason, .. }) => reason,
            other => panic!("{other:?} is no reset"),
        }
    }

    fn ids(&self) -> Vec<Option<MessageId>> {
        self.rows.iter().map(id_of).collect()
    }
}

/// A writer with 300 messages a second apart, and a reader who has all of them.
fn two() -> (World, Consumer) {
    let mut world = World::new(&["writer", "reader"]);
    world.settle();
    world.fill(0, 300);
    world.settle();
    let consumer = Consumer::new(&world, 1);
    (world, consumer)
}

fn go(world: &mut World, consumer: &mut Consumer, query: Query) {
    let now = world.now(consumer.peer);
    world.peers[consumer.peer].client.move_view(consumer.view, query, now).expect("a query");
    world.drain(consumer.peer);
    assert_eq!(consumer.reset(world), Reason::Goto);
}

#[test]
fn a_view_that_nobody_polled_is_told_whole_and_then_by_deltas() {
    let (mut world, mut consumer) = two();
    assert_eq!(consumer.reset(&mut world), Reason::Init);
    assert_eq!((consumer.start, consumer.rows.len()), (280, 20));
    assert_eq!(consumer.poll(&mut world), None);
    world.send(0, "news");
    world.settle();
    let delta = consumer.delta(&mut world);
    assert_eq!((delta.reason, delta.start, delta.inserted.len()), (Reason::Live, 280, 1));
    assert!(delta.exact && delta.found_newest && !delta.found_oldest);
    let id = world.send(1, "mine");
    let delta = consumer.delta(&mut world);
    assert_eq!((delta.reason, delta.inserted[0].0), (Reason::Send, 301));
    world.settle();
    let delta = consumer.delta(&mut world);
    assert_eq!((delta.reason, delta.updated.len()), (Reason::Edit, 1), "it is relayed");
    assert_eq!(id_of(&delta.updated[0].1), Some(id));
}

#[test]
fn what_comes_outside_is_counted_and_moves_nothing() {
    let (mut world, mut consumer) = two();
    consumer.reset(&mut world);
    go(&mut world, &mut consumer, Query { at: At::Index(150), before: 10, after: 10 });
    let shown = consumer.ids();
    world.send_at(0, "above", Some(T0 - 250_500));
    world.send_at(0, "above too", Some(T0 - 240_500));
    world.send(0, "below");
    world.settle();
    let delta = consumer.delta(&mut world);
    assert_eq!((delta.start, delta.above, delta.below), (142, 2, 1));
    assert_eq!((delta.reason, delta.late.above, delta.late.in_view), (Reason::Late, 2, 0));
    assert_eq!(consumer.ids(), shown);
    world.send(1, "own, below");
    assert_eq!(consumer.delta(&mut world).reason, Reason::Send);
    assert_eq!(consumer.ids(), shown);
}

#[test]
fn a_late_message_within_the_window_is_in_view_and_marked() {
    let (mut world, mut consumer) = two();
    consumer.reset(&mut world);
    go(&mut world, &mut consumer, Query { at: At::Index(150), before: 10, after: 10 });
    world.send_at(0, "late", Some(T0 - 150_500));
    world.settle();
    let delta = consumer.delta(&mut world);
    assert_eq!((delta.reason, delta.start, delta.above, delta.below), (Reason::Late, 140, 0, 0));
    let [(150, Item::Message(row))] = delta.inserted.as_slice() else { panic!("{delta:?}") };
    assert!(row.late && row.content.text == "late");
    assert_eq!((delta.late.in_view, consumer.rows.len()), (1, 21));
    // It is seen: the inbox is told, and no row.
    let (view, now) = (consumer.view, world.now(1));
    let (first, last) = (consumer.ids()[8].expect("loaded"), consumer.ids()[12].expect("loaded"));
    let client = &mut world.peers[1].client;
    client.set_visible(view, Edge::Id(first), Edge::Id(last), Follow::Stay, now).expect("a view");
    let delta = consumer.delta(&mut world);
    assert_eq!((delta.reason, delta.late.total), (Reason::Late, 0));
    assert!(delta.inserted.is_empty() && delta.updated.is_empty());
}

#[test]
fn a_message_that_goes_is_taken_out() {
    let (mut world, mut consumer) = two();
    consumer.reset(&mut world);
    world.relay.refused_texts.insert("bad".to_owned(), backscroll_core::wire::Code::Forbidden);
    let id = world.send(1, "bad");
    world.settle();
    consumer.poll(&mut world);
    let now = world.now(1);
    assert!(world.peers[1].client.discard(CHANNEL, id, now));
    world.drain(1);
    let delta = consumer.delta(&mut world);
    assert_eq!((delta.removed, delta.total), (vec![(300, id)], 300));
}

#[test]
fn what_is_loaded_fills_the_placeholders_and_another_history_tells_all() {
    let mut world = World::new(&["writer"]);
    world.settle();
    world.fill(0, 5_000);
    let backup = world.relay.clone();
    let reader = world.join("reader", 64 << 20);
    world.settle();
    let mut consumer = Consumer::new(&world, reader);
    consumer.reset(&mut world);
    go(&mut world, &mut consumer, Query { at: At::Fraction(0.25), before: 10, after: 10 });
    assert!(consumer.ids().iter().all(Option::is_none));
    world.settle();
    let delta = consumer.delta(&mut world);
    assert_eq!((delta.reason, delta.start, delta.updated.len()), (Reason::Loaded, 1_240, 20));
    assert!(delta.exact && delta.inserted.is_empty());
    let shown = consumer.ids();
    world.send_at(0, "long ago", Some(T0 - 7_200_000));
    world.settle();
    assert_eq!((consumer.delta(&mut world).start, consumer.ids()), (1_241, shown));
    world.restore(&backup);
    world.settle();
    assert_eq!(consumer.reset(&mut world), Reason::Reset);
    assert!(world.look(reader, Query { at: At::Index(0), before: 0, after: 1 }).exact);
}

#[test]
fn a_late_message_far_away_costs_the_consumer_no_rows() {
    let (mut world, mut consumer) = two();
    consumer.reset(&mut world);
    consumer.told = 0;
    for i in 0..50 {
        world.send_at(0, "late", Some(T0 - 250_000 + i * 1_000 + 500));
        world.settle();
        consumer.delta(&mut world);
    }
    assert_eq!((consumer.told, consumer.start), (0, 330));
}
