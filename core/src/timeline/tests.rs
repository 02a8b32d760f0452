//! Random histories of a small channel against a plain sorted list of all its messages.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// All messages lie in these milliseconds (three windows of level 9), so the reference can try each.
const DOMAIN_MS: u64 = 768;

/// A channel: every message with its window, and which windows are loaded.
#[derive(Debug, Default)]
struct World {
    messages: BTreeMap<u128, HoleKey>,
    loaded: Vec<HoleKey>,
}

impl World {
    fn ids_of(&self, key: HoleKey) -> Vec<u128> {
        self.messages.iter().filter(|(_, window)| **window == key).map(|(id, _)| *id).collect()
    }

    fn windows(&self) -> Vec<HoleKey> {
        let mut keys: Vec<HoleKey> = self.messages.values().copied().collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    fn hole_of(&self, key: HoleKey) -> Hole {
        let ids = self.ids_of(key);
        let ms = |id: Option<&u128>| id.map_or(0, |id| time_ms(*id));
        Hole {
            level: key.level,
            start_ms: key.start_ms,
            min_ms: ms(ids.first()),
            max_ms: ms(ids.last()),
            count: u32::try_from(ids.len()).unwrap(),
        }
    }

    fn holes(&self) -> Vec<Hole> {
        let missing = self.windows().into_iter().filter(|key| !self.loaded.contains(key));
        missing.map(|key| self.hole_of(key)).collect()
    }

    /// Stands for the slot of a window.
    fn value(&self, id: u128) -> u8 {
        self.messages[&id].level
    }

    fn run(&self, key: HoleKey) -> Vec<(u128, u8)> {
        self.ids_of(key).into_iter().map(|id| (id, key.level)).collect()
    }
}

/// What the timeline must answer for a world as it is, worked out by adding up everything.
struct Reference<'a> {
    world: &'a World,
    holes: Vec<Hole>,
    /// The id and row of each loaded message.
    loaded: Vec<(u128, u64)>,
    /// How many rows stand before each millisecond.
    ranks_ms: Vec<u64>,
}

impl<'a> Reference<'a> {
    fn new(world: &'a World) -> Self {
        let holes = world.holes();
        let loaded = world.messages.iter().filter(|(_, window)| world.loaded.contains(window));
        let row = |(k, (id, _)): (u64, (&u128, _))| (*id, k + below(&holes, *id));
        let loaded: Vec<(u128, u64)> = (0..).zip(loaded).map(row).collect();
        let mut made = Self { world, holes, loaded, ranks_ms: Vec::new() };
        made.ranks_ms = (0..=DOMAIN_MS).map(|ms| made.rank(first_id(ms))).collect();
        made
    }

    fn total(&self) -> u64 {
        self.world.messages.len() as u64
    }

    fn rank(&self, id: u128) -> u64 {
        let loaded = self.loaded.iter().filter(|(other, _)| *other < id).count();
        loaded as u64 + below(&self.holes, id)
    }

    /// When the row's message was sent; for a placeholder, the last millisecond that begins at or
    /// before the row.
    fn row_ms(&self, row: u64) -> u64 {
        let own = self.loaded.iter().find(|(_, r)| *r == row);
        own.map_or_else(
            || self.ranks_ms.iter().rposition(|rank| *rank <= row).unwrap() as u64,
            |(id, _)| time_ms(*id),
        )
    }

    fn item(&self, row: u64) -> Row<u8> {
        let own = self.loaded.iter().find(|(_, r)| *r == row);
        own.map_or(Row::Hole, |(id, _)| Row::Message { id: *id, value: self.world.value(*id) })
    }

    fn rows(&self, range: Range<u64>) -> Rows<u8> {
        let total = self.total();
        let (start, end) = (range.start.min(total), range.end.min(total));
        let mut needed = Vec::new();
        if start < end {
            let (first, last) = (self.row_ms(start), self.row_ms(end - 1));
            let touches = |hole: &&Hole| hole.min_ms <= last && first <= hole.max_ms;
            needed.extend(self.holes.iter().filter(touches).map(Hole::key));
        }
        Rows { start, total, items: (start..end).map(|row| self.item(row)).collect(), needed }
    }

    /// The rows as if everything were loaded.
    fn true_rows(&self, range: Range<u64>) -> Vec<Row<u8>> {
        let all = (0..).zip(self.world.messages.keys()).filter(|(row, _)| range.contains(row));
        all.map(|(_, id)| Row::Message { id: *id, value: self.world.value(*id) }).collect()
    }

    fn check_rows(&self, timeline: &Timeline<u8>, range: Range<u64>) -> Rows<u8> {
        let rows = timeline.rows(range.clone());
        assert_eq!(rows, self.rows(range.clone()));
        if rows.is_exact() {
            assert_eq!(rows.items, self.true_rows(range), "these rows claimed to be exact");
        }
        assert!(
            !(rows.is_exact() && rows.items.contains(&Row::Hole)),
            "placeholders are not exact"
        );
        rows
    }

    fn check_all(&self, timeline: &Timeline<u8>) {
        timeline.check_invariants().unwrap();
        let total = self.total();
        assert_eq!(timeline.total(), total);
        for (row, (id, _)) in (0..).zip(&self.world.messages) {
            assert_eq!(timeline.rank(*id), self.rank(*id));
            assert_eq!(timeline.select(row), Some(self.item(row)));
            assert_eq!(timeline.time_of_row(row), Some(self.row_ms(row)));
        }
        for (ms, rank) in (0..).zip(&self.ranks_ms) {
            assert_eq!(timeline.rank_of_time(ms), *rank);
        }
        assert_eq!((timeline.select(total), timeline.time_of_row(total)), (None, None));
        assert_eq!(timeline.rank_of_time(u64::MAX), total);
    }
}

/// Linear shares of all holes in exact fractions of the id's first 64 bits.
fn below(holes: &[Hole], id: u128) -> u64 {
    let share = |hole: &Hole| {
        let (from, to) = (u128::from(hole.min_ms) << 16, u128::from(hole.max_ms + 1) << 16);
        let units = u128::from(hole.count) * ((id >> 64).clamp(from, to) - from);
        u64::try_from((2 * units / (to - from)).div_ceil(2)).unwrap()
    };
    holes.iter().map(share).sum()
}

#[derive(Debug, Clone)]
enum Step {
    /// Messages in one window: level, a time in it, offsets in time, random bits.
    Arrive(u8, u64, Vec<(u64, u8)>),
    Load(Index),
    Unload(Index),
}

fn step() -> impl Strategy<Value = Step> {
    let level = prop_oneof![Just(9_u8), Just(10), Just(11)];
    let offsets = prop::collection::vec((0_u64..256, 0_u8..3), 1..12);
    prop_oneof![
        4 => (level, 0..DOMAIN_MS, offsets).prop_map(|(l, at, o)| Step::Arrive(l, at, o)),
        3 => any::<Index>().prop_map(Step::Load),
        2 => any::<Index>().prop_map(Step::Unload),
    ]
}

fn apply(world: &mut World, timeline: &mut Timeline<u8>, step: Step) {
    match step {
        Step::Arrive(level, at, offsets) => {
            let width = 1_u64 << (35 - 3 * u32::from(level));
            let key = HoleKey { level, start_ms: at / width * width };
            let known_window = world.windows().contains(&key);
            for (offset, rest) in offsets {
                // The level in the lowest bits keeps an id out of two windows.
                let ms = key.start_ms + offset % width;
                let id = first_id(ms) | u128::from(rest) << 78 | u128::from(level);
                let fresh = world.messages.insert(id, key).is_none();
                if world.loaded.contains(&key) {
                    assert_eq!(timeline.insert(id, level), fresh);
                }
            }
            if !world.loaded.contains(&key) {
                let old = timeline.set_hole(world.hole_of(key)).unwrap();
                assert_eq!(old.is_some(), known_window);
            }
        }
        Step::Load(index) => {
            let holes = world.holes();
            if !holes.is_empty() {
                load(world, timeline, holes[index.index(holes.len())].key());
            }
        }
        Step::Unload(index) => {
            if !world.loaded.is_empty() {
                let key = world.loaded.swap_remove(index.index(world.loaded.len()));
                let (ids, hole) = (world.ids_of(key), world.hole_of(key));
                assert_eq!(timeline.unload(&ids, |v| v == key.level, hole), Ok(vec![]));
            }
        }
    }
}

fn load(world: &mut World, timeline: &mut Timeline<u8>, key: HoleKey) {
    assert_eq!(timeline.load(key, &world.run(key)), Ok(vec![]));
    world.loaded.push(key);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]
    #[test]
    fn equals_a_sorted_list(
        steps in prop::collection::vec(step(), 1..14),
        ranges in prop::collection::vec((any::<Index>(), 0_u64..12), 1..6),
    ) {
        let (mut world, mut timeline) = (World::default(), Timeline::new());
        for step in steps {
            apply(&mut world, &mut timeline, step);
        }
        let reference = Reference::new(&world);
        reference.check_all(&timeline);
        reference.check_rows(&timeline, 0..u64::MAX);
        reference.check_rows(&timeline, 0..1);
        reference.check_rows(&timeline, reference.total().saturating_sub(1)..u64::MAX);
        for (start, len) in ranges {
            let start = start.index(world.messages.len() + 1) as u64;
            reference.check_rows(&timeline, start..start + len);
        }
    }

    #[test]
    fn loading_what_is_needed_makes_rows_exact(
        steps in prop::collection::vec(step(), 1..14),
        start in any::<Index>(),
        len in 1_u64..8,
    ) {
        let (mut world, mut timeline) = (World::default(), Timeline::new());
        for step in steps {
            apply(&mut world, &mut timeline, step);
        }
        let start = start.index(world.messages.len() + 1) as u64;
        loop {
            let rows = Reference::new(&world).check_rows(&timeline, start..start + len);
            if rows.is_exact() {
                break;
            }
            for key in rows.needed {
                load(&mut world, &mut timeline, key);
            }
        }
        Reference::new(&world).check_all(&timeline);
    }
}

fn id(ms: u64) -> u128 {
    first_id(ms)
}

/// Level 10 windows are 32 ms wide.
fn hole(start_ms: u64, min_ms: u64, max_ms: u64, count: u32) -> Hole {
    Hole { level: 10, start_ms, min_ms, max_ms, count }
}

fn timeline(loaded: &[u64], holes: &[Hole]) -> Timeline<u8> {
    let mut made = Timeline::new();
    for ms in loaded {
        assert!(made.insert(id(*ms), 0));
    }
    for hole in holes {
        made.set_hole(*hole).unwrap();
    }
    made
}

/// What rows look like: the millisecond of a message, `None` for a placeholder; the needed starts.
fn look(timeline: &Timeline<u8>, range: Range<u64>) -> (Vec<Option<u64>>, Vec<u64>) {
    let rows = timeline.rows(range);
    let item = |row: &Row<u8>| match row {
        Row::Message { id, .. } => Some(time_ms(*id)),
        Row::Hole => None,
    };
    (rows.items.iter().map(item).collect(), rows.needed.iter().map(|key| key.start_ms).collect())
}

#[test]
fn a_hole_is_needed_only_if_its_times_touch_the_rows() {
    let made = timeline(&[10, 20, 50, 90], &[hole(32, 40, 45, 2), hole(96, 100, 110, 3)]);
    assert_eq!(made.total(), 9);
    assert_eq!(look(&made, 0..2), (vec![Some(10), Some(20)], vec![]));
    assert_eq!(look(&made, 4..6), (vec![Some(50), Some(90)], vec![]));
    // Between two rows, at the first row, at the last.
    assert_eq!(look(&made, 1..5), (vec![Some(20), None, None, Some(50)], vec![32]));
    assert_eq!(look(&made, 3..5), (vec![None, Some(50)], vec![32]));
    assert_eq!(look(&made, 1..3), (vec![Some(20), None], vec![32]));
    // At the very end.
    assert_eq!(look(&made, 5..99), (vec![Some(90), None, None, None], vec![96]));
    assert_eq!(look(&made, 8..9), (vec![None], vec![96]));
    assert_eq!(look(&made, 9..12), (vec![], vec![]));
}

#[test]
fn a_hole_that_shares_a_millisecond_with_an_edge_row_is_needed() {
    let made = timeline(&[10, 20], &[hole(0, 20, 25, 1)]);
    assert_eq!(look(&made, 0..1), (vec![Some(10)], vec![]));
    assert_eq!(look(&made, 0..2), (vec![Some(10), Some(20)], vec![0]));
    let made = timeline(&[40, 50], &[hole(32, 34, 40, 1)]);
    assert_eq!(look(&made, 2..3), (vec![Some(50)], vec![]));
    assert_eq!(look(&made, 1..3).1, vec![32]);
}

#[test]
fn an_id_in_two_windows_counts_once_and_stays_with_its_window() {
    let mut made = Timeline::new();
    let (wide, narrow) = (hole(32, 40, 50, 2), Hole { level: 11, ..hole(40, 40, 40, 1) });
    assert_eq!(made.load(wide.key(), &[(id(40), 10_u8), (id(50), 10)]), Ok(vec![]));
    assert_eq!(made.load(narrow.key(), &[(id(40), 11)]), Ok(vec![id(40)]));
    assert_eq!((made.total(), made.get(id(40))), (2, Some(10)));
    assert_eq!(made.unload(&[id(40)], |v| v == 11, narrow), Ok(vec![id(40)]));
    assert_eq!((made.total(), made.get(id(40))), (3, Some(10)));
    assert_eq!(made.replace(id(40), 9), Some(10));
    assert_eq!((made.remove(id(40)), made.remove(id(40))), (Some(9), None));
    assert_eq!(made.remove_hole(narrow.key()), Some(narrow));
    assert_eq!(made.total(), 1);
}

#[test]
fn a_refused_load_or_unload_changes_nothing() {
    let mut made = timeline(&[40, 50], &[hole(0, 3, 9, 2)]);
    let before = made.rows(0..9);
    assert_eq!(
        made.load(HoleKey { level: 10, start_ms: 0 }, &[(id(9), 0), (id(3), 0)]),
        Err(TimelineError::Unsorted(UnsortedRun))
    );
    for bad in [hole(32, 50, 40, 2), hole(33, 40, 50, 2), hole(33, 40, 50, 0)] {
        assert!(matches!(
            made.unload(&[id(40), id(50)], |_| true, bad),
            Err(TimelineError::Hole(_))
        ));
    }
    assert_eq!(
        made.unload(&[id(50), id(40)], |_| true, hole(32, 40, 50, 2)),
        Err(TimelineError::Unsorted(UnsortedRun))
    );
    assert_eq!(made.rows(0..9), before);
}
