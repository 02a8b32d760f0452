//! Bad frames: what is answered with an error, and what closes the socket with which code.

use super::support::{Client, Relay};
use super::sync::Sync;
use backscroll_core::limits::FRAME_BYTES_MAX;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::MaybeTlsStream;
use tokio_tungstenite::tungstenite::Message;

async fn code_of(client: &mut Client, command: &Value) -> Value {
    let event = client.ask(command).await;
    assert_eq!(event["event"], "error", "{event}");
    assert!(event["message"].is_string());
    event["code"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_answered_with_its_code_and_the_socket_stays_open() {
    let relay = Relay::start().await;
    let mut client = relay.ws().await;
    let (id, far) = (ID, "ffffffff-ffff-7fff-bfff-ffffffffffff");
    let send = |fields: Value| {
        let mut command = json!({"command": "send", "channel": "c", "text": "x"});
        command.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        command
    };
    let cases = [
        (send(json!({"channel": ""})), "bad_channel"),
        (send(json!({"channel": "x".repeat(300)})), "bad_channel"),
        (send(json!({"text": "x".repeat(200_000)})), "too_large"),
        (send(json!({"id": far})), "future_id"),
        (send(json!({"id": "9b2c1a52-3a44-4f6e-8a55-0d3c6f7a1b2c"})), "bad_id"),
        (send(json!({"id": id, "sent_at": 5})), "bad_request"),
        (json!({"command": "history", "channel": "c", "at": {"index": -1}}), "bad_request"),
        (json!({"command": "sing"}), "unknown_command"),
        (json!({"command": "fly", "channel": "c", "at": "latest"}), "unknown_command"),
        (json!({"command": "edit", "channel": "c", "id": id, "text": ""}), "not_found"),
        (json!({"command": "delete", "channel": "c", "id": id}), "not_found"),
        (json!({"command": "react", "channel": "c", "id": id}), "bad_request"),
        (json!({"command": "mark", "channel": "c", "read": id}), "not_found"),
        (json!({"command": "unview", "channel": ""}), "bad_channel"),
        (json!([1]), "bad_json"),
    ];
    for (command, code) in cases {
        assert_eq!(code_of(&mut client, &command).await, code, "{command:.100}");
    }
    for frame in [Message::text("{"), Message::text(""), Message::binary(vec![0xff, 0x00])] {
        client.send_raw(frame).await;
        assert_eq!(client.event().await["code"], "bad_json");
    }
    let channels = relay.get("/api/channels").await.json();
    assert_eq!(channels, json!({"channels": []}), "nothing was stored");
    client.say("c", "still here").await;
    relay.stop().await.unwrap();
}

const ID: &str = "018bcfe5-6800-7000-8000-00000000004d";

#[tokio::test(flavor = "multi_thread")]
async fn the_same_id_is_the_same_message_or_taken() {
    let relay = Relay::start().await;
    let mut client = relay.ws().await;
    client.ask(&json!({"command": "subscribe", "channel": "c"})).await;
    let send = json!({"command": "send", "channel": "c", "text": "x", "from": "ada", "id": ID});
    client.send(&send).await;
    let (one, two) = (client.event().await, client.event().await);
    let (ack, message) = if one["event"] == "ack" { (one, two) } else { (two, one) };
    assert_eq!((&ack["duplicate"], &ack["id"]), (&false.into(), &ID.into()));
    assert_eq!(message["message"]["sent_at"], 1_700_000_000_000_u64);
    let mut again = send.clone();
    again["id"] = ID.replace('-', "").to_uppercase().into();
    let duplicate = client.ask(&again).await;
    assert_eq!((&duplicate["event"], &duplicate["duplicate"]), (&"ack".into(), &true.into()));
    assert_eq!((&duplicate["seq"], &duplicate["id"]), (&ack["seq"], &ID.into()));
    for (field, other) in [("text", "y"), ("from", "bob")] {
        let mut taken = send.clone();
        taken[field] = other.into();
        assert_eq!(code_of(&mut client, &taken).await, "id_taken");
    }
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_of_the_limit_is_read_and_a_larger_one_closes_with_1009() {
    let relay = Relay::start().await;
    for path in ["/ws", "/sync"] {
        let mut client = Client::connect(relay.address, path).await;
        if path == "/sync" {
            client = Sync::hello(client, "ada", None).await.client;
        }
        let whole = Message::binary(vec![0; FRAME_BYTES_MAX]);
        client.send_raw(whole).await;
        assert!(client.frame().await.is_ok(), "{path}: an error is answered");
        // Larger than all buffers together: the client still writes when the relay closes.
        let large = vec![0; 24 << 20];
        let (mut sink, stream) = futures_util::StreamExt::split(client.0);
        let write = tokio::spawn(async move {
            let _ = futures_util::SinkExt::send(&mut sink, Message::binary(large)).await;
            sink
        });
        let mut stream = stream;
        let close = loop {
            let next = futures_util::StreamExt::next(&mut stream);
            match super::support::soon("a close", next).await {
                Some(Ok(Message::Close(close))) => break close.unwrap(),
                Some(Ok(_)) => {}
                other => panic!("{path}: {other:?}"),
            }
        };
        assert_eq!(u16::from(close.code), 1009, "{path}");
        drop(write.await.unwrap());
    }
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_not_utf8_closes_with_1007() {
    let relay = Relay::start().await;
    for path in ["/ws", "/sync"] {
        let mut client = Client::connect(relay.address, path).await;
        let MaybeTlsStream::Plain(stream) = client.0.get_mut() else { panic!("plain") };
        // A masked text frame of two bytes with a mask of zeroes.
        stream.write_all(&[0x81, 0x82, 0, 0, 0, 0, 0xff, 0xfe]).await.unwrap();
        assert_eq!(client.close_code().await, 1007, "{path}");
    }
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unmasked_frame_closes_with_1002() {
    let relay = Relay::start().await;
    let mut client = relay.ws().await;
    let MaybeTlsStream::Plain(stream) = client.0.get_mut() else { panic!("plain") };
    stream.write_all(&[0x81, 0x02, b'{', b'}']).await.unwrap();
    assert_eq!(client.close_code().await, 1002);
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_pages_of_this_machine_may_connect_to_a_relay_on_loopback() {
    let relay = Relay::start().await;
    for origin in [None, Some("http://localhost:5173"), Some("http://127.0.0.1:1")] {
        assert!(Client::connect_as(relay.address, "/ws", origin).await.is_ok());
    }
    for origin in ["https://evil.example", "null"] {
        assert!(Client::connect_as(relay.address, "/ws", Some(origin)).await.is_err());
        assert!(Client::connect_as(relay.address, "/sync", Some(origin)).await.is_err());
        let path = "/api/channels/c/messages";
        let post = relay.request("POST", path, &[("Origin", origin)], r#"{"text":"x"}"#).await;
        assert_eq!(post.problem(), (403, "forbidden".to_owned()));
    }
    relay.stop().await.unwrap();
}
