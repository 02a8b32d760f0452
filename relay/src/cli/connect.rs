//! A client of the relay's `/ws` (design 8.2), for the demo commands: JSON text frames, one socket.

use backscroll_relay::access::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use std::future::Future;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Uri, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

/// How long a relay may take to take a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest answer taken, in bytes: 5,000 messages with the largest texts.
const ANSWER_BYTES_MAX: usize = 1 << 30;

/// Shortest and longest pause between two attempts to connect again.
const PAUSE_MS: std::ops::RangeInclusive<u64> = 200..=10_000;

/// Where a relay's `/ws` is, from what the user typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RelayUrl(String);

/// What to show a relay that asks for a credential.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Credential {
    /// Token, or USER:PASSWORD, for a relay that asks for one
    #[arg(long, value_name = "TOKEN", env = "BACKSCROLL_TOKEN", hide_env_values = true)]
    token: Option<Secret>,
}

impl Credential {
    /// The value of `Authorization`, if there is anything to show.
    fn header(&self) -> Result<Option<HeaderValue>, ConnectError> {
        let Some(token) = self.token.as_ref().map(Secret::reveal) else { return Ok(None) };
        // A token has no colon, and a user's name neither.
        let value = if token.contains(':') {
            format!("Basic {}", STANDARD.encode(token))
        } else {
            format!("Bearer {token}")
        };
        let mut value = HeaderValue::from_str(&value).map_err(|_| ConnectError::Token)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// Why there is no connection, or no longer one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ConnectError {
    /// Not an address of a relay.
    #[error("{0} is no address of a relay: give http://HOST:PORT, ws://HOST:PORT or HOST:PORT")]
    Address(String),
    /// TLS is the reverse proxy's.
    #[error("{0}: this client speaks http and ws only")]
    Tls(String),
    /// Nothing that speaks WebSocket answers there.
    #[error("cannot connect to {url}")]
    Unreachable {
        /// Where.
        url: String,
        /// What happened.
        #[source]
        source: Box<tungstenite::Error>,
    },
    /// A token that no header can carry.
    #[error("the token has characters that no token has")]
    Token,
    /// The relay wants another credential, or one at all.
    #[error("{url} does not let this credential in ({status}); give another with --token")]
    NotLetIn {
        /// Where.
        url: String,
        /// What it answered.
        status: u16,
    },
    /// Nobody answers in time.
    #[error("{0} does not answer")]
    Timeout(String),
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[source] Box<tungstenite::Error>),
    /// The relay closed it.
    #[error("the relay closed the connection{0}")]
    Closed(String),
    /// The relay said something that is not its protocol.
    #[error("the relay sent something that is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// The relay refused a command.
    #[error("the relay refused it: {code}: {message}")]
    Refused {
        /// The stable code.
        code: String,
        /// The text.
        message: String,
    },
}

impl std::str::FromStr for RelayUrl {
    type Err = ConnectError;

    fn from_str(text: &str) -> Result<Self, ConnectError> {
        let wrong = || ConnectError::Address(text.to_owned());
        let place = match text.split_once("://") {
            None => text,
            Some(("http" | "ws", place)) => place,
            Some(("https" | "wss", _)) => return Err(ConnectError::Tls(text.to_owned())),
            Some(_) => return Err(wrong()),
        };
        let place = place.trim_end_matches('/');
        let path = if place.ends_with("/ws") { "" } else { "/ws" };
        let url = format!("ws://{place}{path}");
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let host_is_there = uri.host().is_some_and(|host| !host.is_empty());
        let port_is_right = !place.contains(':') || place.ends_with(']') || uri.port().is_some();
        if host_is_there && port_is_right && uri.query().is_none() {
            Ok(Self(url))
        } else {
            Err(wrong())
        }
    }
}

impl RelayUrl {
    /// The address of its `/ws`.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// An open socket to a relay.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Nobody answers, or what answers is no relay.
    pub(crate) async fn open(
        RelayUrl(url): &RelayUrl,
        credential: &Credential,
    ) -> Result<Self, ConnectError> {
        let unreachable = |source| match source {
            tungstenite::Error::Http(response)
                if matches!(response.status().as_u16(), 401 | 403) =>
            {
                ConnectError::NotLetIn { url: url.clone(), status: response.status().as_u16() }
            }
            source => ConnectError::Unreachable { url: url.clone(), source: Box::new(source) },
        };
        let mut request = url.as_str().into_client_request().map_err(unreachable)?;
        if let Some(value) = credential.header()? {
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        let mut config = WebSocketConfig::default();
        config.max_message_size = Some(ANSWER_BYTES_MAX);
        config.max_frame_size = Some(ANSWER_BYTES_MAX);
        let connecting = connect_async_with_config(request, Some(config), true);
        match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Err(_) => Err(ConnectError::Timeout(url.clone())),
            Ok(Err(source)) => Err(unreachable(source)),
            Ok(Ok((socket, _))) => Ok(Self { socket }),
        }
    }

    /// Connects again after a connection broke, for as long as it takes.
    ///
    /// # Errors
    /// The relay does not take the credential any more: waiting does not help.
    pub(crate) async fn reopen(
        url: &RelayUrl,
        credential: &Credential,
    ) -> Result<Self, ConnectError> {
        let mut pause_ms = *PAUSE_MS.start();
        loop {
            let jitter = getrandom::u32().map_or(0, |random| u64::from(random) % pause_ms);
            tokio::time::sleep(Duration::from_millis(pause_ms / 2 + jitter)).await;
            match Self::open(url, credential).await {
                Ok(connection) => return Ok(connection),
                Err(error @ ConnectError::NotLetIn { .. }) => return Err(error),
                Err(_) => {}
            }
            pause_ms = (pause_ms * 2).min(*PAUSE_MS.end());
        }
    }

    /// Queues a command; it leaves with the next [`Self::flush`] or when enough are queued.
    ///
    /// # Errors
    /// The connection broke.
    pub(crate) async fn feed(&mut self, command: String) -> Result<(), ConnectError> {
        self.socket.feed(Message::text(command)).await.map_err(broken)
    }

    /// Sends what is queued.
    ///
    /// # Errors
    /// The connection broke.
    pub(crate) async fn flush(&mut self) -> Result<(), ConnectError> {
        self.socket.flush().await.map_err(broken)
    }

    /// The next event of the relay. May be dropped and asked again without losing one.
    ///
    /// # Errors
    /// The connection broke or was closed.
    pub(crate) async fn next(&mut self) -> Result<Value, ConnectError> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    return serde_json::from_str(&text).map_err(ConnectError::NotJson);
                }
                Some(Ok(Message::Close(frame))) => {
                    let reason = frame.filter(|frame| !frame.reason.is_empty());
                    let reason = reason.map_or_else(String::new, |f| format!(": {}", f.reason));
                    return Err(ConnectError::Closed(reason));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(broken(error)),
                None => return Err(ConnectError::Closed(String::new())),
            }
        }
    }

    /// Says goodbye. What goes wrong now concerns nobody.
    pub(crate) async fn close(mut self) {
        let _ = tokio::time::timeout(CONNECT_TIMEOUT, self.socket.close(None)).await;
    }
}

fn broken(error: tungstenite::Error) -> ConnectError {
    ConnectError::Broken(Box::new(error))
}

/// The refusal in an `error` event.
pub(crate) fn refusal(event: &Value) -> ConnectError {
    let field = |name| event.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    ConnectError::Refused { code: field("code"), message: field("message") }
}

/// Whether an event is of this kind.
pub(crate) fn is_event(event: &Value, kind: &str) -> bool {
    event.get("event").and_then(Value::as_str) == Some(kind)
}

/// Runs a command that waits on the network.
///
/// # Errors
/// The runtime cannot start.
pub(crate) fn block_on<F: Future>(future: F) -> std::io::Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(future))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Result<String, String> {
        text.parse::<RelayUrl>().map(|url| url.0).map_err(|error| error.to_string())
    }

    #[test]
    fn every_way_to_name_a_relay_leads_to_its_socket() {
        for text in ["http://h:1", "http://h:1/", "ws://h:1", "ws://h:1/ws", "h:1", "h:1/ws/"] {
            assert_eq!(url(text).as_deref(), Ok("ws://h:1/ws"), "{text}");
        }
        assert_eq!(url("http://[::1]:8787").as_deref(), Ok("ws://[::1]:8787/ws"));
        assert_eq!(url("chat.example.org/relay").as_deref(), Ok("ws://chat.example.org/relay/ws"));
    }

    #[test]
    fn what_is_no_relay_says_so() {
        for text in ["", "http://", "ftp://h:1", "h:x", "h:99999", "h :1", "h:", ":1"] {
            assert!(url(text).unwrap_err().contains("is no address of a relay"), "{text}");
        }
        assert!(url("https://h").unwrap_err().contains("speaks http and ws only"));
    }
}
