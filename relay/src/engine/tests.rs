//! The threads together: durable answers, live compaction, failure, shutdown.

use super::*;
use crate::bulk::Import;
use crate::check::verify;
use crate::commit::{Committed, Identity, NewMessage, Nobody};
use crate::reader::HaveSeqs;
use crate::store::keys;
use crate::store::kv::{Batch, Direction, Durability, Family, Kv, Snapshot};
use crate::store::memory::MemoryKv;
use backscroll_core::annotation::{AnnotationKey, AnnotationValue, Annotations};
use backscroll_core::change::{ActorId16, ChangeBody, ChangeView, DocKind, MessageAuthor};
use backscroll_core::message::{Content, MessageId};
use backscroll_core::segment::SegmentDoc;
use backscroll_core::viewport::{At, Query};
use backscroll_core::window::Window;
use backscroll_core::wire::is_late;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap()
}

fn request(from: &str, text: &str) -> SendRequest {
    let message = NewMessage { id: None, sent_at: None, content: Content::text(from, text) };
    SendRequest { channel: "c".to_owned(), message, idempotency: None }
}

/// Keeps every event, in order.
#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<Committed>>);

impl Publish for Recorder {
    fn publish(&self, events: &[Committed]) {
        self.0.lock().unwrap().extend_from_slice(events);
    }
}

#[test]
fn what_is_acknowledged_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let recorder = Arc::new(Recorder::default());
    let engine = Engine::start(Store::open(folder.path()).unwrap(), recorder.clone()).unwrap();
    let epoch = engine.epoch();
    let mut acknowledged = runtime.block_on(async {
        let senders: Vec<_> = (0..8)
            .map(|sender| {
                let engine = engine.clone();
                tokio::spawn(async move {
                    let mut sent = Vec::new();
                    for i in 0..200 {
                        let request = request(&format!("u{sender}"), &i.to_string());
                        sent.push(engine.send(request).await.unwrap());
                    }
                    sent
                })
            })
            .collect();
        let mut all = Vec::new();
        for sender in senders {
            all.extend(sender.await.unwrap());
        }
        all
    });
    engine.shutdown();
    drop(engine);
    let store = Store::open_existing(folder.path()).unwrap();
    assert_eq!(store.epoch(), epoch);
    assert_eq!(verify(&store, |_| {}).unwrap(), []);
    let reader = Reader::new(store, Arc::default());
    let query = Query { at: At::Oldest, before: 0, after: 5_000 };
    let history = reader.view().history("c", &query).unwrap();
    let mut stored: Vec<_> = history.messages.iter().map(|row| (row.seq, row.id)).collect();
    stored.sort_unstable();
    acknowledged.sort_unstable_by_key(|sent| sent.seq);
    assert_eq!(stored, acknowledged.iter().map(|sent| (sent.seq, sent.id)).collect::<Vec<_>>());
    assert_eq!(stored.len(), 1_600);
    let events = recorder.0.lock().unwrap();
    let mut next = 1;
    for event in events.iter() {
        let Committed::Change(change) = event else { panic!("{event:?}") };
        assert_eq!(change.first_seq, next, "events come in the order of seqs, without a gap");
        next = change.last_seq + 1;
    }
    assert_eq!(next, 1_601);
}

/// A message as a copy holds it: id, body, seq and late bit, annotations.
type Held = (MessageId, Vec<u8>, (u64, bool), Annotations);

/// A client's copy of a window: documents and facts, built from answers and changes.
struct Copy {
    window: Window,
    documents: BTreeMap<DocKind, SegmentDoc>,
    facts: BTreeMap<MessageId, (u64, bool)>,
    have: HaveSeqs,
}

impl Copy {
    fn new(window: Window) -> Self {
        let documents = [DocKind::Messages, DocKind::Annotations]
            .map(|doc| (doc, SegmentDoc::new(window, doc)));
        let (facts, have) = (BTreeMap::new(), HaveSeqs::default());
        Self { window, documents: documents.into(), facts, have }
    }

    fn apply(&mut self, doc: DocKind, seq: u64, chunk: &[u8], late: &[u8]) {
        self.documents.get_mut(&doc).unwrap().apply(&[chunk]).unwrap();
        let view = ChangeView::read(chunk, self.window, doc).unwrap();
        let ChangeBody::Messages(ops) = view.body else { return };
        let mut ids: Vec<_> = ops.iter().map(|op| op.id).collect();
        ids.sort_unstable();
        for (at, id) in ids.into_iter().enumerate() {
            self.facts.insert(id, (seq + at as u64, is_late(late, at)));
        }
    }

    fn fetch(&mut self, reader: &Reader, have: HaveSeqs) -> u64 {
        let answer = reader.view().segment("c", self.window, have).unwrap();
        let Some(entry) = answer.entry else { return answer.as_of };
        if let Some(saved) = answer.messages {
            let loaded = SegmentDoc::load(self.window, DocKind::Messages, &saved.bytes).unwrap();
            let ids = loaded.ids();
            assert_eq!((answer.seqs.len(), answer.late.len()), (ids.len(), ids.len()));
            let facts = answer.seqs.into_iter().zip(answer.late);
            self.facts.extend(ids.into_iter().zip(facts));
            self.documents.insert(DocKind::Messages, loaded);
        }
        if let Some(saved) = answer.annotations {
            let loaded = SegmentDoc::load(self.window, DocKind::Annotations, &saved.bytes).unwrap();
            self.documents.insert(DocKind::Annotations, loaded);
        }
        for tail in answer.message_tail {
            self.apply(DocKind::Messages, tail.seq, &tail.chunk, &tail.late);
        }
        for tail in answer.annotation_tail {
            self.apply(DocKind::Annotations, tail.seq, &tail.chunk, &tail.late);
        }
        assert_eq!(self.documents[&DocKind::Messages].digest(), entry.message_doc.digest);
        assert_eq!(self.documents[&DocKind::Annotations].digest(), entry.annotation_doc.digest);
        let (messages, annotations) = (answer.as_of, answer.as_of);
        self.have = HaveSeqs { generation: entry.generation, messages, annotations };
        answer.as_of
    }

    fn state(&self) -> Vec<Held> {
        let annotations = &self.documents[&DocKind::Annotations];
        let messages = self.documents[&DocKind::Messages].messages();
        messages
            .map(|(id, body)| (id, body.into_owned(), self.facts[&id], annotations.summary(id)))
            .collect()
    }
}

/// What a client writes to one window: messages, every seventh late, and reactions to them.
struct Source {
    window: Window,
    t0: u64,
    author: MessageAuthor,
    annotations: SegmentDoc,
    first: MessageId,
}

impl Source {
    fn new(window: Window, t0: u64) -> Self {
        let author = MessageAuthor::new(window, ActorId16([1; 16]));
        let annotations = SegmentDoc::new(window, DocKind::Annotations);
        Self { window, t0, author, annotations, first: MessageId::from_parts(t0 + 100_000, 0) }
    }

    fn push(&mut self, i: u64) -> Push {
        let (doc, chunk) = if i % 5 == 4 {
            let (user, emoji) = ("ada".to_owned(), format!("e{}", i % 3));
            let key = AnnotationKey::Reaction { id: self.first, user, emoji };
            let entry = (key, AnnotationValue::Reaction(i.is_multiple_of(2)));
            let authored = self.annotations.annotate(ActorId16([2; 16]), &[entry]).unwrap();
            (DocKind::Annotations, authored.chunk)
        } else {
            let late = i % 7 == 3;
            let time = self.t0 + if late { i * 10 } else { 100_000 + i * 1_000 };
            let body = Content::text("ada", &i.to_string()).to_body().unwrap();
            let id = MessageId::from_parts(time, u128::from(i));
            (DocKind::Messages, self.author.write(&[(id, body)]).unwrap().chunk)
        };
        Push {
            from: Identity::user("ada"),
            channel: "c".to_owned(),
            window: self.window,
            generation: 0,
            doc,
            chunks: vec![chunk.into()],
        }
    }
}

/// While changes come in one by one and the compactor folds them, a window fetched anew, a window
/// extended by what it lacks, and one built from the log alone are the same at every seq.
#[test]
fn answers_at_every_seq_are_the_same_while_compaction_runs() {
    let runtime = runtime();
    let engine = Engine::start(Store::in_memory().unwrap(), Arc::new(Nobody)).unwrap();
    let reader = engine.reader();
    let t0 = now_ms() - 100_000_000;
    let window = Window::covering(0, t0);
    let mut source = Source::new(window, t0);
    let (mut reference, mut extended) = (Copy::new(window), Copy::new(window));
    let (mut answers_with_saved, mut seq) = (0, 0);
    // At least this many, then until the compactor had its turn a few times; the bound is far off.
    while seq < 300 || (answers_with_saved < 50 && seq < 8_000) {
        let outcome = runtime.block_on(engine.push(source.push(seq))).unwrap();
        seq += 1;
        assert_eq!((outcome.stored, outcome.refused), (vec![seq], None));
        for change in reader.view().changes("c", seq - 1, 10).unwrap() {
            let row = change.row;
            reference.apply(row.doc, change.first_seq, &row.chunk, &row.late);
        }
        let mut fresh = Copy::new(window);
        assert_eq!(fresh.fetch(&reader, HaveSeqs::default()), seq);
        let have = extended.have;
        extended.fetch(&reader, have);
        assert!(fresh.state() == reference.state(), "fetched anew at seq {seq}");
        assert!(extended.state() == reference.state(), "extended at seq {seq}");
        let answer = reader.view().segment("c", window, HaveSeqs::default()).unwrap();
        answers_with_saved += u64::from(answer.messages.is_some());
    }
    assert!(answers_with_saved >= 50, "the compactor must have folded the window meanwhile");
    engine.shutdown();
}

/// A store whose disk fails when it is told to.
#[derive(Debug, Default)]
struct Failing {
    inner: MemoryKv,
    fails: AtomicBool,
}

impl Kv for Failing {
    fn write(&self, batch: Batch, durability: Durability) -> Result<(), StoreError> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(StoreError::NoFamily("disk"));
        }
        self.inner.write(batch, durability)
    }

    fn snapshot(&self) -> Box<dyn Snapshot + '_> {
        self.inner.snapshot()
    }
}

#[test]
fn after_a_failed_write_nothing_is_acknowledged_or_told() {
    let runtime = runtime();
    let kv = Arc::new(Failing::default());
    let recorder = Arc::new(Recorder::default());
    let engine = Engine::start(Store::over(kv.clone()).unwrap(), recorder.clone()).unwrap();
    let mut failed = engine.failed();
    runtime.block_on(async {
        engine.send(request("ada", "good")).await.unwrap();
        kv.fails.store(true, Ordering::SeqCst);
        let refusal = engine.send(request("ada", "lost")).await.unwrap_err();
        assert_eq!(refusal.code, Code::Retry);
        failed.wait_for(|failed| *failed).await.unwrap();
        kv.fails.store(false, Ordering::SeqCst);
        let refusal = engine.send(request("ada", "after")).await.unwrap_err();
        assert_eq!(refusal.code, Code::Retry, "a store that failed stays shut");
    });
    assert_eq!(recorder.0.lock().unwrap().len(), 1);
    assert_eq!(engine.reader().view().head("c").unwrap().total, 1);
    engine.shutdown();
}

/// Waits until something is so.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_retention_passes_over_damaged_channels_and_the_relay_goes_on() {
    let store = Store::in_memory().unwrap();
    // In the order in which they are looked through.
    let kinds = [("a", Family::Meta), ("b", Family::Directory), ("c", Family::Members)];
    let mut batch = Batch::new();
    for (name, number) in ["a", "b", "c", "d"].into_iter().zip(1..) {
        let mut import = Import::begin(&store, name, now_ms()).unwrap();
        for i in 0..10 {
            let body = Content::text("ada", "old").to_body().unwrap();
            import.add(MessageId::from_parts(1_700_000_000_000 + i, 1), body).unwrap();
        }
        import.finish().unwrap();
        let Some((_, family)) = kinds.iter().find(|(channel, _)| *channel == name) else {
            continue;
        };
        let head = keys::head(number);
        let range = match family {
            Family::Meta => head.clone()..[head.as_slice(), &[0]].concat(),
            _ => keys::channel(number),
        };
        let mut damage = |key: &[u8], _: &[u8]| {
            batch.put(*family, key.to_vec(), vec![0xff; 3]);
            std::ops::ControlFlow::Continue(())
        };
        let (snapshot, direction) = (store.snapshot(), Direction::Forward);
        snapshot.scan(*family, keys::bounds(&range), direction, &mut damage).unwrap();
    }
    store.kv().write(batch, Durability::Sync).unwrap();
    let rule = Rule { channel: "*".to_owned(), max_age: None, max_messages: Some(0) };
    let disk = DiskRoom::endless();
    let engine = Engine::start_on(store, Arc::new(Nobody), disk, vec![rule]).unwrap();
    let reader = engine.reader();
    wait_until("what is sound is dropped", || reader.view().head("d").unwrap().total == 0);
    let names = |view: &crate::reader::View<'_>| {
        view.channels_after(None, usize::MAX, |_| true)
            .unwrap()
            .into_iter()
            .map(|one| (one.channel, one.total))
            .collect::<Vec<_>>()
    };
    let all = ["a", "b", "c", "d"].map(str::to_owned).into_iter().zip([0, 10, 10, 0]);
    assert_eq!(names(&reader.view()), all.collect::<Vec<_>>(), "the list has all of them");
    let runtime = runtime();
    let to = |channel: &str| SendRequest { channel: channel.to_owned(), ..request("ada", "new") };
    let refusal = runtime.block_on(engine.send(to("a"))).unwrap_err();
    assert_eq!(refusal.code, Code::Retry, "{refusal}");
    assert!(refusal.text.contains("a: a row of kind meta is damaged"), "{refusal}");
    runtime.block_on(engine.send(to("e"))).unwrap();
    assert!(!*engine.failed().borrow());
    engine.shutdown();
}

#[test]
fn bad_fields_are_refused_by_name() {
    let engine = Engine::start(Store::in_memory().unwrap(), Arc::new(Nobody)).unwrap();
    let runtime = runtime();
    let code = |request| runtime.block_on(engine.send(request)).unwrap_err().code;
    let with = |change: fn(&mut SendRequest)| {
        let mut request = request("ada", "hi");
        change(&mut request);
        request
    };
    assert_eq!(code(with(|r| r.channel.clear())), Code::BadChannel);
    assert_eq!(code(with(|r| r.channel = "x".repeat(256))), Code::BadChannel);
    assert_eq!(code(with(|r| r.message.content.from.clear())), Code::BadRequest);
    assert_eq!(code(with(|r| r.message.content.text = "x".repeat(65_537))), Code::TooLarge);
    assert_eq!(code(with(|r| r.message.sent_at = Some(1 << 50))), Code::BadRequest);
    assert_eq!(code(with(|r| r.idempotency = Some(String::new()))), Code::BadRequest);
    engine.shutdown();
    assert_eq!(code(request("ada", "late")), Code::Retry);
}
