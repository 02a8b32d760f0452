//! Runs against a plain list of messages, and their bounds.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn id(time_ms: u64) -> MessageId {
    MessageId::from_parts(time_ms, 0)
}

fn run(first: u64, last: u64, count: u64) -> UnseenRun {
    UnseenRun { first: id(first), last: id(last), count }
}

fn of(times: std::ops::Range<u64>) -> Unseen {
    let mut unseen = Unseen::default();
    times.clone().for_each(|time_ms| unseen.add(id(time_ms)));
    times.skip(1).for_each(|time_ms| unseen.join(id(time_ms)));
    unseen
}

fn runs(unseen: &Unseen) -> Vec<UnseenRun> {
    unseen.check_invariants().expect("they hold");
    unseen.runs().copied().collect()
}

#[test]
fn counts_follow_the_view_and_what_it_saw() {
    let mut unseen = Unseen::default();
    for time_ms in [10, 20, 30, 40, 50] {
        unseen.add(id(time_ms));
    }
    unseen.add(id(30));
    assert_eq!(unseen.total(), 5);
    assert_eq!(unseen.around(id(25), id(45)), (2, 1));
    assert!(unseen.mark_seen(id(25), id(45)));
    assert!(!unseen.mark_seen(id(25), id(45)));
    assert_eq!(runs(&unseen), [run(10, 10, 1), run(20, 20, 1), run(50, 50, 1)]);
    assert!(unseen.clear());
    assert_eq!(unseen.total(), 0);
}

#[test]
fn a_run_shrinks_by_what_was_seen_of_it() {
    let mut unseen = of(0..100);
    assert_eq!(runs(&unseen), [run(0, 99, 100)]);
    assert!(unseen.mark_seen(id(0), id(19)));
    assert!(unseen.mark_seen(id(50), id(59)));
    assert_eq!(runs(&unseen), [run(20, 49, 30), run(60, 99, 40)]);
    for from in (20..100).step_by(20) {
        unseen.mark_seen(id(from), id(from + 19));
    }
    assert_eq!((unseen.total(), runs(&unseen)), (0, vec![]));
}

#[test]
fn a_block_is_seen_as_a_whole_and_grows_by_what_comes_into_it() {
    let mut unseen = Unseen::default();
    unseen.add_block(run(10, 20, 7), 5);
    unseen.add(id(15));
    assert!(!unseen.mark_seen(id(0), id(15)));
    assert_eq!(runs(&unseen), [run(10, 20, 8)]);
    unseen.add(id(21));
    assert_eq!(unseen.around(id(21), id(21)), (8, 0));
    assert!(unseen.mark_seen(id(0), id(20)));
    assert_eq!(runs(&unseen), [run(21, 21, 1)]);
}

#[test]
fn runs_and_messages_stay_within_their_bounds_and_in_the_count() {
    let mut unseen = Unseen::default();
    let count = KNOWN_MAX + 10_000;
    (0..count).for_each(|time_ms| unseen.add(id(time_ms * 10)));
    assert_eq!(unseen.total(), count);
    assert!(unseen.known.len() <= KNOWN_MAX);
    assert!(runs(&unseen).len() <= RUNS_MAX + 2);
    for i in 0..10_000 {
        unseen.add_block(run(count * 10 + i * 10, count * 10 + i * 10 + 5, 2), 0);
    }
    assert_eq!(unseen.total(), count + 20_000);
    assert!(runs(&unseen).len() <= 2 * RUNS_MAX);
    assert!(unseen.mark_seen(id(0), id(count * 20)));
    assert_eq!(unseen.total(), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Add(u64),
    Split(u64),
    Join(u64),
    Seen(u64, u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..60_u64).prop_map(Step::Add),
        1 => (0..60_u64).prop_map(Step::Split),
        3 => (0..60_u64).prop_map(Step::Join),
        1 => (0..60_u64, 0..20_u64).prop_map(|(from, len)| Step::Seen(from, from + len)),
    ]
}

proptest! {
    #[test]
    fn runs_are_those_of_a_plain_list(steps in prop::collection::vec(step(), 0..120)) {
        let mut unseen = Unseen::default();
        // By time: whether a run begins with the message.
        let mut model: BTreeMap<u64, bool> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Add(at) => {
                    let inside = model.range(..at).next().is_some()
                        && model.range(at..).next().is_some_and(|(_, begins)| !begins);
                    model.entry(at).or_insert(!inside);
                    unseen.add(id(at));
                }
                Step::Split(at) => {
                    model.entry(at).and_modify(|begins| *begins = true);
                    unseen.split(id(at));
                }
                Step::Join(at) => {
                    if model.range(..at).next().is_some() {
                        model.entry(at).and_modify(|begins| *begins = false);
                    }
                    unseen.join(id(at));
                }
                Step::Seen(from, to) => {
                    let before = model.len();
                    model.retain(|at, _| !(from..=to).contains(at));
                    let any = model.len() < before;
                    if let Some((_, begins)) = model.range_mut(from..).next().filter(|_| any) {
                        *begins = true;
                    }
                    unseen.mark_seen(id(from), id(to));
                }
            }
            let mut expected: Vec<UnseenRun> = Vec::new();
            for (at, begins) in &model {
                match expected.last_mut() {
                    Some(run) if !begins => (run.last, run.count) = (id(*at), run.count + 1),
                    _ => expected.push(run(*at, *at, 1)),
                }
            }
            prop_assert_eq!(runs(&unseen), expected);
            prop_assert_eq!(unseen.total(), model.len() as u64);
        }
    }
}
