//! The file: `base` and `log`, and what moves records from one to the other.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use redb::{Builder, Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::entry::{Entry, EventKind};
use crate::error::StoreError;
use crate::record::Record;

/// Every write after the revision `folded`.
const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
/// The state at the revision `folded`: key → revision and record.
const BASE: TableDefinition<&str, (u64, &[u8])> = TableDefinition::new("base");
/// `folded`.
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const FOLDED: &str = "folded";
/// At most so many records are folded in one commit, so that no write waits long for it.
const FOLD_STEP: u64 = 512;

/// Bounds and sizes.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Writes kept as history at most.
    pub history_revisions: u64,
    /// How long a write is kept as history, in milliseconds.
    pub history_milliseconds: u64,
    /// Bytes redb may use for its cache.
    pub cache_bytes: usize,
    /// Events kept in memory for watches that resume.
    pub recent_events: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { history_revisions: 50_000, history_milliseconds: 3_600_000, cache_bytes: 2 << 20, recent_events: 1_024 }
    }
}

type Opener = Box<dyn Fn(&mut Builder) -> Result<Database, redb::DatabaseError> + Send + Sync>;

pub(crate) struct Disk {
    open: Opener,
    /// `None` after a failure, until it could be opened again.
    database: RwLock<Option<Database>>,
    folded: AtomicU64,
    pub(crate) options: Options,
}

/// What the file held when it was opened.
pub(crate) struct Loaded {
    pub(crate) revision: u64,
    pub(crate) map: BTreeMap<Arc<str>, Arc<Entry>>,
    pub(crate) recent_events: usize,
}

impl Disk {
    pub(crate) fn open(open: Opener, options: Options) -> Result<Self, StoreError> {
        let disk = Self { open, database: RwLock::new(None), folded: AtomicU64::new(0), options };
        disk.reopen()?;
        Ok(disk)
    }

    /// The revision that `base` stands at.
    pub(crate) fn folded(&self) -> u64 {
        self.folded.load(Ordering::Acquire)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.database.read().is_some()
    }

    /// Closes the file after a failed commit: redb serves nothing more from it.
    pub(crate) fn close(&self) {
        *self.database.write() = None;
    }

    pub(crate) fn reopen(&self) -> Result<(), StoreError> {
        let mut builder = Builder::new();
        builder.set_cache_size(self.options.cache_bytes);
        let database = (self.open)(&mut builder).map_err(redb::Error::from)?;
        let folded = prepare(&database)?;
        self.folded.store(folded, Ordering::Release);
        *self.database.write() = Some(database);
        Ok(())
    }

    /// Reads the whole state.
    pub(crate) fn load(&self) -> Result<Loaded, StoreError> {
        let mut map = BTreeMap::new();
        let mut revision = self.folded();
        self.read(|transaction| {
            let base = transaction.open_table(BASE)?;
            for row in base.iter()? {
                let (_, value) = row?;
                let (at, bytes) = value.value();
                let record = Record::decode(at, bytes)?;
                map.insert(record.entry.key.clone(), record.entry);
            }
            let log = transaction.open_table(LOG)?;
            for row in log.iter()? {
                let (at, bytes) = row?;
                revision = at.value();
                let record = Record::decode(revision, bytes.value())?;
                match record.kind {
                    EventKind::Put => map.insert(record.entry.key.clone(), record.entry),
                    EventKind::Delete => map.remove(&record.entry.key),
                };
            }
            Ok(())
        })?;
        Ok(Loaded { revision, map, recent_events: self.options.recent_events })
    }

    /// Stores a batch durably: when this returns, it survives a loss of power.
    pub(crate) fn commit(&self, batch: &[Record]) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut log = transaction.open_table(LOG)?;
            for record in batch {
                log.insert(record.entry.revision, record.encode().as_slice())?;
            }
            Ok(())
        })
    }

    /// The log records after `after` up to and with `until`, oldest first.
    pub(crate) fn log(&self, after: u64, until: u64, mut visit: impl FnMut(Record)) -> Result<(), StoreError> {
        self.read(|transaction| {
            let log = transaction.open_table(LOG)?;
            for row in log.range(after + 1..=until)? {
                let (at, bytes) = row?;
                visit(Record::decode(at.value(), bytes.value())?);
            }
            Ok(())
        })
    }

    /// The entry that the write `revision` gave `key`, wherever it lies by now.
    pub(crate) fn entry(&self, key: &str, revision: u64) -> Result<Option<Arc<Entry>>, StoreError> {
        let mut found = None;
        self.read(|transaction| {
            let log = transaction.open_table(LOG)?;
            if let Some(bytes) = log.get(revision)? {
                found = Some(Record::decode(revision, bytes.value())?.entry);
                return Ok(());
            }
            let base = transaction.open_table(BASE)?;
            if let Some(value) = base.get(key)? {
                let (at, bytes) = value.value();
                if at == revision {
                    found = Some(Record::decode(at, bytes)?.entry);
                }
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Folds what the bounds no longer keep, one step; `true` when there is more to fold.
    pub(crate) fn fold(&self, revision: u64, now: u64) -> Result<bool, StoreError> {
        let folded = self.folded();
        let mut target = revision.saturating_sub(self.options.history_revisions).max(folded);
        let aged = now.saturating_sub(self.options.history_milliseconds);
        self.read(|transaction| {
            let log = transaction.open_table(LOG)?;
            for row in log.range(target + 1..)? {
                let (at, bytes) = row?;
                if Record::decode(at.value(), bytes.value())?.time > aged || at.value() >= folded + FOLD_STEP {
                    break;
                }
                target = at.value();
            }
            Ok(())
        })?;
        let until = target.min(folded + FOLD_STEP);
        if until == folded {
            return Ok(false);
        }
        self.write(|transaction| {
            let mut log = transaction.open_table(LOG)?;
            let mut base = transaction.open_table(BASE)?;
            for at in folded + 1..=until {
                let Some(bytes) = log.remove(at)? else { continue };
                let record = Record::decode(at, bytes.value())?;
                match record.kind {
                    EventKind::Put => base.insert(&*record.entry.key, (at, bytes.value()))?,
                    EventKind::Delete => base.remove(&*record.entry.key)?,
                };
            }
            transaction.open_table(META)?.insert(FOLDED, until)?;
            Ok(())
        })?;
        self.folded.store(until, Ordering::Release);
        Ok(until < target)
    }

    fn read(&self, work: impl FnOnce(&redb::ReadTransaction) -> Result<(), Failure>) -> Result<(), StoreError> {
        let guard = self.database.read();
        let database = guard.as_ref().ok_or_else(closed)?;
        let transaction = database.begin_read().map_err(redb::Error::from)?;
        work(&transaction).map_err(|failure| failure.0)
    }

    fn write(&self, work: impl FnOnce(&redb::WriteTransaction) -> Result<(), Failure>) -> Result<(), StoreError> {
        let guard = self.database.read();
        let database = guard.as_ref().ok_or_else(closed)?;
        let transaction = database.begin_write().map_err(redb::Error::from)?;
        work(&transaction).map_err(|failure| failure.0)?;
        transaction.commit().map_err(redb::Error::from)?;
        Ok(())
    }
}

/// Makes the file if it is not there, whole or not at all: a loss of power while it is made leaves none.
pub(crate) fn create(path: &Path) -> Result<(), StoreError> {
    if path.exists() {
        return Ok(());
    }
    let io = |error: std::io::Error| StoreError::from(redb::Error::Io(error));
    let unfinished = path.with_extension("new");
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    let database = Builder::new().set_cache_size(1 << 16).create(&unfinished).map_err(redb::Error::from)?;
    prepare(&database)?;
    drop(database);
    std::fs::rename(&unfinished, path).map_err(io)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(io)
}

/// Makes the tables of a new file; returns `folded`.
fn prepare(database: &Database) -> Result<u64, StoreError> {
    let read = || -> Result<u64, Failure> {
        let transaction = database.begin_read()?;
        Ok(transaction.open_table(META)?.get(FOLDED)?.map_or(0, |value| value.value()))
    };
    if let Ok(folded) = read() {
        return Ok(folded);
    }
    let create = || -> Result<(), Failure> {
        let transaction = database.begin_write()?;
        transaction.open_table(LOG)?;
        transaction.open_table(BASE)?;
        transaction.open_table(META)?.insert(FOLDED, 0)?;
        transaction.commit()?;
        Ok(())
    };
    create().map_err(|failure| failure.0)?;
    Ok(0)
}

fn closed() -> StoreError {
    StoreError::from(redb::Error::DatabaseClosed)
}

/// Any of redb's errors, or ours, inside a transaction.
struct Failure(StoreError);

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self(error)
    }
}

macro_rules! failure_from {
    ($($error:ident),*) => {
        $(impl From<redb::$error> for Failure {
            fn from(error: redb::$error) -> Self {
                Self(StoreError::from(redb::Error::from(error)))
            }
        })*
    };
}
failure_from!(StorageError, TableError, TransactionError, CommitError);
