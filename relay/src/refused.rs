//! What a client is told when a request is refused: a stable code and a text (design 8.2).
//!
//! One type for `/ws`, `/sync` and HTTP, so that the same fault has the same code everywhere.

use crate::commit;
use axum::http::StatusCode;
use backscroll_core::message::{ContentError, IdError};
use backscroll_core::viewport::{AtError, QueryError};
pub use backscroll_core::wire::Code;

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {text}")]
pub struct Refused {
    /// The stable code.
    pub code: Code,
    /// What is wrong, for people.
    pub text: String,
}

/// The HTTP status that goes with a code.
#[must_use]
pub const fn status_of(code: &Code) -> StatusCode {
    match code {
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::Unauthorized => StatusCode::UNAUTHORIZED,
        Code::Forbidden => StatusCode::FORBIDDEN,
        Code::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Code::Retry => StatusCode::SERVICE_UNAVAILABLE,
        Code::IdTaken | Code::WindowFull | Code::Duplicate | Code::StaleGeneration => {
            StatusCode::CONFLICT
        }
        _ => StatusCode::BAD_REQUEST,
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
        Self::new(Code::BadRequest, text)
    }

    /// The relay cannot answer now; the cause is in its log.
    #[must_use]
    pub fn retry() -> Self {
        Self::new(Code::Retry, "the relay cannot answer now, ask again")
    }
}

impl From<commit::Refusal> for Refused {
    fn from(refusal: commit::Refusal) -> Self {
        Self { code: refusal.code, text: refusal.text }
    }
}

impl From<ContentError> for Refused {
    fn from(error: ContentError) -> Self {
        let code = match &error {
            // A name that is too long is as malformed as one that is empty.
            ContentError::TooLarge { field: "from", .. } => Code::BadRequest,
            ContentError::TooLarge { .. } => Code::TooLarge,
            _ => Code::BadRequest,
        };
        Self::new(code, error.to_string())
    }
}

impl From<IdError> for Refused {
    fn from(error: IdError) -> Self {
        Self::new(Code::BadId, error.to_string())
    }
}

impl From<AtError> for Refused {
    fn from(error: AtError) -> Self {
        let code = if matches!(error, AtError::Id(_)) { Code::BadId } else { Code::BadRequest };
        Self::new(code, error.to_string())
    }
}

impl From<QueryError> for Refused {
    fn from(error: QueryError) -> Self {
        Self::bad_request(error.to_string())
    }
}
