//! `backscroll backup` and `backscroll restore`: a data folder copied and verified, and made anew.

use super::progress::{Progress, Unit};
use super::{Failure, Outcome, output};
use backscroll_relay::backup::{self, Checkpoint, Step};
use backscroll_relay::control::{Answer, Connection, ControlError, Request};
use backscroll_relay::store::{Store, StoreError};
use std::path::PathBuf;

/// What `backup` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct BackupArguments {
    /// Folder of the store; a relay may be using it
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Folder to make, which must not exist
    #[arg(long, value_name = "DEST")]
    to: PathBuf,
}

/// What `restore` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArguments {
    /// Folder that backup made
    #[arg(long, value_name = "DEST")]
    from: PathBuf,
    /// Folder of the store to make, which must not exist or be empty
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

pub(super) fn run(arguments: &BackupArguments) -> Result<Outcome, Failure> {
    let BackupArguments { data, to } = arguments;
    if to.exists() {
        return Err(backup::BackupError::Exists(to.clone()).into());
    }
    let mut steps = Steps::default();
    match Store::open_existing(data) {
        Ok(store) => {
            backup::remove_stale_checkpoints(data);
            let checkpoint = Checkpoint::make(&store, data)?;
            backup::copy(checkpoint.folder(), to, |step| steps.show(step))?;
        }
        Err(StoreError::InUse(_)) => {
            let mut relay = Connection::ask(data, &Request::Checkpoint)?;
            let Answer::Checkpoint { folder } = relay.answer()? else {
                return Err(ControlError::Refused("it answers something else".to_owned()).into());
            };
            // By its name in the folder that was given: the relay may know it by another path.
            let folder = data.join(folder.file_name().unwrap_or_default());
            backup::copy(&folder, to, |step| steps.show(step))?;
            // The relay removes its checkpoint when the connection ends.
            drop(relay);
        }
        Err(error) => return Err(error.into()),
    }
    steps.finish();
    output::line(&format!("backed up to {}", to.display()))?;
    Ok(Outcome::Clean)
}

pub(super) fn restore(arguments: &RestoreArguments) -> Result<Outcome, Failure> {
    let mut steps = Steps::default();
    let epoch = backup::restore(&arguments.from, &arguments.data, |step| steps.show(step))?;
    steps.finish();
    let digits = epoch.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    output::line(&format!("restored to {}, epoch {digits}", arguments.data.display()))?;
    Ok(Outcome::Clean)
}

/// The progress of a copy: bytes, then rows.
#[derive(Debug, Default)]
struct Steps {
    copying: Option<Progress>,
    verifying: Option<Progress>,
}

impl Steps {
    fn show(&mut self, step: Step) {
        match step {
            Step::Copying { done, of } => self
                .copying
                .get_or_insert_with(|| Progress::new("copying", Some(of), Unit::Bytes))
                .set(done),
            Step::Verifying { done } => {
                if let Some(copying) = self.copying.take() {
                    copying.finish();
                }
                self.verifying
                    .get_or_insert_with(|| Progress::new("verifying", None, Unit::Rows))
                    .set(done);
            }
        }
    }

    fn finish(&self) {
        for progress in self.copying.iter().chain(&self.verifying) {
            progress.finish();
        }
    }
}
