//! The Backscroll relay.
#![forbid(unsafe_code)]

pub mod config;
