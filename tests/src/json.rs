//! A client of `/ws`: sends commands, waits for events.

use crate::{relay::Relay, within};
use futures_util::{SinkExt, StreamExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::VecDeque;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async, connect_async};

/// A WebSocket to `/ws`.
#[derive(Debug)]
pub struct Json {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    kept: VecDeque<Value>,
}

/// How a socket ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// With a close frame of this code.
    Closed(u16),
    /// Without one.
    Dropped,
}

impl Json {
    /// Connects.
    ///
    /// # Panics
    /// The relay refuses.
    pub async fn connect(relay: &Relay) -> Self {
        Self::try_connect(relay).await.expect("the relay accepts")
    }

    /// Connects, if the relay lets it.
    ///
    /// # Errors
    /// It does not.
    pub async fn try_connect(relay: &Relay) -> Result<Self, tungstenite::Error> {
        Self::try_connect_to(&relay.address).await
    }

    /// Connects to `host:port`, if something there lets it.
    ///
    /// # Errors
    /// It does not.
    pub async fn try_connect_to(address: &str) -> Result<Self, tungstenite::Error> {
        let (socket, _) = within("connect", connect_async(format!("ws://{address}/ws"))).await?;
        Ok(Self { socket, kept: VecDeque::new() })
    }

    /// Connects with the smallest receive buffer there is: what is not read soon waits at the relay.
    ///
    /// # Panics
    /// The relay refuses.
    pub async fn connect_narrow(relay: &Relay) -> Self {
        let address = relay.address.parse().expect("an address");
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(1).expect("the kernel takes its least");
        let stream = within("connect", socket.connect(address)).await.expect("the relay listens");
        let url = format!("ws://{address}/ws");
        let upgrade = client_async(url, MaybeTlsStream::Plain(stream));
        let (socket, _) = within("upgrade", upgrade).await.expect("the relay accepts");
        Self { socket, kept: VecDeque::new() }
    }

    /// Sends a command.
    ///
    /// # Panics
    /// The socket is gone.
    pub async fn command(&mut self, command: &Value) {
        self.try_text(&command.to_string()).await.expect("the socket is open");
    }

    /// Sends a text frame as it is.
    ///
    /// # Errors
    /// The socket is gone.
    pub async fn try_text(&mut self, text: &str) -> Result<(), tungstenite::Error> {
        self.socket.send(Message::text(text)).await
    }

    /// The underlying socket, for what no well-behaved client does.
    pub fn raw(&mut self) -> &mut WebSocketStream<MaybeTlsStream<TcpStream>> {
        &mut self.socket
    }

    /// The next event, in order of arrival; `Err` says how the socket ended.
    ///
    /// # Errors
    /// The socket ended.
    ///
    /// # Panics
    /// Nothing comes within the deadline, or what comes is no JSON.
    pub async fn event(&mut self) -> Result<Value, End> {
        if let Some(event) = self.kept.pop_front() {
            return Ok(event);
        }
        self.arrival().await
    }

    /// As [`Self::event`], but for as long as it takes, and only those parts of the event that `T`
    /// has. May be dropped and asked again.
    ///
    /// # Errors
    /// The socket ended.
    ///
    /// # Panics
    /// What comes is no JSON, or has not what `T` needs.
    pub async fn event_or_forever<T: DeserializeOwned>(&mut self) -> Result<T, End> {
        match self.kept.pop_front() {
            Some(event) => Ok(T::deserialize(event).expect("an event has its fields")),
            None => self.next().await,
        }
    }

    /// The next event with a `ref`; live ones that come before it are kept for later.
    ///
    /// # Errors
    /// The socket ended.
    pub async fn page(&mut self) -> Result<Value, End> {
        loop {
            let event = self.arrival().await?;
            if event.get("ref").is_some() {
                return Ok(event);
            }
            self.kept.push_back(event);
        }
    }

    async fn arrival(&mut self) -> Result<Value, End> {
        within("an event", self.next()).await
    }

    async fn next<T: DeserializeOwned>(&mut self) -> Result<T, End> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    return Ok(serde_json::from_str(&text).expect("events are JSON"));
                }
                Some(Ok(Message::Close(Some(frame)))) => {
                    return Err(End::Closed(frame.code.into()));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(other)) => panic!("no event: {other:?}"),
                Some(Err(_)) | None => return Err(End::Dropped),
            }
        }
    }

    /// The next event that `wanted` accepts; others are kept for later, in their order.
    ///
    /// # Panics
    /// The socket ends first.
    pub async fn expect(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(i) = self.kept.iter().position(&wanted) {
            return self.kept.remove(i).expect("just found");
        }
        loop {
            let event = self.arrival().await.unwrap_or_else(|end| panic!("{what}: {end:?}"));
            if wanted(&event) {
                return event;
            }
            self.kept.push_back(event);
        }
    }

    /// Sends a command with a `ref` and waits for its answer.
    pub async fn ask(&mut self, mut command: Value) -> Value {
        let reference = format!("ask-{}", command);
        let short: String = reference.chars().take(40).collect();
        command["ref"] = json!(short);
        self.command(&command).await;
        self.expect(&reference, |event| event["ref"] == json!(short)).await
    }

    /// The answer to a `history` command.
    pub async fn history(&mut self, channel: &str, at: Value, before: u64, after: u64) -> Value {
        let command = json!({"command": "history", "channel": channel, "at": at,
                             "before": before, "after": after});
        self.ask(command).await
    }
}
