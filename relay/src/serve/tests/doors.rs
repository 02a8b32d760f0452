//! What is refused before it costs anything: strangers' names, bodies of who may not send, frames of
//! who did not say hello.

use super::access::{bearer, token, with_tokens};
use super::support::{Client, Relay, soon};
use super::sync::Sync;
use crate::config::Config;
use crate::serve::{ServeError, Server};
use backscroll_core::wire::{ClientFrame, Code, RelayFrame};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::MaybeTlsStream;
use tokio_tungstenite::tungstenite::Message;

/// The status that this head is answered with, whatever of the body is missing.
async fn status_of(address: SocketAddr, head: &str) -> u16 {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{head}\r\n\r\n").as_bytes()).await.unwrap();
    let mut start = [0; 12];
    soon("an answer", stream.read_exact(&mut start)).await.unwrap();
    std::str::from_utf8(&start[9..]).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_body_of_who_may_not_send_is_not_waited_for() {
    let relay = Relay::start_with(with_tokens).await;
    let reader = bearer(&token("ada", &[("c", "read")], &[]));
    let nobody = bearer(&token("eve", &[], &[]));
    let head = |method: &str, path: &str, credential: &str| {
        format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {credential}\r\nContent-Length: 1000"
        )
    };
    let post = head("POST", "/api/channels/c/messages", &reader);
    assert_eq!(status_of(relay.address, &post).await, 403);
    let blob = format!("/api/blobs/{}", "0".repeat(64));
    assert_eq!(status_of(relay.address, &head("PUT", &blob, &reader)).await, 403);
    for (credential, status) in [(nobody, 403), (reader, 404)] {
        let headers = [("authorization", &*credential)];
        assert_eq!(relay.request("GET", &blob, &headers, "").await.status, status);
    }
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_beyond_the_quota_is_refused_before_its_body() {
    let relay = Relay::start_with(|config| config.blobs.user_quota_bytes = 999).await;
    let blob = "0".repeat(64);
    let head = format!("PUT /api/blobs/{blob} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000");
    assert_eq!(status_of(relay.address, &head).await, 413);
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_client_says_hello_before_it_says_much() {
    let relay = Relay::start().await;
    let mut client = Client::connect(relay.address, "/sync").await;
    client.send_raw(Message::binary(vec![0; (16 << 10) + 1])).await;
    assert_eq!(client.close_code().await, 4500);
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_before_hello_is_not_waited_for_to_its_end() {
    let relay = Relay::start().await;
    let mut client = Client::connect(relay.address, "/sync").await;
    let MaybeTlsStream::Plain(stream) = client.0.get_mut() else { panic!("plain") };
    // The head of a frame of half a megabyte under a mask of zeroes, and a part of it.
    let mut part = vec![0x82, 0xff, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0];
    part.resize(24 << 10, 0);
    stream.write_all(&part).await.unwrap();
    assert_eq!(client.close_code().await, 4500);
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_hello_in_one_go_is_read() {
    let relay = Relay::start().await;
    let client = Client::connect(relay.address, "/sync").await;
    let mut sync = Sync::greet(client, "ada", None).await;
    sync.client.send_raw(Message::binary(vec![0xff; 600 << 10])).await;
    assert!(matches!(sync.frame().await, RelayFrame::Welcome { .. }));
    assert_eq!(sync.error().await, Code::BadRequest);
    sync.send(&ClientFrame::Channels { after: None }).await;
    assert!(matches!(sync.frame().await, RelayFrame::Channels { .. }));
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_address_and_the_data_are_not_for_others() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.server.listen = "127.0.0.1:0".to_owned();
    config.server.admin_listen = Some("0.0.0.0:0".to_owned());
    config.store.data = folder.path().join("data");
    let refused = Server::start(config.clone()).await;
    assert!(matches!(refused, Err(ServeError::AdminOpenToOthers(_))), "{refused:?}");
    config.server.admin_open_to_anyone = true;
    assert!(Server::start(config.clone()).await.is_ok());
    let mode = std::fs::metadata(&config.store.data).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}
