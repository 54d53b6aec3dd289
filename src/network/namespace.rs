//! Network namespaces that outlive the process: bind-mounted files, and threads that work inside them.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use tokio::sync::oneshot;

use crate::error::NetworkError;

/// `f_type` of the file system that namespace files lie on.
const NSFS_MAGIC: i64 = 0x6e73_6673;

fn error(path: &Path, step: &'static str) -> impl FnOnce(io::Error) -> NetworkError {
    let path = path.to_owned();
    move |source| NetworkError::Namespace { path, step, source }
}

/// Whether a live namespace is mounted there.
pub(crate) fn exists(path: &Path) -> bool {
    nix::sys::statfs::statfs(path).is_ok_and(|stat| stat.filesystem_type().0 == NSFS_MAGIC)
}

/// Makes a namespace and mounts it at `path`; one that is there already stays.
pub(crate) fn create(path: &Path) -> Result<(), NetworkError> {
    if exists(path) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(error(path, "cannot make its directory"))?;
    }
    File::create(path).map_err(error(path, "cannot make its file"))?;
    let target = path.to_owned();
    on_new_thread(move || {
        unshare(CloneFlags::CLONE_NEWNET)?;
        mount(Some("/proc/thread-self/ns/net"), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
        Ok(())
    })
    .map_err(error(path, "cannot be made"))
}

/// Mounts a namespace that others made at `path`, in place of another one that is there.
pub(crate) fn take(given: &Path, path: &Path) -> Result<(), NetworkError> {
    let same = |a: &Path, b: &Path| {
        let of = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
        of(a).is_some_and(|a| of(b) == Some(a))
    };
    if exists(path) {
        if same(given, path) {
            return Ok(());
        }
        umount2(path, MntFlags::MNT_DETACH).map_err(|e| error(path, "cannot be unmounted")(e.into()))?;
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(error(path, "cannot make its directory"))?;
    }
    File::create(path).map_err(error(path, "cannot make its file"))?;
    mount(Some(given), path, None::<&str>, MsFlags::MS_BIND, None::<&str>).map_err(|e| error(path, "cannot be mounted")(e.into()))
}

/// Removes a namespace; its links go when its last process does.
pub(crate) fn remove(path: &Path) -> Result<(), NetworkError> {
    if exists(path) {
        umount2(path, MntFlags::MNT_DETACH).map_err(|e| error(path, "cannot be unmounted")(e.into()))?;
    }
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(error(path, "cannot remove its file")(e)),
        _ => Ok(()),
    }
}

/// Runs `job` on a thread of its own inside the namespace.
pub(crate) fn inside<T: Send + 'static>(path: &Path, job: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, NetworkError> {
    let file = File::open(path).map_err(error(path, "cannot be opened"))?;
    on_new_thread(move || {
        setns(file.as_fd(), CloneFlags::CLONE_NEWNET)?;
        job()
    })
    .map_err(error(path, "a step inside it failed"))
}

fn on_new_thread<T: Send + 'static>(job: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    let thread = std::thread::Builder::new().name("netns".into()).spawn(job)?;
    thread.join().map_err(|_| io::Error::other("the thread in the namespace panicked"))?
}

type Job = Box<dyn FnOnce() + Send>;

/// A thread that stays inside a namespace and makes sockets there. What it makes is used from anywhere.
#[derive(Clone)]
pub(crate) struct Insider {
    jobs: std::sync::mpsc::Sender<Job>,
    path: PathBuf,
}

impl Insider {
    pub(crate) fn start(path: &Path) -> Result<Self, NetworkError> {
        let file = File::open(path).map_err(error(path, "cannot be opened"))?;
        let (jobs, queue) = std::sync::mpsc::channel::<Job>();
        let (entered, result) = std::sync::mpsc::channel();
        let work = move || {
            let inside = setns(file.as_fd(), CloneFlags::CLONE_NEWNET).map_err(io::Error::from);
            let failed = inside.is_err();
            let _ = entered.send(inside);
            if !failed {
                queue.into_iter().for_each(|job| job());
            }
        };
        std::thread::Builder::new().name("lab".into()).spawn(work).map_err(error(path, "its thread cannot be started"))?;
        let entered = result.recv().unwrap_or_else(|_| Err(io::Error::other("the thread ended")));
        entered.map_err(error(path, "cannot be entered"))?;
        Ok(Self { jobs, path: path.to_owned() })
    }

    /// Where the namespace is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `job` inside and gives its result.
    pub(crate) async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
        let (answer, answered) = oneshot::channel();
        let runtime = tokio::runtime::Handle::current();
        let job = move || {
            let _context = runtime.enter();
            let _ = answer.send(job());
        };
        let ended = || io::Error::other("the lab's thread ended");
        self.jobs.send(Box::new(job)).map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }
}
