//! What sandboxes and containers are made of.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// How a namespace is had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum NamespaceMode {
    /// One for the pod.
    #[default]
    Pod,
    /// One for each container (PID only).
    Container,
    /// The host's.
    Node,
}

/// What a pod's sandbox is made of.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct SandboxConfig {
    /// Node this pod runs on.
    pub node: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
    /// UID of the pod.
    pub uid: String,
    /// Grows with every new sandbox of the same pod.
    pub attempt: u32,
    /// Host name inside; empty with the host's network.
    pub hostname: String,
    /// Network namespace to join; `None`: the host's, or with a runtime that makes networks its own.
    pub netns: Option<PathBuf>,
    /// The host's network.
    #[serde(default)]
    pub host_network: bool,
    /// PID namespace.
    pub pid: NamespaceMode,
    /// IPC namespace.
    pub ipc: NamespaceMode,
    /// Where the pod's cgroup goes, relative to the node's, e.g. `burstable/pod<uid>`.
    pub cgroup_parent: String,
    /// `sysctl`s of the pod.
    pub sysctls: BTreeMap<String, String>,
    /// The pod's annotations (the simulated runtime reads its script from them).
    pub annotations: BTreeMap<String, String>,
    /// Directory for the pod's container logs, as `/var/log/pods/<ns>_<name>_<uid>` is for the kubelet.
    pub log_directory: PathBuf,
    /// Limits of the pod as a whole.
    #[serde(default)]
    pub limits: Limits,
}

/// A bind mount into a container.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Mount {
    /// Path on the host; with `image`, a path inside of it.
    pub source: PathBuf,
    /// Id of an image whose files are mounted, read-only.
    #[serde(default)]
    pub image: Option<String>,
    /// Path in the container.
    pub destination: PathBuf,
    /// Not writable.
    pub read_only: bool,
    /// `private`, `rslave` or `rshared`.
    pub propagation: String,
}

/// Limits, in the units of the kernel's control groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Limits {
    /// Relative weight (cgroup v1's `cpu.shares`).
    pub cpu_shares: u64,
    /// Microseconds of CPU per 100 ms; 0: no limit.
    pub cpu_quota: i64,
    /// Bytes; 0: no limit.
    pub memory: i64,
    /// Number of processes; 0: no limit.
    pub pids: i64,
    /// `oom_score_adj`.
    pub oom_score_adj: i32,
}

/// Which system calls a container may make.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Seccomp {
    /// All.
    #[default]
    Unconfined,
    /// The runtime's choice.
    RuntimeDefault,
    /// Those of a profile of the node, named by its path below the node's profiles.
    Localhost(String),
}

/// Security settings of a container, as resolved from pod and container.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Security {
    /// User id; `None`: the image's user.
    pub run_as_user: Option<i64>,
    /// Group id; `None`: the image's.
    pub run_as_group: Option<i64>,
    /// More groups of the process (fsGroup among them).
    pub supplemental_groups: Vec<i64>,
    /// `supplementalGroupsPolicy: Strict`: groups of the image's /etc/group are not among them.
    #[serde(default)]
    pub strict_groups: bool,
    /// Everything is allowed.
    pub privileged: bool,
    /// The root file system cannot be written.
    pub read_only_root: bool,
    /// `no_new_privs`.
    pub no_new_privileges: bool,
    /// Capabilities added, without `CAP_`, or `ALL`.
    pub add_capabilities: Vec<String>,
    /// Capabilities dropped, without `CAP_`, or `ALL`.
    pub drop_capabilities: Vec<String>,
    /// `procMount: Unmasked`.
    pub unmasked_proc: bool,
    /// `seccompProfile`.
    #[serde(default)]
    pub seccomp: Seccomp,
    /// `appArmorProfile`.
    #[serde(default)]
    pub apparmor: AppArmor,
}

/// The AppArmor profile of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum AppArmor {
    /// What the runtime does by itself.
    #[default]
    RuntimeDefault,
    /// None.
    Unconfined,
    /// One that the kernel has loaded.
    Localhost(String),
}

/// What a container is made of.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct ContainerConfig {
    /// Name in the pod.
    pub name: String,
    /// Which instance, from 0: the restart count when it was made.
    pub attempt: u32,
    /// Image as the pod names it.
    pub image: String,
    /// Image as the runtime knows it (from `image_status`).
    pub image_id: String,
    /// `command`, after expansion; empty: the image's entry point.
    pub command: Vec<String>,
    /// `args`, after expansion.
    pub args: Vec<String>,
    /// Environment set by the pod, in order; the image's comes first.
    pub env: Vec<(String, String)>,
    /// Working directory; empty: the image's.
    pub working_dir: String,
    /// Mounts, parents before children.
    pub mounts: Vec<Mount>,
    /// Limits.
    pub limits: Limits,
    /// Security settings.
    pub security: Security,
    /// Keep standard input open.
    pub stdin: bool,
    /// Close standard input after the first attach ends.
    pub stdin_once: bool,
    /// Give it a terminal.
    pub tty: bool,
    /// Log file, relative to the sandbox's log directory: `<container>/<attempt>.log`.
    pub log_path: PathBuf,
    /// A container whose PID namespace it joins.
    #[serde(default)]
    pub target: Option<String>,
    /// Free labels, kept and returned (`Container::labels`): the agent keeps a hash of the spec there.
    pub labels: BTreeMap<String, String>,
}
