//! What the suite runs against.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use coracle_node::runtime::docker::{Docker, DockerConfig, Engine};
use coracle_node::runtime::native::{Native, NativeConfig};
use coracle_node::runtime::simulated::Simulated;
use coracle_node::runtime::{Container, ContainerConfig, ContainerState, NamespaceMode, Runtime, SandboxConfig};
use parking_lot::Mutex;

use crate::cases::{self, Case};
use crate::netns::Netns;

/// The native runtime of a plain user.
pub const ROOTLESS: &str = "rootless";
/// Name of the image that every case uses.
pub const IMAGE: &str = "coracle.local/contract:1";
const TOOLS: [&str; 15] =
    ["sh", "mkdir", "sleep", "cat", "stty", "env", "id", "ls", "mount", "ps", "hostname", "head", "tr", "tail", "readlink"];

/// The runtimes and their cases.
pub fn subjects() -> Vec<(&'static str, Vec<Case>)> {
    vec![("simulated", cases::simulated()), ("native", cases::native()), (ROOTLESS, cases::rootless()), ("docker", cases::docker())]
}

/// Why a runtime cannot be tried here.
pub fn missing(name: &str) -> Option<String> {
    if name != "simulated" && !nix::unistd::geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    if name == "docker" { Engine::find().err() } else { None }
}

/// Where a subject keeps things, for the look at what it left.
pub struct Place {
    pub directory: tempfile::TempDir,
    pub cgroup_root: PathBuf,
}

/// How a runtime under test is made.
enum Making {
    Native(NativeConfig),
    Docker(DockerConfig),
    Simulated,
}

impl Making {
    fn new(name: &str, directory: &Path, cgroup_root: &Path) -> Self {
        let own: OsString = std::env::current_exe().unwrap().into();
        let (data_dir, cgroup_root, demo) = (directory.join("data"), cgroup_root.to_owned(), vec![own.clone(), "__kubia".into()]);
        match name {
            "docker" => Self::Docker(DockerConfig {
                engine: Engine::find().unwrap(),
                cluster: format!("contract-{}", std::process::id()),
                node: "node".to_owned(),
                data_dir,
                cgroup_root,
                demo,
            }),
            "native" | ROOTLESS => Self::Native(NativeConfig { data_dir, cgroup_root, shim: vec![own, "__shim".into()], demo }),
            _ => Self::Simulated,
        }
    }

    async fn open(&self) -> Arc<dyn Runtime> {
        match self {
            Self::Native(config) => Arc::new(Native::open(config.clone()).await.unwrap()),
            Self::Docker(config) => Arc::new(Docker::open(config.clone()).await.unwrap()),
            Self::Simulated => Arc::new(Simulated::default()),
        }
    }
}

/// A runtime under test.
pub struct Subject {
    name: String,
    making: Making,
    runtime: Mutex<Option<Arc<dyn Runtime>>>,
    place: Mutex<Option<Place>>,
    data: PathBuf,
    logs: PathBuf,
    netns: Netns,
}

impl Subject {
    pub async fn new(name: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("coracle-contract-").tempdir().unwrap();
        let cgroup_root = PathBuf::from(format!("/coracle-contract-{}", std::process::id()));
        let making = Making::new(name, directory.path(), &cgroup_root);
        let runtime = making.open().await;
        let find = |name: &&str| ["/bin", "/usr/bin"].iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists());
        let tools: Vec<PathBuf> = TOOLS.iter().filter_map(find).collect();
        if runtime.has_files() && name != "simulated" {
            runtime.build_image(IMAGE, &tools).await.unwrap();
        }
        Self {
            name: name.to_owned(),
            making,
            runtime: Mutex::new(Some(runtime)),
            data: directory.path().join("data"),
            logs: directory.path().join("logs"),
            place: Mutex::new(Some(Place { directory, cgroup_root })),
            netns: Netns::new(),
        }
    }

    pub fn is(&self, name: &str) -> bool {
        self.name == name
    }

    pub fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::clone(self.runtime.lock().as_ref().unwrap())
    }

    /// As after a restart of the process.
    pub async fn reopen(&self) -> Arc<dyn Runtime> {
        *self.runtime.lock() = None;
        let runtime = self.making.open().await;
        *self.runtime.lock() = Some(Arc::clone(&runtime));
        runtime
    }

    /// Removes everything; what the runtime then still knows of is an error.
    pub async fn clear(&self) -> Vec<String> {
        let runtime = self.runtime();
        for sandbox in runtime.sandboxes().await.unwrap() {
            runtime.stop_sandbox(&sandbox.id).await.unwrap();
            runtime.remove_sandbox(&sandbox.id).await.unwrap();
        }
        let _ = runtime.remove_image(IMAGE).await;
        let runtime = self.reopen().await;
        let sandboxes = runtime.sandboxes().await.unwrap().into_iter().map(|sandbox| format!("{sandbox:?}"));
        let left = sandboxes.chain(runtime.containers().await.unwrap().into_iter().map(|container| format!("{container:?}"))).collect();
        *self.runtime.lock() = None;
        left
    }

    /// Runs something in the network of a sandbox.
    pub async fn inside<T: Send + 'static>(&self, sandbox: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
        let Some(path) = self.runtime().netns(sandbox).await else { return self.netns.inside(work) };
        let entering = move || {
            let file = std::fs::File::open(path).unwrap();
            nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            work()
        };
        std::thread::spawn(entering).join().unwrap()
    }

    /// Puts down a profile of the node's own.
    pub fn seccomp_profile(&self, name: &str, text: &str) {
        let path = self.data.join("seccomp").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// What the shims complained about.
    pub fn shim_logs(&self) -> String {
        let sandboxes = std::fs::read_dir(self.data.join("sandboxes")).into_iter().flatten().flatten();
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
            netns: (self.is("native") || self.is(ROOTLESS)).then(|| self.netns.path.clone()),
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
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
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
