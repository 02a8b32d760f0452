//! Which web pages may talk to the relay (design 8.2): a browser says where a page came from, and a
//! page of a stranger must not act with a visitor's credentials or reach a relay on their machine.

use axum::http::{HeaderMap, Uri, header};
use std::net::IpAddr;

/// The origins that may connect.
#[derive(Clone, Debug)]
pub(crate) struct Origins {
    allowed: Vec<String>,
    /// The relay listens on loopback, so pages of this machine may connect.
    on_loopback: bool,
}

impl Origins {
    /// The configured origins; with none, the same host and, `on_loopback`, any loopback origin.
    pub(crate) fn new(allowed: &[String], on_loopback: bool) -> Self {
        let tidy = |origin: &String| origin.trim_end_matches('/').to_ascii_lowercase();
        Self { allowed: allowed.iter().map(tidy).collect(), on_loopback }
    }

    /// Whether the request's origin may connect; one without an origin is not from a web page.
    pub(crate) fn allow(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else { return true };
        let Ok(origin) = origin.to_str() else { return false };
        if !self.allowed.is_empty() {
            return self.allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin));
        }
        let Some(origin) = Authority::of_origin(origin) else { return false };
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let same = host.is_some_and(|host| origin.is_host(host));
        same || (self.on_loopback && origin.is_loopback())
    }
}

/// Where an origin comes from.
#[derive(Debug)]
struct Authority {
    host: String,
    port: Option<u16>,
    default_port: u16,
}

impl Authority {
    fn of_origin(origin: &str) -> Option<Self> {
        let uri: Uri = origin.parse().ok()?;
        let default_port = match uri.scheme_str()? {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let host = uri.host()?.to_ascii_lowercase();
        Some(Self { host, port: uri.port_u16(), default_port })
    }

    /// Whether this is what the client called the relay by.
    fn is_host(&self, host: &str) -> bool {
        let Ok(host) = host.parse::<axum::http::uri::Authority>() else { return false };
        let port = self.port.unwrap_or(self.default_port);
        host.host().eq_ignore_ascii_case(&self.host)
            && host.port_u16().unwrap_or(self.default_port) == port
    }

    fn is_loopback(&self) -> bool {
        is_loopback_name(&self.host)
    }
}

/// Whether the client called the relay by a name of loopback.
pub(super) fn is_loopback_host(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.and_then(|host| host.parse::<axum::http::uri::Authority>().ok());
    host.is_some_and(|host| is_loopback_name(&host.host().to_ascii_lowercase()))
}

/// Whether a name in lower case stands for loopback everywhere.
fn is_loopback_name(name: &str) -> bool {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost"
        || bare.ends_with(".localhost")
        || bare.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(origins: &Origins, origin: &str, host: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, origin.parse().unwrap());
        headers.insert(header::HOST, host.parse().unwrap());
        origins.allow(&headers)
    }

    #[test]
    fn with_none_configured_the_same_host_may_connect() {
        let origins = Origins::new(&[], false);
        assert!(allowed(&origins, "https://chat.example.org", "chat.example.org"));
        assert!(allowed(&origins, "http://chat.example.org:8787", "chat.example.org:8787"));
        assert!(allowed(&origins, "http://Chat.Example.org", "chat.example.org:80"));
        for (origin, host) in [
            ("https://evil.example", "chat.example.org"),
            ("http://chat.example.org:1", "chat.example.org:8787"),
            ("http://localhost:3000", "chat.example.org"),
            ("http://chat.example.org.evil.example", "chat.example.org"),
            ("null", "chat.example.org"),
            ("file://", "chat.example.org"),
        ] {
            assert!(!allowed(&origins, origin, host), "{origin} at {host}");
        }
        assert!(origins.allow(&HeaderMap::new()));
    }

    #[test]
    fn a_relay_on_loopback_takes_pages_of_this_machine() {
        let origins = Origins::new(&[], true);
        for origin in ["http://localhost:3000", "http://127.0.0.1:1", "http://[::1]:5173"] {
            assert!(allowed(&origins, origin, "127.0.0.1:8787"), "{origin}");
        }
        assert!(!allowed(&origins, "https://evil.example", "127.0.0.1:8787"));
        assert!(!allowed(&origins, "http://localhost.evil.example", "127.0.0.1:8787"));
    }

    #[test]
    fn names_of_loopback_are_told_from_others() {
        let is_loopback = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            is_loopback_host(&headers)
        };
        for host in ["localhost", "a.localhost:8787", "127.0.0.2:8787", "[::1]:8787", "LOCALHOST"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in
            ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "", "0.0.0.0"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn configured_origins_are_the_only_ones() {
        let origins = Origins::new(&["https://chat.example.org/".to_owned()], true);
        assert!(allowed(&origins, "https://chat.example.org", "relay.example.org"));
        assert!(!allowed(&origins, "http://chat.example.org", "relay.example.org"));
        assert!(!allowed(&origins, "http://localhost:3000", "127.0.0.1:8787"));
        assert!(!allowed(&origins, "https://relay.example.org", "relay.example.org"));
    }
}
