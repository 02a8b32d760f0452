//! The writing half of a socket: frames in order, pings, deadlines, and the close frame last.

use super::fragments::Fragments;
use super::outbox::{Outbox, TAKE_BYTES, Taken};
use super::{Close, Heard, Stream};
use crate::metrics::SocketMetrics;
use futures_util::SinkExt;
use futures_util::stream::SplitSink;
use std::pin::pin;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

/// A ping goes out this often (references: proxies cut what is idle for 30 s).
const PING_EVERY: Duration = Duration::from_secs(25);

/// A client that was not heard of for this long is gone: one ping and 10 s for its pong.
const SILENCE_MAX: Duration = Duration::from_secs(35);

/// A client that does not take a batch of 64 KiB in this time is too slow.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// A batch that is larger, as one large answer is, may take a second more for this many bytes.
const WRITE_BYTES_PER_S: usize = 32 << 10;

/// How long a close frame may take behind what is being written: nothing else waits any more, so
/// that a client that was merely busy gets the time to read why it was closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(15);

/// The same where the credential expired: nobody has a claim to the time any more. Once for the batch
/// that is being written and once for the close frame.
const EXPIRED_TIMEOUT: Duration = Duration::from_millis(500);

type Sink = SplitSink<WebSocketStream<Stream>, Message>;

/// Writes what waits until the socket ends; tells why it did.
pub(super) async fn write(
    sink: &mut Sink,
    outbox: &Outbox,
    heard: &Heard,
    metrics: &SocketMetrics,
) -> Close {
    let mut ping = interval(PING_EVERY);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ping.reset();
    loop {
        let taken = tokio::select! {
            biased;
            taken = outbox.take() => taken,
            _ = ping.tick() => {
                if heard.silence() > SILENCE_MAX {
                    outbox.end_at_once(Close::Silent);
                    continue;
                }
                heard.pinged();
                Taken::Frames(vec![Message::Ping(bytes::Bytes::new())])
            }
        };
        match taken {
            Taken::Frames(frames) => {
                metrics.sent(&frames);
                if !write_batch(sink, outbox, frames).await {
                    outbox.end_at_once(Close::Gone);
                }
            }
            Taken::Close(close) => {
                if let Some(frame) = close.frame() {
                    // Whether it arrives is up to the client now.
                    let _ =
                        tokio::time::timeout(close_timeout(Some(close)), sink.send(frame)).await;
                }
                return close;
            }
        }
    }
}

/// Writes frames, and flushes if nothing else waits. False if the socket cannot go on.
async fn write_batch(sink: &mut Sink, outbox: &Outbox, frames: Vec<Message>) -> bool {
    let time = time_for(frames.iter().map(Message::len).sum());
    let mut write = pin!(async {
        for frame in frames.into_iter().flat_map(Fragments::of) {
            sink.feed(frame).await?;
        }
        sink.flush().await
    });
    let watched = std::future::poll_fn(|context| {
        let polled = write.as_mut().poll(context);
        outbox.set_stalled(polled.is_pending());
        polled
    });
    // An end that came meanwhile gets its time to follow the frame that is half written.
    let cut = async {
        outbox.ended().await;
        sleep(close_timeout(outbox.end_as())).await;
    };
    tokio::select! {
        written = watched => is_written(&written),
        () = cut => false,
        () = sleep(time) => {
            outbox.end_at_once(Close::Slow);
            false
        }
    }
}

/// How long what follows the end may take.
fn close_timeout(close: Option<Close>) -> Duration {
    if close == Some(Close::Expired) { EXPIRED_TIMEOUT } else { CLOSE_TIMEOUT }
}

/// How long a client may take for a batch: one that is merely far away must get a large answer.
fn time_for(bytes: usize) -> Duration {
    let seconds = bytes.saturating_sub(TAKE_BYTES) / WRITE_BYTES_PER_S;
    WRITE_TIMEOUT + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

fn is_written(written: &Result<(), Error>) -> bool {
    written.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expired_credential_ends_within_a_second() {
        let outbox = Outbox::default();
        assert_eq!(close_timeout(outbox.end_as()), CLOSE_TIMEOUT);
        outbox.end_at_once(Close::Expired);
        assert!(close_timeout(outbox.end_as()) * 2 <= Duration::from_secs(1));
    }

    #[test]
    fn a_large_answer_has_the_time_that_a_slow_line_takes() {
        assert_eq!(time_for(100), WRITE_TIMEOUT);
        assert_eq!(time_for(TAKE_BYTES), WRITE_TIMEOUT);
        let largest = crate::limits::HISTORY_BYTES_MAX;
        assert_eq!(time_for(largest + TAKE_BYTES), WRITE_TIMEOUT + Duration::from_secs(256));
    }
}
