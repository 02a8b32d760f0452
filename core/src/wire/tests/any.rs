//! Any frame comes back; any bytes are read or refused, and what is read means one thing.

use super::super::*;
use super::{
    CHUNK, ChangeHash, DocKind, EPHEMERAL_BYTES_MAX, MessageId, ROWS_MAX, SEQ_MAX, Window,
};
use crate::limits::{FETCH_WINDOWS_MAX, LATE_RUNS_MAX};
use crate::message::TIME_MS_MAX;
use crate::window::LEVEL_LAST;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn name() -> impl Strategy<Value = String> {
    "\\PC{1,60}"
}

fn bytes(len: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..len)
}

fn chunk() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), CHUNK.len()..300)
}

fn seq() -> impl Strategy<Value = u64> {
    prop_oneof![1..5_000_u64, 1..=SEQ_MAX]
}

fn id() -> impl Strategy<Value = MessageId> {
    (0..=TIME_MS_MAX, any::<u128>()).prop_map(|(ms, tail)| MessageId::from_parts(ms, tail))
}

fn window() -> impl Strategy<Value = Window> {
    (0..=LEVEL_LAST, 0..=TIME_MS_MAX).prop_map(|(level, ms)| Window::covering(level, ms))
}

fn doc() -> impl Strategy<Value = DocKind> {
    prop_oneof![Just(DocKind::Messages), Just(DocKind::Annotations)]
}

fn epoch() -> impl Strategy<Value = Epoch> {
    any::<[u8; 16]>().prop_map(Epoch)
}

fn cursor() -> impl Strategy<Value = Cursor> {
    (epoch(), seq(), any::<[u8; 32]>()).prop_map(|(epoch, seq, hash)| Cursor {
        epoch,
        seq,
        hash: ChangeHash(hash),
    })
}

fn runs() -> impl Strategy<Value = Vec<LateRun>> {
    let run = (id(), id(), 1..u32::MAX).prop_map(|(one, two, count)| LateRun {
        first: one.min(two),
        last: one.max(two),
        count,
    });
    vec(run, 0..LATE_RUNS_MAX.min(10))
}

fn have() -> impl Strategy<Value = Have> {
    (window(), any::<u32>(), seq(), seq()).prop_map(
        |(window, generation, messages_seq, annotations_seq)| Have {
            window,
            generation,
            messages_seq,
            annotations_seq,
        },
    )
}

fn saved() -> impl Strategy<Value = Option<SavedDoc>> {
    option::of(
        (0..5_000_u64, bytes(300)).prop_map(|(upto_seq, bytes)| SavedDoc { upto_seq, bytes }),
    )
}

fn tail() -> impl Strategy<Value = Vec<Tail>> {
    vec((1..500_u64, chunk(), bytes(4)), 0..8).prop_map(|changes| {
        let mut last = 0;
        let mut next = |(step, chunk, late)| {
            last += step;
            Tail { seq: last, chunk, late }
        };
        changes.into_iter().map(&mut next).collect()
    })
}

fn client_frame() -> impl Strategy<Value = ClientFrame> {
    let token = option::of("[ -~]{0,60}".prop_map(Token));
    prop_oneof![
        (any::<u32>(), name(), token).prop_map(|(version, user, token)| ClientFrame::Hello {
            version,
            user,
            token
        }),
        (name(), option::of(cursor()), 0..=u32::try_from(ROWS_MAX).unwrap())
            .prop_map(|(channel, cursor, newest)| ClientFrame::Open { channel, cursor, newest }),
        (1..u64::MAX, name(), window(), any::<u32>(), doc(), vec(chunk(), 0..6)).prop_map(
            |(reference, channel, window, generation, doc, chunks)| ClientFrame::Push {
                reference,
                channel,
                window,
                generation,
                doc,
                chunks,
            }
        ),
        (1..u64::MAX, name(), vec(have(), 0..FETCH_WINDOWS_MAX)).prop_map(
            |(reference, channel, windows)| ClientFrame::Fetch { reference, channel, windows }
        ),
        (name(), epoch(), seq(), option::of(id()), option::of(seq()), runs()).prop_map(
            |(channel, epoch, seq, read, delivered, unseen_late)| ClientFrame::Mark {
                channel,
                epoch,
                seq,
                read,
                delivered,
                unseen_late,
            }
        ),
        (name(), bytes(EPHEMERAL_BYTES_MAX))
            .prop_map(|(channel, payload)| ClientFrame::Ephemeral { channel, payload }),
        name().prop_map(|channel| ClientFrame::Close { channel }),
        option::of(name()).prop_map(|after| ClientFrame::Channels { after }),
    ]
}

fn segment() -> impl Strategy<Value = RelayFrame> {
    let docs = (saved(), bytes(99), bytes(9), tail(), saved(), tail());
    (any::<u64>(), name(), window(), 5_000..=SEQ_MAX, bytes(50), docs).prop_map(
        |(reference, channel, window, as_of, entry, docs)| {
            let (messages, seqs, late, message_tail, annotations, annotation_tail) = docs;
            RelayFrame::Segment {
                reference,
                channel,
                window,
                as_of,
                entry,
                messages,
                seqs,
                late,
                message_tail,
                annotations,
                annotation_tail,
            }
        },
    )
}

fn code() -> impl Strategy<Value = Code> {
    prop_oneof![
        Just(Code::BadChange),
        Just(Code::Duplicate),
        "[a-z_]{1,20}".prop_map(|text| {
            let Ok(code) = text.parse();
            code
        }),
    ]
}

fn session_frame() -> impl Strategy<Value = RelayFrame> {
    let limits = any::<[u32; 4]>().prop_map(|[frame_bytes, chunk_bytes, push_chunks, windows]| {
        WireLimits { frame_bytes, chunk_bytes, push_chunks, fetch_windows: windows }
    });
    let info = (name(), any::<u64>(), seq(), option::of(any::<u64>()))
        .prop_map(|(name, total, seq, newest_at)| ChannelInfo { name, total, seq, newest_at });
    prop_oneof![
        (any::<u32>(), epoch(), any::<u64>(), limits).prop_map(
            |(version, epoch, server_time_ms, limits)| RelayFrame::Welcome {
                version,
                epoch,
                server_time_ms,
                limits,
            }
        ),
        (code(), any::<String>(), option::of(name()), option::of(any::<u64>())).prop_map(
            |(code, text, channel, reference)| RelayFrame::Error { code, text, channel, reference }
        ),
        (vec(info, 0..20), any::<bool>())
            .prop_map(|(list, more)| RelayFrame::Channels { list, more }),
        (any::<u64>(), any::<u32>(), any::<bool>(), bytes(999))
            .prop_map(|(id, index, last, bytes)| RelayFrame::Part { id, index, last, bytes }),
    ]
}

fn channel_frame() -> impl Strategy<Value = RelayFrame> {
    let flags = (any::<bool>(), any::<bool>());
    prop_oneof![
        (name(), cursor(), flags, bytes(99), 0..=SEQ_MAX, runs()).prop_map(
            |(channel, head, (resumed, late_complete), directory, total, late)| {
                RelayFrame::Opened { channel, head, resumed, directory, total, late, late_complete }
            }
        ),
        segment(),
        (name(), seq(), window(), any::<u32>(), doc(), chunk(), bytes(9)).prop_map(
            |(channel, seq, window, generation, doc, chunk, late)| RelayFrame::Changes {
                channel,
                seq,
                window,
                generation,
                doc,
                chunk,
                late,
            }
        ),
        (any::<u64>(), name(), vec(seq(), 0..20))
            .prop_map(|(reference, channel, seqs)| RelayFrame::Ack { reference, channel, seqs }),
        (any::<u64>(), name(), any::<u32>(), code(), any::<String>()).prop_map(
            |(reference, channel, chunk_index, code, text)| RelayFrame::Nack {
                reference,
                channel,
                chunk_index,
                code,
                text,
            }
        ),
        (name(), name(), seq(), option::of(id()), option::of(seq()), runs()).prop_map(
            |(channel, user, seq, read, delivered, unseen_late)| RelayFrame::Marks {
                channel,
                user,
                seq,
                read,
                delivered,
                unseen_late,
            }
        ),
        (name(), name(), bytes(EPHEMERAL_BYTES_MAX)).prop_map(|(channel, user, payload)| {
            RelayFrame::Ephemeral { channel, user, payload }
        }),
        (name(), bytes(99))
            .prop_map(|(channel, directory)| RelayFrame::Entries { channel, directory }),
    ]
}

fn relay_frame() -> impl Strategy<Value = RelayFrame> {
    prop_oneof![session_frame(), channel_frame()]
}

/// What a bad line or a bad program does to bytes: changes, cuts, insertions.
fn spoil(mut bytes: Vec<u8>, changes: Vec<(prop::sample::Index, u8, u8)>) -> Vec<u8> {
    for (at, kind, byte) in changes {
        if bytes.is_empty() {
            break;
        }
        let at = at.index(bytes.len());
        match kind % 4 {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, byte),
            _ => bytes[at] = byte,
        }
    }
    bytes
}

fn spoiling() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, u8)>> {
    vec(any::<(prop::sample::Index, u8, u8)>(), 1..4)
}

proptest! {
    #[test]
    fn any_client_frame_comes_back(frame in client_frame()) {
        prop_assert_eq!(decode_client(&encode_client(&frame)).unwrap(), Some(frame));
    }

    #[test]
    fn any_relay_frame_comes_back(frame in relay_frame()) {
        prop_assert_eq!(decode_relay(&encode_relay(&frame)).unwrap(), Some(frame));
    }

    #[test]
    fn spoilt_client_frames_are_refused_or_mean_one_thing(
        frame in client_frame(),
        changes in spoiling(),
    ) {
        let bytes = spoil(encode_client(&frame), changes);
        if let Ok(Some(read)) = decode_client(&bytes) {
            prop_assert_eq!(decode_client(&encode_client(&read)).unwrap(), Some(read));
        }
    }

    #[test]
    fn spoilt_relay_frames_are_refused_or_mean_one_thing(
        frame in relay_frame(),
        changes in spoiling(),
    ) {
        let bytes = spoil(encode_relay(&frame), changes);
        let _ = Assembler::new().read(&bytes);
        if let Ok(Some(read)) = decode_relay(&bytes) {
            prop_assert_eq!(decode_relay(&encode_relay(&read)).unwrap(), Some(read));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in bytes(200)) {
        let _ = (decode_client(&bytes), decode_relay(&bytes));
    }
}
