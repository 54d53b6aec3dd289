//! Nodes whose agent stopped reporting are marked so; what is wrong with a node keeps new pods away from it, and when it is
//! lost sends its pods away.
//!
//! ```text
//! no sign of life for the grace period -> conditions Unknown, pods not ready, taint unreachable:NoSchedule
//!     -> when the zone's turn comes: taint unreachable:NoExecute -> the taint eviction deletes its pods
//! ```

mod taints;
mod zones;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock::Clock;
use coracle_client::{Change, EventRecorder, EventType, Informer};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Resource};
use serde_json::json;

use crate::Context;
use crate::pods;
use crate::wiring::{Run, name_of, namespace_of, unless_gone};
use zones::{Zones, zone_of};

const NAME: &str = "node-controller";
const LEASES: &str = "kube-node-lease";
/// Conditions an agent reports.
const REPORTED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
/// Nodes that do not count when a zone is judged.
const APART: &str = "node.kubernetes.io/exclude-disruption";

/// How nodes are watched: the controller manager's flags of these names.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeLifecycle {
    /// How often all nodes are looked at.
    pub node_monitor_period: Duration,
    /// Without a sign of life for this long, a node counts as lost.
    pub node_monitor_grace_period: Duration,
    /// The same for a node that never reported.
    pub node_startup_grace_period: Duration,
    /// Nodes of a zone that are emptied per second.
    pub node_eviction_rate: f64,
    /// The same for a large zone that has lost many nodes; a small one is not emptied then.
    pub secondary_node_eviction_rate: f64,
    /// The share of lost nodes that is many.
    pub unhealthy_zone_threshold: f64,
    /// A zone with more nodes is large.
    pub large_cluster_size_threshold: usize,
}

impl Default for NodeLifecycle {
    /// Upstream's defaults.
    fn default() -> Self {
        Self {
            node_monitor_period: Duration::from_secs(5),
            node_monitor_grace_period: Duration::from_secs(50),
            node_startup_grace_period: Duration::from_secs(60),
            node_eviction_rate: 0.1,
            secondary_node_eviction_rate: 0.01,
            unhealthy_zone_threshold: 0.55,
            large_cluster_size_threshold: 50,
        }
    }
}

/// A node's last sign of life: its renewal, and when this controller saw it (the node's clock is not compared with ours).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sign {
    renewed: Option<Timestamp>,
    seen: Timestamp,
}

/// A node and when it renewed its lease.
type Seen = (Arc<Node>, Option<Timestamp>);

/// What is to be written about a node.
#[derive(Debug)]
struct Finding {
    node: Arc<Node>,
    /// It is lost: its conditions.
    conditions: Option<Vec<NodeCondition>>,
    taints: Option<Vec<Taint>>,
}

/// What is remembered of the nodes, and the decision.
struct Monitor {
    options: NodeLifecycle,
    signs: HashMap<String, Sign>,
    zones: Zones,
    looked: Timestamp,
}

impl Monitor {
    fn new(options: NodeLifecycle, now: Timestamp) -> Self {
        Self { options, signs: HashMap::new(), zones: Zones::default(), looked: now }
    }

    /// Looks at all nodes. Answers what to write, and when a node waits for its turn to be emptied.
    fn look(&mut self, all: &[Seen], now: Timestamp) -> (Vec<Finding>, Option<SignedDuration>) {
        // A clock that jumped, or a machine that slept, says nothing about nodes.
        let jump = SignedDuration::try_from(self.options.node_monitor_period * 4).unwrap_or(SignedDuration::MAX);
        if now.duration_since(self.looked).abs() > jump {
            self.signs.clear();
        }
        self.looked = now;
        let names: HashSet<&str> = all.iter().map(|(node, _)| name_of(node.as_ref())).collect();
        self.signs.retain(|name, _| names.contains(name.as_str()));
        let lost: Vec<bool> = all.iter().map(|(node, renewed)| self.is_silent(node, *renewed, now)).collect();
        let judged: Vec<(String, bool)> = all
            .iter()
            .zip(&lost)
            .filter(|((node, _), _)| node.metadata.labels.as_ref().is_none_or(|labels| !labels.contains_key(APART)))
            .map(|((node, _), lost)| (zone_of(node), !lost && status_of(node, "Ready") == Some("True")))
            .collect();
        if self.zones.look(judged.iter().map(|(zone, ready)| (zone.as_str(), *ready)), &self.options) {
            // Hearing of one again, give the others time to be heard of.
            self.signs.values_mut().for_each(|sign| sign.seen = now);
        }
        let mut wait: Option<SignedDuration> = None;
        let mut findings = Vec::new();
        for ((node, _), lost) in all.iter().zip(lost) {
            let conditions = lost.then(|| unknown_conditions(node, now)).flatten();
            let mut leave = taints::is_left(node) && !self.zones.all_lost();
            if conditions.is_none() && taints::should_be_left(node) {
                match self.zones.grant(&zone_of(node), &self.options, now) {
                    Ok(()) => leave = true,
                    Err(Some(later)) => wait = Some(wait.map_or(later, |known| known.min(later))),
                    Err(None) => {}
                }
            }
            // Taints follow what is written first.
            let taints = if conditions.is_none() { taints::wanted(node, leave, now) } else { None };
            if conditions.is_some() || taints.is_some() {
                findings.push(Finding { node: node.clone(), conditions, taints });
            }
        }
        (findings, wait)
    }

    /// What follows at once from a change of a node.
    fn changed(&self, node: &Node, now: Timestamp) -> Option<Vec<Taint>> {
        taints::wanted(node, taints::is_left(node) && !self.zones.all_lost(), now)
    }

    fn is_silent(&mut self, node: &Node, renewed: Option<Timestamp>, now: Timestamp) -> bool {
        let fresh = Sign { renewed, seen: now };
        let sign = self.signs.entry(name_of(node).to_owned()).or_insert_with(|| fresh.clone());
        if sign.renewed != renewed {
            *sign = fresh;
        }
        let reported = status_of(node, "Ready").is_some();
        let grace = if reported { self.options.node_monitor_grace_period } else { self.options.node_startup_grace_period };
        now.duration_since(sign.seen) > SignedDuration::try_from(grace).unwrap_or(SignedDuration::MAX)
    }
}

struct Controller {
    client: kube::Client,
    recorder: EventRecorder,
    clock: Arc<dyn Clock>,
    nodes: Informer<Node>,
    leases: Informer<Lease>,
    pods: Informer<Pod>,
}

pub(crate) async fn run(context: Context) -> Run {
    let controller = Controller {
        client: context.client(NAME),
        recorder: context.recorder(NAME),
        clock: context.clock.clone(),
        nodes: context.informers.of(),
        leases: context.informers.of(),
        pods: context.informers.of(),
    };
    controller.nodes.synced().await;
    controller.leases.synced().await;
    controller.pods.synced().await;
    let period = context.node_lifecycle.node_monitor_period;
    let mut monitor = Monitor::new(context.node_lifecycle, controller.clock.now());
    let mut changes = controller.nodes.changes();
    let mut next = tokio::time::Instant::now();
    loop {
        // Taints follow conditions at once; lost nodes show by the clock.
        let change = tokio::select! {
            () = tokio::time::sleep_until(next) => None,
            change = changes.recv() => Some(change),
        };
        match change {
            Some(Ok(Change::Added(node) | Change::Updated { new: node, .. })) => {
                let now = controller.clock.now();
                controller.write(Finding { taints: monitor.changed(&node, now), node, conditions: None }, now).await;
            }
            Some(Ok(Change::Deleted(_))) => {}
            Some(Ok(Change::Resync) | Err(_)) => changes = controller.nodes.changes(),
            None => {
                let wait = controller.look(&mut monitor).await;
                next = tokio::time::Instant::now() + wait.map_or(period, |wait| wait.min(period));
            }
        }
    }
}

impl Controller {
    /// Looks at all nodes, and answers when to look again because one waits for its turn.
    async fn look(&self, monitor: &mut Monitor) -> Option<Duration> {
        let now = self.clock.now();
        let renewed = |node: &Node| self.leases.get(LEASES, name_of(node))?.spec.as_ref()?.renew_time.as_ref().map(|time| time.0);
        let all: Vec<Seen> = self.nodes.list().into_iter().map(|node| (node.clone(), renewed(&node))).collect();
        let (findings, wait) = monitor.look(&all, now);
        for finding in findings {
            self.write(finding, now).await;
        }
        wait.and_then(|wait| Duration::try_from(wait).ok())
    }

    /// What fails is found again.
    async fn write(&self, finding: Finding, now: Timestamp) {
        let node = finding.node.clone();
        if let Err(error) = self.try_write(finding, now).await {
            tracing::debug!(node = name_of(node.as_ref()), %error, "node was not updated");
        }
    }

    async fn try_write(&self, Finding { node, conditions, taints }: Finding, now: Timestamp) -> Result<(), kube::Error> {
        let (api, name) = (Api::<Node>::all(self.client.clone()), name_of(node.as_ref()));
        if let Some(conditions) = conditions {
            let was_ready = status_of(&node, "Ready") == Some("True");
            let patch = json!({"status": {"conditions": conditions}});
            api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
            if was_ready {
                let message = format!("Node {name} status is now: NodeNotReady");
                self.recorder.event(&node.object_ref(&()), EventType::Normal, "NodeNotReady", message);
                self.mark_pods_not_ready(name, now).await?;
            }
        }
        if let Some(taints) = taints {
            let mut update = Node::clone(&node);
            update.spec.get_or_insert_default().taints = Some(taints).filter(|taints| !taints.is_empty());
            api.replace(name, &PostParams::default(), &update).await?;
        }
        Ok(())
    }

    /// Pods of a lost node take no traffic.
    async fn mark_pods_not_ready(&self, node: &str, now: Timestamp) -> Result<(), kube::Error> {
        let here = self.pods.list().into_iter().filter(|pod| pods::node(pod) == node && pods::is_ready(pod));
        for pod in here {
            self.recorder.event(&pod.object_ref(&()), EventType::Warning, "NodeNotReady", "Node is not ready");
            let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [
                {"type": "Ready", "status": "False", "lastTransitionTime": Time(now)}]}});
            let api = Api::<Pod>::namespaced(self.client.clone(), namespace_of(pod.as_ref()));
            unless_gone(api.patch_status(name_of(pod.as_ref()), &PatchParams::default(), &Patch::Strategic(patch)).await)?;
        }
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::Value;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn node(name: &str, ready: &str, taints: Value) -> Arc<Node> {
        let status = json!({"conditions": [{"type": "Ready", "status": ready, "lastHeartbeatTime": "2024-01-01T00:00:00Z"}]});
        Arc::new(serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"taints": taints}, "status": status})).unwrap())
    }

    #[test]
    fn a_silent_node_becomes_unknown_once() {
        let mut silent = Node::clone(&node("n1", "True", json!([])));
        let conditions = unknown_conditions(&silent, Timestamp::UNIX_EPOCH).unwrap();
        let ready = &conditions[0];
        assert_eq!((ready.status.as_str(), ready.reason.as_deref()), ("Unknown", Some("NodeStatusUnknown")));
        assert!(ready.last_heartbeat_time.is_some());
        assert_eq!(conditions[1].reason.as_deref(), Some("NodeStatusNeverUpdated"));
        silent.status.as_mut().unwrap().conditions = Some(conditions);
        assert_eq!(unknown_conditions(&silent, Timestamp::UNIX_EPOCH), None);
    }

    /// Plays nodes `a`, which renews, and `b`, which does not, and writes what is found, until `end`.
    fn play(monitor: &mut Monitor, nodes: &mut [Arc<Node>], renews: &[bool], seconds: std::ops::Range<i64>) -> Vec<String> {
        let mut told = Vec::new();
        for second in seconds.step_by(5) {
            let all: Vec<Seen> =
                nodes.iter().zip(renews).map(|(node, renews)| (node.clone(), Some(at(if *renews { second } else { 0 })))).collect();
            for finding in monitor.look(&all, at(second)).0 {
                let at = nodes.iter().position(|node| name_of(node.as_ref()) == name_of(finding.node.as_ref())).unwrap();
                let mut changed = Node::clone(&nodes[at]);
                if let Some(conditions) = finding.conditions {
                    changed.status.as_mut().unwrap().conditions = Some(conditions);
                    told.push(format!("{second} {} unknown", name_of(&changed)));
                }
                if let Some(taints) = finding.taints {
                    let effects: Vec<_> = taints.iter().map(|taint| taint.effect.as_str()).collect();
                    told.push(format!("{second} {} {}", name_of(&changed), effects.join(",")));
                    changed.spec.as_mut().unwrap().taints = Some(taints);
                }
                nodes[at] = Arc::new(changed);
            }
        }
        told
    }

    #[test]
    fn a_lost_node_is_marked_and_emptied_and_one_that_is_back_is_not() {
        let mut monitor = Monitor::new(NodeLifecycle::default(), at(0));
        let mut nodes = [node("a", "True", json!([])), node("b", "True", json!([]))];
        let told = play(&mut monitor, &mut nodes, &[true, false], 0..200);
        assert_eq!(told, ["55 b unknown", "60 b NoSchedule,NoExecute"]);
        nodes[1] = node("b", "True", json!(nodes[1].spec.as_ref().unwrap().taints));
        assert_eq!(monitor.changed(&nodes[1], at(200)).unwrap(), []);
    }

    #[test]
    fn when_all_are_lost_none_is_emptied() {
        let mut monitor = Monitor::new(NodeLifecycle::default(), at(0));
        let mut nodes = [node("a", "True", json!([])), node("b", "True", json!([]))];
        let told = play(&mut monitor, &mut nodes, &[false, false], 0..200);
        assert_eq!(told, ["55 a unknown", "55 b unknown", "60 a NoSchedule", "60 b NoSchedule"]);
    }

    #[test]
    fn lost_nodes_are_emptied_one_after_the_other() {
        let mut monitor = Monitor::new(NodeLifecycle::default(), at(0));
        let mut nodes: Vec<_> = ["a", "b", "c", "d"].iter().map(|name| node(name, "True", json!([]))).collect();
        let told = play(&mut monitor, &mut nodes, &[true, true, false, false], 0..100);
        assert_eq!(told, ["55 c unknown", "55 d unknown", "60 c NoSchedule,NoExecute", "60 d NoSchedule", "70 d NoSchedule,NoExecute"]);
    }

    #[test]
    fn a_clock_that_jumps_loses_no_node() {
        let mut monitor = Monitor::new(NodeLifecycle::default(), at(0));
        let nodes = [node("a", "True", json!([]))];
        assert!(monitor.look(&[(nodes[0].clone(), Some(at(0)))], at(0)).0.is_empty());
        assert!(monitor.look(&[(nodes[0].clone(), Some(at(0)))], at(10_000)).0.is_empty());
    }
}
