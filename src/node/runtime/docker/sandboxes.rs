//! Sandboxes: the containers whose namespaces a pod's containers join.

use std::path::PathBuf;
use std::time::Duration;

use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{CreateContainerOptionsBuilder, CreateImageOptionsBuilder, StartContainerOptions};
use futures::TryStreamExt;
use tokio::sync::watch;

use super::record::{self, Record, SandboxRecord};
use super::{Docker, SandboxEntry, blocking, containers, failed, is_missing, not_found, pause, spec};
use crate::runtime::native::cgroup;
use crate::runtime::{Limits, RuntimeError, SandboxConfig};

/// How long a started process may take to become the program it is to run.
const BECOMES: Duration = Duration::from_secs(5);

impl Docker {
    pub(super) async fn start_sandbox(&self, config: &SandboxConfig) -> Result<String, RuntimeError> {
        let parent = spec::cgroup_parent(&self.0.config.cgroup_root, &config.cgroup_parent, self.0.systemd);
        let record = SandboxRecord::new(config, parent.clone());
        let labels = Record::Sandbox(record).labels(&self.0.config.cluster, &self.0.config.node, &config.namespace, &config.name);
        let id = self.create_sandbox(config, spec::sandbox(config, parent, self.0.config.engine.oom_floor, labels)).await?;
        let begun = async {
            self.limit_pod(&config.cgroup_parent, &config.limits).await?;
            self.client().start_container(&id, None::<StartContainerOptions>).await.map_err(failed)?;
            self.look(&id).await?;
            self.await_pause(&id).await;
            Ok(())
        };
        if let Err(error) = begun.await {
            // What cannot be removed now, with the engine away, is found when it is back.
            let _ = self.kill_strays(&id).await;
            let _ = containers::remove(self.client(), &id).await;
            let _ = self.remove_control_groups(&config.cgroup_parent, vec![id]).await;
            return Err(error);
        }
        Ok(id)
    }

    /// A container is started before its process has become the program that it is to run.
    async fn await_pause(&self, id: &str) {
        let deadline = tokio::time::Instant::now() + BECOMES;
        let own_network = || self.0.state.lock().sandboxes.get(id).is_some_and(|entry| entry.sandbox.ready && !entry.record.host_network);
        while own_network() && self.sandbox_netns(id).is_none() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Makes the container, and its image if that is not there.
    async fn create_sandbox(&self, config: &SandboxConfig, body: bollard::models::ContainerCreateBody) -> Result<String, RuntimeError> {
        let name = containers::name("POD", &config.name, &config.namespace);
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        match self.client().create_container(Some(options.clone()), body.clone()).await {
            Err(error) if is_missing(&error) => self.import_pause().await?,
            other => return other.map(|made| made.id).map_err(failed),
        }
        self.client().create_container(Some(options), body).await.map(|made| made.id).map_err(failed)
    }

    /// Once, however many sandboxes find it missing: a second import would leave the first one without a name.
    async fn import_pause(&self) -> Result<(), RuntimeError> {
        let _alone = self.0.importing.lock().await;
        if self.find_image(pause::PAUSE).await?.is_some() {
            return Ok(());
        }
        let layer = pause::layer(&self.0.config.engine.arch)?;
        let (repository, tag) = pause::PAUSE.rsplit_once(':').unwrap_or((pause::PAUSE, "1"));
        let options = CreateImageOptionsBuilder::new().from_src("-").repo(repository).tag(tag).build();
        let import = self.client().create_image(Some(options), Some(bollard::body_full(layer.into())), None);
        import.try_collect::<Vec<_>>().await.map(drop).map_err(failed)
    }

    /// Takes note of a sandbox as the engine shows it; says whether it changed.
    pub(super) fn note_sandbox(&self, id: &str, found: &ContainerInspectResponse, record: SandboxRecord, look: u64) -> bool {
        let sandbox = record::sandbox(found, &record);
        let pid = found.state.as_ref().and_then(|state| state.pid).and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0);
        let began = record::has_begun(found);
        let mut state = self.0.state.lock();
        match state.sandboxes.get_mut(id) {
            Some(entry) if entry.seen > look => false,
            Some(entry) => {
                let changed = entry.sandbox != sandbox || entry.pid != pid;
                entry.ready.send_replace(sandbox.ready);
                (entry.sandbox, entry.pid, entry.began, entry.seen) = (sandbox, pid, began, look);
                changed
            }
            None => {
                let (ready, _) = watch::channel(sandbox.ready);
                state.sandboxes.insert(id.to_owned(), SandboxEntry { sandbox, record, pid, began, ready, seen: look });
                true
            }
        }
    }

    /// The network namespace of a sandbox, where it has one of its own that can be seen from here.
    pub(super) fn sandbox_netns(&self, id: &str) -> Option<PathBuf> {
        let pid = {
            let state = self.0.state.lock();
            let entry = state.sandboxes.get(id).filter(|entry| entry.sandbox.ready && !entry.record.host_network)?;
            entry.pid?
        };
        // The number could by now, or in another PID namespace, mean another process.
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        command.starts_with(b"/pause\0").then(|| PathBuf::from(format!("/proc/{pid}/ns/net")))
    }

    pub(super) async fn end_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        let (members, began, mut ready) = {
            let state = self.0.state.lock();
            let Some(entry) = state.sandboxes.get(id) else { return Ok(()) };
            (state.members(id), entry.began, entry.ready.subscribe())
        };
        let ends = members.iter().map(|member| self.end_container(member, None, Duration::ZERO));
        futures::future::try_join_all(ends).await?;
        if !began {
            return self.kill_strays(id).await;
        }
        if !*ready.borrow() {
            return Ok(());
        }
        self.signal(id, "SIGKILL").await?;
        let gone = tokio::time::timeout(containers::KILL_PATIENCE, ready.wait_for(|ready| !ready)).await.is_ok();
        if gone { Ok(()) } else { Err(RuntimeError::Engine { message: format!("sandbox {id} does not end") }) }
    }

    pub(super) async fn forget_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        let (members, began, cgroup) = {
            let state = self.0.state.lock();
            let Some(entry) = state.sandboxes.get(id) else { return Ok(()) };
            (state.members(id), entry.began, entry.record.cgroup.clone())
        };
        let removals = members.iter().map(|member| self.forget_container(member));
        futures::future::try_join_all(removals).await?;
        if !began {
            self.kill_strays(id).await?;
        }
        containers::remove(self.client(), id).await?;
        self.0.state.lock().sandboxes.remove(id);
        let ids = members.into_iter().chain([id.to_owned()]).collect();
        self.remove_control_groups(&cgroup, ids).await
    }

    /// Removes the groups above those of removed containers, which the engine leaves behind (systemd does not), and theirs, which
    /// an engine that was killed leaves too.
    async fn remove_control_groups(&self, pod: &str, containers: Vec<String>) -> Result<(), RuntimeError> {
        if self.0.systemd {
            return Ok(());
        }
        let root = self.0.config.cgroup_root.clone();
        let group = root.join(pod);
        blocking(move || {
            containers.iter().for_each(|container| cgroup::remove(&group.join(container)));
            cgroup::remove_parents(&group, &root);
            Ok(())
        })
        .await
    }

    pub(super) async fn set_pod_limits(&self, id: &str, limits: &Limits) -> Result<(), RuntimeError> {
        let group = self.0.state.lock().sandboxes.get(id).map(|entry| entry.record.cgroup.clone());
        let group = group.ok_or_else(|| not_found("sandbox", id))?;
        self.limit_pod(&group, limits).await
    }

    /// Limits of the pod's control group, which the engine makes but does not limit. A slice is systemd's.
    async fn limit_pod(&self, group: &str, limits: &Limits) -> Result<(), RuntimeError> {
        if self.0.systemd || *limits == Limits::default() {
            return Ok(());
        }
        let (group, limits) = (self.0.config.cgroup_root.join(group), *limits);
        blocking(move || {
            let set = || cgroup::make(&group).and_then(|()| cgroup::set(&group, &limits));
            set().map_err(super::io(format!("limit {}", group.display())))
        })
        .await
    }
}
