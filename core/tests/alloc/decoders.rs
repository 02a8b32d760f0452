//! The decoders that are measured, and what each may allocate.

use crate::CONSTANT;
use backscroll_core::annotation::{AnnotationKey, Edit};
use backscroll_core::change::{ChangeView, DocKind};
use backscroll_core::directory::Directory;
use backscroll_core::message::Content;
use backscroll_core::storage::{
    AppendedRecord, ChannelRecord, Fact, Key, NoteRecord, OwnRecord, SeenRecord, SegmentRecord,
    SummaryRecord,
};
use backscroll_core::window::Window;
use backscroll_core::wire::{Assembler, decode_client, decode_relay, decode_seqs};
use sha2::{Digest, Sha256};

/// A decoder.
pub(crate) struct Decoder {
    pub(crate) name: &'static str,
    pub(crate) read: fn(&[u8]),
    /// What it may allocate for an input.
    pub(crate) allowed: fn(&[u8]) -> usize,
    /// Whose fuzz target's seeds it reads.
    pub(crate) seeds: &'static str,
    /// The inputs that a seed holds.
    pub(crate) inputs_of: fn(&[u8]) -> Vec<Vec<u8>>,
}

fn four_times(input: &[u8]) -> usize {
    4 * input.len() + CONSTANT
}

/// Bytes of memory for a window of a directory: its entry in a half-full node of a tree.
const ENTRY_BYTES: usize = 180;

/// Entries are of one size however short they are written; they are counted before they are read.
fn with_entries(input: &[u8]) -> usize {
    let entries = Directory::decode(input).map_or(0, |directory| directory.len());
    four_times(input).max(entries * ENTRY_BYTES + CONSTANT)
}

/// Bytes of memory for what is known of a message: a seq, then a fact.
const FACT_BYTES: usize = 8 + size_of::<Fact>();

/// A seq takes a byte at least; a record of facts without the messages' document is all seqs.
fn with_facts(input: &[u8]) -> usize {
    let key = segment_key();
    let record = SegmentRecord::read(&key, &sealed(&key.encode(), input));
    four_times(input) + record.map_or(0, |record| record.facts.len() * FACT_BYTES)
}

/// The key of the segments that are read.
pub(crate) fn segment_key() -> Key {
    Key::Segment { channel: "c".to_owned(), window: Window::covering(0, 1_700_000_000_000) }
}

fn after_the_first(seed: &[u8]) -> Vec<Vec<u8>> {
    vec![seed.get(1..).unwrap_or_default().to_vec()]
}

/// The byte strings of a script, `skip` bytes before each.
fn strings(mut seed: &[u8], skip: usize) -> Vec<Vec<u8>> {
    let mut strings = Vec::new();
    while let Some((head, rest)) = seed.split_at_checked(skip + 2) {
        let len = usize::from(u16::from_le_bytes([head[skip], head[skip + 1]])).min(rest.len());
        strings.push(rest[..len].to_vec());
        seed = &rest[len..];
    }
    strings
}

fn chunks(seed: &[u8]) -> Vec<Vec<u8>> {
    strings(seed.get(2..).unwrap_or_default(), 1)
}

fn records(seed: &[u8]) -> Vec<Vec<u8>> {
    strings(seed, 0).chunks(2).map(|pair| pair.concat()).collect()
}

/// A decoder of frames' seeds that is bounded as all are but those that say otherwise.
fn of_frames(name: &'static str, read: fn(&[u8])) -> Decoder {
    Decoder { name, read, allowed: four_times, seeds: "frames", inputs_of: after_the_first }
}

pub(crate) fn all() -> Vec<Decoder> {
    let bodies = |name, read| Decoder { seeds: "bodies", ..of_frames(name, read) };
    let changes =
        |name, read| Decoder { seeds: "changes", inputs_of: chunks, ..of_frames(name, read) };
    vec![
        of_frames("decode_client", |bytes| drop(decode_client(bytes))),
        of_frames("decode_relay", |bytes| drop(decode_relay(bytes))),
        of_frames("Assembler::read", |bytes| drop(Assembler::new().read(bytes))),
        Decoder {
            allowed: |input| 8 * input.len() + CONSTANT,
            ..of_frames("decode_seqs", |bytes| drop(decode_seqs(bytes, bytes.len())))
        },
        Decoder {
            allowed: with_entries,
            ..of_frames("Directory::decode", |bytes| drop(Directory::decode(bytes)))
        },
        bodies("Content::from_body", |bytes| drop(Content::from_body(bytes))),
        bodies("Edit::from_bytes", |bytes| drop(Edit::from_bytes(bytes))),
        bodies("AnnotationKey", |bytes| {
            drop(std::str::from_utf8(bytes).map(str::parse::<AnnotationKey>));
        }),
        changes("ChangeView::read, messages", |bytes| read_change(bytes, DocKind::Messages)),
        changes("ChangeView::read, annotations", |bytes| read_change(bytes, DocKind::Annotations)),
        Decoder {
            allowed: with_facts,
            seeds: "records",
            inputs_of: records,
            ..of_frames("records", read_records)
        },
    ]
}

fn read_change(bytes: &[u8], doc: DocKind) {
    for level in [0, 3] {
        drop(ChangeView::read(bytes, Window::covering(level, 1_700_000_000_000), doc));
    }
}

/// The bytes as a record of each kind, with the checksum it needs.
fn read_records(bytes: &[u8]) {
    let channel = || "c".to_owned();
    let window = Window::covering(0, 1_700_000_000_000);
    let id = backscroll_core::message::MessageId::first_of(1_700_000_000_000);
    let keys = [
        Key::Summary { channel: channel() },
        Key::Unsent { channel: channel(), id },
        Key::UnsentNote { channel: channel(), note: AnnotationKey::Edit { id } },
        Key::Channel { channel: channel() },
        Key::Seen { channel: channel() },
        segment_key(),
        Key::Appended { channel: channel(), window, seq: 1, doc: DocKind::Messages },
    ];
    for key in &keys {
        // Half of the input is what follows a key in a script.
        let value = sealed(&key.encode(), bytes);
        match key {
            Key::Summary { .. } => drop(SummaryRecord::read(key, &value)),
            Key::Unsent { .. } | Key::Relayed { .. } => drop(OwnRecord::read(key, &value)),
            Key::Channel { .. } => drop(ChannelRecord::read(key, &value)),
            Key::Seen { .. } => drop(SeenRecord::read(key, &value)),
            Key::Segment { .. } => drop(SegmentRecord::read(key, &value)),
            Key::Appended { .. } => drop(AppendedRecord::read(key, &value)),
            Key::UnsentNote { .. } | Key::RelayedNote { .. } => drop(NoteRecord::read(key, &value)),
        }
    }
}

fn sealed(key: &[u8], record: &[u8]) -> Vec<u8> {
    let mut value = [&[1], record].concat();
    let mut hasher = Sha256::new();
    hasher.update((key.len() as u64).to_be_bytes());
    hasher.update(key);
    hasher.update(&value);
    value.extend(&hasher.finalize()[..4]);
    value
}
