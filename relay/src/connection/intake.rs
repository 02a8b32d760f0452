//! What a socket takes in before its client is known: a bounded number of bytes. The rest waits in the
//! system's buffers, where it costs the sender.
//!
//! A frame is told by its length only when it is there whole, so the bound is one on bytes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// No bound any more.
const UNBOUNDED: usize = usize::MAX;

/// How much a socket may still take in; whoever gets to know the client lifts it.
#[derive(Clone, Debug)]
pub(crate) struct Bound(Arc<AtomicUsize>);

impl Bound {
    /// So many bytes.
    pub(crate) fn of(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    /// There is none from now on.
    pub(crate) fn lift(&self) {
        self.0.store(UNBOUNDED, Ordering::Relaxed);
    }
}

/// Why reading ended: the client said more than it may before it is known.
#[derive(Debug, thiserror::Error)]
#[error("more than a client may say before it is known")]
pub(super) struct TooMuch;

/// A stream that takes in a bounded number of bytes, until that is lifted.
#[derive(Debug)]
pub(crate) struct Intake<S> {
    stream: S,
    bound: Option<Bound>,
}

impl<S> Intake<S> {
    /// A stream that may take in what is left of `bound`, of which it has taken `taken`.
    pub(crate) fn new(stream: S, bound: Option<Bound>, taken: usize) -> Self {
        if let Some(Bound(left)) = &bound {
            left.store(left.load(Ordering::Relaxed).saturating_sub(taken), Ordering::Relaxed);
        }
        Self { stream, bound }
    }

    /// The stream itself.
    pub(super) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Intake<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left =
            self.bound.as_ref().map_or(UNBOUNDED, |Bound(left)| left.load(Ordering::Relaxed));
        if left == UNBOUNDED {
            self.bound = None;
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        if left == 0 {
            return Poll::Ready(Err(io::Error::other(TooMuch)));
        }
        let room = left.min(buffer.remaining());
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(room));
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut part))?;
        let taken = part.filled().len();
        buffer.advance(taken);
        if let Some(Bound(left)) = &self.bound {
            // Nobody lifts it while its own task reads.
            left.fetch_sub(taken, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Intake<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn no_more_is_taken_than_the_bound_until_it_is_lifted() {
        let (ours, mut theirs) = tokio::io::duplex(1_000);
        theirs.write_all(&[7; 300]).await.unwrap();
        let bound = Bound::of(150);
        let mut intake = Intake::new(ours, Some(bound.clone()), 50);
        let mut bytes = Vec::new();
        let error = intake.read_to_end(&mut bytes).await.unwrap_err();
        assert!(error.get_ref().is_some_and(|error| error.is::<TooMuch>()));
        assert_eq!(bytes, [7; 100]);
        bound.lift();
        drop(theirs);
        intake.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes, [7; 300]);
    }
}
