//! `backscroll erase`: messages or attachments erased for good, in a folder that a relay may be using.

use super::progress::{Progress, Unit};
use super::{Failure, Outcome, output};
use backscroll_core::message::MessageId;
use backscroll_relay::backup;
use backscroll_relay::blob_hash::BlobHash;
use backscroll_relay::commit::Nobody;
use backscroll_relay::control::{Answer, Connection, Request};
use backscroll_relay::engine::{Engine, Erased, ErasedBlobs};
use backscroll_relay::store::{Store, StoreError};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// What `erase` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct EraseArguments {
    /// Folder of the store; a relay may be using it
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Channel of the messages
    #[arg(long, requires = "ids", required_unless_present = "blob")]
    channel: Option<String>,
    /// Ids of the messages; - reads them from standard input, one a line
    #[arg(value_name = "ID", requires = "channel")]
    ids: Vec<String>,
    /// Attachments instead of messages, by the SHA-256 of their bytes; - reads them from standard
    /// input, one a line. Messages that name them stay
    #[arg(long, value_name = "SHA256", num_args = 1.., conflicts_with_all = ["channel", "ids"])]
    blob: Vec<String>,
}

pub(super) fn run(arguments: &EraseArguments) -> Result<Outcome, Failure> {
    match &arguments.channel {
        Some(channel) => erase_messages(&arguments.data, channel, &arguments.ids),
        None => erase_blobs(&arguments.data, &arguments.blob),
    }
}

fn erase_messages(data: &Path, channel: &str, ids: &[String]) -> Result<Outcome, Failure> {
    let ids: BTreeSet<MessageId> = read(ids)?;
    let progress = Progress::new("erasing", Some(ids.len() as u64), Unit::Messages);
    let erased = match engine_over(data)? {
        Some(engine) => {
            let erased = engine.erase(channel, &ids, |done| progress.set(done));
            engine.shutdown();
            erased?
        }
        None => {
            let request = Request::Erase { channel: channel.to_owned(), ids };
            let mut relay = Connection::ask(data, &request)?;
            loop {
                match relay.answer()? {
                    Answer::Progress { done } => progress.set(done),
                    Answer::Erased { erased, before, missing } => {
                        break Erased { erased, before, missing };
                    }
                    _ => return Err("the relay answers something else".into()),
                }
            }
        }
    };
    progress.finish();
    let Erased { erased, before, missing } = erased;
    let count = missing.len();
    let summary = format!("{erased} messages erased, {before} erased before, {count} not found");
    tell(&missing, "message", &summary)
}

fn erase_blobs(data: &Path, blobs: &[String]) -> Result<Outcome, Failure> {
    let blobs: BTreeSet<BlobHash> = read(blobs)?;
    let erased = match engine_over(data)? {
        Some(engine) => {
            let erased = engine.erase_blobs(&blobs);
            engine.shutdown();
            erased?
        }
        None => match Connection::ask(data, &Request::EraseBlobs { blobs })?.answer()? {
            Answer::ErasedBlobs { erased, bytes, missing } => {
                ErasedBlobs { erased, bytes, missing }
            }
            _ => return Err("the relay answers something else".into()),
        },
    };
    let ErasedBlobs { erased, bytes, missing } = erased;
    let count = missing.len();
    let summary = format!("{erased} attachments erased ({bytes} bytes), {count} not found");
    tell(&missing, "attachment", &summary)
}

/// The store of a folder, running; none if a relay has it open.
fn engine_over(data: &Path) -> Result<Option<Engine>, Failure> {
    match Store::open_existing(data) {
        Ok(store) => {
            // What a killed backup left links to the files as they were.
            backup::remove_stale_checkpoints(data);
            Ok(Some(Engine::start(store, Arc::new(Nobody))?))
        }
        Err(StoreError::InUse(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn tell<T: Display>(missing: &[T], what: &str, summary: &str) -> Result<Outcome, Failure> {
    let mut out = output::results();
    for name in missing {
        writeln!(out, "{name}: no such {what}")?;
    }
    writeln!(out, "{summary}")?;
    out.flush()?;
    Ok(if missing.is_empty() { Outcome::Clean } else { Outcome::Flawed })
}

/// Reads names from arguments, or from standard input where one is `-`.
fn read<T>(arguments: &[String]) -> Result<BTreeSet<T>, Failure>
where
    T: FromStr<Err: Display> + Ord,
{
    let mut texts = Vec::new();
    for argument in arguments {
        if argument == "-" {
            let lines = std::io::stdin().lock().lines().collect::<Result<Vec<_>, _>>()?;
            texts.extend(lines.into_iter().filter(|line| !line.trim().is_empty()));
        } else {
            texts.push(argument.clone());
        }
    }
    let read =
        |text: &String| text.trim().parse().map_err(|error| format!("{text}: {error}").into());
    texts.iter().map(read).collect()
}
