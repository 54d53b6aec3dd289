//! Horizontal pod autoscalers.

use serde_json::{Value, json};

use super::Rules;
use super::check::{Errors, Fill, Path, Read, quantity};
use crate::names;

pub(crate) static RULES: Rules = Rules { status: |_| json!({"desiredReplicas": 0}), default, validate, ..Rules::PLAIN };

/// Longest window and longest period of a rule, in seconds.
const MAX_WINDOW: i64 = 3600;
const MAX_PERIOD: i64 = 1800;

fn validate(object: &Value, out: &mut Errors) {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let (least, most) = (spec.int("minReplicas").unwrap_or(1), spec.int("maxReplicas").unwrap_or(0));
    if least < 1 {
        out.invalid(path.child("minReplicas"), least, "must be greater than or equal to 1");
    }
    if most < 1 {
        out.invalid(path.child("maxReplicas"), most, "must be greater than 0");
    }
    if most < least {
        out.invalid(path.child("maxReplicas"), most, "must be greater than or equal to `minReplicas`");
    }
    reference(&spec["scaleTargetRef"], &path.child("scaleTargetRef"), out);
    for (at, metric) in spec.each("metrics", &path) {
        self::metric(metric, &at, out);
    }
    for side in ["scaleUp", "scaleDown"] {
        if spec["behavior"].has(side) {
            scaling_rules(&spec["behavior"][side], &path.child("behavior").child(side), out);
        }
    }
}

fn reference(reference: &Value, path: &Path, out: &mut Errors) {
    for key in ["kind", "name"] {
        out.required_name(&path.child(key), reference.text(key), names::path_segment);
    }
}

/// Kinds of metrics, the fields they are described in.
const METRICS: [(&str, &str); 5] = [
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];

fn metric(metric: &Value, path: &Path, out: &mut Errors) {
    let kind = metric.text("type");
    if kind.is_empty() {
        out.required(path.child("type"), "must specify a metric source type");
    }
    out.one_of(path.child("type"), kind, &["ContainerResource", "External", "Object", "Pods", "Resource"]);
    let present: Vec<&str> = METRICS.iter().map(|(_, field)| *field).filter(|field| metric.has(field)).collect();
    if let Some(first) = present.first() {
        source(first, &metric[*first], &path.child(first), out);
    }
    let expected = METRICS.iter().find(|(name, _)| *name == kind).map_or("", |(_, field)| *field);
    if !expected.is_empty() && !metric.has(expected) {
        out.required(path.child(expected), "must populate information for the given metric source");
    }
    if present.len() != 1 {
        for other in present.into_iter().filter(|field| *field != expected) {
            out.forbidden(path.child(other), "must populate the given metric source only");
        }
    }
}

fn source(kind: &str, source: &Value, path: &Path, out: &mut Errors) {
    let (target, at) = (&source["target"], path.child("target"));
    match kind {
        "resource" | "containerResource" => {
            if source.text("name").is_empty() {
                out.required(path.child("name"), "must specify a resource name");
            }
            if kind == "containerResource" && source.text("container").is_empty() {
                out.required(path.child("container"), "must specify a container");
            }
            self::target(target, &at, out);
            match (target.has("averageUtilization"), target.has("averageValue")) {
                (false, false) => {
                    out.required(at.child("averageUtilization"), "must set either a target raw value or a target utilization")
                }
                (true, true) => out.forbidden(at.child("averageValue"), "may not set both a target raw value and a target utilization"),
                _ => {}
            }
        }
        _ => {
            if kind == "object" {
                reference(&source["describedObject"], &path.child("describedObject"), out);
            }
            let name = source["metric"].text("name");
            let name_at = path.child("metric").child("name");
            if name.is_empty() {
                out.required(name_at, "must specify a metric name");
            } else {
                out.all(&name_at, name, names::path_segment(name));
            }
            self::target(target, &at, out);
            match (kind, target.has("value"), target.has("averageValue")) {
                ("pods", ..) if !is_positive(&target["averageValue"]) => {
                    out.required(at.child("averageValue"), "must specify a positive target averageValue");
                }
                (_, false, false) => {
                    out.required(at.child("averageValue"), "must set either a target value for metric or a per-pod target");
                }
                ("external", true, true) => {
                    out.forbidden(at.child("value"), "may not set both a target value for metric and a per-pod target");
                }
                _ => {}
            }
        }
    }
}

fn is_positive(value: &Value) -> bool {
    quantity(value).is_some_and(|amount| amount.signum() > 0)
}

fn target(target: &Value, path: &Path, out: &mut Errors) {
    let kind = target.text("type");
    if kind.is_empty() {
        out.required(path.child("type"), "must specify a metric target type");
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        out.invalid(path.child("type"), kind, "must be either Utilization, Value, or AverageValue");
    }
    for key in ["value", "averageValue"] {
        if target.has(key) && !is_positive(&target[key]) {
            out.invalid(path.child(key), target[key].clone(), "must be positive");
        }
    }
    out.positive(&path.child("averageUtilization"), target.int("averageUtilization"));
}

fn scaling_rules(rules: &Value, path: &Path, out: &mut Errors) {
    if let Some(window) = rules.int("stabilizationWindowSeconds") {
        let at = path.child("stabilizationWindowSeconds");
        if window < 0 {
            out.invalid(at, window, "must be greater than or equal to zero");
        } else if window > MAX_WINDOW {
            out.invalid(at, window, format!("must be less than or equal to {MAX_WINDOW}"));
        }
    }
    out.one_of_if_set(path.child("selectPolicy"), rules.text("selectPolicy"), &["Disabled", "Max", "Min"]);
    if rules.items("policies").is_empty() {
        out.required(path.child("policies"), "must specify at least one Policy");
    }
    for (at, policy) in rules.each("policies", path) {
        out.one_of(at.child("type"), policy.text("type"), &["Pods", "Percent"]);
        for key in ["value", "periodSeconds"] {
            let number = policy.int(key).unwrap_or(0);
            if number <= 0 {
                out.invalid(at.child(key), number, "must be greater than zero");
            } else if key == "periodSeconds" && number > MAX_PERIOD {
                out.invalid(at.child(key), number, format!("must be less than or equal to {MAX_PERIOD}"));
            }
        }
    }
}

fn default(object: &mut Value) {
    let second = !object["spec"].has("targetCPUUtilizationPercentage") && object.text("apiVersion") != "autoscaling/v1";
    object.within("spec", |spec| {
        spec.fill("minReplicas", 1);
        if second && spec.items("metrics").is_empty() {
            let target = json!({"type": "Utilization", "averageUtilization": 80});
            spec.put("metrics", json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]));
        }
        spec.with("behavior", |behavior| {
            let up = json!([{"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]);
            let down = json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]);
            behavior.within("scaleUp", |rules| {
                rules.fill("stabilizationWindowSeconds", 0);
                rules.fill("selectPolicy", "Max");
                rules.fill("policies", up);
            });
            behavior.within("scaleDown", |rules| {
                rules.fill("selectPolicy", "Max");
                rules.fill("policies", down);
            });
        });
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(json!({}), "")]
    #[case(json!({"minReplicas": 0, "maxReplicas": 0}),
        "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1; spec.maxReplicas: Invalid value: 0: must be greater than 0")]
    #[case(json!({"scaleTargetRef": {"kind": "", "name": "a/b"}}),
        "spec.scaleTargetRef.kind: Required value; spec.scaleTargetRef.name: Invalid value: \"a/b\": may not contain '/'")]
    #[case(json!({"metrics": [{"type": "X"}, {"type": "Resource"}]}),
        "spec.metrics[0].type: Unsupported value: \"X\": supported values: \"ContainerResource\", \"External\", \"Object\", \"Pods\", \"Resource\"; \
         spec.metrics[1].resource: Required value: must populate information for the given metric source")]
    #[case(json!({"metrics": [{"type": "Resource", "resource": {"name": "", "target": {"type": "Utilization"}}}]}),
        "spec.metrics[0].resource.name: Required value: must specify a resource name; \
         spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization")]
    #[case(json!({"metrics": [{"type": "Pods", "pods": {"metric": {"name": ""}, "target": {"type": "AverageValue", "averageValue": "0"}}}]}),
        "spec.metrics[0].pods.metric.name: Required value: must specify a metric name; \
         spec.metrics[0].pods.target.averageValue: Invalid value: \"0\": must be positive; \
         spec.metrics[0].pods.target.averageValue: Required value: must specify a positive target averageValue")]
    #[case(json!({"behavior": {"scaleUp": {"stabilizationWindowSeconds": 3601, "selectPolicy": "Z", "policies": [{"type": "X", "value": 0, "periodSeconds": 1801}]}}}),
        "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600; \
         spec.behavior.scaleUp.selectPolicy: Unsupported value: \"Z\": supported values: \"Disabled\", \"Max\", \"Min\"; \
         spec.behavior.scaleUp.policies[0].type: Unsupported value: \"X\": supported values: \"Pods\", \"Percent\"; \
         spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero; \
         spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800")]
    fn what_is_wrong(#[case] changes: Value, #[case] expected: &str) {
        let mut spec = json!({"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "a"}});
        crate::patch::merge(&mut spec, &changes);
        let mut out = Errors::default();
        validate(&json!({"spec": spec}), &mut out);
        assert_eq!(out.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "), expected);
    }
}
