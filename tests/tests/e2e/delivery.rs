//! Senders and subscribers: everyone sees each message once, no gap between history and live.

use backscroll_tests::json::Json;
use backscroll_tests::relay::Relay;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::task::JoinSet;

const SENDERS: u64 = 8;
const SUBSCRIBERS: u64 = 6;
const EACH: u64 = 150;
const TOTAL: u64 = SENDERS * EACH;

/// Sends its share; every tenth message is dated up to an hour back.
async fn send_all(relay: Arc<Relay>, sender: u64) -> Vec<(String, u64)> {
    let mut client = Json::connect(&relay).await;
    let mut acked = Vec::new();
    for i in 0..EACH {
        let mut send = json!({"command": "send", "channel": "c", "from": format!("s{sender}"),
                              "text": format!("{sender}:{i}")});
        if i % 10 == 9 {
            send["sent_at"] =
                json!(1_700_000_000_000_u64 + (sender * 7_919 + i * 104_729) % 3_600_000);
        }
        let ack = client.ask(send).await;
        assert_eq!(ack["event"], "ack", "{ack}");
        acked.push((text(&ack["id"]), ack["seq"].as_u64().expect("a seq")));
    }
    acked
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

/// A plain sorted list kept from the history and each event's `index`.
struct Mirror {
    ids: Vec<String>,
    seqs: BTreeMap<u64, String>,
}

impl Mirror {
    fn insert(&mut self, event: &Value) {
        let index = usize::try_from(event["index"].as_u64().expect("an index")).expect("small");
        let id = text(&event["message"]["id"]);
        self.ids.insert(index, id.clone());
        self.note(&event["message"], id);
        assert_eq!(event["total"].as_u64(), Some(self.ids.len() as u64), "total at that moment");
    }

    fn note(&mut self, message: &Value, id: String) {
        let seq = message["seq"].as_u64().expect("a seq");
        assert!(self.seqs.insert(seq, id).is_none(), "seq {seq} came twice");
    }
}

/// Joins once `join_at` messages are there, and listens until it has all of them.
async fn subscribe(relay: Arc<Relay>, join_at: u64) -> Mirror {
    let mut client = Json::connect(&relay).await;
    loop {
        let seen = client.history("c", json!("latest"), 0, 0).await;
        if seen["total"].as_u64() >= Some(join_at) {
            break;
        }
        tokio::task::yield_now().await;
    }
    let answer = client.ask(json!({"command": "subscribe", "channel": "c", "last": 5_000})).await;
    assert_eq!(answer["event"], "history");
    let mut mirror = Mirror { ids: Vec::new(), seqs: BTreeMap::new() };
    for message in answer["messages"].as_array().expect("messages") {
        mirror.ids.push(text(&message["id"]));
        mirror.note(message, text(&message["id"]));
    }
    let cut = answer["seq"].as_u64().expect("a seq");
    assert_eq!(mirror.seqs.len() as u64, cut, "history is everything up to the cut");
    let mut next = cut + 1;
    while (mirror.ids.len() as u64) < TOTAL {
        let event = client.expect("a message", |e| e["event"] == "message").await;
        assert_eq!(event["message"]["seq"].as_u64(), Some(next), "no gap, no repeat");
        next += 1;
        mirror.insert(&event);
    }
    mirror
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_sees_each_message_once_over_ws() {
    let relay = Arc::new(Relay::start());
    let mut senders = JoinSet::new();
    let mut subscribers = JoinSet::new();
    for i in 0..SUBSCRIBERS {
        let join_at = [0, 1, 97, 333, 701, 1_100][usize::try_from(i).expect("small")];
        subscribers.spawn(subscribe(relay.clone(), join_at));
    }
    for sender in 0..SENDERS {
        senders.spawn(send_all(relay.clone(), sender));
    }
    let mut acked = BTreeMap::new();
    while let Some(sent) = senders.join_next().await {
        for (id, seq) in sent.expect("the sender ends") {
            assert!(acked.insert(seq, id).is_none(), "seq {seq} was given twice");
        }
    }
    assert_eq!(acked.len() as u64, TOTAL);
    let mut client = Json::connect(&relay).await;
    let all = client.history("c", json!("oldest"), 0, 5_000).await;
    let ids: Vec<_> =
        all["messages"].as_array().expect("messages").iter().map(|m| text(&m["id"])).collect();
    assert!(ids.is_sorted(), "timestamp order");
    while let Some(mirror) = subscribers.join_next().await {
        let mirror = mirror.expect("the subscriber ends");
        assert_eq!(mirror.seqs, acked);
        assert_eq!(mirror.ids, ids, "each index put its message in its place");
    }
}

#[tokio::test]
async fn late_marks_follow_arrival_and_five_seconds() {
    let relay = Relay::start();
    let mut client = Json::connect(&relay).await;
    let base = 1_700_000_000_000_u64;
    for (offset, late) in [
        (0_i64, false),
        (10_000, false),
        (5_001, false),
        (4_999, true),
        (-90_000, true),
        (10_001, false),
    ] {
        let sent_at = base.saturating_add_signed(offset);
        let send = json!({"command": "send", "channel": "c", "text": offset.to_string(), "sent_at": sent_at});
        let ack = client.ask(send).await;
        let answer = client.history("c", json!({"id": ack["id"]}), 0, 1).await;
        assert_eq!(answer["messages"][0]["late"], late, "{offset}: {answer}");
    }
}
