//! Ids for lines that have none, and one message per id (design 8.1).
//!
//! The id of a line is its time, how many such lines of that millisecond came before it in its
//! file (30 bits), and a hash of channel and content (44 bits). So lines of one millisecond keep the
//! file's order, equal lines stay apart, and the same file gives the same ids.

use super::sort::{Key, Order, Record, Sorted, Sorter, SpillFolder};
use backscroll_core::message::{Content, MessageId};
use std::io;
use std::iter::Peekable;
use std::sync::Arc;

const HASH_BITS: u32 = 44;
const ORDINAL_MAX: u64 = (1 << 30) - 1;

/// Memory for the lines of one millisecond, in bytes; beyond it they are sorted in files too.
const GROUP_BYTES_MAX: usize = 16 << 20;

/// The id of the `ordinal`th line (from 0) of `time_ms` whose content has this hash.
fn derived_id(time_ms: u64, ordinal: u64, hash: u64) -> MessageId {
    let ordinal = u128::from(ordinal.min(ORDINAL_MAX));
    let hash = u128::from(hash) & ((1 << HASH_BITS) - 1);
    MessageId::from_parts(time_ms, ordinal << HASH_BITS | hash)
}

/// Lines in order of (channel, id), all with ids.
pub(super) struct Identified {
    lines: Peekable<Sorted>,
    /// The rest of a millisecond that has several lines.
    group: Option<Sorted>,
    folder: Arc<SpillFolder>,
}

/// Counts the lines of a millisecond that have no id, per file.
#[derive(Default)]
struct Ordinals {
    file: Option<u16>,
    next: u64,
}

impl Ordinals {
    /// Gives a line its id, if it has none. Lines without come in the order of files and lines.
    fn identify(&mut self, record: Record) -> Record {
        let Record { key, payload } = record;
        let Some((hash, body)) = payload.split_first_chunk().filter(|_| key.order.is_derived())
        else {
            return Record { key, payload };
        };
        if self.file != Some(key.place.file()) {
            *self = Self { file: Some(key.place.file()), next: 0 };
        }
        let id = derived_id(key.order.time_ms(), self.next, u64::from_be_bytes(*hash));
        self.next += 1;
        Record { key: Key { order: Order::of_id(id), ..key }, payload: body.to_vec() }
    }
}

impl Identified {
    /// The lines of the main sort.
    pub(super) fn new(lines: Sorted, folder: Arc<SpillFolder>) -> Self {
        Self { lines: lines.peekable(), group: None, folder }
    }

    fn next_record(&mut self) -> io::Result<Option<Record>> {
        if let Some(record) = self.group.as_mut().and_then(Iterator::next) {
            return record.map(Some);
        }
        self.group = None;
        let Some(first) = self.lines.next().transpose()? else { return Ok(None) };
        let moment = moment_of(&first.key);
        let same = |next: &io::Result<Record>| {
            // An error is taken here too, so that it is not lost.
            next.as_ref().map_or(true, |next| moment_of(&next.key) == moment)
        };
        let mut ordinals = Ordinals::default();
        let first = ordinals.identify(first);
        let Some(second) = self.lines.next_if(same).transpose()? else { return Ok(Some(first)) };
        let mut group = Sorter::new(self.folder.clone(), GROUP_BYTES_MAX);
        group.push(first.key, &first.payload)?;
        let mut next = Some(second);
        while let Some(record) = next {
            let record = ordinals.identify(record);
            group.push(record.key, &record.payload)?;
            next = self.lines.next_if(same).transpose()?;
        }
        let mut group = group.finish()?;
        let least = group.next().transpose();
        self.group = Some(group);
        least
    }
}

fn moment_of(key: &Key) -> (u32, u64) {
    (key.channel, key.order.time_ms())
}

impl Iterator for Identified {
    type Item = io::Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_record().transpose()
    }
}

/// Whether two bodies are the same message under one id: the same sender and text (design 8.2).
pub(super) fn is_same_message(a: &[u8], b: &[u8]) -> bool {
    match (Content::from_body(a), Content::from_body(b)) {
        (Ok(a), Ok(b)) => a.from == b.from && a.text == b.text,
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::super::sort::Place;
    use super::*;
    use std::collections::BTreeSet;

    /// A line without id: (file, line, time, text).
    type Row<'a> = (u16, u64, u64, &'a str);

    fn ids(rows: &[Row<'_>], bytes_max: usize) -> Vec<(String, MessageId)> {
        let base = tempfile::tempdir().unwrap();
        let folder = SpillFolder::new(&base.path().join("spill")).unwrap();
        let mut sorter = Sorter::new(folder.clone(), bytes_max);
        for (file, line, time_ms, text) in rows {
            let hash: u64 = text.bytes().fold(7, |h, b| h * 31 + u64::from(b));
            let mut payload = hash.to_be_bytes().to_vec();
            payload.extend(text.bytes());
            let place = Place::new(*file, *line);
            let order = Order::of_time(*time_ms);
            sorter.push(Key { channel: 0, order, place }, &payload).unwrap();
        }
        let sorted = sorter.finish().unwrap();
        Identified::new(sorted, folder)
            .map(|record| {
                let Record { key, payload } = record.unwrap();
                (String::from_utf8(payload).unwrap(), key.order.id().unwrap())
            })
            .collect()
    }

    #[test]
    fn lines_of_one_ms_keep_the_files_order_and_equal_ones_stay_apart() {
        let rows = [(0, 4, 9, "b"), (0, 1, 9, "z"), (0, 3, 9, "a"), (0, 2, 9, "a"), (0, 5, 3, "a")];
        for bytes_max in [1 << 20, 1] {
            let found = ids(&rows, bytes_max);
            let texts: Vec<_> = found.iter().map(|(text, _)| text.as_str()).collect();
            assert_eq!(texts, ["a", "z", "a", "a", "b"]);
            assert!(found.windows(2).all(|pair| pair[0].1 < pair[1].1));
        }
    }

    #[test]
    fn ids_do_not_depend_on_other_times_or_files() {
        let alone: BTreeSet<_> =
            ids(&[(0, 1, 9, "a"), (0, 2, 9, "b")], 1 << 20).into_iter().collect();
        let among =
            [(0, 1, 4, "x"), (0, 2, 9, "q"), (1, 5, 8, "y"), (1, 7, 9, "a"), (1, 9, 9, "b")];
        let among: BTreeSet<_> = ids(&among, 1 << 20).into_iter().collect();
        assert!(alone.is_subset(&among), "{alone:?} {among:?}");
        assert_eq!(among.len(), 5);
    }

    #[test]
    fn ids_are_fixed_for_ever() {
        let found = ids(&[(0, 1, 1_700_000_000_000, "a"), (0, 2, 1_700_000_000_000, "a")], 1 << 20);
        let written: Vec<_> = found.iter().map(|(_, id)| id.to_string()).collect();
        assert_eq!(
            written,
            ["018bcfe5-6800-7000-8000-00000000013a", "018bcfe5-6800-7000-8000-10000000013a"]
        );
    }

    #[test]
    fn given_ids_and_derived_ones_come_in_one_order() {
        let base = tempfile::tempdir().unwrap();
        let folder = SpillFolder::new(&base.path().join("spill")).unwrap();
        let mut sorter = Sorter::new(folder.clone(), 1 << 20);
        for tail in [0, u128::MAX >> 54, 5] {
            let order = Order::of_id(MessageId::from_parts(9, tail));
            sorter.push(Key { channel: 0, order, place: Place::new(0, 1) }, b"x").unwrap();
        }
        let order = Order::of_time(9);
        for line in 0..3 {
            let key = Key { channel: 0, order, place: Place::new(0, line) };
            sorter.push(key, &[9; 12]).unwrap();
        }
        let sorted = sorter.finish().unwrap();
        let keys: Vec<_> = Identified::new(sorted, folder).map(|r| r.unwrap().key).collect();
        assert_eq!(keys.len(), 6);
        assert!(keys.windows(2).all(|pair| pair[0].order < pair[1].order));
    }

    #[test]
    fn the_same_message_has_the_same_sender_and_text() {
        let body = |from, text| Content::text(from, text).to_body().unwrap();
        assert!(is_same_message(&body("a", "t"), &body("a", "t")));
        assert!(!is_same_message(&body("a", "t"), &body("a", "u")));
        assert!(!is_same_message(&body("a", "t"), &body("b", "t")));
    }
}
