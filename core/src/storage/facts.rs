//! What the relay and the clock said of the messages of a saved segment, in the order of its keys.
//!
//! Seqs and late bits are written as a `segment` frame has them. Arrival times follow as steps, 0
//! standing for history, and are left out where all of it is.

use super::RecordError;
use crate::limits::SEQ_MAX;
use crate::varint::{self, Reader};
use crate::wire::{decode_seqs, encode_late, encode_seqs, is_late};
use minicbor::{Decode, Encode};

/// What is known of a message beside its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The relay's number of it.
    pub seq: u64,
    /// Whether it came late (design 5.3).
    pub late: bool,
    /// Local time of a live arrival, in ms since the Unix epoch; None for history.
    pub arrived_ms: Option<u64>,
}

#[derive(Debug, Encode, Decode)]
#[cbor(map)]
pub(super) struct Facts {
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    seqs: Vec<u8>,
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    late: Vec<u8>,
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    arrived: Vec<u8>,
}

impl Facts {
    pub(super) fn of(facts: &[Fact]) -> Self {
        let mut arrived = Vec::new();
        if facts.iter().any(|fact| fact.arrived_ms.is_some()) {
            let mut before = 0;
            for fact in facts {
                let arrived_ms = fact.arrived_ms.unwrap_or(0);
                varint::put_step(&mut arrived, before, arrived_ms);
                before = arrived_ms;
            }
        }
        Self {
            seqs: encode_seqs(facts.iter().map(|fact| fact.seq)),
            late: encode_late(facts.iter().map(|fact| fact.late)),
            arrived,
        }
    }

    /// The facts of `len` messages.
    ///
    /// # Errors
    /// They are those of another number of messages, or malformed.
    pub(super) fn read(&self, len: usize) -> Result<Vec<Fact>, RecordError> {
        let seqs = decode_seqs(&self.seqs, len)?;
        let mut reader = Reader::new(&self.arrived);
        let (known, mut before) = (!self.arrived.is_empty(), 0);
        let mut facts = Vec::with_capacity(seqs.len());
        for (at, seq) in seqs.into_iter().enumerate() {
            if known {
                let arrived_ms = reader.step(before).filter(|ms| *ms <= SEQ_MAX);
                before = arrived_ms.ok_or(RecordError::Contradiction("arrival times"))?;
            }
            let arrived_ms = (before > 0).then_some(before);
            facts.push(Fact { seq, late: is_late(&self.late, at), arrived_ms });
        }
        if reader.is_empty() { Ok(facts) } else { Err(RecordError::Contradiction("arrival times")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fact() -> impl Strategy<Value = Fact> {
        let arrived = proptest::option::weighted(0.5, 1..SEQ_MAX);
        (1..SEQ_MAX, any::<bool>(), arrived).prop_map(|(seq, late, arrived_ms)| Fact {
            seq,
            late,
            arrived_ms,
        })
    }

    proptest! {
        #[test]
        fn facts_come_back_and_fit_no_other_number(
            facts in proptest::collection::vec(fact(), 0..50),
        ) {
            let coded = Facts::of(&facts);
            prop_assert_eq!(coded.read(facts.len()).unwrap(), facts.clone());
            prop_assert!(coded.read(facts.len() + 1).is_err());
        }
    }
}
