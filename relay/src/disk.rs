//! Free space of the disk under the data folder: below a reserve the relay takes no more writes.
//!
//! RocksDB takes no writes any more after one has failed, and compaction needs room too. So the
//! relay stops before the disk is full: reads go on, writes are told to come again, and once there is
//! room they are taken, without a restart.

use metrics::gauge;
use rustix::fs::statvfs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::watch;

/// Between two looks at the disk: at 100 MB/s a tenth of the default reserve.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Whether there is room to write.
#[derive(Clone, Debug)]
pub struct DiskRoom(watch::Receiver<bool>);

impl DiskRoom {
    /// Room without end, as in memory.
    #[must_use]
    pub fn endless() -> Self {
        // A receiver keeps its last value when the sender is gone.
        Self(watch::channel(true).1)
    }

    /// Watches the disk under `folder` in a task, until nobody asks any more. There is room as long
    /// as more than `reserve_bytes` are free.
    #[must_use]
    pub fn watch(folder: &Path, reserve_bytes: u64) -> Self {
        let folder = folder.to_owned();
        let (sender, receiver) = watch::channel(has_room(&folder, reserve_bytes));
        tokio::spawn(look(folder, reserve_bytes, sender));
        Self(receiver)
    }

    /// Whether there is room now.
    #[must_use]
    pub fn is_there(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until there is room, at most for `patience`; whether there is.
    pub async fn wait(&self, patience: Duration) -> bool {
        if self.is_there() {
            // The usual case takes no timer.
            return true;
        }
        let mut room = self.0.clone();
        let waited = tokio::time::timeout(patience, room.wait_for(|is_there| *is_there)).await;
        waited.is_ok_and(|room| room.is_ok())
    }
}

async fn look(folder: PathBuf, reserve_bytes: u64, sender: watch::Sender<bool>) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            () = sender.closed() => return,
            _ = tick.tick() => {}
        }
        let folder = folder.clone();
        // A disk on the network may hang.
        let room = tokio::task::spawn_blocking(move || has_room(&folder, reserve_bytes)).await;
        let Ok(room) = room else { return };
        let changed = sender.send_if_modified(|before| std::mem::replace(before, room) != room);
        match (changed, room) {
            (true, false) => tracing::error!(reserve_bytes, "the disk is full: writes must wait"),
            (true, true) => tracing::info!("the disk has room again"),
            (false, _) => {}
        }
    }
}

/// What the disk under a folder has free for others than root, if it can tell.
pub(crate) fn free_bytes(folder: &Path) -> Option<u64> {
    let disk = statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Whether more than the reserve is free. A disk that cannot tell is one that writes will tell of.
fn has_room(folder: &Path, reserve_bytes: u64) -> bool {
    let Some(free) = free_bytes(folder) else { return true };
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    gauge!("backscroll_disk_free_bytes").set(free as f64);
    free > reserve_bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reserve_larger_than_the_disk_leaves_no_room() {
        let folder = tempfile::tempdir().unwrap();
        assert!(DiskRoom::watch(folder.path(), 0).is_there());
        let full = DiskRoom::watch(folder.path(), u64::MAX);
        assert!(!full.is_there());
        assert!(!full.wait(Duration::ZERO).await);
        assert!(DiskRoom::endless().wait(Duration::ZERO).await);
    }
}
