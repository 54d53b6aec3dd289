//! Why the store refuses.

use std::sync::Arc;

use crate::entry::Entry;

/// The store cannot be opened, or the disk failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("the store is in use by another process")]
    InUse,
    /// The file is damaged or of a format this version does not read.
    #[error("the store is damaged: {what}")]
    Damaged {
        /// What is wrong.
        what: String,
    },
    /// redb panicked, as it may where a page is not what it expects.
    #[error("the store's tables cannot be used: {what}")]
    Panicked {
        /// The panic's message.
        what: String,
    },
    /// The disk refused.
    #[error("the store cannot be read or written")]
    Disk(#[source] Box<redb::Error>),
    /// The writer thread cannot be started.
    #[error("the store's writer cannot be started")]
    Thread(#[source] std::io::Error),
}

impl From<redb::Error> for StoreError {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::DatabaseAlreadyOpen => Self::InUse,
            redb::Error::Corrupted(what) => Self::Damaged { what },
            redb::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => Self::Damaged { what: error.to_string() },
            redb::Error::UpgradeRequired(version) => Self::Damaged { what: format!("file format {version} is too old") },
            other => Self::Disk(Box::new(other)),
        }
    }
}

/// A list or watch cannot be answered.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The revision is no longer kept.
    #[error("the requested revision is too old, history begins at {oldest}")]
    TooOld {
        /// The oldest revision kept.
        oldest: u64,
    },
    /// The revision has not happened.
    #[error("the requested revision is in the future, the latest is {latest}")]
    Future {
        /// The latest revision.
        latest: u64,
    },
    /// The disk failed.
    #[error("history cannot be read")]
    Disk(#[source] Arc<StoreError>),
}

/// A write did not happen.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// The key is there, and was expected to be absent.
    #[error("the key exists")]
    Exists(Arc<Entry>),
    /// The key is absent, and was expected to be there.
    #[error("the key does not exist")]
    Missing,
    /// The key was written meanwhile.
    #[error("the key was written at revision {}", .0.revision)]
    Conflict(Arc<Entry>),
    /// The disk failed. Whether the write happened is told by a later read.
    #[error("the write was not stored")]
    Disk(#[source] Arc<StoreError>),
    /// The store is closing.
    #[error("the store is closed")]
    Closed,
}
