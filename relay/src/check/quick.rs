//! The quick form of a check: every row is read, decodes, and the counts of each channel agree. What
//! a copy must pass that was made of a sound store; documents are not loaded.

use super::{Problem, strays};
use crate::ranks::Ranks;
use crate::reader::ReadError;
use crate::store::keys::{self, BlobKind, ChannelId, bounds};
use crate::store::kv::{Direction, Family, Snapshot};
use crate::store::rows::{
    ActorRow, AnnotationRow, BlobReservedRow, BlobRow, BlobUsageRow, DirectoryRow, DocRow, HashRow,
    HeadRow, IdempotencyRow, IndexRow, LateRow, LogRow, MemberRow, Row,
};
use crate::store::{Store, StoreError};
use backscroll_core::read_state::ReadState;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Rows between two calls of `progress`.
const STRIDE: u64 = 1 << 14;

/// What is counted of a channel.
#[derive(Debug, Default)]
struct Counted {
    index: u64,
    members: u64,
    directory: u64,
    last_seq: u64,
}

/// Reads every row of a store, which verifies the files' checksums, and holds the counts of each
/// channel against each other. `progress` is told the rows read.
///
/// # Errors
/// The store cannot be read at all, as where a file is damaged.
///
/// # Complexity
/// O(everything stored), in the order in which it is stored; about 1 us a row.
pub fn quick(store: &Store, mut progress: impl FnMut(u64)) -> Result<Vec<Problem>, ReadError> {
    let rows = store.snapshot();
    let mut problems = Vec::new();
    let channels = strays::channels(&*rows, &mut problems)?;
    let mut counts: BTreeMap<ChannelId, Counted> = BTreeMap::new();
    let mut done = 0;
    for family in Family::ALL {
        let range = keys::everything();
        let mut damaged = 0_u64;
        rows.scan(family, bounds(&range), Direction::Forward, &mut |key, row| {
            done += 1;
            if done % STRIDE == 0 {
                progress(done);
            }
            let number = keys::channel_of(key).unwrap_or_default();
            let counted = match family {
                Family::Log | Family::Directory | Family::Index | Family::Members => {
                    counts.entry(number).or_default()
                }
                _ => &mut Counted::default(),
            };
            if count(family, key, row, counted).is_none() {
                damaged += 1;
            }
            ControlFlow::Continue(())
        })?;
        if damaged > 0 {
            let what = format!("{damaged} rows of kind {} do not read back", family.name());
            problems.push(Problem { channel: String::new(), what });
        }
    }
    for (number, name) in channels {
        let counted = counts.remove(&number).unwrap_or_default();
        for what in compare(&*rows, number, &counted)? {
            problems.push(Problem { channel: name.clone(), what });
        }
    }
    Ok(problems)
}

/// Reads a row and counts it; `None` is damage.
fn count(family: Family, key: &[u8], row: &[u8], counted: &mut Counted) -> Option<()> {
    match family {
        Family::Log => {
            let seq = keys::seq_of(key)?;
            let last = LogRow::decode(row).ok()?.last_seq(seq);
            counted.last_seq = counted.last_seq.max(last);
        }
        Family::Directory => {
            counted.directory += DirectoryRow::decode(row).ok()?.entry.messages;
        }
        Family::Index => {
            IndexRow::decode(row).ok()?;
            counted.index += 1;
        }
        Family::Members => {
            MemberRow::decode(row).ok()?;
            counted.members += 1;
        }
        Family::Late => drop(LateRow::decode(row).ok()?),
        Family::Docs => drop(DocRow::decode(row).ok()?),
        Family::Actors => drop(ActorRow::decode(row).ok()?),
        Family::Annotations => drop(AnnotationRow::decode(row).ok()?),
        Family::Hashes => drop(HashRow::decode(row).ok()?),
        Family::Idempotency => drop(IdempotencyRow::decode(row).ok()?),
        Family::Reads => drop(ReadState::decode(row).ok()?),
        Family::Blobs => count_attachment(key, row)?,
        // They are read below.
        Family::Meta | Family::WindowLog | Family::Ranks => {}
    }
    Some(())
}

/// Reads a row of an attachment; a part is whatever was put.
fn count_attachment(key: &[u8], row: &[u8]) -> Option<()> {
    match keys::blob_kind(key)? {
        BlobKind::Attachment => drop(BlobRow::decode(row).ok()?),
        BlobKind::Part => {}
        BlobKind::Reserved => drop(BlobReservedRow::decode(row).ok()?),
        BlobKind::Usage => drop(BlobUsageRow::decode(row).ok()?),
    }
    Some(())
}

/// What of a channel's counts is not its head's.
fn compare(
    rows: &dyn Snapshot,
    number: ChannelId,
    counted: &Counted,
) -> Result<Vec<String>, StoreError> {
    let head = rows.get(Family::Meta, &keys::head(number))?.unwrap_or_default();
    let Ok(head) = HeadRow::decode(&head) else {
        return Ok(vec!["its head is missing or damaged".to_owned()]);
    };
    let ranks = match Ranks::load(rows, number) {
        Ok(ranks) => ranks.total(),
        Err(StoreError::Damaged { what, .. }) => return Ok(vec![what.to_owned()]),
        Err(error) => return Err(error),
    };
    let expected = [
        ("the number of indexed messages", counted.index, head.total),
        ("the number of listed messages", counted.members, head.total),
        ("the sum of the directory", counted.directory, head.total),
        ("the sum of the rank blocks", ranks, head.total),
        ("the last seq of the log", counted.last_seq, head.seq),
    ];
    let wrong = expected.into_iter().filter(|(_, found, expected)| found != expected);
    let say = |(what, found, expected)| format!("{what} is {found}, its head says {expected}");
    Ok(wrong.map(say).collect())
}
