//! Keys of records, so made that a range of them is what someone asks for.
//!
//! A key is the family's number, the channel's name (its length in one byte, then the name), and what
//! follows in the family; numbers are big-endian. Families never change what they hold: another
//! layout is another family.

use super::StoredRecord;
use crate::annotation::AnnotationKey;
use crate::change::DocKind;
use crate::limits::CHANNEL_NAME_BYTES_MAX;
use crate::message::MessageId;
use crate::window::Window;

const SUMMARY: u8 = 1;
const UNSENT: u8 = 2;
const CHANNEL: u8 = 3;
const SEEN: u8 = 4;
const WINDOW: u8 = 5;
const RELAYED: u8 = 6;

/// Bytes of a message's id.
const ID_BYTES: usize = 16;

/// The key of a record. Channel names are 1 to 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// A line of the list of channels.
    Summary {
        /// The channel.
        channel: String,
    },
    /// A message of this device that the relay does not have.
    Unsent {
        /// The channel.
        channel: String,
        /// The message.
        id: MessageId,
    },
    /// An annotation of this device that the relay does not have.
    UnsentNote {
        /// The channel.
        channel: String,
        /// Which annotation of which message.
        note: AnnotationKey,
    },
    /// Where a replica stands.
    Channel {
        /// The channel.
        channel: String,
    },
    /// What was in view.
    Seen {
        /// The channel.
        channel: String,
    },
    /// The documents of a window.
    Segment {
        /// The channel.
        channel: String,
        /// The window.
        window: Window,
    },
    /// A change after them.
    Appended {
        /// The channel.
        channel: String,
        /// The window.
        window: Window,
        /// The seq of its first op.
        seq: u64,
        /// Which of the window's documents.
        doc: DocKind,
    },
    /// A message of this device that the relay has.
    Relayed {
        /// The channel.
        channel: String,
        /// The message.
        id: MessageId,
    },
    /// An annotation of this device that the relay has.
    RelayedNote {
        /// The channel.
        channel: String,
        /// Which annotation of which message.
        note: AnnotationKey,
    },
}

impl Key {
    /// The channel it belongs to.
    #[must_use]
    pub fn channel(&self) -> &str {
        match self {
            Self::Summary { channel }
            | Self::Unsent { channel, .. }
            | Self::UnsentNote { channel, .. }
            | Self::RelayedNote { channel, .. }
            | Self::Channel { channel }
            | Self::Seen { channel }
            | Self::Segment { channel, .. }
            | Self::Appended { channel, .. }
            | Self::Relayed { channel, .. } => channel,
        }
    }

    /// The key as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (family, channel) = (self.family(), self.channel());
        match self {
            Self::Summary { .. } | Self::Channel { .. } | Self::Seen { .. } => {
                prefix(family, channel)
            }
            Self::Unsent { id, .. } | Self::Relayed { id, .. } => {
                let mut key = prefix(family, channel);
                key.extend(id.to_bytes());
                key
            }
            Self::UnsentNote { note, .. } | Self::RelayedNote { note, .. } => {
                let mut key = prefix(family, channel);
                key.extend(note.id().to_bytes());
                // After the message's own record, and beside nothing else.
                key.extend(kind_of(note).into_bytes());
                key
            }
            Self::Segment { window, .. } => window_prefix(channel, *window),
            Self::Appended { window, seq, doc, .. } => {
                let mut key = window_prefix(channel, *window);
                key.extend(seq.to_be_bytes());
                key.push(number_of(*doc));
                key
            }
        }
    }

    /// The deletion of the record under this key.
    pub(crate) fn deletion(&self) -> StoredRecord {
        StoredRecord { key: self.encode(), value: None }
    }

    const fn family(&self) -> u8 {
        match self {
            Self::Summary { .. } => SUMMARY,
            Self::Unsent { .. } | Self::UnsentNote { .. } => UNSENT,
            Self::Channel { .. } => CHANNEL,
            Self::Seen { .. } => SEEN,
            Self::Segment { .. } | Self::Appended { .. } => WINDOW,
            Self::Relayed { .. } | Self::RelayedNote { .. } => RELAYED,
        }
    }

    /// Reads a key; None if it is none of these.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (&family, rest) = bytes.split_first()?;
        let (&len, rest) = rest.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(len))?;
        let channel = str::from_utf8(name).ok().filter(|name| !name.is_empty())?.to_owned();
        let id = |rest: &[u8]| MessageId::from_bytes(rest.try_into().ok()?).ok();
        match family {
            SUMMARY if rest.is_empty() => Some(Self::Summary { channel }),
            CHANNEL if rest.is_empty() => Some(Self::Channel { channel }),
            SEEN if rest.is_empty() => Some(Self::Seen { channel }),
            UNSENT if rest.len() <= ID_BYTES => Some(Self::Unsent { channel, id: id(rest)? }),
            UNSENT => Some(Self::UnsentNote { channel, note: note_of(rest)? }),
            RELAYED if rest.len() <= ID_BYTES => Some(Self::Relayed { channel, id: id(rest)? }),
            RELAYED => Some(Self::RelayedNote { channel, note: note_of(rest)? }),
            WINDOW => decode_window(channel, rest),
            _ => None,
        }
    }
}

/// What follows the message's key in an annotation's.
fn kind_of(note: &AnnotationKey) -> String {
    let text = note.to_string();
    text.split_once(':').map_or_else(String::new, |(_, kind)| kind.to_owned())
}

fn note_of(rest: &[u8]) -> Option<AnnotationKey> {
    let (id, kind) = rest.split_at_checked(ID_BYTES)?;
    let id = MessageId::from_bytes(id.try_into().ok()?).ok()?;
    format!("{}:{}", id.to_key(), str::from_utf8(kind).ok()?).parse().ok()
}

fn decode_window(channel: String, rest: &[u8]) -> Option<Key> {
    let (&level, rest) = rest.split_first()?;
    let (start, rest) = rest.split_first_chunk()?;
    let window = Window::new(level, u64::from_be_bytes(*start)).ok()?;
    if rest.is_empty() {
        return Some(Key::Segment { channel, window });
    }
    let (seq, rest) = rest.split_first_chunk()?;
    let doc = match rest {
        [0] => DocKind::Messages,
        [1] => DocKind::Annotations,
        _ => return None,
    };
    Some(Key::Appended { channel, window, seq: u64::from_be_bytes(*seq), doc })
}

const fn number_of(doc: DocKind) -> u8 {
    match doc {
        DocKind::Messages => 0,
        DocKind::Annotations => 1,
    }
}

fn prefix(family: u8, channel: &str) -> Vec<u8> {
    debug_assert!((1..=CHANNEL_NAME_BYTES_MAX).contains(&channel.len()));
    let mut key = Vec::with_capacity(channel.len() + 27);
    key.push(family);
    key.push(u8::try_from(channel.len()).unwrap_or(u8::MAX));
    key.extend(channel.as_bytes());
    key
}

fn window_prefix(channel: &str, window: Window) -> Vec<u8> {
    let mut key = prefix(WINDOW, channel);
    key.push(window.level());
    key.extend(window.start_ms().to_be_bytes());
    key
}

/// Keys from `from` up to, not including, `to`, in the order of their bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key that may be in it.
    pub from: Vec<u8>,
    /// The first key after it.
    pub to: Vec<u8>,
}

impl KeyRange {
    /// The list of channels.
    #[must_use]
    pub fn summaries() -> Self {
        Self::with_prefix(vec![SUMMARY])
    }

    /// The unsent messages of every channel.
    #[must_use]
    pub fn all_unsent() -> Self {
        Self::with_prefix(vec![UNSENT])
    }

    /// The unsent messages and annotations of a channel.
    #[must_use]
    pub fn unsent(channel: &str) -> Self {
        Self::with_prefix(prefix(UNSENT, channel))
    }

    /// The relayed messages and annotations of a channel.
    #[must_use]
    pub fn relayed(channel: &str) -> Self {
        Self::with_prefix(prefix(RELAYED, channel))
    }

    /// All windows of a channel.
    #[must_use]
    pub fn windows(channel: &str) -> Self {
        Self::with_prefix(prefix(WINDOW, channel))
    }

    /// One window of a channel: its segment, then the changes after it.
    #[must_use]
    pub fn window(channel: &str, window: Window) -> Self {
        Self::with_prefix(window_prefix(channel, window))
    }

    /// One key.
    #[must_use]
    pub fn one(key: &Key) -> Self {
        let from = key.encode();
        let to = just_after(&from);
        Self { from, to }
    }

    /// The part of this range after a key.
    #[must_use]
    pub fn after(self, key: &[u8]) -> Self {
        Self { from: just_after(key), to: self.to }
    }

    /// Whether a key is in it.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.from.as_slice() <= key && key < self.to.as_slice()
    }

    fn with_prefix(from: Vec<u8>) -> Self {
        let mut to = from.clone();
        while let Some(last) = to.pop() {
            if let Some(next) = last.checked_add(1) {
                to.push(next);
                break;
            }
        }
        Self { from, to }
    }
}

fn just_after(key: &[u8]) -> Vec<u8> {
    let mut after = key.to_vec();
    after.push(0);
    after
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(tail: u128) -> MessageId {
        MessageId::from_parts(1_700_000_000_000, tail)
    }

    fn key() -> impl Strategy<Value = Key> {
        let channel = prop_oneof!["[a-c]{1,3}", "\\PC{1,60}", Just("\u{10ffff}".repeat(63))];
        let window = (0..12_u8, 0..1_u64 << 45).prop_map(|(level, ms)| Window::covering(level, ms));
        (channel, 0..7, 0..9_u128, window, 0..300_u64).prop_map(
            |(channel, family, tail, window, seq)| match family {
                0 => Key::Summary { channel },
                1 => Key::Unsent { channel, id: id(tail) },
                2 => Key::Channel { channel },
                3 => Key::Seen { channel },
                4 => Key::Segment { channel, window },
                5 => Key::Appended { channel, window, seq, doc: DocKind::Annotations },
                _ => Key::Relayed { channel, id: id(tail) },
            },
        )
    }

    #[test]
    fn an_appended_change_has_these_bytes() {
        let window = Window::covering(3, 1_700_000_000_000);
        let key =
            Key::Appended { channel: "#a".to_owned(), window, seq: 258, doc: DocKind::Messages };
        let mut bytes = vec![5, 2, b'#', b'a', 3];
        bytes.extend(window.start_ms().to_be_bytes());
        bytes.extend([0, 0, 0, 0, 0, 0, 1, 2, 0]);
        assert_eq!(key.encode(), bytes);
        let segment = Key::Segment { channel: "#a".to_owned(), window }.encode();
        assert!(segment < bytes, "a segment comes before what follows it");
    }

    proptest! {
        #[test]
        fn every_key_comes_back(key in key()) {
            prop_assert_eq!(Key::decode(&key.encode()), Some(key));
        }

        #[test]
        fn any_bytes_are_a_key_or_none(bytes: Vec<u8>) {
            if let Some(key) = Key::decode(&bytes) {
                prop_assert_eq!(key.encode(), bytes);
            }
        }

        #[test]
        fn ranges_hold_what_they_say(keys in proptest::collection::vec(key(), 2)) {
            let [a, b] = &keys[..] else { unreachable!() };
            let (channel, bytes) = (a.channel(), b.encode());
            let same = b.channel() == channel;
            prop_assert_eq!(KeyRange::one(a).contains(&bytes), a == b);
            prop_assert_eq!(
                KeyRange::summaries().contains(&bytes),
                matches!(b, Key::Summary { .. })
            );
            prop_assert_eq!(
                KeyRange::all_unsent().contains(&bytes),
                matches!(b, Key::Unsent { .. })
            );
            prop_assert_eq!(
                KeyRange::unsent(channel).contains(&bytes),
                same && matches!(b, Key::Unsent { .. })
            );
            prop_assert_eq!(
                KeyRange::relayed(channel).contains(&bytes),
                same && matches!(b, Key::Relayed { .. })
            );
            prop_assert_eq!(
                KeyRange::windows(channel).contains(&bytes),
                same && matches!(b, Key::Segment { .. } | Key::Appended { .. })
            );
            let rest = KeyRange::windows(channel).after(&bytes);
            prop_assert!(!rest.contains(&bytes));
        }
    }
}
