//! The two Automerge documents of a window, and the only file that makes or loads one.
//!
//! A document here only receives: changes are made by [`MessageAuthor`] and
//! [`SegmentDoc::annotate`], which know the actor they write as, so Automerge's own local actor, which
//! it draws at random, never gets into a change. Whatever reaches Automerge has passed
//! [`ChangeView::read`] and [`check_header`], with the document itself as the store; saved documents
//! are bounded before they are unpacked.
//!
//! [`MessageAuthor`]: crate::change::MessageAuthor

mod bounds;
mod ledger;

use crate::annotation::{AnnotationKey, AnnotationValue, Annotations, Edit};
use crate::change::{
    ActorId16, ActorState, Authored, ChangeError, ChangeHash, ChangeView, DocKind, MessageAuthor,
    check_header, check_inside, encode_annotations,
};
use crate::limits::{CHANGE_DEPS_MAX, PARTED_BYTES_MAX};
use crate::message::{Content, MessageId};
use crate::window::Window;
use automerge::{
    Automerge, AutomergeError, LoadOptions, ObjId, OnPartialLoad, ROOT, ReadDoc, ScalarValueRef,
    ValueRef, VerificationMode,
};
use ledger::Ledger;
use std::borrow::Cow;
use std::sync::OnceLock;

/// One of a window's documents, in memory.
#[derive(Debug)]
pub struct SegmentDoc {
    window: Window,
    kind: DocKind,
    doc: Automerge,
    /// What changes are checked against; made when it is first asked for.
    ledger: OnceLock<Ledger>,
}

/// What a batch of chunks did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applied {
    /// The changes that the document did not have before, in the order of the batch.
    pub new: Vec<ChangeView>,
    /// How many it had already.
    pub known_len: usize,
}

/// A segment made in one go, by [`SegmentDoc::build`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// Its changes, one per run of messages.
    pub changes: Vec<Authored>,
    /// What its author's last change was.
    pub author: Option<ActorState>,
    /// The saved document.
    pub document: Vec<u8>,
    /// The digest of its changes.
    pub digest: u64,
}

/// Why a document or a change is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentError {
    /// The saved document is larger than any may be, as it is or unpacked.
    #[error("the saved document is larger than any may be")]
    TooLarge,
    /// The bytes are not exactly one saved document.
    #[error("the saved document is malformed: {0}")]
    Malformed(&'static str),
    /// Automerge refuses the saved document or, though they were checked, the changes.
    #[error("automerge refuses it")]
    Automerge(#[from] AutomergeError),
    /// An entry of the saved document has no place in it.
    #[error("an entry has no place in this document")]
    Entry(#[source] ChangeError),
    /// A chunk of a batch is refused, and with it the batch.
    #[error("chunk {index} is refused")]
    Chunk {
        /// Its place in the batch, from 0.
        index: usize,
        /// Why.
        #[source]
        source: ChangeError,
    },
    /// A change cannot be made.
    #[error("the change cannot be made")]
    Author(#[source] ChangeError),
    /// Annotations were asked of a segment, or a change for a document with foreign actors.
    #[error("this document does not take such changes")]
    Kind,
}

impl SegmentDoc {
    /// An empty document.
    #[must_use]
    pub fn new(window: Window, kind: DocKind) -> Self {
        Self::with_doc(window, kind, empty())
    }

    fn with_doc(window: Window, kind: DocKind, doc: Automerge) -> Self {
        Self { window, kind, doc, ledger: OnceLock::new() }
    }

    /// Loads a saved document.
    ///
    /// Automerge unpacks columns without a limit, so they are measured before: packed size, unpacked
    /// size and rows. What it does with a document within these bounds that was made to break it is
    /// not checked; documents come from one's own relay, or from files that the user chose.
    ///
    /// # Errors
    /// The bytes are larger than any document may be, not exactly one saved document, refused by
    /// Automerge, or hold an entry that has no place in this window.
    ///
    /// # Complexity
    /// O(size); about 2 us per message.
    pub fn load(window: Window, kind: DocKind, bytes: &[u8]) -> Result<Self, SegmentError> {
        if bytes.len() > PARTED_BYTES_MAX {
            return Err(SegmentError::TooLarge);
        }
        bounds::check(bytes)?;
        let this = Self::with_doc(window, kind, load(bytes)?);
        this.check_entries().map_err(SegmentError::Entry)?;
        Ok(this)
    }

    fn check_entries(&self) -> Result<(), ChangeError> {
        for item in self.doc.map_range(ROOT, ..) {
            let id = match self.kind {
                DocKind::Messages => {
                    if !matches!(item.value, ValueRef::Scalar(ScalarValueRef::Bytes(_))) {
                        return Err(ChangeError::Shape("a message that is not bytes"));
                    }
                    MessageId::from_key(&item.key).map_err(ChangeError::MessageKey)?
                }
                DocKind::Annotations => {
                    let key: AnnotationKey =
                        item.key.parse().map_err(ChangeError::AnnotationKey)?;
                    if annotation_value(&key, &item.value).is_none() {
                        return Err(ChangeError::Shape("a value of another kind than its key's"));
                    }
                    key.id()
                }
            };
            check_inside(id, self.window)?;
        }
        Ok(())
    }

    /// The window it belongs to.
    #[must_use]
    pub const fn window(&self) -> Window {
        self.window
    }

    /// Which of the window's documents it is.
    #[must_use]
    pub const fn kind(&self) -> DocKind {
        self.kind
    }

    /// Applies a batch of change chunks, each after those that it depends on. Chunks that the
    /// document has already are passed over.
    ///
    /// # Errors
    /// The first chunk that [`ChangeView::read`] or [`check_header`] refuses, a dependency that is
    /// missing included. The document is then as it was.
    ///
    /// # Complexity
    /// O(chunk) each, and in Automerge O(position of the keys): newest messages come first.
    pub fn apply(&mut self, chunks: &[impl AsRef<[u8]>]) -> Result<Applied, SegmentError> {
        let (window, kind) = (self.window, self.kind);
        let ledger = self.checked_ledger()?;
        let mut applied = Applied::default();
        let mut changes = Vec::with_capacity(chunks.len());
        let mut refused = None;
        for (index, chunk) in chunks.iter().enumerate() {
            match admit(ledger, chunk.as_ref(), window, kind) {
                Ok(Some((view, change))) => {
                    applied.new.push(view);
                    changes.push(change);
                }
                Ok(None) => applied.known_len += 1,
                Err(source) => {
                    refused = Some(SegmentError::Chunk { index, source });
                    break;
                }
            }
        }
        if let Some(refused) = refused {
            // The ledger has the batch's first chunks; the document, which it is made from, has not.
            self.ledger.take();
            return Err(refused);
        }
        self.apply_checked(changes)?;
        Ok(applied)
    }

    fn apply_checked(&mut self, changes: Vec<automerge::Change>) -> Result<(), SegmentError> {
        let done = self.doc.apply_changes(changes);
        debug_assert!(done.is_ok() && self.doc.get_missing_deps(&[]).is_empty());
        if done.is_err() {
            self.ledger.take();
        }
        Ok(done?)
    }

    fn ledger(&self) -> &Ledger {
        self.ledger.get_or_init(|| Ledger::of(&self.doc, self.kind))
    }

    /// The ledger to check changes against and add them to.
    fn checked_ledger(&mut self) -> Result<&mut Ledger, SegmentError> {
        self.ledger();
        self.ledger.get_mut().filter(|ledger| ledger.is_complete()).ok_or(SegmentError::Kind)
    }

    /// The document as Automerge saves it; any stock Automerge loads it.
    ///
    /// # Complexity
    /// O(size); about 2.5 us per message.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        self.doc.save()
    }

    /// The changes that no other depends on, ascending.
    #[must_use]
    pub fn heads(&self) -> Vec<ChangeHash> {
        self.doc.get_heads().into_iter().map(|hash| ChangeHash(hash.0)).collect()
    }

    /// The names of all its changes, ascending.
    #[must_use]
    pub fn change_hashes(&self) -> Vec<ChangeHash> {
        self.ledger().hashes().collect()
    }

    /// Whether it has a change.
    #[must_use]
    pub fn has_change(&self, hash: &ChangeHash) -> bool {
        self.ledger().max_op(hash).is_some()
    }

    /// The order-independent sum of its changes' names; see [`digest`].
    #[must_use]
    pub fn digest(&self) -> u64 {
        digest(self.ledger().hashes())
    }

    /// What is known of an actor's changes here.
    #[must_use]
    pub fn actor(&self, actor: ActorId16) -> Option<ActorState> {
        self.ledger().actor(&actor).copied()
    }

    /// The bodies of its messages, newest millisecond first; within one, smallest id first. None in
    /// an annotations document.
    pub fn messages(&self) -> impl Iterator<Item = (MessageId, Cow<'_, [u8]>)> {
        self.doc.map_range(ROOT, ..).filter_map(|item| {
            let id = MessageId::from_key(&item.key).ok()?;
            match item.value {
                ValueRef::Scalar(ScalarValueRef::Bytes(body)) => Some((id, body)),
                _ => None,
            }
        })
    }

    /// The ids of its messages in the order of its keys, which is that of seqs in `segment` frames:
    /// newest millisecond first; within one, smallest id first.
    #[must_use]
    pub fn ids(&self) -> Vec<MessageId> {
        let keys = self.doc.map_range(ROOT, ..).map(|item| MessageId::from_key(&item.key));
        keys.filter_map(Result::ok).collect()
    }

    /// A message's content.
    #[must_use]
    pub fn message(&self, id: MessageId) -> Option<Content> {
        let (value, _) = self.doc.get(ROOT, id.to_key()).ok()??;
        Content::from_body(value.as_bytes()?).ok()
    }

    /// The winning value of every annotation, in the order of keys' texts. None in a segment.
    pub fn annotations(&self) -> impl Iterator<Item = (AnnotationKey, AnnotationValue)> {
        self.doc.map_range(ROOT, ..).filter_map(|item| {
            let key: AnnotationKey = item.key.parse().ok()?;
            annotation_value(&key, &item.value).map(|value| (key, value))
        })
    }

    /// All that is said of one message.
    #[must_use]
    pub fn summary(&self, id: MessageId) -> Annotations {
        let key = id.to_key();
        let mut annotations = Annotations::default();
        // `;` is the character after `:`.
        for item in self.doc.map_range(ROOT, format!("{key}:")..format!("{key};")) {
            let Ok(key) = item.key.parse::<AnnotationKey>() else { continue };
            if let Some(value) = annotation_value(&key, &item.value) {
                annotations.apply(&key, value);
            }
        }
        annotations
    }

    /// Writes annotations as one change over what the document has, and applies it.
    ///
    /// The actor belongs to this document in memory alone (design 4.2).
    ///
    /// # Errors
    /// As [`SegmentDoc::author`]. The document is then as it was.
    pub fn annotate(
        &mut self,
        actor: ActorId16,
        entries: &[(AnnotationKey, AnnotationValue)],
    ) -> Result<Authored, SegmentError> {
        let authored = self.author(actor, entries)?;
        self.apply(&[&authored.chunk])?;
        Ok(authored)
    }

    /// Writes annotations as one change over what the document has; the document stays as it is
    /// until that is applied.
    ///
    /// # Errors
    /// This is a segment; or there are no entries, too many, a key twice or outside the window, a
    /// value out of its bounds or of another kind than its key's.
    pub fn author(
        &mut self,
        actor: ActorId16,
        entries: &[(AnnotationKey, AnnotationValue)],
    ) -> Result<Authored, SegmentError> {
        if self.kind != DocKind::Annotations {
            return Err(SegmentError::Kind);
        }
        let last = self.checked_ledger()?.actor(&actor).copied();
        let (deps, is_all) = dependencies(self.doc.get_heads(), last);
        let mut puts = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let text = key.to_string();
            let current = if is_all {
                self.doc.get_all(ROOT, text)?
            } else {
                self.doc.get_all_at(ROOT, text, &deps)?
            };
            let mut preds: Vec<_> = current.into_iter().filter_map(|(_, id)| op_id(&id)).collect();
            preds.sort_unstable();
            puts.push((key, value, preds));
        }
        let deps: Vec<_> = deps.into_iter().map(|hash| ChangeHash(hash.0)).collect();
        let max_op = deps.iter().filter_map(|dep| self.ledger().max_op(dep)).max().unwrap_or(0);
        let seq = last.map_or(0, |last| last.seq) + 1;
        let (authored, _) = encode_annotations(self.window, (actor, seq), max_op, deps, &puts)
            .map_err(SegmentError::Author)?;
        Ok(authored)
    }

    /// Makes a whole segment at once, for an importer: each run of messages becomes one change of
    /// `actor`. Fastest and smallest with runs of consecutive messages, close to as many as a change
    /// may have.
    ///
    /// # Errors
    /// What [`MessageAuthor::write`] refuses.
    ///
    /// # Complexity
    /// O(n log n) in messages; a few microseconds each.
    pub fn build<'a>(
        window: Window,
        actor: ActorId16,
        runs: impl IntoIterator<Item = &'a [(MessageId, Vec<u8>)]>,
    ) -> Result<Built, SegmentError> {
        let mut author = MessageAuthor::new(window, actor);
        let (mut authored, mut changes) = (Vec::new(), Vec::new());
        for run in runs {
            let (made, change) = author.write_change(run).map_err(SegmentError::Author)?;
            authored.push(made);
            changes.push(change);
        }
        let mut doc = empty();
        doc.apply_changes(changes)?;
        let digest = digest(authored.iter().map(|change| change.hash));
        Ok(Built { changes: authored, author: author.state(), document: doc.save(), digest })
    }
}

/// The order-independent sum of changes' names: of each the first 8 bytes, big-endian, wrapping.
/// Replicas that have the same changes have the same digest.
#[must_use]
pub fn digest(hashes: impl IntoIterator<Item = ChangeHash>) -> u64 {
    hashes.into_iter().fold(0, |sum, hash| sum.wrapping_add(digest_of(hash)))
}

/// One change's part of a [`digest`].
#[must_use]
pub const fn digest_of(hash: ChangeHash) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = hash.0;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// An empty document, whose local actor is a fixed one: it writes nothing.
#[expect(clippy::disallowed_methods, reason = "the random actor is replaced at once")]
fn empty() -> Automerge {
    Automerge::new().with_actor(ActorId16([0; 16]).to_automerge())
}

/// Loads a document; its local actor, drawn at random, is replaced at once.
fn load(bytes: &[u8]) -> Result<Automerge, AutomergeError> {
    let options = LoadOptions::new()
        .on_partial_load(OnPartialLoad::Error)
        .verification_mode(VerificationMode::Check);
    let doc = Automerge::load_with_options(bytes, options)?;
    Ok(doc.with_actor(ActorId16([0; 16]).to_automerge()))
}

type Admitted = Option<(ChangeView, automerge::Change)>;

/// Checks a chunk and enters it into the ledger; `None` if it is there already.
fn admit(
    ledger: &mut Ledger,
    chunk: &[u8],
    window: Window,
    kind: DocKind,
) -> Result<Admitted, ChangeError> {
    let (view, change) = ChangeView::read_change(chunk, window, kind)?;
    if ledger.max_op(&view.hash).is_some() {
        return Ok(None);
    }
    check_header(
        &view,
        ledger.actor(&view.actor),
        |dep| ledger.max_op(dep),
        |key, counter, actor| ledger.has_op(key, counter, actor),
    )?;
    ledger.enter(&view);
    Ok(Some((view, change)))
}

/// The dependencies of a new change, ascending, and whether they are all heads: those, and the
/// author's last change (as in Automerge's own commit). Of more heads than a change may name, the
/// first are taken; the others stay heads for the next writer.
fn dependencies(
    mut heads: Vec<automerge::ChangeHash>,
    last: Option<ActorState>,
) -> (Vec<automerge::ChangeHash>, bool) {
    let last = last.map(|last| automerge::ChangeHash(last.hash.0));
    let is_all = heads.len() < CHANGE_DEPS_MAX;
    if !is_all {
        heads.truncate(CHANGE_DEPS_MAX - 1);
    }
    heads.extend(last.filter(|last| !heads.contains(last)));
    heads.sort_unstable();
    (heads, is_all)
}

fn op_id(id: &ObjId) -> Option<(u64, ActorId16)> {
    match id {
        ObjId::Root => None,
        ObjId::Id(counter, actor, _) => {
            ActorId16::from_automerge(actor).map(|actor| (*counter, actor))
        }
    }
}

fn annotation_value(key: &AnnotationKey, value: &ValueRef<'_>) -> Option<AnnotationValue> {
    let ValueRef::Scalar(value) = value else { return None };
    match (key, value) {
        (AnnotationKey::Edit { .. }, ScalarValueRef::Bytes(bytes)) => {
            Edit::from_bytes(bytes).ok().map(AnnotationValue::Edit)
        }
        (AnnotationKey::Delete { .. }, ScalarValueRef::Boolean(true)) => {
            Some(AnnotationValue::Delete)
        }
        (AnnotationKey::Reaction { .. }, ScalarValueRef::Boolean(on)) => {
            Some(AnnotationValue::Reaction(*on))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
