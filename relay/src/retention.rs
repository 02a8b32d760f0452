//! How long a channel's messages are kept: rules, and which windows are due.
//!
//! Only whole windows go, the oldest first, so a channel keeps somewhat more than its rule says: by
//! age up to one window, whose width is that of about 2,048 messages (398 days at most). The writer
//! drops them ([`crate::commit`]); the compactor's thread asks it to.

use crate::limits::DROP_MESSAGES;
use crate::reader::{ReadError, View};
use backscroll_core::window::Window;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A rule of the configuration: the first that names a channel is its rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// A channel's name, or what names begin with, followed by `*`.
    pub channel: String,
    /// Messages older than this are dropped, as `90d`, `36h`, `30m` or `10s`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_age: Option<Age>,
    /// The oldest messages beyond this many are dropped.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_messages: Option<u64>,
}

/// A time span with a unit, as `90d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Age(pub Duration);

/// Why a text is no time span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a time span is a whole number and a unit: 90d, 36h, 30m or 10s")]
pub struct AgeError;

const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

impl FromStr for Age {
    type Err = AgeError;

    fn from_str(text: &str) -> Result<Self, AgeError> {
        let of_unit = |(unit, seconds): (char, u64)| {
            let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
            number.checked_mul(seconds).map(Duration::from_secs)
        };
        UNITS.into_iter().find_map(of_unit).map(Self).ok_or(AgeError)
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0.as_secs();
        let fits = |(_, seconds): &(char, u64)| whole.is_multiple_of(*seconds);
        let (unit, seconds) = UNITS.into_iter().find(fits).unwrap_or(('s', 1));
        write!(f, "{}{unit}", whole / seconds)
    }
}

impl TryFrom<String> for Age {
    type Error = AgeError;

    fn try_from(text: String) -> Result<Self, AgeError> {
        text.parse()
    }
}

impl From<Age> for String {
    fn from(age: Age) -> Self {
        age.to_string()
    }
}

impl Rule {
    /// Whether the rule is about a channel.
    #[must_use]
    pub fn is_about(&self, channel: &str) -> bool {
        match self.channel.strip_suffix('*') {
            Some(prefix) => channel.starts_with(prefix),
            None => channel == self.channel,
        }
    }
}

/// The rule of a channel, if it has one.
#[must_use]
pub fn rule_of<'r>(rules: &'r [Rule], channel: &str) -> Option<&'r Rule> {
    rules.iter().find(|rule| rule.is_about(channel))
}

/// The windows that are due by a rule, oldest first, each with its last seq: as many as are dropped
/// at once.
///
/// # Errors
/// The store cannot be read.
///
/// # Complexity
/// O(windows).
pub(crate) fn due(
    view: &View<'_>,
    channel: &str,
    rule: &Rule,
    now_ms: u64,
) -> Result<Vec<(Window, u64)>, ReadError> {
    let age_ms = |age: Age| u64::try_from(age.0.as_millis()).unwrap_or(u64::MAX);
    let before_ms = rule.max_age.map_or(0, |age| now_ms.saturating_sub(age_ms(age)));
    let directory = view.directory(channel)?;
    let mut windows: Vec<_> = directory.iter().collect();
    windows.sort_by_key(|(_, entry)| entry.last_ms);
    let (mut left, mut taken) = (directory.total(), 0);
    let mut due = Vec::new();
    for (window, entry) in windows {
        let is_old = entry.last_ms < before_ms;
        let is_beyond = rule.max_messages.is_some_and(|most| left - entry.messages >= most);
        if !is_old && !is_beyond {
            break;
        }
        if taken > 0 && taken + entry.messages > DROP_MESSAGES {
            break;
        }
        left -= entry.messages;
        taken += entry.messages;
        due.push((window, entry.latest_seq()));
    }
    Ok(due)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_a_unit_and_are_written_as_they_are_read() {
        for (text, seconds) in [("90d", 7_776_000), ("36h", 129_600), ("30m", 1_800), ("7s", 7)] {
            let age: Age = text.parse().unwrap();
            assert_eq!((age.0.as_secs(), age.to_string().as_str()), (seconds, text));
        }
        for text in ["", "90", "d", "-1d", "1.5h", "99999999999999999d", "1w"] {
            assert_eq!(text.parse::<Age>(), Err(AgeError), "{text}");
        }
    }

    #[test]
    fn the_first_rule_that_names_a_channel_is_its_rule() {
        let rule =
            |channel: &str| Rule { channel: channel.to_owned(), max_age: None, max_messages: None };
        let rules = [rule("logs/keep"), rule("logs/*"), rule("*")];
        let of = |channel| rule_of(&rules, channel).map(|rule| rule.channel.as_str());
        assert_eq!(of("logs/keep"), Some("logs/keep"));
        assert_eq!(of("logs/keep2"), Some("logs/*"));
        assert_eq!(of("log"), Some("*"));
        assert_eq!(rule_of(&rules[..2], "log"), None);
    }
}
