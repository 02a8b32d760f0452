//! One channel's import: placing, handing over, putting rows in order.

use super::BulkError;
use super::worker::{Job, Made, Ticket, Workers};
use crate::commit::Code;
use crate::commit::apply::{ChangeRows, MessageRows, put_change, put_message};
use crate::commit::channel::Channel;
use crate::commit::check::{Target, check_future, message};
use crate::commit::writer::{TailJob, next_number, put_compacted};
use crate::compact::{IfDue, compacted};
use crate::index::{content_of, is_erased};
use crate::limits::{BULK_BATCH_BYTES, BULK_JOB_BYTES, BULK_JOB_MESSAGES, BULK_JOBS};
use crate::reader::Reader;
use crate::store::kv::{Durability, Family};
use crate::store::rows::{DocRow, Row, TailSize};
use crate::store::txn::Txn;
use crate::store::{Store, StoreError, keys};
use backscroll_core::change::{ActorId16, DocKind};
use backscroll_core::message::{BodyError, Content, ContentError, MessageId, check_channel};
use backscroll_core::window::{Fill, Knowledge, Window, home_of};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// A channel being loaded. No writer may run over the same store.
///
/// Nothing is durable before [`Self::finish`] returns. After an error it must be dropped.
#[derive(Debug)]
pub struct Import<'s> {
    pub(super) store: &'s Store,
    pub(super) txn: Txn<'s>,
    pub(super) channel: Channel,
    pub(super) outcome: Outcome,
    /// Documents that had content before, and have got more.
    pub(super) grown: BTreeSet<(Window, DocKind)>,
    now_ms: u64,
    workers: Workers,
    run: Option<Run>,
    pending: VecDeque<Pending>,
    /// Fills of windows with messages that are not in the rows yet.
    fills: HashMap<Window, Planned>,
    /// The greatest id stored or given: one above it needs no look-up.
    greatest: Option<MessageId>,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is new.
    New,
    /// The channel has it, from the same sender with the same content.
    AlreadyThere,
    /// It is not taken: another one has its id, it is from the future, or it is malformed.
    Refused(Code),
}

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Messages that are new.
    pub added: u64,
    /// Messages that were there before.
    pub already_there: u64,
    /// Messages that were not taken.
    pub refused: u64,
    /// Annotations that are new.
    pub annotated: u64,
    /// Annotations that were not taken: of messages that the channel does not have.
    pub unannotated: u64,
}

/// Messages of one window, given one after the other.
#[derive(Debug)]
struct Run {
    window: Window,
    first: MessageId,
    last: MessageId,
    bytes: usize,
    messages: Vec<(MessageId, Vec<u8>)>,
}

/// A run that is being authored.
#[derive(Debug)]
struct Pending {
    window: Window,
    first: MessageId,
    last: MessageId,
    ticket: Ticket,
}

/// A window's fill with all that was given, and in how many unwritten runs.
#[derive(Clone, Copy, Debug)]
struct Planned {
    fill: Fill,
    runs: u32,
}

impl<'s> Import<'s> {
    /// Starts an import into `channel` at `now_ms`. The threads start here; one import at a time.
    ///
    /// # Errors
    /// The name is none, the store cannot be read, or a thread cannot be started.
    pub fn begin(store: &'s Store, channel: &str, now_ms: u64) -> Result<Self, BulkError> {
        check_channel(channel).map_err(BulkError::Channel)?;
        let mut txn = Txn::new(store.snapshot());
        let number = next_number(&txn)?;
        let mut is_new = false;
        let channel = Channel::load(&txn, channel, || {
            is_new = true;
            number
        })?;
        if is_new {
            // A number that is never used does no harm.
            let next = (number + 1).to_be_bytes().to_vec();
            txn.put(Family::Meta, keys::META_NEXT_CHANNEL.to_vec(), next);
        }
        Ok(Self {
            store,
            txn,
            greatest: channel.head.newest,
            channel,
            outcome: Outcome::default(),
            grown: BTreeSet::new(),
            now_ms,
            workers: Workers::start()?,
            run: None,
            pending: VecDeque::new(),
            fills: HashMap::new(),
        })
    }

    /// Adds a message; `body` is that of [`Content::to_body`]. Fast if ids ascend.
    ///
    /// # Errors
    /// The store or a thread fails.
    ///
    /// # Complexity
    /// A few microseconds here, more elsewhere; one look-up in the store if the channel has a
    /// greater id.
    pub fn add(&mut self, id: MessageId, body: Vec<u8>) -> Result<Added, BulkError> {
        self.add_in(None, id, body)
    }

    /// Like [`Self::add`], into a given window while that takes more.
    ///
    /// # Errors
    /// The store or a thread fails.
    pub fn add_in(
        &mut self,
        window: Option<Window>,
        id: MessageId,
        body: Vec<u8>,
    ) -> Result<Added, BulkError> {
        let added = self.verdict(window, id, &body)?;
        match &added {
            Added::New => {
                self.place(window, id, body)?;
                self.outcome.added += 1;
            }
            Added::AlreadyThere => self.outcome.already_there += 1,
            Added::Refused(_) => self.outcome.refused += 1,
        }
        Ok(added)
    }

    fn verdict(
        &mut self,
        window: Option<Window>,
        id: MessageId,
        body: &[u8],
    ) -> Result<Added, BulkError> {
        let content = match Content::from_body(body) {
            Ok(content) => content,
            Err(BodyError::TooLarge | BodyError::Content(ContentError::TooLarge { .. })) => {
                return Ok(Added::Refused(Code::TooLarge));
            }
            Err(_) => return Ok(Added::Refused(Code::BadRequest)),
        };
        if window.is_some_and(|window| !window.contains(id.time_ms())) {
            return Ok(Added::Refused(Code::BadRequest));
        }
        if let Err(refusal) = check_future(id.time_ms(), self.now_ms) {
            return Ok(Added::Refused(refusal.code));
        }
        if self.greatest.is_none_or(|greatest| id > greatest) {
            return Ok(Added::New);
        }
        if self.may_hold(id) {
            self.settle()?;
        }
        let Some(row) = message(&self.txn, &self.channel, id)? else { return Ok(Added::New) };
        let stored = content_of(&row)?;
        let is_erased = is_erased(&stored, &row.annotations) && stored.from == content.from;
        let is_same = row.body == body || is_erased || stored == content;
        Ok(if is_same { Added::AlreadyThere } else { Added::Refused(Code::IdTaken) })
    }

    /// Whether the message may be among those that are not in the rows yet.
    fn may_hold(&self, id: MessageId) -> bool {
        let run = self.run.iter().map(|run| (run.first, run.last));
        let pending = self.pending.iter().map(|pending| (pending.first, pending.last));
        run.chain(pending).any(|(first, last)| first <= id && id <= last)
    }

    fn place(
        &mut self,
        window: Option<Window>,
        id: MessageId,
        body: Vec<u8>,
    ) -> Result<(), BulkError> {
        let window = match window {
            Some(window) if !self.is_refused(window)? => window,
            _ => self.home(id.time_ms())?,
        };
        let goes_on = self.run.as_ref().is_some_and(|run| {
            run.window == window
                && run.last < id
                && run.messages.len() < BULK_JOB_MESSAGES
                && run.bytes + body.len() <= BULK_JOB_BYTES
        });
        if !goes_on {
            self.hand_over()?;
        }
        self.plan(window, id.time_ms(), body.len() as u64, !goes_on)?;
        self.greatest = self.greatest.max(Some(id));
        if let Some(run) = &mut self.run {
            run.last = id;
            run.bytes += body.len();
            run.messages.push((id, body));
        } else {
            let bytes = body.len();
            let messages = vec![(id, body)];
            self.run = Some(Run { window, first: id, last: id, bytes, messages });
        }
        Ok(())
    }

    fn fill(&mut self, window: Window) -> Result<Option<Fill>, StoreError> {
        if let Some(planned) = self.fills.get(&window) {
            return Ok(Some(planned.fill));
        }
        Ok(self.channel.window(&self.txn, window)?.map(|row| row.entry.fill()))
    }

    fn is_refused(&mut self, window: Window) -> Result<bool, StoreError> {
        Ok(self.fill(window)?.is_some_and(|fill| fill.is_refused(window)))
    }

    /// The window for a new message: the import knows all that is stored and all that was given.
    fn home(&mut self, time_ms: u64) -> Result<Window, StoreError> {
        let mut failed = None;
        let window = home_of(time_ms, Knowledge::FULL, |window| {
            self.fill(window).unwrap_or_else(|error| {
                failed = Some(error);
                None
            })
        });
        failed.map_or(Ok(window), Err)
    }

    fn plan(
        &mut self,
        window: Window,
        time_ms: u64,
        bytes: u64,
        is_new_run: bool,
    ) -> Result<(), StoreError> {
        let before = self.fill(window)?;
        let fill =
            before.map_or_else(|| Fill::one(time_ms, bytes), |fill| fill.with(time_ms, bytes));
        let planned = self.fills.entry(window).or_insert(Planned { fill, runs: 0 });
        planned.fill = fill;
        planned.runs += u32::from(is_new_run);
        Ok(())
    }

    /// Hands the run to the threads, and puts the rows of those that are done or too many.
    fn hand_over(&mut self) -> Result<(), BulkError> {
        let Some(Run { window, first, last, messages, .. }) = self.run.take() else {
            return Ok(());
        };
        let is_stored = self.channel.window(&self.txn, window)?.is_some();
        let is_new = !is_stored && !self.pending.iter().any(|before| before.window == window);
        if !is_new {
            self.grown.insert((window, DocKind::Messages));
        }
        let job = Job { window, actor: new_actor()?, is_new, messages };
        let ticket = self.workers.take(job)?;
        self.pending.push_back(Pending { window, first, last, ticket });
        while self.pending.len() > BULK_JOBS {
            self.put_next()?;
        }
        Ok(())
    }

    /// Puts the rows of all messages that were given.
    pub(super) fn settle(&mut self) -> Result<(), BulkError> {
        self.hand_over()?;
        while !self.pending.is_empty() {
            self.put_next()?;
        }
        Ok(())
    }

    /// Puts the rows of the first run in the works.
    fn put_next(&mut self) -> Result<(), BulkError> {
        let Some(Pending { window, ticket, .. }) = self.pending.pop_front() else {
            return Ok(());
        };
        let made = ticket.wait()?;
        self.put(window, &made)?;
        if let Some(document) = made.document {
            self.put_document(window, document)?;
        }
        if let Some(planned) = self.fills.get_mut(&window) {
            planned.runs -= 1;
            if planned.runs == 0 {
                self.fills.remove(&window);
            }
        }
        self.write_if_large()
    }

    fn put(&mut self, window: Window, made: &Made) -> Result<(), StoreError> {
        let Self { txn, channel, .. } = self;
        for change in &made.changes {
            let mut entry = channel.window(txn, window)?;
            let generation = channel.generation(txn, window)?;
            let target = Target { window, generation, doc: DocKind::Messages };
            let messages = made.messages.get(change.messages.clone()).unwrap_or_default();
            for (seq, (id, body)) in (channel.head.seq + 1..).zip(messages) {
                let message = MessageRows { id: *id, seq, late: false, body };
                put_message(txn, channel, target, &mut entry, message)?;
            }
            let change = ChangeRows {
                actor: made.actor,
                actor_user: "",
                state: change.state,
                ops: messages.len() as u64,
                chunk: &change.chunk,
                late: &[],
            };
            put_change(txn, channel, target, entry, &change)?;
        }
        Ok(())
    }

    /// Puts the saved document of a window that the run began: it leaves no tail.
    fn put_document(
        &mut self,
        window: Window,
        (bytes, digest): (Vec<u8>, u64),
    ) -> Result<(), StoreError> {
        let Some(mut row) = self.channel.window(&self.txn, window)? else { return Ok(()) };
        row.message_tail = TailSize::default();
        let upto_seq = row.entry.message_doc.last_seq;
        let document = DocRow { upto_seq, generation: row.entry.generation, digest, bytes };
        self.channel.put_window(&mut self.txn, window, row);
        let key = keys::doc(self.channel.number, window, DocKind::Messages);
        self.txn.put(Family::Docs, key, document.encode());
        Ok(())
    }

    /// Writes what was put once it is much.
    pub(super) fn write_if_large(&mut self) -> Result<(), BulkError> {
        if self.txn.bytes() >= BULK_BATCH_BYTES { self.write(Durability::Buffered) } else { Ok(()) }
    }

    fn write(&mut self, durability: Durability) -> Result<(), BulkError> {
        let txn = std::mem::replace(&mut self.txn, Txn::new(self.store.snapshot()));
        self.store.kv().write(txn.into_batch(), durability)?;
        self.txn = Txn::new(self.store.snapshot());
        Ok(())
    }

    /// Folds the long tails of documents that had content before.
    fn fold_tails(&mut self) -> Result<(), BulkError> {
        let grown = std::mem::take(&mut self.grown);
        if grown.is_empty() {
            return Ok(());
        }
        self.write(Durability::Buffered)?;
        let reader = Reader::new(self.store.clone(), Arc::default());
        let view = reader.view();
        for (window, doc) in grown {
            let channel = self.channel.name.as_ref().to_owned();
            let job = TailJob { channel, window, doc };
            if let Some(compacted) = compacted(&view, &job, IfDue::Only)? {
                put_compacted(&mut self.txn, &mut self.channel, compacted)?;
            }
            self.write_if_large()?;
        }
        Ok(())
    }

    /// Ends: renews saved documents with long tails, and makes everything durable.
    ///
    /// # Errors
    /// The store or a thread fails.
    pub fn finish(mut self) -> Result<Outcome, BulkError> {
        self.settle()?;
        self.fold_tails()?;
        if self.channel.is_stored {
            // There is something to sync even if the last batch took everything.
            self.channel.put_head(&mut self.txn);
        }
        self.write(Durability::Sync)?;
        Ok(self.outcome)
    }
}

/// An actor that nobody has had.
pub(super) fn new_actor() -> Result<ActorId16, BulkError> {
    let mut actor = [0; 16];
    getrandom::fill(&mut actor)?;
    Ok(ActorId16(actor))
}
