//! Integration tests of the core.
#![allow(missing_docs)]

mod sync_client;
mod sync_random;
mod sync_relay;
mod sync_world;
