//! `backscroll token`: makes a token with a key of the configuration.

use super::{Failure, Outcome, now_ms, output};
use backscroll_core::message::{check_channel, check_user};
use backscroll_relay::access::{Claims, Tokens};
use backscroll_relay::config::{Config, Overrides};
use backscroll_relay::identity::{ChannelAccess, ChannelGrant, Right};
use std::path::PathBuf;
use std::time::Duration;

/// What `token` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct TokenArguments {
    /// Configuration with the key, as TOML
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Whom the token is for
    #[arg(long, value_name = "NAME")]
    user: String,
    /// Channel to read and write, or with :read to read only; PREFIX* for all that begin so
    /// [default: every channel]
    #[arg(long = "channel", value_name = "CHANNEL[:read|:write]", value_parser = grant)]
    channels: Vec<ChannelGrant>,
    /// What else the user may do: bridge, moderate or replicate
    #[arg(long = "right", value_name = "RIGHT", value_parser = right)]
    rights: Vec<Right>,
    /// How long it is valid: a number with s, m, h or d
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    expires_in: Duration,
    /// Which key signs, where there are several
    #[arg(long, value_name = "KID")]
    kid: Option<String>,
}

/// Why an argument is none.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct ArgumentError(&'static str);

fn grant(text: &str) -> Result<ChannelGrant, ArgumentError> {
    // A name may hold colons: only these endings mean something.
    let (name, access) = match text.strip_suffix(":read") {
        Some(name) => (name, ChannelAccess::Read),
        None => (text.strip_suffix(":write").unwrap_or(text), ChannelAccess::Write),
    };
    match check_channel(name) {
        Ok(()) => Ok(ChannelGrant { name: name.to_owned(), access }),
        Err(_) => Err(ArgumentError("a channel's name has 1-255 bytes")),
    }
}

fn right(text: &str) -> Result<Right, ArgumentError> {
    match text {
        "bridge" => Ok(Right::Bridge),
        "moderate" => Ok(Right::Moderate),
        "replicate" => Ok(Right::Replicate),
        _ => Err(ArgumentError("write bridge, moderate or replicate")),
    }
}

fn duration(text: &str) -> Result<Duration, ArgumentError> {
    const WRONG: ArgumentError = ArgumentError("write a number with s, m, h or d, as 90m");
    let digits = text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let unit_s = match text.strip_prefix(digits) {
        Some("" | "s") => 1,
        Some("m") => 60,
        Some("h") => 3_600,
        Some("d") => 86_400,
        _ => return Err(WRONG),
    };
    let count: u64 = digits.parse().map_err(|_| WRONG)?;
    let seconds = count.checked_mul(unit_s).filter(|seconds| (1..1 << 40).contains(seconds));
    seconds.map(Duration::from_secs).ok_or(WRONG)
}

pub(super) fn run(arguments: &TokenArguments) -> Result<Outcome, Failure> {
    check_user(&arguments.user)?;
    let config = Config::load(Some(&arguments.config), &Overrides::default())?;
    let tokens = Tokens::new(&config.access)?;
    let mut channels = arguments.channels.clone();
    if channels.is_empty() {
        channels.push(ChannelGrant::everything());
    }
    let claims = Claims {
        sub: arguments.user.clone(),
        exp: now_ms() / 1_000 + arguments.expires_in.as_secs(),
        nbf: None,
        aud: tokens.audience().map(str::to_owned),
        channels,
        rights: arguments.rights.clone(),
    };
    output::line(&tokens.mint(&claims, arguments.kid.as_deref())?)?;
    Ok(Outcome::Clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_named_with_their_access() {
        use ChannelAccess::{Read, Write};
        for (text, name, access) in [
            ("team", "team", Write),
            ("team:write", "team", Write),
            ("team-*:read", "team-*", Read),
            ("a:b", "a:b", Write),
            ("a:read:read", "a:read", Read),
        ] {
            assert_eq!(grant(text).unwrap(), ChannelGrant { name: name.to_owned(), access });
        }
        assert!(grant("").is_err() && grant(":read").is_err());
    }

    #[test]
    fn times_have_units() {
        for (text, seconds) in
            [("90", 90), ("90s", 90), ("15m", 900), ("1h", 3_600), ("7d", 604_800)]
        {
            assert_eq!(duration(text).unwrap(), Duration::from_secs(seconds));
        }
        for bad in ["", "h", "0s", "-1h", "1w", "1.5h", "1 h", "999999999999d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
