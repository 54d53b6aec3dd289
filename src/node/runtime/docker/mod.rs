//! Containers by a Docker engine (or podman, which speaks the same).
//!
//! A sandbox is a container of its own, made of a program that only sleeps, without network; the pod's containers join its
//! namespaces, and the pod network plumbs them through `/proc/<pid>/ns/net`. The engine is the truth: what it does not keep
//! by itself stands in labels. What is in memory is a copy, renewed whenever the engine reports an event.
//!
//! ```text
//! <data>/images/    images made of the host's programs, on their way to the engine
//! <data>/seccomp/   profiles that pods name with `Localhost`
//! ```

mod containers;
mod engine;
mod export;
mod images;
mod kept;
mod logs;
mod pause;
mod record;
mod sandboxes;
mod spec;
mod strays;
mod streams;
mod watching;

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker as Client;
use bollard::errors::Error as EngineError;
use coracle_api::seams::{Session, StreamOptions};
use parking_lot::Mutex;
use tokio::sync::{OnceCell, broadcast, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::engine::Engine;
use self::kept::Kept;
use self::logs::Follower;
use self::record::SandboxRecord;
use super::{
    Container, ContainerConfig, Credentials, ExecOutput, Image, Limits, Runtime, RuntimeError, RuntimeEvent, Sandbox, SandboxConfig, Usage,
};
use crate::images::{Store, is_kubia};

/// How long the engine may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the runtime needs to know.
#[derive(Debug, Clone)]
pub struct DockerConfig {
    /// The engine.
    pub engine: Engine,
    /// Id of the cluster, a label of everything that is made.
    pub cluster: String,
    /// The node, another label.
    pub node: String,
    /// Directory of its own.
    pub data_dir: PathBuf,
    /// Control group that everything is below, absolute, such as `/coracle-<id>`.
    pub cgroup_root: PathBuf,
    /// Program and arguments that run `demo::main` inside the project's own image; empty: no such image.
    pub demo: Vec<OsString>,
}

#[derive(Debug)]
struct SandboxEntry {
    sandbox: Sandbox,
    record: SandboxRecord,
    pid: Option<i32>,
    /// Whether it ever ran, as far as the engine knows.
    began: bool,
    ready: watch::Sender<bool>,
    seen: u64,
}

#[derive(Debug)]
struct ContainerEntry {
    container: watch::Sender<Container>,
    stop_signal: String,
    tty: bool,
    stdin: bool,
    /// Whether its standard input is for one session only.
    once: bool,
    kept: Option<Kept>,
    follower: Option<Follower>,
    seen: u64,
}

#[derive(Debug, Default)]
struct State {
    sandboxes: HashMap<String, SandboxEntry>,
    containers: HashMap<String, ContainerEntry>,
}

impl State {
    /// Containers of a sandbox.
    fn members(&self, sandbox: &str) -> Vec<String> {
        let of_it = |entry: &ContainerEntry| entry.container.borrow().sandbox_id == sandbox;
        self.containers.iter().filter(|(_, entry)| of_it(entry)).map(|(id, _)| id.clone()).collect()
    }
}

#[derive(Debug)]
struct Inner {
    config: DockerConfig,
    client: Client,
    /// Whether control groups are slices of systemd.
    systemd: bool,
    images: Arc<Store>,
    state: Mutex<State>,
    /// Numbers the looks at the engine: an older one does not replace what a newer one saw.
    looks: AtomicU64,
    events: broadcast::Sender<RuntimeEvent>,
    kubia: OnceCell<()>,
    /// Held while the sandboxes' image is imported.
    importing: tokio::sync::Mutex<()>,
    stop: CancellationToken,
    _stop_when_dropped: DropGuard,
}

/// The docker runtime. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Docker(Arc<Inner>);

fn not_found(what: &str, id: &str) -> RuntimeError {
    RuntimeError::NotFound { what: format!("{what} {id}") }
}

fn io(step: impl Into<String>) -> impl FnOnce(std::io::Error) -> RuntimeError {
    let step = step.into();
    move |source| RuntimeError::Io { step, source }
}

/// The engine's own words.
fn words(error: EngineError) -> String {
    match error {
        EngineError::DockerResponseServerError { message, .. } => message,
        EngineError::DockerStreamError { error } => error,
        other => other.to_string(),
    }
}

fn failed(error: EngineError) -> RuntimeError {
    RuntimeError::Engine { message: words(error) }
}

fn is_status(error: &EngineError, wanted: u16) -> bool {
    matches!(error, EngineError::DockerResponseServerError { status_code, .. } if *status_code == wanted)
}

fn is_missing(error: &EngineError) -> bool {
    is_status(error, 404)
}

/// Runs what blocks where it may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, RuntimeError> + Send + 'static) -> Result<T, RuntimeError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| RuntimeError::Engine { message: error.to_string() })?
}

impl Docker {
    /// Connects, adopts what the engine has of this node, and removes what a crash left half made.
    pub async fn open(config: DockerConfig) -> Result<Self, RuntimeError> {
        let client = config.engine.connect().await?;
        let info = client.info().await.map_err(failed)?;
        let systemd = info.cgroup_driver == Some(bollard::models::SystemInfoCgroupDriverEnum::SYSTEMD);
        let directory = config.data_dir.join("images");
        let images = blocking(move || {
            std::fs::create_dir_all(&directory).map_err(io(format!("make {}", directory.display())))?;
            Store::open(&directory).map_err(images::image_error)
        })
        .await?;
        let stop = CancellationToken::new();
        let docker = Self(Arc::new(Inner {
            config,
            client,
            systemd,
            images: Arc::new(images),
            state: Mutex::default(),
            looks: AtomicU64::new(0),
            events: broadcast::Sender::new(256),
            kubia: OnceCell::new(),
            importing: tokio::sync::Mutex::default(),
            _stop_when_dropped: stop.clone().drop_guard(),
            stop,
        }));
        docker.adopt().await?;
        docker.watch();
        Ok(docker)
    }

    /// Removes everything of a cluster from the engine, whatever node it was of.
    pub async fn remove_all(engine: &Engine, cluster: &str) -> Result<(), RuntimeError> {
        let client = engine.connect().await?;
        loop {
            // again, until there are none: what was asked for last may be made only now
            let ids = watching::labelled(&client, &[format!("{}={cluster}", record::CLUSTER)]).await?;
            for id in &ids {
                containers::remove(&client, id).await?;
            }
            if ids.is_empty() {
                return Ok(());
            }
        }
    }

    fn client(&self) -> &Client {
        &self.0.client
    }

    fn publish(&self, event: RuntimeEvent) {
        // Nobody listening is fine.
        let _ = self.0.events.send(event);
    }
}

#[async_trait]
impl Runtime for Docker {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn version(&self) -> String {
        self.0.config.engine.version.clone()
    }

    fn keeps_groups_strict(&self) -> bool {
        false
    }

    fn confines_with_apparmor(&self) -> bool {
        true
    }

    async fn answers(&self) -> Option<bool> {
        Some(tokio::time::timeout(PATIENCE, self.client().ping()).await.is_ok_and(|answer| answer.is_ok()))
    }

    async fn run_sandbox(&self, config: &SandboxConfig) -> Result<String, RuntimeError> {
        self.start_sandbox(config).await
    }

    async fn stop_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        self.end_sandbox(id).await
    }

    async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        self.forget_sandbox(id).await
    }

    async fn sandboxes(&self) -> Result<Vec<Sandbox>, RuntimeError> {
        Ok(self.0.state.lock().sandboxes.values().map(|entry| entry.sandbox.clone()).collect())
    }

    fn makes_networks(&self) -> bool {
        true
    }

    async fn netns(&self, sandbox_id: &str) -> Option<PathBuf> {
        self.sandbox_netns(sandbox_id)
    }

    async fn create_container(&self, sandbox_id: &str, config: &ContainerConfig) -> Result<String, RuntimeError> {
        self.prepare_container(sandbox_id, config).await
    }

    async fn start_container(&self, id: &str) -> Result<(), RuntimeError> {
        self.launch_container(id).await
    }

    async fn stop_container(&self, id: &str, signal: Option<&str>, grace: Duration) -> Result<(), RuntimeError> {
        self.end_container(id, signal, grace).await
    }

    async fn remove_container(&self, id: &str) -> Result<(), RuntimeError> {
        self.forget_container(id).await
    }

    async fn containers(&self) -> Result<Vec<Container>, RuntimeError> {
        Ok(self.0.state.lock().containers.values().map(|entry| entry.container.borrow().clone()).collect())
    }

    async fn pod(&self, uid: &str) -> Result<(Vec<Sandbox>, Vec<Container>), RuntimeError> {
        let state = self.0.state.lock();
        let sandboxes = state.sandboxes.values().filter(|entry| entry.sandbox.pod_uid == uid).map(|entry| entry.sandbox.clone());
        let of_pod = |entry: &&ContainerEntry| entry.container.borrow().pod_uid == uid;
        let containers = state.containers.values().filter(of_pod).map(|entry| entry.container.borrow().clone());
        Ok((sandboxes.collect(), containers.collect()))
    }

    async fn update_container(&self, id: &str, limits: &Limits) -> Result<(), RuntimeError> {
        self.client().update_container(id, spec::update(limits)).await.map_err(failed)
    }

    async fn update_sandbox(&self, id: &str, limits: &Limits) -> Result<(), RuntimeError> {
        self.set_pod_limits(id, limits).await
    }

    async fn usage(&self, id: &str) -> Result<Usage, RuntimeError> {
        self.used(id).await
    }

    async fn disk_usage(&self, id: &str) -> Result<u64, RuntimeError> {
        self.written(id).await
    }

    async fn exec_sync(&self, id: &str, command: &[String], timeout: Option<Duration>) -> Result<ExecOutput, RuntimeError> {
        self.run_command(id, command, timeout).await
    }

    async fn exec(&self, id: &str, command: &[String], streams: StreamOptions) -> Result<Session, RuntimeError> {
        self.start_command(id, command, streams).await
    }

    async fn attach(&self, id: &str, streams: StreamOptions) -> Result<Session, RuntimeError> {
        self.join_container(id, streams).await
    }

    async fn reopen_log(&self, id: &str) -> Result<(), RuntimeError> {
        let follower = self.0.state.lock().containers.get(id).and_then(|entry| entry.follower.clone());
        follower.map_or(Ok(()), |follower| follower.reopen()).map_err(io(format!("reopen the log of {id}")))
    }

    async fn image(&self, name: &str) -> Result<Option<Image>, RuntimeError> {
        if is_kubia(name) {
            self.ensure_kubia().await?;
        }
        self.find_image(name).await
    }

    async fn pull_image(&self, name: &str, credentials: &[Credentials]) -> Result<Image, RuntimeError> {
        self.fetch_image(name, credentials).await
    }

    async fn images(&self) -> Result<Vec<Image>, RuntimeError> {
        self.list_images().await
    }

    async fn load_images(&self, archive: &Path) -> Result<Vec<String>, RuntimeError> {
        let names = images::load(self.client(), archive).await?;
        self.publish(RuntimeEvent::Images);
        Ok(names)
    }

    async fn build_image(&self, name: &str, programs: &[PathBuf]) -> Result<Image, RuntimeError> {
        self.make_image(name, programs).await
    }

    async fn remove_image(&self, name: &str) -> Result<(), RuntimeError> {
        self.drop_image(name).await
    }

    fn events(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.0.events.subscribe()
    }
}
