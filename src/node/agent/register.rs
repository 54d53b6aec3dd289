//! The Node object: created at the start, its status kept true.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_client::{EventType, is_exists, is_not_found};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeFeatures, NodeSpec, NodeStatus,
    NodeSystemInfo, ObjectReference,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::Agent;
use super::machine::{Machine, architecture};

/// Version that `kubectl get nodes` shows: the API this agent speaks.
pub(crate) const KUBERNETES_VERSION: &str = "v1.36.0";

const REPORT_EVERY: Duration = Duration::from_secs(300);
/// What changed is reported so long after the last report at the earliest, as the kubelet's status loop does.
const REPORT_AGAIN: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(500);
const MOST_IMAGES: usize = 50;

type Fact<'a> = (&'static str, &'static str, &'static str, &'a str);

/// Type, status, reason and message of each condition, in upstream's order; memory, disk and PID pressure as measured, what
/// the runtime cannot do here, and whether it is down.
fn facts(pressures: [bool; 3], restriction: Option<&str>, down: bool) -> Vec<Fact<'_>> {
    let pick = |short: bool, kind, yes: (&'static str, &'static str), no: (&'static str, &'static str)| {
        if short { (kind, "True", yes.0, yes.1) } else { (kind, "False", no.0, no.1) }
    };
    let [memory, disk, pids] = pressures;
    let mut all = vec![
        pick(
            memory,
            "MemoryPressure",
            ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
            ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ),
        pick(
            disk,
            "DiskPressure",
            ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ),
        pick(
            pids,
            "PIDPressure",
            ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
            ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ),
    ];
    all.extend(restriction.map(|what| ("Restricted", "True", "PlainUser", what)));
    let ready = ("KubeletReady", "kubelet is posting ready status");
    all.push(pick(!down, "Ready", ready, ("KubeletNotReady", "container runtime is down")));
    all
}

/// Registers, then reports every five minutes, and soon when something changed.
pub(crate) async fn run(agent: Arc<Agent>) {
    let machine = Machine::read();
    event(&agent, EventType::Normal, "Starting", "Starting kubelet.");
    while let Err(error) = register(&agent, &machine).await {
        tracing::warn!(node = agent.name, %error, "the node could not be registered");
        tokio::time::sleep(RETRY).await;
    }
    for (reason, state) in [
        ("NodeHasSufficientMemory", "NodeHasSufficientMemory"),
        ("NodeHasNoDiskPressure", "NodeHasNoDiskPressure"),
        ("NodeHasSufficientPID", "NodeHasSufficientPID"),
    ] {
        event(&agent, EventType::Normal, reason, format!("Node {} status is now: {state}", agent.name));
    }
    event(&agent, EventType::Normal, "NodeAllocatableEnforced", "Updated Node Allocatable limit across pods");
    let mut was_ready = agent.nodes.get("", &agent.name).is_some_and(|node| node.status.as_ref().is_some_and(is_ready));
    loop {
        let begun = tokio::time::Instant::now();
        let wait = match report(&agent, &machine).await {
            Ok(ready) => {
                if std::mem::replace(&mut was_ready, ready) != ready {
                    let state = if ready { "NodeReady" } else { "NodeNotReady" };
                    event(&agent, EventType::Normal, state, format!("Node {} status is now: {state}", agent.name));
                }
                REPORT_EVERY
            }
            Err(error) => {
                tracing::debug!(node = agent.name, %error, "the node's status was not written");
                RETRY
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = agent.status_changed.notified() => tokio::time::sleep_until(begun + REPORT_AGAIN).await,
        }
    }
}

fn is_ready(status: &NodeStatus) -> bool {
    status.conditions.iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn event(agent: &Agent, kind: EventType, reason: &str, message: impl Into<String>) {
    // As the kubelet does, the node's name stands for its UID.
    let reference = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: Some(agent.name.clone()),
        uid: Some(agent.name.clone()),
        ..ObjectReference::default()
    };
    agent.events.event(&reference, kind, reason, message);
}

fn labels(agent: &Agent) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("beta.kubernetes.io/arch".to_owned(), architecture().to_owned()),
        ("beta.kubernetes.io/os".to_owned(), "linux".to_owned()),
        ("kubernetes.io/arch".to_owned(), architecture().to_owned()),
        ("kubernetes.io/hostname".to_owned(), agent.name.clone()),
        ("kubernetes.io/os".to_owned(), "linux".to_owned()),
    ])
}

async fn register(agent: &Agent, machine: &Machine) -> Result<(), kube::Error> {
    let api: Api<Node> = Api::all(agent.client.clone());
    let node = Node {
        metadata: ObjectMeta {
            name: Some(agent.name.clone()),
            labels: Some(labels(agent)),
            annotations: Some(BTreeMap::from([("volumes.kubernetes.io/controller-managed-attach-detach".to_owned(), "true".to_owned())])),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            pod_cidr: agent.pod_cidr.clone(),
            pod_cidrs: agent.pod_cidr.clone().map(|cidr| vec![cidr]),
            ..NodeSpec::default()
        }),
        status: Some(status(agent, machine, &NodeStatus::default()).await),
    };
    match api.create(&PostParams::default(), &node).await {
        Ok(_) => {
            event(agent, EventType::Normal, "RegisteredNode", format!("Node {} registered", agent.name));
            Ok(())
        }
        // It was registered before: keep what others put there, renew the labels that are the agent's.
        Err(error) if is_exists(&error) => {
            let patch = json!({"metadata": {"labels": labels(agent)}});
            api.patch(&agent.name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
        }
        Err(error) => Err(error),
    }
}

/// Writes the status; says whether the node is ready by it.
async fn report(agent: &Agent, machine: &Machine) -> Result<bool, kube::Error> {
    let api: Api<Node> = Api::all(agent.client.clone());
    let old = match api.get(&agent.name).await {
        Err(error) if is_not_found(&error) => {
            // Somebody deleted the node that runs: it comes back, as a kubelet's does.
            register(agent, machine).await?;
            api.get(&agent.name).await?
        }
        other => other?,
    };
    let old_status = old.status.unwrap_or_default();
    let new = status(agent, machine, &old_status).await;
    let patch = json!({"status": difference(&old_status, &new)});
    api.patch_status(&agent.name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
    Ok(is_ready(&new))
}

/// The status as a patch: addresses would merge by their type, so changed ones are replaced whole.
fn difference(old: &NodeStatus, new: &NodeStatus) -> Value {
    let mut value = serde_json::to_value(new).unwrap_or_default();
    let changed = old.addresses.as_ref().is_some_and(|addresses| Some(addresses) != new.addresses.as_ref());
    if let Some(addresses) = value.get_mut("addresses").and_then(Value::as_array_mut).filter(|_| changed) {
        addresses.push(json!({"$patch": "replace"}));
    }
    value
}

async fn status(agent: &Agent, machine: &Machine, old: &NodeStatus) -> NodeStatus {
    let now = agent.clock.now();
    let resources: BTreeMap<String, Quantity> =
        agent.capacity.resources().into_iter().map(|(name, text)| (name.to_owned(), Quantity(text))).collect();
    let address = |kind: &str, address: String| NodeAddress { type_: kind.to_owned(), address };
    let restriction = agent.runtime.restriction();
    NodeStatus {
        addresses: Some(vec![
            address("InternalIP", agent.network.node_address(&agent.name).to_string()),
            address("Hostname", agent.name.clone()),
        ]),
        allocatable: Some(resources.clone()),
        capacity: Some(resources),
        conditions: Some(conditions(old, &facts(agent.pressures.conditions(now), restriction.as_deref(), agent.health.is_down()), now)),
        daemon_endpoints: Some(NodeDaemonEndpoints { kubelet_endpoint: Some(DaemonEndpoint { port: 10250 }) }),
        features: Some(NodeFeatures { supplemental_groups_policy: Some(agent.runtime.keeps_groups_strict()) }),
        images: Some(images(agent).await),
        node_info: Some(NodeSystemInfo {
            architecture: architecture().to_owned(),
            boot_id: machine.boot_id.clone(),
            container_runtime_version: format!("{}://{}", agent.runtime.name(), agent.runtime.version()),
            kernel_version: machine.kernel.clone(),
            kube_proxy_version: String::new(),
            kubelet_version: KUBERNETES_VERSION.to_owned(),
            machine_id: machine.machine_id.clone(),
            operating_system: "linux".to_owned(),
            os_image: machine.os_image.clone(),
            swap: None,
            system_uuid: machine.system_uuid.clone(),
        }),
        ..NodeStatus::default()
    }
}

fn conditions(old: &NodeStatus, facts: &[Fact<'_>], now: Timestamp) -> Vec<NodeCondition> {
    let seconds = || Some(Time(Timestamp::from_second(now.as_second()).unwrap_or(now)));
    facts
        .iter()
        .map(|(kind, status, reason, message)| {
            let before = old.conditions.iter().flatten().find(|condition| condition.type_ == *kind && condition.status == *status);
            NodeCondition {
                type_: (*kind).to_owned(),
                status: (*status).to_owned(),
                last_heartbeat_time: seconds(),
                last_transition_time: before.and_then(|before| before.last_transition_time.clone()).or_else(seconds),
                reason: Some((*reason).to_owned()),
                message: Some((*message).to_owned()),
            }
        })
        .collect()
}

/// The largest images, with their names.
async fn images(agent: &Agent) -> Vec<ContainerImage> {
    let mut images = agent.runtime.images().await.unwrap_or_default();
    images.sort_by_key(|image| std::cmp::Reverse(image.size));
    images
        .into_iter()
        .take(MOST_IMAGES)
        .map(|image| ContainerImage {
            names: Some(image.digests.into_iter().chain(image.tags).take(5).collect()),
            size_bytes: i64::try_from(image.size).ok(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_condition_keeps_the_time_it_changed() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let first = conditions(&NodeStatus::default(), &facts([false; 3], None, false), at(100));
        let old = NodeStatus { conditions: Some(first), ..NodeStatus::default() };
        let second = conditions(&old, &facts([false; 3], None, false), at(200));
        assert!(second.iter().all(|condition| condition.last_transition_time == Some(Time(at(100)))));
        assert!(second.iter().all(|condition| condition.last_heartbeat_time == Some(Time(at(200)))));
        let kinds: Vec<_> = second.iter().map(|condition| condition.type_.as_str()).collect();
        assert_eq!(kinds, ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"]);
        let short = conditions(&old, &facts([false, true, false], Some("no limits"), true), at(300));
        assert_eq!((short[3].type_.as_str(), short[3].message.as_deref()), ("Restricted", Some("no limits")));
        assert_eq!((short[4].status.as_str(), short[4].message.as_deref()), ("False", Some("container runtime is down")));
        assert_eq!((short[1].reason.as_deref(), &short[1].last_transition_time), (Some("KubeletHasDiskPressure"), &Some(Time(at(300)))));
    }
}
