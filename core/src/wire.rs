//! The sync protocol's frames and their bytes. `docs/wire-format.md` is normative.
//!
//! A conversation over one WebSocket at `/sync`, binary messages only:
//!
//! ```text
//! client                                   relay
//! hello (version, user, token)       ->
//!                                    <-    welcome (epoch, limits, time)
//! open (channel, cursor, newest)     ->
//!                                    <-    opened (head, directory or its difference, late runs)
//!                                    <-    segment ... (the windows of the newest messages)
//! push (reference, window, chunks)   ->
//!                                    <-    ack (reference, seqs) or nack (reference, code)
//!                                    <-    changes ... (each stored change, in seq order)
//! fetch (reference, windows)         ->
//!                                    <-    segment ... (one per window)
//! ```
//!
//! `mark`, `ephemeral`, `channels` and `close` may come at any time after `hello`. Knows bytes and
//! bounds; what frames mean together is the business of the client's and the relay's state.

mod check;
mod code;
mod codec;
mod fields;
mod frames;
mod parts;
mod seqs;

pub use code::{CloseCode, Code};
pub use codec::{WireError, decode_client, decode_relay, encode_client, encode_relay};
pub use frames::{
    ChannelInfo, ClientFrame, Cursor, Epoch, Have, LateRun, RelayFrame, SavedDoc, Tail, Token,
    WireLimits,
};
pub use parts::{Assembler, PartError, WHOLE_BYTES_MAX, into_parts};
pub use seqs::{decode_seqs, encode_late, encode_seqs, is_late};

/// The version of the protocol that this crate speaks.
pub const PROTOCOL_VERSION: u32 = 1;

#[cfg(test)]
mod tests;
