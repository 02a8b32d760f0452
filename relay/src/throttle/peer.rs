//! Who is at the other end: the address of the connection, or behind a trusted proxy the one that
//! the proxy names.

use axum::http::HeaderMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};

/// The client of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Its address.
    pub(crate) address: IpAddr,
    /// A proxy named the address: the connection itself is the proxy's.
    pub(crate) via_proxy: bool,
}

/// What counts as one client: an IPv4 address, or the /64 network that an IPv6 host has to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AddressKey(IpAddr);

impl From<IpAddr> for AddressKey {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// A proxy that is neither an address nor a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an address nor a network")]
pub(crate) struct NoNetwork(pub(crate) String);

/// Addresses whose `X-Forwarded-For` is believed.
#[derive(Debug, Default)]
pub(crate) struct TrustedProxies {
    networks: Vec<Network>,
    /// Somebody was told of a proxy that is not trusted.
    warned: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
struct Network {
    address: IpAddr,
    prefix: u32,
}

impl TrustedProxies {
    /// Reads addresses and networks.
    ///
    /// # Errors
    /// One is neither.
    pub(crate) fn new(proxies: &[String]) -> Result<Self, NoNetwork> {
        let read = |text: &String| Network::read(text).ok_or_else(|| NoNetwork(text.clone()));
        let networks = proxies.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self { networks, warned: AtomicBool::new(false) })
    }

    /// Whether connections of this address are a proxy's.
    pub(crate) fn trust(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.holds(address.to_canonical()))
    }

    /// Who sent a request over a connection of `address`.
    ///
    /// A proxy appends whom it hears from, so the list is read from its end, past the proxies that
    /// are trusted: what is before that anybody could have written.
    pub(crate) fn peer(&self, address: IpAddr, headers: &HeaderMap) -> Peer {
        let address = address.to_canonical();
        if !self.trust(address) {
            if self.is_news(address, headers) {
                tracing::warn!(
                    %address,
                    "a proxy on loopback is not in server.trusted_proxies: its clients have no limits"
                );
            }
            return Peer { address, via_proxy: false };
        }
        let lines = headers.get_all("x-forwarded-for").iter();
        let named: Vec<_> = lines
            .flat_map(|line| line.to_str().unwrap_or("?").split(','))
            .map(|name| address_of(name.trim()))
            .collect();
        let mut client = address;
        for name in named.into_iter().rev() {
            // What cannot be read may not be skipped: whoever wrote it is the client.
            let Some(name) = name else { break };
            client = name;
            if !self.trust(name) {
                break;
            }
        }
        Peer { address: client, via_proxy: true }
    }

    /// Whether this is the first request of a proxy on loopback that is not trusted: its clients
    /// count as peers on loopback.
    fn is_news(&self, address: IpAddr, headers: &HeaderMap) -> bool {
        address.is_loopback()
            && headers.contains_key("x-forwarded-for")
            && !self.warned.swap(true, Ordering::Relaxed)
    }
}

/// An address, with or without a port and brackets.
fn address_of(text: &str) -> Option<IpAddr> {
    let bare =
        text.strip_prefix('[').and_then(|text| text.split_once(']')).map_or(text, |(ip, _)| ip);
    let with_port = || Some(text.parse::<std::net::SocketAddr>().ok()?.ip());
    bare.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

impl Network {
    fn read(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(bits);
        (prefix <= bits).then_some(Self { address, prefix })
    }

    fn holds(self, other: IpAddr) -> bool {
        let drop_bits = |bits: u32| bits - self.prefix;
        match (self.address, other) {
            (IpAddr::V4(one), IpAddr::V4(other)) => {
                let differ = u32::from(one) ^ u32::from(other);
                differ.checked_shr(drop_bits(32)).unwrap_or(0) == 0
            }
            (IpAddr::V6(one), IpAddr::V6(other)) => {
                let differ = u128::from(one) ^ u128::from(other);
                differ.checked_shr(drop_bits(128)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn proxies(networks: &[&str]) -> TrustedProxies {
        TrustedProxies::new(&networks.iter().map(|&text| text.to_owned()).collect::<Vec<_>>())
            .unwrap()
    }

    #[track_caller]
    fn client(proxies: &TrustedProxies, address: &str, forwarded: &[&str]) -> (String, bool) {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let Peer { address, via_proxy } = proxies.peer(ip(address), &headers);
        (address.to_string(), via_proxy)
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_and_only_what_it_added() {
        let trusted = proxies(&["10.0.0.0/8", "::1"]);
        let check = |address: &str, forwarded: &[&str], expected: &str, via_proxy| {
            let found = client(&trusted, address, forwarded);
            assert_eq!(found, (expected.to_owned(), via_proxy), "{address} {forwarded:?}");
        };
        check("192.0.2.1", &["198.51.100.7"], "192.0.2.1", false);
        check("10.1.2.3", &["198.51.100.7"], "198.51.100.7", true);
        check("::ffff:10.1.2.3", &["198.51.100.7"], "198.51.100.7", true);
        check("10.1.2.3", &["127.0.0.1, 198.51.100.7"], "198.51.100.7", true);
        check("10.1.2.3", &["127.0.0.1", "198.51.100.7, 10.9.9.9"], "198.51.100.7", true);
        check("10.1.2.3", &["198.51.100.7, 10.9.9.9, ::1"], "198.51.100.7", true);
        check("10.1.2.3", &["10.0.0.7"], "10.0.0.7", true);
        check("10.1.2.3", &[], "10.1.2.3", true);
        check("10.1.2.3", &["127.0.0.1, unknown"], "10.1.2.3", true);
        check("10.1.2.3", &["[2001:db8::5]:4711"], "2001:db8::5", true);
        check("10.1.2.3", &["198.51.100.7:4711"], "198.51.100.7", true);
    }

    #[test]
    fn a_proxy_on_loopback_that_is_not_trusted_is_news_once() {
        let (none, mut headers) = (proxies(&[]), HeaderMap::new());
        assert!(!none.is_news(ip("127.0.0.1"), &headers));
        headers.append("x-forwarded-for", "198.51.100.7".parse().unwrap());
        assert!(!none.is_news(ip("192.0.2.1"), &headers));
        assert!(none.is_news(ip("127.0.0.1"), &headers));
        assert!(!none.is_news(ip("::1"), &headers));
    }

    #[test]
    fn networks_are_read_with_and_without_prefix() {
        for bad in ["", "proxy", "10.0.0.0/33", "::1/129", "10.0.0.0/", "10.0.0.0/x"] {
            assert!(TrustedProxies::new(&[bad.to_owned()]).is_err(), "{bad}");
        }
        assert!(proxies(&["0.0.0.0/0"]).trust(ip("203.0.113.9")));
        assert!(!proxies(&["0.0.0.0/0"]).trust(ip("2001:db8::1")));
        assert!(proxies(&["2001:db8::/32"]).trust(ip("2001:db8:1::9")));
        assert!(!proxies(&["192.0.2.7"]).trust(ip("192.0.2.8")));
    }

    #[test]
    fn hosts_of_one_v6_network_are_one_client() {
        let key = |text: &str| AddressKey::from(ip(text));
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.2"), key("192.0.2.1"));
    }
}
