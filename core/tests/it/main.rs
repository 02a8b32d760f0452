//! Integration tests of the core: properties over whole histories.

mod documents;
mod hostile;
mod store;
mod sync_client;
mod sync_random;
mod sync_relay;
mod sync_world;
