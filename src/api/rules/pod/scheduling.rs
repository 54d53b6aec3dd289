//! Validation of what the scheduler reads: affinity, tolerations, taints, topology spread.

use serde_json::{Value, json};

use crate::names;
use crate::rules::check::{Errors, Fill, Path, Read, Seen};
use crate::rules::selector;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// `spec.affinity`.
pub(crate) fn affinity(affinity: &Value, path: &Path, out: &mut Errors) {
    if affinity.has("nodeAffinity") {
        node_affinity(&affinity["nodeAffinity"], &path.child("nodeAffinity"), out);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let (terms, at) = (&affinity[kind], path.child(kind));
        for (at, term) in terms.each(REQUIRED, &at) {
            pod_affinity_term(term, &at, out);
        }
        for (at, weighted) in terms.each(PREFERRED, &at) {
            weight(weighted, &at, out);
            pod_affinity_term(&weighted["podAffinityTerm"], &at.child("podAffinityTerm"), out);
        }
    }
}

fn weight(term: &Value, path: &Path, out: &mut Errors) {
    let weight = term.int("weight").unwrap_or(0);
    if !(1..=100).contains(&weight) {
        out.invalid(path.child("weight"), weight, "must be in the range 1-100");
    }
}

fn node_affinity(affinity: &Value, path: &Path, out: &mut Errors) {
    if affinity.has(REQUIRED) {
        node_selector(&affinity[REQUIRED], &path.child(REQUIRED), out);
    }
    for (at, term) in affinity.each(PREFERRED, path) {
        weight(term, &at, out);
        node_selector_term(&term["preference"], &at.child("preference"), out);
    }
}

/// A selector of nodes, as in affinity and persistent volumes.
pub(crate) fn node_selector(selector: &Value, path: &Path, out: &mut Errors) {
    if selector.items("nodeSelectorTerms").is_empty() {
        out.required(path.child("nodeSelectorTerms"), "must have at least one node selector term");
    }
    for (at, term) in selector.each("nodeSelectorTerms", path) {
        node_selector_term(term, &at, out);
    }
}

fn node_selector_term(term: &Value, path: &Path, out: &mut Errors) {
    for (at, requirement) in term.each("matchExpressions", path) {
        let values = requirement.items("values");
        let given = at.child("values");
        match requirement.text("operator") {
            "In" | "NotIn" if values.is_empty() => out.required(given, "must be specified when `operator` is 'In' or 'NotIn'"),
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                out.forbidden(given, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
            }
            "Gt" | "Lt" if values.len() != 1 => {
                out.required(given, "must be specified single value when `operator` is 'Lt' or 'Gt'");
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => out.invalid(at.child("operator"), other, "not a valid selector operator"),
        }
        out.all(&at.child("key"), requirement.text("key"), names::qualified_name(requirement.text("key")));
        for (index, value) in values.iter().filter_map(Value::as_str).enumerate() {
            out.all(&at.child("values").index(index), value, names::label_value(value));
        }
    }
    for (at, requirement) in term.each("matchFields", path) {
        match requirement.text("operator") {
            "In" | "NotIn" if requirement.items("values").len() != 1 => {
                out.required(at.child("values"), "must be only one value when `operator` is 'In' or 'NotIn' for node field selector");
            }
            "In" | "NotIn" => {}
            other => out.invalid(at.child("operator"), other, "not a valid selector operator"),
        }
        if requirement.text("key") != "metadata.name" {
            out.invalid(at.child("key"), requirement.text("key"), "not a valid field selector key");
        }
    }
}

fn pod_affinity_term(term: &Value, path: &Path, out: &mut Errors) {
    for key in ["labelSelector", "namespaceSelector"] {
        if term.has(key) {
            selector::validate(&term[key], &path.child(key), out);
        }
    }
    for name in term.items("namespaces").iter().filter_map(Value::as_str) {
        out.all(&path.child("namespace"), name, names::dns1123_label(name));
    }
    topology_key(term, path, out);
}

fn topology_key(term: &Value, path: &Path, out: &mut Errors) {
    match term.text("topologyKey") {
        "" => out.required(path.child("topologyKey"), "can not be empty"),
        key => out.all(&path.child("topologyKey"), key, names::qualified_name(key)),
    }
}

/// `tolerations` of a pod or a runtime class.
pub(crate) fn tolerations(spec: &Value, path: &Path, out: &mut Errors) {
    for (at, toleration) in spec.each("tolerations", path) {
        let (key, operator, effect) = (toleration.text("key"), toleration.text("operator"), toleration.text("effect"));
        if key.is_empty() {
            if operator != "Exists" {
                let message = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
                out.invalid(at.child("operator"), operator, message);
            }
        } else {
            out.all(&at.child("key"), key, names::qualified_name(key));
        }
        if toleration.has("tolerationSeconds") && effect != "NoExecute" {
            out.invalid(at.child("effect"), effect, "effect must be 'NoExecute' when `tolerationSeconds` is set");
        }
        match operator {
            "Equal" | "" => {
                let wrong = names::label_value(toleration.text("value"));
                if !wrong.is_empty() {
                    out.invalid(at.child("operator"), toleration.text("value"), wrong.join(";"));
                }
            }
            "Exists" => {
                if !toleration.text("value").is_empty() {
                    out.invalid(at.child("operator"), toleration.clone(), "value must be empty when `operator` is 'Exists'");
                }
            }
            other => out.one_of(at.child("operator"), other, &["Equal", "Exists"]),
        }
        out.one_of_if_set(at.child("effect"), effect, EFFECTS);
    }
}

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// `spec.taints` of a node.
pub(crate) fn taints(spec: &Value, path: &Path, out: &mut Errors) {
    let mut seen = Seen::default();
    for (at, taint) in spec.each("taints", path) {
        out.all(&at.child("key"), taint.text("key"), names::qualified_name(taint.text("key")));
        let wrong = names::label_value(taint.text("value"));
        if !wrong.is_empty() {
            out.invalid(at.child("value"), taint.text("value"), wrong.join(";"));
        }
        out.required_one_of(&at.child("effect"), taint.text("effect"), EFFECTS);
        if !seen.first(format!("{}/{}", taint.text("effect"), taint.text("key"))) {
            out.duplicate(at, taint.clone());
        }
    }
}

/// `spec.topologySpreadConstraints`.
pub(crate) fn topology_spread(spec: &Value, path: &Path, out: &mut Errors) {
    let mut seen = Seen::default();
    for (at, constraint) in spec.each("topologySpreadConstraints", path) {
        let skew = constraint.int("maxSkew").unwrap_or(0);
        if skew <= 0 {
            out.invalid(at.child("maxSkew"), skew, "must be greater than zero");
        }
        topology_key(constraint, &at, out);
        let action = constraint.text("whenUnsatisfiable");
        out.one_of(at.child("whenUnsatisfiable"), action, &["DoNotSchedule", "ScheduleAnyway"]);
        let pair = format!("{{{}, {action}}}", constraint.text("topologyKey"));
        if !seen.first(&pair) {
            out.duplicate(at.child("{topologyKey, whenUnsatisfiable}"), pair);
        }
        if let Some(domains) = constraint.int("minDomains") {
            out.positive(&at.child("minDomains"), Some(domains));
            if action != "DoNotSchedule" {
                let message = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
                out.invalid(at.child("minDomains"), domains, message);
            }
        }
        for key in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            out.one_of_if_set(at.child(key), constraint.text(key), &["Honor", "Ignore"]);
        }
        if constraint.has("labelSelector") {
            selector::validate(&constraint["labelSelector"], &at.child("labelSelector"), out);
        }
    }
}

/// `matchLabelKeys` and `mismatchLabelKeys` of a new pod become requirements on the values its own labels have.
pub(crate) fn select_by_label_keys(spec: &mut Value, labels: &Value) {
    spec.with("affinity", |affinity| {
        for kind in ["podAffinity", "podAntiAffinity"] {
            affinity.with(kind, |terms| {
                terms.for_each(REQUIRED, |term| require_label_keys(term, labels));
                terms.for_each(PREFERRED, |weighted| weighted.with("podAffinityTerm", |term| require_label_keys(term, labels)));
            });
        }
    });
    spec.for_each("topologySpreadConstraints", |constraint| require_label_keys(constraint, labels));
}

fn require_label_keys(term: &mut Value, labels: &Value) {
    let mut requirements = Vec::new();
    for (list, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        for key in term.items(list).iter().filter_map(Value::as_str) {
            if let Some(value) = labels.get(key) {
                requirements.push(json!({"key": key, "operator": operator, "values": [value]}));
            }
        }
    }
    if requirements.is_empty() {
        return;
    }
    term.with("labelSelector", |selector| {
        let mut all = selector.items("matchExpressions").to_vec();
        all.extend(requirements);
        selector.put("matchExpressions", all);
    });
}
