//! Which objects a quota is about.

use serde_json::{Value, json};

use super::{names, tracks};
use crate::rules;
use crate::selector::LabelSelector;

/// Whether a quota is about an object of a resource: one of `hard` counts it and it is in every scope of the quota's.
pub fn covers(quota: &Value, hard: &Value, group: &str, plural: &str, object: &Value) -> bool {
    if !names(hard).any(|name| tracks(group, plural, name)) {
        return false;
    }
    let spec = &quota["spec"];
    let scopes = spec["scopes"].as_array().into_iter().flatten();
    let plain = scopes.filter_map(Value::as_str).map(|scope| json!({"scopeName": scope, "operator": "Exists"}));
    let selected = spec["scopeSelector"]["matchExpressions"].as_array().into_iter().flatten().cloned();
    plain.chain(selected).all(|scope| is_in(&scope, group, plural, object))
}

fn is_in(scope: &Value, group: &str, plural: &str, object: &Value) -> bool {
    let name = scope["scopeName"].as_str().unwrap_or_default();
    let spec = &object["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match (group, plural, name) {
        ("", "pods", "Terminating") => is_terminating(spec),
        ("", "pods", "NotTerminating") => !is_terminating(spec),
        ("", "pods", "BestEffort") => rules::is_best_effort(object),
        ("", "pods", "NotBestEffort") => !rules::is_best_effort(object),
        ("", "pods", "PriorityClass") => selects(scope, name, &[text(&spec["priorityClassName"])]),
        ("", "pods", "CrossNamespacePodAffinity") => crosses_namespaces(&spec["affinity"]),
        ("", "persistentvolumeclaims", "VolumeAttributesClass") => {
            let status = &object["status"];
            let classes = [
                &spec["volumeAttributesClassName"],
                &status["currentVolumeAttributesClassName"],
                &status["modifyVolumeStatus"]["targetVolumeAttributesClassName"],
            ];
            selects(scope, name, &classes.map(text))
        }
        _ => false,
    }
}

fn is_terminating(spec: &Value) -> bool {
    spec["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 0)
}

/// Whether the scope's expression selects one of these names of a class; an empty one is none.
fn selects(scope: &Value, key: &str, classes: &[String]) -> bool {
    let named: Vec<&String> = classes.iter().filter(|class| !class.is_empty()).collect();
    if scope["operator"] == "Exists" {
        return !named.is_empty();
    }
    let expression = json!({"key": key, "operator": scope["operator"], "values": scope["values"]});
    let Ok(selector) = LabelSelector::from_object(&json!({"matchExpressions": [expression]})) else { return false };
    let matches = |labels: Value| labels.as_object().is_some_and(|labels| selector.matches(labels));
    if named.is_empty() { matches(json!({})) } else { named.iter().any(|class| matches(json!({ key: class }))) }
}

fn crosses_namespaces(affinity: &Value) -> bool {
    let terms = ["podAffinity", "podAntiAffinity"].into_iter().flat_map(|kind| {
        let list = |field: &str| affinity[kind][field].as_array().into_iter().flatten();
        let preferred = list("preferredDuringSchedulingIgnoredDuringExecution").map(|term| &term["podAffinityTerm"]);
        list("requiredDuringSchedulingIgnoredDuringExecution").chain(preferred)
    });
    terms.into_iter().any(|term| term["namespaces"].as_array().is_some_and(|all| !all.is_empty()) || term["namespaceSelector"].is_object())
}
