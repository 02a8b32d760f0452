//! The store on disk: RocksDB with the options that durability and small machines ask for.
//!
//! Blocks the calling thread. Every scan has explicit bounds: prefix iterators without an extractor
//! walk into the next channel.

use super::StoreError;
use super::kv::{Batch, Direction, Durability, Family, Figures, Kv, Snapshot, Visit};
use crate::disk::free_bytes;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::statistics::{StatsLevel, Ticker};
use rocksdb::{
    BlockBasedOptions, BottommostLevelCompaction, Cache, ColumnFamily, ColumnFamilyDescriptor,
    CompactOptions, DB, DBCompressionType, DBRecoveryMode, LogLevel, Options, ReadOptions,
    WriteBatch, WriteOptions,
};
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

/// Shared by all families, index and filter blocks inside: the relay's memory budget is 150 MB.
const BLOCK_CACHE_BYTES: usize = 32 << 20;
/// Sum over all families' memtables.
const MEMTABLES_BYTES: usize = 32 << 20;
const MEMTABLE_BUSY_BYTES: usize = 8 << 20;
const MEMTABLE_QUIET_BYTES: usize = 4 << 20;
/// Larger than the default 4 KiB: half the index blocks, and rows of one viewport lie together.
const BLOCK_BYTES: usize = 16 << 10;
/// One idle family would otherwise keep old logs for ever.
const WAL_BYTES: u64 = 64 << 20;
/// Sockets share the process's limit of open files.
const OPEN_FILES: i32 = 256;
/// Saved documents are large and rewritten whole: values from this size live apart.
const BLOB_BYTES: u64 = 8 << 10;
const BLOOM_BITS: f64 = 10.0;
/// What collects blobs of saved documents as they come, and what collects all of them at once.
const BLOB_GC_USUAL: [(&str, &str); 2] = [
    ("blob_garbage_collection_age_cutoff", "0.25"),
    ("blob_garbage_collection_force_threshold", "0.5"),
];
const BLOB_GC_ALL: [(&str, &str); 2] = [
    ("blob_garbage_collection_age_cutoff", "1.0"),
    ("blob_garbage_collection_force_threshold", "1.0"),
];
/// How long erased bytes wait for reads that began before they were erased.
const READERS_TIMEOUT: Duration = Duration::from_secs(60);
/// How often is looked whether those reads are over.
const READERS_POLL: Duration = Duration::from_millis(20);

/// How a database is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Opening {
    /// To read and write. A write-ahead log that is cut off at its end is taken up to there; one
    /// that is damaged before its end is refused.
    #[default]
    Usual,
    /// To read and write, and a write-ahead log that is damaged is taken up to the damage: what
    /// was acknowledged after it is lost. For an operator who knows that.
    UpToDamage,
    /// To read; nothing in the folder is changed.
    ReadOnly,
}

/// A RocksDB database.
pub struct RocksKv {
    db: DB,
    /// They hold the statistics.
    options: Options,
}

impl fmt::Debug for RocksKv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksKv").field("path", &self.db.path()).finish()
    }
}

impl RocksKv {
    /// Opens the database in `folder`, or makes it there.
    ///
    /// # Errors
    /// Another process has it open, or it cannot be read.
    pub fn open(folder: &Path, opening: Opening) -> Result<Self, StoreError> {
        Self::open_with(folder, opening, family_options)
    }

    /// A database whose files show what is in them, for tests that search them.
    #[cfg(test)]
    pub(crate) fn open_uncompressed(folder: &Path) -> Result<Self, StoreError> {
        Self::open_with(folder, Opening::Usual, |family, cache| {
            let mut options = family_options(family, cache);
            options.set_compression_type(DBCompressionType::None);
            options.set_bottommost_compression_type(DBCompressionType::None);
            options
        })
    }

    fn open_with(
        folder: &Path,
        opening: Opening,
        family_options: impl Fn(Family, &Cache) -> Options,
    ) -> Result<Self, StoreError> {
        let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
        let families = Family::ALL.map(|family| {
            ColumnFamilyDescriptor::new(family.name(), family_options(family, &cache))
        });
        let mut options = database_options();
        let db = match opening {
            Opening::Usual => DB::open_cf_descriptors(&options, folder, families),
            Opening::UpToDamage => {
                options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
                // Log files that lie behind the damaged one are dropped as well.
                options.set_track_and_verify_wals_in_manifest(false);
                DB::open_cf_descriptors(&options, folder, families)
            }
            Opening::ReadOnly => {
                DB::open_cf_descriptors_read_only(&options, folder, families, false)
            }
        };
        let db = db.map_err(|error| StoreError::opening(folder, error))?;
        Ok(Self { db, options })
    }

    /// The sum of a property over all families; what has none counts nothing.
    fn sum(&self, property: &rocksdb::properties::PropName) -> u64 {
        let of =
            |family| self.family(family).ok().map(|of| self.db.property_int_value_cf(of, property));
        Family::ALL.into_iter().filter_map(of).filter_map(Result::ok).flatten().sum()
    }

    fn family(&self, family: Family) -> Result<&ColumnFamily, StoreError> {
        self.db.cf_handle(family.name()).ok_or(StoreError::NoFamily(family.name()))
    }

    /// How often flushes and compactions failed.
    fn background_errors(&self) -> Result<u64, StoreError> {
        let errors = self.db.property_int_value(rocksdb::properties::BACKGROUND_ERRORS)?;
        Ok(errors.unwrap_or(0))
    }

    /// The place in the order of writes that the oldest snapshot in use is of.
    fn oldest_reader(&self) -> Result<Option<u64>, StoreError> {
        let oldest = self.db.property_int_value("rocksdb.oldest-snapshot-sequence")?;
        Ok(oldest.filter(|sequence| *sequence > 0))
    }
}

fn database_options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_db_write_buffer_size(MEMTABLES_BYTES);
    options.set_max_total_wal_size(WAL_BYTES);
    options.set_max_background_jobs(2);
    options.set_max_open_files(OPEN_FILES);
    options.set_bytes_per_sync(1 << 20);
    options.set_avoid_unnecessary_blocking_io(true);
    options.set_keep_log_file_num(3);
    options.set_log_level(LogLevel::Warn);
    // Counters only: for how long writes stalled.
    options.enable_statistics();
    options.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
    options
}

/// Whether large values of a family live apart.
const fn has_blobs(family: Family) -> bool {
    matches!(family, Family::Docs | Family::Blobs)
}

fn family_options(family: Family, cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_block_size(BLOCK_BYTES);
    table.set_bloom_filter(BLOOM_BITS, false);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_bottommost_compression_type(DBCompressionType::Zstd);
    options.set_level_compaction_dynamic_level_bytes(true);
    let busy = matches!(family, Family::Log | Family::Index | Family::Members | Family::Docs);
    options.set_write_buffer_size(if busy { MEMTABLE_BUSY_BYTES } else { MEMTABLE_QUIET_BYTES });
    if has_blobs(family) {
        // Both are compressed already (Automerge deflates, attachments are media).
        options.set_compression_type(DBCompressionType::None);
        options.set_bottommost_compression_type(DBCompressionType::None);
        options.set_enable_blob_files(true);
        options.set_min_blob_size(BLOB_BYTES);
        options.set_enable_blob_gc(true);
        options.set_blob_gc_age_cutoff(0.25);
        options.set_blob_gc_force_threshold(0.5);
    }
    options
}

impl Kv for RocksKv {
    fn write(&self, batch: Batch, durability: Durability) -> Result<(), StoreError> {
        let mut rows = WriteBatch::with_capacity_bytes(batch.bytes() + 64);
        for (family, key, value) in batch.into_ops() {
            let family = self.family(family)?;
            match value {
                Some(value) => rows.put_cf(family, key, value),
                None => rows.delete_cf(family, key),
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(durability == Durability::Sync);
        options.set_memtable_insert_hint_per_batch(true);
        Ok(self.db.write_opt(rows, &options)?)
    }

    fn checkpoint(&self, folder: &Path) -> Result<(), StoreError> {
        Ok(Checkpoint::new(&self.db)?.create_checkpoint(folder)?)
    }

    fn purge(&self, ranges: &[(Family, Range<Vec<u8>>)]) -> Result<(), StoreError> {
        // A read that began before may still see what was deleted, so it would be kept for it.
        let erased_at = self.db.latest_sequence_number();
        let until = Instant::now() + READERS_TIMEOUT;
        while self.oldest_reader()?.is_some_and(|sequence| sequence < erased_at) {
            if Instant::now() >= until {
                return Err(StoreError::Readers);
            }
            std::thread::sleep(READERS_POLL);
        }
        // The write-ahead log holds what is in no table: it is deleted when all families have theirs.
        for family in Family::ALL {
            self.db.flush_cf(self.family(family)?)?;
        }
        let errors = self.background_errors()?;
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        options.set_exclusive_manual_compaction(true);
        for (family, range) in ranges {
            let has_blobs = has_blobs(*family);
            let family = self.family(*family)?;
            if has_blobs {
                // A blob file goes when nothing in it is used: what is used has to move.
                self.db.set_options_cf(family, &BLOB_GC_ALL)?;
                self.db.compact_range_cf_opt(family, None::<&[u8]>, None::<&[u8]>, &options);
                self.db.set_options_cf(family, &BLOB_GC_USUAL)?;
            } else {
                let (start, end) = (Some(&range.start), Some(&range.end));
                self.db.compact_range_cf_opt(family, start, end, &options);
            }
        }
        // A compaction tells of its failure in no other way.
        if self.background_errors()? > errors {
            return Err(StoreError::Rewriting);
        }
        // Files that nothing needs any more are deleted in the background: wait for that.
        self.db.disable_file_deletions()?;
        Ok(self.db.enable_file_deletions()?)
    }

    fn figures(&self) -> Figures {
        use rocksdb::properties;
        let mut figures = Figures {
            memtable_bytes: self.sum(properties::SIZE_ALL_MEM_TABLES),
            pending_compaction_bytes: self.sum(properties::ESTIMATE_PENDING_COMPACTION_BYTES),
            sst_bytes: self.sum(properties::TOTAL_SST_FILES_SIZE),
            // One cache for all families.
            cache_bytes: self
                .db
                .property_int_value(properties::BLOCK_CACHE_USAGE)
                .ok()
                .flatten()
                .unwrap_or(0),
            stall_us: self.options.get_ticker_count(Ticker::StallMicros),
            ..Figures::default()
        };
        figures.free_bytes = free_bytes(self.db.path());
        // A folder that cannot be listed has no figures.
        for entry in std::fs::read_dir(self.db.path()).into_iter().flatten().flatten() {
            let bytes = entry.metadata().map_or(0, |metadata| metadata.len());
            figures.files_bytes += bytes;
            match entry.path().extension().and_then(|extension| extension.to_str()) {
                Some("log") => figures.wal_bytes += bytes,
                Some("blob") => figures.blob_bytes += bytes,
                _ => {}
            }
        }
        figures
    }

    fn snapshot(&self) -> Box<dyn Snapshot + '_> {
        Box::new(RocksSnapshot { kv: self, snapshot: self.db.snapshot() })
    }
}

struct RocksSnapshot<'a> {
    kv: &'a RocksKv,
    snapshot: rocksdb::Snapshot<'a>,
}

impl Snapshot for RocksSnapshot<'_> {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let row = self.snapshot.get_cf(self.kv.family(family)?, key);
        row.map_err(|source| StoreError::reading(family, source))
    }

    fn scan(
        &self,
        family: Family,
        range: Range<&[u8]>,
        direction: Direction,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        if range.start >= range.end {
            return Ok(());
        }
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(range.start);
        options.set_iterate_upper_bound(range.end);
        options.set_total_order_seek(true);
        let mut rows = self.snapshot.raw_iterator_cf_opt(self.kv.family(family)?, options);
        match direction {
            Direction::Forward => rows.seek_to_first(),
            Direction::Reverse => rows.seek_to_last(),
        }
        while let Some((key, value)) = rows.item() {
            if visit(key, value).is_break() {
                break;
            }
            match direction {
                Direction::Forward => rows.next(),
                Direction::Reverse => rows.prev(),
            }
        }
        // An iterator that failed looks like one that ended.
        rows.status().map_err(|source| StoreError::reading(family, source))
    }
}
