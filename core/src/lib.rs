//! A message channel as Automerge documents, without I/O, clock or randomness.
#![forbid(unsafe_code)]

pub mod limits;
pub mod message;
pub mod timeline;
pub mod window;
