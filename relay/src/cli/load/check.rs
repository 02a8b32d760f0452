//! The checker: what a run observed against what a relay promises. Pure; the tool's own runs and
//! histories read from files go through it alike.
//!
//! Promised is, in a channel that only the run wrote to: every acknowledged message is stored, once,
//! under the seq it was acknowledged with; every subscriber gets every message above the seq it
//! joined at, once, in order of seq, whole; nothing is there that was not sent or that was refused.
//! A message whose fate its sender never learnt may be there or not, but for all or for nobody.

use backscroll_core::message::MessageId;
use std::collections::{BTreeMap, HashMap, HashSet};

/// What the sender knows of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Sent; no answer came.
    Unknown,
    /// Acknowledged under this seq.
    Stored(u64),
    /// Refused for good.
    Refused,
}

/// What one subscriber got.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    /// Its name in lists.
    pub(super) name: String,
    /// The channel's head when it joined.
    pub(super) after: u64,
    /// What it got, in the order in which it got it.
    pub(super) seen: Vec<(u64, MessageId)>,
    /// Messages whose text was not what was sent.
    pub(super) altered: Vec<MessageId>,
}

/// What a run observed.
#[derive(Clone, Debug, Default)]
pub(super) struct Observed {
    /// Every message that was sent.
    pub(super) sent: HashMap<MessageId, Fate>,
    /// Acknowledgements of one message with another seq than the first.
    pub(super) renumbered: Vec<(MessageId, u64, u64)>,
    /// Every subscriber.
    pub(super) heard: Vec<Heard>,
    /// Subscribers of which it is not known what they got: they failed themselves.
    pub(super) vanished: Vec<String>,
    /// The channel as it was read back afterwards, in its order.
    pub(super) stored: Option<Vec<(u64, MessageId)>>,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Violation {
    #[error("lost: {reader} did not get {id} (seq {seq})")]
    Lost { reader: String, id: MessageId, seq: u64 },
    #[error("lost: nobody got seq {first} to {last}, which lie below others")]
    Gap { first: u64, last: u64 },
    #[error("doubled: {reader} got {id} again (seq {seq})")]
    Doubled { reader: String, id: MessageId, seq: u64 },
    #[error("out of order: {reader} got seq {seq} after seq {before}")]
    Reordered { reader: String, seq: u64, before: u64 },
    #[error("never sent: {reader} got {id} (seq {seq})")]
    Phantom { reader: String, id: MessageId, seq: u64 },
    #[error("refused and there all the same: {reader} got {id} (seq {seq})")]
    Refused { reader: String, id: MessageId, seq: u64 },
    #[error("renumbered: {id} has seq {first} and seq {second}")]
    Renumbered { id: MessageId, first: u64, second: u64 },
    #[error("seq {seq} is that of {first} and of {second}")]
    Shared { seq: u64, first: MessageId, second: MessageId },
    #[error("altered: {reader} got {id} with another text")]
    Altered { reader: String, id: MessageId },
    #[error("unknown: what {reader} got, it panicked")]
    Vanished { reader: String },
    #[error("the channel, read back, has {second} after {first}")]
    Unsorted { first: MessageId, second: MessageId },
}

/// The name under which the channel that was read back is listed.
const STORE: &str = "the store";

/// Lists every broken promise.
///
/// # Complexity
/// O(deliveries), and a map of all messages.
pub(super) fn check(observed: &Observed) -> Vec<Violation> {
    let mut found: Vec<Violation> = observed
        .renumbered
        .iter()
        .map(|(id, first, second)| Violation::Renumbered {
            id: *id,
            first: *first,
            second: *second,
        })
        .collect();
    let vanished = observed.vanished.iter().cloned();
    found.extend(vanished.map(|reader| Violation::Vanished { reader }));
    let known = known(observed, &mut found);
    for heard in &observed.heard {
        in_order(heard, &mut found);
        sent_once(observed, &heard.name, &heard.seen, &mut found);
        complete(&heard.name, heard.after, &heard.seen, &known, &mut found);
        let altered = heard.altered.iter();
        found.extend(altered.map(|id| Violation::Altered { reader: heard.name.clone(), id: *id }));
    }
    if let Some(stored) = &observed.stored {
        for pair in stored.windows(2) {
            if let [(_, first), (_, second)] = pair
                && first > second
            {
                found.push(Violation::Unsorted { first: *first, second: *second });
            }
        }
        sent_once(observed, STORE, stored, &mut found);
        complete(STORE, 0, stored, &known, &mut found);
    }
    if observed.stored.is_some() || !observed.heard.is_empty() {
        gaps(observed, &known, &mut found);
    }
    found
}

/// Which message each seq is known to be, from acknowledgements and from everyone who got it.
fn known(observed: &Observed, found: &mut Vec<Violation>) -> BTreeMap<u64, MessageId> {
    let acknowledged = observed.sent.iter().filter_map(|(id, fate)| match fate {
        Fate::Stored(seq) => Some((*seq, *id)),
        Fate::Unknown | Fate::Refused => None,
    });
    let heard = observed.heard.iter().flat_map(|heard| &heard.seen);
    let stored = observed.stored.iter().flatten();
    let mut known = BTreeMap::new();
    let mut told = HashSet::new();
    for (seq, id) in acknowledged.chain(heard.chain(stored).copied()) {
        let first = *known.entry(seq).or_insert(id);
        // One list entry for each pair, however many subscribers tell of it.
        if first != id && told.insert((seq, id)) {
            found.push(Violation::Shared { seq, first, second: id });
        }
    }
    known
}

/// Live deliveries come in order of seq.
fn in_order(heard: &Heard, found: &mut Vec<Violation>) {
    let mut before = heard.after;
    for (seq, _) in &heard.seen {
        if *seq < before {
            let reader = heard.name.clone();
            found.push(Violation::Reordered { reader, seq: *seq, before });
        }
        before = before.max(*seq);
    }
}

/// Each message that came was sent, not refused, came once, and has the seq of its acknowledgement.
fn sent_once(
    observed: &Observed,
    reader: &str,
    seen: &[(u64, MessageId)],
    found: &mut Vec<Violation>,
) {
    let mut once = HashSet::with_capacity(seen.len());
    for (seq, id) in seen {
        let (seq, id, reader) = (*seq, *id, || reader.to_owned());
        if !once.insert(id) {
            found.push(Violation::Doubled { reader: reader(), id, seq });
        }
        match observed.sent.get(&id) {
            None => found.push(Violation::Phantom { reader: reader(), id, seq }),
            Some(Fate::Refused) => found.push(Violation::Refused { reader: reader(), id, seq }),
            Some(Fate::Stored(first)) if *first != seq => {
                found.push(Violation::Renumbered { id, first: *first, second: seq });
            }
            Some(Fate::Stored(_) | Fate::Unknown) => {}
        }
    }
}

/// Everything that is known to have a seq above `after` came.
fn complete(
    reader: &str,
    after: u64,
    seen: &[(u64, MessageId)],
    known: &BTreeMap<u64, MessageId>,
    found: &mut Vec<Violation>,
) {
    let got: HashSet<MessageId> = seen.iter().map(|(_, id)| *id).collect();
    for (seq, id) in known.range(after.saturating_add(1)..) {
        if !got.contains(id) {
            found.push(Violation::Lost { reader: reader.to_owned(), id: *id, seq: *seq });
        }
    }
}

/// The relay numbers without holes, so that a seq nobody knows is a message everyone lacks.
fn gaps(observed: &Observed, known: &BTreeMap<u64, MessageId>, found: &mut Vec<Violation>) {
    let joined = observed.heard.iter().map(|heard| heard.after).min();
    let mut next = if observed.stored.is_some() { 1 } else { joined.unwrap_or(0) + 1 };
    for seq in known.range(next..).map(|(seq, _)| *seq) {
        if seq > next {
            found.push(Violation::Gap { first: next, last: seq - 1 });
        }
        next = seq + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> MessageId {
        MessageId::from_parts(1_700_000_000_000 + number, u128::from(number))
    }

    /// Six messages, the last one with an unknown fate; one subscriber from the start, one from 2.
    fn good() -> Observed {
        let seen: Vec<_> = (1..=6).map(|seq| (seq, id(seq))).collect();
        let mut sent: HashMap<_, _> = (1..=5).map(|seq| (id(seq), Fate::Stored(seq))).collect();
        sent.insert(id(6), Fate::Unknown);
        sent.insert(id(7), Fate::Unknown);
        sent.insert(id(8), Fate::Refused);
        let heard = |after, seen: &[_]| Heard {
            name: format!("from {after}"),
            after,
            seen: seen.to_vec(),
            altered: Vec::new(),
        };
        let heard = vec![heard(0, &seen), heard(2, &seen[2..])];
        Observed { sent, renumbered: Vec::new(), heard, vanished: Vec::new(), stored: Some(seen) }
    }

    #[track_caller]
    fn finds(spoil: impl FnOnce(&mut Observed), expected: &[&str]) {
        let mut observed = good();
        spoil(&mut observed);
        let found: Vec<_> = check(&observed).iter().map(ToString::to_string).collect();
        for part in expected {
            assert!(found.iter().any(|line| line.contains(part)), "{part}: {found:?}");
        }
        assert_eq!(found.is_empty(), expected.is_empty(), "{found:?}");
    }

    #[test]
    fn a_good_run_has_no_violations() {
        finds(|_| {}, &[]);
        finds(|o| o.stored = None, &[]);
        finds(|o| o.heard.clear(), &[]);
    }

    #[test]
    fn every_broken_promise_is_found() {
        finds(|o| _ = o.heard[1].seen.remove(1), &["lost: from 2 did not get", "seq 4"]);
        finds(|o| _ = o.heard[0].seen.pop(), &["lost: from 0 did not get"]);
        finds(|o| o.heard[0].seen.push((6, id(6))), &["doubled: from 0 got"]);
        finds(|o| o.heard[0].seen.swap(1, 3), &["from 0 got seq 3 after seq 4"]);
        finds(|o| o.heard[0].seen.push((7, id(99))), &["never sent: from 0"]);
        finds(|o| o.heard[0].seen.push((7, id(8))), &["refused and there all the same"]);
        finds(|o| o.heard[0].seen.push((9, id(7))), &["nobody got seq 7 to 8"]);
        finds(|o| _ = o.sent.insert(id(3), Fate::Stored(9)), &["has seq 9 and seq 3"]);
        finds(|o| o.renumbered.push((id(1), 1, 4)), &["has seq 1 and seq 4"]);
        finds(|o| o.vanished.push("r7".to_owned()), &["what r7 got"]);
        finds(|o| o.heard[1].altered.push(id(3)), &["altered: from 2"]);
        finds(|o| _ = o.sent.remove(&id(2)), &["never sent: the store got", "never sent: from 0"]);
    }

    #[test]
    fn the_store_is_held_to_the_same() {
        let stored = |o: &mut Observed, f: fn(&mut Vec<(u64, MessageId)>)| {
            o.stored.as_mut().map(f).unwrap();
        };
        finds(|o| stored(o, |s| _ = s.remove(2)), &["lost: the store did not get"]);
        finds(|o| stored(o, |s| s.push(s[5])), &["doubled: the store"]);
        finds(|o| stored(o, |s| s.swap(0, 1)), &["the channel, read back, has"]);
        finds(|o| stored(o, |s| s[4].1 = id(7)), &["seq 5 is that of"]);
    }

    #[test]
    fn what_one_got_all_must_get_whatever_the_sender_knows() {
        finds(
            |o| {
                o.stored = None;
                o.heard[1].seen.pop();
            },
            &["lost: from 2 did not get"],
        );
    }
}
