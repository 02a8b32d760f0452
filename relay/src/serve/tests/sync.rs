//! The binary interface (design 6), spoken with core's own frames.

use super::support::{Client, DEADLINE, Relay};
use backscroll_core::change::{ActorId16, ChangeHash, DocKind, MessageAuthor};
use backscroll_core::directory::Directory;
use backscroll_core::message::{Content, MessageId};
use backscroll_core::segment::SegmentDoc;
use backscroll_core::window::Window;
use backscroll_core::wire::{
    Assembler, ClientFrame, Code, Cursor, Epoch, Have, PROTOCOL_VERSION, RelayFrame, Token,
    decode_relay, decode_seqs, encode_client,
};
use serde_json::json;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio_tungstenite::tungstenite::Message;

const CHANNEL: &str = "c";

/// A sync client that said hello.
pub(super) struct Sync {
    pub(super) client: Client,
    assembler: Assembler,
    pub(super) epoch: Epoch,
    /// Frames that were pieces of others.
    parts: usize,
}

impl Sync {
    async fn connect(address: SocketAddr, user: &str) -> Self {
        Self::hello(Client::connect(address, "/sync").await, user, None).await
    }

    /// Says hello, with a credential.
    pub(super) async fn hello(client: Client, user: &str, token: Option<&str>) -> Self {
        let mut sync = Self::greet(client, user, token).await;
        let RelayFrame::Welcome { epoch, .. } = sync.frame().await else { panic!("a welcome") };
        sync.epoch = epoch;
        sync
    }

    /// Says hello, whatever the answer is.
    pub(super) async fn greet(client: Client, user: &str, token: Option<&str>) -> Self {
        let assembler = Assembler::new();
        let mut sync = Self { client, assembler, epoch: Epoch([0; 16]), parts: 0 };
        let (user, token) = (user.to_owned(), token.map(|token| Token(token.to_owned())));
        sync.send(&ClientFrame::Hello { version: PROTOCOL_VERSION, user, token }).await;
        sync
    }

    pub(super) async fn send(&mut self, frame: &ClientFrame) {
        self.client.send_raw(Message::binary(encode_client(frame))).await;
    }

    pub(super) async fn frame(&mut self) -> RelayFrame {
        loop {
            let frame = self.client.frame().await.expect("a frame, not a close").into_data();
            let is_part = matches!(decode_relay(&frame), Ok(Some(RelayFrame::Part { .. })));
            self.parts += usize::from(is_part);
            if let Some(frame) = self.assembler.read(&frame).unwrap() {
                return frame;
            }
        }
    }

    async fn open(&mut self, cursor: Option<Cursor>, newest: u32) -> RelayFrame {
        self.send(&ClientFrame::Open { channel: CHANNEL.to_owned(), cursor, newest }).await;
        self.frame().await
    }

    async fn push(&mut self, reference: u64, window: Window, chunks: Vec<Vec<u8>>) {
        let channel = CHANNEL.to_owned();
        let doc = DocKind::Messages;
        self.send(&ClientFrame::Push { reference, channel, window, generation: 0, doc, chunks })
            .await;
    }

    async fn fetch(&mut self, window: Window) -> RelayFrame {
        let have = Have { window, generation: 0, messages_seq: 0, annotations_seq: 0 };
        let channel = CHANNEL.to_owned();
        self.send(&ClientFrame::Fetch { reference: 9, channel, windows: vec![have] }).await;
        self.frame().await
    }

    pub(super) async fn error(&mut self) -> Code {
        match self.frame().await {
            RelayFrame::Error { code, .. } => code,
            other => panic!("an error, not {other:?}"),
        }
    }
}

pub(super) fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

pub(super) fn message(time_ms: u64, tail: u128, from: &str, text: &str) -> (MessageId, Vec<u8>) {
    (MessageId::from_parts(time_ms, tail), Content::text(from, text).to_body().unwrap())
}

pub(super) fn author(window: Window, actor: u8) -> MessageAuthor {
    MessageAuthor::new(window, ActorId16([actor; 16]))
}

fn opened(frame: &RelayFrame) -> (Cursor, bool, Directory) {
    let RelayFrame::Opened { head, resumed, directory, .. } = frame else {
        panic!("opened, not {frame:?}")
    };
    (*head, *resumed, Directory::decode(directory).unwrap())
}

/// The texts in a `segment` frame, by loading it with Automerge, and its seqs.
fn loaded(frame: RelayFrame) -> (Vec<String>, Vec<u64>) {
    let RelayFrame::Segment { window, messages, message_tail, seqs, .. } = frame else {
        panic!("a segment, not {frame:?}")
    };
    let mut document = match messages {
        Some(saved) => SegmentDoc::load(window, DocKind::Messages, &saved.bytes).unwrap(),
        None => SegmentDoc::new(window, DocKind::Messages),
    };
    let saved = document.messages().count();
    let mut all = decode_seqs(&seqs, saved).unwrap();
    let chunks: Vec<_> = message_tail.iter().map(|change| change.chunk.clone()).collect();
    all.extend(message_tail.iter().map(|change| change.seq));
    document.apply(&chunks).unwrap();
    let text = |body: &[u8]| Content::from_body(body).unwrap().text;
    (document.messages().map(|(_, body)| text(&body)).collect(), all)
}

#[tokio::test(flavor = "multi_thread")]
async fn hello_comes_first() {
    let relay = Relay::start().await;
    let mut client = Client::connect(relay.address, "/sync").await;
    let open = ClientFrame::Open { channel: CHANNEL.to_owned(), cursor: None, newest: 0 };
    client.send_raw(Message::binary(encode_client(&open))).await;
    assert!(client.frame().await.is_ok(), "an error first");
    assert_eq!(client.close_code().await, 4500);
    let mut client = Client::connect(relay.address, "/sync").await;
    let hello = ClientFrame::Hello { version: 99, user: "ada".to_owned(), token: None };
    client.send_raw(Message::binary(encode_client(&hello))).await;
    assert_eq!(client.close_code().await, 4502);
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_frames_are_answered_and_the_socket_stays_open() {
    let relay = Relay::start().await;
    let mut sync = Sync::connect(relay.address, "ada").await;
    for bytes in [&[0xff_u8][..], &[], &[0x82, 0x18, 0x63, 0xa0], &[0x82, 0x02, 0xa1, 0x00, 0x9f]] {
        sync.client.send_raw(Message::binary(bytes.to_vec())).await;
        assert_eq!(sync.error().await, Code::BadRequest, "{bytes:?}");
    }
    sync.client.send_raw(Message::text("{}")).await;
    assert_eq!(sync.error().await, Code::BadRequest);
    for channel in [String::new(), "x".repeat(300)] {
        sync.send(&ClientFrame::Open { channel, cursor: None, newest: 0 }).await;
        assert_eq!(sync.error().await, Code::BadChannel);
    }
    let payload = b"typing".to_vec();
    sync.send(&ClientFrame::Ephemeral { channel: CHANNEL.to_owned(), payload }).await;
    assert_eq!(sync.error().await, Code::NotOpen);
    // A frame of a later version is skipped: the next answer is that of `channels`.
    sync.client.send_raw(Message::binary(vec![0x82, 0x18, 0xc8, 0xa0])).await;
    sync.send(&ClientFrame::Channels { after: None }).await;
    let answer = sync.frame().await;
    assert_eq!(answer, RelayFrame::Channels { list: Vec::new(), more: false });
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_acknowledged_and_reaches_everyone_once() {
    let relay = Relay::start().await;
    let mut ada = Sync::connect(relay.address, "ada").await;
    let mut bob = Sync::connect(relay.address, "bob").await;
    let mut json = relay.ws().await;
    let (head, resumed, directory) = opened(&ada.open(None, 50).await);
    assert_eq!((head.seq, head.hash, resumed), (0, ChangeHash([0; 32]), false));
    assert_eq!((head.epoch, directory.len()), (ada.epoch, 0));
    bob.open(None, 50).await;
    json.ask(&json!({"command": "subscribe", "channel": CHANNEL})).await;
    let time_ms = now_ms();
    let window = Window::covering(0, time_ms);
    let two = [message(time_ms, 1, "ada", "one"), message(time_ms, 2, "ada", "two")];
    let authored = author(window, 1).write(&two).unwrap();
    ada.push(7, window, vec![authored.chunk.clone()]).await;
    let (mut acked, mut changed) = (false, false);
    for _ in 0..2 {
        match ada.frame().await {
            RelayFrame::Ack { reference, seqs, .. } => {
                assert_eq!((reference, seqs), (7, vec![1]));
                acked = true;
            }
            RelayFrame::Changes { seq, chunk, .. } => {
                assert_eq!((seq, &chunk), (1, &authored.chunk));
                changed = true;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(acked && changed);
    let RelayFrame::Changes { seq, chunk, doc, .. } = bob.frame().await else { panic!("changes") };
    assert_eq!((seq, chunk, doc), (1, authored.chunk.clone(), DocKind::Messages));
    assert_eq!(json.event().await["message"]["text"], "one");
    assert_eq!(json.event().await["message"]["seq"], 2);
    ada.push(8, window, vec![authored.chunk]).await;
    let RelayFrame::Ack { reference, seqs, .. } = ada.frame().await else { panic!("an ack") };
    assert_eq!((reference, seqs), (8, vec![1]), "again the same seqs, and nothing to anyone");
    assert_eq!(loaded(bob.fetch(window).await).0.len(), 2);
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_another_is_refused_and_nothing_of_it_stored() {
    let relay = Relay::start().await;
    let mut ada = Sync::connect(relay.address, "ada").await;
    let time_ms = now_ms();
    let window = Window::covering(0, time_ms);
    let mut author = author(window, 1);
    let mine = author.write(&[message(time_ms, 1, "ada", "mine")]).unwrap().chunk;
    let forged = author.write(&[message(time_ms, 2, "bob", "not mine")]).unwrap().chunk;
    ada.push(1, window, vec![mine, forged]).await;
    let RelayFrame::Ack { seqs, .. } = ada.frame().await else { panic!("an ack first") };
    assert_eq!(seqs, [1]);
    let RelayFrame::Nack { reference, chunk_index, code, .. } = ada.frame().await else {
        panic!("a nack")
    };
    assert_eq!((reference, chunk_index, code), (1, 1, Code::Forbidden));
    assert_eq!(loaded(ada.fetch(window).await).0, ["mine"]);
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn directory_and_changes_have_no_gap_and_no_repeat_while_eight_send() {
    const SENDERS: u64 = 8;
    const EACH: u64 = 100;
    let relay = Relay::start().await;
    let address = relay.address;
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            tokio::spawn(async move {
                let mut client = Client::connect(address, "/ws").await;
                for n in 0..EACH {
                    client.say(CHANNEL, &n.to_string()).await;
                }
            })
        })
        .collect();
    let readers: Vec<_> = (0..6)
        .map(|reader| {
            tokio::spawn(async move {
                let mut sync = Sync::connect(address, "bob").await;
                // Each joins at another moment: when so many have been stored.
                loop {
                    sync.send(&ClientFrame::Channels { after: None }).await;
                    let RelayFrame::Channels { list, .. } = sync.frame().await else { panic!() };
                    let stored = list.first().map_or(0, |channel| channel.total);
                    if stored >= reader * SENDERS * EACH / 8 {
                        break;
                    }
                }
                let frame = sync.open(None, 0).await;
                let (head, _, directory) = opened(&frame);
                assert_eq!(directory.total(), head.seq, "one op each");
                let mut last = head.seq;
                while last < SENDERS * EACH {
                    let RelayFrame::Changes { seq, window, chunk, .. } = sync.frame().await else {
                        panic!("changes")
                    };
                    assert_eq!(seq, last + 1);
                    let kind = DocKind::Messages;
                    let view = backscroll_core::change::ChangeView::read(&chunk, window, kind);
                    last += view.unwrap().ops_len;
                }
            })
        })
        .collect();
    for task in senders.into_iter().chain(readers) {
        tokio::time::timeout(DEADLINE * 2, task).await.unwrap().unwrap();
    }
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_resumes_and_one_of_another_history_does_not() {
    let relay = Relay::start().await;
    let mut json = relay.ws().await;
    json.say(CHANNEL, "one").await;
    let mut sync = Sync::connect(relay.address, "ada").await;
    let (head, ..) = opened(&sync.open(None, 0).await);
    drop(sync);
    let late_ms = now_ms() - 60_000;
    let command =
        json!({"command": "send", "channel": CHANNEL, "text": "late", "sent_at": late_ms});
    json.ask(&command).await;
    let mut sync = Sync::connect(relay.address, "ada").await;
    let frame = sync.open(Some(head), 0).await;
    let (now, resumed, directory) = opened(&frame);
    assert!(resumed && now.seq == 2 && directory.len() == 1);
    let RelayFrame::Opened { late, late_complete, .. } = frame else { panic!() };
    assert_eq!((late.len(), late[0].count, late_complete), (1, 1, true));
    assert_eq!(late[0].first.time_ms(), late_ms);
    for bad in [
        Cursor { epoch: Epoch([7; 16]), ..head },
        Cursor { hash: ChangeHash([7; 32]), ..head },
        Cursor { seq: 99, ..head },
    ] {
        let frame = sync.open(Some(bad), 0).await;
        let (now, resumed, directory) = opened(&frame);
        assert!(!resumed && now.seq == 2 && directory.total() == 2);
    }
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_brings_the_newest_windows_and_large_ones_in_parts() {
    let relay = Relay::start().await;
    let mut ada = Sync::connect(relay.address, "ada").await;
    let time_ms = now_ms();
    let window = Window::covering(0, time_ms);
    let old = Window::covering(0, time_ms - (1 << 36));
    let mut author = author(window, 1);
    // Together more than a frame that is sent whole, less than a window may hold.
    let noise = |n: u64| {
        let step = |at: u64| format!("{:016x}", at.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        (n * 125..(n + 1) * 125).map(step).collect::<String>()
    };
    let chunks: Vec<_> = (0..2_u64)
        .map(|chunk| {
            let messages: Vec<_> = (chunk * 90..(chunk + 1) * 90)
                .map(|n| message(time_ms, u128::from(n), "ada", &noise(n)))
                .collect();
            author.write(&messages).unwrap().chunk
        })
        .collect();
    ada.push(1, window, chunks).await;
    assert!(matches!(ada.frame().await, RelayFrame::Ack { .. }));
    let oldest = message(time_ms - (1 << 36), 1, "ada", "of another window");
    let chunk = MessageAuthor::new(old, ActorId16([2; 16])).write(&[oldest]).unwrap().chunk;
    ada.push(2, old, vec![chunk]).await;
    assert!(matches!(ada.frame().await, RelayFrame::Ack { .. }));
    let mut bob = Sync::connect(relay.address, "bob").await;
    let (head, _, directory) = opened(&bob.open(None, 180).await);
    assert_eq!((head.seq, directory.len(), directory.total()), (181, 2, 181));
    assert_eq!(loaded(bob.frame().await).0.len(), 180);
    assert!(bob.parts > 1, "it came in parts");
    // The window that 180 messages do not reach was not sent: the next answer is another's.
    bob.send(&ClientFrame::Channels { after: None }).await;
    assert!(matches!(bob.frame().await, RelayFrame::Channels { .. }));
    assert_eq!(loaded(bob.fetch(old).await).0, ["of another window"]);
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_reaches_the_others_and_is_not_stored() {
    let relay = Relay::start().await;
    let mut ada = Sync::connect(relay.address, "ada").await;
    let mut bob = Sync::connect(relay.address, "bob").await;
    ada.open(None, 0).await;
    bob.open(None, 0).await;
    let (channel, payload) = (CHANNEL.to_owned(), b"typing".to_vec());
    ada.send(&ClientFrame::Ephemeral { channel: channel.clone(), payload: payload.clone() }).await;
    let user = "ada".to_owned();
    assert_eq!(bob.frame().await, RelayFrame::Ephemeral { channel, user, payload });
    // What comes next at the sender is not its own presence.
    ada.send(&ClientFrame::Channels { after: None }).await;
    assert!(matches!(ada.frame().await, RelayFrame::Channels { list, .. } if list.is_empty()));
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_are_merged_told_to_all_and_refused_above_the_head() {
    let relay = Relay::start().await;
    let mut json = relay.ws().await;
    let id: MessageId = json.say(CHANNEL, "x").await["id"].as_str().unwrap().parse().unwrap();
    let mut ada = Sync::connect(relay.address, "ada").await;
    let mut bob = Sync::connect(relay.address, "bob").await;
    ada.open(None, 0).await;
    bob.open(None, 0).await;
    let epoch = ada.epoch;
    let mark = |epoch, seq| ClientFrame::Mark {
        channel: CHANNEL.to_owned(),
        epoch,
        seq,
        read: Some(id),
        delivered: Some(seq),
        unseen_late: Vec::new(),
    };
    ada.send(&mark(epoch, 1)).await;
    let RelayFrame::Marks { user, read, delivered, .. } = bob.frame().await else { panic!() };
    assert_eq!((user.as_str(), read, delivered), ("ada", Some(id), Some(1)));
    assert!(matches!(ada.frame().await, RelayFrame::Marks { .. }));
    for bad in [mark(epoch, 2), mark(Epoch([9; 16]), 1)] {
        ada.send(&bad).await;
        assert_eq!(ada.error().await, Code::BadRequest);
    }
    // Another device of the user learns it when it opens the channel.
    let mut device = Sync::connect(relay.address, "ada").await;
    device.open(None, 0).await;
    let RelayFrame::Marks { read, .. } = device.frame().await else { panic!("marks") };
    assert_eq!(read, Some(id));
    // Another user learns it as well.
    let mut cleo = Sync::connect(relay.address, "cleo").await;
    cleo.open(None, 0).await;
    let RelayFrame::Marks { user, read, .. } = cleo.frame().await else { panic!("marks") };
    assert_eq!((user.as_str(), read), ("ada", Some(id)));
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_channel_is_heard_of_no_more() {
    let relay = Relay::start().await;
    let (mut json, mut sync) = (relay.ws().await, Sync::connect(relay.address, "ada").await);
    sync.open(None, 0).await;
    sync.send(&ClientFrame::Close { channel: CHANNEL.to_owned() }).await;
    sync.send(&ClientFrame::Channels { after: None }).await;
    assert!(matches!(sync.frame().await, RelayFrame::Channels { .. }));
    json.say(CHANNEL, "x").await;
    sync.send(&ClientFrame::Channels { after: None }).await;
    let RelayFrame::Channels { list, more } = sync.frame().await else { panic!("channels") };
    assert_eq!((list.len(), list[0].total, list[0].name.as_str(), more), (1, 1, CHANNEL, false));
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_never_says_hello_is_closed_and_others_are_not() {
    let relay = Relay::start().await;
    let mut polite = Sync::connect(relay.address, "ada").await;
    let mut silent = Client::connect(relay.address, "/sync").await;
    // That it lives is not enough.
    silent.send_raw(Message::Ping("here".into())).await;
    assert_eq!(silent.close_code().await, 4003);
    assert!(matches!(polite.open(None, 0).await, RelayFrame::Opened { .. }));
    relay.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_windows_of_the_newest_messages_come_however_large_they_are() {
    let relay = Relay::start().await;
    let mut sender = relay.ws().await;
    for _ in 0..60 {
        sender.say(CHANNEL, &"x".repeat(60_000)).await;
    }
    let mut client = Sync::connect(relay.address, "ada").await;
    let RelayFrame::Opened { directory, .. } = client.open(None, 60).await else {
        panic!("opened")
    };
    let mut expected: Vec<_> =
        Directory::decode(&directory).unwrap().iter().map(|(window, _)| window).collect();
    assert!(expected.len() > 10, "{} windows", expected.len());
    let mut windows = Vec::new();
    while windows.len() < expected.len() {
        let RelayFrame::Segment { reference: 0, window, .. } = client.frame().await else {
            panic!("a segment")
        };
        windows.push(window);
    }
    windows.sort_unstable();
    expected.sort_unstable();
    assert_eq!(windows, expected);
    relay.stop().await.unwrap();
}
