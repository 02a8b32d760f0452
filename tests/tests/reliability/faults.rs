//! R3 and R4: a disk that fails, and a disk that is full.

use crate::tools::{Disk, long, skip, strace};
use backscroll_tests::crew::{Crew, Plan};
use backscroll_tests::json::Json;
use backscroll_tests::relay::Relay;
use serde_json::json;

/// fdatasync fails from its call `n` on.
fn failing_from(n: u32) -> [String; 9] {
    let inject = format!("inject=fdatasync,fsync:error=EIO:when={n}+");
    ["strace", "-D", "-f", "-o", "/dev/null", "-e", "trace=fdatasync,fsync", "-e", &inject]
        .map(str::to_owned)
}

/// Lets fdatasync fail at call `n`; the relay must end by itself and keep what it acknowledged.
async fn fail_at(n: u32) -> Option<usize> {
    let folder = tempfile::TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    // A store is there, so that what fails is the running relay.
    assert_eq!(Relay::start_on(&data, &[]).terminate(), Some(0));
    let wrapper = failing_from(n);
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let Some(mut relay) = Relay::try_start_wrapped(&wrapper, &data, &[]) else {
        // It failed while it opened the store: it did not start, which is right.
        let log = std::fs::read_to_string(data.with_extension("relay.log")).unwrap_or_default();
        assert!(log.contains("Input/output error"), "{log}");
        return None;
    };
    let mut crew = Crew::start(&relay, &Plan { subscribers: 2, ..Plan::default() });
    let status = tokio::task::spawn_blocking(move || (relay.ended(), relay)).await;
    let (status, mut relay) = status.expect("it ends");
    assert_ne!(status, Some(0), "a relay that cannot store says so to its supervisor");
    crew.relay_is_gone();
    relay.restart();
    crew.relay_is_at(&relay.address);
    crew.acknowledged(50).await;
    let (history, stored) = crew.finish(&relay).await;
    let verdict = history.judge(&stored);
    assert!(verdict.is_clean(), "fdatasync failed at call {n}: {verdict}");
    Some(verdict.acked)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r3_after_a_failed_fsync_nothing_is_acknowledged() {
    if let Err(why) = strace() {
        return skip("r3", &why);
    }
    let calls: Vec<u32> = if long() { (1..=50).collect() } else { vec![2, 9, 17, 33, 60] };
    let (mut ran, mut acked) = (0, 0);
    for n in &calls {
        if let Some(count) = fail_at(*n).await {
            ran += 1;
            acked += count;
        }
    }
    println!("fdatasync failed in {ran} running relays of {}: {acked} acknowledged", calls.len());
    assert!(ran > 0, "no relay came as far as to serve");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r4_a_full_disk_refuses_writes_and_serves_reads() {
    let disk = match Disk::make(96) {
        Ok(disk) => disk,
        Err(why) => return skip("r4", &why),
    };
    let data = disk.root().join("data");
    let config = disk.config(16);
    let mut relay = Relay::start_on(&data, &["--config", &config]);
    // Somebody else fills the disk.
    let filler = disk.root().join("filler");
    let plan = Plan { subscribers: 2, bytes: 4 << 10, ..Plan::default() };
    let mut crew = Crew::start(&relay, &plan);
    crew.acknowledged(300).await;
    let block = vec![0_u8; 1 << 20];
    let mut file = std::fs::File::create(&filler).expect("a file");
    // Down to half of the reserve.
    for _ in 0..disk.free_mebibytes().saturating_sub(8) {
        std::io::Write::write_all(&mut file, &block).expect("room");
    }
    drop(file);
    let told = tokio::task::spawn_blocking({
        let address = relay.address.clone();
        move || backscroll_tests::http::until_status(&address, "/readyz", 503)
    });
    told.await.expect("it is not ready");
    let before = crew.history.acked_count();
    // Reads go on.
    let rows = backscroll_tests::crew::stored(&relay, &crew.history.channels()).await;
    assert!(rows.values().map(Vec::len).sum::<usize>() >= 300);
    // Writes are told to come again: those that were on their way are all that may have come through.
    let mut writer = Json::connect(&relay).await;
    let answer = writer.ask(json!({"command": "send", "channel": "c0", "text": "x"})).await;
    assert_eq!((&answer["event"], &answer["code"]), (&json!("error"), &json!("retry")), "{answer}");
    assert!(crew.history.acked_count() <= before + 64, "it goes on acknowledging");
    std::fs::remove_file(&filler).expect("the filler goes");
    crew.acknowledged(100).await;
    assert_eq!(crew_restart(&mut relay, &crew), Some(0));
    crew.acknowledged(100).await;
    let (history, stored) = crew.finish(&relay).await;
    let verdict = history.judge(&stored);
    println!("a full disk: {verdict}");
    assert!(verdict.is_clean(), "{verdict}");
}

fn crew_restart(relay: &mut Relay, crew: &Crew) -> Option<i32> {
    crew.relay_is_gone();
    let status = tokio::task::block_in_place(|| relay.terminate());
    relay.restart();
    crew.relay_is_at(&relay.address);
    status
}
