//! What senders asked, what they were told, what subscribers saw; and the verdict over it.
//!
//! The relay promises (design 7): what it acknowledged is there under the seq it named, once, for
//! ever; nothing is there that nobody sent; each subscriber sees each message once, in the order of
//! seq, and none that is gone later. An outcome that nobody knows (the connection broke) may be
//! there once or not at all. The method is Jepsen's: record first, judge afterwards.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One message as the relay has it at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its id as text: ids sort as their text does.
    pub id: String,
    /// Its seq.
    pub seq: u64,
    /// Its text.
    pub text: String,
}

/// What happened to one message.
#[derive(Debug, Default)]
struct Sent {
    text: String,
    attempts: u64,
    /// The seq of each acknowledgement.
    acked: Vec<u64>,
    /// Codes of refusals.
    refused: Vec<String>,
}

/// What one subscriber saw of one channel.
#[derive(Debug, Default)]
struct Watched {
    /// Everything up to this seq was there before it came.
    after: u64,
    seen: Vec<(u64, String)>,
}

/// The record of a run; clones share it.
#[derive(Clone, Debug, Default)]
pub struct History(Arc<Mutex<Record>>);

#[derive(Debug, Default)]
struct Record {
    /// By (channel, id).
    sent: HashMap<(String, String), Sent>,
    /// By (channel, subscriber).
    watched: BTreeMap<(String, u64), Watched>,
    /// Answers and sightings so far.
    steps: u64,
}

/// What a run came to: figures to publish, and what was wrong.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Messages that were sent, once or more.
    pub sent: usize,
    /// Messages that were acknowledged.
    pub acked: usize,
    /// Messages whose outcome their sender does not know.
    pub unknown: usize,
    /// Of those, the ones that are there.
    pub unknown_stored: usize,
    /// Messages that subscribers saw, added up.
    pub seen: usize,
    /// Acknowledged and not there, or under another seq.
    pub lost: Vec<String>,
    /// Twice there, twice seen, or acknowledged under two seqs.
    pub duplicated: Vec<String>,
    /// There or seen, though nobody sent it or it was refused; or seen and gone.
    pub phantoms: Vec<String>,
    /// Out of order, or a gap.
    pub misplaced: Vec<String>,
}

impl Verdict {
    /// Whether every promise was kept.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        [&self.lost, &self.duplicated, &self.phantoms, &self.misplaced].iter().all(|l| l.is_empty())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, acked, unknown, unknown_stored, seen, .. } = self;
        write!(f, "{sent} sent, {acked} acknowledged, {unknown} of unknown outcome ")?;
        write!(f, "({unknown_stored} stored), {seen} seen; ")?;
        let kinds = [
            ("lost", &self.lost),
            ("duplicated", &self.duplicated),
            ("phantoms", &self.phantoms),
            ("misplaced", &self.misplaced),
        ];
        for (i, (kind, found)) in kinds.into_iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{} {kind}", found.len())?;
            if let Some(first) = found.first() {
                write!(f, " ({first})")?;
            }
        }
        Ok(())
    }
}

impl History {
    /// A sender is about to send a message, for the first time or again.
    pub fn invoke(&self, channel: &str, id: &str, text: &str) {
        let mut record = self.record();
        let sent = record.sent.entry((channel.to_owned(), id.to_owned())).or_default();
        text.clone_into(&mut sent.text);
        sent.attempts += 1;
    }

    /// The relay acknowledged it.
    pub fn acked(&self, channel: &str, id: &str, seq: u64) {
        self.with(channel, id, |sent| sent.acked.push(seq));
    }

    /// The relay refused it.
    pub fn refused(&self, channel: &str, id: &str, code: &str) {
        self.with(channel, id, |sent| sent.refused.push(code.to_owned()));
    }

    /// A subscriber begins: what has a seq up to `after` was there before.
    pub fn watch(&self, channel: &str, subscriber: u64, after: u64) {
        let watched = Watched { after, seen: Vec::new() };
        self.record().watched.insert((channel.to_owned(), subscriber), watched);
    }

    /// A subscriber saw a message, live or when it caught up.
    pub fn seen(&self, channel: &str, subscriber: u64, seq: u64, id: &str) {
        let mut record = self.record();
        record.steps += 1;
        let watched = record.watched.entry((channel.to_owned(), subscriber)).or_default();
        watched.seen.push((seq, id.to_owned()));
    }

    /// The greatest seq that a subscriber saw or began after.
    #[must_use]
    pub fn last_seen(&self, channel: &str, subscriber: u64) -> Option<u64> {
        let record = self.record();
        let watched = record.watched.get(&(channel.to_owned(), subscriber))?;
        Some(watched.seen.last().map_or(watched.after, |(seq, _)| *seq))
    }

    /// The channels that anybody sent to or watched, in order of name.
    #[must_use]
    pub fn channels(&self) -> Vec<String> {
        let record = self.record();
        let sent = record.sent.keys().map(|(channel, _)| channel);
        let watched = record.watched.keys().map(|(channel, _)| channel);
        let channels: BTreeSet<_> = sent.chain(watched).collect();
        channels.into_iter().cloned().collect()
    }

    /// Messages acknowledged so far.
    #[must_use]
    pub fn acked_count(&self) -> usize {
        self.record().sent.values().filter(|sent| !sent.acked.is_empty()).count()
    }

    /// Answers and sightings so far: while it grows, the run goes on.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.record().steps
    }

    /// Messages sent and neither acknowledged nor refused: (channel, id, text).
    #[must_use]
    pub fn unknown(&self) -> Vec<(String, String, String)> {
        let record = self.record();
        let open = record.sent.iter().filter(|(_, s)| s.acked.is_empty() && s.refused.is_empty());
        open.map(|((channel, id), s)| (channel.clone(), id.clone(), s.text.clone())).collect()
    }

    /// Judges the run by what the relay has at the end, each channel in timestamp order.
    #[must_use]
    pub fn judge(&self, stored: &BTreeMap<String, Vec<Stored>>) -> Verdict {
        let record = self.record();
        let mut verdict = Verdict { sent: record.sent.len(), ..Verdict::default() };
        let mut by_id: HashMap<(&str, &str), &Stored> = HashMap::new();
        let mut by_seq: HashMap<(&str, u64), &str> = HashMap::new();
        for (channel, messages) in stored {
            judge_order(channel, messages, &mut verdict);
            for message in messages {
                let name = format!("{channel} {}", message.id);
                if by_id.insert((channel, &message.id), message).is_some() {
                    verdict.duplicated.push(format!("{name} is there twice"));
                }
                if by_seq.insert((channel, message.seq), &message.id).is_some() {
                    verdict.duplicated.push(format!("{channel}: seq {} twice", message.seq));
                }
                match record.sent.get(&(channel.clone(), message.id.clone())) {
                    Some(sent) if sent.text == message.text => {}
                    _ => verdict.phantoms.push(format!("{name}: nobody sent it so")),
                }
            }
        }
        for ((channel, id), sent) in &record.sent {
            judge_sent(channel, id, sent, by_id.get(&(channel, id)).copied(), &mut verdict);
        }
        for ((channel, subscriber), watched) in &record.watched {
            let end = stored.get(channel).map_or(0, |messages| messages.len() as u64);
            let who = format!("{channel}, subscriber {subscriber}");
            judge_watched(&who, watched, end, &mut verdict, |seq| {
                by_seq.get(&(channel.as_str(), seq)).copied()
            });
        }
        verdict
    }

    fn with(&self, channel: &str, id: &str, change: impl FnOnce(&mut Sent)) {
        let mut record = self.record();
        record.steps += 1;
        change(record.sent.entry((channel.to_owned(), id.to_owned())).or_default());
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn judge_order(channel: &str, messages: &[Stored], verdict: &mut Verdict) {
    if !messages.is_sorted_by(|a, b| a.id <= b.id) {
        verdict.misplaced.push(format!("{channel} is not in timestamp order"));
    }
    let mut seqs: Vec<u64> = messages.iter().map(|message| message.seq).collect();
    seqs.sort_unstable();
    if let Some((expected, seq)) = (1..).zip(seqs).find(|(expected, seq)| expected != seq) {
        verdict.misplaced.push(format!("{channel}: seq {expected} is missing before {seq}"));
    }
}

fn judge_sent(
    channel: &str,
    id: &str,
    sent: &Sent,
    stored: Option<&Stored>,
    verdict: &mut Verdict,
) {
    let name = format!("{channel} {id}");
    match sent.acked.first() {
        Some(seq) => {
            verdict.acked += 1;
            if sent.acked.iter().any(|other| other != seq) {
                verdict.duplicated.push(format!("{name} was acknowledged as {:?}", sent.acked));
            }
            match stored {
                Some(stored) if stored.seq == *seq => {}
                Some(stored) => {
                    verdict.lost.push(format!("{name}: acknowledged as {seq}, is {}", stored.seq));
                }
                None => verdict.lost.push(format!("{name}, acknowledged as {seq}")),
            }
        }
        // Every attempt was refused: it must not be there.
        None if sent.refused.len() as u64 == sent.attempts && sent.attempts > 0 => {
            if stored.is_some() {
                verdict.phantoms.push(format!("{name} was refused: {:?}", sent.refused));
            }
        }
        None => {
            verdict.unknown += 1;
            verdict.unknown_stored += usize::from(stored.is_some());
        }
    }
}

fn judge_watched<'a>(
    who: &str,
    watched: &Watched,
    end: u64,
    verdict: &mut Verdict,
    stored: impl Fn(u64) -> Option<&'a str>,
) {
    verdict.seen += watched.seen.len();
    let mut next = watched.after + 1;
    for (seq, id) in &watched.seen {
        if *seq < next {
            verdict.duplicated.push(format!("{who}: seq {seq} again or out of order"));
            continue;
        }
        if *seq > next {
            verdict.misplaced.push(format!("{who}: seq {seq} came where {next} is due"));
        }
        next = seq + 1;
        if stored(*seq) != Some(id) {
            verdict.phantoms.push(format!("{who} saw {id} as {seq}, which is not there"));
        }
    }
    if next != end + 1 {
        verdict.misplaced.push(format!("{who} saw everything before seq {next}, not {end}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(rows: &[(&str, u64, &str)]) -> BTreeMap<String, Vec<Stored>> {
        let row = |(id, seq, text): &(&str, u64, &str)| Stored {
            id: (*id).to_owned(),
            seq: *seq,
            text: (*text).to_owned(),
        };
        BTreeMap::from([("c".to_owned(), rows.iter().map(row).collect())])
    }

    /// Two messages acknowledged and seen, one of unknown outcome.
    fn history() -> History {
        let history = History::default();
        history.watch("c", 1, 0);
        for (id, seq) in [("a", 1), ("b", 2)] {
            history.invoke("c", id, "x");
            history.acked("c", id, seq);
            history.seen("c", 1, seq, id);
        }
        history.invoke("c", "z", "x");
        history
    }

    #[test]
    fn promises_that_were_kept_are_found_kept() {
        let verdict = history().judge(&stored(&[("a", 1, "x"), ("b", 2, "x")]));
        assert!(verdict.is_clean(), "{verdict}");
        let counts = (verdict.sent, verdict.acked, verdict.unknown, verdict.unknown_stored);
        assert_eq!(counts, (3, 2, 1, 0));
        let history = history();
        history.seen("c", 1, 3, "z");
        let verdict = history.judge(&stored(&[("a", 1, "x"), ("b", 2, "x"), ("z", 3, "x")]));
        assert!(verdict.is_clean() && verdict.unknown_stored == 1, "{verdict}");
    }

    #[test]
    fn each_broken_promise_is_found() {
        let lost = history().judge(&stored(&[("a", 1, "x")]));
        assert_eq!(lost.lost.len(), 1, "{lost}");
        let moved = history().judge(&stored(&[("a", 2, "x"), ("b", 1, "x")]));
        assert_eq!(moved.lost.len(), 2, "{moved}");
        let twice = history().judge(&stored(&[("a", 1, "x"), ("a", 3, "x"), ("b", 2, "x")]));
        assert!(!twice.duplicated.is_empty(), "{twice}");
        let invented = history().judge(&stored(&[("a", 1, "x"), ("b", 2, "x"), ("q", 3, "x")]));
        assert!(!invented.phantoms.is_empty(), "{invented}");
        let altered = history().judge(&stored(&[("a", 1, "y"), ("b", 2, "x")]));
        assert!(!altered.phantoms.is_empty(), "{altered}");
        let unordered = history().judge(&stored(&[("b", 2, "x"), ("a", 1, "x")]));
        assert!(!unordered.misplaced.is_empty(), "{unordered}");
        let good = stored(&[("a", 1, "x"), ("b", 2, "x")]);
        let again = history();
        again.acked("c", "a", 7);
        assert!(!again.judge(&good).duplicated.is_empty());
        let repeated = history();
        repeated.seen("c", 1, 2, "b");
        assert!(!repeated.judge(&good).duplicated.is_empty());
        let ghost = history();
        ghost.seen("c", 1, 3, "g");
        assert!(!ghost.judge(&good).phantoms.is_empty());
        let skipped = history();
        skipped.watch("c", 2, 0);
        skipped.seen("c", 2, 2, "b");
        assert!(!skipped.judge(&good).misplaced.is_empty());
        let refused = history();
        refused.invoke("c", "r", "x");
        refused.refused("c", "r", "retry");
        let there = stored(&[("a", 1, "x"), ("b", 2, "x"), ("r", 3, "x")]);
        assert!(!refused.judge(&there).phantoms.is_empty());
        let behind = history();
        behind.watch("c", 3, 1);
        assert!(!behind.judge(&good).misplaced.is_empty());
    }
}
