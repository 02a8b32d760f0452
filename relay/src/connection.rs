//! One WebSocket: reads frames, answers them in order, writes what waits, and ends cleanly.
//!
//! It knows nothing of what frames mean: a [`Protocol`] (`/ws` or `/sync`) does. Four things run
//! side by side in one task: the reader, the answers that are still out ([`Answers`]), the writer,
//! and the watch for the relay's end. Nothing in it is unbounded: see [`Outbox`].

mod close;
mod fragments;
mod intake;
mod linger;
mod outbox;
mod writer;

pub(crate) use close::Close;
pub(crate) use intake::{Bound, Intake};
pub(crate) use outbox::Outbox;
#[cfg(test)]
pub(crate) use outbox::Taken;

use crate::metrics::{self, SocketMetrics};
use crate::shutdown::{Phase, Phases};
use backscroll_core::limits::FRAME_BYTES_MAX;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, SplitStream, StreamExt};
use intake::TooMuch;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Requests of one socket that may be out at the writer at a time.
const ANSWERS_OUT_MAX: usize = 1_024;

/// Most bytes of one socket's frames that may be out at the writer: the largest frame, four times.
const ANSWERS_BYTES_MAX: usize = 4 << 20;

/// How long a socket that ends waits for answers that are still out.
const ANSWERS_TIMEOUT: Duration = Duration::from_secs(5);

/// Read buffer of a socket, allocated while it is idle.
const READ_BUFFER_BYTES: usize = 4 << 10;

/// Write buffer of a socket: frames are put together up to this before a write.
const WRITE_BUFFER_BYTES: usize = 16 << 10;

/// A frame that came in whole.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A text frame.
    Text(tokio_tungstenite::tungstenite::Utf8Bytes),
    /// A binary frame.
    Binary(bytes::Bytes),
}

impl Incoming {
    /// Its bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }
}

/// What frames mean on one socket.
pub(crate) trait Protocol: Send {
    /// Handles one frame; the next one is read when it is done. `Some` ends the socket.
    fn handle(&mut self, frame: Incoming) -> impl Future<Output = Option<Close>> + Send;

    /// Notes a ping or pong, which asks for nothing. `Some` ends the socket.
    fn handle_control(&mut self) -> Option<Close> {
        None
    }

    /// Until when the next frame must have come, if it must.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// When the client's credential expires, if it does: the socket ends then, whatever it is at.
    fn expires(&self) -> Option<Instant> {
        None
    }
}

/// Takes answers that are not known yet; they are sent in the order in which they were given. Bounded
/// in their number, and in the bytes of the frames that they answer, which they hold in some form.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    sender: mpsc::Sender<BoxFuture<'static, Reply>>,
    room: Arc<Semaphore>,
    frame_bytes: u32,
}

/// The end of [`Answers`] that the connection holds.
pub(crate) type AnswersOut = mpsc::Receiver<BoxFuture<'static, Reply>>;

/// What an answer turned out to be.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Frames to send.
    Frames(Vec<Message>),
    /// The socket cannot go on.
    Close(Close),
}

impl Answers {
    /// A sender and its receiver.
    pub(crate) fn new() -> (Self, AnswersOut) {
        let (sender, receiver) = mpsc::channel(1);
        let room = Arc::new(Semaphore::new(ANSWERS_BYTES_MAX));
        (Self { sender, room, frame_bytes: 0 }, receiver)
    }

    /// What is pushed from now on answers this frame.
    pub(crate) fn begin(&mut self, frame: &Incoming) {
        let bytes = frame.len().min(ANSWERS_BYTES_MAX);
        self.frame_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    }

    /// Gives an answer that is still out; waits while too many are.
    pub(crate) async fn push(&self, answer: impl Future<Output = Reply> + Send + 'static) {
        // Nobody closes it.
        let held = self.room.clone().acquire_many_owned(self.frame_bytes).await;
        let answer = async move {
            let reply = answer.await;
            drop(held);
            reply
        };
        // The receiver goes only when the connection does; then nobody wants the answer.
        let _ = self.sender.send(Box::pin(answer)).await;
    }
}

/// The stream under a socket.
pub(crate) type Stream = Intake<TcpStream>;

/// The settings of a socket: small buffers, and frames up to the protocol's limit.
pub(crate) fn socket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_frame_size(Some(FRAME_BYTES_MAX))
        .max_message_size(Some(FRAME_BYTES_MAX))
}

/// Serves one socket until it ends; tells why it did.
pub(crate) async fn run(
    socket: WebSocketStream<Stream>,
    outbox: Arc<Outbox>,
    protocol: impl Protocol,
    answers: AnswersOut,
    phases: Phases,
    metrics: SocketMetrics,
) -> Close {
    let heard = Heard::new();
    let (mut sink, mut stream) = socket.split();
    // Futures are made where they are awaited: one that is named first has two places in the task.
    let ((), close) = tokio::join!(
        async {
            let (close, ()) = tokio::join!(
                read(&mut stream, protocol, &outbox, phases, &heard, &metrics),
                answer(answers, &outbox)
            );
            if close == Close::Gone { outbox.end_at_once(close) } else { outbox.end(close) }
        },
        writer::write(&mut sink, &outbox, &heard, &metrics)
    );
    if let Ok(socket) = sink.reunite(stream) {
        linger::linger(socket.into_inner().into_inner(), close).await;
    }
    close
}

/// Reads and handles frames until the socket ends. Drops the protocol then.
async fn read(
    stream: &mut SplitStream<WebSocketStream<Stream>>,
    mut protocol: impl Protocol,
    outbox: &Outbox,
    mut phases: Phases,
    heard: &Heard,
    metrics: &SocketMetrics,
) -> Close {
    let mut leave = pin!(async {
        match phases.turn_to_leave().await {
            Phase::Failed => Close::Failed,
            Phase::Running | Phase::Draining => Close::Draining,
        }
    });
    loop {
        let overdue = until(protocol.deadline());
        let mut expired = pin!(until(protocol.expires()));
        let frame = tokio::select! {
            biased;
            () = outbox.ended() => return Close::Gone,
            close = &mut leave => return close,
            () = &mut expired => return expire(outbox),
            () = overdue => return Close::Late,
            frame = stream.next() => frame,
        };
        heard.now();
        let frame = match frame {
            Some(Ok(Message::Text(text))) => Incoming::Text(text),
            Some(Ok(Message::Binary(bytes))) => Incoming::Binary(bytes),
            Some(Ok(Message::Pong(_))) => {
                heard.ponged();
                continue;
            }
            // Pings and closes are answered by the next read.
            Some(Ok(_)) => match protocol.handle_control() {
                Some(close) => return close,
                None => continue,
            },
            Some(Err(error)) => return close_of(&error),
            None => return Close::Gone,
        };
        metrics.received(frame.len());
        // Nothing is read meanwhile, pongs neither: that the client is silent says nothing.
        heard.set_busy(true);
        tokio::select! {
            biased;
            () = outbox.room() => {}
            close = &mut leave => return close,
            () = &mut expired => return expire(outbox),
        }
        let handled = tokio::select! {
            biased;
            // Boxed: many times larger than all else that an idle socket holds.
            handled = Box::pin(protocol.handle(frame)) => handled,
            () = &mut expired => return expire(outbox),
        };
        if let Some(close) = handled {
            return close;
        }
        heard.set_busy(false);
    }
}

/// Waits until then; for ever, if that is never.
async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Ends a socket whose credential expired: what still waits is not its bearer's any more.
fn expire(outbox: &Outbox) -> Close {
    outbox.end_at_once(Close::Expired);
    Close::Expired
}

/// Sends answers in the order in which they were given, as they become known.
async fn answer(mut answers: AnswersOut, outbox: &Outbox) {
    let mut out = FuturesOrdered::new();
    let mut asked_all = None;
    loop {
        let deadline = async {
            match asked_all {
                Some(since) => tokio::time::sleep_until(since + ANSWERS_TIMEOUT).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(reply) = out.next() => match reply {
                Reply::Frames(frames) => {
                    for frame in frames {
                        outbox.room().await;
                        outbox.push_answer(frame);
                    }
                }
                Reply::Close(close) => outbox.end(close),
            },
            asked = answers.recv(), if asked_all.is_none() && out.len() < ANSWERS_OUT_MAX => {
                match asked {
                    Some(answer) => out.push_back(answer),
                    None => asked_all = Some(Instant::now()),
                }
            }
            () = deadline => return,
        }
        if asked_all.is_some() && out.is_empty() {
            return;
        }
    }
}

/// How the socket ends after a read failed.
fn close_of(error: &Error) -> Close {
    match error {
        Error::Capacity(_) => Close::TooBig,
        Error::Utf8(_) => Close::Utf8,
        Error::Io(error) if error.get_ref().is_some_and(|error| error.is::<TooMuch>()) => {
            Close::Hello
        }
        Error::Protocol(
            tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        ) => Close::Gone,
        Error::Protocol(_) => Close::Protocol,
        _ => Close::Gone,
    }
}

/// When the client was last heard of.
#[derive(Debug)]
struct Heard {
    start: Instant,
    last_ms: AtomicU64,
    /// When the ping went out that waits for its answer; 0 if none does.
    pinged_us: AtomicU64,
    /// What it says is not read at the moment.
    busy: AtomicBool,
}

impl Heard {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            last_ms: AtomicU64::new(0),
            pinged_us: AtomicU64::new(0),
            busy: AtomicBool::new(false),
        }
    }

    /// Notes a ping that goes out.
    fn pinged(&self) {
        self.pinged_us.store(micros(self.start.elapsed()).max(1), Ordering::Relaxed);
    }

    /// Notes an answer to a ping.
    fn ponged(&self) {
        let pinged_us = self.pinged_us.swap(0, Ordering::Relaxed);
        if pinged_us > 0 {
            metrics::ponged(self.start.elapsed().saturating_sub(Duration::from_micros(pinged_us)));
        }
    }

    /// Notes whether reading pauses, as it does while the client takes an answer.
    fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Relaxed);
        self.now();
    }

    fn now(&self) {
        self.last_ms.store(millis(self.start.elapsed()), Ordering::Relaxed);
    }

    /// For how long it could have been heard of and was not.
    fn silence(&self) -> Duration {
        if self.busy.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
        self.start.elapsed().saturating_sub(last)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_not_silent_while_nobody_listens_to_it() {
        let minute = Duration::from_secs(60);
        let start = Instant::now().checked_sub(minute).unwrap();
        let heard = Heard { start, ..Heard::new() };
        assert!(heard.silence() >= minute);
        heard.set_busy(true);
        heard.last_ms.store(0, Ordering::Relaxed);
        assert_eq!(heard.silence(), Duration::ZERO);
        heard.set_busy(false);
        assert!(heard.silence() < minute, "it counts from when reading goes on");
    }
}
