//! Which nodes a pod asks for: by name, by `nodeSelector`, by node affinity.

use coracle_api::placement;

use super::{Filter, Reject, Score, normalized};
use crate::cycle::Cycle;
use crate::snapshot::NodeInfo;

pub(crate) struct NodeName;

impl Filter for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn filter(&self, cycle: &Cycle, node: &NodeInfo) -> Vec<Reject> {
        let pod = cycle.pod;
        if pod.node().is_empty() || pod.node() == node.name() {
            return Vec::new();
        }
        vec![Reject::unresolvable("node(s) didn't match the requested node name")]
    }
}

pub(crate) struct NodeAffinity;

impl Filter for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn filter(&self, cycle: &Cycle, node: &NodeInfo) -> Vec<Reject> {
        let pod = cycle.pod;
        if pod.pod.spec.as_ref().is_none_or(|spec| placement::wants_node(spec, node.name(), node.labels())) {
            return Vec::new();
        }
        vec![Reject::unresolvable("node(s) didn't match Pod's node affinity/selector")]
    }
}

impl Score for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn weight(&self) -> i64 {
        2
    }

    /// The sum of the weights of preferred terms that match.
    fn score(&self, cycle: &Cycle, nodes: &[&NodeInfo]) -> Vec<i64> {
        let affinity = cycle.pod.pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()?.node_affinity.as_ref());
        let preferred = affinity.and_then(|affinity| affinity.preferred_during_scheduling_ignored_during_execution.as_ref());
        let Some(preferred) = preferred else { return vec![0; nodes.len()] };
        let weight = |node: &&NodeInfo| {
            let matching = preferred.iter().filter(|term| placement::term_matches(&term.preference, node.name(), node.labels()));
            matching.map(|term| i64::from(term.weight)).sum::<i64>()
        };
        normalized(nodes.iter().map(weight).collect(), false)
    }
}
