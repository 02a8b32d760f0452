//! An import is what sending its messages one by one would have made.

use super::{Added, Import, Outcome};
use crate::check::verify;
use crate::commit::writer::{Command, ReadySend, Writer};
use crate::commit::{Code, NewMessage, SendRequest};
use crate::ranks::RankCache;
use crate::reader::Reader;
use crate::store::kv::{Direction, Family};
use crate::store::{Store, keys};
use backscroll_core::annotation::{AnnotationKey, AnnotationValue, Edit};
use backscroll_core::directory::{DocMark, Entry};
use backscroll_core::limits::FUTURE_MS_MAX;
use backscroll_core::message::{Content, MessageId};
use backscroll_core::viewport::{At, Query};
use backscroll_core::window::Window;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use tokio::sync::oneshot;

const T0: u64 = 1_700_000_000_000;
const NOW: u64 = T0 + 40_000_000_000;

type Messages = BTreeMap<MessageId, Content>;

/// Numbers that look random; the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 31)) % sides
    }
}

/// Busy and quiet hours, and milliseconds with many messages.
fn messages(seed: u64, count: usize) -> Messages {
    let mut dice = Dice(seed);
    let mut messages = Messages::new();
    let mut time_ms = T0 + dice.roll(3_000_000_000);
    while messages.len() < count {
        time_ms += match dice.roll(400) {
            0 => dice.roll(300_000_000),
            1..120 => 0,
            _ => dice.roll(2_000),
        };
        let id = MessageId::from_parts(time_ms, u128::from(dice.roll(u64::MAX)));
        let from = format!("user{}", dice.roll(5));
        let text = "word ".repeat(usize::try_from(dice.roll(12)).unwrap() + 1);
        messages.insert(id, Content::text(&from, &text));
    }
    messages
}

/// What the write path does with the same messages.
fn send_all(store: &Store, messages: &Messages) {
    let mut writer = Writer::new(store.clone()).unwrap();
    let sends: Vec<_> = messages.iter().collect();
    for group in sends.chunks(100) {
        let mut answers = Vec::new();
        let commands = group.iter().map(|(id, content)| {
            let (reply, answer) = oneshot::channel();
            answers.push(answer);
            let body = content.to_body().unwrap();
            let message = NewMessage { id: Some(**id), sent_at: None, content: (*content).clone() };
            let request = SendRequest { channel: "c".to_owned(), message, idempotency: None };
            let send = ReadySend { request, body, idempotency: None, now_ms: NOW, entropy: 1 };
            Command::Send { send: Box::new(send), reply }
        });
        let commands = commands.collect();
        writer.commit(commands).unwrap();
        for mut answer in answers {
            assert!(!answer.try_recv().unwrap().unwrap().duplicate);
        }
    }
}

fn import(store: &Store, messages: &Messages) -> Outcome {
    let mut import = Import::begin(store, "c", NOW).unwrap();
    for (id, content) in messages {
        import.add(*id, content.to_body().unwrap()).unwrap();
    }
    import.finish().unwrap()
}

fn reader(store: &Store) -> Reader {
    Reader::new(store.clone(), Arc::new(RankCache::default()))
}

/// Id, seq, whether late, and content of every message.
fn history(store: &Store) -> Vec<(MessageId, u64, bool, Content)> {
    let (reader, mut rows) = (reader(store), Vec::new());
    let view = reader.view();
    loop {
        let at = At::Index(rows.len() as u64);
        let page = view.history("c", &Query { at, before: 0, after: 5_000 }).unwrap();
        if page.messages.is_empty() {
            return rows;
        }
        let page = page.messages.into_iter();
        rows.extend(page.map(|row| (row.id, row.seq, row.late, row.content)));
    }
}

fn directory(store: &Store) -> Vec<(Window, Entry)> {
    let reader = reader(store);
    let directory = reader.view().directory("c").unwrap();
    directory.iter().map(|(window, entry)| (window, *entry)).collect()
}

fn dump(store: &Store) -> Vec<(Family, Vec<u8>, Vec<u8>)> {
    let (snapshot, range, mut rows) = (store.snapshot(), keys::everything(), Vec::new());
    for family in Family::ALL {
        let mut visit = |key: &[u8], value: &[u8]| {
            rows.push((family, key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        };
        snapshot.scan(family, keys::bounds(&range), Direction::Forward, &mut visit).unwrap();
    }
    rows
}

#[track_caller]
fn assert_sound(store: &Store) {
    let problems = verify(store, |_| {}).unwrap();
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn an_import_is_what_sending_in_order_makes() {
    let messages = messages(1, 9_000);
    let (sent, imported) = (Store::in_memory().unwrap(), Store::in_memory().unwrap());
    send_all(&sent, &messages);
    let outcome = import(&imported, &messages);
    assert_eq!(outcome, Outcome { added: 9_000, ..Outcome::default() });
    assert_sound(&imported);
    assert_sound(&sent);
    assert!(history(&imported) == history(&sent));
    // The same windows, filled alike; only changes are cut and authored differently.
    let plain = |store| {
        let mut entries = directory(store);
        entries.iter_mut().for_each(|(_, entry)| entry.message_doc = DocMark::default());
        entries
    };
    assert!(directory(&imported).len() > 5);
    assert_eq!(plain(&imported), plain(&sent));
}

#[test]
fn an_import_into_a_channel_in_use_adds_what_is_missing_and_is_never_late() {
    let all = messages(2, 8_000);
    let mut dice = Dice(7);
    let before: Messages = all
        .iter()
        .filter(|_| dice.roll(3) == 0)
        .map(|(id, content)| (*id, content.clone()))
        .collect();
    let store = Store::in_memory().unwrap();
    send_all(&store, &before);
    let outcome = import(&store, &all);
    let already_there = before.len() as u64;
    let added = all.len() as u64 - already_there;
    assert_eq!(outcome, Outcome { added, already_there, ..Outcome::default() });
    assert_sound(&store);
    let history = history(&store);
    assert!(history.iter().map(|(id, _, _, content)| (id, content)).eq(&all));
    assert!(history.iter().all(|(_, _, late, _)| !late));
    let mut new: Vec<_> = history.iter().filter(|row| !before.contains_key(&row.0)).collect();
    assert!(new.is_sorted_by_key(|row| row.1), "seqs of the import go by id");
    new.sort_unstable_by_key(|row| row.1);
    assert_eq!(new.first().unwrap().1, already_there + 1);
}

#[test]
fn importing_twice_changes_no_row() {
    let store = Store::in_memory().unwrap();
    let messages = messages(3, 5_000);
    import(&store, &messages);
    let rows = dump(&store);
    let outcome = import(&store, &messages);
    assert_eq!(outcome, Outcome { already_there: 5_000, ..Outcome::default() });
    assert!(dump(&store) == rows);
}

#[test]
fn an_import_that_is_cut_off_leaves_a_sound_store_and_the_next_completes_it() {
    let folder = tempfile::tempdir().unwrap();
    let messages = messages(4, 40_000);
    {
        let store = Store::open(folder.path()).unwrap();
        let mut import = Import::begin(&store, "c", NOW).unwrap();
        for (id, content) in &messages {
            import.add(*id, content.to_body().unwrap()).unwrap();
        }
    }
    let store = Store::open_existing(folder.path()).unwrap();
    let there = reader(&store).view().head("c").unwrap().total;
    assert!(there > 0 && there < 40_000, "{there} messages in the batches that were written");
    assert_sound(&store);
    let outcome = import(&store, &messages);
    let added = 40_000 - there;
    assert_eq!(outcome, Outcome { added, already_there: there, ..Outcome::default() });
    assert_sound(&store);
    assert!(history(&store).iter().map(|(id, _, _, content)| (id, content)).eq(&messages));
}

#[test]
fn a_moment_with_more_messages_than_any_window_holds_is_taken() {
    let store = Store::in_memory().unwrap();
    let id = |i: u64| MessageId::from_parts(T0, u128::from(i) << 8);
    let all: Messages = (0..60_000).map(|i| (id(i), Content::text("ada", "at once"))).collect();
    assert_eq!(import(&store, &all).added, 60_000);
    assert_sound(&store);
    assert!(history(&store).iter().map(|(id, _, _, content)| (id, content)).eq(&all));
}

#[test]
fn large_messages_fit_their_changes() {
    let store = Store::in_memory().unwrap();
    let text = "x".repeat(65_000);
    let content = |_| Content {
        data: Some(serde_json::Value::from(text.clone()).into()),
        ..Content::text("ada", &text)
    };
    let id = |i| MessageId::from_parts(T0 + i, 1);
    let all: Messages = (0..40).map(|i| (id(i), content(i))).collect();
    assert_eq!(import(&store, &all).added, 40);
    assert_sound(&store);
}

#[test]
fn what_cannot_be_taken_is_refused_and_the_rest_is_not() {
    let store = Store::in_memory().unwrap();
    let id = |time_ms, tail| MessageId::from_parts(time_ms, tail);
    let body = |text| Content::text("ada", text).to_body().unwrap();
    let mut import = Import::begin(&store, "c", NOW).unwrap();
    assert_eq!(import.add(id(T0, 1), body("one")).unwrap(), Added::New);
    assert_eq!(import.add(id(T0, 1), body("one")).unwrap(), Added::AlreadyThere);
    let taken = import.add(id(T0, 1), body("two")).unwrap();
    assert_eq!(taken, Added::Refused(Code::IdTaken));
    assert_eq!(import.add(id(T0, 0), body("out of order")).unwrap(), Added::New);
    let future = id(NOW + FUTURE_MS_MAX + 1, 1);
    let early = import.add(future, body("three")).unwrap();
    assert_eq!(early, Added::Refused(Code::FutureId));
    let malformed = import.add(id(T0, 2), vec![1, 2, 3]).unwrap();
    assert_eq!(malformed, Added::Refused(Code::BadRequest));
    let elsewhere = Some(Window::covering(3, T0 + 1_000_000_000));
    let outside = import.add_in(elsewhere, id(T0, 3), body("four")).unwrap();
    assert_eq!(outside, Added::Refused(Code::BadRequest));
    let outcome = import.finish().unwrap();
    let expected = Outcome { added: 2, already_there: 1, refused: 4, ..Outcome::default() };
    assert_eq!(outcome, expected);
    assert_sound(&store);
    assert!(Import::begin(&store, "", NOW).is_err());
}

#[test]
fn messages_go_into_the_window_that_is_given() {
    let store = Store::in_memory().unwrap();
    let window = Window::covering(4, T0);
    let mut import = Import::begin(&store, "c", NOW).unwrap();
    for i in (0..500).rev() {
        let id = MessageId::from_parts(window.start_ms() + i, 9);
        let body = Content::text("ada", "placed").to_body().unwrap();
        import.add_in(Some(window), id, body).unwrap();
    }
    import.finish().unwrap();
    assert_sound(&store);
    let windows = directory(&store);
    assert_eq!(windows.len(), 1);
    assert_eq!((windows[0].0, windows[0].1.messages), (window, 500));
}

#[test]
fn annotations_come_along_once() {
    let store = Store::in_memory().unwrap();
    let messages = messages(5, 3_000);
    import(&store, &messages);
    let ids: Vec<_> = messages.keys().copied().collect();
    let edit = |text, at| AnnotationValue::Edit(Edit::text(text, at));
    let like = |id| AnnotationKey::Reaction { id, user: "bob".into(), emoji: "+1".into() };
    let mut entries = vec![
        (AnnotationKey::Edit { id: ids[0] }, edit("better", 5)),
        (AnnotationKey::Delete { id: ids[2_999] }, AnnotationValue::Delete),
        (AnnotationKey::Delete { id: MessageId::from_parts(3, 3) }, AnnotationValue::Delete),
    ];
    entries.extend(ids.iter().map(|id| (like(*id), AnnotationValue::Reaction(true))));
    let annotate = |entries: &[(AnnotationKey, AnnotationValue)]| {
        let mut import = Import::begin(&store, "c", NOW).unwrap();
        import.annotate(entries.iter().cloned()).unwrap();
        import.finish().unwrap()
    };
    let outcome = annotate(&entries);
    assert_eq!(outcome, Outcome { annotated: 3_002, unannotated: 1, ..Outcome::default() });
    assert_sound(&store);
    let reader = reader(&store);
    let annotations = |id| reader.view().message("c", id).unwrap().unwrap().annotations;
    assert_eq!(annotations(ids[0]).edit, Some(Edit::text("better", 5)));
    assert!(annotations(ids[2_999]).deleted);
    assert!(ids.iter().all(|id| annotations(*id).reactions["+1"].contains("bob")));
    let rows = dump(&store);
    assert_eq!(annotate(&entries), Outcome { unannotated: 1, ..Outcome::default() });
    assert!(dump(&store) == rows, "what is said already is not said again");
    let older = (AnnotationKey::Edit { id: ids[0] }, edit("worse", 4));
    let newer = (AnnotationKey::Edit { id: ids[0] }, edit("best", 6));
    assert_eq!(annotate(&[older]).annotated, 0);
    assert_eq!(annotate(&[newer]).annotated, 1);
    assert_eq!(annotations(ids[0]).edit, Some(Edit::text("best", 6)));
    assert_sound(&store);
}
