//! Random interleavings of everything that can happen, and what must hold after each.

use crate::sync_world::{CHANNEL, T0, World};
use backscroll_core::client::{Edge, Follow};
use backscroll_core::viewport::{At, Query};
use backscroll_core::wire::Code;
use proptest::prelude::*;

const PEERS: usize = 3;

/// What may happen next.
#[derive(Clone, Debug)]
enum Action {
    Send { peer: usize, back_ms: u64, many: u8 },
    Up { peer: usize, count: u8 },
    Down { peer: usize, count: u8 },
    Drop { peer: usize },
    Offline { peer: usize },
    Online { peer: usize },
    Wait { ms: u64 },
    Look { peer: usize, fraction: f64 },
    Latest { peer: usize },
    Backup,
    Restore,
    Compact,
    Fill,
    Refuse { text: u8 },
}

fn action() -> impl Strategy<Value = Action> {
    let peer = 0..PEERS;
    let back = prop_oneof![
        3 => Just(0_u64),
        1 => 0..10_000_u64,
        1 => 0..100_000_000_u64,
        1 => 0..100_000_000_000_u64,
    ];
    prop_oneof![
        8 => (peer.clone(), back, 1..30_u8)
            .prop_map(|(peer, back_ms, many)| Action::Send { peer, back_ms, many }),
        8 => (peer.clone(), 1..20_u8).prop_map(|(peer, count)| Action::Up { peer, count }),
        8 => (peer.clone(), 1..20_u8).prop_map(|(peer, count)| Action::Down { peer, count }),
        2 => peer.clone().prop_map(|peer| Action::Drop { peer }),
        1 => peer.clone().prop_map(|peer| Action::Offline { peer }),
        2 => peer.clone().prop_map(|peer| Action::Online { peer }),
        4 => (0..20_000_u64).prop_map(|ms| Action::Wait { ms }),
        3 => (peer.clone(), 0.0..=1.0).prop_map(|(peer, fraction)| Action::Look { peer, fraction }),
        2 => peer.prop_map(|peer| Action::Latest { peer }),
        1 => Just(Action::Backup),
        1 => Just(Action::Restore),
        1 => Just(Action::Compact),
        1 => Just(Action::Fill),
        1 => (0..30_u8).prop_map(|text| Action::Refuse { text }),
    ]
}

fn run(actions: &[Action], budget: u64) {
    let mut world = World::new(&[]);
    for name in ["ada", "bob", "eve"] {
        world.join(name, budget);
    }
    let mut backup = world.relay.clone();
    let mut written = 0_u32;
    for action in actions {
        step(&mut world, action, &mut backup, &mut written);
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
    let stored = world.stored();
    assert_eq!(stored.len(), usize::try_from(written).expect("small"), "nothing lost or doubled");
    world.assert_converged();
}

fn step(
    world: &mut World,
    action: &Action,
    backup: &mut crate::sync_relay::Relay,
    written: &mut u32,
) {
    match *action {
        Action::Send { peer, back_ms, many } => {
            for i in 0..many {
                let at_ms = (back_ms > 0).then(|| world.relay.now_ms - back_ms);
                world.send_at(peer, &format!("text {i}"), at_ms);
                *written += 1;
            }
        }
        Action::Up { peer, count } => {
            (0..count).for_each(|_| _ = world.step_up(peer));
        }
        Action::Down { peer, count } => {
            (0..count).for_each(|_| _ = world.step_down(peer));
        }
        Action::Drop { peer } => world.drop_connection(peer),
        Action::Offline { peer } => world.set_online(peer, false),
        Action::Online { peer } => world.set_online(peer, true),
        Action::Wait { ms } => world.advance(ms),
        Action::Look { peer, fraction } => {
            let query = Query { at: At::Fraction(fraction), before: 5, after: 15 };
            move_view(world, peer, query);
        }
        Action::Latest { peer } => {
            let (view, now) = (world.peers[peer].view, world.now(peer));
            let edge = Edge::Index(0);
            let client = &mut world.peers[peer].client;
            client.set_visible(view, edge, edge, Follow::End, now).expect("a view");
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

fn move_view(world: &mut World, peer: usize, query: Query) {
    let (view, now) = (world.peers[peer].view, world.now(peer));
    world.peers[peer].client.move_view(view, query, now).expect("a query");
    let rows = world.peers[peer].client.view(view).expect("a view");
    assert!(rows.items.len() as u64 == rows.total.min(rows.items.len() as u64));
    world.drain(peer);
}

fn retry_all(world: &mut World, peer: usize) {
    let now = world.now(peer);
    let rows = world.timeline(peer);
    for (id, _) in rows {
        world.peers[peer].client.retry(CHANNEL, id, now);
    }
    world.drain(peer);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_everyone_ends_with_the_relays_timeline(
        actions in prop::collection::vec(action(), 1..120),
        small in any::<bool>(),
    ) {
        run(&actions, if small { 20_000 } else { 64 << 20 });
    }
}

#[test]
fn equal_inputs_give_equal_runs() {
    let once = || {
        let mut world = World::new(&["ada", "bob"]);
        world.settle();
        for i in 0..50 {
            world.send(i % 2, &format!("text {i}"));
            world.advance(100);
            if i % 7 == 0 {
                world.drop_connection(i % 2);
            }
        }
        world.settle();
        assert!(world.relay.now_ms > T0);
        (world.stored(), world.relay.now_ms)
    };
    assert_eq!(once(), once());
}
