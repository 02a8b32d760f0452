//! Who asks, and what the credential behind it allows (design 4.2 and 7). Knows nothing of how the
//! credential was shown or checked.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a credential may do beyond writing as its own user (design 4.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Write messages under other names.
    pub bridge: bool,
    /// Delete messages of others.
    pub moderate: bool,
    /// Bring changes that others authored.
    pub replicate: bool,
}

/// One right by its name, as in a configuration or a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// Write messages under other names.
    Bridge,
    /// Delete messages of others.
    Moderate,
    /// Bring changes that others authored.
    Replicate,
}

impl FromIterator<Right> for Rights {
    fn from_iter<T: IntoIterator<Item = Right>>(rights: T) -> Self {
        let mut all = Self::default();
        for right in rights {
            match right {
                Right::Bridge => all.bridge = true,
                Right::Moderate => all.moderate = true,
                Right::Replicate => all.replicate = true,
            }
        }
        all
    }
}

/// What may be done in a channel. Who may write may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelAccess {
    /// Read it, and mark what was read.
    Read,
    /// Read it and write to it.
    Write,
}

/// Channels that a credential reaches: `{"name":"team-*","access":"write"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
// A restriction of a later version must not be overlooked.
#[serde(deny_unknown_fields)]
pub struct ChannelGrant {
    /// A channel's name; with `*` at its end, all channels whose names begin with what is before it.
    pub name: String,
    /// What may be done there.
    pub access: ChannelAccess,
}

impl ChannelGrant {
    /// Every channel, to read and write.
    #[must_use]
    pub fn everything() -> Self {
        Self { name: "*".to_owned(), access: ChannelAccess::Write }
    }

    fn reaches(&self, channel: &str) -> bool {
        match self.name.strip_suffix('*') {
            Some(prefix) => channel.starts_with(prefix),
            None => channel == self.name,
        }
    }
}

/// The channels of a credential.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Channels {
    /// All there are.
    #[default]
    All,
    /// Those that one of the grants reaches.
    Granted(Arc<[ChannelGrant]>),
}

impl Channels {
    /// Whether `access` to `channel` is allowed.
    ///
    /// # Complexity
    /// O(grants): a token has room for some dozens.
    #[must_use]
    pub fn allow(&self, channel: &str, access: ChannelAccess) -> bool {
        match self {
            Self::All => true,
            Self::Granted(grants) => {
                grants.iter().any(|grant| grant.access >= access && grant.reaches(channel))
            }
        }
    }

    /// Whether there is any channel that may be read.
    #[must_use]
    pub fn allow_any_read(&self) -> bool {
        match self {
            Self::All => true,
            // Who may write may read.
            Self::Granted(grants) => !grants.is_empty(),
        }
    }

    /// Whether there is any channel that may be written to.
    #[must_use]
    pub fn allow_any_write(&self) -> bool {
        match self {
            Self::All => true,
            Self::Granted(grants) => {
                grants.iter().any(|grant| grant.access == ChannelAccess::Write)
            }
        }
    }
}

/// Who asks: the credential's user, or in open mode the name that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user's name, 1-255 bytes.
    pub user: String,
    /// What else it may do.
    pub rights: Rights,
    /// Where it may do it.
    pub channels: Channels,
    /// Until when, in ms since the Unix epoch; `None` is for as long as the relay runs.
    pub expires_ms: Option<u64>,
}

impl Identity {
    /// A user of every channel with no further rights, for good.
    #[must_use]
    pub fn user(name: &str) -> Self {
        Self {
            user: name.to_owned(),
            rights: Rights::default(),
            channels: Channels::All,
            expires_ms: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_reaches_its_name_or_all_that_begin_with_its_prefix() {
        let grant =
            |name: &str| ChannelGrant { name: name.to_owned(), access: ChannelAccess::Read };
        for (name, channel, reaches) in [
            ("team", "team", true),
            ("team", "team-a", false),
            ("team", "Team", false),
            ("team-*", "team-a", true),
            ("team-*", "team-", true),
            ("team-*", "team", false),
            ("team-*", "a-team-a", false),
            ("*", "anything", true),
            ("te*m", "team", false),
            ("te*m", "te*m", true),
            ("", "team", false),
        ] {
            assert_eq!(grant(name).reaches(channel), reaches, "{name} and {channel}");
        }
    }

    #[test]
    fn write_is_read_as_well_and_no_grant_is_nothing() {
        use ChannelAccess::{Read, Write};
        let grant = |name: &str, access| ChannelGrant { name: name.to_owned(), access };
        let channels = Channels::Granted([grant("r", Read), grant("w*", Write)].into());
        let allowed = |channel| (channels.allow(channel, Read), channels.allow(channel, Write));
        assert_eq!(allowed("r"), (true, false));
        assert_eq!(allowed("w1"), (true, true));
        assert_eq!(allowed("x"), (false, false));
        assert!(channels.allow_any_write());
        assert!(!Channels::Granted([grant("*", Read)].into()).allow_any_write());
        assert!(!Channels::Granted([].into()).allow("r", Read));
        assert!(channels.allow_any_read() && !Channels::Granted([].into()).allow_any_read());
    }
}
