//! `backscroll simulate`: seeded arrivals, to a file or live to a relay.

mod live;

use super::connect::{Credential, RelayUrl};
use super::progress::{Progress, Unit};
use super::row::Row;
use super::{Failure, Outcome, output};
use backscroll_core::message;
use backscroll_core::simulate::{Arrival, Arrivals, Chunk, Plan};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Messages written to a file if nothing else is said.
const FILE_COUNT: u64 = 10_000;

/// 2025-01-01T00:00Z: the same file from equal flags, today and in a year.
const FILE_UNTIL_MS: u64 = 1_735_689_600_000;

/// Messages between two signs of progress.
const PROGRESS_EVERY: u64 = 1_024;

/// What `simulate` is told.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("to").required(true))]
pub(crate) struct SimulateArguments {
    /// Send to this relay, as the messages are due
    #[arg(long, value_name = "URL", group = "to")]
    relay: Option<RelayUrl>,
    #[command(flatten)]
    credential: Credential,
    /// Write JSON Lines to this file, at once; - for standard output
    #[arg(long, value_name = "FILE", group = "to")]
    out: Option<PathBuf>,
    /// Channel of the messages
    #[arg(long)]
    channel: String,
    /// Exact number of messages [default: 10000 to a file, endless to a relay]
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Percentage of messages that arrive late
    #[arg(long, value_name = "PERCENT", default_value_t = 3.0, value_parser = percentage)]
    late: f64,
    /// After every EVERY messages, SIZE consecutive ones that are arbitrarily late
    #[arg(long, value_name = "EVERY:SIZE", value_parser = chunk)]
    chunk: Option<Chunk>,
    /// Messages per second
    #[arg(long, value_name = "PER_SECOND", default_value_t = 1.0, value_parser = positive)]
    rate: f64,
    /// Equal seeds make equal messages
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Sent time of the last message in ms [default: 2025-01-01T00:00Z to a file; to a relay,
    /// messages are sent as they are written]
    #[arg(long, value_name = "MS")]
    until: Option<u64>,
}

/// Why a text is no chunk rule.
#[derive(Debug, thiserror::Error)]
#[error("write EVERY:SIZE, both at least 1")]
struct ChunkError;

fn chunk(text: &str) -> Result<Chunk, ChunkError> {
    let (every, size) = text.split_once(':').ok_or(ChunkError)?;
    let number = |text: &str| text.parse().ok().filter(|n| *n > 0).ok_or(ChunkError);
    Ok(Chunk { every: number(every)?, size: number(size)? })
}

/// Why a text is no number that is meant.
#[derive(Debug, thiserror::Error)]
#[error("write {0}")]
struct NumberError(&'static str);

fn percentage(text: &str) -> Result<f64, NumberError> {
    let number = text.parse().ok().filter(|n| (0.0..=100.0).contains(n));
    number.ok_or(NumberError("a number from 0 to 100"))
}

fn positive(text: &str) -> Result<f64, NumberError> {
    let number = text.parse().ok().filter(|n: &f64| *n > 0.0 && n.is_finite());
    number.ok_or(NumberError("a number above 0"))
}

/// Why there is nothing to simulate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum SimulateError {
    /// The file cannot be made or written.
    #[error("cannot write {}", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

pub(super) fn run(arguments: &SimulateArguments) -> Result<Outcome, Failure> {
    message::check_channel(&arguments.channel)?;
    match (&arguments.relay, &arguments.out) {
        (Some(relay), _) => live::run(relay, arguments),
        (None, Some(file)) => to_file(file, arguments),
        // clap asks for one of the two.
        (None, None) => Ok(Outcome::Flawed),
    }
}

impl SimulateArguments {
    fn plan(&self) -> Plan {
        Plan {
            late_percent: self.late,
            chunk: self.chunk,
            seed: self.seed,
            rate_per_second: self.rate,
        }
    }
}

fn to_file(file: &Path, arguments: &SimulateArguments) -> Result<Outcome, Failure> {
    let count = arguments.count.unwrap_or(FILE_COUNT);
    let until_ms = arguments.until.unwrap_or(FILE_UNTIL_MS);
    let arrivals = Arrivals::new(&arguments.plan(), count, until_ms)?;
    let progress = Progress::new("simulating", Some(count), Unit::Messages);
    if file == Path::new("-") {
        write_rows(&arguments.channel, arrivals, output::results(), &progress)?;
    } else {
        let failed = |source| SimulateError::Write { file: file.to_owned(), source };
        let out = BufWriter::with_capacity(1 << 16, File::create(file).map_err(failed)?);
        write_rows(&arguments.channel, arrivals, out, &progress).map_err(failed)?;
    }
    progress.finish();
    Ok(Outcome::Clean)
}

fn write_rows(
    channel: &str,
    arrivals: Arrivals,
    mut out: impl Write,
    progress: &Progress,
) -> io::Result<()> {
    let mut written = 0;
    for Arrival { message, .. } in arrivals {
        Row::written(channel, message.id, &message.content).write(&mut out)?;
        written += 1;
        if written % PROGRESS_EVERY == 0 {
            progress.set(written);
        }
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_rules_and_numbers_are_checked() {
        assert_eq!(chunk("5:3").unwrap(), Chunk { every: 5, size: 3 });
        for text in ["", "5", "5:", ":3", "0:3", "5:0", "5:3:1", "-5:3"] {
            assert!(chunk(text).is_err(), "{text}");
        }
        assert!(percentage("100.5").is_err() && percentage("NaN").is_err());
        assert!(positive("0").is_err() && positive("inf").is_err());
        assert_eq!((percentage("0").unwrap(), positive("0.5").unwrap()), (0.0, 0.5));
    }
}
