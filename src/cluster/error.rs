//! Why a cluster does not start or stop.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::directory::Holder;

/// What went wrong. [`ClusterError::hint`] says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A file or directory cannot be used.
    #[error("{path}: cannot {what}")]
    File {
        /// Which one.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process has the data directory.
    #[error("the data directory {path} is in use{}", .holder.as_ref().map(|h| format!(" by process {} ({})", h.pid, h.server)).unwrap_or_default())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Who has it, as far as known.
        holder: Option<Holder>,
    },
    /// There is no data directory.
    #[error("there is no cluster at {path}")]
    NoStore {
        /// Where it would be.
        path: PathBuf,
    },
    /// The address to listen on cannot be had.
    #[error("cannot listen on {address}{}", .user.as_ref().map(|user| format!(": in use by {user}")).unwrap_or_default())]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Who has it, as far as known.
        user: Option<String>,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// None of the runtimes works here.
    #[error("no container runtime works here: {}", .reasons.join("; "))]
    NoRuntime {
        /// Why not, one line per runtime.
        reasons: Vec<String>,
    },
    /// The runtime asked for is not the one this cluster was made with.
    #[error("this cluster was made with the runtime {recorded}, not {asked}")]
    OtherRuntime {
        /// What the data directory records.
        recorded: &'static str,
        /// What was asked for.
        asked: &'static str,
    },
    /// The pod range has no room for so many nodes.
    #[error("{asked} nodes were asked for, and the pod range {range} has room for {most}")]
    TooManyNodes {
        /// How many were asked for.
        asked: usize,
        /// How many there may be.
        most: usize,
        /// The range.
        range: String,
    },
    /// A runtime cannot be used.
    #[error("the container runtime cannot be started")]
    Runtime(#[source] coracle_node::runtime::RuntimeError),
    /// Keys and certificates.
    #[error("the cluster's keys cannot be used")]
    Keys(#[from] coracle_server::pki::PkiError),
    /// The store.
    #[error(transparent)]
    Store(#[from] coracle_store::StoreError),
    /// A snapshot.
    #[error(transparent)]
    Snapshot(#[from] crate::snapshot::SnapshotError),
    /// The network.
    #[error("the pod network cannot be made")]
    Network(#[from] coracle_network::NetworkError),
    /// The API server.
    #[error("the API server cannot be started")]
    Server(#[from] coracle_server::ServerError),
}

impl ClusterError {
    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File { path, .. } => Some(format!("choose another place with --data-dir, or make {} writable", path.display())),
            Self::InUse { .. } => Some("use the running cluster, or stop it with `coracle down`".into()),
            Self::Listen { .. } => Some("choose another address with --listen ADDR:PORT".into()),
            Self::NoRuntime { .. } => Some("`coracle doctor` says more; `--runtime simulated` runs without containers".into()),
            Self::OtherRuntime { .. } => Some("`coracle reset` deletes the cluster's data; or choose another --data-dir".into()),
            Self::TooManyNodes { .. } => Some("choose a larger --pod-cidr on another --data-dir, or `--runtime simulated`".into()),
            Self::Store(coracle_store::StoreError::Damaged { .. } | coracle_store::StoreError::Panicked { .. }) => Some(
                "`coracle doctor --store` says what is damaged; `coracle reset` deletes the data, and `coracle up --from SNAPSHOT` makes a \
                 cluster of a snapshot"
                    .into(),
            ),
            Self::NoStore { .. } => Some("name the cluster's data with --data-dir".into()),
            Self::Snapshot(crate::SnapshotError::NotEmpty { .. }) => {
                Some("`coracle snapshot restore FILE` replaces its state; `coracle reset` deletes it".into())
            }
            Self::Snapshot(crate::SnapshotError::Empty { .. }) => Some("`coracle up --from FILE` makes one of the snapshot".into()),
            Self::Snapshot(crate::SnapshotError::OtherRanges { .. }) => {
                Some("make a cluster of it in another --data-dir: `coracle up --from FILE`".into())
            }
            _ => None,
        }
    }
}
