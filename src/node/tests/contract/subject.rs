//! What the suite runs against.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use coracle_node::images::{Config, build};
use coracle_node::runtime::native::{Native, NativeConfig};
use coracle_node::runtime::{Container, ContainerConfig, ContainerState, NamespaceMode, Runtime, SandboxConfig};
use parking_lot::Mutex;

use crate::cases::{self, Case};
use crate::netns::Netns;

/// Name of the image that every case uses.
pub const IMAGE: &str = "coracle.local/contract:1";
const TOOLS: [&str; 14] = ["sh", "sleep", "cat", "stty", "env", "id", "ls", "mount", "ps", "hostname", "head", "tr", "tail", "readlink"];

/// The runtimes and their cases.
pub fn subjects() -> Vec<(&'static str, Vec<Case>)> {
    vec![("native", cases::all())]
}

/// Why a runtime cannot be tried here.
pub fn missing(name: &str) -> Option<&'static str> {
    (name == "native" && !nix::unistd::geteuid().is_root()).then_some("needs root")
}

/// Where a subject keeps things, for the look at what it left.
pub struct Place {
    pub directory: tempfile::TempDir,
    pub cgroup_root: PathBuf,
}

/// A runtime under test.
pub struct Subject {
    config: NativeConfig,
    runtime: Mutex<Option<Arc<dyn Runtime>>>,
    place: Mutex<Option<Place>>,
    logs: PathBuf,
    pub netns: Netns,
}

impl Subject {
    pub async fn new(_name: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("coracle-contract-").tempdir().unwrap();
        let cgroup_root = PathBuf::from(format!("/coracle-contract-{}", std::process::id()));
        let own = std::env::current_exe().unwrap();
        let config = NativeConfig {
            data_dir: directory.path().join("data"),
            cgroup_root: cgroup_root.clone(),
            shim: vec![own.clone().into(), "__shim".into()],
            demo: vec![own.into(), "__kubia".into()],
        };
        let native = Native::open(config.clone()).await.unwrap();
        let find = |name: &&str| ["/bin", "/usr/bin"].iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists());
        let tools: Vec<PathBuf> = TOOLS.iter().filter_map(find).collect();
        build(&native.image_store(), &tools, &[], &[(vec![IMAGE.to_owned()], Config::default())]).unwrap();
        let logs = directory.path().join("logs");
        Self {
            config,
            runtime: Mutex::new(Some(Arc::new(native))),
            place: Mutex::new(Some(Place { directory, cgroup_root })),
            logs,
            netns: Netns::new(),
        }
    }

    pub fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::clone(self.runtime.lock().as_ref().unwrap())
    }

    /// As after a restart of the process.
    pub async fn reopen(&self) -> Arc<dyn Runtime> {
        *self.runtime.lock() = None;
        let native: Arc<dyn Runtime> = Arc::new(Native::open(self.config.clone()).await.unwrap());
        *self.runtime.lock() = Some(Arc::clone(&native));
        native
    }

    pub async fn clear(&self) {
        let runtime = self.runtime();
        for sandbox in runtime.sandboxes().await.unwrap() {
            runtime.stop_sandbox(&sandbox.id).await.unwrap();
            runtime.remove_sandbox(&sandbox.id).await.unwrap();
        }
        *self.runtime.lock() = None;
    }

    /// What the shims complained about.
    pub fn shim_logs(&self) -> String {
        let sandboxes = std::fs::read_dir(self.config.data_dir.join("sandboxes")).into_iter().flatten().flatten();
        let take = |path: std::path::PathBuf| {
            let text = std::fs::read_to_string(&path).ok();
            let _ = std::fs::write(&path, "");
            text
        };
        sandboxes.filter_map(|entry| take(entry.path().join("shim.log"))).collect()
    }

    pub fn place(&self) -> Place {
        self.place.lock().take().unwrap()
    }

    /// A sandbox's configuration.
    pub fn sandbox(&self, name: &str) -> SandboxConfig {
        SandboxConfig {
            node: "node".to_owned(),
            namespace: "default".to_owned(),
            name: name.to_owned(),
            uid: format!("uid-{name}"),
            hostname: name.to_owned(),
            netns: Some(self.netns.path.clone()),
            pid: NamespaceMode::Container,
            cgroup_parent: format!("burstable/pod-{name}"),
            log_directory: self.logs.join(name),
            ..SandboxConfig::default()
        }
    }

    /// A container that runs a shell script.
    pub fn script(&self, name: &str, script: &str) -> ContainerConfig {
        ContainerConfig {
            name: name.to_owned(),
            image: IMAGE.to_owned(),
            command: ["sh", "-c", script].map(str::to_owned).into(),
            log_path: format!("{name}/0.log").into(),
            ..ContainerConfig::default()
        }
    }

    /// A sandbox with one started container.
    pub async fn started(&self, pod: &str, config: &ContainerConfig) -> (String, String) {
        let runtime = self.runtime();
        let sandbox = runtime.run_sandbox(&self.sandbox(pod)).await.unwrap();
        let id = runtime.create_container(&sandbox, config).await.unwrap();
        runtime.start_container(&id).await.unwrap();
        (sandbox, id)
    }

    pub async fn container(&self, id: &str) -> Option<Container> {
        self.runtime().containers().await.unwrap().into_iter().find(|container| container.id == id)
    }

    /// Waits for a container's end: code and reason.
    pub async fn ended(&self, id: &str) -> (i32, String) {
        let mut events = self.runtime().events();
        loop {
            let container = self.container(id).await.unwrap();
            if let ContainerState::Exited { code, reason, .. } = container.state {
                return (code, reason);
            }
            let _ = tokio::time::timeout(Duration::from_secs(1), events.recv()).await;
        }
    }

    /// Text of a container's log without times, once it contains `part`.
    pub async fn log(&self, id: &str, part: &str) -> String {
        let path = self.container(id).await.unwrap().log_path;
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        loop {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let plain: String = text.lines().map(|line| format!("{}\n", line.split_once(' ').map_or(line, |(_, rest)| rest))).collect();
            if plain.contains(part) {
                return plain;
            }
            assert!(std::time::Instant::now() < deadline, "{part:?} is not in {plain:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
