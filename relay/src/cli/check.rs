//! `backscroll check`: whether everything in a data folder agrees; a list of what does not.

use super::progress::{Progress, Unit};
use super::{Failure, Outcome, output};
use backscroll_relay::check;
use backscroll_relay::store::Store;
use std::io::Write;
use std::path::PathBuf;

/// What `check` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArguments {
    /// Folder of the store; no relay may be using it
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

pub(super) fn run(arguments: &CheckArguments) -> Result<Outcome, Failure> {
    let store = Store::open_existing(&arguments.data)?;
    let progress = Progress::new("checking", None, Unit::Rows);
    let mut before = 0;
    let mut channel = String::new();
    let problems = check::verify(&store, |at| {
        if channel != at.channel {
            // Counted over all channels.
            before = progress.done();
            at.channel.clone_into(&mut channel);
        }
        progress.set(before + at.done);
    })?;
    progress.finish();
    let mut out = output::results();
    for problem in &problems {
        writeln!(out, "{problem}")?;
    }
    if problems.is_empty() {
        writeln!(out, "everything agrees")?;
    }
    out.flush()?;
    Ok(if problems.is_empty() { Outcome::Clean } else { Outcome::Flawed })
}
