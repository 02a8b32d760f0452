//! Measures the write path and the viewports on a disk: `cargo run --release -p backscroll-relay
//! --example store_figures -- FOLDER [MESSAGES]`. The folder must not hold a store.
#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program that prints figures"
)]

use backscroll_core::message::Content;
use backscroll_core::viewport::{At, Query};
use backscroll_relay::commit::{NewMessage, Nobody, SendRequest};
use backscroll_relay::engine::{Engine, now_ms};
use backscroll_relay::store::Store;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Sender's name and text come to about 256 bytes of body.
const TEXT_BYTES: usize = 236;

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() - 1) * percent / 100]
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let [p50, p99] = [50, 99].map(|percent| percentile(&times, percent));
    let last = times[times.len() - 1];
    println!(
        "{what:<28} n {:>7}  p50 {p50:>10.1?}  p99 {p99:>10.1?}  max {last:>10.1?}",
        times.len()
    );
}

/// Sends `count` messages from `senders` at once, spread evenly over the past; gives each one's wait.
async fn send(engine: &Engine, channel: &str, count: u64, senders: usize) -> Vec<Duration> {
    let (next, began) = (Arc::new(AtomicU64::new(0)), now_ms() - 1_000 * count);
    let tasks: Vec<_> = (0..senders)
        .map(|sender| {
            let (engine, next, channel) = (engine.clone(), next.clone(), channel.to_owned());
            tokio::spawn(async move {
                let mut waits = Vec::new();
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i >= count {
                        return waits;
                    }
                    // Every 33rd is up to a day late.
                    let late = if i % 33 == 0 { i * 7_919 % 86_400_000 } else { 0 };
                    let sent_at = Some((began + i * 1_000).saturating_sub(late));
                    let content = Content::text(&format!("user {sender}"), &"x".repeat(TEXT_BYTES));
                    let message = NewMessage { id: None, sent_at, content };
                    let channel = channel.clone();
                    let request = SendRequest { channel, message, idempotency: None };
                    let asked = Instant::now();
                    engine.send(request).await.unwrap();
                    waits.push(asked.elapsed());
                }
            })
        })
        .collect();
    let mut waits = Vec::new();
    for task in tasks {
        waits.extend(task.await.unwrap());
    }
    waits
}

fn viewports(engine: &Engine, channel: &str) {
    let reader = engine.reader();
    let total = reader.view().head(channel).unwrap().total;
    let mut state = 1_u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state >> 33
    };
    let mut measure = |what: &str, mut at: Box<dyn FnMut(u64) -> At>| {
        let times = (0..1_000)
            .map(|_| {
                let query = Query { at: at(random()), before: 25, after: 25 };
                let asked = Instant::now();
                let history = reader.view().history(channel, &query).unwrap();
                assert!(!history.messages.is_empty());
                asked.elapsed()
            })
            .collect();
        report(what, times);
    };
    let newest = reader.view().head(channel).unwrap().newest.unwrap().time_ms();
    measure("history latest", Box::new(|_| At::Latest));
    measure("history oldest", Box::new(|_| At::Oldest));
    measure("history index", Box::new(move |draw| At::Index(draw % total)));
    let span = total * 1_000;
    measure("history time", Box::new(move |draw| At::Time(newest - draw % span)));
    let draw_bound = f64::from(1_u32 << 31);
    measure(
        "history fraction",
        Box::new(move |draw| At::Fraction(f64::from(u32::try_from(draw).unwrap()) / draw_bound)),
    );
}

fn main() {
    let mut args = std::env::args().skip(1);
    let folder = args.next().unwrap();
    let count = args.next().map_or(1_000_000, |count| count.parse().unwrap());
    let store = Store::open(Path::new(&folder)).unwrap();
    let engine = Engine::start(store, Arc::new(Nobody)).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    for (channel, count, senders) in [("small", 100_000, 64), ("large", count, 512)] {
        let began = Instant::now();
        let waits = runtime.block_on(send(&engine, channel, count, senders));
        let rate = count * 1_000 / u64::try_from(began.elapsed().as_millis()).unwrap().max(1);
        println!("{senders} senders, {TEXT_BYTES} B of text: {rate} durable sends/s");
        report("  send to ack", waits);
    }
    viewports(&engine, "large");
    let directory = engine.reader().view().directory("large").unwrap();
    println!("directory: {} windows, {} bytes", directory.len(), directory.encode().len());
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().filter(|line| line.starts_with("VmHWM")).for_each(|line| println!("{line}"));
    engine.shutdown();
}
