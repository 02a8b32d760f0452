//! A channel here beside one Automerge document for the whole channel, on the same messages.
//!
//! `cargo run --release -p backscroll-core --example compare -- [COUNT...]`
//!
//! Both hold one change per message, by its sender's own actor, and newest-first keys. The one
//! document is asked for rows in the way that Automerge offers: a range walked from its start.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a program that measures"
)]

#[path = "../benches/world/mod.rs"]
mod world;

use automerge::{Automerge, Change, ROOT, ReadDoc, ScalarValueRef, ValueRef};
use backscroll_core::change::{ActorId16, MessageAuthor};
use backscroll_core::message::{Content, MessageId};
use backscroll_core::viewport::{At, Query};
use backscroll_core::window::Window;
use peak_alloc::PeakAlloc;
use std::collections::BTreeMap;
use std::time::Instant;
use world::{LATEST, NOW, Reader, World, mixed};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Rows of a view.
const ROWS: usize = 50;

/// What is measured, in ms, MB and kB.
struct Figures {
    received_kb: f64,
    open_ms: Times,
    memory_mb: f64,
    late_ms: Times,
    viewport_ms: Times,
}

/// The median and the least of what `run` takes, in ms.
type Times = (f64, f64);

fn times_ms(runs: usize, mut run: impl FnMut(usize) -> f64) -> Times {
    let mut times: Vec<_> = (0..runs).map(&mut run).collect();
    times.sort_by(f64::total_cmp);
    (times[runs / 2], times[0])
}

fn ms<T>(run: impl FnOnce() -> T) -> (f64, T) {
    let begin = Instant::now();
    let done = run();
    (begin.elapsed().as_secs_f64() * 1e3, done)
}

fn of_windows(world: &mut World) -> Figures {
    let frames = Reader::opening(world);
    let received_kb = frames.iter().map(Vec::len).sum::<usize>() as f64 / 1e3;
    let open_ms = times_ms(9, |_| ms(|| Reader::open(&frames)).0);
    let before = ALLOCATOR.current_usage();
    let reader = Reader::open(&frames);
    let memory_mb = (ALLOCATOR.current_usage() - before) as f64 / 1e6;
    drop(reader);
    let mut reader = Reader::live(world);
    let places: Vec<_> = (0..20).map(|n| mixed(n) % world.total()).collect();
    let around = |at| Query { at: At::Index(at), before: 25, after: 25 };
    // With what has to be fetched: frames are made before the clock starts.
    let viewport_ms = times_ms(places.len(), |n| {
        let mut warm = Reader::live(world);
        warm.look(world, around(places[n]));
        let mut cold = Reader::live(world);
        ms(|| cold.look(world, around(places[n]))).0
    });
    reader.look(world, around(places[0]));
    let time_ms = world.ids[usize::try_from(places[0]).unwrap()].time_ms();
    let late_ms = times_ms(41, |n| {
        let frame = world.arrive(time_ms, n as u128);
        ms(|| {
            reader.client.handle_bytes(&frame, NOW);
            assert!(reader.client.view(reader.view).unwrap().exact);
        })
        .0
    });
    reader.look(world, LATEST);
    Figures { received_kb, open_ms, memory_mb, late_ms, viewport_ms }
}

/// Every message as a change of its sender, in the order of arrival.
fn all_changes(world: &World) -> Vec<Change> {
    let mut messages: Vec<_> = world.messages().collect();
    messages.sort_by_key(|message| message.seq);
    let mut authors: BTreeMap<(u32, Window), MessageAuthor> = BTreeMap::new();
    let changes = messages.into_iter().map(|message| {
        let window = Window::covering(0, message.id.time_ms());
        let author = authors.entry((message.sender, window)).or_insert_with(|| {
            let place = u128::from(message.sender) << 64 | u128::from(window.start_ms());
            let actor = (place + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
            MessageAuthor::new(window, ActorId16(actor.to_be_bytes()))
        });
        let authored = author.write(&[(message.id, message.body.to_vec())]).unwrap();
        Change::try_from(&authored.chunk[..]).unwrap()
    });
    changes.collect()
}

fn rows(doc: &Automerge, skip: usize) -> usize {
    let rows = doc.map_range(ROOT, ..).skip(skip).take(ROWS);
    let body = |value: &ValueRef<'_>| match value {
        ValueRef::Scalar(ScalarValueRef::Bytes(body)) => Content::from_body(body).ok(),
        _ => None,
    };
    rows.filter_map(|item| body(&item.value)).count()
}

fn of_one_document(world: &World) -> Figures {
    let changes = all_changes(world);
    let mut doc = Automerge::new();
    for batch in changes.chunks(100_000) {
        doc.apply_changes(batch.to_vec()).unwrap();
    }
    drop(changes);
    let saved = doc.save();
    drop(doc);
    let runs = if world.total() > 200_000 { 3 } else { 9 };
    let open_ms = times_ms(runs, |_| {
        let (ms, doc) = ms(|| {
            let doc = Automerge::load(&saved).unwrap();
            assert_eq!(rows(&doc, 0), ROWS);
            doc
        });
        drop(doc);
        ms
    });
    let before = ALLOCATOR.current_usage();
    let mut doc = Automerge::load(&saved).unwrap();
    let memory_mb = (ALLOCATOR.current_usage() - before) as f64 / 1e6;
    let total = world.total();
    let viewport_ms = times_ms(11, |n| {
        let row = usize::try_from(mixed(n as u64) % (total - ROWS as u64)).unwrap();
        ms(|| assert_eq!(rows(&doc, row), ROWS)).0
    });
    let middle = world.ids[world.ids.len() / 2];
    let window = Window::covering(0, middle.time_ms());
    let mut author = MessageAuthor::new(window, ActorId16([0xaa; 16]));
    let body = Content::text("somebody", "one more message").to_body().unwrap();
    let late_ms = times_ms(runs.max(5), |n| {
        let id = MessageId::from_parts(middle.time_ms(), n as u128);
        let authored = author.write(&[(id, body.clone())]).unwrap();
        ms(|| {
            let change = Change::try_from(&authored.chunk[..]).unwrap();
            doc.apply_changes([change]).unwrap();
            // Its rows are found by its key, which is fast.
            let shown = doc.map_range(ROOT, id.to_key()..).take(ROWS).count();
            assert_eq!(shown, ROWS);
        })
        .0
    });
    Figures { received_kb: saved.len() as f64 / 1e3, open_ms, memory_mb, late_ms, viewport_ms }
}

fn main() {
    let counts: Vec<u64> = std::env::args().skip(1).map(|count| count.parse().unwrap()).collect();
    let counts = if counts.is_empty() { vec![10_000, 100_000, 1_000_000] } else { counts };
    println!(
        "| messages | | received, kB | memory, MB | open to newest 50, ms | one late message, ms | \
         random 50 rows, ms |"
    );
    println!("|---|---|---|---|---|---|---|");
    for count in counts {
        let mut world = World::new(count);
        let line = |what: &str, figures: &Figures| {
            let Figures { received_kb, open_ms, memory_mb, late_ms, viewport_ms } = figures;
            let pair = |(median, least): &Times| format!("{median:.2} ({least:.2})");
            let times = [open_ms, late_ms, viewport_ms].map(pair).join(" | ");
            println!("| {count} | {what} | {received_kb:.0} | {memory_mb:.1} | {times} |");
        };
        line("Backscroll", &of_windows(&mut world));
        line("one Automerge document", &of_one_document(&world));
    }
}
