//! The way in: checks what is shown, counts what is wrong, and says so in the log and the figures.

use super::{Access, Denied, Shown};
use crate::identity::Identity;
use crate::metrics;
use crate::throttle::{Peer, Throttle};
use backscroll_core::message::check_user;

impl Access {
    /// Who shows this with a request of `peer`.
    ///
    /// What is known to be right without further work gets in. All else is an attempt, of which an
    /// address has a few: each is counted before it is checked, so that many at once are not more,
    /// and given back if it was none. So guessing is slow, and others behind the address stay in.
    ///
    /// # Errors
    /// Nothing is shown where something must be, it is wrong, or others were too often.
    pub(crate) async fn enter(
        &self,
        shown: &Shown,
        peer: Peer,
        throttle: &Throttle,
    ) -> Result<Identity, Denied> {
        if self.is_open() || *shown == Shown::Nothing {
            let entered = self.check(shown).await;
            return entered.inspect_err(|denied| note(*denied, peer));
        }
        if let Some(identity) = self.check_cheaply(shown) {
            return Ok(identity);
        }
        if !throttle.attempt(peer.address) {
            note(Denied::Guessing, peer);
            return Err(Denied::Guessing);
        }
        let entered = self.check(shown).await;
        if entered.as_ref().err().is_none_or(|denied| !denied.may_be_a_guess()) {
            throttle.was_no_guess(peer.address);
        }
        entered.inspect_err(|denied| note(*denied, peer))
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
                    return Err(others(peer, throttle));
                }
                shown
            }
        };
        if identity.user != user {
            return Err(others(peer, throttle));
        }
        Ok(identity)
    }
}

/// A right credential under a wrong name is an attempt as well.
fn others(peer: Peer, throttle: &Throttle) -> Denied {
    throttle.attempt(peer.address);
    note(Denied::OtherUser, peer);
    Denied::OtherUser
}

fn note(denied: Denied, peer: Peer) {
    metrics::auth_failed(denied.reason());
    // A browser asks without a credential first, and a flood of wrong ones must not flood the log.
    if matches!(denied, Denied::Missing | Denied::Guessing) {
        tracing::debug!(reason = denied.reason(), address = %peer.address, "not let in");
    } else {
        tracing::info!(reason = denied.reason(), address = %peer.address, "not let in");
    }
}
