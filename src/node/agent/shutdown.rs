//! Ending every pod of the node, for a cluster that goes down.

use std::sync::Arc;
use std::time::Duration;

use super::Agent;
use crate::runtime::{Container, ContainerState};
use crate::volumes;

/// No container gets longer than this.
const LONGEST: Duration = Duration::from_secs(10);

/// Ends all containers in parallel, then the sandboxes, their networks and mounts.
pub(crate) async fn stop_pods(agent: &Arc<Agent>) {
    let containers = agent.runtime.containers().await.unwrap_or_default();
    let running = containers.into_iter().filter(|container| matches!(container.state, ContainerState::Running { .. }));
    futures::future::join_all(running.map(|container| stop_container(agent, container))).await;
    let sandboxes = agent.runtime.sandboxes().await.unwrap_or_default();
    futures::future::join_all(sandboxes.iter().map(|sandbox| async {
        if let Err(error) = agent.runtime.stop_sandbox(&sandbox.id).await {
            tracing::warn!(sandbox = sandbox.id, %error, "a sandbox was not stopped");
        }
    }))
    .await;
    for id in agent.network.attached(&agent.name).await.unwrap_or_default() {
        if let Err(error) = agent.network.detach(&agent.name, &id).await {
            tracing::warn!(node = agent.name, id, %error, "a pod's network was not removed");
        }
    }
    if agent.runtime.has_files() {
        let pods = agent.data_dir.join("pods");
        match tokio::task::spawn_blocking(move || volumes::unmount_all_below(&pods)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(node = agent.name, %error, "some volumes stay mounted"),
            Err(error) => tracing::warn!(node = agent.name, %error, "some volumes stay mounted"),
        }
    }
}

async fn stop_container(agent: &Agent, container: Container) {
    let pod = agent.worker(&container.pod_uid).map(|worker| worker.pod());
    let seconds = pod.as_ref().and_then(|pod| crate::pod::spec(pod).termination_grace_period_seconds).unwrap_or(30);
    let grace = Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).clamp(Duration::from_secs(1), LONGEST);
    let signal = pod.as_ref().and_then(|pod| crate::pod::member(pod, &container.name)?.spec.lifecycle.as_ref()?.stop_signal.clone());
    if let Err(error) = agent.runtime.stop_container(&container.id, signal.as_deref(), grace).await {
        tracing::warn!(container = container.id, %error, "a container was not stopped");
    }
}
