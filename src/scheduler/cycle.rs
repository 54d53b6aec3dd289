//! One decision: which node for this pod.

use rand::RngExt;

use crate::message;
use crate::plugins::{FILTERS, Reject, SCORES, pod_affinity, spread, volumes};
use crate::pod::{PodInfo, nominated};
use crate::snapshot::{NodeInfo, Snapshot};
use crate::world::World;

/// What a decision looks at, worked out once.
pub(crate) struct Cycle<'a> {
    pub pod: &'a PodInfo,
    pub affinity: pod_affinity::State,
    pub spread: spread::State,
    pub volumes: volumes::State,
}

/// Why a pod found no node.
#[derive(Debug, Default)]
pub(crate) struct Misfit {
    /// Nothing on any node could change it.
    pub everywhere: Option<String>,
    /// Every node that was looked at, with the filter that said no and why.
    pub rejects: Vec<(String, &'static str, Vec<Reject>)>,
}

impl Misfit {
    /// Nodes where removing pods may help.
    pub(crate) fn helpable(&self) -> Vec<String> {
        let helps = |rejects: &[Reject]| rejects.iter().all(|reject| reject.preemption_helps);
        self.rejects.iter().filter(|(_, _, rejects)| helps(rejects)).map(|(node, ..)| node.clone()).collect()
    }

    /// What people are told; `preemption` is empty when it made room.
    pub(crate) fn message(&self, total: usize, preemption: &str) -> String {
        match &self.everywhere {
            _ if total == 0 => message::NO_NODES.to_owned(),
            Some(why) => message::nowhere(total, why, preemption),
            None => message::unschedulable(self.rejects.iter().map(|(_, _, rejects)| rejects.as_slice()), total, preemption),
        }
    }
}

/// How one plugin rated each of the nodes where the pod fits.
#[derive(Debug)]
pub(crate) struct Rating {
    pub plugin: &'static str,
    pub weight: i64,
    pub scores: Vec<i64>,
}

/// A node, and how it came to be chosen.
#[derive(Debug)]
pub(crate) struct Choice {
    pub node: String,
    /// The nodes where the pod fits, and their ratings; none for a single one.
    pub fitting: Vec<String>,
    pub ratings: Vec<Rating>,
    pub rejects: Vec<(String, &'static str, Vec<Reject>)>,
}

impl<'a> Cycle<'a> {
    /// An error says why no node will do.
    pub(crate) fn new(pod: &'a PodInfo, snapshot: &Snapshot, world: &World) -> Result<Self, String> {
        let volumes = if pod.claims.is_empty() { volumes::State::default() } else { volumes::State::new(pod, snapshot, world)? };
        let affinity = pod_affinity::State::new(pod, snapshot, world);
        Ok(Self { pod, affinity, spread: spread::State::new(pod, snapshot), volumes })
    }

    /// The reasons of the first filter that rejects the node, and its name.
    pub(crate) fn why_not(&self, snapshot: &Snapshot, node: &NodeInfo) -> Option<(&'static str, Vec<Reject>)> {
        let reserved = snapshot.reserved(self.pod, node);
        let node = reserved.as_ref().unwrap_or(node);
        let verdicts = FILTERS.iter().map(|filter| (filter.name(), filter.filter(self, node)));
        verdicts.into_iter().find(|(_, reasons)| !reasons.is_empty())
    }
}

/// Picks the best of the nodes that will do, or says why none does. Among equals `tie` picks; a node on which the pod made
/// room for itself comes first.
pub(crate) fn choose(pod: &PodInfo, snapshot: &Snapshot, world: &World, tie: &mut impl rand::Rng) -> Result<Choice, Misfit> {
    let cycle = Cycle::new(pod, snapshot, world).map_err(|why| Misfit { everywhere: Some(why), rejects: Vec::new() })?;
    let own = nominated(&pod.pod).and_then(|name| snapshot.node(name)).filter(|node| cycle.why_not(snapshot, node).is_none());
    if let Some(node) = own {
        return Ok(Choice {
            node: node.name().to_owned(),
            fitting: vec![node.name().to_owned()],
            ratings: Vec::new(),
            rejects: Vec::new(),
        });
    }
    let mut fitting = Vec::new();
    let mut rejects = Vec::new();
    for node in snapshot.nodes() {
        match cycle.why_not(snapshot, node) {
            None => fitting.push(node),
            Some((filter, reasons)) => rejects.push((node.name().to_owned(), filter, reasons)),
        }
    }
    let ratings = rate(&cycle, &fitting);
    match best(&fitting, &ratings, tie) {
        Some(node) => {
            let fitting = fitting.iter().map(|node| node.name().to_owned()).collect();
            Ok(Choice { node: node.name().to_owned(), fitting, ratings, rejects })
        }
        None => Err(Misfit { everywhere: None, rejects }),
    }
}

fn rate(cycle: &Cycle, nodes: &[&NodeInfo]) -> Vec<Rating> {
    if nodes.len() < 2 {
        return Vec::new();
    }
    SCORES.iter().map(|plugin| Rating { plugin: plugin.name(), weight: plugin.weight(), scores: plugin.score(cycle, nodes) }).collect()
}

fn best<'a>(nodes: &[&'a NodeInfo], ratings: &[Rating], tie: &mut impl rand::Rng) -> Option<&'a NodeInfo> {
    if nodes.len() < 2 {
        return nodes.first().copied();
    }
    let mut totals = vec![0; nodes.len()];
    for rating in ratings {
        for (total, score) in totals.iter_mut().zip(&rating.scores) {
            *total += rating.weight * score;
        }
    }
    let highest = totals.iter().copied().max()?;
    let winners: Vec<_> = nodes.iter().zip(&totals).filter(|(_, total)| **total == highest).map(|(node, _)| *node).collect();
    winners.get(tie.random_range(0..winners.len())).copied()
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::pod::tests::pod;
    use crate::snapshot::tests::node;
    use crate::world::tests::plain;
    use rstest::rstest;
    use serde_json::{Value, json};
    use std::collections::HashMap;

    /// The node, or the message with what upstream says when preemption finds nothing.
    pub(crate) fn chosen(pod: &PodInfo, snapshot: &Snapshot, world: &World) -> Result<String, String> {
        let choice = choose(pod, snapshot, world, &mut rand::rng());
        choice.map(|choice| choice.node).map_err(|misfit| {
            let preemption = crate::message::no_victims(&misfit, snapshot.node_count());
            misfit.message(snapshot.node_count(), &preemption)
        })
    }

    pub(crate) fn cluster(nodes: &[(&str, Value)]) -> Snapshot {
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
        let message = chosen(&pod("p", spec), &cluster(&[("n1", extra)]), &plain()).unwrap_err();
        assert!(message.starts_with(&format!("0/1 nodes are available: {reason} ")), "{message}");
    }

    #[test]
    fn tolerations_open_tainted_and_cordoned_nodes() {
        let extra = json!({"spec": {"unschedulable": true, "taints": [{"key": "k", "effect": "NoSchedule"}]}});
        let snapshot = cluster(&[("n1", extra)]);
        assert_eq!(chosen(&pod("p", json!({"tolerations": [{"operator": "Exists"}]})), &snapshot, &plain()).unwrap(), "n1");
    }

    #[test]
    fn host_ports_and_assumed_pods_count() {
        let mut snapshot = cluster(&[("n1", json!({}))]);
        let port = json!({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": 80}], "resources": {"requests": {"cpu": "3"}}}]});
        snapshot.place(pod("first", port.clone()), "n1");
        let message = chosen(&pod("second", port), &snapshot, &plain()).unwrap_err();
        assert!(message.contains("1 node(s) didn't have free ports for the requested pod ports."), "{message}");
        assert!(message.contains("1 No preemption victims found for incoming pod."), "{message}");
        assert!(chosen(&pod("third", cpu("1500m")), &snapshot, &plain()).unwrap_err().contains("1 Insufficient cpu."));
        snapshot.displace("first");
        assert!(chosen(&pod("third", cpu("1500m")), &snapshot, &plain()).is_ok());
    }

    #[test]
    fn no_nodes() {
        assert_eq!(chosen(&pod("p", json!({})), &Snapshot::default(), &plain()).unwrap_err(), "no nodes available to schedule pods");
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
            let node = chosen(&replica, &snapshot, &plain()).unwrap();
            *per_node.entry(node.clone()).or_default() += 1;
            snapshot.place(replica, &node);
        }
        assert_eq!(per_node.values().copied().collect::<Vec<_>>(), [10; 6]);
    }
}
