//! Viewports of 50 rows anywhere in a large channel, as a JSON client asks for them.

use super::super::progress::{Progress, Unit};
use super::report::{Figures, per_second, percentiles};
use super::run::{Latencies, latencies, record};
use super::socket::{Heard, History, Socket, SocketError, Target};
use serde_json::{Value, json};
use std::time::Instant;
use tokio::task::JoinSet;

/// Rows of a viewport.
const ROWS: u64 = 50;

/// Questions before anything is measured: what a relay reads once is not theirs.
const WARM_UP: u64 = 20;

/// Ways to ask.
const WAYS: [&str; 3] = ["latest", "index", "page"];

/// Asks `count` times over `clients` sockets.
///
/// # Errors
/// The relay does not answer as it should.
pub(super) async fn view(
    target: &Target,
    channel: &str,
    clients: usize,
    count: u64,
) -> Result<(Figures, Vec<String>), SocketError> {
    let mut asking = JoinSet::new();
    let begun = Instant::now();
    let progress = Progress::new("asking", None, Unit::Messages);
    for client in 0..clients {
        let (target, channel) = (target.clone(), channel.to_owned());
        asking.spawn(async move {
            let socket = target.connect(client).await?;
            let mut asker = Asker::new(socket, channel, client);
            asker.ask_all(count / clients.max(1) as u64).await?;
            Ok::<_, SocketError>(asker)
        });
    }
    let mut latencies = [latencies(), latencies(), latencies()];
    let (mut wrong, mut total) = (Vec::new(), 0);
    while let Some(asker) = asking.join_next().await {
        let asker = asker.map_err(std::io::Error::from)??;
        for (all, own) in latencies.iter_mut().zip(&asker.latencies) {
            // Equal bounds always add.
            let _ = all.add(own);
        }
        wrong.extend(asker.wrong);
        total = asker.total;
    }
    progress.finish();
    let mut figures = Figures::new();
    figures.insert("messages_in_channel".to_owned(), total as f64);
    let asked = latencies.iter().map(Latencies::len).sum();
    figures.insert("views_per_s".to_owned(), per_second(asked, begun.elapsed()));
    for (way, latencies) in WAYS.iter().zip(&latencies) {
        percentiles(&mut figures, way, latencies);
    }
    Ok((figures, wrong))
}

struct Asker {
    socket: Socket,
    channel: String,
    /// A small generator of its own: equal runs ask for equal places.
    random: u64,
    total: u64,
    latencies: [Latencies; 3],
    wrong: Vec<String>,
}

impl Asker {
    fn new(socket: Socket, channel: String, client: usize) -> Self {
        let random = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(client as u64 + 1) | 1;
        let latencies = [latencies(), latencies(), latencies()];
        Self { socket, channel, random, total: 0, latencies, wrong: Vec::new() }
    }

    /// Marsaglia's xorshift64.
    fn random_below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound.max(1)
    }

    async fn ask_all(&mut self, count: u64) -> Result<(), SocketError> {
        let mut before_id = None;
        for number in 0..count + WARM_UP {
            let way = usize::try_from(number % 3).unwrap_or(0);
            let index = self.random_below(self.total.saturating_sub(ROWS).max(1));
            let (at, before, after) = match way {
                1 => (json!({"index": index}), 0, ROWS),
                2 => match before_id.take() {
                    Some(id) => (json!({"id": id}), ROWS, 0),
                    None => continue,
                },
                _ => (json!("latest"), ROWS, 0),
            };
            let since = Instant::now();
            let text = self.ask(&at, before, after).await?;
            let time = since.elapsed();
            let Heard::History(history) = Heard::read(&text)? else {
                return Err(std::io::Error::other(format!("no history but {text}")).into());
            };
            self.total = history.total;
            if way == 1 {
                before_id = history.messages.first().map(|row| row.id.to_string());
            }
            self.wrong.extend(wrong(&history, (way == 1 && number > 1).then_some(index)));
            if number >= WARM_UP {
                self.latencies.get_mut(way).into_iter().for_each(|way| record(way, time));
            }
        }
        Ok(())
    }

    async fn ask(
        &mut self,
        at: &Value,
        before: u64,
        after: u64,
    ) -> Result<tokio_tungstenite::tungstenite::Utf8Bytes, SocketError> {
        let ask = json!({"command": "history", "channel": self.channel, "at": at,
                         "before": before, "after": after});
        self.socket.send(ask.to_string()).await?;
        self.socket.next().await
    }
}

/// What is wrong with an answer.
fn wrong(history: &History<'_>, index: Option<u64>) -> Option<String> {
    let rows = history.messages.len() as u64;
    let sorted = history.messages.is_sorted_by(|a, b| a.id < b.id);
    let whole = rows == ROWS.min(history.total) || history.found_oldest;
    let placed = index.is_none_or(|index| history.start == index);
    (!(sorted && whole && placed)).then(|| {
        format!("{rows} rows from {} of {}, asked {index:?}", history.start, history.total)
    })
}
