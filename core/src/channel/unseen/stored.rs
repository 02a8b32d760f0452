//! The runs of unseen late messages as a store keeps them.

use super::{Block, Unseen, UnseenRun};
use crate::message::MessageId;
use crate::storage::UnseenRecord;
use crate::wire::LateRun;

/// Most ids in the record, 64 kB; what is older is kept as blocks.
const IDS_MAX: u64 = 4_096;

impl Unseen {
    /// What a store is to have of it.
    ///
    /// # Complexity
    /// O(runs), and 4,096 ids at most.
    pub(in crate::channel) fn to_records(&self) -> Vec<UnseenRecord> {
        let mut ids = 0;
        let mut records: Vec<_> = self.blocks.values().map(|block| block_record(*block)).collect();
        for run in self.runs.values().rev() {
            ids += run.count;
            records.push(if ids <= IDS_MAX {
                let mut known = self.known_in(&(run.first..=run.last));
                known.retain(|id| *id <= run.last);
                UnseenRecord::Known(known)
            } else {
                block_record(Block { run: *run, since_seq: 0 })
            });
        }
        records.sort_by_key(first_of);
        records
    }

    /// Takes out what lies in none of these runs; whether there was anything. A block stays if it
    /// reaches into one.
    pub(in crate::channel) fn keep_only(&mut self, runs: &[LateRun]) -> bool {
        let is_in = |id: MessageId| runs.iter().any(|run| run.first <= id && id <= run.last);
        let reaches = |block: &Block| {
            runs.iter().any(|run| run.first <= block.run.last && block.run.first <= run.last)
        };
        let blocks = self.blocks.values().filter(|block| !reaches(block));
        let blocks: Vec<_> = blocks.map(|block| block.run.first).collect();
        blocks.iter().for_each(|first| self.remove_block(*first));
        let mut known: Vec<_> = self.runs.values().copied().collect();
        known.retain(|run| !(is_in(run.first) && is_in(run.last)));
        let mut any = !blocks.is_empty();
        for run in known {
            let mut ids = self.known_in(&(run.first..=run.last));
            ids.retain(|id| *id <= run.last && !is_in(*id));
            for id in ids {
                any |= self.mark_seen(id, id);
            }
        }
        any
    }

    /// The relay has another history: no seq means anything.
    pub(in crate::channel) fn void_seqs(&mut self) {
        self.blocks.values_mut().for_each(|block| block.since_seq = 0);
    }

    /// Takes in what a store had.
    pub(in crate::channel) fn restore(&mut self, records: Vec<UnseenRecord>) {
        for record in records {
            match record {
                UnseenRecord::Known(ids) => {
                    for (at, id) in ids.iter().enumerate() {
                        let is_new = !self.contains(*id);
                        self.list(*id);
                        if at > 0 && is_new && self.run_of(*id) == Some(*id) {
                            self.join(*id);
                        }
                    }
                }
                UnseenRecord::Block { first, last, count, since_seq } => {
                    self.add_block(UnseenRun { first, last, count }, since_seq);
                }
            }
        }
    }
}

const fn block_record(Block { run, since_seq }: Block) -> UnseenRecord {
    UnseenRecord::Block { first: run.first, last: run.last, count: run.count, since_seq }
}

fn first_of(record: &UnseenRecord) -> Option<MessageId> {
    match record {
        UnseenRecord::Known(ids) => ids.first().copied(),
        UnseenRecord::Block { first, .. } => Some(*first),
    }
}
