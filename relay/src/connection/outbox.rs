//! What waits to be written to one socket: bounded in bytes, shared by everyone who writes to it.
//!
//! Live frames come whether or not the client reads: beyond [`LIVE_BYTES_MAX`] the socket is closed
//! with a resume code, and the client loses nothing by coming back. (One frame alone always fits:
//! a message of escapes is larger as JSON than that, and nobody is slow for it.) Answers come because the client
//! asked: beyond [`ANSWER_BYTES_MAX`] no further request of it is read, and none while any waits once
//! those of all sockets fill the [`Budget`].

use super::close::Close;
use crate::budget::Budget;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Message;

/// Most bytes of live frames that wait for one socket.
pub(crate) const LIVE_BYTES_MAX: usize = 1 << 20;

/// No request is read while more bytes of answers wait for its socket.
pub(crate) const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Bytes that are handed to the socket at a time.
pub(super) const TAKE_BYTES: usize = 64 << 10;

/// What a frame counts beside its payload: its place in the queue.
const FRAME_COST: usize = 64;

/// The frames that wait for one socket, and how it is to end.
#[derive(Debug)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    /// Counts the answers of all sockets, from when they are queued until they are written.
    budget: Arc<Budget>,
    /// Something to write came, or the end.
    filled: Notify,
    /// Answers were written, or the end came.
    room: Notify,
    /// The end came.
    ended: Notify,
    /// Live frames were written, the socket stalled, or the end came; for the hub's thread.
    drained: Condvar,
    /// One at a time tells what was not asked for.
    turn: tokio::sync::Mutex<()>,
    /// The socket takes no more at the moment: the client, not we, is behind.
    stalled: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<(Kind, Message)>,
    live_bytes: usize,
    answer_bytes: usize,
    /// Of the answers that were taken to be written.
    written_bytes: usize,
    end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Live,
    Answer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    close: Close,
    /// Drop what waits.
    at_once: bool,
}

/// What the socket's writer is to do next.
#[derive(Debug)]
pub(crate) enum Taken {
    /// Write these.
    Frames(Vec<Message>),
    /// Everything is written: close.
    Close(Close),
}

impl Outbox {
    /// Nothing waits.
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        Self {
            state: Mutex::default(),
            budget,
            filled: Notify::new(),
            room: Notify::new(),
            ended: Notify::new(),
            drained: Condvar::new(),
            turn: tokio::sync::Mutex::default(),
            stalled: AtomicBool::new(false),
        }
    }

    /// Queues a live frame.
    ///
    /// Where it does not fit, the socket is closed with the code that tells the client to resume.
    pub(crate) fn push_live(&self, frame: &Message) {
        let mut state = self.lock();
        if state.end.is_some() {
            return;
        }
        let cost = cost(frame);
        if state.live_bytes > 0 && state.live_bytes + cost > LIVE_BYTES_MAX {
            self.end_locked(&mut state, End { close: Close::Slow, at_once: true });
            return;
        }
        state.live_bytes += cost;
        state.frames.push_back((Kind::Live, frame.clone()));
        drop(state);
        self.filled.notify_one();
    }

    /// Queues a live frame that may be lost, as presence may; it is where the queue is half full.
    pub(crate) fn push_unless_crowded(&self, frame: &Message) {
        if self.lock().live_bytes < LIVE_BYTES_MAX / 2 {
            self.push_live(frame);
        }
    }

    /// Queues an answer. Call [`Outbox::room`] first: the bound is held by asking no more.
    pub(crate) fn push_answer(&self, frame: Message) {
        let mut state = self.lock();
        if state.end.is_some() {
            return;
        }
        let cost = cost(&frame);
        state.answer_bytes += cost;
        self.budget.add(cost);
        state.frames.push_back((Kind::Answer, frame));
        drop(state);
        self.filled.notify_one();
    }

    /// Waits until there is room for an answer, or the socket ends.
    pub(crate) async fn room(&self) {
        loop {
            let room = self.room.notified();
            {
                let state = self.lock();
                let max = if self.budget.is_full() { 1 } else { ANSWER_BYTES_MAX };
                if state.end.is_some() || state.answer_bytes < max {
                    // Others may wait as well: pass the permit on.
                    self.room.notify_one();
                    return;
                }
            }
            room.await;
        }
    }

    /// Ends the socket after what waits is written. The first end counts.
    pub(crate) fn end(&self, close: Close) {
        self.end_locked(&mut self.lock(), End { close, at_once: false });
    }

    /// Ends the socket and drops what waits. The first end counts.
    pub(crate) fn end_at_once(&self, close: Close) {
        self.end_locked(&mut self.lock(), End { close, at_once: true });
    }

    fn end_locked(&self, state: &mut State, end: End) {
        if state.end.is_some() {
            return;
        }
        state.end = Some(end);
        if end.at_once {
            state.frames.clear();
            state.live_bytes = 0;
            self.budget.give_back(std::mem::take(&mut state.answer_bytes));
        }
        self.filled.notify_one();
        self.room.notify_one();
        self.ended.notify_waiters();
        self.drained.notify_all();
    }

    /// Whether the socket ends.
    pub(crate) fn has_ended(&self) -> bool {
        self.lock().end.is_some()
    }

    /// How the socket ends, if it does.
    pub(super) fn end_as(&self) -> Option<Close> {
        self.lock().end.map(|end| end.close)
    }

    /// A turn to tell what was not asked for: wait for it, then for [`Outbox::room`], and keep it
    /// until the answer is pushed. Otherwise all who tell could find room for one at once.
    pub(crate) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Waits until the socket ends.
    pub(crate) async fn ended(&self) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.has_ended() {
                return;
            }
            ended.await;
        }
    }

    /// The next frames to write, or how to close; waits for either.
    pub(super) async fn take(&self) -> Taken {
        loop {
            if let Some(taken) = self.take_now() {
                return taken;
            }
            self.filled.notified().await;
        }
    }

    /// The next frames to write, or how to close, if there is either. Those that were taken before
    /// are written.
    pub(crate) fn take_now(&self) -> Option<Taken> {
        let mut state = self.lock();
        if state.written_bytes > 0 {
            self.budget.give_back(std::mem::take(&mut state.written_bytes));
        }
        let mut frames = Vec::new();
        let mut bytes = 0;
        while bytes < TAKE_BYTES {
            let Some((kind, frame)) = state.frames.pop_front() else { break };
            let cost = cost(&frame);
            match kind {
                Kind::Live => state.live_bytes -= cost,
                Kind::Answer => {
                    state.answer_bytes -= cost;
                    state.written_bytes += cost;
                }
            }
            bytes += cost;
            frames.push(frame);
        }
        if frames.is_empty() {
            return state.end.map(|end| Taken::Close(end.close));
        }
        drop(state);
        self.room.notify_one();
        self.drained.notify_all();
        Some(Taken::Frames(frames))
    }

    /// Notes whether the socket takes what is written to it.
    pub(super) fn set_stalled(&self, stalled: bool) {
        if self.stalled.swap(stalled, Ordering::Relaxed) != stalled && stalled {
            // Under the lock, or the hub could look before and wait after.
            let _state = self.lock();
            self.drained.notify_all();
        }
    }

    /// Blocks while the queue is crowded only because our own writer has not been run yet, at most
    /// until `deadline`. For the hub's thread: it paces a burst by us, never by a client.
    pub(crate) fn wait_while_crowded(&self, deadline: Instant) {
        let mut state = self.lock();
        while state.live_bytes > LIVE_BYTES_MAX / 2
            && state.end.is_none()
            && !self.stalled.load(Ordering::Relaxed)
        {
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return;
            }
            state = match self.drained.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, so what it guards is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Default for Outbox {
    fn default() -> Self {
        Self::new(Arc::new(Budget::new(usize::MAX)))
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.budget.give_back(state.answer_bytes + state.written_bytes);
    }
}

fn cost(frame: &Message) -> usize {
    frame.len() + FRAME_COST
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(len: usize) -> Message {
        Message::text("x".repeat(len))
    }

    #[test]
    fn live_frames_beyond_the_bound_end_the_socket_and_are_dropped() {
        let outbox = Outbox::default();
        for _ in 0..3 {
            outbox.push_live(&frame(300_000));
        }
        assert!(!outbox.has_ended());
        outbox.push_live(&frame(300_000));
        assert!(matches!(outbox.take_now(), Some(Taken::Close(Close::Slow))));
    }

    #[test]
    fn one_live_frame_of_any_size_fits_an_empty_queue() {
        let outbox = Outbox::default();
        outbox.push_live(&frame(LIVE_BYTES_MAX + 1));
        assert!(!outbox.has_ended());
        assert!(matches!(outbox.take_now(), Some(Taken::Frames(frames)) if frames.len() == 1));
        outbox.push_live(&frame(1));
        outbox.push_live(&frame(LIVE_BYTES_MAX));
        assert!(outbox.has_ended());
    }

    #[test]
    fn an_answer_of_any_size_fits_and_does_not_count_as_live() {
        let outbox = Outbox::default();
        outbox.push_answer(frame(3 << 20));
        outbox.push_live(&frame(1_000_000));
        assert!(!outbox.has_ended());
    }

    #[tokio::test]
    async fn room_comes_back_when_answers_are_taken() {
        let outbox = Outbox::default();
        outbox.room().await;
        outbox.push_answer(frame(2 << 20));
        let mut room = Box::pin(outbox.room());
        assert!(futures_util::poll!(&mut room).is_pending());
        assert!(matches!(outbox.take_now(), Some(Taken::Frames(frames)) if frames.len() == 1));
        room.await;
    }

    #[tokio::test]
    async fn answers_count_among_those_of_all_sockets_until_they_are_written() {
        let budget = Arc::new(Budget::new(1_000));
        let (one, two) = (Outbox::new(budget.clone()), Outbox::new(budget.clone()));
        one.push_live(&frame(5_000));
        two.push_answer(frame(500));
        one.push_answer(frame(500));
        assert!(budget.is_full());
        let mut room = Box::pin(one.room());
        assert!(futures_util::poll!(&mut room).is_pending(), "it has an answer to take");
        Outbox::new(budget.clone()).room().await;
        assert!(matches!(one.take_now(), Some(Taken::Frames(frames)) if frames.len() == 2));
        room.await;
        assert!(budget.is_full(), "it is not written yet");
        assert!(one.take_now().is_none());
        assert_eq!(budget.held(), 500 + FRAME_COST);
        one.push_answer(frame(1));
        two.end_at_once(Close::Gone);
        assert_eq!(budget.held(), 1 + FRAME_COST);
        two.push_answer(frame(1));
        drop((one, two));
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn what_waits_is_written_before_a_calm_end_and_the_first_end_counts() {
        let outbox = Outbox::default();
        outbox.push_live(&frame(1));
        outbox.end(Close::Draining);
        outbox.end_at_once(Close::Slow);
        outbox.push_live(&frame(2));
        assert!(matches!(outbox.take_now(), Some(Taken::Frames(frames)) if frames.len() == 1));
        assert!(matches!(outbox.take_now(), Some(Taken::Close(Close::Draining))));
    }

    #[test]
    fn the_hub_does_not_wait_for_a_client_that_does_not_read() {
        let outbox = Outbox::default();
        outbox.push_live(&frame(900_000));
        outbox.set_stalled(true);
        // Without a deadline in reach this would hang if it waited.
        outbox.wait_while_crowded(Instant::now() + Duration::from_secs(3_600));
    }
}
