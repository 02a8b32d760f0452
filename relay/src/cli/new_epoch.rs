//! `backscroll new-epoch`: a data folder that was restored from a copy begins another history.

use super::{Failure, Outcome, output};
use backscroll_relay::store::Store;
use std::path::PathBuf;

/// What `new-epoch` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct NewEpochArguments {
    /// Folder of the store; no relay may be using it
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

pub(super) fn run(arguments: &NewEpochArguments) -> Result<Outcome, Failure> {
    let mut store = Store::open_existing(&arguments.data)?;
    store.renew_epoch()?;
    let digits = store.epoch().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    output::line(&format!("epoch {digits}"))?;
    Ok(Outcome::Clean)
}
