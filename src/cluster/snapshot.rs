//! The whole state of a cluster in one file, and back.
//!
//! The file is gzip, whose checksum tells a file that was cut off or damaged, over lines of JSON: a head, then one entry a
//! line: its key, where in the text its revision goes, and the text. What is written back gets new revisions, so that they
//! never go backwards; uids and the rest stay as they are.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use coracle_store::{Change, Expect, ListOptions, Options, Store, Value, Write as StoreWrite, WriteError};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use crate::claim::claim;
use crate::cluster::ClusterConfig;
use crate::directory::DataDirectory;
use crate::error::ClusterError;

/// The only form there is.
const FORM: u32 = 1;
/// So many writes are under way at once: they share a commit.
const AT_ONCE: usize = 256;

/// Why a snapshot cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file.
    #[error("the snapshot {file}: cannot {what}")]
    File {
        /// Its path.
        file: String,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Its content.
    #[error("{file} is no snapshot of a cluster, or is damaged")]
    Damaged {
        /// Its path.
        file: String,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// Its addresses are not those of the cluster.
    #[error("the snapshot's addresses are {of_snapshot}, the cluster's are {of_cluster}")]
    OtherRanges {
        /// Pods and services of the snapshot.
        of_snapshot: String,
        /// Pods and services of the cluster.
        of_cluster: String,
    },
    /// The data directory has a cluster already.
    #[error("the data directory {path} has a cluster already")]
    NotEmpty {
        /// The directory.
        path: String,
    },
    /// The data directory has no cluster.
    #[error("the data directory {path} has no cluster")]
    Empty {
        /// The directory.
        path: String,
    },
    /// The store takes no writes.
    #[error("the store does not take the snapshot")]
    Write(#[source] WriteError),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Head {
    coracle: u32,
    revision: u64,
    #[serde(rename = "podCIDR")]
    pod_cidr: String,
    #[serde(rename = "serviceCIDR")]
    service_cidr: String,
}

struct Snapshot {
    head: Head,
    entries: Vec<(String, Value)>,
}

/// Writes all that a store holds into a file, whole or not at all; how many objects that was. Blocks.
pub(crate) fn save(store: &Store, pod_cidr: &str, service_cidr: &str, file: &Path) -> Result<usize, SnapshotError> {
    let failed = |source| SnapshotError::File { file: file.display().to_string(), what: "write it", source };
    let list = store.list("", &ListOptions::default()).map_err(|error| failed(io::Error::other(error)))?;
    let head = Head { coracle: FORM, revision: list.revision, pod_cidr: pod_cidr.to_owned(), service_cidr: service_cidr.to_owned() };
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = Path::new(&unfinished);
    let write = || -> io::Result<()> {
        let out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(unfinished)?;
        let mut out = GzEncoder::new(BufWriter::new(out), Compression::fast());
        serde_json::to_writer(&mut out, &head)?;
        for entry in &list.entries {
            out.write_all(b"\n")?;
            let text = std::str::from_utf8(&entry.value.bytes).map_err(io::Error::other)?;
            serde_json::to_writer(&mut out, &(&entry.key, entry.value.cut, text))?;
        }
        out.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(unfinished, file)
    };
    match write() {
        Ok(()) => Ok(list.entries.len()),
        Err(error) => {
            let _ = fs::remove_file(unfinished);
            Err(failed(error))
        }
    }
}

fn read(file: &Path) -> Result<Snapshot, SnapshotError> {
    let name = || file.display().to_string();
    let failed = |source| SnapshotError::File { file: name(), what: "read it", source };
    let damaged = |source| SnapshotError::Damaged { file: name(), source };
    let mut lines = BufReader::new(GzDecoder::new(File::open(file).map_err(failed)?)).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new())).map_err(|error| damaged(serde_json::Error::io(error)))?;
    let head: Head = serde_json::from_str(&first).map_err(damaged)?;
    if head.coracle != FORM {
        return Err(failed(io::Error::other(format!("its form is {}, this program reads {FORM}", head.coracle))));
    }
    let mut entries = Vec::new();
    for line in lines {
        let line = line.map_err(|error| damaged(serde_json::Error::io(error)))?;
        let (key, cut, text): (String, usize, String) = serde_json::from_str(&line).map_err(damaged)?;
        entries.push((key, Value { bytes: text.into(), cut }));
    }
    Ok(Snapshot { head, entries })
}

/// Makes the data of a new cluster of a snapshot; [`crate::Cluster::start`] goes on from there.
pub async fn make_of_snapshot(config: &mut ClusterConfig, file: &Path) -> Result<usize, ClusterError> {
    let snapshot = read(file)?;
    if config.directory.identity().is_some() {
        return Err(SnapshotError::NotEmpty { path: config.directory.path().display().to_string() }.into());
    }
    if config.ranges.is_none() {
        let (pods, services) = (snapshot.head.pod_cidr.parse()?, snapshot.head.service_cidr.parse()?);
        config.ranges = Some(coracle_network::Ranges { pods, services });
    }
    let (_held, identity) = claim(config).await?;
    fits(&snapshot.head, (&identity.pod_cidr, &identity.service_cidr))?;
    write(&config.directory, snapshot).await
}

/// Puts the state of a snapshot in the place of a stopped cluster's; how many objects it has.
pub async fn restore(directory: &DataDirectory, file: &Path) -> Result<usize, ClusterError> {
    let snapshot = read(file)?;
    let _held = directory.hold()?;
    let identity = directory.identity().ok_or_else(|| SnapshotError::Empty { path: directory.path().display().to_string() })?;
    fits(&snapshot.head, (&identity.pod_cidr, &identity.service_cidr))?;
    write(directory, snapshot).await
}

fn fits(head: &Head, (pods, services): (&str, &str)) -> Result<(), SnapshotError> {
    if (head.pod_cidr.as_str(), head.service_cidr.as_str()) == (pods, services) {
        return Ok(());
    }
    let of_snapshot = format!("{} and {}", head.pod_cidr, head.service_cidr);
    Err(SnapshotError::OtherRanges { of_snapshot, of_cluster: format!("{pods} and {services}") })
}

async fn write(directory: &DataDirectory, snapshot: Snapshot) -> Result<usize, ClusterError> {
    let store = Store::open(&directory.store(), Options::default())?;
    let kept: HashSet<&str> = snapshot.entries.iter().map(|(key, _)| key.as_str()).collect();
    let present = store.list("", &ListOptions::default()).map_err(|error| SnapshotError::File {
        file: directory.store().display().to_string(),
        what: "read the store",
        source: io::Error::other(error),
    })?;
    let gone = present.entries.iter().filter(|entry| !kept.contains(&*entry.key));
    let mut writes: Vec<StoreWrite> =
        gone.map(|entry| StoreWrite { key: entry.key.to_string(), expect: Expect::Any, change: Change::Delete }).collect();
    let count = snapshot.entries.len();
    let put = |(key, value)| StoreWrite { key, expect: Expect::Any, change: Change::Put(value) };
    writes.extend(snapshot.entries.into_iter().map(put));
    let mut written = futures::stream::iter(writes.into_iter().map(|one| store.write(one))).buffer_unordered(AT_ONCE);
    while let Some(outcome) = written.next().await {
        outcome.map_err(SnapshotError::Write)?;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[tokio::test]
    async fn what_is_saved_is_read_and_a_damaged_file_is_told() {
        let place = tempfile::tempdir().unwrap();
        let store = Store::open(&place.path().join("store"), Options::default()).unwrap();
        let value = Value { bytes: "{\"a\":\"\u{fc}\"}".into(), cut: 3 };
        let put = StoreWrite { key: "/x".into(), expect: Expect::Absent, change: Change::Put(value.clone()) };
        store.write(put).await.unwrap();
        let file = place.path().join("saved");
        assert_eq!(save(&store, "10.244.0.0/16", "10.96.0.0/12", &file).unwrap(), 1);
        assert_eq!(
            fs::read_dir(place.path()).unwrap().flatten().filter(|entry| entry.path().extension().is_some_and(|e| e == "new")).count(),
            0
        );
        let snapshot = read(&file).unwrap();
        assert_eq!(snapshot.entries, [("/x".to_owned(), value)]);
        assert!(fits(&snapshot.head, ("10.244.0.0/16", "10.96.0.0/12")).is_ok());
        assert!(fits(&snapshot.head, ("10.245.0.0/16", "10.96.0.0/12")).is_err());
        let bytes = fs::read(&file).unwrap();
        for damaged in [&bytes[..bytes.len() - 6], b"no gzip", b""] {
            fs::write(&file, damaged).unwrap();
            assert!(matches!(read(&file), Err(SnapshotError::Damaged { .. })), "{} bytes", damaged.len());
        }
    }
}
