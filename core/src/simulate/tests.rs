//! Simulated arrivals against the definitions that readers use.

use super::*;
use std::collections::BTreeSet;

const UNTIL: u64 = 1_735_689_600_000;

fn arrivals(plan: &Plan, count: u64) -> Vec<Arrival> {
    Arrivals::new(plan, count, UNTIL).unwrap().collect()
}

/// Which arrivals are late: a message newer by more than 5 s had arrived before (design 5.3).
fn late(arrivals: &[Arrival]) -> Vec<bool> {
    let mut newest_ms = 0;
    arrivals
        .iter()
        .map(|arrival| {
            let sent_ms = arrival.message.id.time_ms();
            let is_late = newest_ms > sent_ms + LATE_AFTER_MS;
            newest_ms = newest_ms.max(sent_ms);
            is_late
        })
        .collect()
}

fn late_count(arrivals: &[Arrival]) -> usize {
    late(arrivals).iter().filter(|late| **late).count()
}

#[test]
fn equal_plans_give_equal_arrivals_and_other_seeds_others() {
    let plan = Plan { chunk: Some(Chunk { every: 70, size: 9 }), ..Plan::default() };
    let one = arrivals(&plan, 3_000);
    assert_eq!(one, arrivals(&plan, 3_000));
    let other = arrivals(&Plan { seed: 2, ..plan }, 3_000);
    assert!(one.iter().zip(&other).all(|(one, other)| one.message.id != other.message.id));
}

/// Fails when a change alters what a seed means; then every simulated file changes too.
#[test]
fn a_seed_means_these_messages() {
    let plan = Plan { chunk: Some(Chunk { every: 700, size: 90 }), ..Plan::default() };
    let mut digest = 0xcbf2_9ce4_8422_2325_u64;
    for Message { id, content: Content { from, text, reply_to, .. } } in
        arrivals(&plan, 10_000).into_iter().map(|a| a.message)
    {
        for byte in format!("{id}{from}{text}{reply_to:?}").bytes() {
            // FNV-1a
            digest = (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    assert_eq!(format!("{digest:016x}"), "a3ea22eff35a6493");
}

#[test]
fn count_is_exact_and_the_newest_is_at_the_end() {
    let chunks = [None, Some((1, 1)), Some((1, 50)), Some((10, 3)), Some((100, 1_000))];
    for chunk in chunks.map(|chunk| chunk.map(|(every, size)| Chunk { every, size })) {
        for count in [0, 1, 2, 31, 33, 1_000] {
            for late_percent in [0.0, 3.0, 100.0] {
                let plan = Plan { late_percent, chunk, ..Plan::default() };
                let all = arrivals(&plan, count);
                assert_eq!(all.len() as u64, count, "{plan:?}");
                assert!(all.is_sorted_by_key(|arrival| arrival.arrived_ms));
                let newest = all.iter().map(|a| a.message.id.time_ms()).max();
                assert_eq!(newest, (count > 0).then_some(UNTIL), "{plan:?}");
                assert_eq!(all.last().map(|a| a.arrived_ms), newest);
            }
        }
    }
}

#[test]
fn ids_are_unique_and_no_message_arrives_before_it_is_sent() {
    for rate_per_second in [0.01, 1.0, 1_000.0] {
        let chunk = Some(Chunk { every: 500, size: 40 });
        let all = arrivals(&Plan { rate_per_second, chunk, ..Plan::default() }, 50_000);
        let ids: BTreeSet<_> = all.iter().map(|a| a.message.id).collect();
        assert_eq!(ids.len(), all.len());
        assert!(all.iter().all(|a| a.message.id.time_ms() <= a.arrived_ms));
        assert!(all.iter().all(|a| a.message.content.check().is_ok()));
    }
}

#[test]
fn the_share_of_late_messages_is_as_planned() {
    for (rate_per_second, late_percent) in
        [(1.0, 3.0), (1.0, 20.0), (0.01, 3.0), (100.0, 3.0), (1.0, 0.0)]
    {
        let plan = Plan { rate_per_second, late_percent, ..Plan::default() };
        let percent = late_count(&arrivals(&plan, 40_000)) as f64 / 400.0;
        assert!((percent - late_percent).abs() <= late_percent * 0.1 + 0.05, "{plan:?} {percent}");
    }
}

#[test]
fn late_messages_are_minutes_to_a_day_late() {
    let all = arrivals(&Plan::default(), 200_000);
    let mut late_ms: Vec<_> = all
        .iter()
        .zip(late(&all))
        .filter(|(_, late)| *late)
        .map(|(a, _)| a.arrived_ms - a.message.id.time_ms())
        .collect();
    late_ms.sort_unstable();
    let at = |percent: usize| late_ms[late_ms.len() * percent / 100] / 60_000;
    assert!(late_ms[0] >= LATE_MIN_MS && late_ms.last() <= Some(&LATE_MAX_MS));
    assert!((2..15).contains(&at(10)), "{} minutes", at(10));
    assert!((30..120).contains(&at(50)), "{} minutes", at(50));
    assert!((300..900).contains(&at(90)), "{} minutes", at(90));
}

#[test]
fn chunks_are_consecutive_late_and_of_one_sender() {
    for (every, size) in [(500, 100), (50, 200), (1_000, 1)] {
        let plan = Plan { chunk: Some(Chunk { every, size }), ..Plan::default() };
        let all = arrivals(&plan, 30_000);
        let is_late = late(&all);
        let mut order: Vec<_> = all.iter().map(|a| a.message.id).collect();
        order.sort_unstable();
        let (every, size) = (usize::try_from(every).unwrap(), usize::try_from(size).unwrap());
        let mut delays = BTreeSet::new();
        for begin in (every..all.len() - size).step_by(every + size) {
            let chunk = &all[begin..begin + size];
            let first = order.binary_search(&chunk[0].message.id).unwrap();
            for (i, arrival) in chunk.iter().enumerate() {
                assert_eq!(order[first + i], arrival.message.id, "consecutive, at {begin}");
                assert_eq!(arrival.message.content.from, chunk[0].message.content.from);
                assert!(is_late[begin + i], "late, at {begin}");
            }
            delays.insert((chunk[0].arrived_ms - chunk[0].message.id.time_ms()) / 600_000);
        }
        assert!(delays.len() > 3, "arbitrarily late: {delays:?}");
    }
}

#[test]
fn some_messages_answer_older_ones() {
    let all = arrivals(&Plan::default(), 20_000);
    let ids: BTreeSet<_> = all.iter().map(|a| a.message.id).collect();
    let answers: Vec<_> =
        all.iter().filter_map(|a| Some((a.message.id, a.message.content.reply_to?))).collect();
    assert!((800..1_600).contains(&answers.len()), "{}", answers.len());
    assert!(answers.iter().all(|(id, answered)| answered < id && ids.contains(answered)));
}

#[test]
fn live_chat_keeps_to_the_callers_clock() {
    let plan = Plan {
        chunk: Some(Chunk { every: 200, size: 20 }),
        rate_per_second: 5.0,
        ..Plan::default()
    };
    let mut live = Live::new(&plan).unwrap();
    let mut now_us = UNTIL * 1_000;
    let mut all = Vec::new();
    for _ in 0..22_000 {
        now_us += live.pause_us();
        all.push(live.next(now_us / 1_000));
    }
    let seconds = (now_us / 1_000 - UNTIL) / 1_000;
    assert!((3_800..4_200).contains(&seconds), "20,000 at 5/s took {seconds} s");
    assert!(all.iter().all(|a| a.message.id.time_ms() <= a.arrived_ms));
    let late = late_count(&all);
    assert!((2_400..2_900).contains(&late), "600 and 2,000 of chunks: {late}");
    let ids: BTreeSet<_> = all.iter().map(|a| a.message.id).collect();
    assert_eq!(ids.len(), all.len());
}

#[test]
fn plans_without_sense_are_refused() {
    let refused = |plan: Plan| Arrivals::new(&plan, 1, UNTIL).unwrap_err();
    let base = Plan::default();
    for late_percent in [-1.0, 101.0, f64::NAN] {
        assert_eq!(refused(Plan { late_percent, ..base }), PlanError::Late);
    }
    for rate_per_second in [0.0, -1.0, f64::INFINITY, f64::NAN] {
        assert_eq!(refused(Plan { rate_per_second, ..base }), PlanError::Rate);
    }
    for (every, size) in [(0, 1), (1, 0)] {
        let chunk = Some(Chunk { every, size });
        assert_eq!(refused(Plan { chunk, ..base }), PlanError::Chunk);
    }
}
