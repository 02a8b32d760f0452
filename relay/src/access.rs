//! Who may do what: the one place that turns credentials and names into rights (design 7).
//!
//! Today `open` only: names are taken as given and everybody may read and write every channel.

use crate::commit::{Identity, Rights};
use crate::config::{AccessConfig, AccessMode};
use crate::refused::{Code, Refused};
use backscroll_core::message::check_user;
use std::net::SocketAddr;

/// Who a JSON client is that gives no name (design 8.2).
pub const ANONYMOUS: &str = "anonymous";

/// The rules of access of a running relay.
#[derive(Clone, Debug)]
pub struct Access {
    mode: AccessMode,
    open_to_anyone: bool,
}

/// `open` mode on an address that others can reach, without asking for it by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "open mode takes names as given: on {0} anyone could write as anyone; \
     listen on loopback, or allow it with --open-to-anyone"
)]
pub struct OpenToOthers(pub SocketAddr);

impl Access {
    /// The rules of `config`.
    #[must_use]
    pub const fn new(config: &AccessConfig) -> Self {
        Self { mode: config.mode, open_to_anyone: config.open_to_anyone }
    }

    /// Whether the relay may listen on `address`.
    ///
    /// # Errors
    /// The mode is `open`, the address is not loopback and nobody asked for that by name.
    pub const fn check_listen(&self, address: SocketAddr) -> Result<(), OpenToOthers> {
        match self.mode {
            AccessMode::Open if address.ip().is_loopback() || self.open_to_anyone => Ok(()),
            AccessMode::Open => Err(OpenToOthers(address)),
        }
    }

    /// Who a client is that names itself `user` and shows `token`.
    ///
    /// # Errors
    /// The name is empty or too long.
    pub fn identify(&self, user: Option<&str>, _token: Option<&str>) -> Result<Identity, Refused> {
        match self.mode {
            AccessMode::Open => {
                let user = user.unwrap_or(ANONYMOUS);
                check_user(user)?;
                Ok(Identity::user(user))
            }
        }
    }

    /// The name that a message of `identity` bears which asks to be `from`.
    ///
    /// # Errors
    /// The name is empty or too long.
    pub fn sender(&self, identity: &Identity, from: Option<&str>) -> Result<String, Refused> {
        match self.mode {
            AccessMode::Open => {
                let from = from.unwrap_or(&identity.user);
                check_user(from)?;
                Ok(from.to_owned())
            }
        }
    }

    /// Whether `identity` may read `channel`.
    #[must_use]
    pub const fn may_read(&self, _identity: &Identity, _channel: &str) -> bool {
        match self.mode {
            AccessMode::Open => true,
        }
    }

    /// Whether `identity` may write to `channel`.
    #[must_use]
    pub const fn may_write(&self, _identity: &Identity, _channel: &str) -> bool {
        match self.mode {
            AccessMode::Open => true,
        }
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

    /// Whether anybody may read everything.
    #[must_use]
    pub const fn is_public(&self) -> bool {
        matches!(self.mode, AccessMode::Open)
    }

    /// Refuses who may not edit a message of `author` in `channel`, or delete it if `deletes`.
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
        let is_own = matches!(self.mode, AccessMode::Open) || identity.user == author;
        let Rights { bridge, moderate, .. } = identity.rights;
        if is_own || bridge || deletes && moderate { Ok(()) } else { Err(forbidden()) }
    }
}

fn forbidden() -> Refused {
    Refused::new(Code::Forbidden, "the credential does not allow this in this channel")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_mode_stays_on_loopback_unless_asked_for_by_name() {
        let address = |text: &str| text.parse().unwrap();
        let closed = Access::new(&AccessConfig::default());
        for loopback in ["127.0.0.1:1", "127.8.9.1:1", "[::1]:1"] {
            assert_eq!(closed.check_listen(address(loopback)), Ok(()));
        }
        for reachable in ["0.0.0.0:1", "[::]:1", "192.168.1.5:1"] {
            let refused = closed.check_listen(address(reachable)).unwrap_err();
            assert!(refused.to_string().contains("--open-to-anyone"), "{reachable}");
        }
        let open = AccessConfig { open_to_anyone: true, ..AccessConfig::default() };
        assert_eq!(Access::new(&open).check_listen(address("0.0.0.0:1")), Ok(()));
    }

    #[test]
    fn names_are_taken_as_given_within_their_bounds() {
        let access = Access::new(&AccessConfig::default());
        let nobody = access.identify(None, None).unwrap();
        assert_eq!(nobody.user, ANONYMOUS);
        assert_eq!(access.sender(&nobody, None).unwrap(), ANONYMOUS);
        assert_eq!(access.sender(&nobody, Some("ada")).unwrap(), "ada");
        for bad in ["", &"x".repeat(256)] {
            assert_eq!(access.sender(&nobody, Some(bad)).unwrap_err().code, Code::BadRequest);
            assert_eq!(access.identify(Some(bad), None).unwrap_err().code, Code::BadRequest);
        }
    }
}
