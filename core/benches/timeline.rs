//! The timeline at a million messages, against the budget in the design (section 10): a million mixed
//! inserts within 1 s, a rank or select within 1 us. Run with `cargo bench -p backscroll-core`.

use std::hint::black_box;
use std::time::Duration;

use backscroll_core::timeline::{Blocks, Hole, Timeline};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

const MESSAGES: u64 = 1_000_000;
/// 2024-01-01: any time will do, a real one gives ids of real size.
const FROM_MS: u64 = 1_704_067_200_000;
/// Mean time between messages: a million of them take some 12 days.
const STEP_MS: u64 = 1_000;
const HOLES: u64 = 1_000;
/// Windows of level 5 are 2^20 ms wide: a thousand of them cover the million messages.
const HOLE_LEVEL: u8 = 5;
const HOLE_WIDTH_MS: u64 = 1 << 20;

type Id = u128;

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(42)
}

fn id(ms: u64, rng: &mut ChaCha8Rng) -> Id {
    u128::from(ms) << 80 | u128::from(rng.next_u64())
}

/// Ids in order of time.
fn ascending() -> Vec<Id> {
    let mut rng = rng();
    (0..MESSAGES).map(|i| id(FROM_MS + i * STEP_MS, &mut rng)).collect()
}

/// In order of arrival: mostly newest, three of a hundred at any earlier time.
fn mixed() -> Vec<Id> {
    let mut rng = rng();
    let arrival = |i: u64| {
        let late = rng.next_u64() % 100 < 3;
        let at = if late { rng.next_u64() % (i + 1) } else { i };
        id(FROM_MS + at * STEP_MS, &mut rng)
    };
    (0..MESSAGES).map(arrival).collect()
}

fn shuffled() -> Vec<Id> {
    let (mut rng, mut ids) = (rng(), ascending());
    for i in (1..ids.len()).rev() {
        let other = rng.next_u64() % (i as u64 + 1);
        ids.swap(i, usize::try_from(other).unwrap_or(0));
    }
    ids
}

fn blocks_of(ids: &[Id]) -> Blocks<u32> {
    let mut blocks = Blocks::new();
    for id in ids {
        blocks.insert(*id, 0);
    }
    blocks
}

/// The newest messages loaded, the others in holes on three levels.
fn timeline() -> Timeline<u32> {
    let mut timeline = Timeline::new();
    for i in 0..HOLES {
        let level = HOLE_LEVEL - u8::try_from(i % 3).unwrap_or(0);
        let width = HOLE_WIDTH_MS << (3 * (HOLE_LEVEL - level));
        let at = FROM_MS + i * HOLE_WIDTH_MS;
        let start_ms = at / width * width;
        let hole =
            Hole { level, start_ms, min_ms: start_ms, max_ms: start_ms + width - 1, count: 2_000 };
        let _ = timeline.set_hole(hole);
    }
    // One window in two is loaded as well: rows then switch between messages and placeholders.
    for id in ascending().iter().step_by(2) {
        timeline.insert(*id, 0);
    }
    timeline
}

fn inserts(c: &mut Criterion) {
    let mut group = c.benchmark_group("insert 1M");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(5))
        .throughput(Throughput::Elements(MESSAGES));
    for (name, ids) in [("appended, 3 % late", mixed()), ("random", shuffled())] {
        group.bench_function(name, |b| b.iter_with_large_drop(|| blocks_of(black_box(&ids))));
    }
    let run: Vec<(Id, u32)> = ascending().into_iter().map(|id| (id, 0)).collect();
    group.bench_function("windows of 2,048, oldest first", |b| {
        b.iter_with_large_drop(|| load(run.chunks(2_048)));
    });
    group.bench_function("windows of 2,048, newest first", |b| {
        b.iter_with_large_drop(|| load(run.chunks(2_048).rev()));
    });
    group.finish();
}

fn load<'a>(windows: impl Iterator<Item = &'a [(Id, u32)]>) -> Blocks<u32> {
    let mut blocks = Blocks::new();
    for window in windows {
        let skipped = blocks.insert_run(window);
        assert!(skipped.is_ok_and(|ids| ids.is_empty()));
    }
    blocks
}

fn lookups(c: &mut Criterion) {
    let ids = mixed();
    let probes = shuffled();
    let blocks = blocks_of(&ids);
    let timeline = timeline();
    let mut next = {
        let mut at = 0;
        move || {
            at = (at + 1) % probes.len();
            probes.get(at).copied().unwrap_or_default()
        }
    };
    let mut rng = rng();
    let mut random_row = move |total: u64| rng.next_u64() % total;

    let mut group = c.benchmark_group("lookup at 1M");
    group.bench_function("rank", |b| {
        b.iter_batched(&mut next, |id| blocks.rank(id), BatchSize::SmallInput)
    });
    group.bench_function("select", |b| {
        b.iter_batched(|| random_row(MESSAGES), |row| blocks.select(row), BatchSize::SmallInput);
    });
    group.finish();

    let mut group = c.benchmark_group("timeline with 1,000 holes");
    let (total, holes) = (timeline.total(), timeline.holes());
    group.bench_function("holes_below", |b| {
        b.iter_batched(&mut next, |id| holes.holes_below(id), BatchSize::SmallInput);
    });
    group.bench_function("rank", |b| {
        b.iter_batched(&mut next, |id| timeline.rank(id), BatchSize::SmallInput)
    });
    group.bench_function("select", |b| {
        b.iter_batched(|| random_row(total), |row| timeline.select(row), BatchSize::SmallInput);
    });
    group.bench_function("rows of 50", |b| {
        let start = || random_row(total - 50);
        b.iter_batched(start, |row| timeline.rows(row..row + 50), BatchSize::SmallInput);
    });
    group.finish();
}

fn windows(c: &mut Criterion) {
    let run: Vec<(Id, u32)> = ascending().into_iter().map(|id| (id, 0)).collect();
    let full = load(run.chunks(2_048));
    let middle = run.get(500_000..502_048).unwrap_or_default();
    let keys: Vec<Id> = middle.iter().map(|(id, _)| *id).collect();
    let mut group = c.benchmark_group("one window of 2,048 in 1M");
    group.bench_function("unload and load", |b| {
        let mut blocks = full.clone();
        b.iter(|| {
            let removed = blocks.remove_run(&keys, |_| true);
            let added = blocks.insert_run(middle);
            assert!(removed.is_ok() && added.is_ok());
        });
    });
    group.finish();
}

criterion_group!(benches, inserts, lookups, windows);
criterion_main!(benches);
