//! The data directory: where everything of a cluster is, and whose it is at the moment.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::choice::RuntimeKind;
use crate::error::ClusterError;

/// The process that has a data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Address of its API server; empty while it starts.
    pub server: String,
}

/// What was decided at the first start and holds until `reset`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Eight hexadecimal digits that names of interfaces and control groups derive from.
    pub(crate) id: String,
    pub(crate) runtime: RuntimeKind,
    pub(crate) pod_cidr: String,
    pub(crate) service_cidr: String,
}

/// A data directory, which may not exist yet.
#[derive(Debug, Clone)]
pub struct DataDirectory(PathBuf);

/// A data directory that this process has.
#[derive(Debug)]
pub(crate) struct Held {
    lock: Flock<File>,
}

fn failed(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> ClusterError {
    let path = path.to_owned();
    move |source| ClusterError::File { path, what, source }
}

impl DataDirectory {
    /// The directory at a path.
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.0.join("kubeconfig")
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.0.join("pki")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.0.join("store.redb")
    }

    pub(crate) fn node(&self, name: &str) -> PathBuf {
        self.0.join("node").join(name)
    }

    /// Where the log file is.
    pub fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    /// What does not outlive a plain user's namespaces.
    pub(crate) fn run(&self) -> PathBuf {
        self.0.join("run")
    }

    fn lock_file(&self) -> PathBuf {
        self.0.join("lock")
    }

    fn identity_file(&self) -> PathBuf {
        self.0.join("cluster.json")
    }

    /// Makes the directory, readable by its owner alone.
    pub fn create(&self) -> Result<(), ClusterError> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0).map_err(failed(&self.0, "make the data directory"))?;
        fs::set_permissions(&self.0, fs::Permissions::from_mode(0o700)).map_err(failed(&self.0, "protect the data directory"))
    }

    /// Takes the directory for this process.
    pub(crate) fn hold(&self) -> Result<Held, ClusterError> {
        self.create()?;
        let path = self.lock_file();
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(failed(&path, "open the lock"))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Held { lock }),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(ClusterError::InUse { path: self.0.clone(), holder: self.holder() }),
            Err((_, error)) => Err(failed(&path, "lock")(error.into())),
        }
    }

    /// Who has the directory, if anybody does.
    pub fn holder(&self) -> Option<Holder> {
        let mut file = OpenOptions::new().read(true).write(true).open(self.lock_file()).ok()?;
        let mut text = String::new();
        file.read_to_string(&mut text).ok()?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(_free) => None,
            Err(_) => Some(serde_json::from_str(&text).unwrap_or(Holder { pid: 0, server: String::new() })),
        }
    }

    pub(crate) fn identity(&self) -> Option<Identity> {
        serde_json::from_slice(&fs::read(self.identity_file()).ok()?).ok()
    }

    pub(crate) fn record(&self, identity: &Identity) -> Result<(), ClusterError> {
        let text = serde_json::to_vec_pretty(identity).unwrap_or_default();
        self.write(&self.identity_file(), &text)
    }

    /// Writes a file of ours, readable by its owner alone, whole or not at all.
    pub fn write(&self, path: &Path, content: &[u8]) -> Result<(), ClusterError> {
        let unfinished = path.with_extension("new");
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&unfinished, path)
        };
        write().map_err(failed(path, "write"))
    }

    /// Deletes the directory and everything in it. Nobody may have it.
    pub fn delete(&self) -> Result<(), ClusterError> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&self.0, "delete")(error)),
            _ => Ok(()),
        }
    }
}

impl Held {
    /// Notes who has the directory, for those who ask.
    pub(crate) fn note(&mut self, holder: &Holder) -> io::Result<()> {
        let text = serde_json::to_vec(holder)?;
        let file: &mut File = &mut self.lock;
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(&text)
    }
}
