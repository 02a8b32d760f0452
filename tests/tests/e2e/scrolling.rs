//! A reader of a large channel while messages keep coming: the newest rows, jumps to and fro, and every
//! late message one after the other.
//!
//! 100,000 messages; `BACKSCROLL_LONG=1` makes it a million.

use backscroll_core::channel::Item;
use backscroll_core::client::{Edge, Follow};
use backscroll_core::late::Toward;
use backscroll_core::message::MessageId;
use backscroll_core::viewport::{At, Query};
use backscroll_tests::engine::Engine;
use backscroll_tests::json::Json;
use backscroll_tests::relay::{self, Relay};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

const CHANNEL: &str = "#large";
/// The simulated channel ends here.
const UNTIL_MS: u64 = 1_735_689_600_000;
const ROWS: u64 = 50;

fn at(at: At) -> Query {
    Query { at, before: ROWS / 2, after: ROWS / 2 }
}

/// A channel of many messages on a relay.
fn large() -> (TempDir, Relay) {
    let count = if std::env::var_os("BACKSCROLL_LONG").is_some() { "1000000" } else { "100000" };
    let folder = TempDir::new().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let (file, data) = (path("large.jsonl"), path("data"));
    let simulate = ["simulate", "--channel", CHANNEL, "--count", count, "--out", file.as_str()];
    let _ = relay::run_ok(&simulate, b"");
    let _ = relay::run_ok(&["import", "--data", &data, &file], b"");
    let relay = Relay::start_on(folder.path().join("data").as_path(), &[]);
    (folder, relay)
}

/// Writes on and on, every fourth message late, until it is told to stop: the ids of the late ones.
async fn write(relay: &Relay, stop: Arc<AtomicBool>) -> BTreeSet<MessageId> {
    let mut writer = Json::connect(relay).await;
    let mut late = BTreeSet::new();
    let mut i = 0_u64;
    while !stop.load(Ordering::Relaxed) || i < 120 {
        let text = format!("live {i}");
        let mut command =
            json!({"command": "send", "channel": CHANNEL, "from": "writer", "text": text});
        let is_late = i % 4 == 3;
        if is_late {
            // All over the channel, some of them next to each other.
            let ago_ms = (i / 12).wrapping_mul(0x9e37_79b9) % 20_000_000 + i % 12;
            command["sent_at"] = json!(UNTIL_MS - ago_ms);
        }
        let ack = writer.ask(command).await;
        assert_eq!(ack["event"], "ack", "{ack}");
        if is_late {
            late.insert(ack["id"].as_str().expect("an id").parse().expect("an id"));
        }
        i += 1;
    }
    late
}

fn ids(items: &[Item]) -> Vec<Option<MessageId>> {
    let id = |item: &Item| match item {
        Item::Message(row) => Some(row.id),
        Item::Placeholder { .. } => None,
    };
    items.iter().map(id).collect()
}

/// The rows of the view, loaded, in order, and as its updates told them.
async fn loaded(engine: &mut Engine) -> Vec<MessageId> {
    let rows = engine.rows().await;
    let shown = ids(&rows.items);
    let all: Vec<_> = shown.iter().flatten().copied().collect();
    assert_eq!(all.len(), shown.len(), "an exact view has no placeholders");
    assert!(all.is_sorted_by(|a, b| a < b));
    let held = engine.copy.1.iter().flatten().filter(|id| all.contains(id)).count();
    assert_eq!(held, all.len(), "the updates told every row");
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_a_large_channel_misses_nothing_while_messages_keep_coming() {
    let (_folder, relay) = large();
    let relay = Arc::new(relay);
    let newest = Query { at: At::Latest, before: ROWS, after: 0 };
    let mut engine = Engine::open(&relay, "reader", CHANNEL, newest).await;
    let before = loaded(&mut engine).await;
    assert_eq!(before.len() as u64, ROWS);
    let stop = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn({
        let (relay, stop) = (relay.clone(), stop.clone());
        async move { write(&relay, stop).await }
    });

    // The newest rows, as they come.
    let total = engine.client.channel(CHANNEL).expect("it is open").total();
    while engine.client.channel(CHANNEL).expect("it is open").total() < total + 30 {
        engine.pump().await;
    }
    let rows = engine.client.view(engine.view).expect("a view");
    assert!(rows.found_newest && rows.total >= total + 30);
    assert!(engine.updates.1 > 0, "what came was told as deltas");

    // To and fro, faster than rows come; every eighth place is waited for.
    for i in 0..80_u64 {
        let fraction = (i.wrapping_mul(0x9e37_79b9) % 1_000) as f64 / 1_000.0;
        engine.go(at(At::Fraction(fraction)));
        if i % 8 == 7 {
            let rows = loaded(&mut engine).await;
            assert_eq!(rows.len() as u64, ROWS);
            // A reader at a message keeps it, whatever comes.
            let anchor = rows[rows.len() / 2];
            engine.go(at(At::Id(anchor)));
            for _ in 0..3 {
                engine.pump().await;
            }
            assert!(loaded(&mut engine).await.contains(&anchor));
        } else {
            engine.pump().await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let late = writing.await.expect("the writer ends");
    let last = Json::connect(&relay).await.history(CHANNEL, json!("latest"), 1, 0).await;
    let total = last["total"].as_u64().expect("a number");
    while engine.client.channel(CHANNEL).expect("it is open").total() < total {
        engine.pump().await;
    }

    // From one late message to the next, until none is left.
    let seen = read_late(&mut engine, late.len()).await;
    assert_eq!(seen, late, "each once, and no other");
    compare(&mut engine, &relay).await;
}

/// Goes to what came late until the inbox is empty: the late messages that were shown.
async fn read_late(engine: &mut Engine, count: usize) -> BTreeSet<MessageId> {
    let (view, mut seen) = (engine.view, BTreeSet::new());
    // What lay in view while it came is not in the inbox.
    engine.go(at(At::Oldest));
    loaded(engine).await;
    for _ in 0..=count {
        let Some(run) = engine.client.late_next(view, Toward::Oldest).expect("a view") else {
            assert_eq!(engine.client.late(view).expect("a view").total, 0);
            return seen;
        };
        engine.go(at(At::Id(run.first)));
        loaded(engine).await;
        let rows = engine.client.view(view).expect("a view");
        let late = rows.items.iter().filter_map(|item| match item {
            Item::Message(row) if row.late && row.content.from == "writer" => Some(row.id),
            Item::Message(_) | Item::Placeholder { .. } => None,
        });
        let before = seen.len();
        seen.extend(late);
        assert!(seen.len() > before, "the run of {} is not shown", run.first);
        let shown = ids(&rows.items);
        let (first, last) = (shown[0].expect("loaded"), shown[shown.len() - 1].expect("loaded"));
        let now = engine.now();
        let (first, last) = (Edge::Id(first), Edge::Id(last));
        engine.client.set_visible(view, first, last, Follow::Stay, now).expect("a view");
        engine.pump().await;
    }
    panic!("the inbox does not become empty: {:?}", engine.client.late(view));
}

/// Twenty places are as the relay has them.
async fn compare(engine: &mut Engine, relay: &Relay) {
    let mut json = Json::connect(relay).await;
    let total = engine.client.channel(CHANNEL).expect("it is open").total();
    for i in 0..20 {
        let index = (i * 0x9e37_79b9_u64) % total;
        engine.go(at(At::Index(index)));
        let rows = loaded(engine).await;
        let answer = json.history(CHANNEL, json!({"index": index}), ROWS / 2, ROWS / 2).await;
        let messages = answer["messages"].as_array().expect("messages");
        let stored: Vec<_> =
            messages.iter().map(|row| row["id"].as_str().expect("an id").to_owned()).collect();
        assert_eq!(rows.iter().map(ToString::to_string).collect::<Vec<_>>(), stored);
        assert_eq!(answer["total"], total);
    }
}
