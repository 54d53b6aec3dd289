//! Files that change all at once: `..data` is a link to a directory named by time, swapped by a rename; the names that
//! containers see are links into `..data`.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown, symlink};
use std::path::{Component, Path};

use crate::rootless::has_user;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    pub(super) content: Vec<u8>,
    pub(super) mode: u32,
    pub(super) owner: Option<u32>,
}

/// Files by path, relative to the volume.
pub(super) type Files = BTreeMap<String, File>;

const DATA: &str = "..data";
const NEXT: &str = "..data_tmp";

/// Makes the directory show exactly `files`; says whether anything changed.
pub(super) fn write(dir: &Path, files: &Files) -> std::io::Result<bool> {
    for path in files.keys() {
        let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(name) if name != "..data"));
        if !plain || path.is_empty() {
            return Err(std::io::Error::other(format!("invalid path: {path}")));
        }
    }
    let current = std::fs::read_link(dir.join(DATA)).ok().map(|name| dir.join(name));
    if current.as_deref().is_some_and(|current| is_same(current, files)) {
        return Ok(false);
    }
    let stamp = jiff::Zoned::now().strftime("..%Y_%m_%d_%H_%M_%S").to_string();
    let name = format!("{stamp}.{}", rand::random::<u32>());
    let fresh = dir.join(&name);
    make_dir(&fresh)?;
    for (path, file) in files {
        let target = fresh.join(path);
        let mut at = fresh.clone();
        for part in Path::new(path).parent().into_iter().flat_map(Path::components) {
            at.push(part);
            if !at.exists() {
                make_dir(&at)?;
            }
        }
        std::fs::write(&target, &file.content)?;
        std::fs::set_permissions(&target, std::fs::Permissions::from_mode(file.mode))?;
        if let Some(owner) = file.owner.filter(|owner| has_user(*owner)) {
            chown(&target, Some(owner), None)?;
        }
    }
    let next = dir.join(NEXT);
    let _ = std::fs::remove_file(&next);
    symlink(&name, &next)?;
    std::fs::rename(&next, dir.join(DATA))?;
    show(dir, files)?;
    if let Some(current) = current {
        let _ = std::fs::remove_dir_all(current);
    }
    Ok(true)
}

fn make_dir(path: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().mode(0o755).create(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}

/// Links for the first parts of all paths; links to what is gone disappear.
fn show(dir: &Path, files: &Files) -> std::io::Result<()> {
    let first = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
    let wanted: BTreeSet<String> = files.keys().map(|path| first(path)).collect();
    for name in &wanted {
        if std::fs::symlink_metadata(dir.join(name)).is_err() {
            symlink(Path::new(DATA).join(name), dir.join(name))?;
        }
    }
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !wanted.contains(&name) {
            std::fs::remove_file(dir.join(name))?;
        }
    }
    Ok(())
}

/// Whether the directory has these files with these contents, and no others.
fn is_same(dir: &Path, files: &Files) -> bool {
    let same = |(path, file): (&String, &File)| std::fs::read(dir.join(path)).is_ok_and(|content| content == file.content);
    files.iter().all(same) && count(dir) == files.len()
}

fn count(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| if entry.file_type().is_ok_and(|kind| kind.is_dir()) { count(&entry.path()) } else { 1 }).sum()
}
