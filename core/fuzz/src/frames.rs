//! Frames of both directions, frames in parts, directories and seqs.

use super::script::Script;
use backscroll_core::directory::Directory;
use backscroll_core::wire::{
    Assembler, RelayFrame, decode_client, decode_relay, decode_seqs, encode_client, encode_relay,
    encode_seqs,
};

/// The first byte says what the others are.
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    match script.byte().map(|mode| mode % 5) {
        Some(0) => client_frame(script.rest()),
        Some(1) => relay_frame(script.rest()),
        Some(2) => parts(script),
        Some(3) => directory(script.rest()),
        Some(_) => seqs(script),
        None => {}
    }
}

fn client_frame(bytes: &[u8]) {
    let Ok(Some(frame)) = decode_client(bytes) else { return };
    let encoded = encode_client(&frame);
    assert!(encoded.len() <= bytes.len(), "numbers are written in their shortest form");
    let again = decode_client(&encoded).expect("what was written is read").expect("a frame");
    assert_eq!(again, frame);
    assert_eq!(encode_client(&again), encoded);
}

fn relay_frame(bytes: &[u8]) {
    let Ok(Some(frame)) = decode_relay(bytes) else { return };
    let encoded = encode_relay(&frame);
    assert!(encoded.len() <= bytes.len(), "numbers are written in their shortest form");
    let again = decode_relay(&encoded).expect("what was written is read").expect("a frame");
    assert_eq!(again, frame);
    assert_eq!(encode_relay(&again), encoded);
    match frame {
        RelayFrame::Opened { directory: bytes, .. }
        | RelayFrame::Entries { directory: bytes, .. }
        | RelayFrame::Segment { entry: bytes, .. } => directory(&bytes),
        _ => {}
    }
}

/// A frame cut into parts as the script says comes together again; then whatever follows.
fn parts(mut script: Script<'_>) {
    let (Some(frame), Some(cuts)) = (script.bytes(), script.bytes()) else { return };
    let mut assembler = Assembler::new();
    let mut rest = frame;
    let mut came = None;
    for index in 0_u32.. {
        let cut = cuts
            .get(usize::try_from(index).expect("small"))
            .map_or(rest.len(), |cut| (1 + usize::from(*cut)).min(rest.len()));
        let (piece, after) = rest.split_at(cut);
        rest = after;
        let part = RelayFrame::Part { id: 7, index, last: rest.is_empty(), bytes: piece.to_vec() };
        let read = assembler.read(&encode_relay(&part));
        if rest.is_empty() {
            came = Some(read);
            break;
        }
        assert!(matches!(read, Ok(None)), "a part before the last");
    }
    match (decode_relay(frame), came.expect("a last part")) {
        (Ok(Some(RelayFrame::Part { .. })), came) => assert!(came.is_err(), "a part in parts"),
        (Ok(whole), came) => assert_eq!(came.expect("the frame in parts"), whole),
        (Err(_), came) => assert!(came.is_err(), "what is no frame whole is none in parts"),
    }
    while let Some(bytes) = script.bytes() {
        if assembler.read(bytes).is_err() {
            return;
        }
    }
}

fn directory(bytes: &[u8]) {
    let Ok(directory) = Directory::decode(bytes) else { return };
    assert_eq!(directory.encode(), bytes, "a directory has one spelling");
    let counted: u64 = directory.iter().map(|(_, entry)| entry.messages).sum();
    assert_eq!(directory.total(), counted);
    let mut merged = directory.difference(directory.latest_seq() / 2);
    merged.merge(&directory);
    assert_eq!(merged, directory);
}

fn seqs(mut script: Script<'_>) {
    let Some(len) = script.u16() else { return };
    let bytes = script.rest();
    if let Ok(seqs) = decode_seqs(bytes, usize::from(len)) {
        assert_eq!(encode_seqs(seqs), bytes, "seqs have one spelling");
    }
}
