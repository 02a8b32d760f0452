//! What a store carries over a restart beside messages, and what tabs on one store tell each other.

use crate::sync_world::{CHANNEL, T0, World};
use backscroll_core::channel::SendState;
use backscroll_core::client::{Edge, Follow};
use backscroll_core::message::MessageId;
use backscroll_core::viewport::{At, Query};
use backscroll_core::wire::Code;

const HOUR_MS: u64 = 3_600_000;
const BUDGET: u64 = 64 << 20;

/// The counts of the late runs that wait, oldest first.
fn runs(world: &World, peer: usize) -> Vec<u64> {
    let channel = world.peers[peer].client.channel(CHANNEL).expect("it is open");
    channel.unseen().runs().map(|run| run.count).collect()
}

fn state(world: &World, peer: usize, id: MessageId) -> Option<SendState> {
    world.peers[peer].client.channel(CHANNEL).expect("it is open").send_state(id)
}

fn see(world: &mut World, peer: usize, first: MessageId, last: MessageId) {
    world.look(peer, Query { at: At::Id(first), before: 20, after: 40 });
    let (view, now) = (world.peers[peer].view, world.now(peer));
    let client = &mut world.peers[peer].client;
    client.set_visible(view, Edge::Id(first), Edge::Id(last), Follow::Stay, now).expect("a view");
    world.drain(peer);
}

fn crash(world: &mut World, peer: usize) {
    world.settle_store(peer);
    world.crash(peer, true);
    world.settle();
}

#[test]
fn late_messages_that_were_seen_or_are_own_do_not_come_back_with_a_restart() {
    let mut world = World::new(&["writer"]);
    let reader = world.join_stored("reader", BUDGET, None);
    world.settle();
    world.send(0, "now");
    world.settle();
    let write = |world: &mut World, peer, i: u64| {
        world.send_at(peer, &format!("late {i}"), Some(T0 - HOUR_MS + i * 100))
    };
    let late: Vec<_> = (0..6).map(|i| write(&mut world, 0, i)).collect();
    world.settle();
    write(&mut world, reader, 50);
    world.settle();
    let after: Vec<_> = (60..62).map(|i| write(&mut world, 0, i)).collect();
    world.settle();
    see(&mut world, reader, late[2], late[3]);
    assert_eq!(runs(&world, reader), [2, 2, 2]);
    crash(&mut world, reader);
    assert_eq!(runs(&world, reader), [2, 2, 2], "as it was");
    world.look(reader, Query { at: At::Oldest, before: 0, after: 100 });
    assert_eq!(runs(&world, reader), [2, 2, 2], "and with its window loaded");
    see(&mut world, reader, late[0], after[1]);
    crash(&mut world, reader);
    assert!(runs(&world, reader).is_empty());
}

#[test]
fn a_late_run_in_a_hole_is_one_after_a_restart_until_it_is_loaded() {
    let mut world = World::new(&["writer"]);
    world.settle();
    world.fill(0, 6_000);
    world.relay.compact();
    let reader = world.join_stored("reader", BUDGET, None);
    world.settle();
    let start_ms = T0 - 5_900_000;
    for i in 0..3 {
        world.send_at(0, "far", Some(start_ms + i * 10_000 + 500));
    }
    world.settle();
    assert_eq!(runs(&world, reader), [3]);
    crash(&mut world, reader);
    assert_eq!(runs(&world, reader), [3]);
    world.look(reader, Query { at: At::Time(start_ms), before: 5, after: 5 });
    assert_eq!(runs(&world, reader), [1, 1, 1], "there are messages between");
}

/// Two tabs on one store, and a message of the first that the relay refused.
fn tabs_and_a_refused_message() -> (World, MessageId) {
    let mut world = World::new(&[]);
    world.join_stored("ada", BUDGET, None);
    world.join_stored("ada", BUDGET, Some(0));
    world.settle();
    world.relay.refused_texts.insert("no".to_owned(), Code::Forbidden);
    let id = world.send(0, "no");
    world.settle();
    let failed = Some(SendState::Failed("forbidden".to_owned()));
    assert_eq!([state(&world, 0, id), state(&world, 1, id)], [failed.clone(), failed]);
    (world, id)
}

#[test]
fn a_message_dropped_in_one_tab_goes_from_the_others() {
    for dropper in 0..2 {
        let (mut world, id) = tabs_and_a_refused_message();
        let now = world.now(dropper);
        assert!(world.peers[dropper].client.discard(CHANNEL, id, now));
        world.drain(dropper);
        world.settle();
        assert_eq!([state(&world, 0, id), state(&world, 1, id)], [None, None]);
        world.assert_converged();
    }
}

#[test]
fn a_message_tried_again_in_one_tab_is_on_its_way_in_all() {
    for who in 0..2 {
        let (mut world, id) = tabs_and_a_refused_message();
        for peer in 0..2 {
            world.set_online(peer, false);
        }
        let now = world.now(who);
        assert!(world.peers[who].client.retry(CHANNEL, id, now));
        world.drain(who);
        world.settle();
        let queued = Some(SendState::Queued);
        assert_eq!([state(&world, 0, id), state(&world, 1, id)], [queued.clone(), queued]);
        world.relay.refused_texts.clear();
        for peer in 0..2 {
            world.set_online(peer, true);
        }
        world.settle();
        let relayed = Some(SendState::Relayed);
        assert_eq!([state(&world, 0, id), state(&world, 1, id)], [relayed.clone(), relayed]);
        world.assert_converged();
    }
}

#[test]
fn what_a_tab_writes_while_another_opens_the_channel_is_shown_there() {
    let mut world = World::new(&[]);
    world.join_stored("ada", BUDGET, None);
    world.settle();
    world.set_online(0, false);
    let sibling = world.join_stored("ada", BUDGET, Some(0));
    world.set_online(sibling, false);
    // The unsent messages are the third question of a client that begins.
    for _ in 0..3 {
        assert!(world.step_read(sibling));
    }
    let id = world.send(0, "meanwhile");
    while world.step_store(0) {}
    assert!(world.step_foreign(sibling));
    while world.step_read(sibling) {}
    assert_eq!(state(&world, sibling, id), Some(SendState::Queued));
}

#[test]
fn a_channel_is_listed_as_it_was_when_it_was_closed() {
    let mut world = World::new(&["writer"]);
    let reader = world.join_stored("reader", BUDGET, None);
    world.settle();
    world.send(0, "one");
    world.settle();
    let now = world.now(reader);
    assert!(world.peers[reader].client.close_channel(CHANNEL, now));
    world.drain(reader);
    let listed = &world.peers[reader].client.stored_channels()[0];
    assert_eq!((listed.name.as_str(), listed.total, listed.unread), (CHANNEL, 1, 1));
}

#[test]
fn a_late_message_is_not_lost_if_a_tab_that_was_cut_off_writes_what_it_saw() {
    let mut world = World::new(&["writer"]);
    let one = world.join_stored("ada", BUDGET, None);
    let store = world.peers[one].desk.store;
    let other = world.join_stored("ada", BUDGET, store);
    world.settle();
    let mut write = |i| {
        world.advance(10);
        world.send(0, &format!("message {i}"))
    };
    let ids: Vec<_> = (0..5).map(&mut write).collect();
    world.settle();
    world.advance(2_000);
    world.settle();
    world.set_online(other, false);
    world.send_at(0, "late", Some(T0 - HOUR_MS));
    world.settle();
    world.advance(2_000);
    world.settle_store(one);
    assert_eq!(runs(&world, one), [1]);
    // Its record takes the place of the other's, and does not know of the late message.
    see(&mut world, other, ids[0], ids[1]);
    world.advance(2_000);
    world.settle_store(other);
    world.crash(one, true);
    world.settle();
    assert_eq!(runs(&world, one), [1]);
}
