//! What a reader of a large channel loads, counted in windows, and what it keeps.

use crate::sync_world::{CHANNEL, T0, World, message_of};
use crate::view_live::Consumer;
use backscroll_core::change::{ActorId16, DocKind, MessageAuthor};
use backscroll_core::channel::Item;
use backscroll_core::client::{Edge, Follow, ViewUpdate};
use backscroll_core::message::{Content, MessageId};
use backscroll_core::viewport::{At, Query};
use backscroll_core::window::Window;
use backscroll_core::wire::{ClientFrame, PROTOCOL_VERSION};

/// Messages so long that 50 fill a window, a second apart: some sixty windows.
const COUNT: u64 = 3_000;

/// A writer of many windows, and a reader who has the newest.
fn many_windows(bytes_max: u64) -> (World, usize) {
    let mut world = World::new(&["writer"]);
    world.settle();
    world.checked = false;
    let text = "long ".repeat(390);
    for i in 0..COUNT {
        world.send_at(0, &text, Some(T0 - (COUNT - i) * 1_000));
        if i % 100 == 0 {
            world.settle();
        }
    }
    world.settle();
    world.relay.compact();
    let reader = world.join("reader", bytes_max);
    world.settle();
    assert!(world.relay.directory(CHANNEL).len() > 50);
    world.checked = true;
    (world, reader)
}

fn go(world: &mut World, reader: usize, at: At) {
    let (view, now) = (world.peers[reader].view, world.now(reader));
    let query = Query { at, before: 10, after: 10 };
    world.peers[reader].client.move_view(view, query, now).expect("a query");
    world.drain(reader);
}

fn is_exact(world: &mut World, reader: usize) -> bool {
    let view = world.peers[reader].view;
    world.peers[reader].client.view(view).expect("a view").exact
}

#[test]
fn of_fifty_jumps_in_a_row_few_are_asked_for_and_the_last_waits_for_none() {
    let (mut world, reader) = many_windows(64 << 20);
    let before = world.relay.fetched;
    for jump in 0..50 {
        go(&mut world, reader, At::Index(jump * 1_237 % COUNT));
        world.advance(16);
    }
    // Nothing came meanwhile. The reader stops.
    world.advance(100);
    while world.step_up(reader) {}
    let fetched = world.relay.fetched - before;
    assert!((9..=16).contains(&fetched), "{fetched} windows are on their way");
    while world.step_down(reader) {}
    assert!(is_exact(&mut world, reader), "the last place was asked for before any answer came");
    world.settle();
    assert!(world.relay.fetched - before <= 16, "and nothing that was passed by afterwards");
}

#[test]
fn a_jump_is_asked_for_at_once_while_little_is_on_its_way() {
    let (mut world, reader) = many_windows(64 << 20);
    for index in [100, 1_000, 2_000] {
        go(&mut world, reader, At::Index(index));
        while world.step_up(reader) {}
    }
    while world.step_down(reader) {}
    assert!(is_exact(&mut world, reader));
}

/// The reader sees twenty rows from `first` on.
fn show(world: &mut World, reader: usize, first: u64) {
    let (view, now) = (world.peers[reader].view, world.now(reader));
    let (first, last) = (Edge::Index(first), Edge::Index(first + 19));
    let client = &mut world.peers[reader].client;
    client.set_visible(view, first, last, Follow::Stay, now).expect("a view");
    world.drain(reader);
}

/// Scrolls from row to row, with time to load after each step; how many of the views that followed
/// had placeholders, and how many windows were fetched.
fn scroll(
    world: &mut World,
    consumer: &mut Consumer,
    rows: impl Iterator<Item = u64>,
) -> (usize, u64) {
    let reader = consumer.peer;
    let (before, mut incomplete) = (world.relay.fetched, 0);
    consumer.poll(world);
    for row in rows {
        show(world, reader, row);
        if let Some(ViewUpdate::Reset { view, .. }) = consumer.poll(world) {
            incomplete +=
                usize::from(view.items.iter().any(|item| matches!(item, Item::Placeholder { .. })));
        }
        world.settle();
        consumer.poll(world);
        assert!(consumer.rows.iter().all(|row| matches!(row, Item::Message(_))));
    }
    (incomplete, world.relay.fetched - before)
}

#[test]
fn scrolling_finds_what_it_comes_to_loaded() {
    let (mut world, reader) = many_windows(64 << 20);
    world.look(reader, Query { at: At::Index(2_000), before: 30, after: 30 });
    let mut consumer = Consumer::new(&world, reader);
    let (incomplete, fetched) = scroll(&mut world, &mut consumer, (1_000..2_000).rev().step_by(10));
    let windows = world.relay.directory(CHANNEL);
    let between = |ms: u64| (T0 - 2_070_000..=T0 - 990_000).contains(&ms);
    let passed = windows
        .iter()
        .filter(|(_, entry)| between(entry.first_ms) || between(entry.last_ms))
        .count();
    assert!(incomplete <= 1, "{incomplete} views had to wait, the first may");
    let most = u64::try_from(passed).expect("small") + 2;
    assert!((15..=most).contains(&fetched), "{fetched} windows of {passed}");
    let (incomplete, _) = scroll(&mut world, &mut consumer, (1_010..2_500).step_by(10));
    assert_eq!(incomplete, 0, "down again");
}

#[test]
fn a_reader_who_stays_loads_nothing_ahead() {
    let (mut world, reader) = many_windows(64 << 20);
    world.look(reader, Query { at: At::Index(2_000), before: 30, after: 30 });
    let before = world.relay.fetched;
    for _ in 0..5 {
        show(&mut world, reader, 2_000);
        world.settle();
    }
    assert_eq!(world.relay.fetched, before);
}

#[test]
fn eviction_spares_what_is_in_view_and_what_is_not_sent() {
    let (mut world, reader) = many_windows(300_000);
    world.set_online(reader, false);
    let own = world.send_at(reader, "mine", Some(T0 - 2_500_500));
    world.set_online(reader, true);
    let writer = world.peers.len() - 2;
    world.set_online(writer, false);
    world.relay.refused_texts.insert("mine".to_owned(), backscroll_core::wire::Code::Forbidden);
    world.settle();
    // A view larger than the budget stays whole.
    let rows = world.look(reader, Query { at: At::Index(500), before: 100, after: 100 });
    assert!(rows.exact && rows.items.len() == 200);
    for index in (0..2_500).step_by(250) {
        let rows = world.look(reader, Query { at: At::Index(index), before: 10, after: 10 });
        assert!(rows.exact);
        rows.items.iter().map(message_of).for_each(drop);
        let channel = world.peers[reader].client.channel(CHANNEL).expect("it is open");
        assert!(channel.memory_bytes() <= 900_000, "{}", channel.memory_bytes());
        assert_eq!(channel.get(own).expect("it is shown").content.text, "mine");
    }
}

#[test]
fn a_view_that_grew_keeps_the_rows_it_told() {
    let (mut world, reader) = many_windows(200_000);
    let mut consumer = Consumer::new(&world, reader);
    world.look(reader, Query { at: At::Latest, before: 20, after: 0 });
    consumer.poll(&mut world);
    for i in 0..19 {
        world.send(0, &format!("{i} {}", "long ".repeat(1_500)));
        world.settle();
        consumer.poll(&mut world);
        let loaded = consumer.rows.iter().all(|row| matches!(row, Item::Message(_)));
        assert!(loaded && consumer.rows.len() == 21 + i);
    }
}

#[test]
fn a_message_into_a_window_not_loaded_is_fetched_if_it_is_in_view() {
    let mut world = World::new(&["away", "writer"]);
    world.settle();
    world.send_at(1, "first", Some(T0 - 7_000_000));
    world.settle();
    // Who goes away now will put what it writes into the widest window, however full it is then.
    world.set_online(0, false);
    world.fill(1, 6_000);
    world.relay.compact();
    let reader = world.join("reader", 64 << 20);
    world.settle();
    let mut consumer = Consumer::new(&world, reader);
    world.look(reader, Query { at: At::Index(5_000), before: 10, after: 10 });
    consumer.poll(&mut world);
    world.settle();
    let at_ms = match &consumer.rows[5] {
        Item::Message(message) => message.id.time_ms(),
        Item::Placeholder { .. } => panic!("it is loaded"),
    };
    let late = world.send_at(0, "late", Some(at_ms + 500));
    world.set_online(0, true);
    world.settle();
    consumer.poll(&mut world);
    let is_late =
        |row: &Item| matches!(row, Item::Message(message) if message.id == late && message.late);
    assert!(consumer.rows.iter().any(is_late), "{late} is in view");
    world.assert_converged();
}

#[test]
fn an_answer_that_runs_ahead_of_the_live_changes_changes_counts_once() {
    let (mut world, reader) = many_windows(64 << 20);
    let mut consumer = Consumer::new(&world, reader);
    go(&mut world, reader, At::Index(1_500));
    consumer.poll(&mut world);
    // The writer's messages reach the relay before the reader's question, and the reader after it.
    let ids: Vec<_> =
        (0..9).map(|i| world.send_at(0, "late", Some(T0 - 1_500_000 + i * 100 + 5))).collect();
    while world.step_up(0) | world.step_down(0) {}
    while world.step_up(reader) {}
    loop {
        let moved = world.step_down(reader);
        consumer.poll(&mut world);
        if !moved {
            break;
        }
    }
    world.settle();
    consumer.poll(&mut world);
    assert_eq!(consumer.total, COUNT + 9);
    let shown = |id| consumer.rows.iter().any(|row| matches!(row, Item::Message(m) if m.id == id));
    assert!(ids.into_iter().all(shown));
    world.assert_converged();
}

#[test]
fn late_messages_are_counted_from_the_placeholders_that_are_in_view() {
    let mut world = World::new(&["writer"]);
    world.fill(0, 6_000);
    let ada = world.join("ada", 64 << 20);
    world.settle();
    let (view, now) = (world.peers[ada].view, world.now(ada));
    let set = |world: &mut World, first, last| {
        let client = &mut world.peers[ada].client;
        client.set_visible(view, first, last, Follow::Stay, now).expect("a view");
        world.drain(ada);
    };
    let ids: Vec<_> = world.relay.messages(CHANNEL).iter().map(|row| row.0).collect();
    set(&mut world, Edge::Id(ids[5_990]), Edge::Id(ids[5_999]));
    for i in 0..3 {
        world.send_at(0, "late", Some(T0 - 3_000_500 + i));
    }
    world.settle();
    let late = world.peers[ada].client.late(view).expect("a view");
    assert_eq!((late.above, late.below), (3, 0));
    // Nothing comes of where it goes.
    world.set_online(ada, false);
    set(&mut world, Edge::Index(10), Edge::Index(20));
    let late = world.peers[ada].client.late(view).expect("a view");
    assert_eq!((late.above, late.below), (0, 3));
    set(&mut world, Edge::Index(u64::MAX), Edge::Index(u64::MAX));
}

#[test]
fn windows_that_others_make_far_from_every_view_are_not_loaded() {
    let (mut world, reader) = many_windows(64 << 20);
    let hello =
        ClientFrame::Hello { version: PROTOCOL_VERSION, user: "eve".to_owned(), token: None };
    world.relay_takes(1 << 40, hello);
    let loaded = |world: &World| {
        world.peers[reader].client.channel(CHANNEL).expect("it is open").loaded_len()
    };
    let before = loaded(&world);
    let mint = |world: &mut World, number: u64, time_ms| {
        let (window, actor) = (Window::covering(8, time_ms), u128::from(number).to_be_bytes());
        let body = Content::text("eve", "x").to_body().expect("a message");
        let mut author = MessageAuthor::new(window, ActorId16(actor));
        let written = author.write(&[(MessageId::from_parts(time_ms, 7), body)]);
        let chunks = vec![written.expect("a change").chunk];
        let (channel, doc) = (CHANNEL.to_owned(), DocKind::Messages);
        let push =
            ClientFrame::Push { reference: number, channel, window, generation: 0, doc, chunks };
        world.relay_takes(1 << 40, push);
        world.settle();
    };
    for number in 1..=20 {
        mint(&mut world, number, T0 - (COUNT - number * 100) * 1_000 + 1);
    }
    assert_eq!(loaded(&world), before);
    mint(&mut world, 21, T0 - 1_500);
    assert_eq!(loaded(&world), before + 1, "where the view is there is no hole");
    world.assert_converged();
}
