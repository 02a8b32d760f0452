//! Backup, erasure and retention under clients that are connected.

use super::support::{Client, DEADLINE, Relay, soon};
use crate::backup;
use crate::control::{Answer, Connection, Request};
use crate::retention::Rule;
use backscroll_core::channel::{Item, MessageRow};
use backscroll_core::client::{self, Edge, Event, Follow, Now, Options, ViewId};
use backscroll_core::message::{Content, MessageId};
use backscroll_core::viewport::{At, Query};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

const MARKER: &str = "zqXkWjVvPpTtzqXkWjVvPpTt";

/// The client engine on a socket of its own, with a view of the channel `c`.
struct Live {
    client: client::Client,
    socket: Client,
    view: ViewId,
    began: Instant,
}

impl Live {
    async fn open(address: SocketAddr, user: &str) -> Self {
        let began = Instant::now();
        let mut client = client::Client::new(Options::new(user), [7; 32]).unwrap();
        let query = Query { at: At::Oldest, before: 0, after: 5_000 };
        let view = client.open_view("c", query, now(began)).unwrap();
        let socket = Client::connect(address, "/sync").await;
        let mut live = Self { client, socket, view, began };
        live.client.handle_timeout(live.now());
        live.client.handle_connected(None, live.now());
        live
    }

    fn now(&self) -> Now {
        now(self.began)
    }

    /// Connects to another relay, as after a lost connection.
    async fn reconnect(&mut self, address: SocketAddr) {
        self.client.handle_closed(None, self.now());
        self.socket = Client::connect(address, "/sync").await;
        self.client.handle_online(self.now());
        self.client.handle_connected(None, self.now());
    }

    fn say(&mut self, text: &str) -> MessageId {
        let (content, now) = (Content::text(self.client.user(), text), self.now());
        self.client.send("c", content, None, now).unwrap()
    }

    async fn pump(&mut self) {
        while let Some(event) = self.client.poll_event() {
            let is_bad = matches!(event, Event::Disconnect { .. } | Event::Problem { .. });
            assert!(!is_bad, "{event:?}");
        }
        while let Some(frame) = self.client.poll_frame() {
            self.socket.send_raw(Message::binary(frame)).await;
        }
        if let Ok(frame) = timeout(Duration::from_millis(20), self.socket.frame()).await {
            let frame = frame.expect("a frame, not a close").into_data();
            let now = self.now();
            self.client.handle_bytes(&frame, now);
        }
        let now = self.now();
        if self.client.poll_timeout(now).is_some_and(|at_ms| at_ms <= now.steady_ms) {
            self.client.handle_timeout(now);
        }
    }

    fn rows(&mut self) -> Vec<MessageRow> {
        let view = self.client.view(self.view).unwrap();
        let messages = view.items.into_iter().filter_map(|item| match item {
            Item::Message(row) => Some(*row),
            Item::Placeholder { .. } => None,
        });
        if view.exact { messages.collect() } else { Vec::new() }
    }

    /// Pumps until nothing waits to be sent and the rows are as expected.
    async fn until(&mut self, what: &str, is_so: impl Fn(&[MessageRow]) -> bool) {
        let until = Instant::now() + DEADLINE;
        while self.client.pending_len() > 0 || !is_so(&self.rows()) {
            assert!(Instant::now() < until, "{what} does not happen: {:?}", self.rows());
            self.pump().await;
        }
        self.client.check_invariants().unwrap();
    }
}

fn now(began: Instant) -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap();
    Now { wall_ms: ms(wall), steady_ms: ms(began.elapsed()) }
}

fn text_of(row: &MessageRow) -> &str {
    &row.content.text
}

/// Whether any file of a folder holds a text.
fn is_in_files(folder: &Path, text: &str) -> bool {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files = files.filter(|path| path.is_file());
    files.any(|path| {
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.windows(text.len()).any(|part| part == text.as_bytes())
    })
}

async fn erase(data: &Path, ids: Vec<MessageId>) -> Answer {
    let data = data.to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        let ids = ids.into_iter().collect();
        let request = Request::Erase { channel: "c".to_owned(), ids };
        let mut relay = Connection::ask(&data, &request).unwrap();
        loop {
            match relay.answer().unwrap() {
                Answer::Progress { .. } => {}
                answer => return answer,
            }
        }
    });
    soon("an erasure", asked).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_leaves_clients_and_files_and_the_channel_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let relay = Relay::start_with(|config| config.store.data.clone_from(&data)).await;
    let mut json_client = relay.ws().await;
    json_client.ask(&json!({"command": "subscribe", "channel": "c"})).await;
    for i in 0..20 {
        json_client.say("c", &format!("number {i}")).await;
    }
    let mut live = Live::open(relay.address, "ada").await;
    live.until("the newest", |rows| rows.len() == 20).await;
    let marked = live.say(&format!("before {MARKER} after"));
    live.say("stays");
    live.until("what is said", |rows| rows.len() == 22).await;
    let mut other = Live::open(relay.address, "bob").await;
    other.until("all", |rows| rows.iter().any(|row| text_of(row).contains(MARKER))).await;
    assert!(is_in_files(&data, MARKER), "the search finds what is there");

    let answer = erase(&data, vec![marked, MessageId::from_parts(1, 1)]).await;
    let Answer::Erased { erased, missing, .. } = answer else { panic!("{answer:?}") };
    assert_eq!((erased, missing), (1, vec![MessageId::from_parts(1, 1)]));
    assert!(!is_in_files(&data, MARKER));

    let is_erased = |rows: &[MessageRow]| {
        rows.iter().any(|row| row.id == marked && row.deleted && text_of(row).is_empty())
    };
    other.until("the erasure", |rows| rows.len() == 22 && is_erased(rows)).await;
    let update = loop {
        let event = json_client.event_of("update").await;
        if event["message"]["id"] == json!(marked) {
            break event;
        }
    };
    assert_eq!(update["message"]["deleted"], true);
    // Its author goes on in the window whose documents are others now.
    live.until("the erasure", is_erased).await;
    live.say("after");
    let has_after = |rows: &[MessageRow]| rows.iter().any(|row| text_of(row) == "after");
    live.until("what is said after", has_after).await;
    other.until("what is said after", has_after).await;
    // A cursor from before resumes, and a device that kept everything replaces it.
    let total = |rows: &[MessageRow]| rows.len() == 23;
    live.reconnect(relay.address).await;
    live.until("all after a reconnect", total).await;
    relay.stop().await.unwrap();
    let store = crate::store::Store::open_existing(&data).unwrap();
    assert_eq!(crate::check::verify(&store, |_| {}).unwrap(), []);
    drop(store);
    assert!(!is_in_files(&data, MARKER));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retention_drops_the_oldest_and_clients_show_what_is_kept() {
    const YEAR_2010: u64 = 1_262_304_000_000;
    let rule = Rule { channel: "c*".to_owned(), max_age: None, max_messages: Some(6) };
    let relay = Relay::start_with(|config| config.retention = vec![rule]).await;
    let mut json_client = relay.ws().await;
    for i in 0..5 {
        let old =
            json!({"command": "send", "channel": "c", "text": "old", "sent_at": YEAR_2010 + i});
        json_client.send(&old).await;
        json_client.event_of("ack").await;
    }
    let mut live = Live::open(relay.address, "ada").await;
    live.until("what is old", |rows| rows.len() == 5).await;
    for i in 0..5 {
        live.say(&format!("new {i}"));
    }
    live.until("all", |rows| rows.len() == 10).await;
    let before = json_client
        .ask(&json!({"command": "history", "channel": "c", "at": "latest",
        "before": 50, "after": 0}))
        .await;
    assert_eq!((&before["total"], &before["seq"]), (&json!(10), &json!(10)));
    // Its reader sees the newest only.
    let (newest, now) = (Edge::Id(live.rows()[9].id), live.now());
    live.client.set_visible(live.view, newest, newest, Follow::Stay, now).unwrap();
    let late = json!({"command": "send", "channel": "c", "text": "old", "sent_at": YEAR_2010 + 9});
    assert_eq!(json_client.ask(&late).await["event"], "ack");
    live.until("what is late", |rows| rows.len() == 11).await;
    assert_eq!(live.client.late(live.view).unwrap().total, 1);
    live.say("one more");
    let is_kept =
        |rows: &[MessageRow]| rows.len() == 6 && rows.iter().all(|row| text_of(row) != "old");
    live.until("what is kept", is_kept).await;
    assert_eq!(live.client.late(live.view).unwrap().total, 0, "what is gone is no news");
    live.say("after");
    live.until("what is said after", |rows| rows.len() == 7).await;
    let after = json_client
        .ask(&json!({"command": "history", "channel": "c", "at": "oldest",
        "before": 0, "after": 50}))
        .await;
    assert_eq!((&after["total"], &after["start"]), (&json!(7), &json!(0)));
    assert_eq!(after["seq"], 14, "13 messages and the mark of the retention");
    let texts: Vec<_> = after["messages"].as_array().unwrap().iter().map(|m| &m["text"]).collect();
    let mut rows = live.rows();
    rows.sort_by_key(|row| row.id);
    assert_eq!(texts, rows.iter().map(text_of).collect::<Vec<_>>());
    // One that was away resumes from nothing it knew.
    let mut again = Live::open(relay.address, "bob").await;
    again.until("what is kept", |rows| rows.len() == 7).await;
    live.reconnect(relay.address).await;
    live.until("what is kept", |rows| rows.len() == 7).await;
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn json_subscribers_are_told_what_a_retention_left() {
    const YEAR_2010: u64 = 1_262_304_000_000;
    let rule = Rule { channel: "c".to_owned(), max_age: None, max_messages: Some(6) };
    let relay = Relay::start_with(|config| config.retention = vec![rule]).await;
    let (mut reader, mut writer) = (relay.ws().await, relay.ws().await);
    reader.ask(&json!({"command": "subscribe", "channel": "c"})).await;
    for n in 0..5 {
        let old =
            json!({"command": "send", "channel": "c", "text": "old", "sent_at": YEAR_2010 + n});
        assert_eq!(writer.ask(&old).await["event"], "ack");
    }
    for n in 0..6 {
        writer.say("c", &format!("new {n}")).await;
    }
    for seq in 1..=11 {
        assert_eq!(reader.event().await["message"]["seq"], seq);
    }
    let told = reader.event().await;
    let found = (&told["event"], &told["start"], &told["total"], &told["seq"]);
    assert_eq!(found, (&json!("history"), &json!(0), &json!(6), &json!(12)));
    let ends = (&told["found_oldest"], &told["found_newest"], &told["ref"]);
    assert_eq!(ends, (&json!(true), &json!(true), &Value::Null));
    let texts: Vec<_> = told["messages"].as_array().unwrap().iter().map(|m| &m["text"]).collect();
    assert_eq!(texts, ["new 0", "new 1", "new 2", "new 3", "new 4", "new 5"]);
    writer.say("c", "after").await;
    let live = reader.event().await;
    let found = (&live["event"], &live["index"], &live["total"]);
    assert_eq!(found, (&json!("message"), &json!(6), &json!(7)));
    assert_eq!(live["message"]["seq"], 13);
    relay.stop().await.unwrap();
}

/// Copies what the relay has now, as the command does; the checkpoint it made for that.
fn back_up(data: &Path, to: &Path) -> PathBuf {
    let mut relay = Connection::ask(data, &Request::Checkpoint).unwrap();
    let Answer::Checkpoint { folder } = relay.answer().unwrap() else { panic!("a checkpoint") };
    backup::copy(&folder, to, |_| {}).unwrap();
    folder
}

/// The ids of all messages of the channel.
async fn ids_of(client: &mut Client) -> BTreeSet<String> {
    let all =
        json!({"command": "history", "channel": "c", "at": "latest", "before": 5_000, "after": 0});
    let history = client.ask(&all).await;
    let messages = history["messages"].as_array().unwrap();
    messages.iter().map(|message| message["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_has_what_was_acknowledged_before_and_clients_bring_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let (data, to) = (folder.path().join("data"), folder.path().join("backup"));
    let relay = Relay::start_with(|config| config.store.data.clone_from(&data)).await;
    let mut live = Live::open(relay.address, "ada").await;
    let mut own: Vec<_> = (0..50).map(|i| live.say(&format!("own {i}"))).collect();
    live.until("what is said", |rows| rows.len() == 50).await;
    // Load, until the backup is done.
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let mut writer = relay.ws().await;
    let (acked, mut acks) = tokio::sync::mpsc::unbounded_channel();
    let load = tokio::spawn(async move {
        // No more than a view holds.
        for _ in 0..4_000 {
            if stopped.try_recv().is_ok() {
                return;
            }
            let ack = writer.say("c", "load").await;
            let _ = acked.send(ack["id"].clone());
        }
    });
    let mut before: Vec<Value> = Vec::new();
    while before.len() < 200 {
        before.push(soon("an ack", acks.recv()).await.unwrap());
    }
    let backed_up = tokio::task::spawn_blocking({
        let (from, copy) = (data.clone(), to.clone());
        move || back_up(&from, &copy)
    });
    let checkpoint = soon("a backup", backed_up).await.unwrap();
    // What comes after is in no backup.
    own.extend((0..50).map(|i| live.say(&format!("later {i}"))));
    let all = |rows: &[MessageRow]| own.iter().all(|id| rows.iter().any(|row| row.id == *id));
    live.until("what is said later", all).await;
    // It may have ended before.
    let _ = stop.send(());
    soon("the load's end", load).await.unwrap();
    let removed = async {
        while checkpoint.exists() {
            tokio::task::yield_now().await;
        }
    };
    soon("the checkpoint's end", removed).await;
    relay.stop().await.unwrap();

    let restored = folder.path().join("restored");
    backup::restore(&to, &restored, |_| {}).unwrap();
    let store = crate::store::Store::open_existing(&restored).unwrap();
    assert_eq!(crate::check::verify(&store, |_| {}).unwrap(), []);
    drop(store);
    let relay = Relay::start_with(|config| config.store.data.clone_from(&restored)).await;
    let mut json_client = relay.ws().await;
    let kept = ids_of(&mut json_client).await;
    assert!(before.iter().all(|id| kept.contains(id.as_str().unwrap())));
    assert!(own[..50].iter().all(|id| kept.contains(&id.to_string())));
    assert!(own[50..].iter().all(|id| !kept.contains(&id.to_string())), "they came later");
    live.reconnect(relay.address).await;
    let resynced = async {
        loop {
            live.pump().await;
            let now = ids_of(&mut json_client).await;
            if own.iter().all(|id| now.contains(&id.to_string())) {
                return now.len();
            }
        }
    };
    let count = soon("what the backup lacks", resynced).await;
    assert_eq!(count, kept.len() + 50, "each once");
    live.until("everything", |rows| rows.len() == count).await;
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_comes_back_after_a_retention_is_another_for_everyone() {
    const YEAR_2010: u64 = 1_262_304_000_000;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let rule = Rule { channel: "c".to_owned(), max_age: None, max_messages: Some(6) };
    let relay = Relay::start_with(|config| {
        config.store.data.clone_from(&data);
        config.retention = vec![rule];
    })
    .await;
    let old = |text: &str, i: u64| json!({"command": "send", "channel": "c", "text": text, "sent_at": YEAR_2010 + i});
    let mut json_client = relay.ws().await;
    for i in 0..5 {
        json_client.ask(&old("old", i)).await;
    }
    let mut away = Live::open(relay.address, "bob").await;
    away.until("what is old", |rows| rows.len() == 5).await;
    // Bob hears nothing of what comes now.
    let mut live = Live::open(relay.address, "ada").await;
    for i in 0..6 {
        live.say(&format!("new {i}"));
    }
    let is_new = |rows: &[MessageRow]| rows.iter().all(|row| text_of(row) != "old");
    live.until("what is kept", |rows| rows.len() == 6 && is_new(rows)).await;
    relay.stop().await.unwrap();
    // The rule is gone, so that what comes late is not dropped at once.
    let relay = Relay::start_with(|config| config.store.data.clone_from(&data)).await;
    live.reconnect(relay.address).await;
    let mut json_client = relay.ws().await;
    assert_eq!(json_client.ask(&old("again", 1)).await["event"], "ack");
    live.until("what is late", |rows| rows.len() == 7 && is_new(rows)).await;
    away.say("by bob");
    away.reconnect(relay.address).await;
    for client in [&mut away, &mut live] {
        client.until("the same", |rows| rows.len() == 8 && is_new(rows)).await;
    }
    relay.stop().await.unwrap();
    let store = crate::store::Store::open_existing(&data).unwrap();
    assert_eq!(crate::check::verify(&store, |_| {}).unwrap(), []);
    let reader = crate::reader::Reader::new(store, std::sync::Arc::default());
    let directory = reader.view().directory("c").unwrap();
    let of_2010 = directory.iter().find(|(_, entry)| entry.last_ms < YEAR_2010 + 1_000).unwrap();
    assert_eq!((of_2010.1.messages, of_2010.1.generation), (1, 1));
}
