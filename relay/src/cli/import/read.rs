//! Files through the parsers into the sort: one thread reads, one per core parses, this one sorts.

use super::Report;
use super::lines::{Piece, Pieces};
use super::parse::{LineError, Rules};
use super::sort::{Key, Order, Place, Sorter};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

/// Pieces waiting between two stages: enough that nobody waits, 4 MiB at most of usual lines.
const QUEUE_PIECES: usize = 8;

/// Why reading ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum ReadError {
    /// A file cannot be opened or read to its end.
    #[error("cannot read {}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The sort cannot keep its runs in the data folder.
    #[error("cannot write sorted lines into the data folder")]
    Sort(#[source] io::Error),
}

/// The channels of an import by their numbers, in the order they first came.
#[derive(Debug, Default)]
pub(super) struct Channels {
    numbers: HashMap<String, u32>,
    names: Vec<String>,
}

impl Channels {
    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }

    /// The name behind a number.
    pub(super) fn name(&self, number: u32) -> &str {
        self.names.get(number as usize).map_or("", String::as_str)
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.names.len()
    }
}

/// A piece on its way to a parser; numbered, because parsers overtake each other.
struct Job {
    number: u64,
    file: u16,
    piece: Piece,
}

/// What a parser made of a piece.
#[derive(Default)]
struct Parsed {
    number: u64,
    /// Channels of this piece's lines.
    names: Vec<String>,
    lines: Vec<(usize, Order, Place, Vec<u8>)>,
    bad: Vec<(Place, LineError)>,
}

/// Reads all files into `sorter`.
///
/// # Errors
/// A file cannot be read, or the sort cannot write. Bad lines are reported and no error.
pub(super) fn read_all(
    files: &[PathBuf],
    rules: &Rules,
    sorter: &mut Sorter,
    report: &mut Report,
) -> Result<Channels, ReadError> {
    let bytes_read = Arc::new(AtomicU64::new(0));
    let (jobs_in, jobs) = sync_channel(QUEUE_PIECES);
    let (parsed_in, parsed) = sync_channel(QUEUE_PIECES);
    let jobs = Arc::new(Mutex::new(jobs));
    let parsers = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        let reader = {
            let bytes_read = Arc::clone(&bytes_read);
            scope.spawn(move || read_files(files, &bytes_read, &jobs_in))
        };
        for _ in 0..parsers {
            let (jobs, parsed_in) = (Arc::clone(&jobs), parsed_in.clone());
            scope.spawn(move || parse_jobs(rules, &jobs, &parsed_in));
        }
        drop((jobs, parsed_in));
        // A receiver that is dropped ends the parsers, and they the reader.
        let sorted = sort_parsed(parsed, sorter, report, &bytes_read);
        let read = match reader.join() {
            Ok(read) => read,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        read?;
        sorted.map_err(ReadError::Sort)
    })
}

fn read_files(
    files: &[PathBuf],
    bytes_read: &Arc<AtomicU64>,
    jobs: &SyncSender<Job>,
) -> Result<(), ReadError> {
    let mut number = 0;
    for (index, path) in files.iter().enumerate() {
        let failed = |source| ReadError::File { file: path.clone(), source };
        let file = u16::try_from(index).unwrap_or(u16::MAX);
        for piece in Pieces::open(path, Arc::clone(bytes_read)).map_err(failed)? {
            let piece = piece.map_err(failed)?;
            if jobs.send(Job { number, file, piece }).is_err() {
                return Ok(());
            }
            number += 1;
        }
    }
    Ok(())
}

fn parse_jobs(rules: &Rules, jobs: &Mutex<Receiver<Job>>, parsed: &SyncSender<Parsed>) {
    loop {
        let job = match jobs.lock() {
            Ok(jobs) => jobs.recv(),
            Err(_) => return,
        };
        let Ok(job) = job else { return };
        if parsed.send(parse(rules, &job)).is_err() {
            return;
        }
    }
}

fn parse(rules: &Rules, job: &Job) -> Parsed {
    let mut parsed = Parsed { number: job.number, ..Parsed::default() };
    let (first_line, bytes) = match &job.piece {
        Piece::Lines { first_line, bytes } => (*first_line, bytes.as_slice()),
        Piece::TooLong { line } => {
            parsed.bad.push((Place::new(job.file, *line), LineError::TooLong));
            return parsed;
        }
    };
    let mut numbers: HashMap<String, usize> = HashMap::new();
    for (line, number) in bytes.split(|byte| *byte == b'\n').zip(first_line..) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let place = Place::new(job.file, number);
        match rules.parse(line) {
            Err(error) => parsed.bad.push((place, error)),
            Ok(line) => {
                let channel = numbers.get(&*line.channel).copied().unwrap_or_else(|| {
                    numbers.insert(line.channel.to_string(), parsed.names.len());
                    parsed.names.push(line.channel.into_owned());
                    parsed.names.len() - 1
                });
                parsed.lines.push((channel, line.order, place, line.payload));
            }
        }
    }
    parsed
}

/// Takes what parsers made, in the order of the files.
fn sort_parsed(
    parsed: Receiver<Parsed>,
    sorter: &mut Sorter,
    report: &mut Report,
    bytes_read: &AtomicU64,
) -> io::Result<Channels> {
    let mut channels = Channels::default();
    let mut early = BTreeMap::new();
    let mut next = 0;
    for piece in parsed {
        early.insert(piece.number, piece);
        while let Some(piece) = early.remove(&next) {
            next += 1;
            let numbers: Vec<_> = piece.names.iter().map(|name| channels.number(name)).collect();
            for (place, error) in piece.bad {
                report.bad_line(place, &error);
            }
            for (channel, order, place, payload) in piece.lines {
                let channel = numbers.get(channel).copied().unwrap_or_default();
                sorter.push(Key { channel, order, place }, &payload)?;
            }
        }
        report.progress.set(bytes_read.load(Ordering::Relaxed));
    }
    Ok(channels)
}
