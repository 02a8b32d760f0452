//! Stable codes: why a frame or a change is refused, and why a connection is closed.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// Why something was refused, on every interface (design 8.2, and what only `/sync` has).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// Not JSON.
    BadJson,
    /// A command that does not exist or does not work yet.
    UnknownCommand,
    /// A field is missing, of the wrong type or out of its bounds.
    BadRequest,
    /// A channel name that is empty or too long.
    BadChannel,
    /// Not a UUIDv7, or one that disagrees with `sent_at`.
    BadId,
    /// A text, a frame or a change over its limit.
    TooLarge,
    /// An id from the future.
    FutureId,
    /// The id belongs to another message.
    IdTaken,
    /// The window takes no more messages: the author places the message anew.
    WindowFull,
    /// No such message, channel or blob.
    NotFound,
    /// The credential is missing or wrong.
    Unauthorized,
    /// The credential does not allow this.
    Forbidden,
    /// Too many requests.
    RateLimited,
    /// A failure that passes; the same again later may succeed.
    Retry,
    /// The channel has this message already: it counts as sent.
    Duplicate,
    /// Bytes that are no frame.
    BadFrame,
    /// A change that breaks the rules of design 7.
    BadChange,
    /// The window was erased since: its generation is higher.
    StaleGeneration,
    /// The channel is not open on this connection.
    NotOpen,
    /// A code of a later version; treated as final, like every other.
    Unknown(String),
}

/// Every code with its text; the one list that both directions read.
const TEXTS: [(Code, &str); 19] = [
    (Code::BadJson, "bad_json"),
    (Code::UnknownCommand, "unknown_command"),
    (Code::BadRequest, "bad_request"),
    (Code::BadChannel, "bad_channel"),
    (Code::BadId, "bad_id"),
    (Code::TooLarge, "too_large"),
    (Code::FutureId, "future_id"),
    (Code::IdTaken, "id_taken"),
    (Code::WindowFull, "window_full"),
    (Code::NotFound, "not_found"),
    (Code::Unauthorized, "unauthorized"),
    (Code::Forbidden, "forbidden"),
    (Code::RateLimited, "rate_limited"),
    (Code::Retry, "retry"),
    (Code::Duplicate, "duplicate"),
    (Code::BadFrame, "bad_frame"),
    (Code::BadChange, "bad_change"),
    (Code::StaleGeneration, "stale_generation"),
    (Code::NotOpen, "not_open"),
];

impl Code {
    /// The code as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Unknown(text) => text,
            known => TEXTS.iter().find(|(code, _)| code == known).map_or("", |(_, text)| text),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Code {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let known = TEXTS.iter().find(|(_, known)| *known == text);
        Ok(known.map_or_else(|| Self::Unknown(text.to_owned()), |(code, _)| code.clone()))
    }
}

impl serde::Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for Code {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let Ok(code) = text.parse();
        Ok(code)
    }
}

/// Close codes of the WebSocket: below 4500 the client connects again and resumes, from 4500 on
/// it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseCode {
    /// The relay shuts down.
    GoingAway,
    /// The client did not read fast enough.
    SlowConsumer,
    /// The relay cannot store.
    StoreFailed,
    /// The relay did not hear from the client in time.
    Silent,
    /// The client's credential expired while it was connected: a fresh one resumes.
    Expired,
    /// The client asks for more than it may, or connects too often.
    TooFast,
    /// The client broke the protocol.
    BadProtocol,
    /// The credential is missing or wrong, or had expired before.
    Unauthorized,
    /// The relay does not speak the client's version.
    Version,
}

impl CloseCode {
    const ALL: [Self; 9] = [
        Self::GoingAway,
        Self::SlowConsumer,
        Self::StoreFailed,
        Self::Silent,
        Self::Expired,
        Self::TooFast,
        Self::BadProtocol,
        Self::Unauthorized,
        Self::Version,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn as_u16(self) -> u16 {
        match self {
            Self::GoingAway => 4000,
            Self::SlowConsumer => 4001,
            Self::StoreFailed => 4002,
            Self::Silent => 4003,
            Self::Expired => 4004,
            Self::TooFast => 4005,
            Self::BadProtocol => 4500,
            Self::Unauthorized => 4501,
            Self::Version => 4502,
        }
    }

    /// The code with this number, if it is one of ours.
    #[must_use]
    pub fn from_u16(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_u16() == number)
    }

    /// Whether a client gives up when a connection was closed with this number, one of ours or of
    /// a later version. Every other number, those of RFC 6455 included, means: connect again.
    #[must_use]
    pub const fn is_terminal(number: u16) -> bool {
        number >= 4500 && number < 5000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_written_and_read_as_listed() {
        for (code, text) in TEXTS {
            assert_eq!(code.as_str(), text);
            assert_eq!(text.parse(), Ok(code.clone()));
            assert_eq!(serde_json::to_string(&code).unwrap(), format!("\"{text}\""));
        }
        let later: Code = "too_loud".parse().unwrap();
        assert_eq!(later, Code::Unknown("too_loud".to_owned()));
        assert_eq!(later.to_string(), "too_loud");
    }

    #[test]
    fn close_codes_say_whether_to_come_back() {
        for code in CloseCode::ALL {
            assert_eq!(CloseCode::from_u16(code.as_u16()), Some(code));
        }
        assert!(!CloseCode::is_terminal(CloseCode::StoreFailed.as_u16()));
        assert!(CloseCode::is_terminal(CloseCode::BadProtocol.as_u16()));
        assert!(!CloseCode::is_terminal(1006));
        assert!(CloseCode::is_terminal(4999) && !CloseCode::is_terminal(4499));
        assert_eq!(CloseCode::from_u16(1000), None);
    }
}
