//! Tests of reading, checking and making chunks: each hostile chunk is refused by name.
#![allow(clippy::disallowed_methods, reason = "stock documents are what we compare with")]

use super::*;
use crate::annotation::{AnnotationKey, AnnotationValue};
use crate::message::{Content, MessageId};
use automerge::transaction::Transactable;
use automerge::{Automerge, ExpandedChange, ROOT, ReadDoc, ScalarValue};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

const T0: u64 = 1_700_000_000_000;
const ACTOR: ActorId16 = ActorId16([7; 16]);

fn window() -> Window {
    Window::covering(3, T0)
}

fn id(n: u64) -> MessageId {
    MessageId::from_parts(T0 + n, u128::from(n))
}

fn message(n: u64) -> (MessageId, Vec<u8>) {
    (id(n), Content::text("ada", &format!("message {n}")).to_body().unwrap())
}

fn author() -> MessageAuthor {
    MessageAuthor::new(window(), ACTOR)
}

fn read(chunk: &[u8]) -> Result<ChangeView, ChangeError> {
    ChangeView::read(chunk, window(), DocKind::Messages)
}

fn read_annotation(chunk: &[u8]) -> Result<ChangeView, ChangeError> {
    ChangeView::read(chunk, window(), DocKind::Annotations)
}

fn refusal(chunk: &[u8]) -> String {
    read(chunk).unwrap_err().to_string()
}

fn leb(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap());
    bytes
}

/// A chunk of any type around any content, with the right checksum.
fn container(chunk_type: u8, content: &[u8]) -> Vec<u8> {
    let typed = [&[chunk_type][..], &leb(content.len() as u64), content].concat();
    let hash = Sha256::digest(&typed);
    [&[0x85, 0x6f, 0x4a, 0x83][..], &hash[..4], &typed].concat()
}

/// A change without dependencies, of raw columns.
fn columns(columns: &[(u8, &[u8])]) -> Vec<u8> {
    let mut content = vec![0, 16];
    content.extend(ACTOR.0);
    content.extend([1, 1, 0, 0, 0]); // seq, first op, time, message, other actors
    content.push(u8::try_from(columns.len()).unwrap());
    for (spec, column) in columns {
        // A specification above 127 takes two bytes.
        content.extend(leb(u64::from(*spec)));
        content.extend(leb(column.len() as u64));
    }
    columns.iter().for_each(|(_, column)| content.extend(*column));
    container(1, &content)
}

/// A well-formed one-message change with something changed.
fn changed(change: impl FnOnce(&mut ExpandedChange)) -> Vec<u8> {
    let chunk = author().write(&[message(1)]).unwrap().chunk;
    let mut expanded = automerge::Change::try_from(&chunk[..]).unwrap().decode();
    change(&mut expanded);
    automerge::Change::from(expanded).raw_bytes().to_vec()
}

/// What stock Automerge commits for some puts.
fn committed(puts: impl FnOnce(&mut automerge::transaction::Transaction<'_>)) -> Vec<u8> {
    let mut doc = Automerge::new().with_actor(ACTOR.to_automerge());
    let mut tx = doc.transaction();
    puts(&mut tx);
    tx.commit();
    doc.get_changes(&[])[0].raw_bytes().to_vec()
}

#[test]
fn authored_changes_are_what_stock_automerge_commits() {
    let mut author = author();
    let mut doc = Automerge::new().with_actor(ACTOR.to_automerge());
    for run in [&[message(1)][..], &[message(5), message(3)], &[message(9)]] {
        let authored = author.write(run).unwrap();
        let mut tx = doc.transaction();
        for (id, body) in run {
            tx.put(ROOT, id.to_key(), ScalarValue::Bytes(body.clone())).unwrap();
        }
        let hash = tx.commit().0.unwrap();
        let stock = doc.get_change_by_hash(&hash).unwrap();
        assert_eq!(stock.raw_bytes(), authored.chunk);
        assert_eq!(hash.0, authored.hash.0);
        let view = read(&authored.chunk).unwrap();
        assert_eq!(Some(view.actor_state()), author.state());
        assert_eq!(view.hash, authored.hash);
        let ChangeBody::Messages(ops) = view.body else { panic!("messages were written") };
        assert_eq!(ops.iter().map(|op| op.id).collect::<Vec<_>>(), {
            run.iter().map(|(id, _)| *id).collect::<Vec<_>>()
        });
        assert_eq!(ops[0].content, Content::from_body(&run[0].1).unwrap());
    }
    let reloaded = Automerge::load(&doc.save()).unwrap();
    assert_eq!(reloaded.length(ROOT), 4);
}

#[test]
fn a_failed_write_leaves_the_author_as_it_was() {
    let mut author = author();
    author.write(&[message(1)]).unwrap();
    let before = author.state();
    let outside = (MessageId::from_parts(T0 << 1, 0), message(1).1);
    let refused = |author: &mut MessageAuthor, messages: &[_]| {
        author.write(messages).unwrap_err().to_string()
    };
    assert_eq!(refused(&mut author, &[]), "the chunk is malformed: it has no ops");
    assert!(refused(&mut author, &[outside]).contains("outside window"));
    assert!(refused(&mut author, &[message(1), message(1)]).contains("comes twice"));
    let many: Vec<_> = (0..=CHANGE_OPS_MAX as u64).map(message).collect();
    assert_eq!(refused(&mut author, &many), "the change has more than 1024 ops");
    let big = Content::text("ada", &"x".repeat(65_000)).to_body().unwrap();
    let big: Vec<_> = (0..5).map(|n| (id(n), big.clone())).collect();
    assert!(refused(&mut author, &big).contains("larger than"));
    assert_eq!(author.state(), before);
    assert!(author.write(&[message(2)]).is_ok());
}

#[test]
fn other_kinds_of_chunks_are_refused() {
    let chunk = author().write(&[message(1)]).unwrap().chunk;
    let content = &chunk[chunk.len() - 100..];
    for chunk_type in [0, 2, 3, 9] {
        let expected = format!("not a plain change chunk but one of type {chunk_type}");
        assert_eq!(refusal(&container(chunk_type, content)), expected);
    }
    let long: Vec<_> = (0..50).map(message).collect();
    let long = author().write(&long).unwrap().chunk;
    let mut change = automerge::Change::try_from(&long[..]).unwrap();
    assert!(refusal(&change.bytes()).contains("of type 2"), "as Automerge itself deflates it");
    assert!(refusal(&vec![0; CHUNK_BYTES_MAX + 1]).contains("larger than"));
}

#[test]
fn damage_is_refused() {
    let chunk = author().write(&[message(1)]).unwrap().chunk;
    let mut wrong = chunk.clone();
    wrong[5] ^= 1;
    assert_eq!(refusal(&wrong), "the chunk's checksum is wrong");
    let trailing = [&chunk[..], &[0]].concat();
    assert_eq!(refusal(&trailing), "the chunk is malformed: other bytes follow it");
    let two = [&chunk[..], &chunk[..]].concat();
    assert_eq!(refusal(&two), "the chunk is malformed: other bytes follow it");
    for len in 0..chunk.len() {
        assert!(read(&chunk[..len]).is_err());
    }
    assert!(refusal(b"hello, this is no chunk").contains("does not begin as a chunk"));
}

#[test]
fn whatever_else_a_change_may_carry_is_refused() {
    assert_eq!(refusal(&changed(|c| c.time = 1)), "the change has a time, which none may have");
    assert_eq!(refusal(&changed(|c| c.time = -1)), "the change has a time, which none may have");
    let message = changed(|c| c.message = Some("hi".to_owned()));
    assert_eq!(refusal(&message), "the change has a commit message, which none may have");
    let extra = changed(|c| c.extra_bytes = vec![1, 2, 3, 4]);
    assert_eq!(refusal(&extra), "the change has extra bytes, which none may have");
    let actor = changed(|c| c.actor_id = automerge::ActorId::from([1_u8; 15]));
    assert!(refusal(&actor).contains("another length than 16 bytes"));
    let deps = changed(|c| c.deps = vec![automerge::ChangeHash([1; 32]); 2]);
    assert!(refusal(&deps).contains("not in ascending order"));
    let deps = (1..=3).map(|n| automerge::ChangeHash([n; 32])).collect();
    assert_eq!(refusal(&changed(|c| c.deps = deps)), "the change has more than 1 dependencies");
    let deps = (1..=65).map(|n| automerge::ChangeHash([n; 32])).collect();
    assert_eq!(refusal(&changed(|c| c.deps = deps)), "the change has more than 64 dependencies");
    assert!(refusal(&changed(|c| c.seq = 0)).contains("seq or first op is out of range"));
    let high = std::num::NonZeroU64::new(u64::from(u32::MAX) - 1).unwrap();
    assert!(refusal(&changed(|c| c.start_op = high)).contains("first op is out of range"));
}

#[test]
fn a_million_ops_in_a_few_bytes_are_counted_before_they_expand() {
    let run = |value: &[u8]| [&[0xc0, 0x84, 0x3d][..], value].concat(); // a run of 1,000,000
    let bomb = columns(&[
        (0x15, &run(&[1, b'a'])),
        (0x34, &[0xc0, 0x84, 0x3d]),
        (0x42, &run(&[1])),
        (0x56, &run(&[0x07])),
        (0x70, &run(&[0])),
    ]);
    assert!(bomb.len() < 80, "{}", bomb.len());
    assert_eq!(refusal(&bomb), "the change has more than 1024 ops");
    let bomb = columns(&[
        (0x15, &[0x7f, 1, b'a']),
        (0x34, &[1]),
        (0x42, &[0x7f, 1]),
        (0x56, &[0x7f, 0x02]),
        (0x70, &[0x7f, 0xc0, 0x84, 0x3d]),
        (0x71, &run(&[0])),
        (0x73, &run(&[1])),
    ]);
    assert_eq!(refusal(&bomb), "the change has more than 4096 replaced ops");
    let longest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00];
    let bomb = columns(&[(0x42, &[&longest[..], &[1]].concat())]);
    assert_eq!(refusal(&bomb), "the change has more than 1024 ops");
}

#[test]
fn columns_of_no_use_here_are_refused() {
    let with = |spec, column: &[u8]| refusal(&columns(&[(spec, column)]));
    assert_eq!(with(0x01, &[0x7f, 0]), "an op on an object has no place in this document");
    assert_eq!(with(0x11, &[0x7f, 0]), "an op on a list has no place in this document");
    assert_eq!(with(0x94, &[1]), "a mark has no place in this document");
    assert_eq!(with(0x1d, &[1]), "the chunk is malformed: a column is deflated");
    assert_eq!(with(0x17, &[1]), "the chunk is malformed: it has an unknown column");
    let set = &[0x7f, 1][..];
    let one = |key: &[u8], meta: &[u8], value: &[u8]| {
        refusal(&columns(&[(0x15, key), (0x34, &[1]), (0x42, set), (0x56, meta), (0x57, value)]))
    };
    assert!(one(&[0, 1], &[0x7f, 7], &[]).contains("a column has empty rows"));
    assert!(one(&[2, 1, b'a'], &[0x7f, 7], &[]).contains("a key that comes twice"));
    assert!(one(&[0x7f, 1, b'a'], &[0x7f, 7], &[]).contains("fewer rows"), "no pred column");
    assert!(one(&[0x7f, 9, b'a'], &[0x7f, 7], &[]).contains("cut short"));
    assert!(one(&[0x7f, 1, 0xff], &[0x7f, 7], &[]).contains("not UTF-8"));
    assert!(one(&[0x7f, 1, b'a'], &[0x7f, 0x27], &[1]).contains("cut short"));
}

#[test]
fn what_encodes_differently_is_refused() {
    let chunk = author().write(&[message(1)]).unwrap().chunk;
    // The seq 1, in two bytes instead of one.
    let content = &chunk[if chunk[9] < 0x80 { 10 } else { 11 }..];
    assert_eq!(content[18..20], [1, 1], "seq and first op");
    let longer = [&content[..18], &[0x81, 0x00], &content[19..]].concat();
    assert!(refusal(&container(1, &longer)).contains("not encoded as Automerge encodes it"));
    // A run of one where Automerge writes single values.
    let key = message(1).0.to_key();
    let run = [&[1, 32][..], key.as_bytes()].concat();
    let chunk = columns(&[
        (0x15, &run),
        (0x34, &[1]),
        (0x42, &[0x7f, 1]),
        (0x56, &[0x7f, 0x17]),
        (0x57, &[0xa0]),
        (0x70, &[0x7f, 0]),
    ]);
    assert!(refusal(&chunk).contains("not encoded as Automerge encodes it"));
}

#[test]
fn ops_that_a_segment_has_no_place_for_are_refused() {
    let key = || id(1).to_key();
    let body = || ScalarValue::Bytes(message(1).1);
    let cases = [
        (
            "an op that makes an object",
            committed(|tx| {
                tx.put_object(ROOT, key(), automerge::ObjType::Map).unwrap();
            }),
        ),
        ("a text value", committed(|tx| tx.put(ROOT, key(), "text").unwrap())),
        ("a counter", committed(|tx| tx.put(ROOT, key(), ScalarValue::counter(1)).unwrap())),
        ("a value that is neither", committed(|tx| tx.put(ROOT, key(), 3.5).unwrap())),
        ("a value that is neither", committed(|tx| tx.put(ROOT, key(), ()).unwrap())),
        ("a message that is not bytes", committed(|tx| tx.put(ROOT, key(), true).unwrap())),
        ("a delete op", changed(|c| c.operations[0].action = legacy::OpType::Delete)),
        ("an increment op", changed(|c| c.operations[0].action = legacy::OpType::Increment(1))),
        ("an insert", changed(|c| c.operations[0].insert = true)),
        (
            "a key that comes twice",
            changed(|c| {
                let op = c.operations[0].clone();
                c.operations.push(op);
            }),
        ),
        (
            "an op that replaces a message",
            changed(|c| {
                let pred = legacy::OpId(1, ACTOR.to_automerge());
                c.operations[0].pred = vec![pred].into();
            }),
        ),
        (
            "an op on an object",
            changed(|c| {
                let object = legacy::OpId(1, ACTOR.to_automerge());
                c.operations[0].obj = legacy::ObjectId::Id(object);
            }),
        ),
        (
            "an op on a list",
            changed(|c| {
                c.operations[0].key = legacy::Key::Seq(legacy::ElementId::Head);
            }),
        ),
    ];
    for (expected, chunk) in cases {
        assert!(refusal(&chunk).starts_with(expected), "{expected}: {}", refusal(&chunk));
    }
    assert!(read(&committed(|tx| tx.put(ROOT, key(), body()).unwrap())).is_ok());
}

#[test]
fn keys_bodies_and_windows_are_checked() {
    let under = |key: &str| {
        let key = key.to_owned();
        refusal(&changed(move |c| c.operations[0].key = legacy::Key::Map(key.into())))
    };
    assert_eq!(under("hello"), "a message key is malformed");
    assert_eq!(under(&id(1).to_key().to_uppercase()), "a message key is malformed");
    assert!(under(&MessageId::from_parts(T0 * 2, 0).to_key()).contains("outside window 3-"));
    let body = |bytes: &[u8]| {
        let value = ScalarValue::Bytes(bytes.to_vec());
        refusal(&changed(|c| c.operations[0].action = legacy::OpType::Put(value)))
    };
    assert_eq!(body(&[0xa0]), "a value is malformed");
    assert_eq!(body(&[]), "a value is malformed");
    let chunk = author().write(&[message(1)]).unwrap().chunk;
    assert!(Window::new(3, window().start_ms() + 1).is_err(), "there are no misaligned windows");
    let beside = Window::covering(3, window().end_ms());
    let error = ChangeView::read(&chunk, beside, DocKind::Messages).unwrap_err();
    assert!(matches!(error, ChangeError::OutsideWindow { .. }));
}

fn annotation(key: &AnnotationKey, value: &AnnotationValue) -> Vec<u8> {
    let puts = [(key, value, Vec::new())];
    encode_annotations(window(), (ACTOR, 1), 0, Vec::new(), &puts).unwrap().0.chunk
}

#[test]
fn annotation_keys_and_values_must_fit() {
    let delete = annotation(&AnnotationKey::Delete { id: id(1) }, &AnnotationValue::Delete);
    assert!(read_annotation(&delete).is_ok());
    assert_eq!(refusal(&delete), "a message key is malformed");
    let with = |key: &str, value: ScalarValue| {
        let mut change = automerge::Change::try_from(&delete[..]).unwrap().decode();
        change.operations[0].key = legacy::Key::Map(key.into());
        change.operations[0].action = legacy::OpType::Put(value);
        let chunk = automerge::Change::from(change).raw_bytes().to_vec();
        read_annotation(&chunk).map(|_| ()).map_err(|e| e.to_string())
    };
    let key = |rest: &str| format!("{}{rest}", id(1).to_key());
    let (on, off) = (|| ScalarValue::Boolean(true), || ScalarValue::Boolean(false));
    assert_eq!(with(&key(":r:ada:%2B1"), off()), Ok(()));
    let another_kind = "a value of another kind than its key's has no place in this document";
    assert_eq!(with(&key(":d"), off()).unwrap_err(), another_kind);
    assert_eq!(with(&key(":e"), on()).unwrap_err(), another_kind);
    let bytes = ScalarValue::Bytes(vec![0xa0]);
    assert_eq!(with(&key(":r:ada:x"), bytes.clone()).unwrap_err(), another_kind);
    assert_eq!(with(&key(":e"), bytes).unwrap_err(), "a value is malformed");
    assert_eq!(with(&key(":r:ada:%2b1"), on()).unwrap_err(), "an annotation key is malformed");
    assert_eq!(with(&key(""), on()).unwrap_err(), "an annotation key is malformed");
    let outside = format!("{}:d", MessageId::from_parts(T0 * 2, 0).to_key());
    assert!(with(&outside, on()).unwrap_err().contains("outside window"));
}

#[test]
fn replaced_ops_must_ascend_and_name_actors_that_are_there() {
    let delete = annotation(&AnnotationKey::Delete { id: id(1) }, &AnnotationValue::Delete);
    let mut change = automerge::Change::try_from(&delete[..]).unwrap().decode();
    change.start_op = std::num::NonZeroU64::new(9).unwrap();
    let pred = |counter, actor: u8| legacy::OpId(counter, automerge::ActorId::from([actor; 16]));
    let preds = vec![pred(3, 7), pred(3, 9), pred(5, 1)];
    change.operations[0].pred = preds.into();
    let chunk = automerge::Change::from(change.clone()).raw_bytes().to_vec();
    let view = read_annotation(&chunk).unwrap();
    let ChangeBody::Annotations(ops) = &view.body else { panic!("an annotation was written") };
    let expected = [(3, [7; 16]), (3, [9; 16]), (5, [1; 16])].map(|(n, a)| (n, ActorId16(a)));
    assert_eq!(ops[0].preds, expected);
    assert_eq!(ops[0].op, 9);
    change.operations[0].pred = vec![pred(3, 9), pred(3, 9)].into();
    let twice = automerge::Change::from(change).raw_bytes().to_vec();
    let error = read_annotation(&twice).unwrap_err().to_string();
    assert_eq!(error, "the chunk is malformed: replaced ops are not in ascending order");
}

#[test]
fn history_is_checked_by_name() {
    let mut author = author();
    let first = read(&author.write(&[message(1), message(2)]).unwrap().chunk).unwrap();
    let second = read(&author.write(&[message(3)]).unwrap().chunk).unwrap();
    let state = first.actor_state();
    let check = |view: &ChangeView, last: Option<&ActorState>| {
        check_header(view, last, |_| None, |_, _, _| false).map_err(|e| e.to_string())
    };
    assert_eq!(check(&first, None), Ok(()));
    assert_eq!(check(&second, Some(&state)), Ok(()));
    let seq = |expected, found| {
        Err(format!("the change has seq {found} where its actor's next is {expected}"))
    };
    assert_eq!(check(&second, None), seq(1, 2), "a gap");
    assert_eq!(check(&first, Some(&state)), seq(2, 1), "used before");
    let edited = |edit: fn(&mut ChangeView)| {
        let mut view = second.clone();
        edit(&mut view);
        check(&view, Some(&state)).unwrap_err()
    };
    let own = "the change does not depend on its author's last one";
    assert_eq!(edited(|view| view.deps.clear()), own);
    assert_eq!(edited(|view| view.deps = vec![ChangeHash([9; 32])]), own);
    let foreign = "a segment's change depends on another than its author's last one";
    assert_eq!(edited(|view| view.deps.push(ChangeHash([9; 32]))), foreign);
    let mut beginning = first.clone();
    beginning.deps.push(ChangeHash([9; 32]));
    assert_eq!(check(&beginning, None), Err(foreign.to_owned()));
    let start = "the change's first op is 2 where 3 is the next";
    assert_eq!(edited(|view| view.start_op = 2), start);
    assert!(edited(|view| view.start_op = 4).contains("first op is 4 where 3 is the next"));
    let full = ActorState { max_op: crate::limits::OP_COUNTER_MAX, ..state };
    let mut beyond = second.clone();
    beyond.start_op = full.max_op + 1;
    assert!(check(&beyond, Some(&full)).unwrap_err().contains("count beyond"));
}

#[test]
fn annotation_history_is_checked_by_name() {
    let delete = annotation(&AnnotationKey::Delete { id: id(1) }, &AnnotationValue::Delete);
    let mut view = read_annotation(&delete).unwrap();
    let dep = ChangeHash([5; 32]);
    view.deps = vec![dep];
    view.start_op = 11;
    let check = |view: &ChangeView, stored: bool, has_op: bool| {
        check_header(view, None, |_| stored.then_some(10), |_, _, _| has_op)
            .map_err(|e| e.to_string())
    };
    assert_eq!(check(&view, true, false), Ok(()));
    assert!(check(&view, false, false).unwrap_err().contains("which is not stored here"));
    let ChangeBody::Annotations(ops) = &mut view.body else { panic!("an annotation was written") };
    ops[0].preds = vec![(10, ACTOR)];
    assert_eq!(check(&view, true, true), Ok(()));
    assert!(check(&view, true, false).unwrap_err().contains("which is not stored under its key"));
    let ChangeBody::Annotations(ops) = &mut view.body else { panic!("an annotation was written") };
    ops[0].preds = vec![(11, ACTOR)];
    assert!(check(&view, true, true).unwrap_err().contains("replaces op 11"), "not below its own");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes);
        let _ = read(&container(1, &bytes));
        let _ = read_annotation(&container(1, &bytes));
    }

    #[test]
    fn any_columns_are_read_or_refused(
        raw in proptest::collection::vec(
            (proptest::sample::select(vec![0x15_u8, 0x34, 0x42, 0x56, 0x57, 0x70, 0x71, 0x73]),
             proptest::collection::vec(any::<u8>(), 0..12)), 0..8)
    ) {
        let raw: Vec<_> = raw.iter().map(|(spec, column)| (*spec, &column[..])).collect();
        let _ = read(&columns(&raw));
        let _ = read_annotation(&columns(&raw));
    }
}
