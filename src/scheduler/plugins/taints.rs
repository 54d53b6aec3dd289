//! Taints keep pods away that do not tolerate them.

use coracle_api::placement::tolerates;
use k8s_openapi::api::core::v1::{Taint, Toleration};

use super::{Filter, Reject, Score, normalized};
use crate::cycle::Cycle;
use crate::pod::PodInfo;
use crate::snapshot::NodeInfo;

pub(crate) struct TaintToleration;

pub(crate) fn tolerations(pod: &PodInfo) -> impl Iterator<Item = &Toleration> {
    pod.pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten())
}

fn taints(node: &NodeInfo) -> impl Iterator<Item = &Taint> {
    node.node.spec.iter().flat_map(|spec| spec.taints.iter().flatten())
}

fn is_tolerated(pod: &PodInfo, taint: &Taint) -> bool {
    tolerations(pod).any(|toleration| tolerates(toleration, taint))
}

impl Filter for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn filter(&self, cycle: &Cycle, node: &NodeInfo) -> Vec<Reject> {
        let pod = cycle.pod;
        let repels = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
        if taints(node).filter(repels).all(|taint| is_tolerated(pod, taint)) {
            return Vec::new();
        }
        vec![Reject::unresolvable("node(s) had untolerated taint(s)")]
    }
}

impl Score for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn weight(&self) -> i64 {
        3
    }

    /// The fewer taints of `PreferNoSchedule` it does not tolerate, the better.
    fn score(&self, cycle: &Cycle, nodes: &[&NodeInfo]) -> Vec<i64> {
        let pod = cycle.pod;
        let unwanted = |node: &&NodeInfo| {
            let count = taints(node).filter(|taint| taint.effect == "PreferNoSchedule" && !is_tolerated(pod, taint)).count();
            i64::try_from(count).unwrap_or(i64::MAX)
        };
        normalized(nodes.iter().map(unwanted).collect(), true)
    }
}
