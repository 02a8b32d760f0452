//! Anchors: their JSON form (design 8.2) and their text form (8.3).

use crate::message::{IdError, MessageId};
use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use std::fmt;
use std::str::FromStr;

/// Where a viewport stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum At {
    /// Behind the newest message.
    Latest,
    /// The oldest message.
    Oldest,
    /// The first message that the user has not read.
    FirstUnread,
    /// A message, or where it would stand.
    Id(MessageId),
    /// The first message sent at this time or after it, in ms since the Unix epoch.
    Time(u64),
    /// A row, counted from the oldest message; beyond the end is the end.
    Index(u64),
    /// A place on the scrollbar, from 0, the oldest, to 1.
    Fraction(f64),
}

/// Why something is no anchor. [`AtError::Id`] is answered `bad_id`, the others `bad_request`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AtError {
    /// None of the forms.
    #[error("at is latest, oldest, first-unread, or one of id, time, index and fraction")]
    Form,
    /// The id is no UUIDv7.
    #[error("at: {0}")]
    Id(#[from] IdError),
    /// Not an integer of 0 or more.
    #[error("at: {0} is an integer of 0 or more")]
    Integer(&'static str),
    /// Not a number within 0 and 1.
    #[error("at: fraction is a number within 0 and 1")]
    Fraction,
}

impl At {
    /// Reads the JSON form: `"latest"`, `{"id": ...}`, `{"index": n}` and so on.
    ///
    /// # Errors
    /// The value is no anchor; which code to answer is told by the variant.
    pub fn from_json(value: &Value) -> Result<Self, AtError> {
        match value {
            Value::String(word) => Self::from_word(word).ok_or(AtError::Form),
            Value::Object(fields) => {
                let mut fields = fields.iter();
                match (fields.next(), fields.next()) {
                    (Some((key, value)), None) => Self::from_field(key, value),
                    _ => Err(AtError::Form),
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => Err(AtError::Form),
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        match word {
            "latest" => Some(Self::Latest),
            "oldest" => Some(Self::Oldest),
            "first-unread" => Some(Self::FirstUnread),
            _ => None,
        }
    }

    fn from_field(key: &str, value: &Value) -> Result<Self, AtError> {
        match key {
            "id" => Ok(Self::Id(value.as_str().ok_or(IdError::NotUuid)?.parse()?)),
            "time" => value.as_u64().map(Self::Time).ok_or(AtError::Integer("time")),
            "index" => value.as_u64().map(Self::Index).ok_or(AtError::Integer("index")),
            "fraction" => value.as_f64().ok_or(AtError::Fraction).and_then(Self::fraction),
            _ => Err(AtError::Form),
        }
    }

    /// The anchor at a fraction of the scrollbar.
    ///
    /// # Errors
    /// The fraction is not within 0 and 1.
    pub fn fraction(fraction: f64) -> Result<Self, AtError> {
        if (0.0..=1.0).contains(&fraction) {
            Ok(Self::Fraction(fraction))
        } else {
            Err(AtError::Fraction)
        }
    }
}

impl FromStr for At {
    type Err = AtError;

    /// Reads the text form: `latest`, `id:..`, `index:..` and so on.
    fn from_str(text: &str) -> Result<Self, AtError> {
        let Some((key, value)) = text.split_once(':') else {
            return Self::from_word(text).ok_or(AtError::Form);
        };
        match key {
            "id" => Ok(Self::Id(value.parse()?)),
            "time" => digits(value).map(Self::Time).ok_or(AtError::Integer("time")),
            "index" => digits(value).map(Self::Index).ok_or(AtError::Integer("index")),
            "fraction" => value.parse().map_err(|_| AtError::Fraction).and_then(Self::fraction),
            _ => Err(AtError::Form),
        }
    }
}

/// An integer in decimal digits only: `parse` alone would take a sign.
fn digits(text: &str) -> Option<u64> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Oldest => f.write_str("oldest"),
            Self::FirstUnread => f.write_str("first-unread"),
            Self::Id(id) => write!(f, "id:{id}"),
            Self::Time(time_ms) => write!(f, "time:{time_ms}"),
            Self::Index(index) => write!(f, "index:{index}"),
            Self::Fraction(fraction) => write!(f, "fraction:{fraction}"),
        }
    }
}

impl Serialize for At {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fn field<S: Serializer>(
            serializer: S,
            key: &str,
            value: impl Serialize,
        ) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(Some(1))?;
            map.serialize_entry(key, &value)?;
            map.end()
        }
        match self {
            Self::Latest | Self::Oldest | Self::FirstUnread => serializer.collect_str(self),
            Self::Id(id) => field(serializer, "id", id),
            Self::Time(time_ms) => field(serializer, "time", time_ms),
            Self::Index(index) => field(serializer, "index", index),
            Self::Fraction(fraction) => field(serializer, "fraction", fraction),
        }
    }
}

impl<'de> Deserialize<'de> for At {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::from_json(&value).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ID: &str = "018bcfe5-6800-7000-8000-00000000004d";

    fn id() -> MessageId {
        ID.parse().unwrap()
    }

    #[test]
    fn both_forms_are_read_and_written() {
        for (at, json, text) in [
            (At::Latest, json!("latest"), "latest"),
            (At::Oldest, json!("oldest"), "oldest"),
            (At::FirstUnread, json!("first-unread"), "first-unread"),
            (At::Id(id()), json!({"id": ID}), "id:018bcfe5-6800-7000-8000-00000000004d"),
            (At::Time(17), json!({"time": 17}), "time:17"),
            (At::Index(0), json!({"index": 0}), "index:0"),
            (At::Fraction(0.25), json!({"fraction": 0.25}), "fraction:0.25"),
        ] {
            assert_eq!(At::from_json(&json), Ok(at));
            assert_eq!(serde_json::to_value(at).unwrap(), json);
            assert_eq!(serde_json::from_value::<At>(json).unwrap(), at);
            assert_eq!(text.parse(), Ok(at));
            assert_eq!(at.to_string(), text);
        }
        assert_eq!(At::from_json(&json!({"fraction": 1})), Ok(At::Fraction(1.0)));
        assert_eq!(ID.replace('-', "").parse::<MessageId>(), Ok(id()));
    }

    #[test]
    fn what_is_no_anchor_is_told_apart() {
        for (json, error) in [
            (json!("newest"), AtError::Form),
            (json!({}), AtError::Form),
            (json!({"index": 1, "time": 1}), AtError::Form),
            (json!({"row": 1}), AtError::Form),
            (json!(5), AtError::Form),
            (json!({"index": -1}), AtError::Integer("index")),
            (json!({"index": 1.5}), AtError::Integer("index")),
            (json!({"index": "1"}), AtError::Integer("index")),
            (json!({"time": -1}), AtError::Integer("time")),
            (json!({"fraction": 1.1}), AtError::Fraction),
            (json!({"fraction": "x"}), AtError::Fraction),
            (json!({"id": "x"}), AtError::Id(IdError::NotUuid)),
            (json!({"id": 5}), AtError::Id(IdError::NotUuid)),
            (
                json!({"id": "9b2c1a52-3a44-4f6e-8a55-0d3c6f7a1b2c"}),
                AtError::Id(IdError::NotVersion7),
            ),
        ] {
            assert_eq!(At::from_json(&json), Err(error), "{json}");
        }
    }

    #[test]
    fn what_is_no_anchor_in_text_is_told_apart() {
        for (text, error) in [
            ("", AtError::Form),
            ("now", AtError::Form),
            ("row:1", AtError::Form),
            ("index:-1", AtError::Integer("index")),
            ("index:+1", AtError::Integer("index")),
            ("index:", AtError::Integer("index")),
            ("time:1.5", AtError::Integer("time")),
            ("fraction:2", AtError::Fraction),
            ("fraction:NaN", AtError::Fraction),
            ("id:x", AtError::Id(IdError::NotUuid)),
        ] {
            assert_eq!(text.parse::<At>(), Err(error), "{text}");
        }
    }
}
