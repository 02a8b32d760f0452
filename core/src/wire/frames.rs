//! The frames of both directions, with the number of each frame and field.
//!
//! A frame is the CBOR array `[type, {field: value}]`; absent optional fields and empty lists are
//! left out. Numbers are never used anew. Client types are 1-15, relay types 16-127; what has 128
//! or more may be skipped by who does not know it.

use super::code::Code;
use super::fields;
use crate::change::{ChangeHash, DocKind};
use crate::message::MessageId;
use crate::window::Window;
use minicbor::{Decode, Encode};
use std::fmt;

/// The random id of a store's history: seqs of different epochs have nothing to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub [u8; 16]);

/// A place in a channel's log: everything up to it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Cursor {
    /// The history that the seq belongs to.
    #[n(0)]
    pub epoch: Epoch,
    /// The last seq known; 0 in an empty channel.
    #[n(1)]
    pub seq: u64,
    /// Hash of the change at that seq, zero in an empty channel: a store that was restored from a
    /// backup has other changes at equal seqs.
    #[n(2)]
    pub hash: ChangeHash,
}

/// A credential; its debug form does not show it, so that no log does.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Token(#[n(0)] pub String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// What a client has of a window that it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Have {
    /// The window.
    #[n(0)]
    pub window: Window,
    /// The generation of what the client has; of an older one, nothing counts.
    #[n(1)]
    pub generation: u32,
    /// It has the segment's changes up to this seq; 0 for none.
    #[n(2)]
    pub messages_seq: u64,
    /// It has the annotations' changes up to this seq; 0 for none.
    #[n(3)]
    pub annotations_seq: u64,
}

/// Late messages next to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LateRun {
    /// The smallest id.
    #[n(0)]
    pub first: MessageId,
    /// The greatest id.
    #[n(1)]
    pub last: MessageId,
    /// How many; at least 1, but for 0 in a mark: some that its device was not told of, if any.
    #[n(2)]
    pub count: u32,
}

/// A saved Automerge document.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SavedDoc {
    /// It holds the document's changes up to this seq, and no other.
    #[n(0)]
    pub upto_seq: u64,
    /// What Automerge saved.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub bytes: Vec<u8>,
}

/// A change above a saved document.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Tail {
    /// The seq of its first op.
    #[n(0)]
    pub seq: u64,
    /// The change chunk.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub chunk: Vec<u8>,
    /// Which of its messages are late, as in `changes`.
    #[n(2)]
    #[cbor(with = "minicbor::bytes", skip_if = "Vec::is_empty")]
    pub late: Vec<u8>,
}

/// One channel of a list.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ChannelInfo {
    /// Its name.
    #[n(0)]
    pub name: String,
    /// Messages in it, deleted ones included.
    #[n(1)]
    pub total: u64,
    /// Its head.
    #[n(2)]
    pub seq: u64,
    /// Sent time of the newest message, in ms since the Unix epoch.
    #[n(3)]
    pub newest_at: Option<u64>,
}

/// What a relay takes; a client keeps below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct WireLimits {
    /// Largest frame, in bytes.
    #[n(0)]
    pub frame_bytes: u32,
    /// Largest change chunk, in bytes.
    #[n(1)]
    pub chunk_bytes: u32,
    /// Most chunks in one `push`.
    #[n(2)]
    pub push_chunks: u32,
    /// Most windows in one `fetch`.
    #[n(3)]
    pub fetch_windows: u32,
}

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub enum ClientFrame {
    /// The first frame: who speaks which version.
    #[n(1)]
    Hello {
        /// [`super::PROTOCOL_VERSION`].
        #[n(0)]
        version: u32,
        /// The user's name; with a token, the token's user must be the same.
        #[n(1)]
        user: String,
        /// The credential, where the relay asks for one.
        #[n(2)]
        token: Option<Token>,
    },
    /// Begins or resumes live delivery of a channel.
    #[n(2)]
    Open {
        /// The channel.
        #[n(0)]
        channel: String,
        /// What the client knows; absent if nothing.
        #[n(1)]
        cursor: Option<Cursor>,
        /// The relay sends the windows of this many newest messages without being asked again.
        #[n(2)]
        newest: u32,
    },
    /// Changes to store, in the order in which their author made them.
    #[n(3)]
    Push {
        /// Comes back in `ack` and `nack`; not 0.
        #[n(0)]
        reference: u64,
        /// The channel.
        #[n(1)]
        channel: String,
        /// The window whose document they change.
        #[n(2)]
        window: Window,
        /// The window's generation as the author knew it.
        #[n(3)]
        generation: u32,
        /// Which of the window's documents.
        #[n(4)]
        doc: DocKind,
        /// The change chunks.
        #[n(5)]
        #[cbor(with = "fields::chunks")]
        chunks: Vec<Vec<u8>>,
    },
    /// Asks for windows.
    #[n(4)]
    Fetch {
        /// Comes back in each `segment`; not 0.
        #[n(0)]
        reference: u64,
        /// The channel.
        #[n(1)]
        channel: String,
        /// The windows, and what the client has of them.
        #[n(2)]
        #[cbor(with = "fields::list")]
        windows: Vec<Have>,
    },
    /// What the user has read and the device has received.
    #[n(5)]
    Mark {
        /// The channel.
        #[n(0)]
        channel: String,
        /// The history that the seqs belong to.
        #[n(1)]
        epoch: Epoch,
        /// The channel's head when the user last had messages in view.
        #[n(2)]
        seq: u64,
        /// The greatest id that the user had in view.
        #[n(3)]
        read: Option<MessageId>,
        /// The device has everything up to this seq.
        #[n(4)]
        delivered: Option<u64>,
        /// Late messages at or below `read` that the user has not had in view.
        #[n(5)]
        #[cbor(with = "fields::list", skip_if = "Vec::is_empty")]
        unseen_late: Vec<LateRun>,
    },
    /// Presence or typing: passed on to who has the channel open, and forgotten.
    #[n(6)]
    Ephemeral {
        /// The channel.
        #[n(0)]
        channel: String,
        /// The application's bytes.
        #[n(1)]
        #[cbor(with = "minicbor::bytes")]
        payload: Vec<u8>,
    },
    /// Ends live delivery of a channel.
    #[n(7)]
    Close {
        /// The channel.
        #[n(0)]
        channel: String,
    },
    /// Asks for the channels that the user may read, by name.
    #[n(8)]
    Channels {
        /// Those after this name; absent to begin.
        #[n(0)]
        after: Option<String>,
    },
}

/// What a relay sends.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub enum RelayFrame {
    /// Answers `hello`.
    #[n(16)]
    Welcome {
        /// The version that both speak.
        #[n(0)]
        version: u32,
        /// The history that all seqs of this connection belong to.
        #[n(1)]
        epoch: Epoch,
        /// The relay's clock, in ms since the Unix epoch.
        #[n(2)]
        server_time_ms: u64,
        /// What the relay takes.
        #[n(3)]
        limits: WireLimits,
    },
    /// Answers `open`. From its head on each change comes once, as `changes`, in seq order.
    #[n(17)]
    Opened {
        /// The channel.
        #[n(0)]
        channel: String,
        /// Where live delivery begins.
        #[n(1)]
        head: Cursor,
        /// Whether the cursor was good: if so, `directory` is the difference since it.
        #[n(2)]
        resumed: bool,
        /// The directory or its difference ([`crate::directory::Directory::encode`]).
        #[n(3)]
        #[cbor(with = "minicbor::bytes", skip_if = "Vec::is_empty")]
        directory: Vec<u8>,
        /// Messages in the channel at the head.
        #[n(4)]
        total: u64,
        /// Late messages since the cursor, those with no other message between them as one run.
        #[n(5)]
        #[cbor(with = "fields::list", skip_if = "Vec::is_empty")]
        late: Vec<LateRun>,
        /// Whether `late` has all of them; if not, too much was missed to list it.
        #[n(6)]
        late_complete: bool,
    },
    /// A window: answers `fetch`, and comes after `opened` for the newest messages.
    #[n(18)]
    Segment {
        /// The reference of the `fetch`; 0 if it comes because of an `open`.
        #[n(0)]
        reference: u64,
        /// The channel.
        #[n(1)]
        channel: String,
        /// The window.
        #[n(2)]
        window: Window,
        /// The answer holds every change of the window up to this seq and none above.
        #[n(3)]
        as_of: u64,
        /// The window's directory entry as of that seq, as a directory of one window; empty if
        /// the window holds nothing.
        #[n(4)]
        #[cbor(with = "minicbor::bytes", skip_if = "Vec::is_empty")]
        entry: Vec<u8>,
        /// The saved segment; absent if the client's copy is extended by the tail alone.
        #[n(5)]
        messages: Option<SavedDoc>,
        /// Seqs of the saved segment's messages, in the order of its keys: newest
        /// millisecond first, within one the smallest id first ([`super::decode_seqs`]).
        #[n(6)]
        #[cbor(with = "minicbor::bytes", skip_if = "Vec::is_empty")]
        seqs: Vec<u8>,
        /// Which of the saved segment's messages are late, in the same order
        /// ([`super::is_late`]).
        #[n(7)]
        #[cbor(with = "minicbor::bytes", skip_if = "Vec::is_empty")]
        late: Vec<u8>,
        /// The segment's changes after the saved one, or after what the client has, in seq order.
        #[n(8)]
        #[cbor(with = "fields::list", skip_if = "Vec::is_empty")]
        message_tail: Vec<Tail>,
        /// The saved annotations.
        #[n(9)]
        annotations: Option<SavedDoc>,
        /// The annotations' changes after that.
        #[n(10)]
        #[cbor(with = "fields::list", skip_if = "Vec::is_empty")]
        annotation_tail: Vec<Tail>,
    },
    /// A change that was stored: the same bytes to everyone who has the channel open.
    #[n(19)]
    Changes {
        /// The channel.
        #[n(0)]
        channel: String,
        /// The seq of its first op: one above the last seq of the `changes` before.
        #[n(1)]
        seq: u64,
        /// The window.
        #[n(2)]
        window: Window,
        /// The window's generation.
        #[n(3)]
        generation: u32,
        /// Which of the window's documents.
        #[n(4)]
        doc: DocKind,
        /// The change chunk.
        #[n(5)]
        #[cbor(with = "minicbor::bytes")]
        chunk: Vec<u8>,
        /// Which of its messages are late, in ascending id order ([`super::is_late`]).
        #[n(6)]
        #[cbor(with = "minicbor::bytes", skip_if = "Vec::is_empty")]
        late: Vec<u8>,
    },
    /// The first chunks of a push are stored, durably.
    #[n(20)]
    Ack {
        /// The push.
        #[n(0)]
        reference: u64,
        /// The channel.
        #[n(1)]
        channel: String,
        /// The first seq of each stored chunk, from the first chunk on.
        #[n(2)]
        #[cbor(with = "fields::list")]
        seqs: Vec<u64>,
    },
    /// A chunk of a push, and so every later one, is refused for good.
    #[n(21)]
    Nack {
        /// The push.
        #[n(0)]
        reference: u64,
        /// The channel.
        #[n(1)]
        channel: String,
        /// Which chunk, from 0; those before it are acknowledged.
        #[n(2)]
        chunk_index: u32,
        /// Why.
        #[n(3)]
        code: Code,
        /// Why, for people.
        #[n(4)]
        text: String,
    },
    /// What a user has read and received.
    #[n(22)]
    Marks {
        /// The channel.
        #[n(0)]
        channel: String,
        /// The user.
        #[n(1)]
        user: String,
        /// The channel's head when the user last had messages in view.
        #[n(2)]
        seq: u64,
        /// The greatest id that the user had in view.
        #[n(3)]
        read: Option<MessageId>,
        /// A device of the user has everything up to this seq.
        #[n(4)]
        delivered: Option<u64>,
        /// Only to the user: late messages not yet had in view.
        #[n(5)]
        #[cbor(with = "fields::list", skip_if = "Vec::is_empty")]
        unseen_late: Vec<LateRun>,
    },
    /// Presence or typing of a user.
    #[n(23)]
    Ephemeral {
        /// The channel.
        #[n(0)]
        channel: String,
        /// The user.
        #[n(1)]
        user: String,
        /// The application's bytes.
        #[n(2)]
        #[cbor(with = "minicbor::bytes")]
        payload: Vec<u8>,
    },
    /// A frame was refused; the connection stays open.
    #[n(24)]
    Error {
        /// Why.
        #[n(0)]
        code: Code,
        /// Why, for people.
        #[n(1)]
        text: String,
        /// The channel, if the frame was about one.
        #[n(2)]
        channel: Option<String>,
        /// The reference of the frame, if it had one.
        #[n(3)]
        reference: Option<u64>,
    },
    /// Answers `channels`, in the order of the names' bytes.
    #[n(25)]
    Channels {
        /// The channels.
        #[n(0)]
        #[cbor(with = "fields::list")]
        list: Vec<ChannelInfo>,
        /// Whether there are more after the last one.
        #[n(1)]
        more: bool,
    },
    /// Directory entries that changed by something else than `changes`: an erasure raised the
    /// generation, so what the client has of these windows is void.
    #[n(26)]
    Entries {
        /// The channel.
        #[n(0)]
        channel: String,
        /// The entries, as a directory.
        #[n(1)]
        #[cbor(with = "minicbor::bytes")]
        directory: Vec<u8>,
    },
    /// A piece of a frame that is too large to be sent whole ([`super::Assembler`]).
    #[n(27)]
    Part {
        /// Which frame; chosen by the relay.
        #[n(0)]
        id: u64,
        /// Which piece, from 0.
        #[n(1)]
        index: u32,
        /// Whether it is the last piece.
        #[n(2)]
        last: bool,
        /// The piece.
        #[n(3)]
        #[cbor(with = "minicbor::bytes")]
        bytes: Vec<u8>,
    },
}
