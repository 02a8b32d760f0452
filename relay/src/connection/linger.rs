//! The end of a TCP connection after the close frame: without it the client may never see that.
//!
//! Closing a TCP socket with unread input resets the connection, and a reset makes the client's
//! system throw away what it has not read yet: the close frame. So input is drained first.

use super::Close;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a client may take to close its side.
const LINGER: Duration = Duration::from_secs(2);

/// The same where its credential expired.
const LINGER_EXPIRED: Duration = Duration::from_millis(250);

/// Most bytes read and dropped while it does: what fits in buffers, and a frame that was too big.
const LINGER_BYTES_MAX: usize = 32 << 20;

/// Says that nothing more comes, then reads until the client closes as well, within bounds.
pub(crate) async fn linger(mut socket: TcpStream, close: Close) {
    if socket.shutdown().await.is_err() {
        return;
    }
    let drain = async {
        let mut buffer = vec![0; 16 << 10];
        let mut drained = 0;
        while drained < LINGER_BYTES_MAX {
            match socket.read(&mut buffer).await {
                Ok(read) if read > 0 => drained += read,
                _ => break,
            }
        }
    };
    let time = if close == Close::Expired { LINGER_EXPIRED } else { LINGER };
    // A client that takes longer has had its close frame for that time.
    let _ = timeout(time, drain).await;
}
