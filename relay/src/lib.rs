//! The Backscroll relay: stores what it acknowledges, forwards to everyone once, serves any viewport.
//!
//! Reading order: [`store`], [`ranks`], [`index`], [`commit`], [`engine`], [`reader`], [`compact`],
//! [`bulk`], [`check`].
#![forbid(unsafe_code)]

pub mod bulk;
pub mod check;
pub mod commit;
pub mod compact;
pub mod engine;
pub mod index;
pub mod limits;
pub mod ranks;
pub mod reader;
pub mod store;
