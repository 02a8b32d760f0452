//! A message channel as Automerge documents, without I/O, clock or randomness.
#![forbid(unsafe_code)]

pub mod annotation;
pub mod change;
pub mod channel;
pub mod client;
pub mod directory;
pub mod entropy;
pub mod late;
pub mod limits;
pub mod message;
pub mod read_state;
pub mod segment;
pub mod simulate;
pub mod storage;
pub mod timeline;
mod varint;
pub mod viewport;
pub mod window;
pub mod wire;
