//! Answers that clients ask for and do not take: bounded over all, and given up with their clients.

use super::support::{Client, Relay, request, soon};
use super::sync::Sync;
use backscroll_core::wire::{ClientFrame, Code, RelayFrame};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::net::SocketAddr;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::MaybeTlsStream;

/// A relay with a channel `c`, whose history is beyond what the system takes of a socket that is not
/// read, and a channel `small`.
async fn relay_with(answers_mib: u32) -> Relay {
    let relay = Relay::start_with(|config| config.limits.answers_mib = answers_mib).await;
    let mut writer = relay.ws().await;
    fill(&mut writer, "c", 135).await;
    writer.say("small", "x").await;
    relay
}

/// Says so many large messages.
pub(super) async fn fill(writer: &mut Client, channel: &str, count: usize) {
    let text = "x".repeat(60_000);
    for _ in 0..count {
        writer.send(&json!({"command": "send", "channel": channel, "text": text})).await;
    }
    for _ in 0..count {
        assert_eq!(writer.event_of("ack").await["event"], "ack");
    }
}

fn history(channel: &str) -> Value {
    json!({"command": "history", "channel": channel, "before": 200})
}

/// A client that asked for all of `c` and reads nothing of the answer that comes.
async fn stuck(relay: &Relay) -> Client {
    let mut client = Client::connect_with_small_buffer(relay.address, &[]).await;
    stick(&mut client).await;
    client
}

/// Asks for all of `c` and waits until the answer comes, without reading it.
pub(super) async fn stick(client: &mut Client) {
    client.send(&history("c")).await;
    let MaybeTlsStream::Plain(stream) = client.0.get_ref() else { panic!("plain") };
    soon("an answer", stream.peek(&mut [0])).await.unwrap();
}

/// The same over HTTP.
async fn stuck_over_http(address: SocketAddr, path: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    soon("a response", stream.peek(&mut [0])).await.unwrap();
    stream
}

/// Asks until there is room for the answer.
async fn answered(client: &mut Client, command: &Value) {
    let answered = async { while client.ask(command).await["event"] == "error" {} };
    soon("room for an answer", answered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_does_not_take_others_must_wait_for_but_not_for_small_answers() {
    let relay = relay_with(9).await;
    let mut other = relay.ws().await;
    let stuck = stuck(&relay).await;
    let refused = other.ask(&history("c")).await;
    assert_eq!((&refused["event"], &refused["code"]), (&json!("error"), &json!("retry")));
    let path = "/api/channels/c/messages?before=200";
    let over_http = relay.get(path).await;
    assert_eq!(over_http.problem(), (503, "retry".to_owned()));
    assert_eq!(over_http.header("retry-after"), Some("1"));
    assert_eq!(other.ask(&history("small")).await["total"], 1);
    assert_eq!(relay.get("/api/channels/small/messages").await.json()["total"], 1);
    drop(stuck);
    answered(&mut other, &history("c")).await;
    let served = async { while relay.get(path).await.status != 200 {} };
    soon("room for an answer", served).await;
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_no_room_left_every_read_is_refused_and_every_write_acknowledged() {
    let relay = relay_with(1).await;
    let (mut other, stuck) = (relay.ws().await, stuck(&relay).await);
    let client = Client::connect(relay.address, "/sync").await;
    let mut sync = Sync::hello(client, "ada", None).await;
    for (command, channel) in [("history", "small"), ("subscribe", "small"), ("view", "small")] {
        let refused = other.ask(&json!({"command": command, "channel": channel})).await;
        assert_eq!(refused["code"], "retry", "{command}");
    }
    let channel = || "small".to_owned();
    sync.send(&ClientFrame::Open { channel: channel(), cursor: None, newest: 50 }).await;
    assert_eq!(sync.error().await, Code::Retry);
    sync.send(&ClientFrame::Channels { after: None }).await;
    assert_eq!(sync.error().await, Code::Retry);
    assert_eq!(relay.get("/api/channels").await.problem(), (503, "retry".to_owned()));
    for n in 0..100 {
        other.say("small", &n.to_string()).await;
    }
    drop(stuck);
    answered(&mut other, &json!({"command": "view", "channel": "small"})).await;
    sync.send(&ClientFrame::Open { channel: channel(), cursor: None, newest: 50 }).await;
    assert!(matches!(sync.frame().await, RelayFrame::Opened { .. }));
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_nobody_takes_is_given_up() {
    let relay = relay_with(9).await;
    let mut other = relay.ws().await;
    // It stays connected to the end.
    let _stuck = stuck_over_http(relay.address, "/api/channels/c/messages?before=200").await;
    assert_eq!(other.ask(&history("c")).await["code"], "retry");
    answered(&mut other, &history("c")).await;
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn downloads_hold_the_part_that_they_have_in_memory() {
    let relay = Relay::start_with(|config| config.limits.answers_mib = 1).await;
    let bytes = vec![7; 8 << 20];
    let hash: [u8; 32] = Sha256::digest(&bytes).into();
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let path = format!("/api/blobs/{hex}");
    assert_eq!(request(relay.address, "PUT", &path, &[], &bytes).await.status, 201);
    let mut stuck = Vec::new();
    for _ in 0..3 {
        stuck.push(stuck_over_http(relay.address, &path).await);
    }
    assert_eq!(relay.get(&path).await.problem(), (503, "retry".to_owned()));
    drop(stuck);
    let whole = async {
        loop {
            let served = relay.get(&path).await;
            if served.status == 200 {
                return served.body;
            }
        }
    };
    assert!(soon("room for a download", whole).await == bytes);
    relay.stop().await.unwrap();
}
