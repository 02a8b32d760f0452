//! A plain client of `/sync`: frames out, frames in, and windows as Automerge documents.

use crate::{relay::Relay, within};
use backscroll_core::change::{ActorId16, ChangeView, DocKind, MessageAuthor};
use backscroll_core::directory::Directory;
use backscroll_core::message::{Content, MessageId};
use backscroll_core::segment::SegmentDoc;
use backscroll_core::window::Window;
use backscroll_core::wire::{self, Assembler, ClientFrame, Have, RelayFrame};
use futures_util::{SinkExt, StreamExt};
use std::collections::{BTreeMap, VecDeque};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// A WebSocket to `/sync` that has said hello.
#[derive(Debug)]
pub struct Sync {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    assembler: Assembler,
    kept: VecDeque<RelayFrame>,
    /// Bytes received since the connection began.
    pub received: u64,
}

impl Sync {
    /// Connects and says hello as `user`.
    ///
    /// # Panics
    /// The relay refuses.
    pub async fn connect(relay: &Relay, user: &str) -> Self {
        let mut client = Self::connect_silently(relay).await;
        let version = wire::PROTOCOL_VERSION;
        client.send(&ClientFrame::Hello { version, user: user.to_owned(), token: None }).await;
        client.expect("welcome", |frame| matches!(frame, RelayFrame::Welcome { .. })).await;
        client
    }

    /// Connects without a word.
    ///
    /// # Panics
    /// The relay refuses.
    pub async fn connect_silently(relay: &Relay) -> Self {
        let connected = within("connect", connect_async(relay.ws("/sync"))).await;
        let (socket, _) = connected.expect("the relay accepts");
        Self { socket, assembler: Assembler::new(), kept: VecDeque::new(), received: 0 }
    }

    /// Sends a frame.
    ///
    /// # Panics
    /// The socket is gone.
    pub async fn send(&mut self, frame: &ClientFrame) {
        self.send_bytes(wire::encode_client(frame)).await;
    }

    /// Sends bytes as a binary frame.
    ///
    /// # Panics
    /// The socket is gone.
    pub async fn send_bytes(&mut self, bytes: Vec<u8>) {
        self.socket.send(Message::Binary(Bytes::from(bytes))).await.expect("the socket is open");
    }

    /// The next frame; `None` once the socket ended.
    ///
    /// # Panics
    /// Nothing comes within the deadline, or what comes is no frame.
    pub async fn frame(&mut self) -> Option<RelayFrame> {
        match self.kept.pop_front() {
            Some(frame) => Some(frame),
            None => self.arrival().await,
        }
    }

    async fn arrival(&mut self) -> Option<RelayFrame> {
        // Pings do not put the deadline off.
        within("a frame", self.next_frame()).await
    }

    async fn next_frame(&mut self) -> Option<RelayFrame> {
        loop {
            match self.socket.next().await? {
                Ok(Message::Binary(bytes)) => {
                    self.received += bytes.len() as u64;
                    if let Some(frame) = self.assembler.read(&bytes).expect("a frame") {
                        return Some(frame);
                    }
                }
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Ok(_) | Err(_) => return None,
            }
        }
    }

    /// The next frame that `wanted` accepts; others are kept for later, in their order.
    ///
    /// # Panics
    /// The socket ends first.
    pub async fn expect(&mut self, what: &str, wanted: impl Fn(&RelayFrame) -> bool) -> RelayFrame {
        if let Some(i) = self.kept.iter().position(&wanted) {
            return self.kept.remove(i).expect("just found");
        }
        loop {
            let frame = self.arrival().await.unwrap_or_else(|| panic!("closed before: {what}"));
            if wanted(&frame) {
                return frame;
            }
            self.kept.push_back(frame);
        }
    }

    /// Opens a channel; its head and whole directory.
    pub async fn open(&mut self, channel: &str, newest: u32) -> (u64, Directory) {
        self.send(&ClientFrame::Open { channel: channel.to_owned(), cursor: None, newest }).await;
        let opened = |frame: &RelayFrame| matches!(frame, RelayFrame::Opened { .. });
        match self.expect("opened", opened).await {
            RelayFrame::Opened { head, directory, total, .. } => {
                let directory = Directory::decode(&directory).expect("a directory");
                assert_eq!(directory.total(), total);
                (head.seq, directory)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Fetches a window that this client has nothing of.
    pub async fn fetch(&mut self, channel: &str, window: Window, reference: u64) -> Loaded {
        let have = Have { window, generation: 0, messages_seq: 0, annotations_seq: 0 };
        let channel = channel.to_owned();
        self.send(&ClientFrame::Fetch { reference, channel, windows: vec![have] }).await;
        let answer = self
            .expect("segment", |frame| match frame {
                RelayFrame::Segment { reference: got, .. } => *got == reference,
                _ => false,
            })
            .await;
        Loaded::read(answer)
    }
}

/// A window as a client loads it.
#[derive(Debug)]
pub struct Loaded {
    /// It holds everything of the window up to this seq.
    pub as_of: u64,
    /// Its messages.
    pub segment: SegmentDoc,
    /// The seq of each message.
    pub seqs: BTreeMap<MessageId, u64>,
}

impl Loaded {
    /// Loads a `segment` frame, checking it against the entry that it carries.
    ///
    /// # Panics
    /// The frame does not hold together.
    #[must_use]
    pub fn read(frame: RelayFrame) -> Self {
        let RelayFrame::Segment { window, as_of, entry, messages, seqs, message_tail, .. } = frame
        else {
            panic!("no segment: {frame:?}");
        };
        let mut known = BTreeMap::new();
        let mut segment = match messages {
            Some(saved) => {
                let doc = SegmentDoc::load(window, DocKind::Messages, &saved.bytes).expect("loads");
                let ids = doc.ids();
                known.extend(
                    ids.iter().copied().zip(wire::decode_seqs(&seqs, ids.len()).expect("seqs")),
                );
                doc
            }
            None => SegmentDoc::new(window, DocKind::Messages),
        };
        for tail in &message_tail {
            known.extend(seqs_of(window, tail.seq, &tail.chunk));
        }
        let chunks: Vec<_> = message_tail.iter().map(|tail| tail.chunk.as_slice()).collect();
        segment.apply(&chunks).expect("the tail applies");
        let directory = Directory::decode(&entry).expect("an entry");
        if let Some(entry) = directory.get(window) {
            assert_eq!(entry.message_doc.digest, segment.digest(), "digest of {window} at {as_of}");
            assert_eq!(entry.messages, segment.messages().count() as u64);
            assert!(entry.latest_seq() <= as_of);
        }
        Self { as_of, segment, seqs: known }
    }
}

/// The seqs of a change's messages: by ascending id, from the change's first.
///
/// # Panics
/// The chunk is malformed.
#[must_use]
pub fn seqs_of(window: Window, first_seq: u64, chunk: &[u8]) -> Vec<(MessageId, u64)> {
    let mut ids = ids_of(window, chunk);
    ids.sort_unstable();
    ids.into_iter().zip(first_seq..).collect()
}

/// The ids of the messages in a chunk, in op order; none of an annotation change.
///
/// # Panics
/// The chunk is malformed.
#[must_use]
pub fn ids_of(window: Window, chunk: &[u8]) -> Vec<MessageId> {
    use backscroll_core::change::ChangeBody;
    match ChangeView::read(chunk, window, DocKind::Messages).expect("a change").body {
        ChangeBody::Messages(ops) => ops.iter().map(|op| op.id).collect(),
        ChangeBody::Annotations(_) => Vec::new(),
    }
}

/// Writes changes of one user into windows of its choice, as a client's own-documents do.
#[derive(Debug)]
pub struct Writer {
    user: String,
    authors: BTreeMap<Window, MessageAuthor>,
    number: u8,
}

impl Writer {
    /// A writer; `number` keeps the actors of different writers apart.
    #[must_use]
    pub fn new(user: &str, number: u8) -> Self {
        Self { user: user.to_owned(), authors: BTreeMap::new(), number }
    }

    /// A change that writes one message into the window of `level` around its time.
    ///
    /// # Panics
    /// The message is out of bounds.
    pub fn write(&mut self, level: u8, id: MessageId, text: &str) -> (Window, Vec<u8>) {
        let window = Window::covering(level, id.time_ms());
        let count = u8::try_from(self.authors.len() % 251).expect("below 251");
        let author = self.authors.entry(window).or_insert_with(|| {
            let mut actor = [self.number; 16];
            actor[1] = count;
            actor[2..10].copy_from_slice(&window.start_ms().to_be_bytes());
            actor[10] = level;
            MessageAuthor::new(window, ActorId16(actor))
        });
        let body = Content::text(&self.user, text).to_body().expect("within bounds");
        (window, author.write(&[(id, body)]).expect("written").chunk)
    }
}
