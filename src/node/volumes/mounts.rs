//! What is mounted, and unmounting it.

use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Undoes the octal escapes of `mountinfo`.
fn unescape(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes.get(at + 1..at + 4).filter(|_| bytes[at] == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            out.push(byte);
            at += 4;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

/// Mount points, in the order in which they were mounted.
fn mount_points() -> Vec<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape).collect()
}

/// Whether something is mounted at exactly this path.
pub(super) fn is_mount_point(path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else { return false };
    mount_points().contains(&path)
}

/// Makes `dir` a place whose mounts reach the namespaces of pods that exist already: a part of a volume is mounted when the
/// container that wants it is made.
pub(crate) fn share(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    if is_mount_point(dir) {
        return Ok(());
    }
    let none: Option<&str> = None;
    match mount(Some(dir), dir, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)
        .and_then(|()| mount(none, dir, none, MsFlags::MS_SHARED, none))
    {
        // A plain user's pods see what he sees.
        Err(nix::Error::EPERM | nix::Error::EACCES) => Ok(()),
        other => other.map_err(Into::into),
    }
}

/// Unmounts everything at and below `dir`, the last mounted first.
pub(crate) async fn unmount_below(dir: &Path) {
    let dir = dir.to_owned();
    let _ = tokio::task::spawn_blocking(move || unmount_all_below(&dir)).await;
}

/// As [`unmount_below`]; it blocks.
pub(crate) fn unmount_all_below(dir: &Path) {
    let Ok(dir) = dir.canonicalize() else { return };
    for point in mount_points().iter().rev().filter(|point| point.starts_with(&dir)) {
        if let Err(error) = umount2(point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            tracing::warn!(path = %point.display(), %error, "a volume was not unmounted");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn escapes() {
        assert_eq!(unescape("/a\\040b\\134c"), PathBuf::from("/a b\\c"));
        assert_eq!(unescape("/plain"), PathBuf::from("/plain"));
    }
}
