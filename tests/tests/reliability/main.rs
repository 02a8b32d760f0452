//! What the relay promises, while everything is done to break it: a real relay process, a record of
//! what was asked and told, a verdict afterwards.
//!
//! The short form runs in `make test`; `BACKSCROLL_LONG=1` (`make test-long`) is the long one. What
//! needs root, loop devices or strace says so and is skipped without.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that panics has failed, as it should"
)]

mod drain;
mod faults;
mod kill;
mod power;
mod slow;
mod tools;
