//! What a client with a store must do, told as stories.

use crate::sync_world::{CHANNEL, T0, World, message_of};
use backscroll_core::channel::SendState;
use backscroll_core::client::{ConnectionState, Event};
use backscroll_core::message::MessageId;
use backscroll_core::storage::Key;
use backscroll_core::viewport::{At, Query};

const BUDGET: u64 = 64 << 20;

fn state(world: &World, peer: usize, id: MessageId) -> Option<SendState> {
    world.peers[peer].client.channel(CHANNEL).expect("it is open").send_state(id)
}

fn texts(world: &mut World, peer: usize) -> Vec<String> {
    world.timeline(peer).into_iter().map(|(_, text)| text).collect()
}

/// A world of clients that each have a store, all connected.
fn stored(names: &[&str]) -> World {
    let mut world = World::new(&[]);
    for name in names {
        world.join_stored(name, BUDGET, None);
    }
    world.settle();
    world
}

#[test]
fn a_message_is_pushed_once_it_is_stored() {
    let mut world = stored(&["ada"]);
    let id = world.send(0, "hello");
    assert!(!world.step_up(0), "nothing is on its way yet");
    assert!(world.store_of(0).kept.is_empty());
    assert!(world.step_store(0));
    assert!(world.store_of(0).kept.contains(&id));
    assert!(world.step_up(0));
    world.settle();
    assert_eq!(state(&world, 0, id), Some(SendState::Relayed));
    world.assert_converged();
}

#[test]
fn what_was_written_offline_is_there_after_a_restart_and_merges() {
    let mut world = stored(&["ada", "bob"]);
    world.send(1, "before");
    world.settle();
    world.set_online(0, false);
    let ids = ["one", "two", "three"].map(|text| {
        world.advance(10);
        world.send(0, text)
    });
    while world.step_store(0) {}
    world.crash(0, false);
    while world.step_read(0) {}
    assert_eq!(world.peers[0].client.state(), ConnectionState::Offline);
    assert_eq!(texts(&mut world, 0), ["before", "one", "two", "three"]);
    assert_eq!(state(&world, 0, ids[0]), Some(SendState::Queued));
    assert_eq!(world.peers[0].client.pending_len(), 3);
    world.advance(10);
    world.send(1, "while away");
    world.settle();
    world.set_online(0, true);
    world.settle();
    assert_eq!(texts(&mut world, 0), ["before", "one", "two", "three", "while away"]);
    world.assert_converged();
    assert!(world.store_of(0).keys(|key| matches!(key, Key::Unsent { .. })).is_empty());
    assert_eq!(world.store_of(0).keys(|key| matches!(key, Key::Relayed { .. })).len(), 3);
}

#[test]
fn what_was_not_stored_is_lost_with_the_process_and_nothing_else() {
    let mut world = stored(&["ada"]);
    world.send(0, "stored");
    world.step_store(0);
    world.send(0, "not stored");
    world.crash(0, false);
    world.settle();
    assert_eq!(texts(&mut world, 0), ["stored"]);
    world.assert_converged();
}

#[test]
fn stored_windows_are_shown_exactly_without_any_relay() {
    let mut world = World::new(&["writer"]);
    world.settle();
    fill(&mut world, 0, 6_000);
    world.relay.compact();
    let reader = world.join_stored("reader", BUDGET, None);
    world.settle();
    let middle = Query { at: At::Index(2_500), before: 10, after: 10 };
    let before = world.look(reader, middle);
    world.settle_store(reader);
    world.set_online(reader, false);
    world.crash(reader, false);
    while world.step_read(reader) {}
    let fetched = world.relay.fetched;
    let after = world.look(reader, middle);
    assert!(after.exact);
    assert_eq!(after, before);
    let latest = world.look(reader, Query { at: At::Latest, before: 20, after: 0 });
    assert!(latest.exact && latest.total == 6_000);
    // What was never loaded is a placeholder, of the right number.
    let elsewhere = world.look(reader, Query { at: At::Index(100), before: 5, after: 5 });
    assert!(!elsewhere.exact && elsewhere.items.len() == 10);
    assert_eq!(world.relay.fetched, fetched);
    let listed = world.peers[reader].client.stored_channels();
    assert_eq!((listed[0].name.as_str(), listed[0].total), (CHANNEL, 6_000));
}

#[test]
fn after_a_restart_only_what_was_missed_is_fetched() {
    let mut world = World::new(&["writer"]);
    world.settle();
    fill(&mut world, 0, 3_000);
    let reader = world.join_stored("reader", BUDGET, None);
    world.settle();
    world.settle_store(reader);
    world.set_online(reader, false);
    world.send(0, "missed");
    world.settle();
    let fetched = world.relay.fetched;
    world.crash(reader, false);
    world.set_online(reader, true);
    world.settle();
    assert_eq!(world.relay.fetched, fetched + 1, "the window of the message, from where it stood");
    world.assert_converged();
}

#[test]
fn live_changes_are_appended_and_saved_together_after_a_while() {
    let mut world = stored(&["ada", "bob"]);
    for i in 0..300 {
        world.send(0, &format!("message {i}"));
        world.advance(200);
        world.settle();
    }
    world.settle_store(1);
    let appended = world.store_of(1).keys(|key| matches!(key, Key::Appended { .. })).len();
    let saved = world.store_of(1).keys(|key| matches!(key, Key::Segment { .. })).len();
    assert!(appended <= 65 && saved == 1, "{appended} appended, {saved} saved");
    world.set_online(1, false);
    world.crash(1, false);
    assert_eq!(texts(&mut world, 1).len(), 300);
    world.set_online(1, true);
    world.settle();
    world.assert_converged();
}

#[test]
fn a_store_that_fails_is_left_alone_and_nothing_waits_for_it() {
    let mut world = stored(&["ada", "bob"]);
    world.send(0, "first");
    world.fail_store(0);
    let failed = |event: &Event| matches!(event, Event::StorageFailed { .. });
    assert_eq!(world.peers[0].events.iter().filter(|event| failed(event)).count(), 1);
    world.stores[0].kept.extend(world.relay.messages(CHANNEL).iter().map(|row| row.0));
    world.peers[0].desk.store = None;
    world.send(0, "second");
    world.settle();
    assert_eq!(world.stored().len(), 2);
    world.assert_converged();
}

#[test]
fn a_relay_restored_from_a_copy_gets_back_what_an_earlier_run_wrote() {
    let mut world = stored(&["ada", "bob"]);
    world.send(0, "in the backup");
    world.settle();
    let backup = world.relay.clone();
    world.send(0, "after it");
    world.send(0, "and this");
    world.settle();
    world.settle_store(0);
    world.crash(0, false);
    world.settle();
    world.send(0, "of this run");
    world.settle();
    world.restore(&backup);
    assert_eq!(world.stored().len(), 1);
    world.settle();
    assert_eq!(world.stored().len(), 4);
    world.assert_converged();
}

#[test]
fn a_crash_while_pushing_again_loses_nothing() {
    let mut world = stored(&["ada", "bob"]);
    let backup = world.relay.clone();
    for i in 0..20 {
        world.send(0, &format!("message {i}"));
    }
    world.settle();
    world.settle_store(0);
    world.restore(&backup);
    // The new epoch is known and stored, the messages are not pushed yet.
    world.advance(20_000);
    for _ in 0..4 {
        world.step_up(0);
        world.step_down(0);
    }
    world.settle_store(0);
    world.crash(0, false);
    world.settle();
    assert_eq!(world.stored().len(), 20);
    world.assert_converged();
}

#[test]
fn a_sibling_shows_a_message_at_once_and_takes_it_over_if_it_must() {
    let mut world = stored(&["ada"]);
    let sibling = world.join_stored("ada", BUDGET, Some(0));
    world.settle();
    world.set_online(0, false);
    let id = world.send(0, "from the first tab");
    world.step_store(0);
    world.step_foreign(sibling);
    while world.step_read(sibling) {}
    assert_eq!(state(&world, sibling, id), Some(SendState::Queued));
    assert!(!world.step_up(sibling), "it is left to the first tab");
    world.advance(6_000);
    world.step_up(sibling);
    assert_eq!(world.stored().len(), 1, "the first tab is not there");
    world.settle();
    world.set_online(0, true);
    world.settle();
    assert_eq!(state(&world, 0, id), Some(SendState::Relayed));
    world.assert_converged();
}

#[test]
fn a_sibling_lets_the_writer_push() {
    let mut world = stored(&["ada"]);
    let sibling = world.join_stored("ada", BUDGET, Some(0));
    world.settle();
    let pushes = world.relay.pushes;
    let id = world.send(0, "hello");
    world.step_store(0);
    world.step_foreign(sibling);
    while world.step_read(sibling) {}
    assert_eq!(state(&world, sibling, id), Some(SendState::Queued));
    world.settle();
    world.advance(10_000);
    world.settle();
    assert_eq!(world.relay.pushes, pushes + 1);
    assert_eq!(state(&world, sibling, id), Some(SendState::Relayed));
    world.assert_converged();
}

#[test]
fn unsent_messages_of_channels_that_nobody_opens_are_pushed() {
    let mut world = stored(&["ada"]);
    world.set_online(0, false);
    world.send(0, "kept");
    world.step_store(0);
    world.crash(0, false);
    // This run looks at another channel.
    let now = world.now(0);
    let mut client = world.new_client_without_view("ada", 0);
    client.open_channel("#other", now).expect("a name");
    world.peers[0].client = client;
    world.drain(0);
    world.set_online(0, true);
    world.settle();
    assert_eq!(world.stored().len(), 1);
    let open: Vec<_> = world.peers[0].client.open_channels().map(|(name, _)| name).collect();
    assert_eq!(open, ["#other"], "it is closed when its messages are sent");
}

#[test]
fn a_bad_record_of_any_kind_costs_that_record_only() {
    type IsKind = fn(&Key) -> bool;
    let kinds: [(&str, IsKind); 6] = [
        ("summary", |key| matches!(key, Key::Summary { .. })),
        ("channel", |key| matches!(key, Key::Channel { .. })),
        ("seen", |key| matches!(key, Key::Seen { .. })),
        ("segment", |key| matches!(key, Key::Segment { .. })),
        ("appended", |key| matches!(key, Key::Appended { .. })),
        ("relayed", |key| matches!(key, Key::Relayed { .. })),
    ];
    for (kind, is_kind) in kinds {
        let mut world = stored(&["ada", "bob"]);
        for i in 0..100 {
            world.send(i % 2, &format!("message {i}"));
            world.advance(50);
            world.settle();
        }
        world.settle_store(0);
        world.set_online(0, false);
        let unsent = world.send(0, "unsent");
        while world.step_store(0) {}
        let keys = world.store_of(0).keys(is_kind);
        let key = keys.get(keys.len() / 2).expect(kind).encode();
        *world.store_of(0).records.get_mut(&key).expect(kind).last_mut().expect("bytes") ^= 1;
        world.crash(0, false);
        let _ = world.timeline_so_far(0);
        assert_eq!(state(&world, 0, unsent), Some(SendState::Queued), "{kind}");
        let backup = world.relay.clone();
        if kind == "relayed" {
            world.restore(&backup);
        }
        world.set_online(0, true);
        world.settle();
        let bad = |event: &Event| matches!(event, Event::BadRecord { key: k, .. } if *k == key);
        assert!(world.peers[0].events.iter().any(bad), "{kind}");
        assert_eq!(world.stored().len(), 101, "{kind}");
        world.assert_converged();
    }
}

#[test]
fn a_record_of_a_later_version_is_left_alone() {
    let mut world = stored(&["ada"]);
    world.set_online(0, false);
    world.send(0, "from the future");
    world.step_store(0);
    let key = world.store_of(0).keys(|key| matches!(key, Key::Unsent { .. }))[0].encode();
    world.later_format(0, &key);
    world.crash(0, false);
    world.settle();
    assert!(world.store_of(0).records.contains_key(&key));
    let bad =
        |event: &Event| matches!(event, Event::BadRecord { text, .. } if text.contains("format"));
    assert!(world.peers[0].events.iter().any(bad));
}

#[test]
fn evicted_windows_come_back_from_the_store() {
    let mut world = World::new(&["writer"]);
    world.settle();
    fill(&mut world, 0, 8_000);
    world.relay.compact();
    let reader = world.join_stored("reader", 3 << 20, None);
    world.settle();
    let stored = world.stored();
    let rows = |world: &mut World, index: u64| {
        let rows = world.look(reader, Query { at: At::Index(index), before: 0, after: 20 });
        let from = usize::try_from(rows.start).expect("small");
        let shown: Vec<_> = rows.items.iter().map(message_of).collect();
        assert_eq!(shown, stored[from..from + shown.len()]);
    };
    for index in (0..8_000).step_by(500) {
        rows(&mut world, index);
        world.settle_store(reader);
    }
    let fetched = world.relay.fetched;
    for index in (0..8_000).step_by(500) {
        rows(&mut world, index);
    }
    assert_eq!(world.relay.fetched, fetched, "all of it is in the store");
    let channel = world.peers[reader].client.channel(CHANNEL).expect("it is open");
    assert!(channel.loaded_len() < world.relay.directory(CHANNEL).len());
}

#[test]
fn a_busy_channel_is_not_written_with_each_message() {
    let mut world = stored(&["ada", "bob"]);
    let batches = world.stores[1].batches;
    for i in 0..100 {
        world.send(0, &format!("message {i}"));
        world.advance(10);
        for _ in 0..4 {
            world.step_store(0);
            world.step_up(0);
            world.step_down(0);
            world.step_down(1);
            world.step_store(1);
        }
    }
    world.settle();
    assert!(
        world.stores[1].batches - batches <= 5,
        "{} batches",
        world.stores[1].batches - batches
    );
}

/// Has one client write `count` messages, a second apart, ending at the world's time.
fn fill(world: &mut World, peer: usize, count: u64) {
    world.checked = false;
    for i in 0..count {
        world.send_at(peer, &format!("message {i}"), Some(T0 - (count - i) * 1_000));
        if i % 200 == 0 {
            world.settle();
        }
    }
    world.checked = true;
    world.settle();
}
