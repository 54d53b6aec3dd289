//! The files of layers in one directory, where they cannot be mounted upon each other.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::Path;

use nix::sys::stat::{Mode, SFlag, mknod};

/// Copies `layers`, the uppermost first, from `root` into `target`, which is a directory of nobody else.
pub(super) fn layers(root: &Path, layers: &[String], target: &Path) -> io::Result<()> {
    layers.iter().rev().try_for_each(|layer| directory(&root.join(layer), target))
}

fn directory(from: &Path, to: &Path) -> io::Result<()> {
    if is_opaque(from) {
        for entry in fs::read_dir(to)? {
            clear(&entry?.path())?;
        }
    }
    for entry in fs::read_dir(from)? {
        let source = entry?.path();
        let Some(name) = source.file_name() else { continue };
        let target = to.join(name);
        let meta = fs::symlink_metadata(&source)?;
        let kind = meta.file_type();
        if !(kind.is_dir() && fs::symlink_metadata(&target).is_ok_and(|there| there.is_dir())) {
            clear(&target)?;
        }
        if kind.is_char_device() {
            // a deletion: a plain user's layers have no other devices
            continue;
        } else if kind.is_dir() {
            if !target.exists() {
                fs::create_dir(&target)?;
            }
            directory(&source, &target)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(&source)?, &target)?;
        } else if kind.is_fifo() {
            mknod(&target, SFlag::S_IFIFO, Mode::from_bits_truncate(0o600), 0)?;
        } else {
            fs::copy(&source, &target)?;
        }
        lchown(&target, Some(meta.uid()), Some(meta.gid()))?;
        if !kind.is_symlink() {
            fs::set_permissions(&target, fs::Permissions::from_mode(meta.mode() & 0o7777))?;
        }
    }
    Ok(())
}

/// Whether nothing of the layers below is seen in a directory.
fn is_opaque(path: &Path) -> bool {
    let Ok(path) = std::ffi::CString::new(path.as_os_str().as_bytes()) else { return false };
    let mut value = [0_u8; 1];
    // both strings end with zero, and the buffer is as long as is said
    let length = unsafe { libc::getxattr(path.as_ptr(), c"user.overlay.opaque".as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    length == 1 && value == *b"y"
}

fn clear(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn upper_layers_hide_lower_ones() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        for directory in ["low/etc", "low/var/old", "high/etc", "high/var", "out"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        let write = |path: &str, text: &str| fs::write(root.join(path), text).unwrap();
        write("low/etc/a", "low");
        write("low/etc/b", "low");
        write("low/var/old/c", "low");
        write("low/turned", "a file");
        write("high/etc/a", "high");
        fs::set_permissions(root.join("high/etc/a"), fs::Permissions::from_mode(0o751)).unwrap();
        fs::create_dir(root.join("high/turned")).unwrap();
        symlink("etc/a", root.join("high/link")).unwrap();
        let high = std::ffi::CString::new(root.join("high/var").as_os_str().as_bytes()).unwrap();
        // as above
        let set = unsafe { libc::setxattr(high.as_ptr(), c"user.overlay.opaque".as_ptr(), c"y".as_ptr().cast(), 1, 0) };
        let whiteout = mknod(&root.join("high/etc/b"), SFlag::S_IFCHR, Mode::empty(), 0);
        layers(root, &["high".to_owned(), "low".to_owned()], &root.join("out")).unwrap();
        let read = |path: &str| fs::read_to_string(root.join("out").join(path));
        assert_eq!(read("etc/a").unwrap(), "high");
        assert_eq!(fs::metadata(root.join("out/etc/a")).unwrap().mode() & 0o7777, 0o751);
        assert_eq!(read("link").unwrap(), "high");
        assert!(root.join("out/turned").is_dir());
        // what the file system or the user may not do is not looked at
        assert!(whiteout.is_err() || read("etc/b").is_err());
        assert!(set != 0 || !root.join("out/var/old").exists());
    }
}
