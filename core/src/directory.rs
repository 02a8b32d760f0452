//! The directory: what a channel's windows hold, without holding it (design 4.3).
//!
//! The relay computes it from the changes; a client counts, ranks and repairs by it. It knows
//! windows, counts and digests, and nothing of documents. Its bytes are described in
//! `docs/wire-format.md`.

use crate::change::ChangeHash;
use crate::limits::{DIRECTORY_ENTRIES_MAX, SEQ_MAX};
use crate::message::TIME_MS_MAX;
use crate::segment::digest_of;
use crate::varint::{self, Reader};
use crate::window::{FAN_BITS, Fill, LEVEL_LAST, TOP_BITS, Window, WindowError};
use std::collections::BTreeMap;

/// How far one of a window's documents is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DocMark {
    /// The seq of the last op stored in it; 0 if there is none.
    pub last_seq: u64,
    /// The wrapping sum of the first 8 bytes (big-endian) of its changes' hashes: the same for
    /// equal sets of changes, in whatever order they came.
    pub digest: u64,
}

impl DocMark {
    /// Takes in a change whose last op has the seq `last_seq`.
    pub fn record(&mut self, last_seq: u64, hash: &ChangeHash) {
        self.last_seq = self.last_seq.max(last_seq);
        self.digest = self.digest.wrapping_add(digest_of(*hash));
    }
}

/// What the directory says of one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Raised by each erasure: documents and changes of an older one are void.
    pub generation: u32,
    /// Messages in it, deleted ones included; never 0.
    pub messages: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Sent time of the oldest, in ms since the Unix epoch.
    pub first_ms: u64,
    /// Sent time of the newest, in ms since the Unix epoch.
    pub last_ms: u64,
    /// How far the segment is.
    pub message_doc: DocMark,
    /// How far the annotations are; zero if there are none.
    pub annotation_doc: DocMark,
}

impl Entry {
    /// The entry of a window with one message, before the change that brought it is recorded.
    #[must_use]
    pub const fn one(generation: u32, time_ms: u64, bytes: u64) -> Self {
        const NONE: DocMark = DocMark { last_seq: 0, digest: 0 };
        Self {
            generation,
            messages: 1,
            bytes,
            first_ms: time_ms,
            last_ms: time_ms,
            message_doc: NONE,
            annotation_doc: NONE,
        }
    }

    /// Counts one more message.
    pub fn add_message(&mut self, time_ms: u64, bytes: u64) {
        self.messages += 1;
        self.bytes += bytes;
        self.first_ms = self.first_ms.min(time_ms);
        self.last_ms = self.last_ms.max(time_ms);
    }

    /// What a writer needs to know to place a message.
    #[must_use]
    pub const fn fill(&self) -> Fill {
        Fill {
            messages: self.messages,
            bytes: self.bytes,
            oldest_ms: self.first_ms,
            newest_ms: self.last_ms,
        }
    }

    /// The seq of the last op stored in either document.
    #[must_use]
    pub fn latest_seq(&self) -> u64 {
        self.message_doc.last_seq.max(self.annotation_doc.last_seq)
    }

    /// Whether it agrees with itself and its window, in numbers that add up without overflow.
    fn is_sound(&self, window: Window) -> bool {
        (1..=MESSAGES_MAX).contains(&self.messages)
            && self.bytes <= SEQ_MAX
            && self.latest_seq() <= SEQ_MAX
            && self.first_ms <= self.last_ms
            && window.contains(self.first_ms)
            && window.contains(self.last_ms)
    }
}

/// The windows of a channel that hold messages, by level, then start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    entries: BTreeMap<Window, Entry>,
    total: u64,
}

/// Why bytes are no directory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// The bytes end inside an entry, or an integer is not spelt the one way it has.
    #[error("the directory is cut off or malformed")]
    Malformed,
    /// More entries than any directory may have, or than the bytes can hold.
    #[error("the directory claims {0} entries")]
    TooMany(u64),
    /// Levels are not ascending.
    #[error("the directory's levels are not in order")]
    Order,
    /// A level or a start is no window.
    #[error(transparent)]
    Window(#[from] WindowError),
    /// An entry contradicts itself or its window.
    #[error("the entry of window {0} has no messages, times outside it or numbers beyond bounds")]
    Entry(Window),
}

/// Bits of an entry's flags: which rarely used fields follow.
const HAS_GENERATION: u64 = 1;
const HAS_DIGEST: u64 = 2;
const HAS_ANNOTATIONS: u64 = 4;
const FLAG_BITS: u32 = 3;

/// More messages than any window can take; the sum over all windows still fits in 64 bits.
const MESSAGES_MAX: u64 = 1 << 40;

/// The shortest entry: six integers of one byte.
const ENTRY_BYTES_MIN: u64 = 6;

impl Directory {
    /// A directory of no windows.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: BTreeMap::new(), total: 0 }
    }

    /// The entry of a window.
    #[must_use]
    pub fn get(&self, window: Window) -> Option<&Entry> {
        self.entries.get(&window)
    }

    /// Sets the entry of a window and gives back the one it replaces.
    pub fn set(&mut self, window: Window, entry: Entry) -> Option<Entry> {
        let before = self.entries.insert(window, entry);
        self.total = self.total - before.map_or(0, |before| before.messages) + entry.messages;
        before
    }

    /// Every window and its entry, by level, then start.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (Window, &Entry)> {
        self.entries.iter().map(|(window, entry)| (*window, entry))
    }

    /// Number of windows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no window.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Messages in all windows, deleted ones included.
    ///
    /// # Complexity
    /// O(1): kept as entries are set.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// The deepest level in use; 0 if there is none.
    #[must_use]
    pub fn deepest_level(&self) -> u8 {
        self.entries.last_key_value().map_or(0, |(window, _)| window.level())
    }

    /// The seq of the last op stored in any window.
    ///
    /// # Complexity
    /// O(windows).
    #[must_use]
    pub fn latest_seq(&self) -> u64 {
        self.entries.values().map(Entry::latest_seq).max().unwrap_or(0)
    }

    /// The windows that cover an instant, widest first: one per level at most.
    pub fn covering(&self, time_ms: u64) -> impl Iterator<Item = (Window, &Entry)> {
        Window::path(time_ms).filter_map(|window| Some((window, self.get(window)?)))
    }

    /// The entries with ops above `since_seq`: with what the reader has, it makes the directory.
    ///
    /// # Complexity
    /// O(windows).
    #[must_use]
    pub fn difference(&self, since_seq: u64) -> Self {
        self.iter()
            .filter(|(_, entry)| entry.latest_seq() > since_seq)
            .map(|(window, entry)| (window, *entry))
            .collect()
    }

    /// Takes over the entries of another directory or a difference; of two entries of a window the
    /// higher generation stays, then the later seq, then the one taken over.
    ///
    /// # Complexity
    /// O(log windows) for each entry taken over.
    pub fn merge(&mut self, newer: &Self) {
        let age = |entry: &Entry| (entry.generation, entry.latest_seq());
        for (window, entry) in newer.iter() {
            if self.get(window).is_none_or(|known| age(known) <= age(entry)) {
                self.set(window, *entry);
            }
        }
    }

    /// The directory as bytes, about 16 for an entry and 8 for each digest (docs/wire-format.md).
    ///
    /// # Complexity
    /// O(windows).
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24 * self.len());
        for level in 0..=LEVEL_LAST {
            let first = Window::covering(level, 0);
            let entries = self.entries.range(first..).take_while(|(w, _)| w.level() == level);
            let count = entries.clone().count();
            if count == 0 {
                continue;
            }
            out.push(level);
            varint::put(&mut out, count as u64);
            let mut before = Before::default();
            for (window, entry) in entries {
                put_entry(&mut out, *window, entry, &mut before);
            }
        }
        out
    }

    /// Reads a directory.
    ///
    /// # Errors
    /// The bytes are not exactly what [`Self::encode`] makes of some directory whose entries lie
    /// in their windows, or hold more entries than any directory may.
    ///
    /// # Complexity
    /// O(length); memory in proportion to the entries that are really there.
    pub fn decode(bytes: &[u8]) -> Result<Self, DirectoryError> {
        let mut reader = Reader::new(bytes);
        let mut directory = Self::new();
        let mut level_min = 0;
        while let Some(level) = reader.byte() {
            if level < level_min {
                return Err(DirectoryError::Order);
            }
            level_min = level.saturating_add(1);
            let count = reader.take().ok_or(DirectoryError::Malformed)?;
            let room = (DIRECTORY_ENTRIES_MAX - directory.len()) as u64;
            if count == 0 || count > room || count > reader.len() as u64 / ENTRY_BYTES_MIN {
                return Err(DirectoryError::TooMany(count));
            }
            let mut before = Before::default();
            for _ in 0..count {
                let (window, entry) = take_entry(&mut reader, level, &mut before)?;
                directory.set(window, entry);
            }
        }
        Ok(directory)
    }

    /// The directory of one window: what a `segment` frame carries.
    #[must_use]
    pub fn of_one(window: Window, entry: Entry) -> Self {
        std::iter::once((window, entry)).collect()
    }
}

impl FromIterator<(Window, Entry)> for Directory {
    fn from_iter<I: IntoIterator<Item = (Window, Entry)>>(entries: I) -> Self {
        let mut directory = Self::new();
        for (window, entry) in entries {
            directory.set(window, entry);
        }
        directory
    }
}

/// What the next entry of a level is written against.
#[derive(Default)]
struct Before {
    /// One above the number of the window before.
    number_min: u64,
    last_seq: u64,
}

const fn width_bits(level: u8) -> u32 {
    TOP_BITS - FAN_BITS * level as u32
}

fn put_entry(out: &mut Vec<u8>, window: Window, entry: &Entry, before: &mut Before) {
    let Entry { generation, messages, bytes, first_ms, last_ms, message_doc, annotation_doc } =
        *entry;
    let annotated = annotation_doc != DocMark::default();
    let flags = (if generation == 0 { 0 } else { HAS_GENERATION })
        | (if message_doc.digest == 0 { 0 } else { HAS_DIGEST })
        | (if annotated { HAS_ANNOTATIONS } else { 0 });
    let number = number_of(window);
    varint::put(out, (number - before.number_min) << FLAG_BITS | flags);
    varint::put(out, messages);
    varint::put(out, bytes);
    varint::put(out, first_ms - window.start_ms());
    varint::put(out, last_ms - first_ms);
    varint::put_step(out, before.last_seq, message_doc.last_seq);
    if generation != 0 {
        varint::put(out, u64::from(generation));
    }
    if message_doc.digest != 0 {
        out.extend(message_doc.digest.to_be_bytes());
    }
    if annotated {
        varint::put(out, annotation_doc.last_seq);
        out.extend(annotation_doc.digest.to_be_bytes());
    }
    *before = Before { number_min: number + 1, last_seq: message_doc.last_seq };
}

fn take_entry(
    reader: &mut Reader<'_>,
    level: u8,
    before: &mut Before,
) -> Result<(Window, Entry), DirectoryError> {
    let mut take = || need(reader.take());
    let head = take()?;
    let number = need(before.number_min.checked_add(head >> FLAG_BITS))?;
    let window = window_of(level, number)?;
    let (messages, bytes) = (take()?, take()?);
    let first_ms = need(window.start_ms().checked_add(take()?))?;
    let last_ms = need(first_ms.checked_add(take()?))?;
    let last_seq = need(reader.step(before.last_seq))?;
    let has = |flag| head & flag != 0;
    let mut entry = Entry { messages, bytes, last_ms, ..Entry::one(0, first_ms, 0) };
    entry.message_doc.last_seq = last_seq;
    if has(HAS_GENERATION) {
        let generation = reader.take().and_then(|generation| u32::try_from(generation).ok());
        entry.generation = need(generation.filter(|generation| *generation != 0))?;
    }
    if has(HAS_DIGEST) {
        let digest = reader.array().map(u64::from_be_bytes);
        entry.message_doc.digest = need(digest.filter(|digest| *digest != 0))?;
    }
    if has(HAS_ANNOTATIONS) {
        let last_seq = need(reader.take())?;
        let digest = need(reader.array().map(u64::from_be_bytes))?;
        let mark = DocMark { last_seq, digest };
        entry.annotation_doc = need(Some(mark).filter(|mark| *mark != DocMark::default()))?;
    }
    *before = Before { number_min: number + 1, last_seq };
    if entry.is_sound(window) { Ok((window, entry)) } else { Err(DirectoryError::Entry(window)) }
}

fn need<T>(value: Option<T>) -> Result<T, DirectoryError> {
    value.ok_or(DirectoryError::Malformed)
}

/// The window of a level by its number: the first from the Unix epoch on is 0.
pub(crate) fn window_of(level: u8, number: u64) -> Result<Window, WindowError> {
    if level > LEVEL_LAST {
        return Err(WindowError::Level(level));
    }
    // A number that shifting would cut must not pass for another.
    let last = TIME_MS_MAX >> width_bits(level);
    let start_ms = if number <= last { number << width_bits(level) } else { u64::MAX };
    Window::new(level, start_ms)
}

/// The number of a window in its level.
pub(crate) const fn number_of(window: Window) -> u64 {
    window.start_ms() >> width_bits(window.level())
}

#[cfg(test)]
mod tests;
