//! Makes an image of programs of the host: the programs, the libraries they link, and the few files that a root needs,
//! all under the paths they have on the host.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use super::elf::dependencies;
use super::reference::Reference;
use super::store::{Config, ImageRecord, Store};
use super::{ImageError, hex, io_error};

/// A file that goes in under another name than the host's.
#[derive(Debug, Clone)]
pub struct Extra {
    /// On the host.
    pub source: PathBuf,
    /// In the image.
    pub destination: PathBuf,
}

const FILES: [(&str, &str); 3] = [
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"),
    ("etc/group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
];
/// Taken along when the host has them: name resolution of the C library loads them without linking them.
const QUIET: [&str; 5] = ["libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2", "libc.so.6", "libgcc_s.so.1"];
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Every file of the host that an image of these programs has.
fn sources(programs: &[PathBuf], extra: &[Extra]) -> Result<BTreeSet<PathBuf>, ImageError> {
    let mut all: BTreeSet<PathBuf> = BTreeSet::new();
    for program in programs.iter().chain(extra.iter().map(|e| &e.source)) {
        all.extend(dependencies(program).map_err(|e| io_error("read", program, e))?);
    }
    let directories: BTreeSet<PathBuf> = all.iter().filter_map(|path| path.parent().map(Path::to_owned)).collect();
    for name in QUIET {
        all.extend(directories.iter().map(|directory| directory.join(name)).find(|path| path.exists()));
    }
    all.extend(programs.iter().cloned());
    if Path::new(CERTIFICATES).exists() {
        all.insert(CERTIFICATES.into());
    }
    Ok(all)
}

/// A name for the content that does not need reading it: path, size, time and inode of every file.
fn identity(sources: &BTreeSet<PathBuf>, extra: &[Extra]) -> Result<String, ImageError> {
    let mut hasher = Sha256::new();
    hasher.update(b"files of the host, form 1\n");
    let pairs = sources.iter().map(|path| (path, path)).chain(extra.iter().map(|e| (&e.source, &e.destination)));
    for (source, destination) in pairs {
        let meta = fs::metadata(source).map_err(|e| io_error("read", source, e))?;
        let line = format!("{} {} {} {} {}\n", destination.display(), meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ino());
        hasher.update(line.as_bytes());
    }
    Ok(format!("sha256:{}", hex(&hasher.finalize())))
}

/// Makes one layer of host programs and an image for each of `variants` (names, configuration). Nothing is copied when
/// the same files made it before.
pub fn build(
    store: &Store,
    programs: &[PathBuf],
    extra: &[Extra],
    variants: &[(Vec<String>, Config)],
) -> Result<Vec<ImageRecord>, ImageError> {
    let sources = sources(programs, extra)?;
    let layer = identity(&sources, extra)?;
    if !store.has_layer(&layer) {
        let scratch = store.scratch()?;
        let result = fill(&scratch, &sources, extra)
            .map_err(|e| io_error("make an image in", &scratch, e))
            .and_then(|size| store.add_layer(&layer, &scratch, size));
        let _ = fs::remove_dir_all(&scratch);
        result?;
    }
    let mut images = Vec::new();
    for (names, config) in variants {
        let parsed =
            |name: &String| Reference::parse(name).map(|r| r.to_string()).map_err(|e| ImageError::Invalid { reason: e.to_string() });
        let names = names.iter().map(parsed).collect::<Result<Vec<_>, _>>()?;
        let mut hasher = Sha256::new();
        hasher.update(serde_json::to_vec(&(config, &layer)).unwrap_or_default());
        let id = format!("sha256:{}", hex(&hasher.finalize()));
        let current = store.image(&id).filter(|_| names.iter().all(|name| store.image(name).is_some_and(|image| image.id == id)));
        images.push(match current {
            Some(image) => image,
            None => store.add_image(&id, config.clone(), vec![layer.clone()], &names)?,
        });
    }
    Ok(images)
}

/// Makes an image of programs of the host, named by path or as found in `PATH`; it runs the first one.
pub fn build_from_host(store: &Store, name: &str, programs: &[PathBuf]) -> Result<ImageRecord, ImageError> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".into());
    let find = |program: &PathBuf| {
        if program.components().count() > 1 {
            return std::path::absolute(program).map_err(|e| io_error("find", program, e));
        }
        let found = std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file());
        found.ok_or_else(|| io_error("find", program, io::ErrorKind::NotFound.into()))
    };
    let programs = programs.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    let first = programs.first().ok_or_else(|| ImageError::Invalid { reason: "an image needs at least one program".to_owned() })?;
    let config = Config { cmd: vec![first.to_string_lossy().into_owned()], ..Config::default() };
    let made = build(store, &programs, &[], &[(vec![name.to_owned()], config)])?;
    made.into_iter().next().ok_or_else(|| ImageError::Invalid { reason: "no image was made".to_owned() })
}

fn fill(root: &Path, sources: &BTreeSet<PathBuf>, extra: &[Extra]) -> io::Result<u64> {
    for directory in ["etc", "tmp", "root", "proc", "sys", "dev", "run", "var"] {
        fs::create_dir_all(root.join(directory))?;
    }
    fs::set_permissions(root, fs::Permissions::from_mode(0o755))?;
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    let mut size = 0;
    for (name, text) in FILES {
        File::create(root.join(name))?.write_all(text.as_bytes())?;
        size += text.len() as u64;
    }
    for source in sources {
        size += place(root, source)?;
    }
    for file in extra {
        let destination = root.join(file.destination.strip_prefix("/").unwrap_or(&file.destination));
        if let Some(directory) = destination.parent() {
            fs::create_dir_all(directory)?;
        }
        size += copy(&file.source, &destination)?;
    }
    Ok(size)
}

/// Puts a file of the host under its own path, links on the way to it included.
fn place(root: &Path, source: &Path) -> io::Result<u64> {
    let mut rest: Vec<std::ffi::OsString> = source.components().rev().filter_map(normal).collect();
    let mut walked = PathBuf::from("/");
    for _ in 0..256 {
        let Some(part) = rest.pop() else { return Ok(0) };
        if part == ".." {
            walked.pop();
            continue;
        }
        let here = walked.join(&part);
        let there = root.join(here.strip_prefix("/").unwrap_or(&here));
        let meta = fs::symlink_metadata(&here)?;
        if meta.file_type().is_symlink() {
            let target = fs::read_link(&here)?;
            if fs::symlink_metadata(&there).is_err() {
                symlink(&target, &there)?;
            }
            if target.is_absolute() {
                walked = PathBuf::from("/");
            }
            rest.extend(target.components().rev().filter_map(normal));
        } else if meta.is_dir() {
            if !there.is_dir() {
                fs::create_dir_all(&there)?;
                fs::set_permissions(&there, meta.permissions())?;
            }
            walked = here;
        } else if there.exists() {
            return Ok(0);
        } else {
            return copy(&here, &there);
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{}: too many links", source.display())))
}

fn normal(part: Component<'_>) -> Option<std::ffi::OsString> {
    match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    }
}

/// Shares the bytes where the file system can, else gives them a second name, else copies them. Nobody writes to a
/// layer, so a second name is as good as a copy as long as the host replaces its programs instead of writing into them.
fn copy(source: &Path, destination: &Path) -> io::Result<u64> {
    let from = File::open(source)?;
    let meta = from.metadata()?;
    let to = File::create(destination)?;
    // Both descriptors are open; the request number is FICLONE.
    let cloned = unsafe { libc::ioctl(to.as_raw_fd(), libc::FICLONE, from.as_raw_fd()) } == 0;
    drop(to);
    if !cloned {
        fs::remove_file(destination)?;
        if fs::hard_link(source.canonicalize().unwrap_or_else(|_| source.to_owned()), destination).is_ok() {
            return Ok(meta.len());
        }
        io::copy(&mut &from, &mut File::create(destination)?)?;
    }
    fs::set_permissions(destination, meta.permissions())?;
    Ok(meta.len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn an_image_of_the_shell_has_what_the_shell_links() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let variants = [(vec!["coracle.local/sh:1".to_owned()], Config { cmd: vec!["sh".to_owned()], ..Config::default() })];
        let made = build(&store, &["/bin/sh".into()], &[], &variants).unwrap();
        assert_eq!(build(&store, &["/bin/sh".into()], &[], &variants).unwrap(), made);
        let root = store.layer_root().join(Store::layer_name(&made[0].layers[0]));
        for path in dependencies(Path::new("/bin/sh")).unwrap().into_iter().chain(["/bin/sh".into(), "/etc/passwd".into()]) {
            let file = File::open(&root).unwrap();
            assert!(super::super::rooted::open_file(&file, &path).is_ok(), "{}", path.display());
        }
        assert_eq!(fs::metadata(root.join("tmp")).unwrap().mode() & 0o7777, 0o1777);
    }

    #[test]
    fn a_missing_program_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        for program in ["/no/such/program", "no-such-program"] {
            let error = build_from_host(&store, "x", &[program.into()]).unwrap_err();
            assert!(error.to_string().contains(program), "{error}");
        }
        let image = build_from_host(&store, "x", &["cat".into()]).unwrap();
        assert!(image.config.cmd[0].ends_with("/cat"));
    }
}
