//! The first unread message: where it is, and how a view gets there while not all is known.

use crate::sync_marks::{channel, pass, see, unread};
use crate::sync_world::{CHANNEL, T0, World};
use backscroll_core::client::{Edge, Follow, ViewId, ViewUpdate};
use backscroll_core::message::MessageId;
use backscroll_core::viewport::{At, Query, Reason};

const BUDGET: u64 = 64 << 20;
const FIRST_UNREAD: Query = Query { at: At::FirstUnread, before: 5, after: 20 };

fn open(world: &mut World, peer: usize) -> ViewId {
    let now = world.now(peer);
    let view = world.peers[peer].client.open_view(CHANNEL, FIRST_UNREAD, now).expect("a query");
    world.drain(peer);
    view
}

/// The first row of a view, once it is certain.
fn start(world: &mut World, peer: usize, view: ViewId) -> u64 {
    let rows = world.peers[peer].client.view(view).expect("a view");
    assert!(rows.exact);
    rows.start
}

/// A channel of which a user has read the first eleven of a hundred.
fn partly_read() -> (World, Vec<MessageId>) {
    let mut world = World::new(&["writer", "ada"]);
    world.settle();
    let mut write = |i| {
        world.advance(10);
        world.send(0, &format!("message {i}"))
    };
    let ids: Vec<_> = (0..100).map(&mut write).collect();
    pass(&mut world);
    see(&mut world, 1, ids[0], ids[10]);
    pass(&mut world);
    (world, ids)
}

#[test]
fn a_view_that_opens_with_its_page_goes_to_the_first_unread_message_of_all_devices() {
    let (mut world, _) = partly_read();
    let phone = world.join("ada", BUDGET);
    let view = open(&mut world, phone);
    let mut reasons = Vec::new();
    for _ in 0..400 {
        world.advance(5);
        world.step_up(phone);
        world.step_down(phone);
        if let Some(update) = world.peers[phone].client.poll_view(view).expect("a view") {
            reasons.push(match update {
                ViewUpdate::Reset { reason, view, .. } => (reason, view.start),
                ViewUpdate::Delta(delta) => (delta.reason, delta.start),
            });
        }
    }
    pass(&mut world);
    assert_eq!(start(&mut world, phone, view), 6);
    // From the end, where it is by the directory alone, by an estimate to where it is.
    assert_eq!(reasons.last().map(|(_, start)| *start), Some(6), "{reasons:?}");
    assert!(reasons.iter().all(|(reason, _)| matches!(reason, Reason::Init | Reason::Loaded)));
}

#[test]
fn a_view_of_a_store_goes_on_to_where_another_device_has_read_meanwhile() {
    let (mut world, ids) = partly_read();
    let phone = world.join_stored("ada", BUDGET, None);
    pass(&mut world);
    world.timeline(phone);
    world.settle_store(phone);
    world.set_online(phone, false);
    see(&mut world, 1, ids[10], ids[30]);
    pass(&mut world);
    world.crash(phone, true);
    let view = open(&mut world, phone);
    while world.step_read(phone) {}
    assert_eq!(start(&mut world, phone, view), 6, "as far as the store knows");
    world.set_online(phone, true);
    pass(&mut world);
    assert_eq!(start(&mut world, phone, view), 26);
    // Once it is known it stays, whatever is read.
    see(&mut world, 1, ids[30], ids[60]);
    pass(&mut world);
    assert_eq!(start(&mut world, phone, view), 26);
}

#[test]
fn what_came_into_view_before_other_devices_told_does_not_move_the_view() {
    let (mut world, ids) = partly_read();
    let phone = world.join_stored("ada", BUDGET, None);
    pass(&mut world);
    world.timeline(phone);
    world.settle_store(phone);
    world.set_online(phone, false);
    world.crash(phone, true);
    let view = open(&mut world, phone);
    while world.step_read(phone) {}
    assert_eq!(start(&mut world, phone, view), 6);
    let now = world.now(phone);
    let (first, last) = (Edge::Id(ids[11]), Edge::Id(ids[20]));
    let client = &mut world.peers[phone].client;
    client.set_visible(view, first, last, Follow::Stay, now).expect("a view");
    world.drain(phone);
    // It holds rows around what is seen.
    let before = start(&mut world, phone, view);
    world.set_online(phone, true);
    pass(&mut world);
    assert_eq!(start(&mut world, phone, view), before);
    assert_eq!(unread(&world, 1), 79);
}

#[test]
fn a_first_unread_message_that_is_not_loaded_is_gone_to_and_counted_from() {
    let mut world = World::new(&["writer"]);
    world.fill(0, 6_000);
    let ids: Vec<_> = world.relay.messages(CHANNEL).iter().map(|row| row.0).collect();
    let ada = world.join("ada", BUDGET);
    pass(&mut world);
    see(&mut world, ada, ids[0], ids[5]);
    pass(&mut world);
    let phone = world.join("ada", BUDGET);
    pass(&mut world);
    assert_eq!(unread(&world, phone), 5_994, "its window is loaded for that");
    let view = open(&mut world, phone);
    pass(&mut world);
    assert_eq!(start(&mut world, phone, view), 1);
}

#[test]
fn the_first_unread_of_many_that_came_while_away_is_found() {
    let mut world = World::new(&["writer"]);
    world.fill(0, 3_000);
    let ada = world.join("ada", BUDGET);
    pass(&mut world);
    let newest = world.relay.messages(CHANNEL).last().expect("many").0;
    see(&mut world, ada, newest, newest);
    pass(&mut world);
    world.set_online(ada, false);
    world.checked = false;
    let mut first = None;
    for i in 0..3_000_u64 {
        world.advance(500);
        let id = world.send(0, &format!("new {i}"));
        first.get_or_insert(id);
        if i % 200 == 0 {
            world.settle();
        }
    }
    world.checked = true;
    world.set_online(ada, true);
    pass(&mut world);
    assert_eq!(unread(&world, ada), 3_000);
    assert_eq!(channel(&world, ada).first_unread(), first);
    assert!(first.is_some_and(|first| first.time_ms() > T0));
}
