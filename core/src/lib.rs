//! A message channel as Automerge documents, without I/O, clock or randomness.
#![forbid(unsafe_code)]

pub mod change;
pub mod directory;
pub mod limits;
pub mod message;
pub mod timeline;
mod varint;
pub mod viewport;
pub mod window;
pub mod wire;
