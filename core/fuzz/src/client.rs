//! A client among a relay, a store and other clients that do what a script says, lies included.

use super::documents::forgiving_automerge;
use super::script::Script;
use super::world::World;
use std::collections::BTreeMap;

/// Most steps of a script.
const STEPS_MAX: usize = 120;

/// The first byte says whether there is a store; the others are steps.
pub fn run(data: &[u8]) {
    forgiving_automerge(|| {
        let mut script = Script::new(data);
        let Some(first) = script.byte() else { return };
        let mut world = World::new((first % 2 == 1).then(BTreeMap::new));
        for _ in 0..STEPS_MAX {
            if world.step(&mut script).is_none() {
                break;
            }
        }
        world.settle();
    });
}
