//! Decoders allocate at most four times their input and a constant, whatever the input.
//!
//! Measured with an allocator that counts: over the seeds of the fuzz targets and changes of them,
//! and over inputs made to make a reader allocate. A binary of its own, with one test: what runs
//! beside it would be counted too. What is not bounded like this, and how it is, is in
//! `core/docs/measurements.md`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test reads files, and fails by panicking"
)]

mod decoders;
mod hostile;

use decoders::Decoder;
use peak_alloc::PeakAlloc;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::path::Path;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Tables of the standard library, errors, the first allocation of each of a reader's lists.
const CONSTANT: usize = 96 * 1_024;

/// Changes of each seed.
const MUTATIONS: usize = 12;

/// What `read` has allocated at its peak.
fn peak(read: fn(&[u8]), input: &[u8]) -> usize {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    read(input);
    ALLOCATOR.peak_usage() - before
}

#[track_caller]
fn check(name: &str, decoder: &Decoder, input: &[u8], worst: &mut Vec<(usize, usize, String)>) {
    let used = peak(decoder.read, input);
    let allowed = (decoder.allowed)(input);
    worst.push((used, allowed, format!("{}: {name}, {} bytes", decoder.name, input.len())));
}

/// A seed with some bytes changed, or cut off, or a piece of it repeated.
fn mutated(seed: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=rng.next_u32() % 6 {
        let at = rng.next_u32() as usize % bytes.len().max(1);
        match rng.next_u32() % 8 {
            0 => bytes.truncate(at),
            1 => {
                let piece = bytes[at..].to_vec();
                bytes.extend(piece.iter().cycle().take(piece.len() * 20));
            }
            2 => bytes.splice(at..at, [0xff; 3]).for_each(drop),
            3 => bytes.splice(at..at, [0x9b, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff]).for_each(drop),
            _ if bytes.is_empty() => {}
            _ => bytes[at] = rng.next_u32().to_le_bytes()[0],
        }
    }
    bytes
}

#[test]
fn decoders_allocate_at_most_four_times_their_input_and_a_constant() {
    let mut worst = Vec::new();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let hostile = hostile::inputs();
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    for decoder in decoders::all() {
        for (name, input) in &hostile {
            check(name, &decoder, input, &mut worst);
        }
        let mut paths: Vec<_> = std::fs::read_dir(seeds.join(decoder.seeds))
            .unwrap()
            .map(|file| file.unwrap().path())
            .collect();
        paths.sort();
        assert!(!paths.is_empty());
        for path in paths {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            for seed in (decoder.inputs_of)(&std::fs::read(&path).unwrap()) {
                check(&name, &decoder, &seed, &mut worst);
                for _ in 0..MUTATIONS {
                    check(
                        &format!("{name}, changed"),
                        &decoder,
                        &mutated(&seed, &mut rng),
                        &mut worst,
                    );
                }
            }
        }
    }
    worst.sort_by_key(|(used, allowed, _)| std::cmp::Reverse(used * 1_000 / allowed));
    println!("{} inputs; nearest to what is allowed:", worst.len());
    for (used, allowed, what) in worst.iter().take(12) {
        println!("{used} of {allowed} bytes: {what}");
    }
    let beyond: Vec<_> = worst.iter().filter(|(used, allowed, _)| used > allowed).collect();
    assert!(beyond.is_empty(), "{} inputs take more than is allowed", beyond.len());
    hostile::are_what_they_say(&hostile);
}
