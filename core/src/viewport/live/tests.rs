//! Live windows over a plain list of rows, some of them not loaded.

use super::*;
use proptest::prelude::*;

/// A row: its message and what is said of it, nothing if it is not loaded.
#[derive(Clone, Debug, PartialEq)]
struct Shown {
    id: Option<MessageId>,
    text: u32,
    late: bool,
    own: bool,
}

impl LiveRow for Shown {
    fn is_late(&self) -> bool {
        self.late
    }

    fn is_own(&self) -> bool {
        self.own
    }
}

/// The timeline: every message, and whether it is loaded.
#[derive(Clone, Debug, Default)]
struct Plain(Vec<(MessageId, Shown, bool)>);

impl Ranked for Plain {
    fn total(&self) -> u64 {
        self.0.len() as u64
    }

    fn rank(&self, id: MessageId) -> u64 {
        self.0.partition_point(|(known, ..)| *known < id) as u64
    }
}

impl Source for Plain {
    type Row = Shown;

    fn ids(&self, rows: Range<u64>) -> Vec<Option<MessageId>> {
        rows.map(|row| self.at(row).2.then_some(self.at(row).0)).collect()
    }

    fn row(&self, index: u64, id: Option<MessageId>) -> Shown {
        let (known, row, is_loaded) = self.at(index);
        assert_eq!(id, is_loaded.then_some(*known));
        if *is_loaded { row.clone() } else { Shown { id: None, text: 0, late: false, own: false } }
    }
}

impl Plain {
    fn at(&self, row: u64) -> &(MessageId, Shown, bool) {
        &self.0[usize::try_from(row).expect("small")]
    }

    fn put(&mut self, ms: u64, late: bool, own: bool) -> bool {
        let id = MessageId::first_of(ms);
        let at = usize::try_from(self.rank(id)).expect("small");
        let is_new = self.0.get(at).is_none_or(|(known, ..)| *known != id);
        if is_new {
            self.0.insert(at, (id, Shown { id: Some(id), text: 0, late, own }, true));
        }
        is_new
    }

    fn of(times: impl IntoIterator<Item = u64>) -> Self {
        let mut plain = Self::default();
        times.into_iter().for_each(|ms| _ = plain.put(ms, false, false));
        plain
    }
}

/// What a consumer keeps, by the rules in the module's docs.
#[derive(Debug, Default)]
struct Copy {
    start: u64,
    total: u64,
    rows: Vec<Shown>,
}

impl Copy {
    fn apply(&mut self, update: &Update<Shown>) {
        match update {
            Update::Reset(all) => {
                (self.start, self.total, self.rows) = (all.start, all.total, all.rows.clone());
            }
            Update::Delta(delta) => {
                let came = delta.inserted.len() as u64 + delta.above + delta.below;
                assert_eq!(delta.total, self.total + came - delta.removed.len() as u64);
                assert_eq!(delta.start, self.start + delta.above);
                for (_, id) in &delta.removed {
                    let before = self.rows.len();
                    self.rows.retain(|row| row.id != Some(*id));
                    assert_eq!(self.rows.len(), before - 1);
                }
                let place = |row: u64| usize::try_from(row - delta.start).expect("small");
                for (row, shown) in &delta.inserted {
                    self.rows.insert(place(*row), shown.clone());
                }
                for (row, shown) in &delta.updated {
                    assert_ne!(self.rows[place(*row)], *shown);
                    self.rows[place(*row)] = shown.clone();
                }
                (self.start, self.total) = (delta.start, delta.total);
                assert_eq!(delta.found_oldest, self.start == 0);
                assert_eq!(delta.found_newest, self.start + self.rows.len() as u64 == self.total);
            }
        }
    }
}

const LIVE: Batch =
    Batch { wrote: false, live: true, late: false, edited: false, loaded: false, reset: false };

fn at(ms: u64, before: u64, after: u64) -> Query {
    Query { at: At::Id(MessageId::first_of(ms)), before, after }
}

/// A settled window over `plain`.
fn opened(query: &Query, plain: &Plain) -> (LiveWindow<Shown>, Copy) {
    let (mut window, mut copy) = (LiveWindow::new(), Copy::default());
    let update = window.poll(query, plain, Batch::default()).expect("in bounds");
    copy.apply(&update.expect("the first one"));
    window.settle();
    (window, copy)
}

#[track_caller]
fn delta(
    window: &mut LiveWindow<Shown>,
    query: &Query,
    plain: &Plain,
    batch: Batch,
) -> Delta<Shown> {
    match window.poll(query, plain, batch).expect("in bounds") {
        Some(Update::Delta(delta)) => delta,
        other => panic!("{other:?} is no delta"),
    }
}

#[track_caller]
fn reset(
    window: &mut LiveWindow<Shown>,
    query: &Query,
    plain: &Plain,
    batch: Batch,
) -> Snapshot<Shown> {
    match window.poll(query, plain, batch).expect("in bounds") {
        Some(Update::Reset(rows)) => rows,
        other => panic!("{other:?} is no reset"),
    }
}

#[test]
fn at_the_newest_end_what_comes_is_in_view_until_the_window_is_large() {
    let mut plain = Plain::of(1..=100);
    let query = Query { at: At::Latest, before: 40, after: 0 };
    let (mut window, _) = opened(&query, &plain);
    for ms in 101..=140 {
        plain.put(ms, false, false);
        let delta = delta(&mut window, &query, &plain, LIVE);
        assert_eq!((delta.start, delta.inserted.len(), delta.found_newest), (60, 1, true));
    }
    plain.put(141, false, false);
    let rows = reset(&mut window, &query, &plain, LIVE);
    assert_eq!((rows.reason, rows.start, rows.rows.len()), (Reason::Live, 101, 40));
}

#[test]
fn at_the_oldest_end_what_comes_is_in_view_too() {
    let mut plain = Plain::of(100..=200);
    let query = Query { at: At::Oldest, before: 0, after: 10 };
    let (mut window, _) = opened(&query, &plain);
    plain.put(5, true, false);
    plain.put(300, false, false);
    let batch = Batch { late: true, ..LIVE };
    let delta = delta(&mut window, &query, &plain, batch);
    assert_eq!((delta.start, delta.above, delta.below), (0, 0, 1));
    assert_eq!((delta.reason, delta.inserted[0].0), (Reason::Late, 0));
    assert!(delta.found_oldest);
}

#[test]
fn a_chunk_too_large_for_the_window_leaves_the_anchor_where_it_is() {
    let mut plain = Plain::of((1..=100).map(|i| i * 1_000));
    let query = at(50_000, 10, 10);
    let (mut window, copy) = opened(&query, &plain);
    assert_eq!((copy.start, copy.rows.len()), (39, 20));
    (0..60).for_each(|i| _ = plain.put(45_100 + i, true, false));
    let rows = reset(&mut window, &query, &plain, Batch { late: true, ..Batch::default() });
    assert_eq!((rows.reason, rows.start, rows.rows.len()), (Reason::Late, 99, 20));
    assert_eq!(rows.rows[10].id, Some(MessageId::first_of(50_000)));
}

#[test]
fn the_reason_is_the_most_important_of_what_is_told() {
    let mut plain = Plain::of((1..=100).map(|i| i * 1_000));
    let query = at(50_000, 10, 10);
    let (mut window, _) = opened(&query, &plain);
    let all = Batch { wrote: true, late: true, edited: true, loaded: true, ..LIVE };
    assert_eq!(window.poll(&query, &plain, all).expect("in bounds"), None, "nothing changed");
    plain.put(49_500, false, false);
    plain.put(49_600, true, false);
    assert_eq!(delta(&mut window, &query, &plain, LIVE).reason, Reason::Late);
    plain.put(200_000, false, true);
    let wrote = Batch { wrote: true, ..LIVE };
    assert_eq!(delta(&mut window, &query, &plain, wrote).reason, Reason::Send);
    plain.put(201_000, false, false);
    assert_eq!(delta(&mut window, &query, &plain, LIVE).reason, Reason::Live);
    plain.0[50].1.text = 9;
    assert_eq!(
        window.poll(&query, &plain, LIVE).expect("in bounds"),
        None,
        "rows are not read again"
    );
    let edited = Batch { edited: true, ..Batch::default() };
    let delta = delta(&mut window, &query, &plain, edited);
    assert_eq!((delta.reason, delta.updated[0].0), (Reason::Edit, 50));
    window.moved(Reason::Goto);
    window.moved(Reason::Loaded);
    assert_eq!(reset(&mut window, &query, &plain, edited).reason, Reason::Goto);
    let over = Batch { reset: true, ..edited };
    assert_eq!(reset(&mut window, &query, &plain, over).reason, Reason::Reset);
}

#[test]
fn placeholders_are_filled_in_their_places() {
    let mut plain = Plain::of(1..=100);
    plain.0.iter_mut().take(50).for_each(|row| row.2 = false);
    let query = Query { at: At::Index(48), before: 10, after: 10 };
    let mut window = LiveWindow::new();
    let rows = reset(&mut window, &query, &plain, LIVE);
    assert_eq!(rows.rows.iter().filter(|row| row.id.is_none()).count(), 12);
    plain.0.iter_mut().for_each(|row| row.2 = true);
    let loaded = Batch { loaded: true, ..Batch::default() };
    let delta = delta(&mut window, &query, &plain, loaded);
    assert_eq!((delta.reason, delta.updated.len(), delta.start), (Reason::Loaded, 12, 38));
    assert!(delta.inserted.is_empty() && delta.above + delta.below == 0);
    assert_eq!(window.anchor(), Some(MessageId::first_of(49)));
}

#[test]
fn an_empty_channel_fills_from_its_first_message() {
    let mut plain = Plain::default();
    for query in [Query { at: At::Latest, before: 5, after: 0 }, at(9, 2, 2)] {
        let (mut window, copy) = opened(&query, &plain);
        assert!(copy.rows.is_empty());
        plain.put(7, false, true);
        let delta = delta(&mut window, &query, &plain, Batch { wrote: true, ..LIVE });
        assert_eq!((delta.reason, delta.inserted.len()), (Reason::Send, 1));
        plain = Plain::default();
    }
}

#[derive(Clone, Debug)]
enum Step {
    Come { ms: u64, late: bool },
    Chunk { ms: u64, count: u64 },
    Edit { at: usize },
    Remove { at: usize },
    Load { from: usize, len: usize, is_loaded: bool },
    Move { at: At, before: u64, after: u64 },
    Poll,
}

fn step() -> impl Strategy<Value = Step> {
    let anchor = prop_oneof![
        (0..1_000_u64).prop_map(|ms| At::Id(MessageId::first_of(ms))),
        (0..1_000_u64).prop_map(At::Time),
        (0..100_u64).prop_map(At::Index),
        (0.0..=1.0_f64).prop_map(At::Fraction),
        Just(At::Latest),
        Just(At::Oldest),
    ];
    prop_oneof![
        6 => (0..1_000_u64, any::<bool>()).prop_map(|(ms, late)| Step::Come { ms, late }),
        1 => (0..1_000_u64, 1..80_u64).prop_map(|(ms, count)| Step::Chunk { ms, count }),
        2 => (0..200_usize).prop_map(|at| Step::Edit { at }),
        1 => (0..200_usize).prop_map(|at| Step::Remove { at }),
        2 => (0..200_usize, 1..60_usize, any::<bool>())
            .prop_map(|(from, len, is_loaded)| Step::Load { from, len, is_loaded }),
        1 => (anchor, 0..20_u64, 0..20_u64)
            .prop_map(|(at, before, after)| Step::Move { at, before, after }),
        8 => Just(Step::Poll),
    ]
}

/// The window, its consumer's copy and the timeline, in step.
struct Model {
    plain: Plain,
    query: Query,
    window: LiveWindow<Shown>,
    copy: Copy,
    batch: Batch,
}

impl Model {
    fn step(&mut self, step: &Step) {
        let batch = &mut self.batch;
        match *step {
            Step::Come { ms, late } => {
                self.plain.put(ms, late, false);
                batch.live |= !late;
                batch.late |= late;
            }
            Step::Chunk { ms, count } => {
                (ms..ms + count).for_each(|ms| _ = self.plain.put(ms, true, false));
                batch.late = true;
            }
            Step::Edit { at } => {
                self.plain.0.get_mut(at).into_iter().for_each(|row| row.1.text += 1);
                batch.edited = true;
            }
            Step::Remove { at } => {
                if at < self.plain.0.len() {
                    self.plain.0.remove(at);
                }
                batch.edited = true;
            }
            Step::Load { from, len, is_loaded } => {
                self.plain.0.iter_mut().skip(from).take(len).for_each(|row| row.2 = is_loaded);
                batch.loaded = true;
            }
            Step::Move { at, before, after } => {
                self.query = Query { at, before, after };
                self.window.moved(Reason::Goto);
            }
            Step::Poll => self.poll(),
        }
    }

    fn poll(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let before: Vec<_> = self.copy.rows.iter().filter_map(|row| row.id).collect();
        let was_settled = self.window.is_settled() && !self.window.is_reset();
        let update = self.window.poll(&self.query, &self.plain, batch).expect("in bounds");
        if let Some(update) = &update {
            self.copy.apply(update);
        }
        let Copy { start, total, ref rows } = self.copy;
        assert_eq!(total, self.plain.total());
        let fresh: Vec<_> = self.plain.ids(start..start + rows.len() as u64);
        let fresh = fresh.into_iter().zip(start..).map(|(id, row)| self.plain.row(row, id));
        assert_eq!(*rows, fresh.collect::<Vec<_>>());
        if matches!(update, Some(Update::Reset(_))) {
            let range = resolve(&self.query, &self.plain).expect("in bounds");
            assert_eq!((start, rows.len() as u64), (range.start, range.end - range.start));
        } else if was_settled {
            // Rows leave only if their messages do; one that was dropped from memory is a placeholder.
            let left = before.iter().filter(|id| !rows.iter().any(|row| row.id == Some(**id)));
            for id in left {
                let stands = |(known, _, is_loaded): &(_, _, bool)| known == id && *is_loaded;
                assert!(!self.plain.0.iter().any(stands), "{id} left");
            }
        }
        let rows_max = (self.query.before + self.query.after) * 2 + GROWTH_MIN;
        assert!(rows.len() as u64 <= rows_max);
        if rows.iter().all(|row| row.id.is_some()) {
            self.window.settle();
            if let (At::Index(_) | At::Fraction(_) | At::Time(_), Some(id)) =
                (self.query.at, self.window.anchor())
            {
                self.query.at = At::Id(id);
            }
        }
    }
}

proptest! {
    #[test]
    fn a_copy_with_the_deltas_applied_is_the_timeline(
        times in prop::collection::btree_set(0..1_000_u64, 0..120),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut model = Model {
            plain: Plain::of(times),
            query: Query { at: At::Latest, before: 10, after: 0 },
            window: LiveWindow::new(),
            copy: Copy::default(),
            batch: Batch::default(),
        };
        model.poll();
        for step in &steps {
            model.step(step);
        }
        model.poll();
    }
}
