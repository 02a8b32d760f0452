//! Where a request may carry a credential.
//!
//! | where | form |
//! |---|---|
//! | `Authorization` | `Bearer TOKEN`, or `Basic` (RFC 7617) |
//! | `Sec-WebSocket-Protocol` | `backscroll, bearer.TOKEN`, or `backscroll, basic.` and `user:password` as base64url |
//! | the query of an upgrade | `?token=TOKEN` |
//! | `hello` on `/sync` | the token, or in `basic` mode the password |
//!
//! Browsers cannot set headers on a WebSocket; a subprotocol they can. The query is for what can do
//! neither: other software may write addresses into its logs, this relay does not.

use super::secret::Secret;
use axum::http::{HeaderMap, Uri, header};
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// The subprotocol of the relay's sockets.
pub(crate) const SUBPROTOCOL: &str = "backscroll";

/// Clients pad or do not, as they like.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// What a request shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Nothing.
    Nothing,
    /// Something that is no credential.
    Malformed,
    /// A token.
    Token(Secret),
    /// A name and a password.
    Password {
        /// The user's name.
        user: String,
        /// The password.
        password: Secret,
    },
}

impl Shown {
    /// What the headers of any request show.
    pub(crate) fn by(headers: &HeaderMap) -> Self {
        let mut lines = headers.get_all(header::AUTHORIZATION).iter();
        match (lines.next(), lines.next()) {
            (None, _) => Self::Nothing,
            (Some(line), None) => line.to_str().map_or(Self::Malformed, Self::of_authorization),
            (Some(_), Some(_)) => Self::Malformed,
        }
    }

    /// What the request for a WebSocket shows.
    pub(crate) fn by_upgrade(headers: &HeaderMap, uri: &Uri) -> Self {
        let found = Self::by(headers);
        if found != Self::Nothing {
            return found;
        }
        for protocol in subprotocols(headers) {
            if let Some(token) = protocol.strip_prefix("bearer.") {
                return Self::Token(Secret::new(token));
            }
            if let Some(pair) = protocol.strip_prefix("basic.") {
                let engine = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
                return Self::of_pair(engine.decode(pair).ok());
            }
        }
        let query = axum::extract::Query::<Vec<(String, Secret)>>::try_from_uri(uri);
        let pairs = query.map(|query| query.0).unwrap_or_default();
        let token = pairs.into_iter().find_map(|(name, value)| (name == "token").then_some(value));
        token.map_or(Self::Nothing, Self::Token)
    }

    fn of_authorization(line: &str) -> Self {
        let Some((scheme, rest)) = line.trim().split_once(' ') else { return Self::Malformed };
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            Self::Token(Secret::new(rest))
        } else if scheme.eq_ignore_ascii_case("basic") {
            Self::of_pair(GeneralPurpose::new(&alphabet::STANDARD, LENIENT).decode(rest).ok())
        } else {
            Self::Malformed
        }
    }

    fn of_pair(pair: Option<Vec<u8>>) -> Self {
        let pair = pair.and_then(|bytes| String::from_utf8(bytes).ok());
        match pair.as_deref().and_then(|pair| pair.split_once(':')) {
            Some((user, password)) => {
                Self::Password { user: user.to_owned(), password: Secret::new(password) }
            }
            None => Self::Malformed,
        }
    }
}

/// Whether a client offers the relay's subprotocol.
pub(crate) fn offers_subprotocol(headers: &HeaderMap) -> bool {
    subprotocols(headers).any(|protocol| protocol == SUBPROTOCOL)
}

fn subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(headers: &[(&'static str, &str)], uri: &str) -> Shown {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        Shown::by_upgrade(&map, &uri.parse().unwrap())
    }

    fn token(text: &str) -> Shown {
        Shown::Token(Secret::new(text))
    }

    fn password(user: &str, password: &str) -> Shown {
        Shown::Password { user: user.to_owned(), password: Secret::new(password) }
    }

    #[test]
    fn credentials_are_found_where_they_may_be() {
        let authorization = |value| shown(&[("authorization", value)], "/ws");
        assert_eq!(authorization("Bearer a.b.c"), token("a.b.c"));
        assert_eq!(authorization("bearer   a.b.c "), token("a.b.c"));
        assert_eq!(authorization("Basic YWRhOm9uZTp0d28="), password("ada", "one:two"));
        assert_eq!(authorization("Basic YWRhOm9uZTp0d28"), password("ada", "one:two"));
        let protocol = |value| shown(&[("sec-websocket-protocol", value)], "/ws");
        assert_eq!(protocol("backscroll, bearer.a.b.c"), token("a.b.c"));
        assert_eq!(protocol("backscroll,basic.YWRhOm9uZQ"), password("ada", "one"));
        assert_eq!(protocol("backscroll"), Shown::Nothing);
        assert_eq!(shown(&[], "/ws?x=1&token=a.b.c"), token("a.b.c"));
        assert_eq!(shown(&[], "/ws?token=a%2Eb"), token("a.b"));
        assert_eq!(shown(&[], "/ws?x=1"), Shown::Nothing);
        let both = shown(&[("authorization", "Bearer a")], "/ws?token=b");
        assert_eq!(both, token("a"));
    }

    #[test]
    fn what_is_no_credential_is_not_nothing() {
        for value in ["", "Bearer", "Digest x", "Basic", "Basic !", "Basic YWRh", "Basic /w=="] {
            assert_eq!(shown(&[("authorization", value)], "/ws"), Shown::Malformed, "{value}");
        }
        let twice = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
        assert_eq!(shown(&twice, "/ws"), Shown::Malformed);
        let protocol = [("sec-websocket-protocol", "basic.!")];
        assert_eq!(shown(&protocol, "/ws"), Shown::Malformed);
    }

    #[test]
    fn the_query_counts_for_upgrades_only() {
        let map = HeaderMap::new();
        assert_eq!(Shown::by(&map), Shown::Nothing);
    }
}
