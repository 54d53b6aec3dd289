//! Sandboxes: starting shims, finding them again, noticing their end.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Duration;

use jiff::Timestamp;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::watch;

use super::connection::Connection;
use super::{ContainerEntry, ContainerRecord, Native, SandboxEntry, SandboxRecord, State, blocking, cgroup, io, new_id};
use crate::runtime::{Limits, RuntimeError, RuntimeEvent, SandboxConfig};
use crate::shim::protocol::{ContainerPaths, Reply, Request, SandboxPaths};
use crate::shim::record::{self, Record};

/// How long a shim may take for what takes milliseconds, on a machine under load.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

impl Native {
    fn sandbox_paths(&self, id: &str) -> SandboxPaths {
        SandboxPaths(self.0.config.data_dir.join("sandboxes").join(id))
    }

    /// Reads what is on disk and connects to the shims that live.
    pub(super) async fn adopt(&self) -> Result<(), RuntimeError> {
        let directory = self.0.config.data_dir.join("sandboxes");
        let entries = std::fs::read_dir(&directory).map_err(io(format!("read {}", directory.display())))?;
        let mut known = Vec::new();
        for entry in entries.flatten() {
            let paths = SandboxPaths(entry.path());
            match record::read::<SandboxRecord>(&paths.config()) {
                Ok(found) => known.push((found, paths)),
                Err(_) => drop(std::fs::remove_dir_all(&paths.0)),
            }
        }
        let connections = futures::future::join_all(known.iter().map(|(_, paths)| watching(paths))).await;
        for ((found, paths), connection) in known.into_iter().zip(connections) {
            let (ready, _) = watch::channel(connection.is_some());
            let id = found.id.clone();
            {
                let mut state = self.0.state.lock();
                read_containers(&mut state, &id, &paths);
                state.sandboxes.insert(id.clone(), SandboxEntry { record: found, paths, ready });
            }
            match connection {
                Some(connection) => self.monitor(id, connection),
                None => self.sandbox_gone(&id),
            }
        }
        Ok(())
    }

    pub(super) async fn start_sandbox(&self, config: &SandboxConfig) -> Result<String, RuntimeError> {
        let id = new_id();
        let paths = self.sandbox_paths(&id);
        let found = SandboxRecord { id: id.clone(), created: Timestamp::now(), config: config.clone() };
        let (theirs, ours) = UnixStream::pair().map_err(io("make a socket"))?;
        let log = {
            let shown = paths.0.display().to_string();
            let (paths, found, group) = (paths.clone(), found.clone(), self.pod_group(config));
            let make = move || {
                std::fs::create_dir_all(paths.containers())?;
                if let Err(error) = cgroup::make(&group).and_then(|()| cgroup::set(&group, &found.config.limits)) {
                    // A plain user may have no control groups at all.
                    tracing::debug!(%error, group = %group.display(), "the pod as a whole has no limits");
                }
                record::write(&paths.config(), &found)?;
                std::fs::File::options().append(true).create(true).open(paths.0.join("shim.log"))
            };
            blocking(move || make().map_err(io(format!("make {shown}")))).await?
        };
        match self.spawn(&paths, theirs, ours, log).await {
            Ok(connection) => {
                let (ready, _) = watch::channel(true);
                self.0.state.lock().sandboxes.insert(id.clone(), SandboxEntry { record: found, paths, ready });
                self.monitor(id.clone(), connection);
                Ok(id)
            }
            Err(error) => {
                let _ = std::fs::remove_dir_all(&paths.0);
                Err(error)
            }
        }
    }

    /// The control group of a pod.
    fn pod_group(&self, config: &SandboxConfig) -> std::path::PathBuf {
        self.0.config.cgroup_root.join(config.cgroup_parent.trim_start_matches('/'))
    }

    pub(super) async fn set_pod_limits(&self, id: &str, limits: &Limits) -> Result<(), RuntimeError> {
        let group = {
            let state = self.0.state.lock();
            let Some(entry) = state.sandboxes.get(id) else { return Ok(()) };
            self.pod_group(&entry.record.config)
        };
        let (limits, shown) = (*limits, format!("set limits of {}", group.display()));
        blocking(move || cgroup::set(&group, &limits).map_err(io(shown))).await
    }

    async fn spawn(
        &self,
        paths: &SandboxPaths,
        theirs: UnixStream,
        ours: UnixStream,
        log: std::fs::File,
    ) -> Result<Connection, RuntimeError> {
        let Some((program, arguments)) = self.0.config.shim.split_first() else {
            return Err(RuntimeError::Engine { message: "no shim is configured".to_owned() });
        };
        let mut child = tokio::process::Command::new(program)
            .args(arguments)
            .arg(&paths.0)
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
            .stdout(log.try_clone().map_err(io("shim.log"))?)
            .stderr(log)
            .spawn()
            .map_err(io("start the shim"))?;
        // Only to take the child's end; it lives on when we do not.
        let mut connection = Connection::new(ours).map_err(io("connect to the shim"))?;
        let failed = |message: String| RuntimeError::Engine { message };
        let answer = tokio::time::timeout(PATIENCE, connection.receive()).await;
        let result = match answer {
            Ok(Ok(Some((Reply::Ready, _)))) => Ok(connection),
            Ok(Ok(Some((Reply::Failed { message, .. }, _)))) => Err(failed(format!("failed to start sandbox: {message}"))),
            Ok(Ok(_)) => Err(failed(format!("the shim ended at once: {}", tail(&paths.0.join("shim.log"))))),
            Ok(Err(error)) => Err(failed(format!("the shim does not answer: {error}"))),
            Err(_) => {
                let _ = child.start_kill();
                Err(failed("the shim does not answer".to_owned()))
            }
        };
        tokio::spawn(async move { child.wait().await });
        result
    }

    /// Follows a shim's events until its end.
    fn monitor(&self, id: String, mut connection: Connection) {
        let weak = std::sync::Arc::downgrade(&self.0);
        tokio::spawn(async move {
            loop {
                let message = connection.receive().await;
                let Some(native) = weak.upgrade().map(Native) else { return };
                match message {
                    Ok(Some((Reply::Changed { id, record }, _))) => native.process_changed(&id, record),
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => {
                        // It waits for the kernel.
                        tokio::task::spawn_blocking(move || native.sandbox_gone(&id));
                        return;
                    }
                }
            }
        });
    }

    pub(super) fn process_changed(&self, id: &str, record: Record) {
        let state = self.0.state.lock();
        let Some(entry) = state.containers.get(id) else { return };
        // An end is final; a later message about an earlier state is late.
        let stale = matches!(*entry.process.borrow(), Record::Exited { .. });
        if stale || *entry.process.borrow() == record {
            return;
        }
        let ended = matches!(record, Record::Exited { .. });
        entry.process.send_replace(record);
        let sandbox = state.sandboxes.get(&entry.record.sandbox_id).filter(|_| ended);
        if let Some(paths) = sandbox.map(|sandbox| sandbox.paths.container(id)) {
            tokio::task::spawn_blocking(move || remove_layer(&paths));
        }
        let uid = state.sandboxes.get(&entry.record.sandbox_id).map(|s| s.record.config.uid.clone());
        drop(state);
        if let Some(pod_uid) = uid {
            self.publish(RuntimeEvent::Container { pod_uid });
        }
    }

    /// The shim is no more: what it did not write down nobody knows.
    fn sandbox_gone(&self, id: &str) {
        let (paths, uid, containers) = {
            let state = self.0.state.lock();
            let Some(entry) = state.sandboxes.get(id) else { return };
            let own = state.containers.values().filter(|c| c.record.sandbox_id == id);
            let containers: Vec<(ContainerRecord, Record)> = own.map(|c| (c.record.clone(), c.process.borrow().clone())).collect();
            (entry.paths.clone(), entry.record.config.uid.clone(), containers)
        };
        let groups: Vec<_> = containers.iter().map(|(container, _)| container.cgroup.clone()).collect();
        for (container, told) in containers {
            let path = paths.container(&container.id).record();
            let written = record::read::<Record>(&path).unwrap_or(Record::Created);
            // An end that was told is one, though the disk may have been too full to take it.
            let mut found = if matches!(told, Record::Exited { .. }) { told } else { written.clone() };
            if let Record::Running { started, .. } = found {
                cgroup::kill(&container.cgroup);
                found = Record::Exited {
                    started: Some(started),
                    finished: Timestamp::now(),
                    code: 137,
                    reason: "ContainerStatusUnknown".to_owned(),
                    message: "The container could not be located when the pod was terminated".to_owned(),
                };
            }
            if found != written
                && let Err(error) = record::write(&path, &found)
            {
                tracing::warn!(%error, container = container.id, "cannot record the end of a container");
            }
            self.process_changed(&container.id, found);
        }
        if let Some(entry) = self.0.state.lock().sandboxes.get(id) {
            entry.ready.send_replace(false);
        }
        self.publish(RuntimeEvent::Sandbox { pod_uid: uid });
        groups.iter().for_each(|group| cgroup::remove(group));
    }

    pub(super) async fn end_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        let (paths, mut ready) = {
            let state = self.0.state.lock();
            let Some(entry) = state.sandboxes.get(id) else { return Ok(()) };
            (entry.paths.clone(), entry.ready.subscribe())
        };
        if !*ready.borrow() {
            return Ok(());
        }
        let mut shim = None;
        if let Ok(mut connection) = Connection::open(&paths) {
            shim = connection.shim();
            let _ = tokio::time::timeout(PATIENCE, connection.ask(&Request::Shutdown)).await;
        }
        let patience = if shim.is_some() { Duration::from_secs(10) } else { Duration::from_millis(100) };
        if tokio::time::timeout(patience, ready.wait_for(|ready| !ready)).await.is_ok() {
            return Ok(());
        }
        // Its processes die with it.
        if let Some(shim) = shim {
            let _ = kill(Pid::from_raw(shim), Signal::SIGKILL);
        }
        let _ = tokio::time::timeout(patience, ready.wait_for(|ready| !ready)).await;
        if *ready.borrow() { Err(RuntimeError::Engine { message: format!("sandbox {id} does not end") }) } else { Ok(()) }
    }

    pub(super) async fn forget_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        self.end_sandbox(id).await?;
        let (paths, parent, containers) = {
            let mut state = self.0.state.lock();
            let Some(entry) = state.sandboxes.remove(id) else { return Ok(()) };
            let (gone, kept) = state.containers.drain().partition(|(_, c)| c.record.sandbox_id == id);
            state.containers = kept;
            let gone: std::collections::HashMap<String, ContainerEntry> = gone;
            (entry.paths, entry.record.config.cgroup_parent, gone)
        };
        let root = self.0.config.cgroup_root.clone();
        blocking(move || {
            for container in containers.values() {
                cgroup::remove(&container.record.cgroup);
            }
            cgroup::remove_parents(&root.join(parent), &root);
            // Without its record the rest is rubbish, also for the next start.
            let _ = std::fs::remove_file(paths.config());
            match std::fs::remove_dir_all(&paths.0) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(io(format!("remove {}", paths.0.display()))(error)),
                _ => Ok(()),
            }
        })
        .await
    }
}

/// What an ended container wrote outside of its volumes nobody can read any more.
fn remove_layer(paths: &ContainerPaths) {
    for part in [paths.upper(), paths.work(), paths.rootfs()] {
        let _ = std::fs::remove_dir_all(part);
    }
}

/// A connection that gets events, if the shim lives.
async fn watching(paths: &SandboxPaths) -> Option<Connection> {
    let mut connection = Connection::open(paths).ok()?;
    match tokio::time::timeout(PATIENCE, connection.ask(&Request::Watch)).await {
        Ok(Ok((Reply::Done, _))) => Some(connection),
        _ => None,
    }
}

/// Reads the containers of a sandbox; directories without `container.json` were being made or removed.
fn read_containers(state: &mut State, sandbox: &str, paths: &SandboxPaths) {
    for entry in std::fs::read_dir(paths.containers()).into_iter().flatten().flatten() {
        let path = entry.path();
        match record::read::<ContainerRecord>(&path.join("container.json")) {
            Ok(found) if found.sandbox_id == sandbox => {
                let process = record::read::<Record>(&path.join("record.json")).unwrap_or(Record::Created);
                if matches!(process, Record::Exited { .. }) {
                    remove_layer(&paths.container(&found.id));
                }
                let (process, _) = watch::channel(process);
                state.containers.insert(found.id.clone(), ContainerEntry { record: found, process });
            }
            _ => drop(std::fs::remove_dir_all(&path)),
        }
    }
}

fn tail(path: &std::path::Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().next_back().unwrap_or("it left no message").to_owned()
}
