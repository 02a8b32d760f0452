//! `backscroll import`: JSON Lines in any order into a data folder, or a folder of segment
//! documents (design 8.1).
//!
//! Files are read and parsed on all cores, sorted by channel and id within a bound of memory, and
//! handed to the store's bulk load channel by channel.

mod folder;
mod identify;
mod lines;
mod parse;
mod read;
mod rows;
mod sort;

use super::progress::{Progress, Unit};
use super::{Failure, Outcome, now_ms, output};
use backscroll_core::message;
use backscroll_relay::bulk::{Added, Import, Outcome as Loaded};
use backscroll_relay::store::Store;
use identify::Identified;
use parse::Rules;
use rows::Rows;
use sort::{Place, SORT_BYTES_MAX, Sorter, SpillFolder};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Where runs of the sort are kept, inside the data folder: it has the room, and its lock is ours.
const SPILL_FOLDER: &str = "import.tmp";

/// What `import` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct ImportArguments {
    /// Folder of the store, made if missing
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Put every line into this channel, whatever it says
    #[arg(long)]
    channel: Option<String>,
    /// JSON Lines, plain or .gz; - for standard input. With --channel one folder of segment
    /// documents, as export writes them
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Why an import does not begin, or ends early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum ImportError {
    /// A file is not there.
    #[error("cannot read {}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// Files are numbered with 16 bits.
    #[error("more than {} files at once", u16::MAX)]
    TooManyFiles,
    /// A folder beside other files.
    #[error("{} is a folder: import it alone", .0.display())]
    FolderAmongFiles(PathBuf),
    /// Segment documents do not say their channel.
    #[error("{} is a folder: name its channel with --channel", .0.display())]
    FolderWithoutChannel(PathBuf),
}

/// What became of the lines.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    added: u64,
    there_before: u64,
    bad: u64,
    channels: usize,
}

/// Tells of bad lines and of progress.
#[derive(Debug)]
struct Report {
    files: Vec<PathBuf>,
    progress: Progress,
    bad: u64,
}

impl Report {
    /// Reports a line that is skipped.
    fn bad_line(&mut self, place: Place, why: &dyn Display) {
        self.bad += 1;
        self.progress.log(&format!("{}: {why}", self.name(place)));
    }

    /// `file:line`
    fn name(&self, place: Place) -> String {
        let file = self.files.get(usize::from(place.file()));
        let file = file.map_or_else(String::new, |file| file.display().to_string());
        format!("{file}:{}", place.line())
    }
}

pub(super) fn run(arguments: &ImportArguments) -> Result<Outcome, Failure> {
    let started = Instant::now();
    if let Some(channel) = &arguments.channel {
        message::check_channel(channel)?;
    }
    let bytes = bytes_of(&arguments.files)?;
    let tally = match arguments.files.as_slice() {
        [folder] if folder.is_dir() => {
            let missing = || ImportError::FolderWithoutChannel(folder.clone());
            let channel = arguments.channel.as_deref().ok_or_else(missing)?;
            import_folder(&arguments.data, channel, folder)?
        }
        files => import_lines(arguments, files, bytes)?,
    };
    output::line(&tally.summary(started.elapsed().as_secs_f64()))?;
    Ok(if tally.bad == 0 { Outcome::Clean } else { Outcome::Flawed })
}

/// Bytes of all files together, unless standard input is among them; each must be there.
fn bytes_of(files: &[PathBuf]) -> Result<Option<u64>, ImportError> {
    if files.len() > usize::from(u16::MAX) {
        return Err(ImportError::TooManyFiles);
    }
    let mut bytes = Some(0);
    for file in files {
        if file == Path::new("-") {
            bytes = None;
            continue;
        }
        let failed = |source| ImportError::File { file: file.clone(), source };
        let found = file.metadata().map_err(failed)?;
        if found.is_dir() && files.len() > 1 {
            return Err(ImportError::FolderAmongFiles(file.clone()));
        }
        bytes = bytes.map(|bytes| bytes + found.len());
    }
    Ok(bytes)
}

fn import_lines(
    arguments: &ImportArguments,
    files: &[PathBuf],
    bytes: Option<u64>,
) -> Result<Tally, Failure> {
    let store = Store::open(&arguments.data)?;
    let spill = SpillFolder::new(&arguments.data.join(SPILL_FOLDER))?;
    let now_ms = now_ms();
    let rules = Rules { channel: arguments.channel.clone(), now_ms };
    let progress = Progress::new("reading", bytes, Unit::Bytes);
    let mut report = Report { files: files.to_vec(), progress, bad: 0 };
    let mut sorter = Sorter::new(spill.clone(), SORT_BYTES_MAX);
    let channels = read::read_all(files, &rules, &mut sorter, &mut report)?;
    report.progress.finish();
    let lines = sorter.len();
    report.progress = Progress::new("writing", Some(lines), Unit::Messages);
    let mut rows = Rows::new(Identified::new(sorter.finish()?, spill), &mut report);
    let mut tally = Tally { channels: channels.len(), ..Tally::default() };
    while let Some(channel) = rows.next_channel() {
        let import = Import::begin(&store, channels.name(channel), now_ms)?;
        rows.load(channel, import, &mut tally)?;
    }
    rows.finish(&mut tally)?;
    tally.bad = report.bad;
    report.progress.finish();
    Ok(tally)
}

/// Imports the documents of a folder. All are looked at before anything is stored.
fn import_folder(data: &Path, channel: &str, folder: &Path) -> Result<Tally, Failure> {
    let windows = folder::list(folder)?;
    let progress = Progress::new("reading", None, Unit::Messages);
    let mut messages = 0;
    for (window, files) in &windows {
        messages += files.read(*window)?.messages.len() as u64;
        progress.set(messages);
    }
    progress.finish();
    let store = Store::open(data)?;
    let mut import = Import::begin(&store, channel, now_ms())?;
    let mut tally = Tally { channels: 1, ..Tally::default() };
    let progress = Progress::new("writing", Some(messages), Unit::Messages);
    for (window, files) in &windows {
        let state = files.read(*window)?;
        for (id, body) in state.messages {
            if let Added::Refused(code) = import.add_in(Some(*window), id, body)? {
                tally.bad += 1;
                progress.log(&format!("{}: {id}: {code}", files.name()));
            }
            progress.add(1);
        }
        import.annotate(state.annotations)?;
    }
    tally.count(import.finish()?);
    progress.finish();
    Ok(tally)
}

impl Tally {
    fn count(&mut self, loaded: Loaded) {
        self.added += loaded.added;
        self.there_before += loaded.already_there;
    }

    fn summary(&self, seconds: f64) -> String {
        let Self { added, there_before, bad, channels } = self;
        let messages = added + there_before;
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = messages as f64 / seconds.max(0.001);
        format!(
            "{messages} messages: {added} added, {there_before} already there; {bad} bad lines; \
             {channels} channels; {seconds:.1} s, {rate:.0} messages/s"
        )
    }
}
