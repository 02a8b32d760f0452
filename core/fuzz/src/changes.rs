//! Change chunks as a relay meets them: read, held against what is stored, and what passes applied.
//!
//! The script is a document, a level, and chunks; each chunk is given the right checksum unless its
//! first byte says not to.

use super::script::{Script, fix_chunk};
use automerge::{Automerge, ReadDoc};
use backscroll_core::change::{
    ActorId16, ActorState, ChangeBody, ChangeHash, ChangeView, DocKind, MessageAuthor, check_header,
};
use backscroll_core::segment::{SegmentDoc, digest};
use backscroll_core::window::Window;
use std::collections::{BTreeMap, BTreeSet};

/// When all seeds were written, in ms since the Unix epoch.
pub const T0: u64 = 1_700_000_000_000;

/// Most chunks of one script.
const CHUNKS_MAX: usize = 64;

/// Reads a script.
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let (Some(kind), Some(level)) = (script.byte(), script.byte()) else { return };
    let kind = if kind % 2 == 0 { DocKind::Messages } else { DocKind::Annotations };
    let mut store = Store::new(Window::covering(level % 12, T0), kind);
    for _ in 0..CHUNKS_MAX {
        let (Some(fix), Some(bytes)) = (script.byte(), script.bytes()) else { break };
        let mut chunk = bytes.to_vec();
        if fix % 4 != 3 {
            fix_chunk(&mut chunk);
        }
        store.offer(&chunk);
    }
    store.check();
}

/// One document's rows, as a relay keeps them.
struct Store {
    window: Window,
    kind: DocKind,
    actors: BTreeMap<ActorId16, ActorState>,
    changes: BTreeMap<ChangeHash, u64>,
    ops: BTreeSet<(String, u64, ActorId16)>,
    chunks: Vec<Vec<u8>>,
    keys: BTreeSet<String>,
}

impl Store {
    fn new(window: Window, kind: DocKind) -> Self {
        Self {
            window,
            kind,
            actors: BTreeMap::new(),
            changes: BTreeMap::new(),
            ops: BTreeSet::new(),
            chunks: Vec::new(),
            keys: BTreeSet::new(),
        }
    }

    fn offer(&mut self, chunk: &[u8]) {
        let Ok(view) = ChangeView::read(chunk, self.window, self.kind) else { return };
        let passes = check_header(
            &view,
            self.actors.get(&view.actor),
            |dep| self.changes.get(dep).copied(),
            |key, counter, actor| self.ops.contains(&(key.to_owned(), counter, *actor)),
        );
        if self.changes.contains_key(&view.hash) || passes.is_err() {
            return;
        }
        if let ChangeBody::Messages(ops) = &view.body {
            // A relay stores an id once in a channel.
            if ops.iter().any(|op| self.keys.contains(&op.id.to_key())) {
                return;
            }
            self.written_again(&view, chunk);
        }
        self.enter(view);
        self.chunks.push(chunk.to_vec());
    }

    /// The author of a change of messages, had it written the same again.
    fn written_again(&self, view: &ChangeView, chunk: &[u8]) {
        let ChangeBody::Messages(ops) = &view.body else { return };
        let mut author = match self.actors.get(&view.actor) {
            Some(last) => MessageAuthor::resume(self.window, view.actor, *last),
            None => MessageAuthor::new(self.window, view.actor),
        };
        let messages: Vec<_> = ops.iter().map(|op| (op.id, op.body.clone())).collect();
        let again = author.write(&messages).expect("what was read can be written");
        assert_eq!(again.chunk, chunk, "a change has one spelling");
        assert_eq!(author.state(), Some(view.actor_state()));
    }

    fn enter(&mut self, view: ChangeView) {
        self.changes.insert(view.hash, view.max_op());
        self.actors.insert(view.actor, view.actor_state());
        match view.body {
            ChangeBody::Messages(ops) => self.keys.extend(ops.iter().map(|op| op.id.to_key())),
            ChangeBody::Annotations(ops) => {
                self.keys.extend(ops.iter().map(|op| op.key.clone()));
                self.ops.extend(ops.into_iter().map(|op| (op.key, op.op, view.actor)));
            }
        }
    }

    /// What passed goes into our document and a stock one, one by one and at once.
    fn check(&self) {
        let names = || self.changes.keys().copied();
        let mut ours = SegmentDoc::new(self.window, self.kind);
        let applied = ours.apply(&self.chunks).expect("what passed applies");
        assert_eq!(applied.new.len(), self.chunks.len());
        assert_eq!(ours.digest(), digest(names()));
        let saved = ours.save();
        let mut loaded =
            SegmentDoc::load(self.window, self.kind, &saved).expect("what was saved loads");
        assert_eq!((loaded.digest(), loaded.heads()), (ours.digest(), ours.heads()));
        assert_eq!(loaded.change_hashes(), names().collect::<Vec<_>>());
        let again = loaded.apply(&self.chunks).expect("what it has is passed over");
        assert_eq!((again.new.len(), again.known_len), (0, self.chunks.len()));
        let shown = match self.kind {
            DocKind::Messages => loaded.messages().count(),
            DocKind::Annotations => loaded.annotations().count(),
        };
        assert_eq!(shown, self.keys.len(), "each key is shown once");

        #[allow(
            clippy::disallowed_methods,
            reason = "a stock document is what ours is held against"
        )]
        let mut stock = Automerge::new();
        for chunk in &self.chunks {
            let change = automerge::Change::try_from(&chunk[..]).expect("a change");
            stock.apply_changes([change]).expect("it applies");
        }
        let saved = stock.save();
        let reloaded = Automerge::load(&saved).expect("a stock document loads");
        assert_eq!(reloaded.get_changes(&[]).len(), self.chunks.len(), "none hangs in a queue");
        let heads: Vec<_> = reloaded.get_heads().iter().map(|hash| ChangeHash(hash.0)).collect();
        assert_eq!(heads, ours.heads());
        assert_eq!(reloaded.length(automerge::ROOT), self.keys.len());
    }
}
