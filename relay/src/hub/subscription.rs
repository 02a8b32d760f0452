//! One subscriber of one channel, and the gate that makes history and live one stream.
//!
//! ```text
//!   subscribe        hold back everything that comes
//!   read a snapshot  its head is seq S
//!   open(S, answer)  the answer, then what was held with seq > S, then all that comes with seq > S
//! ```
//! A subscriber that asks again is held back the same way. It was promised everything before, so
//! what was held with seq <= S comes before its new answer: nothing is missed, nothing comes twice.

use crate::connection::{Close, Outbox};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

/// Most bytes that a gate holds back while the snapshot is read; as many as an outbox holds.
const HELD_BYTES_MAX: usize = 1 << 20;

/// How long one that asks again waits for the hub.
const CATCH_UP_MAX: Duration = Duration::from_secs(5);

/// In which form a subscriber gets events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// JSON text frames of `/ws`.
    Json,
    /// Binary frames of `/sync`.
    Sync {
        /// Who listens: a user's own marks say more than those of others.
        user: Arc<str>,
    },
}

/// One subscriber of one channel.
#[derive(Debug)]
pub(crate) struct Subscription {
    id: u64,
    channel: Arc<str>,
    form: Form,
    outbox: Arc<Outbox>,
    gate: Mutex<Gate>,
    /// The last seq of what the hub has come to.
    delivered: watch::Sender<u64>,
    /// It waits for the hub, or for what other clients do not take: the hub must not wait for it then.
    is_unpaced: AtomicBool,
    /// The gate holds nothing back any more, or is not waited for; for the hub's thread.
    released: Condvar,
}

#[derive(Debug)]
enum Gate {
    /// A snapshot is being read.
    Held {
        /// The seq up to which it had got everything before it asked again.
        live_after: Option<u64>,
        frames: Vec<(u64, Message)>,
        bytes: usize,
    },
    /// Everything above this seq goes through.
    Open { after: u64 },
    /// It has left; the hub may still hold it for a moment.
    Closed,
}

impl Gate {
    const fn held(live_after: Option<u64>) -> Self {
        Self::Held { live_after, frames: Vec::new(), bytes: 0 }
    }
}

impl Subscription {
    /// A subscriber that holds back what comes.
    pub(super) fn new(id: u64, channel: Arc<str>, form: Form, outbox: Arc<Outbox>) -> Self {
        let gate = Mutex::new(Gate::held(None));
        let (delivered, released) = (watch::Sender::new(0), Condvar::new());
        let is_unpaced = AtomicBool::new(false);
        Self { id, channel, form, outbox, gate, delivered, is_unpaced, released }
    }

    /// Its number in the hub.
    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    /// The channel's name.
    pub(crate) fn channel(&self) -> &str {
        &self.channel
    }

    /// The form of its frames.
    pub(crate) const fn form(&self) -> &Form {
        &self.form
    }

    /// Holds back what comes from now on, as a new subscriber does: it asks again.
    pub(crate) fn hold(&self) {
        let mut gate = self.lock();
        if let Gate::Open { after } = *gate {
            *gate = Gate::held(Some(after));
        }
    }

    /// Notes whether it waits for something else than a snapshot that is being read: what comes
    /// meanwhile is held back within the bound, and the hub goes on.
    pub(crate) fn set_unpaced(&self, is_unpaced: bool) {
        self.is_unpaced.store(is_unpaced, Ordering::Relaxed);
        if is_unpaced {
            self.released.notify_all();
        }
    }

    /// Waits, if it asks again, until the hub has come to `head`: what it was promised and the
    /// snapshot has is on its way, and would be dropped after the answer. If the hub does not get
    /// there the socket ends, and resumes elsewhere: nothing is opened any more.
    pub(crate) async fn caught_up(&self, head: u64) {
        self.caught_up_within(head, CATCH_UP_MAX).await;
    }

    async fn caught_up_within(&self, head: u64, time: Duration) {
        let is_promised = matches!(
            &*self.lock(),
            Gate::Held { live_after: Some(after), .. } if *after < head
        );
        if is_promised {
            self.set_unpaced(true);
            let mut delivered = self.delivered.subscribe();
            let is_there = timeout(time, delivered.wait_for(|seq| *seq >= head)).await;
            self.set_unpaced(false);
            if !matches!(is_there, Ok(Ok(_))) {
                self.close();
                self.outbox.end_at_once(Close::Slow);
            }
        }
    }

    /// Sends `answer`, made from a snapshot whose head is `head`, and lets through what is above.
    /// Comes after [`Self::caught_up`].
    pub(crate) fn open(&self, head: u64, answer: Vec<Message>) {
        let mut gate = self.lock();
        let Gate::Held { live_after, frames, .. } =
            std::mem::replace(&mut *gate, Gate::Open { after: head })
        else {
            return;
        };
        let (before, after): (Vec<_>, Vec<_>) =
            frames.into_iter().partition(|(seq, _)| *seq <= head);
        if let Some(live_after) = live_after {
            self.push_above(live_after, &before);
        }
        for frame in answer {
            self.outbox.push_answer(frame);
        }
        self.push_above(head, &after);
        self.released.notify_all();
    }

    /// Goes on as before it asked again: the answer could not be made. False if it is a new
    /// subscriber, which then has nothing to go on with.
    pub(crate) fn go_on(&self) -> bool {
        let mut gate = self.lock();
        let Gate::Held { live_after: Some(after), frames, .. } = &*gate else {
            return false;
        };
        let after = *after;
        self.push_above(after, frames);
        *gate = Gate::Open { after };
        self.released.notify_all();
        true
    }

    fn push_above(&self, after: u64, frames: &[(u64, Message)]) {
        for (_, frame) in frames.iter().filter(|(seq, _)| *seq > after) {
            self.outbox.push_live(frame);
        }
    }

    /// Notes that the hub has come to a seq.
    pub(super) fn delivered(&self, last_seq: u64) {
        self.delivered.send_replace(last_seq);
    }

    /// Takes the frames of one event, in seq order.
    pub(super) fn deliver(&self, seq: u64, frames: &[Message]) {
        let gate = &mut *self.lock();
        match gate {
            Gate::Open { after } if seq > *after => {
                for frame in frames {
                    self.outbox.push_live(frame);
                }
            }
            Gate::Held { frames: held, bytes, .. } => {
                *bytes += frames.iter().map(Message::len).sum::<usize>();
                if *bytes > HELD_BYTES_MAX && !held.is_empty() {
                    // Nothing comes of the answer any more, so nobody is to wait for it.
                    *gate = Gate::Closed;
                    self.outbox.end_at_once(Close::Slow);
                } else {
                    held.extend(frames.iter().map(|frame| (seq, frame.clone())));
                }
            }
            Gate::Open { .. } | Gate::Closed => {}
        }
    }

    /// Takes a frame that is not stored and may be lost.
    pub(super) fn forward(&self, frame: &Message) {
        if matches!(&*self.lock(), Gate::Open { .. }) {
            self.outbox.push_unless_crowded(frame);
        }
    }

    /// Takes nothing more.
    pub(super) fn close(&self) {
        *self.lock() = Gate::Closed;
        self.released.notify_all();
    }

    /// Blocks while much waits here because of us, not of the client, at most until `deadline`: a
    /// snapshot is still being read, or the socket's writer has not been run.
    pub(super) fn wait_while_crowded(&self, deadline: Instant) {
        let mut gate = self.lock();
        while matches!(&*gate, Gate::Held { bytes, .. } if *bytes > HELD_BYTES_MAX / 2)
            && !self.is_unpaced.load(Ordering::Relaxed)
        {
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return;
            }
            gate = match self.released.wait_timeout(gate, left) {
                Ok((gate, _)) => gate,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        drop(gate);
        self.outbox.wait_while_crowded(deadline);
    }

    fn lock(&self) -> MutexGuard<'_, Gate> {
        // Nothing panics while it holds the lock, so what it guards is whole.
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Taken;

    fn subscriber() -> (Subscription, Arc<Outbox>) {
        let outbox = Arc::new(Outbox::default());
        (Subscription::new(1, "c".into(), Form::Json, outbox.clone()), outbox)
    }

    fn event(seq: u64) -> Vec<Message> {
        vec![Message::text(seq.to_string())]
    }

    fn written(outbox: &Outbox) -> Vec<String> {
        match outbox.take_now() {
            Some(Taken::Frames(frames)) => {
                frames.iter().map(|frame| frame.to_text().unwrap().to_owned()).collect()
            }
            _ => Vec::new(),
        }
    }

    #[test]
    fn what_the_snapshot_has_is_dropped_and_what_it_lacks_follows_the_answer() {
        let (subscription, outbox) = subscriber();
        for seq in 3..=6 {
            subscription.deliver(seq, &event(seq));
        }
        assert!(written(&outbox).is_empty());
        subscription.open(4, vec![Message::text("answer")]);
        subscription.deliver(4, &event(4));
        subscription.deliver(7, &event(7));
        assert_eq!(written(&outbox), ["answer", "5", "6", "7"]);
    }

    #[test]
    fn who_asks_again_gets_everything_once_around_the_new_answer() {
        let (subscription, outbox) = subscriber();
        subscription.open(1, vec![Message::text("first")]);
        subscription.deliver(2, &event(2));
        subscription.hold();
        for seq in 3..=5 {
            subscription.deliver(seq, &event(seq));
        }
        subscription.open(4, vec![Message::text("second")]);
        subscription.deliver(6, &event(6));
        assert_eq!(written(&outbox), ["first", "2", "3", "4", "second", "5", "6"]);
    }

    #[tokio::test]
    async fn who_asks_again_waits_for_what_is_on_its_way() {
        let (subscription, outbox) = subscriber();
        subscription.caught_up(9).await;
        subscription.open(1, vec![Message::text("first")]);
        subscription.hold();
        // The snapshot has 2 and 3, the hub has not come to them.
        let mut caught_up = Box::pin(subscription.caught_up(3));
        assert!(futures_util::poll!(&mut caught_up).is_pending());
        for seq in [2, 3] {
            subscription.deliver(seq, &event(seq));
            subscription.delivered(seq);
        }
        caught_up.await;
        subscription.open(3, vec![Message::text("second")]);
        assert_eq!(written(&outbox), ["first", "2", "3", "second"]);
    }

    #[tokio::test]
    async fn who_asks_again_and_does_not_get_what_it_was_promised_is_ended_not_answered() {
        let (subscription, outbox) = subscriber();
        subscription.open(1, Vec::new());
        subscription.hold();
        subscription.caught_up_within(3, Duration::ZERO).await;
        assert!(outbox.has_ended());
        subscription.open(3, vec![Message::text("second")]);
        subscription.deliver(4, &event(4));
        assert!(written(&outbox).is_empty());
    }

    #[test]
    fn a_failed_answer_leaves_an_old_subscriber_as_it_was() {
        let (subscription, outbox) = subscriber();
        assert!(!subscription.go_on());
        subscription.open(1, Vec::new());
        subscription.hold();
        subscription.deliver(2, &event(2));
        assert!(subscription.go_on());
        subscription.deliver(3, &event(3));
        assert_eq!(written(&outbox), ["2", "3"]);
    }

    #[test]
    fn a_closed_subscriber_takes_nothing() {
        let (subscription, outbox) = subscriber();
        subscription.open(0, Vec::new());
        subscription.close();
        subscription.deliver(1, &event(1));
        assert!(written(&outbox).is_empty());
    }

    #[test]
    fn the_hub_waits_for_a_snapshot_only_while_it_is_read() {
        // Without a deadline in reach this would hang if it waited.
        let deadline = Instant::now() + Duration::from_secs(3_600);
        let (subscription, _) = subscriber();
        let large = [Message::text("x".repeat(600_000))];
        subscription.deliver(1, &large);
        subscription.set_unpaced(true);
        subscription.wait_while_crowded(deadline);
        subscription.set_unpaced(false);
        subscription.deliver(2, &large);
        subscription.wait_while_crowded(deadline);
    }

    #[test]
    fn holding_back_is_bounded() {
        let (subscription, outbox) = subscriber();
        let large = [Message::text("x".repeat(600_000))];
        subscription.deliver(1, &large);
        assert!(!outbox.has_ended());
        subscription.deliver(2, &large);
        assert!(outbox.has_ended());
    }
}
