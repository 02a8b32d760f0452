//! Records come back as they were written, and nothing else is taken for one.

use super::*;
use crate::annotation::{AnnotationKey, AnnotationValue, Edit};
use crate::change::MessageAuthor;
use crate::segment::SegmentDoc;
use crate::storage::{NoteRecord, SeenRecord, UnseenRecord, UnsureRecord};
use proptest::prelude::*;

const T0: u64 = 1_700_000_000_000;

fn window() -> Window {
    Window::covering(3, T0)
}

fn id(tail: u128) -> MessageId {
    MessageId::from_parts(T0, tail)
}

fn channel() -> String {
    "#room".to_owned()
}

fn entry() -> Entry {
    let mut entry = Entry::one(2, T0, 30);
    entry.message_doc.record(7, &ChangeHash([3; 32]));
    entry
}

fn cursor() -> Cursor {
    Cursor { epoch: Epoch([1; 16]), seq: 9, hash: ChangeHash([2; 32]) }
}

fn chunk() -> Vec<u8> {
    let body = Content::text("ada", "hello").to_body().unwrap();
    MessageAuthor::new(window(), ActorId16([7; 16])).write(&[(id(1), body)]).unwrap().chunk
}

fn own(stage: OwnStage) -> OwnRecord {
    let content = Content::text("ada", "hello");
    OwnRecord { content, written_ms: T0, window: Some(window()), stage }
}

fn written_change() -> WrittenChange {
    let chunk = chunk();
    let view = ChangeView::read(&chunk, window(), DocKind::Messages).unwrap();
    let body_len = Content::text("ada", "hello").to_body().unwrap().len() as u64;
    WrittenChange { hash: view.hash, actor: view.actor, position: 1, chunk, body_len }
}

/// One record of each kind, with what reads it back.
fn samples() -> Vec<StoredRecord> {
    let channel_key = Key::Channel { channel: channel() };
    let record = ChannelRecord {
        head: cursor(),
        directory: Directory::of_one(window(), entry()),
        as_of_ms: T0,
        pushed_epoch: Epoch([4; 16]),
    };
    let mut stored = vec![record.to_stored(&channel_key)];
    let known = UnseenRecord::Known(vec![(id(1), 7), (id(2), 0)]);
    let block = UnseenRecord::Block {
        first: id(3),
        last: id(9),
        count: 5,
        since_seq: 4,
        upto_seq: 9,
        listed: vec![window()],
    };
    let unsure = UnsureRecord { since_seq: 2, upto_seq: 5, windows: vec![window()] };
    let record = SeenRecord {
        seen_to: id(3),
        read: Some(id(2)),
        unseen: vec![known, block],
        told_to: Some(cursor()),
        unsure: vec![unsure],
        fresh_seq: Some(6),
    };
    stored.push(record.to_stored(&Key::Seen { channel: channel() }));
    let record = SummaryRecord { total: 5, unread: 2, newest_ms: Some(T0) };
    stored.push(record.to_stored(&Key::Summary { channel: channel() }));
    let stages = [
        OwnStage::Held { not_before_ms: 4 },
        OwnStage::Written(written_change()),
        OwnStage::Failed { code: "forbidden".to_owned() },
    ];
    for stage in stages {
        stored.push(own(stage).to_stored(&Key::Unsent { channel: channel(), id: id(1) }));
    }
    let (user, emoji) = ("ada".to_owned(), "+1".to_owned());
    let notes = [
        (AnnotationKey::Edit { id: id(1) }, AnnotationValue::Edit(Edit::text("hi", T0))),
        (AnnotationKey::Delete { id: id(1) }, AnnotationValue::Delete),
        (AnnotationKey::Reaction { id: id(1), user, emoji }, AnnotationValue::Reaction(true)),
    ];
    for (note, value) in notes {
        let record = NoteRecord { value };
        let key = Key::UnsentNote { channel: channel(), note: note.clone() };
        stored.push(record.to_stored(&key));
        stored.push(record.to_stored(&Key::RelayedNote { channel: channel(), note }));
    }
    let record = SegmentRecord {
        epoch: Epoch([1; 16]),
        entry: entry(),
        messages: SegmentDoc::new(window(), DocKind::Messages).save(),
        annotations: None,
        facts: vec![Fact { seq: 7, late: true, arrived_ms: Some(T0) }],
    };
    stored.push(record.to_stored(&Key::Segment { channel: channel(), window: window() }));
    let record = AppendedRecord {
        epoch: Epoch([1; 16]),
        entry: entry(),
        chunk: chunk(),
        late: vec![1],
        arrived_ms: None,
    };
    let key =
        Key::Appended { channel: channel(), window: window(), seq: 8, doc: DocKind::Messages };
    stored.push(record.to_stored(&key));
    stored
}

/// Reads whatever a key says it is, and writes it again.
fn again(key: &Key, value: &[u8]) -> Result<StoredRecord, RecordError> {
    Ok(match key {
        Key::Summary { .. } => SummaryRecord::read(key, value)?.to_stored(key),
        Key::Channel { .. } => ChannelRecord::read(key, value)?.to_stored(key),
        Key::Seen { .. } => SeenRecord::read(key, value)?.to_stored(key),
        Key::Unsent { .. } | Key::Relayed { .. } => OwnRecord::read(key, value)?.to_stored(key),
        Key::UnsentNote { .. } | Key::RelayedNote { .. } => {
            NoteRecord::read(key, value)?.to_stored(key)
        }
        Key::Segment { .. } => SegmentRecord::read(key, value)?.to_stored(key),
        Key::Appended { .. } => AppendedRecord::read(key, value)?.to_stored(key),
    })
}

#[test]
fn every_kind_of_record_comes_back_and_is_of_its_key_only() {
    let samples = samples();
    for record in &samples {
        let (key, value) = (Key::decode(&record.key).unwrap(), record.value.clone().unwrap());
        assert_eq!(again(&key, &value).unwrap(), *record);
        for other in samples.iter().filter(|other| other.key != record.key) {
            assert!(again(&Key::decode(&other.key).unwrap(), &value).is_err());
        }
    }
}

#[test]
fn a_written_message_is_read_from_its_change() {
    let key = Key::Relayed { channel: channel(), id: id(1) };
    let record = own(OwnStage::Written(written_change()));
    let value = record.to_stored(&key).value.unwrap();
    assert_eq!(OwnRecord::read(&key, &value).unwrap(), record);
    // A change of another message is no record of this one.
    let other = Key::Relayed { channel: channel(), id: id(2) };
    let value = record.to_stored(&other).value.unwrap();
    assert!(matches!(OwnRecord::read(&other, &value), Err(RecordError::Contradiction("id"))));
}

proptest! {
    #[test]
    fn changed_bytes_are_refused_and_never_panic(
        which in 0..8_usize,
        at: prop::sample::Index,
        flip in 1..=255_u8,
        cut: prop::sample::Index,
    ) {
        let record = &samples()[which];
        let (key, value) = (Key::decode(&record.key).unwrap(), record.value.clone().unwrap());
        let mut changed = value.clone();
        changed[at.index(value.len())] ^= flip;
        prop_assert!(again(&key, &changed).is_err());
        prop_assert!(again(&key, &value[..cut.index(value.len())]).is_err());
    }

    #[test]
    fn any_cbor_under_a_right_checksum_is_read_or_refused(
        which in 0..8_usize,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let record = &samples()[which];
        let (key, value) = (Key::decode(&record.key).unwrap(), record.value.clone().unwrap());
        let mut body = open(&record.key, &value).unwrap().to_vec();
        for (at, byte) in edits {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if let Ok(read) = again(&key, &seal(&record.key, &body)) {
            let value = read.value.clone().unwrap();
            prop_assert_eq!(again(&key, &value).unwrap(), read);
        }
    }
}
