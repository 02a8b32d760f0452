//! How a socket ends: close codes and their reasons.
//!
//! 4000-4499 tell the client to come back and resume: it lost nothing. 4500 and above tell it not
//! to come back as it is. Codes below 4000 are those of RFC 6455.

use backscroll_core::wire::CloseCode as Ours;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// Why a socket is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    /// The client closed it, or is gone: there is nobody to tell.
    Gone,
    /// The relay is stopping.
    Draining,
    /// The client did not read as fast as messages came.
    Slow,
    /// The relay cannot store any more.
    Failed,
    /// The client did not answer pings.
    Silent,
    /// The credential expired: a fresh one resumes.
    Expired,
    /// The client sends more than it may, or connects too often.
    TooFast,
    /// A frame broke the WebSocket protocol.
    Protocol,
    /// A text frame was not UTF-8.
    Utf8,
    /// A frame was larger than 1 MiB.
    TooBig,
    /// The client did not say hello in time.
    Late,
    /// The sync client did not begin with `hello`.
    Hello,
    /// The sync client speaks another version.
    Version,
    /// The credential is missing or wrong.
    Unauthorized,
}

impl Close {
    /// The code of the close frame.
    pub(crate) const fn code(self) -> u16 {
        match self {
            Self::Gone => 1000,
            Self::Draining => Ours::GoingAway.as_u16(),
            Self::Slow => Ours::SlowConsumer.as_u16(),
            Self::Failed => Ours::StoreFailed.as_u16(),
            // Nobody listens, most likely; whoever does shall come back.
            Self::Silent | Self::Late => Ours::Silent.as_u16(),
            Self::Expired => Ours::Expired.as_u16(),
            Self::TooFast => Ours::TooFast.as_u16(),
            Self::Protocol => 1002,
            Self::Utf8 => 1007,
            Self::TooBig => 1009,
            Self::Hello => Ours::BadProtocol.as_u16(),
            Self::Version => Ours::Version.as_u16(),
            Self::Unauthorized => Ours::Unauthorized.as_u16(),
        }
    }

    /// The reason in the close frame.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Gone => "",
            Self::Draining => "the relay is stopping: resume",
            Self::Slow => "too slow for the messages that come: resume",
            Self::Failed => "the relay cannot store: resume",
            Self::Silent => "no answer to pings: resume",
            Self::Late => "no hello in time: come back",
            Self::Expired => "the credential expired: come back with another",
            Self::TooFast => "too many requests: come back slower",
            Self::Protocol => "the frame breaks the WebSocket protocol",
            Self::Utf8 => "a text frame must be UTF-8",
            Self::TooBig => "a frame may have 1 MiB",
            Self::Hello => "a connection begins with hello",
            Self::Version => "the relay speaks another version",
            Self::Unauthorized => "the credential is missing or wrong",
        }
    }

    /// The close frame; `None` if there is nobody to send it to.
    pub(super) fn frame(self) -> Option<Message> {
        let code = CloseCode::from(self.code());
        let frame = CloseFrame { code, reason: self.reason().into() };
        (self != Self::Gone).then_some(Message::Close(Some(frame)))
    }
}
