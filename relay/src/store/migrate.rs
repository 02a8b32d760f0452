//! Brings a store of an earlier format to the present one, step by step; each step can be cut off and
//! begun again.

use super::StoreError;
use super::keys;
use super::kv::{Batch, Direction, Durability, Family, Kv};
use super::rows::{IndexRow, LateRow, Row};
use std::ops::ControlFlow;

/// The oldest format that can be brought to the present one.
pub(super) const OLDEST: u32 = 2;

/// Rows put at a time.
const STRIDE: usize = 10_000;

/// Brings a store of format `from` to the present one. The caller writes the new format when this
/// is done: until then the steps are taken anew.
///
/// # Errors
/// The store cannot be read or written, or a row is damaged.
///
/// # Complexity
/// O(messages): about a second for a million.
pub(super) fn migrate(kv: &dyn Kv, from: u32) -> Result<(), StoreError> {
    tracing::info!(from, to = super::FORMAT_VERSION, "bringing the store to the present format");
    if from < 3 {
        list_late(kv)?;
    }
    Ok(())
}

/// Format 3 lists the late messages of a channel by seq.
fn list_late(kv: &dyn Kv) -> Result<(), StoreError> {
    let mut range = keys::everything();
    loop {
        let (mut batch, mut read, mut last, mut damage) = (Batch::new(), 0, None, None);
        let mut visit = |key: &[u8], row: &[u8]| {
            read += 1;
            last = Some(key.to_vec());
            match (keys::channel_of(key), keys::message_of(key), IndexRow::decode(row)) {
                (Some(channel), Some(id), Ok(row)) if row.late => {
                    batch.put(Family::Late, keys::late(channel, row.seq), LateRow(id).encode());
                }
                (Some(_), Some(_), Ok(_)) => {}
                (_, _, Err(error)) => damage = Some(error),
                _ => damage = Some(StoreError::damaged(Family::Index, "a key does not read back")),
            }
            if read < STRIDE && damage.is_none() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        };
        let snapshot = kv.snapshot();
        snapshot.scan(Family::Index, keys::bounds(&range), Direction::Forward, &mut visit)?;
        damage.map_or(Ok(()), Err)?;
        kv.write(batch, Durability::Buffered)?;
        let Some(mut last) = last else { return Ok(()) };
        // The least key above it.
        last.push(0);
        range.start = last;
    }
}

#[cfg(test)]
mod tests {
    use crate::commit::writer::{Command, Writer};
    use crate::commit::{Identity, Push};
    use crate::store::kv::{Batch, Direction, Durability, Family};
    use crate::store::memory::MemoryKv;
    use crate::store::{Store, keys};
    use backscroll_core::change::{ActorId16, DocKind, MessageAuthor};
    use backscroll_core::message::{Content, MessageId};
    use backscroll_core::window::Window;
    use std::ops::ControlFlow;
    use std::sync::Arc;
    use tokio::sync::oneshot;

    const T0: u64 = 1_700_000_000_000;

    /// Writes messages of these times, each in a change of its own.
    fn write(store: &Store, times: &[u64]) {
        let mut writer = Writer::new(store.clone()).unwrap();
        let window = Window::covering(0, T0);
        let mut author = MessageAuthor::new(window, ActorId16([1; 16]));
        for time in times {
            let body = Content::text("ada", "hi").to_body().unwrap();
            let entry = (MessageId::from_parts(T0 + time, 1), body);
            let chunks = vec![author.write(&[entry]).unwrap().chunk.into()];
            let (from, channel) = (Identity::user("ada"), "c".to_owned());
            let doc = DocKind::Messages;
            let push = Push { from, channel, window, generation: 0, doc, chunks };
            let (reply, mut answer) = oneshot::channel();
            let command = Command::Push { push, now_ms: T0 + 100_000_000, reply };
            writer.commit(vec![command]).unwrap();
            assert_eq!(answer.try_recv().unwrap().refused, None);
        }
    }

    fn rows(store: &Store, family: Family) -> Vec<(Vec<u8>, Vec<u8>)> {
        let (range, mut rows) = (keys::everything(), Vec::new());
        let mut visit = |key: &[u8], row: &[u8]| {
            rows.push((key.to_vec(), row.to_vec()));
            ControlFlow::Continue(())
        };
        let snapshot = store.snapshot();
        snapshot.scan(family, keys::bounds(&range), Direction::Forward, &mut visit).unwrap();
        rows
    }

    #[test]
    fn a_store_of_format_2_gets_its_list_of_late_messages() {
        let kv = Arc::new(MemoryKv::default());
        let store = Store::over(kv.clone()).unwrap();
        write(&store, &[0, 90_000, 10, 20, 95_000, 30]);
        let expected = rows(&store, Family::Late);
        assert_eq!(expected.len(), 3);
        let mut batch = Batch::new();
        for (key, _) in &expected {
            batch.delete(Family::Late, key.clone());
        }
        batch.put(Family::Meta, keys::META_FORMAT.to_vec(), 2_u32.to_be_bytes().to_vec());
        store.kv().write(batch, Durability::Sync).unwrap();
        drop(store);
        let store = Store::over(kv).unwrap();
        assert_eq!(rows(&store, Family::Late), expected);
        assert_eq!(crate::check::verify(&store, |_| {}).unwrap(), []);
    }
}
