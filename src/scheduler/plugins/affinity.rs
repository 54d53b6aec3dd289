//! Which nodes a pod asks for: by name, by `nodeSelector`, by node affinity.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm};

use super::{Filter, Reject, Score, normalized};
use crate::pod::PodInfo;
use crate::snapshot::NodeInfo;

pub(crate) struct NodeName;

impl Filter for NodeName {
    fn filter(&self, pod: &PodInfo, node: &NodeInfo) -> Vec<Reject> {
        if pod.node().is_empty() || pod.node() == node.name() {
            return Vec::new();
        }
        vec![Reject::unresolvable("node(s) didn't match the requested node name")]
    }
}

pub(crate) struct NodeAffinity;

impl Filter for NodeAffinity {
    fn filter(&self, pod: &PodInfo, node: &NodeInfo) -> Vec<Reject> {
        if is_wanted(pod, node) {
            return Vec::new();
        }
        vec![Reject::unresolvable("node(s) didn't match Pod's node affinity/selector")]
    }
}

impl Score for NodeAffinity {
    fn weight(&self) -> i64 {
        2
    }

    /// The sum of the weights of preferred terms that match.
    fn score(&self, pod: &PodInfo, nodes: &[&NodeInfo]) -> Vec<i64> {
        let affinity = pod.pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()?.node_affinity.as_ref());
        let preferred = affinity.and_then(|affinity| affinity.preferred_during_scheduling_ignored_during_execution.as_ref());
        let Some(preferred) = preferred else { return vec![0; nodes.len()] };
        let weight = |node: &&NodeInfo| {
            let matching = preferred.iter().filter(|term| term_matches(&term.preference, node));
            matching.map(|term| i64::from(term.weight)).sum::<i64>()
        };
        normalized(nodes.iter().map(weight).collect(), false)
    }
}

fn labels(node: &NodeInfo) -> &BTreeMap<String, String> {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    node.node.metadata.labels.as_ref().unwrap_or(&NONE)
}

/// `nodeSelector` and any one of the required terms.
fn is_wanted(pod: &PodInfo, node: &NodeInfo) -> bool {
    let Some(spec) = &pod.pod.spec else { return true };
    let labels = labels(node);
    if !spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value)) {
        return false;
    }
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    match affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref()) {
        Some(required) => required.node_selector_terms.iter().any(|term| term_matches(term, node)),
        None => true,
    }
}

/// All of its requirements; a term without any matches nothing.
fn term_matches(term: &NodeSelectorTerm, node: &NodeInfo) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let field = |requirement: &NodeSelectorRequirement| {
        let value = (requirement.key == "metadata.name").then(|| node.name());
        value.is_some() && holds(requirement, value)
    };
    (!expressions.is_empty() || !fields.is_empty())
        && expressions.iter().all(|requirement| holds(requirement, labels(node).get(&requirement.key).map(String::as_str)))
        && fields.iter().all(field)
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = || value.is_some_and(|value| values.iter().any(|known| known == value));
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
    let numbers = || number(value).zip(number(values.first().map(String::as_str)));
    match requirement.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers().is_some_and(|(own, bound)| own > bound),
        "Lt" => numbers().is_some_and(|(own, bound)| own < bound),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::pod::tests::pod;
    use crate::snapshot::tests::node;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn terms(terms: Value) -> Value {
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}})
    }

    #[rstest]
    #[case::none(json!({}), true)]
    #[case::selector(json!({"nodeSelector": {"disk": "ssd"}}), true)]
    #[case::selector_differs(json!({"nodeSelector": {"disk": "hdd"}}), false)]
    #[case::any_term(terms(json!([{"matchExpressions": [{"key": "disk", "operator": "In", "values": ["hdd"]}]},
        {"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["3"]}]}])), true)]
    #[case::all_requirements(terms(json!([{"matchExpressions": [{"key": "disk", "operator": "Exists"},
        {"key": "cores", "operator": "Lt", "values": ["3"]}]}])), false)]
    #[case::absent_is_not_in(terms(json!([{"matchExpressions": [{"key": "gpu", "operator": "NotIn", "values": ["x"]}]}])), true)]
    #[case::absent(terms(json!([{"matchExpressions": [{"key": "gpu", "operator": "DoesNotExist"}]}])), true)]
    #[case::field(terms(json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}])), true)]
    #[case::field_differs(terms(json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}])), false)]
    #[case::empty_term(terms(json!([{}])), false)]
    fn wanted(#[case] spec: Value, #[case] expected: bool) {
        let info = NodeInfo::new(node("n1", json!({"metadata": {"labels": {"disk": "ssd", "cores": "4"}}})));
        assert_eq!(is_wanted(&pod("p", spec), &info), expected);
    }
}
