//! Live views of a running relay: what a client makes of the deltas is what `history` says, and its
//! late runs are the late messages that it never had in view.

use backscroll_core::message::MessageId;
use backscroll_tests::json::Json;
use backscroll_tests::relay::Relay;
use backscroll_tests::view::Watcher;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const T0: u64 = 1_700_000_000_000;

#[derive(Clone, Debug)]
enum Step {
    /// A message this many ms after the first.
    Send(u64),
    Edit(usize),
    Delete(usize),
    React(usize, bool),
    Move(Value, u64, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let at = prop_oneof![
        2 => Just(json!("latest")),
        1 => Just(json!("oldest")),
        3 => (0..200_u64).prop_map(|index| json!({"index": index})),
        1 => (0..120_000_u64).prop_map(|ms| json!({"time": T0 + ms})),
        1 => (0..=100_u8).prop_map(|percent| json!({"fraction": f64::from(percent) / 100.0})),
    ];
    let step = prop_oneof![
        30 => (0..120_000_u64).prop_map(Step::Send),
        4 => any::<usize>().prop_map(Step::Edit),
        1 => any::<usize>().prop_map(Step::Delete),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(pick, on)| Step::React(pick, on)),
        2 => (at, 0..30_u64, 0..30_u64).prop_map(|(at, before, after)| Step::Move(at, before, after)),
    ];
    proptest::collection::vec(step, 50..400)
}

/// Sends commands without waiting, and counts the answers they will get.
struct Speaker {
    client: Json,
    channel: String,
    ids: Vec<String>,
    asked: u64,
}

impl Speaker {
    async fn tell(&mut self, mut command: Value) {
        command["channel"] = json!(self.channel);
        self.client.command(&command).await;
        self.asked += 1;
    }

    async fn send(&mut self, ms: u64) {
        let number = self.ids.len() as u128;
        let id = MessageId::from_parts(T0 + ms, (number << 40) + 1).to_string();
        self.tell(
            json!({"command": "send", "id": id, "text": format!("m{number}"), "from": "ada"}),
        )
        .await;
        self.ids.push(id);
    }

    async fn say(&mut self, pick: usize, mut command: Value) {
        if !self.ids.is_empty() {
            command["id"] = json!(self.ids[pick % self.ids.len()]);
            self.tell(command).await;
        }
    }

    async fn answers(&mut self) {
        for _ in 0..self.asked {
            let event = self.client.event().await.expect("the socket is open");
            assert_eq!(event["event"], "ack", "{event}");
        }
        self.asked = 0;
    }
}

/// The late messages that were in no view, in runs as (first, last, count), and their ids.
fn unseen(all: &[Value], since: u64, seen: &BTreeSet<String>) -> (Vec<Value>, Vec<String>) {
    let (mut runs, mut ids): (Vec<(String, String, u64)>, Vec<String>) = (Vec::new(), Vec::new());
    let mut follows = false;
    for message in all {
        let id = message["id"].as_str().expect("an id").to_owned();
        let is_unseen = message["late"] == true
            && message["seq"].as_u64().expect("a seq") > since
            && !seen.contains(&id);
        if is_unseen {
            ids.push(id.clone());
            match runs.last_mut().filter(|_| follows) {
                Some(run) => (run.1, run.2) = (id, run.2 + 1),
                None => runs.push((id.clone(), id, 1)),
            }
        }
        follows = is_unseen;
    }
    (runs.into_iter().map(|(first, last, count)| json!([first, last, count])).collect(), ids)
}

async fn check(relay: &Relay, number: u32, steps: Vec<Step>) -> u64 {
    let channel = format!("views-{number}");
    let client = Json::connect(relay).await;
    let mut speaker = Speaker { client, channel: channel.clone(), ids: Vec::new(), asked: 0 };
    for ms in 0..40 {
        speaker.send(ms * 1_000).await;
    }
    speaker.answers().await;
    let mut watcher = Watcher::new(Json::connect(relay).await, &channel, "eve");
    watcher.place(&json!("latest"), 20, 0).await;
    for step in steps {
        match step {
            Step::Send(ms) => speaker.send(ms).await,
            Step::Edit(pick) => {
                let text = format!("edit {}", speaker.asked);
                speaker.say(pick, json!({"command": "edit", "text": text})).await;
            }
            Step::Delete(pick) => speaker.say(pick, json!({"command": "delete"})).await,
            Step::React(pick, on) => {
                let command = json!({"command": "react", "emoji": "+1", "on": on, "from": "bob"});
                speaker.say(pick, command).await;
            }
            Step::Move(at, before, after) => watcher.place(&at, before, after).await,
        }
    }
    // The last op of all: who counts it has everything before it.
    speaker.send(200_000).await;
    speaker.answers().await;
    let total = speaker.ids.len() as u64;
    watcher.until_total(total).await;

    let all = speaker.client.history(&channel, json!("oldest"), 0, 5_000).await;
    let all = all["messages"].as_array().expect("messages");
    let start = usize::try_from(watcher.start).expect("small");
    assert_eq!(all.len() as u64, total);
    assert_eq!(
        watcher.rows,
        all[start..start + watcher.rows.len()],
        "the rows are those of history"
    );
    let (runs, ids) = unseen(all, 40, &watcher.seen);
    let told = watcher.late["runs"].as_array().expect("runs");
    let run = |run: &Value| json!([run["first"], run["last"], run["count"]]);
    // At most 64 are told, those nearest to the view.
    let told: Vec<_> = told.iter().map(run).collect();
    assert!(if runs.len() <= 64 {
        told == runs
    } else {
        told.iter().all(|run| runs.contains(run))
    });
    let before =
        |id: &&String| watcher.rows.first().is_some_and(|row| row["id"].as_str() > Some(id));
    let above = ids.iter().filter(before).count() as u64;
    let counts = (&watcher.late["above"], &watcher.late["below"]);
    assert_eq!(counts, (&json!(above), &json!(ids.len() as u64 - above)));
    watcher.deltas
}

#[tokio::test]
async fn a_view_is_what_history_says_whatever_happens() {
    let relay = Arc::new(Relay::start());
    let cases = std::env::var("CASES").ok().map_or(12, |n| n.parse().expect("a number"));
    let mut runner = TestRunner::new(Config::default());
    let mut deltas = 0;
    for number in 0..cases {
        let steps = steps().new_tree(&mut runner).expect("steps").current();
        let shown = format!("{steps:?}");
        let relay = relay.clone();
        match tokio::spawn(async move { check(&relay, number, steps).await }).await {
            Ok(told) => deltas += told,
            Err(error) => panic!("{error} with {shown}"),
        }
    }
    assert!(deltas > 0);
}

#[tokio::test]
async fn a_thousand_messages_elsewhere_are_few_deltas() {
    let relay = Relay::start();
    let client = Json::connect(&relay).await;
    let mut speaker = Speaker { client, channel: "busy".to_owned(), ids: Vec::new(), asked: 0 };
    for ms in 0..40 {
        speaker.send(ms * 1_000).await;
    }
    speaker.answers().await;
    let mut watcher = Watcher::new(Json::connect(&relay).await, "busy", "eve");
    watcher.place(&json!({"index": 5}), 2, 2).await;
    let from = std::time::Instant::now();
    for ms in 0..1_000 {
        speaker.send(50_000 + ms).await;
    }
    speaker.answers().await;
    watcher.until_total(1_040).await;
    // One at once, and then one each tenth of a second at the most.
    let most = 2 + from.elapsed().as_millis() / 100;
    assert!(u128::from(watcher.deltas) <= most, "{} deltas", watcher.deltas);
    assert_eq!((watcher.start, watcher.rows.len()), (3, 4));
}

#[tokio::test]
async fn what_json_clients_say_is_what_sync_clients_read() {
    use backscroll_core::change::DocKind;
    use backscroll_core::segment::SegmentDoc;
    use backscroll_core::wire::RelayFrame;
    use backscroll_tests::sync::Sync;
    let relay = Relay::start();
    let mut json_client = Json::connect(&relay).await;
    let ack = json_client.ask(json!({"command": "send", "channel": "c", "text": "one"})).await;
    let id = ack["id"].as_str().expect("an id").to_owned();
    let mut sync = Sync::connect(&relay, "ada").await;
    sync.open("c", 0).await;
    let said = [
        json!({"command": "edit", "channel": "c", "id": id, "text": "two"}),
        json!({"command": "react", "channel": "c", "id": id, "emoji": "+1", "on": true, "from": "bob"}),
        json!({"command": "delete", "channel": "c", "id": id}),
    ];
    let mut documents = BTreeMap::new();
    for command in said {
        let ack = json_client.ask(command).await;
        let is_change = |frame: &RelayFrame| matches!(frame, RelayFrame::Changes { .. });
        let frame = sync.expect("the same change", is_change).await;
        let RelayFrame::Changes { seq, window, doc, chunk, .. } = frame else { unreachable!() };
        assert_eq!((json!(seq), doc), (ack["seq"].clone(), DocKind::Annotations));
        let new = || SegmentDoc::new(window, DocKind::Annotations);
        let document = documents.entry(window).or_insert_with(new);
        document.apply(&[&chunk]).expect("it applies");
    }
    let id: MessageId = id.parse().expect("an id");
    let annotations = documents.values().next().expect("a document").summary(id);
    assert!(annotations.deleted);
    assert_eq!(annotations.edit.and_then(|edit| edit.text).as_deref(), Some("two"));
    assert!(annotations.reactions["+1"].contains("bob"));

    let mark = json!({"command": "mark", "channel": "c", "read": id.to_string(), "from": "bob"});
    let ack = json_client.ask(mark).await;
    assert_eq!((&ack["event"], &ack["seq"]), (&json!("ack"), &json!(4)));
    let is_marks = |frame: &RelayFrame| matches!(frame, RelayFrame::Marks { .. });
    let RelayFrame::Marks { user, seq, read, .. } = sync.expect("marks", is_marks).await else {
        unreachable!()
    };
    assert_eq!((user.as_str(), seq, read), ("bob", 4, Some(id)));
}
