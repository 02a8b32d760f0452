//! The binary as a user runs it: arguments, standard streams, exit status (design 8.1).
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed, as it should"
)]

#[path = "cli/attachments.rs"]
mod attachments;
#[path = "cli/bench.rs"]
mod bench;
#[path = "cli/documents.rs"]
mod documents;
#[path = "cli/hostile.rs"]
mod hostile;
#[path = "cli/load.rs"]
mod load;
#[path = "cli/operations.rs"]
mod operations;
#[path = "cli/relay.rs"]
mod relay;
#[path = "cli/rows.rs"]
mod rows;
#[path = "cli/secrets.rs"]
mod secrets;
#[path = "cli/tokens.rs"]
mod tokens;
