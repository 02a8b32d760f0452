//! Frames against the bytes that the document prints, against each other, and against bad bytes.

use super::*;
use crate::change::{ChangeHash, DocKind};
use crate::directory::{DocMark, Entry};
use crate::limits::{EPHEMERAL_BYTES_MAX, FRAME_BYTES_MAX, ROWS_MAX, SEQ_MAX, TOKEN_BYTES_MAX};
use crate::message::MessageId;
use crate::window::Window;

mod any;

/// The normative description, whose examples are read here.
const DOCUMENT: &str = include_str!("../../docs/wire-format.md");

const CHUNK: &[u8; 26] = b"abcdefghijklmnopqrstuvwxyz";

fn id(tail: u128) -> MessageId {
    MessageId::from_parts(1_700_000_000_000, tail)
}

fn channel() -> String {
    "#live".to_owned()
}

fn window() -> Window {
    Window::covering(5, 1_700_000_000_000)
}

fn run() -> LateRun {
    LateRun { first: id(1), last: id(2), count: 2 }
}

fn cursor() -> Cursor {
    Cursor { epoch: Epoch([0xee; 16]), seq: 300, hash: ChangeHash([0xcc; 32]) }
}

fn directory() -> Vec<u8> {
    let mut entry = Entry::one(0, 1_700_000_000_000, 60);
    entry.message_doc = DocMark { last_seq: 300, digest: 0xcccc_cccc_cccc_cccc };
    crate::directory::Directory::of_one(window(), entry).encode()
}

fn client_examples() -> Vec<(&'static str, ClientFrame)> {
    let have = Have { window: window(), generation: 0, messages_seq: 300, annotations_seq: 0 };
    vec![
        (
            "hello",
            ClientFrame::Hello {
                version: 1,
                user: "ada".to_owned(),
                token: Some(Token("secret".to_owned())),
            },
        ),
        ("open", ClientFrame::Open { channel: channel(), cursor: Some(cursor()), newest: 50 }),
        (
            "push",
            ClientFrame::Push {
                reference: 7,
                channel: channel(),
                window: window(),
                generation: 0,
                doc: DocKind::Messages,
                chunks: vec![CHUNK.to_vec()],
            },
        ),
        ("fetch", ClientFrame::Fetch { reference: 8, channel: channel(), windows: vec![have] }),
        (
            "mark",
            ClientFrame::Mark {
                channel: channel(),
                epoch: Epoch([0xee; 16]),
                seq: 300,
                read: Some(id(3)),
                delivered: Some(299),
                unseen_late: vec![run(), LateRun { first: id(5), last: id(9), count: 0 }],
            },
        ),
        ("ephemeral", ClientFrame::Ephemeral { channel: channel(), payload: b"typing".to_vec() }),
        ("close", ClientFrame::Close { channel: channel() }),
        ("channels", ClientFrame::Channels { after: Some(channel()) }),
    ]
}

fn segment_example() -> RelayFrame {
    let tail = |seq, late: &[u8]| Tail { seq, chunk: CHUNK.to_vec(), late: late.to_vec() };
    RelayFrame::Segment {
        reference: 8,
        channel: channel(),
        window: window(),
        as_of: 301,
        entry: directory(),
        messages: Some(SavedDoc { upto_seq: 299, bytes: b"saved".to_vec() }),
        seqs: encode_seqs([299, 298, 120]),
        late: encode_late([false, false, true]),
        message_tail: vec![tail(300, &[1])],
        annotations: Some(SavedDoc { upto_seq: 290, bytes: b"saved".to_vec() }),
        annotation_tail: vec![tail(301, &[])],
    }
}

fn relay_examples() -> Vec<(&'static str, RelayFrame)> {
    let limits = WireLimits {
        frame_bytes: 1 << 20,
        chunk_bytes: 1 << 18,
        push_chunks: 256,
        fetch_windows: 64,
    };
    let opened = RelayFrame::Opened {
        channel: channel(),
        head: cursor(),
        resumed: true,
        directory: directory(),
        total: 250,
        late: vec![run()],
        late_complete: true,
    };
    let changes = RelayFrame::Changes {
        channel: channel(),
        seq: 300,
        window: window(),
        generation: 0,
        doc: DocKind::Messages,
        chunk: CHUNK.to_vec(),
        late: encode_late([true]),
    };
    let nack = RelayFrame::Nack {
        reference: 7,
        channel: channel(),
        chunk_index: 1,
        code: Code::IdTaken,
        text: "taken".to_owned(),
    };
    let welcome = RelayFrame::Welcome {
        version: 1,
        epoch: Epoch([0xee; 16]),
        server_time_ms: 1_700_000_000_000,
        limits,
    };
    let mut examples = vec![
        ("welcome", welcome),
        ("opened", opened),
        ("segment", segment_example()),
        ("changes", changes),
        ("ack", RelayFrame::Ack { reference: 7, channel: channel(), seqs: vec![300] }),
        ("nack", nack),
    ];
    examples.extend(small_relay_examples());
    examples
}

fn small_relay_examples() -> Vec<(&'static str, RelayFrame)> {
    let marks = RelayFrame::Marks {
        channel: channel(),
        user: "ada".to_owned(),
        seq: 300,
        read: Some(id(3)),
        delivered: Some(299),
        unseen_late: vec![run()],
    };
    let ephemeral = RelayFrame::Ephemeral {
        channel: channel(),
        user: "ada".to_owned(),
        payload: b"typing".to_vec(),
    };
    let error = RelayFrame::Error {
        code: Code::NotOpen,
        text: "open it".to_owned(),
        channel: Some(channel()),
        reference: Some(8),
    };
    let info =
        ChannelInfo { name: channel(), total: 250, seq: 300, newest_at: Some(1_700_000_000_000) };
    vec![
        ("marks", marks),
        ("ephemeral from relay", ephemeral),
        ("error", error),
        ("channels from relay", RelayFrame::Channels { list: vec![info], more: false }),
        ("entries", RelayFrame::Entries { channel: channel(), directory: directory() }),
        ("part", RelayFrame::Part { id: 1, index: 0, last: false, bytes: b"first half".to_vec() }),
    ]
}

/// The bytes of the document's example `name`: a block of hex, `#` begins a comment.
fn documented(name: &str) -> Vec<u8> {
    let begin = format!("```golden {name}\n");
    let from = DOCUMENT.find(&begin).unwrap_or_else(|| panic!("no example {name}")) + begin.len();
    let block = DOCUMENT[from..].split("```").next().unwrap();
    let digits: String = block
        .lines()
        .flat_map(|line| line.split('#').next().unwrap().chars())
        .filter(|c| !c.is_whitespace())
        .collect();
    (0..digits.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap())
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_frame_has_the_documented_bytes() {
    for (name, frame) in client_examples() {
        assert_eq!(hex(&encode_client(&frame)), hex(&documented(name)), "{name}");
        assert_eq!(decode_client(&documented(name)).unwrap(), Some(frame), "{name}");
    }
    for (name, frame) in relay_examples() {
        assert_eq!(hex(&encode_relay(&frame)), hex(&documented(name)), "{name}");
        assert_eq!(decode_relay(&documented(name)).unwrap(), Some(frame), "{name}");
    }
    let examples = client_examples().len() + relay_examples().len();
    assert_eq!(DOCUMENT.matches("```golden ").count(), examples, "each example is checked");
}

#[test]
fn every_code_and_close_code_is_documented() {
    for code in ["duplicate", "bad_frame", "bad_change", "stale_generation", "not_open", "retry"] {
        assert!(DOCUMENT.contains(&format!("`{code}`")), "{code}");
        assert!(!matches!(code.parse(), Ok(Code::Unknown(_))), "{code}");
    }
    for code in [4000, 4001, 4002, 4003, 4500, 4501, 4502] {
        assert!(DOCUMENT.contains(&format!("| {code} |")), "{code}");
        assert!(CloseCode::from_u16(code).is_some());
    }
}

fn client_error(bytes: &[u8]) -> WireError {
    decode_client(bytes).expect_err("must be refused")
}

#[test]
fn unknown_types_are_refused_or_skipped_by_their_number() {
    for (frame_type, code) in [(0, Code::BadRequest), (9, Code::BadRequest), (16, Code::BadRequest)]
    {
        assert_eq!(client_error(&[0x82, frame_type, 0xa0]).code(), code);
    }
    assert_eq!(client_error(&[0x82, 0x18, 127, 0xa0]).code(), Code::BadRequest);
    assert_eq!(decode_client(&[0x82, 0x18, 128, 0xa0]).unwrap(), None);
    assert_eq!(decode_client(&[0x83, 0x18, 200, 1, 2]).unwrap(), None);
    assert_eq!(decode_relay(&[0x82, 0x19, 1, 0, 0xff]).unwrap(), None);
    assert!(matches!(decode_relay(&[0x82, 1, 0xa0]), Err(WireError::UnknownType(1))));
}

#[test]
fn unknown_fields_are_skipped() {
    let close = [&[0x82, 7, 0xa2, 0, 0x61][..], b"c", &[0x18, 99, 0x82, 0xa1, 0, 0xf6, 0xf9, 0, 0]];
    let frame = ClientFrame::Close { channel: "c".to_owned() };
    assert_eq!(decode_client(&close.concat()).unwrap(), Some(frame));
}

#[test]
fn what_is_no_frame_is_bad_frame() {
    for (name, bytes) in [
        ("empty", &[][..]),
        ("no array", &[0xa0]),
        ("no body", &[0x81, 7]),
        ("three items", &[0x83, 7, 0xa1, 0, 0x61, b'c', 0]),
        ("type is text", &[0x82, 0x61, b'7', 0xa0]),
        ("missing field", &[0x82, 7, 0xa0]),
        ("bytes after it", &[0x82, 7, 0xa1, 0, 0x61, b'c', 0]),
        ("cut off", &[0x82, 7, 0xa1, 0, 0x62, b'c']),
        ("key twice", &[0x82, 7, 0xa2, 0, 0x61, b'c', 0, 0x61, b'd']),
        ("keys descend", &[0x82, 8, 0xa2, 1, 0, 0, 0x61, b'd']),
        ("key is text", &[0x82, 7, 0xa2, 0, 0x61, b'c', 0x61, b'd', 0]),
        ("indefinite map", &[0x82, 7, 0xbf, 0, 0x61, b'c', 0xff]),
        ("indefinite text", &[0x82, 7, 0xa1, 0, 0x7f, 0x61, b'c', 0xff]),
        ("tag", &[0x82, 7, 0xa2, 0, 0x61, b'c', 1, 0xc1, 0]),
        ("not UTF-8", &[0x82, 7, 0xa1, 0, 0x61, 0xff]),
    ] {
        assert_eq!(client_error(bytes).code(), Code::BadFrame, "{name}");
    }
    let mut deep = vec![0x82, 7, 0xa2, 0, 0x61, b'c', 1];
    deep.extend([0x81; 100_000]);
    deep.push(0);
    assert_eq!(client_error(&deep).code(), Code::BadFrame, "nested");
}

#[test]
fn windows_ids_and_documents_that_do_not_exist_are_bad_frames() {
    let push = encode_client(&client_examples()[2].1);
    let at = push.windows(3).position(|bytes| bytes == [0x02, 0x82, 0x05]).unwrap() + 2;
    let with = |at: usize, byte| {
        let mut bytes = push.clone();
        bytes[at] = byte;
        bytes
    };
    assert_eq!(client_error(&with(at, 12)).code(), Code::BadFrame, "level");
    let doc = push.windows(3).position(|bytes| bytes == [0x04, 0x00, 0x05]).unwrap() + 1;
    assert_eq!(client_error(&with(doc, 2)).code(), Code::BadFrame, "document");
    let mark = encode_client(&client_examples()[4].1);
    let version = mark.windows(2).position(|bytes| bytes == [0x70, 0x00]).unwrap();
    let mut bytes = mark;
    bytes[version] = 0x40;
    assert_eq!(client_error(&bytes).code(), Code::BadFrame, "id of version 4");
}

#[test]
fn fields_out_of_bounds_have_their_codes() {
    let code = |frame: ClientFrame| client_error(&encode_client(&frame)).code();
    let close = |channel: String| ClientFrame::Close { channel };
    assert_eq!(code(close(String::new())), Code::BadChannel);
    assert_eq!(code(close("x".repeat(256))), Code::BadChannel);
    assert!(decode_client(&encode_client(&close("x".repeat(255)))).is_ok());
    let hello = |user: &str, token: usize| ClientFrame::Hello {
        version: 1,
        user: user.to_owned(),
        token: Some(Token("x".repeat(token))),
    };
    assert_eq!(code(hello("", 1)), Code::BadRequest);
    assert_eq!(code(hello("ada", TOKEN_BYTES_MAX + 1)), Code::BadRequest);
    let open = |seq, newest| ClientFrame::Open {
        channel: channel(),
        cursor: Some(Cursor { seq, ..cursor() }),
        newest,
    };
    assert_eq!(code(open(SEQ_MAX + 1, 1)), Code::BadRequest);
    assert_eq!(code(open(1, u32::try_from(ROWS_MAX).unwrap() + 1)), Code::BadRequest);
    let fetch = |reference, windows: usize| ClientFrame::Fetch {
        reference,
        channel: channel(),
        windows: vec![
            Have { window: window(), generation: 0, messages_seq: 0, annotations_seq: 0 };
            windows
        ],
    };
    assert_eq!(code(fetch(0, 1)), Code::BadRequest);
    assert!(decode_client(&encode_client(&fetch(1, 64))).is_ok());
    assert_eq!(code(fetch(1, 65)), Code::BadFrame, "a list beyond its bound is not read");
    let mark = |first, last, count| ClientFrame::Mark {
        channel: channel(),
        epoch: Epoch([0xee; 16]),
        seq: 1,
        read: None,
        delivered: None,
        unseen_late: vec![LateRun { first: id(first), last: id(last), count }],
    };
    assert!(decode_client(&encode_client(&mark(1, 2, 0))).is_ok(), "some, if any");
    assert_eq!(code(mark(2, 1, 1)), Code::BadRequest);
    let payload = vec![0; EPHEMERAL_BYTES_MAX + 1];
    assert_eq!(code(ClientFrame::Ephemeral { channel: channel(), payload }), Code::BadRequest);
}

#[test]
fn a_frame_over_the_limit_is_not_looked_at() {
    let error = client_error(&vec![0xff; FRAME_BYTES_MAX + 1]);
    assert_eq!(error.code(), Code::TooLarge);
    assert_eq!(error.to_string(), "the frame has 1048577 bytes, 1048576 are allowed");
}

#[test]
fn regression_lists_reserve_only_what_can_be_there() {
    // fetch, reference 1, channel c, and windows: an array that claims 2^32 - 1 items.
    let head = [0x82, 4, 0xa3, 0, 1, 1, 0x61, b'c', 2, 0x9a, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(client_error(&head).code(), Code::BadFrame);
}

#[test]
fn a_token_is_not_shown() {
    let (_, hello) = client_examples().remove(0);
    let shown = format!("{hello:?}");
    assert!(shown.contains("ada") && !shown.contains("secret"), "{shown}");
}

#[test]
fn codes_of_later_versions_are_kept() {
    let frame = RelayFrame::Nack {
        reference: 1,
        channel: channel(),
        chunk_index: 0,
        code: Code::Unknown("too_loud".to_owned()),
        text: String::new(),
    };
    assert_eq!(decode_relay(&encode_relay(&frame)).unwrap(), Some(frame));
}
