//! The runs of unseen late messages as a store keeps them.

use crate::late::{Block, Unseen, UnseenRun};
use crate::message::MessageId;
use crate::storage::UnseenRecord;
use std::collections::BTreeMap;

/// Most ids in the record, 64 kB; what is older is kept as blocks.
const IDS_MAX: u64 = 4_096;

/// What a store is to have of the unseen messages.
///
/// # Complexity
/// O(runs), and 4,096 ids at most.
pub(super) fn to_records(unseen: &Unseen) -> Vec<UnseenRecord> {
    let mut ids = 0;
    let mut records: Vec<_> = unseen.blocks().map(block_record).collect();
    for run in unseen.runs().rev() {
        let known = unseen.seqs_in(&(run.first..=run.last));
        let ends = known.first().zip(known.last());
        let Some((first, last)) = ends.map(|(first, last)| (first.0, last.0)) else { continue };
        let count = known.len() as u64;
        ids += count;
        records.push(if ids <= IDS_MAX {
            UnseenRecord::Known(known)
        } else {
            let (since_seq, upto_seq, listed) = (0, u64::MAX, Vec::new());
            UnseenRecord::Block { first, last, count, since_seq, upto_seq, listed }
        });
    }
    records.sort_by_key(first_of);
    records
}

/// Takes in what a store had.
pub(super) fn restore(unseen: &mut Unseen, records: Vec<UnseenRecord>) {
    for record in records {
        match record {
            UnseenRecord::Known(ids) => {
                for (at, (id, seq)) in ids.iter().enumerate() {
                    if unseen.add(*id, *seq) && at > 0 && unseen.run_of(*id) == Some(*id) {
                        unseen.join(*id);
                    }
                }
            }
            UnseenRecord::Block { first, last, count, since_seq, upto_seq, listed } => {
                let run = UnseenRun { first, last, count };
                let listed = listed.into_iter().collect();
                let partly = BTreeMap::new();
                unseen.add_block(Block { run, since_seq, upto_seq, listed, partly });
            }
        }
    }
}

fn block_record(block: &Block) -> UnseenRecord {
    let UnseenRun { first, last, count } = block.run;
    let listed = block.listed.iter().copied().collect();
    let (since_seq, upto_seq) = (block.since_seq, block.upto_seq);
    UnseenRecord::Block { first, last, count, since_seq, upto_seq, listed }
}

fn first_of(record: &UnseenRecord) -> Option<MessageId> {
    match record {
        UnseenRecord::Known(ids) => ids.first().map(|(id, _)| *id),
        UnseenRecord::Block { first, .. } => Some(*first),
    }
}
