//! The admin page and its figures.

use super::support::{Client, Relay, request, soon};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn status(admin: SocketAddr) -> Value {
    let response = request(admin, "GET", "/admin/status", &[], b"").await;
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

/// What the page answers who calls it by this name.
async fn relay_as(host: &str, admin: SocketAddr) -> String {
    let mut stream = TcpStream::connect(admin).await.unwrap();
    let ask = format!("GET /admin/status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon("an answer", stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_and_its_figures_are_on_the_admin_address_only() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin = free.local_addr().unwrap();
    drop(free);
    let relay =
        Relay::start_with(|config| config.server.admin_listen = Some(admin.to_string())).await;
    for path in ["/", "/admin", "/admin/status"] {
        assert_eq!(relay.get(path).await.status, 404, "{path}");
        assert_eq!(request(admin, "GET", path, &[], b"").await.status, 200, "{path}");
    }
    let strange = relay_as("evil.example", admin).await;
    assert!(strange.starts_with("HTTP/1.1 403"), "{strange}");
    let page = request(admin, "GET", "/", &[], b"").await;
    assert!(page.head.to_lowercase().contains("content-security-policy: default-src 'none'"));

    let mut client: Client = relay.ws().await;
    client.send(&json!({"command": "subscribe", "channel": "busy"})).await;
    client.event_of("history").await;
    for channel in ["busy", "busy", "quiet"] {
        let body = json!({"from": "ada", "text": "x"});
        let path = format!("/api/channels/{channel}/messages");
        assert_eq!(relay.post(&path, &body).await.status, 201);
    }
    // Answers are a moment old at most.
    let whole = async {
        loop {
            let status = status(admin).await;
            if status["channels"]["count"] == 2 && status["channels"]["listed"][0]["total"] == 2 {
                return status;
            }
            tokio::task::yield_now().await;
        }
    };
    let status = soon("both channels", whole).await;
    assert_eq!(status["phase"], "running");
    let busy = &status["channels"]["listed"][0];
    assert_eq!((&busy["channel"], &busy["subscribers"]), (&json!("busy"), &json!(1)));
    assert_eq!((&busy["segments"], &busy["seq"]), (&json!(1), &json!(2)));
    assert!(status["commits"]["commits"].as_u64() >= Some(1), "{status}");
    let store = &status["store"];
    for figure in ["files_bytes", "free_bytes", "memtable_bytes", "wal_bytes"] {
        assert!(store[figure].as_u64() > Some(0), "{figure}: {store}");
    }
    let metrics = request(admin, "GET", "/metrics", &[], b"").await;
    let metrics = String::from_utf8(metrics.body).unwrap();
    for name in [
        "backscroll_build_info{",
        "backscroll_commit_duration_seconds_bucket{",
        "backscroll_commit_batch_messages_bucket{",
        "backscroll_commit_batch_bytes_bucket{",
        "backscroll_commit_queue_depth ",
        "backscroll_rocksdb_memtable_bytes ",
        "backscroll_rocksdb_pending_compaction_bytes ",
        "backscroll_rocksdb_wal_bytes ",
        "backscroll_rocksdb_stall_seconds_total ",
    ] {
        assert!(metrics.contains(name), "{name}");
    }
    relay.stop().await.unwrap();
}
