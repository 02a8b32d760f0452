//! A message channel as Automerge documents, without I/O, clock or randomness.
#![forbid(unsafe_code)]

pub mod timeline;
