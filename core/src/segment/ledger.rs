//! What a document has, as header checks ask for it: actors, changes, and the ops of annotations.

use crate::change::{ActorId16, ActorState, ChangeBody, ChangeHash, ChangeView, DocKind};
use automerge::Automerge;
use automerge::legacy;
use std::collections::{BTreeMap, BTreeSet};

/// A document's changes by actor and by name, and (annotations only) its ops by key.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    actors: BTreeMap<ActorId16, ActorState>,
    max_ops: BTreeMap<ChangeHash, u64>,
    ops: BTreeMap<String, BTreeSet<(u64, ActorId16)>>,
    has_foreign_actors: bool,
}

impl Ledger {
    /// The ledger of a document.
    ///
    /// # Complexity
    /// O(changes) for a segment; for annotations their ops are decoded as well.
    pub(super) fn of(doc: &Automerge, kind: DocKind) -> Self {
        let mut ledger = Self::default();
        match kind {
            DocKind::Messages => {
                for change in doc.get_changes_meta(&[]) {
                    ledger.enter_change(&change.actor, change.seq, change.max_op, change.hash);
                }
            }
            DocKind::Annotations => {
                for change in doc.get_changes(&[]) {
                    let (actor, max_op) = (change.actor_id(), change.max_op());
                    ledger.enter_change(actor, change.seq(), max_op, change.hash());
                    ledger.enter_ops(&change.decode());
                }
            }
        }
        ledger
    }

    fn enter_change(
        &mut self,
        actor: &automerge::ActorId,
        seq: u64,
        max_op: u64,
        hash: automerge::ChangeHash,
    ) {
        let hash = ChangeHash(hash.0);
        self.max_ops.insert(hash, max_op);
        match ActorId16::from_automerge(actor) {
            Some(actor) => self.enter_actor(actor, ActorState { seq, hash, max_op }),
            None => self.has_foreign_actors = true,
        }
    }

    fn enter_actor(&mut self, actor: ActorId16, state: ActorState) {
        let last = self.actors.entry(actor).or_insert(state);
        if last.seq < state.seq {
            *last = state;
        }
    }

    fn enter_ops(&mut self, change: &automerge::ExpandedChange) {
        let Some(actor) = ActorId16::from_automerge(&change.actor_id) else { return };
        for (counter, op) in (change.start_op.get()..).zip(&change.operations) {
            if let (legacy::ObjectId::Root, legacy::Key::Map(key)) = (&op.obj, &op.key) {
                self.ops.entry(key.to_string()).or_default().insert((counter, actor));
            }
        }
    }

    /// Enters a change that is about to be applied.
    pub(super) fn enter(&mut self, view: &ChangeView) {
        self.max_ops.insert(view.hash, view.max_op());
        self.enter_actor(view.actor, view.actor_state());
        if let ChangeBody::Annotations(ops) = &view.body {
            for op in ops {
                self.ops.entry(op.key.clone()).or_default().insert((op.op, view.actor));
            }
        }
    }

    /// Whether it knows everything: a document that others wrote may have actors of other lengths.
    pub(super) const fn is_complete(&self) -> bool {
        !self.has_foreign_actors
    }

    pub(super) fn actor(&self, actor: &ActorId16) -> Option<&ActorState> {
        self.actors.get(actor)
    }

    pub(super) fn max_op(&self, hash: &ChangeHash) -> Option<u64> {
        self.max_ops.get(hash).copied()
    }

    pub(super) fn has_op(&self, key: &str, counter: u64, actor: &ActorId16) -> bool {
        self.ops.get(key).is_some_and(|ops| ops.contains(&(counter, *actor)))
    }

    pub(super) fn hashes(&self) -> impl Iterator<Item = ChangeHash> {
        self.max_ops.keys().copied()
    }
}
