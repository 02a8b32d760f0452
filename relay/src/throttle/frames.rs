//! The frames of one socket: what it may send a second, alone and with the user's other sockets.
//!
//! On `/ws` a frame too many is refused, and a client that goes on all the same is closed. A sync
//! client is never refused for it: what it sends is its outbox, so its frames are read later, and
//! TCP tells it to wait.

use super::bucket::{Bucket, Rate};
use super::{Peer, Throttle};
use crate::config::LimitsConfig;
use crate::metrics;
use std::sync::Arc;
use std::time::Duration;

/// A socket is closed when it was refused as many frames as this many bursts hold, faster than its
/// rate.
const BURSTS_REFUSED: u64 = 10;

/// Which interface a socket speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `/ws`
    Ws,
    /// `/sync`
    Sync,
}

impl Kind {
    pub(super) const fn rate(self, config: &LimitsConfig) -> Rate {
        match self {
            Self::Ws => Rate::per_second(config.ws_per_s, config.ws_burst),
            Self::Sync => Rate::per_second(config.sync_per_s, config.sync_burst),
        }
    }

    /// Its name in logs and figures.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::Sync => "sync",
        }
    }
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// It is handled.
    Go,
    /// It is not, and the client is told.
    Refuse,
    /// The client was told often enough.
    Close,
}

/// The counters of one socket.
#[derive(Debug)]
pub(crate) struct Frames {
    throttle: Arc<Throttle>,
    kind: Kind,
    rate: Rate,
    is_limited: bool,
    own: Bucket,
    /// Frames that were refused, and pings.
    refused: Bucket,
}

impl Frames {
    /// A socket of `peer`.
    pub(crate) fn new(throttle: Arc<Throttle>, kind: Kind, peer: Peer) -> Self {
        let is_limited = throttle.applies_to(peer.address);
        let rate = kind.rate(&throttle.config);
        let (own, refused) = (Bucket::default(), Bucket::default());
        Self { throttle, kind, rate, is_limited, own, refused }
    }

    /// Counts a frame of a client that is refused what is too much.
    pub(crate) fn count(&mut self, user: Option<&str>) -> Pace {
        match self.take(user) {
            Ok(()) => Pace::Go,
            Err(_) => {
                metrics::rate_limited(self.kind.name());
                self.count_refused()
            }
        }
    }

    /// Counts a frame that is refused, or that asks for nothing as a ping does.
    pub(crate) fn count_refused(&mut self) -> Pace {
        let rate = self.rate.with_burst_times(BURSTS_REFUSED);
        let now_us = self.throttle.now_us();
        if self.is_limited && self.refused.take(rate, now_us).is_err() {
            return Pace::Close;
        }
        Pace::Refuse
    }

    /// Waits until a frame may be handled.
    pub(crate) async fn wait(&mut self, user: Option<&str>) {
        let mut is_first = true;
        while let Err(wait_us) = self.take(user) {
            if is_first {
                metrics::rate_limited(self.kind.name());
                is_first = false;
            }
            tokio::time::sleep(Duration::from_micros(wait_us)).await;
        }
    }

    fn take(&mut self, user: Option<&str>) -> Result<(), u64> {
        if !self.is_limited {
            return Ok(());
        }
        let now_us = self.throttle.now_us();
        let mut own = self.own;
        own.take(self.rate, now_us)?;
        if let Some(user) = user.filter(|_| self.throttle.has_users) {
            self.throttle.buckets(self.kind).take(&user, now_us)?;
        }
        self.own = own;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AccessMode, Apply};

    fn frames(apply: Apply) -> impl Fn() -> Frames {
        let config = LimitsConfig { apply, ws_per_s: 1, ws_burst: 10, ..LimitsConfig::default() };
        let throttle = Arc::new(Throttle::new(&config, AccessMode::Token));
        let peer = Peer { address: "192.0.2.1".parse().unwrap(), via_proxy: false };
        move || Frames::new(throttle.clone(), Kind::Ws, peer)
    }

    #[test]
    fn a_flood_is_refused_and_then_closed() {
        let mut socket = frames(Apply::Always)();
        let paces: Vec<_> = (0..200).map(|_| socket.count(Some("ada"))).collect();
        // Slow machines may have given back a frame or two meanwhile.
        let count = |pace| paces.iter().filter(|one| **one == pace).count();
        assert!((10..20).contains(&count(Pace::Go)), "{paces:?}");
        assert!((100..120).contains(&count(Pace::Refuse)), "{paces:?}");
        assert_eq!(paces.last(), Some(&Pace::Close));
    }

    #[test]
    fn the_sockets_of_a_user_share_one_rate_and_others_do_not() {
        let make = frames(Apply::Always);
        let (mut one, mut two, mut three) = (make(), make(), make());
        for _ in 0..10 {
            assert_eq!(one.count(Some("ada")), Pace::Go);
        }
        assert_eq!(two.count(Some("ada")), Pace::Refuse);
        assert_eq!(three.count(Some("bob")), Pace::Go);
    }

    #[test]
    fn without_limits_nothing_is_counted() {
        let mut socket = frames(Apply::Never)();
        assert!((0..1_000).all(|_| socket.count(Some("ada")) == Pace::Go));
        assert!((0..1_000).all(|_| socket.count_refused() == Pace::Refuse));
    }
}
