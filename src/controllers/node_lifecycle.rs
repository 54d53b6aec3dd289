//! Nodes whose agent stopped reporting are marked so; what is wrong with a node keeps new pods away from it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_client::{EventRecorder, EventType, Informer, is_not_found};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Resource};
use serde_json::json;

use crate::Context;
use crate::pods;
use crate::wiring::{Run, name_of, namespace_of};

const NAME: &str = "node-controller";
const PERIOD: Duration = Duration::from_secs(5);
/// Without a sign of life for this long, a node counts as lost.
const GRACE: SignedDuration = SignedDuration::from_secs(50);
/// Between two looks; more is no pause of ours.
const JUMP: SignedDuration = SignedDuration::from_secs(20);
const LEASES: &str = "kube-node-lease";
/// Conditions an agent reports.
const REPORTED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// A node's last sign of life: its renewal, and when this controller saw it (the node's clock is not compared with ours).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sign {
    renewed: Option<Timestamp>,
    seen: Timestamp,
}

pub(crate) async fn run(context: Context) -> Run {
    let client = context.client(NAME);
    let recorder = context.recorder(NAME);
    let (nodes, leases, pods): (Informer<Node>, Informer<Lease>, Informer<Pod>) =
        (context.informers.of(), context.informers.of(), context.informers.of());
    nodes.synced().await;
    leases.synced().await;
    pods.synced().await;
    let mut signs: HashMap<String, Sign> = HashMap::new();
    let mut changes = nodes.changes();
    let mut tick = tokio::time::interval(PERIOD);
    let mut looked = context.clock.now();
    loop {
        // Taints follow conditions at once, lost nodes show by the clock.
        tokio::select! {
            _ = tick.tick() => {}
            change = changes.recv() => if change.is_err() { changes = nodes.changes() },
        }
        let now = context.clock.now();
        // A clock that jumped, or a machine that slept, says nothing about nodes.
        if now.duration_since(looked).abs() > JUMP {
            signs.clear();
        }
        looked = now;
        let all = nodes.list();
        let leaving = leaving(&all);
        signs.retain(|name, _| all.iter().any(|node| name_of(node.as_ref()) == name));
        for node in all {
            let lease = leases.get(LEASES, name_of(node.as_ref()));
            let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref().map(|time| time.0));
            let fresh = Sign { renewed, seen: now };
            let sign = signs.entry(name_of(node.as_ref()).to_owned()).or_insert_with(|| fresh.clone());
            if sign.renewed != renewed {
                *sign = fresh;
            }
            let lost = now.duration_since(sign.seen) > GRACE;
            let leave = leaving.get(&zone(&node)).copied().unwrap_or(Leave::Now);
            if let Err(error) = look_after(&client, &recorder, &node, &pods, (lost, leave), now).await {
                tracing::debug!(node = name_of(node.as_ref()), %error, "node was not updated");
            }
        }
    }
}

async fn look_after(
    client: &kube::Client,
    recorder: &EventRecorder,
    node: &Node,
    pods: &Informer<Pod>,
    (lost, leave): (bool, Leave),
    now: Timestamp,
) -> Result<(), kube::Error> {
    let api = Api::<Node>::all(client.clone());
    if lost && let Some(conditions) = unknown_conditions(node, now) {
        let was_ready = status_of(node, "Ready") == Some("True");
        let patch = json!({"status": {"conditions": conditions}});
        api.patch_status(name_of(node), &PatchParams::default(), &Patch::Strategic(patch)).await?;
        if was_ready {
            let message = format!("Node {} status is now: NodeNotReady", name_of(node));
            recorder.event(&node.object_ref(&()), EventType::Normal, "NodeNotReady", message);
            mark_not_ready(client, recorder, node, pods, now).await?;
        }
        return Ok(());
    }
    if let Some(taints) = wanted_taints(node, leave, now) {
        let mut update = node.clone();
        update.spec.get_or_insert_default().taints = Some(taints).filter(|taints| !taints.is_empty());
        api.replace(name_of(node), &PostParams::default(), &update).await?;
    }
    Ok(())
}

/// Whether pods are sent away from nodes that are not ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leave {
    Now,
    /// Too much of the zone is in trouble: who has not been sent away stays.
    NotYet,
    /// No node anywhere is ready: the trouble is more likely ours.
    Never,
}

/// A zone with more nodes in trouble than these, and such a share of them, is in trouble itself.
const TROUBLED: usize = 2;
const TROUBLED_PERCENT: usize = 55;

/// Region and zone of a node.
fn zone(node: &Node) -> (String, String) {
    let label = |name: &str| node.metadata.labels.as_ref().and_then(|labels| labels.get(name)).cloned().unwrap_or_default();
    (label("topology.kubernetes.io/region"), label("topology.kubernetes.io/zone"))
}

/// By zone.
fn leaving(nodes: &[Arc<Node>]) -> HashMap<(String, String), Leave> {
    let mut counts: HashMap<(String, String), (usize, usize)> = HashMap::new();
    for node in nodes {
        let (ready, troubled) = counts.entry(zone(node)).or_default();
        *(if status_of(node, "Ready") == Some("True") { ready } else { troubled }) += 1;
    }
    let nobody = counts.values().all(|(ready, _)| *ready == 0);
    let judged = counts.into_iter().map(|(zone, (ready, troubled))| {
        let partly = ready > 0 && troubled > TROUBLED && troubled * 100 >= (ready + troubled) * TROUBLED_PERCENT;
        (
            zone,
            if nobody {
                Leave::Never
            } else if partly {
                Leave::NotYet
            } else {
                Leave::Now
            },
        )
    });
    judged.collect()
}

fn status_of<'a>(node: &'a Node, kind: &str) -> Option<&'a str> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind).map(|condition| condition.status.as_str())
}

/// The conditions of a node that stopped reporting; `None` when they say so already.
fn unknown_conditions(node: &Node, now: Timestamp) -> Option<Vec<NodeCondition>> {
    if REPORTED.iter().all(|kind| status_of(node, kind) == Some("Unknown")) {
        return None;
    }
    let known = |kind: &str| node.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind);
    let unknown = REPORTED.iter().map(|&kind| {
        let (reason, message) = match known(kind) {
            Some(_) => ("NodeStatusUnknown", "Kubelet stopped posting node status."),
            None => ("NodeStatusNeverUpdated", "Kubelet never posted node status."),
        };
        let before = known(kind).filter(|condition| condition.status == "Unknown");
        NodeCondition {
            type_: kind.to_owned(),
            status: "Unknown".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: known(kind).and_then(|condition| condition.last_heartbeat_time.clone()),
            last_transition_time: before.and_then(|condition| condition.last_transition_time.clone()).or(Some(Time(now))),
        }
    });
    Some(unknown.collect())
}

/// Pods of a lost node take no traffic.
async fn mark_not_ready(
    client: &kube::Client,
    recorder: &EventRecorder,
    node: &Node,
    all: &Informer<Pod>,
    now: Timestamp,
) -> Result<(), kube::Error> {
    let here = all.list().into_iter().filter(|pod| pods::node(pod) == name_of(node) && pods::is_ready(pod));
    for pod in here {
        recorder.event(&pod.object_ref(&()), EventType::Warning, "NodeNotReady", "Node is not ready");
        let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [
            {"type": "Ready", "status": "False", "lastTransitionTime": Time(now)}]}});
        let api = Api::<Pod>::namespaced(client.clone(), namespace_of(pod.as_ref()));
        match api.patch_status(name_of(pod.as_ref()), &PatchParams::default(), &Patch::Strategic(patch)).await {
            Err(error) if !is_not_found(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Keeps new pods away; [`LEAVE`] sends away those that are there.
const STAY_AWAY: &str = "NoSchedule";
const LEAVE: &str = "NoExecute";

/// Taints that follow from conditions and from cordoning: key and effect.
fn implied_taints(node: &Node, leave: Leave) -> Vec<(&'static str, &'static str)> {
    let ready = match status_of(node, "Ready") {
        Some("True") => None,
        Some("False") => Some("node.kubernetes.io/not-ready"),
        _ => Some("node.kubernetes.io/unreachable"),
    };
    let pressure = [
        ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
        ("DiskPressure", "node.kubernetes.io/disk-pressure"),
        ("PIDPressure", "node.kubernetes.io/pid-pressure"),
        ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
    ];
    let pressed = pressure.into_iter().filter(|(kind, _)| status_of(node, kind) == Some("True")).map(|(_, taint)| taint);
    let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
    let away = ready.into_iter().chain(pressed).chain(cordoned.then_some("node.kubernetes.io/unschedulable"));
    let taints = || node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let leaves = ready.filter(|key| match leave {
        Leave::Now => true,
        Leave::NotYet => taints().any(|taint| taint.key == *key && taint.effect == LEAVE),
        Leave::Never => false,
    });
    away.map(|key| (key, STAY_AWAY)).chain(leaves.map(|key| (key, LEAVE))).collect()
}

const MANAGED: [(&str, &str); 9] = [
    ("node.kubernetes.io/not-ready", STAY_AWAY),
    ("node.kubernetes.io/not-ready", LEAVE),
    ("node.kubernetes.io/unreachable", STAY_AWAY),
    ("node.kubernetes.io/unreachable", LEAVE),
    ("node.kubernetes.io/memory-pressure", STAY_AWAY),
    ("node.kubernetes.io/disk-pressure", STAY_AWAY),
    ("node.kubernetes.io/pid-pressure", STAY_AWAY),
    ("node.kubernetes.io/network-unavailable", STAY_AWAY),
    ("node.kubernetes.io/unschedulable", STAY_AWAY),
];

/// The node's taints as they should be; `None` when they are.
fn wanted_taints(node: &Node, leave: Leave, now: Timestamp) -> Option<Vec<Taint>> {
    let current = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let implied = implied_taints(node, leave);
    let of = |taint: &Taint, (key, effect): &(&str, &str)| taint.key == *key && taint.effect == *effect;
    let in_list = |list: &[(&str, &str)], taint: &Taint| list.iter().any(|one| of(taint, one));
    let mut wanted: Vec<Taint> = current.iter().filter(|taint| !in_list(&MANAGED, taint) || in_list(&implied, taint)).cloned().collect();
    for one in implied {
        if !wanted.iter().any(|taint| of(taint, &one)) {
            wanted.push(Taint { effect: one.1.to_owned(), key: one.0.to_owned(), time_added: Some(Time(now)), value: None });
        }
    }
    (wanted != current).then_some(wanted)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use rstest::rstest;
    use serde_json::Value;

    fn node(conditions: Value, spec: Value) -> Node {
        serde_json::from_value(json!({"metadata": {"name": "n1"}, "spec": spec, "status": {"conditions": conditions}})).unwrap()
    }

    #[rstest]
    #[case::ready(json!([{"type": "Ready", "status": "True"}]), json!({}), None)]
    #[case::not_ready(json!([{"type": "Ready", "status": "False"}]), json!({}), Some("node.kubernetes.io/not-ready:NoSchedule,node.kubernetes.io/not-ready:NoExecute"))]
    #[case::lost(json!([{"type": "Ready", "status": "Unknown"}]), json!({}), Some("node.kubernetes.io/unreachable:NoSchedule,node.kubernetes.io/unreachable:NoExecute"))]
    #[case::cordoned(json!([{"type": "Ready", "status": "True"}]), json!({"unschedulable": true}), Some("node.kubernetes.io/unschedulable:NoSchedule"))]
    #[case::back(json!([{"type": "Ready", "status": "True"}]), json!({"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]}), Some(""))]
    #[case::own(json!([{"type": "Ready", "status": "True"}]), json!({"taints": [{"key": "mine", "effect": "NoSchedule"}]}), None)]
    fn taints_follow_conditions(#[case] conditions: Value, #[case] spec: Value, #[case] expected: Option<&str>) {
        let taints = wanted_taints(&node(conditions, spec), Leave::Now, Timestamp::UNIX_EPOCH);
        let keys = taints.map(|taints| taints.iter().map(|taint| format!("{}:{}", taint.key, taint.effect)).collect::<Vec<_>>().join(","));
        assert_eq!(keys.as_deref(), expected);
    }

    #[rstest]
    #[case::alone(&["Unknown"], Leave::Never)]
    #[case::all(&["Unknown", "False"], Leave::Never)]
    #[case::one_of_two(&["Unknown", "True"], Leave::Now)]
    #[case::most(&["Unknown", "Unknown", "Unknown", "True"], Leave::NotYet)]
    #[case::half(&["Unknown", "Unknown", "Unknown", "True", "True", "True"], Leave::Now)]
    fn pods_leave_unless_too_many_nodes_are_in_trouble(#[case] states: &[&str], #[case] expected: Leave) {
        let nodes: Vec<_> = states.iter().map(|state| Arc::new(node(json!([{"type": "Ready", "status": state}]), json!({})))).collect();
        assert_eq!(leaving(&nodes)[&zone(&nodes[0])], expected);
        let keys = |leave, node: &Node| {
            let taints = wanted_taints(node, leave, Timestamp::UNIX_EPOCH).unwrap_or_default();
            taints.into_iter().map(|taint| taint.effect).collect::<Vec<_>>().join(",")
        };
        let effects = if expected == Leave::Now { "NoSchedule,NoExecute" } else { "NoSchedule" };
        assert_eq!(keys(expected, &nodes[0]), effects);
        let sent = node(
            json!([{"type": "Ready", "status": "Unknown"}]),
            json!({"taints": [
            {"key": "node.kubernetes.io/unreachable", "effect": LEAVE}]}),
        );
        assert_eq!(keys(expected, &sent), if expected == Leave::Never { "NoSchedule" } else { "NoExecute,NoSchedule" });
    }

    #[test]
    fn a_silent_node_becomes_unknown_once() {
        let reported = json!([{"type": "Ready", "status": "True", "lastHeartbeatTime": "2024-01-01T00:00:00Z"}]);
        let mut silent = node(reported, json!({}));
        let conditions = unknown_conditions(&silent, Timestamp::UNIX_EPOCH).unwrap();
        let ready = &conditions[0];
        assert_eq!((ready.status.as_str(), ready.reason.as_deref()), ("Unknown", Some("NodeStatusUnknown")));
        assert!(ready.last_heartbeat_time.is_some());
        assert_eq!(conditions[1].reason.as_deref(), Some("NodeStatusNeverUpdated"));
        silent.status.as_mut().unwrap().conditions = Some(conditions);
        assert_eq!(unknown_conditions(&silent, Timestamp::UNIX_EPOCH), None);
    }
}
