//! `subPath`: a part of a volume, which must not lead out of it.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::VolumeMount;
use nix::fcntl::{OFlag, open, openat};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;

use super::mounts::is_mount_point;
use crate::pod::expand::expand_all;

/// The path inside the volume, expanded; empty for the whole of it.
pub(super) fn inside(mount: &VolumeMount, env: &[(String, String)]) -> Result<String, String> {
    if let Some(expression) = mount.sub_path_expr.as_deref().filter(|expression| !expression.is_empty()) {
        let value = |name: &str| env.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        return expand_all(expression, value).map_err(|name| format!("missing value for {name}"));
    }
    Ok(mount.sub_path.clone().unwrap_or_default())
}

fn outside(path: &Path) -> std::io::Error {
    std::io::Error::other(format!("subpath {} is not within the volume", path.display()))
}

/// Makes `inside` of the volume at `base` if it is missing, and gives a path for it that a process in a container cannot
/// redirect: it is bound to `bound` through descriptors that follow no link.
pub(super) fn prepare(base: &Path, inside: &str, bound: &Path) -> std::io::Result<PathBuf> {
    let base = base.canonicalize()?;
    let wanted = base.join(inside);
    if Path::new(inside).components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(outside(&wanted));
    }
    make_missing(&base, Path::new(inside))?;
    let real = wanted.canonicalize()?;
    let relative = real.strip_prefix(&base).map_err(|_| outside(&real))?;
    let target = walk(&base, relative)?;
    if is_mount_point(bound)? {
        return Ok(bound.to_owned());
    }
    if let Some(parent) = bound.parent() {
        std::fs::create_dir_all(parent)?;
    }
    if real.is_dir() {
        std::fs::create_dir_all(bound)?;
    } else if !bound.exists() {
        std::fs::write(bound, b"")?;
    }
    let from = format!("/proc/self/fd/{}", target.as_raw_fd());
    match mount(Some(from.as_str()), bound, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>) {
        Ok(()) => Ok(bound.to_owned()),
        // Without the right to mount, containers have no more rights than we have either.
        Err(nix::Error::EPERM) => Ok(real),
        Err(error) => Err(error.into()),
    }
}

/// Makes the directories that are missing, with the mode of the one they are in; stops at links that lead out.
fn make_missing(base: &Path, inside: &Path) -> std::io::Result<()> {
    let mut at = base.to_owned();
    for part in inside.components() {
        let next = at.join(part);
        match std::fs::symlink_metadata(&next) {
            Ok(_) => at = next.canonicalize()?,
            Err(_) => {
                let mode = std::fs::metadata(&at)?.mode() & 0o7777;
                std::fs::DirBuilder::new().mode(0o755).create(&next)?;
                std::fs::set_permissions(&next, std::fs::Permissions::from_mode(mode))?;
                at = next;
            }
        }
        if !at.starts_with(base) {
            return Err(outside(&at));
        }
    }
    Ok(())
}

/// Opens each part of the path in turn, following no link.
fn walk(base: &Path, relative: &Path) -> std::io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut at = open(base, flags, Mode::empty())?;
    for part in relative.components() {
        at = openat(at.as_fd(), part.as_os_str(), flags, Mode::empty())?;
        let meta = std::fs::metadata(format!("/proc/self/fd/{}", at.as_raw_fd()));
        if meta.is_err() {
            return Err(outside(relative));
        }
    }
    Ok(at)
}
