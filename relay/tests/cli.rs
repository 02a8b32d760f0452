//! The binary as a user runs it: arguments, standard streams, exit status (design 8.1).

#[path = "cli/bench.rs"]
mod bench;
#[path = "cli/documents.rs"]
mod documents;
#[path = "cli/relay.rs"]
mod relay;
#[path = "cli/rows.rs"]
mod rows;
