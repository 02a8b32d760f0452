//! The way in: checks what is shown, counts what is wrong, and says so in the log and the figures.

use super::{Access, Denied, Shown};
use crate::identity::Identity;
use crate::metrics;
use crate::throttle::{Peer, Throttle};
use backscroll_core::message::check_user;

impl Access {
    /// Who shows this with a request of `peer`.
    ///
    /// An address that showed too many wrong credentials gets in with a right one only where it is
    /// known to be right without further work: guessing is slow, and others behind the same
    /// address stay in.
    ///
    /// # Errors
    /// Nothing is shown where something must be, it is wrong, or others were too often.
    pub(crate) async fn enter(
        &self,
        shown: &Shown,
        peer: Peer,
        throttle: &Throttle,
    ) -> Result<Identity, Denied> {
        let entered = if !self.is_open() && throttle.is_guessing(peer.address) {
            match shown {
                Shown::Nothing => Err(Denied::Missing),
                shown => self.check_cheaply(shown).ok_or(Denied::Guessing),
            }
        } else {
            self.check(shown).await
        };
        note(entered.as_ref().err().copied(), peer, throttle);
        entered
    }

    /// Who says hello as `user`, with a credential there or one that its request `brought`.
    ///
    /// # Errors
    /// There is neither, one is wrong, or it is another user's; others were wrong too often.
    pub(crate) async fn hello(
        &self,
        user: &str,
        credential: Option<&str>,
        brought: Option<Identity>,
        peer: Peer,
        throttle: &Throttle,
    ) -> Result<Identity, Denied> {
        if self.is_open() {
            check_user(user).map_err(|_| Denied::Malformed)?;
            return Ok(Identity::user(user));
        }
        let identity = match (self.shown_by_hello(user, credential), brought) {
            (Shown::Nothing, Some(brought)) => brought,
            (shown, brought) => {
                let shown = self.enter(&shown, peer, throttle).await?;
                if brought.is_some_and(|brought| brought.user != shown.user) {
                    note(Some(Denied::OtherUser), peer, throttle);
                    return Err(Denied::OtherUser);
                }
                shown
            }
        };
        if identity.user != user {
            note(Some(Denied::OtherUser), peer, throttle);
            return Err(Denied::OtherUser);
        }
        Ok(identity)
    }
}

fn note(denied: Option<Denied>, peer: Peer, throttle: &Throttle) {
    let Some(denied) = denied else { return };
    metrics::auth_failed(denied.reason());
    if denied.may_be_a_guess() {
        throttle.failed(peer.address);
    }
    // A browser asks without a credential first, and a flood of wrong ones must not flood the log.
    if matches!(denied, Denied::Missing | Denied::Guessing) {
        tracing::debug!(reason = denied.reason(), address = %peer.address, "not let in");
    } else {
        tracing::info!(reason = denied.reason(), address = %peer.address, "not let in");
    }
}
