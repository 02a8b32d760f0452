//! `backscroll check`: whether everything in a data folder agrees, and what can be done if not.

use super::progress::{Progress, Unit};
use super::{Failure, Outcome, output};
use backscroll_relay::check::{self, Problem};
use backscroll_relay::repair;
use backscroll_relay::store::Store;
use std::io::Write;
use std::path::PathBuf;

/// What `check` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArguments {
    /// Folder of the store; no relay may be using it
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Rebuild what follows from the log (index, counts, directory, documents) if it does not agree,
    /// and delete attachments that are damaged. Back the folder up before
    #[arg(long)]
    repair: bool,
    /// Open a store whose write-ahead log is damaged: point-in-time takes it up to the damage and
    /// loses what was acknowledged after it. The store begins another epoch
    #[arg(long, value_enum, value_name = "HOW")]
    recover_wal: Option<Recovery>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Recovery {
    PointInTime,
}

pub(super) fn run(arguments: &CheckArguments) -> Result<Outcome, Failure> {
    let store = match arguments.recover_wal {
        Some(Recovery::PointInTime) => {
            let store = Store::recover(&arguments.data)?;
            output::log("the write-ahead log was taken as far as it reads; another epoch begins");
            store
        }
        None if arguments.repair => Store::open_to_repair(&arguments.data)?,
        None => Store::open_existing(&arguments.data)?,
    };
    let mut problems = problems(&store)?;
    let is_cut_off = store.is_repairing()?;
    if arguments.repair && (is_cut_off || !problems.is_empty()) {
        for problem in problems.iter() {
            output::log(&format!("found: {problem}"));
        }
        // Channels first: where a log is damaged nothing is deleted.
        if is_cut_off || !problems.of_channels.is_empty() {
            let progress = Progress::new("repairing", None, Unit::Rows);
            repair::repair(&store, |changes| progress.set(changes))?;
            progress.finish();
        }
        if !problems.of_attachments.is_empty() {
            let deleted = repair::repair_attachments(&store, |_| {})?;
            output::log(&format!("{deleted} damaged attachments are deleted"));
        }
        problems = self::problems(&store)?;
        if problems.is_empty() {
            output::line("repaired")?;
        }
    }
    let mut out = output::results();
    for problem in problems.iter() {
        writeln!(out, "{problem}")?;
    }
    if problems.is_empty() {
        writeln!(out, "everything agrees")?;
    }
    out.flush()?;
    Ok(if problems.is_empty() { Outcome::Clean } else { Outcome::Flawed })
}

/// What does not agree; what is of channels is repaired in another way than what is of attachments.
#[derive(Debug)]
struct Problems {
    of_channels: Vec<Problem>,
    of_attachments: Vec<Problem>,
}

impl Problems {
    fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.of_channels.iter().chain(&self.of_attachments)
    }

    const fn is_empty(&self) -> bool {
        self.of_channels.is_empty() && self.of_attachments.is_empty()
    }
}

fn problems(store: &Store) -> Result<Problems, Failure> {
    let progress = Progress::new("checking", None, Unit::Rows);
    let mut before = 0;
    let mut channel = String::new();
    let of_channels = check::verify_channels(store, |at| {
        if channel != at.channel {
            // Counted over all channels.
            before = progress.done();
            at.channel.clone_into(&mut channel);
        }
        progress.set(before + at.done);
    })?;
    let done = progress.done();
    let of_attachments = check::verify_attachments(store, |parts| progress.set(done + parts))?;
    progress.finish();
    Ok(Problems { of_channels, of_attachments })
}
