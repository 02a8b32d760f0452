//! Every bound of the data model and the protocol, with its unit and its reason.
//!
//! Bounds are checked before anything is allocated for what they bound.

/// Longest channel name, in bytes of UTF-8 (design 3).
pub const CHANNEL_NAME_BYTES_MAX: usize = 255;

/// Longest sender name, in bytes of UTF-8.
pub const USER_NAME_BYTES_MAX: usize = 255;

/// Longest message text, in bytes of UTF-8.
pub const TEXT_BYTES_MAX: usize = 65_536;

/// Largest application data of a message, in bytes of compact JSON.
pub const DATA_BYTES_MAX: usize = 65_536;

/// Deepest nesting of application data: a reader recurses, so it must be bounded.
pub const DATA_DEPTH_MAX: usize = 32;

/// Most attachments of one message.
pub const ATTACHMENTS_MAX: usize = 32;

/// Longest name, media type, URL or hash of an attachment, in bytes.
pub const ATTACHMENT_FIELD_BYTES_MAX: usize = 2_048;

/// Largest encoded message body, in bytes: text, data and attachments together stay below a chunk.
pub const BODY_BYTES_MAX: usize = 200 * 1_024;

/// Longest reaction, in bytes of UTF-8: the longest emoji sequences are about 40.
pub const EMOJI_BYTES_MAX: usize = 64;

/// Largest change chunk, in bytes (design 7).
pub const CHUNK_BYTES_MAX: usize = 256 * 1_024;

/// Most ops in one change: import writes 1,000 messages to a change, nothing needs more.
pub const CHANGE_OPS_MAX: usize = 1_024;

/// Most dependencies of one change; only annotation changes have more than one.
pub const CHANGE_DEPS_MAX: usize = 64;

/// Greatest op counter: Automerge stores counters as 32 bits and a local put needs room above.
pub const OP_COUNTER_MAX: u64 = 1 << 31;

/// A window is full at this many messages (references: half the segments of 1,024 at 6 ms a load).
pub const WINDOW_MESSAGES_FULL: u64 = 2_048;

/// A window is full at this many bytes of message bodies.
pub const WINDOW_BYTES_FULL: u64 = 96 * 1_024;

/// A full window takes messages inside its own span up to this many times its bound.
pub const WINDOW_SLACK: u64 = 2;

/// The relay refuses a message for a window beyond this many times its bound.
pub const WINDOW_REFUSE: u64 = 4;

/// Largest frame on the wire, in bytes (design 8.2).
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// A relay cuts what is larger than this into parts, in bytes, so that no answer blocks a socket.
pub const PART_BYTES: usize = 256 * 1_024;

/// Largest answer put together from parts, in bytes.
pub const PARTED_BYTES_MAX: usize = 64 << 20;

/// Most windows in one `fetch`.
pub const FETCH_WINDOWS_MAX: usize = 64;

/// Most chunks in one `push`.
pub const PUSH_CHUNKS_MAX: usize = 256;

/// Most newest messages an `open` may ask for, and most rows of one history answer.
pub const ROWS_MAX: u64 = 5_000;

/// Most late runs in one `opened`.
pub const LATE_RUNS_MAX: usize = 256;

/// Beyond this many missed late messages `opened` carries the directory's difference only.
pub const RESUME_LATE_MAX: usize = 100_000;

/// Beyond this many missed late messages runs are told apart by the gaps in time between them, not by
/// whether another message lies there.
pub const RESUME_LATE_EXACT_MAX: usize = 20_000;

/// A message is late if a newer one, by more than this, had arrived before it (ms; design 5.3).
pub const LATE_AFTER_MS: u64 = 5_000;

/// Ids further in the future than this are refused (ms; design 4.1).
pub const FUTURE_MS_MAX: u64 = 120_000;

/// A maker never makes an id further beyond its own clock than this (ms; design 4.1).
pub const MAKER_AHEAD_MS_MAX: u64 = 60_000;

/// Largest ephemeral payload, in bytes: presence and typing are small.
pub const EPHEMERAL_BYTES_MAX: usize = 4_096;

/// Longest credential in a `hello`, in bytes.
pub const TOKEN_BYTES_MAX: usize = 8_192;

/// Most windows in a directory: 100 million messages at the usual balance.
pub const DIRECTORY_ENTRIES_MAX: usize = 1 << 20;

/// Greatest seq: the last integer that JavaScript's numbers hold exactly.
pub const SEQ_MAX: u64 = (1 << 53) - 1;

/// Most channels in one `channels` answer; a reader asks again from the last one's name.
pub const CHANNELS_PAGE_MAX: usize = 1_000;

/// Smallest change chunk, in bytes: magic, checksum, type, length, and an actor of 16 bytes.
pub const CHUNK_BYTES_MIN: usize = 26;

/// Most part streams open at a time on one connection: a relay answers a few fetches at once.
pub const PART_STREAMS_MAX: usize = 8;
