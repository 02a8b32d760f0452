//! A large simulated channel: every form of `history` equals a plain sorted reference.
//!
//! `MESSAGES=1000000` sets the size; the figures of README.md are what this prints.

use backscroll_core::wire::RelayFrame;
use backscroll_tests::json::Json;
use backscroll_tests::relay::{self, Relay};
use backscroll_tests::sync::{Loaded, Sync};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};
use tempfile::TempDir;

struct Reference {
    /// (id, text) in order.
    rows: Vec<(String, String)>,
}

fn messages() -> u64 {
    std::env::var("MESSAGES").ok().map_or(1_000_000, |n| n.parse().expect("a number"))
}

impl Reference {
    fn read(path: &std::path::Path) -> Self {
        let file = BufReader::new(std::fs::File::open(path).expect("the simulated file"));
        let mut rows: Vec<(String, String)> = file
            .lines()
            .map(|line| {
                let row: Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
                let text = |field: &str| row[field].as_str().expect("text").to_owned();
                (text("id"), text("text"))
            })
            .collect();
        rows.sort_unstable();
        Self { rows }
    }

    fn check(&self, answer: &Value, anchor: usize, before: usize, after: usize) {
        let start = anchor.saturating_sub(before);
        let end = (anchor + after).min(self.rows.len());
        let total = self.rows.len();
        assert_eq!(answer["total"], total);
        assert_eq!(answer["start"], start);
        assert_eq!(answer["found_oldest"], start == 0);
        assert_eq!(answer["found_newest"], end == total);
        let got = answer["messages"].as_array().expect("messages");
        assert_eq!(got.len(), end - start);
        for (message, (id, text)) in got.iter().zip(&self.rows[start..end]) {
            assert_eq!((&message["id"], &message["text"]), (&json!(id), &json!(text)));
        }
    }

    fn time_ms(&self, row: usize) -> u64 {
        let id: backscroll_core::message::MessageId = self.rows[row].0.parse().expect("an id");
        id.time_ms()
    }

    fn first_at(&self, time_ms: u64) -> usize {
        let first = backscroll_core::message::MessageId::first_of(time_ms).to_string();
        self.rows.partition_point(|(id, _)| *id < first)
    }
}

/// A fixed sequence of numbers that look random: equal runs ask equal questions.
fn scattered(count: u64, below: usize) -> impl Iterator<Item = usize> {
    let below = below as u64;
    (0..count).map(move |i| {
        let mixed = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        usize::try_from((u128::from(mixed) * u128::from(below)) >> 64).expect("below a usize")
    })
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() - 1) * percent / 100]
}

/// Times of moving a live view over the channel, and of a late message from its sending to the delta.
async fn viewing(relay: &Relay, reference: &Reference) -> String {
    let total = reference.rows.len();
    let (mut client, mut writer) = (Json::connect(relay).await, Json::connect(relay).await);
    let (mut placed, mut told) = (Vec::new(), Vec::new());
    for (n, row) in scattered(200, total).enumerate() {
        let from = Instant::now();
        let view = json!({"command": "view", "channel": "#million", "at": {"index": row},
                          "before": 25, "after": 25});
        let answer = client.ask(view).await;
        placed.push(from.elapsed());
        // Each that came late before stands somewhere above or in between.
        let start = answer["start"].as_u64().expect("a start");
        assert_eq!(start, row.saturating_sub(25) as u64);
        assert_eq!(answer["total"], total + n);
        let at = usize::try_from(row as u64 - start).expect("small").min(49);
        let beside = answer["messages"][at]["sent_at"].as_u64().expect("a time");
        let from = Instant::now();
        writer
            .command(&json!({"command": "send", "channel": "#million", "text": "late",
                             "from": "late", "sent_at": beside}))
            .await;
        let is_delta = |event: &Value| event["event"] == "view-delta";
        let delta = client.expect("a delta", is_delta).await;
        told.push(from.elapsed());
        assert_eq!(delta["total"], total + n + 1);
    }
    format!(
        "view of 50 in {total}, 200 moves over a socket: p50 {:?}, p99 {:?}; a late message from its \
         sending to the delta, with the fsync: p50 {:?}, p99 {:?}",
        percentile(&mut placed, 50),
        percentile(&mut placed, 99),
        percentile(&mut told, 50),
        percentile(&mut told, 99)
    )
}

async fn timed(client: &mut Json, at: Value, times: &mut Vec<Duration>) -> Value {
    let from = Instant::now();
    let answer = client.history("#million", at, 25, 25).await;
    times.push(from.elapsed());
    answer
}

/// What the channel's windows are as documents: as `export` writes them.
fn segments(folder: &std::path::Path, data: &str) -> String {
    let out = folder.to_str().expect("UTF-8");
    let export = ["export", "--data", data, "--channel", "#million", "--format", "automerge"];
    let _ = relay::run_ok(&[&export[..], &["--out", out]].concat(), b"");
    let entries = std::fs::read_dir(folder).expect("the exported folder");
    let size = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.and_then(|entry| entry.metadata()).expect("a document").len()
    };
    let mut bytes: Vec<u64> = entries.map(size).collect();
    bytes.sort_unstable();
    let at = |percent: usize| bytes[(bytes.len() - 1) * percent / 100] as f64 / 1_000.0;
    format!(
        "segments: {}, {:.1} MB in all; saved document p50 {:.1} kB, p95 {:.1} kB, largest {:.1} kB",
        bytes.len(),
        bytes.iter().sum::<u64>() as f64 / 1_000_000.0,
        at(50),
        at(95),
        at(100)
    )
}

/// What an empty client receives until the newest 50 are in hand.
async fn opening(relay: &Relay, total: usize) -> String {
    let mut client = Sync::connect(relay, "newcomer").await;
    let from = Instant::now();
    let (_, directory) = client.open("#million", 50).await;
    let with_directory = client.received;
    assert_eq!(directory.total(), total as u64);
    let newest = |frame: &RelayFrame| matches!(frame, RelayFrame::Segment { .. });
    let mut rows = 0;
    while rows < 50 {
        rows += Loaded::read(client.expect("a newest segment", newest).await).seqs.len();
    }
    format!(
        "opening: directory of {} windows {} bytes; {} bytes and {:?} until the newest {rows} are in hand",
        directory.iter().count(),
        with_directory,
        client.received,
        from.elapsed()
    )
}

#[tokio::test]
async fn history_of_a_million_equals_a_sorted_reference() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("million.jsonl");
    let file_path = file.to_str().expect("UTF-8");
    let count = messages().to_string();
    let _ = relay::run_ok(
        &[
            "simulate",
            "--out",
            file_path,
            "--channel",
            "#million",
            "--count",
            &count,
            "--chunk",
            "50000:2000",
        ],
        b"",
    );
    let reference = Reference::read(&file);
    let total = reference.rows.len();
    assert_eq!(total.to_string(), count);
    let data = folder.path().join("data");
    let data_path = data.to_str().expect("UTF-8");
    let from = Instant::now();
    let summary = relay::run_ok(&["import", "--data", data_path, file_path], b"");
    println!(
        "import: {summary} ({:.0} messages/s in all)",
        total as f64 / from.elapsed().as_secs_f64()
    );

    println!("{}", segments(&folder.path().join("export"), data_path));
    let relay = Relay::start_on(&data, &[]);
    println!("{}", opening(&relay, total).await);
    let mut client = Json::connect(&relay).await;
    let mut times = Vec::new();
    let answer = timed(&mut client, json!("latest"), &mut times).await;
    reference.check(&answer, total, 25, 25);
    let answer = timed(&mut client, json!("oldest"), &mut times).await;
    reference.check(&answer, 0, 25, 25);
    for row in scattered(200, total) {
        let answer = timed(&mut client, json!({"index": row}), &mut times).await;
        reference.check(&answer, row, 25, 25);
        let answer = timed(&mut client, json!({"id": reference.rows[row].0}), &mut times).await;
        reference.check(&answer, row, 25, 25);
        let time_ms = reference.time_ms(row) + (row as u64 % 2);
        let answer = timed(&mut client, json!({"time": time_ms}), &mut times).await;
        reference.check(&answer, reference.first_at(time_ms), 25, 25);
        let fraction = row as f64 / total as f64 + 0.000_000_3;
        let answer = timed(&mut client, json!({"fraction": fraction}), &mut times).await;
        reference.check(&answer, (fraction * total as f64).round() as usize, 25, 25);
    }
    let answer = client.history("#million", json!({"index": total + 7}), 10, 10).await;
    reference.check(&answer, total, 10, 10);
    println!(
        "history of 50 in {total}, {} queries over a socket: p50 {:?}, p99 {:?}; relay memory {} MB",
        times.len(),
        percentile(&mut times, 50),
        percentile(&mut times, 99),
        relay.resident_bytes() / 1_000_000
    );
    println!("{}", viewing(&relay, &reference).await);
}
