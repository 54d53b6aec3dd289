//! Container logs as the CRI lays them down: `<RFC 3339 time, nanoseconds> stdout|stderr F|P <text>`, where `P` marks
//! a part of a longer line. A part holds at most 16 KiB.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// Longest text of one entry.
pub const PART: usize = 16 << 10;

/// A container's log file.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Opens the log, making its directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: Self::file(path)? })
    }

    /// Goes on in a new file of the same name, after the old one was renamed.
    pub fn reopen(&mut self) -> io::Result<()> {
        self.file = Self::file(&self.path)?;
        Ok(())
    }

    fn file(path: &Path) -> io::Result<File> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        OpenOptions::new().append(true).create(true).mode(0o640).open(path)
    }

    /// Writes whole entries at once; a full disk loses lines, it does not stop the container.
    pub fn write(&mut self, entries: &[u8]) {
        let _ = self.file.write_all(entries);
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
}
