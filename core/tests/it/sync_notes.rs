//! Editing, deleting and reacting: shown at once, the same everywhere in the end.

use crate::sync_world::{CHANNEL, T0, World};
use backscroll_core::annotation::Edit;
use backscroll_core::channel::MessageRow;
use backscroll_core::client::{CommandError, Event};
use backscroll_core::message::MessageId;
use backscroll_core::viewport::{At, Query};

const BUDGET: u64 = 64 << 20;

/// The row of a message as a client shows it.
fn row(world: &World, peer: usize, id: MessageId) -> Option<MessageRow> {
    world.peers[peer].client.channel(CHANNEL)?.get(id)
}

fn edit(world: &mut World, peer: usize, id: MessageId, text: &str) {
    let now = world.now(peer);
    let edit = Edit::text(text, now.wall_ms);
    world.peers[peer].client.edit(CHANNEL, id, edit, now).expect("it is there");
    world.drain(peer);
}

fn delete(world: &mut World, peer: usize, id: MessageId) {
    let now = world.now(peer);
    world.peers[peer].client.delete(CHANNEL, id, now).expect("it is there");
    world.drain(peer);
}

fn react(world: &mut World, peer: usize, id: MessageId, on: bool) {
    let now = world.now(peer);
    world.peers[peer].client.react(CHANNEL, id, "+1", on, now).expect("it is there");
    world.drain(peer);
}

fn text(world: &World, peer: usize, id: MessageId) -> String {
    row(world, peer, id).expect("a row").content.text
}

fn reacts(world: &World, peer: usize, id: MessageId) -> Vec<String> {
    let row = row(world, peer, id).expect("a row");
    row.reactions.get("+1").into_iter().flatten().cloned().collect()
}

fn refusals(world: &mut World, peer: usize) -> Vec<String> {
    let events = std::mem::take(&mut world.peers[peer].events);
    let code = |event| match event {
        Event::Refused { code, .. } => Some(code),
        _ => None,
    };
    events.into_iter().filter_map(code).collect()
}

/// Asserts that everyone shows what the relay has of a message, and nothing waits.
fn assert_same(world: &mut World, ids: &[MessageId]) {
    world.settle();
    let said = world.relay.said(CHANNEL);
    for id in ids {
        let said = said.iter().find(|(of, _)| of == id).map(|(_, said)| said.clone());
        let said = said.unwrap_or_default();
        for peer in 0..world.peers.len() {
            world.look(peer, Query { at: At::Id(*id), before: 2, after: 2 });
            let row = row(world, peer, *id).expect("a row");
            assert_eq!(row.deleted, said.deleted);
            assert_eq!(
                row.edited_ms,
                said.edit.as_ref().filter(|_| !said.deleted).map(|e| e.edited_at)
            );
            if !said.deleted {
                assert_eq!(row.reactions, said.reactions);
            }
        }
    }
    assert!(world.peers.iter().all(|peer| peer.client.pending_len() == 0));
}

#[test]
fn what_is_said_of_a_message_is_shown_at_once_and_then_to_everyone() {
    let mut world = World::new(&["ada", "bob"]);
    world.settle();
    let ids = ["one", "two", "three"].map(|text| world.send(0, text));
    world.settle();
    edit(&mut world, 0, ids[0], "uno");
    react(&mut world, 1, ids[0], true);
    delete(&mut world, 0, ids[1]);
    assert_eq!(text(&world, 0, ids[0]), "uno", "at once");
    assert!(row(&world, 0, ids[1]).unwrap().deleted);
    assert_eq!(reacts(&world, 1, ids[0]), ["bob"]);
    assert_eq!(text(&world, 1, ids[0]), "one");
    assert_same(&mut world, &ids);
    assert_eq!(text(&world, 1, ids[0]), "uno");
    assert!(row(&world, 1, ids[1]).unwrap().deleted, "its row stays");
    assert_eq!(reacts(&world, 0, ids[0]), ["bob"]);
    react(&mut world, 1, ids[0], false);
    assert_same(&mut world, &ids);
    assert!(reacts(&world, 0, ids[0]).is_empty());
    assert_eq!(world.peers[0].client.channel(CHANNEL).unwrap().total(), 3);
}

#[test]
fn what_was_said_offline_waits_and_the_newest_counts() {
    let mut world = World::new(&["ada", "bob"]);
    world.settle();
    let id = world.send(0, "one");
    world.settle();
    world.set_online(0, false);
    for text in ["two", "three", "four"] {
        edit(&mut world, 0, id, text);
    }
    for on in [true, false, true] {
        react(&mut world, 0, id, on);
    }
    assert_eq!(world.peers[0].client.pending_len(), 2);
    world.set_online(0, true);
    let pushes = world.relay.pushes;
    assert_same(&mut world, &[id]);
    assert_eq!(world.relay.pushes, pushes + 1, "one change of two ops");
    assert_eq!(
        (text(&world, 1, id), reacts(&world, 1, id)),
        ("four".to_owned(), vec!["ada".to_owned()])
    );
}

#[test]
fn what_is_said_while_a_change_is_on_its_way_follows_it() {
    let mut world = World::new(&["ada", "bob"]);
    world.settle();
    let id = world.send(0, "one");
    world.settle();
    react(&mut world, 0, id, true);
    world.step_up(0);
    react(&mut world, 0, id, false);
    edit(&mut world, 0, id, "two");
    assert!(reacts(&world, 0, id).is_empty());
    assert_same(&mut world, &[id]);
    assert!(reacts(&world, 1, id).is_empty());
    assert_eq!(text(&world, 1, id), "two");
}

#[test]
fn a_message_not_sent_yet_can_be_edited_and_a_refused_one_dropped() {
    let mut world = World::new(&["ada", "bob"]);
    world.settle();
    world.set_online(0, false);
    let id = world.send(0, "one");
    edit(&mut world, 0, id, "two");
    assert_eq!(text(&world, 0, id), "two");
    world.relay.refused_texts.insert("bad".to_owned(), backscroll_core::wire::Code::Forbidden);
    let bad = world.send(0, "bad");
    world.set_online(0, true);
    assert_same(&mut world, &[id]);
    assert_eq!(text(&world, 1, id), "two");
    delete(&mut world, 0, bad);
    assert!(row(&world, 0, bad).is_none());
    world.settle();
    assert_eq!(world.peers[0].client.pending_len(), 0);
}

#[test]
fn a_message_of_a_window_not_loaded_is_looked_for() {
    let mut world = World::new(&["writer"]);
    world.settle();
    world.fill(0, 6_000);
    world.relay.compact();
    let ids: Vec<_> = world.relay.messages(CHANNEL).iter().map(|row| row.0).collect();
    let reader = world.join("reader", BUDGET);
    world.settle();
    let far = ids[2_500];
    assert!(row(&world, reader, far).is_none(), "it is in a hole");
    let fetched = world.relay.fetched;
    react(&mut world, reader, far, true);
    world.settle();
    assert!(world.relay.fetched - fetched <= 2, "only where it can be");
    assert_same(&mut world, &[far]);
    assert_eq!(reacts(&world, 0, far), ["reader"]);
}

#[test]
fn what_is_anothers_or_of_no_message_is_refused_and_shown_as_it_was() {
    let mut world = World::new(&["ada", "bob"]);
    world.settle();
    let ids = ["one", "two"].map(|text| world.send(0, text));
    world.settle();
    edit(&mut world, 1, ids[0], "mine");
    delete(&mut world, 1, ids[1]);
    react(&mut world, 1, ids[0], true);
    assert_eq!(text(&world, 1, ids[0]), "mine");
    assert_same(&mut world, &ids);
    assert_eq!(text(&world, 1, ids[0]), "one");
    assert_eq!(reacts(&world, 0, ids[0]), ["bob"], "what is allowed goes through");
    assert_eq!(refusals(&mut world, 1), ["forbidden", "forbidden"]);
    let (nobody, now) = (MessageId::from_parts(T0 + 5, 7), world.now(1));
    let refused = world.peers[1].client.delete(CHANNEL, nobody, now);
    assert!(matches!(refused, Err(CommandError::NoMessage(..))));
    let refused = world.peers[1].client.react(CHANNEL, ids[0], "", true, now);
    assert!(matches!(refused, Err(CommandError::Name(_))));
}

#[test]
fn what_two_say_at_the_same_time_ends_the_same_everywhere() {
    let mut world = World::new(&["ada", "ada", "bob"]);
    world.settle();
    let id = world.send(0, "one");
    world.settle();
    world.set_online(0, false);
    world.set_online(1, false);
    edit(&mut world, 0, id, "by the first device");
    world.advance(50);
    edit(&mut world, 1, id, "by the second device");
    delete(&mut world, 0, id);
    react(&mut world, 1, id, true);
    world.set_online(1, true);
    world.settle();
    world.set_online(0, true);
    assert_same(&mut world, &[id]);
    assert!(row(&world, 2, id).unwrap().deleted);
}

#[test]
fn what_was_said_outlives_a_restart_and_a_relay_that_loses_it() {
    let mut world = World::new(&["bob"]);
    let ada = world.join_stored("ada", BUDGET, None);
    world.settle();
    let id = world.send(ada, "one");
    world.settle();
    let backup = world.relay.clone();
    world.set_online(ada, false);
    edit(&mut world, ada, id, "two");
    while world.step_store(ada) {}
    world.crash(ada, false);
    while world.step_read(ada) {}
    assert_eq!(text(&world, ada, id), "two", "without the relay");
    world.set_online(ada, true);
    assert_same(&mut world, &[id]);
    react(&mut world, ada, id, true);
    assert_same(&mut world, &[id]);
    world.settle_store(ada);
    world.crash(ada, true);
    world.settle();
    world.restore(&backup);
    assert!(world.relay.said(CHANNEL).is_empty());
    assert_same(&mut world, &[id]);
    assert_eq!(
        (text(&world, 0, id), reacts(&world, 0, id)),
        ("two".to_owned(), vec!["ada".to_owned()])
    );
}

#[test]
fn a_client_in_memory_says_it_again_to_a_relay_that_lost_it() {
    let mut world = World::new(&["ada", "bob"]);
    world.settle();
    let id = world.send(0, "one");
    world.settle();
    let backup = world.relay.clone();
    edit(&mut world, 0, id, "two");
    react(&mut world, 1, id, true);
    assert_same(&mut world, &[id]);
    world.restore(&backup);
    assert_same(&mut world, &[id]);
    assert_eq!(
        (text(&world, 1, id), reacts(&world, 0, id)),
        ("two".to_owned(), vec!["bob".to_owned()])
    );
}

#[test]
fn tabs_on_one_store_show_what_the_others_say_and_push_it_if_they_must() {
    let mut world = World::new(&[]);
    world.join_stored("ada", BUDGET, None);
    let sibling = world.join_stored("ada", BUDGET, Some(0));
    world.settle();
    let id = world.send(0, "one");
    world.settle();
    world.set_online(0, false);
    edit(&mut world, 0, id, "two");
    while world.step_store(0) {}
    world.step_foreign(sibling);
    while world.step_read(sibling) {}
    assert_eq!(text(&world, sibling, id), "two");
    world.advance(6_000);
    for _ in 0..20 {
        world.step_up(sibling);
        world.step_down(sibling);
        world.step_store(sibling);
    }
    assert_eq!(world.relay.said(CHANNEL).len(), 1, "the first tab is not there");
    world.set_online(0, true);
    assert_same(&mut world, &[id]);
}

#[test]
fn what_was_said_while_away_comes_with_the_resume() {
    let mut world = World::new(&["ada", "bob"]);
    world.settle();
    let ids = ["one", "two"].map(|text| world.send(0, text));
    world.settle();
    world.set_online(1, false);
    edit(&mut world, 0, ids[0], "uno");
    delete(&mut world, 0, ids[1]);
    world.settle();
    world.set_online(1, true);
    assert_same(&mut world, &ids);
    assert_eq!(text(&world, 1, ids[0]), "uno");
    world.relay.compact();
    world.join("cleo", BUDGET);
    assert_same(&mut world, &ids);
}

/// A reaction taken back on another device, which `is_loaded` or not where it was made.
fn taken_back(is_loaded: bool) {
    let mut world = World::new(&["writer"]);
    if !is_loaded {
        world.fill(0, 6_000);
    }
    let devices = [(); 2].map(|()| world.join("ada", if is_loaded { BUDGET } else { 40_000 }));
    world.settle();
    let id = if is_loaded { world.send(0, "hello") } else { world.relay.messages(CHANNEL)[10].0 };
    world.settle();
    let there = Query { at: At::Id(id), before: 5, after: 5 };
    devices.iter().for_each(|peer| _ = world.look(*peer, there));
    react(&mut world, devices[0], id, true);
    world.settle();
    if !is_loaded {
        world.look(devices[0], Query { at: At::Latest, before: 20, after: 0 });
        world.settle();
        assert_eq!(row(&world, devices[0], id), None, "it was dropped");
    }
    react(&mut world, devices[1], id, false);
    world.settle();
    let backup = world.relay.clone();
    world.restore(&backup);
    world.settle();
    for peer in 0..3 {
        world.look(peer, there);
        world.settle();
        world.look(peer, there);
        assert_eq!(reacts(&world, peer, id), [""; 0], "{peer}");
    }
}

#[test]
fn a_reaction_taken_back_on_another_device_does_not_return_with_a_new_epoch() {
    taken_back(true);
}

#[test]
fn nor_does_one_that_was_taken_back_where_it_is_not_loaded() {
    taken_back(false);
}
