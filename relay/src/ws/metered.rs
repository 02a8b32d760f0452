//! A socket within its limits: frames at the rate of its user, until its credential expires.

use crate::connection::{Close, Incoming, Protocol};
use crate::engine::now_ms;
use crate::identity::Identity;
use crate::throttle::{Frames, Kind, Pace};
use std::time::Duration;
use tokio::time::Instant;

/// A protocol whose client has a name at some point.
pub(crate) trait Session: Protocol {
    /// Who the client is, once that is known; it does not change then.
    fn identity(&self) -> Option<&Identity>;

    /// Answers a frame that is one too many.
    fn too_many(&mut self, frame: &Incoming) -> impl Future<Output = ()> + Send;
}

/// A protocol within its limits.
#[derive(Debug)]
pub(crate) struct Metered<P> {
    protocol: P,
    kind: Kind,
    frames: Frames,
    expires: Option<Instant>,
}

impl<P: Session> Metered<P> {
    /// Limits a socket of this kind.
    pub(crate) fn new(protocol: P, kind: Kind, frames: Frames) -> Self {
        let expires = expiry(protocol.identity());
        Self { protocol, kind, frames, expires }
    }
}

impl<P: Session> Protocol for Metered<P> {
    async fn handle(&mut self, frame: Incoming) -> Option<Close> {
        let user = self.protocol.identity().map(|identity| identity.user.as_str());
        let is_known = user.is_some();
        match self.kind {
            Kind::Sync => self.frames.wait(user).await,
            Kind::Ws => match self.frames.count(user) {
                Pace::Go => {}
                Pace::Refuse => {
                    self.protocol.too_many(&frame).await;
                    return None;
                }
                Pace::Close => return Some(Close::TooFast),
            },
        }
        let close = self.protocol.handle(frame).await;
        if !is_known {
            self.expires = expiry(self.protocol.identity());
        }
        close
    }

    fn handle_control(&mut self) -> Option<Close> {
        (self.frames.count_refused() == Pace::Close).then_some(Close::TooFast)
    }

    fn deadline(&self) -> Option<Instant> {
        self.protocol.deadline()
    }

    fn expires(&self) -> Option<Instant> {
        self.expires
    }
}

/// When a credential expires, by the clock that only goes forward.
fn expiry(identity: Option<&Identity>) -> Option<Instant> {
    let left_ms = identity?.expires_ms?.saturating_sub(now_ms());
    Instant::now().checked_add(Duration::from_millis(left_ms))
}
