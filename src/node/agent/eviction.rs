//! Ending pods that take more of the machine than they may: local storage over its limits, and, under pressure, the pods
//! that the kubelet would choose.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_client::EventType;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::Agent;
use super::pressure::{Pressure, Pressures};
use crate::pod::resources::{pod_limits, pod_requests, qos_class, whole};
use crate::pod::{is_terminal, member, members, spec};
use crate::status::{EVICTED, Reason};
use crate::volumes;

const EVERY: Duration = Duration::from_secs(10);

/// How long an evicted pod may take to go before another has to go too, as the kubelet's.
const CLEANUP: Duration = Duration::from_secs(30);

/// Runs until stopped.
pub(crate) async fn run(agent: Arc<Agent>) {
    if !agent.runtime.has_files() {
        return std::future::pending().await;
    }
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let over_limits = storage(&agent).await;
        let pressures = agent.pressures.measure(&agent.data_dir, agent.clock.now());
        if pressures.changed {
            agent.status_changed.notify_one();
        }
        // One pod at a time: the next look may find that it was enough.
        let leaving = agent.workers.lock().values().any(|worker| worker.is_being_evicted(CLEANUP));
        if !over_limits && !leaving && pressures.now != Pressures::default() {
            relieve(&agent, &pressures.now).await;
        }
    }
}

fn pods(agent: &Agent) -> Vec<Arc<Pod>> {
    let pods: Vec<_> = agent.workers.lock().values().map(|worker| worker.pod()).collect();
    pods.into_iter().filter(|pod| !is_terminal(pod) && pod.metadata.deletion_timestamp.is_none()).collect()
}

fn evict(agent: &Agent, pod: &Pod, message: String) {
    let Some(worker) = agent.worker(crate::pod::uid(pod)) else { return };
    if worker.evict(Reason { reason: EVICTED.to_owned(), message: message.clone() }) {
        agent.event(pod, None, EventType::Warning, EVICTED, message);
    }
}

/// Bytes of local storage, by kind.
#[derive(Debug, Default, Clone)]
struct Used {
    /// By volume, with its limit.
    volumes: Vec<(String, u64, Option<Quantity>)>,
    /// Writable layer and logs, by container.
    containers: BTreeMap<String, u64>,
}

impl Used {
    fn total(&self) -> u64 {
        self.volumes.iter().map(|(_, bytes, _)| bytes).sum::<u64>() + self.containers.values().sum::<u64>()
    }
}

/// Whether anything bounds the pod's local storage.
fn is_bounded(pod: &Pod) -> bool {
    let pod_spec = spec(pod);
    let volume = pod_spec.volumes.iter().flatten().any(|volume| volume.empty_dir.as_ref().is_some_and(|empty| empty.size_limit.is_some()));
    volume || pod_limits(pod).contains_key("ephemeral-storage")
}

async fn measure(agent: &Agent, pod: &Pod) -> Used {
    let places = volumes::local(agent, pod);
    let logs = agent.log_dir(pod);
    let (_, containers) = agent.runtime.pod(crate::pod::uid(pod)).await.unwrap_or_default();
    let mut used = Used::default();
    for container in containers {
        let layer = agent.runtime.disk_usage(&container.id).await.unwrap_or(0);
        *used.containers.entry(container.name).or_default() += layer;
    }
    let names: Vec<String> = used.containers.keys().cloned().collect();
    let sizes = move || {
        let volumes = places.into_iter().map(|(name, path, limit)| (name, volumes::size_of(&path), limit)).collect::<Vec<_>>();
        let logs = names.into_iter().map(|name| (volumes::size_of(&logs.join(&name)), name)).collect::<Vec<(u64, String)>>();
        (volumes, logs)
    };
    let Ok((sizes, logs)) = tokio::task::spawn_blocking(sizes).await else { return used };
    used.volumes = sizes;
    for (bytes, name) in logs {
        *used.containers.entry(name).or_default() += bytes;
    }
    used
}

/// Why a pod's local storage is too much.
fn excess(pod: &Pod, used: &Used) -> Option<String> {
    let over = |bytes: u64, limit: &Quantity| u64::try_from(whole(limit)).is_ok_and(|limit| limit > 0 && bytes > limit);
    for (name, bytes, limit) in &used.volumes {
        if let Some(limit) = limit.as_ref().filter(|limit| over(*bytes, limit)) {
            return Some(format!("Usage of EmptyDir volume \"{name}\" exceeds the limit \"{}\". ", limit.0));
        }
    }
    let all_bounded = crate::pod::main_members(pod).all(|member| limit_of(&member.spec).is_some());
    if let Some(limit) = pod_limits(pod).get("ephemeral-storage").filter(|limit| all_bounded && over(used.total(), limit)) {
        return Some(format!("Pod ephemeral local storage usage exceeds the total limit of containers {}. ", limit.0));
    }
    used.containers.iter().find_map(|(name, bytes)| {
        let member = member(pod, name)?;
        let limit = limit_of(&member.spec).filter(|limit| over(*bytes, limit))?;
        Some(format!("Container {name} exceeded its local ephemeral storage limit \"{}\". ", limit.0))
    })
}

fn limit_of(container: &k8s_openapi::api::core::v1::Container) -> Option<Quantity> {
    container.resources.as_ref()?.limits.as_ref()?.get("ephemeral-storage").cloned()
}

/// Evicts pods whose local storage is over a limit; says whether there were any.
async fn storage(agent: &Agent) -> bool {
    let mut any = false;
    for pod in pods(agent).into_iter().filter(|pod| is_bounded(pod)) {
        let used = measure(agent, &pod).await;
        if let Some(message) = excess(&pod, &used) {
            evict(agent, &pod, message);
            any = true;
        }
    }
    any
}

/// How much of what is short a pod uses and asked for.
struct Candidate {
    pod: Arc<Pod>,
    used: i64,
    requested: i64,
}

/// Order of eviction: pods over their requests first, then lower priority, then larger excess.
fn rank(candidates: &mut [Candidate]) {
    let priority = |candidate: &Candidate| spec(&candidate.pod).priority.unwrap_or(0);
    candidates.sort_by_key(|candidate| (candidate.used <= candidate.requested, priority(candidate), candidate.requested - candidate.used));
}

/// Critical pods stay.
fn is_critical(pod: &Pod) -> bool {
    spec(pod).priority.unwrap_or(0) >= 2_000_000_000
}

async fn memory_of(agent: &Agent, pod: &Pod) -> i64 {
    let (_, containers) = agent.runtime.pod(crate::pod::uid(pod)).await.unwrap_or_default();
    let mut total = 0;
    for container in containers {
        let usage = agent.runtime.usage(&container.id).await.unwrap_or_default();
        total += i64::try_from(usage.memory_bytes).unwrap_or(0);
    }
    total
}

/// Evicts the pod that should go first.
async fn relieve(agent: &Agent, pressures: &Pressures) {
    let shortage = [&pressures.memory, &pressures.disk, &pressures.pids].into_iter().find_map(|found| found.as_ref());
    let Some(shortage) = shortage else { return };
    if shortage.resource == "ephemeral-storage" && super::image_gc::collect(agent, super::image_gc::Need::All).await > 0 {
        return;
    }
    let mut candidates = Vec::new();
    for pod in pods(agent).into_iter().filter(|pod| !is_critical(pod)) {
        let used = match shortage.resource {
            "memory" => memory_of(agent, &pod).await,
            "ephemeral-storage" => i64::try_from(measure(agent, &pod).await.total()).unwrap_or(i64::MAX),
            _ => 0,
        };
        let requested = pod_requests(&pod).get(shortage.resource).map_or(0, whole);
        candidates.push(Candidate { pod, used, requested });
    }
    rank(&mut candidates);
    if let Some(first) = candidates.first() {
        evict(agent, &first.pod, message(first, shortage));
    }
}

fn message(candidate: &Candidate, shortage: &Pressure) -> String {
    let resource = shortage.resource;
    let mut text = format!(
        "The node was low on resource: {resource}. Threshold quantity: {}, available: {}. ",
        shortage.threshold, shortage.available
    );
    if candidate.used > candidate.requested {
        for container in members(&candidate.pod).filter(|member| member.role == crate::pod::Role::Main).take(1) {
            let (used, requested) = (candidate.used / 1024, candidate.requested);
            text.push_str(&format!(
                "Container {} was using {used}Ki, request is {requested}, has larger consumption of {resource}. ",
                container.spec.name
            ));
        }
    }
    text
}

/// Whether a pod may start while the node is short of something; the error is what it is rejected with.
pub(crate) fn admit(pod: &Pod, pressures: &Pressures) -> Result<(), Reason> {
    let names: Vec<&str> = [(&pressures.memory, "MemoryPressure"), (&pressures.disk, "DiskPressure"), (&pressures.pids, "PIDPressure")]
        .iter()
        .filter_map(|(found, name)| found.as_ref().map(|_| *name))
        .collect();
    let tolerated = names == ["MemoryPressure"] && qos_class(pod) != "BestEffort";
    if names.is_empty() || tolerated || is_critical(pod) {
        return Ok(());
    }
    let message = format!("The node had condition: [{}]. ", names.join(" "));
    Err(Reason { reason: EVICTED.to_owned(), message })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, spec: Value) -> Arc<Pod> {
        Arc::new(serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap())
    }

    fn bounded(limit: &str) -> Value {
        json!({"containers": [{"name": "c", "resources": {"limits": {"ephemeral-storage": limit}}}, {"name": "d"}]})
    }

    #[test]
    fn local_storage_over_a_limit() {
        let used = |volume: u64, container: u64| Used {
            volumes: vec![("v".into(), volume, Some(Quantity("1Mi".into())))],
            containers: [("c".to_owned(), container)].into(),
        };
        let two = pod("p", bounded("2Mi"));
        assert_eq!(excess(&two, &used(1 << 20, 2 << 20)), None);
        assert_eq!(excess(&two, &used(1 << 21, 0)).unwrap(), "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". ");
        assert_eq!(excess(&two, &used(0, 3 << 20)).unwrap(), "Container c exceeded its local ephemeral storage limit \"2Mi\". ");
        let one = pod("p", json!({"containers": [{"name": "c", "resources": {"limits": {"ephemeral-storage": "1Mi"}}}]}));
        let whole = "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ";
        assert_eq!(excess(&one, &used(1 << 20, 1 << 20)).unwrap(), whole);
    }

    #[test]
    fn who_goes_first() {
        let of = |name: &str, priority: i32, used: i64, requested: i64| Candidate {
            pod: pod(name, json!({"priority": priority, "containers": []})),
            used,
            requested,
        };
        let mut all = [of("within", 0, 5, 10), of("important", 9, 90, 0), of("little", 0, 20, 10), of("much", 0, 80, 10)];
        rank(&mut all);
        let names: Vec<_> = all.iter().map(|candidate| crate::pod::name(&candidate.pod).to_owned()).collect();
        assert_eq!(names, ["much", "little", "important", "within"]);
    }

    #[test]
    fn who_may_start_under_pressure() {
        let short = Pressures { memory: Some(Pressure::of("memory", 1, 2)), ..Pressures::default() };
        let effort = pod("p", json!({"containers": [{"name": "c"}]}));
        let asks = pod("p", json!({"containers": [{"name": "c", "resources": {"requests": {"memory": "1Mi"}}}]}));
        assert_eq!(admit(&effort, &short).unwrap_err().message, "The node had condition: [MemoryPressure]. ");
        assert!(admit(&asks, &short).is_ok() && admit(&effort, &Pressures::default()).is_ok());
    }
}
