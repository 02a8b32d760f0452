//! What the relay's sockets carry: durable publishes from 64 senders, and fan-out from 1 to 200.
//!
//! `cargo bench -p backscroll-relay --bench sockets`; relay and clients share this process and its
//! cores, so that a relay on its own does better. Texts have 256 bytes, the store is on disk.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    reason = "a benchmark of small numbers"
)]

use backscroll_relay::config::Config;
use backscroll_relay::serve::Server;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::error::Error;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

type Failure = Box<dyn Error + Send + Sync>;
type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const SENDERS: usize = 64;
const EACH: usize = 500;
const SUBSCRIBERS: usize = 200;
const FANNED_OUT: usize = 1_000;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let mut config = Config::default();
    config.server.listen = "127.0.0.1:0".to_owned();
    config.store.data = folder.path().join("data");
    let server = Server::start(config).await?;
    let address = server.address();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let relay = tokio::spawn(server.run_until(async { drop(stopped.await) }));
    for in_flight in [1, 16] {
        publish(address, in_flight).await?;
    }
    fan_out(address).await?;
    drop(stop);
    relay.await??;
    Ok(())
}

/// Every sender keeps `in_flight` messages on their way.
async fn publish(address: SocketAddr, in_flight: usize) -> Result<(), Failure> {
    let mut sockets = Vec::new();
    for _ in 0..SENDERS {
        sockets.push(connect_async(format!("ws://{address}/ws")).await?.0);
    }
    let start = Instant::now();
    let senders: Vec<_> =
        sockets.into_iter().map(|socket| tokio::spawn(send_all(socket, EACH, in_flight))).collect();
    let mut latencies = Vec::new();
    for sender in senders {
        latencies.extend(sender.await??);
    }
    let (elapsed, acks) = (start.elapsed(), latencies.len());
    latencies.sort_unstable();
    let at =
        |share: f64| latencies.get((acks as f64 * share) as usize).copied().unwrap_or_default();
    writeln!(
        std::io::stdout(),
        "publish: {SENDERS} senders, {in_flight} in flight each: {:.0} acks/s, p50 {:.1?}, p99 {:.1?}",
        acks as f64 / elapsed.as_secs_f64(),
        at(0.5),
        at(0.99),
    )?;
    Ok(())
}

async fn send_all(
    mut socket: Socket,
    count: usize,
    in_flight: usize,
) -> Result<Vec<Duration>, Failure> {
    let command = json!({"command": "send", "channel": "bench", "text": "x".repeat(256)});
    let frame = Message::text(command.to_string());
    let (mut sent, mut latencies) = (Vec::new(), Vec::new());
    while latencies.len() < count {
        while sent.len() < count && sent.len() - latencies.len() < in_flight {
            socket.feed(frame.clone()).await?;
            sent.push(Instant::now());
        }
        socket.flush().await?;
        let ack: Value = next(&mut socket).await?;
        if ack["event"] != "ack" {
            return Err(format!("no ack but {ack}").into());
        }
        latencies.extend(sent.get(latencies.len()).map(Instant::elapsed));
    }
    Ok(latencies)
}

/// One sender, many subscribers; done when everyone has everything.
async fn fan_out(address: SocketAddr) -> Result<(), Failure> {
    let mut subscribers = Vec::new();
    for _ in 0..SUBSCRIBERS {
        let (mut socket, _) = connect_async(format!("ws://{address}/ws")).await?;
        let subscribe = json!({"command": "subscribe", "channel": "bench", "last": 0});
        socket.send(Message::text(subscribe.to_string())).await?;
        next(&mut socket).await?;
        subscribers.push(socket);
    }
    let start = Instant::now();
    let readers: Vec<_> = subscribers
        .into_iter()
        .map(|mut socket| {
            tokio::spawn(async move {
                for _ in 0..FANNED_OUT {
                    socket.next().await.ok_or("the relay closed")??;
                }
                Ok::<_, Failure>(())
            })
        })
        .collect();
    let (socket, _) = connect_async(format!("ws://{address}/ws")).await?;
    send_all(socket, FANNED_OUT, 16).await?;
    for reader in readers {
        reader.await??;
    }
    let deliveries = (FANNED_OUT * SUBSCRIBERS) as f64 / start.elapsed().as_secs_f64();
    writeln!(std::io::stdout(), "fan-out: 1 to {SUBSCRIBERS}: {deliveries:.0} deliveries/s")?;
    Ok(())
}

async fn next(socket: &mut Socket) -> Result<Value, Failure> {
    let frame = socket.next().await.ok_or("the relay closed")??;
    Ok(serde_json::from_slice(&frame.into_data())?)
}
