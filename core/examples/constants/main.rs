//! The constants of windows and timeline, measured on chat of every kind: a table for each.
//!
//! `cargo run --release -p backscroll-core --example constants -- [--quick] [CHAT.jsonl[.gz]]`
//!
//! A chat is JSON Lines with `sent_at` (ms) and `text`, in the order in which they arrived; without one
//! the excerpt in `tests/data` is used. `--quick` takes a tenth of the synthetic messages.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a program that measures"
)]

mod history;
mod placed;

use backscroll_core::limits::{WINDOW_BYTES_FULL, WINDOW_MESSAGES_FULL};
use backscroll_core::timeline::Blocks;
use backscroll_core::window::Rule;
use history::{History, Writers};
use placed::Placed;
use std::time::Instant;

/// What is compared with [`Rule::USED`].
fn rules() -> Vec<Rule> {
    let full = |messages: u64| (messages, WINDOW_BYTES_FULL * messages / WINDOW_MESSAGES_FULL);
    let rule = |fan_bits, (messages_full, bytes_full)| Rule { fan_bits, messages_full, bytes_full };
    vec![
        rule(3, full(1_024)),
        rule(3, full(2_048)),
        rule(3, full(4_096)),
        rule(2, full(2_048)),
        rule(4, full(2_048)),
    ]
}

fn windows(histories: &[History]) {
    println!(
        "| traffic | writers | k / full at | windows | / ideal | dust | largest | view p50 | p95 | max | messages p50 | p95 | p95 later | directory, kB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    for history in histories {
        for writers in [Writers::Fresh, Writers::Stale, Writers::Hostile] {
            let messages = history.with(writers);
            for rule in rules() {
                let placed = Placed::new(&messages, rule);
                let ideal = (messages.len() as u64).div_ceil(rule.messages_full);
                let view = placed.viewports();
                let used = if rule == Rule::USED { "**" } else { "" };
                println!(
                    "| {} | {} | {used}{} / {}{used} | {} | {:.1} | {} | {} | {} | {} | {} | {} | {} | {} | {:.1} |",
                    history.name,
                    writers.name(),
                    rule.fan_bits,
                    rule.messages_full,
                    placed.len(),
                    placed.len() as f64 / ideal as f64,
                    placed.dust(),
                    placed.largest(),
                    view.windows_p50,
                    view.windows_p95,
                    view.windows_max,
                    view.messages_p50,
                    view.messages_p95,
                    view.messages_p95_later,
                    placed.directory_bytes() as f64 / 1_000.0,
                );
            }
        }
    }
}

/// Inserts, ranks and selects of a timeline whose blocks have at most `LEN` keys, in ns each.
fn block<const LEN: usize>(name: &str, ids: &[u128], probes: &[u128]) {
    let each = |runs: usize, mut run: Box<dyn FnMut() + '_>| {
        let mut times: Vec<_> = (0..runs)
            .map(|_| {
                let begin = Instant::now();
                run();
                begin.elapsed().as_secs_f64() * 1e9 / ids.len() as f64
            })
            .collect();
        times.sort_by(f64::total_cmp);
        times[0]
    };
    let mut blocks: Blocks<u32, LEN> = Blocks::new();
    let insert = each(
        3,
        Box::new(|| {
            blocks = Blocks::new();
            for id in ids {
                blocks.insert(*id, 0);
            }
        }),
    );
    let mut shuffled = ids.to_vec();
    for i in (1..shuffled.len()).rev() {
        shuffled.swap(i, history::mixed(i as u64) as usize % (i + 1));
    }
    let any = each(
        3,
        Box::new(|| {
            let mut blocks: Blocks<u32, LEN> = Blocks::new();
            for id in &shuffled {
                blocks.insert(*id, 0);
            }
            std::hint::black_box(blocks.len());
        }),
    );
    let scale = ids.len() as f64 / probes.len() as f64;
    let mut sum = 0;
    let rank =
        scale * each(3, Box::new(|| sum += probes.iter().map(|id| blocks.rank(*id)).sum::<u64>()));
    let total = blocks.len();
    let rows: Vec<u64> = probes.iter().map(|id| (id % u128::from(total)) as u64).collect();
    let select = scale
        * each(
            3,
            Box::new(|| {
                sum += rows.iter().filter(|row| blocks.select(**row).is_some()).count() as u64
            }),
        );
    assert!(sum > 0, "nothing is left out because it is not used");
    println!("| {name} | {LEN} | {insert:.0} | {any:.0} | {rank:.0} | {select:.0} |");
}

fn timeline(histories: &[History]) {
    println!(
        "\n| traffic | keys in a block | insert, ns | in any order, ns | rank, ns | select, ns |"
    );
    println!("|---|---|---|---|---|---|");
    for history in histories {
        let messages = history.with(Writers::Fresh);
        let ids: Vec<u128> = messages
            .iter()
            .enumerate()
            .map(|(n, message)| {
                u128::from(message.sent_ms) << 80 | history::mixed(n as u64) as u128
            })
            .collect();
        let probe = |n: u64| ids[history::mixed(n) as usize % ids.len()] + 1;
        let probes: Vec<_> = (0..200_000).map(probe).collect();
        block::<256>(history.name, &ids, &probes);
        block::<512>(history.name, &ids, &probes);
        block::<1024>(history.name, &ids, &probes);
    }
}

fn main() {
    let mut arguments: Vec<_> = std::env::args().skip(1).collect();
    let quick = arguments.iter().position(|argument| argument == "--quick");
    let scale = match quick {
        Some(at) => {
            arguments.remove(at);
            10
        }
        None => 1,
    };
    let excerpt = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/ubuntu-irc-2000.jsonl");
    let chat = arguments.first().map_or(excerpt, String::as_str);
    let mut histories = history::synthetic(scale);
    histories.push(history::chat(chat));
    for history in &histories {
        println!("# {}: {} messages", history.name, history.len());
    }
    println!();
    windows(&histories);
    timeline(&histories);
}
