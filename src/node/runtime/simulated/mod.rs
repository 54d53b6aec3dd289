//! A runtime without processes: for thousands of nodes and pods, and for trying what happens when things fail.
//!
//! A container runs as soon as it is started (after [`Options::start_delay`]) and until it is stopped. Annotations of the pod
//! script more; `<key>.<container>` is for one container, `<key>` for all of the pod:
//!
//! | annotation `simulated.coracle.local/…` | meaning |
//! |---|---|
//! | `start-delay` | how long a start takes (`200ms`, `1.5s`, `2m`) |
//! | `start-error` | the command cannot be started; the text is the message |
//! | `exit-after`, `exit-code` | it ends by itself after this time (with code 0 if none is given) |
//! | `exits` | codes of its instances in order, one every `exit-after`, as `1 1 0`; the last one stays |
//! | `stop-delay`, `stop-code` | how long it takes to stop when asked, and its exit code then (0) |
//! | `log` | lines written at the start |
//! | `log-every` | `<time> <line>`: one line again and again |
//! | `startup`, `liveness`, `readiness` | what probes find over time, as `fail 5s ok 30s fail` |
//! | `exec-output`, `exec-code` | what a command prints, and its exit code |
//! | `cpu`, `memory` | what it uses (`100m`, `64Mi`) |
//!
//! Every image is present, except those whose last path element is `absent` or `nosuch`: they cannot be pulled either.

mod script;
mod streams;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use coracle_api::clock::{Clock, SystemClock};
use coracle_api::seams::{Session, StreamOptions};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};

use self::script::Script;
use super::{
    Container, ContainerConfig, ContainerState, Credentials, ExecOutput, Image, Runtime, RuntimeError, RuntimeEvent, Sandbox,
    SandboxConfig, ScriptedLog, Usage,
};

/// How the simulation behaves where no annotation says more.
#[derive(Clone)]
pub struct Options {
    /// How long a container takes to start.
    pub start_delay: Duration,
    /// Where times come from.
    pub clock: Arc<dyn Clock>,
}

impl Default for Options {
    fn default() -> Self {
        Self { start_delay: Duration::ZERO, clock: Arc::new(SystemClock) }
    }
}

/// The simulated runtime of one node. Clones are the same one; it forgets everything when the last is dropped.
#[derive(Clone)]
pub struct Simulated(Arc<Shared>);

struct Shared {
    options: Options,
    state: Mutex<State>,
    images: Mutex<BTreeMap<String, Image>>,
    events: broadcast::Sender<RuntimeEvent>,
}

#[derive(Default)]
struct State {
    pods: HashMap<String, SimulatedPod>,
    /// Pod of a sandbox or container.
    owners: HashMap<String, String>,
}

#[derive(Default)]
struct SimulatedPod {
    sandboxes: Vec<Sandbox>,
    containers: Vec<SimulatedContainer>,
    annotations: Arc<BTreeMap<String, String>>,
}

struct SimulatedContainer {
    record: Container,
    script: Option<Box<Script>>,
    ended: watch::Sender<bool>,
}

impl Default for Simulated {
    fn default() -> Self {
        Self::new(Options::default())
    }
}

impl Simulated {
    /// A runtime with nothing in it.
    pub fn new(options: Options) -> Self {
        Self(Arc::new(Shared { options, state: Mutex::default(), images: Mutex::default(), events: broadcast::Sender::new(1024) }))
    }

    fn now(&self) -> Timestamp {
        self.0.options.clock.now()
    }

    fn with<T>(&self, id: &str, act: impl FnOnce(&mut SimulatedContainer) -> Result<T, RuntimeError>) -> Result<T, RuntimeError> {
        let mut state = self.0.state.lock();
        let missing = || RuntimeError::NotFound { what: format!("container {id}") };
        let owner = state.owners.get(id).cloned().ok_or_else(missing)?;
        let pod = state.pods.get_mut(&owner).ok_or_else(missing)?;
        let container = pod.containers.iter_mut().find(|container| container.record.id == id).ok_or_else(missing)?;
        act(container)
    }

    fn script(&self, id: &str) -> Result<Option<Script>, RuntimeError> {
        self.with(id, |container| Ok(container.script.as_deref().cloned()))
    }

    /// Ends a container, unless it has ended.
    fn end(&self, id: &str, code: i32, reason: &str, message: &str) {
        let now = self.now();
        let ended = self.with(id, |container| {
            let started = match &container.record.state {
                ContainerState::Running { started } => Some(*started),
                ContainerState::Created => None,
                ContainerState::Exited { .. } => return Ok(None),
            };
            let (reason, message) = (reason.to_owned(), message.to_owned());
            container.record.state = ContainerState::Exited { started, finished: now, code, reason, message };
            container.record.pid = None;
            container.ended.send_replace(true);
            Ok(Some(container.record.pod_uid.clone()))
        });
        if let Ok(Some(pod_uid)) = ended {
            let _ = self.0.events.send(RuntimeEvent::Container { pod_uid });
        }
    }

    /// Ends the container by itself when its script says so.
    fn schedule_exit(&self, id: &str, script: &Script, attempt: u32) {
        let Some(after) = script.exit_after else { return };
        let code = script.exit_code(attempt);
        let (runtime, id) = (self.clone(), id.to_owned());
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            runtime.end(&id, code, if code == 0 { "Completed" } else { "Error" }, "");
        });
    }
}

fn new_id() -> String {
    format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>())
}

fn is_absent(name: &str) -> bool {
    let path = name.split('@').next().unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    matches!(last.split(':').next(), Some("absent" | "nosuch"))
}

fn image_of(name: &str) -> Image {
    use sha2::{Digest, Sha256};
    let digest: String = Sha256::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let tagged = if name.rsplit('/').next().is_some_and(|last| last.contains(':')) { name.to_owned() } else { format!("{name}:latest") };
    Image { id: format!("sha256:{digest}"), tags: vec![tagged], digests: Vec::new(), size: 1 << 20, user: String::new() }
}

#[async_trait]
impl Runtime for Simulated {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }

    async fn run_sandbox(&self, config: &SandboxConfig) -> Result<String, RuntimeError> {
        let id = new_id();
        let sandbox = Sandbox {
            id: id.clone(),
            pod_uid: config.uid.clone(),
            namespace: config.namespace.clone(),
            name: config.name.clone(),
            attempt: config.attempt,
            ready: true,
            created: self.now(),
        };
        let mut state = self.0.state.lock();
        state.owners.insert(id.clone(), config.uid.clone());
        let pod = state.pods.entry(config.uid.clone()).or_default();
        let scripted = config.annotations.iter().filter(|(key, _)| key.starts_with(script::PREFIX));
        pod.annotations = Arc::new(scripted.map(|(key, value)| (key.clone(), value.clone())).collect());
        // a pod has few of them, here and below, and of pods there are thousands
        pod.sandboxes.reserve_exact(1);
        pod.sandboxes.push(sandbox);
        Ok(id)
    }

    async fn stop_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        let running: Vec<String> = {
            let mut state = self.0.state.lock();
            let Some(owner) = state.owners.get(id).cloned() else { return Ok(()) };
            let Some(pod) = state.pods.get_mut(&owner) else { return Ok(()) };
            pod.sandboxes.iter_mut().filter(|sandbox| sandbox.id == id).for_each(|sandbox| sandbox.ready = false);
            let inside = pod.containers.iter().filter(|container| container.record.sandbox_id == id);
            inside.filter(|container| !*container.ended.borrow()).map(|container| container.record.id.clone()).collect()
        };
        running.iter().for_each(|container| self.end(container, 137, "Error", ""));
        Ok(())
    }

    async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        let mut guard = self.0.state.lock();
        let state = &mut *guard;
        let Some(owner) = state.owners.remove(id) else { return Ok(()) };
        let Some(pod) = state.pods.get_mut(&owner) else { return Ok(()) };
        pod.sandboxes.retain(|sandbox| sandbox.id != id);
        for container in pod.containers.extract_if(.., |container| container.record.sandbox_id == id) {
            state.owners.remove(&container.record.id);
        }
        if pod.sandboxes.is_empty() {
            state.pods.remove(&owner);
        }
        Ok(())
    }

    async fn sandboxes(&self) -> Result<Vec<Sandbox>, RuntimeError> {
        Ok(self.0.state.lock().pods.values().flat_map(|pod| pod.sandboxes.iter().cloned()).collect())
    }

    async fn create_container(&self, sandbox_id: &str, config: &ContainerConfig) -> Result<String, RuntimeError> {
        let id = new_id();
        let created = self.now();
        let mut guard = self.0.state.lock();
        let state = &mut *guard;
        let missing = || RuntimeError::NotFound { what: format!("sandbox {sandbox_id}") };
        let owner = state.owners.get(sandbox_id).cloned().ok_or_else(missing)?;
        let pod = state.pods.get_mut(&owner).ok_or_else(missing)?;
        let record = Container {
            id: id.clone(),
            sandbox_id: sandbox_id.to_owned(),
            pod_uid: owner.clone(),
            name: config.name.clone(),
            attempt: config.attempt,
            image: config.image.clone(),
            image_id: config.image_id.clone(),
            created,
            state: ContainerState::Created,
            pid: None,
            labels: config.labels.clone(),
            log_path: config.log_path.clone(),
        };
        let script = Script::of(&pod.annotations, &config.name).map(Box::new);
        pod.containers.reserve_exact(1);
        pod.containers.push(SimulatedContainer { record, script, ended: watch::Sender::new(false) });
        state.owners.insert(id.clone(), owner);
        Ok(id)
    }

    async fn start_container(&self, id: &str) -> Result<(), RuntimeError> {
        let script = self.script(id)?;
        let delay = script.as_ref().and_then(|script| script.start_delay).unwrap_or(self.0.options.start_delay);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if let Some(message) = script.as_ref().and_then(|script| script.start_error.clone()) {
            self.end(id, 128, "StartError", &message);
            return Err(RuntimeError::Start { message });
        }
        let started = self.now();
        let attempt = self.with(id, |container| {
            if matches!(container.record.state, ContainerState::Created) {
                container.record.state = ContainerState::Running { started };
            }
            Ok(container.record.attempt)
        })?;
        if let Some(script) = &script {
            self.schedule_exit(id, script, attempt);
        }
        Ok(())
    }

    async fn stop_container(&self, id: &str, _signal: Option<&str>, grace: Duration) -> Result<(), RuntimeError> {
        let script = self.script(id)?.unwrap_or_default();
        let delay = script.stop_delay.unwrap_or_default();
        let mut ended = self.with(id, |container| Ok(container.ended.subscribe()))?;
        if !delay.is_zero() {
            let _ = tokio::time::timeout(delay.min(grace), ended.wait_for(|&ended| ended)).await;
        }
        let code = if delay > grace { 137 } else { script.stop_code };
        self.end(id, code, if code == 0 { "Completed" } else { "Error" }, "");
        Ok(())
    }

    async fn remove_container(&self, id: &str) -> Result<(), RuntimeError> {
        let mut state = self.0.state.lock();
        let Some(owner) = state.owners.remove(id) else { return Ok(()) };
        if let Some(pod) = state.pods.get_mut(&owner) {
            pod.containers.retain(|container| container.record.id != id);
        }
        Ok(())
    }

    async fn containers(&self) -> Result<Vec<Container>, RuntimeError> {
        let state = self.0.state.lock();
        Ok(state.pods.values().flat_map(|pod| pod.containers.iter().map(|container| container.record.clone())).collect())
    }

    async fn pod(&self, uid: &str) -> Result<(Vec<Sandbox>, Vec<Container>), RuntimeError> {
        let state = self.0.state.lock();
        let Some(pod) = state.pods.get(uid) else { return Ok(Default::default()) };
        Ok((pod.sandboxes.clone(), pod.containers.iter().map(|container| container.record.clone()).collect()))
    }

    async fn usage(&self, id: &str) -> Result<Usage, RuntimeError> {
        let now = self.now();
        self.with(id, |container| {
            let ContainerState::Running { started } = container.record.state else {
                return Err(RuntimeError::NotRunning { id: id.to_owned() });
            };
            let seconds = u64::try_from(now.duration_since(started).as_millis()).unwrap_or(0);
            let script = container.script.as_deref();
            let milli = script.map_or(1, |script| script.cpu_milli);
            Ok(Usage { cpu_nanoseconds: milli * seconds * 1_000, memory_bytes: script.map_or(8 << 20, |script| script.memory) })
        })
    }

    async fn exec_sync(&self, id: &str, command: &[String], _timeout: Option<Duration>) -> Result<ExecOutput, RuntimeError> {
        let script = self.running_script(id)?;
        Ok(ExecOutput { code: script.exec_code, output: script.exec_output(command).into_bytes() })
    }

    async fn exec(&self, id: &str, command: &[String], streams: StreamOptions) -> Result<Session, RuntimeError> {
        let script = self.running_script(id)?;
        Ok(streams::exec(&script, command, streams))
    }

    async fn attach(&self, id: &str, streams: StreamOptions) -> Result<Session, RuntimeError> {
        self.running_script(id)?;
        let ended = self.with(id, |container| Ok(container.ended.subscribe()))?;
        Ok(streams::attach(self.clone(), id.to_owned(), ended, streams))
    }

    async fn reopen_log(&self, _id: &str) -> Result<(), RuntimeError> {
        Ok(())
    }

    async fn image(&self, name: &str) -> Result<Option<Image>, RuntimeError> {
        if is_absent(name) {
            return Ok(None);
        }
        Ok(Some(self.0.images.lock().entry(name.to_owned()).or_insert_with(|| image_of(name)).clone()))
    }

    async fn pull_image(&self, name: &str, _: &[Credentials]) -> Result<Image, RuntimeError> {
        self.image(name).await?.ok_or_else(|| RuntimeError::Image {
            message: format!("failed to pull and unpack image \"{name}\": failed to resolve image: {name}: not found"),
        })
    }

    async fn images(&self) -> Result<Vec<Image>, RuntimeError> {
        Ok(self.0.images.lock().values().cloned().collect())
    }

    async fn load_images(&self, archive: &Path) -> Result<Vec<String>, RuntimeError> {
        Err(RuntimeError::Engine { message: format!("the simulated runtime loads no images: {}", archive.display()) })
    }

    async fn remove_image(&self, name: &str) -> Result<(), RuntimeError> {
        self.0.images.lock().remove(name);
        Ok(())
    }

    fn events(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.0.events.subscribe()
    }

    fn has_files(&self) -> bool {
        false
    }

    async fn scripted_probe(&self, id: &str, kind: &str) -> Option<Result<(), String>> {
        let now = self.now();
        let outcome = self.with(id, |container| {
            let ContainerState::Running { started } = container.record.state else { return Ok(Ok(())) };
            Ok(container.script.as_deref().map_or(Ok(()), |script| script.probe(kind, script::elapsed(started, now))))
        });
        outcome.ok()
    }

    async fn scripted_log(&self, id: &str, after: Option<Timestamp>) -> Option<ScriptedLog> {
        let now = self.now();
        let log = self.with(id, |container| {
            let (started, until, running) = match &container.record.state {
                ContainerState::Created => return Ok(ScriptedLog::default()),
                ContainerState::Running { started } => (*started, now, true),
                ContainerState::Exited { started, finished, .. } => (started.unwrap_or(*finished), *finished, false),
            };
            let script = container.script.as_deref().cloned().unwrap_or_default();
            Ok(script.log(started, until, after, running))
        });
        log.ok()
    }
}

impl Simulated {
    fn running_script(&self, id: &str) -> Result<Script, RuntimeError> {
        self.with(id, |container| match container.record.state {
            ContainerState::Running { .. } => Ok(container.script.as_deref().cloned().unwrap_or_default()),
            _ => Err(RuntimeError::NotRunning { id: id.to_owned() }),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    async fn container(runtime: &Simulated, annotations: &[(&str, &str)]) -> String {
        let annotations = annotations.iter().map(|(key, value)| (format!("{}{key}", script::PREFIX), (*value).to_owned())).collect();
        let config = SandboxConfig { uid: "u".into(), annotations, ..SandboxConfig::default() };
        let sandbox = runtime.run_sandbox(&config).await.unwrap();
        let config = ContainerConfig { name: "c".into(), image: "i".into(), ..ContainerConfig::default() };
        runtime.create_container(&sandbox, &config).await.unwrap()
    }

    async fn code(runtime: &Simulated) -> Option<(i32, String)> {
        let (_, containers) = runtime.pod("u").await.unwrap();
        match &containers[0].state {
            ContainerState::Exited { code, reason, .. } => Some((*code, reason.clone())),
            _ => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_scripted_container_ends_by_itself() {
        let runtime = Simulated::default();
        let mut events = runtime.events();
        let id = container(&runtime, &[("exit-after", "5s"), ("exit-code.c", "3")]).await;
        runtime.start_container(&id).await.unwrap();
        assert_eq!(code(&runtime).await, None);
        assert_eq!(events.recv().await.unwrap(), RuntimeEvent::Container { pod_uid: "u".into() });
        assert_eq!(code(&runtime).await, Some((3, "Error".into())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_that_takes_longer_than_its_grace_kills() {
        let runtime = Simulated::default();
        let id = container(&runtime, &[("stop-delay", "60s")]).await;
        runtime.start_container(&id).await.unwrap();
        runtime.stop_container(&id, None, Duration::from_secs(2)).await.unwrap();
        assert_eq!(code(&runtime).await, Some((137, "Error".into())));
    }

    #[tokio::test]
    async fn a_command_that_cannot_start() {
        let runtime = Simulated::default();
        let id = container(&runtime, &[("start-error", "exec: \"nope\": executable file not found in $PATH")]).await;
        assert!(matches!(runtime.start_container(&id).await, Err(RuntimeError::Start { .. })));
        assert_eq!(code(&runtime).await, Some((128, "StartError".into())));
    }

    #[tokio::test]
    async fn removing_a_sandbox_leaves_nothing() {
        let runtime = Simulated::default();
        let id = container(&runtime, &[]).await;
        runtime.start_container(&id).await.unwrap();
        let sandbox = runtime.sandboxes().await.unwrap().remove(0).id;
        runtime.stop_sandbox(&sandbox).await.unwrap();
        assert_eq!(code(&runtime).await, Some((137, "Error".into())));
        runtime.remove_sandbox(&sandbox).await.unwrap();
        let state = runtime.0.state.lock();
        assert!(state.pods.is_empty() && state.owners.is_empty());
    }

    #[tokio::test]
    async fn some_images_do_not_exist() {
        let runtime = Simulated::default();
        assert!(runtime.image("docker.io/library/absent:1").await.unwrap().is_none());
        assert!(runtime.pull_image("nosuch", &[]).await.is_err());
        assert!(runtime.image("busybox:1.36").await.unwrap().is_some());
    }
}
