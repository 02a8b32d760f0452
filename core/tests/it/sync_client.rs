//! What a client must do, told as stories.

use crate::sync_world::{CHANNEL, T0, World, message_of};
use backscroll_core::channel::{Item, SendState};
use backscroll_core::client::{ConnectionState, Edge, Event, Follow};
use backscroll_core::message::MessageId;
use backscroll_core::viewport::{At, Query};
use backscroll_core::wire::Code;

const LATEST: Query = Query { at: At::Latest, before: 20, after: 0 };

fn state(world: &World, peer: usize, id: MessageId) -> Option<SendState> {
    world.peers[peer].client.channel(CHANNEL).expect("it is open").send_state(id)
}

fn texts(world: &mut World, peer: usize) -> Vec<String> {
    world.timeline(peer).into_iter().map(|(_, text)| text).collect()
}

#[test]
fn a_message_is_shown_at_once_and_then_to_everyone() {
    let mut world = World::new(&["ada", "bob"]);
    world.advance(0);
    world.settle();
    let id = world.send(0, "hello");
    assert_eq!(state(&world, 0, id), Some(SendState::Queued));
    world.settle();
    assert_eq!(state(&world, 0, id), Some(SendState::Relayed));
    assert_eq!(texts(&mut world, 1), ["hello"]);
    world.assert_converged();
}

#[test]
fn what_is_written_offline_waits_and_merges_by_its_time() {
    let mut world = World::new(&["ada", "bob"]);
    world.settle();
    world.send(1, "before");
    world.settle();
    world.set_online(0, false);
    for text in ["one", "two", "three"] {
        world.advance(1_000);
        world.send(0, text);
        world.send(1, &format!("while {text}"));
    }
    world.settle();
    assert_eq!(world.peers[0].client.pending_len(), 3);
    assert_eq!(world.peers[0].client.state(), ConnectionState::Offline);
    world.set_online(0, true);
    world.settle();
    assert_eq!(world.peers[0].client.pending_len(), 0);
    let expected = ["before", "one", "while one", "two", "while two", "three", "while three"]
        .map(String::from);
    let mut all = texts(&mut world, 0);
    // Within one ms the order is the ids', which is random.
    all.sort();
    let mut sorted = expected.to_vec();
    sorted.sort();
    assert_eq!(all, sorted);
    world.assert_converged();
}

#[test]
fn a_writer_without_the_directory_holds_its_messages() {
    let mut world = World::new(&["ada"]);
    world.set_online(0, false);
    let id = world.send(0, "first");
    assert_eq!(texts(&mut world, 0), ["first"]);
    let channel = world.peers[0].client.channel(CHANNEL).expect("it is open");
    assert_eq!(channel.head(), None);
    world.set_online(0, true);
    world.settle();
    assert_eq!(world.stored(), [(id, "first".to_owned())]);
    world.assert_converged();
}

#[test]
fn a_push_whose_ack_was_lost_is_stored_once() {
    let mut world = World::new(&["ada", "bob"]);
    world.settle();
    let id = world.send(0, "once");
    assert!(world.step_up(0));
    world.drop_connection(0);
    assert_eq!(state(&world, 0, id), Some(SendState::Queued));
    world.settle();
    assert_eq!(state(&world, 0, id), Some(SendState::Relayed));
    assert_eq!(world.stored().len(), 1);
    assert_eq!(world.relay.pushes, 2);
    world.assert_converged();
}

#[test]
fn a_refused_message_fails_and_the_rest_is_written_anew() {
    let mut world = World::new(&["ada", "bob"]);
    world.settle();
    world.relay.refused_texts.insert("bad".to_owned(), Code::Forbidden);
    world.set_online(0, false);
    let ids = ["a", "bad", "c", "d"].map(|text| world.send(0, text));
    world.set_online(0, true);
    world.settle();
    assert_eq!(state(&world, 0, ids[1]), Some(SendState::Failed("forbidden".to_owned())));
    let stored: Vec<_> = world.stored().into_iter().map(|(id, _)| id).collect();
    assert_eq!(stored, [ids[0], ids[2], ids[3]]);
    assert_eq!(texts(&mut world, 0), ["a", "bad", "c", "d"]);
    let now = world.now(0);
    assert!(world.peers[0].client.discard(CHANNEL, ids[1], now));
    world.drain(0);
    world.assert_converged();
}

#[test]
fn a_failed_message_can_be_sent_again_under_its_id() {
    let mut world = World::new(&["ada"]);
    world.settle();
    world.relay.refused_texts.insert("later".to_owned(), Code::RateLimited);
    let id = world.send(0, "later");
    world.settle();
    assert!(matches!(state(&world, 0, id), Some(SendState::Failed(_))));
    world.relay.refused_texts.clear();
    let now = world.now(0);
    assert!(world.peers[0].client.retry(CHANNEL, id, now));
    assert!(!world.peers[0].client.retry(CHANNEL, id, now));
    world.drain(0);
    world.settle();
    assert_eq!(world.stored(), [(id, "later".to_owned())]);
    world.assert_converged();
}

#[test]
fn a_full_window_makes_the_author_place_anew() {
    let mut world = World::new(&["ada", "bob"]);
    world.settle();
    world.send(0, "wide");
    world.settle();
    let wide = world.relay.directory(CHANNEL).iter().next().expect("one window").0;
    world.relay.full.insert(wide);
    world.send(0, "narrow");
    world.settle();
    assert_eq!(world.relay.directory(CHANNEL).deepest_level(), 1);
    world.assert_converged();
}

#[test]
fn a_relay_with_another_history_gets_back_what_it_lost() {
    let mut world = World::new(&["ada", "bob"]);
    world.settle();
    world.send(0, "in the backup");
    world.settle();
    let backup = world.relay.clone();
    let lost = world.send(0, "after it");
    world.send(1, "bob's");
    world.settle();
    world.restore(&backup);
    assert_eq!(world.stored().len(), 1);
    world.settle();
    assert_eq!(world.stored().len(), 3);
    assert_eq!(state(&world, 0, lost), Some(SendState::Relayed));
    world.assert_converged();
}

#[test]
fn a_fast_clock_makes_its_messages_wait_and_stops_nobody() {
    let mut world = World::new(&["fast", "bob"]);
    world.peers[0].skew_ms = 600_000;
    world.set_online(0, false);
    world.advance(0);
    let early = world.send(0, "from ten minutes ahead");
    assert_eq!(early.time_ms(), T0 + 600_000);
    world.set_online(0, true);
    for _ in 0..10 {
        world.step_up(0);
        world.step_down(0);
    }
    // Once the relay's time is known, ids follow it.
    let corrected = world.send(0, "on time");
    assert!(corrected.time_ms() < T0 + 60_000);
    for _ in 0..20 {
        world.step_up(0);
        world.step_down(0);
        world.step_up(1);
        world.step_down(1);
    }
    assert_eq!(world.stored(), [(corrected, "on time".to_owned())]);
    assert_eq!(state(&world, 0, early), Some(SendState::Queued));
    world.send(1, "bob's");
    world.settle();
    assert_eq!(state(&world, 0, early), Some(SendState::Relayed));
    assert!(world.relay.now_ms >= T0 + 600_000 - 60_000);
    world.assert_converged();
}

#[test]
fn a_message_follows_what_its_author_has_seen_even_on_a_slow_clock() {
    let mut world = World::new(&["slow", "bob"]);
    world.peers[0].skew_ms = -3_600_000;
    world.settle();
    world.send(1, "question");
    world.settle();
    world.send(0, "answer");
    world.settle();
    assert_eq!(texts(&mut world, 1), ["question", "answer"]);
}

#[test]
fn a_clock_an_hour_slow_writes_into_the_past_until_the_relay_corrects_it() {
    let mut world = World::new(&["slow", "bob"]);
    world.settle();
    world.send(1, "bob's");
    world.settle();
    let late = world.join("slow too", 64 << 20);
    world.peers[late].skew_ms = -3_600_000;
    world.set_online(late, false);
    let before = world.send(late, "an hour ago");
    assert_eq!(before.time_ms(), world.relay.now_ms - 3_600_000, "it knows no better");
    world.set_online(late, true);
    world.settle();
    let now_ms = world.relay.now_ms;
    let after = world.send(late, "on time");
    assert!(after.time_ms().abs_diff(now_ms) < 60_000);
    world.settle();
    assert_eq!(texts(&mut world, 1).len(), 3);
    assert_eq!(state(&world, late, before), Some(SendState::Relayed));
    world.assert_converged();
}

#[test]
fn a_view_fetches_what_it_needs_once_and_jumps_anywhere() {
    let mut world = World::new(&["writer"]);
    world.settle();
    world.fill(0, 6_000);
    let windows = world.relay.directory(CHANNEL).len();
    assert!(windows >= 3, "{windows} windows");
    world.relay.compact();
    let reader = world.join("reader", 64 << 20);
    world.settle();
    assert_eq!(world.relay.fetched, 0, "the newest come unasked");
    let latest = world.look(reader, LATEST);
    assert_eq!((latest.total, latest.start, latest.items.len()), (6_000, 5_980, 20));
    assert!(latest.exact && latest.found_newest && !latest.found_oldest);
    let stored = world.stored();
    for index in [0_u64, 17, 2_500, 3_333, 5_999] {
        let rows = world.look(reader, Query { at: At::Index(index), before: 5, after: 5 });
        let from = usize::try_from(rows.start).expect("small");
        let shown: Vec<_> = rows.items.iter().map(message_of).collect();
        assert_eq!(shown, stored[from..from + shown.len()]);
        assert_eq!(rows.start, index.saturating_sub(5));
    }
    let fetched = world.relay.fetched;
    assert!(usize::try_from(fetched).expect("small") <= windows);
    world.look(reader, Query { at: At::Index(17), before: 5, after: 5 });
    assert_eq!(world.relay.fetched, fetched, "nothing is asked for twice");
    world.assert_converged();
}

#[test]
fn placeholders_stand_for_what_is_not_loaded_and_an_exact_view_holds_its_message() {
    let mut world = World::new(&["writer"]);
    world.settle();
    world.fill(0, 5_000);
    let reader = world.join("reader", 64 << 20);
    world.settle();
    let (view, now) = (world.peers[reader].view, world.now(reader));
    let query = Query { at: At::Fraction(0.25), before: 10, after: 10 };
    world.peers[reader].client.move_view(view, query, now).expect("a query");
    let rows = world.peers[reader].client.view(view).expect("a view");
    assert!(!rows.exact && rows.items.len() == 20 && rows.total == 5_000);
    assert!(matches!(rows.items[0], Item::Placeholder { index: 1_240 }));
    world.drain(reader);
    world.settle();
    let before = world.peers[reader].client.view(view).expect("a view");
    assert!(before.exact && before.start == 1_240);
    world.send_at(0, "long ago", Some(T0 - 7_200_000));
    world.settle();
    let after = world.peers[reader].client.view(view).expect("a view");
    assert_eq!(after.start, 1_241, "one row came in above");
    assert_eq!(
        after.items.iter().map(message_of).collect::<Vec<_>>(),
        before.items.iter().map(message_of).collect::<Vec<_>>()
    );
}

#[test]
fn late_messages_are_counted_until_they_are_in_view() {
    let mut world = World::new(&["ada", "bob"]);
    world.settle();
    world.send(1, "now");
    world.settle();
    let late = world.send_at(1, "an hour ago", Some(T0 - 3_600_000));
    world.settle();
    let unseen = |world: &World, peer: usize| {
        world.peers[peer].client.channel(CHANNEL).expect("it is open").unseen().total()
    };
    assert_eq!((unseen(&world, 0), unseen(&world, 1)), (1, 0));
    let (view, now) = (world.peers[0].view, world.now(0));
    let edge = Edge::Id(late);
    world.peers[0].client.set_visible(view, edge, edge, Follow::Stay, now).expect("a view");
    world.drain(0);
    assert_eq!(unseen(&world, 0), 0);
}

#[test]
fn loaded_windows_stay_within_the_budget_and_come_back() {
    let mut world = World::new(&["writer"]);
    world.settle();
    world.fill(0, 8_000);
    world.relay.compact();
    let reader = world.join("reader", 3 << 20);
    world.settle();
    let stored = world.stored();
    for index in (0..8_000).step_by(500) {
        let rows = world.look(reader, Query { at: At::Index(index), before: 0, after: 20 });
        let from = usize::try_from(rows.start).expect("small");
        let shown: Vec<_> = rows.items.iter().map(message_of).collect();
        assert_eq!(shown, stored[from..from + shown.len()]);
        let channel = world.peers[reader].client.channel(CHANNEL).expect("it is open");
        assert!(channel.memory_bytes() <= 5 << 20, "{}", channel.memory_bytes());
    }
    let channel = world.peers[reader].client.channel(CHANNEL).expect("it is open");
    assert!(channel.loaded_len() < world.relay.directory(CHANNEL).len());
    // Live changes go on being counted where nothing is loaded.
    world.send_at(0, "in a hole", Some(T0 - 1_000_000));
    world.settle();
    world.assert_converged();
}

#[test]
fn regression_a_window_that_is_behind_takes_no_live_change_before_its_fetch() {
    let mut world = World::new(&["writer"]);
    world.settle();
    world.fill(0, 6_000);
    let reader = world.join("reader", 64 << 20);
    world.settle();
    let old = Query { at: At::Index(100), before: 5, after: 5 };
    world.look(reader, old);
    world.look(reader, LATEST);
    world.set_online(reader, false);
    world.send_at(0, "missed", Some(T0 - 5_900_500));
    world.settle();
    world.set_online(reader, true);
    world.settle();
    world.send_at(0, "live", Some(T0 - 5_900_400));
    world.settle();
    let rows = world.look(reader, old);
    let problem = |event: &Event| matches!(event, Event::Problem { .. });
    assert!(!world.peers[reader].events.iter().any(problem));
    assert_eq!(rows.total, 6_002);
    world.assert_converged();
}

#[test]
fn attempts_to_reconnect_spread_and_slow_down() {
    let mut delays = Vec::new();
    for seed in 0..40 {
        let options = backscroll_core::client::Options::new("ada");
        let mut client = backscroll_core::client::Client::new(options, [seed; 32]).expect("a name");
        let mut now = backscroll_core::client::Now { wall_ms: T0, steady_ms: 0 };
        let mut of_client = Vec::new();
        for _ in 0..8 {
            let due_ms = client.poll_timeout(now).expect("an attempt is due");
            of_client.push(due_ms - now.steady_ms);
            now.steady_ms = due_ms;
            client.handle_timeout(now);
            assert!(std::iter::from_fn(|| client.poll_event()).any(|e| e == Event::Connect));
            client.handle_closed(None, now);
        }
        delays.push(of_client);
    }
    // The first attempt is made at once; then the bound doubles up to 16 s.
    for (at, longest_ms) in
        [0, 1_000, 2_000, 4_000, 8_000, 16_000, 16_000, 16_000].iter().enumerate()
    {
        let of_all: Vec<_> = delays.iter().map(|of_client| of_client[at]).collect();
        assert!(of_all.iter().all(|delay_ms| delay_ms <= longest_ms), "{at}: {of_all:?}");
        let distinct: std::collections::BTreeSet<_> = of_all.iter().collect();
        assert!(at == 0 || distinct.len() > 30, "{at}: full jitter, not {of_all:?}");
        assert!(at == 0 || of_all.iter().any(|delay_ms| *delay_ms > longest_ms / 2));
    }
}

#[test]
fn a_relay_that_does_not_answer_is_left_after_a_while() {
    let mut world = World::new(&["ada"]);
    world.advance(0);
    assert_eq!(world.peers[0].client.state(), ConnectionState::Connecting);
    world.advance(60_000);
    assert!(matches!(world.peers[0].client.state(), ConnectionState::Offline));
}

#[test]
fn bytes_that_are_no_frame_end_the_connection_and_nothing_else() {
    let mut world = World::new(&["ada", "bob"]);
    world.settle();
    world.send(0, "kept");
    let now = world.now(0);
    world.peers[0].client.handle_bytes(&[0xff, 0x00], now);
    world.drain(0);
    assert_eq!(world.peers[0].client.state(), ConnectionState::Offline);
    world.settle();
    world.assert_converged();
}

#[test]
fn a_terminal_close_code_is_not_tried_again() {
    let mut world = World::new(&["ada"]);
    world.settle();
    let now = world.now(0);
    world.peers[0].client.handle_closed(Some(4501), now);
    let event = world.peers[0].client.poll_event();
    assert!(matches!(event, Some(Event::Error { ref code, .. }) if code == "unauthorized"));
    assert_eq!(world.peers[0].client.poll_timeout(now), None);
}
