//! Clients that mean harm, against the relay as a process: frames that should cost memory (S2), and
//! connections that should cost places (S3). `BACKSCROLL_LONG=1` takes ten times as many.

use crate::bench::Bench;
use crate::relay::Relay;
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

const DEADLINE: Duration = Duration::from_secs(120);

/// How many times the short form.
fn scale() -> usize {
    if std::env::var_os("BACKSCROLL_LONG").is_some() { 10 } else { 1 }
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("{what}: not in time"))
}

/// A socket whose bytes we write ourselves.
async fn upgraded(address: &str, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon("an upgrade", stream.read_u8()).await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    stream
}

/// A frame of up to 125 bytes, masked with zeroes.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first, 0x80 | u8::try_from(payload.len()).unwrap(), 0, 0, 0, 0];
    bytes.extend_from_slice(payload);
    bytes
}

/// The code of the close frame that comes, after other frames perhaps.
async fn close_code(stream: &mut TcpStream) -> Option<u16> {
    loop {
        let first = soon("a close", stream.read_u8()).await.ok()?;
        let len = usize::from(stream.read_u8().await.ok()?);
        assert!(len < 126, "only small frames are expected");
        let mut payload = vec![0; len];
        stream.read_exact(&mut payload).await.ok()?;
        if first == 0x88 {
            return Some(u16::from_be_bytes([payload[0], payload[1]]));
        }
    }
}

/// What a hostile client sends, and the code that it is closed with, if it is.
fn attacks() -> Vec<(&'static str, Vec<u8>, Option<u16>)> {
    let mut huge = vec![0x82, 0xff];
    huge.extend_from_slice(&(16_u64 << 20).to_be_bytes());
    huge.extend_from_slice(&[0; 4 + 1_000]);
    let mut endless = vec![0x82, 0xff];
    endless.extend_from_slice(&(u64::MAX >> 1).to_be_bytes());
    endless.extend_from_slice(&[0; 4]);
    let mut fragments = frame(0x01, b"x");
    for _ in 0..10_000 {
        fragments.extend(frame(0x00, b"x"));
    }
    let mut empty = frame(0x01, b"");
    for _ in 0..100_000 {
        empty.extend(frame(0x00, b""));
    }
    let pings = frame(0x89, &[b'p'; 125]).repeat(10_000);
    let long_ping = [&[0x89, 0xfe, 0, 126, 0, 0, 0, 0][..], &[0; 126]].concat();
    vec![
        ("a header of 16 MiB", huge, Some(1009)),
        ("a header without end", endless, Some(1009)),
        ("10,000 fragments of one byte", fragments, None),
        ("100,000 empty fragments", empty, None),
        ("10,000 pings, their pongs unread", pings, None),
        ("a ping that is too long", long_ping, Some(1002)),
        ("an unmasked frame", vec![0x81, 1, b'x'], Some(1002)),
        ("a reserved bit", frame(0xc1, b"x"), Some(1002)),
        ("a reserved opcode", frame(0x83, b"x"), Some(1002)),
        ("a continuation of nothing", frame(0x80, b"x"), Some(1002)),
        ("bad UTF-8", frame(0x81, &[0xff, 0xfe]), Some(1007)),
    ]
}

#[test]
fn hostile_frames_are_closed_and_cost_no_memory() {
    let bench = Bench::new();
    let relay = Relay::start(&bench);
    let address = relay.address().to_owned();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let at_once = 20 * scale();
    let round = || async {
        for (what, bytes, code) in attacks() {
            for path in ["/ws", "/sync"] {
                let mut held = Vec::new();
                for _ in 0..at_once {
                    let mut stream = upgraded(&address, path).await;
                    // The relay may close while we write.
                    let _ = soon(what, stream.write_all(&bytes)).await;
                    held.push(stream);
                }
                if let Some(code) = code {
                    for stream in &mut held {
                        assert_eq!(close_code(stream).await, Some(code), "{what} on {path}");
                    }
                }
            }
        }
    };
    // Once to warm up: threads, allocator, statistics.
    runtime.block_on(round());
    let before_kib = relay.resident_kib();
    for _ in 0..2 {
        runtime.block_on(round());
    }
    let after_kib = relay.resident_kib();
    println!("hostile frames: {before_kib} KiB before, {after_kib} KiB after");
    assert!(after_kib < before_kib + (8 << 10), "{before_kib} KiB before, {after_kib} KiB after");
    bench.run(&format!("send --relay {} c still-here", relay.url)).ended(0);
    assert_eq!(relay.stop().0, Some(0));
}

/// Ways to hold a connection open for nothing.
#[derive(Clone, Copy, Debug)]
enum Idle {
    /// Nothing is said.
    Silent,
    /// A request comes byte by byte.
    Dripping,
    /// The binary interface is opened, and no hello is said.
    NoHello,
    /// A hello comes byte by byte.
    DrippingHello,
}

impl Idle {
    /// Opens a connection, and tells what is to drip on it.
    async fn open(self, address: &str) -> (TcpStream, &'static [u8]) {
        match self {
            Self::Silent => (TcpStream::connect(address).await.unwrap(), b""),
            Self::Dripping => {
                (TcpStream::connect(address).await.unwrap(), b"GET / HTTP/1.1\r\nX: ")
            }
            Self::NoHello => (upgraded(address, "/sync").await, b""),
            Self::DrippingHello => {
                (upgraded(address, "/sync").await, &[0x82, 0xfe, 0x10, 0, 0, 0, 0, 0])
            }
        }
    }
}

/// Holds a connection until the relay has had enough.
async fn idle(mut stream: TcpStream, drip: &'static [u8]) {
    let mut drops = drip.iter().chain(std::iter::repeat(&b'x')).copied();
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    let mut buffer = [0; 1_024];
    loop {
        tokio::select! {
            read = stream.read(&mut buffer) => match read {
                Ok(len) if len > 0 => {}
                _ => return,
            },
            _ = tick.tick(), if !drip.is_empty() => {
                let Some(byte) = drops.next() else { return };
                if stream.write_all(&[byte]).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[test]
fn idle_connections_are_closed_while_others_are_served() {
    let bench = Bench::new();
    let relay = Relay::start(&bench);
    let address = relay.address().to_owned();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (served, slowest) = runtime.block_on(async {
        let (mut healthy, _) =
            soon("a socket", connect_async(format!("ws://{address}/ws"))).await.unwrap();
        let mut idlers = JoinSet::new();
        // One after the other: what the system's queue does not hold would never reach the relay, and
        // the last of each four is answered by it.
        for _ in 0..100 * scale() {
            for how in [Idle::Silent, Idle::Dripping, Idle::NoHello, Idle::DrippingHello] {
                let (stream, drip) = how.open(&address).await;
                idlers.spawn(idle(stream, drip));
            }
        }
        let all_closed = async { while idlers.join_next().await.is_some() {} };
        let all_closed = soon("the end of the idle", all_closed);
        tokio::pin!(all_closed);
        let (mut served, mut slowest) = (0, Duration::ZERO);
        loop {
            let since = Instant::now();
            let send = json!({"command": "send", "channel": "c", "text": served.to_string()});
            let exchange = async {
                healthy.send(Message::text(send.to_string())).await.unwrap();
                loop {
                    // The relay pings now and then.
                    let frame = healthy.next().await.unwrap().unwrap();
                    if frame.is_text() {
                        return frame;
                    }
                }
            };
            let answer = tokio::select! {
                () = &mut all_closed => break,
                answer = soon("an ack", exchange) => answer,
            };
            assert!(answer.to_text().unwrap().contains(r#""event":"ack""#), "{answer}");
            slowest = slowest.max(since.elapsed());
            served += 1;
        }
        (served, slowest)
    });
    println!(
        "{} idle connections closed; {served} messages sent meanwhile, the slowest in {slowest:?}",
        400 * scale()
    );
    assert!(served > 0);
    assert_eq!(relay.stop().0, Some(0));
}
