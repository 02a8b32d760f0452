//! Sorted lines as the rows of one channel after another, each id once.
#![allow(clippy::result_large_err, reason = "such an error ends the import: it is made once")]

use super::identify::{Identified, is_same_message};
use super::sort::{Place, Record};
use super::{Report, Tally};
use backscroll_core::message::MessageId;
use backscroll_relay::bulk::{Added, BulkError, Import};
use backscroll_relay::commit::Code;
use std::fmt;
use std::io;
use std::iter::Peekable;

/// Rows between two signs of progress.
const PROGRESS_EVERY: u64 = 1_024;

/// The lines of all channels, in order of channel and id.
pub(super) struct Rows<'r> {
    lines: Peekable<Identified>,
    report: &'r mut Report,
    /// The line given last, for those that repeat it.
    last: Option<Record>,
    repeated: u64,
    failed: Option<io::Error>,
}

/// Why a line with an id is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Conflict {
    /// A line before has the id.
    Line {
        /// The id.
        id: MessageId,
        /// That line, as `file:line`.
        other: String,
    },
    /// The channel has the id.
    Stored {
        /// The id.
        id: MessageId,
    },
    /// The store refuses it for another reason.
    Refused {
        /// The stable code.
        code: Code,
    },
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { id, other } => write!(f, "another message, {other}, has the id {id}"),
            Self::Stored { id } => write!(f, "another message in the channel has the id {id}"),
            Self::Refused { code } => write!(f, "the store refuses it: {code}"),
        }
    }
}

impl<'r> Rows<'r> {
    /// The rows of these lines.
    pub(super) fn new(lines: Identified, report: &'r mut Report) -> Self {
        Self { lines: lines.peekable(), report, last: None, repeated: 0, failed: None }
    }

    /// The channel of the next row.
    pub(super) fn next_channel(&mut self) -> Option<u32> {
        match self.lines.peek()? {
            Ok(record) => Some(record.key.channel),
            Err(_) => {
                self.failed = self.lines.next().and_then(Result::err);
                None
            }
        }
    }

    /// The next row of `channel`, if the next row is of it.
    fn next_of(&mut self, channel: u32) -> Option<(MessageId, Place, Vec<u8>)> {
        loop {
            if self.next_channel() != Some(channel) {
                return None;
            }
            let record = self.lines.next()?.ok()?;
            let id = record.key.order.id()?;
            let Some(last) = self.last.as_ref().filter(|last| is_same_id(last, &record)) else {
                let row = (id, record.key.place, record.payload.clone());
                self.last = Some(record);
                return Some(row);
            };
            if is_same_message(&last.payload, &record.payload) {
                self.repeated += 1;
            } else {
                let other = self.report.name(last.key.place);
                self.report.bad_line(record.key.place, &Conflict::Line { id, other });
            }
        }
    }

    /// Loads all rows of `channel`.
    ///
    /// # Errors
    /// The store fails.
    pub(super) fn load(
        &mut self,
        channel: u32,
        mut import: Import<'_>,
        tally: &mut Tally,
    ) -> Result<(), BulkError> {
        let mut rows = 0;
        while let Some((id, place, body)) = self.next_of(channel) {
            if let Added::Refused(code) = import.add(id, body)? {
                let why = match code {
                    Code::IdTaken => Conflict::Stored { id },
                    code => Conflict::Refused { code },
                };
                self.report.bad_line(place, &why);
            }
            rows += 1;
            if rows % PROGRESS_EVERY == 0 {
                self.report.progress.add(PROGRESS_EVERY);
            }
        }
        tally.count(import.finish()?);
        Ok(())
    }

    /// Ends: counts the lines that repeated others.
    ///
    /// # Errors
    /// The lines ended because they could not be read.
    pub(super) fn finish(self, tally: &mut Tally) -> io::Result<()> {
        tally.there_before += self.repeated;
        self.failed.map_or(Ok(()), Err)
    }
}

fn is_same_id(a: &Record, b: &Record) -> bool {
    a.key.channel == b.key.channel && a.key.order == b.key.order
}
