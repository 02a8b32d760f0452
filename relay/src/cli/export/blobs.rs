//! The attachments that a channel's messages name, as files, each under its hash.

use super::super::row::Row;
use super::{Failure, cannot_write, output};
use backscroll_relay::blob_hash::BlobHash;
use backscroll_relay::reader::View;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

/// Writes the files; how many the relay does not have, or not as they are called.
///
/// # Complexity
/// O(messages + bytes of attachments); memory holds the hashes and one part.
pub(super) fn write_blobs(view: &View<'_>, channel: &str, folder: &Path) -> Result<u64, Failure> {
    fs::create_dir_all(folder).map_err(|source| cannot_write(folder, source))?;
    let mut hashes = BTreeSet::new();
    view.each_message(channel, None, |row| {
        let row = Row::current(channel, row.id, &row.content, &row.annotations);
        // One that is elsewhere has no hash.
        let named = row.attachments().iter().filter_map(|attachment| attachment.sha256.as_ref());
        hashes.extend(named.filter_map(|hash| hash.parse::<BlobHash>().ok()));
        ControlFlow::Continue(())
    })?;
    let mut missing = 0;
    for hash in hashes {
        if !write_blob(view, hash, &folder.join(hash.to_string()))? {
            missing += 1;
            output::log(&format!("attachment {hash}: the relay does not have it"));
        }
    }
    Ok(missing)
}

/// Writes a file part by part; false, and no file, if it is not what it is called.
fn write_blob(view: &View<'_>, hash: BlobHash, path: &Path) -> Result<bool, Failure> {
    match view.blob(&hash.0) {
        Ok(Some(_)) => {}
        Ok(None) => return Ok(false),
        // The others are exported all the same.
        Err(error) if error.is_damage() => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    let failed = |source| cannot_write(path, source);
    let (mut file, mut digest) = (File::create(path).map_err(failed)?, Sha256::new());
    for part in 0.. {
        let Some(bytes) = view.blob_part(&hash.0, part)? else { break };
        digest.update(&bytes);
        file.write_all(&bytes).map_err(failed)?;
    }
    let is_it = <[u8; 32]>::from(digest.finalize()) == hash.0;
    if !is_it {
        fs::remove_file(path).map_err(failed)?;
    }
    Ok(is_it)
}
