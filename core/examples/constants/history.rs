//! Messages of several kinds of traffic: when each was written, when it arrived, and what its writer
//! knew.

use backscroll_core::simulate::{Arrivals, Chunk, Plan};
use flate2::read::GzDecoder;
use std::io::{BufReader, Read};

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
const YEAR_MS: u64 = 365 * DAY_MS;
const UNTIL_MS: u64 = 1_735_689_600_000;

/// A message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    /// When its id says that it was written.
    pub(crate) sent_ms: u64,
    /// When the relay got it.
    pub(crate) arrived_ms: u64,
    /// When its writer placed it.
    pub(crate) placed_ms: u64,
    /// Until when its writer knew everything; None for one who is online.
    pub(crate) known_ms: Option<u64>,
    /// Who wrote a chunk of messages offline, and knows these.
    pub(crate) session: Option<u32>,
    /// Bytes of its body.
    pub(crate) bytes: u64,
    /// Put into the deepest window of its time, whatever is known: its writer mints windows.
    pub(crate) mints: bool,
}

/// How writers place what comes late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writers {
    /// With all that is known when it arrives, as a bridge does.
    Fresh,
    /// With what they knew when they wrote it, and extrapolation.
    Stale,
    /// As stale ones; one in 200 messages mints a window, one in 1,600 has a wrong clock.
    Hostile,
}

impl Writers {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Hostile => "hostile",
        }
    }
}

/// Traffic of one kind: sent and arrival times, body bytes, and sessions of offline writers.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) name: &'static str,
    messages: Vec<Written>,
}

/// A spread of numbers that is the same in each run.
pub(crate) const fn mixed(n: u64) -> u64 {
    let n = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (n ^ n >> 31) >> 8
}

impl History {
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    /// The messages in the order of arrival, as these writers place them.
    pub(crate) fn with(&self, writers: Writers) -> Vec<Written> {
        let first_ms = self.messages.iter().map(|message| message.sent_ms).min().unwrap_or(0);
        let mut messages = self.messages.clone();
        for (n, message) in (0..).zip(&mut messages) {
            if writers == Writers::Fresh {
                (message.placed_ms, message.known_ms) = (message.arrived_ms, None);
                message.session = None;
            }
            if writers == Writers::Hostile {
                message.mints = mixed(n ^ 0xa5a5).is_multiple_of(200);
                if mixed(n ^ 0x5a5a).is_multiple_of(1_600) {
                    // The relay refuses ids of the future; the past is anybody's.
                    let past_ms = mixed(n) % (3 * YEAR_MS);
                    message.sent_ms = first_ms.saturating_sub(past_ms);
                }
            }
        }
        messages.sort_by_key(|message| message.arrived_ms);
        messages
    }

    /// From (sent, arrived, bytes): what is late was placed with the knowledge of some time before.
    fn new(name: &'static str, times: impl Iterator<Item = (u64, u64, u64)>) -> Self {
        let written = |(n, (sent_ms, arrived_ms, bytes)): (u64, (u64, u64, u64))| {
            let late_ms = arrived_ms.saturating_sub(sent_ms);
            let known_ms =
                (late_ms > 5_000).then(|| sent_ms.saturating_sub(mixed(n ^ 0x77) % late_ms));
            Written {
                sent_ms,
                arrived_ms,
                placed_ms: sent_ms,
                known_ms,
                session: None,
                bytes,
                mints: false,
            }
        };
        Self { name, messages: (0..).zip(times).map(written).collect() }
    }

    /// After every `every` messages, `size` of one writer who was offline for `span_ms`.
    fn with_sessions(mut self, every: usize, size: u64, span_ms: u64) -> Self {
        let mut sessions = Vec::new();
        for (session, message) in (0_u32..).zip(self.messages.iter().skip(every).step_by(every)) {
            let from_ms = message.sent_ms.saturating_sub(span_ms + mixed(session.into()) % DAY_MS);
            let arrived_ms = message.arrived_ms;
            sessions.extend((0..size).map(|n| Written {
                sent_ms: from_ms + span_ms * n / size,
                arrived_ms,
                placed_ms: from_ms + span_ms * n / size,
                known_ms: Some(from_ms),
                session: Some(session),
                bytes: 40 + mixed(n) % 40,
                mints: false,
            }));
        }
        self.messages.extend(sessions);
        self
    }
}

/// Steady, human, quiet and burst traffic; `scale` times fewer messages than usual.
pub(crate) fn synthetic(scale: u64) -> Vec<History> {
    let bytes = |n: u64| 40 + mixed(n ^ 0x99) % 70;
    let late = move |n: u64, percent: u64, most_ms: u64| {
        let is_late = mixed(n ^ 0x33) % 100 < percent;
        // Most are late by little: the product of two draws.
        if is_late {
            mixed(n ^ 1) % 1_000 * (mixed(n ^ 2) % 1_000) * most_ms / 1_000_000
        } else {
            0
        }
    };
    let flat = move |count: u64, span_ms: u64, percent: u64, most_ms: u64| {
        (0..count).map(move |n| {
            let sent_ms = UNTIL_MS - span_ms + n * span_ms / count;
            (sent_ms, sent_ms + late(n, percent, most_ms) + mixed(n) % 400, bytes(n))
        })
    };
    let steady = 1_000_000 / scale;
    let human = Plan {
        rate_per_second: 0.0158,
        late_percent: 2.0,
        chunk: Some(Chunk { every: 50_000, size: 500 }),
        seed: 3,
    };
    let arrivals = Arrivals::new(&human, 1_000_000 / scale, UNTIL_MS).unwrap();
    let arrivals = arrivals.map(|arrival| {
        let body = arrival.message.content.to_body().unwrap().len() as u64;
        (arrival.message.id.time_ms(), arrival.arrived_ms, body)
    });
    vec![
        History::new("steady 1/s", flat(steady, steady * 1_000, 3, DAY_MS)).with_sessions(
            50_000 / scale as usize,
            2_000 / scale,
            6 * HOUR_MS,
        ),
        History::new("human, 2 years", arrivals),
        History::new("quiet, 5 years", flat(5_000, 5 * YEAR_MS, 3, 2 * DAY_MS)),
        History::new("burst, 10 min", flat(200_000 / scale, 600_000, 3, 60_000)),
    ]
}

/// A real chat: lines in the order of arrival. What stands after a later message arrived with it.
pub(crate) fn chat(path: &str) -> History {
    let mut text = String::new();
    let file = std::fs::File::open(path).unwrap();
    if std::path::Path::new(path).extension().is_some_and(|extension| extension == "gz") {
        GzDecoder::new(file).read_to_string(&mut text).unwrap();
    } else {
        BufReader::new(file).read_to_string(&mut text).unwrap();
    }
    let mut newest_ms = 0;
    let lines = text.lines().map(|line| {
        let fields: serde_json::Value = serde_json::from_str(line).unwrap();
        let sent_ms = fields["sent_at"].as_u64().unwrap();
        newest_ms = sent_ms.max(newest_ms);
        let said = ["from", "text"].map(|field| fields[field].as_str().unwrap().len() as u64);
        (sent_ms, newest_ms, said.iter().sum::<u64>() + 14)
    });
    let lines: Vec<_> = lines.collect();
    History::new("real chat", lines.into_iter())
}
