//! What a client is told when a request is refused: a stable code and a text (design 8.2).
//!
//! One type for `/ws`, `/sync` and HTTP, so that the same fault has the same code everywhere.

use crate::commit;
use axum::http::StatusCode;
use backscroll_core::message::{ContentError, IdError};
use backscroll_core::viewport::{AtError, QueryError};

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {text}", code.as_str())]
pub struct Refused {
    /// The stable code.
    pub code: Code,
    /// What is wrong, for people.
    pub text: String,
}

/// The stable codes of design 8.2: those of the writer, and those that never reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Not a JSON object.
    BadJson,
    /// No such command.
    UnknownCommand,
    /// The credential is missing or wrong.
    Unauthorized,
    /// One that the writer may answer as well.
    Common(commit::Code),
}

impl Code {
    /// A field is malformed, missing or contradicts another.
    pub const BAD_REQUEST: Self = Self::Common(commit::Code::BadRequest);
    /// The channel's name is empty or too long.
    pub const BAD_CHANNEL: Self = Self::Common(commit::Code::BadChannel);
    /// Not a message id.
    pub const BAD_ID: Self = Self::Common(commit::Code::BadId);
    /// Something is larger than its bound.
    pub const TOO_LARGE: Self = Self::Common(commit::Code::TooLarge);
    /// There is no such thing.
    pub const NOT_FOUND: Self = Self::Common(commit::Code::NotFound);
    /// The user may not do this.
    pub const FORBIDDEN: Self = Self::Common(commit::Code::Forbidden);
    /// Too much at once.
    pub const RATE_LIMITED: Self = Self::Common(commit::Code::RateLimited);
    /// Not now: ask again.
    pub const RETRY: Self = Self::Common(commit::Code::Retry);

    /// The code as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadJson => "bad_json",
            Self::UnknownCommand => "unknown_command",
            Self::Unauthorized => "unauthorized",
            Self::Common(code) => code.as_str(),
        }
    }

    /// The HTTP status that goes with it.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Common(commit::Code::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Common(commit::Code::NotFound) => StatusCode::NOT_FOUND,
            Self::Common(commit::Code::Forbidden) => StatusCode::FORBIDDEN,
            Self::Common(commit::Code::RateLimited) => StatusCode::TOO_MANY_REQUESTS,
            Self::Common(commit::Code::Retry) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Common(
                commit::Code::IdTaken
                | commit::Code::WindowFull
                | commit::Code::Duplicate
                | commit::Code::StaleGeneration,
            ) => StatusCode::CONFLICT,
            Self::BadJson | Self::UnknownCommand | Self::Common(_) => StatusCode::BAD_REQUEST,
        }
    }
}

impl Refused {
    /// A refusal under `code`.
    #[must_use]
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    /// A field is malformed, missing or contradicts another.
    #[must_use]
    pub fn bad_request(text: impl Into<String>) -> Self {
        Self::new(Code::BAD_REQUEST, text)
    }

    /// The relay cannot answer now; the cause is in its log.
    #[must_use]
    pub fn retry() -> Self {
        Self::new(Code::RETRY, "the relay cannot answer now, ask again")
    }
}

impl From<commit::Refusal> for Refused {
    fn from(refusal: commit::Refusal) -> Self {
        Self { code: Code::Common(refusal.code), text: refusal.text }
    }
}

impl From<ContentError> for Refused {
    fn from(error: ContentError) -> Self {
        let code = match &error {
            // A name that is too long is as malformed as one that is empty.
            ContentError::TooLarge { field: "from", .. } => Code::BAD_REQUEST,
            ContentError::TooLarge { .. } => Code::TOO_LARGE,
            _ => Code::BAD_REQUEST,
        };
        Self::new(code, error.to_string())
    }
}

impl From<IdError> for Refused {
    fn from(error: IdError) -> Self {
        Self::new(Code::BAD_ID, error.to_string())
    }
}

impl From<AtError> for Refused {
    fn from(error: AtError) -> Self {
        let code = if matches!(error, AtError::Id(_)) { Code::BAD_ID } else { Code::BAD_REQUEST };
        Self::new(code, error.to_string())
    }
}

impl From<QueryError> for Refused {
    fn from(error: QueryError) -> Self {
        Self::bad_request(error.to_string())
    }
}
