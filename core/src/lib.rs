//! The core of Backscroll.
#![forbid(unsafe_code)]

pub mod annotation;
pub mod change;
pub mod limits;
pub mod message;
pub mod timeline;
pub mod window;
