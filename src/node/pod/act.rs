//! Making sandboxes and starting containers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use coracle_api::seams::PodAddress;
use coracle_client::EventType;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::config::{self, TERMINATION_FILE};
use super::life::Life;
use super::plan::{Observed, ended, is_running};
use super::pull::{Missing, Wanted};
use super::{Member, Role, hooks, host_network, member, resources, spec};
use crate::agent::forbidden;
use crate::runtime::{Container, ContainerState, Image, NamespaceMode, RuntimeError, SandboxConfig};
use crate::status::Reason;

const RETRY: Duration = Duration::from_secs(10);
const LONGEST_MESSAGE: u64 = 4_096;
const LONGEST_LOG_MESSAGE: u64 = 2_048;
const MOST_LOG_LINES: usize = 80;

/// What the reference runtimes put before the message of a command that cannot be started.
const START_ERROR: &str = "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: \
                           unable to start container process: error during container init: ";

/// A start error in full words.
pub(crate) fn start_error(message: &str) -> String {
    if message.starts_with("failed to create") { message.to_owned() } else { format!("{START_ERROR}{message}") }
}

/// What an ended container left to say: its termination message, or the end of its log.
pub(crate) async fn termination_message(pod: &Pod, container: &Container) -> String {
    let ContainerState::Exited { code, reason, message, .. } = &container.state else { return String::new() };
    if reason == "StartError" {
        return start_error(message);
    }
    if let Some(path) = container.labels.get(TERMINATION_FILE) {
        let text = read_head(std::path::Path::new(path), LONGEST_MESSAGE).await;
        if !text.is_empty() {
            return text;
        }
    }
    let fallback = member(pod, &container.name)
        .is_some_and(|member| member.spec.termination_message_policy.as_deref() == Some("FallbackToLogsOnError"));
    if fallback && *code != 0 {
        return crate::logs::last_lines(&container.log_path, MOST_LOG_LINES, LONGEST_LOG_MESSAGE).await;
    }
    message.clone()
}

async fn read_head(path: &std::path::Path, limit: u64) -> String {
    use tokio::io::AsyncReadExt;
    let mut bytes = Vec::new();
    if let Ok(file) = tokio::fs::File::open(path).await {
        let _ = file.take(limit).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A failed start: what the container waits with, and when to try again.
struct Failure {
    reason: Reason,
    retry: Option<Timestamp>,
    /// Text of the `Failed` event; `None`: it has been told.
    event: Option<String>,
}

impl Life {
    /// Makes the pod's network and sandbox.
    pub(super) async fn create_sandbox(&mut self, attempt: u32) -> Result<(), String> {
        let agent = self.agent.clone();
        if spec(&self.pod).host_users == Some(false) && agent.runtime.has_files() {
            return Err("RuntimeClass handler \"\" does not support user namespaces".to_owned());
        }
        let id = self.network_id(attempt);
        let netns = if host_network(&self.pod) || agent.runtime.makes_networks() {
            None
        } else {
            let address = self.attach(&id, None).await?;
            let netns = address.netns.clone();
            self.address = Some(address);
            (!netns.as_os_str().is_empty()).then_some(netns)
        };
        let config = self.sandbox_config(attempt, netns);
        let runtime = agent.runtime.clone();
        let making = async move { runtime.run_sandbox(&config).await.map_err(|error| chain(&error)) };
        let made = match agent.see_through(making).await.flatten() {
            Ok(sandbox) => {
                let made = self.finish_sandbox(&sandbox, &id).await;
                if made.is_err() {
                    let _ = agent.runtime.stop_sandbox(&sandbox).await;
                    let _ = agent.runtime.remove_sandbox(&sandbox).await;
                }
                made
            }
            Err(error) => Err(error),
        };
        if made.is_err() {
            let _ = agent.network.detach(&agent.name, &id).await;
            self.address = None;
        }
        made
    }

    /// Gives the pod its address, in a network namespace of the runtime's making if there is one.
    async fn attach(&self, id: &str, netns: Option<PathBuf>) -> Result<PodAddress, String> {
        let (agent, id) = (self.agent.clone(), id.to_owned());
        let attaching = async move { agent.network.attach(&agent.name, &id, netns.as_deref()).await.map_err(|error| chain(&error)) };
        self.agent.see_through(attaching).await.flatten()
    }

    /// Plumbs a sandbox whose network the runtime made, and writes the files that tell the pod's addresses.
    async fn finish_sandbox(&mut self, sandbox: &str, id: &str) -> Result<(), String> {
        let agent = self.agent.clone();
        if agent.runtime.makes_networks() && !host_network(&self.pod) {
            let netns = agent.runtime.netns(sandbox).await.ok_or("the sandbox has no network namespace on this machine")?;
            self.address = Some(self.attach(id, Some(netns.clone())).await?);
            self.plumbed = Some(netns);
        }
        if agent.runtime.has_files() {
            config::write_pod_files(&agent, &self.pod, &self.pod_ips()).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn sandbox_config(&self, attempt: u32, netns: Option<std::path::PathBuf>) -> SandboxConfig {
        let pod_spec = spec(&self.pod);
        let node_or = |host: Option<bool>, other| if host == Some(true) { NamespaceMode::Node } else { other };
        let pid = if pod_spec.share_process_namespace == Some(true) { NamespaceMode::Pod } else { NamespaceMode::Container };
        let sysctls = pod_spec.security_context.iter().flat_map(|context| context.sysctls.iter().flatten());
        SandboxConfig {
            node: self.agent.name.clone(),
            namespace: super::namespace(&self.pod).to_owned(),
            name: super::name(&self.pod).to_owned(),
            uid: self.worker.uid.clone(),
            attempt,
            hostname: if host_network(&self.pod) {
                String::new()
            } else {
                super::hosts::kernel_hostname(&self.pod, &self.agent.cluster_domain)
            },
            netns,
            host_network: host_network(&self.pod),
            pid: node_or(pod_spec.host_pid, pid),
            ipc: node_or(pod_spec.host_ipc, NamespaceMode::Pod),
            cgroup_parent: resources::cgroup_parent(&self.pod),
            sysctls: sysctls.map(|sysctl| (forbidden::with_dots(&sysctl.name), sysctl.value.clone())).collect(),
            annotations: self.pod.metadata.annotations.clone().unwrap_or_default(),
            log_directory: self.agent.log_dir(&self.pod),
            limits: resources::pod_group_limits(&self.pod, self.agent.capacity.memory),
        }
    }

    /// Starts one container; says whether it runs.
    pub(super) async fn start_container(&mut self, role: Role, name: &str, observed: &Observed) -> bool {
        let pod = self.pod.clone();
        let Some(member) = member(&pod, name) else { return false };
        // A restart counts, whatever comes of it.
        if let Some((_, finished)) = observed.newest(name).and_then(ended) {
            let now = self.now();
            self.backoffs.tried(name, finished, now);
        }
        match self.try_start(&member, observed).await {
            Ok(()) => {
                self.reasons.remove(name);
                self.later.remove(name);
                self.retry.remove(name);
                self.fresh.insert(name.to_owned());
                true
            }
            Err(failure) => {
                if let Some(text) = failure.event {
                    self.agent.event(&self.pod, Some(member.field_path()), EventType::Warning, "Failed", text);
                }
                // An ephemeral container is tried once it can be made; a start that failed is final.
                let now = self.now();
                let again = if role == Role::Ephemeral { now + RETRY } else { failure.retry.unwrap_or(now) };
                self.retry.insert(name.to_owned(), again);
                self.later.remove(name);
                if failure.reason.reason == "ImagePullBackOff" {
                    self.show_later(name, again, failure.reason);
                } else {
                    self.reasons.insert(name.to_owned(), failure.reason);
                }
                false
            }
        }
    }

    async fn try_start(&mut self, member: &Member<'_>, observed: &Observed) -> Result<(), Failure> {
        let name = member.spec.name.clone();
        let failed = |missing: Missing| Failure {
            event: Some(format!("Error: {}", missing.reason.reason)).filter(|_| missing.reason.reason != "ContainerCreating"),
            reason: missing.reason,
            retry: Some(missing.retry),
        };
        let mut volumes = BTreeMap::new();
        for (volume, wanted) in Wanted::volumes(&self.pod.clone(), member) {
            volumes.insert(volume, self.ensure_image(&wanted).await.map_err(failed)?.id);
        }
        let image = self.ensure_image(&Wanted::of(member)).await.map_err(failed)?;
        let id = self.make(member, &image, &volumes, observed).await?;
        let field_path = Some(member.field_path());
        self.agent.event(&self.pod, field_path.clone(), EventType::Normal, "Created", "Container created");
        if let Err(error) = self.agent.runtime.start_container(&id).await {
            let text = match &error {
                RuntimeError::Start { message } => start_error(message),
                other => chain(other),
            };
            let event = Some(format!("Error: {text}"));
            return Err(Failure { reason: reason("RunContainerError", text), retry: None, event });
        }
        self.agent.event(&self.pod, field_path, EventType::Normal, "Started", "Container started");
        self.reasons.remove(&name);
        self.later.remove(&name);
        self.post_start(member, &id).await
    }

    /// Makes the container, up to its start.
    async fn make(
        &mut self,
        member: &Member<'_>,
        image: &Image,
        volumes: &BTreeMap<String, String>,
        observed: &Observed,
    ) -> Result<String, Failure> {
        let now = self.now();
        let failed = |kind: &str, text: String| Failure {
            event: Some(format!("Error: {text}")),
            reason: reason(kind, text),
            retry: Some(now + RETRY),
        };
        let Some(sandbox) = observed.ready_sandbox() else {
            return Err(Failure { reason: reason("ContainerCreating", String::new()), retry: None, event: None });
        };
        let facts = self.facts();
        let restarts = self.restarts(&member.spec.name, observed);
        let places = crate::volumes::Places { images: volumes, state: &self.volumes };
        let mut config = config::container(&self.agent, &self.pod, member, image, &places, &facts, restarts)
            .await
            .map_err(|text| failed("CreateContainerConfigError", text))?;
        config.target = self.target(&member.spec.name, observed);
        let id = self
            .agent
            .runtime
            .create_container(&sandbox.id, &config)
            .await
            .map_err(|error| failed("CreateContainerError", chain(&error)))?;
        self.collect(&member.spec.name, observed).await;
        Ok(id)
    }

    /// The container whose processes an ephemeral one is to see.
    fn target(&self, name: &str, observed: &Observed) -> Option<String> {
        let pod_spec = spec(&self.pod);
        let ephemeral = pod_spec.ephemeral_containers.iter().flatten().find(|container| container.name == name)?;
        let target = ephemeral.target_container_name.as_deref().filter(|target| !target.is_empty())?;
        observed.newest(target).filter(|container| is_running(container)).map(|container| container.id.clone())
    }

    /// Number of the next instance: one more than the runtime or, when it has forgotten, the status knows.
    fn restarts(&self, name: &str, observed: &Observed) -> u32 {
        if let Some(newest) = observed.newest(name) {
            return newest.attempt + 1;
        }
        let status = self.pod.status.as_ref();
        let lists = status.map(|status| status.container_statuses.iter().chain(&status.init_container_statuses).flatten());
        let known = lists.into_iter().flatten().find(|known| known.name == name && known.container_id.is_some());
        known.map_or(0, |known| u32::try_from(known.restart_count).unwrap_or(0) + 1)
    }

    /// Keeps the last ended instance, removes older ones, and those that were made and never started.
    async fn collect(&self, name: &str, observed: &Observed) {
        let own = observed.containers.iter().filter(|container| container.name == name);
        let made = own.clone().filter(|container| container.state == ContainerState::Created);
        for old in own.filter(|container| ended(container).is_some()).skip(1).chain(made) {
            if let Err(error) = self.agent.runtime.remove_container(&old.id).await {
                tracing::debug!(container = old.id, %error, "an ended container was not removed");
            }
            if self.agent.runtime.has_files() {
                let _ = tokio::fs::remove_file(&old.log_path).await;
            }
        }
    }

    /// Runs the `postStart` hook; a container whose hook fails is ended.
    async fn post_start(&mut self, member: &Member<'_>, id: &str) -> Result<(), Failure> {
        let Some(hook) = member.spec.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.clone()) else { return Ok(()) };
        let (_, containers) = self.agent.runtime.pod(&self.worker.uid).await.unwrap_or_default();
        let Some(container) = containers.into_iter().find(|container| container.id == id) else { return Ok(()) };
        let ending = self.worker.ending.clone();
        let ips = self.pod_ips();
        let result = tokio::select! {
            result = hooks::run(&self.agent, &self.pod, &ips, &container, &hook) => result,
            () = ending.cancelled() => return Ok(()),
        };
        let Err(text) = result else { return Ok(()) };
        let path = Some(member.field_path());
        self.agent.event(&self.pod, path.clone(), EventType::Warning, "FailedPostStartHook", "PostStartHook failed");
        self.agent.event(&self.pod, path, EventType::Normal, "Killing", "FailedPostStartHook");
        let grace = spec(&self.pod).termination_grace_period_seconds.unwrap_or(30);
        let grace = Duration::from_secs(u64::try_from(grace).unwrap_or(0).max(2));
        let stop = self.agent.runtime.stop_container(id, None, grace);
        tokio::select! {
            _ = stop => {}
            () = ending.cancelled() => {}
        }
        Err(Failure { reason: reason("PostStartHookError", text), retry: None, event: None })
    }
}

fn reason(kind: &str, message: String) -> Reason {
    Reason { reason: kind.to_owned(), message }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut out = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        out.push_str(&format!(": {error}"));
        cause = error.source();
    }
    out
}
