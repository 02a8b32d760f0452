//! `backscroll erase`: messages erased for good, in a folder that a relay may be using.

use super::progress::{Progress, Unit};
use super::{Failure, Outcome, output};
use backscroll_core::message::MessageId;
use backscroll_relay::backup;
use backscroll_relay::commit::Nobody;
use backscroll_relay::control::{Answer, Connection, Request};
use backscroll_relay::engine::{Engine, Erased};
use backscroll_relay::store::{Store, StoreError};
use std::collections::BTreeSet;
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// What `erase` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct EraseArguments {
    /// Folder of the store; a relay may be using it
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Channel of the messages
    #[arg(long)]
    channel: String,
    /// Ids of the messages; - reads them from standard input, one a line
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

pub(super) fn run(arguments: &EraseArguments) -> Result<Outcome, Failure> {
    let ids = ids(&arguments.ids)?;
    let progress = Progress::new("erasing", Some(ids.len() as u64), Unit::Messages);
    let Erased { erased, before, missing } = match Store::open_existing(&arguments.data) {
        Ok(store) => {
            // What a killed backup left links to the files as they were.
            backup::remove_stale_checkpoints(&arguments.data);
            let engine = Engine::start(store, Arc::new(Nobody))?;
            let erased = engine.erase(&arguments.channel, &ids, |done| progress.set(done));
            engine.shutdown();
            erased?
        }
        Err(StoreError::InUse(_)) => by_relay(arguments, ids, &progress)?,
        Err(error) => return Err(error.into()),
    };
    progress.finish();
    let mut out = output::results();
    for id in &missing {
        writeln!(out, "{id}: no such message")?;
    }
    let count = missing.len();
    writeln!(out, "{erased} messages erased, {before} erased before, {count} not found")?;
    out.flush()?;
    Ok(if missing.is_empty() { Outcome::Clean } else { Outcome::Flawed })
}

/// Has the relay erase them that uses the folder.
fn by_relay(
    arguments: &EraseArguments,
    ids: BTreeSet<MessageId>,
    progress: &Progress,
) -> Result<Erased, Failure> {
    let request = Request::Erase { channel: arguments.channel.clone(), ids };
    let mut relay = Connection::ask(&arguments.data, &request)?;
    loop {
        match relay.answer()? {
            Answer::Progress { done } => progress.set(done),
            Answer::Erased { erased, before, missing } => {
                return Ok(Erased { erased, before, missing });
            }
            Answer::Checkpoint { .. } | Answer::Error { .. } => {
                return Err("the relay answers something else".into());
            }
        }
    }
}

fn ids(arguments: &[String]) -> Result<BTreeSet<MessageId>, Failure> {
    let mut texts = Vec::new();
    for argument in arguments {
        if argument == "-" {
            let lines = std::io::stdin().lock().lines().collect::<Result<Vec<_>, _>>()?;
            texts.extend(lines.into_iter().filter(|line| !line.trim().is_empty()));
        } else {
            texts.push(argument.clone());
        }
    }
    let read = |text: &String| {
        text.trim().parse::<MessageId>().map_err(|error| format!("{text}: {error}").into())
    };
    texts.iter().map(read).collect()
}
