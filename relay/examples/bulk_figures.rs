//! Measures a bulk load and its verification on a disk: `cargo run --release -p backscroll-relay
//! --example bulk_figures -- FOLDER [MESSAGES]`. The folder must not hold a store.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program that prints figures")]

use backscroll_core::message::{Content, MessageId};
use backscroll_relay::bulk::Import;
use backscroll_relay::check::verify;
use backscroll_relay::engine::now_ms;
use backscroll_relay::store::Store;
use std::path::Path;
use std::time::Instant;

fn report(what: &str, count: u64, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("");
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = count as f64 / seconds;
    println!("{what:<12} {count} in {seconds:.1} s, {rate:.0}/s; {peak}");
}

/// One message a second with about 100 bytes of text, ids ascending.
fn load(store: &Store, count: u64) {
    let (began_ms, began) = (now_ms() - 1_000 * (count + 1), Instant::now());
    let mut import = Import::begin(store, "bulk", now_ms()).unwrap();
    for i in 0..count {
        let mixed = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let id = MessageId::from_parts(began_ms + i * 1_000, u128::from(mixed));
        let text = format!("message {i}, {mixed:x}: {}", "some words of text ".repeat(4));
        let content = Content::text(&format!("user {}", mixed >> 60), &text);
        import.add(id, content.to_body().unwrap()).unwrap();
    }
    println!("{:?}", import.finish().unwrap());
    report("import", count, began);
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().unwrap();
    let count = arguments.next().map_or(1_000_000, |count| count.parse().unwrap());
    let store = Store::open(Path::new(&folder)).unwrap();
    load(&store, count);
    let began = Instant::now();
    let problems = verify(&store, |_| {}).unwrap();
    report("check", count, began);
    println!("{} problems", problems.len());
    load(&store, count / 10);
}
