//! Why a credential does not let its bearer in. What the client is told says nothing about which
//! users or keys there are; the figures and the log say more.

use crate::refused::{Code, Refused};

/// Why a credential does not let its bearer in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// There is none.
    #[error("a credential is needed")]
    Missing,
    /// It is not of the form that the mode has.
    #[error("the credential is wrong")]
    Malformed,
    /// No key has the token's `kid`.
    #[error("the credential is wrong")]
    UnknownKey,
    /// The token names another algorithm than its key has.
    #[error("the credential is wrong")]
    Algorithm,
    /// The token's signature is wrong.
    #[error("the credential is wrong")]
    Signature,
    /// The token's time is over.
    #[error("the credential has expired")]
    Expired,
    /// The token's time has not begun.
    #[error("the credential is not valid yet")]
    NotYet,
    /// The token is for another audience, or its claims are not those of this relay.
    #[error("the credential's claims are not for this relay")]
    Claims,
    /// The user is unknown, or the password is wrong: nobody is told which.
    #[error("the credential is wrong")]
    Password,
    /// The name in `hello` is not the credential's user.
    #[error("the credential is another user's")]
    OtherUser,
    /// The address showed too many wrong ones.
    #[error("too many wrong credentials: wait a while")]
    Guessing,
    /// Too many passwords are being checked.
    #[error("too many log in at once: try again")]
    Busy,
}

impl Denied {
    /// The reason in figures and logs.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::UnknownKey => "unknown_key",
            Self::Algorithm => "algorithm",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::NotYet => "not_yet",
            Self::Claims => "claims",
            Self::Password => "password",
            Self::OtherUser => "other_user",
            Self::Guessing => "guessing",
            Self::Busy => "busy",
        }
    }

    /// Whether it may have been a guess. Who knows no credential or had one guesses nothing.
    #[must_use]
    pub const fn may_be_a_guess(self) -> bool {
        !matches!(self, Self::Missing | Self::Expired | Self::NotYet | Self::Guessing | Self::Busy)
    }

    /// Whether the same credential may be taken later.
    #[must_use]
    pub const fn passes(self) -> bool {
        matches!(self, Self::Guessing | Self::Busy)
    }
}

impl From<Denied> for Refused {
    fn from(denied: Denied) -> Self {
        let code = match denied {
            Denied::Guessing => Code::RateLimited,
            Denied::Busy => Code::Retry,
            _ => Code::Unauthorized,
        };
        Self::new(code, denied.to_string())
    }
}
