//! The core of Backscroll.
#![forbid(unsafe_code)]

pub mod change;
pub mod directory;
pub mod limits;
pub mod message;
mod varint;
pub mod viewport;
pub mod window;
pub mod wire;
