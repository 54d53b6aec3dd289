//! What runs containers, behind one trait shaped like the CRI.
//!
//! The runtime is the truth about what exists: the agent lists it and acts on the difference. Everything it returns
//! survives a restart of the process, because it is read from the runtime's own records on disk.

mod config;
pub mod docker;
pub mod native;
pub mod simulated;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use coracle_api::seams::{Session, StreamOptions};
use jiff::Timestamp;
use tokio::sync::broadcast;

pub use config::{AppArmor, ContainerConfig, Limits, Mount, NamespaceMode, SandboxConfig, Seccomp, Security};

/// Why a runtime call failed.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// No such sandbox, container or image.
    #[error("{what} not found")]
    NotFound {
        /// What was looked for.
        what: String,
    },
    /// The container is not in a state in which this can be done.
    #[error("container {id} is not running")]
    NotRunning {
        /// The container.
        id: String,
    },
    /// The container's command cannot be started; `message` reads as runc's, for example
    /// `exec: "nope": executable file not found in $PATH`.
    #[error("{message}")]
    Start {
        /// Why.
        message: String,
    },
    /// The image cannot be had.
    #[error("{message}")]
    Image {
        /// Why.
        message: String,
    },
    /// A command did not end in time.
    #[error("timed out after {}s", after.as_secs())]
    Timeout {
        /// How long was waited.
        after: Duration,
    },
    /// The machine refused a step.
    #[error("{step}")]
    Io {
        /// Which step, on what.
        step: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The engine or shim answered something unexpected, or not at all.
    #[error("{message}")]
    Engine {
        /// What happened.
        message: String,
    },
}

/// State of a sandbox.
#[derive(Debug, Clone, PartialEq)]
pub struct Sandbox {
    /// The runtime's id: 64 hexadecimal digits.
    pub id: String,
    /// UID of the pod.
    pub pod_uid: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
    /// Which attempt.
    pub attempt: u32,
    /// Whether it is usable: its processes can still be joined.
    pub ready: bool,
    /// When it was made.
    pub created: Timestamp,
}

/// State of a container's process.
#[derive(Debug, Clone, PartialEq)]
pub enum ContainerState {
    /// Made, not started.
    Created,
    /// Its process runs.
    Running {
        /// When it was started.
        started: Timestamp,
    },
    /// Its process ended.
    Exited {
        /// When it was started; `None` when its command could not be started.
        started: Option<Timestamp>,
        /// When it ended.
        finished: Timestamp,
        /// Exit code; 128 + signal for a signal's.
        code: i32,
        /// `Completed`, `Error`, `OOMKilled`, `StartError` or `ContainerStatusUnknown`.
        reason: String,
        /// Message of a start error; empty otherwise.
        message: String,
    },
}

/// A container as the runtime has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Container {
    /// The runtime's id: 64 hexadecimal digits.
    pub id: String,
    /// Sandbox it belongs to.
    pub sandbox_id: String,
    /// UID of its pod.
    pub pod_uid: String,
    /// Name in the pod.
    pub name: String,
    /// Which instance.
    pub attempt: u32,
    /// Image as the pod named it.
    pub image: String,
    /// Image id, as `sha256:…`.
    pub image_id: String,
    /// When it was made.
    pub created: Timestamp,
    /// Its process.
    pub state: ContainerState,
    /// PID on the host while running.
    pub pid: Option<u32>,
    /// As given at creation.
    pub labels: BTreeMap<String, String>,
    /// Absolute path of its log.
    pub log_path: PathBuf,
}

/// What a container used up to now.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// CPU time in nanoseconds.
    pub cpu_nanoseconds: u64,
    /// Working set in bytes.
    pub memory_bytes: u64,
}

/// Output of a command that ran to its end.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExecOutput {
    /// Exit code.
    pub code: i32,
    /// Standard output and standard error, in the order written, at most 10 KiB.
    pub output: Vec<u8>,
}

/// An image on the node.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Image {
    /// `sha256:…` of its configuration.
    pub id: String,
    /// Names with tags.
    pub tags: Vec<String>,
    /// Names with digests.
    pub digests: Vec<String>,
    /// Bytes on disk.
    pub size: u64,
    /// User of its configuration; empty: root.
    pub user: String,
}

/// What a registry may ask a client for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Name of the user.
    pub username: String,
    /// Password, or a token in its place.
    pub password: String,
}

/// A piece of a log that has no file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ScriptedLog {
    /// Lines of standard output with their times.
    pub lines: Vec<(Timestamp, String)>,
    /// When to ask again; `None`: nothing more will come.
    pub next: Option<Duration>,
}

/// Something happened that the agent did not do.
#[derive(Debug, Clone, PartialEq)]
pub enum RuntimeEvent {
    /// A container of this pod started or ended.
    Container {
        /// UID of its pod.
        pod_uid: String,
    },
    /// A sandbox of this pod ended.
    Sandbox {
        /// UID of its pod.
        pod_uid: String,
    },
    /// An image came or went.
    Images,
}

/// A container runtime. Ids are the runtime's own; calls for what is already so succeed.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Its name in ids and in `nodeInfo` (`native`, `docker`, `simulated`), as in `native://<id>`.
    fn name(&self) -> &'static str;
    /// Its version for `nodeInfo.containerRuntimeVersion`.
    fn version(&self) -> String;
    /// Whether it answers; `None`: it is part of this process.
    async fn answers(&self) -> Option<bool> {
        None
    }

    /// Whether it can keep the groups of an image's /etc/group from its user.
    fn keeps_groups_strict(&self) -> bool {
        true
    }
    /// Whether it puts containers under AppArmor profiles, where the kernel has them.
    fn confines_with_apparmor(&self) -> bool {
        false
    }

    /// Makes and starts a pod's sandbox.
    async fn run_sandbox(&self, config: &SandboxConfig) -> Result<String, RuntimeError>;
    /// Ends a sandbox and every container in it, at once.
    async fn stop_sandbox(&self, id: &str) -> Result<(), RuntimeError>;
    /// Removes a stopped sandbox, its containers and their writable layers; logs stay until the agent removes them.
    async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError>;
    /// Every sandbox, ended ones included.
    async fn sandboxes(&self) -> Result<Vec<Sandbox>, RuntimeError>;

    /// Whether sandboxes have network namespaces of the runtime's making ([`Runtime::netns`]), to be plumbed once they run.
    fn makes_networks(&self) -> bool {
        false
    }
    /// The namespace that the runtime made for a sandbox; it can change when the sandbox is started again behind our back.
    async fn netns(&self, sandbox_id: &str) -> Option<PathBuf> {
        let _ = sandbox_id;
        None
    }

    /// Makes a container; its image is present.
    async fn create_container(&self, sandbox_id: &str, config: &ContainerConfig) -> Result<String, RuntimeError>;
    /// Starts its process. On `RuntimeError::Start` the container is `Exited` with reason `StartError` and code 128.
    async fn start_container(&self, id: &str) -> Result<(), RuntimeError>;
    /// Sends `signal` (a name as `SIGTERM`; `None`: the image's stop signal, else TERM), waits up to `grace`, then kills.
    async fn stop_container(&self, id: &str, signal: Option<&str>, grace: Duration) -> Result<(), RuntimeError>;
    /// Removes an ended container and its writable layer.
    async fn remove_container(&self, id: &str) -> Result<(), RuntimeError>;
    /// Every container, ended ones included.
    async fn containers(&self) -> Result<Vec<Container>, RuntimeError>;
    /// Sets the limits of a running container anew.
    async fn update_container(&self, id: &str, limits: &Limits) -> Result<(), RuntimeError> {
        let _ = (id, limits);
        Ok(())
    }
    /// Sets the limits of a pod as a whole anew.
    async fn update_sandbox(&self, id: &str, limits: &Limits) -> Result<(), RuntimeError> {
        let _ = (id, limits);
        Ok(())
    }
    /// What a running container used.
    async fn usage(&self, id: &str) -> Result<Usage, RuntimeError>;
    /// Bytes of a container's writable layer.
    async fn disk_usage(&self, id: &str) -> Result<u64, RuntimeError> {
        let _ = id;
        Ok(0)
    }

    /// Runs a command to its end.
    async fn exec_sync(&self, id: &str, command: &[String], timeout: Option<Duration>) -> Result<ExecOutput, RuntimeError>;
    /// Runs a command with its streams.
    async fn exec(&self, id: &str, command: &[String], streams: StreamOptions) -> Result<Session, RuntimeError>;
    /// Joins the streams of the container's first process.
    async fn attach(&self, id: &str, streams: StreamOptions) -> Result<Session, RuntimeError>;
    /// Starts a new log file after the old one was renamed.
    async fn reopen_log(&self, id: &str) -> Result<(), RuntimeError>;

    /// The image of this name, digest or id, if it is present.
    async fn image(&self, name: &str) -> Result<Option<Image>, RuntimeError>;
    /// Fetches an image from its registry, with the first of the credentials that the registry takes; none: as anybody.
    async fn pull_image(&self, name: &str, credentials: &[Credentials]) -> Result<Image, RuntimeError>;
    /// Every image.
    async fn images(&self) -> Result<Vec<Image>, RuntimeError>;
    /// Adds the images of a docker-archive or OCI-layout tar (compressed or not); returns their names.
    async fn load_images(&self, archive: &std::path::Path) -> Result<Vec<String>, RuntimeError>;
    /// Makes an image of programs of the host, with the libraries they link, under this name.
    async fn build_image(&self, name: &str, programs: &[PathBuf]) -> Result<Image, RuntimeError> {
        let _ = programs;
        Err(RuntimeError::Image { message: format!("image {name}: the {} runtime builds no images", self.name()) })
    }
    /// What of a pod's wishes it cannot fulfil on this machine, in words: the node shows it as a condition.
    fn restriction(&self) -> Option<String> {
        None
    }
    /// Whether the images are this node's alone, so that unused ones may be removed.
    fn owns_images(&self) -> bool {
        false
    }
    /// Removes a name, and the image with its last name.
    async fn remove_image(&self, name: &str) -> Result<(), RuntimeError>;

    /// Hints that something changed; they may be lost, the lists are the truth.
    fn events(&self) -> broadcast::Receiver<RuntimeEvent>;

    /// Sandboxes and containers of one pod. A runtime with an index by pod answers without looking at the others.
    async fn pod(&self, uid: &str) -> Result<(Vec<Sandbox>, Vec<Container>), RuntimeError> {
        let mut sandboxes = self.sandboxes().await?;
        let mut containers = self.containers().await?;
        sandboxes.retain(|sandbox| sandbox.pod_uid == uid);
        containers.retain(|container| container.pod_uid == uid);
        Ok((sandboxes, containers))
    }

    /// Whether containers see files of the host. Without, the agent makes no volumes and asks for no tokens.
    fn has_files(&self) -> bool {
        true
    }

    /// What a probe (`startup`, `liveness`, `readiness`) of a running container finds, where there is no process to ask;
    /// `None`: ask the container.
    async fn scripted_probe(&self, _id: &str, _kind: &str) -> Option<Result<(), String>> {
        None
    }

    /// Lines of a container's log written after `after`, where there is no file; `None`: read the file. With them comes the
    /// time after which there will be more, if any.
    async fn scripted_log(&self, _id: &str, _after: Option<Timestamp>) -> Option<ScriptedLog> {
        None
    }
}
