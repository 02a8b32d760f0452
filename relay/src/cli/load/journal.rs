//! A run's history as JSON Lines, for whoever wants to look or to check it again: written as things
//! happen, read back into what the checker takes.
//!
//! ```text
//! {"t_us":812,"kind":"joined","client":"r0","seq":0}
//! {"t_us":901,"kind":"invoke","client":"s3","id":"..."}
//! {"t_us":2210,"kind":"ok","client":"s3","id":"...","seq":1}
//! {"t_us":2265,"kind":"seen","client":"r0","id":"...","seq":1}
//! ```
//! `fail` is a refusal, `info` an outcome that got lost with a connection, `stored` a row of the
//! channel read back afterwards, `altered` a text that is not what was sent.

use super::check::{Fate, Heard, Observed};
use backscroll_core::message::MessageId;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// A message is sent for the first time.
    Invoke,
    /// It is acknowledged.
    Ok,
    /// It is refused for good.
    Fail,
    /// The connection broke before an answer.
    Info,
    /// A subscriber begins above this seq.
    Joined,
    /// A subscriber got a message.
    Seen,
    /// A message that a subscriber got has another text.
    Altered,
    /// A row of the channel, read back; in the channel's order.
    Stored,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    t_us: u64,
    kind: Kind,
    #[serde(borrow)]
    client: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<MessageId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
}

/// Why there is no history.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum JournalError {
    /// The file cannot be written.
    #[error("cannot write {}", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file cannot be read.
    #[error("cannot read {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A line is none of a history.
    #[error("line {line} of {} is no line of a history: {what}", file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
}

/// A history that is being written.
#[derive(Debug)]
pub(super) struct Journal {
    file: PathBuf,
    begun: Instant,
    out: Mutex<Out>,
}

#[derive(Debug)]
struct Out {
    writer: BufWriter<File>,
    /// The first failure; nothing is written after it.
    failed: Option<io::Error>,
}

impl Journal {
    /// A history in `file`, which is emptied.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn create(file: &Path) -> Result<Self, JournalError> {
        let failed = |source| JournalError::Write { file: file.to_owned(), source };
        let writer = BufWriter::new(File::create(file).map_err(failed)?);
        let out = Mutex::new(Out { writer, failed: None });
        Ok(Self { file: file.to_owned(), begun: Instant::now(), out })
    }

    /// Notes that something happened. A failure shows in [`Self::finish`].
    pub(super) fn note(&self, kind: Kind, client: &str, id: Option<MessageId>, seq: Option<u64>) {
        let t_us = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let line = Line { t_us, kind, client: client.into(), id, seq };
        // The lock orders the lines; nothing panics while it is held.
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        if out.failed.is_none() {
            let written = serde_json::to_writer(&mut out.writer, &line).map_err(io::Error::from);
            out.failed = written.and_then(|()| out.writer.write_all(b"\n")).err();
        }
    }

    /// Writes what is buffered.
    ///
    /// # Errors
    /// Something could not be written.
    pub(super) fn finish(&self) -> Result<(), JournalError> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let flushed = match out.failed.take() {
            Some(error) => Err(error),
            None => out.writer.flush(),
        };
        flushed.map_err(|source| JournalError::Write { file: self.file.clone(), source })
    }
}

/// Reads a history back.
///
/// # Errors
/// The file cannot be read, or is no history.
pub(super) fn read(file: &Path) -> Result<Observed, JournalError> {
    let failed = |source| JournalError::Read { file: file.to_owned(), source };
    let mut reading = Reading::default();
    for (number, line) in (1..).zip(BufReader::new(File::open(file).map_err(failed)?).lines()) {
        let line = line.map_err(failed)?;
        reading.take(&line).map_err(|what| JournalError::Line {
            file: file.to_owned(),
            line: number,
            what,
        })?;
    }
    Ok(reading.observed)
}

#[derive(Default)]
struct Reading {
    observed: Observed,
    readers: HashMap<String, usize>,
}

impl Reading {
    fn take(&mut self, line: &str) -> Result<(), String> {
        let line: Line<'_> = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let id = || line.id.ok_or_else(|| "there is no id".to_owned());
        if let (Kind::Ok | Kind::Fail, Some(id)) = (line.kind, line.id)
            && !self.observed.sent.contains_key(&id)
        {
            return Err(format!("{id} is answered and was never sent"));
        }
        let seq = || line.seq.ok_or_else(|| "there is no seq".to_owned());
        match line.kind {
            Kind::Invoke => drop(self.observed.sent.entry(id()?).or_insert(Fate::Unknown)),
            Kind::Info => {}
            Kind::Fail => drop(self.observed.sent.insert(id()?, Fate::Refused)),
            Kind::Ok => {
                let (id, seq) = (id()?, seq()?);
                if let Some(Fate::Stored(first)) = self.observed.sent.insert(id, Fate::Stored(seq))
                    && first != seq
                {
                    self.observed.renumbered.push((id, first, seq));
                }
            }
            Kind::Joined => {
                let heard =
                    Heard { name: line.client.to_string(), after: seq()?, ..Heard::default() };
                self.readers.insert(line.client.into_owned(), self.observed.heard.len());
                self.observed.heard.push(heard);
            }
            Kind::Seen | Kind::Altered => {
                let place = self.readers.get(&*line.client).copied();
                let heard = place.and_then(|place| self.observed.heard.get_mut(place));
                let heard = heard.ok_or_else(|| format!("{} never joined", line.client))?;
                match line.kind {
                    Kind::Altered => heard.altered.push(id()?),
                    _ => heard.seen.push((seq()?, id()?)),
                }
            }
            Kind::Stored => {
                self.observed.stored.get_or_insert_default().push((seq()?, id()?));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::check;
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("history");
        let id = MessageId::from_parts(1_700_000_000_000, 7);
        let journal = Journal::create(&file).unwrap();
        journal.note(Kind::Joined, "r0", None, Some(0));
        journal.note(Kind::Invoke, "s0", Some(id), None);
        journal.note(Kind::Info, "s0", Some(id), None);
        journal.note(Kind::Ok, "s0", Some(id), Some(1));
        journal.note(Kind::Seen, "r0", Some(id), Some(1));
        journal.note(Kind::Stored, "check", Some(id), Some(1));
        journal.finish().unwrap();
        let observed = read(&file).unwrap();
        assert_eq!(observed.sent[&id], Fate::Stored(1));
        assert_eq!(observed.heard[0].seen, [(1, id)]);
        assert_eq!(observed.stored.as_deref(), Some(&[(1, id)][..]));
        assert_eq!(check(&observed), []);
        journal.note(Kind::Ok, "s0", Some(id), Some(2));
        journal.finish().unwrap();
        assert_eq!(read(&file).unwrap().renumbered, [(id, 1, 2)]);
    }

    #[test]
    fn what_is_no_history_is_refused_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("history");
        let good = r#"{"t_us":1,"kind":"joined","client":"r0","seq":0}"#;
        for bad in ["", "{}", r#"{"t_us":1,"kind":"seen","client":"r1","id":null,"seq":1}"#] {
            std::fs::write(&file, format!("{good}\n{bad}\n")).unwrap();
            assert!(read(&file).unwrap_err().to_string().starts_with("line 2 of"), "{bad}");
        }
    }
}
