//! Several devices of one user: what one has read or seen counts on all, and none takes from the others
//! what it did not see, whichever of them was there when it came.

use crate::sync_marks::{HOUR_MS, channel, late, pass, see, unread};
use crate::sync_world::{CHANNEL, T0, World};
use backscroll_core::message::MessageId;
use backscroll_core::viewport::{At, Query};

const BUDGET: u64 = 64 << 20;

fn write(world: &mut World, texts: &[&str]) -> Vec<MessageId> {
    let mut one = |text: &&str| {
        world.advance(10);
        world.send(0, text)
    };
    texts.iter().map(&mut one).collect()
}

fn write_late(world: &mut World, count: u64) -> Vec<MessageId> {
    let late = |i| world.send_at(0, &format!("late {i}"), Some(T0 - HOUR_MS + i * 100));
    (0..count).map(late).collect()
}

/// A writer, and devices of one user; the first of them has seen all there is.
fn world_of(devices: usize) -> (World, MessageId) {
    let names = ["writer", "ada", "ada", "ada"];
    let mut world = World::new(&names[..=devices]);
    world.settle();
    let now = world.send(0, "now");
    pass(&mut world);
    see(&mut world, 1, now, now);
    pass(&mut world);
    (world, now)
}

#[test]
fn what_was_read_is_told_though_the_connection_broke_before_the_relay_heard() {
    let mut world = World::new(&["writer", "ada", "ada"]);
    world.settle();
    let ids = write(&mut world, &["one", "two", "three"]);
    pass(&mut world);
    see(&mut world, 1, ids[0], ids[1]);
    world.advance(1_500);
    world.drop_connection(1);
    world.advance(10_000);
    pass(&mut world);
    pass(&mut world);
    assert_eq!([unread(&world, 1), unread(&world, 2)], [1, 1]);
}

#[test]
fn what_was_read_offline_is_told_after_a_restart() {
    let mut world = World::new(&["writer", "ada"]);
    let ada = world.join_stored("ada", BUDGET, None);
    world.settle();
    let ids = write(&mut world, &["one", "two", "three"]);
    pass(&mut world);
    world.set_online(ada, false);
    see(&mut world, ada, ids[0], ids[1]);
    world.advance(3_000);
    world.settle_store(ada);
    world.crash(ada, true);
    world.set_online(ada, true);
    pass(&mut world);
    pass(&mut world);
    assert_eq!([unread(&world, 1), unread(&world, ada)], [1, 1]);
}

#[test]
fn late_messages_seen_on_one_device_are_no_news_to_another_that_was_away() {
    let (mut world, _) = world_of(2);
    world.set_online(2, false);
    let ids = write_late(&mut world, 4);
    pass(&mut world);
    see(&mut world, 1, ids[0], ids[3]);
    pass(&mut world);
    assert!(late(&world, 1).is_empty());
    write(&mut world, &["one more"]);
    pass(&mut world);
    world.set_online(2, true);
    pass(&mut world);
    world.timeline(2);
    pass(&mut world);
    assert!(late(&world, 2).is_empty());
    assert_eq!([unread(&world, 1), unread(&world, 2)], [1, 1]);
}

#[test]
fn of_late_messages_that_came_while_a_device_was_away_only_those_nobody_saw_are_told() {
    let (mut world, _) = world_of(2);
    world.set_online(2, false);
    let ids = write_late(&mut world, 4);
    pass(&mut world);
    see(&mut world, 1, ids[0], ids[1]);
    pass(&mut world);
    let later = world.send_at(0, "later", Some(T0 - HOUR_MS + 50));
    pass(&mut world);
    world.set_online(2, true);
    pass(&mut world);
    world.timeline(2);
    pass(&mut world);
    let runs: Vec<_> = channel(&world, 2).unseen().runs().map(|r| (r.first, r.count)).collect();
    assert_eq!(runs, [(later, 1), (ids[2], 2)]);
    assert_eq!(late(&world, 1), [1, 2]);
}

#[test]
fn a_device_that_is_opened_for_the_first_time_takes_nothing_from_the_inbox() {
    let (mut world, _) = world_of(1);
    write_late(&mut world, 30);
    pass(&mut world);
    assert_eq!(late(&world, 1), [30]);
    let phone = world.join("ada", BUDGET);
    pass(&mut world);
    let newest = write(&mut world, &["newest"])[0];
    pass(&mut world);
    see(&mut world, phone, newest, newest);
    pass(&mut world);
    assert_eq!([late(&world, 1), late(&world, phone)], [[30], [30]]);
}

#[test]
fn nor_does_it_if_the_others_were_away_and_its_windows_are_not_loaded() {
    let mut world = World::new(&["writer"]);
    world.fill(0, 6_000);
    let ada = world.join("ada", BUDGET);
    pass(&mut world);
    let newest = *world.relay.messages(CHANNEL).last().map(|row| &row.0).expect("many");
    see(&mut world, ada, newest, newest);
    pass(&mut world);
    world.set_online(ada, false);
    let ids: Vec<_> =
        (0..30).map(|i| world.send_at(0, "late", Some(T0 - 4_999_900 + i * 2))).collect();
    pass(&mut world);
    // Nobody of the user was there. Another device is, now, and looks at the newest.
    let phone = world.join("ada", BUDGET);
    pass(&mut world);
    let newest = write(&mut world, &["newest"])[0];
    pass(&mut world);
    see(&mut world, phone, newest, newest);
    pass(&mut world);
    world.set_online(ada, true);
    pass(&mut world);
    pass(&mut world);
    assert_eq!([late(&world, ada), late(&world, phone)], [[30], [30]]);
    assert_eq!(unread(&world, ada), unread(&world, phone));
    // Seen on one, they are on both.
    see(&mut world, phone, ids[0], ids[29]);
    pass(&mut world);
    assert!(late(&world, phone).is_empty() && late(&world, ada).is_empty());
}

#[test]
fn a_device_that_was_alone_lists_what_came_late_when_it_loads_it() {
    let mut world = World::new(&["writer"]);
    world.fill(0, 6_000);
    let ada = world.join_stored("ada", BUDGET, None);
    pass(&mut world);
    let newest = *world.relay.messages(CHANNEL).last().map(|row| &row.0).expect("many");
    see(&mut world, ada, newest, newest);
    pass(&mut world);
    world.set_online(ada, false);
    let ids: Vec<_> =
        (0..5).map(|i| world.send_at(0, "late", Some(T0 - 4_999_900 + i * 2))).collect();
    pass(&mut world);
    let phone = world.join_stored("ada", BUDGET, None);
    pass(&mut world);
    assert!(late(&world, phone).is_empty(), "of what is not loaded nothing is known");
    // It remembers that over a restart.
    world.settle_store(phone);
    world.crash(phone, true);
    pass(&mut world);
    world.look(phone, Query { at: At::Id(ids[0]), before: 5, after: 20 });
    pass(&mut world);
    assert_eq!(late(&world, phone), [5]);
    world.set_online(ada, true);
    pass(&mut world);
    assert_eq!(late(&world, ada), [5]);
}

#[test]
fn where_the_relay_lists_none_because_there_are_too_many_nothing_is_taken_from_others() {
    let (mut world, _) = world_of(2);
    world.set_online(2, false);
    let ids = write_late(&mut world, 6);
    pass(&mut world);
    world.relay.lists_no_late = true;
    world.set_online(2, true);
    pass(&mut world);
    let newest = write(&mut world, &["newest"])[0];
    see(&mut world, 2, newest, newest);
    pass(&mut world);
    pass(&mut world);
    assert_eq!(late(&world, 1), [6]);
    world.timeline(2);
    pass(&mut world);
    assert_eq!(late(&world, 2), [6], "with their windows loaded they are known");
    see(&mut world, 2, ids[0], ids[5]);
    pass(&mut world);
    assert!(late(&world, 1).is_empty());
}

#[test]
fn an_own_late_message_of_another_device_is_no_news() {
    let (mut world, _) = world_of(2);
    world.set_online(2, false);
    world.send_at(1, "mine, late", Some(T0 - HOUR_MS));
    pass(&mut world);
    world.set_online(2, true);
    pass(&mut world);
    world.timeline(2);
    pass(&mut world);
    assert!(late(&world, 2).is_empty());
}

#[test]
fn a_clock_that_is_fast_has_nothing_read_that_is_not_written_yet() {
    let mut world = World::new(&["writer", "ada"]);
    world.settle();
    world.send(0, "first");
    pass(&mut world);
    let phone = world.join("ada", BUDGET);
    world.peers[phone].online = false;
    world.drop_connection(phone);
    world.peers[phone].skew_ms = 3_600_000;
    world.send(phone, "written by a fast clock");
    world.set_online(phone, true);
    // It waits for its time, so that the world does not come to rest.
    let run = |world: &mut World| {
        for _ in 0..2_000 {
            (0..3).for_each(|peer| _ = world.step_up(peer) | world.step_down(peer));
        }
        world.advance(2_000);
        for _ in 0..2_000 {
            (0..3).for_each(|peer| _ = world.step_up(peer) | world.step_down(peer));
        }
    };
    run(&mut world);
    let before = [unread(&world, 1), unread(&world, phone)];
    write(&mut world, &["a", "b", "c", "d", "e"]);
    run(&mut world);
    assert_eq!([unread(&world, 1), unread(&world, phone)], before.map(|unread| unread + 5));
    // When its time has come it is sent, and counts as read where it was written and elsewhere.
    world.advance(3_600_000);
    pass(&mut world);
    assert_eq!([unread(&world, 1), unread(&world, phone)], [0, 0]);
}

#[test]
fn the_first_marks_of_all_list_what_is_loaded_already() {
    let mut world = World::new(&["writer", "ada"]);
    world.settle();
    let now = world.send(0, "now");
    pass(&mut world);
    let ids = write_late(&mut world, 3);
    pass(&mut world);
    let phone = world.join("ada", BUDGET);
    pass(&mut world);
    world.timeline(phone);
    see(&mut world, 1, now, now);
    pass(&mut world);
    assert_eq!([late(&world, 1), late(&world, phone)], [[3], [3]]);
    see(&mut world, phone, ids[0], now);
    pass(&mut world);
    assert!(late(&world, phone).is_empty() && late(&world, 1).is_empty());
}
