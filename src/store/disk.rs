//! The files: `journal`, then the tables `log` and `base`, and what moves records from one to the next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use redb::{Builder, Database, ReadableDatabase, ReadableTable};

use crate::entry::{Entry, EventKind};
use crate::error::StoreError;
use crate::journal::{self, Journal, Opener};
use crate::record::Record;
use crate::tables::{self, BASE, FOLDED, Failure, LOG, META, guarded};

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
    /// Size of the journal in bytes: how much is made durable before it moves to the tables.
    pub journal_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            history_revisions: 50_000,
            history_milliseconds: 3_600_000,
            cache_bytes: 2 << 20,
            recent_events: 1_024,
            journal_bytes: 1 << 20,
        }
    }
}

pub(crate) struct Disk {
    open: Opener,
    /// `None` after a failure, until it could be opened again.
    database: RwLock<Option<Database>>,
    /// As `database`.
    journal: Mutex<Option<Journal>>,
    /// What the journal holds and the tables do not.
    pending: RwLock<Vec<Record>>,
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
        let (database, journal) = (RwLock::new(None), Mutex::new(None));
        let disk = Self { open, database, journal, pending: RwLock::default(), folded: AtomicU64::new(0), options };
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

    /// Closes the files after a failed commit: redb serves nothing more from its own.
    pub(crate) fn close(&self) {
        *self.journal.lock() = None;
        let database = self.database.write().take();
        let closed = guarded(|| {
            drop(database);
            Ok(())
        });
        if let Err(error) = closed {
            tracing::error!(%error, "the store was not closed properly");
        }
    }

    /// Closes the files for good. What the journal has alone moves to the tables first, so that the next start finds all of it
    /// under redb's own checksums.
    pub(crate) fn finish(&self) {
        if self.is_open()
            && !self.pending.read().is_empty()
            && let Err(error) = self.settle(&[])
        {
            tracing::error!(%error, "the journal was not emptied; the next start reads it");
        }
        self.close();
    }

    /// Opens the files; what the journal has alone moves to the tables. Returns the last revision.
    pub(crate) fn reopen(&self) -> Result<u64, StoreError> {
        guarded(|| self.try_reopen()).inspect_err(|_| self.close())
    }

    fn try_reopen(&self) -> Result<u64, StoreError> {
        let mut builder = Builder::new();
        builder.set_cache_size(self.options.cache_bytes);
        let (database, file) = (self.open)(&mut builder)?;
        let tables = tables::standing(&database)?;
        let journal = Journal::open(file, self.options.journal_bytes, tables.journal)?;
        if journal.size() > tables.journal {
            tables::promise(&database, journal.size())?;
        }
        let mut left = self.pending.read().clone();
        left.retain(|record| record.entry.revision > tables.last);
        left.extend(journal.read(left.last().map_or(tables.last, |record| record.entry.revision))?);
        if let Some(first) = left.first().filter(|first| first.entry.revision != tables.last + 1) {
            let what = format!("the tables end at revision {}, what comes next begins at {}", tables.last, first.entry.revision);
            return Err(StoreError::Damaged { what });
        }
        let last = left.last().map_or(tables.last, |record| record.entry.revision);
        let moves = !left.is_empty();
        *self.pending.write() = left;
        self.folded.store(tables.folded, Ordering::Release);
        *self.database.write() = Some(database);
        *self.journal.lock() = Some(journal);
        if moves {
            self.settle(&[])?;
        }
        Ok(last)
    }

    /// Reads the whole state.
    pub(crate) fn load(&self) -> Result<Loaded, StoreError> {
        let mut map = BTreeMap::new();
        let mut revision = self.folded();
        self.read(|transaction| {
            let base = transaction.open_table(BASE)?;
            for row in base.iter()? {
                let (key, value) = row?;
                let (at, bytes) = value.value();
                let record = Record::decode(at, bytes)?;
                if at > revision || *record.entry.key != *key.value() || record.kind != EventKind::Put {
                    let what = format!("{} is said to be of revision {at}, where history begins at {revision}", key.value());
                    return Err(StoreError::Damaged { what }.into());
                }
                map.insert(record.entry.key.clone(), record.entry);
            }
            let log = transaction.open_table(LOG)?;
            for row in log.iter()? {
                let (at, bytes) = row?;
                if at.value() != revision + 1 {
                    let what = format!("after revision {revision} comes {}", at.value());
                    return Err(StoreError::Damaged { what }.into());
                }
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

    /// Whether a commit of about so many bytes is one short write.
    pub(crate) fn is_quick(&self, bytes: usize) -> bool {
        self.journal.lock().as_ref().is_some_and(|journal| journal.has_room(bytes))
    }

    /// Stores a batch durably: when this returns, it survives a loss of power.
    pub(crate) fn commit(&self, batch: &[Record]) -> Result<(), StoreError> {
        let frame = journal::frame(batch);
        let mut journal = self.journal.lock();
        let open = journal.as_mut().ok_or_else(closed)?;
        if !open.has_room(frame.len()) {
            drop(journal);
            return self.settle(batch);
        }
        guarded(|| Ok(open.append(&frame).map_err(redb::Error::Io)?))?;
        self.pending.write().extend_from_slice(batch);
        Ok(())
    }

    /// Moves what the journal has alone to the tables, and a batch that comes after it.
    fn settle(&self, batch: &[Record]) -> Result<(), StoreError> {
        let pending = self.pending.read().clone();
        self.write(|transaction| {
            let mut log = transaction.open_table(LOG)?;
            let mut bytes = Vec::new();
            for record in pending.iter().chain(batch) {
                bytes.clear();
                record.encode(&mut bytes);
                log.insert(record.entry.revision, bytes.as_slice())?;
            }
            Ok(())
        })?;
        self.pending.write().clear();
        if let Some(journal) = self.journal.lock().as_mut() {
            journal.restart();
        }
        Ok(())
    }

    /// The log records after `after` up to and with `until`, oldest first.
    pub(crate) fn log(&self, after: u64, until: u64, mut visit: impl FnMut(Record)) -> Result<(), StoreError> {
        // before the tables: what moves meanwhile is then seen here
        let wanted = |record: &&Record| (after + 1..=until).contains(&record.entry.revision);
        let pending: Vec<_> = self.pending.read().iter().filter(wanted).cloned().collect();
        let moved = pending.first().map_or(until, |record| record.entry.revision - 1);
        self.read(|transaction| {
            let log = transaction.open_table(LOG)?;
            for row in log.range(after + 1..=moved)? {
                let (at, bytes) = row?;
                visit(Record::decode(at.value(), bytes.value())?);
            }
            Ok(())
        })?;
        pending.into_iter().for_each(visit);
        Ok(())
    }

    /// The entry that the write `revision` gave `key`, wherever it lies by now.
    pub(crate) fn entry(&self, key: &str, revision: u64) -> Result<Option<Arc<Entry>>, StoreError> {
        let mut found = self.pending.read().iter().find(|record| record.entry.revision == revision).map(|record| record.entry.clone());
        if found.is_some() {
            return Ok(found);
        }
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
        // what goes is in the tables: many more writes than the journal holds are kept, or it moves now
        let first = self.pending.read().first().map(|record| record.entry.revision);
        if first.is_some_and(|first| first <= revision.saturating_sub(self.options.history_revisions)) {
            self.settle(&[])?;
        }
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
        guarded(|| {
            let transaction = database.begin_read().map_err(redb::Error::from)?;
            work(&transaction).map_err(|failure| failure.0)
        })
    }

    fn write(&self, work: impl FnOnce(&redb::WriteTransaction) -> Result<(), Failure>) -> Result<(), StoreError> {
        let guard = self.database.read();
        let database = guard.as_ref().ok_or_else(closed)?;
        guarded(|| tables::write(database, work))
    }
}

fn closed() -> StoreError {
    StoreError::from(redb::Error::DatabaseClosed)
}
