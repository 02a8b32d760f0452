//! Bad input on `/ws` and over HTTP: the error that design 8.2 names, and nothing stored.

use backscroll_tests::json::{End, Json};
use backscroll_tests::relay::Relay;
use backscroll_tests::{http, within};
use futures_util::SinkExt;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio_tungstenite::tungstenite::{Bytes, Message};

fn id_at(time_ms: u64) -> String {
    backscroll_core::message::MessageId::from_parts(time_ms, 1).to_string()
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_millis()).expect("before the year 500 million")
}

fn nothing_is_stored(relay: &Relay) {
    let channels = http::get(relay, "/api/channels");
    assert_eq!(channels.body, json!({"channels": []}), "a refused command stored something");
}

/// Each of these is answered with the code; the socket stays open and nothing is stored.
fn refused_commands() -> Vec<(&'static str, String)> {
    let send = |fields: Value| {
        let mut command = json!({"command": "send", "channel": "c", "text": "x"});
        let fields = fields.as_object().expect("an object").clone();
        command.as_object_mut().expect("an object").extend(fields);
        command.to_string()
    };
    let history = |at: &str, rest: &str| {
        format!(r#"{{"command":"history","channel":"c","at":{at},"before":1,"after":1{rest}}}"#)
    };
    let long = "x".repeat(300);
    vec![
        ("bad_json", "{".to_owned()),
        ("bad_json", String::new()),
        ("bad_json", r#"{"command":"send","channel":"c","text":"x""#.to_owned()),
        ("unknown_command", r#"{"command":"fly","channel":"c"}"#.to_owned()),
        ("bad_channel", send(json!({"channel": ""}))),
        ("bad_channel", send(json!({"channel": long}))),
        ("bad_channel", json!({"command": "subscribe", "channel": ""}).to_string()),
        (
            "bad_channel",
            json!({"command": "history", "channel": long, "at": "latest",
                               "before": 1, "after": 0})
            .to_string(),
        ),
        ("too_large", send(json!({"text": "x".repeat(200_000)}))),
        ("bad_request", send(json!({"text": 7}))),
        ("bad_request", send(json!({"from": ""}))),
        ("bad_request", send(json!({"from": long}))),
        ("bad_request", json!({"command": "send", "channel": "c"}).to_string()),
        ("future_id", send(json!({"id": id_at(now_ms() + 600_000)}))),
        ("future_id", send(json!({"sent_at": now_ms() + 600_000}))),
        ("bad_id", send(json!({"id": "no-uuid"}))),
        ("bad_id", send(json!({"id": "9b2c1a52-3a44-4f6e-8a55-0d3c6f7a1b2c"}))),
        ("bad_id", send(json!({"id": format!("{{{}}}", id_at(5))}))),
        ("bad_request", send(json!({"id": id_at(1_000), "sent_at": 1_001}))),
        ("bad_request", send(json!({"sent_at": -1}))),
        ("bad_request", history(r#"{"index":-1}"#, "")),
        ("bad_request", history(r#"{"index":1.5}"#, "")),
        ("bad_request", history(r#"{"fraction":1.01}"#, "")),
        ("bad_request", history(r#"{"fraction":-0.5}"#, "")),
        ("bad_request", history(r#""newest""#, "")),
        ("bad_id", history(r#"{"id":"x"}"#, "")),
        (
            "bad_request",
            json!({"command": "history", "channel": "c", "at": "latest",
                               "before": 5_000, "after": 1})
            .to_string(),
        ),
        ("bad_request", json!({"command": "subscribe", "channel": "c", "last": 5_001}).to_string()),
        ("bad_request", json!({"command": "subscribe", "channel": "c", "last": -1}).to_string()),
    ]
}

/// Those about live views and about messages that are there.
fn refused_views_and_notes() -> Vec<(&'static str, String)> {
    let with = |mut command: Value, fields: Value| {
        let fields = fields.as_object().expect("an object").clone();
        command.as_object_mut().expect("an object").extend(fields);
        command.to_string()
    };
    let view = |fields: Value| {
        with(json!({"command": "view", "channel": "c", "before": 1, "after": 1}), fields)
    };
    let note = |command: &str, fields: Value| {
        with(json!({"command": command, "channel": "c", "id": id_at(5)}), fields)
    };
    let long = "x".repeat(300);
    vec![
        ("bad_request", view(json!({"at": "newest"}))),
        ("bad_request", view(json!({"at": {"index": -1}}))),
        ("bad_request", view(json!({"at": {"fraction": 2}}))),
        ("bad_request", view(json!({"before": 5_000, "after": 1}))),
        ("bad_request", view(json!({"from": long}))),
        ("bad_id", view(json!({"at": {"id": "x"}}))),
        ("bad_channel", view(json!({"channel": ""}))),
        ("bad_channel", json!({"command": "unview", "channel": long}).to_string()),
        ("bad_request", note("edit", json!({}))),
        ("bad_request", note("edit", json!({"text": 1}))),
        ("too_large", note("edit", json!({"text": "x".repeat(70_000)}))),
        ("bad_id", note("edit", json!({"id": "x", "text": "x"}))),
        ("bad_channel", note("edit", json!({"channel": "", "text": "x"}))),
        ("not_found", note("edit", json!({"text": "x"}))),
        ("bad_id", note("delete", json!({"id": 7}))),
        ("bad_request", note("delete", json!({"id": null}))),
        ("not_found", note("delete", json!({}))),
        ("bad_request", note("react", json!({"on": true}))),
        ("bad_request", note("react", json!({"emoji": "", "on": true}))),
        ("bad_request", note("react", json!({"emoji": long, "on": true}))),
        ("bad_request", note("react", json!({"emoji": "+1"}))),
        ("bad_request", note("react", json!({"emoji": "+1", "on": "yes"}))),
        ("bad_request", note("react", json!({"emoji": "+1", "on": true, "from": ""}))),
        ("not_found", note("react", json!({"emoji": "+1", "on": true}))),
        ("bad_request", note("mark", json!({}))),
        ("bad_id", note("mark", json!({"read": "x"}))),
        ("not_found", note("mark", json!({"read": id_at(5)}))),
    ]
}

#[tokio::test]
async fn each_bad_command_gets_its_code_and_stores_nothing() {
    let relay = Relay::start();
    let mut client = Json::connect(&relay).await;
    for (code, frame) in refused_commands().into_iter().chain(refused_views_and_notes()) {
        client.try_text(&frame).await.expect("the socket is still open");
        let event = client.event().await.expect("an answer");
        let shown: String = frame.chars().take(120).collect();
        assert_eq!((&event["event"], &event["code"]), (&json!("error"), &json!(code)), "{shown}");
        assert!(event["message"].as_str().is_some_and(|m| !m.is_empty()), "{shown}: {event}");
    }
    nothing_is_stored(&relay);
    let ack = client.ask(json!({"command": "send", "channel": "c", "text": "fine"})).await;
    assert_eq!(ack["event"], "ack", "the socket still works: {ack}");
}

#[tokio::test]
async fn an_error_carries_the_reference_of_its_command() {
    let relay = Relay::start();
    let mut client = Json::connect(&relay).await;
    let event = client.ask(json!({"command": "send", "channel": "", "text": "x"})).await;
    assert_eq!(event["code"], "bad_channel");
}

#[tokio::test]
async fn the_same_id_is_a_duplicate_with_the_same_text_and_taken_with_another() {
    let relay = Relay::start();
    let mut client = Json::connect(&relay).await;
    let id = id_at(now_ms() - 5_000);
    let send = |text: &str, from: &str| json!({"command": "send", "channel": "c", "id": id, "text": text, "from": from});
    let first = client.ask(send("one", "ada")).await;
    assert_eq!((&first["event"], &first["duplicate"]), (&json!("ack"), &json!(false)));
    let again = client.ask(send("one", "ada")).await;
    assert_eq!((&again["event"], &again["duplicate"]), (&json!("ack"), &json!(true)));
    assert_eq!(again["seq"], first["seq"]);
    for taken in [send("two", "ada"), send("one", "bob")] {
        assert_eq!(client.ask(taken).await["code"], "id_taken");
    }
    let hyphenless = json!({"command": "send", "channel": "c", "id": id.replace('-', ""),
                            "text": "one", "from": "ada"});
    let ack = client.ask(hyphenless).await;
    assert_eq!((&ack["id"], &ack["duplicate"]), (&json!(id), &json!(true)));
    let total = http::get(&relay, "/api/channels").body["channels"][0]["total"].clone();
    assert_eq!(total, 1);
}

#[tokio::test]
async fn a_frame_over_the_limit_closes_with_1009_and_bad_utf8_with_1007() {
    let relay = Relay::start();
    let mut client = Json::connect(&relay).await;
    let frame = json!({"command": "send", "channel": "c", "text": "x".repeat((1 << 20) + 1)});
    drop(client.try_text(&frame.to_string()).await);
    assert_eq!(client.event().await, Err(End::Closed(1009)));

    use tokio_tungstenite::tungstenite::protocol::frame::Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    let mut client = Json::connect(&relay).await;
    let frame = Frame::message(Bytes::from_static(b"{\"\xff\"}"), OpCode::Data(Data::Text), true);
    client.raw().send(Message::Frame(frame)).await.expect("sent");
    assert_eq!(client.event().await, Err(End::Closed(1007)));
    nothing_is_stored(&relay);
}

#[tokio::test]
async fn a_frame_just_below_the_limit_is_answered() {
    let relay = Relay::start();
    let mut client = Json::connect(&relay).await;
    let padding = "x".repeat((1 << 20) - 100);
    let frame = json!({"command": "send", "channel": "c", "text": "x", "pad": padding});
    assert!(frame.to_string().len() <= 1 << 20);
    client.command(&frame).await;
    assert_eq!(client.event().await.expect("an answer")["event"], "ack");
}

#[tokio::test]
async fn an_empty_channel_is_empty_and_no_error() {
    let relay = Relay::start();
    let mut client = Json::connect(&relay).await;
    let answer = client.history("nobody", json!("latest"), 50, 50).await;
    assert_eq!(answer["event"], "history");
    assert_eq!((&answer["total"], &answer["messages"]), (&json!(0), &json!([])));
    assert_eq!((&answer["found_oldest"], &answer["found_newest"]), (&json!(true), &json!(true)));
    nothing_is_stored(&relay);
}

#[tokio::test]
async fn http_errors_are_problems_with_the_codes() {
    let relay = Relay::start();
    let path = "/api/channels/c/messages";
    let posts = [
        ("{", 400, "bad_json"),
        (r#"{"from":"a"}"#, 400, "bad_request"),
        (r#"{"from":"a","text":"x","id":"nope"}"#, 400, "bad_id"),
    ];
    for (body, status, code) in posts {
        let answer = http::post(&relay, path, body, &[]);
        assert_eq!((answer.status, &answer.body["code"]), (status, &json!(code)), "{body}");
        assert_eq!(answer.media_type, "application/problem+json");
    }
    for query in ["at=index:-1", "at=fraction:2", "at=sideways", "at=latest&before=x"] {
        let answer = http::get(&relay, &format!("{path}?{query}"));
        assert_eq!((answer.status, &answer.body["code"]), (400, &json!("bad_request")), "{query}");
    }
    let large = json!({"from": "a", "text": "x".repeat(200_000)}).to_string();
    let answer = http::post(&relay, path, &large, &[]);
    assert_eq!((answer.status, &answer.body["code"]), (413, &json!("too_large")));
    let long = "x".repeat(300);
    let answer = http::get(&relay, &format!("/api/channels/{long}/messages"));
    assert_eq!((answer.status, &answer.body["code"]), (400, &json!("bad_channel")));
    nothing_is_stored(&relay);
}

#[tokio::test]
async fn http_posts_are_idempotent_by_key_and_by_id() {
    let relay = Relay::start();
    let path = "/api/channels/a%2Fb%20c/messages";
    let body = r#"{"from":"ada","text":"once"}"#;
    let first = http::post(&relay, path, body, &[("idempotency-key", "k1")]);
    assert_eq!(first.status, 201, "{}", first.text);
    let again = http::post(&relay, path, body, &[("idempotency-key", "k1")]);
    assert_eq!((again.status, &again.body["id"]), (200, &first.body["id"]));
    assert_eq!((&again.body["seq"], &again.body["duplicate"]), (&first.body["seq"], &json!(true)));
    let other = http::post(&relay, path, body, &[("idempotency-key", "k2")]);
    assert_eq!(other.status, 201);
    let channels = http::get(&relay, "/api/channels").body;
    assert_eq!(channels["channels"][0]["channel"], "a/b c");
    assert_eq!(channels["channels"][0]["total"], 2);
}

#[tokio::test]
async fn a_binary_frame_on_the_json_socket_is_an_error_and_not_the_end() {
    let relay = Relay::start();
    let mut client = Json::connect(&relay).await;
    let binary = Message::binary(Bytes::from_static(&[1, 2, 3]));
    within("send", client.raw().send(binary)).await.expect("sent");
    let event = client.event().await.expect("an answer");
    assert_eq!(event["event"], "error", "{event}");
}
