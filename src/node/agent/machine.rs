//! What the machine is and has.

use std::path::Path;

use coracle_api::quantity::Quantity;

use crate::runtime::Usage;

/// What a node has to give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacity {
    /// Thousandths of a core.
    pub cpu_milli: i64,
    /// Bytes of memory.
    pub memory: i64,
    /// Bytes of disk for pods.
    pub storage: i64,
    /// Number of pods.
    pub pods: i64,
}

impl Capacity {
    /// What this machine has, with `data_dir` on the disk that pods use.
    pub fn of_machine(data_dir: &Path) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let memory = total_memory();
        Self { cpu_milli: i64::try_from(cores).unwrap_or(1) * 1_000, memory, storage: disk_size(data_dir), pods: 110 }
    }

    /// As the Node object's `capacity` shows it.
    pub(crate) fn resources(&self) -> Vec<(&'static str, String)> {
        vec![
            ("cpu", Quantity::milli(self.cpu_milli).to_string()),
            ("ephemeral-storage", Quantity::bytes(self.storage).to_string()),
            ("hugepages-1Gi", "0".to_owned()),
            ("hugepages-2Mi", "0".to_owned()),
            ("memory", format!("{}Ki", self.memory / 1024)),
            ("pods", self.pods.to_string()),
        ]
    }
}

fn total_memory() -> i64 {
    let text = read("/proc/meminfo");
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<i64>().ok()).map_or(1 << 30, |kib| kib * 1024)
}

/// What the whole machine has used of its processors, and uses of its memory.
pub(crate) fn used() -> Usage {
    let (stat, meminfo) = (read("/proc/stat"), read("/proc/meminfo"));
    let ticks: Vec<u64> = stat.lines().next().into_iter().flat_map(|line| line.split_whitespace().skip(1)).flat_map(str::parse).collect();
    // user nice system idle iowait irq softirq steal; guests are in the first two
    let busy: u64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|&at| ticks.get(at)).sum();
    let hertz = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten().and_then(|hertz| u64::try_from(hertz).ok());
    let kib = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).unwrap_or(0)
    };
    Usage {
        cpu_nanoseconds: busy * (1_000_000_000 / hertz.unwrap_or(100)),
        memory_bytes: kib("MemTotal:").saturating_sub(kib("MemAvailable:")) * 1024,
    }
}

fn disk_size(path: &Path) -> i64 {
    let existing = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    nix::sys::statvfs::statvfs(existing).map_or(0, |disk| {
        let bytes = u128::from(disk.blocks()) * u128::from(disk.fragment_size());
        i64::try_from(bytes / 1024 * 1024).unwrap_or(i64::MAX)
    })
}

/// What `status.nodeInfo` says about the machine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Machine {
    pub(crate) machine_id: String,
    pub(crate) system_uuid: String,
    pub(crate) boot_id: String,
    pub(crate) kernel: String,
    pub(crate) os_image: String,
}

/// `amd64`, `arm64`, …: Go's names.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

impl Machine {
    /// Reads the machine's files.
    pub(crate) fn read() -> Self {
        let release = read("/etc/os-release");
        let os_image = release
            .lines()
            .find_map(|line| line.strip_prefix("PRETTY_NAME="))
            .map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned());
        let machine_id =
            [read("/etc/machine-id"), read("/var/lib/dbus/machine-id")].into_iter().find(|id| !id.is_empty()).unwrap_or_default();
        let uuid = read("/sys/class/dmi/id/product_uuid");
        Self {
            system_uuid: if uuid.is_empty() { machine_id.clone() } else { uuid },
            machine_id,
            boot_id: read("/proc/sys/kernel/random/boot_id"),
            kernel: read("/proc/sys/kernel/osrelease"),
            os_image,
        }
    }
}
