//! One subscriber: takes what comes, in order, and after a lost connection what it missed, by
//! `history` with the seqs of its rows.

use super::check::Heard as Observed;
use super::journal::Kind;
use super::run::{self, Latencies, Phase, Run, add, latencies, record};
use super::socket::{Heard, History, Row, Socket, SocketError};
use backscroll_core::limits::ROWS_MAX;
use backscroll_core::message::MessageId;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Newest messages that a subscriber asks for when it comes back: most short absences are one
/// answer.
const CATCH_UP_FIRST: u64 = 128;

/// How long a subscriber waits for the last messages of a run while nothing comes.
const LAST_MESSAGES: Duration = Duration::from_secs(30);

/// What a subscriber got.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) observed: Observed,
    /// From when a message was made to when it came, live.
    pub(super) deliveries: Latencies,
    /// When the last one came.
    pub(super) last: Option<Instant>,
    /// From when it began to connect again to when it had everything.
    pub(super) recoveries: Vec<Duration>,
    /// When it last had everything after it came back.
    pub(super) recovered: Option<Instant>,
}

/// A subscriber.
#[derive(Debug)]
pub(super) struct Reader {
    run: Arc<Run>,
    number: usize,
    phase: watch::Receiver<Phase>,
    /// The seq up to which it has everything.
    seq: u64,
    read: Read,
}

/// Why a subscriber does not listen at the moment.
enum Ended {
    Done,
    Away,
    Lost,
}

impl Reader {
    /// Subscriber `number`, connecting from address `client`; it joins at the channel's head.
    ///
    /// # Errors
    /// The relay does not take it.
    pub(super) async fn join(
        run: &Arc<Run>,
        number: usize,
        client: usize,
    ) -> Result<(Self, Socket), SocketError> {
        let mut socket = run.target.connect(client).await?;
        socket.send(subscribe(&run.channel, 0)).await?;
        let after = loop {
            match Heard::read(&socket.next().await?)? {
                Heard::History(history) => break history.seq,
                Heard::Refused(refusal) => {
                    return Err(std::io::Error::other(refusal.to_string()).into());
                }
                Heard::Live(_) | Heard::Ack(_) | Heard::Other => {}
            }
        };
        let observed = Observed { name: format!("r{number}"), after, ..Observed::default() };
        run.note(Kind::Joined, &observed.name, None, Some(after));
        let read = Read {
            observed,
            deliveries: latencies(),
            last: None,
            recoveries: Vec::new(),
            recovered: None,
        };
        let phase = run.phase.subscribe();
        let reader = Self { run: run.clone(), number: client, phase, seq: after, read };
        Ok((reader, socket))
    }

    /// Listens until it has everything that it is to have, or nothing comes any more.
    pub(super) async fn work(mut self, socket: Socket) -> Read {
        let mut socket = Some(socket);
        let mut attempt = 0;
        let mut since = Instant::now();
        loop {
            let ended = match socket.take() {
                Some(mut socket) => self.listen(&mut socket).await,
                None => Ok(Ended::Lost),
            };
            match ended {
                Ok(Ended::Done) => return self.read,
                Ok(Ended::Away) => {
                    // An error means that the run is gone.
                    let _ = self.phase.wait_for(|phase| *phase != Phase::Away).await;
                    (attempt, since) = (0, Instant::now());
                }
                Ok(Ended::Lost) | Err(_) => {
                    if attempt == 0 {
                        since = Instant::now();
                    }
                    run::pause(attempt).await;
                }
            }
            attempt += 1;
            if let Ok(again) = self.come_back().await {
                add(&self.run.tally.reconnects, 1);
                self.read.recoveries.push(since.elapsed());
                self.read.recovered = Some(Instant::now());
                attempt = 0;
                socket = Some(again);
            } else if matches!(*self.phase.borrow(), Phase::Until(_))
                && since.elapsed() > LAST_MESSAGES
            {
                return self.read;
            }
        }
    }

    async fn listen(&mut self, socket: &mut Socket) -> Result<Ended, SocketError> {
        loop {
            let phase = *self.phase.borrow_and_update();
            match phase {
                Phase::Away => return Ok(Ended::Away),
                Phase::Until(seq) if self.seq >= seq => return Ok(Ended::Done),
                Phase::Until(_) | Phase::Listen => {}
            }
            let patience = matches!(phase, Phase::Until(_)).then_some(LAST_MESSAGES);
            tokio::select! {
                biased;
                text = socket.next() => self.take(&text?)?,
                changed = self.phase.changed() => {
                    if changed.is_err() {
                        return Ok(Ended::Done);
                    }
                    continue;
                }
                () = wait(patience) => return Ok(Ended::Done),
            }
            // As much as came: the phase matters between bursts only.
            while let Some(text) = socket.next_now()? {
                self.take(&text)?;
            }
        }
    }

    fn take(&mut self, text: &str) -> Result<(), SocketError> {
        if let Heard::Live(row) = Heard::read(text)? {
            match self.run.age(row.id, &row.text) {
                Some(age) => record(&mut self.read.deliveries, age),
                None => self.altered(row.id),
            }
            add(&self.run.tally.delivered, 1);
            self.read.last = Some(Instant::now());
            self.saw(row.seq, row.id);
        }
        Ok(())
    }

    fn saw(&mut self, seq: u64, id: MessageId) {
        self.seq = self.seq.max(seq);
        self.read.observed.seen.push((seq, id));
        self.run.note(Kind::Seen, &self.read.observed.name, Some(id), Some(seq));
    }

    fn altered(&mut self, id: MessageId) {
        self.read.observed.altered.push(id);
        self.run.note(Kind::Altered, &self.read.observed.name, Some(id), None);
    }

    /// Connects again and takes what it missed, then what came meanwhile.
    async fn come_back(&mut self) -> Result<Socket, SocketError> {
        let mut socket = self.run.target.connect(self.number).await?;
        socket.send(subscribe(&self.run.channel, CATCH_UP_FIRST)).await?;
        let mut catching = CatchUp { after: self.seq, ..CatchUp::default() };
        let mut live = Vec::new();
        while !catching.is_done() {
            let text = socket.next().await?;
            match Heard::read(&text)? {
                Heard::Live(_) => live.push(text),
                Heard::History(history) => {
                    catching.take(&self.run, history);
                    if let Some(oldest) = catching.next_page() {
                        socket.send(page(&self.run.channel, oldest, catching.missing())).await?;
                    }
                }
                Heard::Refused(refusal) => {
                    return Err(std::io::Error::other(refusal.to_string()).into());
                }
                Heard::Ack(_) | Heard::Other => {}
            }
        }
        add(&self.run.tally.caught_up, catching.rows.len() as u64);
        for (seq, (id, whole)) in catching.rows {
            if !whole {
                self.altered(id);
            }
            self.saw(seq, id);
        }
        for text in live {
            self.take(&text)?;
        }
        Ok(socket)
    }
}

/// What was missed, as far as it is in hand.
#[derive(Debug, Default)]
struct CatchUp {
    /// It has everything up to here.
    after: u64,
    /// The head when it came back.
    head: Option<u64>,
    /// By seq: the message, and whether its text is what was sent.
    rows: BTreeMap<u64, (MessageId, bool)>,
    oldest: Option<MessageId>,
    found_oldest: bool,
}

impl CatchUp {
    fn take(&mut self, run: &Run, history: History<'_>) {
        // Later pages may have a newer head; what is above this one comes live.
        let head = *self.head.get_or_insert(history.seq);
        self.found_oldest |= history.found_oldest;
        self.oldest = history.messages.first().map(|row| row.id);
        for Row { id, seq, text } in history.messages {
            if seq > self.after && seq <= head {
                self.rows.insert(seq, (id, run.age(id, &text).is_some()));
            }
        }
    }

    /// How many rows are missing: every seq of the run's channel is a message.
    fn missing(&self) -> u64 {
        let head = self.head.unwrap_or(self.after);
        head.saturating_sub(self.after).saturating_sub(self.rows.len() as u64)
    }

    /// The id below which to go on, if anything is missing that may be there.
    fn next_page(&self) -> Option<MessageId> {
        self.oldest.filter(|_| self.missing() > 0 && !self.found_oldest)
    }

    fn is_done(&self) -> bool {
        self.head.is_some() && self.next_page().is_none()
    }
}

fn subscribe(channel: &str, last: u64) -> String {
    json!({"command": "subscribe", "channel": channel, "last": last}).to_string()
}

/// Rows older than `oldest`: those that are missing, and a few for those that came out of order.
fn page(channel: &str, oldest: MessageId, missing: u64) -> String {
    let before = missing.saturating_add(CATCH_UP_FIRST).min(ROWS_MAX);
    let at = json!({"id": oldest.to_string()});
    let page = json!({"command": "history", "channel": channel, "at": at, "before": before,
                      "after": 0});
    page.to_string()
}

async fn wait(patience: Option<Duration>) {
    match patience {
        Some(patience) => tokio::time::sleep(patience).await,
        None => std::future::pending().await,
    }
}
