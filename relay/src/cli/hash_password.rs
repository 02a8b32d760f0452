//! `backscroll hash-password`: the hash of a password for `access.users` in the configuration.

use super::{Failure, Outcome, output};
use backscroll_relay::access::{Secret, hash_password};
use std::io::{BufRead, IsTerminal};

pub(super) fn run() -> Result<Outcome, Failure> {
    // Not an argument: those are in everybody's list of processes.
    let mut line = String::new();
    if std::io::stdin().is_terminal() {
        // Asks on the terminal itself: standard output is for the hash alone.
        line = rpassword::prompt_password("password: ")?;
    } else {
        std::io::stdin().lock().read_line(&mut line)?;
    }
    let password = Secret::new(line.trim_end_matches(['\r', '\n']));
    output::line(&hash_password(&password)?)?;
    Ok(Outcome::Clean)
}
