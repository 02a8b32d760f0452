//! Idle sockets: what each costs the relay in memory, and all of them in processor time.

use super::super::progress::{Progress, Unit};
use super::process;
use super::report::Figures;
use super::socket::{Heard, Socket, SocketError, Target};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Sockets that connect at a time.
const CONNECTING_MAX: usize = 64;

/// Sockets that come and go before anything is measured: what a relay sets up once is not theirs.
const WARM_UP: usize = 64;

/// After this pause the allocator and the kernel have done what the last connection left to do.
const SETTLE: Duration = Duration::from_secs(2);

/// Opens `sockets` and holds them for `time`; `pid` is the relay's process.
///
/// # Errors
/// The relay does not take a socket.
pub(super) async fn idle(
    target: &Target,
    channel: &str,
    sockets: usize,
    time: Duration,
    pid: Option<u32>,
) -> Result<(Figures, Vec<String>), SocketError> {
    drop(open(target, channel, WARM_UP.min(sockets)).await?);
    tokio::time::sleep(SETTLE).await;
    let before = pid.and_then(process::resident_bytes);
    let slab_before = process::slab_bytes();
    let begun = Instant::now();
    let opened = open(target, channel, sockets).await?;
    let connected = begun.elapsed();
    let lost = Arc::new(AtomicU64::new(0));
    let mut held = JoinSet::new();
    for mut socket in opened {
        let lost = lost.clone();
        // Whoever is read answers pings.
        held.spawn(async move {
            while socket.next().await.is_ok() {}
            lost.fetch_add(1, Ordering::Relaxed);
        });
    }
    tokio::time::sleep(SETTLE).await;
    let cpu_before = pid.and_then(process::cpu_s);
    let holding = Instant::now();
    tokio::time::sleep(time).await;
    let (after, slab_after) = (pid.and_then(process::resident_bytes), process::slab_bytes());
    let cpu_after = pid.and_then(process::cpu_s);
    let mut figures = Figures::new();
    let mut figure = |name: &str, value: f64| figures.insert(name.to_owned(), value);
    figure("sockets", sockets as f64);
    figure("connect_s", connected.as_secs_f64());
    if let (Some(before), Some(after)) = (before, after) {
        figure("resident_mb_before", before as f64 / 1e6);
        figure("resident_mb", after as f64 / 1e6);
        figure("resident_bytes_per_socket", (after as f64 - before as f64) / sockets.max(1) as f64);
    }
    if let (Some(before), Some(after)) = (slab_before, slab_after) {
        // Both ends are on this machine.
        let ends = 2.0 * sockets.max(1) as f64;
        figure("kernel_slab_bytes_per_end", (after as f64 - before as f64) / ends);
    }
    if let (Some(before), Some(after)) = (cpu_before, cpu_after) {
        let percent = (after - before) / holding.elapsed().as_secs_f64() * 100.0;
        figure("cpu_percent_of_a_core", percent);
    }
    let lost = lost.load(Ordering::Relaxed);
    let remarks = (lost > 0).then(|| format!("{lost} idle sockets were closed"));
    Ok((figures, remarks.into_iter().collect()))
}

/// Opens sockets that have each subscribed to `channel`.
async fn open(target: &Target, channel: &str, sockets: usize) -> Result<Vec<Socket>, SocketError> {
    let progress = Progress::new("connecting", Some(sockets as u64), Unit::Sockets);
    let (mut opening, mut opened) = (JoinSet::new(), Vec::with_capacity(sockets));
    for number in 0..sockets {
        if opening.len() >= CONNECTING_MAX
            && let Some(socket) = opening.join_next().await
        {
            opened.push(socket.map_err(std::io::Error::from)??);
            progress.set(opened.len() as u64);
        }
        let target = target.clone();
        let subscribe = json!({"command": "subscribe", "channel": channel, "last": 0}).to_string();
        opening.spawn(async move {
            let mut socket = target.connect(number).await?;
            socket.send(subscribe).await?;
            while !matches!(Heard::read(&socket.next().await?)?, Heard::History(_)) {}
            Ok::<_, SocketError>(socket)
        });
    }
    while let Some(socket) = opening.join_next().await {
        opened.push(socket.map_err(std::io::Error::from)??);
    }
    progress.finish();
    Ok(opened)
}
