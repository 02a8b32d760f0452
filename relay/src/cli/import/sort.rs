//! Sorting more lines than fit in memory: sorted runs in files, merged as they are read.
//!
//! Knows of a line only its key; the payload is bytes.

use backscroll_core::message::MessageId;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Lines held in memory before they go to a file, in bytes: a million short messages.
pub(super) const SORT_BYTES_MAX: usize = 160 << 20;

/// Read buffer of each run while merging, in bytes: a hundred runs take 6 MB.
const RUN_BUFFER_BYTES: usize = 64 << 10;

/// Nibble of a UUID that says its version: no id has this one, so a line without id sorts after all
/// ids of its millisecond.
const NO_ID_YET: u128 = 0xf << 76;

/// Where a line stands in its channel: by its id, or by its time where it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Order(u128);

impl Order {
    /// The place of an id.
    pub(super) const fn of_id(id: MessageId) -> Self {
        Self(id.as_u128())
    }

    /// The place of a line that gets its id later, after all ids of `time_ms`.
    pub(super) const fn of_time(time_ms: u64) -> Self {
        Self((time_ms as u128) << 80 | NO_ID_YET)
    }

    /// Whether the line has no id yet.
    pub(super) const fn is_derived(self) -> bool {
        self.0 & NO_ID_YET == NO_ID_YET
    }

    /// The id, if the line has one.
    pub(super) fn id(self) -> Option<MessageId> {
        MessageId::from_u128(self.0).ok()
    }

    /// Sent time, in ms since the Unix epoch.
    pub(super) fn time_ms(self) -> u64 {
        u64::try_from(self.0 >> 80).unwrap_or(u64::MAX)
    }
}

/// What lines sort by: channel, order, and place in the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// The channel's number in this import.
    pub(super) channel: u32,
    /// Where the line stands in the channel.
    pub(super) order: Order,
    /// Where the line was read.
    pub(super) place: Place,
}

/// A line of a file; of two, the one that was named or comes first is the smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u64);

impl Place {
    /// Line `line` (48 bits) of the file `file`.
    pub(super) const fn new(file: u16, line: u64) -> Self {
        Self((file as u64) << 48 | line & ((1 << 48) - 1))
    }

    /// The file, by its place on the command line from 0.
    pub(super) fn file(self) -> u16 {
        u16::try_from(self.0 >> 48).unwrap_or(u16::MAX)
    }

    /// The line, from 1.
    pub(super) const fn line(self) -> u64 {
        self.0 & ((1 << 48) - 1)
    }
}

/// A line on its way through the sort.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// What it sorts by.
    pub(super) key: Key,
    /// The rest.
    pub(super) payload: Vec<u8>,
}

/// A folder for runs; made when the first run is written, gone with the last user of it.
#[derive(Debug)]
pub(super) struct SpillFolder {
    path: PathBuf,
    runs: AtomicU64,
}

impl SpillFolder {
    /// The folder at `path`; what an import that was killed left there is removed.
    pub(super) fn new(path: &Path) -> io::Result<Arc<Self>> {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(Arc::new(Self { path: path.to_owned(), runs: AtomicU64::new(0) }))
    }

    fn next_run(&self) -> io::Result<PathBuf> {
        fs::create_dir_all(&self.path)?;
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        Ok(self.path.join(format!("run-{number}")))
    }
}

impl Drop for SpillFolder {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next import.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Takes lines in any order.
#[derive(Debug)]
pub(super) struct Sorter {
    folder: Arc<SpillFolder>,
    bytes_max: usize,
    /// Payloads, each behind its length.
    arena: Vec<u8>,
    entries: Vec<Entry>,
    runs: Vec<PathBuf>,
    len: u64,
}

/// A key and where its payload is: 32 bytes, because there is one for every line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    order: Order,
    place: Place,
    channel: u32,
    at: u32,
}

impl Entry {
    const fn key(&self) -> Key {
        Key { channel: self.channel, order: self.order, place: self.place }
    }
}

impl Sorter {
    /// A sorter that holds `bytes_max` in memory (at most 1 GiB) and the rest in `folder`.
    pub(super) fn new(folder: Arc<SpillFolder>, bytes_max: usize) -> Self {
        let bytes_max = bytes_max.min(1 << 30);
        let (arena, entries, runs) = (Vec::new(), Vec::new(), Vec::new());
        Self { folder, bytes_max, arena, entries, runs, len: 0 }
    }

    /// How many lines it took.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// Takes a line.
    ///
    /// # Errors
    /// A run cannot be written.
    pub(super) fn push(&mut self, key: Key, payload: &[u8]) -> io::Result<()> {
        let held = self.arena.len() + self.entries.len() * size_of::<Entry>();
        if held + payload.len() > self.bytes_max && !self.entries.is_empty() {
            self.spill()?;
        }
        let too_large = |_| io::Error::from(io::ErrorKind::FileTooLarge);
        let at = u32::try_from(self.arena.len()).map_err(too_large)?;
        let len = u32::try_from(payload.len()).map_err(too_large)?;
        let Key { channel, order, place } = key;
        self.arena.extend(len.to_be_bytes());
        self.arena.extend(payload);
        self.entries.push(Entry { order, place, channel, at });
        self.len += 1;
        Ok(())
    }

    /// Gives the lines back in order.
    ///
    /// # Errors
    /// A run cannot be written or opened.
    pub(super) fn finish(mut self) -> io::Result<Sorted> {
        if self.runs.is_empty() {
            self.entries.sort_unstable_by_key(Entry::key);
            let entries = self.entries.into_iter();
            return Ok(Sorted::Held { arena: self.arena, entries });
        }
        self.spill()?;
        drop((self.arena, self.entries));
        let mut merge = Merge { runs: Vec::new(), heads: BinaryHeap::new(), _folder: self.folder };
        for (number, path) in self.runs.iter().enumerate() {
            let file = File::open(path)?;
            merge.runs.push(BufReader::with_capacity(RUN_BUFFER_BYTES, file));
            merge.pull(number)?;
        }
        Ok(Sorted::Merged(merge))
    }

    fn spill(&mut self) -> io::Result<()> {
        self.entries.sort_unstable_by_key(Entry::key);
        let path = self.folder.next_run()?;
        let mut run = BufWriter::with_capacity(RUN_BUFFER_BYTES, File::create(&path)?);
        for entry in self.entries.drain(..) {
            run.write_all(&entry.channel.to_be_bytes())?;
            run.write_all(&entry.order.0.to_be_bytes())?;
            run.write_all(&entry.place.0.to_be_bytes())?;
            let payload = payload_at(&self.arena, entry.at);
            run.write_all(&(payload.len() as u64).to_be_bytes())?;
            run.write_all(payload)?;
        }
        run.flush()?;
        self.arena.clear();
        self.runs.push(path);
        Ok(())
    }
}

/// The payload behind the length at `at`; nothing where there is none, which `push` rules out.
fn payload_at(arena: &[u8], at: u32) -> &[u8] {
    let from = arena.get(at as usize..).unwrap_or_default();
    let Some((len, rest)) = from.split_first_chunk() else { return &[] };
    rest.get(..u32::from_be_bytes(*len) as usize).unwrap_or_default()
}

/// Lines in order.
#[derive(Debug)]
pub(super) enum Sorted {
    /// All of them are in memory.
    Held {
        /// Payloads, each behind its length.
        arena: Vec<u8>,
        /// Sorted.
        entries: EntryIter,
    },
    /// They are in files.
    Merged(Merge),
}

/// Sorted entries being read.
pub(super) type EntryIter = std::vec::IntoIter<Entry>;

/// Runs being read, and the next line of each.
#[derive(Debug)]
pub(super) struct Merge {
    runs: Vec<BufReader<File>>,
    heads: BinaryHeap<Reverse<Head>>,
    /// Keeps the files there.
    _folder: Arc<SpillFolder>,
}

#[derive(Debug, PartialEq, Eq)]
struct Head {
    record: Record,
    run: usize,
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.record.key.cmp(&other.record.key)
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Merge {
    /// Reads the next line of a run onto the heap.
    fn pull(&mut self, number: usize) -> io::Result<()> {
        if let Some(run) = self.runs.get_mut(number)
            && let Some(record) = read_record(run)?
        {
            self.heads.push(Reverse(Head { record, run: number }));
        }
        Ok(())
    }

    fn next_record(&mut self) -> io::Result<Option<Record>> {
        let Some(Reverse(Head { record, run })) = self.heads.pop() else { return Ok(None) };
        self.pull(run)?;
        Ok(Some(record))
    }
}

fn read_record(run: &mut impl Read) -> io::Result<Option<Record>> {
    let mut channel = [0; 4];
    match run.read_exact(&mut channel) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let mut order = [0; 16];
    let mut place = [0; 8];
    let mut len = [0; 8];
    run.read_exact(&mut order)?;
    run.read_exact(&mut place)?;
    run.read_exact(&mut len)?;
    let mut payload = Vec::new();
    run.take(u64::from_be_bytes(len)).read_to_end(&mut payload)?;
    let key = Key {
        channel: u32::from_be_bytes(channel),
        order: Order(u128::from_be_bytes(order)),
        place: Place(u64::from_be_bytes(place)),
    };
    Ok(Some(Record { key, payload }))
}

impl Iterator for Sorted {
    type Item = io::Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Held { arena, entries } => {
                let entry = entries.next()?;
                let payload = payload_at(arena, entry.at).to_vec();
                Some(Ok(Record { key: entry.key(), payload }))
            }
            Self::Merged(merge) => merge.next_record().transpose(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(i: u64) -> Key {
        let scrambled = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        Key {
            channel: u32::try_from(i % 3).unwrap(),
            order: Order::of_id(MessageId::from_parts(
                scrambled % 5_000,
                u128::from(scrambled % 2),
            )),
            place: Place::new(u16::try_from(i % 2).unwrap(), i),
        }
    }

    fn sorted(bytes_max: usize) -> (Vec<Record>, u64) {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("spill");
        let folder = SpillFolder::new(&path).unwrap();
        let mut sorter = Sorter::new(folder.clone(), bytes_max);
        for i in 0..20_000 {
            let payload = vec![u8::try_from(i % 251).unwrap(); usize::try_from(i % 90).unwrap()];
            sorter.push(key(i), &payload).unwrap();
        }
        let records = sorter.finish().unwrap().map(Result::unwrap).collect();
        let runs = folder.runs.load(Ordering::Relaxed);
        drop(folder);
        assert!(!path.exists(), "the folder goes with its last user");
        (records, runs)
    }

    #[test]
    fn runs_in_files_give_what_memory_gives() {
        let (held, no_runs) = sorted(1 << 30);
        let (merged, runs) = sorted(40_000);
        assert_eq!(no_runs, 0);
        assert!(runs > 20, "{runs} runs");
        assert_eq!(held.len(), 20_000);
        assert!(held == merged);
        assert!(held.windows(2).all(|pair| pair[0].key < pair[1].key));
    }

    #[test]
    fn a_line_larger_than_the_memory_passes() {
        let base = tempfile::tempdir().unwrap();
        let folder = SpillFolder::new(&base.path().join("spill")).unwrap();
        let mut sorter = Sorter::new(folder, 10);
        sorter.push(key(2), &[7; 500]).unwrap();
        sorter.push(key(1), &[8; 500]).unwrap();
        let sizes: Vec<_> = sorter.finish().unwrap().map(|r| r.unwrap().payload.len()).collect();
        assert_eq!(sizes, [500, 500]);
    }

    #[test]
    fn lines_without_id_come_after_the_ids_of_their_ms_in_file_order() {
        let last_id = Order::of_id(MessageId::from_parts(9, u128::MAX));
        assert!(Order::of_time(9) > last_id && Order::of_time(9).is_derived());
        assert!(Order::of_time(9) < Order::of_id(MessageId::first_of(10)));
        assert!(!last_id.is_derived() && Order::of_time(9).id().is_none());
        assert_eq!((Order::of_time(9).time_ms(), last_id.time_ms()), (9, 9));
        assert!(Place::new(0, 1 << 40) < Place::new(1, 1));
        assert_eq!((Place::new(7, 9).file(), Place::new(7, 9).line()), (7, 9));
    }
}
