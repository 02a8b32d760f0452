//! Live views of JSON clients.

use super::support::{Client, Relay};
use crate::limits::VIEWS_MAX;
use backscroll_core::message::MessageId;
use serde_json::{Value, json};

const T0: u64 = 1_700_000_000_000;

fn id(time_ms: u64) -> String {
    MessageId::from_parts(T0 + time_ms, 7).to_string()
}

async fn send(client: &mut Client, time_ms: u64) {
    let command = json!({"command": "send", "channel": "c", "id": id(time_ms), "text": "x"});
    client.send(&command).await;
    assert_eq!(client.event_of("ack").await["event"], "ack");
}

async fn relay_with(count: u64) -> (Relay, Client) {
    let relay = Relay::start().await;
    let mut writer = relay.ws().await;
    for n in 1..=count {
        send(&mut writer, n * 1_000).await;
    }
    (relay, writer)
}

#[expect(clippy::needless_pass_by_value, reason = "places are written where they are used")]
fn view(at: Value, before: u64, after: u64) -> Value {
    json!({"command": "view", "channel": "c", "at": at, "before": before, "after": after})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_tells_its_rows_then_what_changes_with_the_fields_of_the_design() {
    let (relay, mut writer) = relay_with(20).await;
    let mut reader = relay.ws().await;
    let mut command = view(json!({"index": 10}), 2, 2);
    command["ref"] = json!("v");
    let event = reader.ask(&command).await;
    let mut keys: Vec<_> = event.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let expected = [
        "channel",
        "event",
        "found_newest",
        "found_oldest",
        "late",
        "messages",
        "ref",
        "start",
        "total",
    ];
    assert_eq!((keys, &event["event"]), (expected.to_vec(), &json!("view")));
    assert_eq!((&event["start"], &event["total"]), (&json!(8), &json!(20)));
    assert_eq!(event["late"], json!({"above": 0, "below": 0, "runs": []}));
    let ids: Vec<_> =
        event["messages"].as_array().unwrap().iter().map(|m| m["id"].clone()).collect();
    assert_eq!(ids, [id(9_000), id(10_000), id(11_000), id(12_000)]);

    send(&mut writer, 10_500).await;
    let delta = reader.event().await;
    let mut keys: Vec<_> = delta.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let expected = [
        "above", "below", "channel", "event", "inserted", "late", "reason", "removed", "start",
        "total", "updated",
    ];
    assert_eq!((keys, &delta["event"]), (expected.to_vec(), &json!("view-delta")));
    assert_eq!((&delta["start"], &delta["reason"]), (&json!(8), &json!("late")));
    assert_eq!((&delta["inserted"][0]["index"], &delta["total"]), (&json!(10), &json!(21)));
    assert_eq!(delta["inserted"][0]["message"]["id"], id(10_500));
    assert_eq!(delta["late"], json!({"above": 0, "below": 0, "runs": []}), "it is in view");

    let edit = json!({"command": "edit", "channel": "c", "id": id(11_000), "text": "new"});
    writer.ask(&edit).await;
    let delta = reader.event().await;
    assert_eq!((&delta["reason"], &delta["inserted"]), (&json!("edit"), &json!([])));
    assert_eq!(
        (&delta["updated"][0]["index"], &delta["updated"][0]["message"]["text"]),
        (&json!(11), &json!("new"))
    );
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_elsewhere_is_counted_and_late_until_the_view_moves_there() {
    let (relay, mut writer) = relay_with(20).await;
    let mut reader = relay.ws().await;
    reader.ask(&view(json!("latest"), 3, 0)).await;
    for time in [2_100, 2_200, 15_000 - 100] {
        send(&mut writer, time).await;
    }
    let (mut above, mut last) = (0, Value::Null);
    while above < 3 {
        last = reader.event().await;
        above += last["above"].as_u64().unwrap();
        assert_eq!((&last["inserted"], &last["below"]), (&json!([]), &json!(0)));
    }
    assert_eq!((&last["start"], &last["total"]), (&json!(20), &json!(23)));
    let run = |first: u64, last: u64, count: u64| json!({"first": id(first), "last": id(last), "count": count, "from": T0 + first, "to": T0 + last});
    // 14,900 is more than 5 s older than 20,000.
    let runs = json!([run(2_100, 2_200, 2), run(14_900, 14_900, 1)]);
    assert_eq!(last["late"], json!({"above": 3, "below": 0, "runs": runs}));
    // Only the view's own move is told: no delta of the old place comes after.
    let moved = reader.ask(&view(json!({"id": id(2_100)}), 1, 1)).await;
    assert_eq!((&moved["event"], &moved["start"]), (&json!("view"), &json!(1)));
    let late = &moved["late"];
    assert_eq!((&late["above"], &late["below"]), (&json!(0), &json!(2)));
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn late_messages_that_a_user_has_not_seen_are_told_to_the_next_view() {
    let (relay, mut writer) = relay_with(20).await;
    let mut reader = relay.ws().await;
    let of_ada = |at: Value| {
        let mut command = view(at, 3, 0);
        command["from"] = json!("ada");
        command
    };
    assert_eq!(reader.ask(&of_ada(json!("latest"))).await["late"]["above"], 0);
    send(&mut writer, 2_100).await;
    assert_eq!(reader.event_of("view-delta").await["late"]["above"], 1);
    let mark = json!({"command": "mark", "channel": "c", "read": id(20_000), "from": "ada"});
    assert_eq!(reader.ask(&mark).await["seq"], 21);
    send(&mut writer, 2_200).await;
    let (mut other, mut stranger) = (relay.ws().await, relay.ws().await);
    let late = &other.ask(&of_ada(json!("latest"))).await["late"];
    assert_eq!((&late["above"], &late["runs"][0]["count"]), (&json!(2), &json!(2)));
    assert_eq!(stranger.ask(&view(json!("latest"), 3, 0)).await["late"]["above"], 0);
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_view_tells_nothing_and_there_are_only_so_many() {
    let (relay, mut writer) = relay_with(3).await;
    let mut reader = relay.ws().await;
    reader.ask(&view(json!("latest"), 3, 0)).await;
    reader.send(&json!({"command": "unview", "channel": "c"})).await;
    // The answer to a later command shows that the one before was handled.
    reader.ask(&json!({"command": "history", "channel": "c"})).await;
    send(&mut writer, 4_000).await;
    for n in 0..=VIEWS_MAX {
        let mut command = view(json!("latest"), 3, 0);
        command["channel"] = json!(format!("c{n}"));
        let event = reader.ask(&command).await;
        let expected = if n < VIEWS_MAX { "view" } else { "error" };
        assert_eq!(event["event"], expected, "{event}");
    }
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_and_its_deltas_have_no_gap_while_others_write() {
    let (relay, _) = relay_with(3).await;
    let address = relay.address;
    let writers: Vec<_> = (0..4_u64)
        .map(|writer| {
            tokio::spawn(async move {
                let mut client = Client::connect(address, "/ws").await;
                for n in 0..200 {
                    send(&mut client, 4_000 + n * 8 + writer).await;
                }
            })
        })
        .collect();
    let mut reader = relay.ws().await;
    let mut rows: Vec<Value> = Vec::new();
    let mut start = 0;
    reader.send(&view(json!({"index": 1}), 1, 5_000 - 1)).await;
    while rows.len() < 803 {
        let event = reader.event().await;
        if event["event"] == "view" {
            rows = event["messages"].as_array().unwrap().clone();
            start = event["start"].as_u64().unwrap();
            continue;
        }
        start += event["above"].as_u64().unwrap();
        assert_eq!(event["start"], start);
        for row in event["inserted"].as_array().unwrap() {
            let at = usize::try_from(row["index"].as_u64().unwrap() - start).unwrap();
            rows.insert(at, row["message"].clone());
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let all =
        json!({"command": "history", "channel": "c", "at": "oldest", "before": 0, "after": 5000});
    reader.send(&all).await;
    assert_eq!(reader.event_of("history").await["messages"], json!(rows));
    relay.stop().await.unwrap();
}
