//! Late messages, from their coming until they were seen: how they are grouped and counted.

use crate::sync_world::{CHANNEL, T0, World, message_of};
use backscroll_core::client::{Edge, Follow};
use backscroll_core::directory::Entry;
use backscroll_core::late::{Late, Place, Toward};
use backscroll_core::message::MessageId;
use backscroll_core::viewport::{At, Query};

const HOUR_MS: u64 = 3_600_000;

/// The counts of the runs that wait, oldest first.
fn runs(world: &World, peer: usize) -> Vec<u64> {
    let channel = world.peers[peer].client.channel(CHANNEL).expect("it is open");
    let counts: Vec<_> = channel.unseen().runs().map(|run| run.count).collect();
    assert_eq!(channel.unseen().total(), counts.iter().sum::<u64>());
    counts
}

/// Lets the reader see the rows of some messages.
fn see(world: &mut World, peer: usize, first: MessageId, last: MessageId) {
    world.look(peer, Query { at: At::Id(first), before: 20, after: 40 });
    let (view, now) = (world.peers[peer].view, world.now(peer));
    let client = &mut world.peers[peer].client;
    client.set_visible(view, Edge::Id(first), Edge::Id(last), Follow::Stay, now).expect("a view");
    world.drain(peer);
}

fn write_late(world: &mut World, count: u64, at_ms: u64) -> Vec<MessageId> {
    let ids = (0..count).map(|i| world.send_at(0, &format!("late {i}"), Some(at_ms + i * 100)));
    ids.collect()
}

#[test]
fn a_run_taller_than_the_screen_leaves_the_inbox_by_reading() {
    let mut world = World::new(&["writer", "reader"]);
    world.settle();
    world.send(0, "now");
    world.settle();
    let late = write_late(&mut world, 60, T0 - HOUR_MS);
    world.settle();
    assert_eq!(runs(&world, 1), [60], "one run, with nothing between");
    see(&mut world, 1, late[20], late[39]);
    assert_eq!(runs(&world, 1), [20, 20]);
    see(&mut world, 1, late[0], late[19]);
    see(&mut world, 1, late[40], late[49]);
    assert_eq!(runs(&world, 1), [10]);
    see(&mut world, 1, late[50], late[59]);
    assert!(runs(&world, 1).is_empty());
}

#[test]
fn a_message_that_comes_between_splits_a_run() {
    let mut world = World::new(&["writer", "reader"]);
    world.settle();
    world.send(0, "before");
    world.send_at(0, "now", Some(T0 + 10_000));
    world.settle();
    write_late(&mut world, 4, T0 - HOUR_MS);
    world.settle();
    assert_eq!(runs(&world, 1), [4]);
    world.send_at(1, "own", Some(T0 - HOUR_MS + 150));
    assert_eq!(runs(&world, 1), [2, 2], "at once, by an own message");
    world.settle();
    assert_eq!(runs(&world, 1), [2, 2]);
    assert_eq!(runs(&world, 0), [1], "for the other it is news, and no other's");
    write_late(&mut world, 1, T0 - HOUR_MS + 120);
    world.settle();
    world.advance(1);
    assert_eq!(runs(&world, 1), [3, 2], "one that stands next to a run belongs to it");
}

#[test]
fn late_messages_in_a_hole_are_one_run_until_it_is_loaded() {
    let mut world = World::new(&["writer"]);
    world.settle();
    world.fill(0, 6_000);
    let reader = world.join("reader", 64 << 20);
    world.settle();
    let start_ms = T0 - 5_900_000;
    let mut ids: Vec<_> =
        (0..3).map(|i| world.send_at(0, "far", Some(start_ms + i * 10_000 + 500))).collect();
    world.settle();
    assert_eq!(runs(&world, reader), [3], "they came one after the other");
    world.send(0, "now");
    world.settle();
    ids.push(world.send_at(0, "soon after", Some(start_ms + 30_500)));
    world.settle();
    assert_eq!(runs(&world, reader), [4], "others may come between");
    (0..300).for_each(|_| _ = world.send(0, "now"));
    world.settle();
    world.send_at(0, "apart", Some(start_ms + 50_500));
    world.settle();
    assert_eq!(runs(&world, reader), [4, 1]);
    world.look(reader, Query { at: At::Id(ids[0]), before: 5, after: 5 });
    assert_eq!(runs(&world, reader), [1, 1, 1, 1, 1], "there are messages between");
    see(&mut world, reader, ids[1], ids[1]);
    assert_eq!(runs(&world, reader), [1, 1, 1, 1]);
}

#[test]
fn what_came_late_while_away_is_known_one_by_one_once_it_is_loaded() {
    let mut world = World::new(&["writer"]);
    world.settle();
    world.fill(0, 6_000);
    let reader = world.join("reader", 64 << 20);
    world.settle();
    for round in 0..2 {
        // The first time its window is a hole, the second time it is loaded and behind.
        world.set_online(reader, false);
        let late = write_late(&mut world, 9, T0 - 5_800_000 + round * 60_000 + 20);
        world.settle();
        world.set_online(reader, true);
        world.settle();
        assert_eq!(runs(&world, reader), [9], "round {round}");
        see(&mut world, reader, late[3], late[5]);
        assert_eq!(runs(&world, reader), [3, 3]);
        see(&mut world, reader, late[0], late[8]);
        assert!(runs(&world, reader).is_empty());
    }
    world.assert_converged();
}

/// Ten thousand late messages a ms apart, between two seconds of a channel of 6,000.
fn write_chunk(world: &mut World) -> (MessageId, MessageId) {
    world.checked = false;
    let ids = (0..CHUNK).map(|i| world.send_at(0, "chunk", Some(T0 - 5_899_990 + i / 11)));
    let mut ids: Vec<_> = ids.collect();
    world.settle();
    world.checked = true;
    ids.sort_unstable();
    (ids[0], ids[ids.len() - 1])
}

const CHUNK: u64 = 10_000;

/// What a reader is told of the chunk, wherever it looks.
fn check_chunk(world: &mut World, reader: usize, ends: (MessageId, MessageId)) {
    let view = world.peers[reader].view;
    let late = world.peers[reader].client.late(view).expect("a view");
    assert_eq!((late.total, late.above, late.runs.len()), (CHUNK, CHUNK, 1));
    let run = late.runs[0];
    assert_eq!((run.first, run.last, run.count, run.place), (ends.0, ends.1, CHUNK, Place::Above));
    let up = world.peers[reader].client.late_next(view, Toward::Up).expect("a view");
    assert_eq!(up, Some(run));
}

/// Reads the chunk from its first to its last message, 40 rows at a time.
fn read_chunk(world: &mut World, reader: usize, ends: (MessageId, MessageId)) {
    world.checked = false;
    let view = world.peers[reader].view;
    let mut left = CHUNK;
    let mut pages = 0;
    while let Some(run) =
        world.peers[reader].client.late_next(view, Toward::Oldest).expect("a view")
    {
        assert_eq!((run.count, run.last), (left, ends.1), "still one run, shorter");
        let rows = world.look(reader, Query { at: At::Id(run.first), before: 0, after: 40 });
        let ids: Vec<_> = rows.items.iter().map(|item| message_of(item).0).collect();
        see(world, reader, ids[0], ids[39]);
        left -= left.min(40);
        pages += 1;
        assert!(pages <= CHUNK / 40);
    }
    world.checked = true;
    assert_eq!(left, 0, "each was reported once");
}

#[test]
fn a_late_chunk_of_ten_thousand_in_holes_is_one_run_live() {
    let mut world = World::new(&["writer"]);
    world.settle();
    world.fill(0, 6_000);
    let reader = world.join("reader", 64 << 20);
    world.settle();
    let ends = write_chunk(&mut world);
    let windows = world.relay.directory(CHANNEL);
    let holding =
        |entry: &Entry| entry.first_ms <= ends.1.time_ms() && ends.0.time_ms() <= entry.last_ms;
    assert!(windows.iter().filter(|(_, entry)| holding(entry)).count() > 3, "it fills several");
    check_chunk(&mut world, reader, ends);
    read_chunk(&mut world, reader, ends);
    world.assert_converged();
}

#[test]
fn a_late_chunk_of_ten_thousand_is_one_run_after_a_reconnect() {
    let mut world = World::new(&["writer"]);
    world.settle();
    world.fill(0, 6_000);
    world.relay.compact();
    let reader = world.join("reader", 64 << 20);
    world.settle();
    world.look(reader, Query { at: At::Oldest, before: 0, after: 200 });
    world.look(reader, Query { at: At::Latest, before: 20, after: 0 });
    world.set_online(reader, false);
    let ends = write_chunk(&mut world);
    world.set_online(reader, true);
    world.settle();
    check_chunk(&mut world, reader, ends);
    read_chunk(&mut world, reader, ends);
}

#[test]
fn a_late_chunk_of_ten_thousand_into_loaded_windows_is_one_run() {
    let mut world = World::new(&["writer", "reader"]);
    world.settle();
    world.fill(0, 6_000);
    let now = world.now(1);
    world.peers[1].client.late_seen(CHANNEL, None, now).expect("it is open");
    let ends = write_chunk(&mut world);
    world.advance(1);
    check_chunk(&mut world, 1, ends);
    // Someone writes into the middle of it.
    let middle_ms = (ends.0.time_ms() + ends.1.time_ms()) / 2;
    world.send_at(1, "own", Some(middle_ms));
    world.settle();
    let counts = runs(&world, 1);
    assert_eq!((counts.len(), counts.iter().sum::<u64>()), (2, CHUNK));
}

#[test]
fn what_was_there_before_the_first_open_is_silent() {
    let mut world = World::new(&["writer"]);
    world.settle();
    world.fill(0, 3_000);
    write_late(&mut world, 30, T0 - HOUR_MS);
    world.settle();
    let reader = world.join("reader", 64 << 20);
    world.settle();
    assert!(runs(&world, reader).is_empty());
    world.timeline(reader);
    assert!(runs(&world, reader).is_empty(), "with everything loaded too");
    let view = world.peers[reader].view;
    assert_eq!(world.peers[reader].client.late(view).expect("a view"), Late::default());
}

#[test]
fn a_run_is_taken_out_without_a_word_of_what_was_read() {
    let mut world = World::new(&["writer", "reader"]);
    world.settle();
    world.fill(0, 50);
    write_late(&mut world, 3, T0 - HOUR_MS);
    write_late(&mut world, 4, T0 - 20_500);
    world.settle();
    world.advance(1);
    let (view, now) = (world.peers[1].view, world.now(1));
    let client = &mut world.peers[1].client;
    let late = client.late(view).expect("a view");
    assert_eq!(late.total, 7);
    let run = client.late_next(view, Toward::Oldest).expect("a view").expect("one");
    assert_eq!(run.count, 3);
    client.late_seen(CHANNEL, Some(&run), now).expect("it is open");
    assert_eq!(client.late(view).expect("a view").total, 4);
    assert_eq!(client.channel(CHANNEL).expect("it is open").unread(), 57, "nothing was read");
    client.late_seen(CHANNEL, None, now).expect("it is open");
    assert_eq!(client.late_next(view, Toward::Oldest).expect("a view"), None);
    world.drain(1);
}
