//! Changes and documents of one window: figures for design 2 and 10.
#![allow(missing_docs)]

use backscroll_core::change::{ActorId16, ChangeView, DocKind, MessageAuthor};
use backscroll_core::message::{Content, MessageId};
use backscroll_core::segment::SegmentDoc;
use backscroll_core::window::Window;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

const T0: u64 = 1_700_000_000_000;
const MESSAGES: u64 = 2_048;
const ACTORS: u8 = 40;

fn window() -> Window {
    Window::covering(3, T0)
}

/// A spread of bits that is the same in each run.
fn mixed(n: u64) -> u128 {
    u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) * 0x1_0001
}

fn message(n: u64) -> (MessageId, Vec<u8>) {
    let id = MessageId::from_parts(T0 + n * 1_000, mixed(n));
    let text = format!("message {n}, about {} as long as real ones", mixed(n) % 1_000_000);
    (id, Content::text(&format!("user {}", n % 40), &text).to_body().unwrap())
}

/// One change per message, of many actors in turn.
fn history() -> Vec<Vec<u8>> {
    let mut authors: Vec<_> =
        (0..ACTORS).map(|n| MessageAuthor::new(window(), ActorId16([n; 16]))).collect();
    let turn = |n: u64| usize::try_from(n % u64::from(ACTORS)).unwrap();
    (0..MESSAGES).map(|n| authors[turn(n)].write(&[message(n)]).unwrap().chunk).collect()
}

fn loaded(saved: &[u8]) -> SegmentDoc {
    SegmentDoc::load(window(), DocKind::Messages, saved).unwrap()
}

fn changes(c: &mut Criterion) {
    let messages = [message(1)];
    let chunk = history().pop().unwrap();
    c.bench_function("change/author one message", |b| {
        let author = || MessageAuthor::new(window(), ActorId16([1; 16]));
        b.iter_batched_ref(
            author,
            |author| author.write(&messages).unwrap(),
            BatchSize::SmallInput,
        );
    });
    c.bench_function("change/read and check one message", |b| {
        b.iter(|| ChangeView::read(black_box(&chunk), window(), DocKind::Messages).unwrap());
    });
}

fn documents(c: &mut Criterion) {
    let chunks = history();
    let mut doc = SegmentDoc::new(window(), DocKind::Messages);
    doc.apply(&chunks[..chunks.len() - 1]).unwrap();
    let saved = doc.save();
    let mut group = c.benchmark_group("segment of 2,048");
    group.sample_size(20);
    group.bench_function("load", |b| b.iter(|| loaded(black_box(&saved))));
    group.bench_function("load and digest", |b| b.iter(|| loaded(black_box(&saved)).digest()));
    group.bench_function("save", |b| b.iter(|| doc.save()));
    group.bench_function("apply one live change", |b| {
        let fresh = || {
            let doc = loaded(&saved);
            doc.digest();
            doc
        };
        let live = &chunks[chunks.len() - 1..];
        b.iter_batched_ref(fresh, |doc| doc.apply(live).unwrap(), BatchSize::PerIteration);
    });
    group.bench_function("apply all changes at once", |b| {
        b.iter(|| SegmentDoc::new(window(), DocKind::Messages).apply(&chunks).unwrap());
    });
    let messages: Vec<_> = (0..MESSAGES).map(message).collect();
    group.throughput(Throughput::Elements(MESSAGES));
    group.bench_function("build", |b| {
        let runs = || messages.chunks(1_000);
        b.iter(|| SegmentDoc::build(window(), ActorId16([1; 16]), runs()).unwrap());
    });
    group.finish();
}

criterion_group!(benches, changes, documents);
criterion_main!(benches);
