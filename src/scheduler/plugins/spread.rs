//! Pods are spread over topologies as they ask; replicas of one controller go to different nodes where they can.

use std::collections::HashMap;

use coracle_api::placement::{untolerated, wants_node};

use super::{Filter, Reject, Score, normalized};
use crate::cycle::Cycle;
use crate::pod::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};
use crate::terms::Spread;

pub(crate) struct OwnerSpread;

impl Score for OwnerSpread {
    fn name(&self) -> &'static str {
        "OwnerSpread"
    }

    fn weight(&self) -> i64 {
        2
    }

    /// The fewer pods of its controller a node has, the better. Stands in for upstream's default constraints.
    fn score(&self, cycle: &Cycle, nodes: &[&NodeInfo]) -> Vec<i64> {
        match &cycle.pod.owner {
            Some(owner) if cycle.pod.spread.is_empty() => {
                normalized(nodes.iter().map(|node| node.owners.get(owner).copied().unwrap_or(0)).collect(), true)
            }
            _ => vec![0; nodes.len()],
        }
    }
}

/// How many pods each value of a constraint's topology has, worked out once per decision; one map per constraint.
#[derive(Debug, Default)]
pub(crate) struct State {
    counts: Vec<HashMap<String, i64>>,
}

/// Do the pods of this node count for the constraint.
fn is_eligible(pod: &PodInfo, constraint: &Spread, node: &NodeInfo) -> bool {
    let Some(spec) = &pod.pod.spec else { return true };
    let taints = node.node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let wanted = !constraint.honors_affinity || wants_node(spec, node.name(), node.labels());
    wanted && (!constraint.honors_taints || untolerated(taints, tolerations, &["NoSchedule", "NoExecute"]).is_none())
}

impl State {
    pub(crate) fn new(pod: &PodInfo, snapshot: &Snapshot) -> Self {
        if pod.spread.is_empty() {
            return Self::default();
        }
        let mut counts = vec![HashMap::new(); pod.spread.len()];
        for node in snapshot.nodes() {
            // Constraints of a kind count together: a node without one of the labels counts for none of them.
            let complete = |hard: bool| pod.spread.iter().filter(|one| one.hard == hard).all(|one| node.label(&one.topology_key).is_some());
            for (constraint, counts) in pod.spread.iter().zip(&mut counts) {
                if let Some(value) = node.label(&constraint.topology_key)
                    && complete(constraint.hard)
                    && is_eligible(pod, constraint, node)
                {
                    counts.entry(value.to_owned()).or_insert(0);
                }
            }
        }
        for (node, other) in snapshot.placed() {
            for (constraint, counts) in pod.spread.iter().zip(&mut counts) {
                if let Some(count) = node.label(&constraint.topology_key).and_then(|value| counts.get_mut(value))
                    && constraint.counts(pod.namespace(), &other.pod)
                    && is_eligible(pod, constraint, node)
                {
                    *count += 1;
                }
            }
        }
        Self { counts }
    }
}

pub(crate) struct PodTopologySpread;

impl Filter for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn filter(&self, cycle: &Cycle, node: &NodeInfo) -> Vec<Reject> {
        let pod = cycle.pod;
        for (constraint, counts) in pod.spread.iter().zip(&cycle.spread.counts).filter(|(constraint, _)| constraint.hard) {
            let Some(value) = node.label(&constraint.topology_key) else {
                return vec![Reject::unresolvable("node(s) didn't match pod topology spread constraints (missing required label)")];
            };
            let domains = i64::try_from(counts.len()).unwrap_or(i64::MAX);
            let least = if domains < constraint.min_domains { 0 } else { counts.values().copied().min().unwrap_or(0) };
            let own = i64::from(constraint.counts(pod.namespace(), &pod.pod));
            if counts.get(value).copied().unwrap_or(0) + own - least > constraint.max_skew {
                return vec![Reject::occupied("node(s) didn't match pod topology spread constraints")];
            }
        }
        Vec::new()
    }
}

impl Score for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn weight(&self) -> i64 {
        2
    }

    /// The fewer pods the node's topologies have, the better; topologies with many values count more.
    fn score(&self, cycle: &Cycle, nodes: &[&NodeInfo]) -> Vec<i64> {
        let soft: Vec<_> = cycle.pod.spread.iter().zip(&cycle.spread.counts).filter(|(constraint, _)| !constraint.hard).collect();
        if soft.is_empty() {
            return vec![0; nodes.len()];
        }
        let cost = |node: &&NodeInfo| -> Option<f64> {
            let each = soft.iter().map(|(constraint, counts)| {
                let count = counts.get(node.label(&constraint.topology_key)?).copied().unwrap_or(0);
                Some(count as f64 * (counts.len() as f64 + 2.0).ln() + (constraint.max_skew - 1) as f64)
            });
            each.sum()
        };
        let costs: Vec<Option<i64>> = nodes.iter().map(|node| cost(node).map(|cost| cost.round() as i64)).collect();
        let (least, most) = (costs.iter().flatten().copied().min().unwrap_or(0), costs.iter().flatten().copied().max().unwrap_or(0));
        costs
            .into_iter()
            .map(|cost| cost.map_or(0, |cost| if most == 0 { super::BEST } else { super::BEST * (most + least - cost) / most }))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use crate::cycle::tests::{chosen, cluster};
    use crate::pod::tests::{labelled, pod};
    use crate::world::tests::plain;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn constraint(skew: i32, when: &str, extra: Value) -> Value {
        let mut one =
            json!({"maxSkew": skew, "topologyKey": "zone", "whenUnsatisfiable": when, "labelSelector": {"matchLabels": {"app": "web"}}});
        one.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({"topologySpreadConstraints": [one]})
    }

    #[rstest]
    #[case::to_the_emptier(constraint(1, "DoNotSchedule", json!({})), Ok("b1"))]
    #[case::wider(constraint(3, "ScheduleAnyway", json!({})), Ok("b1"))]
    #[case::domains_missing(constraint(1, "DoNotSchedule", json!({"minDomains": 3})), Ok("b1"))]
    #[case::other_key(constraint(1, "DoNotSchedule", json!({"topologyKey": "rack"})),
        Err("3 node(s) didn't match pod topology spread constraints (missing required label)"))]
    fn spreads(#[case] spec: Value, #[case] expected: Result<&str, &str>) {
        let zone = |zone: &str| json!({"metadata": {"labels": {"zone": zone}}});
        let mut snapshot = cluster(&[("a1", zone("a")), ("a2", zone("a")), ("b1", zone("b"))]);
        snapshot.place(labelled(pod("one", json!({})), "web"), "a1");
        match (chosen(&labelled(pod("p", spec), "web"), &snapshot, &plain()), expected) {
            (Ok(node), Ok(wanted)) => assert_eq!(node, wanted),
            (Err(message), Err(why)) => assert!(message.contains(why), "{message}"),
            (got, expected) => panic!("{got:?}, not {expected:?}"),
        }
    }

    #[test]
    fn the_skew_is_kept() {
        let zone = |zone: &str| json!({"metadata": {"labels": {"zone": zone}}});
        let full = json!({"metadata": {"labels": {"zone": "b"}}, "status": {"allocatable": {"pods": "0"}}});
        let mut snapshot = cluster(&[("a1", zone("a")), ("b1", full)]);
        snapshot.place(labelled(pod("one", json!({})), "web"), "a1");
        let next = labelled(pod("p", constraint(1, "DoNotSchedule", json!({}))), "web");
        let message = chosen(&next, &snapshot, &plain()).unwrap_err();
        assert!(
            message.starts_with("0/2 nodes are available: 1 Too many pods, 1 node(s) didn't match pod topology spread constraints."),
            "{message}"
        );
    }
}
