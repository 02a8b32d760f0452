//! The bytes of answers that were asked for and not taken yet, over all connections: bounded, so that
//! clients which ask for much and read slowly cannot fill the memory.
//!
//! ```text
//!   read     holds the answer's bytes; without room it waits, then reads again, or refuses: `retry`
//!   socket   its outbox counts what it has to write, until that is written
//!   HTTP     the bytes of a body hold what they take, until they are written
//! ```
//! What a socket is told in a few bytes, as an ack is, is counted and never refused. Where there is no
//! room left, a socket is not read before it took what it was answered. The readers themselves are
//! bounded by their number: see [`crate::reads`].

use crate::limits::{ANSWER_SMALL_BYTES, ANSWER_WAIT};
use crate::metrics;
use crate::refused::{Code, Refused};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, timeout_at};

/// How many bytes answers hold, and may.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes_max: usize,
    held: AtomicUsize,
    /// How many wait for room.
    waiting: AtomicUsize,
    /// Who waits with a small answer must not wait for a large one, which has less room.
    small: Queue,
    large: Queue,
}

/// Answers that wait for room.
#[derive(Debug, Default)]
struct Queue {
    /// Something was given back while someone waited.
    freed: Notify,
    /// Only the first watches for room.
    turn: Mutex<()>,
}

impl Budget {
    /// Nothing is held.
    pub(crate) fn new(bytes_max: usize) -> Self {
        let (held, waiting) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { bytes_max, held, waiting, small: Queue::default(), large: Queue::default() }
    }

    /// Bytes that are held.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Whether there is no room left.
    pub(crate) fn is_full(&self) -> bool {
        self.held() >= self.bytes_max
    }

    /// Counts bytes that are there already, whether there is room or not.
    pub(crate) fn add(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::SeqCst);
    }

    /// Gives bytes back.
    pub(crate) fn give_back(&self, bytes: usize) {
        // In one order with what a waiter does: it sees these bytes, or is seen here.
        self.held.fetch_sub(bytes, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.small.freed.notify_one();
            self.large.freed.notify_one();
        }
    }

    /// Holds bytes, if there is room. A large answer has no claim to the last quarter: clients that
    /// take megabytes slowly must not keep others from a page of messages. One that is larger than
    /// all of it is given alone.
    pub(crate) fn hold(self: &Arc<Self>, bytes: usize) -> Option<Held> {
        let max =
            if is_small(bytes) { self.bytes_max } else { self.bytes_max - self.bytes_max / 4 };
        let with = |held: usize| {
            let sum = held.saturating_add(bytes);
            (held == 0 || sum <= max).then_some(sum)
        };
        self.held.fetch_update(Ordering::SeqCst, Ordering::SeqCst, with).ok()?;
        Some(Held { budget: self.clone(), bytes })
    }

    /// Holds bytes, when there is room.
    ///
    /// # Errors
    /// `retry`: there was none until then.
    pub(crate) async fn hold_until(
        self: &Arc<Self>,
        bytes: usize,
        until: Instant,
    ) -> Result<Held, Refused> {
        let waits = Waits::begin(&self.waiting);
        let queue = if is_small(bytes) { &self.small } else { &self.large };
        let room = async {
            let _turn = queue.turn.lock().await;
            loop {
                if let Some(held) = self.hold(bytes) {
                    return held;
                }
                queue.freed.notified().await;
            }
        };
        let held = timeout_at(until, room).await;
        drop(waits);
        held.map_err(|_| {
            metrics::answer_refused();
            Refused::new(Code::Retry, "too many answers wait to be taken, ask again")
        })
    }

    /// Holds bytes, when there is room; waits as long as an answer may.
    ///
    /// # Errors
    /// `retry`: there was none in time.
    pub(crate) async fn hold_soon(self: &Arc<Self>, bytes: usize) -> Result<Held, Refused> {
        match self.hold(bytes) {
            Some(held) => Ok(held),
            None => self.hold_until(bytes, Instant::now() + ANSWER_WAIT).await,
        }
    }
}

const fn is_small(bytes: usize) -> bool {
    bytes <= ANSWER_SMALL_BYTES
}

/// Counts one that waits, until it is dropped.
#[derive(Debug)]
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn begin(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::SeqCst);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Bytes that an answer takes; dropping it gives them back.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Held {
    /// The bytes of a body, which hold what they take until nobody has them any more: a body is done
    /// long before its last bytes are written.
    pub(crate) fn bind(self, bytes: impl AsRef<[u8]> + Send + 'static) -> Bytes {
        Bytes::from_owner(Bound { bytes, _held: self })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

/// Bytes with what they hold.
struct Bound<T> {
    bytes: T,
    _held: Held,
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for Bound<T> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::poll;
    use std::pin::pin;

    const LARGE: usize = ANSWER_SMALL_BYTES + 1;

    fn budget(bytes_max: usize) -> Arc<Budget> {
        Arc::new(Budget::new(bytes_max))
    }

    #[test]
    fn large_answers_leave_a_quarter_to_small_ones() {
        let budget = budget(LARGE * 4);
        let large: Vec<_> = std::iter::from_fn(|| budget.hold(LARGE)).collect();
        assert_eq!(large.len(), 3);
        let small: Vec<_> = std::iter::from_fn(|| budget.hold(ANSWER_SMALL_BYTES / 2)).collect();
        assert_eq!(small.len(), 2);
        assert!(budget.held() <= LARGE * 4);
        drop((large, small));
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn what_is_there_is_counted_and_one_answer_is_never_too_large() {
        let budget = budget(1_000);
        let all = budget.hold(5_000_000).unwrap();
        assert!(budget.is_full() && budget.hold(1).is_none());
        budget.add(7);
        drop(all);
        assert_eq!(budget.held(), 7);
        budget.give_back(7);
        assert_eq!(budget.held(), 0);
    }

    #[tokio::test]
    async fn who_waits_gets_room_in_turn_when_it_is_given_back() {
        let budget = budget(1_000);
        let (one, two) = (budget.hold(600).unwrap(), budget.hold(400).unwrap());
        let until = Instant::now() + std::time::Duration::from_secs(3_600);
        let (mut first, mut second) =
            (pin!(budget.hold_until(900, until)), pin!(budget.hold_until(50, until)));
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        drop(one);
        assert!(poll!(&mut first).is_pending(), "there is not enough");
        assert!(poll!(&mut second).is_pending(), "it came later");
        drop(two);
        let first = first.await.unwrap();
        drop(second.await.unwrap());
        drop(first);
        assert_eq!((budget.held(), budget.waiting.load(Ordering::SeqCst)), (0, 0));
    }

    #[tokio::test]
    async fn a_small_answer_does_not_wait_for_room_for_a_large_one() {
        let budget = budget(LARGE * 4);
        let large: Vec<_> = std::iter::from_fn(|| budget.hold(LARGE)).collect();
        let mut small: Vec<_> = std::iter::from_fn(|| budget.hold(ANSWER_SMALL_BYTES)).collect();
        let until = Instant::now() + std::time::Duration::from_secs(3_600);
        let mut first = pin!(budget.hold_until(LARGE, until));
        let mut second = pin!(budget.hold_until(ANSWER_SMALL_BYTES, until));
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        small.pop();
        assert!(poll!(&mut first).is_pending(), "the last quarter is not for it");
        assert!(poll!(&mut second).is_ready(), "there is room for it");
        drop((large, small));
        assert!(first.await.is_ok());
    }

    #[tokio::test]
    async fn who_waits_in_vain_is_told_to_ask_again() {
        let budget = budget(1_000);
        let all = budget.hold(1_000).unwrap();
        let refused = budget.hold_until(1, Instant::now()).await.unwrap_err();
        assert_eq!(refused.code, Code::Retry);
        assert_eq!(budget.waiting.load(Ordering::SeqCst), 0);
        drop(all);
        assert!(budget.hold_soon(1).await.is_ok());
    }

    #[test]
    fn bytes_of_a_body_hold_until_the_last_of_them_is_gone() {
        let budget = budget(1_000);
        let bytes = budget.hold(500).unwrap().bind("x".repeat(500));
        let part = bytes.slice(100..200);
        drop(bytes);
        assert_eq!((budget.held(), part.len()), (500, 100));
        drop(part);
        assert_eq!(budget.held(), 0);
    }
}
