//! The processes of a container without a control group of its own: those in its mount namespace.

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::runtime::Usage;

/// Process times are told in hundredths of a second, whatever the kernel's own clock.
const TICK_NANOSECONDS: u64 = 10_000_000;

/// A mount namespace, as the kernel names it.
#[derive(Debug, PartialEq, Eq)]
pub struct MountNamespace(PathBuf);

impl MountNamespace {
    /// The one a process is in; `None` when it has ended.
    pub fn of(process: i32) -> Option<Self> {
        fs::read_link(format!("/proc/{process}/ns/mnt")).ok().map(Self)
    }

    fn processes(&self) -> Vec<i32> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let all = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        all.filter(|process| Self::of(*process).as_ref() == Some(self)).collect()
    }

    /// Kills every process in it; never the caller's own.
    pub fn kill(&self) {
        if Self::of(std::process::id().cast_signed()).as_ref() != Some(self) {
            for process in self.processes() {
                let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
            }
        }
    }
}

/// What the processes in the mount namespace of a container's first process use; `None` when it is gone. What ended counts
/// as long as the parent that waited for it is there.
pub fn usage(first: i32) -> Option<Usage> {
    let mut sum = Usage { cpu_nanoseconds: 0, memory_bytes: 0 };
    for process in MountNamespace::of(first)?.processes() {
        let read = |file: &str| fs::read_to_string(format!("/proc/{process}/{file}")).unwrap_or_default();
        // a process that ended in between used nothing
        let Some(ticks) = ticks(&read("stat")) else { continue };
        sum.cpu_nanoseconds += ticks * TICK_NANOSECONDS;
        sum.memory_bytes += resident(&read("status")).unwrap_or(0);
    }
    Some(sum)
}

/// Time in user mode and in the kernel, its own and that of children it waited for.
fn ticks(stat: &str) -> Option<u64> {
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    fields.get(11..15)?.iter().map(|field| field.trim().parse::<u64>().ok()).sum()
}

/// Memory that is its own, not files' that others have, too.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_process_is_measured() {
        let stat = "12 (a) b) S 1 12 12 0 -1 4194560 100 200 0 0 7 5 30 8 20 0 1 0 99 1000 50\n";
        assert_eq!(ticks(stat), Some(50));
        assert_eq!(ticks("12 (a"), None);
        assert_eq!(resident("Name:\tsh\nRssAnon:\t     128 kB\n"), Some(128 << 10));
        let own = usage(std::process::id().cast_signed()).unwrap();
        assert!(own.memory_bytes > 0, "{own:?}");
        assert!(usage(i32::MAX).is_none());
    }
}
