//! What the store holds and what it tells.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

/// A value: bytes that lack their own revision. Readers see `bytes[..cut]`, the revision, `bytes[cut..]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Value {
    /// The bytes, without the revision.
    pub bytes: Bytes,
    /// Where in them the revision goes.
    pub cut: usize,
}

impl Value {
    /// What comes before the revision.
    pub fn head(&self) -> &[u8] {
        self.bytes.get(..self.cut).unwrap_or(&self.bytes)
    }

    /// What comes after it.
    pub fn tail(&self) -> &[u8] {
        self.bytes.get(self.cut..).unwrap_or_default()
    }
}

/// A key with its present value.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Arc<str>,
    /// Revision of the write that made this value.
    pub revision: u64,
    /// The value.
    pub value: Value,
}

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It was given a value.
    Put,
    /// It was removed.
    Delete,
}

/// One write, as watchers see it.
#[derive(Debug)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The key, its revision and value; for a delete, the revision of the delete and the last value.
    pub entry: Arc<Entry>,
    /// What the key had before; `None` where it was absent.
    pub previous: Option<Arc<Entry>>,
    /// When it was written, in milliseconds since 1970.
    pub time: u64,
    /// A place for readers to keep the bytes that they all send for this event.
    pub rendered: OnceLock<Bytes>,
    /// As `rendered`, in the readers' other encoding.
    pub encoded: OnceLock<Bytes>,
}

impl Event {
    pub(crate) fn new(kind: EventKind, entry: Arc<Entry>, previous: Option<Arc<Entry>>, time: u64) -> Self {
        Self { kind, entry, previous, time, rendered: OnceLock::new(), encoded: OnceLock::new() }
    }

    /// Revision of the write.
    pub fn revision(&self) -> u64 {
        self.entry.revision
    }
}

/// What a write expects of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// It is absent.
    Absent,
    /// It was last written at this revision.
    Revision(u64),
    /// Whatever it is (a delete still expects it to be there).
    Any,
}

/// What a write does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Gives the key this value.
    Put(Value),
    /// Removes the key.
    Delete,
    /// Removes the key, giving watchers this last value in place of the one it had.
    DeleteAs(Value),
}

/// A write to one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The key.
    pub key: String,
    /// What it must be for the write to happen.
    pub expect: Expect,
    /// What to do.
    pub change: Change,
}

impl Write {
    /// About how many bytes it takes in the journal; a delete without a value takes those of the value it finds.
    pub(crate) fn bytes(&self) -> usize {
        let value = match &self.change {
            Change::Put(value) | Change::DeleteAs(value) => value.bytes.len(),
            Change::Delete => 0,
        };
        value + self.key.len() + crate::record::HEADER + crate::journal::HEAD
    }
}

/// A write that happened.
#[derive(Debug, Clone)]
pub struct Written {
    /// The entry written, or for a delete the last entry at the revision of the delete.
    pub entry: Arc<Entry>,
    /// What the key had before.
    pub previous: Option<Arc<Entry>>,
}

/// Which part of a prefix to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Begin behind this key.
    pub after: Option<String>,
    /// At most so many entries.
    pub limit: Option<usize>,
    /// As of this revision; the latest if absent.
    pub at: Option<u64>,
}

/// Entries of one revision.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct List {
    /// The revision.
    pub revision: u64,
    /// The entries, in key order.
    pub entries: Vec<Arc<Entry>>,
    /// How many more there are behind the last one.
    pub remaining: usize,
}
