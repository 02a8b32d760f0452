//! Random histories with stores: crashes, slow stores, siblings, and a relay with another history.

use crate::sync_relay::Relay;
use crate::sync_world::{CHANNEL, World};
use backscroll_core::message::MessageId;
use backscroll_core::storage::Key;
use backscroll_core::viewport::{At, Query};
use backscroll_core::wire::Code;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::collections::BTreeSet;

/// ada, ada's sibling on the same store, bob, and eve.
const PEERS: usize = 4;

/// What may happen next.
#[derive(Clone, Debug)]
enum Action {
    Send { peer: usize, back_ms: u64, many: u8 },
    Up { peer: usize, count: u8 },
    Down { peer: usize, count: u8 },
    Store { peer: usize, count: u8 },
    Read { peer: usize, count: u8 },
    Foreign { peer: usize },
    Drop { peer: usize },
    Offline { peer: usize },
    Online { peer: usize },
    Crash { peer: usize, written: bool },
    Wait { ms: u64 },
    Look { peer: usize, fraction: f64 },
    Backup,
    Restore,
    Compact,
    Fill,
    Refuse { text: u8 },
}

fn action() -> impl Strategy<Value = Action> {
    let peer = 0..PEERS;
    let many = |max: u8| (0..PEERS, 1..max);
    let back = prop_oneof![
        3 => Just(0_u64),
        1 => 0..10_000_u64,
        1 => 0..100_000_000_u64,
        1 => 0..100_000_000_000_u64,
    ];
    prop_oneof![
        8 => (peer.clone(), back, 1..30_u8)
            .prop_map(|(peer, back_ms, many)| Action::Send { peer, back_ms, many }),
        8 => many(20).prop_map(|(peer, count)| Action::Up { peer, count }),
        8 => many(20).prop_map(|(peer, count)| Action::Down { peer, count }),
        10 => many(4).prop_map(|(peer, count)| Action::Store { peer, count }),
        8 => many(6).prop_map(|(peer, count)| Action::Read { peer, count }),
        3 => peer.clone().prop_map(|peer| Action::Foreign { peer }),
        1 => peer.clone().prop_map(|peer| Action::Drop { peer }),
        1 => peer.clone().prop_map(|peer| Action::Offline { peer }),
        2 => peer.clone().prop_map(|peer| Action::Online { peer }),
        2 => (peer.clone(), any::<bool>())
            .prop_map(|(peer, written)| Action::Crash { peer, written }),
        5 => (0..20_000_u64).prop_map(|ms| Action::Wait { ms }),
        3 => (peer, 0.0..=1.0).prop_map(|(peer, fraction)| Action::Look { peer, fraction }),
        1 => Just(Action::Backup),
        1 => Just(Action::Restore),
        1 => Just(Action::Compact),
        1 => Just(Action::Fill),
        1 => (0..30_u8).prop_map(|text| Action::Refuse { text }),
    ]
}

fn world(budget: u64, deaf: bool) -> World {
    let mut world = World::new(&[]);
    world.join_stored("ada", budget, None);
    world.join_stored("ada", budget, Some(0));
    world.join_stored("bob", budget, None);
    world.join_stored("eve", budget, None);
    world.peers[1].desk.deaf = deaf;
    world
}

fn run(actions: &[Action], budget: u64, deaf: bool) {
    let mut world = world(budget, deaf);
    let mut backup = world.relay.clone();
    for action in actions {
        step(&mut world, action, &mut backup);
    }
    world.relay.refused_texts.clear();
    world.relay.full.clear();
    for peer in 0..PEERS {
        world.set_online(peer, true);
    }
    world.settle();
    for peer in 0..PEERS {
        retry_all(&mut world, peer);
    }
    world.settle();
    check_nothing_lost(&world);
    world.assert_converged();
    check_offline(&mut world, budget);
}

/// What was stored is at the relay, once, and nothing else is.
fn check_nothing_lost(world: &World) {
    let stored: Vec<_> = world.stored().into_iter().map(|(id, _)| id).collect();
    let kept: BTreeSet<_> = world.stores.iter().flat_map(|store| &store.kept).copied().collect();
    assert_eq!(stored, kept.into_iter().collect::<Vec<_>>(), "nothing lost or doubled");
    for store in &world.stores {
        let unsent = store.keys(|key| matches!(key, Key::Unsent { .. }));
        assert!(unsent.is_empty(), "{unsent:?} are relayed");
    }
}

/// Without the relay every client shows from its store what it showed with it.
fn check_offline(world: &mut World, budget: u64) {
    let stored = world.stored();
    for peer in 0..PEERS {
        world.settle_store(peer);
    }
    for peer in 0..PEERS {
        world.set_online(peer, false);
    }
    for peer in 0..PEERS {
        world.crash(peer, false);
        let query = Query { at: At::Latest, before: 20, after: 0 };
        assert_eq!(world.look(peer, query).total, stored.len() as u64);
        if budget >= 1 << 20 {
            assert_eq!(world.timeline(peer), stored, "{peer} offline");
        }
        let channel = world.peers[peer].client.channel(CHANNEL).expect("it is open");
        assert_eq!(channel.pending_len(), 0);
    }
}

fn step(world: &mut World, action: &Action, backup: &mut Relay) {
    let times = |count: u8, mut one: Box<dyn FnMut() -> bool + '_>| {
        for _ in 0..count {
            one();
        }
    };
    match *action {
        Action::Send { peer, back_ms, many } => {
            for i in 0..many {
                let at_ms = (back_ms > 0).then(|| world.relay.now_ms - back_ms);
                world.send_at(peer, &format!("text {i}"), at_ms);
            }
        }
        Action::Up { peer, count } => times(count, Box::new(|| world.step_up(peer))),
        Action::Down { peer, count } => times(count, Box::new(|| world.step_down(peer))),
        Action::Store { peer, count } => times(count, Box::new(|| world.step_store(peer))),
        Action::Read { peer, count } => times(count, Box::new(|| world.step_read(peer))),
        Action::Foreign { peer } => _ = world.step_foreign(peer),
        Action::Drop { peer } => world.drop_connection(peer),
        Action::Offline { peer } => world.set_online(peer, false),
        Action::Online { peer } => world.set_online(peer, true),
        Action::Crash { peer, written } => world.crash(peer, written),
        Action::Wait { ms } => world.advance(ms),
        Action::Look { peer, fraction } => {
            let query = Query { at: At::Fraction(fraction), before: 5, after: 15 };
            let (view, now) = (world.peers[peer].view, world.now(peer));
            world.peers[peer].client.move_view(view, query, now).expect("a query");
            world.peers[peer].client.view(view).expect("a view");
            world.drain(peer);
        }
        Action::Backup => *backup = world.relay.clone(),
        Action::Restore => world.restore(backup),
        Action::Compact => world.relay.compact(),
        Action::Fill => {
            let windows = world.relay.directory(CHANNEL);
            world.relay.full.extend(windows.iter().map(|(window, _)| window).next());
        }
        Action::Refuse { text } => {
            world.relay.refused_texts.insert(format!("text {text}"), Code::Forbidden);
        }
    }
}

/// Sends again whatever failed.
fn retry_all(world: &mut World, peer: usize) {
    let now = world.now(peer);
    let rows: Vec<(MessageId, String)> = world.timeline(peer);
    for (id, _) in rows {
        world.peers[peer].client.retry(CHANNEL, id, now);
    }
    world.drain(peer);
}

/// A number that whoever runs the tests gives.
#[expect(clippy::disallowed_methods, reason = "tests have no other arguments")]
pub(crate) fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// `SEED=n` replays one history, `RUNS=n` runs as many.
#[test]
fn whatever_happens_what_was_stored_is_at_the_relay_once_and_shown_without_it() {
    let seeds = match setting("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..setting("RUNS").unwrap_or(64),
    };
    for seed in seeds {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let config = Config {
            cases: 1,
            failure_persistence: None,
            max_shrink_iters: 2_000,
            ..Config::default()
        };
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let histories = prop::collection::vec(action(), 1..150);
        let case = (histories, any::<bool>(), any::<bool>());
        let result = TestRunner::new_with_rng(config, rng).run(&case, |(actions, small, deaf)| {
            run(&actions, if small { 20_000 } else { 64 << 20 }, deaf);
            Ok(())
        });
        assert!(result.is_ok(), "SEED={seed}: {}", result.expect_err("it failed"));
    }
}
