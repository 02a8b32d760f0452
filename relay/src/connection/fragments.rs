//! Large messages as several WebSocket frames (RFC 6455 5.4).
//!
//! A socket's write buffer grows to the largest frame that went through it and never shrinks: of a
//! message that is written whole, a client that once read megabytes would keep as many for as long as
//! it stays. A client's library puts the fragments together again.

use super::WRITE_BUFFER_BYTES;
use bytes::Bytes;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

/// Largest payload of a frame, in bytes: what the write buffer has room for anyway.
const FRAGMENT_BYTES: usize = WRITE_BUFFER_BYTES;

/// The frames of one message.
#[derive(Debug)]
pub(super) enum Fragments {
    /// It goes as it is, if it did not go yet.
    Whole(Option<Message>),
    /// The next frame's kind, and what is left.
    Cut(Data, Bytes),
}

impl Fragments {
    /// Cuts a message if it is large.
    pub(super) fn of(message: Message) -> Self {
        if message.len() <= FRAGMENT_BYTES {
            return Self::Whole(Some(message));
        }
        match message {
            Message::Text(text) => Self::Cut(Data::Text, text.into()),
            Message::Binary(bytes) => Self::Cut(Data::Binary, bytes),
            other => Self::Whole(Some(other)),
        }
    }
}

impl Iterator for Fragments {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        match self {
            Self::Whole(message) => message.take(),
            Self::Cut(_, left) if left.is_empty() => None,
            Self::Cut(kind, left) => {
                let part = left.split_to(left.len().min(FRAGMENT_BYTES));
                let code = OpCode::Data(std::mem::replace(kind, Data::Continue));
                Some(Message::Frame(Frame::message(part, code, left.is_empty())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::protocol::Role;

    #[test]
    fn small_messages_and_control_frames_go_as_they_are() {
        for message in [
            Message::text(""),
            Message::text("x".repeat(FRAGMENT_BYTES)),
            Message::binary(vec![1; 5]),
            Message::Ping(Bytes::new()),
            Message::Close(None),
        ] {
            assert_eq!(Fragments::of(message.clone()).collect::<Vec<_>>(), [message]);
        }
    }

    #[tokio::test]
    async fn a_large_message_goes_in_small_frames_and_arrives_as_one() {
        let text = "é".repeat(FRAGMENT_BYTES * 2) + "x";
        let messages =
            [Message::text(text), Message::binary(vec![7; FRAGMENT_BYTES + 1]), Message::text("y")];
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let mut relay = WebSocketStream::from_raw_socket(ours, Role::Server, None).await;
        let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        for (message, frames) in messages.into_iter().zip([5, 2, 1]) {
            let parts: Vec<_> = Fragments::of(message.clone()).collect();
            assert_eq!(parts.len(), frames);
            assert!(parts.iter().all(|part| part.len() <= FRAGMENT_BYTES + 14));
            for part in parts {
                relay.send(part).await.unwrap();
            }
            assert_eq!(client.next().await.unwrap().unwrap(), message);
        }
    }
}
