//! Containers from preparation to removal.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use super::connection::Connection;
use super::shims::PATIENCE;
use super::spec::{ImageProcess, Inputs, arguments, spec, working_dir};
use super::{ContainerEntry, ContainerRecord, Native, blocking, cgroup, io, new_id, user};
use crate::images::{ImageRecord, Store};
use crate::rootless::is_rootless;
use crate::runtime::{ContainerConfig, Limits, Mount, NamespaceMode, RuntimeError};
use crate::shim::propagation::{Bind, Propagation};
use crate::shim::protocol::{ContainerPaths, Failure, ImageMount, Plan, Reply, Request, SandboxPaths};
use crate::shim::record::{self, Record};

/// How long the kernel may take to end a killed process.
const KILL_PATIENCE: Duration = Duration::from_secs(30);

fn not_found(what: &str, id: &str) -> RuntimeError {
    RuntimeError::NotFound { what: format!("{what} {id}") }
}

/// The layers of an image, the uppermost first.
fn layer_names(image: &ImageRecord) -> Vec<String> {
    let mut layers: Vec<String> = image.layers.iter().rev().map(|digest| Store::layer_name(digest)).collect();
    // Overlay refuses a layer that is there twice.
    let mut seen = std::collections::HashSet::new();
    layers.retain(|layer| seen.insert(layer.clone()));
    layers
}

impl Native {
    /// Everything but starting it: files on disk, `container.json` last.
    pub(super) async fn prepare_container(&self, sandbox_id: &str, config: &ContainerConfig) -> Result<String, RuntimeError> {
        let (paths, sandbox, ready) = {
            let state = self.0.state.lock();
            let entry = state.sandboxes.get(sandbox_id).ok_or_else(|| not_found("sandbox", sandbox_id))?;
            (entry.paths.clone(), entry.record.config.clone(), *entry.ready.borrow())
        };
        if !ready {
            return Err(RuntimeError::Engine { message: format!("sandbox {sandbox_id} is not ready") });
        }
        let named = if config.image_id.is_empty() { &config.image } else { &config.image_id };
        let image = self.find_image(named).await?.ok_or_else(|| not_found("image", named))?;
        let id = new_id();
        let mut config = config.clone();
        config.image_id.clone_from(&image.id);
        let layers = layer_names(&image);
        let group = self.0.config.cgroup_root.join(sandbox.cgroup_parent.trim_start_matches('/')).join(&id);
        let images = self.image_store();
        let mounted = self.mounted_images(&config, &paths.container(&id)).await?;
        let target = config.target.as_ref().and_then(|target| self.process(target));
        let (container, container_id, sandbox_id) = (paths.container(&id), id.clone(), sandbox_id.to_owned());
        let record = blocking(move || {
            let read = |path: &str| images.read_file(&image, Path::new(path)).unwrap_or_default();
            let user = user::resolve(&config.security, &image.config.user, &read("/etc/passwd"), &read("/etc/group"))
                .and_then(user::available)
                .map_err(|error| RuntimeError::Engine { message: error.to_string() })?;
            let process = ImageProcess {
                entrypoint: image.config.entrypoint.clone(),
                command: image.config.cmd.clone(),
                env: image.config.env.clone(),
                working_dir: image.config.working_dir.clone(),
            };
            if arguments(&config, &process).is_empty() {
                return Err(RuntimeError::Engine { message: "no command specified".to_owned() });
            }
            let mut resolved = config.clone();
            for (at, image) in &mounted {
                resolved.mounts[*at].source = image.path();
            }
            let binds = binds(&resolved.mounts, &container)?;
            for (mount, bind) in resolved.mounts.iter_mut().zip(&binds).filter(|(_, bind)| bind.propagation == Propagation::Both) {
                mount.source.clone_from(&bind.brought);
            }
            let shared = |pid: i32| PathBuf::from(format!("/proc/{pid}/ns/pid"));
            let pid_namespace = match target {
                Some(pid) => Some(shared(pid)),
                None => pid_namespace(&paths, sandbox.pid)?,
            };
            let spec = spec(&Inputs {
                config: &resolved,
                sandbox: &sandbox,
                image: &process,
                user: &user,
                rootfs: &container.rootfs(),
                cgroup: &group,
                shm: &paths.shm(),
                pid_namespace,
                unified: cgroup::unified(),
                rootless: is_rootless(),
            });
            let log = (!config.log_path.as_os_str().is_empty()).then(|| sandbox.log_directory.join(&config.log_path));
            let plan = Plan {
                layer_root: images.layer_root(),
                layers: layers.clone(),
                images: mounted.iter().map(|(_, image)| image.clone()).collect(),
                binds,
                working_dir: working_dir(&config, &process),
                log_path: log,
                stdin: config.stdin,
                stdin_once: config.stdin_once,
                tty: config.tty,
                cgroup: group.clone(),
            };
            let record = ContainerRecord {
                id: container_id,
                sandbox_id,
                created: Timestamp::now(),
                layers: layers.into_iter().chain(mounted.into_iter().flat_map(|(_, image)| image.layers)).collect(),
                cgroup: group,
                stop_signal: image.config.stop_signal.clone(),
                config,
            };
            let write = || {
                std::fs::create_dir_all(container.bundle())?;
                std::fs::write(container.bundle().join("config.json"), serde_json::to_vec(&spec)?)?;
                std::fs::write(container.plan(), serde_json::to_vec(&plan)?)?;
                record::write(&container.0.join("container.json"), &record)
            };
            write().map_err(io(format!("make {}", container.0.display())))?;
            Ok(record)
        })
        .await?;
        let (process, _) = watch::channel(Record::Created);
        self.0.state.lock().containers.insert(id.clone(), ContainerEntry { record, process });
        Ok(id)
    }

    /// The images that the container mounts, by the number of the mount.
    async fn mounted_images(&self, config: &ContainerConfig, paths: &ContainerPaths) -> Result<Vec<(usize, ImageMount)>, RuntimeError> {
        let mut out = Vec::new();
        for (at, mount) in config.mounts.iter().enumerate() {
            let Some(name) = &mount.image else { continue };
            let image = self.find_image(name).await?.ok_or_else(|| not_found("image", name))?;
            let layers = layer_names(&image);
            out.push((at, ImageMount { target: paths.images().join(at.to_string()), layers, inside: mount.source.clone() }));
        }
        Ok(out)
    }

    /// PID of a container's first process, while it runs.
    fn process(&self, id: &str) -> Option<i32> {
        match &*self.0.state.lock().containers.get(id)?.process.borrow() {
            Record::Running { pid, .. } => Some(*pid),
            _ => None,
        }
    }

    pub(super) async fn set_limits(&self, id: &str, limits: &Limits) -> Result<(), RuntimeError> {
        let (paths, _) = self.located(id)?;
        let record = {
            let mut state = self.0.state.lock();
            let entry = state.containers.get_mut(id).ok_or_else(|| not_found("container", id))?;
            entry.record.config.limits = *limits;
            entry.record.clone()
        };
        let (limits, file) = (*limits, paths.container(id).0.join("container.json"));
        blocking(move || {
            cgroup::set(&record.cgroup, &limits).map_err(io(format!("set limits of {}", record.id)))?;
            record::write(&file, &record).map_err(io(format!("write {}", file.display())))
        })
        .await
    }

    /// Bytes of a container's writable layer.
    pub(super) async fn written(&self, id: &str) -> Result<u64, RuntimeError> {
        let (paths, _) = self.located(id)?;
        let upper = paths.container(id).upper();
        blocking(move || Ok(crate::volumes::size_of(&upper))).await
    }

    /// The paths of a container's sandbox, and its process.
    pub(super) fn located(&self, id: &str) -> Result<(SandboxPaths, watch::Receiver<Record>), RuntimeError> {
        let state = self.0.state.lock();
        let entry = state.containers.get(id).ok_or_else(|| not_found("container", id))?;
        let sandbox = state.sandboxes.get(&entry.record.sandbox_id).ok_or_else(|| not_found("sandbox", &entry.record.sandbox_id))?;
        Ok((sandbox.paths.clone(), entry.process.subscribe()))
    }

    /// Asks the shim of a container that should be running.
    pub(super) async fn ask_shim(
        &self,
        id: &str,
        request: &Request,
    ) -> Result<(Connection, Reply, Vec<std::os::fd::OwnedFd>), RuntimeError> {
        let (paths, _) = self.located(id)?;
        let mut connection = Connection::open(&paths).map_err(|_| RuntimeError::NotRunning { id: id.to_owned() })?;
        let answer = tokio::time::timeout(PATIENCE, connection.ask(request)).await;
        let (reply, descriptors) =
            answer.map_err(|_| RuntimeError::Timeout { after: PATIENCE })?.map_err(io(format!("ask the shim of {id}")))?;
        match reply {
            Reply::Failed { failure: Failure::Start, message } => Err(RuntimeError::Start { message }),
            Reply::Failed { failure: Failure::NotRunning, .. } => Err(RuntimeError::NotRunning { id: id.to_owned() }),
            Reply::Failed { failure: Failure::Other, message } => Err(RuntimeError::Engine { message }),
            reply => Ok((connection, reply, descriptors)),
        }
    }

    pub(super) async fn launch_container(&self, id: &str) -> Result<(), RuntimeError> {
        let (paths, process) = self.located(id)?;
        match &*process.borrow() {
            Record::Created => {}
            Record::Running { .. } => return Ok(()),
            Record::Exited { .. } => return Err(RuntimeError::Engine { message: format!("container {id} has ended") }),
        }
        match self.ask_shim(id, &Request::Start { id: id.to_owned() }).await {
            Ok((_, Reply::Started(record), _)) => {
                self.process_changed(id, record);
                Ok(())
            }
            Ok(_) => Err(RuntimeError::Engine { message: "the shim answered something else".to_owned() }),
            Err(error) => {
                if let Ok(record) = record::read(&paths.container(id).record()) {
                    self.process_changed(id, record);
                }
                Err(error)
            }
        }
    }

    pub(super) async fn end_container(&self, id: &str, signal: Option<&str>, grace: Duration) -> Result<(), RuntimeError> {
        let (_, mut process) = self.located(id)?;
        if !matches!(*process.borrow(), Record::Running { .. }) {
            return Ok(());
        }
        let ended = |record: &Record| matches!(record, Record::Exited { .. });
        if !grace.is_zero() {
            let image = self.0.state.lock().containers.get(id).map(|c| c.record.stop_signal.clone()).unwrap_or_default();
            let name = signal.unwrap_or(&image);
            let number = if name.is_empty() { libc::SIGTERM } else { signal_number(name).unwrap_or(libc::SIGTERM) };
            match self.ask_shim(id, &Request::Signal { id: id.to_owned(), signal: number }).await {
                Ok(_) | Err(RuntimeError::NotRunning { .. }) => {}
                Err(error) => return Err(error),
            }
            if tokio::time::timeout(grace, process.wait_for(ended)).await.is_ok() {
                return Ok(());
            }
        }
        match self.ask_shim(id, &Request::Signal { id: id.to_owned(), signal: libc::SIGKILL }).await {
            Ok(_) | Err(RuntimeError::NotRunning { .. }) => {}
            Err(error) => return Err(error),
        }
        let gone = tokio::time::timeout(KILL_PATIENCE, process.wait_for(ended)).await.is_ok();
        if gone { Ok(()) } else { Err(RuntimeError::Timeout { after: KILL_PATIENCE }) }
    }

    pub(super) async fn forget_container(&self, id: &str) -> Result<(), RuntimeError> {
        let Ok((paths, _)) = self.located(id) else { return Ok(()) };
        self.end_container(id, None, Duration::ZERO).await?;
        let Some(entry) = self.0.state.lock().containers.remove(id) else { return Ok(()) };
        let container = paths.container(id);
        blocking(move || {
            cgroup::remove(&entry.record.cgroup);
            let _ = std::fs::remove_file(container.0.join("container.json"));
            match std::fs::remove_dir_all(&container.0) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io(format!("remove {}", container.0.display()))(error)),
                _ => Ok(()),
            }
        })
        .await
    }

    pub(super) async fn reopen_container_log(&self, id: &str) -> Result<(), RuntimeError> {
        match self.ask_shim(id, &Request::ReopenLog { id: id.to_owned() }).await {
            // Nothing will be written any more.
            Ok(_) | Err(RuntimeError::NotRunning { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The mounts with their propagation; none where all are private, as they are made.
fn binds(mounts: &[Mount], paths: &ContainerPaths) -> Result<Vec<Bind>, RuntimeError> {
    let propagation = |mount: &Mount| match mount.propagation.as_str() {
        "rshared" => Propagation::Both,
        "rslave" => Propagation::FromMachine,
        _ => Propagation::Private,
    };
    if mounts.iter().all(|mount| propagation(mount) == Propagation::Private) {
        return Ok(Vec::new());
    }
    let bind = |(at, mount): (usize, &Mount)| {
        let propagation = propagation(mount);
        if propagation != Propagation::Private {
            let checked = crate::volumes::check_propagation(&mount.source, propagation == Propagation::Both);
            let prefix = "failed to generate container spec: failed to generate spec: ";
            checked.map_err(|why| RuntimeError::Engine { message: format!("{prefix}{why}") })?;
        }
        let (source, destination) = (mount.source.clone(), mount.destination.clone());
        Ok(Bind { source, destination, propagation, brought: paths.brought().join(at.to_string()) })
    };
    mounts.iter().enumerate().map(bind).collect()
}

/// The PID namespace that containers of the pod share, if they share one.
fn pid_namespace(paths: &SandboxPaths, mode: NamespaceMode) -> Result<Option<PathBuf>, RuntimeError> {
    if mode != NamespaceMode::Pod {
        return Ok(None);
    }
    let path = paths.0.join("pause.pid");
    let pid = std::fs::read_to_string(&path).map_err(io(format!("read {}", path.display())))?;
    Ok(Some(PathBuf::from(format!("/proc/{}/ns/pid", pid.trim()))))
}

/// `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`.
fn signal_number(name: &str) -> Option<i32> {
    if let Ok(number) = name.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = name.to_uppercase();
    let plain = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(offset) = plain.strip_prefix("RTMIN") {
        let offset = if offset.is_empty() { 0 } else { offset.strip_prefix('+')?.parse::<i32>().ok()? };
        return (0..=30).contains(&offset).then_some(34 + offset);
    }
    if let Some(offset) = plain.strip_prefix("RTMAX") {
        let offset = if offset.is_empty() { 0 } else { offset.strip_prefix('-')?.parse::<i32>().ok()? };
        return (0..=30).contains(&offset).then_some(64 - offset);
    }
    format!("SIG{plain}").parse::<nix::sys::signal::Signal>().ok().map(|signal| signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        let cases = [
            ("SIGTERM", Some(15)),
            ("kill", Some(9)),
            ("2", Some(2)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("x", None),
            ("99", None),
        ];
        for (name, number) in cases {
            assert_eq!(signal_number(name), number, "{name}");
        }
    }
}
