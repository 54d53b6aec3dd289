//! Directories and files of volumes.

use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use k8s_openapi::api::core::v1::EmptyDirVolumeSource;
use nix::mount::{MsFlags, mount};
use tokio_util::task::TaskTracker;

use super::atomic::{self, Files};
use super::{mounts, ownership};
use crate::pod::resources::whole;

/// Runs `work`, which waits for the disk, where that does no harm. Once begun it ends, also when nobody waits for it any
/// more; whoever takes back what it made waits for `tasks` first.
pub(super) async fn blocking<T: Send + 'static>(
    tasks: &TaskTracker,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, String> {
    match tasks.spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// Bytes on the disk of everything at and below `path`, on its own file system.
pub(crate) fn size_of(path: &Path) -> u64 {
    let Ok(top) = std::fs::symlink_metadata(path) else { return 0 };
    let mut seen = std::collections::HashSet::new();
    let (mut total, mut open) = (top.blocks() * 512, vec![path.to_owned()]);
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            // A file with several names counts once.
            if meta.dev() != top.dev() || (meta.nlink() > 1 && !meta.is_dir() && !seen.insert(meta.ino())) {
                continue;
            }
            total += meta.blocks() * 512;
            if meta.is_dir() {
                open.push(entry.path());
            }
        }
    }
    total
}

/// As container runtimes do: a host path that does not exist becomes a directory.
pub(super) async fn ensure_exists(path: &Path) {
    if tokio::fs::symlink_metadata(path).await.is_err() {
        let _ = tokio::fs::create_dir_all(path).await;
    }
}

/// A directory with this mode, whatever the umask.
fn directory(path: &Path, mode: u32) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// Mounts a file system in memory, unless there is one; without the right to mount, the directory itself has to do.
fn in_memory(path: &Path, size: Option<i64>, mode: u32) -> std::io::Result<()> {
    if mounts::is_mount_point(path)? {
        return Ok(());
    }
    let mut options = format!("mode={mode:o}");
    if let Some(size) = size {
        options.push_str(&format!(",size={size}"));
    }
    match mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some(options.as_str())) {
        Ok(()) => Ok(()),
        Err(nix::Error::EPERM | nix::Error::EACCES) => {
            tracing::debug!(path = %path.display(), "a volume is on disk: tmpfs may not be mounted here");
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) fn empty_dir(path: &Path, source: &EmptyDirVolumeSource, group: Option<u32>) -> std::io::Result<()> {
    let memory = source.medium.as_deref() == Some("Memory");
    // What an earlier run of this process made is kept, with what is in it.
    if path.exists() && (!memory || mounts::is_mount_point(path)?) {
        return Ok(());
    }
    directory(path, 0o777)?;
    if memory {
        in_memory(path, source.size_limit.as_ref().map(whole).filter(|&size| size > 0), 0o777)?;
    }
    group.map_or(Ok(()), |group| ownership::give(path, group, false))
}

/// Writes the files of a volume whose contents the API server knows.
pub(super) fn payload(path: &Path, files: &Files, memory: bool, group: Option<u32>) -> std::io::Result<()> {
    if !path.exists() {
        directory(path, 0o777)?;
    }
    if memory {
        in_memory(path, None, 0o1777)?;
    }
    let changed = atomic::write(path, files)?;
    match group {
        Some(group) if changed => ownership::give(path, group, true),
        _ => Ok(()),
    }
}
