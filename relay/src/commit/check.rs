//! What a change must be before anything of it is stored (design 7), in this order: well-formed in
//! itself, its actor this user's, not stored before, for a current window, following what is stored,
//! not from the future, of new ids, of the user's own, about messages that are there, for a window
//! that takes more.

use super::channel::Channel;
use super::command::{Code, Refusal, Rights};
use super::quota::Quota;
use crate::index::{content_of, is_erased};
use crate::limits::REACTIONS_BYTES_MAX;
use crate::store::StoreError;
use crate::store::keys;
use crate::store::kv::{Direction, Family, Snapshot};
use crate::store::rows::{ActorRow, HashRow, IndexRow, LogRow, Row};
use backscroll_core::annotation::{AnnotationKey, AnnotationValue, Annotations};
use backscroll_core::change::{
    AnnotationOp, ChangeBody, ChangeError, ChangeView, DocKind, MessageOp, check_header,
};
use backscroll_core::limits::FUTURE_MS_MAX;
use backscroll_core::message::{BodyError, Content, ContentError, MessageId};
use backscroll_core::window::Window;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The document that a change is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) window: Window,
    pub(crate) generation: u32,
    pub(crate) doc: DocKind,
}

/// Who brings it: the empty user is the relay.
#[derive(Clone, Copy, Debug)]
pub(super) struct Author<'a> {
    pub(super) user: &'a str,
    pub(super) rights: Rights,
}

impl Author<'_> {
    /// The relay itself, which authors what JSON clients send.
    pub(super) const RELAY: Self =
        Self { user: "", rights: Rights { bridge: true, moderate: true, replicate: false } };
}

/// What a check found.
#[derive(Debug)]
pub(super) enum Verdict {
    /// New, and good.
    New(Box<New>),
    /// Stored before, from this seq on.
    Stored(u64),
}

/// A change to store.
#[derive(Debug)]
pub(super) struct New {
    pub(super) view: ChangeView,
    /// Whose actor wrote it: who brought its first change.
    pub(super) actor_user: String,
}

/// Why a check ends early.
#[derive(Debug)]
pub(super) enum Stop {
    Refused(Refusal),
    Store(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

fn refuse<T>(code: Code, text: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Refused(Refusal::new(code, text)))
}

/// Checks a chunk for `target`, brought by `author` at `now_ms`. Changes nothing.
pub(super) fn check(
    rows: &dyn Snapshot,
    channel: &mut Channel,
    quota: &Quota,
    target: Target,
    author: Author<'_>,
    chunk: &[u8],
    now_ms: u64,
) -> Result<Verdict, Stop> {
    let view = read(chunk, target)?;
    let actor = rows
        .get(Family::Actors, &keys::actor(channel.number, target.window, target.doc, &view.actor))?
        .map(|row| ActorRow::decode(&row))
        .transpose()?;
    let is_anothers = actor.as_ref().is_some_and(|actor| actor.user != author.user);
    if is_anothers && !author.rights.replicate {
        return refuse(Code::Forbidden, "the change's actor is another user's");
    }
    if let Some(seq) = stored_seq(rows, channel, target, &view)? {
        return Ok(Verdict::Stored(seq));
    }
    // Before the history: what an older generation depends on is erased.
    let entry = channel.window(rows, target.window)?.map(|row| row.entry);
    let current = channel.generation(rows, target.window)?;
    if target.generation != current {
        let text = format!("the window's generation is {current}, not {}", target.generation);
        return refuse(Code::StaleGeneration, text);
    }
    if actor.is_none() && view.seq > 1 && (current > 0 || channel.head.floor > 0) {
        return refuse(Code::StaleGeneration, "what the change's actor wrote before it is erased");
    }
    check_history(rows, channel, target, &view, actor.as_ref())?;
    match &view.body {
        ChangeBody::Messages(ops) => {
            check_messages(rows, channel, author, ops, now_ms)?;
            match entry {
                Some(entry) if entry.fill().is_refused(target.window) => {
                    return refuse(Code::WindowFull, "the window takes no more messages");
                }
                None if !author.user.is_empty() && !quota.allows_window(author.user, now_ms) => {
                    return refuse(Code::RateLimited, "too many new windows in an hour");
                }
                None => check_is_new(rows, channel, target.window)?,
                Some(_) => {}
            }
        }
        ChangeBody::Annotations(ops) => {
            for op in ops {
                check_annotation(rows, channel, target.window, author, op)?;
            }
        }
    }
    let actor_user = actor.map_or_else(|| author_of(&view, author).to_owned(), |actor| actor.user);
    Ok(Verdict::New(Box::new(New { view, actor_user })))
}

/// Whose an actor is that is new: who replicates brings others' actors, and these write on.
fn author_of<'a>(view: &'a ChangeView, author: Author<'a>) -> &'a str {
    match &view.body {
        ChangeBody::Messages(ops) if author.rights.replicate => {
            ops.first().map_or(author.user, |op| &op.content.from)
        }
        _ => author.user,
    }
}

/// Reads a chunk. Automerge panics on some inputs, and one command must not take others down.
fn read(chunk: &[u8], target: Target) -> Result<ChangeView, Stop> {
    let read =
        catch_unwind(AssertUnwindSafe(|| ChangeView::read(chunk, target.window, target.doc)));
    match read {
        Ok(Ok(view)) => Ok(view),
        Ok(Err(error)) => refuse(code_of(&error), chain(&error)),
        Err(_panic) => refuse(Code::BadChange, "the change cannot be read"),
    }
}

fn code_of(error: &ChangeError) -> Code {
    match error {
        ChangeError::TooLarge
        | ChangeError::Body(
            BodyError::TooLarge | BodyError::Content(ContentError::TooLarge { .. }),
        ) => Code::TooLarge,
        _ => Code::BadChange,
    }
}

/// An error with its causes, for people.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The first seq of this very change, if it is stored.
fn stored_seq(
    rows: &dyn Snapshot,
    channel: &Channel,
    target: Target,
    view: &ChangeView,
) -> Result<Option<u64>, StoreError> {
    let first = match &view.body {
        ChangeBody::Annotations(_) => {
            let key = keys::hash(channel.number, target.window, &view.hash);
            let row = rows.get(Family::Hashes, &key)?;
            return Ok(row.map(|row| HashRow::decode(&row)).transpose()?.map(|row| row.first_seq));
        }
        // The least id has the change's first seq: no index by hash is needed.
        ChangeBody::Messages(ops) => ops.iter().map(|op| op.id).min(),
    };
    let Some(row) = first.map(|id| message(rows, channel, id)).transpose()?.flatten() else {
        return Ok(None);
    };
    let Some(log) = rows.get(Family::Log, &keys::log(channel.number, row.seq))? else {
        return Ok(None);
    };
    let log = LogRow::decode(&log)?;
    let is_same = log.hash == view.hash && log.window == target.window;
    Ok(is_same.then_some(row.seq))
}

/// A window without an entry has no messages, or its entry is lost.
fn check_is_new(rows: &dyn Snapshot, channel: &Channel, window: Window) -> Result<(), StoreError> {
    let (range, mut has_messages) = (keys::members(channel.number, window), false);
    rows.scan(Family::Members, keys::bounds(&range), Direction::Forward, &mut |_, _| {
        has_messages = true;
        ControlFlow::Break(())
    })?;
    if has_messages {
        return Err(StoreError::damaged(Family::Directory, "a window with messages is missing"));
    }
    Ok(())
}

fn check_history(
    rows: &dyn Snapshot,
    channel: &Channel,
    target: Target,
    view: &ChangeView,
    actor: Option<&ActorRow>,
) -> Result<(), Stop> {
    let (number, window) = (channel.number, target.window);
    // The look-ups answer plainly; what went wrong below them is kept here.
    let failed = std::cell::RefCell::new(None);
    let fail = |error| {
        failed.borrow_mut().get_or_insert(error);
    };
    let get = |family, key: Vec<u8>| rows.get(family, &key).map_err(fail).ok().flatten();
    let dep_max_op = |hash: &_| {
        let row = get(Family::Hashes, keys::hash(number, window, hash))?;
        // A damaged row is no reason to refuse the change for good.
        HashRow::decode(&row).map_err(fail).ok().map(|row| row.max_op)
    };
    let has_op = |key: &str, counter, actor: &_| {
        get(Family::Annotations, keys::annotation(number, window, key, counter, actor)).is_some()
    };
    let checked = check_header(view, actor.map(|actor| &actor.state), dep_max_op, has_op);
    if let Some(error) = failed.into_inner() {
        return Err(error.into());
    }
    checked.or_else(|error| refuse(Code::BadChange, chain(&error)))
}

/// The row of a message.
pub(crate) fn message(
    rows: &dyn Snapshot,
    channel: &Channel,
    id: MessageId,
) -> Result<Option<IndexRow>, StoreError> {
    let row = rows.get(Family::Index, &keys::message(channel.number, id))?;
    row.map(|row| IndexRow::decode(&row)).transpose()
}

/// Whether a stored message is the one with this content; an erased one is that of its sender.
fn is_same_message(row: &IndexRow, content: &Content) -> Result<bool, StoreError> {
    let stored = content_of(row)?;
    let is_erased = is_erased(&stored, &row.annotations) && stored.from == content.from;
    Ok(is_erased || stored == *content)
}

/// Refuses a time beyond the clock (design 4.1).
pub(crate) fn check_future(time_ms: u64, now_ms: u64) -> Result<(), Refusal> {
    if time_ms > now_ms.saturating_add(FUTURE_MS_MAX) {
        return Err(Refusal::new(Code::FutureId, "the message is from the future"));
    }
    Ok(())
}

fn check_messages(
    rows: &dyn Snapshot,
    channel: &Channel,
    author: Author<'_>,
    ops: &[MessageOp],
    now_ms: u64,
) -> Result<(), Stop> {
    for op in ops {
        check_future(op.id.time_ms(), now_ms)?;
    }
    let mut duplicate = None;
    for op in ops {
        let Some(row) = message(rows, channel, op.id)? else { continue };
        if row.body != op.body && !is_same_message(&row, &op.content)? {
            return refuse(Code::IdTaken, format!("another message has the id {}", op.id));
        }
        duplicate = duplicate.or(Some(op.id));
    }
    if let Some(id) = duplicate {
        return refuse(Code::Duplicate, format!("message {id} is stored already"));
    }
    let is_anothers = |op: &MessageOp| op.content.from != author.user;
    let Rights { bridge, replicate, .. } = author.rights;
    if !bridge && !replicate && ops.iter().any(is_anothers) {
        return refuse(Code::Forbidden, "a message is from another user");
    }
    Ok(())
}

fn check_annotation(
    rows: &dyn Snapshot,
    channel: &Channel,
    window: Window,
    author: Author<'_>,
    op: &AnnotationOp,
) -> Result<(), Stop> {
    let id = op.target.id();
    let row = message(rows, channel, id)?.filter(|row| row.level == window.level());
    let Some(row) = row else {
        let member = keys::member(channel.number, window, id);
        if rows.get(Family::Members, &member)?.is_some() {
            return Err(StoreError::damaged(Family::Index, "a listed message is missing").into());
        }
        return refuse(Code::NotFound, format!("message {id} is not in window {window}"));
    };
    let Rights { bridge, moderate, replicate } = author.rights;
    // Who may bring changes of others cannot be told from those others.
    let bridge = bridge || replicate;
    let may = match &op.target {
        AnnotationKey::Reaction { user, .. } => bridge || user == author.user,
        AnnotationKey::Edit { .. } => bridge || content_of(&row)?.from == author.user,
        AnnotationKey::Delete { .. } => bridge || moderate || content_of(&row)?.from == author.user,
    };
    debug_assert!(!matches!(op.value, AnnotationValue::Delete) || op.key.ends_with(":d"));
    if !may {
        return refuse(Code::Forbidden, "the annotation is another user's to make");
    }
    let is_more = matches!(op.value, AnnotationValue::Reaction(true));
    if is_more && reaction_bytes(&row.annotations) >= REACTIONS_BYTES_MAX {
        return refuse(Code::TooLarge, "the message has too many reactions");
    }
    Ok(())
}

fn reaction_bytes(annotations: &Annotations) -> usize {
    let of_emoji = |(emoji, users): (&String, &BTreeSet<String>)| {
        emoji.len() + users.iter().map(|user| user.len() + 3).sum::<usize>()
    };
    annotations.reactions.iter().map(of_emoji).sum()
}
