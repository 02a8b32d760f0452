//! Holding a change against what a document already has (design 7).
//!
//! What automerge 0.12 needs, found by reading and by trying (`op_set2/change/batch.rs`,
//! `change_graph.rs`), and how each rule below grants it:
//! - *Every dependency is there.* A change without one waits in a queue, out of sight, for ever.
//! - *seq is one more than the actor's last, and the actor's last change is a dependency.* The graph
//!   asserts the first when it adds a change. A batch is applied in order of dependencies alone, so
//!   only the second keeps two changes of one actor in their order; Automerge's own commit always
//!   names the actor's last change.
//! - *The first op is 1 + the greatest of the dependencies.* Else two ops could bear one id, or a
//!   replaced op a greater id than its successor; such documents save and never load again.
//! - *Every replaced op is a stored op of the same key.* An unknown actor panics; an unknown op is
//!   dropped silently, and the saved document has another hash than its heads say.
//! - *Counters stay far below 2^32*, as which Automerge stores them.

use super::{ActorId16, ChangeBody, ChangeError, ChangeHash, ChangeView};
use crate::limits::OP_COUNTER_MAX;

/// What a store knows of one actor in one document: its last change there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActorState {
    /// The change's seq.
    pub seq: u64,
    /// The change's hash.
    pub hash: ChangeHash,
    /// The counter of its last op.
    pub max_op: u64,
}

/// Why a change does not fit what is stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The seq leaves a gap or was used before.
    #[error("the change has seq {found} where its actor's next is {expected}")]
    Seq {
        /// The actor's next seq.
        expected: u64,
        /// The change's.
        found: u64,
    },
    /// The actor's last change is not among the dependencies.
    #[error("the change does not depend on its author's last one")]
    OwnDependency,
    /// A segment's change depends on another than its author's last one.
    #[error("a segment's change depends on another than its author's last one")]
    ForeignDependency,
    /// A dependency is not stored in this document.
    #[error("the change depends on {0:?}, which is not stored here")]
    UnknownDependency(ChangeHash),
    /// The first op is not the next after the dependencies.
    #[error("the change's first op is {found} where {expected} is the next")]
    StartOp {
        /// The next op after the dependencies.
        expected: u64,
        /// The change's.
        found: u64,
    },
    /// The counters are used up.
    #[error("the change's ops count beyond {OP_COUNTER_MAX}")]
    CounterTooLarge,
    /// A replaced op is not stored under the same key.
    #[error("an op replaces op {counter} of {actor:?}, which is not stored under its key")]
    UnknownPred {
        /// The replaced op's counter.
        counter: u64,
        /// The replaced op's actor.
        actor: ActorId16,
    },
}

/// Checks a change against what its document has (design 7): `actor` is what is known of its actor
/// there, `dep_max_op` the counter of a stored change's last op, and `has_op` tells whether the op
/// of this counter and actor is stored under this key.
///
/// Looks up nothing for a segment but the actor.
///
/// # Errors
/// [`ChangeError::History`] with the first rule that the change breaks.
///
/// # Complexity
/// One look-up per dependency and per replaced op.
pub fn check_header(
    view: &ChangeView,
    actor: Option<&ActorState>,
    mut dep_max_op: impl FnMut(&ChangeHash) -> Option<u64>,
    mut has_op: impl FnMut(&str, u64, &ActorId16) -> bool,
) -> Result<(), ChangeError> {
    let expected = actor.map_or(0, |last| last.seq) + 1;
    if view.seq != expected {
        return Err(HistoryError::Seq { expected, found: view.seq }.into());
    }
    if actor.is_some_and(|last| !view.deps.contains(&last.hash)) {
        return Err(HistoryError::OwnDependency.into());
    }
    let mut greatest = 0;
    for dep in &view.deps {
        let max_op = match (&view.body, actor) {
            (_, Some(last)) if last.hash == *dep => last.max_op,
            (ChangeBody::Messages(_), _) => return Err(HistoryError::ForeignDependency.into()),
            (ChangeBody::Annotations(_), _) => {
                dep_max_op(dep).ok_or(HistoryError::UnknownDependency(*dep))?
            }
        };
        greatest = greatest.max(max_op);
    }
    let expected = greatest + 1;
    if view.start_op != expected {
        return Err(HistoryError::StartOp { expected, found: view.start_op }.into());
    }
    if view.max_op() > OP_COUNTER_MAX {
        return Err(HistoryError::CounterTooLarge.into());
    }
    let ChangeBody::Annotations(ops) = &view.body else {
        return Ok(());
    };
    for op in ops {
        for (counter, actor) in &op.preds {
            if *counter >= view.start_op || !has_op(&op.key, *counter, actor) {
                let (counter, actor) = (*counter, *actor);
                return Err(HistoryError::UnknownPred { counter, actor }.into());
            }
        }
    }
    Ok(())
}
