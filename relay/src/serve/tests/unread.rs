//! Live views of a client that reads little, or of a store that cannot be read.

use super::budget::{fill, stick};
use super::support::{Client, DEADLINE, Relay, soon};
use crate::retention::Rule;
use crate::store::StoreError;
use crate::store::kv::{Batch, Direction, Durability, Family, Kv, Snapshot, Visit};
use crate::store::memory::MemoryKv;
use serde_json::{Value, json};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

/// A store in memory that clients cannot read, or must wait for, when it is told so; its own threads
/// can.
#[derive(Debug, Default)]
struct Unreadable {
    kv: MemoryKv,
    fails: AtomicBool,
    waits: Mutex<bool>,
    goes_on: Condvar,
}

impl Unreadable {
    fn set_waits(&self, waits: bool) {
        *self.waits.lock().unwrap() = waits;
        self.goes_on.notify_all();
    }
}

struct Rows<'a> {
    rows: Box<dyn Snapshot + 'a>,
    fails: bool,
}

impl Kv for Unreadable {
    fn write(&self, batch: Batch, durability: Durability) -> Result<(), StoreError> {
        self.kv.write(batch, durability)
    }

    fn snapshot(&self) -> Box<dyn Snapshot + '_> {
        let for_clients = std::thread::current().name().is_some_and(|name| name.contains("tokio"));
        if for_clients {
            let waits = self.waits.lock().unwrap();
            drop(self.goes_on.wait_timeout_while(waits, DEADLINE, |waits| *waits).unwrap());
        }
        let fails = for_clients && self.fails.load(Ordering::SeqCst);
        Box::new(Rows { rows: self.kv.snapshot(), fails })
    }
}

impl Rows<'_> {
    fn check(&self) -> Result<(), StoreError> {
        if self.fails { Err(StoreError::NoFamily("any")) } else { Ok(()) }
    }
}

impl Snapshot for Rows<'_> {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.check()?;
        self.rows.get(family, key)
    }

    fn scan(
        &self,
        family: Family,
        range: Range<&[u8]>,
        direction: Direction,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        self.check()?;
        self.rows.scan(family, range, direction, visit)
    }
}

fn view(channel: &str, before: u64) -> Value {
    json!({"command": "view", "channel": channel, "before": before})
}

fn len(event: &Value) -> usize {
    event["messages"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_cannot_be_read_is_refused_or_ends_and_begins_anew() {
    let kv = Arc::new(Unreadable::default());
    let relay = Relay::start_over(kv.clone()).await;
    let mut writer = relay.ws().await;
    fill(&mut writer, "c", 135).await;
    let mut reader = Client::connect_with_small_buffer(relay.address, &[]).await;
    assert_eq!(len(&reader.ask(&view("c", 3)).await), 3);
    kv.fails.store(true, Ordering::SeqCst);
    let refused = reader.ask(&view("c", 5)).await;
    assert_eq!((&refused["event"], &refused["code"]), (&json!("error"), &json!("retry")));
    kv.fails.store(false, Ordering::SeqCst);
    writer.say("c", "it stays where it was").await;
    let delta = reader.event().await;
    assert_eq!((&delta["event"], &delta["total"]), (&json!("view-delta"), &json!(136)));

    // More than waits for a view while its client takes nothing: it must be read anew.
    stick(&mut reader).await;
    fill(&mut writer, "c", 160).await;
    kv.fails.store(true, Ordering::SeqCst);
    let ended = loop {
        let event = reader.event().await;
        match event["event"].as_str() {
            Some("error") => break event,
            Some("history" | "view-delta") => {}
            _ => panic!("{event}"),
        }
    };
    assert_eq!(ended["code"], "retry");
    assert!(ended["message"].as_str().unwrap().contains("the view of c has ended"), "{ended}");
    kv.fails.store(false, Ordering::SeqCst);
    writer.say("c", "nobody is told").await;
    let answer = reader.ask(&json!({"command": "history", "channel": "c", "before": 1})).await;
    assert_eq!((&answer["event"], &answer["total"]), (&json!("history"), &json!(297)));
    let anew = reader.ask(&view("c", 2)).await;
    assert_eq!((&anew["event"], &anew["start"], len(&anew)), (&json!("view"), &json!(295), 2));
    writer.say("c", "told again").await;
    let delta = reader.event().await;
    assert_eq!(delta["inserted"][0]["message"]["text"], "told again");
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn views_of_one_socket_are_read_anew_one_by_one_as_it_takes_them() {
    const VIEWS: usize = 8;
    const YEAR_2010: u64 = 1_262_304_000_000;
    let rule = Rule { channel: "v*".to_owned(), max_age: None, max_messages: Some(20) };
    let kv = Arc::new(Unreadable::default());
    let relay = Relay::start_over_with(kv.clone(), |config| config.retention = vec![rule]).await;
    let (mut writer, mut other) = (relay.ws().await, relay.ws().await);
    fill(&mut writer, "c", 135).await;
    let mut reader = Client::connect_with_small_buffer(relay.address, &[]).await;
    let channels: Vec<_> = (0..VIEWS).map(|n| format!("v{n}")).collect();
    for channel in &channels {
        fill(&mut writer, channel, 20).await;
        assert_eq!(len(&reader.ask(&view(channel, 20)).await), 20);
        other.ask(&json!({"command": "subscribe", "channel": channel, "last": 0})).await;
    }
    stick(&mut reader).await;
    let held = relay.budget.held();
    // A message of another window is dropped as soon as it is there: each view is to be read anew, and
    // while none can be, there is room for each.
    kv.set_waits(true);
    for channel in &channels {
        let old = json!({"command": "send", "channel": channel, "text": "x", "sent_at": YEAR_2010});
        assert_eq!(writer.ask(&old).await["event"], "ack");
        assert_eq!(other.event_of("history").await["total"], 20);
    }
    for n in 0..200 {
        writer.say("elsewhere", &n.to_string()).await;
    }
    kv.set_waits(false);
    let first = async {
        while relay.budget.held() < held + (1 << 20) {
            tokio::task::yield_now().await;
        }
    };
    soon("a view", first).await;
    for n in 0..200 {
        writer.say("elsewhere", &n.to_string()).await;
        let more = relay.budget.held() - held;
        assert!(more < 3 << 20, "{more} bytes wait for one socket");
    }
    // All come in the end.
    let mut told = std::collections::BTreeSet::new();
    while told.len() < VIEWS {
        let event = reader.event().await;
        if event["event"] == "view" {
            assert_eq!(len(&event), 20);
            told.insert(event["channel"].as_str().unwrap().to_owned());
        }
    }
    relay.stop().await.unwrap();
}
