//! Whose turn it is to upload: a few at a time over all, and one of each user.
//!
//! Each upload is in memory until it is stored, so there are few places; who takes long must not
//! hold more than one of them.

use crate::limits::{BLOB_UPLOAD_WAIT, BLOB_UPLOADS_MAX};
use crate::refused::{Code, Refused};
use crate::throttle::AddressKey;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Who uploads: where names mean nothing, the address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Uploader {
    User(String),
    Address(AddressKey),
}

/// The turns of all uploaders.
#[derive(Debug)]
pub(super) struct Turns {
    all: Arc<Semaphore>,
    /// As many as there are uploads, waiting ones included.
    own: Mutex<HashMap<Uploader, Weak<Semaphore>>>,
}

/// A turn; dropping it is its end.
#[derive(Debug)]
pub(super) struct Turn {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Turns {
    /// All free.
    pub(super) fn new() -> Self {
        Self { all: Arc::new(Semaphore::new(BLOB_UPLOADS_MAX)), own: Mutex::default() }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// It did not come in time.
    pub(super) async fn take(&self, who: Uploader) -> Result<Turn, Refused> {
        let own = self.own(who);
        // Its own first: whoever waits for that takes no place of others.
        let turn = async {
            let own = own.acquire_owned().await?;
            Ok::<_, tokio::sync::AcquireError>((own, self.all.clone().acquire_owned().await?))
        };
        match timeout(BLOB_UPLOAD_WAIT, turn).await {
            Ok(Ok((own, all))) => Ok(Turn { _own: own, _all: all }),
            _ => Err(Refused::new(Code::Retry, "too many uploads at a time, ask again")),
        }
    }

    fn own(&self, who: Uploader) -> Arc<Semaphore> {
        // Nothing panics while it holds the lock, so what it guards is whole.
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = own.get(&who).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::new(Semaphore::new(1));
        own.insert(who, Arc::downgrade(&turn));
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::poll;

    #[tokio::test]
    async fn a_user_has_one_turn_at_a_time_and_holds_up_nobody_else() {
        let turns = Turns::new();
        let user = |name: &str| Uploader::User(name.to_owned());
        let first = turns.take(user("ada")).await.unwrap();
        let mut waiting: Vec<_> = (0..9).map(|_| Box::pin(turns.take(user("ada")))).collect();
        for second in &mut waiting {
            assert!(poll!(second).is_pending());
        }
        let mut others = Vec::new();
        for name in 1..BLOB_UPLOADS_MAX {
            others.push(turns.take(user(&name.to_string())).await.unwrap());
        }
        let mut last = Box::pin(turns.take(user("eve")));
        assert!(poll!(&mut last).is_pending(), "there are so many over all");
        drop(others);
        drop(last.await.unwrap());
        drop(first);
        assert!(poll!(&mut waiting[0]).is_ready());
        drop(waiting);
        drop(turns.take(user("bob")).await.unwrap());
        assert!(turns.own.lock().unwrap().len() <= 1, "nothing is kept of who is gone");
    }
}
