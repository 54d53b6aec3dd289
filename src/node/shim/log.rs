//! Container logs as the CRI lays them down: `<RFC 3339 time, nanoseconds> stdout|stderr F|P <text>`, where `P` marks
//! a part of a longer line. A part holds at most 16 KiB.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// Longest text of one entry.
pub const PART: usize = 16 << 10;

/// A container's log file. What a full disk does not take is lost; the container goes on.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    /// `None`: it could not be made yet.
    file: Option<File>,
}

impl Log {
    /// Opens the log, making its directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: Some(Self::file(path)?) })
    }

    /// Opens the log now, or when something is written to it.
    pub fn begin(path: &Path) -> Self {
        Self::open(path).unwrap_or_else(|_| Self { path: path.to_owned(), file: None })
    }

    /// Goes on in a new file of the same name, after the old one was renamed.
    pub fn reopen(&mut self) -> io::Result<()> {
        // never in the old one, which is packed away
        self.file = None;
        self.file = Some(Self::file(&self.path)?);
        Ok(())
    }

    fn file(path: &Path) -> io::Result<File> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        OpenOptions::new().append(true).create(true).mode(0o640).open(path)
    }

    /// Writes whole entries at once, or nothing of the last that goes.
    pub fn write(&mut self, entries: &[u8]) {
        if self.file.is_none() {
            self.file = Self::file(&self.path).ok();
        }
        let Some(file) = &mut self.file else { return };
        let mut rest = entries;
        while !rest.is_empty() {
            match file.write(rest) {
                Ok(count @ 1..) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => break,
            }
        }
        let written = entries.len() - rest.len();
        if !rest.is_empty() && entries.get(..written).is_some_and(|part| !part.is_empty() && !part.ends_with(b"\n")) {
            let torn = entries.get(..written).and_then(|part| part.iter().rev().position(|byte| *byte == b'\n')).unwrap_or(written);
            if let Ok(meta) = file.metadata() {
                let _ = file.set_len(meta.len().saturating_sub(torn as u64));
            }
        }
    }
}

/// Cuts one stream into entries.
#[derive(Debug)]
pub struct Lines {
    stream: &'static str,
    rest: Vec<u8>,
}

impl Lines {
    /// For `stdout` or `stderr`.
    pub fn new(stream: &'static str) -> Self {
        Self { stream, rest: Vec::new() }
    }

    /// Takes bytes and writes what is complete.
    pub fn push(&mut self, bytes: &[u8], now: Timestamp, log: &mut Log) {
        let mut entries = Vec::with_capacity(bytes.len() + 64);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, complete) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            self.rest.extend_from_slice(text);
            while self.rest.len() > PART {
                let after = self.rest.split_off(PART);
                self.entry(&mut entries, 'P', now);
                self.rest = after;
            }
            if complete {
                self.entry(&mut entries, 'F', now);
            }
        }
        if !entries.is_empty() {
            log.write(&entries);
        }
    }

    /// The stream ended: what is left is a part of a line that never ended.
    pub fn finish(&mut self, now: Timestamp, log: &mut Log) {
        if !self.rest.is_empty() {
            let mut entries = Vec::new();
            self.entry(&mut entries, 'P', now);
            log.write(&entries);
        }
    }

    fn entry(&mut self, entries: &mut Vec<u8>, tag: char, now: Timestamp) {
        let _ = write!(entries, "{now:.9} {} {tag} ", self.stream);
        entries.append(&mut self.rest);
        entries.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn lines_parts_and_rests() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c/0.log");
        let mut log = Log::open(&path).unwrap();
        let mut lines = Lines::new("stdout");
        let now: Timestamp = "2024-01-02T03:04:05.5Z".parse().unwrap();
        lines.push(b"one\ntw", now, &mut log);
        lines.push(b"o\n\n", now, &mut log);
        lines.push(&[b'x'; PART + 1], now, &mut log);
        lines.push(b"\nend", now, &mut log);
        std::fs::rename(&path, directory.path().join("old")).unwrap();
        log.reopen().unwrap();
        lines.finish(now, &mut log);
        let old = std::fs::read_to_string(directory.path().join("old")).unwrap();
        let stamp = "2024-01-02T03:04:05.500000000Z stdout";
        assert_eq!(old, format!("{stamp} F one\n{stamp} F two\n{stamp} F \n{stamp} P {}\n{stamp} F x\n", "x".repeat(PART)));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{stamp} P end\n"));
    }

    #[test]
    fn a_full_disk_loses_lines_and_tears_none() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: mounting needs root");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let disk = directory.path().join("disk");
        std::fs::create_dir(&disk).unwrap();
        let none = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("disk"), &disk, Some("tmpfs"), none, Some("size=64k")).unwrap();
        let story = || {
            let full = |name: &str| (&File::create(disk.join(name)).unwrap()).write_all(&[0; 1 << 20]).is_err();
            let mut log = Log::begin(&disk.join("0.log"));
            log.write(b"before\n");
            let was_full = full("all");
            // the page that the file has takes some of it
            log.write(format!("{}\n{}\n", "x".repeat(1_000), "y".repeat(8_000)).as_bytes());
            log.write(&b"z".repeat(8_000));
            let mut other = Log::begin(&disk.join("none/1.log"));
            other.write(b"lost\n");
            std::fs::remove_file(disk.join("all")).unwrap();
            log.write(b"after\n");
            other.write(b"later\n");
            let read = |name: &str| std::fs::read_to_string(disk.join(name)).unwrap_or_default();
            (was_full, read("0.log"), read("none/1.log"))
        };
        let (was_full, text, other) = story();
        nix::mount::umount(&disk).unwrap();
        assert!(was_full);
        assert_eq!(text, format!("before\n{}\nafter\n", "x".repeat(1_000)));
        assert!(other.ends_with("later\n"), "{other:?}");
    }
}
