//! Which shared libraries a program of the host needs, read from the file itself, as the dynamic linker would look
//! for them.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What one file asks of the dynamic linker.
#[derive(Debug, Default, PartialEq)]
struct Needs {
    interpreter: Option<PathBuf>,
    libraries: Vec<String>,
    search: Vec<String>,
}

fn bad(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn bytes(file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    if length > 4 << 20 {
        return Err(bad("a table is too long"));
    }
    let mut buffer = vec![0; length as usize];
    file.read_exact_at(&mut buffer, offset)?;
    Ok(buffer)
}

fn u16_at(data: &[u8], at: usize) -> io::Result<u16> {
    data.get(at..at + 2).and_then(|b| b.try_into().ok()).map(u16::from_le_bytes).ok_or_else(|| bad("cut short"))
}

fn u32_at(data: &[u8], at: usize) -> io::Result<u32> {
    data.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes).ok_or_else(|| bad("cut short"))
}

fn u64_at(data: &[u8], at: usize) -> io::Result<u64> {
    data.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes).ok_or_else(|| bad("cut short"))
}

fn text(table: &[u8], at: u64) -> io::Result<String> {
    let rest = usize::try_from(at).ok().and_then(|at| table.get(at..)).ok_or_else(|| bad("a string outside of its table"))?;
    let end = rest.iter().position(|b| *b == 0).unwrap_or(rest.len());
    Ok(String::from_utf8_lossy(rest.get(..end).unwrap_or_default()).into_owned())
}

/// Reads a 64-bit little-endian ELF file; `Ok(None)` for files of other kinds.
fn needs(path: &Path) -> io::Result<Option<Needs>> {
    const LOAD: u32 = 1;
    const DYNAMIC: u32 = 2;
    const INTERPRETER: u32 = 3;
    let file = File::open(path)?;
    let mut header = [0_u8; 64];
    if file.read_exact_at(&mut header, 0).is_err() || !header.starts_with(b"\x7fELF\x02\x01") {
        return Ok(None);
    }
    let (start, size, count) = (u64_at(&header, 32)?, u64::from(u16_at(&header, 54)?), u64::from(u16_at(&header, 56)?));
    if size < 56 {
        return Err(bad("program headers are too short"));
    }
    let table = bytes(&file, start, size * count)?;
    let mut found = Needs::default();
    let (mut loads, mut dynamic) = (Vec::new(), None);
    for entry in table.chunks_exact(size as usize) {
        let (offset, address, length) = (u64_at(entry, 8)?, u64_at(entry, 16)?, u64_at(entry, 32)?);
        match u32_at(entry, 0)? {
            LOAD => loads.push((address, length, offset)),
            DYNAMIC => dynamic = Some(bytes(&file, offset, length)?),
            INTERPRETER => found.interpreter = Some(text(&bytes(&file, offset, length)?, 0)?.into()),
            _ => {}
        }
    }
    let Some(dynamic) = dynamic else { return Ok(Some(found)) };
    let entries: Vec<(u64, u64)> = dynamic.chunks_exact(16).map(|e| Ok((u64_at(e, 0)?, u64_at(e, 8)?))).collect::<io::Result<_>>()?;
    let value = |tag: u64| entries.iter().find(|(t, _)| *t == tag).map(|(_, value)| *value);
    let (Some(address), Some(length)) = (value(5), value(10)) else { return Ok(Some(found)) };
    let place = loads.iter().find(|(start, length, _)| (*start..start.saturating_add(*length)).contains(&address));
    let (start, _, offset) = place.ok_or_else(|| bad("the string table is not in the file"))?;
    let strings = bytes(&file, offset + (address - start), length)?;
    for (tag, value) in &entries {
        match tag {
            1 => found.libraries.push(text(&strings, *value)?),
            15 | 29 => found.search.extend(text(&strings, *value)?.split(':').map(str::to_owned)),
            _ => {}
        }
    }
    Ok(Some(found))
}

/// Directories of `/etc/ld.so.conf`, with what it includes, and the linker's own.
fn directories() -> Vec<PathBuf> {
    let mut found = Vec::new();
    configured(Path::new("/etc/ld.so.conf"), 0, &mut found);
    found.extend(["/lib64", "/usr/lib64", "/lib", "/usr/lib"].map(PathBuf::from));
    found
}

fn configured(path: &Path, depth: u32, found: &mut Vec<PathBuf>) {
    for line in fs::read_to_string(path).unwrap_or_default().lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        match line.strip_prefix("include ") {
            Some(pattern) if depth < 4 => {
                let pattern = Path::new(pattern.trim());
                let mut files: Vec<PathBuf> = fs::read_dir(pattern.parent().unwrap_or(Path::new("/")))
                    .into_iter()
                    .flatten()
                    .flatten()
                    .map(|entry| entry.path())
                    .filter(|file| file.extension().is_some_and(|extension| extension == "conf"))
                    .collect();
                files.sort();
                files.iter().for_each(|file| configured(file, depth + 1, found));
            }
            None if line.starts_with('/') => found.push(line.into()),
            _ => {}
        }
    }
}

/// The program's interpreter and libraries, and theirs; for a script its interpreter with libraries.
pub fn dependencies(program: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let usual = directories();
    let mut found = BTreeSet::new();
    let mut queue = VecDeque::from([program.to_owned()]);
    while let Some(file) = queue.pop_front() {
        let Some(needs) = needs(&file)? else {
            let first = fs::read(&file).map(|data| data.into_iter().take(256).collect::<Vec<u8>>()).unwrap_or_default();
            let line = String::from_utf8_lossy(&first).lines().next().unwrap_or_default().to_owned();
            if let Some(interpreter) = line.strip_prefix("#!").and_then(|rest| rest.split_whitespace().next()) {
                let interpreter = PathBuf::from(interpreter);
                if interpreter.exists() && found.insert(interpreter.clone()) {
                    queue.push_back(interpreter);
                }
            }
            continue;
        };
        let origin = file.canonicalize()?.parent().unwrap_or(Path::new("/")).to_string_lossy().into_owned();
        let own = needs.search.iter().map(|dir| PathBuf::from(dir.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin)));
        let search: Vec<PathBuf> = own.chain(usual.iter().cloned()).collect();
        let mut add = |path: PathBuf| {
            if found.insert(path.clone()) {
                queue.push_back(path);
            }
        };
        if let Some(interpreter) = needs.interpreter {
            add(interpreter);
        }
        for library in needs.libraries {
            let place = search.iter().map(|directory| directory.join(&library)).find(|path| path.exists());
            // The interpreter is often a needed library by another path.
            add(place.ok_or_else(|| bad(&format!("{}: library {library} was not found", file.display())))?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn our_own_libraries_are_those_that_are_mapped() {
        let own = std::env::current_exe().unwrap();
        let found: BTreeSet<PathBuf> = dependencies(&own).unwrap().iter().map(|path| path.canonicalize().unwrap()).collect();
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let mapped: BTreeSet<PathBuf> = maps
            .lines()
            .filter_map(|line| line.split_whitespace().nth(5))
            .filter(|path| path.contains(".so"))
            .map(|path| PathBuf::from(path).canonicalize().unwrap())
            .collect();
        assert_eq!(found, mapped);
    }

    #[test]
    fn what_is_no_elf_needs_nothing() {
        assert!(dependencies(Path::new("/etc/passwd")).unwrap().is_empty());
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("broken");
        fs::write(&path, [b"\x7fELF\x02\x01".as_slice(), &[0xff; 80]].concat()).unwrap();
        assert!(dependencies(&path).is_err());
    }
}
