//! Every key of the store. Integers are big-endian, so byte order is the order that scans need.
//!
//! Keys within a channel start with its number; ranges are half open.

use backscroll_core::change::{ActorId16, ChangeHash, DocKind};
use backscroll_core::message::MessageId;
use backscroll_core::window::Window;
use std::ops::Range;

/// The format version, 4 bytes.
pub const META_FORMAT: &[u8] = b"format";
/// The epoch, 16 bytes.
pub const META_EPOCH: &[u8] = b"epoch";
/// A repair has begun and is not done; empty.
pub const META_REPAIRING: &[u8] = b"repairing";
/// The number of the next new channel, 8 bytes.
pub const META_NEXT_CHANNEL: &[u8] = b"next";

const NAME_PREFIX: &[u8] = b"c:";
const NAME_END: &[u8] = b"c;";
const HEAD_PREFIX: &[u8] = b"h:";
const DROPPED_PREFIX: &[u8] = b"g:";

/// The number behind a channel's name: names are long and stay out of the keys.
pub type ChannelId = u64;

/// A half-open range of keys.
pub type KeyRange = Range<Vec<u8>>;

/// Borrows a range for a scan.
#[must_use]
pub fn bounds(range: &KeyRange) -> Range<&[u8]> {
    range.start.as_slice()..range.end.as_slice()
}

/// All keys that start with `prefix`.
#[must_use]
pub fn prefixed(prefix: Vec<u8>) -> KeyRange {
    let mut end = prefix.clone();
    // The least key above: the last byte that can grow does, what follows falls away.
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return prefix..end;
        }
    }
    // Nothing but 0xff: no key of ours is that, any longer run of them is above.
    prefix..vec![u8::MAX; 64]
}

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// Number of the channel `name`.
#[must_use]
pub fn channel_name(name: &str) -> Vec<u8> {
    joined(&[NAME_PREFIX, name.as_bytes()])
}

/// All channel names.
#[must_use]
pub fn channel_names() -> KeyRange {
    NAME_PREFIX.to_vec()..NAME_END.to_vec()
}

/// The name in a key of [`channel_names`].
#[must_use]
pub fn name_of(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.strip_prefix(NAME_PREFIX)?).ok()
}

/// Head of a channel.
#[must_use]
pub fn head(channel: ChannelId) -> Vec<u8> {
    joined(&[HEAD_PREFIX, &channel.to_be_bytes()])
}

/// The generation with which a window that was dropped begins again, 4 bytes.
#[must_use]
pub fn dropped(channel: ChannelId, window: Window) -> Vec<u8> {
    joined(&[DROPPED_PREFIX, &window_key(channel, window)])
}

/// The generations of a channel's windows that were dropped.
#[must_use]
pub fn dropped_of(channel: ChannelId) -> KeyRange {
    prefixed(joined(&[DROPPED_PREFIX, &channel.to_be_bytes()]))
}

/// The window in the key of such a generation.
#[must_use]
pub fn dropped_window(key: &[u8]) -> Option<Window> {
    window_of(key.strip_prefix(DROPPED_PREFIX)?)
}

/// Every key there can be.
#[must_use]
pub fn everything() -> KeyRange {
    prefixed(Vec::new())
}

/// Everything of a channel in a family whose keys start with its number.
#[must_use]
pub fn channel(channel: ChannelId) -> KeyRange {
    prefixed(channel.to_be_bytes().to_vec())
}

/// The change whose first seq is `seq`.
#[must_use]
pub fn log(channel: ChannelId, seq: u64) -> Vec<u8> {
    joined(&[&channel.to_be_bytes(), &seq.to_be_bytes()])
}

/// Changes whose first seq is `from` or more.
#[must_use]
pub fn log_from(channel: ChannelId, from: u64) -> KeyRange {
    log(channel, from)..prefixed(channel.to_be_bytes().to_vec()).end
}

/// Changes whose first seq is `upto` or less.
#[must_use]
pub fn log_upto(channel: ChannelId, upto: u64) -> KeyRange {
    log(channel, 0)..log(channel, upto.saturating_add(1))
}

/// The seq at the end of a key of the log or the window log.
#[must_use]
pub fn seq_of(key: &[u8]) -> Option<u64> {
    key.last_chunk().copied().map(u64::from_be_bytes)
}

fn window_key(channel: ChannelId, window: Window) -> Vec<u8> {
    joined(&[&channel.to_be_bytes(), &[window.level()], &window.start_ms().to_be_bytes()])
}

/// Directory entry of a window.
#[must_use]
pub fn directory(channel: ChannelId, window: Window) -> Vec<u8> {
    window_key(channel, window)
}

/// The window in a key that starts with channel and window.
#[must_use]
pub fn window_of(key: &[u8]) -> Option<Window> {
    let (level, rest) = key.get(8..)?.split_first()?;
    Window::new(*level, u64::from_be_bytes(*rest.first_chunk()?)).ok()
}

/// The number of the channel that a key starts with.
#[must_use]
pub fn channel_of(key: &[u8]) -> Option<ChannelId> {
    key.first_chunk().copied().map(u64::from_be_bytes)
}

/// The byte of a document kind: the same on the wire.
#[must_use]
pub const fn doc_byte(doc: DocKind) -> u8 {
    match doc {
        DocKind::Messages => 0,
        DocKind::Annotations => 1,
    }
}

/// The saved document of a window.
#[must_use]
pub fn doc(channel: ChannelId, window: Window, doc: DocKind) -> Vec<u8> {
    let mut key = window_key(channel, window);
    key.push(doc_byte(doc));
    key
}

/// Pointer to the change `seq` of a document.
#[must_use]
pub fn window_log(channel: ChannelId, window: Window, kind: DocKind, seq: u64) -> Vec<u8> {
    joined(&[&doc(channel, window, kind), &seq.to_be_bytes()])
}

/// Pointers to the changes of a document whose first seq is `from` or more.
#[must_use]
pub fn window_log_from(channel: ChannelId, window: Window, kind: DocKind, from: u64) -> KeyRange {
    window_log(channel, window, kind, from)..prefixed(doc(channel, window, kind)).end
}

/// Everything of a document in a family whose keys start with channel, window and document.
#[must_use]
pub fn of_doc(channel: ChannelId, window: Window, kind: DocKind) -> KeyRange {
    prefixed(doc(channel, window, kind))
}

/// Everything of a window in a family whose keys start with channel and window.
#[must_use]
pub fn of_window(channel: ChannelId, window: Window) -> KeyRange {
    prefixed(window_key(channel, window))
}

/// What is known of an actor in a document.
#[must_use]
pub fn actor(channel: ChannelId, window: Window, kind: DocKind, actor: &ActorId16) -> Vec<u8> {
    joined(&[&doc(channel, window, kind), &actor.0])
}

/// Row of a message.
#[must_use]
pub fn message(channel: ChannelId, id: MessageId) -> Vec<u8> {
    message_at(channel, id.as_u128())
}

/// Where a message with this number stands or would stand.
#[must_use]
pub fn message_at(channel: ChannelId, id: u128) -> Vec<u8> {
    joined(&[&channel.to_be_bytes(), &id.to_be_bytes()])
}

/// The id at the end of a key of the index.
#[must_use]
pub fn message_of(key: &[u8]) -> Option<MessageId> {
    MessageId::from_bytes(*key.last_chunk()?).ok()
}

/// Messages whose number is `from` or more and below `to`; `None` is the channel's end.
#[must_use]
pub fn messages(channel: ChannelId, from: u128, to: Option<u128>) -> KeyRange {
    let end = to
        .map_or_else(|| prefixed(channel.to_be_bytes().to_vec()).end, |to| message_at(channel, to));
    message_at(channel, from)..end
}

/// Membership of a message in a window. The id's time is complemented, as in the keys of its
/// document: newest millisecond first and within one the smallest id first, which is the order of
/// seqs in `segment` frames.
#[must_use]
pub fn member(channel: ChannelId, window: Window, id: MessageId) -> Vec<u8> {
    joined(&[&window_key(channel, window), &in_key_order(id.as_u128()).to_be_bytes()])
}

/// An id's number with its 48 bits of time complemented, or that undone.
const fn in_key_order(number: u128) -> u128 {
    number ^ !(u128::MAX >> 48)
}

/// The late message whose seq is `seq`.
#[must_use]
pub fn late(channel: ChannelId, seq: u64) -> Vec<u8> {
    log(channel, seq)
}

/// Late messages whose seq is `from` or more.
#[must_use]
pub fn late_from(channel: ChannelId, from: u64) -> KeyRange {
    log_from(channel, from)
}

/// All messages of a window, in the order of its document's keys.
#[must_use]
pub fn members(channel: ChannelId, window: Window) -> KeyRange {
    prefixed(window_key(channel, window))
}

/// The id in a key of [`members`].
#[must_use]
pub fn member_of(key: &[u8]) -> Option<MessageId> {
    MessageId::from_u128(in_key_order(u128::from_be_bytes(*key.last_chunk()?))).ok()
}

/// One annotation op: `key` is the text of the document's key, which never holds a NUL.
#[must_use]
pub fn annotation(
    channel: ChannelId,
    window: Window,
    key: &str,
    counter: u64,
    actor: &ActorId16,
) -> Vec<u8> {
    joined(&[&window_key(channel, window), key.as_bytes(), &[0], &counter.to_be_bytes(), &actor.0])
}

/// All ops of an annotation key, the winner last.
#[must_use]
pub fn annotation_ops(channel: ChannelId, window: Window, key: &str) -> KeyRange {
    prefixed(joined(&[&window_key(channel, window), key.as_bytes(), &[0]]))
}

/// Counter and actor at the end of a key of the annotations.
#[must_use]
pub fn op_of(key: &[u8]) -> Option<(u64, ActorId16)> {
    let (rest, actor) = key.split_last_chunk()?;
    Some((seq_of(rest)?, ActorId16(*actor)))
}

/// All annotation ops of a window.
#[must_use]
pub fn annotations(channel: ChannelId, window: Window) -> KeyRange {
    prefixed(window_key(channel, window))
}

/// An annotation change by its hash.
#[must_use]
pub fn hash(channel: ChannelId, window: Window, hash: &ChangeHash) -> Vec<u8> {
    joined(&[&window_key(channel, window), &hash.0])
}

/// Count of the block of ids from `first` on.
#[must_use]
pub fn rank(channel: ChannelId, first: u128) -> Vec<u8> {
    message_at(channel, first)
}

/// The first id in a key of the ranks.
#[must_use]
pub fn rank_of(key: &[u8]) -> Option<u128> {
    key.last_chunk().copied().map(u128::from_be_bytes)
}

/// An idempotency key by the hash of sender and key.
#[must_use]
pub fn idempotency(channel: ChannelId, digest: &[u8; 16]) -> Vec<u8> {
    joined(&[&channel.to_be_bytes(), digest])
}

/// Read state of a user.
#[must_use]
pub fn read_state(channel: ChannelId, user: &str) -> Vec<u8> {
    joined(&[&channel.to_be_bytes(), user.as_bytes()])
}

/// What is under a key of the attachments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobKind {
    /// An attachment.
    Attachment,
    /// A part of one's bytes.
    Part,
    /// One whose parts are being stored.
    Reserved,
    /// What a user has stored.
    Usage,
}

/// What is under a key of the attachments.
#[must_use]
pub fn blob_kind(key: &[u8]) -> Option<BlobKind> {
    Some(match key.first()? {
        b'h' => BlobKind::Attachment,
        b'p' => BlobKind::Part,
        b'r' => BlobKind::Reserved,
        b'u' => BlobKind::Usage,
        _ => return None,
    })
}

/// An attachment by its SHA-256.
#[must_use]
pub fn blob(sha256: &[u8; 32]) -> Vec<u8> {
    joined(&[b"h", sha256])
}

/// A part of an attachment's bytes, from 0.
#[must_use]
pub fn blob_part(sha256: &[u8; 32], part: u32) -> Vec<u8> {
    joined(&[b"p", sha256, &part.to_be_bytes()])
}

/// All attachments.
#[must_use]
pub fn blobs() -> KeyRange {
    prefixed(b"h".to_vec())
}

/// All parts of an attachment.
#[must_use]
pub fn parts_of(sha256: &[u8; 32]) -> KeyRange {
    prefixed(joined(&[b"p", sha256]))
}

/// All parts of all attachments.
#[must_use]
pub fn blob_parts() -> KeyRange {
    prefixed(b"p".to_vec())
}

/// An attachment whose parts are being stored.
#[must_use]
pub fn blob_reserved(sha256: &[u8; 32]) -> Vec<u8> {
    joined(&[b"r", sha256])
}

/// All attachments whose parts are being stored.
#[must_use]
pub fn blobs_reserved() -> KeyRange {
    prefixed(b"r".to_vec())
}

/// The SHA-256 in the key of an attachment.
#[must_use]
pub fn sha256_of(key: &[u8]) -> Option<[u8; 32]> {
    key.get(1..)?.first_chunk().copied()
}

/// What users have stored of attachments.
#[must_use]
pub fn blob_usages() -> KeyRange {
    prefixed(b"u".to_vec())
}

/// What a user has stored of attachments.
#[must_use]
pub fn blob_usage(user: &str) -> Vec<u8> {
    joined(&[b"u", user.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_with_their_channel() {
        for number in [0, 1, 255, 256, u64::MAX] {
            let range = channel(number);
            assert!(range.contains(&log(number, u64::MAX)), "{number}");
            assert!(number == u64::MAX || !range.contains(&log(number + 1, 0)), "{number}");
        }
        assert!(log_from(7, 5).contains(&log(7, 5)) && !log_from(7, 5).contains(&log(7, 4)));
        assert!(log_upto(7, 5).contains(&log(7, 5)) && !log_upto(7, 5).contains(&log(7, 6)));
    }

    #[test]
    fn members_order_as_the_keys_of_documents_and_read_back() {
        let window = Window::covering(3, 1_700_000_000_000);
        let old = MessageId::from_parts(1_700_000_000_000, 7);
        let new = MessageId::from_parts(1_700_000_000_001, 3);
        let twin = MessageId::from_parts(1_700_000_000_001, 2);
        assert!(member(1, window, twin) < member(1, window, new));
        assert!(member(1, window, new) < member(1, window, old));
        assert!(twin.to_key() < new.to_key() && new.to_key() < old.to_key());
        assert_eq!(member_of(&member(1, window, new)), Some(new));
        assert_eq!(window_of(&member(1, window, new)), Some(window));
        assert!(members(1, window).contains(&member(1, window, old)));
    }

    #[test]
    fn an_annotation_key_is_no_prefix_of_another() {
        let window = Window::covering(0, 0);
        let actor = ActorId16([9; 16]);
        let other = annotation(1, window, "k:r:a:xy", 1, &actor);
        assert!(!annotation_ops(1, window, "k:r:a:x").contains(&other));
    }
}
