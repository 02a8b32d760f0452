//! A connection that does not wait for ever for a client that does not read.
//!
//! A response waits in memory until its client takes it, and its connection counts among those that
//! may be open: so a client must take some of what it asked for every now and then.

use crate::limits::{WRITE_STALL_BYTES, WRITE_STALL_TIMEOUT};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Within which time how much must be taken.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    time: Duration,
    bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { time: WRITE_STALL_TIMEOUT, bytes: WRITE_STALL_BYTES }
    }
}

/// A stream whose writes fail once they make no progress.
#[derive(Debug)]
pub(crate) struct Patient<S> {
    stream: S,
    bounds: Bounds,
    /// Runs out unless enough is taken meanwhile; there is none while the client keeps up.
    patience: Option<Pin<Box<Sleep>>>,
    /// Bytes taken since it began.
    taken: usize,
}

impl<S> Patient<S> {
    /// Watches over `stream`.
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, bounds: Bounds::default(), patience: None, taken: 0 }
    }

    /// The stream, to be used as it is.
    pub(crate) fn into_inner(self) -> S {
        self.stream
    }

    fn watch(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
        offered: usize,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = written {
            let len = *written.as_ref().unwrap_or(&0);
            self.taken += len;
            if len >= offered || self.taken >= self.bounds.bytes {
                self.patience = None;
            }
            return Poll::Ready(written);
        }
        if self.patience.is_none() {
            self.taken = 0;
        }
        let time = self.bounds.time;
        let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(time)));
        ready!(patience.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, written, bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch(context, written, slices.iter().map(|slice| slice.len()).sum())
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    /// A stream of little patience, and its other end, which holds this many bytes.
    fn streams(bytes: usize) -> (Patient<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(bytes);
        let bounds = Bounds { time: Duration::from_millis(20), bytes: usize::MAX };
        (Patient { bounds, ..Patient::new(ours) }, theirs)
    }

    #[tokio::test]
    async fn a_write_that_nobody_takes_fails_in_the_end() {
        let (mut ours, _theirs) = streams(1_000);
        ours.write_all(&[0; 1_000]).await.unwrap();
        let error = ours.write_all(&[0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_reader_that_takes_too_little_is_not_waited_for() {
        let (mut ours, mut theirs) = streams(1_000);
        let reader = tokio::spawn(async move {
            let mut byte = [0];
            while theirs.read_exact(&mut byte).await.is_ok() {
                tokio::task::yield_now().await;
            }
        });
        let error = ours.write_all(&vec![0; 64 << 20]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(ours);
        reader.await.unwrap();
    }

    #[tokio::test]
    async fn a_reader_that_takes_enough_gets_everything() {
        let (mut ours, mut theirs) = streams(1_000);
        ours.bounds = Bounds::default();
        let reader = tokio::spawn(async move {
            let mut taken = Vec::new();
            theirs.read_to_end(&mut taken).await.unwrap();
            taken.len()
        });
        ours.write_all(&vec![0; 1 << 20]).await.unwrap();
        drop(ours);
        assert_eq!(reader.await.unwrap(), 1 << 20);
    }
}
