//! Prometheus metrics: one recorder for the process, and the handles that hot paths keep.
//!
//! No label carries a user, a channel or an address.

pub(crate) mod recent;

use crate::shutdown::Phase;
use crate::store::kv::Figures;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Message;

/// Bounds of the buckets of durations, in seconds: an fsync is 0.1-10 ms.
const SECONDS: [f64; 14] =
    [0.000_5, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.125, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Bounds of the buckets of counts and sizes.
const SIZES: [f64; 11] =
    [1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0];

/// How often histograms are folded, so that they stay small while nobody asks for them.
pub(crate) const UPKEEP_EVERY: Duration = Duration::from_secs(5);

static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// The process's metrics, installed by the first call.
///
/// `None` if another recorder is installed already: then that one has the figures.
pub(crate) fn install() -> Option<PrometheusHandle> {
    let build = || {
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
            .and_then(|builder| builder.set_buckets(&SIZES));
        builder.ok()?.install_recorder().ok()
    };
    let handle = HANDLE.get_or_init(build).clone();
    gauge!("backscroll_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    handle
}

/// Notes the relay's phase.
pub(crate) fn phase(phase: Phase) {
    let failed = if phase == Phase::Failed { 1.0 } else { 0.0 };
    gauge!("backscroll_store_failsafe").set(failed);
}

/// Notes a TCP connection that was taken.
pub(crate) fn accepted() {
    counter!("backscroll_connections_accepted_total").increment(1);
}

/// Notes a connection or an upgrade that was refused.
pub(crate) fn refused(reason: &'static str) {
    counter!("backscroll_connections_refused_total", "reason" => reason).increment(1);
}

/// Notes a credential that was not taken.
pub(crate) fn auth_failed(reason: &'static str) {
    counter!("backscroll_auth_failures_total", "reason" => reason).increment(1);
}

/// Notes a frame (`ws`, `sync`) or request (`http`) that was refused or had to wait.
pub(crate) fn rate_limited(kind: &'static str) {
    counter!("backscroll_rate_limited_total", "kind" => kind).increment(1);
}

/// Notes how long a client took to answer a ping.
pub(crate) fn ponged(after: Duration) {
    histogram!("backscroll_ping_pong_seconds").record(after);
}

/// Notes a row that is damaged, which cost one command or read its answer.
pub(crate) fn damaged_row() {
    counter!("backscroll_damaged_rows_total").increment(1);
}

/// The figures of the writer's batches.
#[derive(Debug)]
pub(crate) struct CommitMetrics {
    seconds: Histogram,
    commands: Histogram,
    bytes: Histogram,
    errors: Counter,
    queued: Gauge,
}

impl CommitMetrics {
    /// The writer's handles.
    pub(crate) fn new() -> Self {
        Self {
            seconds: histogram!("backscroll_commit_duration_seconds"),
            commands: histogram!("backscroll_commit_batch_messages"),
            bytes: histogram!("backscroll_commit_batch_bytes"),
            errors: counter!("backscroll_commit_errors_total"),
            queued: gauge!("backscroll_commit_queue_depth"),
        }
    }

    /// A batch of `commands` is taken from the queue, where `queued` still wait.
    #[expect(clippy::cast_precision_loss, reason = "figures are floats")]
    pub(crate) fn begun(&self, commands: usize, bytes: usize, queued: usize) {
        self.commands.record(commands as f64);
        self.bytes.record(bytes as f64);
        self.queued.set(queued as f64);
    }

    /// A batch of `commands` that was begun at `since` is on disk.
    pub(crate) fn committed(&self, commands: usize, since: Instant) {
        let took = since.elapsed();
        self.seconds.record(took);
        recent::committed(commands, took);
    }

    /// A batch could not be written.
    pub(crate) fn failed(&self) {
        self.errors.increment(1);
    }
}

/// Notes what the store says of itself.
#[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
pub(crate) fn store(figures: &Figures) {
    let set = |gauge: Gauge, value: u64| gauge.set(value as f64);
    set(gauge!("backscroll_rocksdb_memtable_bytes"), figures.memtable_bytes);
    set(gauge!("backscroll_rocksdb_cache_bytes"), figures.cache_bytes);
    set(gauge!("backscroll_rocksdb_pending_compaction_bytes"), figures.pending_compaction_bytes);
    set(gauge!("backscroll_rocksdb_wal_bytes"), figures.wal_bytes);
    set(gauge!("backscroll_rocksdb_sst_bytes"), figures.sst_bytes);
    // The store counts it; a counter follows by being set.
    counter!("backscroll_rocksdb_stall_seconds_total").absolute(figures.stall_us / 1_000_000);
}

/// Notes how a socket ended.
pub(crate) fn disconnected(code: u16) {
    counter!("backscroll_disconnects_total", "code" => code.to_string()).increment(1);
}

/// Notes a client that was closed because it read too slowly.
pub(crate) fn slow_consumer() {
    counter!("backscroll_slow_consumers_total").increment(1);
}

/// Notes an answer for which there was no room among those that wait to be taken.
pub(crate) fn answer_refused() {
    counter!("backscroll_answers_refused_total").increment(1);
}

/// Notes how many bytes of answers wait to be taken.
#[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
pub(crate) fn answers_held(bytes: usize) {
    gauge!("backscroll_answer_bytes").set(bytes as f64);
}

/// Whether a subscriber came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It came.
    Joined,
    /// It went.
    Left,
}

/// Notes that a subscriber came or went, and how many channels have any now.
pub(crate) fn subscriptions(change: Change, channels: usize) {
    let subscriptions = gauge!("backscroll_subscriptions");
    match change {
        Change::Joined => subscriptions.increment(1.0),
        Change::Left => subscriptions.decrement(1.0),
    }
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    gauge!("backscroll_channels_subscribed").set(channels as f64);
}

/// Notes that a live view came or went.
pub(crate) fn views(change: Change) {
    let views = gauge!("backscroll_views");
    match change {
        Change::Joined => views.increment(1.0),
        Change::Left => views.decrement(1.0),
    }
}

/// Notes whether a sync client could resume from its cursor.
pub(crate) fn recovered(resumed: bool) {
    let recovered = if resumed { "yes" } else { "no" };
    counter!("backscroll_recover_total", "recovered" => recovered).increment(1);
}

/// Notes what a publisher was told and how long that took.
#[derive(Clone, Debug)]
pub(crate) struct PublishMetrics {
    seconds: Histogram,
    duplicates: Counter,
}

impl PublishMetrics {
    /// The handles for one transport.
    pub(crate) fn new(transport: &'static str) -> Self {
        Self {
            seconds: histogram!("backscroll_publish_duration_seconds", "transport" => transport),
            duplicates: counter!("backscroll_duplicates_total", "transport" => transport),
        }
    }

    /// A publish that was asked for at `since` is answered.
    pub(crate) fn answered(&self, since: Instant) {
        self.seconds.record(since.elapsed());
    }

    /// Counts what was there before.
    pub(crate) fn duplicate_if(&self, duplicate: bool) {
        self.duplicates.increment(u64::from(duplicate));
    }
}

/// The figures of the sockets of one transport.
#[derive(Debug)]
pub(crate) struct SocketMetrics {
    open: Gauge,
    received: Counter,
    received_bytes: Counter,
    sent: Counter,
    sent_bytes: Counter,
}

impl SocketMetrics {
    /// The handles of a socket of `transport`, which is counted as open until they are dropped.
    pub(crate) fn new(transport: &'static str) -> Self {
        let open = gauge!("backscroll_connections", "transport" => transport);
        open.increment(1.0);
        Self {
            open,
            received: counter!("backscroll_messages_received_total", "kind" => transport),
            received_bytes: counter!("backscroll_bytes_received_total", "kind" => transport),
            sent: counter!("backscroll_messages_sent_total", "kind" => transport),
            sent_bytes: counter!("backscroll_bytes_sent_total", "kind" => transport),
        }
    }

    /// Notes a frame that came in.
    pub(crate) fn received(&self, bytes: usize) {
        self.received.increment(1);
        self.received_bytes.increment(bytes as u64);
    }

    /// Notes frames that go out.
    pub(crate) fn sent(&self, frames: &[Message]) {
        self.sent.increment(frames.len() as u64);
        self.sent_bytes.increment(frames.iter().map(|frame| frame.len() as u64).sum());
    }
}

impl Drop for SocketMetrics {
    fn drop(&mut self) {
        self.open.decrement(1.0);
    }
}
