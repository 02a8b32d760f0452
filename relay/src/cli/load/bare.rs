//! `backscroll floor-relay`: a bare broadcast over WebSockets that keeps nothing and promises
//! nothing. The load tool starts it to see what sockets cost on this machine without a relay.
//!
//! It speaks just enough of `/ws` for the same clients: `subscribe`, `send`, `ack`, `message`.

use super::super::{Failure, Outcome, output};
use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::json;
use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio::sync::broadcast::{Receiver, Sender, channel, error::RecvError};

/// Messages that wait for the slowest socket; one that is further behind is closed.
const WAITING_MAX: usize = 1 << 16;

/// As small as the relay's, so that memory can be compared.
const READ_BUFFER_BYTES: usize = 4 << 10;
const WRITE_BUFFER_BYTES: usize = 16 << 10;

/// What `floor-relay` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct FloorRelayArguments {
    /// Address to serve on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: String,
}

#[derive(Debug)]
struct Room {
    /// The last message's number.
    seq: Mutex<u64>,
    messages: Sender<Utf8Bytes>,
}

#[derive(Deserialize)]
struct Command<'a> {
    command: &'a str,
    #[serde(default, borrow)]
    channel: Cow<'a, str>,
    #[serde(default, borrow)]
    from: Cow<'a, str>,
    #[serde(default, borrow)]
    id: Cow<'a, str>,
    #[serde(default, borrow)]
    text: Cow<'a, str>,
    #[serde(default, borrow, rename = "ref")]
    reference: Cow<'a, str>,
}

/// Serves until it is killed.
pub(crate) fn run(arguments: &FloorRelayArguments) -> Result<Outcome, Failure> {
    let room = Arc::new(Room { seq: Mutex::new(0), messages: channel(WAITING_MAX).0 });
    let router = Router::new().route("/ws", get(serve)).with_state(room);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(&arguments.listen).await?;
        output::line(&format!("listening on http://{}", listener.local_addr()?))?;
        axum::serve(listener, router).await?;
        Ok(Outcome::Clean)
    })
}

async fn serve(State(room): State<Arc<Room>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.read_buffer_size(READ_BUFFER_BYTES).write_buffer_size(WRITE_BUFFER_BYTES).on_upgrade(
        |socket| async move {
            // However it ends: nobody is promised anything.
            let _ = converse(&room, socket).await;
        },
    )
}

async fn converse(room: &Room, socket: WebSocket) -> Result<(), axum::Error> {
    let (mut sink, mut stream) = socket.split();
    let mut heard: Option<Receiver<Utf8Bytes>> = None;
    loop {
        tokio::select! {
            frame = stream.next() => match frame {
                Some(Ok(Message::Text(text))) => {
                    let answer = room.answer(&text, &mut heard);
                    sink.send(Message::Text(answer)).await?;
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(()),
                Some(Ok(_)) => {}
            },
            message = next(&mut heard) => match message {
                Ok(message) => pass_on(&mut sink, message, &mut heard).await?,
                Err(RecvError::Lagged(_) | RecvError::Closed) => return Ok(()),
            },
        }
    }
}

async fn next(heard: &mut Option<Receiver<Utf8Bytes>>) -> Result<Utf8Bytes, RecvError> {
    match heard {
        Some(heard) => heard.recv().await,
        None => std::future::pending().await,
    }
}

/// Writes a message and all that wait behind it.
async fn pass_on(
    sink: &mut SplitSink<WebSocket, Message>,
    message: Utf8Bytes,
    heard: &mut Option<Receiver<Utf8Bytes>>,
) -> Result<(), axum::Error> {
    sink.feed(Message::Text(message)).await?;
    while let Some(Ok(message)) = heard.as_mut().map(Receiver::try_recv) {
        sink.feed(Message::Text(message)).await?;
    }
    sink.flush().await
}

impl Room {
    fn answer(&self, text: &str, heard: &mut Option<Receiver<Utf8Bytes>>) -> Utf8Bytes {
        let Ok(command) = serde_json::from_str::<Command<'_>>(text) else {
            return r#"{"event":"error","code":"bad_json","message":"not JSON"}"#.into();
        };
        let Command { channel, from, id, text, reference, .. } = &command;
        // Nothing panics while it holds the lock.
        let mut seq = self.seq.lock().unwrap_or_else(PoisonError::into_inner);
        if command.command != "send" {
            *heard = Some(self.messages.subscribe());
            let answer = json!({"event": "history", "channel": channel, "messages": [], "start": 0,
                "total": *seq, "found_oldest": true, "found_newest": true, "seq": *seq});
            return answer.to_string().into();
        }
        *seq += 1;
        if self.messages.receiver_count() > 0 {
            let message = json!({"id": id, "channel": channel, "from": from, "text": text,
                "sent_at": 0, "seq": *seq, "late": false});
            // The kind first, as the relay writes it.
            let event = format!(
                r#"{{"event":"message","channel":{},"message":{message},"index":0}}"#,
                json!(channel)
            );
            // An error means that the last subscriber left meanwhile.
            let _ = self.messages.send(event.into());
        }
        json!({"event": "ack", "id": id, "seq": *seq, "duplicate": false, "ref": reference})
            .to_string()
            .into()
    }
}
