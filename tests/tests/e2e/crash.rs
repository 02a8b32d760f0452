//! kill -9 under load: every acknowledged message is there once, with the seq it was given.

use backscroll_tests::json::Json;
use backscroll_tests::relay::{self, Relay};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::task::JoinSet;

const SENDERS: u64 = 8;

/// What senders were told: id -> seq. What was sent but not acknowledged may be there or not.
#[derive(Default)]
struct Told {
    acked: HashMap<String, u64>,
    sent: HashMap<String, String>,
}

/// Sends, several at a time, until the relay is gone.
async fn send_until_killed(
    address: String,
    sender: u64,
    round: u64,
    told: Arc<Mutex<Told>>,
    count: Arc<AtomicU64>,
) {
    let Ok(mut client) = Json::try_connect_to(&address).await else { return };
    for i in 0_u64.. {
        let id = backscroll_core::message::MessageId::from_parts(
            1_700_000_000_000 + round * 1_000_000 + i * 10 + sender,
            u128::from(round << 32 | sender << 16 | i),
        )
        .to_string();
        let text = format!("{round}/{sender}/{i}");
        told.lock().expect("lock").sent.insert(id.clone(), text.clone());
        let send = json!({"command": "send", "channel": format!("c{}", i % 3), "from": format!("s{sender}"), "id": id, "text": text});
        if client.try_text(&send.to_string()).await.is_err() {
            return;
        }
        // Four in flight: an ack is awaited for the message four back.
        if i >= 4 {
            match client.event().await {
                Ok(event) if event["event"] == "ack" => {
                    let id = event["id"].as_str().expect("an id").to_owned();
                    let seq = event["seq"].as_u64().expect("a seq");
                    told.lock().expect("lock").acked.insert(id, seq);
                    count.fetch_add(1, Ordering::Relaxed);
                }
                Ok(other) => panic!("{other}"),
                Err(_) => return,
            }
        }
    }
}

async fn stored(relay: &Relay) -> HashMap<String, (u64, String)> {
    let mut client = Json::connect(relay).await;
    let mut stored = HashMap::new();
    for c in 0..3 {
        let channel = format!("c{c}");
        let mut seqs = BTreeMap::new();
        let mut start = 0;
        loop {
            let page = client.history(&channel, json!({"index": start}), 0, 5_000).await;
            let messages = page["messages"].as_array().expect("messages");
            for message in messages {
                let id = message["id"].as_str().expect("an id").to_owned();
                let seq = message["seq"].as_u64().expect("a seq");
                let text = message["text"].as_str().expect("a text").to_owned();
                assert!(seqs.insert(seq, id.clone()).is_none(), "seq {seq} twice in {channel}");
                assert!(stored.insert(id, (seq, text)).is_none(), "an id twice");
            }
            start += messages.len();
            if page["found_newest"] == true {
                break;
            }
        }
        let seqs: Vec<u64> = seqs.into_keys().collect();
        assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "seqs without a gap");
    }
    stored
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_messages_survive_kill_9_ten_times() {
    let mut relay = Relay::start();
    let told = Arc::new(Mutex::new(Told::default()));
    for round in 0..10 {
        let count = Arc::new(AtomicU64::new(0));
        let mut senders = JoinSet::new();
        for sender in 0..SENDERS {
            senders.spawn(send_until_killed(
                relay.address.clone(),
                sender,
                round,
                told.clone(),
                count.clone(),
            ));
        }
        let enough = 200 + round * 37;
        backscroll_tests::within("acks", async {
            while count.load(Ordering::Relaxed) < enough {
                tokio::task::yield_now().await;
            }
        })
        .await;
        relay.kill();
        while let Some(sender) = senders.join_next().await {
            sender.expect("the sender ends");
        }
        let checked = relay::run(&["check", "--data", relay.data().to_str().expect("UTF-8")], b"");
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
        relay.restart();
        let stored = stored(&relay).await;
        let told = told.lock().expect("lock");
        for (id, seq) in &told.acked {
            assert_eq!(stored.get(id).map(|(seq, _)| seq), Some(seq), "acknowledged {id}");
        }
        for (id, (_, text)) in &stored {
            assert_eq!(told.sent.get(id), Some(text), "a message that nobody sent");
        }
    }
    let told = told.lock().expect("lock");
    assert!(told.acked.len() >= 2_000);
    println!(
        "kill -9 ten times: {} acknowledged, {} sent, none lost",
        told.acked.len(),
        told.sent.len()
    );
}

#[tokio::test]
async fn a_retry_after_a_crash_gets_the_first_seq() {
    let mut relay = Relay::start();
    let id = backscroll_core::message::MessageId::from_parts(1_700_000_000_000, 9).to_string();
    let send = json!({"command": "send", "channel": "c", "from": "a", "id": id, "text": "once"});
    let first = Json::connect(&relay).await.ask(send.clone()).await;
    relay.kill();
    relay.restart();
    let again = Json::connect(&relay).await.ask(send).await;
    assert_eq!((&again["seq"], &again["duplicate"]), (&first["seq"], &json!(true)));
}
