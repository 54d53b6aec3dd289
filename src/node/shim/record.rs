//! What is known of a container's process, on disk: written whole, synced, and renamed into place, so that a reader
//! after a crash sees the old or the new record and nothing between.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// State of a container's process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// Prepared, never started.
    Created,
    /// Started.
    Running {
        /// PID on the host.
        pid: i32,
        /// When.
        started: Timestamp,
    },
    /// Ended, or could not be started.
    Exited {
        /// When it was started, if it was.
        started: Option<Timestamp>,
        /// When it ended.
        finished: Timestamp,
        /// Exit code, 128 + signal for a signal's.
        code: i32,
        /// `Completed`, `Error`, `OOMKilled`, `StartError` or `ContainerStatusUnknown`.
        reason: String,
        /// Message of a start error.
        message: String,
    },
}

/// Replaces `path` by `value` as JSON, durably.
pub fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".new");
    let temporary = directory.join(name);
    let mut file = File::create(&temporary)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.sync_data()?;
    fs::rename(&temporary, path)?;
    File::open(directory)?.sync_all()
}

/// Reads what `write` wrote.
pub fn read<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    serde_json::from_slice(&fs::read(path)?).map_err(io::Error::from)
}
