//! What marks of the user's other devices say of unseen late messages (design 4.4).
//!
//! A mark tells of a seq, and of the runs that were not in view up to it. So it is needed of each message
//! whether its seq is beyond that.

use super::{Block, UNKNOWN_SEQ, Unseen};
use crate::message::MessageId;
use crate::read_state::is_in;
use crate::timeline::Blocks;
use crate::wire::LateRun;
use std::ops::RangeInclusive;

impl Unseen {
    /// Takes out what other devices had in view: of seqs up to `upto_seq`, what lies in none of these
    /// runs, which ascend; whether there was anything. A block that reaches into one stays, and so does
    /// what is of a history of the relay that is over.
    ///
    /// # Complexity
    /// O(known messages and blocks) times O(log runs), and O(log n) for each that is taken out.
    pub(crate) fn drop_told(&mut self, runs: &[LateRun], upto_seq: u64) -> bool {
        let id_of = |(rank, (id, seq)): (usize, (u128, u64))| {
            Some((rank, MessageId::from_u128(id).ok()?, seq))
        };
        let known = self.known.walk_from_rank(0).enumerate().filter_map(id_of);
        let seen = known.filter(|(_, id, seq)| *seq <= upto_seq && !is_in(runs, *id));
        let seen: Vec<_> = seen.map(|(rank, id, _)| (rank, id)).collect();
        let any = !seen.is_empty();
        for stretch in seen.chunk_by(|(one, _), (next, _)| one + 1 == *next) {
            let ends = stretch.first().zip(stretch.last());
            let Some(((_, first), (_, last))) = ends.map(|(a, b)| (*a, *b)) else { continue };
            if self.blocks_in(&(first..=last)).is_empty() {
                self.mark_seen(first, last);
            } else {
                stretch.iter().for_each(|(_, id)| _ = self.mark_seen(*id, *id));
            }
        }
        self.drop_told_blocks(runs, upto_seq) || any
    }

    fn drop_told_blocks(&mut self, runs: &[LateRun], upto_seq: u64) -> bool {
        let mut any = false;
        for block in self.blocks.values_mut() {
            let is_told =
                runs.iter().any(|run| run.first <= block.run.last && block.run.first <= run.last);
            if !is_told && block.upto_seq != UNKNOWN_SEQ && block.since_seq < upto_seq {
                // What is left of it came after the mark.
                block.since_seq = upto_seq;
                any |= block.upto_seq <= upto_seq;
            }
        }
        let is_over = |block: &Block| block.since_seq >= block.upto_seq;
        let over = self.blocks.iter().filter(|(_, block)| is_over(block));
        for at in over.map(|(at, _)| *at).collect::<Vec<_>>() {
            self.list(at, &[], None);
        }
        any
    }

    /// Notes the seq of a message, or one that it is not above; 0 says nothing.
    pub(crate) fn note_seq(&mut self, id: MessageId, seq: u64) {
        if seq > 0 {
            self.known.replace(id.as_u128(), seq);
        }
    }

    /// The known messages in a span, with their seqs, or seqs that theirs are not above; 0 where
    /// nothing is known of it.
    pub(crate) fn seqs_in(&self, span: &RangeInclusive<MessageId>) -> Vec<(MessageId, u64)> {
        let known = self.known.walk_from_key(span.start().as_u128());
        let known = known.take_while(|(id, _)| *id <= span.end().as_u128());
        let seq_of = |seq| if seq == UNKNOWN_SEQ { 0 } else { seq };
        known.filter_map(|(id, seq)| Some((MessageId::from_u128(id).ok()?, seq_of(seq)))).collect()
    }

    /// Whether the seq of a known message is of a history of the relay that is over, or never was known.
    pub(crate) fn is_seq_unknown(&self, id: MessageId) -> bool {
        self.known.get(id.as_u128()) == Some(UNKNOWN_SEQ)
    }

    /// The relay has another history: no seq means anything.
    pub(crate) fn void_seqs(&mut self) {
        for block in self.blocks.values_mut() {
            (block.since_seq, block.upto_seq) = (0, UNKNOWN_SEQ);
        }
        for run in self.runs.values_mut() {
            (run.since_seq, run.last_seq) = (0, 0);
        }
        let known: Vec<_> = self.known.walk_from_rank(0).map(|(id, _)| (id, UNKNOWN_SEQ)).collect();
        self.known = Blocks::new();
        let skipped = self.known.insert_run(&known);
        debug_assert!(skipped.is_ok(), "they ascend");
    }
}
