//! What survives a restart, and what a relay says of itself.

use backscroll_tests::http;
use backscroll_tests::json::Json;
use backscroll_tests::relay::{self, Relay};
use serde_json::json;

#[tokio::test]
async fn messages_and_seqs_are_the_same_after_sigterm_and_restart() {
    let mut relay = Relay::start();
    let mut client = Json::connect(&relay).await;
    let mut acks = Vec::new();
    for i in 0..20 {
        let send = json!({"command": "send", "channel": "c", "text": format!("m{i}"), "from": "a"});
        acks.push(client.ask(send).await);
    }
    let before = client.history("c", json!("oldest"), 0, 100).await;
    assert_eq!(relay.terminate(), Some(0));
    relay.restart();
    let mut client = Json::connect(&relay).await;
    let after = client.history("c", json!("oldest"), 0, 100).await;
    assert_eq!(before["messages"], after["messages"]);
    for (ack, message) in acks.iter().zip(after["messages"].as_array().expect("messages")) {
        assert_eq!((&ack["id"], &ack["seq"]), (&message["id"], &message["seq"]));
    }
    let next = client.ask(json!({"command": "send", "channel": "c", "text": "next"})).await;
    assert_eq!(next["seq"], 21);
}

#[tokio::test]
async fn health_and_metrics_are_served() {
    let relay = Relay::start();
    assert_eq!(http::get(&relay, "/livez").status, 200);
    assert_eq!(http::get(&relay, "/readyz").status, 200);
    let metrics = http::get(&relay, "/metrics");
    assert_eq!(metrics.status, 200);
    assert!(metrics.text.contains("backscroll_"), "{}", metrics.text);
}

#[test]
fn a_folder_in_use_is_a_clear_error() {
    let relay = Relay::start();
    let data = relay.data().to_str().expect("UTF-8");
    let line = br#"{"channel":"c","from":"a","text":"x","sent_at":1000}"#;
    let output = relay::run(&["import", "--data", data, "-"], line);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(stderr.contains("in use"), "{stderr}");
}
