//! What the relay logs, at its most talkative: nothing that only some may know (test S9).

use crate::bench::Bench;
use crate::relay::Relay;
use crate::tokens::{SECRET, configure};
use backscroll_core::wire::{ClientFrame, PROTOCOL_VERSION, Token, encode_client};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use std::fs::File;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const PAYLOAD: &str = "payload-that-nobody-logs";
const PASSWORD: &str = "password-that-nobody-logs";
const FIELD: &str = "query-that-nobody-logs";

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("in time")
}

/// Says something on a socket and hears something back, if it is let in.
async fn talk(url: &str, header: Option<(&'static str, String)>, frames: Vec<Message>) -> bool {
    let mut request = url.into_client_request().unwrap();
    if let Some((name, value)) = header {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let Ok((mut socket, _)) = soon(connect_async(request)).await else { return false };
    for frame in frames {
        if socket.send(frame).await.is_err() {
            break;
        }
        let _ = soon(socket.next()).await;
    }
    let _ = socket.close(None).await;
    true
}

async fn http(address: &str, head: &str, body: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request = format!(
        "{head}\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

/// Everything that carries a secret, by every way there is.
async fn say_everything(address: &str, good: &str, bad: &str) {
    let send = json!({"command": "send", "channel": "c", "text": PAYLOAD, "data": {"x": PAYLOAD}});
    let text = |value: serde_json::Value| Message::text(value.to_string());
    let frames = || {
        let history = json!({"command": "history", "channel": "c", "at": {"id": FIELD}});
        vec![
            text(send.clone()),
            text(history),
            Message::text(format!("{{{PAYLOAD}")),
            Message::binary(PAYLOAD.as_bytes().to_vec()),
        ]
    };
    let ws = format!("ws://{address}/ws");
    let bearer = |token: &str| Some(("authorization", format!("Bearer {token}")));
    let protocol =
        |token: &str| Some(("sec-websocket-protocol", format!("backscroll, bearer.{token}")));
    assert!(talk(&ws, bearer(good), frames()).await);
    assert!(talk(&ws, protocol(good), frames()).await);
    assert!(talk(&format!("{ws}?token={good}&x={FIELD}"), None, frames()).await);
    assert!(!talk(&ws, bearer(bad), frames()).await);
    assert!(!talk(&ws, protocol(bad), frames()).await);
    assert!(!talk(&format!("{ws}?token={bad}"), None, frames()).await);
    let basic = format!("Basic {}", STANDARD.encode(format!("ada:{PASSWORD}")));
    assert!(!talk(&ws, Some(("authorization", basic)), frames()).await);
    for token in [good, bad, PASSWORD] {
        let token = Some(Token(token.to_owned()));
        let hello = ClientFrame::Hello { version: PROTOCOL_VERSION, user: "ada".to_owned(), token };
        let payload = PAYLOAD.as_bytes().to_vec();
        let presence = ClientFrame::Ephemeral { channel: "c".to_owned(), payload };
        let open = ClientFrame::Open { channel: "c".to_owned(), cursor: None, newest: 5 };
        let said = [hello, open, presence];
        let frames = said.iter().map(encode_client).map(Message::binary);
        assert!(talk(&format!("ws://{address}/sync"), None, frames.collect()).await);
    }
    let path = format!("/api/channels/c/messages?at=id:{FIELD}");
    let body = json!({"text": PAYLOAD}).to_string();
    for token in [good, bad] {
        http(address, &format!("GET {path} HTTP/1.1\r\nAuthorization: Bearer {token}"), "").await;
        let post = format!(
            "POST {path} HTTP/1.1\r\nAuthorization: Bearer {token}\r\nIdempotency-Key: {FIELD}"
        );
        http(address, &post, &body).await;
        http(address, &post, &format!("{{{PAYLOAD}")).await;
    }
}

#[test]
fn no_log_has_tokens_passwords_payloads_or_queries() {
    for (filter, format) in [("backscroll_relay=trace,info", "text"), ("trace", "json")] {
        let bench = Bench::new();
        configure(&bench);
        let mint = |user: &str| {
            let run = bench.run(&format!("token --config relay.toml --user {user}")).ended(0);
            run.out.trim_end().to_owned()
        };
        let (good, other) = (mint("ada"), mint("bob"));
        // Another's claims under ada's signature.
        let body = other.split('.').nth(1).unwrap();
        let parts: Vec<_> = good.split('.').collect();
        let bad = format!("{}.{body}.{}", parts[0], parts[2]);
        let mut command =
            bench.command("serve --listen 127.0.0.1:0 --data d --config relay.toml --log");
        command.arg(filter).env("BACKSCROLL_LOG__FORMAT", format);
        let log = File::create(bench.path("log")).unwrap();
        let relay = Relay::run(command, Stdio::from(log));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(say_everything(relay.address(), &good, &bad));
        assert_eq!(relay.stop().0, Some(0));
        let log = bench.read("log");
        assert!(log.contains("not let in") && log.contains("signature"), "it says what it should");
        for token in [&good, &bad] {
            for part in token.split('.').skip(1) {
                assert!(!log.contains(part), "a part of a token is in the log ({filter})");
            }
        }
        let encoded = STANDARD.encode(format!("ada:{PASSWORD}"));
        for secret in [SECRET, PAYLOAD, PASSWORD, FIELD, encoded.as_str()] {
            assert!(!log.contains(secret), "{secret} is in the log ({filter})");
            // Libraries print frames as hexadecimal digits.
            let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
            assert!(!log.contains(&hex), "{secret} is in the log as digits ({filter})");
        }
    }
}
