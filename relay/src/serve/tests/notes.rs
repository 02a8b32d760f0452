//! Edits, deletions, reactions and marks of JSON clients.

use super::support::{Client, Relay};
use serde_json::{Value, json};

const NOBODY: &str = "018bcfe5-6800-7000-8000-00000000004d";

async fn said(client: &mut Client, text: &str) -> String {
    client.say("c", text).await["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_a_reaction_and_a_deletion_reach_who_subscribed() {
    let relay = Relay::start().await;
    let (mut reader, mut writer) = (relay.ws().await, relay.ws().await);
    reader.ask(&json!({"command": "subscribe", "channel": "c"})).await;
    let id = said(&mut writer, "one").await;
    reader.event_of("message").await;
    let edit = json!({"command": "edit", "channel": "c", "id": id, "text": "two", "ref": "e"});
    let ack = writer.ask(&edit).await;
    assert_eq!(ack, json!({"event": "ack", "id": id, "seq": 2, "duplicate": false, "ref": "e"}));
    let update = reader.event().await;
    assert_eq!((&update["event"], &update["index"]), (&json!("update"), &json!(0)));
    assert_eq!(update["message"]["text"], "two");
    assert!(update["message"]["edited_at"].as_u64() > Some(1_600_000_000_000));
    let again = writer.ask(&edit).await;
    assert_eq!((&again["seq"], &again["duplicate"]), (&json!(2), &json!(true)));
    let react = |on: bool| json!({"command": "react", "channel": "c", "id": id, "emoji": "+1", "on": on, "from": "bob"});
    assert_eq!(writer.ask(&react(true)).await["seq"], 3);
    assert_eq!(reader.event().await["message"]["reactions"], json!({"+1": ["bob"]}));
    assert_eq!(writer.ask(&react(false)).await["seq"], 4);
    assert_eq!(reader.event().await["message"]["reactions"], Value::Null);
    let delete = json!({"command": "delete", "channel": "c", "id": id});
    assert_eq!(writer.ask(&delete).await["seq"], 5);
    let update = reader.event().await;
    assert_eq!(
        (&update["message"]["deleted"], &update["message"]["text"]),
        (&json!(true), &json!(""))
    );
    assert_eq!(writer.ask(&delete).await["duplicate"], true);
    let history = reader.ask(&json!({"command": "history", "channel": "c"})).await;
    assert_eq!((&history["messages"][0]["deleted"], &history["total"]), (&json!(true), &json!(1)));
    assert_eq!(history["seq"], 5);
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_a_message_follows_it_though_it_is_not_stored_yet() {
    let relay = Relay::start().await;
    let mut client = relay.ws().await;
    for n in 0..50_u32 {
        let id = format!("018bcfe5-6800-7000-8000-{n:012x}");
        client.send(&json!({"command": "send", "channel": "c", "id": id, "text": "x"})).await;
        client.send(&json!({"command": "edit", "channel": "c", "id": id, "text": "y"})).await;
    }
    for _ in 0..100 {
        assert_eq!(client.event().await["event"], "ack");
    }
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_not_there_is_not_found() {
    let relay = Relay::start().await;
    let mut client = relay.ws().await;
    for channel in ["c", "empty"] {
        client.say("c", "x").await;
        for command in [
            json!({"command": "edit", "channel": channel, "id": NOBODY, "text": "x"}),
            json!({"command": "delete", "channel": channel, "id": NOBODY}),
            json!({"command": "react", "channel": channel, "id": NOBODY, "emoji": "x", "on": true}),
            json!({"command": "mark", "channel": channel, "read": NOBODY}),
        ] {
            assert_eq!(client.ask(&command).await["code"], "not_found", "{command}");
        }
    }
    assert_eq!(relay.get("/api/channels").await.json()["channels"].as_array().unwrap().len(), 1);
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_is_acknowledged_with_the_head_it_was_taken_at() {
    let relay = Relay::start().await;
    let mut client = relay.ws().await;
    let id = said(&mut client, "one").await;
    said(&mut client, "two").await;
    let mark = json!({"command": "mark", "channel": "c", "read": id, "from": "ada", "ref": "m"});
    let ack = client.ask(&mark).await;
    assert_eq!(ack, json!({"event": "ack", "id": id, "seq": 2, "duplicate": false, "ref": "m"}));
    relay.stop().await.unwrap();
}
