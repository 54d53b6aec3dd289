//! One decision: which node for this pod.

use rand::RngExt;

use crate::message;
use crate::plugins::{FILTERS, Reject, SCORES};
use crate::pod::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};

/// Picks the best of the nodes that will do, or says why none does. Among equals `tie` picks.
pub(crate) fn choose(pod: &PodInfo, snapshot: &Snapshot, tie: &mut impl rand::Rng) -> Result<String, String> {
    if snapshot.node_count() == 0 {
        return Err(message::NO_NODES.to_owned());
    }
    let mut fitting = Vec::new();
    let mut rejects = Vec::new();
    for node in snapshot.nodes() {
        let reasons = why_not(pod, node);
        if reasons.is_empty() { fitting.push(node) } else { rejects.push(reasons) }
    }
    if let Some(node) = best(pod, &fitting, tie) {
        return Ok(node.name().to_owned());
    }
    let policy = pod.pod.spec.as_ref().and_then(|spec| spec.preemption_policy.as_deref());
    Err(message::unschedulable(&rejects, policy != Some("Never")))
}

/// The reasons of the first filter that rejects the node.
fn why_not(pod: &PodInfo, node: &NodeInfo) -> Vec<Reject> {
    FILTERS.iter().map(|filter| filter.filter(pod, node)).find(|reasons| !reasons.is_empty()).unwrap_or_default()
}

fn best<'a>(pod: &PodInfo, nodes: &[&'a NodeInfo], tie: &mut impl rand::Rng) -> Option<&'a NodeInfo> {
    if nodes.len() < 2 {
        return nodes.first().copied();
    }
    let mut totals = vec![0; nodes.len()];
    for plugin in SCORES {
        for (total, score) in totals.iter_mut().zip(plugin.score(pod, nodes)) {
            *total += plugin.weight() * score;
        }
    }
    let highest = totals.iter().copied().max()?;
    let winners: Vec<_> = nodes.iter().zip(&totals).filter(|(_, total)| **total == highest).map(|(node, _)| *node).collect();
    winners.get(tie.random_range(0..winners.len())).copied()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::pod::tests::pod;
    use crate::snapshot::tests::node;
    use rstest::rstest;
    use serde_json::{Value, json};
    use std::collections::HashMap;

    fn cluster(nodes: &[(&str, Value)]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        nodes.iter().for_each(|(name, extra)| snapshot.put_node(node(name, extra.clone())));
        snapshot
    }

    fn cpu(amount: &str) -> Value {
        json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": amount}}}]})
    }

    #[rstest]
    #[case::taint(json!({}), json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}), "1 node(s) had untolerated taint(s).")]
    #[case::cordoned(json!({}), json!({"spec": {"unschedulable": true}}), "1 node(s) were unschedulable.")]
    #[case::selector(json!({"nodeSelector": {"a": "b"}}), json!({}), "1 node(s) didn't match Pod's node affinity/selector.")]
    #[case::cpu(cpu("5"), json!({}), "1 Insufficient cpu.")]
    #[case::pods(json!({}), json!({"status": {"allocatable": {"pods": "0"}}}), "1 Too many pods.")]
    fn says_why_not(#[case] spec: Value, #[case] extra: Value, #[case] reason: &str) {
        let message = choose(&pod("p", spec), &cluster(&[("n1", extra)]), &mut rand::rng()).unwrap_err();
        assert!(message.starts_with(&format!("0/1 nodes are available: {reason} ")), "{message}");
    }

    #[test]
    fn tolerations_open_tainted_and_cordoned_nodes() {
        let extra = json!({"spec": {"unschedulable": true, "taints": [{"key": "k", "effect": "NoSchedule"}]}});
        let snapshot = cluster(&[("n1", extra)]);
        assert_eq!(choose(&pod("p", json!({"tolerations": [{"operator": "Exists"}]})), &snapshot, &mut rand::rng()).unwrap(), "n1");
    }

    #[test]
    fn host_ports_and_assumed_pods_count() {
        let mut snapshot = cluster(&[("n1", json!({}))]);
        let port = json!({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": 80}], "resources": {"requests": {"cpu": "3"}}}]});
        snapshot.place(pod("first", port.clone()), "n1");
        let message = choose(&pod("second", port), &snapshot, &mut rand::rng()).unwrap_err();
        assert!(message.contains("1 node(s) didn't have free ports for the requested pod ports."), "{message}");
        assert!(message.contains("1 No preemption victims found for incoming pod."), "{message}");
        assert!(choose(&pod("third", cpu("1500m")), &snapshot, &mut rand::rng()).unwrap_err().contains("1 Insufficient cpu."));
        snapshot.displace("first");
        assert!(choose(&pod("third", cpu("1500m")), &snapshot, &mut rand::rng()).is_ok());
    }

    #[test]
    fn no_nodes() {
        assert_eq!(
            choose(&pod("p", json!({})), &Snapshot::default(), &mut rand::rng()).unwrap_err(),
            "no nodes available to schedule pods"
        );
    }

    #[test]
    fn replicas_spread_evenly() {
        let names: Vec<String> = (0..6).map(|n| format!("n{n}")).collect();
        let nodes: Vec<_> = names.iter().map(|name| (name.as_str(), json!({}))).collect();
        let mut snapshot = cluster(&nodes);
        let mut per_node: HashMap<String, i32> = HashMap::new();
        for n in 0..60 {
            let mut replica = pod(&n.to_string(), json!({}));
            replica.owner = Some("set".to_owned());
            let node = choose(&replica, &snapshot, &mut rand::rng()).unwrap();
            *per_node.entry(node.clone()).or_default() += 1;
            snapshot.place(replica, &node);
        }
        assert_eq!(per_node.values().copied().collect::<Vec<_>>(), [10; 6]);
    }
}
