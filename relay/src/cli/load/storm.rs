//! A reconnect storm: subscribers go away, miss messages, and all come back at once, while others
//! go on sending.

use super::drive::{Outcome, Readers, Senders, gather, head_of, stored};
use super::report::per_second;
use super::run::{Phase, Plan, Run, count};
use super::socket::SocketError;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long sending is measured before the storm.
const CALM: Duration = Duration::from_secs(2);

/// Longest a storm may take before it is reported as it stands.
const STORM_MAX: Duration = Duration::from_secs(120);

/// Time between two looks at whether everyone is back.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Senders in another channel: what of their steady rate is kept shows what the storm costs others.
const OTHERS: usize = 8;

/// Messages of one of them that may wait: more than any storm holds up, so that they keep their
/// rate for as long as the relay does.
const OTHERS_IN_FLIGHT: usize = 4_096;

/// Runs the storm of `readers`, who miss `run.plan.limit` messages, while others send `beside`
/// messages per second in another channel.
///
/// # Errors
/// The relay does not take a client, or the channel cannot be read back.
pub(super) async fn storm(
    run: &Arc<Run>,
    senders: usize,
    readers: usize,
    beside: f64,
) -> Result<Outcome, SocketError> {
    let listening = Readers::join(run, readers, senders).await?;
    run.phase.send_replace(Phase::Away);
    let begun = Instant::now();
    let sent = Senders::begin(run, senders).await?.finish().await;
    let head = head_of(&sent);
    let rate = Some(beside / OTHERS as f64);
    let plan = Plan { limit: u64::MAX, in_flight: OTHERS_IN_FLIGHT, rate, ..run.plan };
    let others = Run::new(run.target.clone(), format!("{}-others", run.channel), plan, None);
    let sending = Senders::begin(&others, OTHERS).await?;
    let calm = rate_over(&others, async {
        tokio::time::sleep(CALM).await;
    });
    let calm = calm.await;
    let storming = Instant::now();
    run.phase.send_replace(Phase::Until(head));
    let stormy = rate_over(&others, async {
        let back = || count(&run.tally.reconnects) >= readers as u64;
        while !back() && storming.elapsed() < STORM_MAX {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
    let stormy = stormy.await;
    others.stop();
    let other_sent = sending.finish().await;
    let heard = listening.finish(run, head).await;
    let all_back = heard.reads.iter().filter_map(|read| read.recovered).max();
    let mut each = super::run::latencies();
    for time in heard.reads.iter().flat_map(|read| &read.recoveries) {
        super::run::record(&mut each, *time);
    }
    let mut outcome = gather(run, begun, sent, heard);
    let figures = &mut outcome.figures;
    super::report::percentiles(figures, "recovery", &each);
    if let Some(all_back) = all_back {
        let seconds = (all_back - storming).as_secs_f64();
        figures.insert("all_recovered_s".to_owned(), seconds);
    }
    figures.insert("others_acks_per_s_before".to_owned(), calm);
    figures.insert("others_acks_per_s_in_the_storm".to_owned(), stormy);
    if calm > 0.0 {
        figures.insert("others_rate_kept_percent".to_owned(), stormy / calm * 100.0);
    }
    let others_failed = other_sent.into_iter().filter_map(|sent| sent.failed);
    outcome.remarks.extend(others_failed.map(|why| format!("a sender beside gave up: {why}")));
    outcome.observed.stored = Some(stored(run, senders + readers).await?);
    Ok(outcome)
}

/// Acknowledgements per second of `run` while `meanwhile` goes on.
async fn rate_over(run: &Run, meanwhile: impl Future<Output = ()>) -> f64 {
    let (before, begun) = (count(&run.tally.acknowledged), Instant::now());
    meanwhile.await;
    per_second(count(&run.tally.acknowledged) - before, begun.elapsed())
}
