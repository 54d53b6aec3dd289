//! The tables of redb: how they are made, found and checked. What cannot be read is an error and never made anew.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Builder, Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use crate::error::StoreError;
use crate::journal::{BLOCK, Backend, Blocks, Journal};

/// Every write after the revision `folded` that is not in the journal alone.
pub(crate) const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
/// The state at the revision `folded`: key → revision and record.
pub(crate) const BASE: TableDefinition<&str, (u64, &[u8])> = TableDefinition::new("base");
/// `folded`, and the size that the journal has.
pub(crate) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
pub(crate) const FOLDED: &str = "folded";
const JOURNAL: &str = "journal";

/// Where the tables stand.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Standing {
    pub(crate) folded: u64,
    /// The last revision in them.
    pub(crate) last: u64,
    /// Bytes that the journal beside them has at least.
    pub(crate) journal: u64,
}

/// Opens the tables at a path and the journal beside them. Where one of the two is gone, so are writes.
pub(crate) fn open(builder: &mut Builder, path: &Path) -> Result<(Database, Backend), StoreError> {
    let journal = open_journal(path, false).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            let journal = journal_of(path);
            StoreError::Damaged { what: format!("its journal {} is gone, and with it the last writes", journal.display()) }
        }
        _ => redb::Error::Io(error).into(),
    })?;
    Ok((builder.open(path).map_err(redb::Error::from)?, journal))
}

pub(crate) fn journal_of(path: &Path) -> PathBuf {
    path.with_extension("journal")
}

/// Past the kernel's cache where the file system can do that: a commit then takes less time and work.
fn open_journal(path: &Path, create: bool) -> std::io::Result<Backend> {
    let open = |flags| {
        let mut options = File::options();
        options.read(true).write(true).create(create).truncate(false).custom_flags(flags).open(journal_of(path))
    };
    let direct = open(libc::O_DIRECT).ok().filter(|file| file.read_at(Blocks::of(BLOCK).bytes(), 0).is_ok());
    let file = direct.map_or_else(|| open(0), Ok)?;
    Ok(Arc::new(FileBackend::new(file).map_err(|error| match error {
        redb::DatabaseError::Storage(redb::StorageError::Io(error)) => error,
        other => std::io::Error::other(other),
    })?))
}

/// Makes the files if they are not there, whole or not at all: a loss of power while they are made leaves no tables.
pub(crate) fn create(path: &Path, journal_bytes: u64) -> Result<(), StoreError> {
    if path.exists() {
        return Ok(());
    }
    let io = |error: std::io::Error| StoreError::from(redb::Error::Io(error));
    let unfinished = path.with_extension("new");
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    // the journal is there, whole, before anything is written to it
    let journal = Journal::open(open_journal(path, true).map_err(io)?, journal_bytes, 0)?;
    if !journal.read(0).is_ok_and(|left| left.is_empty()) {
        return Err(StoreError::Damaged { what: format!("its tables {} are gone, and its journal is there", path.display()) });
    }
    let database = Builder::new().set_cache_size(1 << 16).create(&unfinished).map_err(redb::Error::from)?;
    standing(&database)?;
    promise(&database, journal.size())?;
    drop(database);
    std::fs::rename(&unfinished, path).map_err(io)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(io)
}

/// Where the tables stand; those of a new file are made.
pub(crate) fn standing(database: &Database) -> Result<Standing, StoreError> {
    let read = || -> Result<Option<Standing>, Failure> {
        let transaction = database.begin_read()?;
        if transaction.list_tables()?.next().is_none() {
            return Ok(None);
        }
        let meta = transaction.open_table(META)?;
        let number = |key: &str| -> Result<Option<u64>, Failure> { Ok(meta.get(key)?.map(|value| value.value())) };
        let Some(folded) = number(FOLDED)? else {
            return Err(StoreError::Damaged { what: "it does not say where its history begins".into() }.into());
        };
        let last = transaction.open_table(LOG)?.last()?.map_or(folded, |(at, _)| at.value());
        Ok(Some(Standing { folded, last, journal: number(JOURNAL)?.unwrap_or(0) }))
    };
    if let Some(standing) = read().map_err(|failure| failure.0)? {
        return Ok(standing);
    }
    write(database, |transaction| {
        transaction.open_table(LOG)?;
        transaction.open_table(BASE)?;
        transaction.open_table(META)?.insert(FOLDED, 0)?;
        Ok(())
    })?;
    Ok(Standing::default())
}

/// Notes how large the journal is from now on.
pub(crate) fn promise(database: &Database, bytes: u64) -> Result<(), StoreError> {
    write(database, |transaction| {
        transaction.open_table(META)?.insert(JOURNAL, bytes)?;
        Ok(())
    })
}

/// One durable change. Its two phases are what keeps redb from going back to the change before it where a page of this one
/// cannot be read: then it refuses.
pub(crate) fn write(database: &Database, work: impl FnOnce(&WriteTransaction) -> Result<(), Failure>) -> Result<(), StoreError> {
    let mut transaction = database.begin_write().map_err(redb::Error::from)?;
    transaction.set_two_phase_commit(true);
    work(&transaction).map_err(|failure| failure.0)?;
    transaction.commit().map_err(redb::Error::from)?;
    Ok(())
}

/// Does what calls redb, which panics in places where a page is not what it expects.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let what = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a message".into());
        Err(StoreError::Panicked { what })
    })
}

/// Any of redb's errors, or ours, inside a transaction.
pub(crate) struct Failure(pub(crate) StoreError);

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
