//! Integration tests of the core: properties over whole histories.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers as well"
)]

mod documents;
mod hostile;
mod replay;
mod store;
mod sync_behind;
mod sync_client;
mod sync_crashes;
mod sync_devices;
mod sync_edges;
mod sync_erasure;
mod sync_late;
mod sync_marks;
mod sync_notes;
mod sync_random;
mod sync_relay;
mod sync_relay_notes;
mod sync_siblings;
mod sync_simulation;
mod sync_storage;
mod sync_store;
mod sync_unread;
mod sync_world;
mod view_live;
mod view_model;
mod view_sparse;
