//! Unpacks one image layer into a directory that overlay can take as it is: deletions become its whiteouts. The
//! archive is not trusted.

use std::ffi::{CString, OsStr};
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmodat, makedev, mknodat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, linkat, symlinkat, unlinkat};
use tar::{Archive, Entry, EntryType, Header, PaxExtensions};

use super::rooted::{make_directory, open_directory, split};
use crate::rootless::{has_group, has_user, is_rootless};

/// Longest extended header: names, links and attributes.
const EXTENDED: u64 = 1 << 20;

/// How much a layer may hold.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes of all files.
    pub bytes: u64,
    /// Number of files and directories.
    pub entries: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { bytes: 64 << 30, entries: 4_000_000 }
    }
}

fn bad(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[derive(Default)]
struct Extended {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Vec<(String, Vec<u8>)>,
}

struct Unpacker<'a> {
    root: &'a OwnedFd,
    privileged: bool,
    times: Vec<(PathBuf, TimeSpec)>,
    /// Entries whose owner is not here.
    taken: u64,
}

/// Unpacks the archive into `directory`; returns the bytes of its files.
pub fn unpack(reader: impl Read, directory: &Path, bounds: Bounds) -> io::Result<u64> {
    let root: OwnedFd = fs::File::open(directory)?.into();
    let mut unpacker = Unpacker { root: &root, privileged: nix::unistd::geteuid().is_root(), times: Vec::new(), taken: 0 };
    let mut archive = Archive::new(reader);
    let mut extended = Extended::default();
    let (mut bytes, mut count) = (0_u64, 0_u64);
    // Extended headers are read here, with a bound; the archive reader would take any length into memory.
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        match entry.header().entry_type() {
            EntryType::GNULongName => extended.name = Some(string(short(&mut entry)?)),
            EntryType::GNULongLink => extended.link = Some(string(short(&mut entry)?)),
            EntryType::XHeader => extended.read(&short(&mut entry)?)?,
            EntryType::XGlobalHeader => drop(short(&mut entry)?),
            _ => {
                count += 1;
                bytes = bytes.saturating_add(entry.header().entry_size()?);
                if count > bounds.entries || bytes > bounds.bytes {
                    return Err(bad("the layer is larger than allowed"));
                }
                let extended = std::mem::take(&mut extended);
                let name = extended.name.clone().unwrap_or_else(|| entry.header().path_bytes().into_owned());
                let name = PathBuf::from(std::ffi::OsString::from_vec(name));
                unpacker.entry(&mut entry, &name, &extended).map_err(|error| at(&name, error))?;
            }
        }
    }
    // Children change their directory's time: the innermost first.
    for (path, time) in unpacker.times.iter().rev() {
        let directory = open_directory(&root, path)?;
        let _ = nix::sys::stat::futimens(&directory, time, time);
    }
    if unpacker.taken > 0 {
        tracing::info!(files = unpacker.taken, "files of users that a plain user's node does not have belong to root");
    }
    // The rest of the stream belongs to the digest.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    Ok(bytes)
}

fn short(entry: &mut Entry<'_, impl Read>) -> io::Result<Vec<u8>> {
    if entry.header().entry_size()? > EXTENDED {
        return Err(bad("an extended header is too long"));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn string(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|b| *b == 0) {
        bytes.truncate(end);
    }
    bytes
}

impl Extended {
    fn read(&mut self, bytes: &[u8]) -> io::Result<()> {
        for extension in PaxExtensions::new(bytes) {
            let extension = extension?;
            let key = extension.key().map_err(|_| bad("an extended header is not UTF-8"))?;
            let value = extension.value_bytes().to_vec();
            match key {
                "path" => self.name = Some(value),
                "linkpath" => self.link = Some(value),
                _ => self.pax.push((key.to_owned(), value)),
            }
        }
        Ok(())
    }

    fn number<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        let (_, value) = self.pax.iter().rev().find(|(name, _)| name == key)?;
        std::str::from_utf8(value).ok()?.parse().ok()
    }
}

impl Unpacker<'_> {
    fn entry(&mut self, entry: &mut Entry<'_, impl Read>, name: &Path, extended: &Extended) -> io::Result<()> {
        let header = entry.header().clone();
        if extended.number::<u64>("size").is_some_and(|size| header.entry_size().is_ok_and(|own| own != size)) {
            return Err(bad("files of 8 GiB and more are not supported"));
        }
        let Some((parent_path, last)) = split(name)? else { return Ok(()) };
        let parent = make_directory(self.root, &parent_path)?;
        if let Some(hidden) = last.as_bytes().strip_prefix(b".wh.") {
            return self.whiteout(&parent, hidden);
        }
        let kind = header.entry_type();
        clear(&parent, &last, kind == EntryType::Directory)?;
        match kind {
            EntryType::Regular | EntryType::Continuous => {
                let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let mut file: fs::File = openat(&parent, last.as_os_str(), flags, Mode::from_bits_truncate(0o600))?.into();
                io::copy(entry, &mut file)?;
            }
            EntryType::Directory => match nix::sys::stat::mkdirat(&parent, last.as_os_str(), Mode::from_bits_truncate(0o755)) {
                Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
                Err(error) => return Err(error.into()),
            },
            EntryType::Symlink => symlinkat(OsStr::from_bytes(&self.link(entry, extended)?), &parent, last.as_os_str())?,
            EntryType::Link => {
                let target = PathBuf::from(std::ffi::OsString::from_vec(self.link(entry, extended)?));
                let target = target.strip_prefix("/").map(Path::to_owned).unwrap_or(target);
                let Some((above, target)) = split(&target)? else { return Err(bad("a hard link to the root")) };
                let above = open_directory(self.root, &above)?;
                linkat(&above, target.as_os_str(), &parent, last.as_os_str(), AtFlags::empty())?;
                // Owner, mode and time are the other name's.
                return Ok(());
            }
            // no process of a plain user could open it
            EntryType::Char | EntryType::Block if is_rootless() => return Ok(()),
            EntryType::Char | EntryType::Block | EntryType::Fifo => self.node(&header, &parent, &last)?,
            other => return Err(bad(format!("entries of type {:?} are not supported", other.as_byte() as char))),
        }
        self.attributes(&header, extended, &parent, &parent_path, &last)
    }

    fn link(&self, entry: &Entry<'_, impl Read>, extended: &Extended) -> io::Result<Vec<u8>> {
        let own = || entry.header().link_name_bytes().map(std::borrow::Cow::into_owned);
        extended.link.clone().or_else(own).filter(|link| !link.is_empty()).ok_or_else(|| bad("a link without a target"))
    }

    fn whiteout(&self, parent: &OwnedFd, hidden: &[u8]) -> io::Result<()> {
        if hidden == b".wh..opq" {
            let name = if is_rootless() { c"user.overlay.opaque" } else { c"trusted.overlay.opaque" };
            return set_attribute(parent, name, b"y");
        }
        // Other names of this form are another storage driver's own.
        if hidden.starts_with(b".wh.") {
            return Ok(());
        }
        if hidden.is_empty() || hidden == b"." || hidden == b".." {
            return Err(bad("a whiteout of nothing"));
        }
        let name = OsStr::from_bytes(hidden);
        clear(parent, name, false)?;
        mknodat(parent, name, SFlag::S_IFCHR, Mode::empty(), makedev(0, 0))?;
        Ok(())
    }

    fn node(&self, header: &Header, parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
        let kind = match header.entry_type() {
            EntryType::Char => SFlag::S_IFCHR,
            EntryType::Block => SFlag::S_IFBLK,
            _ => SFlag::S_IFIFO,
        };
        if kind != SFlag::S_IFIFO && !self.privileged {
            return Err(bad("device files need root"));
        }
        let (major, minor) = (header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0));
        if kind == SFlag::S_IFCHR && (major, minor) == (0, 0) {
            return Err(bad("the device 0:0 stands for a deletion"));
        }
        mknodat(parent, name, kind, Mode::from_bits_truncate(0o600), makedev(major.into(), minor.into()))?;
        Ok(())
    }

    fn attributes(&mut self, header: &Header, extended: &Extended, parent: &OwnedFd, above: &Path, name: &OsStr) -> io::Result<()> {
        let link = header.entry_type() == EntryType::Symlink;
        if self.privileged {
            let number = |value: u64| u32::try_from(value).map_err(|_| bad("an owner out of range"));
            let uid = extended.number("uid").map_or_else(|| number(header.uid()?), Ok)?;
            let gid = extended.number("gid").map_or_else(|| number(header.gid()?), Ok)?;
            self.taken += u64::from(!has_user(uid) || !has_group(gid));
            let (uid, gid) = (if has_user(uid) { uid } else { 0 }, if has_group(gid) { gid } else { 0 });
            fchownat(parent, name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        }
        if !link {
            // `name` was made by us just now and is no link.
            fchmodat(parent, name, Mode::from_bits_truncate(header.mode()? & 0o7777), FchmodatFlags::FollowSymlink)?;
        }
        if matches!(header.entry_type(), EntryType::Regular | EntryType::Directory) {
            for (key, value) in &extended.pax {
                let Some(attribute) = key.strip_prefix("SCHILY.xattr.").filter(|key| !key.starts_with("trusted.")) else { continue };
                let attribute = CString::new(attribute).map_err(|_| bad("an attribute's name"))?;
                let file = openat(parent, name, OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
                match set_attribute(&file, &attribute, value) {
                    Err(error) if !matches!(error.raw_os_error(), Some(libc::ENOTSUP | libc::EPERM)) => return Err(error),
                    _ => {}
                }
            }
        }
        let seconds = i64::try_from(header.mtime()?).unwrap_or(0);
        let time = TimeSpec::new(seconds, 0);
        utimensat(parent, name, &time, &time, UtimensatFlags::NoFollowSymlink)?;
        if header.entry_type() == EntryType::Directory {
            self.times.push((above.join(name), time));
        }
        Ok(())
    }
}

fn set_attribute(file: &impl AsRawFd, name: &std::ffi::CStr, value: &[u8]) -> io::Result<()> {
    // Both pointers outlive the call.
    let result = unsafe { libc::fsetxattr(file.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes place for an entry that replaces an earlier one of the same name.
fn clear(parent: &impl AsFd, name: &OsStr, for_directory: bool) -> io::Result<()> {
    let stat = match nix::sys::stat::fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(nix::errno::Errno::ENOENT) => return Ok(()),
        result => result?,
    };
    if stat.st_mode & libc::S_IFMT != libc::S_IFDIR {
        return Ok(unlinkat(parent, name, UnlinkatFlags::NoRemoveDir)?);
    }
    if for_directory {
        return Ok(());
    }
    // Through the descriptor, not through a path that could have been turned elsewhere.
    let path = PathBuf::from(format!("/proc/self/fd/{}", parent.as_fd().as_raw_fd())).join(name);
    fs::remove_dir_all(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::os::unix::fs::{FileTypeExt, MetadataExt};

    use super::*;

    fn entry(builder: &mut tar::Builder<Vec<u8>>, kind: EntryType, name: &str, link: &str, data: &[u8]) {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        header.set_mode(0o640);
        header.set_mtime(1);
        header.set_uid(nix::unistd::geteuid().as_raw().into());
        header.set_gid(nix::unistd::getegid().as_raw().into());
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        builder.append(&header, data).unwrap();
    }

    fn layer(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (kind, name, link) in entries {
            entry(&mut builder, *kind, name, link, if *kind == EntryType::Regular { b"data" } else { b"" });
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn an_ordinary_layer() {
        use EntryType::{Directory, Link, Regular, Symlink};
        let directory = tempfile::tempdir().unwrap();
        let bytes = layer(&[
            (Directory, "usr/", ""),
            (Regular, "usr/a", ""),
            (Symlink, "lib", "usr"),
            (Regular, "lib/b", ""),
            (Link, "c", "usr/a"),
            (Regular, "usr/a", ""),
        ]);
        assert_eq!(unpack(bytes.as_slice(), directory.path(), Bounds::default()).unwrap(), 12);
        assert_eq!(fs::read(directory.path().join("usr/b")).unwrap(), b"data");
        assert_eq!(fs::read(directory.path().join("c")).unwrap(), b"data");
        assert_eq!(fs::metadata(directory.path().join("usr/a")).unwrap().mode() & 0o7777, 0o640);
    }

    #[test]
    fn hostile_layers_are_refused_or_kept_inside() {
        use EntryType::{Link, Regular, Symlink};
        let outside = tempfile::tempdir().unwrap();
        let target = outside.path().to_str().unwrap();
        let refused: [&[(EntryType, &str, &str)]; 5] = [
            &[(Regular, "../x", "")],
            &[(Regular, "/etc/x", "")],
            &[(Link, "x", "../../etc/passwd")],
            &[(Link, "x", "/etc/passwd")],
            &[(Regular, ".wh...", "")],
        ];
        for entries in refused {
            let directory = tempfile::tempdir().unwrap();
            assert!(unpack(layer(entries).as_slice(), directory.path(), Bounds::default()).is_err(), "{entries:?}");
        }
        let directory = tempfile::tempdir().unwrap();
        let entries = [(Symlink, "out", target), (Regular, "out/x", "")];
        let _ = unpack(layer(&entries).as_slice(), directory.path(), Bounds::default());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        let many = layer(&[(Regular, "a", ""), (Regular, "b", "")]);
        assert!(unpack(many.as_slice(), directory.path(), Bounds { bytes: 5, entries: 9 }).is_err());
        assert!(unpack(many.as_slice(), directory.path(), Bounds { bytes: 99, entries: 1 }).is_err());
    }

    #[test]
    fn damaged_layers_end_in_errors_and_stay_inside() {
        use EntryType::{Directory, Link, Regular, Symlink};
        let entries =
            [(Directory, "d/", ""), (Symlink, "d/up", "../.."), (Regular, "d/up/f", ""), (Link, "l", "d/f"), (Regular, "d/.wh.f", "")];
        let whole = layer(&entries);
        let parent = tempfile::tempdir().unwrap();
        std::fs::write(parent.path().join("witness"), "x").unwrap();
        // A plain generator is enough: the point is many different damages, the same each time.
        let mut state = 88_172_645_463_325_252_u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as usize
        };
        for _ in 0..1500 {
            let mut bytes = whole.clone();
            for _ in 0..=random() % 3 {
                let at = random() % bytes.len();
                bytes[at] = b"\0/.078\x80\xffLKxgS"[random() % 13];
                let block = at / 512 * 512;
                // With a right checksum the damage goes further than the first look.
                let sum: u32 = bytes[block..block + 512]
                    .iter()
                    .enumerate()
                    .map(|(i, b)| if (148..156).contains(&i) { 32 } else { u32::from(*b) })
                    .sum();
                bytes[block + 148..block + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
            bytes.truncate(bytes.len() - random() % 700);
            let directory = parent.path().join("layer");
            std::fs::create_dir(&directory).unwrap();
            let _ = unpack(bytes.as_slice(), &directory, Bounds { bytes: 1 << 20, entries: 100 });
            fs::remove_dir_all(&directory).unwrap();
            assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn deletions_become_overlays() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: whiteouts need root");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let bytes = layer(&[(EntryType::Regular, "d/.wh.gone", ""), (EntryType::Regular, "e/.wh..wh..opq", "")]);
        unpack(bytes.as_slice(), directory.path(), Bounds::default()).unwrap();
        let gone = fs::symlink_metadata(directory.path().join("d/gone")).unwrap();
        assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
        assert_eq!(fs::read_dir(directory.path().join("e")).unwrap().count(), 0);
    }
}
