//! Gives memory back when the shim falls idle. There is one shim per pod, and starting a container touches much of a
//! large executable that an idle shim never needs.

use std::fs;
use std::time::{Duration, Instant};

/// So long after the last activity …
pub const QUIET: Duration = Duration::from_millis(300);
/// … and at most so often.
const INTERVAL: Duration = Duration::from_secs(60);

/// Whether there is something to give back, and when it was done last.
#[derive(Debug, Default)]
pub struct Trimmer {
    used: bool,
    last: Option<Instant>,
}

impl Trimmer {
    /// Something was started.
    pub fn used(&mut self) {
        self.used = true;
    }

    /// Whether it is worth waking up after `QUIET`.
    pub fn due(&self) -> bool {
        self.used && self.last.is_none_or(|last| last.elapsed() > INTERVAL)
    }

    /// Gives back free heap, and lets go of the pages of code, which the page cache keeps.
    pub fn trim(&mut self) {
        if !self.due() {
            return;
        }
        self.used = false;
        self.last = Some(Instant::now());
        #[cfg(target_env = "gnu")]
        unsafe {
            libc::malloc_trim(0);
        }
        unmap_files();
    }
}

/// Unmaps what this process has of files and did not change: code and constants, above all its own. Each page is mapped
/// again, from the kernel's cache of the file, when it is used.
pub fn unmap_files() {
    for (start, length) in clean_files(&fs::read_to_string("/proc/self/smaps").unwrap_or_default()) {
        // SAFETY: private pages of a file, which nobody can write to: read again, they hold the same bytes
        unsafe { libc::madvise(std::ptr::without_provenance_mut(start), length, libc::MADV_DONTNEED) };
    }
}

/// Mapped parts of files, not writable, without a page of their own.
fn clean_files(smaps: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut current = None;
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let Some(first) = words.next() else { continue };
        if first.ends_with(':') {
            if first == "Anonymous:"
                && words.next() == Some("0")
                && let Some(range) = current.take()
            {
                found.push(range);
            }
            continue;
        }
        let of_file = matches!(words.next(), Some("r-xp" | "r--p")) && words.nth(3).is_some_and(|path| path.starts_with('/'));
        let range = first.split_once('-').and_then(|(start, end)| {
            let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
            Some((start, end.checked_sub(start)?))
        });
        current = range.filter(|_| of_file);
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn only_unchanged_pages_of_files_are_let_go() {
        let text = "1000-3000 r-xp 00000000 fe:00 1 /bin/x\nSize: 8 kB\nAnonymous: 0 kB\n\
                    3000-4000 r--p 00002000 fe:00 1 /bin/x\nAnonymous: 4 kB\n\
                    4000-5000 rw-p 00003000 fe:00 1 /bin/x\nAnonymous: 0 kB\n\
                    5000-6000 r--p 00000000 00:00 0\nAnonymous: 0 kB\n\
                    6000-7000 r-xp 00000000 00:00 0 [vdso]\nAnonymous: 0 kB\n";
        assert_eq!(clean_files(text), [(0x1000, 0x2000)]);
    }

    #[test]
    fn the_process_goes_on_afterwards() {
        let mut trimmer = Trimmer::default();
        assert!(!trimmer.due());
        trimmer.used();
        trimmer.trim();
        trimmer.used();
        assert!(!trimmer.due());
    }
}
