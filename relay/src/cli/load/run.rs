//! What the senders and subscribers of one run share: the target, who may send what next, counts,
//! the history, and the form of a message.

use super::super::now_ms;
use super::journal::{Journal, Kind};
use super::socket::Target;
use backscroll_core::message::{IdMaker, MessageId};
use hdrhistogram::Histogram;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Bytes of a text that say when and as what it was sent: 16 digits, a space, an id, a space.
pub(super) const STAMP_BYTES: usize = 54;

/// Longest time a histogram holds, in us.
const TIME_US_MAX: u64 = 600_000_000;

/// Shortest and longest pause between two attempts to connect again.
pub(super) const PAUSE_MS: std::ops::RangeInclusive<u64> = 50..=2_000;

/// Latencies, in us.
pub(super) type Latencies = Histogram<u32>;

/// An empty histogram: two digits, 12 KB, since every subscriber has one.
pub(super) fn latencies() -> Latencies {
    #[expect(clippy::unwrap_used, reason = "constants that the crate takes")]
    Histogram::new_with_max(TIME_US_MAX, 2).unwrap()
}

/// Notes a latency.
pub(super) fn record(latencies: &mut Latencies, latency: Duration) {
    let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    latencies.saturating_record(us.max(1));
}

/// Counts, for progress and for the report.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) sent: AtomicU64,
    pub(super) acknowledged: AtomicU64,
    pub(super) duplicates: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) resent: AtomicU64,
    pub(super) delivered: AtomicU64,
    pub(super) caught_up: AtomicU64,
    pub(super) reconnects: AtomicU64,
}

/// Adds to a count.
pub(super) fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

/// A count now.
pub(super) fn count(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

/// Where subscribers are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Connected, taking what comes.
    Listen,
    /// Away: the connection is dropped.
    Away,
    /// Done as soon as everything up to this seq came.
    Until(u64),
}

/// How much is sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Most messages; `u64::MAX` until stopped.
    pub(super) limit: u64,
    /// Bytes of a text.
    pub(super) bytes: usize,
    /// Messages per second of each sender; as fast as acknowledgements allow without.
    pub(super) rate: Option<f64>,
    /// Messages of a sender that may wait for acknowledgement.
    pub(super) in_flight: usize,
    /// Whether messages name their sender, which a credential otherwise does.
    pub(super) names: bool,
}

/// One run against one relay in one channel of its own.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) target: Target,
    pub(super) channel: String,
    pub(super) plan: Plan,
    pub(super) tally: Tally,
    pub(super) journal: Option<Arc<Journal>>,
    pub(super) begun: Instant,
    issued: AtomicU64,
    stopped: AtomicBool,
    pub(super) phase: watch::Sender<Phase>,
}

impl Run {
    pub(super) fn new(
        target: Target,
        channel: String,
        plan: Plan,
        journal: Option<Arc<Journal>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            target,
            channel,
            plan,
            tally: Tally::default(),
            journal,
            begun: Instant::now(),
            issued: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            phase: watch::Sender::new(Phase::Listen),
        })
    }

    /// Lets nobody send anything new.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether everything was sent that is to be.
    pub(super) fn is_over(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
            || self.issued.load(Ordering::Relaxed) >= self.plan.limit
    }

    /// Takes one of the messages that are left.
    pub(super) fn issue(&self) -> bool {
        !self.is_over() && self.issued.fetch_add(1, Ordering::Relaxed) < self.plan.limit
    }

    /// Notes in the history, if one is written.
    pub(super) fn note(&self, kind: Kind, client: &str, id: Option<MessageId>, seq: Option<u64>) {
        if let Some(journal) = &self.journal {
            journal.note(kind, client, id, seq);
        }
    }

    /// The text of a message: when it was sent, its id, and filling up to the run's size.
    pub(super) fn text(&self, id: MessageId) -> String {
        let mut text = String::with_capacity(self.plan.bytes);
        // Writing to a string cannot fail.
        let _ = write!(text, "{:016x} {id} ", self.since_begin_us(Instant::now()));
        text.extend(std::iter::repeat_n('.', self.plan.bytes.saturating_sub(text.len())));
        text
    }

    fn since_begin_us(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.begun).as_micros()).unwrap_or(u64::MAX)
    }

    /// How long ago a text was made that came as message `id`; `None` if it is not what was sent.
    pub(super) fn age(&self, id: MessageId, text: &str) -> Option<Duration> {
        let (made_us, rest) = text.split_at_checked(16)?;
        let (its_id, filling) = rest.strip_prefix(' ')?.split_at_checked(36)?;
        let is_whole = text.len() == self.plan.bytes.max(STAMP_BYTES)
            && its_id.parse() == Ok(id)
            && filling.strip_prefix(' ')?.bytes().all(|byte| byte == b'.');
        let made_us = u64::from_str_radix(made_us, 16).ok().filter(|_| is_whole)?;
        Some(Duration::from_micros(self.since_begin_us(Instant::now()).saturating_sub(made_us)))
    }
}

/// Makes the ids of one sender.
#[derive(Debug, Default)]
pub(super) struct Ids(IdMaker);

impl Ids {
    /// The next id.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub(super) fn next(&mut self) -> Result<MessageId, getrandom::Error> {
        let mut entropy = [0; 16];
        getrandom::fill(&mut entropy)?;
        Ok(self.0.make(now_ms(), u128::from_ne_bytes(entropy)))
    }
}

/// Waits before connecting again: longer each time, and not as long as the others.
pub(super) async fn pause(attempt: u32) {
    let longest = PAUSE_MS.start().saturating_mul(1 << attempt.min(10)).min(*PAUSE_MS.end());
    let jitter = getrandom::u32().map_or(0, |random| u64::from(random) % (longest / 2));
    tokio::time::sleep(Duration::from_millis(longest / 2 + jitter)).await;
}
