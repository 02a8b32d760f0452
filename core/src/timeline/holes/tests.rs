//! Holes against a sum over all of them, and their edges one by one.

use proptest::prelude::*;

use super::*;

fn id(ms: u64, rest: u128) -> u128 {
    u128::from(ms) << 80 | rest
}

/// Level 10 windows are 32 ms wide.
fn hole(start_ms: u64, min_ms: u64, max_ms: u64, count: u32) -> Hole {
    Hole { level: 10, start_ms, min_ms, max_ms, count }
}

#[test]
fn a_hole_counts_by_its_share_of_time() {
    let mut holes = Holes::new();
    assert_eq!(holes.set(hole(64, 70, 79, 10)), Ok(None));
    for (ms, below) in [(0, 0), (69, 0), (70, 0), (71, 1), (75, 5), (79, 9), (80, 10), (200, 10)] {
        assert_eq!(holes.holes_below(id(ms, 0)), below, "at {ms} ms");
    }
    // Rounded to the nearest: half a millisecond is half a message.
    assert_eq!(holes.holes_below(id(70, (1 << 79) - 1)), 0);
    assert_eq!(holes.holes_below(id(70, 1 << 79)), 1);
    assert_eq!(holes.holes_below(u128::MAX), 10);
}

#[test]
fn the_greatest_hole_does_not_overflow() {
    let start_ms = (1 << 48) - (1 << 35);
    let max_ms = (1 << 48) - 1;
    let wide = Hole { level: 0, start_ms, min_ms: start_ms, max_ms, count: u32::MAX };
    let mut holes = Holes::new();
    assert_eq!(holes.set(wide), Ok(None));
    assert_eq!(holes.holes_below(id(start_ms, 0)), 0);
    assert_eq!(holes.holes_below(id(start_ms + (1 << 34), 0)), 1 << 31);
    assert_eq!(holes.holes_below(u128::MAX), u64::from(u32::MAX));
    holes.check_invariants().unwrap();
}

#[test]
fn impossible_holes_are_refused() {
    let mut holes = Holes::new();
    let good = hole(32, 40, 50, 3);
    for (bad, error) in [
        (Hole { level: 12, ..good }, HoleError::Level(12)),
        (Hole { start_ms: 33, ..good }, HoleError::Start { level: 10, start_ms: 33 }),
        (Hole { start_ms: 1 << 48, ..good }, HoleError::Start { level: 10, start_ms: 1 << 48 }),
        (Hole { start_ms: 33, count: 0, ..good }, HoleError::Start { level: 10, start_ms: 33 }),
        (Hole { min_ms: 31, ..good }, HoleError::Span { min_ms: 31, max_ms: 50 }),
        (Hole { max_ms: 64, ..good }, HoleError::Span { min_ms: 40, max_ms: 64 }),
        (Hole { min_ms: 51, ..good }, HoleError::Span { min_ms: 51, max_ms: 50 }),
    ] {
        assert_eq!(holes.set(bad), Err(error));
    }
    assert!(holes.is_empty());
    assert_eq!(holes.remove(HoleKey { level: 200, start_ms: 0 }), None);
    assert_eq!(holes.get(HoleKey { level: 200, start_ms: 0 }), None);
}

#[test]
fn only_times_with_messages_overlap() {
    let mut holes = Holes::new();
    holes.set(hole(0, 10, 20, 1)).unwrap();
    holes.set(hole(64, 64, 64, 1)).unwrap();
    holes.set(Hole { level: 9, start_ms: 0, min_ms: 0, max_ms: 15, count: 1 }).unwrap();
    let keys = |span| {
        let found: Vec<HoleKey> = holes.overlapping(span);
        found.iter().map(|key| (key.level, key.start_ms)).collect::<Vec<_>>()
    };
    assert_eq!(keys(0..=9), [(9, 0)]);
    assert_eq!(keys(15..=15), [(9, 0), (10, 0)]);
    assert_eq!(keys(20..=63), [(10, 0)]);
    assert_eq!(keys(21..=63), []);
    assert_eq!(keys(64..=u64::MAX), [(10, 64)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn equals_a_sum_over_all_holes(
        steps in prop::collection::vec((8_u8..12, 0_u64..4_096, 0_u64..4_096, 0_u64..4_096, 0_u32..9), 1..60),
        probes in prop::collection::vec((0_u64..5_000, any::<u128>()), 1..20),
    ) {
        let (mut holes, mut model) = (Holes::new(), std::collections::BTreeMap::new());
        for (level, at, a, b, count) in steps {
            let window = Window::covering(level, at);
            let start_ms = window.start_ms();
            let width = window.end_ms() - start_ms;
            let (a, b) = (start_ms + a % width, start_ms + b % width);
            let hole = Hole { level, start_ms, min_ms: a.min(b), max_ms: a.max(b), count };
            let old = if count == 0 {
                model.remove(&hole.key())
            } else {
                model.insert(hole.key(), hole)
            };
            prop_assert_eq!(holes.set(hole), Ok(old));
            holes.check_invariants().unwrap();
        }
        prop_assert!(holes.iter().eq(model.values()));
        prop_assert_eq!(holes.total(), model.values().map(|hole| u64::from(hole.count)).sum::<u64>());
        prop_assert_eq!(holes.len(), model.len());
        let mut probes: Vec<u128> = probes.into_iter().map(|(ms, rest)| id(ms, rest >> 48)).collect();
        probes.sort_unstable();
        let mut before = 0;
        for probe in probes {
            let naive: u64 = model.values().map(|hole| naive_below(hole, probe)).sum();
            prop_assert_eq!(holes.holes_below(probe), naive);
            prop_assert!(before <= naive);
            before = naive;
        }
    }
}

/// In exact fractions of the id's first 64 bits, the long way round.
fn naive_below(hole: &Hole, id: u128) -> u64 {
    let at = id >> 64;
    let (from, to) = (u128::from(hole.min_ms) << 16, u128::from(hole.max_ms + 1) << 16);
    let share = u128::from(hole.count) * (at.clamp(from, to) - from);
    let halves = 2 * share / (to - from);
    u64::try_from(halves.div_ceil(2)).unwrap()
}
