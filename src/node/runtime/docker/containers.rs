//! Containers from preparation to removal, and what they use.

use std::time::Duration;

use bollard::Docker as Client;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptionsBuilder, KillContainerOptionsBuilder, RemoveContainerOptionsBuilder,
    StartContainerOptions, StatsOptionsBuilder,
};
use futures::StreamExt;
use tokio::sync::watch;

use super::logs::Follower;
use super::record::{self, ContainerRecord, Record};
use super::{ContainerEntry, Docker, failed, is_missing, is_status, not_found, spec, words};
use crate::runtime::{Container, ContainerConfig, ContainerState, Mount, RuntimeError, RuntimeEvent, Seccomp, Usage};
use crate::volumes::check_propagation;

/// How long the kernel may take to end a killed process.
pub(super) const KILL_PATIENCE: Duration = Duration::from_secs(30);
/// How long the rest of an ended container's log may take to get into its file.
const LOG_PATIENCE: Duration = Duration::from_secs(10);

/// A name that nobody else has, and that says what it is for.
pub(super) fn name(container: &str, pod: &str, namespace: &str) -> String {
    format!("coracle_{container}_{pod}_{namespace}_{:08x}", rand::random::<u32>())
}

/// Removes a container with its anonymous volumes, and waits until it is gone.
pub(super) async fn remove(client: &Client, id: &str) -> Result<(), RuntimeError> {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    let deadline = tokio::time::Instant::now() + KILL_PATIENCE;
    loop {
        match client.remove_container(id, Some(options.clone())).await {
            Ok(()) => return Ok(()),
            Err(error) if is_missing(&error) => return Ok(()),
            // Somebody else removes it just now.
            Err(error) if is_status(&error, 409) && tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

/// A working directory that is a file, in the words of the program that would have tried it.
fn no_directory(message: &str) -> Option<String> {
    let path = message.strip_prefix("Cannot mkdir: ")?.strip_suffix(" is not a directory")?;
    Some(format!("mkdir {path}: not a directory"))
}

/// An engine starts no container with a mount that the machine's do not reach, or that cannot reach the machine's. Where those
/// are private, what comes from the machine later cannot be had, and what goes to it is refused.
fn propagate(mounts: &mut [Mount]) -> Result<(), RuntimeError> {
    for mount in mounts.iter_mut().filter(|mount| mount.image.is_none()) {
        let to_machine = mount.propagation == "rshared";
        if !to_machine && mount.propagation != "rslave" {
            continue;
        }
        match check_propagation(&mount.source, to_machine) {
            Ok(()) => {}
            Err(message) if to_machine => return Err(RuntimeError::Engine { message }),
            Err(why) => {
                tracing::warn!(%why, path = %mount.destination.display(), "what is mounted there later will not be seen in the container");
                mount.propagation = "private".to_owned();
            }
        }
    }
    Ok(())
}

fn has_ended(container: &Container) -> bool {
    matches!(container.state, ContainerState::Exited { .. })
}

impl Docker {
    pub(super) async fn prepare_container(&self, sandbox_id: &str, config: &ContainerConfig) -> Result<String, RuntimeError> {
        let sandbox = {
            let state = self.0.state.lock();
            let entry = state.sandboxes.get(sandbox_id).ok_or_else(|| not_found("sandbox", sandbox_id))?;
            if !entry.sandbox.ready {
                return Err(RuntimeError::Engine { message: format!("sandbox {sandbox_id} is not ready") });
            }
            entry.record.clone()
        };
        let image = if config.image_id.is_empty() { &config.image } else { &config.image_id };
        let image = self.find_image(image).await?.ok_or_else(|| not_found("image", image))?;
        let mut config = ContainerConfig { image_id: image.id, ..config.clone() };
        propagate(&mut config.mounts)?;
        config.limits.oom_score_adj = config.limits.oom_score_adj.max(self.0.config.engine.oom_floor);
        let profile = self.seccomp_profile(&config).await?;
        self.provide_images(&mut config).await?;
        let body = |config: &ContainerConfig, refused: Option<String>| {
            let record = Record::container(&sandbox, sandbox_id, config, refused);
            let labels = record.labels(&self.0.config.cluster, &self.0.config.node, &sandbox.namespace, &sandbox.name);
            spec::container(config, &sandbox, sandbox_id, &image.user, profile.clone(), labels, self.0.config.engine.lacks())
        };
        let options = CreateContainerOptionsBuilder::new().name(&name(&config.name, &sandbox.name, &sandbox.namespace)).build();
        let mut made = self.client().create_container(Some(options.clone()), body(&config, None)).await.map_err(words);
        let refused = made.as_ref().err().and_then(|message| no_directory(message));
        if let Some(why) = refused {
            // Others make it all the same, and fail to start it: so does this one, whose command is a directory.
            let (command, working_dir) = (vec!["/".to_owned()], String::new());
            let doomed = ContainerConfig { command, working_dir, ..config.clone() };
            made = self.client().create_container(Some(options), body(&doomed, Some(why))).await.map_err(words);
        }
        let made = made.map_err(|message| {
            let message = if message.eq_ignore_ascii_case("no command specified") { message.to_lowercase() } else { message };
            RuntimeError::Engine { message }
        })?;
        self.look(&made.id).await?;
        Ok(made.id)
    }

    /// The text of a profile of the node's own, if the container asks for one.
    async fn seccomp_profile(&self, config: &ContainerConfig) -> Result<Option<String>, RuntimeError> {
        let Seccomp::Localhost(name) = &config.security.seccomp else { return Ok(None) };
        let path = self.0.config.data_dir.join("seccomp").join(name);
        let text = tokio::fs::read_to_string(&path).await;
        text.map(Some).map_err(super::io(format!("failed to load seccomp profile {}", path.display())))
    }

    /// Takes note of a container as the engine shows it; says whether it changed.
    pub(super) fn note_container(&self, id: &str, found: &ContainerInspectResponse, record: &ContainerRecord, look: u64) -> bool {
        let container = record::container(found, record);
        let mut state = self.0.state.lock();
        if let Some(entry) = state.containers.get_mut(id) {
            // An end is final.
            if entry.seen > look || has_ended(&entry.container.borrow()) {
                return false;
            }
            entry.seen = look;
            let changed = *entry.container.borrow() != container;
            entry.container.send_replace(container);
            return changed;
        }
        let config = found.config.as_ref();
        let (sender, _) = watch::channel(container);
        let entry = ContainerEntry {
            container: sender,
            stop_signal: config.and_then(|config| config.stop_signal.clone()).unwrap_or_default(),
            tty: config.and_then(|config| config.tty).unwrap_or(false),
            stdin: config.and_then(|config| config.open_stdin).unwrap_or(false),
            once: config.and_then(|config| config.stdin_once).unwrap_or(false),
            kept: None,
            follower: None,
            seen: look,
        };
        state.containers.insert(id.to_owned(), entry);
        true
    }

    /// Begins to write the log of a container that has been started.
    pub(super) fn follow(&self, id: &str, container: &Container) {
        let started = match &container.state {
            ContainerState::Created => false,
            ContainerState::Running { .. } => true,
            ContainerState::Exited { started, .. } => started.is_some(),
        };
        let mut state = self.0.state.lock();
        let Some(entry) = state.containers.get_mut(id).filter(|entry| started && entry.follower.is_none()) else { return };
        let (client, path) = (self.client().clone(), container.log_path.clone());
        entry.follower = Some(Follower::start(client, id.to_owned(), path, entry.tty, self.0.stop.child_token()));
    }

    /// Waits until the log of an ended container is whole: what is seen to have ended has said everything.
    pub(super) async fn log_written(&self, id: &str) {
        let follower = self.0.state.lock().containers.get(id).and_then(|entry| entry.follower.clone());
        if let Some(follower) = follower.filter(|follower| !follower.is_done()) {
            follower.finished(LOG_PATIENCE).await;
        }
    }

    /// A container's state from now on.
    pub(super) fn process(&self, id: &str) -> Result<watch::Receiver<Container>, RuntimeError> {
        let state = self.0.state.lock();
        Ok(state.containers.get(id).ok_or_else(|| not_found("container", id))?.container.subscribe())
    }

    pub(super) async fn launch_container(&self, id: &str) -> Result<(), RuntimeError> {
        let process = self.process(id)?;
        match process.borrow().state {
            ContainerState::Created => {}
            ContainerState::Running { .. } => return Ok(()),
            ContainerState::Exited { .. } => return Err(RuntimeError::Engine { message: format!("container {id} has ended") }),
        }
        self.keep_output(id).await;
        let started = self.client().start_container(id, None::<StartContainerOptions>).await;
        self.look(id).await?;
        started.map_err(|error| {
            let message = words(error);
            match &process.borrow().state {
                ContainerState::Exited { started: None, message: known, .. } if !known.is_empty() => {
                    RuntimeError::Start { message: known.clone() }
                }
                _ => RuntimeError::Start { message: record::start_message(&message) },
            }
        })
    }

    /// Sends a signal; one who has ended does not mind.
    pub(super) async fn signal(&self, id: &str, signal: &str) -> Result<(), RuntimeError> {
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        match self.client().kill_container(id, Some(options)).await {
            Err(error) if is_missing(&error) || is_status(&error, 409) || is_status(&error, 304) => self.look(id).await,
            Err(error) => Err(failed(error)),
            Ok(()) => Ok(()),
        }
    }

    pub(super) async fn end_container(&self, id: &str, signal: Option<&str>, grace: Duration) -> Result<(), RuntimeError> {
        let mut process = self.process(id)?;
        if !matches!(process.borrow().state, ContainerState::Running { .. }) {
            return Ok(());
        }
        if !grace.is_zero() {
            let image = self.0.state.lock().containers.get(id).map(|entry| entry.stop_signal.clone()).unwrap_or_default();
            let name = signal.map_or(image, str::to_owned);
            self.signal(id, if name.is_empty() { "SIGTERM" } else { &name }).await?;
            if tokio::time::timeout(grace, process.wait_for(has_ended)).await.is_ok() {
                return Ok(());
            }
        }
        self.signal(id, "SIGKILL").await?;
        match tokio::time::timeout(KILL_PATIENCE, process.wait_for(has_ended)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(RuntimeError::Timeout { after: KILL_PATIENCE }),
        }
    }

    pub(super) async fn forget_container(&self, id: &str) -> Result<(), RuntimeError> {
        let Ok(process) = self.process(id) else { return Ok(()) };
        self.end_container(id, None, Duration::ZERO).await?;
        if process.borrow().state == ContainerState::Created {
            self.kill_strays(id).await?;
        }
        remove(self.client(), id).await?;
        let entry = self.0.state.lock().containers.remove(id);
        if let Some(entry) = entry {
            if let Some(follower) = &entry.follower {
                follower.stop();
            }
            self.publish(RuntimeEvent::Container { pod_uid: entry.container.borrow().pod_uid.clone() });
        }
        Ok(())
    }

    pub(super) async fn used(&self, id: &str) -> Result<Usage, RuntimeError> {
        let options = StatsOptionsBuilder::new().stream(false).one_shot(true).build();
        let stats = self.client().stats(id, Some(options)).next().await;
        let not_running = || RuntimeError::NotRunning { id: id.to_owned() };
        let stats = stats.ok_or_else(not_running)?.map_err(failed)?;
        let cpu = stats.cpu_stats.and_then(|cpu| cpu.cpu_usage).and_then(|usage| usage.total_usage);
        let memory = stats.memory_stats.unwrap_or_default();
        let more = memory.stats.unwrap_or_default();
        // Of version 1 and of version 2.
        let inactive = more.get("total_inactive_file").or_else(|| more.get("inactive_file")).copied().unwrap_or_default();
        let used = memory.usage.ok_or_else(not_running)?;
        Ok(Usage { cpu_nanoseconds: cpu.unwrap_or_default(), memory_bytes: used.saturating_sub(inactive) })
    }

    pub(super) async fn written(&self, id: &str) -> Result<u64, RuntimeError> {
        let options = InspectContainerOptionsBuilder::new().size(true).build();
        let found = self.client().inspect_container(id, Some(options)).await.map_err(failed)?;
        Ok(found.size_rw.and_then(|size| u64::try_from(size).ok()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn mounts_reach_as_far_as_the_machine_lets_them() {
        // no machine shares these with others
        let source = std::path::PathBuf::from("/proc/self/nothing");
        let mut mounts: Vec<Mount> =
            ["private", "rslave"].map(|how| Mount { source: source.clone(), propagation: how.to_owned(), ..Mount::default() }).into();
        propagate(&mut mounts).unwrap();
        assert!(mounts.iter().all(|mount| mount.propagation == "private"));
        mounts[0].propagation = "rshared".to_owned();
        assert!(propagate(&mut mounts).unwrap_err().to_string().contains("/proc/self/nothing"));
    }
}
