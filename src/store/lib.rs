//! Revisions, watch and history of keyed byte values, durable on redb.
//!
//! This room knows keys and bytes, not Kubernetes. Begin reading at [`Store`].
//!
//! ```text
//!  write ──► writer ──► commit (one fsync a batch) ──► memory ──► watchers, answers
//!                          journal: last batches          map: key → entry
//!                          log: revision → record         recent: last events
//!                          base: key → record
//! ```
//! Invariants:
//! - Revisions grow by one with every write and are never given twice, not even after a crash.
//! - What is visible (map, events, answers) is on disk: memory follows a commit, never the other way.
//! - On disk, `base` is the state at the revision `folded`, `log` holds the writes after it, the journal those after the log;
//!   the present is `base` with both applied. Folding old log records into `base` is what bounds history.
//! - A store that is not whole is refused: a record that cannot be read, a hole in the revisions, a file that is gone. Nothing
//!   is made up for it. [`verify`] says what is wrong.
//! - Readers take a short lock on memory and wait for no write.

mod disk;
mod entry;
mod error;
mod journal;
mod memory;
mod overlay;
mod record;
mod tables;
mod verify;
mod watch;
mod writer;

pub use disk::Options;
pub use entry::{Change, Entry, Event, EventKind, Expect, List, ListOptions, Value, Write, Written};
pub use error::{ReadError, StoreError, WriteError};
pub use verify::{Check, verify};
pub use watch::Watch;

use std::path::Path;
use std::sync::Arc;

use disk::Disk;
use memory::Memory;
use writer::Writer;

/// A durable map with revisions. Cheap to clone; the last clone dropped closes the files after the writes under way.
#[derive(Clone)]
pub struct Store {
    memory: Arc<Memory>,
    disk: Arc<Disk>,
    writer: Arc<Writer>,
}

impl Store {
    /// Opens the store at `path`, making it if it is not there. Only one process may have it open. Writers and watches are told
    /// what happened from the tokio runtime that this is called in, which has to last as long as they do; called outside one,
    /// from the store's own thread.
    pub fn open(path: &Path, options: Options) -> Result<Self, StoreError> {
        tables::guarded(|| tables::create(path, options.journal_bytes))?;
        let path = path.to_owned();
        Self::with(Disk::open(Box::new(move |builder| tables::open(builder, &path)), options)?)
    }

    /// Opens the store on storage backends for tables and journal, which are made anew whenever the files have to be reopened.
    pub fn with_backends<B: redb::StorageBackend>(
        tables: impl Fn() -> B + Send + Sync + 'static,
        journal: impl Fn() -> B + Send + Sync + 'static,
        options: Options,
    ) -> Result<Self, StoreError> {
        let open = move |builder: &mut redb::Builder| {
            let tables = builder.create_with_backend(tables()).map_err(redb::Error::from)?;
            Ok((tables, Arc::new(journal()) as Arc<dyn redb::StorageBackend>))
        };
        Self::with(Disk::open(Box::new(open), options)?)
    }

    /// Closes the files after the writes under way, whoever else has a clone: nothing is written any more, and what is read
    /// comes from memory alone. Blocks.
    pub fn close(&self) {
        self.writer.close();
    }

    fn with(disk: Disk) -> Result<Self, StoreError> {
        let memory = Arc::new(Memory::new(disk.load()?));
        let disk = Arc::new(disk);
        let writer = Arc::new(Writer::start(memory.clone(), disk.clone())?);
        Ok(Self { memory, disk, writer })
    }

    /// The latest revision that is visible.
    pub fn revision(&self) -> u64 {
        self.memory.revision()
    }

    /// The present entry of a key.
    pub fn get(&self, key: &str) -> Option<Arc<Entry>> {
        self.memory.get(key)
    }

    /// Entries whose keys begin with `prefix`, in key order, all as they were at one revision.
    pub fn list(&self, prefix: &str, options: &ListOptions) -> Result<List, ReadError> {
        let (revision, state) = self.memory.snapshot(prefix, options);
        let Some(at) = options.at.filter(|&at| at != revision) else { return Ok(state) };
        if at > revision {
            return Err(ReadError::Future { latest: revision });
        }
        self.memory.rewound(prefix, options, at, &self.disk)
    }

    /// Writes one key, answering when the write is durable and visible.
    pub async fn write(&self, write: Write) -> Result<Written, WriteError> {
        self.writer.write(write).await
    }

    /// Events of keys that begin with `prefix`, from the first one after the revision `after`.
    pub fn watch(&self, prefix: &str, after: u64) -> Result<Watch, ReadError> {
        Watch::start(self.memory.clone(), self.disk.clone(), prefix, after)
    }

    /// The events of `prefix` after a revision that have happened so far, oldest first.
    pub fn events(&self, prefix: &str, after: u64) -> Result<Vec<Arc<Event>>, ReadError> {
        let mut watch = self.watch(prefix, after)?;
        Ok(std::iter::from_fn(|| watch.try_next()).collect())
    }

    /// How many events of `prefix` came after a revision. Where memory has them all, none is looked up or copied.
    pub fn count_events(&self, prefix: &str, after: u64) -> Result<usize, ReadError> {
        self.memory.count_recent(prefix, after).map_or_else(|| self.events(prefix, after).map(|events| events.len()), Ok)
    }

    /// The revision from which on history is kept: lists and watches reach back to it, not further.
    pub fn oldest(&self) -> u64 {
        self.disk.folded()
    }
}
