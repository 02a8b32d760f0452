//! Windows that lack something: what they count, what they take, and how they come up to date.

use crate::sync_world::{CHANNEL, T0, World, message_of};
use backscroll_core::client::Event;
use backscroll_core::viewport::{At, Query};

const LATEST: Query = Query { at: At::Latest, before: 20, after: 0 };

/// A writer's 6,000 messages, and a reader who has the oldest and the newest of them loaded.
fn world() -> (World, usize) {
    let mut world = World::new(&["writer"]);
    world.settle();
    world.fill(0, 6_000);
    let reader = world.join("reader", 64 << 20);
    world.settle();
    world.look(reader, Query { at: At::Oldest, before: 0, after: 20 });
    world.look(reader, LATEST);
    world.settle();
    (world, reader)
}

fn total(world: &World, peer: usize) -> u64 {
    world.peers[peer].client.channel(CHANNEL).expect("it is open").total()
}

fn assert_no_problem(world: &World, peer: usize) {
    let problem = |event: &&Event| matches!(event, Event::Problem { .. });
    assert_eq!(world.peers[peer].events.iter().find(problem), None);
}

/// A message of the writer among the oldest ones.
fn write_old(world: &mut World, i: u64) {
    world.send_at(0, &format!("late {i}"), Some(T0 - 5_900_000 + i * 10));
}

#[test]
fn a_loaded_window_out_of_view_that_missed_something_counts_it_and_takes_nothing_on_top() {
    let (mut world, reader) = world();
    world.set_online(reader, false);
    (0..3).for_each(|i| write_old(&mut world, i));
    world.settle();
    let fetched = world.relay.fetched;
    world.set_online(reader, true);
    world.settle();
    assert_eq!(total(&world, reader), 6_003, "after the resume");
    for i in 3..6 {
        write_old(&mut world, i);
        world.settle();
        assert_eq!(total(&world, reader), 6_001 + i, "after a live change");
    }
    let latest = world.look(reader, LATEST);
    assert_eq!((latest.start, latest.total), (5_986, 6_006), "an exact view elsewhere");
    assert_eq!(world.relay.fetched, fetched, "nothing in view was missing");
    let oldest = world.look(reader, Query { at: At::Oldest, before: 0, after: 200 });
    assert_eq!(oldest.items.iter().map(message_of).collect::<Vec<_>>(), world.stored()[..200]);
    assert_eq!(oldest.total, 6_006);
    assert_eq!(world.relay.fetched, fetched + 1, "only what is missing is asked for");
    assert_no_problem(&world, reader);
    world.assert_converged();
}

#[test]
fn a_view_of_a_window_that_missed_something_is_not_exact_until_it_has_it() {
    let (mut world, reader) = world();
    world.set_online(reader, false);
    for i in 0..5 {
        world.send_at(0, &format!("missed {i}"), Some(T0 + i));
    }
    world.settle();
    world.set_online(reader, true);
    let view = world.peers[reader].view;
    let mut inexact = 0;
    while world.step_up(reader) | world.step_down(reader) {
        if total(&world, reader) == 6_005 {
            let rows = world.peers[reader].client.view(view).expect("a view");
            let shown_all = rows.items.last().is_some_and(
                |item| matches!(item, backscroll_core::channel::Item::Message(m) if m.id.time_ms() == T0 + 4),
            );
            assert_eq!(rows.exact, shown_all);
            inexact += u32::from(!rows.exact);
        }
    }
    assert!(inexact > 0, "it was seen without what it missed");
    assert_eq!(world.look(reader, LATEST).total, 6_005);
    assert_no_problem(&world, reader);
    world.assert_converged();
}
