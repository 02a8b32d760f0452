//! R8: a subscriber that does not read is closed with a resume code; nobody else notices, and it
//! loses nothing.

use crate::tools::long;
use backscroll_tests::crew::{Crew, Plan};
use backscroll_tests::json::{End, Json};
use backscroll_tests::relay::Relay;
use backscroll_tests::within;
use serde_json::json;

/// What the relay may take for the one that is stuck, with what everybody else needs.
const GROWTH_BYTES_MAX: u64 = 96 << 20;

/// `limits.answers_mib`: of a thousand on one machine some do not keep up, come back and are answered
/// with megabytes each.
const ANSWERS_BYTES_MAX: u64 = 256 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r8_one_stuck_reader_costs_nobody_else_anything() {
    let relay = Relay::start();
    let mut stuck = Json::connect_narrow(&relay).await;
    stuck.ask(json!({"command": "subscribe", "channel": "c0", "last": 0})).await;
    let channels = vec!["c0".to_owned()];
    let subscribers = if long() { 1_000 } else { 50 };
    // 4 MiB in all: the outbox of 1 MiB and what the kernel buffers of one socket are full before.
    let plan = Plan { subscribers, channels, bytes: 4 << 10, ..Plan::default() };
    let before = relay.resident_bytes();
    let mut crew = Crew::start(&relay, &plan);
    crew.acknowledged(1_200).await;
    let grown = relay.resident_bytes().saturating_sub(before);
    let (history, stored) = crew.finish(&relay).await;
    let verdict = history.judge(&stored);
    assert!(verdict.is_clean(), "{verdict}");
    println!("a stuck reader among {subscribers}: {verdict}; grown by {} MiB", grown >> 20);
    let answers = if long() { ANSWERS_BYTES_MAX } else { 0 };
    assert!(
        grown < GROWTH_BYTES_MAX + answers + subscribers * (64 << 10),
        "grown by {grown} bytes"
    );
    // It reads at last: a part of what came, in order and without a gap, then the close.
    let mut next = 1;
    let end = within("the close", async {
        loop {
            match stuck.event().await {
                Ok(event) => {
                    assert_eq!(event["message"]["seq"], json!(next), "{event}");
                    next += 1;
                }
                Err(end) => return end,
            }
        }
    })
    .await;
    assert_eq!(end, End::Closed(4001), "the code that says: come back");
    assert!(next < stored["c0"].len() as u64, "it was not stuck");
    let mut back = Json::connect(&relay).await;
    let answer = back.ask(json!({"command": "subscribe", "channel": "c0", "last": 5_000})).await;
    assert_eq!(answer["total"].as_u64(), Some(stored["c0"].len() as u64), "it comes back");
}
