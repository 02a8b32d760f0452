//! R9: SIGTERM under load: every socket is closed with a code that says "come back", the relay ends
//! by itself with status 0, nothing acknowledged is lost, and everybody goes on at its successor.

use crate::tools::long;
use backscroll_tests::crew::{Crew, Plan};
use backscroll_tests::json::{End, Json};
use backscroll_tests::relay::Relay;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r9_a_drain_loses_nothing_and_tells_everybody_to_come_back() {
    let mut relay = Relay::start();
    let mut crew = Crew::start(&relay, &Plan::default());
    let mut idle = JoinSet::new();
    for _ in 0..if long() { 2_000 } else { 200 } {
        let mut client = Json::connect(&relay).await;
        idle.spawn(async move { client.event_or_forever::<serde_json::Value>().await });
    }
    crew.acknowledged(500).await;
    // In a thread of its own: the clients must be able to answer while the relay ends.
    let (status, old) =
        tokio::task::spawn_blocking(move || (relay.terminate(), relay)).await.expect("it ends");
    assert_eq!(status, Some(0));
    crew.relay_is_gone();
    while let Some(end) = idle.join_next().await {
        assert_eq!(end.expect("it ends"), Err(End::Closed(4000)));
    }
    let mut relay = old;
    relay.restart();
    crew.relay_is_at(&relay.address);
    crew.acknowledged(200).await;
    let (history, stored) = crew.finish(&relay).await;
    let verdict = history.judge(&stored);
    println!("a drain under load: {verdict}");
    assert!(verdict.is_clean(), "{verdict}");
}
