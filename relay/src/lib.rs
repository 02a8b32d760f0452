//! The Backscroll relay: stores what it acknowledges, forwards to everyone once, serves any viewport.
//!
//! Reading order: [`store`], [`ranks`], [`index`], [`commit`], [`engine`], [`reader`], [`compact`],
//! [`bulk`], [`check`]; then the network: [`config`], [`identity`], [`access`], `throttle`,
//! [`serve`], `hub`, `connection`, `view`, `ws`, `http`.
#![forbid(unsafe_code)]

pub mod access;
mod app;
pub mod backup;
pub mod blob_hash;
mod budget;
pub mod bulk;
pub mod check;
pub mod commit;
pub mod compact;
pub mod config;
mod connection;
pub mod control;
pub mod disk;
pub mod engine;
mod http;
mod hub;
pub mod identity;
pub mod index;
pub mod limits;
mod metrics;
pub mod ranks;
pub mod reader;
mod reads;
pub mod refused;
pub mod repair;
pub mod retention;
pub mod serve;
pub mod shutdown;
pub mod store;
mod throttle;
mod view;
mod ws;
