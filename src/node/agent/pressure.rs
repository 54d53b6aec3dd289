//! What the machine is short of: memory, disk, process ids.

use std::path::Path;
use std::time::Duration;

use coracle_api::quantity::Quantity;
use jiff::Timestamp;
use parking_lot::Mutex;

/// The kubelet's: less than this is free.
const MEMORY: u64 = 100 << 20;
/// The kubelet's share of a disk, but never more than this: on a large disk of a person's own machine a tenth is plenty.
const DISK_SHARE: u64 = 10;
const DISK_MOST: u64 = 1 << 30;
const INODES_SHARE: u64 = 20;
const PIDS_SHARE: u64 = 20;
/// A condition stays for so long after the shortage is over.
const HOLD: Duration = Duration::from_secs(300);

/// One shortage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pressure {
    /// `memory`, `ephemeral-storage`, `inodes` or `pids`.
    pub(crate) resource: &'static str,
    pub(crate) available: String,
    pub(crate) threshold: String,
}

impl Pressure {
    pub(crate) fn of(resource: &'static str, available: u64, threshold: u64) -> Self {
        let shown = |value: u64| match resource {
            "memory" | "ephemeral-storage" => Quantity::bytes(i64::try_from(value).unwrap_or(i64::MAX) / 1024 * 1024).to_string(),
            _ => value.to_string(),
        };
        Self { resource, available: shown(available), threshold: shown(threshold) }
    }
}

/// Everything that is short now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pressures {
    pub(crate) memory: Option<Pressure>,
    pub(crate) disk: Option<Pressure>,
    pub(crate) pids: Option<Pressure>,
}

/// What was measured: available and total.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Measured {
    pub(crate) memory: (u64, u64),
    pub(crate) disk: (u64, u64),
    pub(crate) inodes: (u64, u64),
    pub(crate) pids: (u64, u64),
}

impl Measured {
    /// Reads the machine. What cannot be read is not short.
    pub(crate) fn read(data_dir: &Path) -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let meminfo = text("/proc/meminfo");
        let field = |name: &str| {
            let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
        };
        let memory = (field("MemAvailable:").unwrap_or(u64::MAX), field("MemTotal:").unwrap_or(0));
        let disk = nix::sys::statvfs::statvfs(data_dir).ok();
        let bytes = |blocks: u64, disk: &nix::sys::statvfs::Statvfs| blocks.saturating_mul(disk.fragment_size());
        let most = text("/proc/sys/kernel/pid_max").trim().parse::<u64>().unwrap_or(0);
        let running = text("/proc/loadavg").split([' ', '/']).nth(4).and_then(|count| count.parse::<u64>().ok()).unwrap_or(0);
        Self {
            memory,
            disk: disk.as_ref().map_or((u64::MAX, 0), |disk| (bytes(disk.blocks_available(), disk), bytes(disk.blocks(), disk))),
            inodes: disk.as_ref().map_or((u64::MAX, 0), |disk| (disk.files_available(), disk.files())),
            pids: (most.saturating_sub(running), most),
        }
    }

    /// What of it is short.
    pub(crate) fn pressures(&self) -> Pressures {
        let short = |resource, (available, total): (u64, u64), threshold: u64| {
            (total > 0 && available < threshold).then(|| Pressure::of(resource, available, threshold))
        };
        let disk = short("ephemeral-storage", self.disk, (self.disk.1 / DISK_SHARE).min(DISK_MOST));
        Pressures {
            memory: short("memory", self.memory, MEMORY),
            disk: disk.or_else(|| short("inodes", self.inodes, self.inodes.1 / INODES_SHARE)),
            pids: short("pids", self.pids, self.pids.1 / PIDS_SHARE),
        }
    }
}

#[derive(Debug, Default)]
struct Seen {
    now: Pressures,
    last: [Option<Timestamp>; 3],
}

/// The node's shortages over time.
#[derive(Debug, Default)]
pub(crate) struct Watch(Mutex<Seen>);

/// What a look found.
pub(crate) struct Look {
    pub(crate) now: Pressures,
    /// The conditions that the node shows changed.
    pub(crate) changed: bool,
}

impl Watch {
    /// Looks at the machine.
    pub(crate) fn measure(&self, data_dir: &Path, now: Timestamp) -> Look {
        self.take(Measured::read(data_dir).pressures(), now)
    }

    fn take(&self, found: Pressures, now: Timestamp) -> Look {
        let before = self.conditions(now);
        {
            let mut seen = self.0.lock();
            for (last, found) in seen.last.iter_mut().zip([&found.memory, &found.disk, &found.pids]) {
                if found.is_some() {
                    *last = Some(now);
                }
            }
            seen.now = found.clone();
        }
        Look { now: found, changed: before != self.conditions(now) }
    }

    /// What is short at this moment.
    pub(crate) fn now(&self) -> Pressures {
        self.0.lock().now.clone()
    }

    /// Memory, disk and PID pressure as the node's conditions show them: a shortage is shown for a while after its end.
    pub(crate) fn conditions(&self, now: Timestamp) -> [bool; 3] {
        let hold = jiff::SignedDuration::try_from(HOLD).unwrap_or_default();
        self.0.lock().last.map(|last| last.is_some_and(|last| now.duration_since(last) < hold))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    const FINE: Measured =
        Measured { memory: (1 << 30, 2 << 30), disk: (50 << 30, 100 << 30), inodes: (500, 1_000), pids: (30_000, 32_768) };

    #[test]
    fn what_is_short() {
        assert_eq!(FINE.pressures(), Pressures::default());
        let memory = Measured { memory: (50 << 20, 2 << 30), ..FINE }.pressures().memory.unwrap();
        assert_eq!((memory.available.as_str(), memory.threshold.as_str()), ("50Mi", "100Mi"));
        // A tenth of a large disk is more than enough.
        assert_eq!(Measured { disk: (2 << 30, 100 << 30), ..FINE }.pressures().disk, None);
        assert_eq!(Measured { disk: (1 << 29, 100 << 30), ..FINE }.pressures().disk.unwrap().resource, "ephemeral-storage");
        assert_eq!(Measured { inodes: (10, 1_000), ..FINE }.pressures().disk.unwrap().resource, "inodes");
        assert_eq!(Measured { pids: (100, 32_768), ..FINE }.pressures().pids.unwrap().available, "100");
        assert_eq!(Measured::default().pressures(), Pressures::default());
    }

    #[test]
    fn a_condition_outlasts_its_cause() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let watch = Watch::default();
        let short = Measured { memory: (0, 1), ..FINE }.pressures();
        assert!(!watch.take(Pressures::default(), at(0)).changed);
        assert!(watch.take(short, at(10)).changed);
        assert!(!watch.take(Pressures::default(), at(20)).changed);
        assert_eq!((watch.conditions(at(309)), watch.conditions(at(310))), ([true, false, false], [false; 3]));
    }

    #[test]
    fn this_machine_can_be_read() {
        let read = Measured::read(Path::new("/"));
        assert!(read.memory.1 > 0 && read.disk.1 > 0 && read.pids.1 > 0, "{read:?}");
        assert!(read.pids.0 < read.pids.1);
    }
}
