//! `backscroll check`: whether everything in a data folder agrees; a list of what does not.

use super::{Failure, Outcome, output};
use backscroll_relay::check;
use backscroll_relay::store::Store;
use std::path::PathBuf;

/// What `check` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArguments {
    /// Folder of the store; no relay may be using it
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}
