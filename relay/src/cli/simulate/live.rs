//! Arrivals sent to a relay when they are due: pipelined, acknowledged one by one, sent again after
//! a lost connection. Ids make that safe: the relay takes each message once.

use super::super::connect::{self, ConnectError, Connection, Credential, RelayUrl};
use super::super::progress::{Progress, Unit};
use super::super::{Failure, Outcome, now_ms, output};
use super::{FILE_COUNT, SimulateArguments};
use backscroll_core::message::Message;
use backscroll_core::simulate::{Arrivals, Live, PlanError};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

/// Messages sent and not acknowledged: enough for full speed, little to send again.
const IN_FLIGHT_MAX: usize = 2_048;

/// Messages sent before acknowledgements are looked at.
const BURST_MAX: usize = 256;

/// How long to wait for the last acknowledgements after Ctrl-C.
const LAST_ACKS: Duration = Duration::from_secs(5);

/// Sends until all are acknowledged, or Ctrl-C.
pub(super) fn run(relay: &RelayUrl, arguments: &SimulateArguments) -> Result<Outcome, Failure> {
    let sender = Sender {
        credential: arguments.credential.clone(),
        channel: arguments.channel.clone(),
        source: Source::new(arguments)?,
        due: Instant::now(),
        in_flight: BTreeMap::new(),
        tally: Tally::default(),
        progress: Progress::new("sending", arguments.count, Unit::Messages),
        started: Instant::now(),
        stopped: false,
    };
    connect::block_on(async { sender.run(relay, &mut signal(SignalKind::interrupt())?).await })?
}

/// Where messages come from.
#[derive(Debug)]
enum Source {
    /// Written as they are sent; so many more, or without end.
    Live { live: Live, left: Option<u64> },
    /// Written until a given instant, sent at an even pace.
    Past { arrivals: Arrivals, pause: Duration },
}

impl Source {
    fn new(arguments: &SimulateArguments) -> Result<Self, PlanError> {
        let plan = arguments.plan();
        let Some(until_ms) = arguments.until else {
            return Ok(Self::Live { live: Live::new(&plan)?, left: arguments.count });
        };
        let count = arguments.count.unwrap_or(FILE_COUNT);
        let pause = Duration::from_secs_f64(1.0 / plan.rate_per_second.max(1e-6));
        Ok(Self::Past { arrivals: Arrivals::new(&plan, count, until_ms)?, pause })
    }

    fn is_over(&self) -> bool {
        match self {
            Self::Live { left, .. } => *left == Some(0),
            Self::Past { arrivals, .. } => arrivals.size_hint().1 == Some(0),
        }
    }

    /// How long to wait before the next message.
    fn pause(&mut self) -> Duration {
        match self {
            Self::Live { live, .. } => Duration::from_micros(live.pause_us()),
            Self::Past { pause, .. } => *pause,
        }
    }

    fn next(&mut self) -> Option<Message> {
        match self {
            Self::Live { left: Some(0), .. } => None,
            Self::Live { live, left } => {
                *left = left.map(|left| left - 1);
                Some(live.next(now_ms()).message)
            }
            Self::Past { arrivals, .. } => arrivals.next().map(|arrival| arrival.message),
        }
    }
}

#[derive(Debug, Default)]
struct Tally {
    sent: u64,
    acknowledged: u64,
    duplicates: u64,
    refused: u64,
}

struct Sender {
    credential: Credential,
    channel: String,
    source: Source,
    /// When the next message is to be sent.
    due: Instant,
    /// Commands sent and not answered, by their ref.
    in_flight: BTreeMap<u64, String>,
    tally: Tally,
    progress: Progress,
    started: Instant,
    /// Nothing new is sent.
    stopped: bool,
}

impl Sender {
    async fn run(mut self, relay: &RelayUrl, stop: &mut Signal) -> Result<Outcome, Failure> {
        let mut connection = Connection::open(relay, &self.credential).await?;
        while let Err(error) = self.send_all(&mut connection, stop).await {
            if !matches!(error, ConnectError::Closed(_) | ConnectError::Broken(_)) {
                return Err(error.into());
            }
            self.progress.log(&format!("backscroll simulate: {error}; connecting again"));
            tokio::select! {
                reopened = Connection::reopen(relay, &self.credential) => connection = reopened?,
                _ = stop.recv() => break,
            }
        }
        connection.close().await;
        self.progress.finish();
        self.summary()
    }

    /// Sends over one connection, first what another did not get acknowledged.
    async fn send_all(
        &mut self,
        connection: &mut Connection,
        stop: &mut Signal,
    ) -> Result<(), ConnectError> {
        for command in self.in_flight.values() {
            connection.feed(command.clone()).await?;
        }
        connection.flush().await?;
        let mut patience: Option<Instant> = None;
        loop {
            let over = self.stopped || self.source.is_over();
            if over && self.in_flight.is_empty() {
                return Ok(());
            }
            let may_send = !over && self.in_flight.len() < IN_FLIGHT_MAX;
            let gives_up = patience.unwrap_or(self.due);
            tokio::select! {
                event = connection.next() => self.take(&event?),
                () = sleep_until(self.due), if may_send => self.send_due(connection).await?,
                () = sleep_until(gives_up), if patience.is_some() => return Ok(()),
                _ = stop.recv(), if patience.is_none() => {
                    self.stopped = true;
                    patience = Some(Instant::now() + LAST_ACKS);
                }
            }
        }
    }

    /// Sends what is due, up to a burst.
    async fn send_due(&mut self, connection: &mut Connection) -> Result<(), ConnectError> {
        for _ in 0..BURST_MAX {
            if self.due > Instant::now() || self.in_flight.len() >= IN_FLIGHT_MAX {
                break;
            }
            let Some(message) = self.source.next() else { break };
            self.due += self.source.pause();
            self.tally.sent += 1;
            let command = command(&self.channel, self.tally.sent, message);
            self.in_flight.insert(self.tally.sent, command.clone());
            connection.feed(command).await?;
        }
        connection.flush().await
    }

    /// Takes an answer; other events are not ours.
    fn take(&mut self, event: &Value) {
        let reference = event.get("ref").and_then(Value::as_str).and_then(|text| text.parse().ok());
        let Some(_) = reference.and_then(|reference: u64| self.in_flight.remove(&reference)) else {
            if connect::is_event(event, "error") {
                self.progress.log(&format!("backscroll simulate: {}", connect::refusal(event)));
            }
            return;
        };
        if connect::is_event(event, "error") {
            self.tally.refused += 1;
            self.progress.log(&format!("backscroll simulate: {}", connect::refusal(event)));
        } else {
            self.tally.acknowledged += 1;
            let duplicate = event.get("duplicate").and_then(Value::as_bool).unwrap_or_default();
            self.tally.duplicates += u64::from(duplicate);
        }
        self.progress.set(self.tally.acknowledged);
    }

    fn summary(&self) -> Result<Outcome, Failure> {
        let Tally { acknowledged, duplicates, refused, .. } = self.tally;
        let open = self.in_flight.len();
        let seconds = self.started.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = acknowledged as f64 / seconds.max(0.001);
        output::line(&format!(
            "{acknowledged} messages acknowledged ({duplicates} of them there before), \
             {refused} refused, {open} unanswered, {seconds:.1} s, {rate:.0} messages/s"
        ))?;
        Ok(if refused == 0 && open == 0 { Outcome::Clean } else { Outcome::Flawed })
    }
}

fn command(channel: &str, reference: u64, Message { id, content }: Message) -> String {
    let mut command = json!(content);
    if let Some(fields) = command.as_object_mut() {
        fields.insert("command".to_owned(), Value::from("send"));
        fields.insert("channel".to_owned(), Value::from(channel));
        fields.insert("id".to_owned(), Value::from(id.to_string()));
        fields.insert("sent_at".to_owned(), Value::from(id.time_ms()));
        fields.insert("ref".to_owned(), Value::from(reference.to_string()));
    }
    command.to_string()
}
