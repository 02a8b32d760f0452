//! R2: power loss. The data folder is on a file system in an image; when the power fails, what is
//! in the image is what reached the disk. With fsync switched off the same test must lose messages,
//! or it would prove nothing.

use crate::tools::{Disk, long, skip, strace};
use backscroll_tests::crew::{Crew, Plan, stored};
use backscroll_tests::history::Verdict;
use backscroll_tests::relay::Relay;

/// Answers fsync without doing it.
const NO_FSYNC: &[&str] = &[
    "strace",
    "-D",
    "-f",
    "-o",
    "/dev/null",
    "-e",
    "trace=fsync,fdatasync",
    "-e",
    "inject=fsync,fdatasync:retval=0",
];

/// One power failure under load, and what a relay over the surviving image has.
async fn cut_power(wrapper: &[&str], acks: usize) -> Result<Verdict, String> {
    let disk = Disk::make(96)?;
    let config = disk.config(0);
    let data = disk.root().join("data");
    let mut relay = Relay::start_wrapped(wrapper, &data, &["--config", &config]);
    let plan = Plan { subscribers: 0, ..Plan::default() };
    let mut crew = Crew::start(&relay, &plan);
    crew.acknowledged(acks).await;
    // Killed first, so that nothing is told after the image was taken; what it wrote and did not
    // sync stays in the memory of the system, which the image does not have.
    relay.kill();
    let after = Disk::after_power_loss(&disk)?;
    let history = crew.abandon().await;
    let channels = history.channels();
    let data = after.root().join("data");
    let stored = if data.join("CURRENT").is_file() {
        let config = after.config(0);
        let survivor = Relay::start_on(&data, &["--config", &config]);
        stored(&survivor, &channels).await
    } else {
        std::collections::BTreeMap::new()
    };
    Ok(history.judge(&stored))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r2_nothing_acknowledged_is_lost_by_a_power_failure() {
    let cuts = if long() { 50 } else { 5 };
    let mut acked = 0;
    for cut in 0..cuts {
        match cut_power(&[], 100 + cut * 53 % 211).await {
            Ok(verdict) => {
                assert!(verdict.is_clean(), "power failure {cut}: {verdict}");
                acked += verdict.acked;
            }
            Err(why) => return skip("r2", &why),
        }
    }
    println!("{cuts} power failures: {acked} acknowledged, none lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r2_without_fsync_a_power_failure_loses_messages() {
    if let Err(why) = strace() {
        return skip("r2's negative control", &why);
    }
    match cut_power(NO_FSYNC, 200).await {
        Ok(verdict) => {
            println!("a power failure without fsync: {verdict}");
            assert!(!verdict.lost.is_empty(), "the test cannot tell fsync from none: {verdict}");
        }
        Err(why) => skip("r2's negative control", &why),
    }
}
