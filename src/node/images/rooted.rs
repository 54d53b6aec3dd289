//! Paths inside a directory that is taken as `/`: links, absolute ones and `..` never lead out of it.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, mkdirat};

fn open(root: &impl AsFd, path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    let inside = path.strip_prefix("/").unwrap_or(path);
    let inside = if inside.as_os_str().is_empty() { Path::new(".") } else { inside };
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    loop {
        match openat2(root, inside, how) {
            // The kernel could not rule out a race with a rename; it asks to try again.
            Err(nix::errno::Errno::EAGAIN) => {}
            result => return Ok(result?),
        }
    }
}

/// Opens a directory below `root`.
pub fn open_directory(root: &impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    open(root, path, OFlag::O_DIRECTORY | OFlag::O_RDONLY)
}

/// Opens a file below `root` for reading.
pub fn open_file(root: &impl AsFd, path: &Path) -> io::Result<File> {
    open(root, path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY).map(File::from)
}

/// Opens a directory below `root`, making what is missing.
pub fn make_directory(root: &impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    match open_directory(root, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => return result,
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return open_directory(root, path) };
    let above = make_directory(root, parent)?;
    match mkdirat(&above, name, Mode::from_bits_truncate(0o755)) {
        Ok(()) | Err(nix::errno::Errno::EEXIST) => open_directory(root, path),
        Err(error) => Err(error.into()),
    }
}

/// A name out of an archive as parent directory and last part; `None` is the root itself.
pub fn split(name: &Path) -> io::Result<Option<(PathBuf, OsString)>> {
    let mut parts = Vec::new();
    for part in name.components() {
        match part {
            Component::Normal(part) => parts.push(part.to_owned()),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} leads out of the archive", name.display())));
            }
        }
    }
    Ok(parts.pop().map(|last| (parts.iter().collect(), last)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_do_not_lead_out() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        let directory = tempfile::tempdir().unwrap();
        symlink(outside.path(), directory.path().join("absolute")).unwrap();
        symlink("../../../../../../../../etc", directory.path().join("climbing")).unwrap();
        let root = File::open(directory.path()).unwrap();
        for path in ["absolute/secret", "climbing/passwd", "../etc/passwd", "/etc/passwd"] {
            assert_eq!(open_file(&root, Path::new(path)).unwrap_err().kind(), io::ErrorKind::NotFound, "{path}");
        }
        assert!(make_directory(&root, Path::new("a/b")).is_ok());
        assert!(directory.path().join("a/b").is_dir());
    }

    #[test]
    fn names_that_climb_are_refused() {
        assert!(split(Path::new("a/../../b")).is_err() && split(Path::new("/etc/x")).is_err());
        assert_eq!(split(Path::new("./")).unwrap(), None);
        assert_eq!(split(Path::new("./a/b/")).unwrap(), Some(("a".into(), "b".into())));
    }
}
