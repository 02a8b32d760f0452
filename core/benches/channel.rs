//! A client on a channel of a million messages, against the budgets of design 10.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a bench fails by panicking"
)]

mod world;

use backscroll_core::directory::Directory;
use backscroll_core::message::Content;
use backscroll_core::viewport::{At, Query};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use std::cell::RefCell;
use std::hint::black_box;
use std::time::Duration;
use world::{CHANNEL, LATEST, NOW, Reader, UNTIL_MS, World, mixed};

const MESSAGES: u64 = 1_000_000;

fn around(at: At) -> Query {
    Query { at, before: 25, after: 25 }
}

fn opening(c: &mut Criterion, world: &mut World) {
    let mut group = c.benchmark_group("1M messages");
    group.sample_size(20).measurement_time(Duration::from_secs(3));
    let frames = Reader::opening(world);
    group.bench_function("open until the newest 50 are in hand", |b| {
        b.iter_with_large_drop(|| Reader::open(black_box(&frames)));
    });
    let bytes = world.directory().encode();
    group.bench_function("directory, encode", |b| b.iter(|| world.directory().encode()));
    group.bench_function("directory, decode", |b| {
        b.iter(|| Directory::decode(black_box(&bytes)).unwrap());
    });
    group.finish();
}

fn viewing(c: &mut Criterion, world: &mut World) {
    let mut group = c.benchmark_group("1M messages, windows loaded");
    let mut reader = Reader::live(world);
    // As many places as stay loaded.
    let places: Vec<_> = (0..24).map(|n| mixed(n) % world.total()).collect();
    for place in &places {
        reader.look(world, around(At::Index(*place)));
    }
    let mut next = places.iter().cycle();
    group.bench_function("any 50 rows", |b| {
        b.iter(|| {
            let query = around(At::Index(*next.next().unwrap()));
            reader.client.move_view(reader.view, query, NOW).unwrap();
            let rows = reader.client.view(reader.view).unwrap();
            assert!(rows.exact, "what is measured is loaded");
            rows
        });
    });
    reader.look(world, around(At::Index(places[3])));
    let middle = world.ids[usize::try_from(places[3]).unwrap()].time_ms();
    let mut tail = 0;
    group.bench_function("a late message in view, to its rows", |b| {
        b.iter_batched(
            || {
                tail += 1;
                world.arrive(middle + u64::try_from(tail % 7).unwrap(), tail)
            },
            |frame| {
                reader.client.handle_bytes(&frame, NOW);
                let rows = reader.client.view(reader.view).unwrap();
                assert!(rows.exact);
                rows
            },
            BatchSize::PerIteration,
        );
    });
    reader.look(world, LATEST);
    group.bench_function("a new message in view, to its rows", |b| {
        b.iter_batched(
            || {
                tail += 1;
                world.arrive(UNTIL_MS + u64::try_from(tail).unwrap(), tail)
            },
            |frame| {
                reader.client.handle_bytes(&frame, NOW);
                reader.client.view(reader.view).unwrap()
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("a late message elsewhere, counted", |b| {
        b.iter_batched(
            || {
                tail += 1;
                let at = mixed(u64::try_from(tail).unwrap()) % world.total();
                let time_ms = world.ids[usize::try_from(at).unwrap()].time_ms();
                world.arrive(time_ms, tail)
            },
            |frame| reader.client.handle_bytes(&frame, NOW),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn sending(c: &mut Criterion, world: &mut World) {
    let mut group = c.benchmark_group("1M messages");
    let reader = RefCell::new(Reader::live(world));
    let mut written = 0;
    group.bench_function("send, to the rows", |b| {
        b.iter_batched(
            || {
                written += 1;
                if written % 500 == 0 {
                    // What waits to be acknowledged is kept short, as a relay that answers does.
                    reader.replace(Reader::live(world));
                }
                Content::text("reader", "something that somebody has just written")
            },
            |content| {
                let mut reader = reader.borrow_mut();
                let view = reader.view;
                reader.client.send(CHANNEL, content, None, NOW).unwrap();
                reader.client.view(view).unwrap()
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn channel(c: &mut Criterion) {
    let mut world = World::new(MESSAGES);
    opening(c, &mut world);
    sending(c, &mut world);
    viewing(c, &mut world);
}

criterion_group!(benches, channel);
criterion_main!(benches);
