//! The OCI specification of a container: the defaults that engines agree on, and what the pod asks for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::rootless::{has_group, is_rootless};
use crate::runtime::{ContainerConfig, Mount, NamespaceMode, SandboxConfig};

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What engines leave a container of the capabilities of root.
const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// By number, as the kernel has them.
pub(crate) const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

const MASKED: [&str; 10] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What an image's configuration says about its process.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ImageProcess {
    /// `Entrypoint`.
    pub entrypoint: Vec<String>,
    /// `Cmd`.
    pub command: Vec<String>,
    /// `Env`, each `NAME=value`.
    pub env: Vec<String>,
    /// `WorkingDir`.
    pub working_dir: String,
}

/// Numbers of the process's user.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// More groups.
    pub groups: Vec<u32>,
}

/// Everything a specification is made from.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The container.
    pub config: &'a ContainerConfig,
    /// Its sandbox.
    pub sandbox: &'a SandboxConfig,
    /// Its image.
    pub image: &'a ImageProcess,
    /// Its user.
    pub user: &'a User,
    /// Its root.
    pub rootfs: &'a Path,
    /// Its control group.
    pub cgroup: &'a Path,
    /// The pod's shared memory.
    pub shm: &'a Path,
    /// A PID namespace to join.
    pub pid_namespace: Option<PathBuf>,
    /// Whether control groups are version 2 only.
    pub unified: bool,
    /// Whether root is a plain user of the machine.
    pub rootless: bool,
}

/// Program and arguments: `command` replaces entry point and default arguments, `args` replaces the latter.
pub fn arguments(config: &ContainerConfig, image: &ImageProcess) -> Vec<String> {
    let mut arguments = if config.command.is_empty() { image.entrypoint.clone() } else { config.command.clone() };
    if !config.args.is_empty() {
        arguments.extend(config.args.iter().cloned());
    } else if config.command.is_empty() {
        arguments.extend(image.command.iter().cloned());
    }
    arguments
}

/// The working directory.
pub fn working_dir(config: &ContainerConfig, image: &ImageProcess) -> PathBuf {
    let chosen = [&config.working_dir, &image.working_dir].into_iter().find(|dir| !dir.is_empty());
    Path::new("/").join(chosen.map_or("/", String::as_str))
}

fn environment(inputs: &Inputs<'_>) -> Vec<String> {
    let mut all: Vec<String> = vec![DEFAULT_PATH.to_owned()];
    if inputs.config.tty {
        all.push("TERM=xterm".to_owned());
    }
    let hostname = match inputs.sandbox.hostname.as_str() {
        "" => nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        name => name.to_owned(),
    };
    all.push(format!("HOSTNAME={hostname}"));
    all.extend(inputs.image.env.iter().cloned());
    all.extend(inputs.config.env.iter().map(|(name, value)| format!("{name}={value}")));
    // A later entry replaces an earlier one in its place.
    let mut unique: Vec<String> = Vec::with_capacity(all.len());
    for entry in all {
        let name = entry.split('=').next().unwrap_or_default();
        match unique.iter_mut().find(|other| other.split('=').next() == Some(name)) {
            Some(other) => *other = entry,
            None => unique.push(entry),
        }
    }
    unique
}

/// The capabilities that this process may pass on, as bits.
fn own_capabilities() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bits = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    bits.unwrap_or(u64::MAX)
}

fn capabilities(inputs: &Inputs<'_>) -> Vec<String> {
    // What we have not we cannot give; a kernel's newer ones are among what it lacks.
    let own = own_capabilities();
    let known = || CAPABILITIES.iter().enumerate().filter(|(number, _)| own & (1 << number) != 0).map(|(_, name)| *name);
    let security = &inputs.config.security;
    let plain = |name: &String| name.to_uppercase().trim_start_matches("CAP_").to_owned();
    let add: Vec<String> = security.add_capabilities.iter().map(plain).collect();
    let drop: Vec<String> = security.drop_capabilities.iter().map(plain).collect();
    let all = |list: &[String]| list.iter().any(|name| name == "ALL");
    let mut have: BTreeSet<String> = if security.privileged || all(&add) {
        known().map(str::to_owned).collect()
    } else if all(&drop) {
        BTreeSet::new()
    } else {
        DEFAULT_CAPABILITIES.iter().map(|name| (*name).to_owned()).collect()
    };
    if !security.privileged {
        have.retain(|name| !drop.contains(name));
        have.extend(add.into_iter().filter(|name| name != "ALL"));
    }
    have.into_iter().filter(|name| known().any(|k| k == name)).map(|name| format!("CAP_{name}")).collect()
}

fn bind(mount: &Mount) -> Value {
    let access = if mount.read_only { "ro" } else { "rw" };
    json!({"destination": mount.destination, "source": mount.source, "type": "bind", "options": ["rbind", access]})
}

fn mounts(inputs: &Inputs<'_>) -> Vec<Value> {
    let privileged = inputs.config.security.privileged;
    let kernel = if privileged { "rw" } else { "ro" };
    // what shows a namespace of the machine can be mounted by the machine's root only
    let of_kernel = |at: &str, kind: &str, of_pod: bool, access: &str| match inputs.rootless && !of_pod {
        true => {
            json!({"destination": at, "type": "bind", "source": at, "options": ["rbind", "rslave", "nosuid", "noexec", "nodev", access]})
        }
        false => json!({"destination": at, "type": kind, "source": kind, "options": ["nosuid", "noexec", "nodev", access]}),
    };
    let mut terminals = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    terminals.extend(has_group(5).then_some("gid=5"));
    let mut list = vec![
        of_kernel("/proc", "proc", inputs.sandbox.pid != NamespaceMode::Node, "rw"),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]}),
        json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": terminals}),
    ];
    if !inputs.rootless || inputs.sandbox.ipc == NamespaceMode::Pod || Path::new("/dev/mqueue").exists() {
        list.push(of_kernel("/dev/mqueue", "mqueue", inputs.sandbox.ipc == NamespaceMode::Pod, "rw"));
    }
    list.push(of_kernel("/sys", "sysfs", inputs.sandbox.netns.is_some(), kernel));
    if inputs.rootless {
        // his control groups are the machine's business
    } else if inputs.unified {
        list.push(json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
               "options": ["nosuid", "noexec", "nodev", "relatime", kernel]}));
    } else {
        // The library mounts version 1 writable.
        list.push(json!({"destination": "/sys/fs/cgroup", "type": "tmpfs", "source": "tmpfs",
               "options": ["nosuid", "noexec", "nodev", "mode=755", "size=64k"]}));
        list.extend(super::cgroup::version1(inputs.cgroup).into_iter().map(|(name, directory)| {
            json!({"destination": format!("/sys/fs/cgroup/{name}"), "type": "bind", "source": directory,
                   "options": ["rbind", "nosuid", "noexec", "nodev", kernel]})
        }));
    }
    let named = |path: &str| inputs.config.mounts.iter().any(|mount| mount.destination == Path::new(path));
    if !named("/dev/shm") {
        let shm = if inputs.sandbox.ipc == NamespaceMode::Pod { inputs.shm } else { Path::new("/dev/shm") };
        list.push(json!({"destination": "/dev/shm", "type": "bind", "source": shm, "options": ["rbind", "rw"]}));
    }
    list.extend(inputs.config.mounts.iter().map(bind));
    list
}

fn resources(inputs: &Inputs<'_>) -> Value {
    let limits = &inputs.config.limits;
    let mut cpu = json!({});
    if limits.cpu_shares > 0 {
        cpu["shares"] = limits.cpu_shares.max(2).into();
    }
    if limits.cpu_quota > 0 {
        cpu["quota"] = limits.cpu_quota.max(1000).into();
        cpu["period"] = 100_000.into();
    }
    let mut all = json!({"cpu": cpu});
    if limits.memory > 0 {
        all["memory"] = json!({"limit": limits.memory});
    }
    if limits.pids > 0 {
        all["pids"] = json!({"limit": limits.pids});
    }
    all["devices"] = if inputs.config.security.privileged {
        json!([{"allow": true, "access": "rwm"}])
    } else {
        let allow = |kind: &str, major: i64, minor: Option<i64>, access: &str| {
            let mut rule = json!({"allow": true, "type": kind, "major": major, "access": access});
            if let Some(minor) = minor {
                rule["minor"] = minor.into();
            }
            rule
        };
        let mut rules = vec![json!({"allow": false, "access": "rwm"})];
        rules.extend(["c", "b"].map(|kind| json!({"allow": true, "type": kind, "access": "m"})));
        rules.extend([3, 5, 7, 8, 9].map(|minor| allow("c", 1, Some(minor), "rwm")));
        rules.extend([0, 1, 2].map(|minor| allow("c", 5, Some(minor), "rwm")));
        rules.push(allow("c", 136, None, "rwm"));
        rules.into()
    };
    all
}

/// Devices of the host, for a privileged container.
fn devices() -> Vec<Value> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let mut found = Vec::new();
    let mut directories = vec![PathBuf::from("/dev")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(meta) = std::fs::symlink_metadata(&path) else { continue };
            let kind = meta.file_type();
            let skipped = ["pts", "shm", "fd", "mqueue", "console", "ptmx", "tty", "null", "zero", "full", "random", "urandom"];
            if directory == Path::new("/dev") && skipped.iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            if kind.is_dir() {
                directories.push(path);
            } else if kind.is_char_device() || kind.is_block_device() {
                let number = meta.rdev();
                found.push(json!({"path": path, "type": if kind.is_char_device() { "c" } else { "b" },
                    "major": nix::sys::stat::major(number), "minor": nix::sys::stat::minor(number),
                    "fileMode": meta.mode() & 0o7777, "uid": meta.uid(), "gid": meta.gid()}));
            }
        }
    }
    found
}

/// A lower score than our own takes a right that even root may lack, as in a container; then ours has to do.
fn allowed_score(wanted: i32) -> i32 {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let own = read("/proc/self/oom_score_adj").trim().parse::<i32>().unwrap_or(0);
    if wanted >= own {
        return wanted;
    }
    let status = read("/proc/self/status");
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    let has = !is_rootless()
        && CAPABILITIES.iter().position(|name| *name == "SYS_RESOURCE").is_some_and(|bit| effective.unwrap_or(0) >> bit & 1 == 1);
    if has { wanted } else { own }
}

/// The specification.
pub fn spec(inputs: &Inputs<'_>) -> Value {
    let config = inputs.config;
    let security = &config.security;
    let capabilities = capabilities(inputs);
    let mut namespaces = vec![json!({"type": "mount"})];
    match (inputs.sandbox.pid, &inputs.pid_namespace) {
        (_, Some(path)) => namespaces.push(json!({"type": "pid", "path": path})),
        (NamespaceMode::Node, None) => {}
        (_, None) => namespaces.push(json!({"type": "pid"})),
    }
    if inputs.unified && !security.privileged && !inputs.rootless {
        namespaces.push(json!({"type": "cgroup"}));
    }
    let mut linux = json!({
        "cgroupsPath": inputs.cgroup,
        "namespaces": namespaces,
    });
    if !inputs.rootless {
        linux["resources"] = resources(inputs);
    }
    // Mounts that are to reach the host, or the host's them, are not cut off at first; the shim gives each its own propagation.
    let any = |propagation: &str| config.mounts.iter().any(|mount| mount.propagation == propagation);
    linux["rootfsPropagation"] = if any("rshared") { "shared" } else { ["private", "slave"][usize::from(any("rslave"))] }.into();
    if security.privileged {
        linux["devices"] = devices().into();
    } else if !security.unmasked_proc {
        linux["maskedPaths"] = MASKED.iter().copied().chain(["/sys/firmware", "/sys/devices/virtual/powercap"]).collect::<Vec<_>>().into();
        linux["readonlyPaths"] = READ_ONLY.to_vec().into();
    }
    if !security.privileged && !inputs.unified && !inputs.rootless {
        if let Some(list) = linux["readonlyPaths"].as_array_mut() {
            list.push("/sys/fs/cgroup".into());
        } else {
            linux["readonlyPaths"] = json!(["/sys/fs/cgroup"]);
        }
    }
    // Only root keeps its capabilities over exec without ambient ones, as engines do it.
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": config.tty,
            "user": {"uid": inputs.user.uid, "gid": inputs.user.gid, "additionalGids": inputs.user.groups},
            "args": arguments(config, inputs.image),
            "env": environment(inputs),
            "cwd": working_dir(config, inputs.image),
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            "noNewPrivileges": security.no_new_privileges,
            "oomScoreAdj": allowed_score(config.limits.oom_score_adj),
        },
        "root": {"path": inputs.rootfs, "readonly": security.read_only_root},
        "mounts": mounts(inputs),
        "linux": linux,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn command_and_args_replace_the_images_as_the_api_says() {
        let image = ImageProcess { entrypoint: words("/entry"), command: words("default"), ..ImageProcess::default() };
        let cases = [("", "", "/entry default"), ("", "a b", "/entry a b"), ("/cmd", "", "/cmd"), ("/cmd", "a", "/cmd a")];
        for (command, args, expected) in cases {
            let config = ContainerConfig { command: words(command), args: words(args), ..ContainerConfig::default() };
            assert_eq!(arguments(&config, &image), words(expected), "{command:?} {args:?}");
        }
    }

    fn capabilities_of(privileged: bool, add: &str, drop: &str) -> Vec<String> {
        let mut config = ContainerConfig::default();
        config.security.privileged = privileged;
        config.security.add_capabilities = words(add);
        config.security.drop_capabilities = words(drop);
        let inputs = Inputs {
            config: &config,
            sandbox: &SandboxConfig::default(),
            image: &ImageProcess::default(),
            user: &User::default(),
            rootfs: Path::new("/r"),
            cgroup: Path::new("/c"),
            shm: Path::new("/s"),
            pid_namespace: None,
            unified: false,
            rootless: false,
        };
        capabilities(&inputs)
    }

    #[test]
    fn capabilities_are_added_and_dropped() {
        assert_eq!(capabilities_of(false, "", "").len(), 14);
        assert_eq!(capabilities_of(false, "NET_ADMIN", "ALL"), ["CAP_NET_ADMIN"]);
        assert!(!capabilities_of(false, "ALL", "CAP_SYS_ADMIN").contains(&"CAP_SYS_ADMIN".to_owned()));
        assert!(capabilities_of(false, "ALL", "").len() > 35);
        assert!(capabilities_of(true, "", "ALL").contains(&"CAP_SYS_ADMIN".to_owned()));
    }
}
