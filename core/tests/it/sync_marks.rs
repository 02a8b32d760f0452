//! Read state: what one device of a user had in view counts on all, and others see who read what.

use crate::sync_world::{CHANNEL, T0, World};
use backscroll_core::channel::{Channel, Receipts};
use backscroll_core::client::{Edge, Event, Follow};
use backscroll_core::message::MessageId;
use backscroll_core::viewport::{At, Query};

pub(crate) const HOUR_MS: u64 = 3_600_000;

pub(crate) fn channel(world: &World, peer: usize) -> &Channel {
    world.peers[peer].client.channel(CHANNEL).expect("it is open")
}

pub(crate) fn unread(world: &World, peer: usize) -> u64 {
    channel(world, peer).unread()
}

pub(crate) fn late(world: &World, peer: usize) -> Vec<u64> {
    channel(world, peer).unseen().runs().map(|run| run.count).collect()
}

/// Lets the reader see the rows of some messages, and the relay be told.
pub(crate) fn see(world: &mut World, peer: usize, first: MessageId, last: MessageId) {
    world.look(peer, Query { at: At::Id(first), before: 20, after: 40 });
    let (view, now) = (world.peers[peer].view, world.now(peer));
    let client = &mut world.peers[peer].client;
    client.set_visible(view, Edge::Id(first), Edge::Id(last), Follow::Stay, now).expect("a view");
    world.drain(peer);
}

pub(crate) fn pass(world: &mut World) {
    world.settle();
    world.advance(2_000);
    world.settle();
}

fn receipts(delivered: &[&str], read: &[&str]) -> Receipts {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Receipts { delivered: names(delivered), read: names(read) }
}

#[test]
fn what_one_device_has_read_is_read_on_the_others() {
    let mut world = World::new(&["writer", "ada", "ada"]);
    world.settle();
    let ids = ["one", "two", "three"].map(|text| {
        world.advance(10);
        world.send(0, text)
    });
    pass(&mut world);
    assert_eq!([unread(&world, 1), unread(&world, 2)], [3, 3]);
    see(&mut world, 1, ids[0], ids[1]);
    pass(&mut world);
    assert_eq!([unread(&world, 1), unread(&world, 2)], [1, 1]);
    assert_eq!(channel(&world, 2).first_unread(), Some(ids[2]));
    // A device that was never there begins where the others are.
    let phone = world.join("ada", 64 << 20);
    pass(&mut world);
    assert_eq!(unread(&world, phone), 1);
    let stranger = world.join("bob", 64 << 20);
    pass(&mut world);
    assert_eq!(unread(&world, stranger), 0, "history is no news to who comes first");
    // Opening does not count as reading: the others' line stays.
    assert_eq!([unread(&world, 1), unread(&world, 2)], [1, 1]);
}

#[test]
fn late_messages_below_the_line_count_until_one_device_had_them_in_view() {
    let mut world = World::new(&["writer", "ada", "ada"]);
    world.settle();
    let now = world.send(0, "now");
    pass(&mut world);
    see(&mut world, 1, now, now);
    pass(&mut world);
    let ids: Vec<_> = (0..4)
        .map(|i| world.send_at(0, &format!("late {i}"), Some(T0 - HOUR_MS + i * 100)))
        .collect();
    pass(&mut world);
    assert_eq!([unread(&world, 1), unread(&world, 2)], [4, 4]);
    see(&mut world, 2, ids[0], ids[1]);
    pass(&mut world);
    assert_eq!([late(&world, 1), late(&world, 2)], [[2], [2]]);
    let phone = world.join("ada", 64 << 20);
    pass(&mut world);
    assert_eq!((unread(&world, phone), late(&world, phone)), (2, vec![2]));
    // One that comes while a device is away is not seen by what that device says later.
    world.set_online(1, false);
    see(&mut world, 1, ids[2], ids[3]);
    world.send_at(0, "later", Some(T0 - 2 * HOUR_MS));
    pass(&mut world);
    world.set_online(1, true);
    pass(&mut world);
    for peer in [1, 2, phone] {
        assert!(late(&world, peer).contains(&1), "{:?}", late(&world, peer));
    }
    let now = world.now(1);
    world.peers[1].client.mark_read(CHANNEL, None, now);
    world.drain(1);
    pass(&mut world);
    for peer in [1, 2, phone] {
        assert_eq!((unread(&world, peer), late(&world, peer)), (0, Vec::new()));
    }
}

#[test]
fn more_late_runs_than_a_mark_can_name_are_still_there_on_the_other_device() {
    const RUNS: u64 = 300;
    let mut world = World::new(&["writer", "ada", "ada"]);
    world.settle();
    for i in 0..=RUNS {
        world.send_at(0, "between", Some(T0 - HOUR_MS + i * 2_000));
        // The first of them are not late, and nothing that follows them closely is.
        world.settle();
    }
    world.send(0, "now");
    pass(&mut world);
    let late_now = late(&world, 1).iter().sum::<u64>();
    for i in 0..RUNS {
        world.send_at(0, "late", Some(T0 - HOUR_MS + i * 2_000 + 1_000));
        world.settle();
    }
    pass(&mut world);
    assert_eq!(late(&world, 1), late(&world, 2));
    assert!(late(&world, 1).len() > 256, "{} runs", late(&world, 1).len());
    let newest = world.send(0, "newest");
    pass(&mut world);
    see(&mut world, 1, newest, newest);
    pass(&mut world);
    for peer in [1, 2] {
        assert_eq!(late(&world, peer).iter().sum::<u64>(), late_now + RUNS, "{peer}");
    }
}

#[test]
fn others_see_who_has_a_message_and_who_read_it() {
    let mut world = World::new(&["writer", "ada"]);
    world.settle();
    let ids = ["one", "two"].map(|text| {
        world.advance(10);
        world.send(0, text)
    });
    pass(&mut world);
    assert_eq!(channel(&world, 0).receipts(ids[0]), Receipts::default());
    see(&mut world, 1, ids[0], ids[0]);
    pass(&mut world);
    assert_eq!(channel(&world, 0).receipts(ids[0]), receipts(&["ada"], &["ada"]));
    assert_eq!(channel(&world, 0).receipts(ids[1]), Receipts::default());
    // A late message is below what was read, and was not read.
    let late = world.send_at(0, "late", Some(T0 - HOUR_MS));
    world.advance(10_000);
    pass(&mut world);
    assert_eq!(channel(&world, 0).receipts(late), Receipts::default());
}

#[test]
fn reading_is_one_mark_a_second_and_nothing_while_nothing_is_read() {
    let mut world = World::new(&["writer", "ada"]);
    world.settle();
    for i in 0..50 {
        world.advance(10);
        world.send(0, &format!("message {i}"));
    }
    pass(&mut world);
    let marks = world.relay.marks;
    let ids: Vec<_> = world.relay.messages(CHANNEL).iter().map(|row| row.0).collect();
    for id in &ids {
        see(&mut world, 1, *id, *id);
    }
    pass(&mut world);
    assert_eq!(world.relay.marks, marks + 1);
    world.advance(60_000);
    pass(&mut world);
    assert_eq!(world.relay.marks, marks + 1);
}

#[test]
fn what_was_read_outlives_a_restart_and_a_change_of_epoch() {
    let mut world = World::new(&["writer"]);
    let ada = world.join_stored("ada", 64 << 20, None);
    world.settle();
    let backup = world.relay.clone();
    let ids = ["one", "two", "three"].map(|text| {
        world.advance(10);
        world.send(0, text)
    });
    pass(&mut world);
    see(&mut world, ada, ids[0], ids[1]);
    world.settle_store(ada);
    world.crash(ada, true);
    pass(&mut world);
    assert_eq!(unread(&world, ada), 1);
    world.restore(&backup);
    pass(&mut world);
    pass(&mut world);
    assert_eq!(unread(&world, ada), 1);
    let phone = world.join("ada", 64 << 20);
    pass(&mut world);
    assert_eq!(unread(&world, phone), 1, "the restored relay was told again");
}

#[test]
fn what_is_ephemeral_reaches_who_is_there() {
    let mut world = World::new(&["ada", "bob"]);
    world.settle();
    world.peers[0].client.say_ephemeral(CHANNEL, b"typing").expect("it is open");
    world.drain(0);
    world.settle();
    let came = |event: &Event| matches!(event, Event::Ephemeral { user, payload, .. } if user == "ada" && payload == b"typing");
    assert!(world.peers[1].events.iter().any(came));
    assert!(world.peers[0].client.say_ephemeral(CHANNEL, &[0; 5_000]).is_err());
}
