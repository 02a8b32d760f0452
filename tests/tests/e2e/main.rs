//! End-to-end tests over a real relay process, from outside.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed, as it should"
)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "numbers of tests are small"
)]

mod bad_input;
mod delivery;
mod million;
mod restart;
mod scrolling;
mod sync;
mod views;
