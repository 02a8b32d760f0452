//! `backscroll hash-password`: the hash of a password for `access.users` in the configuration.

use super::{Failure, Outcome, output};
use backscroll_relay::access::{Secret, hash_password};
use std::io::BufRead;

pub(super) fn run() -> Result<Outcome, Failure> {
    // From standard input: arguments are in everybody's list of processes.
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    let password = Secret::new(line.trim_end_matches(['\r', '\n']));
    output::line(&hash_password(&password)?)?;
    Ok(Outcome::Clean)
}
