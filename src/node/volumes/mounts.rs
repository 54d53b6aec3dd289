//! What is mounted, and unmounting it before anything is deleted: below a pod's directory may be the user's own files.

use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

const NONE: Option<&str> = None;

/// Undoes the octal escapes of `mountinfo`.
fn unescape(bytes: &[u8]) -> PathBuf {
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

/// The mount table as the kernel writes it: names in it are bytes, not text.
fn table() -> io::Result<Vec<u8>> {
    std::fs::read("/proc/self/mountinfo")
}

/// The fields of a mount table's lines.
fn lines(table: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    table.split(|byte| *byte == b'\n').map(|line| line.split(|byte| *byte == b' ').collect::<Vec<_>>()).filter(|fields| fields.len() > 4)
}

/// Mount points, in the order in which they were mounted. The root of a system is always mounted: a table without any is
/// no table.
fn mount_points(table: &[u8]) -> io::Result<Vec<PathBuf>> {
    let points: Vec<PathBuf> = lines(table).map(|fields| unescape(fields[4])).collect();
    if points.is_empty() { Err(io::Error::other("the mount table is empty")) } else { Ok(points) }
}

/// Whether something is mounted at exactly this path.
pub(super) fn is_mount_point(path: &Path) -> io::Result<bool> {
    let Ok(path) = path.canonicalize() else { return Ok(false) };
    Ok(mount_points(&table()?)?.contains(&path))
}

/// Whether what is mounted at `path`, or around it, tells others of mounts in it (`shared`), or at least hears of theirs;
/// the error says where it does not, as container engines do.
pub(crate) fn check_propagation(path: &Path, shared: bool) -> Result<(), String> {
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    let found = path.canonicalize().map_err(failed)?;
    let table = table().map_err(failed)?;
    // the last of the longest: it covers the others
    let around = lines(&table).map(|fields| (unescape(fields[4]), fields)).filter(|(point, _)| found.starts_with(point));
    let Some((point, fields)) = around.max_by_key(|(point, _)| point.components().count()) else {
        return Err(format!("{}: no mount is known there", path.display()));
    };
    let tagged = |tag: &[u8]| fields.iter().skip(6).take_while(|field| **field != b"-").any(|field| field.starts_with(tag));
    if tagged(b"shared:") || (!shared && tagged(b"master:")) {
        return Ok(());
    }
    let wanted = if shared { "a shared" } else { "a shared or slave" };
    Err(format!("path \"{}\" is mounted on \"{}\" but it is not {wanted} mount", path.display(), point.display()))
}

/// Makes `dir` a place whose mounts reach the namespaces of pods that exist already: a part of a volume is mounted when the
/// container that wants it is made.
pub(crate) fn share(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    if is_mount_point(dir)? {
        return Ok(());
    }
    match mount(Some(dir), dir, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)
        .and_then(|()| mount(NONE, dir, NONE, MsFlags::MS_SHARED, NONE))
    {
        // A plain user's pods see what he sees.
        Err(nix::Error::EPERM | nix::Error::EACCES) => Ok(()),
        other => other.map_err(Into::into),
    }
}

/// Unmounts everything at and below `dir`, the last mounted first. After an error something may be mounted there still:
/// what is below must not be deleted.
pub fn unmount_all_below(dir: &Path) -> io::Result<()> {
    unmount_listed(dir, &table)
}

fn unmount_listed(dir: &Path, table: &dyn Fn() -> io::Result<Vec<u8>>) -> io::Result<()> {
    let dir = match dir.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    let below = || -> io::Result<Vec<PathBuf>> {
        let points = mount_points(&table()?)?;
        Ok(points.into_iter().filter(|point| point.starts_with(&dir)).collect())
    };
    let points = below()?;
    // A part of the user's own mounts: what is unmounted from it here must not go from there.
    for point in &points {
        let _ = mount(NONE, point, NONE, MsFlags::MS_PRIVATE, NONE);
    }
    for point in points.iter().rev() {
        if let Err(error) = umount2(point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            tracing::warn!(path = %point.display(), %error, "a volume was not unmounted");
        }
    }
    match points.is_empty().then(Vec::new).map_or_else(below, Ok)?.first() {
        Some(left) => Err(io::Error::new(io::ErrorKind::ResourceBusy, format!("{} is still mounted", left.display()))),
        None => Ok(()),
    }
}

/// Deletes `dir` with everything in it, but nothing that is mounted there: that is unmounted first, and if it cannot be
/// known what is, nothing is deleted.
pub fn remove(dir: &Path) -> io::Result<()> {
    remove_listed(dir, &table)
}

fn remove_listed(dir: &Path, table: &dyn Fn() -> io::Result<Vec<u8>>) -> io::Result<()> {
    unmount_listed(dir, table)?;
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn escapes() {
        assert_eq!(unescape(b"/a\\040b\\134c"), PathBuf::from("/a b\\c"));
        assert_eq!(unescape(b"/plain"), PathBuf::from("/plain"));
    }

    #[test]
    fn a_name_that_is_no_text_hides_no_mount() {
        let table =
            b"22 27 0:21 / /a rw - proc proc rw\n23 27 0:5 / /\xff/b rw shared:1 - tmpfs x rw\n24 27 0:5 / /c\\040d rw - tmpfs x rw\n";
        let points = mount_points(table).unwrap();
        assert_eq!(points[1].as_os_str(), OsStr::from_bytes(b"/\xff/b"));
        assert_eq!((points.len(), points[2].as_path()), (3, Path::new("/c d")));
        assert!(mount_points(b"").is_err());
    }

    #[test]
    fn nothing_is_deleted_where_mounts_cannot_be_known() {
        let dir = tempfile::tempdir().unwrap();
        let (pod, file) = (dir.path().join("pod"), dir.path().join("pod/file"));
        std::fs::create_dir(&pod).unwrap();
        std::fs::write(&file, "precious").unwrap();
        let tables: [&dyn Fn() -> io::Result<Vec<u8>>; 3] =
            [&|| Err(io::ErrorKind::PermissionDenied.into()), &|| Err(io::ErrorKind::OutOfMemory.into()), &|| Ok(Vec::new())];
        for table in tables {
            assert!(remove_listed(&pod, table).is_err());
            assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
        }
        // what says that it is mounted still, after it was unmounted, stays too
        let listed = format!("1 1 0:1 / {} rw - tmpfs x rw\n", pod.canonicalize().unwrap().display());
        assert!(remove_listed(&pod, &|| Ok(listed.clone().into_bytes())).is_err());
        assert!(file.exists());
        remove(&pod).unwrap();
        remove(&pod).unwrap();
        assert!(!pod.exists());
    }

    #[test]
    fn what_is_mounted_is_unmounted_and_not_deleted() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: mounting needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("own");
        std::fs::create_dir_all(own.join("disk")).unwrap();
        mount(Some("own"), &own, Some("tmpfs"), MsFlags::empty(), NONE).unwrap();
        mount(NONE, &own, NONE, MsFlags::MS_SHARED, NONE).unwrap();
        std::fs::create_dir(own.join("disk")).unwrap();
        mount(Some("disk"), &own.join("disk"), Some("tmpfs"), MsFlags::empty(), NONE).unwrap();
        std::fs::write(own.join("disk/file"), "precious").unwrap();
        let pod = dir.path().join("pod");
        let target = pod.join(OsStr::from_bytes(b"\xff volume"));
        std::fs::create_dir_all(&target).unwrap();
        mount(Some(&own), &target, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE).unwrap();
        assert!(is_mount_point(&target).unwrap() && target.join("disk/file").exists());
        let private = check_propagation(dir.path(), true);
        let found = (check_propagation(&own.join("disk"), false), check_propagation(&target, true));
        let removed = remove(&pod);
        let kept = std::fs::read_to_string(own.join("disk/file"));
        for point in [own.join("disk"), own] {
            let _ = umount2(&point, MntFlags::MNT_DETACH);
        }
        removed.unwrap();
        assert_eq!(kept.unwrap(), "precious");
        assert!(!pod.exists());
        // in a shared mount another is shared
        assert_eq!(found, (Ok(()), Ok(())));
        if let Err(text) = private {
            assert!(text.ends_with("but it is not a shared mount"), "{text}");
        }
    }
}
