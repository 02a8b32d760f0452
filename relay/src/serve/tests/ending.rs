//! How sockets and the relay end: slow readers, drains, limits.

use super::support::{Client, Relay, request, soon};
use crate::serve::{ServeError, Server};
use crate::store::StoreError;
use crate::store::kv::{Batch, Durability, Kv, Snapshot};
use crate::store::memory::MemoryKv;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stops_reading_is_closed_with_4001_while_others_go_on() {
    let relay = Relay::start().await;
    let mut stuck = Client::connect_with_small_buffer(relay.address, &[]).await;
    let mut reader = relay.ws().await;
    let mut sender = relay.ws().await;
    for client in [&mut stuck, &mut reader] {
        client.ask(&json!({"command": "subscribe", "channel": "c"})).await;
    }
    // More than the socket buffers of both sides and the queue hold together.
    let text = "x".repeat(60_000);
    for n in 0..120 {
        sender.say("c", &text).await;
        let event = reader.event().await;
        assert_eq!(event["message"]["seq"], n + 1, "the others get everything");
    }
    assert_eq!(stuck.close_code().await, 4001);
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_and_does_not_read_is_not_read_either() {
    let relay = Relay::start().await;
    let (mut greedy, mut other) = (relay.ws().await, relay.ws().await);
    let text = "x".repeat(60_000);
    for _ in 0..20 {
        other.say("c", &text).await;
    }
    for n in 0..100 {
        let ask = json!({"command": "history", "channel": "c", "before": 20, "ref": n.to_string()});
        greedy.send(&ask).await;
    }
    other.say("c", "the others are served").await;
    for n in 0..100 {
        assert_eq!(greedy.event().await["ref"], n.to_string());
    }
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_relay_answers_what_it_took_and_closes_with_4000() {
    let relay = Relay::start().await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = relay.ws().await;
        client.ask(&json!({"command": "subscribe", "channel": "c"})).await;
        clients.push(client);
    }
    let mut sync = Client::connect(relay.address, "/sync").await;
    let address = relay.address;
    clients[0].say("c", "stored").await;
    relay.stop().await.unwrap();
    for client in &mut clients {
        assert_eq!(client.close_code().await, 4000);
    }
    assert_eq!(sync.close_code().await, 4000);
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nothing listens any more");
}

/// A store in memory whose disk fails when it is told to.
#[derive(Debug, Default)]
struct Failing {
    kv: MemoryKv,
    fails: AtomicBool,
}

impl Kv for Failing {
    fn write(&self, batch: Batch, durability: Durability) -> Result<(), StoreError> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(StoreError::NoFamily("any"));
        }
        self.kv.write(batch, durability)
    }

    fn snapshot(&self) -> Box<dyn Snapshot + '_> {
        self.kv.snapshot()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_whose_store_fails_acknowledges_nothing_more_and_closes_with_4002() {
    let kv = Arc::new(Failing::default());
    let relay = Relay::start_over(kv.clone()).await;
    let (mut sender, mut reader) = (relay.ws().await, relay.ws().await);
    let mut sync = Client::connect(relay.address, "/sync").await;
    reader.ask(&json!({"command": "subscribe", "channel": "c"})).await;
    sender.say("c", "stored").await;
    assert_eq!(reader.event().await["message"]["text"], "stored");
    kv.fails.store(true, Ordering::SeqCst);
    sender.send(&json!({"command": "send", "channel": "c", "text": "lost"})).await;
    match sender.frame().await {
        Ok(frame) => assert!(frame.to_text().unwrap().contains(r#""code":"retry""#), "{frame}"),
        Err(close) => assert_eq!(u16::from(close.unwrap().code), 4002),
    }
    assert_eq!(reader.frame().await.unwrap_err().map(|close| close.code.into()), Some(4002_u16));
    assert_eq!(sync.close_code().await, 4002);
    assert!(matches!(relay.end().await, Err(ServeError::StoreFailed)));
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_connections_are_turned_away_until_one_ends() {
    let relay = Relay::start_with(|config| config.server.connections_max = 2).await;
    let (first, _second) = (relay.ws().await, relay.ws().await);
    let response = relay.get("/livez").await;
    assert_eq!((response.status, response.header("retry-after")), (503, Some("1")));
    drop(first);
    let back = async {
        while relay.get("/livez").await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    soon("a free place", back).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_mode_is_refused_where_others_can_reach_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = crate::config::Config::default();
    config.server.listen = "0.0.0.0:0".to_owned();
    config.store.data = folder.path().join("data");
    let refused = Server::start(config.clone()).await;
    assert!(matches!(refused, Err(ServeError::OpenToOthers(_))));
    assert!(!config.store.data.exists(), "refused before anything is made");
    config.access.open_to_anyone = true;
    assert!(Server::start(config).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_on_the_admin_address_only_when_there_is_one() {
    let relay = Relay::start().await;
    let metrics = relay.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    let text = String::from_utf8(metrics.body).unwrap();
    assert!(text.contains("backscroll_build_info{version="), "{text}");
    relay.stop().await.unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let relay =
        Relay::start_with(|config| config.server.admin_listen = Some(free.to_string())).await;
    assert_eq!(relay.get("/metrics").await.problem().0, 404);
    assert_eq!(request(free, "GET", "/metrics", &[], b"").await.status, 200);
    assert_eq!(request(free, "GET", "/api/channels", &[], b"").await.status, 404);
    relay.stop().await.unwrap();
}
