//! Containers without an engine: one shim process per pod starts them through libcontainer.
//!
//! ```text
//! <data>/images/              see `images`
//! <data>/sandboxes/<id>/      sandbox.json, shim.sock, shim.log
//!   containers/<id>/          container.json, plan.json, record.json, bundle/config.json, upper/
//! ```
//! The agent writes `container.json` last and removes it first: without it a container is not there. The shim writes
//! `record.json`. What is in memory here is a copy of these files, kept fresh by the shims' events.

pub mod cgroup;
mod connection;
mod containers;
pub(crate) mod processes;
mod sessions;
mod shims;
mod spec;
mod user;

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::spec::CAPABILITIES;

use async_trait::async_trait;
use coracle_api::seams::{Session, StreamOptions};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{OnceCell, broadcast, watch};

use super::{
    Container, ContainerConfig, ContainerState, Credentials, ExecOutput, Image, Limits, Runtime, RuntimeError, RuntimeEvent, Sandbox,
    SandboxConfig, Usage,
};
use crate::images::{ImageError, ImageRecord, Store, build_from_host, build_kubia, is_kubia};
use crate::rootless::is_rootless;
use crate::shim::protocol::SandboxPaths;
use crate::shim::record::Record;

/// What the runtime needs to know.
#[derive(Debug, Clone)]
pub struct NativeConfig {
    /// Directory of its own.
    pub data_dir: PathBuf,
    /// Control group that everything is below, absolute, such as `/coracle-<id>`.
    pub cgroup_root: PathBuf,
    /// Program and arguments that run `shim::main`.
    pub shim: Vec<OsString>,
    /// Program and arguments that run `demo::main` inside the project's own image; empty: no such image.
    pub demo: Vec<OsString>,
}

/// What is kept of a sandbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct SandboxRecord {
    id: String,
    created: Timestamp,
    #[serde(flatten)]
    config: SandboxConfig,
}

#[derive(Debug)]
struct SandboxEntry {
    record: SandboxRecord,
    paths: SandboxPaths,
    /// Whether the shim is there.
    ready: watch::Sender<bool>,
}

/// What is kept of a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct ContainerRecord {
    id: String,
    sandbox_id: String,
    created: Timestamp,
    /// Layers it stands on: they must stay while it is there.
    layers: Vec<String>,
    cgroup: PathBuf,
    stop_signal: String,
    config: ContainerConfig,
}

#[derive(Debug)]
struct ContainerEntry {
    record: ContainerRecord,
    process: watch::Sender<Record>,
}

#[derive(Debug, Default)]
struct State {
    sandboxes: HashMap<String, SandboxEntry>,
    containers: HashMap<String, ContainerEntry>,
}

#[derive(Debug)]
struct Inner {
    config: NativeConfig,
    images: Arc<Store>,
    state: Mutex<State>,
    events: broadcast::Sender<RuntimeEvent>,
    kubia: OnceCell<()>,
}

/// The native runtime. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Native(Arc<Inner>);

fn io(step: impl Into<String>) -> impl FnOnce(std::io::Error) -> RuntimeError {
    let step = step.into();
    move |source| RuntimeError::Io { step, source }
}

fn image_error(error: ImageError) -> RuntimeError {
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(next) = cause {
        message = format!("{message}: {next}");
        cause = next.source();
    }
    RuntimeError::Image { message }
}

/// 64 hexadecimal digits.
fn new_id() -> String {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}

/// Runs what blocks where it may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, RuntimeError> + Send + 'static) -> Result<T, RuntimeError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| RuntimeError::Engine { message: error.to_string() })?
}

/// How long killed processes may take to leave their control groups.
const CLEARED: Duration = Duration::from_secs(10);

/// Removes a node's control group ([`NativeConfig::cgroup_root`]) with all below it; what still runs in there is killed.
pub fn remove_control_groups(root: &Path) {
    if !cgroup::clear(root, CLEARED) {
        tracing::warn!(group = %root.display(), "a control group was not removed: processes in it do not end");
    }
}

impl Native {
    /// Opens the runtime: adopts the sandboxes whose shims live, and takes note of the end of the others.
    pub async fn open(config: NativeConfig) -> Result<Self, RuntimeError> {
        let directory = config.data_dir.clone();
        let images = blocking(move || {
            // Containers' environments are in there.
            let mut private = std::fs::DirBuilder::new();
            private.recursive(true).mode(0o700);
            for part in ["sandboxes", "images"] {
                private.create(directory.join(part)).map_err(io(format!("make {}", directory.display())))?;
            }
            Store::open(&directory.join("images")).map_err(image_error)
        })
        .await?;
        let (events, _) = broadcast::channel(256);
        let native = Self(Arc::new(Inner { config, images: Arc::new(images), state: Mutex::default(), events, kubia: OnceCell::new() }));
        native.adopt().await?;
        native.collect_layers();
        Ok(native)
    }

    /// The images of this node, for making one from the host's programs.
    pub fn image_store(&self) -> Arc<Store> {
        Arc::clone(&self.0.images)
    }

    fn used_layers(&self) -> Vec<String> {
        self.0.state.lock().containers.values().flat_map(|c| c.record.layers.clone()).collect()
    }

    fn collect_layers(&self) {
        let used = self.used_layers();
        let images = self.image_store();
        tokio::task::spawn_blocking(move || images.collect(&used));
    }

    fn publish(&self, event: RuntimeEvent) {
        // Nobody listening is fine.
        let _ = self.0.events.send(event);
    }

    /// Makes the project's own image when it is first asked for.
    async fn ensure_kubia(&self) -> Result<(), RuntimeError> {
        let made = self.0.kubia.get_or_try_init(|| async {
            let demo = self.0.config.demo.clone();
            let (images, used) = (self.image_store(), self.used_layers());
            blocking(move || {
                let Some((program, arguments)) = demo.split_first() else { return Ok(()) };
                let arguments: Vec<String> = arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
                let ours = |id: &String| images.names(id).iter().any(|name| is_kubia(name));
                let before: Vec<String> = images.images().into_iter().map(|image| image.id).filter(ours).collect();
                build_kubia(&images, Path::new(program), &arguments).map_err(image_error)?;
                // What an older executable made has lost its names.
                for id in before.iter().filter(|id| images.names(id).is_empty()) {
                    images.remove(id, &used).map_err(image_error)?;
                }
                Ok(())
            })
            .await
        });
        made.await.copied()
    }

    fn image_of(&self, record: ImageRecord) -> Image {
        let tags = self.0.images.names(&record.id);
        Image { id: record.id, tags, digests: record.digests, size: record.size, user: record.config.user }
    }

    async fn find_image(&self, name: &str) -> Result<Option<ImageRecord>, RuntimeError> {
        if is_kubia(name) {
            self.ensure_kubia().await?;
        }
        Ok(self.0.images.image(name))
    }
}

impl ContainerEntry {
    fn container(&self, state: &State, image_id: &str) -> Container {
        let record = &self.record;
        let sandbox = state.sandboxes.get(&record.sandbox_id).map(|entry| &entry.record.config);
        let (process, pid) = match self.process.borrow().clone() {
            Record::Created => (ContainerState::Created, None),
            Record::Running { pid, started } => (ContainerState::Running { started }, u32::try_from(pid).ok()),
            Record::Exited { started, finished, code, reason, message } => {
                (ContainerState::Exited { started, finished, code, reason, message }, None)
            }
        };
        Container {
            id: record.id.clone(),
            sandbox_id: record.sandbox_id.clone(),
            pod_uid: sandbox.map(|config| config.uid.clone()).unwrap_or_default(),
            name: record.config.name.clone(),
            attempt: record.config.attempt,
            image: record.config.image.clone(),
            image_id: image_id.to_owned(),
            created: record.created,
            state: process,
            pid,
            labels: record.config.labels.clone(),
            log_path: sandbox.map(|config| config.log_directory.join(&record.config.log_path)).unwrap_or_default(),
        }
    }
}

#[async_trait]
impl Runtime for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
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
        let state = self.0.state.lock();
        let list = state.sandboxes.values().map(|entry| Sandbox {
            id: entry.record.id.clone(),
            pod_uid: entry.record.config.uid.clone(),
            namespace: entry.record.config.namespace.clone(),
            name: entry.record.config.name.clone(),
            attempt: entry.record.config.attempt,
            ready: *entry.ready.borrow(),
            created: entry.record.created,
        });
        Ok(list.collect())
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
        let state = self.0.state.lock();
        Ok(state.containers.values().map(|entry| entry.container(&state, &entry.record.config.image_id)).collect())
    }

    async fn usage(&self, id: &str) -> Result<Usage, RuntimeError> {
        let (group, record) = {
            let state = self.0.state.lock();
            let entry = state.containers.get(id).ok_or_else(|| RuntimeError::NotFound { what: format!("container {id}") })?;
            (entry.record.cgroup.clone(), entry.process.borrow().clone())
        };
        let used = match record {
            Record::Running { pid, .. } if is_rootless() => processes::usage(pid),
            _ => cgroup::usage(&group),
        };
        used.ok_or_else(|| RuntimeError::NotRunning { id: id.to_owned() })
    }

    async fn update_container(&self, id: &str, limits: &Limits) -> Result<(), RuntimeError> {
        self.set_limits(id, limits).await
    }

    async fn update_sandbox(&self, id: &str, limits: &Limits) -> Result<(), RuntimeError> {
        self.set_pod_limits(id, limits).await
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
        self.reopen_container_log(id).await
    }

    async fn image(&self, name: &str) -> Result<Option<Image>, RuntimeError> {
        Ok(self.find_image(name).await?.map(|record| self.image_of(record)))
    }

    async fn pull_image(&self, name: &str, credentials: &[Credentials]) -> Result<Image, RuntimeError> {
        let reference = crate::images::reference::Reference::parse(name).map_err(|e| RuntimeError::Image { message: e.to_string() })?;
        if is_kubia(name)
            && let Some(image) = self.image(name).await?
        {
            return Ok(image);
        }
        let record = crate::images::pull(&self.0.images, &reference, credentials).await.map_err(image_error)?;
        self.publish(RuntimeEvent::Images);
        Ok(self.image_of(record))
    }

    fn restriction(&self) -> Option<String> {
        is_rootless().then(crate::rootless::lacks)
    }

    fn owns_images(&self) -> bool {
        true
    }

    async fn images(&self) -> Result<Vec<Image>, RuntimeError> {
        Ok(self.0.images.images().into_iter().map(|record| self.image_of(record)).collect())
    }

    async fn load_images(&self, archive: &Path) -> Result<Vec<String>, RuntimeError> {
        let images = self.image_store();
        let archive = archive.to_owned();
        let names = blocking(move || images.load(&archive).map_err(image_error)).await?;
        self.publish(RuntimeEvent::Images);
        Ok(names)
    }

    async fn build_image(&self, name: &str, programs: &[PathBuf]) -> Result<Image, RuntimeError> {
        let (images, name, programs) = (self.image_store(), name.to_owned(), programs.to_vec());
        let record = blocking(move || build_from_host(&images, &name, &programs).map_err(image_error)).await?;
        self.publish(RuntimeEvent::Images);
        Ok(self.image_of(record))
    }

    async fn remove_image(&self, name: &str) -> Result<(), RuntimeError> {
        let images = self.image_store();
        let (used, owned) = (self.used_layers(), name.to_owned());
        if !blocking(move || images.remove(&owned, &used).map_err(image_error)).await? {
            return Err(RuntimeError::NotFound { what: format!("image {name}") });
        }
        self.publish(RuntimeEvent::Images);
        Ok(())
    }

    fn events(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.0.events.subscribe()
    }
}
