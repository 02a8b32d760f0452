//! Runs against a plain list of messages, and their bounds.

use super::unseen::{KNOWN_MAX, RUNS_MAX};
use super::*;
use crate::window::Window;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn id(time_ms: u64) -> MessageId {
    MessageId::from_parts(time_ms, 0)
}

fn run(first: u64, last: u64, count: u64) -> UnseenRun {
    UnseenRun { first: id(first), last: id(last), count }
}

fn block(run: UnseenRun, since_seq: u64) -> Block {
    let (listed, partly) = (BTreeSet::new(), BTreeMap::new());
    Block { run, since_seq, upto_seq: 99, listed, partly }
}

fn of(times: std::ops::Range<u64>) -> Unseen {
    let mut unseen = Unseen::default();
    times.clone().for_each(|time_ms| _ = unseen.add(id(time_ms), 0));
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
        unseen.add(id(time_ms), 0);
    }
    assert!(!unseen.add(id(30), 0), "it is there");
    assert_eq!(unseen.total(), 5);
    assert_eq!(unseen.around(id(25), id(45)), (2, 1));
    assert!(unseen.mark_seen(id(25), id(45)));
    assert!(!unseen.mark_seen(id(25), id(45)));
    assert_eq!(runs(&unseen), [run(10, 10, 1), run(20, 20, 1), run(50, 50, 1)]);
    assert!(unseen.clear());
    assert_eq!(unseen.total(), 0);
}

proptest! {
    #[test]
    fn with_all_messages_known_runs_are_those_of_a_plain_list(
        came in proptest::collection::vec((0..120_u64, any::<bool>()), 0..120),
    ) {
        let (mut unseen, mut all) = (Unseen::default(), BTreeMap::new());
        for (time_ms, is_late) in came {
            if all.contains_key(&time_ms) {
                continue;
            }
            all.insert(time_ms, is_late);
            let before = all.range(..time_ms).next_back().map(|(time_ms, _)| id(*time_ms));
            let after = all.range(time_ms + 1..).next().map(|(time_ms, _)| id(*time_ms));
            if is_late {
                unseen.came(id(time_ms), 0, [before, after]);
            } else {
                unseen.part_at(id(time_ms));
            }
        }
        let mut expected: Vec<UnseenRun> = Vec::new();
        let mut follows = false;
        for (time_ms, is_late) in all {
            match expected.last_mut().filter(|_| is_late && follows) {
                Some(run) => (run.last, run.count) = (id(time_ms), run.count + 1),
                None if is_late => expected.push(run(time_ms, time_ms, 1)),
                None => {}
            }
            follows = is_late;
        }
        prop_assert_eq!(runs(&unseen), expected);
    }
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
fn a_block_is_seen_as_a_whole_and_holds_what_comes_into_it() {
    let mut unseen = Unseen::default();
    unseen.add_block(block(run(10, 20, 7), 5));
    assert!(unseen.add(id(15), 9));
    assert_eq!(runs(&unseen), [run(10, 20, 8)]);
    unseen.split(id(15));
    assert_eq!(runs(&unseen), [run(10, 20, 8)], "what is on which side of it is not known");
    assert!(!unseen.mark_seen(id(0), id(14)));
    assert!(unseen.mark_seen(id(0), id(15)));
    assert_eq!(runs(&unseen), [run(10, 20, 7)]);
    unseen.add(id(21), 10);
    assert_eq!(unseen.around(id(21), id(21)), (7, 0));
    assert_eq!(unseen.around(id(15), id(21)), (3, 0), "spread evenly over its time");
    assert!(unseen.mark_seen(id(0), id(20)));
    assert_eq!(runs(&unseen), [run(21, 21, 1)]);
}

#[test]
fn a_block_becomes_known_window_by_window_and_stays_one_run() {
    let mut unseen = Unseen::default();
    unseen.add_block(block(run(10, 100, 20), 5));
    let half: Vec<_> = (0..10).map(|i| (id(10 + i), 6 + i)).collect();
    unseen.list((id(10).as_u128(), 0), &half, Some(block(run(50, 100, 10), 5)));
    assert_eq!(runs(&unseen), [run(10, 100, 20)]);
    unseen.split(id(15));
    assert_eq!(runs(&unseen), [run(10, 14, 5), run(15, 100, 15)]);
    unseen.mark_seen(id(10), id(19));
    assert_eq!(runs(&unseen), [run(50, 100, 10)]);
    unseen.list((id(50).as_u128(), 0), &[], None);
    assert!(runs(&unseen).is_empty(), "they were others' after all");
}

#[test]
fn a_chunk_of_ten_thousand_is_one_run_beside_thousands_of_others() {
    let mut unseen = Unseen::default();
    for i in 0..4_000 {
        unseen.add(id(i * 10), 0);
    }
    for i in 0..10_000 {
        let at = id(1_000_000 + i);
        assert!(unseen.add(at, 1 + i));
        if unseen.run_of(at) == Some(at) && i > 0 {
            unseen.join(at);
        }
    }
    assert_eq!(unseen.runs().count(), 4_001);
    assert_eq!(unseen.runs().next_back(), Some(&run(1_000_000, 1_009_999, 10_000)));
}

#[test]
fn runs_and_messages_stay_within_their_bounds_and_in_the_count() {
    let mut unseen = Unseen::default();
    let count = KNOWN_MAX + 10_000;
    (0..count).for_each(|time_ms| _ = unseen.add(id(time_ms * 10), 0));
    assert_eq!(unseen.total(), count);
    assert!(runs(&unseen).len() <= RUNS_MAX);
    for i in 0..10_000 {
        unseen.add_block(block(run(count * 10 + i * 10, count * 10 + i * 10 + 5, 2), 0));
    }
    assert_eq!(unseen.total(), count + 20_000);
    assert!(runs(&unseen).len() <= RUNS_MAX && unseen.blocks().count() <= RUNS_MAX);
    assert!(unseen.mark_seen(id(0), id(count * 20)));
    assert_eq!(unseen.total(), 0);
}

#[test]
fn a_reader_is_told_what_is_around_and_where_to_go() {
    let mut unseen = Unseen::default();
    [10, 20, 30, 40, 50].into_iter().for_each(|at| _ = unseen.add(id(at), 0));
    unseen.join(id(30));
    let rows = Some((id(30), id(45)));
    let late = Late::around(&unseen, rows, 256);
    assert_eq!((late.total, late.above, late.in_view, late.below), (5, 2, 2, 1));
    let told = |run: &LateRun| (run.from_ms, run.to_ms, run.count, run.place);
    let expected = [
        (10, 10, 1, Place::Above),
        (20, 30, 2, Place::InView),
        (40, 40, 1, Place::InView),
        (50, 50, 1, Place::Below),
    ];
    assert_eq!(late.runs.iter().map(told).collect::<Vec<_>>(), expected);
    let next = |rows, toward| Late::next(&unseen, rows, toward).map(|run| run.from_ms);
    assert_eq!(next(rows, Toward::Up), Some(20), "it reaches into the view");
    assert_eq!(next(Some((id(15), id(25))), Toward::Up), Some(10));
    assert_eq!(next(Some((id(15), id(25))), Toward::Down), Some(20));
    assert_eq!(next(Some((id(15), id(30))), Toward::Down), Some(40));
    assert_eq!(next(rows, Toward::Down), Some(50));
    assert_eq!(next(rows, Toward::Oldest), Some(10));
    assert_eq!(next(Some((id(10), id(50))), Toward::Down), None);
    assert_eq!(next(Some((id(1), id(2))), Toward::Up), None);
    assert_eq!((next(None, Toward::Up), next(None, Toward::Down)), (None, Some(10)));
    for (runs_max, nearest) in [(1, vec![20]), (2, vec![10, 20]), (3, vec![10, 20, 40])] {
        let late = Late::around(&unseen, rows, runs_max);
        let runs: Vec<u64> = late.runs.iter().map(|run| run.from_ms).collect();
        assert_eq!(runs, nearest);
    }
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
                    unseen.add(id(at), 0);
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

#[derive(Clone, Debug)]
enum Part {
    Add(u64),
    Block(u64, u64, u64),
    List(usize, Vec<u64>, bool),
    Split(u64),
    Join(u64),
    Seen(u64, u64),
}

fn part() -> impl Strategy<Value = Part> {
    let at = || 0..100_u64;
    prop_oneof![
        4 => at().prop_map(Part::Add),
        2 => (at(), 1..20_u64, 1..9_u64).prop_map(|(from, len, n)| Part::Block(from, len, n)),
        2 => (0..4_usize, prop::collection::vec(at(), 0..6), any::<bool>())
            .prop_map(|(which, ids, rest)| Part::List(which, ids, rest)),
        1 => at().prop_map(Part::Split),
        2 => at().prop_map(Part::Join),
        1 => (at(), 0..30_u64).prop_map(|(from, len)| Part::Seen(from, from + len)),
    ]
}

proptest! {
    /// With small bounds, so that runs are joined and messages become blocks again and again.
    #[test]
    fn known_messages_and_blocks_add_up_whatever_happens(
        parts in prop::collection::vec(part(), 0..80),
        runs_max in 2..40_usize,
        known_max in 2..60_u64,
    ) {
        let mut unseen = Unseen::with_bounds(runs_max, known_max);
        for part in parts {
            let before = unseen.total();
            match part {
                Part::Add(at) => {
                    let came = unseen.add(id(at), at + 1);
                    prop_assert_eq!(unseen.total(), before + u64::from(came));
                }
                Part::Block(from, len, count) => {
                    unseen.add_block(block(run(from, from + len, count), 3));
                    prop_assert_eq!(unseen.total(), before + count);
                }
                Part::List(which, ids, is_rest) => {
                    let all = unseen.blocks_in(&(id(0)..=id(200)));
                    let Some((at, block)) = all.get(which).map(|(at, block)| (*at, (*block).clone()))
                    else {
                        continue;
                    };
                    let UnseenRun { first, last, count } = block.run;
                    let inside = ids.into_iter().map(id).filter(|id| (first..=last).contains(id));
                    let news = inside.filter(|id| !unseen.contains(*id)).map(|id| (id, 7));
                    let news: BTreeMap<_, _> = news.collect();
                    let news: Vec<_> = news.into_iter().collect();
                    let left = count.saturating_sub(news.len() as u64);
                    let listed = [Window::covering(0, 0)].into();
                    let rest = UnseenRun { count: left, ..block.run };
                    let rest = is_rest.then_some(Block { run: rest, listed, ..block.clone() });
                    unseen.list(at, &news, rest);
                    let left = if is_rest { left } else { 0 };
                    prop_assert_eq!(unseen.total(), before - count + news.len() as u64 + left);
                }
                Part::Split(at) => unseen.split(id(at)),
                Part::Join(at) => unseen.join(id(at)),
                Part::Seen(from, to) => {
                    unseen.mark_seen(id(from), id(to));
                    let (above, below) = unseen.around(id(from), id(to));
                    let over = unseen.blocks().filter(|block| block.run.first <= id(to) && id(from) <= block.run.last);
                    let over: u64 = over.map(|block| block.run.count).sum();
                    prop_assert!(unseen.total() <= above + below + over);
                }
            }
            unseen.check_invariants().expect("they hold");
            prop_assert!(unseen.runs().count() <= runs_max && unseen.blocks().count() <= runs_max);
        }
    }
}
