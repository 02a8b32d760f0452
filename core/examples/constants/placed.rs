//! Where a rule puts messages, and what that means for who reads them.

use crate::history::{Written, mixed};
use backscroll_core::directory::{Directory, Entry};
use backscroll_core::window::{Fill, Knowledge, Rule, Window};
use std::collections::BTreeMap;

type Place = (u8, u64);

/// Viewports that are looked at, and rows of each.
const VIEWS: u64 = 400;
const ROWS: usize = 50;

/// Messages over which a stale writer knows the rate of the others.
const RATE_MESSAGES: usize = 20_000;

/// A window as it filled: its fill after each arrival.
#[derive(Debug, Default)]
struct Filling {
    arrived_ms: Vec<u64>,
    fills: Vec<Fill>,
}

impl Filling {
    /// What it held when everything up to `ms` had arrived.
    fn at(&self, ms: u64) -> Option<Fill> {
        let count = self.arrived_ms.partition_point(|arrived| *arrived <= ms);
        count.checked_sub(1).map(|last| self.fills[last])
    }
}

/// Messages in windows.
#[derive(Debug)]
pub(crate) struct Placed {
    rule: Rule,
    windows: BTreeMap<Place, Fill>,
    /// Every sent time, ascending.
    times: Vec<u64>,
}

/// What viewports of 50 rows touch.
#[derive(Debug)]
pub(crate) struct Views {
    pub(crate) windows_p50: usize,
    pub(crate) windows_p95: usize,
    pub(crate) windows_max: usize,
    pub(crate) messages_p50: u64,
    pub(crate) messages_p95: u64,
    /// Without the first 15 % of the rows: a fast channel is placed badly on its first day, by writers
    /// who know nothing of its rate yet.
    pub(crate) messages_p95_later: u64,
}

/// What is known of the channel while messages come and are written.
#[derive(Debug, Default)]
struct Channel {
    windows: BTreeMap<Place, Filling>,
    /// Arrivals so far, and the newest sent time at each.
    arrived: Vec<(u64, u64)>,
    /// When each deeper level was first used.
    deepest: Vec<(u64, u8)>,
    /// What writers of offline sessions have written themselves.
    sessions: BTreeMap<(u32, Place), Fill>,
}

impl Channel {
    fn home(&self, rule: &Rule, message: &Written) -> Place {
        if message.mints {
            let level = rule.level_last();
            return (level, message.sent_ms & !(rule.width_ms(level) - 1));
        }
        let (known_ms, knowledge) = match message.known_ms {
            // Online: all but what is on its way.
            None => (message.placed_ms.saturating_sub(500), Knowledge::FULL),
            Some(known_ms) => (known_ms, self.knowledge(known_ms)),
        };
        rule.home(message.sent_ms, knowledge, |level, start_ms| {
            let place = (level, start_ms);
            let known = self.windows.get(&place).and_then(|filling| filling.at(known_ms));
            let own = message.session.and_then(|session| self.sessions.get(&(session, place)));
            match (known, own.copied()) {
                (Some(known), Some(own)) => Some(Fill {
                    messages: known.messages + own.messages,
                    bytes: known.bytes + own.bytes,
                    oldest_ms: known.oldest_ms.min(own.oldest_ms),
                    newest_ms: known.newest_ms.max(own.newest_ms),
                }),
                (known, own) => known.or(own),
            }
        })
    }

    fn knowledge(&self, known_ms: u64) -> Knowledge {
        let count = self.arrived.partition_point(|(arrived_ms, _)| *arrived_ms <= known_ms);
        let from = count.saturating_sub(RATE_MESSAGES);
        let newest = |at: usize| self.arrived.get(at).map_or(0, |(_, newest_ms)| *newest_ms);
        let span_ms = newest(count.saturating_sub(1)).saturating_sub(newest(from));
        let messages_per_ms =
            if span_ms > 0 { (count - from) as f64 / span_ms as f64 } else { 0.0 };
        let used = self.deepest.partition_point(|(at_ms, _)| *at_ms <= known_ms);
        let deepest_level = used.checked_sub(1).map_or(0, |last| self.deepest[last].1);
        Knowledge { complete_until_ms: known_ms, messages_per_ms, deepest_level }
    }

    fn arrives(&mut self, message: &Written, place: Place) {
        let newest_ms = self.arrived.last().map_or(0, |(_, newest_ms)| *newest_ms);
        self.arrived.push((message.arrived_ms, newest_ms.max(message.sent_ms)));
        if self.deepest.last().is_none_or(|(_, level)| *level < place.0) && !message.mints {
            self.deepest.push((message.arrived_ms, place.0));
        }
        let filling = self.windows.entry(place).or_default();
        let fill = match filling.fills.last() {
            Some(fill) => fill.with(message.sent_ms, message.bytes),
            None => Fill::one(message.sent_ms, message.bytes),
        };
        filling.arrived_ms.push(message.arrived_ms);
        filling.fills.push(fill);
    }
}

impl Placed {
    /// Places messages when they are written, by what their writers know then.
    pub(crate) fn new(messages: &[Written], rule: Rule) -> Self {
        let mut by_writing: Vec<usize> = (0..messages.len()).collect();
        by_writing.sort_by_key(|at| messages[*at].placed_ms);
        let mut places = vec![(0, 0); messages.len()];
        let mut channel = Channel::default();
        let mut writing = by_writing.into_iter().peekable();
        for (at, message) in messages.iter().enumerate() {
            // Everything that is written before this arrives, and this itself.
            while let Some(next) = writing.next_if(|n| messages[*n].placed_ms <= message.arrived_ms)
            {
                let (written, place) = (&messages[next], channel.home(&rule, &messages[next]));
                places[next] = place;
                if let Some(session) = written.session {
                    let fill = Fill::one(written.sent_ms, written.bytes);
                    let own = channel.sessions.entry((session, place)).or_insert(Fill {
                        messages: 0,
                        bytes: 0,
                        ..fill
                    });
                    *own = own.with(written.sent_ms, written.bytes);
                }
            }
            channel.arrives(message, places[at]);
        }
        let last = |filling: Filling| filling.fills.last().copied().unwrap();
        let windows = channel.windows.into_iter().map(|(place, filling)| (place, last(filling)));
        let mut times: Vec<_> = messages.iter().map(|message| message.sent_ms).collect();
        times.sort_unstable();
        Self { rule, windows: windows.collect(), times }
    }

    pub(crate) fn len(&self) -> usize {
        self.windows.len()
    }

    /// Windows with less than a sixteenth of what they may hold.
    pub(crate) fn dust(&self) -> usize {
        let few = self.rule.messages_full / 16;
        self.windows.values().filter(|fill| fill.messages < few).count()
    }

    pub(crate) fn largest(&self) -> u64 {
        self.windows.values().map(|fill| fill.messages).max().unwrap_or(0)
    }

    /// The directory of these windows, with a digest and a seq for each. Seqs are made up: they rise
    /// with the windows, as in a channel that filled in order.
    pub(crate) fn directory_bytes(&self) -> usize {
        if self.rule.fan_bits == Rule::USED.fan_bits {
            return self.directory().encode().len();
        }
        // Windows of another fan-out cannot be written; each takes what one of ours takes.
        let ours = Self { rule: Rule::USED, windows: BTreeMap::new(), times: Vec::new() };
        let sample: BTreeMap<_, _> = self
            .windows
            .iter()
            .map(|((level, start_ms), fill)| {
                let near = self.rule.width_ms(*level);
                let level = (0..=Rule::USED.level_last())
                    .find(|level| Rule::USED.width_ms(*level) <= near)
                    .unwrap_or(Rule::USED.level_last());
                let width = Rule::USED.width_ms(level);
                ((level, start_ms & !(width - 1)), *fill)
            })
            .collect();
        let sampled = sample.len().max(1);
        let bytes = Self { windows: sample, ..ours }.directory().encode().len();
        bytes * self.windows.len() / sampled
    }

    fn directory(&self) -> Directory {
        let mut seq = 0;
        let entry = |((level, start_ms), fill): (&Place, &Fill)| {
            let window = Window::new(*level, *start_ms).unwrap();
            seq += fill.messages;
            let end_ms = window.end_ms() - 1;
            let mut entry = Entry::one(0, fill.oldest_ms.max(*start_ms).min(end_ms), fill.bytes);
            entry.last_ms = fill.newest_ms.max(entry.first_ms).min(end_ms);
            entry.messages = fill.messages;
            entry.message_doc.last_seq = seq;
            entry.message_doc.digest = mixed(seq) | 1 << 63;
            (window, entry)
        };
        self.windows.iter().map(entry).collect()
    }

    /// Looks at random places.
    pub(crate) fn viewports(&self) -> Views {
        let mut touched = self.touched(0);
        touched.sort_unstable();
        let (windows_p50, windows_p95) = (at(&touched, 50).0, at(&touched, 95).0);
        let windows_max = at(&touched, 100).0;
        touched.sort_unstable_by_key(|(_, messages)| *messages);
        let (messages_p50, messages_p95) = (at(&touched, 50).1, at(&touched, 95).1);
        let mut later = self.touched(15);
        later.sort_unstable_by_key(|(_, messages)| *messages);
        let messages_p95_later = at(&later, 95).1;
        Views {
            windows_p50,
            windows_p95,
            windows_max,
            messages_p50,
            messages_p95,
            messages_p95_later,
        }
    }

    /// Windows and their messages that each of the views touches, from this percent of the rows on.
    fn touched(&self, from_percent: usize) -> Vec<(usize, u64)> {
        let rows = ROWS.min(self.times.len());
        let from = self.times.len() * from_percent / 100;
        let view = |n: u64| {
            let places = (self.times.len() - from).saturating_sub(rows) + 1;
            let first = (from + mixed(n ^ 0x1234) as usize % places).min(self.times.len() - rows);
            let (from_ms, to_ms) = (self.times[first], self.times[first + rows - 1]);
            let reaches = |fill: &&Fill| fill.oldest_ms <= to_ms && from_ms <= fill.newest_ms;
            let windows = self.windows.values().filter(reaches);
            windows.fold((0, 0), |(count, messages), fill| (count + 1, messages + fill.messages))
        };
        (0..VIEWS).map(view).collect()
    }
}

fn at(sorted: &[(usize, u64)], percent: usize) -> (usize, u64) {
    sorted[(sorted.len() - 1) * percent / 100]
}
