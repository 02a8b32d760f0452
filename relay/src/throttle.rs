//! How much one connection, user or address gets (references: relay 9 and 11).
//!
//! ```text
//!   TCP connection   connections of the address, accept rates of the address and over all
//!   HTTP request     requests of the address
//!   credential       failures of the address
//!   socket           sockets of the user; frames of the socket and of the user
//! ```
//! All counters are of bounded size. In `open` mode and for peers on loopback there are none of
//! these limits, unless the configuration says otherwise.

mod bucket;
mod frames;
mod peer;
mod places;

pub(crate) use frames::{Frames, Kind, Pace};
pub(crate) use peer::{AddressKey, NoNetwork, Peer, TrustedProxies};
pub(crate) use places::Place;

use crate::config::{AccessMode, Apply, LimitsConfig};
use bucket::{Bucket, Buckets, Rate};
use places::Places;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// A connection of an address.
pub(crate) type AddressPlace = Place<AddressKey>;

/// A socket of a user.
pub(crate) type UserPlace = Place<String>;

/// Why a connection is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crowded {
    /// Too many new ones a second, over all.
    Accepts,
    /// Its address has too many, or too many new ones a second.
    Address,
}

/// The counters of a running relay.
#[derive(Debug)]
pub(crate) struct Throttle {
    config: LimitsConfig,
    /// Names mean someone: in `open` mode anybody may take anybody's.
    has_users: bool,
    applies: Applies,
    start: Instant,
    accepts: Mutex<Bucket>,
    accepts_of_address: Buckets,
    addresses: Arc<Places<AddressKey>>,
    users: Arc<Places<String>>,
    requests: Buckets,
    failures: Buckets,
    ws: Buckets,
    sync: Buckets,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Applies {
    Always,
    /// To peers that are not on loopback.
    ToOthers,
    Never,
}

impl Throttle {
    /// The limits of `config`, for a relay of this mode.
    pub(crate) fn new(config: &LimitsConfig, mode: AccessMode) -> Self {
        let applies = match (config.apply, mode) {
            (Apply::Always, _) => Applies::Always,
            (Apply::Never, _) | (Apply::Auto, AccessMode::Open) => Applies::Never,
            (Apply::Auto, _) => Applies::ToOthers,
        };
        let failures =
            Rate::per_minute(config.auth_failures_per_minute, config.auth_failures_burst);
        Self {
            has_users: mode != AccessMode::Open,
            applies,
            start: Instant::now(),
            accepts: Mutex::default(),
            accepts_of_address: Buckets::new(Rate::per_second(
                config.accepts_per_address_per_s,
                config.accepts_per_address_burst,
            )),
            addresses: Arc::default(),
            users: Arc::default(),
            requests: Buckets::new(Rate::per_second(config.http_per_s, config.http_burst)),
            failures: Buckets::new(failures),
            ws: Buckets::new(Kind::Ws.rate(config)),
            sync: Buckets::new(Kind::Sync.rate(config)),
            config: config.clone(),
        }
    }

    /// Whether this address is limited.
    pub(crate) const fn applies_to(&self, address: IpAddr) -> bool {
        match self.applies {
            Applies::Always => true,
            Applies::ToOthers => !address.to_canonical().is_loopback(),
            Applies::Never => false,
        }
    }

    /// Channels that one socket may follow.
    pub(crate) const fn channels_per_socket(&self) -> usize {
        self.config.channels_per_socket
    }

    /// A new TCP connection of `address`; what is returned is kept while it lasts.
    ///
    /// # Errors
    /// There are too many.
    pub(crate) fn connect(&self, address: IpAddr) -> Result<Option<AddressPlace>, Crowded> {
        if !self.applies_to(address) {
            return Ok(None);
        }
        // What is the address's own comes first: one that is refused for itself must take nothing
        // of what all others share.
        let place = self.socket_of_address(address)?;
        let (key, now_us) = (AddressKey::from(address), self.now_us());
        self.accepts_of_address.take(&key, now_us).map_err(|_| Crowded::Address)?;
        let rate = Rate::per_second(self.config.accepts_per_s, self.config.accepts_burst);
        let mut accepts = self.accepts.lock().unwrap_or_else(PoisonError::into_inner);
        accepts.take(rate, now_us).map_err(|_| Crowded::Accepts)?;
        Ok(place)
    }

    /// A socket of `address` whose TCP connection is a proxy's.
    ///
    /// # Errors
    /// There are too many.
    pub(crate) fn socket_of_address(
        &self,
        address: IpAddr,
    ) -> Result<Option<AddressPlace>, Crowded> {
        if !self.applies_to(address) {
            return Ok(None);
        }
        let max = self.config.connections_per_address;
        self.addresses.take(&address.into(), max).map(Some).ok_or(Crowded::Address)
    }

    /// A socket of `user` from `address`; `Err` if the user has too many.
    pub(crate) fn socket_of_user(
        &self,
        user: &str,
        address: IpAddr,
    ) -> Result<Option<UserPlace>, ()> {
        if !self.has_users || !self.applies_to(address) {
            return Ok(None);
        }
        let max = self.config.connections_per_user;
        self.users.take(&user.to_owned(), max).map(Some).ok_or(())
    }

    /// Whether an HTTP request of `address` is one too many.
    pub(crate) fn is_request_too_much(&self, address: IpAddr) -> bool {
        self.applies_to(address)
            && self.requests.take(&AddressKey::from(address), self.now_us()).is_err()
    }

    /// Whether `user` sends more than the rate of `/ws`, over HTTP.
    pub(crate) fn is_send_too_much(&self, user: &str, address: IpAddr) -> bool {
        self.has_users && self.applies_to(address) && self.ws.take(&user, self.now_us()).is_err()
    }

    /// Counts a credential of `address` that may be wrong; false if too many were.
    pub(crate) fn attempt(&self, address: IpAddr) -> bool {
        !self.applies_to(address)
            || self.failures.take(&AddressKey::from(address), self.now_us()).is_ok()
    }

    /// Takes an attempt back.
    pub(crate) fn was_no_guess(&self, address: IpAddr) {
        if self.applies_to(address) {
            self.failures.give_back(&AddressKey::from(address));
        }
    }

    const fn buckets(&self, kind: Kind) -> &Buckets {
        match kind {
            Kind::Ws => &self.ws,
            Kind::Sync => &self.sync,
        }
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_off_in_open_mode_and_on_loopback_unless_asked_for() {
        let [local, local6, mapped, far] =
            ["127.9.9.9", "::1", "::ffff:127.0.0.1", "192.0.2.1"].map(|ip| ip.parse().unwrap());
        let applies = |apply, mode, address| {
            let config = LimitsConfig { apply, ..LimitsConfig::default() };
            Throttle::new(&config, mode).applies_to(address)
        };
        for address in [local, local6, mapped] {
            assert!(!applies(Apply::Auto, AccessMode::Token, address));
        }
        assert!(applies(Apply::Auto, AccessMode::Token, far));
        assert!(!applies(Apply::Auto, AccessMode::Open, far));
        assert!(applies(Apply::Always, AccessMode::Open, local));
        assert!(!applies(Apply::Never, AccessMode::Basic, far));
    }

    #[test]
    fn an_address_has_its_connections_and_gets_them_back() {
        let config = LimitsConfig { connections_per_address: 2, ..LimitsConfig::default() };
        let throttle = Throttle::new(&config, AccessMode::Token);
        let (one, other): (IpAddr, IpAddr) =
            ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let held = (throttle.connect(one).unwrap(), throttle.connect(one).unwrap());
        assert_eq!(throttle.connect(one).unwrap_err(), Crowded::Address);
        assert!(throttle.connect(other).is_ok());
        drop(held);
        assert!(throttle.connect(one).is_ok());
        let local = "127.0.0.1".parse().unwrap();
        assert!((0..10).all(|_| throttle.connect(local).is_ok_and(|place| place.is_none())));
    }

    #[test]
    fn connections_come_at_a_rate() {
        let config = LimitsConfig { accepts_per_s: 1, accepts_burst: 3, ..LimitsConfig::default() };
        let throttle = Throttle::new(&config, AccessMode::Token);
        let results: Vec<_> =
            (0..5_u8).map(|n| throttle.connect(IpAddr::from([192, 0, 2, n])).err()).collect();
        assert_eq!(results.iter().flatten().count(), 2, "{results:?}");
        assert_eq!(results[4], Some(Crowded::Accepts));
    }

    #[test]
    fn one_address_does_not_take_the_rate_of_others() {
        let config = LimitsConfig {
            connections_per_address: 2,
            accepts_per_s: 1,
            accepts_burst: 5,
            accepts_per_address_per_s: 1,
            accepts_per_address_burst: 3,
            ..LimitsConfig::default()
        };
        let throttle = Throttle::new(&config, AccessMode::Token);
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let held = (throttle.connect(one).unwrap(), throttle.connect(one).unwrap());
        assert!((0..20).all(|_| throttle.connect(one).err() == Some(Crowded::Address)));
        drop(held);
        let gone = (0..20).filter(|_| throttle.connect(one).is_ok()).count();
        assert!(gone <= 2, "{gone}: it has a rate, and not only places");
        assert!(throttle.connect(other).is_ok(), "there is some left for others");
    }
}
