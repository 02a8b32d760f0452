//! The `backscroll` binary: reads the command line, runs one command, turns its end into an exit
//! status. Commands live in `cli`.
#![forbid(unsafe_code)]

mod cli;

use clap::Parser;
use std::error::Error;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::Arguments::parse().run() {
        Ok(cli::Outcome::Clean) => ExitCode::SUCCESS,
        Ok(cli::Outcome::Flawed) => ExitCode::FAILURE,
        // Whoever read the output has had enough (`| head`).
        Err(error) if cli::output::is_closed_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            cli::output::log(&format!("backscroll: {}", with_causes(&*error)));
            ExitCode::FAILURE
        }
    }
}

/// The error and everything behind it, on one line.
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
