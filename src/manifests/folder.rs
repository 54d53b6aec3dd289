//! A folder that is kept applied.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode};
use notify_debouncer_full::{DebounceEventResult, Debouncer, RecommendedCache, new_debouncer};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;

use crate::applier::Applier;
use crate::applyset::ApplySet;
use crate::documents::Source;
use crate::keeper::Keeper;
use crate::status::FolderStatus;

/// How long the disk must be quiet before a change is looked at: editors write in several steps.
const QUIET: Duration = Duration::from_millis(50);
/// How often a folder is read that the system does not watch.
const POLL: Duration = Duration::from_secs(2);

/// Why a folder cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It is not there, or cannot be read.
    #[error("the folder {dir} cannot be read")]
    Read {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The system does not tell of changes in it.
    #[error("the folder {dir} cannot be watched")]
    Watch {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: notify::Error,
    },
}

/// What the person at the UI says about a folder's files. Paused files are read and checked, not applied.
#[derive(Debug, Clone, Default)]
pub struct Control(pub(crate) Arc<Wishes>);

#[derive(Debug, Default)]
pub(crate) struct Wishes {
    said: Mutex<Said>,
    pub(crate) wake: Notify,
}

#[derive(Debug, Default)]
struct Said {
    all: bool,
    /// Files that are not as `all` says.
    other: HashSet<PathBuf>,
    /// Files to be sent once more, paused or not.
    again: HashSet<PathBuf>,
    /// That the folder is empty or gone is meant.
    nothing: bool,
}

impl Control {
    /// Nothing is applied until a file is said to be.
    pub fn paused() -> Self {
        let control = Self::default();
        control.said().all = true;
        control
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.0.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a file is paused; its path is the one below the folder.
    pub fn is_paused(&self, file: &Path) -> bool {
        let said = self.said();
        said.all != said.other.contains(file)
    }

    /// Pauses a file, or lets it go on.
    pub fn toggle(&self, file: &Path) {
        let mut said = self.said();
        if !said.other.remove(file) {
            said.other.insert(file.to_owned());
        }
        drop(said);
        self.0.wake.notify_one();
    }

    /// Applies a file again, whether it has changed or not.
    pub fn apply(&self, file: &Path) {
        self.said().again.insert(file.to_owned());
        self.0.wake.notify_one();
    }

    pub(crate) fn take_again(&self, file: &Path) -> bool {
        self.said().again.remove(file)
    }

    /// That the folder is empty or gone is meant: what it made is deleted, if it still is when this is read.
    pub fn confirm_nothing(&self) {
        self.said().nothing = true;
        self.0.wake.notify_one();
    }

    /// Whether that was said since this was asked last.
    pub(crate) fn take_nothing(&self) -> bool {
        std::mem::take(&mut self.said().nothing)
    }
}

/// A watched folder. Dropping it stops the watch; the cluster keeps what was applied.
pub struct Folder {
    status: watch::Receiver<FolderStatus>,
    control: Control,
    task: JoinHandle<()>,
    _watcher: Option<Debouncer<RecommendedWatcher, RecommendedCache>>,
}

impl Folder {
    /// Applies what is in `dir` and keeps applying what changes; objects without a namespace go to `namespace`.
    /// Must be called inside a tokio runtime.
    pub fn watch(client: kube::Client, dir: &Path, namespace: &str) -> Result<Self, FolderError> {
        Self::controlled(client, dir, namespace, Control::default())
    }

    /// The same, as `control` says.
    pub fn controlled(client: kube::Client, dir: &Path, namespace: &str, control: Control) -> Result<Self, FolderError> {
        let dir = std::path::absolute(dir).map_err(|source| FolderError::Read { dir: dir.to_owned(), source })?;
        std::fs::metadata(&dir).map_err(|source| FolderError::Read { dir: dir.clone(), source })?;
        let (changed, changes) = mpsc::unbounded_channel();
        let (watcher, notes) = match listen(&dir, changed.clone()) {
            Ok(watcher) => (Some(watcher), Vec::new()),
            Err(error) if is_limit(&error) => (None, vec![polled(&error)]),
            Err(source) => return Err(FolderError::Watch { dir, source }),
        };
        let (sender, status) = watch::channel(FolderStatus { dir: dir.clone(), notes, files: Vec::new() });
        let set = ApplySet::new(client.clone(), &dir, namespace);
        let applier = Applier::new(client, namespace.to_owned(), Some(set.id().to_owned()));
        let keeper = Keeper::new(applier, Some(set), Source::Folder(dir), sender.clone(), control.clone());
        if watcher.is_none() {
            poll(changed);
        }
        Ok(Self { status, control, task: tokio::spawn(keeper.run(changes)), _watcher: watcher })
    }

    /// What is known of the folder, as it changes.
    pub fn status(&self) -> watch::Receiver<FolderStatus> {
        self.status.clone()
    }

    /// What is said about its files.
    pub fn control(&self) -> Control {
        self.control.clone()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Tells of every change below `dir`, once it has been quiet for a moment.
fn listen(dir: &Path, changed: mpsc::UnboundedSender<()>) -> notify::Result<Debouncer<RecommendedWatcher, RecommendedCache>> {
    let mut watcher = new_debouncer(QUIET, Some(QUIET / 2), {
        let (dir, polling) = (dir.to_owned(), Once::new());
        move |result: DebounceEventResult| {
            // a folder that came later may be one too many; one that went is not watched when it comes back
            if result.as_ref().is_err_and(|errors| errors.iter().any(is_limit)) || !dir.exists() {
                polling.call_once(|| poll(changed.clone()));
            }
            if let Err(errors) = &result {
                errors.iter().for_each(|error| tracing::warn!(%error, "a watched folder"));
            }
            // what exactly changed does not matter: the folder is read again and compared
            let _ = changed.send(());
        }
    })?;
    watcher.watch(dir, RecursiveMode::Recursive)?;
    Ok(watcher)
}

/// Says every now and then that something may have changed, until nobody listens.
fn poll(changed: mpsc::UnboundedSender<()>) {
    std::thread::spawn(move || {
        while changed.send(()).is_ok() {
            std::thread::sleep(POLL);
        }
    });
}

/// Whether the system has no more watches, or no more files, to give.
fn is_limit(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => true,
        notify::ErrorKind::Io(error) => matches!(error.raw_os_error(), Some(nix::libc::EMFILE | nix::libc::ENFILE | nix::libc::ENOSPC)),
        _ => false,
    }
}

fn polled(error: &notify::Error) -> String {
    let limit = match error.kind {
        notify::ErrorKind::MaxFilesWatch => "fs.inotify.max_user_watches",
        _ => "fs.inotify.max_user_instances",
    };
    format!("the system watches no more folders ({limit}): this one is read every {} seconds", POLL.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_told_from_other_trouble() {
        let io = |code| notify::Error::io(std::io::Error::from_raw_os_error(code));
        assert!(is_limit(&notify::Error::new(notify::ErrorKind::MaxFilesWatch)));
        assert!(is_limit(&io(nix::libc::EMFILE)));
        assert!(!is_limit(&io(nix::libc::EACCES)));
        assert!(!is_limit(&notify::Error::path_not_found()));
        assert!(polled(&io(nix::libc::EMFILE)).contains("max_user_instances"));
    }
}
