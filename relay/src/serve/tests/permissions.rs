//! What each credential may do: every command, frame and route against every kind of credential,
//! on a channel with a secret in it. What a credential does not reach is `forbidden`, tells nothing
//! of the channel, and not even whether it exists.

use super::access::{bearer, token, with_tokens};
use super::support::{Client, Relay};
use super::sync::{Sync, author, message, now_ms};
use backscroll_core::change::DocKind;
use backscroll_core::window::Window;
use backscroll_core::wire::{ClientFrame, Code, Have, RelayFrame};
use serde_json::{Value, json};

/// The channel that is guarded.
const CLOSED: &str = "closed";

/// A channel that is not there.
const ABSENT: &str = "closed-and-absent";

/// What nobody may see who may not read.
const MARKER: &str = "the marker in the text";

/// What must be granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Deleting what others wrote.
    Moderate,
    /// Writing as others.
    Bridge,
}

/// A credential of the user `ada`.
struct Holder {
    what: &'static str,
    token: String,
    /// What it reaches in the closed channel.
    may: Option<Need>,
}

impl Holder {
    fn all() -> Vec<Self> {
        let holder = |what, may, channel: &str, access: &str, rights: &[&str]| {
            let grants = [(channel, access), ("own", "write")];
            Self { what, token: token("ada", &grants, rights), may }
        };
        let every = ["bridge", "moderate", "replicate"];
        vec![
            holder("foreign", None, "other", "write", &[]),
            holder("foreign with every right", None, "other", "write", &every),
            holder("foreign by a longer name", None, "closed-", "write", &[]),
            holder("foreign by a prefix", None, "closed-*", "write", &[]),
            holder("reader", Some(Need::Read), CLOSED, "read", &[]),
            holder("reader with every right", Some(Need::Read), CLOSED, "read", &every),
            holder("writer", Some(Need::Write), "clos*", "write", &[]),
            holder("moderator", Some(Need::Moderate), CLOSED, "write", &["moderate"]),
            holder("replica", Some(Need::Write), CLOSED, "write", &["replicate"]),
            holder("bridge", Some(Need::Bridge), CLOSED, "write", &["bridge"]),
        ]
    }

    fn may(&self, need: Need) -> bool {
        self.may.is_some_and(|may| may >= need)
    }

    async fn ws(&self, relay: &Relay) -> Client {
        let headers = [("authorization", &*bearer(&self.token))];
        Client::connect_with(relay.address, "/ws", &headers).await.unwrap()
    }

    async fn sync(&self, relay: &Relay) -> Sync {
        let client = Client::connect(relay.address, "/sync").await;
        Sync::hello(client, "ada", Some(&self.token)).await
    }
}

/// A relay with one message of `bob` in the closed channel; its id.
async fn guarded() -> (Relay, Client, String) {
    let relay = Relay::start_with(with_tokens).await;
    let headers = [("authorization", &*bearer(&token("bob", &[("*", "write")], &[])))];
    let mut bob = Client::connect_with(relay.address, "/ws", &headers).await.unwrap();
    let id = bob.say(CLOSED, MARKER).await["id"].as_str().unwrap().to_owned();
    (relay, bob, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http() {
    let (relay, _bob, id) = guarded().await;
    let path = |query: &str| format!("/api/channels/{CLOSED}/messages{query}");
    let cases = [
        ("GET", path(""), "", Need::Read),
        ("GET", path("?at=index:0"), "", Need::Read),
        ("GET", path(&format!("?at=id:{id}&after=1")), "", Need::Read),
        ("GET", path("?at=fraction:0.5"), "", Need::Read),
        ("HEAD", path(""), "", Need::Read),
        ("POST", path(""), r#"{"text":"x"}"#, Need::Write),
        ("POST", path(""), r#"{"text":"x","from":"ada"}"#, Need::Write),
        ("POST", path(""), r#"{"text":"x","from":"bob"}"#, Need::Bridge),
    ];
    for holder in Holder::all() {
        let headers = [("authorization", &*bearer(&holder.token))];
        for (method, path, body, need) in &cases {
            let answer = relay.request(method, path, &headers, body).await;
            let (may, about) = (holder.may(*need), format!("{}: {method} {path}", holder.what));
            assert_eq!(answer.status < 300, may, "{about}: {}", answer.status);
            if !may {
                assert_eq!(answer.status, 403, "{about}");
                if *method != "HEAD" {
                    assert_eq!(answer.json()["code"], "forbidden", "{about}");
                }
                let absent = path.replace(CLOSED, ABSENT);
                // The holder of a prefix may read what is not there; the others see no difference.
                if !holder.what.ends_with("by a prefix") && holder.may.is_none() {
                    let absent = relay.request(method, &absent, &headers, body).await;
                    assert_eq!(absent.body, answer.body, "{about}: existence shows");
                }
            }
        }
        let listed = relay.request("GET", "/api/channels", &headers, "").await;
        let text = String::from_utf8(listed.body).unwrap();
        assert_eq!(text.contains(CLOSED), holder.may(Need::Read), "{}: {text}", holder.what);
    }
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn attachments() {
    let (relay, _bob, _) = guarded().await;
    // The SHA-256 of `abc` (FIPS 180-2).
    let path = "/api/blobs/ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let reader = bearer(&token("eve", &[("*", "read")], &["bridge", "moderate", "replicate"]));
    let writer = bearer(&token("ada", &[("own", "write")], &[]));
    for (credential, method, status) in [
        (None, "PUT", 401),
        (Some(&reader), "PUT", 403),
        (Some(&reader), "GET", 404),
        (Some(&writer), "PUT", 201),
        (Some(&writer), "GET", 200),
        (Some(&reader), "GET", 200),
        (None, "GET", 401),
        (None, "HEAD", 401),
    ] {
        let headers: Vec<_> = credential.iter().map(|it| ("authorization", it.as_str())).collect();
        let body = if method == "PUT" { "abc" } else { "" };
        let answer = relay.request(method, path, &headers, body).await;
        assert_eq!(answer.status, status, "{method} by {credential:?}");
        assert!(status == 200 || !answer.body.ends_with(b"abc"), "{method} by {credential:?}");
    }
    relay.stop().await.unwrap();
}

/// Commands of `/ws` on a channel, with what they need; `id` and `other` are messages of `bob`.
fn commands(channel: &str, id: &str, other: &str) -> Vec<(Value, Need)> {
    vec![
        (json!({"command": "subscribe", "channel": channel}), Need::Read),
        (json!({"command": "history", "channel": channel}), Need::Read),
        (json!({"command": "history", "channel": channel, "at": {"id": id}}), Need::Read),
        (json!({"command": "history", "channel": channel, "at": {"index": 0}}), Need::Read),
        (json!({"command": "send", "channel": channel, "text": "x"}), Need::Write),
        (json!({"command": "send", "channel": channel, "text": "x", "from": "ada"}), Need::Write),
        (json!({"command": "send", "channel": channel, "text": "x", "from": "bob"}), Need::Bridge),
        (json!({"command": "send", "channel": channel, "text": MARKER, "id": id}), Need::Write),
        (
            json!({"command": "view", "channel": channel, "at": "latest", "before": 5, "after": 0}),
            Need::Read,
        ),
        (json!({"command": "mark", "channel": channel, "read": id}), Need::Read),
        (
            json!({"command": "react", "channel": channel, "id": id, "emoji": "+1", "on": true}),
            Need::Write,
        ),
        (
            json!({"command": "react", "channel": channel, "id": id, "emoji": "+1", "on": true,
                   "from": "bob"}),
            Need::Bridge,
        ),
        (json!({"command": "edit", "channel": channel, "id": other, "text": "y"}), Need::Bridge),
        (json!({"command": "delete", "channel": channel, "id": other}), Need::Moderate),
    ]
}

/// The next event but those that come by themselves.
async fn answer(client: &mut Client) -> Value {
    loop {
        let event = client.event().await;
        let kind = event["event"].as_str().unwrap();
        if !matches!(kind, "message" | "update" | "view-delta") {
            return event;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_ws() {
    let (relay, mut bob, id) = guarded().await;
    for holder in Holder::all() {
        let mut client = holder.ws(&relay).await;
        let other = bob.say(CLOSED, MARKER).await["id"].as_str().unwrap().to_owned();
        let absent = commands(ABSENT, &id, &other);
        for ((command, need), (elsewhere, _)) in commands(CLOSED, &id, &other).iter().zip(absent) {
            client.send(command).await;
            let event = answer(&mut client).await;
            let about = format!("{}: {command}: {event}", holder.what);
            let taken = command["command"] == "send" && command["id"] == id;
            match holder.may(*need) {
                // That the id is taken is for those to know who may write.
                true if taken => assert_eq!(event["code"], "id_taken", "{about}"),
                true => assert_ne!(event["event"], "error", "{about}"),
                false => assert_eq!(event["code"], "forbidden", "{about}"),
            }
            if !holder.may(Need::Read) {
                assert_eq!(event["event"], "error", "{about}");
                assert!(!event.to_string().contains(MARKER), "{about}");
                if !holder.what.ends_with("by a prefix") {
                    assert_eq!(client.ask(&elsewhere).await, event, "existence shows: {about}");
                }
            }
        }
        // What comes in the channel reaches who may read it and subscribed, and nobody else.
        let text = format!("{MARKER} for {}", holder.what);
        bob.say(CLOSED, &text).await;
        if holder.may(Need::Read) {
            while client.event_of("message").await["message"]["text"] != text {}
        } else {
            let own = client.ask(&json!({"command": "history", "channel": "own"})).await;
            assert_eq!((&own["event"], &own["total"]), (&"history".into(), &0.into()));
        }
    }
    let history = bob.ask(&json!({"command": "history", "channel": CLOSED, "before": 500})).await;
    let messages = history["messages"].as_array().unwrap();
    let first = messages.iter().find(|one| one["id"] == id).unwrap();
    assert_eq!((&first["from"], &first["text"]), (&"bob".into(), &MARKER.into()));
    let as_bob = messages.iter().filter(|one| one["from"] == "bob" && one["text"] == "x").count();
    assert_eq!(as_bob, 1, "by the bridge alone");
    relay.stop().await.unwrap();
}

/// The code of the answer to a frame, `None` for one that is no refusal.
async fn refusal(sync: &mut Sync, frame: &ClientFrame) -> Option<Code> {
    sync.send(frame).await;
    // The answer to this comes after the one to the frame.
    sync.send(&ClientFrame::Open { channel: String::new(), cursor: None, newest: 0 }).await;
    let mut found = None;
    loop {
        match sync.frame().await {
            RelayFrame::Error { code: Code::BadRequest | Code::BadChannel, .. } => return found,
            RelayFrame::Error { code, .. } | RelayFrame::Nack { code, .. } => found = Some(code),
            _ => {}
        }
    }
}

fn push(from: &str, actor: u8) -> ClientFrame {
    let window = Window::covering(0, now_ms());
    let messages = [message(now_ms(), u128::from(actor), from, "pushed")];
    ClientFrame::Push {
        reference: u64::from(actor),
        channel: CLOSED.to_owned(),
        window,
        generation: 0,
        doc: DocKind::Messages,
        chunks: vec![author(window, actor).write(&messages).unwrap().chunk],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_sync() {
    let (relay, _bob, id) = guarded().await;
    let channel = || CLOSED.to_owned();
    let window = Window::covering(0, now_ms());
    for (n, holder) in Holder::all().iter().enumerate() {
        let actor = u8::try_from(n * 2).unwrap();
        let mut sync = holder.sync(&relay).await;
        let open = ClientFrame::Open { channel: channel(), cursor: None, newest: 10 };
        let have = Have { window, generation: 0, messages_seq: 0, annotations_seq: 0 };
        let fetch = ClientFrame::Fetch { reference: 1, channel: channel(), windows: vec![have] };
        let mark = ClientFrame::Mark {
            channel: channel(),
            epoch: sync.epoch,
            seq: 1,
            read: Some(id.parse().unwrap()),
            delivered: Some(1),
            unseen_late: Vec::new(),
        };
        let ephemeral = ClientFrame::Ephemeral { channel: channel(), payload: b"typing".to_vec() };
        let about = holder.what;
        let expect = |need| if holder.may(need) { None } else { Some(Code::Forbidden) };
        for frame in [&open, &fetch, &mark] {
            assert_eq!(refusal(&mut sync, frame).await, expect(Need::Read), "{about}: {frame:?}");
        }
        // Who could not open the channel is told no more than that.
        let hidden = if holder.may(Need::Read) { Code::Forbidden } else { Code::NotOpen };
        let expected = (!holder.may(Need::Write)).then_some(hidden);
        assert_eq!(refusal(&mut sync, &ephemeral).await, expected, "{about}: ephemeral");
        let own = refusal(&mut sync, &push("ada", actor + 1)).await;
        assert_eq!(own, expect(Need::Write), "{about}: push");
        let others = refusal(&mut sync, &push("bob", actor + 2)).await;
        let is_replica = holder.what == "replica";
        let expected = if is_replica { None } else { expect(Need::Bridge) };
        assert_eq!(others, expected, "{about}: push as bob");
        sync.send(&ClientFrame::Channels { after: None }).await;
        let RelayFrame::Channels { list, .. } = next_channels(&mut sync).await else { panic!() };
        let listed = list.iter().any(|one| one.name == CLOSED);
        assert_eq!(listed, holder.may(Need::Read), "{about}");
    }
    relay.stop().await.unwrap();
}

async fn next_channels(sync: &mut Sync) -> RelayFrame {
    loop {
        let frame = sync.frame().await;
        if matches!(frame, RelayFrame::Channels { .. }) {
            return frame;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_and_marks_of_a_channel_reach_its_readers_only() {
    let (relay, mut bob, id) = guarded().await;
    let all = Holder::all();
    let (writer, foreign) = (&all[6], &all[1]);
    let mut outside = foreign.sync(&relay).await;
    let open = ClientFrame::Open { channel: CLOSED.to_owned(), cursor: None, newest: 10 };
    assert_eq!(refusal(&mut outside, &open).await, Some(Code::Forbidden));
    let mut inside = writer.sync(&relay).await;
    assert_eq!(refusal(&mut inside, &open).await, None);
    let payload = b"typing".to_vec();
    inside.send(&ClientFrame::Ephemeral { channel: CLOSED.to_owned(), payload }).await;
    let mark = ClientFrame::Mark {
        channel: CLOSED.to_owned(),
        epoch: inside.epoch,
        seq: 1,
        read: Some(id.parse().unwrap()),
        delivered: None,
        unseen_late: Vec::new(),
    };
    inside.send(&mark).await;
    while !matches!(inside.frame().await, RelayFrame::Marks { .. }) {}
    bob.say(CLOSED, "more").await;
    while !matches!(inside.frame().await, RelayFrame::Changes { .. }) {}
    outside.send(&ClientFrame::Channels { after: None }).await;
    let next = outside.frame().await;
    assert!(matches!(next, RelayFrame::Channels { ref list, .. } if list.is_empty()), "{next:?}");
    relay.stop().await.unwrap();
}
