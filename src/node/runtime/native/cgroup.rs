//! Control groups of containers, of version 1 and 2, read and removed by path; the container library makes them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill as send};
use nix::unistd::Pid;

use crate::rootless::is_rootless;
use crate::runtime::{Limits, Usage};

#[derive(Debug, PartialEq)]
struct Hierarchy {
    mount: PathBuf,
    /// `None`: version 2.
    controllers: Option<Vec<String>>,
}

/// Where control groups are mounted; it does not change while a machine runs. A plain user has none of his own.
fn hierarchies() -> &'static [Hierarchy] {
    static FOUND: OnceLock<Vec<Hierarchy>> = OnceLock::new();
    FOUND.get_or_init(|| match is_rootless() {
        true => Vec::new(),
        // other mounts' names need not be text
        false => parse(&String::from_utf8_lossy(&fs::read("/proc/self/mountinfo").unwrap_or_default())),
    })
}

fn parse(mountinfo: &str) -> Vec<Hierarchy> {
    let mut found = Vec::new();
    for line in mountinfo.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let Some(mount) = before.split(' ').nth(4).map(PathBuf::from) else { continue };
        let mut fields = after.split(' ');
        let controllers = match fields.next() {
            Some("cgroup2") => None,
            Some("cgroup") => Some(fields.nth(1).unwrap_or_default().split(',').map(str::to_owned).collect()),
            _ => continue,
        };
        if !found.iter().any(|h: &Hierarchy| h.controllers == controllers) {
            found.push(Hierarchy { mount, controllers });
        }
    }
    found
}

impl Hierarchy {
    fn at(&self, group: &Path) -> PathBuf {
        self.mount.join(group.strip_prefix("/").unwrap_or(group))
    }
}

/// The directory of `group` for a controller of version 1.
fn v1(controller: &str, group: &Path) -> Option<PathBuf> {
    let has = |h: &&Hierarchy| h.controllers.as_ref().is_some_and(|list| list.iter().any(|c| c == controller));
    hierarchies().iter().find(has).map(|h| h.at(group))
}

fn v2(group: &Path) -> Option<PathBuf> {
    hierarchies().iter().find(|h| h.controllers.is_none()).map(|h| h.at(group))
}

/// Whether this machine has control groups of version 2 only.
pub fn unified() -> bool {
    hierarchies().iter().all(|hierarchy| hierarchy.controllers.is_none())
}

/// The group's directories of version 1 that the container library makes, with the names they are mounted under.
pub fn version1(group: &Path) -> Vec<(String, PathBuf)> {
    const MADE: [&str; 11] =
        ["cpu", "cpuacct", "cpuset", "devices", "hugetlb", "memory", "pids", "perf_event", "blkio", "net_prio", "freezer"];
    let made = |h: &&Hierarchy| h.controllers.as_ref().is_some_and(|list| list.iter().any(|c| MADE.contains(&c.as_str())));
    let name = |h: &Hierarchy| h.mount.file_name().map(|name| name.to_string_lossy().into_owned());
    hierarchies().iter().filter(made).filter_map(|h| Some((name(h)?, h.at(group)))).collect()
}

/// A number behind a word, as in `oom_kill 3`.
fn count(text: &str, word: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' ')?.trim().parse().ok())
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Whether the kernel killed a process of the group for want of memory.
pub fn out_of_memory(group: &Path) -> bool {
    let v1 = v1("memory", group).and_then(|d| fs::read_to_string(d.join("memory.oom_control")).ok());
    let events = v1.or_else(|| v2(group).and_then(|d| fs::read_to_string(d.join("memory.events")).ok()));
    events.and_then(|text| count(&text, "oom_kill")).is_some_and(|kills| kills > 0)
}

/// What the group used; `None` when it is gone.
pub fn usage(group: &Path) -> Option<Usage> {
    if let (Some(cpu), Some(memory)) = (v1("cpuacct", group), v1("memory", group)) {
        let inactive = fs::read_to_string(memory.join("memory.stat")).ok().and_then(|text| count(&text, "total_inactive_file"));
        let used = number(&memory.join("memory.usage_in_bytes"))?;
        let memory_bytes = used.saturating_sub(inactive.unwrap_or(0));
        return Some(Usage { cpu_nanoseconds: number(&cpu.join("cpuacct.usage"))?, memory_bytes });
    }
    let directory = v2(group)?;
    let microseconds = count(&fs::read_to_string(directory.join("cpu.stat")).ok()?, "usage_usec")?;
    let inactive = fs::read_to_string(directory.join("memory.stat")).ok().and_then(|text| count(&text, "inactive_file"));
    let used = number(&directory.join("memory.current")).unwrap_or(0);
    Some(Usage { cpu_nanoseconds: microseconds * 1000, memory_bytes: used.saturating_sub(inactive.unwrap_or(0)) })
}

/// Makes the group where its limits are kept, with what is above it.
pub fn make(group: &Path) -> std::io::Result<()> {
    for controller in ["cpu", "memory", "pids"] {
        if let Some(directory) = v1(controller, group) {
            fs::create_dir_all(directory)?;
        }
    }
    if !unified() {
        return Ok(());
    }
    let parts: Vec<&Path> = group.ancestors().collect();
    for parent in parts.iter().rev() {
        if let Some(directory) = v2(parent) {
            fs::create_dir_all(&directory)?;
            if *parent != group {
                // A controller that the machine lacks must not keep the others away.
                for controller in ["+cpu", "+memory", "+pids"] {
                    let _ = fs::write(directory.join("cgroup.subtree_control"), controller);
                }
            }
        }
    }
    Ok(())
}

/// Sets the limits of a group that is there; what is zero has none.
pub fn set(group: &Path, limits: &Limits) -> std::io::Result<()> {
    let or_none = |value: i64, none: &str| if value > 0 { value.to_string() } else { none.to_owned() };
    if let Some(cpu) = v1("cpu", group) {
        if limits.cpu_shares > 0 {
            fs::write(cpu.join("cpu.shares"), limits.cpu_shares.max(2).to_string())?;
        }
        fs::write(cpu.join("cpu.cfs_quota_us"), or_none(limits.cpu_quota, "-1"))?;
        if let Some(memory) = v1("memory", group) {
            fs::write(memory.join("memory.limit_in_bytes"), or_none(limits.memory, "-1"))?;
        }
        return Ok(());
    }
    let Some(directory) = v2(group) else { return Ok(()) };
    if limits.cpu_shares > 0 {
        fs::write(directory.join("cpu.weight"), weight(limits.cpu_shares).to_string())?;
    }
    fs::write(directory.join("cpu.max"), format!("{} 100000", or_none(limits.cpu_quota, "max")))?;
    fs::write(directory.join("memory.max"), or_none(limits.memory, "max"))
}

/// Version 2's weight for version 1's shares, as engines convert it.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9_999 / 262_142
}

fn processes(group: &Path) -> Vec<i32> {
    let mut found = Vec::new();
    for hierarchy in hierarchies() {
        let text = fs::read_to_string(hierarchy.at(group).join("cgroup.procs")).unwrap_or_default();
        found.extend(text.lines().filter_map(|line| line.trim().parse::<i32>().ok()).filter(|pid| *pid > 0));
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Kills every process of the group.
pub fn kill(group: &Path) {
    if let Some(directory) = v2(group)
        && fs::write(directory.join("cgroup.kill"), "1").is_ok()
        && v1("memory", group).is_none()
    {
        return;
    }
    for pid in processes(group) {
        let _ = send(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// Removes an empty group and what is below it. A process that just ended may hold it for a moment: this blocks.
pub fn remove(group: &Path) {
    for hierarchy in hierarchies() {
        remove_tree(&hierarchy.at(group));
    }
}

fn remove_tree(directory: &Path) {
    if !directory.is_dir() {
        return;
    }
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    for attempt in 0..6 {
        match fs::remove_dir(directory) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => std::thread::sleep(Duration::from_millis(1 << attempt)),
            _ => return,
        }
    }
}

/// Ends what runs in a group and below it and removes them; says whether they are gone in time. This blocks.
pub fn clear(group: &Path, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        let left: Vec<PathBuf> = hierarchies().iter().map(|hierarchy| hierarchy.at(group)).filter(|directory| directory.is_dir()).collect();
        if left.is_empty() || Instant::now() > deadline {
            return left.is_empty();
        }
        for directory in left {
            kill_tree(&directory);
            remove_tree(&directory);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn kill_tree(directory: &Path) {
    for pid in fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default().lines().filter_map(|line| line.parse::<i32>().ok()) {
        // it may just have ended; a zero is of another namespace
        let _ = if pid > 0 { send(Pid::from_raw(pid), Signal::SIGKILL) } else { Ok(()) };
    }
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            kill_tree(&entry.path());
        }
    }
}

/// Removes empty groups from `group` up to and with `root`.
pub fn remove_parents(group: &Path, root: &Path) {
    for hierarchy in hierarchies() {
        for parent in group.ancestors().take_while(|parent| parent.starts_with(root) && parent.components().count() > 1) {
            if fs::remove_dir(hierarchy.at(parent)).is_err_and(|error| error.kind() != std::io::ErrorKind::NotFound) {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn hierarchies_of_both_versions_are_found() {
        let text = "30 24 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
                    31 24 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n1 2 0:1 / / rw - ext4 /dev/vda rw\n";
        let found = parse(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].mount, Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        assert!(found[0].controllers.as_ref().unwrap().contains(&"cpuacct".to_owned()));
        assert_eq!(found[1].at(Path::new("/a/b")), Path::new("/sys/fs/cgroup/unified/a/b"));
    }

    #[test]
    fn counts_follow_whole_words() {
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "oom_kill"), Some(3));
    }
}
