//! Tests of documents: their bounds, batches and annotations.
#![allow(clippy::disallowed_methods, reason = "stock documents are what we compare with")]

use super::*;
use automerge::ScalarValue;
use automerge::transaction::Transactable;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use std::io::Write as _;

const T0: u64 = 1_700_000_000_000;

fn window() -> Window {
    Window::covering(3, T0)
}

fn actor(n: u8) -> ActorId16 {
    ActorId16([n; 16])
}

fn message(n: u64) -> (MessageId, Vec<u8>) {
    let id = MessageId::from_parts(T0 + n, u128::from(n));
    (id, Content::text("ada", &format!("message {n}")).to_body().unwrap())
}

/// `len` one-message changes of one author.
fn history(len: u64) -> Vec<Vec<u8>> {
    let mut author = MessageAuthor::new(window(), actor(1));
    (0..len).map(|n| author.write(&[message(n)]).unwrap().chunk).collect()
}

fn segment() -> SegmentDoc {
    SegmentDoc::new(window(), DocKind::Messages)
}

fn reaction(n: u64, user: &str) -> AnnotationKey {
    AnnotationKey::Reaction { id: message(n).0, user: user.to_owned(), emoji: "+1".to_owned() }
}

#[test]
fn messages_come_newest_first_and_survive_saving() {
    let mut doc = segment();
    let applied = doc.apply(&history(5)).unwrap();
    assert_eq!((applied.new.len(), applied.known_len), (5, 0));
    let loaded = SegmentDoc::load(window(), DocKind::Messages, &doc.save()).unwrap();
    for doc in [&doc, &loaded] {
        let expected: Vec<_> = (0..5).rev().map(|n| message(n).0).collect();
        assert_eq!(doc.ids(), expected);
        assert!(
            doc.messages().map(|(id, body)| (id, body.into_owned())).eq((0..5).rev().map(message))
        );
        assert_eq!(doc.message(message(3).0).unwrap().text, "message 3");
        assert_eq!(doc.message(message(99).0), None);
    }
    assert_eq!(loaded.digest(), doc.digest());
    assert_eq!(loaded.heads(), doc.heads());
    assert_eq!(loaded.change_hashes(), doc.change_hashes());
    assert_eq!(loaded.actor(actor(1)), doc.actor(actor(1)));
    assert_eq!(loaded.save(), doc.save(), "no random actor gets into a document");
}

#[test]
fn known_changes_are_passed_over() {
    let chunks = history(4);
    let mut doc = segment();
    doc.apply(&chunks[..3]).unwrap();
    let applied = doc.apply(&chunks).unwrap();
    assert_eq!((applied.new.len(), applied.known_len), (1, 3));
    assert_eq!(doc.change_hashes().len(), 4);
}

#[test]
fn a_refused_batch_leaves_the_document_as_it_was() {
    let chunks = history(4);
    let mut doc = segment();
    doc.apply(&chunks[..1]).unwrap();
    let before = (doc.save(), doc.digest());
    let gap = [chunks[1].clone(), chunks[3].clone()];
    let mut damaged = chunks[2].clone();
    damaged[40] ^= 1;
    for (batch, index) in [(&gap[..], 1), (&[chunks[1].clone(), damaged][..], 1)] {
        let error = doc.apply(batch).unwrap_err();
        assert!(matches!(error, SegmentError::Chunk { index: i, .. } if i == index), "{error:?}");
        assert_eq!((doc.save(), doc.digest()), before);
    }
    assert_eq!(doc.apply(&chunks[1..]).unwrap().new.len(), 3, "and takes the right one");
}

#[test]
fn an_actor_written_twice_is_refused() {
    let other = MessageAuthor::new(window(), actor(1)).write(&[message(77)]).unwrap().chunk;
    let mut doc = segment();
    doc.apply(&history(1)).unwrap();
    let error = doc.apply(&[other]).unwrap_err();
    assert!(matches!(error, SegmentError::Chunk { source: ChangeError::History(_), .. }));
}

#[test]
fn annotations_are_what_stock_automerge_commits() {
    let mut ours = SegmentDoc::new(window(), DocKind::Annotations);
    let mut stock = Automerge::new();
    for (n, on) in [(1, true), (2, false), (1, true), (1, false)] {
        let writer = actor(n);
        let key = reaction(0, "ada");
        let authored = ours.annotate(writer, &[(key.clone(), AnnotationValue::Reaction(on))]);
        stock.set_actor(writer.to_automerge());
        let mut tx = stock.transaction();
        tx.put(ROOT, key.to_string(), on).unwrap();
        let hash = tx.commit().0.unwrap();
        let stock_chunk = stock.get_change_by_hash(&hash).unwrap().raw_bytes().to_vec();
        assert_eq!(authored.unwrap().chunk, stock_chunk);
    }
    assert_eq!(ours.save(), stock.save());
    assert!(ours.summary(message(0).0).is_empty(), "switched off in the end");
    assert!(ours.summary(message(1).0).is_empty());
}

#[test]
fn more_heads_than_a_change_may_name_can_be_annotated_over() {
    let mut ours = SegmentDoc::new(window(), DocKind::Annotations);
    let mine = ours.annotate(actor(200), &[(reaction(0, "me"), AnnotationValue::Reaction(true))]);
    assert!(mine.is_ok());
    for n in 0..100 {
        let mut theirs = SegmentDoc::new(window(), DocKind::Annotations);
        let on = [(reaction(0, "all"), AnnotationValue::Reaction(n % 2 == 0))];
        let chunk = theirs.annotate(actor(n), &on).unwrap().chunk;
        ours.apply(&[chunk]).unwrap();
    }
    assert_eq!(ours.heads().len(), 101);
    for _ in 0..3 {
        let both = ["me", "all"].map(|user| (reaction(0, user), AnnotationValue::Reaction(true)));
        let chunk = ours.annotate(actor(200), &both).unwrap().chunk;
        let view = ChangeView::read(&chunk, window(), DocKind::Annotations).unwrap();
        assert!(view.deps.len() <= CHANGE_DEPS_MAX);
    }
    assert_eq!(ours.heads().len(), 1);
    let loaded = SegmentDoc::load(window(), DocKind::Annotations, &ours.save()).unwrap();
    assert_eq!(loaded.digest(), ours.digest());
    assert_eq!(loaded.summary(message(0).0).reactions["+1"].len(), 2);
}

#[test]
fn annotating_is_refused_where_it_cannot_be_read_again() {
    let on = || AnnotationValue::Reaction(true);
    assert!(matches!(segment().annotate(actor(1), &[]), Err(SegmentError::Kind)));
    let mut doc = SegmentDoc::new(window(), DocKind::Annotations);
    let outside = AnnotationKey::Delete { id: MessageId::first_of(T0 * 2) };
    for entries in [
        vec![],
        vec![(outside, AnnotationValue::Delete)],
        vec![(reaction(0, ""), on())],
        vec![(reaction(0, "ada"), AnnotationValue::Delete)],
        vec![(reaction(0, "ada"), on()), (reaction(0, "ada"), on())],
    ] {
        let error = doc.annotate(actor(1), &entries).unwrap_err();
        assert!(matches!(error, SegmentError::Author(_)), "{error:?}");
    }
    assert!(doc.heads().is_empty());
}

#[test]
fn build_makes_what_applying_makes() {
    let messages: Vec<_> = (0..250).map(message).collect();
    let built = SegmentDoc::build(window(), actor(1), messages.chunks(100)).unwrap();
    assert_eq!(built.changes.len(), 3);
    let mut doc = segment();
    let chunks: Vec<_> = built.changes.iter().map(|change| &change.chunk).collect();
    doc.apply(&chunks).unwrap();
    assert_eq!((doc.save(), doc.digest()), (built.document, built.digest));
    assert_eq!(doc.actor(actor(1)), built.author);
    assert_eq!(doc.ids().len(), 250);
}

#[test]
fn ids_are_in_the_order_of_keys_which_ascends_within_one_millisecond() {
    let (older, newer) = ([(T0, 3), (T0, 9)], [(T0 + 1, 2), (T0 + 1, 5), (T0 + 1, 8)]);
    let expected: Vec<_> = newer
        .into_iter()
        .chain(older)
        .map(|(time_ms, tail)| MessageId::from_parts(time_ms, tail))
        .collect();
    let mut entries: Vec<_> = expected.iter().map(|id| (*id, message(1).1)).collect();
    entries.sort_unstable();
    let mut doc = segment();
    doc.apply(&[MessageAuthor::new(window(), actor(1)).write(&entries).unwrap().chunk]).unwrap();
    assert_eq!(doc.ids(), expected);
    assert!(doc.messages().map(|(id, _)| id).eq(expected));
}

#[test]
fn documents_of_other_content_are_refused() {
    let saved = |put: fn(&mut automerge::transaction::Transaction<'_>)| {
        let mut doc = Automerge::new();
        let mut tx = doc.transaction();
        put(&mut tx);
        tx.commit();
        SegmentDoc::load(window(), DocKind::Messages, &doc.save()).unwrap_err()
    };
    let bytes = || ScalarValue::Bytes(vec![0xa0]);
    let cases = [
        saved(|tx| tx.put(ROOT, "hello", ScalarValue::Bytes(Vec::new())).unwrap()),
        saved(|tx| tx.put(ROOT, message(1).0.to_key(), "text").unwrap()),
        saved(|tx| {
            tx.put_object(ROOT, message(1).0.to_key(), automerge::ObjType::Map).unwrap();
        }),
        saved(|tx| tx.put(ROOT, MessageId::first_of(2 * T0).to_key(), 1).unwrap()),
    ];
    for error in cases {
        assert!(matches!(error, SegmentError::Entry(_)), "{error:?}");
    }
    // What stock Automerge adds to a document loads, whatever its actor and time.
    let mut doc = Automerge::load(&{
        let mut ours = segment();
        ours.apply(&history(2)).unwrap();
        ours.save()
    })
    .unwrap();
    doc.set_actor(automerge::ActorId::from([1_u8; 3]));
    let mut tx = doc.transaction();
    tx.put(ROOT, message(9).0.to_key(), bytes()).unwrap();
    tx.commit_with(automerge::transaction::CommitOptions::default().with_time(5));
    let mut loaded = SegmentDoc::load(window(), DocKind::Messages, &doc.save()).unwrap();
    assert_eq!(loaded.ids().len(), 3);
    assert!(matches!(loaded.apply(&history(3)), Err(SegmentError::Kind)), "but takes no changes");
}

#[test]
fn anything_but_one_saved_document_is_refused() {
    let mut doc = segment();
    let chunks = history(3);
    doc.apply(&chunks[..2]).unwrap();
    let saved = doc.save();
    let refused = |bytes: &[u8]| SegmentDoc::load(window(), DocKind::Messages, bytes).is_err();
    assert!(!refused(&saved));
    assert!(refused(&[]));
    assert!(refused(&chunks[0]), "a change chunk");
    assert!(refused(&[&saved[..], &chunks[2]].concat()), "a document and a change");
    assert!(refused(&[&saved[..], &saved[..]].concat()), "two documents");
    for len in 0..saved.len() {
        assert!(refused(&saved[..len]));
    }
    let mut damaged = saved.clone();
    for at in 0..saved.len() {
        damaged[at] ^= 0x10;
        assert!(refused(&damaged), "byte {at}");
        damaged[at] ^= 0x10;
    }
}

/// A document chunk of one op column; Automerge would have to unpack it to find it lacking.
fn document(spec: u8, column: &[u8]) -> Vec<u8> {
    let mut content = vec![0, 0, 0, 1, spec];
    let mut len = column.len();
    while len >= 0x80 {
        content.push(u8::try_from(len & 0x7f).unwrap() | 0x80);
        len >>= 7;
    }
    content.push(u8::try_from(len).unwrap());
    content.extend(column);
    let mut chunk = vec![0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, 0];
    let mut len = content.len();
    while len >= 0x80 {
        chunk.push(u8::try_from(len & 0x7f).unwrap() | 0x80);
        len >>= 7;
    }
    chunk.push(u8::try_from(len).unwrap());
    chunk.extend(content);
    chunk
}

#[test]
fn documents_that_unpack_too_far_are_refused_before_they_do() {
    let load = |bytes: &[u8]| SegmentDoc::load(window(), DocKind::Messages, bytes);
    let mut deflated = DeflateEncoder::new(Vec::new(), Compression::best());
    for _ in 0..160 {
        deflated.write_all(&vec![0; 1 << 20]).unwrap();
    }
    let deflated = deflated.finish().unwrap();
    assert!(deflated.len() < 1 << 18, "{} bytes", deflated.len());
    let bomb = document(0x57 | 0b1000, &deflated);
    assert!(matches!(load(&bomb), Err(SegmentError::TooLarge)));
    for spec in [0x15, 0x34, 0x42, 0x56, 0x70, 0x73] {
        // A run of 2^31 - 1 rows.
        let run = [0xff, 0xff, 0xff, 0xff, 0x07, 1, 1];
        let loaded = load(&document(spec, &run));
        assert!(matches!(loaded, Err(SegmentError::TooLarge)), "{spec:x} {loaded:?}");
    }
}
