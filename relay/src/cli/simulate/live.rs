//! Arrivals sent to a relay when they are due: pipelined, acknowledged one by one, sent again after
//! a lost connection. Ids make that safe: the relay takes each message once.

use super::super::connect::{self, ConnectError, Connection, RelayUrl};
use super::super::progress::{Progress, Unit};
use super::super::{Failure, Outcome, output};
use super::SimulateArguments;
use backscroll_core::message::{Message, MessageId};
use backscroll_core::simulate::Arrivals;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

/// Messages sent and not acknowledged: enough for full speed, little to send again.
const IN_FLIGHT_MAX: usize = 2_048;

/// Messages sent before acknowledgements are looked at.
const BURST_MAX: usize = 256;

/// How long to wait for the last acknowledgements after Ctrl-C.
const LAST_ACKS: Duration = Duration::from_secs(5);

/// Sends until all are acknowledged, or Ctrl-C.
pub(super) fn run(relay: &RelayUrl, arguments: &SimulateArguments) -> Result<Outcome, Failure> {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let now_ms = u64::try_from(now_ms)?;
    let plan = arguments.plan(arguments.count, arguments.until.unwrap_or(now_ms));
    let mut arrivals = plan.arrivals().peekable();
    let first_ms = arrivals.peek().map_or(now_ms, |arrival| arrival.message.id.time_ms());
    let shift_ms =
        if arguments.until.is_some() { 0 } else { i128::from(now_ms) - i128::from(first_ms) };
    let sender = Sender {
        channel: arguments.channel.clone(),
        clock: Clock {
            first_ms,
            newest_ms: first_ms,
            shift_ms,
            started: std::time::Instant::now(),
        },
        arrivals,
        in_flight: BTreeMap::new(),
        tally: Tally::default(),
        progress: Progress::new("sending", arguments.count, Unit::Messages),
        stopping: false,
    };
    connect::block_on(async { sender.run(relay, &mut signal(SignalKind::interrupt())?).await })?
}

/// Maps the plan's times to this machine's: a message is due when the newest before it is.
#[derive(Debug)]
struct Clock {
    first_ms: u64,
    newest_ms: u64,
    shift_ms: i128,
    started: std::time::Instant,
}

impl Clock {
    /// When a message of `time_ms` is due: at once if it is a late one.
    fn due(&self, time_ms: u64) -> Instant {
        let after = self.newest_ms.max(time_ms).saturating_sub(self.first_ms);
        Instant::from_std(self.started + Duration::from_millis(after))
    }

    /// The id under which a message of the plan is sent.
    fn id(&mut self, id: MessageId) -> MessageId {
        self.newest_ms = self.newest_ms.max(id.time_ms());
        let shifted = i128::from(id.time_ms()) + self.shift_ms;
        MessageId::from_parts(u64::try_from(shifted).unwrap_or_default(), id.tail())
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
    channel: String,
    clock: Clock,
    arrivals: Peekable<Arrivals>,
    /// Commands sent and not answered, by their ref.
    in_flight: BTreeMap<u64, String>,
    tally: Tally,
    progress: Progress,
    /// Ctrl-C: nothing new is sent.
    stopping: bool,
}

impl Sender {
    async fn run(mut self, relay: &RelayUrl, stop: &mut Signal) -> Result<Outcome, Failure> {
        let mut connection = Connection::open(relay).await?;
        while let Err(error) = self.send_all(&mut connection, stop).await {
            if !matches!(error, ConnectError::Closed(_) | ConnectError::Broken(_)) {
                return Err(error.into());
            }
            self.progress.log(&format!("backscroll simulate: {error}; connecting again"));
            tokio::select! {
                reopened = Connection::reopen(relay) => connection = reopened,
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
            let due = self.next_due();
            if due.is_none() && self.in_flight.is_empty() {
                return Ok(());
            }
            let wake = due.or(patience).unwrap_or_else(Instant::now);
            let may_send = due.is_some() && self.in_flight.len() < IN_FLIGHT_MAX;
            tokio::select! {
                event = connection.next() => self.take(&event?),
                () = tokio::time::sleep_until(wake), if may_send => self.send_due(connection).await?,
                () = tokio::time::sleep_until(wake), if patience.is_some() => return Ok(()),
                _ = stop.recv(), if !self.stopping => {
                    self.stopping = true;
                    patience = Some(Instant::now() + LAST_ACKS);
                }
            }
        }
    }

    fn next_due(&mut self) -> Option<Instant> {
        if self.stopping {
            return None;
        }
        self.arrivals.peek().map(|arrival| self.clock.due(arrival.message.id.time_ms()))
    }

    /// Sends what is due, up to a burst.
    async fn send_due(&mut self, connection: &mut Connection) -> Result<(), ConnectError> {
        for _ in 0..BURST_MAX {
            let is_due = self.next_due().is_some_and(|due| due <= Instant::now());
            if !is_due || self.in_flight.len() >= IN_FLIGHT_MAX {
                break;
            }
            let Some(arrival) = self.arrivals.next() else { break };
            self.tally.sent += 1;
            let command = self.command(self.tally.sent, arrival.message);
            self.in_flight.insert(self.tally.sent, command.clone());
            connection.feed(command).await?;
        }
        connection.flush().await
    }

    fn command(&mut self, reference: u64, message: Message) -> String {
        let Message { id, content } = message;
        let id = self.clock.id(id);
        let mut command = json!(content);
        if let Some(fields) = command.as_object_mut() {
            fields.insert("command".to_owned(), Value::from("send"));
            fields.insert("channel".to_owned(), Value::from(self.channel.as_str()));
            fields.insert("id".to_owned(), Value::from(id.to_string()));
            fields.insert("sent_at".to_owned(), Value::from(id.time_ms()));
            fields.insert("ref".to_owned(), Value::from(reference.to_string()));
        }
        command.to_string()
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
        let seconds = self.clock.started.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = acknowledged as f64 / seconds.max(0.001);
        output::line(&format!(
            "{acknowledged} messages acknowledged ({duplicates} of them there before), \
             {refused} refused, {open} unanswered, {seconds:.1} s, {rate:.0} messages/s"
        ))?;
        Ok(if refused == 0 && open == 0 { Outcome::Clean } else { Outcome::Flawed })
    }
}
