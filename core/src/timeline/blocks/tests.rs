//! Blocks against a `BTreeMap`, with blocks of 8 keys.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

type Model = BTreeMap<u128, u32>;

fn check(blocks: &Blocks<u32>, model: &Model) {
    blocks.check_invariants().unwrap();
    assert_eq!(blocks.len(), model.len() as u64);
    assert_eq!(blocks.is_empty(), model.is_empty());
    assert!(blocks.walk_from_rank(0).eq(model.iter().map(|(k, v)| (*k, *v))));
    for (rank, (key, value)) in model.iter().enumerate() {
        let rank = rank as u64;
        assert_eq!(blocks.get(*key), Some(*value));
        assert_eq!(blocks.select(rank), Some((*key, *value)));
        assert_eq!((blocks.rank(*key), blocks.rank(*key + 1)), (rank, rank + 1));
    }
    assert_eq!(blocks.select(blocks.len()), None);
    assert_eq!(blocks.rank(u128::MAX), blocks.len());
}

fn check_walks(blocks: &Blocks<u32>, model: &Model, key: u128) {
    let later: Vec<_> = model.range(key..).map(|(k, v)| (*k, *v)).collect();
    assert_eq!(blocks.walk_from_key(key).collect::<Vec<_>>(), later);
    let rank = blocks.rank(key);
    assert_eq!(rank, model.range(..key).count() as u64);
    assert_eq!(blocks.walk_from_rank(rank).collect::<Vec<_>>(), later);
    assert_eq!(blocks.get(key), model.get(&key).copied());
}

#[derive(Debug, Clone)]
enum Step {
    Insert(u128, u32),
    Replace(u128, u32),
    Remove(u128),
    InsertRun(Vec<(u128, u32)>),
    /// Keys, and the remainder mod 2 of the values accepted (2: all).
    RemoveRun(Vec<u128>, u32),
    RemoveSpan(u128, u128),
}

fn step() -> impl Strategy<Value = Step> {
    let key = || prop_oneof![0_u128..60, 0_u128..600];
    let sorted = |mut keys: Vec<u128>| {
        keys.sort_unstable();
        keys
    };
    let run = (prop::collection::vec(key(), 0..40), any::<u32>()).prop_map(move |(keys, value)| {
        Step::InsertRun(sorted(keys).into_iter().zip((0..).map(|i| value ^ i)).collect())
    });
    // Consecutive keys, as a window's messages mostly are.
    let dense = (key(), 1_u128..70, any::<u32>()).prop_map(|(first, len, v)| {
        Step::InsertRun((first..first + len).map(|k| (k, v)).collect())
    });
    prop_oneof![
        4 => (key(), any::<u32>()).prop_map(|(k, v)| Step::Insert(k, v)),
        1 => (key(), any::<u32>()).prop_map(|(k, v)| Step::Replace(k, v)),
        3 => key().prop_map(Step::Remove),
        2 => run,
        1 => dense,
        2 => (prop::collection::vec(key(), 0..40), 0_u32..3)
            .prop_map(move |(keys, mine)| Step::RemoveRun(sorted(keys), mine)),
        1 => (key(), 0_u128..100).prop_map(|(first, len)| Step::RemoveSpan(first, first + len)),
    ]
}

fn apply(blocks: &mut Blocks<u32>, model: &mut Model, step: Step) {
    match step {
        Step::Insert(key, value) => {
            assert_eq!(blocks.insert(key, value), !model.contains_key(&key));
            model.entry(key).or_insert(value);
        }
        Step::Replace(key, value) => {
            let old = model.get_mut(&key).map(|old| std::mem::replace(old, value));
            assert_eq!(blocks.replace(key, value), old);
        }
        Step::Remove(key) => assert_eq!(blocks.remove(key), model.remove(&key)),
        Step::InsertRun(run) => {
            let mut skipped = Vec::new();
            for (key, value) in &run {
                if model.contains_key(key) {
                    skipped.push(*key);
                }
                model.entry(*key).or_insert(*value);
            }
            assert_eq!(blocks.insert_run(&run), Ok(skipped));
        }
        Step::RemoveRun(keys, mine) => {
            let mine = |value: u32| mine == 2 || value % 2 == mine;
            let mut kept = keys.clone();
            kept.retain(|key| {
                model.remove_entry(key).is_none_or(|(key, value)| {
                    if !mine(value) {
                        model.insert(key, value);
                    }
                    !mine(value)
                })
            });
            assert_eq!(blocks.remove_run(&keys, mine), Ok(kept));
        }
        Step::RemoveSpan(first, end) => {
            let keys: Vec<u128> = model.range(first..end).map(|(key, _)| *key).collect();
            model.retain(|key, _| !(first..end).contains(key));
            assert_eq!(blocks.remove_run(&keys, |_| true), Ok(Vec::new()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn equals_a_sorted_map(
        steps in prop::collection::vec(step(), 1..40),
        probes in prop::collection::vec(0_u128..700, 1..8),
    ) {
        let (mut blocks, mut model) = (Blocks::new(), Model::new());
        for step in steps {
            apply(&mut blocks, &mut model, step);
            check(&blocks, &model);
        }
        for key in probes {
            check_walks(&blocks, &model, key);
        }
    }
}

#[test]
fn a_run_out_of_order_changes_nothing() {
    let mut blocks = Blocks::new();
    assert_eq!(blocks.insert_run(&[(1, 1), (5, 5)]), Ok(vec![]));
    assert_eq!(blocks.insert_run(&[(2, 0), (4, 0), (3, 0)]), Err(UnsortedRun));
    assert_eq!(blocks.remove_run(&[5, 1], |_| true), Err(UnsortedRun));
    check(&blocks, &Model::from([(1, 1), (5, 5)]));
}

#[test]
fn appended_blocks_leave_room_for_late_keys() {
    let mut one_by_one: Blocks<u32> = Blocks::new();
    for key in 0..100 {
        assert!(one_by_one.insert(key * 10, 0));
    }
    let mut in_bulk: Blocks<u32> = Blocks::new();
    let run: Vec<(u128, u32)> = (0..100).map(|key| (key * 10, 0)).collect();
    assert_eq!(in_bulk.insert_run(&run), Ok(vec![]));
    for mut blocks in [one_by_one, in_bulk] {
        let before = blocks.blocks.len();
        assert_eq!(before, 100_usize.div_ceil(Block::<u32, BLOCK_LEN>::APPEND_LEN));
        // One late key into each block but the last.
        for index in 0..before - 1 {
            let first = blocks.firsts[index];
            assert!(blocks.insert(first + 1, 0));
        }
        assert_eq!(blocks.blocks.len(), before);
        blocks.check_invariants().unwrap();
    }
}
