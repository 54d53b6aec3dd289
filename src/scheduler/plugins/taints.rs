//! Taints keep pods away that do not tolerate them.

use k8s_openapi::api::core::v1::{Taint, Toleration};

use super::{Filter, Reject, Score, normalized};
use crate::pod::PodInfo;
use crate::snapshot::NodeInfo;

pub(crate) struct TaintToleration;

pub(crate) fn tolerations(pod: &PodInfo) -> impl Iterator<Item = &Toleration> {
    pod.pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten())
}

fn taints(node: &NodeInfo) -> impl Iterator<Item = &Taint> {
    node.node.spec.iter().flat_map(|spec| spec.taints.iter().flatten())
}

/// Does the toleration cover a taint of this key, value and effect.
pub(crate) fn tolerates(toleration: &Toleration, key: &str, value: &str, effect: &str) -> bool {
    let wants = |field: &Option<String>| field.clone().unwrap_or_default();
    let (own_effect, own_key) = (wants(&toleration.effect), wants(&toleration.key));
    if !own_effect.is_empty() && own_effect != effect || !own_key.is_empty() && own_key != key {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or_default() {
        "Exists" => true,
        "" | "Equal" => wants(&toleration.value) == value && !own_key.is_empty(),
        _ => false,
    }
}

fn is_tolerated(pod: &PodInfo, taint: &Taint) -> bool {
    tolerations(pod).any(|toleration| tolerates(toleration, &taint.key, taint.value.as_deref().unwrap_or_default(), &taint.effect))
}

impl Filter for TaintToleration {
    fn filter(&self, pod: &PodInfo, node: &NodeInfo) -> Vec<Reject> {
        let repels = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
        if taints(node).filter(repels).all(|taint| is_tolerated(pod, taint)) {
            return Vec::new();
        }
        vec![Reject::unresolvable("node(s) had untolerated taint(s)")]
    }
}

impl Score for TaintToleration {
    fn weight(&self) -> i64 {
        3
    }

    /// The fewer taints of `PreferNoSchedule` it does not tolerate, the better.
    fn score(&self, pod: &PodInfo, nodes: &[&NodeInfo]) -> Vec<i64> {
        let unwanted = |node: &&NodeInfo| {
            let count = taints(node).filter(|taint| taint.effect == "PreferNoSchedule" && !is_tolerated(pod, taint)).count();
            i64::try_from(count).unwrap_or(i64::MAX)
        };
        normalized(nodes.iter().map(unwanted).collect(), true)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    #[rstest]
    #[case(json!({"key": "k", "value": "v"}), true)]
    #[case(json!({"key": "k", "operator": "Equal", "value": "w"}), false)]
    #[case(json!({"key": "k", "operator": "Exists"}), true)]
    #[case(json!({"operator": "Exists"}), true)]
    #[case(json!({"key": "other", "operator": "Exists"}), false)]
    #[case(json!({"key": "k", "operator": "Exists", "effect": "NoExecute"}), false)]
    #[case(json!({"key": "k", "operator": "Exists", "effect": "NoSchedule"}), true)]
    fn tolerations_cover_taints(#[case] toleration: Value, #[case] expected: bool) {
        let toleration: Toleration = serde_json::from_value(toleration).unwrap();
        assert_eq!(tolerates(&toleration, "k", "v", "NoSchedule"), expected);
    }
}
