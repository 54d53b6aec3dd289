//! What works on this machine, and what would make the rest work.

use std::path::Path;

use coracle_node::rootless;

use crate::choice::{docker_engine, native_obstacle};
use crate::directory::DataDirectory;

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub subject: &'static str,
    /// Whether it works.
    pub works: bool,
    /// In words; where it does not work, what would help.
    pub says: String,
}

fn finding(subject: &'static str, works: bool, says: impl Into<String>) -> Finding {
    Finding { subject, works, says: says.into() }
}

/// Looks at the machine; changes nothing.
pub fn doctor(directory: &DataDirectory) -> Vec<Finding> {
    vec![data(directory), docker(), native(), control_groups(), host_network(), packet_tables(), seccomp(), programs()]
}

fn data(directory: &DataDirectory) -> Finding {
    let path = directory.path();
    let existing = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    let writable = nix::unistd::access(existing, nix::unistd::AccessFlags::W_OK).is_ok();
    match (directory.holder(), writable) {
        (Some(holder), _) => finding("data directory", true, format!("{}: in use by process {}", path.display(), holder.pid)),
        (None, true) => finding("data directory", true, path.display().to_string()),
        (None, false) => {
            finding("data directory", false, format!("{} is not writable; choose another with --data-dir", existing.display()))
        }
    }
}

fn docker() -> Finding {
    match docker_engine() {
        Ok(engine) => finding("docker runtime", true, format!("containers by the engine {} at {}", engine.version, engine.address)),
        Err(reason) => {
            let help = "start an engine on this machine, or name its socket in DOCKER_HOST";
            finding("docker runtime", false, format!("{reason}; {help}"))
        }
    }
}

fn native() -> Finding {
    if !nix::unistd::geteuid().is_root() {
        return match rootless::obstacle() {
            None => finding("native runtime", true, format!("containers without Docker, rootless: {}", rootless::lacks())),
            Some(reason) => finding("native runtime", false, format!("{reason}; or run as root, or try --runtime simulated")),
        };
    }
    match native_obstacle() {
        None => finding("native runtime", true, "containers without Docker, as root"),
        Some(reason) => finding("native runtime", false, format!("{reason}; run as root, or try --runtime simulated")),
    }
}

fn control_groups() -> Finding {
    if !nix::unistd::geteuid().is_root() {
        return finding("control groups", false, "a plain user has none: limits are not enforced; run as root for them");
    }
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let types: Vec<&str> = mounts.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    match (types.contains(&"cgroup"), types.contains(&"cgroup2")) {
        (true, _) => finding("control groups", true, "version 1: limits hold for cpu, memory and pids"),
        (false, true) => finding("control groups", true, "version 2: limits hold for cpu, memory and pids"),
        (false, false) => finding("control groups", false, "none mounted: limits are not enforced"),
    }
}

fn host_network() -> Finding {
    if !nix::unistd::geteuid().is_root() {
        let says = "pods reach each other and services, no other: a way out needs root; simulated pods have addresses and no network";
        return finding("pod network", rootless::obstacle().is_none(), says);
    }
    match coracle_network::egress::permitted() {
        Ok(()) => finding("pod network", true, "pods reach each other, services, this machine and what it reaches"),
        Err(closed) => finding("pod network", true, format!("pods reach each other, services and this machine, no other: {closed}")),
    }
}

fn packet_tables() -> Finding {
    match coracle_network::nft_program() {
        Some(program) => {
            finding("packet tables", true, format!("{}: services in the kernel, network policies are enforced", program.display()))
        }
        None => {
            let lack = "there is no nft: services work in user space and hide who asks, network policies hold for services only";
            finding("packet tables", false, format!("{lack}; install nftables"))
        }
    }
}

fn seccomp() -> Finding {
    finding("seccomp", false, "the native runtime applies no seccomp profile, whatever a pod asks for; the docker runtime does")
}

fn programs() -> Finding {
    let found: Vec<&str> = ["sh", "ls", "cat", "ps", "env", "sleep", "wget", "curl"]
        .into_iter()
        .filter(|name| ["/bin", "/usr/bin"].iter().any(|directory| Path::new(directory).join(name).exists()))
        .collect();
    finding("own image", true, format!("coracle.local/kubia brings the host's {}", found.join(" ")))
}

/// The process that listens on a TCP port of this machine, as `nginx (process 123)`.
pub(crate) fn port_user(port: u16) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
    let listening = "0A";
    let inode = tables.iter().flat_map(|table| table.lines().skip(1)).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let local = fields.get(1)?.rsplit_once(':')?.1;
        (u16::from_str_radix(local, 16).ok()? == port && *fields.get(3)? == listening).then(|| (*fields.get(9).unwrap_or(&"")).to_owned())
    })?;
    let wanted = format!("socket:[{inode}]");
    let processes = std::fs::read_dir("/proc").ok()?.flatten().filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok());
    for process in processes {
        let Ok(descriptors) = std::fs::read_dir(process.path().join("fd")) else { continue };
        let has = |entry: std::fs::DirEntry| std::fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy() == wanted);
        if descriptors.flatten().any(has) {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (process {})", name.trim(), process.file_name().to_string_lossy()));
        }
    }
    None
}
