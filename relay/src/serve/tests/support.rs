//! A relay under test and its clients. Every wait has a deadline and no test sleeps.

use crate::budget::Budget;
use crate::config::Config;
use crate::serve::{ServeError, Server};
use crate::store::Store;
use crate::store::kv::Kv;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// How long anything may take before the test fails.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

/// Waits for `future`, within the deadline.
pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("{what} did not happen in time"))
}

/// A relay under test.
pub(super) struct Relay {
    pub(super) address: SocketAddr,
    /// What its answers hold.
    pub(super) budget: Arc<Budget>,
    stop: oneshot::Sender<()>,
    done: JoinHandle<Result<(), ServeError>>,
    _folder: tempfile::TempDir,
}

impl Relay {
    pub(super) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(super) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.server.listen = "127.0.0.1:0".to_owned();
        config.store.data = folder.path().join("data");
        change(&mut config);
        let server = Server::start(config).await.unwrap();
        Self::run(server, folder)
    }

    /// A relay over `kv`.
    pub(super) async fn start_over(kv: Arc<dyn Kv>) -> Self {
        Self::start_over_with(kv, |_| {}).await
    }

    pub(super) async fn start_over_with(kv: Arc<dyn Kv>, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.server.listen = "127.0.0.1:0".to_owned();
        change(&mut config);
        let server = Server::start_over(config, || Store::over(kv)).await.unwrap();
        Self::run(server, tempfile::tempdir().unwrap())
    }

    fn run(server: Server, folder: tempfile::TempDir) -> Self {
        let (address, budget) = (server.address(), server.app.reads.budget().clone());
        let (stop, stopped) = oneshot::channel();
        let done = tokio::spawn(server.run_until(async { drop(stopped.await) }));
        Self { address, budget, stop, done, _folder: folder }
    }

    /// Asks it to stop and waits until it has.
    pub(super) async fn stop(self) -> Result<(), ServeError> {
        self.stop.send(()).unwrap();
        soon("the relay's end", self.done).await.unwrap()
    }

    /// Waits until it has ended by itself.
    pub(super) async fn end(self) -> Result<(), ServeError> {
        soon("the relay's end", self.done).await.unwrap()
    }

    pub(super) async fn ws(&self) -> Client {
        Client::connect(self.address, "/ws").await
    }

    pub(super) async fn get(&self, path: &str) -> Response {
        self.request("GET", path, &[], "").await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Response {
        self.request("POST", path, &[], &body.to_string()).await
    }

    pub(super) async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response {
        request(self.address, method, path, headers, body.as_bytes()).await
    }
}

/// A response to an HTTP request.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Response {
    pub(super) fn parse(answer: &[u8]) -> Self {
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head, body: answer[end + 4..].to_vec() }
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// Status and code of a problem.
    #[track_caller]
    pub(super) fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        (self.status, self.json()["code"].as_str().unwrap().to_owned())
    }
}

pub(super) async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Response {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    stream.write_all(head.as_bytes()).await.unwrap();
    // A relay that refuses a large body may not read it to its end.
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    soon("a response", stream.read_to_end(&mut answer)).await.unwrap();
    Response::parse(&answer)
}

/// A WebSocket client.
pub(super) struct Client(pub(super) WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    pub(super) async fn connect(address: SocketAddr, path: &str) -> Self {
        Self::connect_as(address, path, None).await.unwrap()
    }

    /// Connects as a page of `origin` would.
    pub(super) async fn connect_as(
        address: SocketAddr,
        path: &str,
        origin: Option<&str>,
    ) -> Result<Self, Error> {
        let mut request = format!("ws://{address}{path}").into_client_request()?;
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse().unwrap());
        }
        // The client's own limit must not hide the relay's.
        let config = WebSocketConfig::default().max_frame_size(None).max_message_size(None);
        let connect = tokio_tungstenite::connect_async_with_config(request, Some(config), true);
        Ok(Self(soon("a handshake", connect).await?.0))
    }

    /// Connects with these headers; `Err` is the status of the answer that is no upgrade.
    pub(super) async fn connect_with(
        address: SocketAddr,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, u16> {
        let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match soon("a handshake", tokio_tungstenite::connect_async(request)).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(other) => panic!("{other}"),
        }
    }

    /// A client whose system holds little of what it does not read.
    pub(super) async fn connect_with_small_buffer(
        address: SocketAddr,
        headers: &[(&'static str, &str)],
    ) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(64 << 10).unwrap();
        let stream = MaybeTlsStream::Plain(socket.connect(address).await.unwrap());
        let mut request = format!("ws://{address}/ws").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        Self(tokio_tungstenite::client_async(request, stream).await.unwrap().0)
    }

    pub(super) async fn send(&mut self, command: &Value) {
        self.send_raw(Message::text(command.to_string())).await;
    }

    pub(super) async fn send_raw(&mut self, frame: Message) {
        soon("a write", self.0.send(frame)).await.unwrap();
    }

    /// The next data frame, or how the relay closed.
    pub(super) async fn frame(&mut self) -> Result<Message, Option<CloseFrame>> {
        loop {
            match soon("a frame", self.0.next()).await {
                Some(Ok(Message::Close(close))) => return Err(close),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(frame)) => return Ok(frame),
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    pub(super) async fn event(&mut self) -> Value {
        let frame = self.frame().await.expect("a frame, not a close");
        serde_json::from_str(frame.to_text().unwrap()).unwrap()
    }

    /// The next event of this kind; others in between are dropped.
    pub(super) async fn event_of(&mut self, kind: &str) -> Value {
        loop {
            let event = self.event().await;
            if event["event"] == kind {
                return event;
            }
        }
    }

    /// The code of the close frame that the relay sends after whatever it sends before.
    pub(super) async fn close_code(&mut self) -> u16 {
        loop {
            match self.frame().await {
                Ok(_) => {}
                Err(close) => return close.expect("a close frame").code.into(),
            }
        }
    }

    pub(super) async fn ask(&mut self, command: &Value) -> Value {
        self.send(command).await;
        self.event().await
    }

    /// Sends a message and returns its ack.
    pub(super) async fn say(&mut self, channel: &str, text: &str) -> Value {
        self.send(&json!({"command": "send", "channel": channel, "text": text})).await;
        self.event_of("ack").await
    }
}
