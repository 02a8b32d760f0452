//! Every fuzz target over its committed seeds: `core/fuzz` has both, and `make fuzz` looks for more.
#![allow(clippy::disallowed_methods, reason = "seeds are files")]

#[path = "../../fuzz/src/lib.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    clippy::disallowed_methods,
    reason = "it is a crate of its own"
)]
mod fuzz;

use backscroll_core::storage::Key;
use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn every_seed_is_read_or_refused_without_a_panic() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    for (target, run) in fuzz::TARGETS {
        let files = std::fs::read_dir(folder.join(target)).expect("a folder of seeds");
        let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        paths.sort();
        assert!(paths.len() >= 20, "{target} has {} seeds", paths.len());
        for path in paths {
            println!("{}", path.display());
            let bytes = std::fs::read(&path);
            run(&bytes.unwrap());
        }
    }
}

/// The conversations that seeds are made of get somewhere: each kind of frame but those that no client
/// sends yet, and each kind of record, comes of them.
#[test]
fn seeds_reach_every_kind_of_frame_and_record() {
    let seeds = fuzz::seeds::seeds();
    assert_eq!(seeds, fuzz::seeds::seeds(), "the same each time");
    let of = |target: &'static str| seeds.iter().filter(move |(known, ..)| *known == target);
    let (mut client, mut relay, mut keys) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    // A frame is an array of two: the type's number comes after one byte, in one or two bytes.
    let kind =
        |frame: &[u8]| frame.get(1..3).map(|kind| if kind[0] < 24 { kind[0] } else { kind[1] });
    for (_, _, bytes) in of("frames") {
        match bytes.split_first() {
            Some((0, frame)) => client.extend(kind(frame)),
            Some((1, frame)) => relay.extend(kind(frame)),
            _ => {}
        }
    }
    for (_, _, bytes) in of("records") {
        let mut script = fuzz::script::Script::new(bytes);
        while let (Some(key), Some(_record)) = (script.bytes(), script.bytes()) {
            let decoded = Key::decode(key).expect("a key");
            keys.insert((key[0], matches!(decoded, Key::Appended { .. })));
        }
    }
    assert_eq!(client.into_iter().collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8]);
    // `entries` (26) and `part` (27) are made by the scripts of their targets.
    assert_eq!(relay.into_iter().collect::<Vec<_>>(), (16..=25).collect::<Vec<_>>());
    assert_eq!(keys.len(), 7, "six families, one of them with two kinds: {keys:?}");
}
