//! Who may do what: the one place that turns credentials and names into rights (design 7).
//!
//! | mode | who a client is | what it may do |
//! |---|---|---|
//! | `open` | whom it says | everything |
//! | `basic` | the user whose password it knows | what the configuration says of the user |
//! | `token` | the `sub` of a signed token | what the token says, until it expires |
//!
//! A credential is checked once for each request and socket (`Access::enter`, `Access::hello`);
//! the [`Identity`] it gives is then asked for each channel and message. What a credential does not
//! reach is `forbidden` whether or not it exists.

mod credential;
mod denied;
mod gate;
mod password;
mod secret;
mod setup;
mod token;

pub(crate) use credential::{SUBPROTOCOL, Shown, offers_subprotocol};
pub use denied::Denied;
pub use password::hash_password;
pub use secret::{HIDDEN, Secret};
pub use setup::AccessError;
pub use token::{Claims, SECRET_BYTES_MIN, Tokens};

use crate::config::{AccessConfig, AccessMode};
use crate::engine::now_ms;
use crate::identity::{ChannelAccess, Identity};
use crate::refused::{Code, Refused};
use backscroll_core::message::check_user;
use password::Passwords;
use std::net::SocketAddr;
use std::sync::Arc;

/// Who a JSON client is that gives no name (design 8.2).
pub const ANONYMOUS: &str = "anonymous";

/// The rules of access of a running relay; cheap to clone.
#[derive(Clone, Debug)]
pub struct Access {
    mode: Arc<Mode>,
    open_to_anyone: bool,
}

#[derive(Debug)]
enum Mode {
    Open,
    Basic(Passwords),
    Token(Tokens),
}

/// `open` mode on an address that others can reach, without asking for it by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "open mode takes names as given: on {0} anyone could write as anyone; \
     listen on loopback, configure access.mode, or allow it with --open-to-anyone"
)]
pub struct OpenToOthers(pub SocketAddr);

impl Access {
    /// Everybody may do everything, on loopback.
    #[must_use]
    pub fn open() -> Self {
        Self { mode: Arc::new(Mode::Open), open_to_anyone: false }
    }

    /// The rules of `config`, with its secrets read.
    ///
    /// # Errors
    /// The mode lacks users or keys, has those of another, or one of them is no good.
    pub fn from_config(config: &AccessConfig) -> Result<Self, AccessError> {
        let unused = |mode, unused| Err(AccessError::Unused { mode, unused });
        let mode = match config.mode {
            AccessMode::Open if !config.keys.is_empty() => return unused("open", "keys"),
            AccessMode::Open if !config.users.is_empty() => return unused("open", "users"),
            AccessMode::Basic if !config.keys.is_empty() => return unused("basic", "keys"),
            AccessMode::Token if !config.users.is_empty() => return unused("token", "users"),
            AccessMode::Open => Mode::Open,
            AccessMode::Basic => Mode::Basic(Passwords::new(&config.users)?),
            AccessMode::Token => Mode::Token(Tokens::new(config)?),
        };
        Ok(Self { mode: Arc::new(mode), open_to_anyone: config.open_to_anyone })
    }

    /// Whether the relay may listen on `address`.
    ///
    /// # Errors
    /// The mode is `open`, the address is not loopback and nobody asked for that by name.
    pub fn check_listen(&self, address: SocketAddr) -> Result<(), OpenToOthers> {
        let allowed = !self.is_open() || address.ip().is_loopback() || self.open_to_anyone;
        if allowed { Ok(()) } else { Err(OpenToOthers(address)) }
    }

    /// Whether names are taken as given.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(*self.mode, Mode::Open)
    }

    /// What a client is told to show, as `WWW-Authenticate` (RFC 9110 11.6.1).
    #[must_use]
    pub fn challenge(&self) -> Option<&'static str> {
        match *self.mode {
            Mode::Open => None,
            Mode::Basic(_) => Some("Basic realm=\"backscroll\", charset=\"UTF-8\""),
            Mode::Token(_) => Some("Bearer realm=\"backscroll\""),
        }
    }

    /// Who shows this with a request.
    ///
    /// # Errors
    /// Nothing is shown where something must be, or it is wrong.
    pub(crate) async fn check(&self, shown: &Shown) -> Result<Identity, Denied> {
        match (&*self.mode, shown) {
            (Mode::Open, _) => Ok(Identity::user(ANONYMOUS)),
            (_, Shown::Nothing) => Err(Denied::Missing),
            (Mode::Token(tokens), Shown::Token(token)) => tokens.verify(token.reveal(), now_ms()),
            (Mode::Basic(passwords), Shown::Password { user, password }) => {
                passwords.check(user, password).await
            }
            _ => Err(Denied::Malformed),
        }
    }

    /// Who shows this, where that can be told without work that a guesser could cause.
    fn check_cheaply(&self, shown: &Shown) -> Option<Identity> {
        match (&*self.mode, shown) {
            (Mode::Token(tokens), Shown::Token(token)) => {
                tokens.verify(token.reveal(), now_ms()).ok()
            }
            (Mode::Basic(passwords), Shown::Password { user, password }) => {
                passwords.remembered(user, password)
            }
            _ => None,
        }
    }

    /// What the credential in a `hello` amounts to.
    fn shown_by_hello(&self, user: &str, credential: Option<&str>) -> Shown {
        match (&*self.mode, credential) {
            (_, None) => Shown::Nothing,
            (Mode::Basic(_), Some(password)) => {
                Shown::Password { user: user.to_owned(), password: Secret::new(password) }
            }
            (_, Some(token)) => Shown::Token(Secret::new(token)),
        }
    }

    /// The name that a message of `identity` bears which asks to be `from`.
    ///
    /// # Errors
    /// The name is empty or too long; it is another's, and the credential has no right to bridge.
    pub fn sender(&self, identity: &Identity, from: Option<&str>) -> Result<String, Refused> {
        let from = from.unwrap_or(&identity.user);
        check_user(from)?;
        if self.is_open() || from == identity.user || identity.rights.bridge {
            Ok(from.to_owned())
        } else {
            Err(Refused::new(Code::Forbidden, "the credential does not allow another's name"))
        }
    }

    /// Whether `identity` may read `channel`.
    #[must_use]
    pub fn may_read(&self, identity: &Identity, channel: &str) -> bool {
        self.is_open() || identity.channels.allow(channel, ChannelAccess::Read)
    }

    /// Whether `identity` may write to `channel`.
    #[must_use]
    pub fn may_write(&self, identity: &Identity, channel: &str) -> bool {
        self.is_open() || identity.channels.allow(channel, ChannelAccess::Write)
    }

    /// Refuses who may not read `channel`.
    ///
    /// # Errors
    /// `forbidden`.
    pub fn check_read(&self, identity: &Identity, channel: &str) -> Result<(), Refused> {
        if self.may_read(identity, channel) { Ok(()) } else { Err(forbidden()) }
    }

    /// Refuses who may not write to `channel`.
    ///
    /// # Errors
    /// `forbidden`.
    pub fn check_write(&self, identity: &Identity, channel: &str) -> Result<(), Refused> {
        if self.may_write(identity, channel) { Ok(()) } else { Err(forbidden()) }
    }

    /// Refuses who may read nowhere, as for what belongs to no one channel: attachments.
    ///
    /// # Errors
    /// `forbidden`.
    pub fn check_read_anywhere(&self, identity: &Identity) -> Result<(), Refused> {
        if self.is_open() || identity.channels.allow_any_read() {
            Ok(())
        } else {
            Err(Refused::new(Code::Forbidden, "the credential reaches no channel"))
        }
    }

    /// Refuses who may write nowhere, as for what belongs to no one channel: attachments.
    ///
    /// # Errors
    /// `forbidden`.
    pub fn check_write_anywhere(&self, identity: &Identity) -> Result<(), Refused> {
        if self.is_open() || identity.channels.allow_any_write() {
            Ok(())
        } else {
            Err(Refused::new(Code::Forbidden, "the credential allows reading only"))
        }
    }

    /// Refuses who may not change what `author` wrote in `channel`, or for `deletes` delete it.
    ///
    /// # Errors
    /// `forbidden`.
    pub fn check_annotate(
        &self,
        identity: &Identity,
        channel: &str,
        author: &str,
        deletes: bool,
    ) -> Result<(), Refused> {
        self.check_write(identity, channel)?;
        let rights = identity.rights;
        let is_own = author == identity.user;
        if self.is_open() || is_own || rights.bridge || (deletes && rights.moderate) {
            Ok(())
        } else {
            Err(Refused::new(Code::Forbidden, "the message is another user's"))
        }
    }
}

fn forbidden() -> Refused {
    Refused::new(Code::Forbidden, "the credential does not allow this in this channel")
}

#[cfg(test)]
mod tests;
