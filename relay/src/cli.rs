//! The command line (design 8.1): one module per command, and what they share.
//!
//! Results go to standard output, everything else to standard error.

mod backup;
mod check;
mod connect;
mod erase;
mod export;
mod hash_password;
mod import;
mod load;
mod new_epoch;
pub(crate) mod output;
mod progress;
mod row;
mod send;
mod serve;
mod simulate;
mod tail;
mod token;

use clap::{Parser, Subcommand};
use std::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};

/// Channels in timestamp order that devices read and write offline; this is their relay.
#[derive(Debug, Parser)]
#[command(name = "backscroll", version, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the relay
    Serve(serve::ServeArguments),
    /// Load JSON Lines, or a folder of segment documents, into a data folder
    Import(import::ImportArguments),
    /// Write a channel as JSON Lines, or as a folder of Automerge documents
    Export(export::ExportArguments),
    /// Make the arrivals of a peer-to-peer chat, to a relay or to a file
    Simulate(simulate::SimulateArguments),
    /// Print a channel's newest messages and then what comes
    Tail(tail::TailArguments),
    /// Send one message
    Send(send::SendArguments),
    /// Put load on a relay, check every delivery, print rates and latencies
    Load(load::LoadArguments),
    /// A bare broadcast: the load tool's floor
    #[command(hide = true)]
    FloorRelay(load::bare::FloorRelayArguments),
    /// Verify that everything in a data folder agrees
    Check(check::CheckArguments),
    /// Copy a data folder, verified, also while a relay uses it
    Backup(backup::BackupArguments),
    /// Make a data folder from a backup; it begins another epoch
    Restore(backup::RestoreArguments),
    /// Erase messages for good (texts, names of attachments, edits, reactions), or attachments
    Erase(erase::EraseArguments),
    /// Make a token for a user, with a key of the configuration
    Token(token::TokenArguments),
    /// Hash a password, read from standard input, for the configuration
    HashPassword,
    /// After a data folder was restored from a copy: have clients bring back what it lacks
    NewEpoch(new_epoch::NewEpochArguments),
}

/// How a command that did its work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything was as it should be.
    Clean,
    /// Something that was reported was not.
    Flawed,
}

/// The clock, in ms since the Unix epoch; 0 if it stands before.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What ends a command early. Each command has its own error type.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

impl Arguments {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        match self.command {
            Command::Serve(arguments) => serve::run(&arguments),
            Command::Import(arguments) => import::run(&arguments),
            Command::Export(arguments) => export::run(&arguments),
            Command::Simulate(arguments) => simulate::run(&arguments),
            Command::Tail(arguments) => tail::run(&arguments),
            Command::Send(arguments) => send::run(&arguments),
            Command::Load(arguments) => load::run(&arguments),
            Command::FloorRelay(arguments) => load::bare::run(&arguments),
            Command::Check(arguments) => check::run(&arguments),
            Command::Backup(arguments) => backup::run(&arguments),
            Command::Restore(arguments) => backup::restore(&arguments),
            Command::Erase(arguments) => erase::run(&arguments),
            Command::Token(arguments) => token::run(&arguments),
            Command::HashPassword => hash_password::run(),
            Command::NewEpoch(arguments) => new_epoch::run(&arguments),
        }
    }
}
