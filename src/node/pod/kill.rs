//! Ending containers: hooks first, then the signal, then the kill.

use std::sync::Arc;
use std::time::Duration;

use coracle_client::EventType;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::life::Life;
use super::plan::{Kill, Observed, ended, is_running, should_restart};
use super::{Role, hooks, member, spec};
use crate::agent::Agent;
use crate::runtime::{Container, RuntimeError};

/// Every container gets at least this long between signal and kill.
const SHORTEST: Duration = Duration::from_secs(2);

/// One container to end.
struct Ending {
    agent: Arc<Agent>,
    pod: Arc<Pod>,
    ips: Vec<std::net::IpAddr>,
    container: Container,
    message: String,
    grace: Duration,
    /// Containers that end before this one is asked to.
    after: Vec<watch::Receiver<bool>>,
}

impl Ending {
    async fn run(self) -> Result<(), RuntimeError> {
        let member = member(&self.pod, &self.container.name);
        let path = member.as_ref().map(super::Member::field_path);
        self.agent.event(&self.pod, path.clone(), EventType::Normal, "Killing", self.message.clone());
        let lifecycle = member.as_ref().and_then(|member| member.spec.lifecycle.clone());
        let begun = Instant::now();
        let left = |grace: Duration| grace.saturating_sub(begun.elapsed());
        if let (Some(hook), false) = (lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.clone()), self.grace.is_zero()) {
            let run = hooks::run(&self.agent, &self.pod, &self.ips, &self.container, &hook);
            let failed = !matches!(tokio::time::timeout(self.grace, run).await, Ok(Ok(())));
            if failed {
                self.agent.event(&self.pod, path, EventType::Warning, "FailedPreStopHook", "PreStopHook failed");
            }
        }
        for mut before in self.after {
            let _ = tokio::time::timeout(left(self.grace), before.wait_for(|&done| done)).await;
        }
        let signal = lifecycle.and_then(|lifecycle| lifecycle.stop_signal);
        let grace = left(self.grace).max(SHORTEST);
        self.agent.runtime.stop_container(&self.container.id, signal.as_deref(), grace).await
    }
}

impl Life {
    fn ending(&self, container: &Container, message: String, grace: Duration) -> Ending {
        Ending {
            agent: self.agent.clone(),
            pod: self.pod.clone(),
            ips: self.pod_ips(),
            container: container.clone(),
            message,
            grace,
            after: Vec::new(),
        }
    }

    fn own_grace(&self) -> Duration {
        let seconds = spec(&self.pod).termination_grace_period_seconds.unwrap_or(30);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    }

    /// Ends single containers that are to be replaced; says whether there were any.
    pub(super) async fn kill_some(&mut self, kills: &[Kill], observed: &Observed) -> bool {
        let mut tasks = JoinSet::new();
        for kill in kills {
            let Some(container) = observed.containers.iter().find(|container| container.id == kill.id) else { continue };
            let spec = member(&self.pod, &kill.name);
            let probe = spec.as_ref().and_then(|member| match kill.probe {
                Some("liveness") => member.spec.liveness_probe.clone(),
                Some("startup") => member.spec.startup_probe.clone(),
                _ => None,
            });
            let own = probe.and_then(|probe| probe.termination_grace_period_seconds).and_then(|seconds| u64::try_from(seconds).ok());
            let grace = own.map_or_else(|| self.own_grace(), Duration::from_secs);
            tasks.spawn(self.ending(container, kill.message.clone(), grace).run());
        }
        if tasks.is_empty() {
            return false;
        }
        let ending = self.worker.ending.clone();
        loop {
            tokio::select! {
                joined = tasks.join_next() => match joined {
                    Some(Ok(Err(error))) => tracing::warn!(pod = super::display(&self.pod), %error, "a container could not be stopped"),
                    Some(_) => {}
                    None => break,
                },
                () = ending.cancelled() => {
                    tasks.detach_all();
                    return true;
                }
            }
        }
        let now = self.now();
        for kill in kills {
            let restarts = member(&self.pod, &kill.name)
                .is_some_and(|member| member.role == Role::Sidecar || should_restart(&self.pod, member.role, &member.spec, None));
            if restarts {
                let before = observed.containers.iter().filter(|container| container.name == kill.name).find_map(ended);
                self.backoffs.allow(&kill.name, before.map(|(_, at)| at), now);
            }
        }
        true
    }

    /// Ends all containers, sidecars last and in reverse, then the sandboxes and their network. While it takes long, the
    /// status shows what has ended.
    pub(super) async fn kill_pod(&mut self, observed: &Observed, grace: Option<Duration>) -> Result<(), RuntimeError> {
        let grace = grace.unwrap_or_else(|| self.own_grace());
        let mut tasks = JoinSet::new();
        for (ending, done) in self.in_order(observed, grace) {
            tasks.spawn(async move {
                let result = ending.run().await;
                done.send_replace(true);
                result
            });
        }
        let mut failure = None;
        while !tasks.is_empty() {
            tokio::select! {
                joined = tasks.join_next() => {
                    if let Some(Ok(Err(error))) = joined {
                        failure = Some(error);
                    }
                    if tasks.is_empty() {
                        break;
                    }
                }
                () = tokio::time::sleep(Duration::from_millis(500)) => {}
            }
            self.refresh_while_ending().await;
        }
        if let Some(error) = failure {
            let message = format!("error killing pod: {error}");
            self.agent.event(&self.pod, None, EventType::Warning, "FailedKillPod", message);
            return Err(error);
        }
        for sandbox in &observed.sandboxes {
            self.agent.runtime.stop_sandbox(&sandbox.id).await?;
            if let Err(error) = self.agent.network.detach(&self.agent.name, &self.network_id(sandbox.attempt)).await {
                tracing::warn!(pod = super::display(&self.pod), %error, "a pod's network was not removed");
            }
        }
        self.address = None;
        Ok(())
    }

    /// Running containers with what they wait for, and what to set when they ended.
    fn in_order(&self, observed: &Observed, grace: Duration) -> Vec<(Ending, watch::Sender<bool>)> {
        let mut out: Vec<(Ending, watch::Sender<bool>)> = Vec::new();
        let running: Vec<&Container> = observed.containers.iter().filter(|container| is_running(container)).collect();
        let is_sidecar = |container: &Container| member(&self.pod, &container.name).is_some_and(|member| member.role == Role::Sidecar);
        let message = |container: &Container| format!("Stopping container {}", container.name);
        for container in running.iter().filter(|container| !is_sidecar(container)) {
            out.push((self.ending(container, message(container), grace), watch::Sender::new(false)));
        }
        let sidecars: Vec<String> = super::init_members(&self.pod).map(|member| member.spec.name.clone()).collect();
        for name in sidecars.iter().rev() {
            let Some(container) = running.iter().find(|container| container.name == *name && is_sidecar(container)) else { continue };
            let mut ending = self.ending(container, message(container), grace);
            ending.after = out.iter().map(|(_, done)| done.subscribe()).collect();
            out.push((ending, watch::Sender::new(false)));
        }
        out
    }
}
