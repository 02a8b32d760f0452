//! The writer against documents: what it indexes is what Automerge says, and a refused change
//! leaves nothing.

use super::*;
use crate::check::verify;
use crate::commit::command::{Code, Identity, NewMessage, Note, Permit, Rights};
use crate::compact::{IfDue, compacted};
use crate::ranks::{RankCache, Ranks};
use crate::reader::{History, Reader};
use crate::store::kv::Direction;
use backscroll_core::annotation::{AnnotationKey, AnnotationValue, Edit};
use backscroll_core::change::{ActorId16, MessageAuthor};
use backscroll_core::message::{Content, MessageId};
use backscroll_core::segment::SegmentDoc;
use backscroll_core::viewport::{At, Query};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

mod damage;
mod erase;
mod history;
mod notes;
mod rules;

const T0: u64 = 1_700_000_000_000;
const NOW: u64 = T0 + 10_000_000;

/// A store and its writer, driven by hand.
struct Relay {
    store: Store,
    writer: Writer,
}

impl Relay {
    fn new() -> Self {
        let store = Store::in_memory().unwrap();
        Self { writer: Writer::new(store.clone()).unwrap(), store }
    }

    fn restart(&mut self) {
        self.writer = Writer::new(self.store.clone()).unwrap();
    }

    fn push(&mut self, push: Push) -> (PushOutcome, Vec<Committed>) {
        let (reply, mut answer) = oneshot::channel();
        let done = self.writer.commit(vec![Command::Push { push, now_ms: NOW, reply }]).unwrap();
        (answer.try_recv().unwrap(), done.events)
    }

    fn sends(&mut self, sends: Vec<ReadySend>) -> (Vec<Result<Sent, Refusal>>, Vec<Committed>) {
        let mut answers = Vec::new();
        let commands = sends.into_iter().map(|send| {
            let (reply, answer) = oneshot::channel();
            answers.push(answer);
            Command::Send { send: Box::new(send), reply }
        });
        let commands = commands.collect();
        let done = self.writer.commit(commands).unwrap();
        (answers.iter_mut().map(|answer| answer.try_recv().unwrap()).collect(), done.events)
    }

    fn says(
        &mut self,
        notes: &[(MessageId, Note)],
    ) -> (Vec<Result<Sent, Refusal>>, Vec<Committed>) {
        let mut answers = Vec::new();
        let commands = notes.iter().map(|(id, note)| {
            let (reply, answer) = oneshot::channel();
            answers.push(answer);
            let (channel, permit) = ("c".to_owned(), Permit::new(|_| Ok(())));
            let request = AnnotateRequest { channel, id: *id, note: note.clone(), permit };
            Command::Annotate { request, now_ms: NOW, reply }
        });
        let commands = commands.collect();
        let done = self.writer.commit(commands).unwrap();
        (answers.iter_mut().map(|answer| answer.try_recv().unwrap()).collect(), done.events)
    }

    fn compact(&mut self, if_due: IfDue) {
        let reader = self.reader();
        for (window, _) in reader.view().directory("c").unwrap().iter() {
            for doc in [DocKind::Messages, DocKind::Annotations] {
                let job = TailJob { channel: "c".to_owned(), window, doc };
                if let Some(done) = compacted(&reader.view(), &job, if_due).unwrap() {
                    let (reply, _) = oneshot::channel();
                    let compacted = Box::new(done);
                    self.writer.commit(vec![Command::Compacted { compacted, reply }]).unwrap();
                }
            }
        }
    }

    fn reader(&self) -> Reader {
        Reader::new(self.store.clone(), Arc::new(RankCache::default()))
    }

    fn all(&self) -> History {
        let query = Query { at: At::Oldest, before: 0, after: 5_000 };
        self.reader().view().history("c", &query).unwrap()
    }

    /// Every row there is.
    fn dump(&self) -> Vec<(Family, Vec<u8>, Vec<u8>)> {
        let snapshot = self.store.snapshot();
        let range = keys::everything();
        let mut rows = Vec::new();
        for family in Family::ALL {
            let mut visit = |key: &[u8], value: &[u8]| {
                rows.push((family, key.to_vec(), value.to_vec()));
                ControlFlow::Continue(())
            };
            let direction = Direction::Forward;
            snapshot.scan(family, keys::bounds(&range), direction, &mut visit).unwrap();
        }
        rows
    }

    #[track_caller]
    fn assert_sound(&self) {
        let problems = verify(&self.store, |_| {}).unwrap();
        assert!(problems.is_empty(), "{problems:#?}");
    }
}

fn id(time_ms: u64, tail: u128) -> MessageId {
    MessageId::from_parts(time_ms, tail)
}

fn body(from: &str, text: &str) -> Vec<u8> {
    Content::text(from, text).to_body().unwrap()
}

fn push(user: &str, window: Window, doc: DocKind, chunks: Vec<Vec<u8>>) -> Push {
    Push {
        from: Identity::user(user),
        channel: "c".to_owned(),
        window,
        generation: 0,
        doc,
        chunks: chunks.into_iter().map(Bytes::from).collect(),
    }
}

fn send(from: &str, text: &str, id: Option<MessageId>, sent_at: Option<u64>) -> ReadySend {
    let content = Content::text(from, text);
    let body = content.to_body().unwrap();
    let message = NewMessage { id, sent_at, content };
    let request = SendRequest { channel: "c".to_owned(), message, idempotency: None };
    // Any two sends of a test draw different bits.
    static DRAWN: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    let entropy = u128::from(DRAWN.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) << 20;
    ReadySend { request, body, idempotency: None, now_ms: NOW, entropy }
}

fn code_of(outcome: &PushOutcome) -> Option<Code> {
    outcome.refused.as_ref().map(|refused| refused.refusal.code.clone())
}
