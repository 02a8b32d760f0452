//! A store as a relay keeps it, with the least code: header checks by look-up, an index from ops.

use backscroll_core::annotation::{AnnotationKey, AnnotationValue, Annotations};
use backscroll_core::change::{
    ActorId16, ActorState, ChangeBody, ChangeError, ChangeHash, ChangeView, DocKind, check_header,
};
use backscroll_core::message::{Content, MessageId};
use backscroll_core::window::Window;
use std::collections::{BTreeMap, HashMap, HashSet};

pub(crate) const T0: u64 = 1_700_000_000_000;

pub(crate) fn window() -> Window {
    Window::covering(3, T0)
}

pub(crate) fn actor(n: u8) -> ActorId16 {
    ActorId16([n; 16])
}

pub(crate) fn id(n: u8) -> MessageId {
    MessageId::from_parts(T0 + u64::from(n), 1)
}

pub(crate) fn body(text: &str) -> Vec<u8> {
    Content::text("ada", text).to_body().unwrap()
}

/// One document's rows.
pub(crate) struct Store {
    kind: DocKind,
    actors: HashMap<ActorId16, ActorState>,
    changes: HashMap<ChangeHash, u64>,
    ops: HashSet<(String, u64, ActorId16)>,
    winners: BTreeMap<String, ((u64, ActorId16), AnnotationKey, AnnotationValue)>,
    pub(crate) messages: BTreeMap<MessageId, Vec<u8>>,
    pub(crate) chunks: Vec<Vec<u8>>,
}

impl Store {
    pub(crate) fn new(kind: DocKind) -> Self {
        Self {
            kind,
            actors: HashMap::new(),
            changes: HashMap::new(),
            ops: HashSet::new(),
            winners: BTreeMap::new(),
            messages: BTreeMap::new(),
            chunks: Vec::new(),
        }
    }

    /// Stores a chunk if it passes every check.
    pub(crate) fn offer(&mut self, chunk: &[u8]) -> Result<(), ChangeError> {
        let view = ChangeView::read(chunk, window(), self.kind)?;
        if self.changes.contains_key(&view.hash) {
            return Ok(());
        }
        check_header(
            &view,
            self.actors.get(&view.actor),
            |dep| self.changes.get(dep).copied(),
            |key, counter, actor| self.ops.contains(&(key.to_owned(), counter, *actor)),
        )?;
        self.enter(view);
        self.chunks.push(chunk.to_vec());
        Ok(())
    }

    fn enter(&mut self, view: ChangeView) {
        self.changes.insert(view.hash, view.max_op());
        self.actors.insert(view.actor, view.actor_state());
        match view.body {
            ChangeBody::Messages(ops) => {
                self.messages.extend(ops.into_iter().map(|op| (op.id, op.body)));
            }
            ChangeBody::Annotations(ops) => {
                for op in ops {
                    let number = (op.op, view.actor);
                    self.ops.insert((op.key.clone(), op.op, view.actor));
                    if self.winners.get(&op.key).is_none_or(|(known, ..)| *known < number) {
                        self.winners.insert(op.key, (number, op.target, op.value));
                    }
                }
            }
        }
    }

    /// The index: what is said of each message.
    pub(crate) fn summaries(&self) -> BTreeMap<MessageId, Annotations> {
        let mut summaries: BTreeMap<MessageId, Annotations> = BTreeMap::new();
        for (_, key, value) in self.winners.values() {
            summaries.entry(key.id()).or_default().apply(key, value.clone());
        }
        summaries
    }
}
