//! What is fuzzed: functions that take any bytes and may do anything but panic.
//!
//! `fuzz_targets/` hands each to libFuzzer; `tests/it/replay.rs` of the core includes this file and
//! runs each over the committed seeds. A target asserts more than that nothing breaks: what is read
//! is written again as it was, what is accepted is sound in Automerge, a client agrees with itself.

pub mod bodies;
pub mod changes;
pub mod client;
pub mod documents;
pub mod frames;
pub mod records;
pub mod relay;
pub mod script;
pub mod seeds;
pub mod world;

/// A fuzz target and the name of its folder of seeds.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 6] = [
    ("bodies", bodies::run),
    ("changes", changes::run),
    ("client", client::run),
    ("documents", documents::run),
    ("frames", frames::run),
    ("records", records::run),
];
