//! Which nodes a pod asks for and which taints it tolerates: rules that the scheduler and controllers share.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Taint, Toleration};

/// `nodeSelector` and any one of the required terms of the node affinity.
pub fn wants_node(spec: &PodSpec, name: &str, labels: &BTreeMap<String, String>) -> bool {
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value))
        && required.is_none_or(|required| selects_node(required, name, labels))
}

/// Any one of the terms.
pub fn selects_node(selector: &NodeSelector, name: &str, labels: &BTreeMap<String, String>) -> bool {
    selector.node_selector_terms.iter().any(|term| term_matches(term, name, labels))
}

/// All requirements of a term; one without any matches nothing.
pub fn term_matches(term: &NodeSelectorTerm, name: &str, labels: &BTreeMap<String, String>) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let field = |requirement: &NodeSelectorRequirement| requirement.key == "metadata.name" && holds(requirement, Some(name));
    (!expressions.is_empty() || !fields.is_empty())
        && expressions.iter().all(|requirement| holds(requirement, labels.get(&requirement.key).map(String::as_str)))
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

/// Does the toleration cover the taint.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let wants = |field: &Option<String>| field.clone().unwrap_or_default();
    let (own_effect, own_key) = (wants(&toleration.effect), wants(&toleration.key));
    if !own_effect.is_empty() && own_effect != taint.effect || !own_key.is_empty() && own_key != taint.key {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or_default() {
        "Exists" => true,
        "" | "Equal" => wants(&toleration.value) == wants(&taint.value) && !own_key.is_empty(),
        _ => false,
    }
}

/// The first taint with one of the effects that none of the tolerations covers.
pub fn untolerated<'a>(taints: &'a [Taint], tolerations: &[Toleration], effects: &[&str]) -> Option<&'a Taint> {
    let repels = |taint: &&Taint| effects.contains(&taint.effect.as_str());
    taints.iter().filter(repels).find(|taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
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
    fn wanted(#[case] mut spec: Value, #[case] expected: bool) {
        spec["containers"] = json!([]);
        let labels = BTreeMap::from([("disk".to_owned(), "ssd".to_owned()), ("cores".to_owned(), "4".to_owned())]);
        assert_eq!(wants_node(&serde_json::from_value(spec).unwrap(), "n1", &labels), expected);
    }

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
        let taint = Taint { key: "k".into(), value: Some("v".into()), effect: "NoSchedule".into(), time_added: None };
        assert_eq!(tolerates(&toleration, &taint), expected);
        assert_eq!(untolerated(&[taint], &[toleration], &["NoSchedule"]).is_none(), expected);
    }
}
