//! The admin page (on the admin address only): one page without anything from elsewhere, and the
//! figures that it asks for once a second.

use super::{Problem, json_response};
use crate::app::App;
use crate::metrics::recent::{self, LastMinute};
use crate::reader::ChannelSummary;
use crate::refused::Refused;
use crate::shutdown::Phase;
use crate::store::kv::Figures;
use axum::Router;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most channels that are listed: the busiest.
const LISTED_MAX: usize = 100;

/// Most channels that are looked at for that.
const LOOKED_AT_MAX: usize = 10_000;

/// The same answer serves everyone who asks within this time.
const FRESH: Duration = Duration::from_millis(500);

/// How long a count of segments is good: counting reads a channel's directory.
const SEGMENTS_FRESH: Duration = Duration::from_secs(30);

const PAGE: &str = include_str!("admin/page.html");

/// Only what the page itself holds, and questions to where it came from.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What the page's figures need from one question to the next.
struct Admin {
    app: Arc<App>,
    begun: Instant,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// The last answer, and when it was made.
    answer: Option<(Instant, Arc<str>)>,
    /// When the channels were looked at, and the head seq of each then.
    heads: Option<(Instant, HashMap<String, u64>)>,
    segments: HashMap<String, (Instant, u64)>,
}

#[derive(Debug, Serialize)]
struct Status {
    version: &'static str,
    phase: &'static str,
    uptime_s: u64,
    commits: LastMinute,
    store: StoreStatus,
    resident_bytes: u64,
    channels: Channels,
    /// What `/metrics` has, without histograms.
    metrics: BTreeMap<String, f64>,
}

#[derive(Debug, Serialize)]
struct StoreStatus {
    files_bytes: u64,
    free_bytes: Option<u64>,
    memtable_bytes: u64,
    cache_bytes: u64,
    pending_compaction_bytes: u64,
    wal_bytes: u64,
    sst_bytes: u64,
    blob_bytes: u64,
    stall_us: u64,
}

#[derive(Debug, Serialize)]
struct Channels {
    /// How many there are; at least, if there are more than are looked at.
    count: usize,
    /// There are more.
    more: bool,
    listed: Vec<Channel>,
}

#[derive(Debug, Serialize)]
struct Channel {
    channel: String,
    total: u64,
    seq: u64,
    newest_at: Option<u64>,
    per_second: f64,
    subscribers: usize,
    segments: u64,
}

/// The page at `/` and `/admin`, its figures at `/admin/status`.
pub(super) fn routes(app: &Arc<App>) -> Router<Arc<App>> {
    let seen = Mutex::new(Seen::default());
    let admin = Arc::new(Admin { app: app.clone(), begun: Instant::now(), seen });
    Router::new()
        .route("/", get(page))
        .route("/admin", get(page))
        .route("/admin/status", get(async move || status(admin).await))
}

async fn page() -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (HeaderName::from_static("referrer-policy"), HeaderValue::from_static("no-referrer")),
    ];
    (headers, PAGE).into_response()
}

async fn status(admin: Arc<Admin>) -> Result<Response, Problem> {
    if let Some(answer) = admin.fresh() {
        return Ok(json_response(StatusCode::OK, answer.to_string()));
    }
    let asked = admin.clone();
    let answer = admin.app.reads.run(move |view| {
        let mut channels = view.channels_after(None, LOOKED_AT_MAX + 1, |_| true)?;
        let more = channels.len() > LOOKED_AT_MAX;
        channels.truncate(LOOKED_AT_MAX);
        let count = channels.len();
        let listed = asked.busiest(channels, &asked.app.hub.listeners());
        let mut listed = listed;
        for channel in &mut listed {
            channel.segments = match asked.segments(&channel.channel) {
                Some(segments) => segments,
                None => asked.remember(&channel.channel, view.segments(&channel.channel)?),
            };
        }
        let figures = asked.app.engine.figures();
        Ok(asked.answer(Channels { count, more, listed }, figures))
    });
    Ok(json_response(StatusCode::OK, answer.await.map_err(|refused: Refused| refused)?.to_string()))
}

impl Admin {
    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        // Nothing panics while it holds the lock, so what it guards is whole.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh(&self) -> Option<Arc<str>> {
        let seen = self.lock();
        seen.answer.as_ref().filter(|(at, _)| at.elapsed() < FRESH).map(|(_, text)| text.clone())
    }

    /// The channels with most new messages since the last look, then those with most subscribers,
    /// then the largest.
    fn busiest(
        &self,
        channels: Vec<ChannelSummary>,
        listeners: &HashMap<Arc<str>, usize>,
    ) -> Vec<Channel> {
        let now = Instant::now();
        let heads = channels.iter().map(|of| (of.channel.clone(), of.seq)).collect();
        let before = self.lock().heads.replace((now, heads));
        let rate = |of: &ChannelSummary| match &before {
            Some((at, heads)) => {
                let new = of.seq.saturating_sub(heads.get(&of.channel).copied().unwrap_or(0));
                #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
                let new = new as f64;
                new / now.duration_since(*at).as_secs_f64().max(0.001)
            }
            None => 0.0,
        };
        let listed = channels.into_iter().map(|of| Channel {
            per_second: rate(&of),
            subscribers: listeners.get(of.channel.as_str()).copied().unwrap_or(0),
            segments: 0,
            channel: of.channel,
            total: of.total,
            seq: of.seq,
            newest_at: of.newest_at,
        });
        let mut listed: Vec<_> = listed.collect();
        listed.sort_by(|a, b| {
            let by_rate = b.per_second.total_cmp(&a.per_second);
            by_rate.then(b.subscribers.cmp(&a.subscribers)).then(b.total.cmp(&a.total))
        });
        listed.truncate(LISTED_MAX);
        listed
    }

    /// A count of segments that is still good.
    fn segments(&self, channel: &str) -> Option<u64> {
        let seen = self.lock();
        let counted = seen.segments.get(channel).filter(|(at, _)| at.elapsed() < SEGMENTS_FRESH);
        counted.map(|(_, segments)| *segments)
    }

    fn remember(&self, channel: &str, segments: u64) -> u64 {
        let mut seen = self.lock();
        seen.segments.retain(|_, (at, _)| at.elapsed() < SEGMENTS_FRESH);
        seen.segments.insert(channel.to_owned(), (Instant::now(), segments));
        segments
    }

    fn answer(&self, channels: Channels, figures: Figures) -> Arc<str> {
        crate::metrics::store(&figures);
        let rendered = self.app.metrics.as_ref().map(|handle| handle.render());
        let status = Status {
            version: env!("CARGO_PKG_VERSION"),
            phase: match self.app.phases.phase() {
                Phase::Running => "running",
                Phase::Draining => "draining",
                Phase::Failed => "failed",
            },
            uptime_s: self.begun.elapsed().as_secs(),
            commits: recent::last_minute(),
            store: StoreStatus::from(figures),
            resident_bytes: resident_bytes().unwrap_or(0),
            channels,
            metrics: plain_figures(&rendered.unwrap_or_default()),
        };
        let answer: Arc<str> = super::json(&status).into();
        self.lock().answer = Some((Instant::now(), answer.clone()));
        answer
    }
}

impl From<Figures> for StoreStatus {
    fn from(figures: Figures) -> Self {
        Self {
            files_bytes: figures.files_bytes,
            free_bytes: figures.free_bytes,
            memtable_bytes: figures.memtable_bytes,
            cache_bytes: figures.cache_bytes,
            pending_compaction_bytes: figures.pending_compaction_bytes,
            wal_bytes: figures.wal_bytes,
            sst_bytes: figures.sst_bytes,
            blob_bytes: figures.blob_bytes,
            stall_us: figures.stall_us,
        }
    }
}

/// The counters and gauges of Prometheus' text.
fn plain_figures(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let figures = lines.filter_map(|line| line.rsplit_once(' ')).filter(|(name, _)| {
        let bare = name.split('{').next().unwrap_or_default();
        !["_bucket", "_sum", "_count"].iter().any(|end| bare.ends_with(end))
    });
    figures.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

/// Resident memory of this process; nothing where the system does not say.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_and_gauges_are_told_and_histograms_are_not() {
        let text =
            "# HELP a b\na{kind=\"ws\"} 3\nb 0.5\nc_bucket{le=\"1\"} 4\nc_sum 2\nc_count 1\n";
        let figures = plain_figures(text);
        assert_eq!(figures, [("a{kind=\"ws\"}".to_owned(), 3.0), ("b".to_owned(), 0.5)].into());
    }

    #[test]
    fn the_page_takes_nothing_from_elsewhere() {
        for outside in ["http://", "https://", "src=", "@import", "<link"] {
            assert!(!PAGE.contains(outside), "{outside}");
        }
    }
}
