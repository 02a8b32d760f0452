//! One batch of commands: checked, put, synced, answered, in that order.

use super::annotate::annotate;
use super::apply::apply;
use super::blob::{begin_blob, erase_blob, finish_blob};
use super::channel::Channel;
use super::check::{Author, New, Stop, Target, Verdict, check};
use super::command::{
    AnnotateRequest, Mark, NewBlob, Push, PushOutcome, PushRefusal, Refusal, SendRequest, Sent,
};
use super::damage;
use super::erase::{Erase, ErasedWindow, erase};
use super::event::Committed;
use super::mark::merge_mark;
use super::quota::Quota;
use super::retain::{DropWindows, DroppedWindows, drop_windows};
use super::send::Groups;
use crate::compact::is_due;
use crate::limits::WRITER_CHANNELS_MAX;
use crate::store::keys::{self, ChannelId};
use crate::store::kv::{Durability, Family, Snapshot};
use crate::store::rows::{DocRow, Row, TailSize};
use crate::store::txn::Txn;
use crate::store::{Store, StoreError};
use backscroll_core::change::{ChangeBody, DocKind};
use backscroll_core::window::Window;
use std::collections::{BTreeSet, HashMap};
use tokio::sync::oneshot;

/// Where an answer goes. Whoever asked may have gone: then nobody minds.
pub(crate) type Reply<T> = oneshot::Sender<T>;

/// A message to send whose fields were checked, with what a pure writer needs from outside.
#[derive(Debug)]
pub(crate) struct ReadySend {
    pub(crate) request: SendRequest,
    /// The content as it will stand in the document.
    pub(crate) body: Vec<u8>,
    /// Hash of sender and idempotency key.
    pub(crate) idempotency: Option<[u8; 16]>,
    pub(crate) now_ms: u64,
    pub(crate) entropy: u128,
}

/// A saved document from the compactor.
#[derive(Debug)]
pub(crate) struct Compacted {
    pub(crate) channel: String,
    pub(crate) window: Window,
    pub(crate) doc: DocKind,
    /// `upto_seq` of the saved document it replaces; 0 if there was none.
    pub(crate) base_seq: u64,
    /// The channel's floor when it was made: of windows that are gone nothing comes back.
    pub(crate) floor: u64,
    /// What it took from the tail.
    pub(crate) taken: TailSize,
    pub(crate) row: DocRow,
}

/// Something for the writer to do.
#[derive(Debug)]
pub(crate) enum Command {
    Push {
        push: Push,
        now_ms: u64,
        reply: Reply<PushOutcome>,
    },
    Send {
        send: Box<ReadySend>,
        reply: Reply<Result<Sent, Refusal>>,
    },
    Annotate {
        request: AnnotateRequest,
        now_ms: u64,
        reply: Reply<Result<Sent, Refusal>>,
    },
    Mark {
        mark: Mark,
        reply: Reply<Result<(), Refusal>>,
    },
    /// An attachment that is to come, with its first part; answered whether it is new.
    BlobBegin {
        blob: NewBlob,
        reply: Reply<Result<bool, Refusal>>,
    },
    /// Another part of an attachment that is to come.
    BlobPart {
        key: Vec<u8>,
        bytes: bytes::Bytes,
        reply: Reply<()>,
    },
    /// An attachment whose parts are stored.
    BlobFinish {
        blob: NewBlob,
        reply: Reply<()>,
    },
    /// Deletes an attachment; answered with its length, if it was there.
    BlobErase {
        sha256: [u8; 32],
        reply: Reply<Result<Option<u64>, Refusal>>,
    },
    /// Answered when it is put, or found to be outdated.
    Compacted {
        compacted: Box<Compacted>,
        reply: Reply<Result<(), Refusal>>,
    },
    /// Idempotency keys older than this are forgotten.
    Expire {
        before_ms: u64,
    },
    /// Takes the content of messages out of a window.
    Erase {
        erase: Box<Erase>,
        reply: Reply<Result<ErasedWindow, Refusal>>,
    },
    /// Drops whole windows, with all that is in them.
    Drop {
        windows: Box<DropWindows>,
        reply: Reply<Result<DroppedWindows, Refusal>>,
    },
}

impl Command {
    /// The channel that it is about, if it is about one.
    fn channel(&self) -> Option<&str> {
        Some(match self {
            Self::Push { push, .. } => &push.channel,
            Self::Send { send, .. } => &send.request.channel,
            Self::Annotate { request, .. } => &request.channel,
            Self::Mark { mark, .. } => &mark.channel,
            Self::Compacted { compacted, .. } => &compacted.channel,
            Self::Erase { erase, .. } => &erase.channel,
            Self::Drop { windows, .. } => &windows.channel,
            Self::BlobBegin { .. }
            | Self::BlobPart { .. }
            | Self::BlobFinish { .. }
            | Self::BlobErase { .. }
            | Self::Expire { .. } => return None,
        })
    }

    /// The answer that refuses it.
    fn refused(self, refusal: Refusal) -> Option<Answer> {
        Some(match self {
            Self::Push { reply, .. } => Answer::Push(reply, PushOutcome::refused(refusal)),
            Self::Send { reply, .. } | Self::Annotate { reply, .. } => {
                Answer::Send(reply, Err(refusal))
            }
            Self::Mark { reply, .. } | Self::Compacted { reply, .. } => {
                Answer::Put(reply, Err(refusal))
            }
            Self::BlobBegin { reply, .. } => Answer::Blob(reply, Err(refusal)),
            Self::BlobErase { reply, .. } => Answer::ErasedBlob(reply, Err(refusal)),
            Self::Erase { reply, .. } => Answer::Erased(reply, Err(refusal)),
            Self::Drop { reply, .. } => Answer::Dropped(reply, Err(refusal)),
            Self::BlobPart { .. } | Self::BlobFinish { .. } | Self::Expire { .. } => return None,
        })
    }
}

/// A document whose tail of raw changes has grown beyond its bound.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TailJob {
    pub(crate) channel: String,
    pub(crate) window: Window,
    pub(crate) doc: DocKind,
}

/// What a committed batch leaves to do.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) events: Vec<Committed>,
    pub(crate) tails: BTreeSet<TailJob>,
}

/// An answer that waits for the fsync.
#[derive(Debug)]
pub(super) enum Answer {
    Push(Reply<PushOutcome>, PushOutcome),
    Send(Reply<Result<Sent, Refusal>>, Result<Sent, Refusal>),
    /// To a mark, or a saved document.
    Put(Reply<Result<(), Refusal>>, Result<(), Refusal>),
    Blob(Reply<Result<bool, Refusal>>, Result<bool, Refusal>),
    ErasedBlob(Reply<Result<Option<u64>, Refusal>>, Result<Option<u64>, Refusal>),
    Done(Reply<()>),
    Erased(Reply<Result<ErasedWindow, Refusal>>, Result<ErasedWindow, Refusal>),
    Dropped(Reply<Result<DroppedWindows, Refusal>>, Result<DroppedWindows, Refusal>),
}

impl Answer {
    fn give(self) {
        // An error means that whoever asked is gone.
        match self {
            Self::Push(reply, outcome) => drop(reply.send(outcome)),
            Self::Send(reply, outcome) => drop(reply.send(outcome)),
            Self::Put(reply, outcome) => drop(reply.send(outcome)),
            Self::Blob(reply, outcome) => drop(reply.send(outcome)),
            Self::ErasedBlob(reply, outcome) => drop(reply.send(outcome)),
            Self::Done(reply) => drop(reply.send(())),
            Self::Erased(reply, outcome) => drop(reply.send(outcome)),
            Self::Dropped(reply, outcome) => drop(reply.send(outcome)),
        }
    }
}

/// An open batch.
pub(super) struct Work<'a> {
    pub(super) txn: Txn<'a>,
    pub(super) quota: &'a mut Quota,
    pub(super) answers: Vec<Answer>,
    pub(super) done: Done,
}

/// The one writer of a store.
#[derive(Debug)]
pub(crate) struct Writer {
    store: Store,
    channels: HashMap<String, Channel>,
    next_number: ChannelId,
    uses: u64,
    quota: Quota,
}

/// The number of the next new channel.
pub(crate) fn next_number(rows: &dyn Snapshot) -> Result<ChannelId, StoreError> {
    let next = rows.get(Family::Meta, keys::META_NEXT_CHANNEL)?;
    next.map_or(Ok(1), |next| {
        keys::channel_of(&next)
            .ok_or(StoreError::damaged(Family::Meta, "the next channel has no number"))
    })
}

impl Writer {
    /// The writer of `store`; there must be no other.
    pub(crate) fn new(store: Store) -> Result<Self, StoreError> {
        let next_number = next_number(&*store.snapshot())?;
        let (channels, quota) = (HashMap::new(), Quota::default());
        Ok(Self { store, channels, next_number, uses: 0, quota })
    }

    /// Carries out `commands` as one batch. When this returns, what it answered is on disk.
    ///
    /// After an error the writer must not be used again: what it remembers may not be stored.
    pub(crate) fn commit(&mut self, commands: Vec<Command>) -> Result<Done, StoreError> {
        let Self { store, channels, next_number, uses, quota } = self;
        let mut names = Names { channels, next_number, uses };
        let mut work = Work {
            txn: Txn::new(store.snapshot()),
            quota,
            answers: Vec::with_capacity(commands.len()),
            done: Done::default(),
        };
        let mut groups = Groups::default();
        for command in commands {
            carry_out(command, &mut names, &mut groups, &mut work, store.epoch())?;
        }
        for (name, now_ms) in groups.channels() {
            let channel = names.get(&mut work.txn, &name)?;
            groups.flush(&mut work, channel, now_ms)?;
        }
        let next = names.next_number.to_be_bytes().to_vec();
        let (mut txn, answers, done) = work.finish();
        if !txn.is_empty() {
            txn.put(Family::Meta, keys::META_NEXT_CHANNEL.to_vec(), next);
        }
        let batch = txn.into_batch();
        if !batch.is_empty() {
            store.kv().write(batch, Durability::Sync)?;
        }
        answers.into_iter().for_each(Answer::give);
        self.forget();
        Ok(done)
    }

    /// Drops the channels that were not used for longest, a quarter at a time.
    fn forget(&mut self) {
        if self.channels.len() <= WRITER_CHANNELS_MAX {
            return;
        }
        let mut used: Vec<u64> = self.channels.values().map(|channel| channel.used).collect();
        used.sort_unstable();
        let keep_from = used.get(used.len() / 4).copied().unwrap_or(0);
        self.channels.retain(|_, channel| channel.used >= keep_from);
    }
}

/// The channels in use by name.
struct Names<'a> {
    channels: &'a mut HashMap<String, Channel>,
    next_number: &'a mut ChannelId,
    uses: &'a mut u64,
}

impl Names<'_> {
    fn get(&mut self, rows: &mut Txn<'_>, name: &str) -> Result<&mut Channel, StoreError> {
        *self.uses += 1;
        if !self.channels.contains_key(name) {
            let channel = Channel::load(rows, name, || {
                let number = *self.next_number;
                *self.next_number += 1;
                number
            })?;
            self.channels.insert(name.to_owned(), channel);
        }
        let missing = StoreError::damaged(Family::Meta, "a channel is missing");
        let channel = self.channels.get_mut(name).ok_or(missing)?;
        channel.used = *self.uses;
        Ok(channel)
    }
}

impl<'a> Work<'a> {
    fn finish(self) -> (Txn<'a>, Vec<Answer>, Done) {
        (self.txn, self.answers, self.done)
    }

    /// Stores the prefix of a push that is good.
    fn push(
        &mut self,
        channel: &mut Channel,
        push: &Push,
        now_ms: u64,
    ) -> Result<PushOutcome, StoreError> {
        let target = self.target(channel, push).map_err(Stop::from);
        let target = match damage::answer_to(&channel.name, target)? {
            Ok(target) => target,
            Err(refusal) => return Ok(PushOutcome::refused(refusal)),
        };
        let author = Author { user: &push.from.user, rights: push.from.rights };
        let mut outcome = PushOutcome::default();
        for (chunk_index, chunk) in (0..).zip(&push.chunks) {
            let stored = self.store(channel, target, author, chunk, now_ms);
            match damage::answer_to(&channel.name, stored)? {
                Ok(seq) => outcome.stored.push(seq),
                Err(refusal) => {
                    outcome.refused = Some(PushRefusal { chunk_index, refusal });
                    break;
                }
            }
        }
        Ok(outcome)
    }

    /// Where a push goes. Who begins a window anew cannot know what generation it has: the changes
    /// that are stored tell.
    fn target(&self, channel: &mut Channel, push: &Push) -> Result<Target, StoreError> {
        let Push { window, doc, mut generation, .. } = *push;
        if channel.window(&self.txn, window)?.is_none() {
            generation = generation.max(channel.generation(&self.txn, window)?);
        }
        Ok(Target { window, generation, doc })
    }

    /// Does something in a channel wholly or not at all: what the store fails half-way leaves neither
    /// rows nor events, and the channel as it was.
    pub(super) fn wholly<T>(
        &mut self,
        channel: &mut Channel,
        act: impl FnOnce(&mut Self, &mut Channel) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        let (before, events) = (channel.before(), self.done.events.len());
        self.txn.begin();
        let result = act(self, channel);
        if matches!(result, Err(Stop::Store(_))) {
            self.txn.take_back();
            self.done.events.truncate(events);
            channel.set_back(before);
        } else {
            self.txn.keep();
        }
        result
    }

    /// Checks a chunk and puts its rows; gives its first seq. A refused one leaves nothing.
    pub(super) fn store(
        &mut self,
        channel: &mut Channel,
        target: Target,
        author: Author<'_>,
        chunk: &bytes::Bytes,
        now_ms: u64,
    ) -> Result<u64, Stop> {
        self.wholly(channel, |work, channel| {
            let verdict = check(&work.txn, channel, work.quota, target, author, chunk, now_ms)?;
            let new = match verdict {
                Verdict::Stored(seq) => return Ok(seq),
                Verdict::New(new) => new,
            };
            let New { view, actor_user } = *new;
            let is_new_window = channel.window(&work.txn, target.window)?.is_none();
            let (events, chunk) = (&mut work.done.events, chunk.clone());
            let seq = apply(&mut work.txn, channel, target, &actor_user, &view, chunk, events)?;
            if !author.user.is_empty() && matches!(view.body, ChangeBody::Messages(_)) {
                let windows = u64::from(is_new_window);
                work.quota.count(author.user, view.ops_len, windows, now_ms);
            }
            work.note_tail(channel, target.window, target.doc)?;
            Ok(seq)
        })
    }

    /// Notes the document for the compactor if its tail has grown too long.
    fn note_tail(
        &mut self,
        channel: &mut Channel,
        window: Window,
        doc: DocKind,
    ) -> Result<(), StoreError> {
        let Some(row) = channel.window(&self.txn, window)? else { return Ok(()) };
        if is_due(&row, row.tail(doc), channel.head.newest) {
            let channel = channel.name.as_ref().to_owned();
            self.done.tails.insert(TailJob { channel, window, doc });
        }
        Ok(())
    }
}

/// Takes a saved document, unless the window or its saved document changed since it was made.
pub(crate) fn put_compacted(
    txn: &mut Txn<'_>,
    channel: &mut Channel,
    done: Compacted,
) -> Result<(), StoreError> {
    let Compacted { window, doc, base_seq, floor, taken, row, .. } = done;
    let Some(mut entry) = channel.window(txn, window)? else { return Ok(()) };
    let key = keys::doc(channel.number, window, doc);
    let base = txn.get(Family::Docs, &key)?.map(|row| DocRow::decode(&row)).transpose()?;
    let is_current = channel.head.floor == floor
        && entry.entry.generation == row.generation
        && base.map_or(0, |base| base.upto_seq) == base_seq
        && row.upto_seq <= entry.mark(doc).last_seq;
    if !is_current {
        return Ok(());
    }
    let tail = entry.tail_mut(doc);
    tail.changes = tail.changes.saturating_sub(taken.changes);
    tail.bytes = tail.bytes.saturating_sub(taken.bytes);
    channel.put_window(txn, window, entry);
    txn.put(Family::Docs, key, row.encode());
    Ok(())
}

/// Carries out one command of a batch. One that meets damage is refused, and the batch goes on.
fn carry_out(
    command: Command,
    names: &mut Names<'_>,
    groups: &mut Groups,
    work: &mut Work<'_>,
    epoch: [u8; 16],
) -> Result<(), StoreError> {
    let Some(name) = command.channel() else { return carry_out_elsewhere(command, work) };
    match names.get(&mut work.txn, name) {
        Ok(channel) => carry_out_in(command, channel, groups, work, epoch),
        Err(error) => {
            let refusal = damage::refusal(name, error)?;
            work.answers.extend(command.refused(refusal));
            Ok(())
        }
    }
}

/// Carries out a command that is about a channel.
fn carry_out_in(
    command: Command,
    channel: &mut Channel,
    groups: &mut Groups,
    work: &mut Work<'_>,
    epoch: [u8; 16],
) -> Result<(), StoreError> {
    let name = channel.name.clone();
    let answer = match command {
        Command::Push { push, now_ms, reply } => {
            groups.flush(work, channel, now_ms)?;
            Answer::Push(reply, work.push(channel, &push, now_ms)?)
        }
        Command::Send { send, reply } => return groups.add(work, channel, *send, reply),
        Command::Annotate { request, now_ms, reply } => {
            // It may be about a message that waits in a group.
            groups.flush(work, channel, now_ms)?;
            let outcome = annotate(work, channel, &request, now_ms);
            Answer::Send(reply, damage::answer_to(&name, outcome)?)
        }
        Command::Mark { mark, reply } => {
            let outcome = merge_mark(work, channel, &mark, epoch);
            Answer::Put(reply, damage::answer_to(&name, outcome)?)
        }
        Command::Compacted { compacted, reply } => {
            let outcome = put_compacted(&mut work.txn, channel, *compacted);
            Answer::Put(reply, damage::answer_to(&name, outcome.map_err(Stop::from))?)
        }
        Command::Erase { erase: request, reply } => {
            groups.flush(work, channel, 0)?;
            let outcome = work.wholly(channel, |work, channel| erase(work, channel, &request));
            Answer::Erased(reply, damage::answer_to(&name, outcome)?)
        }
        Command::Drop { windows, reply } => {
            groups.flush(work, channel, 0)?;
            let outcome =
                work.wholly(channel, |work, channel| drop_windows(work, channel, &windows, epoch));
            Answer::Dropped(reply, damage::answer_to(&name, outcome)?)
        }
        Command::BlobBegin { .. }
        | Command::BlobPart { .. }
        | Command::BlobFinish { .. }
        | Command::BlobErase { .. }
        | Command::Expire { .. } => return carry_out_elsewhere(command, work),
    };
    work.answers.push(answer);
    Ok(())
}

/// Carries out a command that is about no channel.
fn carry_out_elsewhere(command: Command, work: &mut Work<'_>) -> Result<(), StoreError> {
    match command {
        Command::BlobBegin { blob, reply } => {
            let outcome = damage::answer_to(damage::ATTACHMENTS, begin_blob(work, &blob))?;
            work.answers.push(Answer::Blob(reply, outcome));
        }
        Command::BlobPart { key, bytes, reply } => {
            work.txn.put(Family::Blobs, key, bytes.to_vec());
            work.answers.push(Answer::Done(reply));
        }
        Command::BlobFinish { blob, reply } => {
            finish_blob(work, &blob);
            work.answers.push(Answer::Done(reply));
        }
        Command::BlobErase { sha256, reply } => {
            let outcome = damage::answer_to(damage::ATTACHMENTS, erase_blob(work, &sha256))?;
            work.answers.push(Answer::ErasedBlob(reply, outcome));
        }
        Command::Expire { before_ms } => {
            let outcome = super::send::expire(&mut work.txn, before_ms).map_err(Stop::from);
            // Nobody waits for an answer, and damage is in the log: the next one looks again.
            let _ = damage::answer_to(damage::IDEMPOTENCY, outcome)?;
        }
        _ => debug_assert!(false, "{command:?} is about a channel"),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
