//! The data directory: where everything of a cluster is, and whose it is at the moment.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
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

/// A data directory that this process has, as long as the file is open: its lock is of the kind that belongs to an open file,
/// which others can ask for without taking it.
#[derive(Debug)]
pub(crate) struct Held {
    file: File,
}

/// The whole file.
fn lock() -> libc::flock {
    libc::flock { l_type: libc::F_WRLCK as _, l_whence: libc::SEEK_SET as _, l_start: 0, l_len: 0, l_pid: 0 }
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
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&lock())) {
            Ok(_) => Ok(Held { file }),
            Err(Errno::EAGAIN | Errno::EACCES) => Err(ClusterError::InUse { path: self.0.clone(), holder: self.holder() }),
            Err(error) => Err(failed(&path, "lock")(error.into())),
        }
    }

    /// Who has the directory, if anybody does.
    pub fn holder(&self) -> Option<Holder> {
        let mut file = File::open(self.lock_file()).ok()?;
        let mut found = lock();
        fcntl(&file, FcntlArg::F_OFD_GETLK(&mut found)).ok()?;
        if found.l_type == libc::F_UNLCK as libc::c_short {
            return None;
        }
        let mut text = String::new();
        file.read_to_string(&mut text).ok()?;
        Some(serde_json::from_str(&text).unwrap_or(Holder { pid: 0, server: String::new() }))
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

    /// Deletes the directory and everything in it, but nothing that is mounted for pods: files of the user, it may be. Nobody
    /// may have it.
    pub fn delete(&self) -> Result<(), ClusterError> {
        coracle_node::remove_directory(&self.node("")).map_err(failed(&self.0, "delete"))?;
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
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(&text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn whoever_asks_who_has_it_takes_nothing() {
        let place = tempfile::tempdir().unwrap();
        let directory = DataDirectory::new(place.path().to_owned());
        assert_eq!(directory.holder(), None);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Acquire) {
                    directory.holder();
                }
            });
            let held: Result<Vec<()>, ClusterError> = (0..2_000).map(|_| directory.hold().map(drop)).collect();
            over.store(true, Ordering::Release);
            held.unwrap();
        });
        let mut held = directory.hold().unwrap();
        let holder = Holder { pid: 7, server: "https://127.0.0.1:1".into() };
        held.note(&holder).unwrap();
        assert_eq!(directory.holder(), Some(holder.clone()));
        assert!(matches!(directory.hold(), Err(ClusterError::InUse { holder: Some(found), .. }) if found == holder));
        drop(held);
        assert_eq!(directory.holder(), None);
    }
}
