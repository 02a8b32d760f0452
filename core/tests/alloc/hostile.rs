//! Frames, chunks, bodies and documents made to make a reader allocate.

use crate::decoders::segment_key;
use backscroll_core::change::{ChangeView, DocKind};
use backscroll_core::directory::Entry;
use backscroll_core::segment::SegmentDoc;
use backscroll_core::storage::{Fact, SegmentRecord};
use backscroll_core::window::Window;
use backscroll_core::wire::{Epoch, decode_relay};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use std::io::Write;

const FRAME_BYTES: usize = 1 << 20;

/// `head`, then `item` as often as a frame holds it.
fn filled(head: &[u8], item: &[u8]) -> Vec<u8> {
    let count = (FRAME_BYTES - head.len()) / item.len();
    [head, &item.repeat(count)].concat()
}

/// An array header of four length bytes.
fn array(len: usize) -> Vec<u8> {
    [&[0x9a][..], &u32::try_from(len).expect("encodes").to_be_bytes()].concat()
}

fn segment_of_tails(chunk: usize) -> Vec<u8> {
    let window = [0x82, 0, 0];
    let head =
        [&[0x82, 18, 0xa5, 0, 0, 1, 0x61, b'c', 2][..], &window, &[3, 0x19, 1, 0, 8]].concat();
    let item = |seq: usize| {
        let seq = u16::try_from(seq).expect("encodes").to_be_bytes();
        let item = [&[0xa2, 0, 0x19][..], &seq, &[1, 0x58, u8::try_from(chunk).expect("encodes")]];
        [item.concat(), vec![7; chunk]].concat()
    };
    let count = (FRAME_BYTES - head.len() - 5) / item(1).len();
    let items: Vec<_> = (1..=count.min(60_000)).flat_map(item).collect();
    [head, array(count.min(60_000)), items].concat()
}

/// A chunk of 1,024 ops whose keys are one run of a key that fills the chunk.
fn chunk_of_one_key() -> Vec<u8> {
    const RUN: [u8; 2] = [0x80, 0x08]; // 1,024
    const KEY_LEN: usize = 260_000;
    let leb = |number: usize| {
        let bytes = [number & 0x7f | 0x80, number >> 7 & 0x7f | 0x80, number >> 14];
        bytes.map(|byte| u8::try_from(byte).expect("encodes"))
    };
    let key = [&RUN[..], &leb(KEY_LEN), &b"k".repeat(KEY_LEN)].concat();
    let run_of = |value: u8| [&RUN[..], &[value]].concat();
    // Keys, insert (false), action (set), value (true), replaced ops (none).
    let columns = [
        (0x15, key),
        (0x34, RUN.to_vec()),
        (0x42, run_of(1)),
        (0x56, run_of(2)),
        (0x70, run_of(0)),
    ];
    let mut content = [&[0, 16][..], &[7; 16], &[1, 1, 0, 0, 0, 5]].concat();
    for (spec, column) in &columns {
        content.push(*spec);
        content.extend(leb(column.len()));
    }
    content.extend(columns.into_iter().flat_map(|(_, column)| column));
    [&[0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, 1][..], &leb(content.len()), &content].concat()
}

/// A body of 200 kB whose data is `item` again and again, in one list.
fn body_of(item: &[u8]) -> Vec<u8> {
    let head = [&[0xa3][..], b"\x64from\x61a", b"\x64text\x60", b"\x64data", &[0x9f]].concat();
    [&head[..], &item.repeat((200_000 - head.len()) / item.len()), &[0xff]].concat()
}

/// A map whose head is followed by a field nobody knows: arrays in arrays, of two kinds in turn.
fn unknown_nesting(head: &[u8], key: &[u8]) -> Vec<u8> {
    [head, key, &[0x82, 0x9f, 0].repeat(60_000)].concat()
}

/// A directory of one-message windows on the last level, without digests: as short as entries get.
fn short_entries() -> Vec<u8> {
    const COUNT: [u8; 3] = [0xa0, 0x8d, 0x06];
    [&[11][..], &COUNT, &[0, 1, 0, 0, 0, 0].repeat(100_000)].concat()
}

/// A saved document with one column that unpacks to `len` zero bytes.
fn deflate_bomb(len: usize) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    let zeros = vec![0; 1_000_000];
    for _ in 0..len / zeros.len() {
        encoder.write_all(&zeros).unwrap();
    }
    document(&[(0x57 | 8, encoder.finish().unwrap())])
}

fn document(columns: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let leb = |number: usize| {
        let byte = |shift: usize| u8::try_from(number >> shift & 0x7f).expect("7 bits");
        [byte(0) | 0x80, byte(7) | 0x80, byte(14) | 0x80, byte(21)]
    };
    let mut content = vec![0, 0, 0, u8::try_from(columns.len()).expect("few")];
    for (spec, column) in columns {
        content.push(*spec);
        content.extend(leb(column.len()));
    }
    content.extend(columns.iter().flat_map(|(_, column)| column.iter().copied()));
    [&[0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, 0][..], &leb(content.len()), &content].concat()
}

/// Part frames: `inner` wrapped again and again.
fn nested_parts() -> Vec<u8> {
    let mut frame = vec![0x82, 7, 0xa1, 0, 0x61, b'c'];
    for _ in 0..1_000 {
        let len = u16::try_from(frame.len()).expect("small").to_be_bytes();
        frame = [&[0x82, 0x18, 27, 0xa4, 0, 1, 1, 0, 2, 0xf5, 3, 0x59][..], &len, &frame].concat();
    }
    frame
}

/// The record of a segment without a document, but with facts of its messages.
fn facts_of_nothing(len: usize) -> Vec<u8> {
    let fact = |n: usize| Fact { seq: 1 + n as u64 % 2, late: false, arrived_ms: None };
    let record = SegmentRecord {
        epoch: Epoch([0; 16]),
        entry: Entry::one(0, 1_700_000_000_000, 0),
        messages: Vec::new(),
        annotations: None,
        facts: (0..len).map(fact).collect(),
    };
    let value = record.to_stored(&segment_key()).value.expect("a record");
    value[1..value.len() - 4].to_vec()
}

/// Every input, with a name; each decoder gets each.
pub(crate) fn inputs() -> Vec<(&'static str, Vec<u8>)> {
    let unknown_field = [0x82, 7, 0xa2, 0, 0x61, b'c', 1];
    let fetch = [0x82, 4, 0xa3, 0, 1, 1, 0x61, b'c', 2];
    let push = [0x82, 3, 0xa6, 0, 1, 1, 0x61, b'c', 2, 0x82, 0, 0, 3, 0, 4, 0, 5];
    let channels = [0x82, 0x18, 25, 0xa2, 0];
    let channel = [0xa3, 0, 0x61, b'c', 1, 0, 2, 0];
    vec![
        ("arrays in arrays", filled(&unknown_field, &[0x81])),
        ("indefinite arrays", filled(&unknown_field, &[0x9f])),
        ("indefinite and definite arrays", filled(&unknown_field, &[0x9f, 0x82, 0xbf, 0])),
        ("a wide array", filled(&[&unknown_field[..], &array(FRAME_BYTES - 12)].concat(), &[0])),
        ("claimed windows", [&fetch[..], &array(1 << 31)].concat()),
        ("claimed chunks", [&push[..], &array(1 << 31)].concat()),
        ("empty chunks", filled(&[&push[..], &array(256)].concat(), &[0x40])),
        ("claimed bytes", [&push[..], &[0x81, 0x5b, 0, 0, 0, 0, 0x7f, 0, 0, 0]].concat()),
        ("channels", filled(&[&channels[..], &array(1_000)].concat(), &channel)),
        ("claimed channels", filled(&[&channels[..], &array(100_000)].concat(), &channel)),
        ("small tails", segment_of_tails(26)),
        ("empty tails", segment_of_tails(0)),
        ("real tails", segment_of_tails(200)),
        ("a long name", filled(&[0x82, 7, 0xa1, 0, 0x7a, 0, 0x0f, 0xff, 0xf7], b"x")),
        ("a run of a long key", chunk_of_one_key()),
        ("nested parts", nested_parts()),
        ("a body's unknown field", unknown_nesting(b"\xa3\x64from\x61a\x64text\x60", b"\x61x")),
        ("an edit's unknown field", unknown_nesting(b"\xa2\x69edited_at\x01", b"\x61x")),
        ("a record's unknown field", unknown_nesting(&[0xa2, 0, 0], &[0x18, 99])),
        ("a list of nulls", body_of(&[0xf6])),
        ("a list of lists", body_of(&[0x81, 0xf6])),
        ("a list of objects", body_of(&[0xa1, 0x60, 0xf6])),
        ("a list of small floats", body_of(&[0xf9, 0, 1])),
        ("a list of control characters", body_of(&[0x61, 1])),
        ("short directory entries", short_entries()),
        ("claimed entries", vec![0, 0xff, 0xff, 0x3f, 0, 1, 0, 0, 0, 0]),
        ("facts of nothing", facts_of_nothing(100_000)),
        ("a deflate bomb of 1 MB", deflate_bomb(1_000_000)),
        ("a deflate bomb of 300 MB", deflate_bomb(300_000_000)),
        ("a run of a million rows", document(&[(0x42, vec![0xc0, 0x84, 0x3d, 1])])),
    ]
}

/// What is measured is really read, or refused for what it was made for.
pub(crate) fn are_what_they_say(inputs: &[(&str, Vec<u8>)]) {
    let of = |wanted| &inputs.iter().find(|(name, _)| *name == wanted).unwrap().1;
    for name in ["small tails", "real tails"] {
        assert!(matches!(decode_relay(of(name)), Ok(Some(_))), "{name}");
    }
    let window = Window::covering(0, 0);
    let chunk = ChangeView::read(of("a run of a long key"), window, DocKind::Annotations);
    let error = chunk.expect_err("no change has a key twice").to_string();
    assert_eq!(error, "a key that comes twice has no place in this document");
    let bomb = SegmentDoc::load(window, DocKind::Messages, of("a deflate bomb of 300 MB"));
    let error = bomb.expect_err("no document is as large").to_string();
    assert_eq!(error, "the saved document is larger than any may be");
}
