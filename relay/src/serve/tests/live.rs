//! History and live delivery as one stream, and what goes with it.

use super::support::{Client, Relay};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn seqs(history: &Value) -> Vec<u64> {
    let messages = history["messages"].as_array().unwrap();
    messages.iter().map(|message| message["seq"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_reaches_who_subscribed_and_its_sender_gets_an_ack() {
    let relay = Relay::start().await;
    let (mut reader, mut sender) = (relay.ws().await, relay.ws().await);
    let history = reader.ask(&json!({"command": "subscribe", "channel": "c", "ref": "s"})).await;
    assert_eq!(history["event"], "history");
    assert_eq!(
        (&history["total"], &history["seq"], &history["ref"]),
        (&0.into(), &0.into(), &"s".into())
    );
    assert_eq!((&history["found_oldest"], &history["found_newest"]), (&true.into(), &true.into()));
    let command = json!({"command": "send", "channel": "c", "text": "hi", "from": "ada",
        "data": {"n": 1}, "ref": "r"});
    let ack = sender.ask(&command).await;
    assert_eq!((&ack["event"], &ack["ref"], &ack["seq"]), (&"ack".into(), &"r".into(), &1.into()));
    assert_eq!(ack["duplicate"], false);
    let event = reader.event().await;
    assert_eq!((&event["event"], &event["channel"]), (&"message".into(), &"c".into()));
    assert_eq!((&event["index"], &event["total"]), (&0.into(), &1.into()));
    let message = &event["message"];
    assert_eq!(message["id"], ack["id"]);
    assert_eq!((&message["from"], &message["text"]), (&"ada".into(), &"hi".into()));
    assert_eq!((&message["seq"], &message["late"]), (&1.into(), &false.into()));
    assert_eq!(message["data"], json!({"n": 1}));
    assert!(message["sent_at"].as_u64().unwrap() > 1_600_000_000_000);
    let history = reader
        .ask(&json!({"command": "history", "channel": "c", "at": "oldest",
        "before": 0, "after": 5}))
        .await;
    assert_eq!(history["messages"], json!([message]));
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_are_pipelined_and_acks_come_in_their_order() {
    let relay = Relay::start().await;
    let mut client = relay.ws().await;
    for n in 0..500 {
        let text = if n % 50 == 7 { Value::from(n) } else { Value::from(n.to_string()) };
        let command =
            json!({"command": "send", "channel": "c", "text": text, "ref": n.to_string()});
        client.send(&command).await;
    }
    for n in 0..500 {
        let answer = client.event().await;
        assert_eq!(answer["ref"], n.to_string());
        assert_eq!(answer["event"], if n % 50 == 7 { "error" } else { "ack" });
    }
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn history_and_live_have_no_gap_and_no_repeat_while_eight_send() {
    const SENDERS: u64 = 8;
    const EACH: u64 = 200;
    let relay = Relay::start().await;
    let address = relay.address;
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            tokio::spawn(async move {
                let mut client = Client::connect(address, "/ws").await;
                let mut acked = BTreeSet::new();
                for n in 0..EACH {
                    acked.insert(client.say("c", &format!("{sender}/{n}")).await["seq"].as_u64());
                }
                acked
            })
        })
        .collect();
    let readers: Vec<_> = (0..6)
        .map(|reader| {
            tokio::spawn(async move {
                let mut client = Client::connect(address, "/ws").await;
                let mut seen = Vec::new();
                // Each joins at another moment: when so many have been stored.
                let join = reader * SENDERS * EACH / 8;
                loop {
                    let history = json!({"command": "history", "channel": "c", "before": 0});
                    if client.ask(&history).await["total"].as_u64().unwrap() >= join {
                        break;
                    }
                }
                client.send(&json!({"command": "subscribe", "channel": "c", "last": 5000})).await;
                let mut last = 0;
                while last < SENDERS * EACH {
                    let event = client.event().await;
                    if event["event"] == "history" {
                        assert!(seen.is_empty());
                        seen = seqs(&event);
                        last = event["seq"].as_u64().unwrap();
                        assert_eq!(seen.len() as u64, last);
                    } else {
                        let seq = event["message"]["seq"].as_u64().unwrap();
                        assert_eq!(seq, last + 1, "after the history in order, without a gap");
                        seen.push(seq);
                        last = seq;
                    }
                }
                seen
            })
        })
        .collect();
    let mut acked = BTreeSet::new();
    for sender in senders {
        acked.append(&mut sender.await.unwrap());
    }
    assert_eq!(acked.len() as u64, SENDERS * EACH);
    for reader in readers {
        let mut seen = reader.await.unwrap();
        seen.sort_unstable();
        assert_eq!(seen, (1..=SENDERS * EACH).collect::<Vec<_>>());
    }
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribing_again_gives_a_new_history_and_repeats_nothing() {
    let relay = Relay::start().await;
    let address = relay.address;
    let mut client = relay.ws().await;
    client.ask(&json!({"command": "subscribe", "channel": "c", "last": 0})).await;
    let sender = tokio::spawn(async move {
        let mut sender = Client::connect(address, "/ws").await;
        for n in 0..300 {
            sender.say("c", &n.to_string()).await;
        }
    });
    let mut live = Vec::new();
    let mut histories = 0;
    while live.len() < 300 {
        let event = client.event().await;
        if event["event"] == "history" {
            histories += 1;
            let head = event["seq"].as_u64().unwrap();
            assert!(live.iter().all(|seq| *seq <= head), "nothing above the cut before it");
            continue;
        }
        live.push(event["message"]["seq"].as_u64().unwrap());
        if live.len() % 30 == 0 {
            client.send(&json!({"command": "subscribe", "channel": "c", "last": 0})).await;
        }
    }
    assert!(histories >= 8);
    assert_eq!(live, (1..=300).collect::<Vec<_>>());
    sender.await.unwrap();
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn unsubscribing_ends_delivery_and_other_channels_stay_apart() {
    let relay = Relay::start().await;
    let (mut reader, mut sender) = (relay.ws().await, relay.ws().await);
    for channel in ["a", "b"] {
        reader.ask(&json!({"command": "subscribe", "channel": channel})).await;
    }
    sender.say("elsewhere", "0").await;
    sender.say("a", "1").await;
    assert_eq!(reader.event().await["message"]["text"], "1");
    reader.send(&json!({"command": "unsubscribe", "channel": "a"})).await;
    // The answer to a later command shows that the one before was handled.
    reader.ask(&json!({"command": "history", "channel": "a"})).await;
    sender.say("a", "2").await;
    sender.say("b", "3").await;
    assert_eq!(reader.event().await["message"]["text"], "3");
    relay.stop().await.unwrap();
}
