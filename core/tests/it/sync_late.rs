//! Late messages, from their coming until they were seen: how they are grouped and counted.

use crate::sync_world::{CHANNEL, T0, World};
use backscroll_core::client::{Edge, Follow};
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
    let ids: Vec<_> =
        (0..3).map(|i| world.send_at(0, "far", Some(start_ms + i * 10_000 + 500))).collect();
    world.settle();
    assert_eq!(runs(&world, reader), [3], "of consecutive seqs");
    world.send(0, "now");
    world.settle();
    world.send_at(0, "apart", Some(start_ms + 50_500));
    world.settle();
    assert_eq!(runs(&world, reader), [3, 1]);
    world.look(reader, Query { at: At::Id(ids[0]), before: 5, after: 5 });
    assert_eq!(runs(&world, reader), [1, 1, 1, 1], "there are messages between");
    see(&mut world, reader, ids[1], ids[1]);
    assert_eq!(runs(&world, reader), [1, 1, 1]);
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
