//! R1 and R6: `kill -9` again and again under load; every message sent three times.

use crate::tools::long;
use backscroll_tests::crew::{Crew, Plan};
use backscroll_tests::relay::{self, Relay};

/// Kills the relay so many times, a little later each time, and judges all of it at the end.
async fn kill(plan: &Plan, cycles: usize, acks: usize) {
    let mut relay = Relay::start();
    let mut crew = Crew::start(&relay, plan);
    for cycle in 0..cycles {
        // Another moment of the store's life each time: between, before and after flushes.
        crew.acknowledged(acks + cycle * 37 % 101).await;
        relay.kill();
        crew.relay_is_gone();
        if cycle % 8 == 0 {
            let data = relay.data().to_str().expect("UTF-8");
            let checked = relay::run(&["check", "--data", data], b"");
            assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
        }
        relay.restart();
        crew.relay_is_at(&relay.address);
    }
    crew.acknowledged(acks).await;
    let (history, stored) = crew.finish(&relay).await;
    let verdict = history.judge(&stored);
    println!("kill -9, {cycles} times, each message sent {} times: {verdict}", plan.copies);
    assert!(verdict.is_clean(), "{verdict}");
    assert!(verdict.acked > cycles * acks, "{verdict}");
    assert_eq!(verdict.unknown, 0, "who asks again is told: {verdict}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r1_nothing_acknowledged_is_lost_by_kill_9() {
    kill(&Plan::default(), if long() { 300 } else { 25 }, 120).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r6_a_message_sent_three_times_across_restarts_is_there_once() {
    let plan = Plan { copies: 3, senders: 4, subscribers: 2, ..Plan::default() };
    kill(&plan, if long() { 50 } else { 5 }, 80).await;
}
