//! The world the end-to-end tests live in: real relay processes, clients of every interface.
//!
//! Everything here works from outside, through the interfaces of the relay; nothing waits on a
//! clock, only on conditions with a deadline.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::unwrap_used)]

pub mod crew;
pub mod engine;
pub mod history;
pub mod http;
pub mod json;
pub mod relay;
pub mod sync;
pub mod view;

use std::time::Duration;

/// How long a condition may take before a test gives up on it: generous, machines are shared.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Waits for `future`, at most [`DEADLINE`].
///
/// # Panics
/// The deadline passes; `what` says what did not happen.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {DEADLINE:?}: {what}"),
    }
}
