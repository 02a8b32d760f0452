//! A damaged row costs the command that meets it: nothing of that stays, all others are carried out.

use super::*;
use crate::commit::erase::Erase;
use crate::commit::retain::DropWindows;
use crate::store::kv::{Batch, Kv, Visit};
use crate::store::memory::MemoryKv;
use crate::store::rows::BlobUsageRow;
use backscroll_core::change::ChangeHash;

/// Two channels with messages in several windows, and annotations.
fn relay() -> Relay {
    let mut relay = Relay::new();
    for channel in ["c", "d"] {
        let mut sends: Vec<_> = (0..6).map(|i| sent(channel, T0 + i * 1_000, "first")).collect();
        sends.push(sent(channel, NOW, "newest"));
        let (sent, _) = relay.sends(sends);
        assert!(sent.iter().all(Result::is_ok), "{sent:?}");
    }
    let note = Note::React { user: "ada".to_owned(), emoji: "+".to_owned(), on: true };
    relay.says(&[(id(T0, 1), note)]).0.remove(0).unwrap();
    relay.write_late();
    relay.restart();
    relay
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    All,
    Last,
}

fn sent(channel: &str, time_ms: u64, text: &str) -> ReadySend {
    let mut send = send("ada", text, Some(id(time_ms, 1)), None);
    channel.clone_into(&mut send.request.channel);
    send
}

/// The number of the channel `c`, the first there is.
const NUMBER: u64 = 1;

fn rows_of(relay: &Relay, family: Family) -> Vec<(Vec<u8>, Vec<u8>)> {
    let rows = relay.rows_of_c().into_iter().filter(|(of, ..)| *of == family);
    rows.map(|(_, key, value)| (key, value)).collect()
}

impl Relay {
    /// A message in a small window, so that the channel has two.
    fn write_late(&mut self) {
        let chunk = chunk(small(), T0 + 20, 7);
        assert_eq!(self.push(push("ada", small(), DocKind::Messages, vec![chunk])).0.refused, None);
    }

    fn put(&self, family: Family, rows: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) {
        let mut batch = Batch::new();
        rows.into_iter().for_each(|(key, value)| batch.put(family, key, value));
        self.store.kv().write(batch, Durability::Sync).unwrap();
    }

    /// Makes rows of the channel unreadable; what they were.
    fn damage(&mut self, family: Family, which: Which) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut rows = rows_of(self, family);
        if which == Which::Last {
            rows.drain(..rows.len() - 1);
        }
        assert!(!rows.is_empty(), "{family:?}");
        self.put(family, rows.iter().map(|(key, _)| (key.clone(), vec![0xff; 3])));
        self.restart();
        rows
    }

    /// All rows of the channel, its head among them.
    fn rows_of_c(&self) -> Vec<(Family, Vec<u8>, Vec<u8>)> {
        let is_its = |family: Family, key: &[u8]| match family {
            Family::Meta => key == keys::head(NUMBER),
            Family::Blobs => false,
            _ => keys::channel_of(key) == Some(NUMBER),
        };
        self.dump().into_iter().filter(|(family, key, _)| is_its(*family, key)).collect()
    }

    /// Carries out a command in the middle of a batch with others, which must go on.
    fn in_a_batch(&mut self, command: Command) -> Vec<Committed> {
        static TIMES: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let time = T0 + 50 + 100 * TIMES.fetch_add(2, std::sync::atomic::Ordering::Relaxed);
        let (mut commands, mut answers) = (Vec::new(), Vec::new());
        for (at, time) in [time, time + 100].into_iter().enumerate() {
            let (reply, answer) = oneshot::channel();
            answers.push(answer);
            let send = Box::new(sent("d", time, "beside"));
            commands.insert(at, Command::Send { send, reply });
        }
        commands.insert(1, command);
        let done = self.writer.commit(commands).unwrap();
        for mut answer in answers {
            assert!(!answer.try_recv().unwrap().unwrap().duplicate);
        }
        let of_c = |event: &Committed| match event {
            Committed::Change(change) => &*change.channel == "c",
            Committed::Entry(entry) => &*entry.channel == "c",
            Committed::Mark(_) | Committed::Dropped(_) => true,
        };
        done.events.into_iter().filter(of_c).collect()
    }

    /// The command is refused and leaves nothing; when the rows are back, it is carried out.
    #[track_caller]
    fn assert_refused<T: std::fmt::Debug>(
        &mut self,
        (family, which): (Family, Which),
        ask: impl Fn(&mut Self) -> (Result<T, Refusal>, Vec<Committed>),
    ) {
        let before = self.damage(family, which);
        let rows = self.rows_of_c();
        for _ in 0..2 {
            let (answer, events) = ask(self);
            let refusal = answer.unwrap_err();
            assert_eq!(refusal.code, Code::Retry, "{refusal}");
            let kind = format!("c: a row of kind {} is damaged", family.name());
            assert!(refusal.text.starts_with(&kind), "{refusal} of {family:?}");
            assert!(events.is_empty(), "{family:?}: {events:?}");
            assert!(self.rows_of_c() == rows, "{family:?}: something stays");
        }
        self.put(family, before);
        // The writer goes on with what is there now: it kept nothing of what was refused.
        let (answer, events) = ask(self);
        answer.unwrap_or_else(|refusal| panic!("{family:?}: {refusal}"));
        assert!(!events.is_empty(), "{family:?}");
        self.assert_sound();
    }
}

fn small() -> Window {
    Window::covering(9, T0)
}

fn chunk(window: Window, time_ms: u64, actor: u8) -> Vec<u8> {
    let mut author = MessageAuthor::new(window, ActorId16([actor; 16]));
    author.write(&[(id(time_ms, 9), body("ada", "pushed"))]).unwrap().chunk
}

fn ask_push(relay: &mut Relay) -> (Result<PushOutcome, Refusal>, Vec<Committed>) {
    let (reply, mut answer) = oneshot::channel();
    let push = push("ada", small(), DocKind::Messages, vec![chunk(small(), T0 + 55, 8)]);
    let events = relay.in_a_batch(Command::Push { push, now_ms: NOW, reply });
    let outcome = answer.try_recv().unwrap();
    match outcome.refused.clone() {
        Some(refused) => (Err(refused.refusal), events),
        None => (Ok(outcome), events),
    }
}

fn ask_send(relay: &mut Relay) -> (Result<Sent, Refusal>, Vec<Committed>) {
    let (reply, mut answer) = oneshot::channel();
    let send = Box::new(sent("c", T0 + 500, "sent"));
    let events = relay.in_a_batch(Command::Send { send, reply });
    (answer.try_recv().unwrap(), events)
}

fn ask_note(relay: &mut Relay) -> (Result<Sent, Refusal>, Vec<Committed>) {
    let (reply, mut answer) = oneshot::channel();
    let (channel, permit) = ("c".to_owned(), Permit::new(|_| Ok(())));
    let note = Note::Edit { text: "edited".to_owned() };
    let request = AnnotateRequest { channel, id: id(T0, 1), note, permit };
    let events = relay.in_a_batch(Command::Annotate { request, now_ms: NOW, reply });
    (answer.try_recv().unwrap(), events)
}

fn ask_erase(relay: &mut Relay) -> (Result<u64, Refusal>, Vec<Committed>) {
    let (reply, mut answer) = oneshot::channel();
    let mut actors = [ActorId16([0; 16]); 2];
    actors.iter_mut().for_each(|actor| getrandom::fill(&mut actor.0).unwrap());
    let window = Window::covering(0, T0);
    let ids = [id(T0, 1)].into();
    let erase = Box::new(Erase { channel: "c".to_owned(), window, ids, actors });
    let events = relay.in_a_batch(Command::Erase { erase, reply });
    (answer.try_recv().unwrap().map(|erased| erased.erased), events)
}

fn ask_drop(relay: &mut Relay) -> (Result<u64, Refusal>, Vec<Committed>) {
    let (reply, mut answer) = oneshot::channel();
    let mut windows = Vec::new();
    for window in [Window::covering(0, T0), small()] {
        let row = relay.store.snapshot().get(Family::Directory, &keys::directory(NUMBER, window));
        let row = row.unwrap().and_then(|row| crate::store::rows::DirectoryRow::decode(&row).ok());
        windows.push((window, row.map_or(0, |row| row.entry.latest_seq())));
    }
    let windows = DropWindows { channel: "c".to_owned(), windows, hash: ChangeHash([3; 32]) };
    let events = relay.in_a_batch(Command::Drop { windows: Box::new(windows), reply });
    (answer.try_recv().unwrap().map(|dropped| dropped.windows), events)
}

#[test]
fn a_push_that_meets_damage_is_refused_alone() {
    for family in [Family::Meta, Family::Directory, Family::Ranks] {
        relay().assert_refused((family, Which::All), ask_push);
    }
}

#[test]
fn a_send_that_meets_damage_is_refused_alone() {
    for family in [Family::Meta, Family::Directory, Family::Ranks] {
        relay().assert_refused((family, Which::All), ask_send);
    }
}

#[test]
fn an_edit_that_meets_damage_is_refused_alone() {
    for family in [Family::Meta, Family::Directory, Family::Ranks, Family::Index] {
        relay().assert_refused((family, Which::All), ask_note);
    }
}

#[test]
fn an_erasure_that_meets_damage_is_refused_alone() {
    for family in [Family::Directory, Family::Members, Family::Index, Family::Log, Family::Ranks] {
        relay().assert_refused((family, Which::All), ask_erase);
    }
}

#[test]
fn a_retention_that_meets_damage_is_refused_alone() {
    for family in [Family::Meta, Family::Ranks, Family::Members] {
        relay().assert_refused((family, Which::All), ask_drop);
    }
}

#[test]
fn a_retention_that_meets_damage_half_way_leaves_all_there_is() {
    // The first of the two windows is dropped when the second turns out to be damaged.
    relay().assert_refused((Family::Members, Which::Last), ask_drop);
}

#[test]
fn a_directory_entry_that_is_gone_is_no_new_window() {
    let mut relay = relay();
    let rows = rows_of(&relay, Family::Directory);
    let mut batch = Batch::new();
    rows.iter().for_each(|(key, _)| batch.delete(Family::Directory, key.clone()));
    relay.store.kv().write(batch, Durability::Sync).unwrap();
    relay.restart();
    let refusal = ask_push(&mut relay).0.unwrap_err();
    assert_eq!(refusal.code, Code::Retry, "{refusal}");
    relay.put(Family::Directory, rows);
    relay.restart();
    ask_push(&mut relay).0.unwrap();
    relay.assert_sound();
}

#[test]
fn a_message_whose_row_is_gone_is_not_said_to_be_none() {
    let mut relay = relay();
    let rows = rows_of(&relay, Family::Index);
    let window = Window::covering(0, T0);
    let key =
        AnnotationKey::Reaction { id: id(T0, 1), user: "ada".to_owned(), emoji: "!".to_owned() };
    let mut document = SegmentDoc::new(window, DocKind::Annotations);
    let entries = [(key, AnnotationValue::Reaction(true))];
    let chunk = document.author(ActorId16([4; 16]), &entries).unwrap().chunk;
    let push = push("ada", window, DocKind::Annotations, vec![chunk]);
    let mut batch = Batch::new();
    rows.iter().for_each(|(key, _)| batch.delete(Family::Index, key.clone()));
    relay.store.kv().write(batch, Durability::Sync).unwrap();
    // A nack is final, and the client would drop what it said.
    assert_eq!(code_of(&relay.push(push.clone()).0), Some(Code::Retry));
    relay.put(Family::Index, rows);
    assert_eq!(relay.push(push).0.refused, None);
    relay.assert_sound();
}

/// A store whose files do not give back the rows of two families when they are scanned.
#[derive(Debug, Default)]
struct Unreadable(MemoryKv);

impl Kv for Unreadable {
    fn write(&self, batch: Batch, durability: Durability) -> Result<(), StoreError> {
        self.0.write(batch, durability)
    }

    fn snapshot(&self) -> Box<dyn Snapshot + '_> {
        Box::new(UnreadableSnapshot(self.0.snapshot()))
    }
}

struct UnreadableSnapshot<'a>(Box<dyn Snapshot + 'a>);

impl Snapshot for UnreadableSnapshot<'_> {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get(family, key)
    }

    fn scan(
        &self,
        family: Family,
        range: std::ops::Range<&[u8]>,
        direction: Direction,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        if matches!(family, Family::Blobs | Family::Idempotency) {
            return Err(StoreError::damaged(family, "a file is damaged"));
        }
        self.0.scan(family, range, direction, visit)
    }
}

#[test]
fn what_the_files_do_not_give_back_stops_no_writer() {
    let store = Store::over(Arc::new(Unreadable::default())).unwrap();
    let mut relay = Relay { writer: Writer::new(store.clone()).unwrap(), store };
    let blob = NewBlob {
        sha256: [1; 32],
        media_type: "image/png".to_owned(),
        bytes: Bytes::from_static(&[1; 1_000]),
        user: "ada".to_owned(),
        quota_bytes: 10_000,
    };
    let (reply, mut begun) = oneshot::channel();
    relay.in_a_batch(Command::BlobBegin { blob: blob.clone(), reply });
    assert_eq!(begun.try_recv().unwrap(), Ok(true));
    let (reply, _) = oneshot::channel();
    relay.in_a_batch(Command::BlobFinish { blob: blob.clone(), reply });
    for _ in 0..2 {
        relay.in_a_batch(Command::Expire { before_ms: NOW });
        let (reply, mut erased) = oneshot::channel();
        relay.in_a_batch(Command::BlobErase { sha256: blob.sha256, reply });
        assert_eq!(erased.try_recv().unwrap().unwrap_err().code, Code::Retry);
        let rows = relay.store.snapshot();
        assert!(rows.get(Family::Blobs, &keys::blob(&blob.sha256)).unwrap().is_some());
        let usage = rows.get(Family::Blobs, &keys::blob_usage("ada")).unwrap().unwrap();
        assert_eq!(BlobUsageRow::decode(&usage).unwrap().bytes, 1_000, "it is counted still");
    }
}
