//! The time trie: windows, the path of a timestamp, and the home of a new message.
//!
//! Design 4.3 and references/segments 12. A window is a span of time; a channel keeps one segment
//! per window. Windows know nothing of documents or messages but times, counts and bytes.

use crate::limits::{WINDOW_BYTES_FULL, WINDOW_MESSAGES_FULL, WINDOW_REFUSE, WINDOW_SLACK};
use crate::message::TIME_MS_MAX;
use std::fmt;
use std::str::FromStr;

/// Width of a top-level window, as a power of two in ms: 2^35 ms is 398 days.
pub const TOP_BITS: u32 = 35;

/// Each level divides its parent in 2^3 = 8.
pub const FAN_BITS: u32 = 3;

/// The deepest level, whose windows are 4 ms wide.
pub const LEVEL_LAST: u8 = 11;

/// Knowledge this fresh is taken as complete (ms): the writer saw everything up to just now.
const FRESH_MS: u64 = 2_000;

/// A span of time in the trie: `width_ms` long from `start_ms`, which is a multiple of the width.
///
/// Windows order by level, then start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    level: u8,
    start_ms: u64,
}

/// Why a level and a start are no window.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WindowError {
    /// The level is below the last one.
    #[error("window level {0} is beyond the last level, {LEVEL_LAST}")]
    Level(u8),
    /// The start is not a multiple of the level's width, or beyond the last time.
    #[error("window start {start_ms} ms is not aligned to level {level}")]
    Start {
        /// The level.
        level: u8,
        /// The start, in ms since the Unix epoch.
        start_ms: u64,
    },
    /// The text is not `<level>-<start>`.
    #[error("a window is written <level>-<start in ms>")]
    Text,
}

impl Window {
    /// The window at `level` from `start_ms`.
    ///
    /// # Errors
    /// The level is too deep, or the start is not aligned or beyond the last time.
    pub fn new(level: u8, start_ms: u64) -> Result<Self, WindowError> {
        if level > LEVEL_LAST {
            return Err(WindowError::Level(level));
        }
        if start_ms > TIME_MS_MAX || start_ms & (width_ms(level) - 1) != 0 {
            return Err(WindowError::Start { level, start_ms });
        }
        Ok(Self { level, start_ms })
    }

    /// The window of `level` that covers `time_ms`; a deeper level than the last counts as the last.
    #[must_use]
    pub fn covering(level: u8, time_ms: u64) -> Self {
        let level = level.min(LEVEL_LAST);
        Self { level, start_ms: time_ms & !(width_ms(level) - 1) }
    }

    /// The windows that cover `time_ms`, widest first.
    pub fn path(time_ms: u64) -> impl Iterator<Item = Self> {
        (0..=LEVEL_LAST).map(move |level| Self::covering(level, time_ms))
    }

    /// Depth in the trie, 0 the widest.
    #[must_use]
    pub const fn level(self) -> u8 {
        self.level
    }

    /// First instant inside, in ms since the Unix epoch.
    #[must_use]
    pub const fn start_ms(self) -> u64 {
        self.start_ms
    }

    /// First instant after it, in ms since the Unix epoch.
    #[must_use]
    pub const fn end_ms(self) -> u64 {
        self.start_ms + width_ms(self.level)
    }

    /// Whether `time_ms` lies inside.
    #[must_use]
    pub const fn contains(self, time_ms: u64) -> bool {
        time_ms >= self.start_ms && time_ms < self.end_ms()
    }
}

const fn width_ms(level: u8) -> u64 {
    Rule::USED.width_ms(level)
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.level, self.start_ms)
    }
}

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        let (level, start) = text.split_once('-').ok_or(WindowError::Text)?;
        let level = level.parse().map_err(|_| WindowError::Text)?;
        Self::new(level, start.parse().map_err(|_| WindowError::Text)?)
    }
}

/// What a writer knows of a window: enough to tell whether it is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Messages in it.
    pub messages: u64,
    /// Bytes of message bodies in it.
    pub bytes: u64,
    /// Sent time of its oldest message, in ms since the Unix epoch.
    pub oldest_ms: u64,
    /// Sent time of its newest message, in ms since the Unix epoch.
    pub newest_ms: u64,
}

impl Fill {
    /// The fill of a window that holds one message.
    #[must_use]
    pub const fn one(time_ms: u64, bytes: u64) -> Self {
        Self { messages: 1, bytes, oldest_ms: time_ms, newest_ms: time_ms }
    }

    /// The fill after one more message.
    #[must_use]
    pub fn with(self, time_ms: u64, bytes: u64) -> Self {
        Self {
            messages: self.messages + 1,
            bytes: self.bytes + bytes,
            oldest_ms: self.oldest_ms.min(time_ms),
            newest_ms: self.newest_ms.max(time_ms),
        }
    }

    const fn reaches(self, rule: &Rule, times: u64) -> bool {
        self.messages >= rule.messages_full * times || self.bytes >= rule.bytes_full * times
    }

    /// Whether the window takes only messages inside its own span.
    #[must_use]
    pub const fn is_full(self) -> bool {
        self.reaches(&Rule::USED, 1)
    }

    /// Whether a relay refuses further messages for this window; the last level is exempt.
    #[must_use]
    pub const fn is_refused(self, window: Window) -> bool {
        self.reaches(&Rule::USED, WINDOW_REFUSE) && window.level() < LEVEL_LAST
    }
}

/// What a writer knows of its channel when it places a message.
#[derive(Clone, Copy, Debug)]
pub struct Knowledge {
    /// When the writer last knew everything, in ms since the Unix epoch; `u64::MAX` is now.
    pub complete_until_ms: u64,
    /// Messages per ms that the others were posting then.
    pub messages_per_ms: f64,
    /// The deepest level that the writer has seen in use.
    pub deepest_level: u8,
}

impl Knowledge {
    /// The knowledge of a writer that sees every message: the relay, an importer.
    pub const FULL: Self =
        Self { complete_until_ms: u64::MAX, messages_per_ms: 0.0, deepest_level: 0 };
}

/// The numbers of the placement rule. All but the measurements that chose them use [`Rule::USED`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Each level divides its parent in two to the power of this.
    pub fan_bits: u32,
    /// A window is full at this many messages.
    pub messages_full: u64,
    /// A window is full at this many bytes of message bodies.
    pub bytes_full: u64,
}

impl Rule {
    /// What every writer places by.
    pub const USED: Self = Self {
        fan_bits: FAN_BITS,
        messages_full: WINDOW_MESSAGES_FULL,
        bytes_full: WINDOW_BYTES_FULL,
    };

    /// The deepest level.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "it is at most 33")]
    pub const fn level_last(&self) -> u8 {
        // Below 4 ms there is nothing to divide.
        ((TOP_BITS - 2) / self.fan_bits) as u8
    }

    /// The width of a level's windows, in ms.
    #[must_use]
    pub const fn width_ms(&self, level: u8) -> u64 {
        1 << (TOP_BITS - self.fan_bits * level as u32)
    }

    /// The level and the start of the window for a new message, as [`home_of`].
    ///
    /// # Complexity
    /// At most one call of `fill` for each level.
    #[inline]
    pub fn home(
        &self,
        time_ms: u64,
        knowledge: Knowledge,
        mut fill: impl FnMut(u8, u64) -> Option<Fill>,
    ) -> (u8, u64) {
        let mut filled_until_ms = 0_u64;
        let last = self.level_last();
        for level in 0..last {
            let start_ms = time_ms & !(self.width_ms(level) - 1);
            let known = fill(level, start_ms);
            if let Some(known) = known.filter(|known| known.reaches(self, 1)) {
                let inside = known.oldest_ms <= time_ms && time_ms <= known.newest_ms;
                if inside && !known.reaches(self, WINDOW_SLACK) {
                    return (level, start_ms);
                }
                filled_until_ms = filled_until_ms.max(known.newest_ms);
                continue;
            }
            let fresh = time_ms <= knowledge.complete_until_ms.saturating_add(FRESH_MS);
            if fresh || level >= knowledge.deepest_level {
                return (level, start_ms);
            }
            let counted_until_ms = if known.is_some() { knowledge.complete_until_ms } else { 0 };
            let from_ms = counted_until_ms.max(start_ms).max(filled_until_ms);
            let room = self.messages_full - known.map_or(0, |known| known.messages);
            let full_at_ms = from_ms.saturating_add(ms_to_post(room, knowledge.messages_per_ms));
            if time_ms < full_at_ms {
                return (level, start_ms);
            }
            filled_until_ms = full_at_ms;
        }
        // The last level takes whatever comes.
        (last, time_ms & !(self.width_ms(last) - 1))
    }
}

/// The window for a new message sent at `time_ms`: the widest on its path that, as far as the
/// writer knows, is not full (design 4.3).
///
/// `fill` gives what the writer knows of a window, its own unsent messages included. A full window
/// still takes a message inside its own span, up to twice its bound (*slack*). A writer whose
/// knowledge ends before `time_ms` assumes that the others kept posting at the known rate
/// (*extrapolation*).
///
/// # Complexity
/// At most eleven calls of `fill`.
pub fn home_of(
    time_ms: u64,
    knowledge: Knowledge,
    mut fill: impl FnMut(Window) -> Option<Fill>,
) -> Window {
    let (level, start_ms) =
        Rule::USED.home(time_ms, knowledge, |level, start_ms| fill(Window { level, start_ms }));
    Window { level, start_ms }
}

const _: () = assert!(Rule::USED.level_last() == LEVEL_LAST);

/// How long `messages` take at `per_ms`, in ms; for ever at no rate.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn ms_to_post(messages: u64, per_ms: f64) -> u64 {
    if per_ms > 0.0 { (messages as f64 / per_ms) as u64 } else { u64::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const DAY_MS: u64 = 86_400_000;
    const T0: u64 = 1_700_000_000_000;

    #[derive(Default)]
    struct Writer {
        fills: BTreeMap<Window, Fill>,
    }

    impl Writer {
        fn write(&mut self, time_ms: u64, knowledge: Knowledge) -> Window {
            let home = home_of(time_ms, knowledge, |w| self.fills.get(&w).copied());
            self.add(home, time_ms);
            home
        }

        fn add(&mut self, home: Window, time_ms: u64) {
            let fill =
                self.fills.get(&home).map_or(Fill::one(time_ms, 40), |f| f.with(time_ms, 40));
            self.fills.insert(home, fill);
        }

        fn deepest(&self) -> u8 {
            self.fills.keys().map(|w| w.level()).max().unwrap_or(0)
        }
    }

    #[test]
    fn path_narrows_by_eight_around_the_time() {
        let path: Vec<_> = Window::path(T0 + 12_345).collect();
        assert_eq!(path.len(), 12);
        for pair in path.windows(2) {
            assert_eq!(
                pair[0].end_ms() - pair[0].start_ms(),
                8 * (pair[1].end_ms() - pair[1].start_ms())
            );
            assert!(
                pair[0].start_ms() <= pair[1].start_ms() && pair[1].end_ms() <= pair[0].end_ms()
            );
        }
        assert!(path.iter().all(|w| w.contains(T0 + 12_345)));
        assert_eq!(path[11].end_ms() - path[11].start_ms(), 4);
    }

    #[test]
    fn unaligned_or_too_deep_is_no_window() {
        assert!(Window::new(12, 0).is_err());
        assert!(Window::new(0, 1).is_err());
        assert!(Window::new(11, 2).is_err());
        assert!(Window::new(11, 4).is_ok());
        assert!(Window::new(0, 1 << 48).is_err());
        assert_eq!("3-67108864".parse::<Window>(), Window::new(3, 1 << 26));
        for text in ["", "3", "3-x", "-", "3-5", "99-0", "3--1"] {
            assert!(text.parse::<Window>().is_err(), "{text}");
        }
    }

    #[test]
    fn quiet_channel_stays_in_the_widest_window() {
        let mut writer = Writer::default();
        for i in 0..2_000 {
            assert_eq!(writer.write(T0 + i * 3_600_000 / 100, Knowledge::FULL).level(), 0);
        }
    }

    #[test]
    fn steady_traffic_makes_no_dust_and_no_giants() {
        let mut writer = Writer::default();
        for i in 0..200_000_u64 {
            let late = if i % 33 == 0 { (i * 7_919) % DAY_MS } else { 0 };
            writer.write((T0 + i * 1_000).saturating_sub(late), Knowledge::FULL);
        }
        let ideal = 200_000 / WINDOW_MESSAGES_FULL;
        let count = writer.fills.len() as u64;
        assert!(count <= 4 * ideal, "{count} windows");
        assert!(writer.fills.values().all(|f| f.messages <= 2 * WINDOW_MESSAGES_FULL));
    }

    #[test]
    fn slack_keeps_a_late_message_in_its_full_window() {
        let mut writer = Writer::default();
        for i in 0..WINDOW_MESSAGES_FULL {
            writer.write(T0 + i * 1_000, Knowledge::FULL);
        }
        assert_eq!(writer.write(T0 + 500, Knowledge::FULL).level(), 0, "inside its span");
        let after = T0 + (WINDOW_MESSAGES_FULL + 10) * 1_000;
        assert_eq!(writer.write(after, Knowledge::FULL).level(), 1, "after its span");
    }

    #[test]
    fn bytes_fill_a_window_too() {
        let fill = Fill::one(T0, WINDOW_BYTES_FULL);
        assert!(fill.is_full());
        let home = home_of(T0 + 9, Knowledge::FULL, |w| (w.level() == 0).then_some(fill));
        assert_eq!(home.level(), 1);
    }

    #[test]
    fn relay_refuses_at_four_times_but_never_at_the_last_level() {
        let fill = Fill { messages: 4 * WINDOW_MESSAGES_FULL, ..Fill::one(T0, 1) };
        assert!(fill.is_refused(Window::covering(3, T0)));
        assert!(!fill.is_refused(Window::covering(LEVEL_LAST, T0)));
        assert!(!Fill { messages: fill.messages - 1, ..fill }.is_refused(Window::covering(3, T0)));
    }

    /// Eight writers offline for a day at one message a second each place by what they knew.
    fn worst_window_of_offline_writers(extrapolate: bool) -> u64 {
        let mut shared = Writer::default();
        for i in 0..100_000_u64 {
            shared.write(T0 + i * 1_000, Knowledge::FULL);
        }
        let cut = T0 + 100_000 * 1_000;
        let knowledge = Knowledge {
            complete_until_ms: if extrapolate { cut } else { u64::MAX },
            messages_per_ms: 0.001,
            deepest_level: shared.deepest(),
        };
        let mut merged = Writer { fills: shared.fills.clone() };
        for writer in 0..8_u64 {
            let mut own = Writer { fills: shared.fills.clone() };
            for i in 0..10_800_u64 {
                let time_ms = cut + (i * 8 + writer) * 1_000;
                let home = own.write(time_ms, knowledge);
                merged.add(home, time_ms);
            }
        }
        merged.fills.values().map(|f| f.messages).max().unwrap_or(0)
    }

    #[test]
    fn extrapolation_keeps_offline_writers_from_piling_up() {
        let plain = worst_window_of_offline_writers(false);
        let extrapolated = worst_window_of_offline_writers(true);
        assert!(extrapolated <= 2 * WINDOW_MESSAGES_FULL, "{extrapolated}");
        assert!(plain > 4 * WINDOW_MESSAGES_FULL, "the control must pile up: {plain}");
    }
}
