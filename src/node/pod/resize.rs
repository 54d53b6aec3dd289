//! In-place resize: what the node granted, what containers have, and the way from one to the other.
//!
//! ```text
//! spec ≠ granted ──fits──► granted = spec (ResizeStarted, PodResizeInProgress) ──limits set──► ResizeCompleted
//!      └─never fits: PodResizePending Infeasible      └─not now: PodResizePending Deferred
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_client::EventType;
use k8s_openapi::api::core::v1::{Container as Spec, Pod, PodCondition, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::life::Life;
use super::plan::Observed;
use super::resources::{limits, milli_of, pod_group_limits, pod_requests, whole};
use super::{Role, members};
use crate::agent::Agent;
use crate::runtime::Container;

/// Type of the condition of a resize that is not granted.
pub(crate) const PENDING: &str = "PodResizePending";
/// Type of the condition of a resize under way.
pub(crate) const IN_PROGRESS: &str = "PodResizeInProgress";

const RESIZABLE: [&str; 2] = ["cpu", "memory"];

/// What is known of the pod's resources beside its spec.
#[derive(Debug, Default)]
pub(crate) struct Resizes {
    /// Granted, by container: a list, for most pods have one.
    granted: Vec<(String, ResourceRequirements)>,
    /// What running instances have, by id, where it is not what was granted.
    pub(crate) actual: BTreeMap<String, ResourceRequirements>,
    /// Conditions of a resize that waits or goes on.
    pub(crate) conditions: Vec<PodCondition>,
    told: Option<String>,
}

/// Whether they ask for the same CPU and memory.
fn same(a: &ResourceRequirements, b: &ResourceRequirements) -> bool {
    let value = |set: &Option<BTreeMap<String, _>>, name: &str| set.as_ref().and_then(|set| set.get(name)).map(milli_of);
    RESIZABLE.iter().all(|name| value(&a.limits, name) == value(&b.limits, name) && value(&a.requests, name) == value(&b.requests, name))
}

fn resources(spec: &Spec) -> ResourceRequirements {
    spec.resources.clone().unwrap_or_default()
}

impl Resizes {
    /// After a restart of the agent: what the status says was granted.
    pub(crate) fn adopt(pod: &Pod) -> Self {
        let mut out = Self::default();
        let status = pod.status.iter();
        let lists = status.flat_map(|status| [&status.container_statuses, &status.init_container_statuses]);
        for known in lists.flatten().flatten().filter(|known| known.container_id.is_some()) {
            let (Some(has), Some(member)) = (&known.resources, super::member(pod, &known.name)) else { continue };
            if !same(has, &resources(&member.spec)) {
                out.granted.push((known.name.clone(), has.clone()));
            }
        }
        out.take(pod);
        out
    }

    /// What has not been granted yet is, as the spec says: the pod was admitted with it.
    fn take(&mut self, pod: &Pod) {
        for member in members(pod).filter(|member| member.role != Role::Ephemeral) {
            if self.granted(&member.spec.name).is_none() {
                self.granted.push((member.spec.name.clone(), resources(&member.spec)));
            }
        }
        self.granted.shrink_to_fit();
    }

    fn granted(&self, name: &str) -> Option<&ResourceRequirements> {
        self.granted.iter().find(|(known, _)| known == name).map(|(_, granted)| granted)
    }

    /// The pod with what was granted in place of what it asks for.
    pub(crate) fn effective(&self, pod: Arc<Pod>) -> Arc<Pod> {
        let differs = |member: super::Member<'_>| self.granted(&member.spec.name).is_some_and(|own| !same(own, &resources(&member.spec)));
        if !members(&pod).any(differs) {
            return pod;
        }
        let mut pod = pod;
        let spec = Arc::make_mut(&mut pod).spec.iter_mut();
        for container in spec.flat_map(|spec| spec.init_containers.iter_mut().flatten().chain(&mut spec.containers)) {
            if let Some(granted) = self.granted(&container.name) {
                let own = container.resources.get_or_insert_default();
                own.limits.clone_from(&granted.limits);
                own.requests.clone_from(&granted.requests);
            }
        }
        pod
    }
}

/// Why a pod cannot have what it asks for: reason and message; `never`: this node is too small.
fn refusal(agent: &Agent, pod: &Pod, uid: &str) -> Option<(&'static str, String)> {
    let wanted = pod_requests(pod);
    let others: Vec<_> = crate::agent::dispatch::active_pods(agent, uid).iter().map(|other| pod_requests(other)).collect();
    for (name, capacity) in [("cpu", agent.capacity.cpu_milli), ("memory", agent.capacity.memory)] {
        let amount = if name == "cpu" { milli_of } else { whole };
        let requested = wanted.get(name).map_or(0, amount);
        if requested > capacity {
            let text = format!("Node didn't have enough capacity: {name}, requested: {requested}, capacity: {capacity}");
            return Some(("Infeasible", text));
        }
        let used: i64 = others.iter().filter_map(|requests| requests.get(name)).map(amount).sum();
        if requested > capacity - used {
            let text = format!("Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}");
            return Some(("Deferred", text));
        }
    }
    None
}

/// The pod's resources as events show them.
fn summary(pod: &Pod, error: Option<&str>) -> String {
    let list = |init: bool| -> Vec<serde_json::Value> {
        members(pod)
            .filter(|member| matches!(member.role, Role::Init | Role::Sidecar) == init && member.role != Role::Ephemeral)
            .map(|member| json!({"name": member.spec.name, "resources": resources(&member.spec)}))
            .collect()
    };
    let field = |name: &str, value: &serde_json::Value| format!("\"{name}\":{value}");
    let mut fields = Vec::new();
    for (name, list) in [("initContainers", list(true)), ("containers", list(false))] {
        if !list.is_empty() {
            fields.push(field(name, &list.into()));
        }
    }
    fields.push(field("generation", &json!(pod.metadata.generation)));
    fields.extend(error.map(|error| field("error", &json!(error))));
    format!("{{{}}}", fields.join(","))
}

impl Life {
    /// Grants what the spec asks for anew, or says why not; says whether something changed.
    pub(super) fn grant(&mut self) -> bool {
        let asked = self.worker.pod();
        let asking = |member: &super::Member<'_>| {
            let granted = super::member(&self.pod, &member.spec.name).map(|known| resources(&known.spec));
            granted.is_some_and(|granted| !same(&granted, &resources(&member.spec)))
        };
        if !members(&asked).any(|member| asking(&member)) {
            let waited = self.resizes.conditions.iter().any(|condition| condition.type_ == PENDING);
            self.resizes.conditions.retain(|condition| condition.type_ != PENDING);
            return waited;
        }
        if let Some((reason, message)) = refusal(&self.agent, &asked, &self.worker.uid) {
            if self.resizes.told.replace(message.clone()).is_some_and(|told| told == message) {
                return false;
            }
            let text = format!("Pod resize {reason}: {}", summary(&asked, Some(&message)));
            self.agent.event(&asked, None, EventType::Warning, &format!("Resize{reason}"), text);
            self.set_condition(PENDING, Some(reason), Some(message));
            return true;
        }
        let message = format!("Pod resize started: {}", summary(&asked, None));
        self.agent.event(&asked, None, EventType::Normal, "ResizeStarted", message);
        self.resizes.told = None;
        for (name, id) in &self.ran_before {
            if let Some(before) = super::member(&self.pod, name) {
                self.resizes.actual.entry(id.clone()).or_insert_with(|| resources(&before.spec));
            }
        }
        self.resizes.granted.clear();
        self.resizes.take(&asked);
        self.resizes.conditions.clear();
        self.set_condition(IN_PROGRESS, None, None);
        self.pod = asked;
        true
    }

    fn set_condition(&mut self, kind: &str, reason: Option<&str>, message: Option<String>) {
        let now = jiff::Timestamp::from_second(self.now().as_second()).unwrap_or_default();
        self.resizes.conditions.retain(|condition| condition.type_ != kind);
        self.resizes.conditions.push(PodCondition {
            type_: kind.to_owned(),
            status: "True".to_owned(),
            reason: reason.map(str::to_owned),
            message,
            last_probe_time: Some(Time(now)),
            last_transition_time: Some(Time(now)),
            observed_generation: self.worker.pod().metadata.generation,
        });
    }

    /// Gives running containers what was granted. Those whose policy asks for a restart are named.
    pub(super) async fn resize(&mut self, observed: &Observed) -> Vec<Container> {
        let mut restarts = Vec::new();
        self.resizes.actual.retain(|id, _| observed.running().any(|container| container.id == *id));
        if !self.resizes.conditions.iter().any(|condition| condition.type_ == IN_PROGRESS) {
            return restarts;
        }
        let pod = self.pod.clone();
        for container in observed.running() {
            let Some(member) = super::member(&pod, &container.name) else { continue };
            let Some(has) = self.resizes.actual.get(&container.id).cloned() else { continue };
            if same(&has, &resources(&member.spec)) {
                self.resizes.actual.remove(&container.id);
            } else if needs_restart(&member.spec, &has) {
                restarts.push(container.clone());
            } else if let Err(message) = self.set_limits(&member.spec, container).await {
                self.set_condition(IN_PROGRESS, Some("Error"), Some(message.clone()));
                self.agent.event(&pod, None, EventType::Warning, "ResizeError", format!("Pod resize error: {message}"));
                return restarts;
            } else {
                self.resizes.actual.remove(&container.id);
            }
        }
        if restarts.is_empty() && self.resizes.actual.is_empty() {
            if let Some(sandbox) = observed.ready_sandbox() {
                let limits = pod_group_limits(&pod, self.agent.capacity.memory);
                if let Err(error) = self.agent.runtime.update_sandbox(&sandbox.id, &limits).await {
                    tracing::debug!(pod = super::display(&pod), %error, "the pod's limits as a whole were not set");
                }
            }
            self.resizes.conditions.retain(|condition| condition.type_ != IN_PROGRESS);
            let message = format!("Pod resize completed: {}", summary(&pod, None));
            self.agent.event(&pod, None, EventType::Normal, "ResizeCompleted", message);
        }
        restarts
    }

    async fn set_limits(&self, spec: &Spec, container: &Container) -> Result<(), String> {
        let wanted = limits(&self.pod, spec, self.agent.capacity.memory);
        let used = self.agent.runtime.usage(&container.id).await.map(|usage| usage.memory_bytes).unwrap_or(0);
        if wanted.memory > 0 && u64::try_from(wanted.memory).is_ok_and(|limit| limit < used) {
            let text = format!("attempting to set container memory limit ({}) below current usage ({used})", wanted.memory);
            return Err(format!("container {:?}: {text}", spec.name));
        }
        // The pod as a whole must not stand in the way of a container that grows.
        if let Ok((sandboxes, _)) = self.agent.runtime.pod(&self.worker.uid).await {
            let wide = pod_group_limits(&self.pod, self.agent.capacity.memory);
            for sandbox in sandboxes.iter().filter(|sandbox| sandbox.ready) {
                let _ = self.agent.runtime.update_sandbox(&sandbox.id, &wide).await;
            }
        }
        self.agent.runtime.update_container(&container.id, &wanted).await.map_err(|error| super::act::chain(&error))
    }
}

/// Whether a resource that changes may only change with a restart.
fn needs_restart(spec: &Spec, has: &ResourceRequirements) -> bool {
    let wanted = resources(spec);
    let changed = |name: &str| {
        let pick = |from: &ResourceRequirements| {
            let only = |set: &Option<BTreeMap<String, _>>| set.as_ref().and_then(|set| set.get(name)).map(milli_of);
            (only(&from.limits), only(&from.requests))
        };
        pick(&wanted) != pick(has)
    };
    spec.resize_policy.iter().flatten().any(|policy| policy.restart_policy == "RestartContainer" && changed(&policy.resource_name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    fn pod(cpu: &str, policy: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "generation": 2},
            "spec": {"containers": [{"name": "c", "resizePolicy": [{"resourceName": "cpu", "restartPolicy": policy}],
                "resources": {"requests": {"cpu": cpu, "memory": "48Mi"}, "limits": {"cpu": "200m"}}}]},
        }))
        .unwrap()
    }

    #[test]
    fn events_show_all_containers() {
        let expected = r#"{"containers":[{"name":"c","resources":{"limits":{"cpu":"200m"},"requests":{"cpu":"80m","memory":"48Mi"}}}],"generation":2}"#;
        assert_eq!(summary(&pod("80m", "NotRequired"), None), expected);
        assert!(summary(&pod("80m", "NotRequired"), Some("no")).ends_with(r#","generation":2,"error":"no"}"#));
    }

    #[test]
    fn a_restart_is_needed_only_for_what_changes() {
        let has = pod("50m", "").spec.unwrap().containers[0].resources.clone().unwrap();
        let spec = |cpu: &str, policy: &str| pod(cpu, policy).spec.unwrap().containers[0].clone();
        assert!(needs_restart(&spec("80m", "RestartContainer"), &has));
        assert!(!needs_restart(&spec("80m", "NotRequired"), &has));
        assert!(!needs_restart(&spec("0.05", "RestartContainer"), &has));
    }

    #[test]
    fn what_the_status_has_is_what_was_granted() {
        let mut known = pod("80m", "NotRequired");
        known.status = serde_json::from_value(json!({"containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": true,
            "restartCount": 0, "containerID": "native://1", "resources": {"requests": {"cpu": "50m", "memory": "48Mi"}, "limits": {"cpu": "200m"}}}]}))
        .unwrap();
        let effective = Resizes::adopt(&known).effective(Arc::new(known));
        let resources = effective.spec.as_ref().unwrap().containers[0].resources.clone().unwrap();
        assert_eq!(resources.requests.unwrap()["cpu"].0, "50m");
    }
}
