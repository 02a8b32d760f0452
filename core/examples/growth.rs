//! What a channel costs as it grows: a table, and a plot of it as SVG.
//!
//! `cargo run --release -p backscroll-core --example growth -- [--svg FILE] [COUNT...]`
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

use backscroll_core::message::Content;
use backscroll_core::viewport::{At, Query};
use peak_alloc::PeakAlloc;
use std::fmt::Write as _;
use std::time::Instant;
use world::{CHANNEL, LATEST, NOW, Reader, UNTIL_MS, World, mixed};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// One figure, of each size of channel.
struct Series {
    name: &'static str,
    unit: &'static str,
    values: Vec<f64>,
}

/// Median and least of so many runs, in us.
fn time<T>(runs: usize, mut run: impl FnMut() -> T) -> (f64, f64) {
    let mut times: Vec<_> = (0..runs)
        .map(|_| {
            let begin = Instant::now();
            let done = run();
            let us = begin.elapsed().as_secs_f64() * 1e6;
            drop(done);
            us
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (times[runs / 2], times[0])
}

/// Times what `run` does with what `prepare` makes, which is not timed.
fn time_each<P, T>(
    runs: usize,
    mut prepare: impl FnMut() -> P,
    mut run: impl FnMut(P) -> T,
) -> (f64, f64) {
    let mut times: Vec<_> = (0..runs)
        .map(|_| {
            let prepared = prepare();
            let begin = Instant::now();
            let done = run(prepared);
            let us = begin.elapsed().as_secs_f64() * 1e6;
            drop(done);
            us
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (times[runs / 2], times[0])
}

fn around(at: At) -> Query {
    Query { at, before: 25, after: 25 }
}

/// States of the channel that opening is measured in: so many, so many messages apart.
const STATES: u64 = 24;
const STATE_STEP: u64 = 397;

type Row = Vec<(&'static str, &'static str, f64, f64)>;

fn opening(world: &World, row: &mut Row) {
    let (mut bytes, mut times) = (Vec::new(), Vec::new());
    for state in 0..STATES {
        let mut world = world.before(state * STATE_STEP);
        let frames = Reader::opening(&mut world);
        bytes.push(frames.iter().map(Vec::len).sum::<usize>() as f64 / 1_000.0);
        // These take long enough to be interrupted by whatever else runs: the least of five.
        let (_, min) = time(5, || Reader::open(&frames));
        times.push(min / 1_000.0);
    }
    for list in [&mut bytes, &mut times] {
        list.sort_by(f64::total_cmp);
    }
    let middle = bytes.len() / 2;
    row.push(("open: received, median of 24 states", "kB", bytes[middle], bytes[0]));
    row.push(("open: received, worst state", "kB", *bytes.last().unwrap(), bytes[0]));
    row.push(("open: client CPU, median of 24 states", "ms", times[middle], times[middle]));
    row.push(("open: client CPU, worst state", "ms", *times.last().unwrap(), times[middle]));
}

fn viewing(world: &mut World, row: &mut Row) {
    let mut reader = Reader::live(world);
    let total = world.total();
    let places: Vec<_> = (0..24).map(|n| mixed(n) % total).collect();
    for place in &places {
        reader.look(world, around(At::Index(*place)));
    }
    let mut next = places.iter().cycle();
    let (median, min) = time(240, || {
        let query = around(At::Index(*next.next().unwrap()));
        reader.client.move_view(reader.view, query, NOW).unwrap();
        let rows = reader.client.view(reader.view).unwrap();
        assert!(rows.exact, "what is measured is loaded");
    });
    row.push(("any 50 rows, window loaded", "us", median, min));

    let middle = places[3];
    reader.look(world, around(At::Index(middle)));
    let middle_ms = world.ids[usize::try_from(middle).unwrap()].time_ms();
    let mut tail = 0;
    let (median, min) = time_each(
        200,
        || {
            tail += 1;
            world.arrive(middle_ms + u64::try_from(tail % 7).unwrap(), tail)
        },
        |frame| {
            reader.client.handle_bytes(&frame, NOW);
            reader.client.view(reader.view).unwrap()
        },
    );
    row.push(("a late message in view, to its rows", "us", median, min));
    reader.look(world, LATEST);
    let (median, min) = time_each(
        200,
        || {
            tail += 1;
            world.arrive(UNTIL_MS + u64::try_from(tail).unwrap(), tail)
        },
        |frame| {
            reader.client.handle_bytes(&frame, NOW);
            reader.client.view(reader.view).unwrap()
        },
    );
    row.push(("a new message in view, to its rows", "us", median, min));
    let content = || Content::text("reader", "something that somebody has just written");
    let (median, min) = time_each(200, content, |content| {
        reader.client.send(CHANNEL, content, None, NOW).unwrap();
        reader.client.view(reader.view).unwrap()
    });
    row.push(("send, to its rows", "us", median, min));
}

fn memory(world: &mut World, row: &mut Row) {
    let frames = Reader::opening(world);
    let before = ALLOCATOR.current_usage();
    let reader = Reader::open(&frames);
    let opened = (ALLOCATOR.current_usage() - before) as f64 / 1e6;
    drop(reader);
    row.push(("memory of a client that opened it", "MB", opened, opened));
    // An hour of scrolling: a place somewhere else every few seconds. Answers are made by the world
    // and dropped again, so what grows is the client.
    let mut reader = Reader::live(world);
    let total = world.total();
    for n in 0..120 {
        reader.look(world, around(At::Index(mixed(n) % total)));
    }
    world.forget();
    let with = ALLOCATOR.current_usage();
    drop(reader);
    let scrolled = (with - ALLOCATOR.current_usage()) as f64 / 1e6;
    row.push(("memory after 120 places far apart", "MB", scrolled, scrolled));
}

fn measure(count: u64) -> Row {
    let begin = Instant::now();
    let mut world = World::new(count);
    println!(
        "# {count}: {} windows, made in {:.0} s",
        world.directory().len(),
        begin.elapsed().as_secs_f64()
    );
    let mut row = Row::new();
    let directory = world.directory().encode().len() as f64 / 1_000.0;
    row.push(("directory", "kB", directory, directory));
    opening(&world, &mut row);
    memory(&mut world, &mut row);
    viewing(&mut world, &mut row);
    row
}

fn main() {
    let mut arguments: Vec<_> = std::env::args().skip(1).collect();
    let svg = arguments.iter().position(|argument| argument == "--svg").map(|at| {
        arguments.remove(at);
        arguments.remove(at)
    });
    let mut counts: Vec<u64> = arguments.iter().map(|count| count.parse().unwrap()).collect();
    if counts.is_empty() {
        counts = vec![10_000, 100_000, 1_000_000, 3_000_000];
    }
    let mut all: Vec<Series> = Vec::new();
    let mut least: Vec<Vec<f64>> = Vec::new();
    for count in &counts {
        for (at, (name, unit, median, min)) in measure(*count).into_iter().enumerate() {
            if all.len() == at {
                all.push(Series { name, unit, values: Vec::new() });
                least.push(Vec::new());
            }
            all[at].values.push(median);
            least[at].push(min);
        }
    }
    let heads: Vec<_> = counts.iter().map(|count| thousands(*count)).collect();
    println!("\n| messages | {} |", heads.join(" | "));
    println!("|---|{}", "---|".repeat(counts.len()));
    for (Series { name, unit, values }, least) in all.iter().zip(&least) {
        let cell = |(value, min): (&f64, &f64)| {
            if (value - min).abs() < 1e-9 || *unit != "us" {
                number(*value)
            } else {
                format!("{} ({})", number(*value), number(*min))
            }
        };
        let cells: Vec<_> = values.iter().zip(least).map(cell).collect();
        println!("| {name}, {unit} | {} |", cells.join(" | "));
    }
    if let Some(path) = svg {
        for (series, least) in all.iter_mut().zip(least) {
            // What other programs take of the machine is no cost of the channel's.
            if series.unit == "us" {
                series.values = least;
            }
        }
        std::fs::write(&path, plot(&counts, &all)).unwrap();
    }
}

fn number(value: f64) -> String {
    if value < 10.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

fn thousands(count: u64) -> String {
    match count {
        1_000_000.. => format!("{}M", count as f64 / 1e6),
        _ => format!("{}k", count / 1_000),
    }
}

/// A part of the first answer, and what is bounded whatever the channel.
const LEFT_OUT: [&str; 2] = ["directory", "memory after 120 places far apart"];

/// Figures relative to those of the smallest channel would hide how small they are: each has its own
/// line on one logarithmic scale, its value beside each point.
fn plot(counts: &[u64], all: &[Series]) -> String {
    let (width, left, right, row) = (760.0, 300.0, 60.0, 40.0);
    let shown: Vec<_> = all.iter().filter(|series| !LEFT_OUT.contains(&series.name)).collect();
    let height = 70.0 + row * shown.len() as f64;
    let x =
        |at: usize| left + (width - left - right) * at as f64 / (counts.len().max(2) - 1) as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\" role=\"img\" \
         aria-label=\"Costs as a channel grows stay flat\">\n<style>\
         text{{fill:#24292f}}.l{{stroke:#0969da;fill:none;stroke-width:2}}.d{{fill:#0969da}}\
         .g{{stroke:#d0d7de}}@media(prefers-color-scheme:dark){{text{{fill:#e6edf3}}\
         .l{{stroke:#58a6ff}}.d{{fill:#58a6ff}}.g{{stroke:#444c56}}}}</style>\n"
    );
    for (at, count) in counts.iter().enumerate() {
        let (x, bottom) = (x(at), height - 20.0);
        let _ =
            writeln!(svg, "<line class=\"g\" x1=\"{x}\" x2=\"{x}\" y1=\"34\" y2=\"{bottom}\"/>");
        let name = thousands(*count);
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"22\" text-anchor=\"middle\">{name}</text>");
    }
    for (at, series) in shown.iter().enumerate() {
        let middle = 54.0 + row * at as f64;
        let (name, unit) = (series.name, series.unit);
        let _ = writeln!(svg, "<text x=\"8\" y=\"{}\">{name}, {unit}</text>", middle + 8.0);
        // A hundredfold rise would be a row high.
        let y = |value: f64| {
            let first = series.values[0].max(1e-9);
            middle + 8.0 - (value.max(1e-9) / first).log10() * row / 2.0
        };
        let points: Vec<_> =
            series.values.iter().enumerate().map(|(i, v)| (x(i), y(*v), *v)).collect();
        let line: Vec<_> = points.iter().map(|(x, y, _)| format!("{x:.0},{y:.1}")).collect();
        let _ = writeln!(svg, "<polyline class=\"l\" points=\"{}\"/>", line.join(" "));
        for (x, y, value) in points {
            let text = number(value);
            let _ = writeln!(
                svg,
                "<circle class=\"d\" cx=\"{x:.0}\" cy=\"{y:.1}\" r=\"3\"/>\
                 <text x=\"{:.0}\" y=\"{:.1}\">{text}</text>",
                x + 6.0,
                y - 5.0
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}
