//! A copy is whole, in place or not there, and a restored store begins another epoch.

use super::*;
use crate::bulk::Import;
use backscroll_core::message::{Content, MessageId};
use std::os::unix::fs::MetadataExt;

const T0: u64 = 1_700_000_000_000;

/// A store with some messages, closed.
fn data(folder: &Path) -> PathBuf {
    let data = folder.join("data");
    let store = Store::open(&data).unwrap();
    add(&store, 0..3_000);
    data
}

fn add(store: &Store, numbers: std::ops::Range<u64>) {
    let mut import = Import::begin(store, "c", T0 * 2).unwrap();
    for i in numbers {
        let body = Content::text("ada", &format!("number {i}")).to_body().unwrap();
        import.add(MessageId::from_parts(T0 + i * 1_000, 1), body).unwrap();
    }
    import.finish().unwrap();
}

fn back_up(data: &Path, to: &Path) -> Result<Vec<Step>, BackupError> {
    let store = Store::open_existing(data)?;
    let checkpoint = Checkpoint::make(&store, data)?;
    let mut steps = Vec::new();
    copy(checkpoint.folder(), to, |step| steps.push(step))?;
    Ok(steps)
}

fn names(folder: &Path) -> Vec<String> {
    let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(name).collect();
    names.sort_unstable();
    names
}

#[test]
fn a_backup_is_restored_under_another_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let to = folder.path().join("backups/monday");
    let steps = back_up(&data, &to).unwrap();
    let is_whole = |step: &Step| matches!(step, Step::Copying { done, of } if done == of);
    assert!(steps.iter().any(is_whole), "{steps:?}");
    assert_eq!(names(&folder.path().join("backups")), ["monday"], "nothing beside it is left");
    assert!(names(&data).iter().all(|name| !name.starts_with(CHECKPOINT_PREFIX)));
    let restored = folder.path().join("restored");
    // As a package or a container makes it.
    fs::create_dir(&restored).unwrap();
    let made = fs::metadata(&restored).unwrap().ino();
    let epoch = restore(&to, &restored, |_| {}).unwrap();
    let (before, after) = (Store::open(&data).unwrap(), Store::open(&restored).unwrap());
    assert_eq!(fs::metadata(&restored).unwrap().ino(), made, "what is mounted there stays");
    assert!(names(&restored).iter().all(|name| name != RESTORING));
    assert_eq!(after.epoch(), epoch);
    assert_ne!(before.epoch(), epoch);
    assert_eq!(Store::open_read_only(&to).unwrap().epoch(), before.epoch(), "the backup stays");
    assert_eq!(check::verify(&after, |_| {}).unwrap(), []);
    assert_eq!(check::quick(&after, |_| {}).unwrap(), []);
}

#[test]
fn a_restore_that_was_cut_off_anywhere_is_no_store_and_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let to = folder.path().join("to");
    back_up(&data, &to).unwrap();
    let mut files = names(&to);
    files.sort_by_key(|name| name == LAST);
    let restored = folder.path().join("restored");
    let restoring = restored.join(RESTORING);
    // So many are copied; or all are, and so many have moved up.
    let copied = (0..=files.len()).map(|copied| (copied, 0));
    let moved = (1..files.len()).map(|moved| (files.len(), moved));
    for (copied, moved) in copied.chain(moved) {
        fs::create_dir_all(&restoring).unwrap();
        for (at, name) in files.iter().take(copied).enumerate() {
            let into = if at < moved { &restored } else { &restoring };
            fs::copy(to.join(name), into.join(name)).unwrap();
        }
        let refused = Store::open(&restored).unwrap_err();
        assert!(matches!(refused, StoreError::Restoring(_)), "{copied} {moved}: {refused:?}");
        assert!(matches!(Store::open_existing(&restored), Err(StoreError::Restoring(_))));
        restore(&to, &restored, |_| {}).unwrap();
        let store = Store::open(&restored).unwrap();
        assert_eq!(check::quick(&store, |_| {}).unwrap(), [], "{copied} {moved}");
        assert!(!restoring.exists());
        drop(store);
        fs::remove_dir_all(&restored).unwrap();
    }
    // Cut off when all is done, it is a store, and no restore may begin anew.
    restore(&to, &restored, |_| {}).unwrap();
    fs::create_dir(&restoring).unwrap();
    let epoch = Store::open(&restored).unwrap().epoch();
    assert!(matches!(restore(&to, &restored, |_| {}), Err(BackupError::Exists(_))));
    assert_eq!(Store::open(&restored).unwrap().epoch(), epoch);
    remove_stale_checkpoints(&restored);
    assert!(!restoring.exists());
}

#[test]
fn a_restore_that_begins_anew_removes_nothing_but_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let restored = folder.path().join("restored");
    fs::create_dir_all(restored.join(RESTORING)).unwrap();
    fs::write(restored.join("000012.sst"), "cut off").unwrap();
    // The only disk there is may be the one that is restored to.
    let inside = restored.join("backup");
    back_up(&data, &inside).unwrap();
    assert!(matches!(restore(&inside, &restored, |_| {}), Err(BackupError::Inside { .. })));
    let to = folder.path().join("to");
    fs::rename(&inside, &to).unwrap();
    // A folder with this name may be anybody's.
    fs::create_dir(restored.join("of somebody")).unwrap();
    assert!(matches!(restore(&to, &restored, |_| {}), Err(BackupError::Exists(_))));
    assert_eq!(names(&restored), ["000012.sst", "of somebody", RESTORING]);
    fs::remove_dir(restored.join("of somebody")).unwrap();
    restore(&to, &restored, |_| {}).unwrap();
}

#[test]
fn one_restore_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let to = folder.path().join("to");
    back_up(&data, &to).unwrap();
    let restored = folder.path().join("restored");
    let first = Restoring::begin(&restored).unwrap();
    fs::write(first.folder.join("of the first"), "").unwrap();
    assert!(matches!(restore(&to, &restored, |_| {}), Err(BackupError::UnderWay(_))));
    assert!(first.folder.join("of the first").exists());
    drop(first);
    assert!(!restored.exists(), "it was made for it");
    restore(&to, &restored, |_| {}).unwrap();
}

#[test]
fn what_is_there_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let to = folder.path().join("to");
    back_up(&data, &to).unwrap();
    assert!(matches!(back_up(&data, &to), Err(BackupError::Exists(_))));
    assert!(matches!(restore(&to, &data, |_| {}), Err(BackupError::Exists(_))));
    let none = folder.path().join("none");
    assert!(matches!(
        restore(&none, &folder.path().join("new"), |_| {}),
        Err(BackupError::Store(StoreError::Missing(_)))
    ));
}

#[test]
fn a_damaged_copy_is_not_put_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let to = folder.path().join("to");
    back_up(&data, &to).unwrap();
    let tables: Vec<_> = names(&to).into_iter().filter(|name| name.ends_with(".sst")).collect();
    assert!(!tables.is_empty());
    for table in tables {
        let bad = folder.path().join("bad");
        fs::create_dir(&bad).unwrap();
        for name in names(&to) {
            fs::copy(to.join(&name), bad.join(&name)).unwrap();
        }
        let mut bytes = fs::read(bad.join(&table)).unwrap();
        bytes[10] ^= 1;
        fs::write(bad.join(&table), bytes).unwrap();
        let restored = folder.path().join("restored");
        assert!(restore(&bad, &restored, |_| {}).is_err(), "{table}");
        assert!(!restored.exists());
        fs::create_dir(&restored).unwrap();
        assert!(restore(&bad, &restored, |_| {}).is_err(), "{table}");
        assert!(names(&restored).is_empty());
        fs::remove_dir(&restored).unwrap();
        fs::remove_dir_all(&bad).unwrap();
    }
    assert_eq!(names(folder.path()), ["data", "to"], "nothing is left of the attempts");
}

#[test]
fn checkpoints_of_a_killed_process_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let store = Store::open(&data).unwrap();
    std::mem::forget(Checkpoint::make(&store, &data).unwrap());
    let is_left = || names(&data).iter().any(|name| name.starts_with(CHECKPOINT_PREFIX));
    assert!(is_left());
    remove_stale_checkpoints(&data);
    assert!(!is_left());
    add(&store, 3_000..3_010);
    assert_eq!(check::quick(&store, |_| {}).unwrap(), []);
}
