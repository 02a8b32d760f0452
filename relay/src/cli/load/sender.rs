//! One sender: keeps its messages on their way until each is acknowledged, over as many connections
//! as it takes. What a broken connection leaves open is sent again under the same ids.

use super::check::Fate;
use super::journal::Kind;
use super::run::{self, Ids, Latencies, Run, add, latencies, record};
use super::socket::{Ack, Heard, Refusal, Socket, SocketError};
use backscroll_core::message::MessageId;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// How long after the last message was sent a sender waits for acknowledgements.
const LAST_ACKS: Duration = Duration::from_secs(60);

/// Pause before a message is sent again that the relay could not take now.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// What became of a sender's messages.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) fates: Vec<(MessageId, Fate)>,
    pub(super) renumbered: Vec<(MessageId, u64, u64)>,
    /// From when a message was due to its acknowledgement.
    pub(super) acks: Latencies,
    /// When the last acknowledgement came.
    pub(super) last_ack: Option<std::time::Instant>,
    /// What the relay said when it refused the first one.
    pub(super) refusal: Option<String>,
    /// Why it ended before everything was answered.
    pub(super) failed: Option<SocketError>,
}

#[derive(Debug)]
struct Waiting {
    id: MessageId,
    frame: Utf8Bytes,
    /// When it was due, which is when it was sent unless the sender fell behind its rate.
    due: Instant,
}

/// A sender at work.
#[derive(Debug)]
pub(super) struct Sender {
    run: Arc<Run>,
    number: usize,
    name: String,
    ids: Ids,
    /// Messages sent and not answered, by their ref.
    waiting: BTreeMap<u64, Waiting>,
    /// Refused for now: sent again by the next connection or pause.
    retry_at: Option<Instant>,
    next_ref: u64,
    due: Instant,
    every: Option<Duration>,
    sent: Sent,
}

impl Sender {
    /// Sender `number` of `of`; at a fixed rate they take turns.
    pub(super) fn new(run: &Arc<Run>, number: usize, of: usize) -> Self {
        let every = run.plan.rate.map(|rate| Duration::from_secs_f64(1.0 / rate));
        let share = number as f64 / of.max(1) as f64;
        let sent = Sent {
            fates: Vec::new(),
            renumbered: Vec::new(),
            acks: latencies(),
            last_ack: None,
            refusal: None,
            failed: None,
        };
        Self {
            run: run.clone(),
            number,
            name: format!("s{number}"),
            ids: Ids::default(),
            waiting: BTreeMap::new(),
            retry_at: None,
            next_ref: 0,
            due: Instant::now() + every.unwrap_or_default().mul_f64(share),
            every,
            sent,
        }
    }

    /// Connects; the first time, so that a run begins with everyone there.
    ///
    /// # Errors
    /// The relay does not take it.
    pub(super) async fn connect(&self) -> Result<Socket, SocketError> {
        self.run.target.connect(self.number).await
    }

    /// Sends until the run is over and all is answered, first over `socket`.
    pub(super) async fn work(mut self, socket: Socket) -> Sent {
        let mut socket = Some(socket);
        let mut attempt = 0;
        let mut patience = None;
        loop {
            let lost = match socket.take() {
                Some(socket) => match self.send_over(socket, &mut patience).await {
                    Ok(()) => break,
                    Err(lost) => lost,
                },
                None => match self.connect().await {
                    Ok(again) => {
                        attempt = 0;
                        add(&self.run.tally.reconnects, 1);
                        socket = Some(again);
                        continue;
                    }
                    Err(error) => error,
                },
            };
            if self.deadline(&mut patience).is_some_and(|at| at <= Instant::now()) {
                self.sent.failed = Some(lost);
                break;
            }
            run::pause(attempt).await;
            attempt += 1;
        }
        for waiting in self.waiting.values() {
            self.sent.fates.push((waiting.id, Fate::Unknown));
            self.run.note(Kind::Info, &self.name, Some(waiting.id), None);
        }
        self.sent
    }

    /// Until when answers are waited for, once nothing new is sent.
    fn deadline(&self, patience: &mut Option<Instant>) -> Option<Instant> {
        if patience.is_none() && self.run.is_over() {
            *patience = Some(Instant::now() + LAST_ACKS);
        }
        *patience
    }

    async fn send_over(
        &mut self,
        mut socket: Socket,
        patience: &mut Option<Instant>,
    ) -> Result<(), SocketError> {
        self.send_again(&mut socket).await?;
        loop {
            let over = self.run.is_over();
            if over && self.waiting.is_empty() {
                return Ok(());
            }
            let gives_up = self.deadline(patience);
            let retry_at = self.retry_at;
            let may_send = !over && retry_at.is_none();
            if may_send && self.send_due(&mut socket).await? {
                socket.flush().await?;
            }
            let room = self.waiting.len() < self.run.plan.in_flight;
            // Whichever comes first; nothing is due while the sender waits for acknowledgements.
            let wake = [gives_up, retry_at, (may_send && room).then_some(self.due)];
            let wake = wake.into_iter().flatten().min();
            let heard = match wake {
                Some(wake) => timeout_at(wake, socket.next()).await.ok(),
                None => Some(socket.next().await),
            };
            match heard {
                Some(text) => {
                    self.take(&text?)?;
                    while let Some(text) = socket.next_now()? {
                        self.take(&text)?;
                    }
                }
                None if gives_up.is_some_and(|at| at <= Instant::now()) => {
                    return Err(SocketError::Timeout);
                }
                None if retry_at.is_some_and(|at| at <= Instant::now()) => {
                    self.send_again(&mut socket).await?;
                }
                None => {}
            }
        }
    }

    /// Sends everything again that has no answer.
    async fn send_again(&mut self, socket: &mut Socket) -> Result<(), SocketError> {
        self.retry_at = None;
        for waiting in self.waiting.values() {
            add(&self.run.tally.resent, 1);
            socket.feed(waiting.frame.clone()).await?;
        }
        socket.flush().await
    }

    /// Queues what is due, as far as there may be more on their way; whether anything was.
    async fn send_due(&mut self, socket: &mut Socket) -> Result<bool, SocketError> {
        let mut any = false;
        while self.waiting.len() < self.run.plan.in_flight {
            let now = Instant::now();
            if self.due > now || !self.run.issue() {
                break;
            }
            let due = match self.every {
                Some(every) => {
                    let due = self.due;
                    self.due = due + every;
                    due
                }
                None => now,
            };
            let id = self.ids.next().map_err(|error| std::io::Error::other(error.to_string()))?;
            self.next_ref += 1;
            let frame = self.frame(id);
            socket.feed(frame.clone()).await?;
            add(&self.run.tally.sent, 1);
            self.run.note(Kind::Invoke, &self.name, Some(id), None);
            self.waiting.insert(self.next_ref, Waiting { id, frame, due });
            any = true;
        }
        Ok(any)
    }

    fn frame(&self, id: MessageId) -> Utf8Bytes {
        let mut command = json!({
            "command": "send",
            "channel": self.run.channel,
            "id": id.to_string(),
            "text": self.run.text(id),
            "ref": self.next_ref.to_string(),
        });
        if let Some(fields) = command.as_object_mut().filter(|_| self.run.plan.names) {
            fields.insert("from".to_owned(), self.name.as_str().into());
        }
        command.to_string().into()
    }

    fn take(&mut self, text: &str) -> Result<(), SocketError> {
        match Heard::read(text)? {
            Heard::Ack(ack) => self.acknowledged(&ack),
            Heard::Refused(refusal) => self.refused(&refusal),
            Heard::Live(_) | Heard::History(_) | Heard::Other => {}
        }
        Ok(())
    }

    fn acknowledged(&mut self, ack: &Ack) {
        let Some(waiting) = ack.reference.parse().ok().and_then(|n: u64| self.waiting.remove(&n))
        else {
            return self.acknowledged_again(ack);
        };
        record(&mut self.sent.acks, waiting.due.elapsed());
        self.sent.last_ack = Some(std::time::Instant::now());
        add(&self.run.tally.acknowledged, 1);
        add(&self.run.tally.duplicates, u64::from(ack.duplicate));
        self.run.note(Kind::Ok, &self.name, Some(waiting.id), Some(ack.seq));
        self.sent.fates.push((waiting.id, Fate::Stored(ack.seq)));
    }

    /// A message that was sent again is answered twice: with the same seq, or that is a fault.
    fn acknowledged_again(&mut self, ack: &Ack) {
        let known = self.sent.fates.iter().rev().find(|(id, _)| *id == ack.id);
        if let Some((id, Fate::Stored(first))) = known.filter(|(_, f)| *f != Fate::Stored(ack.seq))
        {
            self.sent.renumbered.push((*id, *first, ack.seq));
            self.run.note(Kind::Ok, &self.name, Some(*id), Some(ack.seq));
        }
    }

    fn refused(&mut self, refusal: &Refusal) {
        let number = refusal.reference.as_deref().and_then(|number| number.parse::<u64>().ok());
        if matches!(refusal.code.as_str(), "retry" | "rate_limited") {
            self.retry_at = Some(Instant::now() + RETRY_PAUSE);
            return;
        }
        if let Some(waiting) = number.and_then(|number| self.waiting.remove(&number)) {
            self.sent.refusal.get_or_insert_with(|| refusal.to_string());
            add(&self.run.tally.refused, 1);
            self.run.note(Kind::Fail, &self.name, Some(waiting.id), None);
            self.sent.fates.push((waiting.id, Fate::Refused));
        }
    }
}
