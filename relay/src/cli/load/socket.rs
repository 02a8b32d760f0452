//! Sockets of the load tool: many of them from one process, with what they hear read in place.
//!
//! Unlike [`super::super::connect`] a socket has small buffers, an address of its own among those of
//! loopback, and events that borrow from the frame: at 100,000 deliveries a second the tool must
//! cost less than the relay.

use super::super::connect::RelayUrl;
use backscroll_core::message::MessageId;
use futures_util::{FutureExt, SinkExt, StreamExt};
use serde::Deserialize;
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Uri, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// How long a relay may take to take a connection: long, so that a full accept queue shows as time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Read and write buffers, allocated while a socket is idle: there are thousands.
const BUFFER_BYTES: usize = 4 << 10;

/// Largest answer taken: the relay's answers end at 8 MiB of rows.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Clients per loopback address: a pair of addresses has 28,000 ports, and each connection that was
/// closed keeps its own for a minute.
const CLIENTS_PER_ADDRESS: usize = 500;

/// The relay under load.
#[derive(Clone, Debug)]
pub(super) struct Target {
    url: String,
    address: SocketAddr,
    authorization: Option<HeaderValue>,
}

/// Why there is no target, or no connection to it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum SocketError {
    /// Its name stands for no address.
    #[error("{url} has no address")]
    NoAddress {
        /// The relay.
        url: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// Load is only put on this machine unless asked for.
    #[error("{0} is not on this machine: give --allow-remote to put load on it all the same")]
    Remote(SocketAddr),
    /// The token holds characters that no header may.
    #[error("the token is no header value")]
    Token,
    /// Nobody answers in time.
    #[error("the relay does not answer")]
    Timeout,
    /// The system gives no socket.
    #[error("no socket")]
    System(#[from] std::io::Error),
    /// The relay refused the upgrade.
    #[error("the relay answered the upgrade with {0}")]
    Status(u16),
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[source] Box<tungstenite::Error>),
    /// The relay closed it.
    #[error("the relay closed the connection with {0}")]
    Closed(u16),
    /// The relay said something that is not its protocol.
    #[error("the relay sent something that is not JSON")]
    NotJson(#[from] serde_json::Error),
}

impl Target {
    /// The relay at `relay`, which must be on this machine unless `allow_remote`.
    ///
    /// # Errors
    /// It has no address, or one of another machine.
    pub(super) async fn new(
        relay: &RelayUrl,
        token: Option<&str>,
        allow_remote: bool,
    ) -> Result<Self, SocketError> {
        let url = relay.as_str().to_owned();
        let unknown = |source| SocketError::NoAddress { url: url.clone(), source };
        let none = || std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
        let uri: Uri = url.parse().map_err(|_| unknown(none()))?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let found = tokio::net::lookup_host((host, uri.port_u16().unwrap_or(80))).await;
        let address = found.map_err(unknown)?.next().ok_or_else(|| unknown(none()))?;
        if !address.ip().is_loopback() && !allow_remote {
            return Err(SocketError::Remote(address));
        }
        let authorization = token
            .map(|token| HeaderValue::from_str(&format!("Bearer {token}")))
            .transpose()
            .map_err(|_| SocketError::Token)?;
        Ok(Self { url, address, authorization })
    }

    /// Connects client number `client`.
    ///
    /// # Errors
    /// The relay refuses or does not answer.
    pub(super) async fn connect(&self, client: usize) -> Result<Socket, SocketError> {
        tokio::time::timeout(CONNECT_TIMEOUT, self.try_connect(client))
            .await
            .map_err(|_| SocketError::Timeout)?
    }

    async fn try_connect(&self, client: usize) -> Result<Socket, SocketError> {
        let stream = if self.address.is_ipv4() && self.address.ip().is_loopback() {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::new(own_address(client), 0))?;
            socket.connect(self.address).await?
        } else {
            TcpStream::connect(self.address).await?
        };
        stream.set_nodelay(true)?;
        let mut request = self.url.as_str().into_client_request().map_err(SocketError::of)?;
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
        }
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER_BYTES)
            .write_buffer_size(BUFFER_BYTES)
            .max_message_size(Some(ANSWER_BYTES_MAX))
            .max_frame_size(Some(ANSWER_BYTES_MAX));
        let connected = client_async_with_config(request, stream, Some(config)).await;
        let (stream, _) = connected.map_err(SocketError::of)?;
        Ok(Socket { stream })
    }
}

/// The loopback address that a client connects from.
fn own_address(client: usize) -> IpAddr {
    let number = u32::try_from(client / CLIENTS_PER_ADDRESS).unwrap_or(0) % 0x00ff_ff00;
    IpAddr::V4(Ipv4Addr::from_bits(0x7f00_0001 + number))
}

impl SocketError {
    fn of(error: tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::Http(response) => Self::Status(response.status().as_u16()),
            other => Self::Broken(Box::new(other)),
        }
    }
}

/// An open socket.
#[derive(Debug)]
pub(super) struct Socket {
    stream: WebSocketStream<TcpStream>,
}

impl Socket {
    /// Queues a command; it leaves with the next [`Self::flush`].
    ///
    /// # Errors
    /// The connection broke.
    pub(super) async fn feed(&mut self, command: Utf8Bytes) -> Result<(), SocketError> {
        self.stream.feed(Message::Text(command)).await.map_err(SocketError::of)
    }

    /// Sends what is queued.
    ///
    /// # Errors
    /// The connection broke.
    pub(super) async fn flush(&mut self) -> Result<(), SocketError> {
        self.stream.flush().await.map_err(SocketError::of)
    }

    /// Sends a command.
    ///
    /// # Errors
    /// The connection broke.
    pub(super) async fn send(&mut self, command: impl Into<Utf8Bytes>) -> Result<(), SocketError> {
        self.feed(command.into()).await?;
        self.flush().await
    }

    /// The next text frame. May be dropped and asked again without losing one.
    ///
    /// # Errors
    /// The connection broke or was closed.
    pub(super) async fn next(&mut self) -> Result<Utf8Bytes, SocketError> {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => return Ok(text),
                Some(Ok(Message::Close(frame))) => {
                    return Err(SocketError::Closed(frame.map_or(1005, |frame| frame.code.into())));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(SocketError::of(error)),
                None => return Err(SocketError::Closed(1006)),
            }
        }
    }

    /// The next text frame if it is there already.
    ///
    /// # Errors
    /// The connection broke or was closed.
    pub(super) fn next_now(&mut self) -> Result<Option<Utf8Bytes>, SocketError> {
        self.next().now_or_never().transpose()
    }
}

/// A message, as far as the tool looks at it.
#[derive(Debug, Deserialize)]
pub(super) struct Row<'a> {
    pub(super) id: MessageId,
    pub(super) seq: u64,
    #[serde(borrow)]
    pub(super) text: Cow<'a, str>,
}

/// The answer to `history` and `subscribe`.
#[derive(Debug, Deserialize)]
pub(super) struct History<'a> {
    #[serde(borrow)]
    pub(super) messages: Vec<Row<'a>>,
    pub(super) start: u64,
    pub(super) total: u64,
    pub(super) seq: u64,
    pub(super) found_oldest: bool,
}

/// The answer to a `send`.
#[derive(Debug, Deserialize)]
pub(super) struct Ack {
    pub(super) id: MessageId,
    pub(super) seq: u64,
    pub(super) duplicate: bool,
    #[serde(rename = "ref")]
    pub(super) reference: String,
}

/// A refusal.
#[derive(Debug, Deserialize)]
pub(super) struct Refusal {
    pub(super) code: String,
    pub(super) message: String,
    #[serde(rename = "ref")]
    pub(super) reference: Option<String>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

/// What the relay said.
#[derive(Debug)]
pub(super) enum Heard<'a> {
    Live(Row<'a>),
    History(History<'a>),
    Ack(Ack),
    Refused(Refusal),
    Other,
}

#[derive(Deserialize)]
struct Kind<'a> {
    event: &'a str,
}

#[derive(Deserialize)]
struct Live<'a> {
    #[serde(borrow)]
    message: Row<'a>,
}

impl<'a> Heard<'a> {
    /// Reads a text frame.
    ///
    /// # Errors
    /// It is no event.
    pub(super) fn read(text: &'a str) -> Result<Self, SocketError> {
        // Most frames are these; others are read twice, first for their kind.
        let kind = match text.strip_prefix(r#"{"event":"message""#) {
            Some(_) => "message",
            None => serde_json::from_str::<Kind<'_>>(text)?.event,
        };
        Ok(match kind {
            "message" => Self::Live(serde_json::from_str::<Live<'a>>(text)?.message),
            "history" => Self::History(serde_json::from_str(text)?),
            "ack" => Self::Ack(serde_json::from_str(text)?),
            "error" => Self::Refused(serde_json::from_str(text)?),
            _ => Self::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_spread_over_loopback() {
        assert_eq!(own_address(0).to_string(), "127.0.0.1");
        assert_eq!(own_address(499).to_string(), "127.0.0.1");
        assert_eq!(own_address(500).to_string(), "127.0.0.2");
        assert!((0..10_000_000).step_by(9_999).all(|client| own_address(client).is_loopback()));
    }

    #[test]
    fn events_are_read_by_their_kind() {
        let id = "018bcfe5-6800-7000-8000-00000000004d";
        let live = format!(
            r#"{{"event":"message","channel":"c","message":{{"id":"{id}","seq":7,"text":"a\"b"}}}}"#
        );
        let Heard::Live(row) = Heard::read(&live).unwrap() else { panic!("{live}") };
        assert_eq!((row.id.to_string().as_str(), row.seq, &*row.text), (id, 7, "a\"b"));
        let error = r#"{"event":"error","code":"retry","message":"no","ref":"9"}"#;
        let Heard::Refused(refusal) = Heard::read(error).unwrap() else { panic!("{error}") };
        assert_eq!((refusal.code.as_str(), refusal.reference.as_deref()), ("retry", Some("9")));
        assert!(matches!(Heard::read(r#"{"event":"new kind"}"#), Ok(Heard::Other)));
        assert!(Heard::read("{").is_err());
    }
}
