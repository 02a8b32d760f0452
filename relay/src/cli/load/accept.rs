//! Upgrades per second, and what a client gets when there are too many.

use super::report::{Figures, per_second, percentiles};
use super::run::{latencies, record};
use super::socket::{Socket, SocketError, Target};
use std::time::Instant;
use tokio::task::JoinSet;

/// Attempts above the cap.
const REFUSED: usize = 200;

/// Connects up to `count` clients, `at_a_time`, and holds them; if the relay's cap comes first, then
/// tries a few more.
///
/// # Errors
/// The relay does not answer as it should.
pub(super) async fn accept(
    target: &Target,
    count: usize,
    at_a_time: usize,
) -> Result<(Figures, Vec<String>), SocketError> {
    let mut held: Vec<Socket> = Vec::with_capacity(count);
    let mut upgrades = latencies();
    let (mut connecting, mut next, mut capped) = (JoinSet::new(), 0, false);
    let begun = Instant::now();
    let mut last = begun;
    loop {
        while !capped && next < count && connecting.len() < at_a_time {
            let (target, client) = (target.clone(), next);
            connecting.spawn(async move {
                let since = Instant::now();
                (target.connect(client).await, since.elapsed())
            });
            next += 1;
        }
        let Some(connected) = connecting.join_next().await else { break };
        match connected.map_err(std::io::Error::from)? {
            (Ok(socket), time) => {
                record(&mut upgrades, time);
                held.push(socket);
                last = Instant::now();
            }
            (Err(SocketError::Status(503)), _) => capped = true,
            (Err(error), _) => return Err(error),
        }
    }
    let mut figures = Figures::new();
    figures.insert("upgrades".to_owned(), held.len() as f64);
    figures.insert("upgrades_per_s".to_owned(), per_second(held.len() as u64, last - begun));
    percentiles(&mut figures, "upgrade", &upgrades);
    let mut remarks = Vec::new();
    if capped {
        let mut refusals = latencies();
        for client in 0..REFUSED {
            let since = Instant::now();
            match target.connect(count + client).await {
                Err(SocketError::Status(503)) => record(&mut refusals, since.elapsed()),
                Ok(_) => remarks.push("a client above the cap was taken".to_owned()),
                Err(error) => remarks.push(format!("a client above the cap got no 503: {error}")),
            }
        }
        remarks.dedup();
        percentiles(&mut figures, "refusal", &refusals);
    }
    Ok((figures, remarks))
}
