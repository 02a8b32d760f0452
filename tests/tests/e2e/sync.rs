//! `/sync` from outside: delivery once, windows that equal the relay's at every seq, bad frames.

use backscroll_core::change::DocKind;
use backscroll_core::message::MessageId;
use backscroll_core::window::Window;
use backscroll_core::wire::{ClientFrame, Code, RelayFrame, encode_client};
use backscroll_tests::http;
use backscroll_tests::json::Json;
use backscroll_tests::relay::Relay;
use backscroll_tests::sync::{Loaded, Sync, Writer, ids_of, seqs_of};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::task::JoinSet;

const T0: u64 = 1_700_000_000_000;
const SENDERS: u8 = 8;
const EACH: u64 = 120;
const TOTAL: u64 = SENDERS as u64 * EACH;

fn push(reference: u64, window: Window, chunk: Vec<u8>) -> ClientFrame {
    let channel = "c".to_owned();
    let (generation, doc) = (0, DocKind::Messages);
    ClientFrame::Push { reference, channel, window, generation, doc, chunks: vec![chunk] }
}

/// Pushes its share over several windows; what it was told: id -> seq.
async fn push_all(relay: Arc<Relay>, sender: u8) -> BTreeMap<MessageId, u64> {
    let user = format!("s{sender}");
    let mut client = Sync::connect(&relay, &user).await;
    let mut writer = Writer::new(&user, sender + 1);
    let mut told = BTreeMap::new();
    for i in 0..EACH {
        let time_ms = T0 + i * 60_000 - if i % 10 == 9 { 3_600_000 } else { 0 };
        let id = MessageId::from_parts(time_ms, u128::from(sender) << 32 | u128::from(i));
        let level = if i % 3 == 0 { 3 } else { 0 };
        let (window, chunk) = writer.write(level, id, &format!("{sender}:{i}"));
        client.send(&push(i + 1, window, chunk)).await;
        match client
            .expect("ack", |f| matches!(f, RelayFrame::Ack { .. } | RelayFrame::Nack { .. }))
            .await
        {
            RelayFrame::Ack { reference, seqs, .. } => {
                assert_eq!(reference, i + 1);
                told.insert(id, seqs[0]);
            }
            other => panic!("{other:?}"),
        }
    }
    told
}

/// Joins once `join_at` messages are there; what it saw by seq, from history and live.
async fn follow(relay: Arc<Relay>, join_at: u64) -> BTreeMap<u64, MessageId> {
    let mut json = Json::connect(&relay).await;
    while json.history("c", json!("latest"), 0, 0).await["total"].as_u64() < Some(join_at) {
        tokio::task::yield_now().await;
    }
    let mut client = Sync::connect(&relay, "reader").await;
    let (head, directory) = client.open("c", 0).await;
    let mut seen = BTreeMap::new();
    let mut next = head + 1;
    while next <= TOTAL {
        let frame = client.expect("changes", |f| matches!(f, RelayFrame::Changes { .. })).await;
        let RelayFrame::Changes { seq, window, chunk, .. } = frame else { unreachable!() };
        assert_eq!(seq, next, "no gap, no repeat");
        for (id, seq) in seqs_of(window, seq, &chunk) {
            assert!(seen.insert(seq, id).is_none());
            next = seq + 1;
        }
    }
    for (reference, (window, _)) in (1_u64..).zip(directory.iter()) {
        let loaded = client.fetch("c", window, reference).await;
        for (id, seq) in loaded.seqs {
            if seq <= head {
                assert!(seen.insert(seq, id).is_none(), "seq {seq} in history and live");
            } else {
                assert_eq!(seen.get(&seq), Some(&id), "history agrees with live");
            }
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_sees_each_message_once_over_sync() {
    let relay = Arc::new(Relay::start());
    let (mut followers, mut senders) = (JoinSet::new(), JoinSet::new());
    for join_at in [0, 1, 83, 290, 555, 900] {
        followers.spawn(follow(relay.clone(), join_at));
    }
    for sender in 0..SENDERS {
        senders.spawn(push_all(relay.clone(), sender));
    }
    let mut told = BTreeMap::new();
    while let Some(sent) = senders.join_next().await {
        for (id, seq) in sent.expect("the sender ends") {
            assert!(told.insert(seq, id).is_none(), "seq {seq} was given twice");
        }
    }
    assert_eq!(told.len() as u64, TOTAL);
    while let Some(seen) = followers.join_next().await {
        assert_eq!(seen.expect("the follower ends"), told);
    }
}

/// Messages go in by JSON, so that the relay authors them, while a client fetches again and again:
/// what it loads is exactly what was stored up to the seq that the answer names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetched_window_equals_the_relays_at_every_seq_while_compaction_runs() {
    const MESSAGES: u64 = 1_500;
    let relay = Arc::new(Relay::start());
    // Open before the first message: what was there at the cut does not come live.
    let mut client = Sync::connect(&relay, "reader").await;
    let (_, _) = client.open("c", 0).await;
    let sending = relay.clone();
    let sender = tokio::spawn(async move {
        let mut client = Json::connect(&sending).await;
        for i in 0..MESSAGES {
            // Many of one millisecond: their order in a document is not that of newest first.
            let sent_at = T0 + (i * 7_919) % 211;
            let send = json!({"command": "send", "channel": "c", "from": "a", "sent_at": sent_at,
                              "text": format!("m{i}")});
            assert_eq!(client.ask(send).await["event"], "ack");
        }
    });
    let window = Window::covering(0, T0);
    let mut live = BTreeMap::new();
    let mut loads: Vec<Loaded> = Vec::new();
    let mut reference = 0;
    while (live.len() as u64) < MESSAGES {
        let frame = client.expect("changes", |f| matches!(f, RelayFrame::Changes { .. })).await;
        let RelayFrame::Changes { seq, window: of, chunk, .. } = frame else { unreachable!() };
        assert_eq!(of, window);
        live.extend(seqs_of(of, seq, &chunk).into_iter().map(|(id, seq)| (seq, id)));
        if live.len() % 25 == 0 {
            reference += 1;
            loads.push(client.fetch("c", window, reference).await);
        }
    }
    sender.await.expect("the sender ends");
    loads.push(client.fetch("c", window, reference + 1).await);
    assert!(loads.len() >= 30, "{} fetches", loads.len());
    for loaded in loads {
        let stored: BTreeMap<_, _> =
            live.range(..=loaded.as_of).map(|(seq, id)| (*id, *seq)).collect();
        assert_eq!(loaded.seqs, stored, "at seq {}", loaded.as_of);
        let ids: BTreeSet<_> = loaded.segment.messages().map(|(id, _)| id).collect();
        assert!(ids.iter().eq(stored.keys()), "at seq {}", loaded.as_of);
    }
}

#[tokio::test]
async fn pushing_again_gives_the_same_seq_and_delivers_nothing_new() {
    let relay = Relay::start();
    let mut client = Sync::connect(&relay, "ada").await;
    client.open("c", 10).await;
    let id = MessageId::from_parts(T0, 1);
    let (window, chunk) = Writer::new("ada", 1).write(0, id, "once");
    for reference in 1..=3 {
        client.send(&push(reference, window, chunk.clone())).await;
        let ack = client.expect("ack", |f| matches!(f, RelayFrame::Ack { .. })).await;
        assert!(matches!(&ack, RelayFrame::Ack { seqs, .. } if *seqs == [1]), "{ack:?}");
    }
    let changes = client.expect("changes", |f| matches!(f, RelayFrame::Changes { .. })).await;
    let RelayFrame::Changes { window: of, chunk, .. } = changes else { unreachable!() };
    assert_eq!(ids_of(of, &chunk), [id]);
    let total = http::get(&relay, "/api/channels").body["channels"][0]["total"].clone();
    assert_eq!(total, 1);
}

/// Each of these pushes is refused for good, by this code, and nothing of it is stored.
#[tokio::test]
async fn refused_changes_are_named_and_store_nothing() {
    let relay = Relay::start();
    let mut client = Sync::connect(&relay, "ada").await;
    let (window, good) = Writer::new("ada", 1).write(0, MessageId::from_parts(T0, 1), "good");
    let (_, others) = Writer::new("bob", 2).write(0, MessageId::from_parts(T0, 2), "forged");
    let future = MessageId::from_parts((1 << 47) + 5, 3);
    let (future_window, future) = Writer::new("ada", 3).write(0, future, "not yet");
    let mut flipped = good.clone();
    *flipped.last_mut().expect("not empty") ^= 1;
    let mut longer = good.clone();
    longer.push(0);
    let mut gap = Writer::new("ada", 4);
    gap.write(0, MessageId::from_parts(T0, 4), "never sent");
    let (_, gap) = gap.write(0, MessageId::from_parts(T0, 5), "after a gap");
    let elsewhere = Window::covering(0, T0 + (1 << 40));
    let cases = [
        (window, flipped, Code::BadChange),
        (window, longer, Code::BadChange),
        (window, vec![0; 40], Code::BadChange),
        (window, gap, Code::BadChange),
        (elsewhere, good.clone(), Code::BadChange),
        (window, others, Code::Forbidden),
        (future_window, future, Code::FutureId),
    ];
    for (reference, (window, chunk, wanted)) in (1..).zip(cases) {
        client.send(&push(reference, window, chunk)).await;
        let nack = client
            .expect("nack", |f| matches!(f, RelayFrame::Nack { .. } | RelayFrame::Ack { .. }))
            .await;
        let RelayFrame::Nack { reference: got, code, chunk_index, .. } = nack else {
            panic!("case {reference} was accepted");
        };
        assert_eq!((got, chunk_index, code), (reference, 0, wanted), "case {reference}");
    }
    assert_eq!(http::get(&relay, "/api/channels").body, json!({"channels": []}));
    client.send(&push(99, window, good)).await;
    client.expect("ack", |f| matches!(f, RelayFrame::Ack { reference: 99, .. })).await;
}

#[tokio::test]
async fn broken_frames_get_an_error_and_the_socket_stays_open() {
    let relay = Relay::start();
    let mut client = Sync::connect(&relay, "ada").await;
    let open =
        encode_client(&ClientFrame::Open { channel: "c".to_owned(), cursor: None, newest: 5 });
    let mut cut = open.clone();
    cut.truncate(cut.len() - 1);
    let mut longer = open;
    longer.push(0);
    for bytes in [vec![], vec![0xff], vec![0x82, 0x18, 0x64, 0xa0], cut, longer] {
        client.send_bytes(bytes.clone()).await;
        let frame = client.frame().await;
        assert!(matches!(frame, Some(RelayFrame::Error { .. })), "{bytes:02x?}: {frame:?}");
    }
    let unnamed = ClientFrame::Open { channel: String::new(), cursor: None, newest: 5 };
    client.send_bytes(encode_client(&unnamed)).await;
    assert!(matches!(client.frame().await, Some(RelayFrame::Error { .. })));
    client.open("c", 5).await;
    assert_eq!(http::get(&relay, "/api/channels").body, json!({"channels": []}));
}
