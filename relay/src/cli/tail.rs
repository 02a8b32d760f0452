//! `backscroll tail`: a channel's newest messages, then what comes, one line each.

use super::connect::{self, ConnectError, Connection, Credential, RelayUrl};
use super::{Failure, Outcome, output};
use backscroll_core::limits::ROWS_MAX;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io;

/// What `tail` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct TailArguments {
    /// The relay, as http://HOST:PORT, ws://HOST:PORT or HOST:PORT
    #[arg(long, value_name = "URL")]
    relay: RelayUrl,
    #[command(flatten)]
    credential: Credential,
    /// Channel to follow
    channel: String,
    /// How many of the newest messages to begin with
    #[arg(long, value_name = "N", default_value_t = 50,
          value_parser = clap::value_parser!(u64).range(..=ROWS_MAX))]
    last: u64,
    /// Print messages as JSON Lines, as the relay sends them
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &TailArguments) -> Result<Outcome, Failure> {
    connect::block_on(async {
        tokio::select! {
            ended = follow(arguments) => ended,
            _ = tokio::signal::ctrl_c() => Ok(Outcome::Clean),
        }
    })?
}

/// Follows the channel over as many connections as it takes; only the first must succeed.
async fn follow(arguments: &TailArguments) -> Result<Outcome, Failure> {
    let mut printer = Printer { json: arguments.json, seq: 0 };
    let mut connection = Connection::open(&arguments.relay, &arguments.credential).await?;
    let mut last = arguments.last;
    loop {
        let lost = match follow_once(&mut connection, &arguments.channel, last, &mut printer).await
        {
            Ended::Failed(failure) => return Err(failure),
            Ended::Lost(lost) => lost,
        };
        output::log(&format!("backscroll tail: {lost}; connecting again"));
        connection = Connection::reopen(&arguments.relay, &arguments.credential).await?;
        // What came meanwhile is among these, and what was printed is known by its seq.
        last = ROWS_MAX;
    }
}

/// How a connection ended.
enum Ended {
    /// The network's doing: another connection may go on.
    Lost(ConnectError),
    /// Nothing to go on with.
    Failed(Failure),
}

async fn follow_once(
    connection: &mut Connection,
    channel: &str,
    last: u64,
    printer: &mut Printer,
) -> Ended {
    let subscribe = json!({"command": "subscribe", "channel": channel, "last": last});
    if let Err(lost) = connection.feed(subscribe.to_string()).await {
        return Ended::Lost(lost);
    }
    if let Err(lost) = connection.flush().await {
        return Ended::Lost(lost);
    }
    loop {
        let event = match connection.next().await {
            Ok(event) => event,
            Err(lost @ (ConnectError::Closed(_) | ConnectError::Broken(_))) => {
                return Ended::Lost(lost);
            }
            Err(error) => return Ended::Failed(error.into()),
        };
        if connect::is_event(&event, "error") {
            return Ended::Failed(connect::refusal(&event).into());
        }
        if let Err(error) = printer.print(&event) {
            return Ended::Failed(error.into());
        }
    }
}

/// Prints each message once, and again what was made of it since.
struct Printer {
    json: bool,
    /// The greatest seq printed.
    seq: u64,
}

impl Printer {
    fn print(&mut self, event: &Value) -> io::Result<()> {
        let before = self.seq;
        if let Some(messages) = event.get("messages").and_then(Value::as_array) {
            for message in messages.iter().filter(|message| seq_of(message) > before) {
                self.print_message(message)?;
            }
            // Everything up to the head is in what was printed, or older than what was asked for.
            self.seq = self.seq.max(seq_of(event));
        } else if let Some(message) = event.get("message").filter(|message| message.is_object()) {
            self.print_message(message)?;
        }
        Ok(())
    }

    fn print_message(&mut self, message: &Value) -> io::Result<()> {
        self.seq = self.seq.max(seq_of(message));
        let line = if self.json { message.to_string() } else { readable(message) };
        output::line(&line)
    }
}

fn seq_of(value: &Value) -> u64 {
    value.get("seq").and_then(Value::as_u64).unwrap_or_default()
}

/// `2025-01-01 00:00:00 name: text`, with a word about what is unusual.
fn readable(message: &Value) -> String {
    let text_of = |name| message.get(name).and_then(Value::as_str).unwrap_or_default();
    let is = |name| message.get(name).and_then(Value::as_bool).unwrap_or_default();
    let sent_at = message.get("sent_at").and_then(Value::as_u64).unwrap_or_default();
    let mut line = format!("{} {}: ", date_time(sent_at), harmless(text_of("from")));
    line.push_str(&if is("deleted") { "(deleted)".to_owned() } else { harmless(text_of("text")) });
    if is("late") {
        line.push_str(" (late)");
    }
    if message.get("edited_at").is_some() {
        line.push_str(" (edited)");
    }
    line
}

/// The text without what could command a terminal; its lines stay apart, indented.
fn harmless(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => line.push_str("\n    "),
            '\t' => line.push('\t'),
            c if c.is_control() => line.push('\u{fffd}'),
            c => line.push(c),
        }
    }
    line
}

/// UTC date and time of day, to the second.
///
/// The calendar is Howard Hinnant's `civil_from_days`: eras of 400 years, years from March.
fn date_time(ms: u64) -> String {
    let seconds = ms / 1_000;
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let leaps = day_of_era / 1_460;
    let centuries = day_of_era / 36_524;
    let year_of_era = (day_of_era + centuries - leaps - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write!(text, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_utc_dates() {
        let known = [
            (0, "1970-01-01 00:00:00"),
            (951_782_399_000, "2000-02-28 23:59:59"),
            (951_782_400_000, "2000-02-29 00:00:00"),
            (1_735_689_599_999, "2024-12-31 23:59:59"),
            (1_735_689_600_000, "2025-01-01 00:00:00"),
            (4_107_542_400_000, "2100-03-01 00:00:00"),
        ];
        for (ms, text) in known {
            assert_eq!(date_time(ms), text);
        }
    }

    #[test]
    fn a_line_cannot_command_the_terminal() {
        let message =
            json!({"from": "a\u{1b}[2J", "text": "one\ntwo\u{7}", "sent_at": 0, "late": true});
        let line = "1970-01-01 00:00:00 a\u{fffd}[2J: one\n    two\u{fffd} (late)";
        assert_eq!(readable(&message), line);
    }
}
