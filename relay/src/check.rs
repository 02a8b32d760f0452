//! Verifies a store: the log is the truth, and all else must be what follows from it.
//!
//! Reads only. Works channel by channel, in memory for one window's documents at a time; of a
//! channel it keeps its windows and actors. Behind `backscroll check`.

pub(crate) mod attachments;
mod documents;
mod log;
mod quick;
mod rewritten;
mod strays;
mod sums;

pub use attachments::verify_attachments;
pub use quick::quick;

use crate::limits::PROBLEMS_MAX;
use crate::ranks::{RankCache, Ranks};
use crate::reader::{ReadError, Reader, View};
use crate::store::keys::{self, ChannelId, bounds};
use crate::store::kv::{Direction, Family, Snapshot};
use crate::store::rows::{HeadRow, Row};
use crate::store::{Store, StoreError};
use backscroll_core::read_state::ReadState;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Something that does not agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The channel; empty for what belongs to none.
    pub channel: String,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.channel.as_str() {
            "" => f.write_str(&self.what),
            channel => write!(f, "{channel}: {}", self.what),
        }
    }
}

/// How far a verification is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The channel it is at.
    pub channel: &'a str,
    /// What is done of it: ops of the log read, and after that messages compared with documents.
    pub done: u64,
    /// Both together, as far as known.
    pub of: u64,
}

/// Verifies everything: channels, then attachments.
///
/// # Errors
/// The store cannot be read at all; damaged rows are problems, not errors.
///
/// # Complexity
/// O(everything stored).
pub fn verify(
    store: &Store,
    progress: impl FnMut(&Progress<'_>),
) -> Result<Vec<Problem>, ReadError> {
    let mut problems = verify_channels(store, progress)?;
    problems.append(&mut verify_attachments(store, |_| {})?);
    Ok(problems)
}

/// Verifies that log, index, counts, ranks, directory, actors, saved documents and annotations of
/// all channels agree. `progress` is called now and then.
///
/// # Errors
/// The store cannot be read at all; damaged rows are problems, not errors.
///
/// # Complexity
/// O(everything stored but attachments), in the order in which it is stored; about 10 us a message.
pub fn verify_channels(
    store: &Store,
    mut progress: impl FnMut(&Progress<'_>),
) -> Result<Vec<Problem>, ReadError> {
    let reader = Reader::new(store.clone(), Arc::new(RankCache::default()));
    let view = reader.view();
    let rows = store.snapshot();
    let mut problems = Vec::new();
    let channels = strays::channels(&*rows, &mut problems)?;
    for (number, name) in channels {
        let head = rows.get(Family::Meta, &keys::head(number))?.unwrap_or_default();
        let mut channel = Channel { rows: &*rows, view: &view, name, number, problems: Vec::new() };
        match HeadRow::decode(&head).map_err(ReadError::from) {
            Ok(head) => {
                let checked = channel.verify(&head, &mut progress);
                channel.or_problem(checked)?;
            }
            Err(error) => channel.problem(error.to_string()),
        }
        problems.append(&mut channel.problems);
    }
    problems.truncate(PROBLEMS_MAX);
    Ok(problems)
}

/// The channels by number, as far as their names read back.
pub(crate) fn channels(rows: &dyn Snapshot) -> Result<BTreeMap<ChannelId, String>, StoreError> {
    strays::channels(rows, &mut Vec::new())
}

/// One channel under verification.
struct Channel<'a> {
    rows: &'a dyn Snapshot,
    view: &'a View<'a>,
    name: String,
    number: ChannelId,
    problems: Vec<Problem>,
}

impl Channel<'_> {
    fn problem(&mut self, what: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { channel: self.name.clone(), what });
        }
    }

    fn expect<T: PartialEq + fmt::Debug>(&mut self, what: &str, stored: &T, expected: &T) {
        if stored != expected {
            self.problem(format!("{what} is {stored:?}, the log says {expected:?}"));
        }
    }

    /// Damage is a problem; only a store that cannot be read at all is an error.
    fn or_problem<T>(&mut self, result: Result<T, ReadError>) -> Result<Option<T>, ReadError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(ReadError::Store(error @ StoreError::Damaged { .. })) => {
                self.problem(error.to_string());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn verify(
        &mut self,
        head: &HeadRow,
        progress: &mut dyn FnMut(&Progress<'_>),
    ) -> Result<(), ReadError> {
        let mut told = self.verify_log(head, progress)?;
        let rows = self.verify_rows(&mut told);
        self.or_problem(rows)?;
        let ranks = self.verify_ranks(told.head.total);
        self.or_problem(ranks)?;
        let (mut saved, mut done) = (0, head.seq);
        for (window, expected) in &std::mem::take(&mut told.windows) {
            let documents = self.verify_documents(&mut told, *window, expected);
            saved += self.or_problem(documents)?.unwrap_or(0);
            done += expected.entry.messages;
            progress(&Progress { channel: &self.name, done, of: head.seq + told.head.total });
        }
        let counted = self.verify_counts(&told);
        self.or_problem(counted)?;
        self.expect("the number of saved documents", &self.count(Family::Docs)?, &saved);
        self.verify_reads(head)
    }

    fn verify_ranks(&mut self, total: u64) -> Result<(), ReadError> {
        let ranks = Ranks::load(self.rows, self.number)?;
        self.expect("the sum of the rank blocks", &ranks.total(), &total);
        let mut blocks = ranks.blocks().peekable();
        let mut counts: Vec<(u128, u32, u32)> = Vec::with_capacity(ranks.len());
        let range = keys::channel(self.number);
        self.rows.scan(Family::Index, bounds(&range), Direction::Forward, &mut |key, _| {
            let Some(id) = keys::message_of(key) else { return ControlFlow::Continue(()) };
            while let Some((start, count)) = blocks.next_if(|(start, _)| *start <= id.as_u128()) {
                counts.push((start, count, 0));
            }
            if let Some((_, _, found)) = counts.last_mut() {
                *found += 1;
            }
            ControlFlow::Continue(())
        })?;
        counts.extend(blocks.map(|(start, count)| (start, count, 0)));
        for (start, count, found) in counts {
            if count != found {
                let what = format!("the rank block at {start:032x} counts {count}, has {found}");
                self.problem(what);
            }
        }
        Ok(())
    }

    fn verify_reads(&mut self, head: &HeadRow) -> Result<(), ReadError> {
        let range = keys::channel(self.number);
        let mut wrong = 0_u64;
        self.rows.scan(Family::Reads, bounds(&range), Direction::Forward, &mut |_, row| {
            let is_good = ReadState::decode(row)
                .is_ok_and(|row| row.seq <= head.seq && row.delivered <= head.seq);
            wrong += u64::from(!is_good);
            ControlFlow::Continue(())
        })?;
        if wrong > 0 {
            self.problem(format!("{wrong} read states are damaged or above the head"));
        }
        Ok(())
    }

    /// Number of rows of this channel in a family.
    fn count(&self, family: Family) -> Result<u64, StoreError> {
        let range = keys::channel(self.number);
        let mut count = 0;
        self.rows.scan(family, bounds(&range), Direction::Forward, &mut |_, _| {
            count += 1;
            ControlFlow::Continue(())
        })?;
        Ok(count)
    }

    fn get<R: Row>(&mut self, key: &[u8]) -> Result<Option<R>, StoreError> {
        let Some(row) = self.rows.get(R::FAMILY, key)? else { return Ok(None) };
        match R::decode(&row) {
            Ok(row) => Ok(Some(row)),
            Err(error) => {
                self.problem(error.to_string());
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests;
