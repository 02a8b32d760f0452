//! Frames and chunks made to make a reader allocate: it takes at most four times their length, and a
//! constant.
//!
//! A binary of its own: it counts what this process allocates.
#![allow(unsafe_code)] // An allocator cannot be written without.

use backscroll_core::change::{ChangeView, DocKind};
use backscroll_core::window::Window;
use backscroll_core::wire::{decode_client, decode_relay};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on unchanged; only numbers are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(held, Relaxed);
        // SAFETY: the caller keeps what `alloc` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the pointer came from `alloc` above, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const FRAME_BYTES: usize = 1 << 20;
const CONSTANT: usize = 96 * 1_024;

/// What `read` allocates at its peak, given a frame.
fn peak<T>(read: impl Fn(&[u8]) -> T, frame: &[u8]) -> usize {
    let before = HELD.load(Relaxed);
    PEAK.store(before, Relaxed);
    drop(read(frame));
    PEAK.load(Relaxed) - before
}

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

// The only test of this binary: what runs beside it would be counted too.
#[test]
fn hostile_frames_reserve_no_more_than_four_times_their_length() {
    let unknown_field = [0x82, 7, 0xa2, 0, 0x61, b'c', 1];
    let fetch = [0x82, 4, 0xa3, 0, 1, 1, 0x61, b'c', 2];
    let push = [0x82, 3, 0xa6, 0, 1, 1, 0x61, b'c', 2, 0x82, 0, 0, 3, 0, 4, 0, 5];
    let channels = [0x82, 0x18, 25, 0xa2, 0];
    let channel = [0xa3, 0, 0x61, b'c', 1, 0, 2, 0];
    let frames = [
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
        ("a long name", filled(&[0x82, 7, 0xa1, 0, 0x7a, 0, 0x0f, 0xff, 0xf7], b"x")),
    ];
    let chunk = chunk_of_one_key();
    let read_change =
        |bytes: &[u8]| ChangeView::read(bytes, Window::covering(0, 0), DocKind::Annotations);
    let error = read_change(&chunk).expect_err("no change has a key twice").to_string();
    assert_eq!(error, "a key that comes twice has no place in this document");
    let used = peak(read_change, &chunk);
    assert!(used <= 4 * chunk.len() + CONSTANT, "{used} bytes for a chunk of {}", chunk.len());
    let mut read = 0;
    for (name, frame) in &frames {
        let peak = peak(decode_client, frame).max(peak(decode_relay, frame));
        let allowed = 4 * frame.len() + CONSTANT;
        assert!(peak <= allowed, "{name}: {peak} bytes for a frame of {}", frame.len());
        read += u32::from(matches!(decode_relay(frame), Ok(Some(_))));
    }
    let real = segment_of_tails(200);
    let peak = peak(decode_relay, &real);
    assert!((real.len() / 2..2 * real.len()).contains(&peak), "real tails: {peak}");
    assert_eq!(read, 1, "the small tails are a sound frame: what is measured is really read");
}
