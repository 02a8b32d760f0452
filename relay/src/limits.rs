//! Every bound of the relay, with its unit and its reason. Those of the data model and the protocol
//! are in [`backscroll_core::limits`].

use std::time::Duration;

/// Most commands in one commit: beyond this a batch only adds latency.
pub const BATCH_COMMANDS_MAX: usize = 512;

/// Most bytes of commands in one commit: about what a disk writes in the time of an fsync.
pub const BATCH_BYTES_MAX: usize = 1 << 20;

/// Most commands that wait for the writer.
pub const QUEUE_COMMANDS_MAX: usize = 4_096;

/// Most bytes of commands that wait for the writer: senders beyond it wait at their sockets.
pub const QUEUE_BYTES_MAX: usize = 32 << 20;

/// Most messages in one change that the relay authors.
pub const GROUP_MESSAGES_MAX: usize = 256;

/// Most bytes of bodies in one change that the relay authors; half a chunk's bound.
pub const GROUP_BYTES_MAX: usize = 128 << 10;

/// Messages in one change of an import; the op bound of a change is 1,024.
pub const BULK_CHANGE_MESSAGES: usize = 1_000;

/// Most bytes of bodies in one change of an import, with 64 bytes a message for the rest of its op;
/// a chunk has room for more.
pub const BULK_CHANGE_BYTES: usize = 240_000;

/// Messages that an import hands to a thread at once: a full window, and its slack.
pub const BULK_JOB_MESSAGES: usize = 4_096;

/// Bytes of bodies that an import hands to a thread at once.
pub const BULK_JOB_BYTES: usize = 1 << 20;

/// Jobs that an import has in the works at once; with their bytes they bound its memory.
pub const BULK_JOBS: usize = 8;

/// Bytes of rows that an import writes at once.
pub const BULK_BATCH_BYTES: usize = 4 << 20;

/// Most problems that a check lists.
pub const PROBLEMS_MAX: usize = 1_000;

/// Most bytes of JSON that the messages of one history answer take: room for 5,000 messages of 1,600
/// bytes, and half of what common WebSocket clients take as one frame (16 MiB). What is beyond it is
/// left out, so 5,000 messages of 64 KiB cost neither side 300 MB.
pub const HISTORY_BYTES_MAX: usize = 8 << 20;

/// An answer of so many bytes or fewer, as a page of messages is, has a claim to all room for
/// answers; a larger one has not.
pub const ANSWER_SMALL_BYTES: usize = 64 << 10;

/// How long an answer waits for room among those that clients have not taken yet; short in tests,
/// which wait for it.
pub const ANSWER_WAIT: Duration =
    if cfg!(test) { Duration::from_millis(200) } else { Duration::from_secs(5) };

/// A sync client says hello within this time, or it is closed: until then nobody knows who it is.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// A stopping relay closes its sockets over this time for each of them, so that not all clients come
/// back in the same moment.
pub const DRAIN_SPREAD_PER_SOCKET: Duration = Duration::from_millis(1);

/// The longest time over which a stopping relay closes its sockets.
pub const DRAIN_SPREAD_MAX: Duration = Duration::from_secs(2);

/// Connections beyond the bound that are told so at a time; others are closed without a word.
pub const REFUSALS_MAX: usize = 256;

/// An HTTP client takes [`WRITE_STALL_BYTES`] of its response within this time, or it is gone; short
/// in tests, which wait for it.
pub const WRITE_STALL_TIMEOUT: Duration =
    if cfg!(test) { Duration::from_secs(3) } else { Duration::from_secs(30) };

/// What counts as progress of a response.
pub const WRITE_STALL_BYTES: usize = 64 << 10;

/// No reaction is taken for a message whose reactions take this many bytes: its row is read and sent
/// whole after every one of them.
pub const REACTIONS_BYTES_MAX: usize = 64 << 10;

/// Most actors whose ops a change of the relay replaces under one key; a change may depend on 64
/// others.
pub const STANDING_ACTORS_MAX: usize = 16;

/// Ops under one key among which those are looked for.
pub const STANDING_OPS_MAX: usize = 32;

/// Changes of a window's annotations among which the first seq of a repeated edit, deletion or
/// reaction is looked for: each is read from the log.
pub const STANDING_SEEK_MAX: usize = 64;

/// Bytes of segments that are read at once for an `open`; further ones as the client takes them.
pub const OPEN_BYTES: usize = 1 << 20;

/// A block of ranks is closed at the tail with this many messages: a rank costs a scan of half.
pub const RANK_BLOCK: u32 = 1_000;

/// A block of ranks with more messages is split in two.
pub const RANK_BLOCK_SPLIT: u32 = 2_000;

/// Channels whose state the writer keeps at hand.
pub const WRITER_CHANNELS_MAX: usize = 1_024;

/// Directory entries of one channel that the writer keeps at hand.
pub const WRITER_WINDOWS_MAX: usize = 4_096;

/// Own-documents of one channel that the relay keeps open; each is a few hundred bytes.
pub const WRITER_AUTHORS_MAX: usize = 64;

/// Rank blocks over all channels that readers keep at hand: about 24 bytes each.
pub const READER_BLOCKS_MAX: usize = 200_000;

/// A saved document of a channel's newest window is renewed after this many changes.
pub const TAIL_CHANGES_NEWEST: u64 = 64;

/// A saved document of a channel's newest window is renewed after this many bytes of changes.
pub const TAIL_BYTES_NEWEST: u64 = 16 << 10;

/// A saved document of any other window is renewed after this many changes.
pub const TAIL_CHANGES: u64 = 256;

/// A saved document of any other window is renewed after this many bytes of changes.
pub const TAIL_BYTES: u64 = 48 << 10;

/// New windows that an author may open in an hour whatever it writes.
pub const NEW_WINDOWS_ALLOWANCE: u64 = 64;

/// Further ones: one for this many messages of the author in that hour.
pub const NEW_WINDOW_PER_MESSAGES: u64 = 128;

/// The span over which new windows are counted, in ms.
pub const NEW_WINDOWS_SPAN_MS: u64 = 3_600_000;

/// Authors whose new windows are counted at a time.
pub const AUTHORS_COUNTED_MAX: usize = 10_000;

/// Most messages that a retention drops at once, unless one window has more: about 50 ms of the
/// writer.
pub const DROP_MESSAGES: u64 = 8_192;

/// How often channels with a retention are looked through; often in tests, which wait for it.
pub const RETENTION_EVERY: Duration =
    if cfg!(test) { Duration::from_millis(100) } else { Duration::from_secs(60) };

/// An idempotency key is remembered this long, in ms (design 8.3).
pub const IDEMPOTENCY_MS: u64 = 24 * 3_600_000;

/// Longest idempotency key, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// Most users whose marks are told to a client that opens a channel: of more, receipts come as they
/// read on.
pub const MARKS_OPEN_MAX: usize = 64;

/// Most users among whom those are looked for.
pub const MARKS_SCAN_MAX: usize = 1_024;

/// Most late runs not yet seen in one read state.
pub const UNSEEN_RUNS_MAX: usize = 256;

/// Rows that are looked at to tell the late messages that a user has not seen one by one; beyond them
/// only their runs are known.
pub const UNSEEN_SCAN_MAX: usize = 4_096;

/// Most late runs that a live view tells, those nearest to it; with every change, so few.
pub const LATE_RUNS_TOLD_MAX: usize = 64;

/// Live views of one socket: each has a task, and remembers the ids of its rows.
pub const VIEWS_MAX: usize = 64;

/// Where only counts changed around a live view, it tells so no more often than this: a busy channel
/// costs a reader elsewhere in it ten small frames a second.
pub const VIEW_COUNTS_EVERY: Duration = Duration::from_millis(100);

/// Most bytes of changes that wait for a live view; beyond it the view is read anew.
pub const VIEW_QUEUE_BYTES_MAX: usize = 4 << 20;

/// Most bytes of messages that one delta of a live view tells; beyond it the view is read anew.
pub const VIEW_PENDING_BYTES_MAX: usize = 4 << 20;

/// Largest attachment, in bytes (design 8.3).
pub const BLOB_BYTES_MAX: usize = 8 << 20;

/// An attachment is stored and read in parts of this many bytes: a slow download holds one in memory.
pub const BLOB_PART_BYTES: usize = 256 << 10;

/// Attachments that are uploaded at a time; each is in memory until it is stored.
pub const BLOB_UPLOADS_MAX: usize = 4;

/// How long an upload waits for its turn.
pub const BLOB_UPLOAD_WAIT: Duration = Duration::from_secs(10);

/// Raw changes above a client's seq are read up to this many bytes before a saved document is
/// taken instead.
pub const RAW_TAIL_BYTES_MAX: usize = 8 << 20;

/// How long a push waits for room on the disk before its socket is closed with a resume code.
pub const DISK_PATIENCE: Duration = Duration::from_secs(20);

/// Connections of the admin address at a time, which are not among those of the public one.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;

/// An upload that brings less than [`BLOB_RATE_BYTES`] in this time is ended: it holds one of few
/// places, and memory. Short in tests, which wait for it.
pub const BLOB_RATE_EVERY: Duration =
    if cfg!(test) { Duration::from_secs(2) } else { Duration::from_secs(10) };

/// What an upload brings at least in [`BLOB_RATE_EVERY`].
pub const BLOB_RATE_BYTES: usize = 64 << 10;

/// Largest frame of a sync client that did not say hello: a name, and a credential of 8 KiB.
pub const HELLO_BYTES_MAX: usize = 16 << 10;

/// All that is read of a sync client that did not say hello: that frame, and a few others before it
/// that are answered with an error. What follows hello in one go waits in the system's buffers.
pub const HELLO_INTAKE_BYTES: usize = HELLO_BYTES_MAX + (4 << 10);

/// Channels in one list over HTTP, unless fewer are asked for; few in tests, which make more.
pub const CHANNELS_LISTED_MAX: usize = if cfg!(test) { 20 } else { 10_000 };

/// Newest messages that JSON subscribers are told anew when a retention dropped older ones, as many as
/// a subscription brings that does not say how many.
pub const RETOLD_MESSAGES: usize = 50;

/// Bytes of bodies of those, but for the first: the frame is a live one, which are bounded.
pub const RETOLD_BYTES: usize = 64 << 10;

/// How long an upload may take in all: a line of 14 kB a second.
pub const BLOB_UPLOAD_TIMEOUT: Duration = Duration::from_secs(600);
