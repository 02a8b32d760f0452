//! How rows are written and read. A row that does not read back is damage, never a guess.
//!
//! Integers are LEB128 unless a comment says otherwise; lengths come before what they measure.

mod annotations;
mod blobs;
mod bytes;

pub use annotations::AnnotationRow;
pub use blobs::{BlobReservedRow, BlobRow, BlobUsageRow};
pub use bytes::Take;

use super::StoreError;
use super::keys::doc_byte;
use super::kv::Family;
use annotations::{put_annotations, take_annotations};
use backscroll_core::annotation::Annotations;
use backscroll_core::change::{ActorState, ChangeHash, DocKind};
use backscroll_core::directory::{DocMark, Entry};
use backscroll_core::message::MessageId;
use backscroll_core::read_state::ReadState;
use backscroll_core::window::Window;
use backscroll_core::wire::LateRun;
use bytes::{put_bytes, put_number};

/// The state of a channel: one row, read and written with every change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeadRow {
    /// Seq of the last op; 0 before the first.
    pub seq: u64,
    /// Hash of the last change; zeroes before the first.
    pub hash: [u8; 32],
    /// Messages, deleted ones included.
    pub total: u64,
    /// The greatest id.
    pub newest: Option<MessageId>,
    /// Seq of the last mark of a retention; 0 if nothing was ever dropped. Cursors below it do not
    /// hold, and below it seqs are missing in the log.
    pub floor: u64,
}

/// A change in the log, or the mark of a retention.
///
/// An erased change keeps its place, so that cursors and seqs stay true: all but its chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRow {
    /// The window.
    pub window: Window,
    /// Its generation when the change came.
    pub generation: u32,
    /// The document.
    pub doc: DocKind,
    /// The change's hash.
    pub hash: ChangeHash,
    /// Its ops: it takes as many seqs.
    pub ops: u64,
    /// Whose actor wrote it; empty is the relay.
    pub user: String,
    /// Late bits of its messages in id order ([`backscroll_core::wire::is_late`]).
    pub late: Vec<u8>,
    /// The chunk; empty if it was erased.
    pub chunk: Vec<u8>,
}

/// A saved document: everything up to a seq.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocRow {
    /// The seq of the last op in it.
    pub upto_seq: u64,
    /// The window's generation.
    pub generation: u32,
    /// Digest of its changes.
    pub digest: u64,
    /// The document.
    pub bytes: Vec<u8>,
}

/// Changes of a document that no saved document holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TailSize {
    /// How many.
    pub changes: u64,
    /// Bytes of their chunks.
    pub bytes: u64,
}

/// A directory entry, and what the compactor needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryRow {
    /// What clients see.
    pub entry: Entry,
    /// The segment's changes after its saved document.
    pub message_tail: TailSize,
    /// The annotations' changes after their saved document.
    pub annotation_tail: TailSize,
}

/// What the store knows of an actor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActorRow {
    /// Whose actor it is; empty is the relay's.
    pub user: String,
    /// Its last change.
    pub state: ActorState,
}

/// A message.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexRow {
    /// Its seq.
    pub seq: u64,
    /// Whether it came late.
    pub late: bool,
    /// The level of its window; the id's time gives the start.
    pub level: u8,
    /// What its sender wrote: the bytes of the document.
    pub body: Vec<u8>,
    /// Edit, deletion and reactions.
    pub annotations: Annotations,
}

/// A message's place in its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberRow {
    /// Its seq.
    pub seq: u64,
    /// Whether it came late.
    pub late: bool,
}

/// A message that came late, under its seq.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LateRow(pub MessageId);

/// An annotation change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashRow {
    /// Its first seq.
    pub first_seq: u64,
    /// Its greatest op counter.
    pub max_op: u64,
}

/// What an idempotency key stood for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdempotencyRow {
    /// When, in ms since the Unix epoch.
    pub at_ms: u64,
    /// The message.
    pub id: MessageId,
}

/// The generation of a mark in the log: no window gets that far.
const MARK_GENERATION: u32 = u32::MAX;

impl LogRow {
    /// The mark that a retention leaves: it takes one seq, so that what clients knew before is told
    /// from what they learn after. Its hash is random.
    #[must_use]
    pub fn mark(hash: ChangeHash) -> Self {
        Self {
            window: Window::covering(0, 0),
            generation: MARK_GENERATION,
            doc: DocKind::Messages,
            hash,
            ops: 1,
            user: String::new(),
            late: Vec::new(),
            chunk: Vec::new(),
        }
    }

    /// Whether it is the mark of a retention.
    #[must_use]
    pub const fn is_mark(&self) -> bool {
        self.generation == MARK_GENERATION
    }

    /// Whether its content is gone: erased, or a mark that never had any.
    #[must_use]
    pub const fn is_erased(&self) -> bool {
        self.chunk.is_empty()
    }

    /// Seq of the last op of the change that starts at `first_seq`.
    #[must_use]
    pub const fn last_seq(&self, first_seq: u64) -> u64 {
        first_seq + self.ops.saturating_sub(1)
    }
}

impl DirectoryRow {
    /// The tail of a document.
    #[must_use]
    pub const fn tail(&self, doc: DocKind) -> TailSize {
        match doc {
            DocKind::Messages => self.message_tail,
            DocKind::Annotations => self.annotation_tail,
        }
    }

    /// The tail of a document, to change it.
    pub const fn tail_mut(&mut self, doc: DocKind) -> &mut TailSize {
        match doc {
            DocKind::Messages => &mut self.message_tail,
            DocKind::Annotations => &mut self.annotation_tail,
        }
    }

    /// The mark of a document.
    #[must_use]
    pub const fn mark(&self, doc: DocKind) -> DocMark {
        match doc {
            DocKind::Messages => self.entry.message_doc,
            DocKind::Annotations => self.entry.annotation_doc,
        }
    }
}

/// A row as bytes and back.
pub trait Row: Sized {
    /// Where rows of this kind are.
    const FAMILY: Family;

    /// The row as bytes.
    fn encode(&self) -> Vec<u8>;

    /// Reads the row; `None` is damage.
    fn take(bytes: &mut Take<'_>) -> Option<Self>;

    /// Reads the row.
    ///
    /// # Errors
    /// The bytes are not exactly one row.
    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let mut take = Take::new(bytes);
        Self::take(&mut take)
            .filter(|_| take.is_at_end())
            .ok_or(StoreError::damaged(Self::FAMILY, "it does not read back"))
    }
}

fn put_window(out: &mut Vec<u8>, window: Window) {
    out.push(window.level());
    put_number(out, window.start_ms());
}

fn take_window(take: &mut Take<'_>) -> Option<Window> {
    Window::new(take.byte()?, take.number()?).ok()
}

fn take_doc(take: &mut Take<'_>) -> Option<DocKind> {
    match take.byte()? {
        0 => Some(DocKind::Messages),
        1 => Some(DocKind::Annotations),
        _ => None,
    }
}

fn take_id(take: &mut Take<'_>) -> Option<MessageId> {
    MessageId::from_bytes(take.array()?).ok()
}

fn take_small(take: &mut Take<'_>) -> Option<u32> {
    u32::try_from(take.number()?).ok()
}

fn take_text(take: &mut Take<'_>) -> Option<String> {
    String::from_utf8(take.bytes()?.to_vec()).ok()
}

/// An optional id: 16 zero bytes are none, which no id is.
fn put_maybe_id(out: &mut Vec<u8>, id: Option<MessageId>) {
    out.extend(id.map_or([0; 16], MessageId::to_bytes));
}

fn take_maybe_id(take: &mut Take<'_>) -> Option<Option<MessageId>> {
    let bytes = take.array()?;
    if bytes == [0; 16] {
        return Some(None);
    }
    MessageId::from_bytes(bytes).ok().map(Some)
}

impl Row for HeadRow {
    const FAMILY: Family = Family::Meta;

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(72);
        put_number(&mut out, self.seq);
        out.extend(self.hash);
        put_number(&mut out, self.total);
        put_maybe_id(&mut out, self.newest);
        if self.floor > 0 {
            put_number(&mut out, self.floor);
        }
        out
    }

    fn take(take: &mut Take<'_>) -> Option<Self> {
        Some(Self {
            seq: take.number()?,
            hash: take.array()?,
            total: take.number()?,
            newest: take_maybe_id(take)?,
            floor: if take.is_at_end() { 0 } else { take.number()? },
        })
    }
}

impl Row for LogRow {
    const FAMILY: Family = Family::Log;

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.user.len() + self.chunk.len());
        put_window(&mut out, self.window);
        put_number(&mut out, u64::from(self.generation));
        out.push(doc_byte(self.doc));
        out.extend(self.hash.0);
        put_number(&mut out, self.ops);
        put_bytes(&mut out, self.user.as_bytes());
        put_bytes(&mut out, &self.late);
        put_bytes(&mut out, &self.chunk);
        out
    }

    fn take(take: &mut Take<'_>) -> Option<Self> {
        Some(Self {
            window: take_window(take)?,
            generation: take_small(take)?,
            doc: take_doc(take)?,
            hash: ChangeHash(take.array()?),
            ops: take.number()?,
            user: take_text(take)?,
            late: take.bytes()?.to_vec(),
            chunk: take.bytes()?.to_vec(),
        })
    }
}

impl Row for DocRow {
    const FAMILY: Family = Family::Docs;

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24 + self.bytes.len());
        put_number(&mut out, self.upto_seq);
        put_number(&mut out, u64::from(self.generation));
        out.extend(self.digest.to_be_bytes());
        put_bytes(&mut out, &self.bytes);
        out
    }

    fn take(take: &mut Take<'_>) -> Option<Self> {
        Some(Self {
            upto_seq: take.number()?,
            generation: take_small(take)?,
            digest: u64::from_be_bytes(take.array()?),
            bytes: take.bytes()?.to_vec(),
        })
    }
}

fn put_mark(out: &mut Vec<u8>, mark: DocMark, tail: TailSize) {
    put_number(out, mark.last_seq);
    out.extend(mark.digest.to_be_bytes());
    put_number(out, tail.changes);
    put_number(out, tail.bytes);
}

fn take_mark(take: &mut Take<'_>) -> Option<(DocMark, TailSize)> {
    let mark = DocMark { last_seq: take.number()?, digest: u64::from_be_bytes(take.array()?) };
    Some((mark, TailSize { changes: take.number()?, bytes: take.number()? }))
}

impl Row for DirectoryRow {
    const FAMILY: Family = Family::Directory;

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        let entry = &self.entry;
        put_number(&mut out, u64::from(entry.generation));
        for number in [entry.messages, entry.bytes, entry.first_ms, entry.last_ms] {
            put_number(&mut out, number);
        }
        put_mark(&mut out, entry.message_doc, self.message_tail);
        put_mark(&mut out, entry.annotation_doc, self.annotation_tail);
        out
    }

    fn take(take: &mut Take<'_>) -> Option<Self> {
        let generation = take_small(take)?;
        let (messages, bytes) = (take.number()?, take.number()?);
        let (first_ms, last_ms) = (take.number()?, take.number()?);
        let (message_doc, message_tail) = take_mark(take)?;
        let (annotation_doc, annotation_tail) = take_mark(take)?;
        let entry =
            Entry { generation, messages, bytes, first_ms, last_ms, message_doc, annotation_doc };
        Some(Self { entry, message_tail, annotation_tail })
    }
}

impl Row for ActorRow {
    const FAMILY: Family = Family::Actors;

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(48 + self.user.len());
        put_bytes(&mut out, self.user.as_bytes());
        put_number(&mut out, self.state.seq);
        out.extend(self.state.hash.0);
        put_number(&mut out, self.state.max_op);
        out
    }

    fn take(take: &mut Take<'_>) -> Option<Self> {
        let user = take_text(take)?;
        let (seq, hash) = (take.number()?, ChangeHash(take.array()?));
        Some(Self { user, state: ActorState { seq, hash, max_op: take.number()? } })
    }
}

/// The late bit shares a number with the seq: most rows then spend no byte on it.
fn put_seq(out: &mut Vec<u8>, seq: u64, late: bool) {
    put_number(out, seq << 1 | u64::from(late));
}

fn take_seq(take: &mut Take<'_>) -> Option<(u64, bool)> {
    let number = take.number()?;
    Some((number >> 1, number & 1 == 1))
}

impl Row for IndexRow {
    const FAMILY: Family = Family::Index;

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + self.body.len());
        put_seq(&mut out, self.seq, self.late);
        out.push(self.level);
        put_bytes(&mut out, &self.body);
        put_annotations(&mut out, &self.annotations);
        out
    }

    fn take(take: &mut Take<'_>) -> Option<Self> {
        let (seq, late) = take_seq(take)?;
        let level = take.byte()?;
        let body = take.bytes()?.to_vec();
        Some(Self { seq, late, level, body, annotations: take_annotations(take)? })
    }
}

impl Row for MemberRow {
    const FAMILY: Family = Family::Members;

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(6);
        put_seq(&mut out, self.seq, self.late);
        out
    }

    fn take(take: &mut Take<'_>) -> Option<Self> {
        let (seq, late) = take_seq(take)?;
        Some(Self { seq, late })
    }
}

impl Row for LateRow {
    const FAMILY: Family = Family::Late;

    fn encode(&self) -> Vec<u8> {
        self.0.to_bytes().to_vec()
    }

    fn take(take: &mut Take<'_>) -> Option<Self> {
        take_id(take).map(Self)
    }
}

impl Row for HashRow {
    const FAMILY: Family = Family::Hashes;

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(12);
        put_number(&mut out, self.first_seq);
        put_number(&mut out, self.max_op);
        out
    }

    fn take(take: &mut Take<'_>) -> Option<Self> {
        Some(Self { first_seq: take.number()?, max_op: take.number()? })
    }
}

impl Row for IdempotencyRow {
    const FAMILY: Family = Family::Idempotency;

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        put_number(&mut out, self.at_ms);
        out.extend(self.id.to_bytes());
        out
    }

    fn take(take: &mut Take<'_>) -> Option<Self> {
        Some(Self { at_ms: take.number()?, id: take_id(take)? })
    }
}

impl Row for ReadState {
    const FAMILY: Family = Family::Reads;

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(40);
        put_maybe_id(&mut out, self.read);
        put_number(&mut out, self.seq);
        put_number(&mut out, self.delivered);
        for run in &self.unseen_late {
            out.extend(run.first.to_bytes());
            out.extend(run.last.to_bytes());
            put_number(&mut out, u64::from(run.count));
        }
        out
    }

    fn take(take: &mut Take<'_>) -> Option<Self> {
        let (read, seq, delivered) = (take_maybe_id(take)?, take.number()?, take.number()?);
        let mut unseen_late = Vec::new();
        while !take.is_at_end() {
            let (first, last) = (take_id(take)?, take_id(take)?);
            unseen_late.push(LateRun { first, last, count: take_small(take)? });
        }
        Some(Self { read, seq, delivered, unseen_late })
    }
}
