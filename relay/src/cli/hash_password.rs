//! `backscroll hash-password`: the hash of a password for `access.users` in the configuration.

use super::{Failure, Outcome, output};
use backscroll_relay::access::{Secret, hash_password};
use std::io::{BufRead, IsTerminal, Write};

pub(super) fn run() -> Result<Outcome, Failure> {
    // From standard input: arguments are in everybody's list of processes.
    if std::io::stdin().is_terminal() {
        // Standard output is for the hash alone.
        let mut stderr = std::io::stderr();
        write!(stderr, "password, shown as it is typed: ")?;
        stderr.flush()?;
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    let password = Secret::new(line.trim_end_matches(['\r', '\n']));
    output::line(&hash_password(&password)?)?;
    Ok(Outcome::Clean)
}
