//! Attachments: each one's bytes against its hash, and what is counted for those who stored them.

use super::Problem;
use crate::blob_hash::BlobHash;
use crate::limits::{BLOB_PART_BYTES, PROBLEMS_MAX};
use crate::reader::ReadError;
use crate::store::keys::{self, KeyRange, bounds};
use crate::store::kv::{Direction, Family, Snapshot};
use crate::store::rows::{BlobReservedRow, BlobRow, BlobUsageRow, Row};
use crate::store::{Store, StoreError};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// What there is of attachments.
#[derive(Debug, Default)]
pub(crate) struct Attachments {
    /// Bytes of those that are whole or being stored, by who stores them.
    stored: BTreeMap<String, u64>,
    /// Bytes of those whose rows, of an earlier format, do not say who stored them.
    unclaimed: u64,
    /// What is counted; none where the row is damaged.
    counted: BTreeMap<String, Option<u64>>,
    /// Those that are not what they are called, with what is wrong.
    pub(crate) bad: Vec<(BlobHash, String)>,
}

impl Attachments {
    /// Looks at all of them. `progress` is told how many parts were read.
    pub(crate) fn look(
        rows: &dyn Snapshot,
        mut progress: impl FnMut(u64),
    ) -> Result<Self, StoreError> {
        let (mut this, mut read) = (Self::default(), 0);
        for (hash, row) in entries(rows, keys::blobs())? {
            let Ok(row) = BlobRow::decode(&row) else {
                this.bad.push((hash, "its row is damaged".to_owned()));
                continue;
            };
            if let Some(what) = look_at_parts(rows, hash, row.bytes, &mut read)? {
                this.bad.push((hash, what));
                continue;
            }
            match row.user {
                Some(user) => *this.stored.entry(user).or_default() += row.bytes,
                None => this.unclaimed += row.bytes,
            }
            progress(read);
        }
        // One that is being stored when the process ends is taken back when the next begins.
        for (hash, row) in entries(rows, keys::blobs_reserved())? {
            match BlobReservedRow::decode(&row) {
                Ok(row) => *this.stored.entry(row.user).or_default() += row.bytes,
                Err(_) => this.bad.push((hash, "what is reserved for it is damaged".to_owned())),
            }
        }
        this.look_for_strays(rows)?;
        let range = keys::blob_usages();
        rows.scan(Family::Blobs, bounds(&range), Direction::Forward, &mut |key, row| {
            let user = String::from_utf8_lossy(key.get(1..).unwrap_or_default()).into_owned();
            let bytes = BlobUsageRow::decode(row).ok().map(|row| row.bytes);
            this.counted.insert(user, bytes);
            ControlFlow::Continue(())
        })?;
        Ok(this)
    }

    /// Parts of no attachment.
    fn look_for_strays(&mut self, rows: &dyn Snapshot) -> Result<(), StoreError> {
        let mut range = keys::blob_parts();
        loop {
            let mut next = None;
            rows.scan(Family::Blobs, bounds(&range), Direction::Forward, &mut |key, _| {
                next = keys::sha256_of(key);
                ControlFlow::Break(())
            })?;
            let Some(sha256) = next else { return Ok(()) };
            let is_there =
                |key: Vec<u8>| Ok::<_, StoreError>(rows.get(Family::Blobs, &key)?.is_some());
            if !is_there(keys::blob(&sha256))? && !is_there(keys::blob_reserved(&sha256))? {
                self.bad.push((BlobHash(sha256), "its row is missing".to_owned()));
            }
            range.start = keys::parts_of(&sha256).end;
        }
    }

    /// Who has something else counted than is stored, with what it should be.
    pub(crate) fn miscounted(&self) -> BTreeMap<&str, u64> {
        let users = self.stored.keys().chain(self.counted.keys());
        let wrong = users.filter_map(|user| {
            let stored = self.stored.get(user).copied().unwrap_or(0);
            // Of what nobody claims any part may be theirs.
            let most = stored.saturating_add(self.unclaimed);
            let counted = match self.counted.get(user) {
                None => Some(0),
                Some(counted) => *counted,
            };
            match counted {
                Some(counted) if (stored..=most).contains(&counted) => None,
                Some(counted) if counted > most => Some((user.as_str(), most)),
                _ => Some((user.as_str(), stored)),
            }
        });
        wrong.collect()
    }

    fn problems(&self) -> Vec<Problem> {
        let bad = self.bad.iter().map(|(hash, what)| format!("attachment {hash}: {what}"));
        let miscounted = self.miscounted().into_iter().map(|(user, stored)| {
            let counted = self.counted.get(user).copied().unwrap_or(Some(0));
            let counted = counted.map_or("a damaged row".to_owned(), |bytes| bytes.to_string());
            format!("attachments of {user}: {counted} bytes are counted, {stored} are stored")
        });
        let problem = |what| Problem { channel: String::new(), what };
        bad.chain(miscounted).take(PROBLEMS_MAX).map(problem).collect()
    }
}

/// Verifies that attachments are whole and what they are called, and that quotas count them.
/// `progress` is told how many of their parts were read.
///
/// # Errors
/// The store cannot be read at all; damaged rows are problems, not errors.
///
/// # Complexity
/// O(bytes of all attachments).
pub fn verify_attachments(
    store: &Store,
    progress: impl FnMut(u64),
) -> Result<Vec<Problem>, ReadError> {
    Ok(Attachments::look(&*store.snapshot(), progress)?.problems())
}

/// What is wrong with the parts of an attachment.
fn look_at_parts(
    rows: &dyn Snapshot,
    hash: BlobHash,
    bytes: u64,
    read: &mut u64,
) -> Result<Option<String>, StoreError> {
    let (mut digest, mut left, mut what) = (Sha256::new(), bytes, None);
    let range = keys::parts_of(&hash.0);
    let mut parts = 0_u32..;
    rows.scan(Family::Blobs, bounds(&range), Direction::Forward, &mut |key, part| {
        *read += 1;
        let expected = parts.next().map(|part| keys::blob_part(&hash.0, part));
        let len = part.len() as u64;
        if expected.as_deref() != Some(key) || len != left.min(BLOB_PART_BYTES as u64) || len == 0 {
            what = Some("its parts are not those of its length".to_owned());
            return ControlFlow::Break(());
        }
        digest.update(part);
        left -= len;
        ControlFlow::Continue(())
    })?;
    if what.is_none() && left > 0 {
        what = Some(format!("{left} of its {bytes} bytes are missing"));
    }
    if what.is_none() && <[u8; 32]>::from(digest.finalize()) != hash.0 {
        what = Some("its bytes are others than its hash says".to_owned());
    }
    Ok(what)
}

/// The rows of a range by the hashes in their keys: about 150 bytes in memory for each attachment.
fn entries(rows: &dyn Snapshot, range: KeyRange) -> Result<Vec<(BlobHash, Vec<u8>)>, StoreError> {
    let mut found = Vec::new();
    rows.scan(Family::Blobs, bounds(&range), Direction::Forward, &mut |key, row| {
        found.extend(keys::sha256_of(key).map(|sha256| (BlobHash(sha256), row.to_vec())));
        ControlFlow::Continue(())
    })?;
    Ok(found)
}
