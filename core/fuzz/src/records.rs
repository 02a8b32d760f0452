//! A store full of anything: its keys, its records, and a client that begins with it.
//!
//! The script is keys and records; each record gets the envelope of its key.

use super::documents::forgiving_automerge;
use super::script::{Script, seal};
use super::world::{CHANNEL, World};
use backscroll_core::client::Now;
use backscroll_core::storage::{
    AppendedRecord, ChannelRecord, Key, NoteRecord, OwnRecord, SeenRecord, SegmentRecord,
    SummaryRecord,
};
use std::collections::BTreeMap;

/// Most records of a script.
const RECORDS_MAX: usize = 40;

/// Reads a script.
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let mut store = BTreeMap::new();
    for _ in 0..RECORDS_MAX {
        let (Some(key), Some(record)) = (script.bytes(), script.bytes()) else { break };
        let value = seal(key, record);
        if let Some(decoded) = Key::decode(key) {
            assert_eq!(decoded.encode(), key, "a key has one spelling");
            read(&decoded, &value);
        }
        store.insert(key.to_vec(), value);
    }
    forgiving_automerge(|| begin(store, script));
}

/// What is read of a record is written and read again as it was.
macro_rules! comes_back {
    ($record:ty, $key:expr, $value:expr) => {
        if let Ok(record) = <$record>::read($key, $value) {
            let written = record.to_stored($key).value.expect("a record");
            let again = <$record>::read($key, &written).expect("what was written is read");
            assert_eq!(again, record);
            assert_eq!(again.to_stored($key).value, Some(written));
        }
    };
}

fn read(key: &Key, value: &[u8]) {
    match key {
        Key::Summary { .. } => comes_back!(SummaryRecord, key, value),
        Key::Unsent { .. } | Key::Relayed { .. } => comes_back!(OwnRecord, key, value),
        Key::UnsentNote { .. } | Key::RelayedNote { .. } => comes_back!(NoteRecord, key, value),
        Key::Channel { .. } => comes_back!(ChannelRecord, key, value),
        Key::Seen { .. } => comes_back!(SeenRecord, key, value),
        Key::Segment { .. } => comes_back!(SegmentRecord, key, value),
        Key::Appended { .. } => comes_back!(AppendedRecord, key, value),
    }
}

/// A client begins with these records, shows what is there, goes online, and does what follows.
fn begin(store: BTreeMap<Vec<u8>, Vec<u8>>, mut script: Script<'_>) {
    let mut world = World::new(Some(store));
    let now = Now { wall_ms: super::changes::T0, steady_ms: 0 };
    let _opened = world.client.open_channel(CHANNEL, now);
    world.drain();
    world.settle();
    // Opens a view on the oldest rows.
    let _looked = world.step(&mut Script::new(&[7, 1, 0, 0xf0]));
    world.settle();
    for _ in 0..40 {
        if world.step(&mut script).is_none() {
            break;
        }
    }
    world.settle();
}
