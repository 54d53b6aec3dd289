//! Deployments.

use serde_json::{Value, json};

use super::check::{Errors, Fill, Path, Read};
use super::template::{self, Restart};
use super::{Rules, pod};

pub(crate) static RULES: Rules = Rules {
    generation: true,
    status: |_| json!({}),
    desired: &["spec", "metadata.annotations"],
    default,
    update,
    validate,
    validate_update,
    name_is_used_in: "Pod names and hostnames",
    warnings: |object| pod::template_warnings(object, &["spec", "template"]),
    ..Rules::PLAIN
};

fn default(object: &mut Value) {
    object.within("spec", |spec| {
        spec.fill("replicas", 1);
        spec.within("strategy", |strategy| {
            strategy.fill_zero("type", "RollingUpdate");
            if strategy.text("type") == "RollingUpdate" {
                strategy.within("rollingUpdate", |rolling| {
                    rolling.fill("maxUnavailable", "25%");
                    rolling.fill("maxSurge", "25%");
                });
            }
        });
        spec.fill("revisionHistoryLimit", 10);
        spec.fill("progressDeadlineSeconds", 600);
        spec.within("template", pod::defaults::template);
    });
}

/// The status path keeps labels; a change of annotations moves the generation, as of the spec.
fn update(new: &mut Value, old: &Value, subresource: &str) {
    if subresource == "status" {
        new.within("metadata", |meta| meta.take_from("labels", &old["metadata"]));
    }
}

fn validate(object: &Value, out: &mut Errors) {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    out.non_negative(&path.child("replicas"), spec.int("replicas"));
    template::validate_selector(spec, &path, "empty selector is invalid for deployment", out);
    template::validate_selected(spec, &path, &Restart::Always, out);
    strategy(&spec["strategy"], &path.child("strategy"), out);
    out.non_negative(&path.child("minReadySeconds"), spec.int("minReadySeconds"));
    out.non_negative(&path.child("revisionHistoryLimit"), spec.int("revisionHistoryLimit"));
    if let Some(deadline) = spec.int("progressDeadlineSeconds") {
        out.non_negative(&path.child("progressDeadlineSeconds"), Some(deadline));
        if deadline <= spec.int("minReadySeconds").unwrap_or(0) {
            out.invalid(path.child("progressDeadlineSeconds"), deadline, "must be greater than minReadySeconds");
        }
    }
}

fn strategy(strategy: &Value, path: &Path, out: &mut Errors) {
    match strategy.text("type") {
        "Recreate" => {
            if strategy.has("rollingUpdate") {
                out.forbidden(path.child("rollingUpdate"), "may not be specified when strategy `type` is 'Recreate'");
            }
        }
        "RollingUpdate" => match &strategy["rollingUpdate"] {
            Value::Null => out.required(path.child("rollingUpdate"), "this should be defaulted and never be nil"),
            rolling => rolling_update(rolling, &path.child("rollingUpdate"), out),
        },
        other => out.one_of(path.child("type"), other, &["Recreate", "RollingUpdate"]),
    }
}

fn rolling_update(rolling: &Value, path: &Path, out: &mut Errors) {
    let (unavailable, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
    out.count_or_percent(&path.child("maxUnavailable"), unavailable);
    out.count_or_percent(&path.child("maxSurge"), surge);
    if number(unavailable) == 0 && number(surge) == 0 {
        out.invalid(path.child("maxUnavailable"), unavailable.clone(), "may not be 0 when `maxSurge` is 0");
    }
    not_more_than_all(&path.child("maxUnavailable"), unavailable, out);
}

/// The number in a count or percentage.
pub(crate) fn number(value: &Value) -> i64 {
    match value {
        Value::String(text) => text.strip_suffix('%').and_then(|digits| digits.parse().ok()).unwrap_or(0),
        other => other.as_i64().unwrap_or(0),
    }
}

pub(crate) fn not_more_than_all(path: &Path, value: &Value, out: &mut Errors) {
    if value.is_string() && number(value) > 100 {
        out.invalid(path, value.clone(), "must not be greater than 100%");
    }
}

fn validate_update(new: &Value, old: &Value, subresource: &str, out: &mut Errors) {
    match subresource {
        "" => out.immutable(&Path::new("spec.selector"), &new["spec"]["selector"], &old["spec"]["selector"]),
        "status" => {
            let (status, path) = (&new["status"], Path::new("status"));
            let replicas = status.int("replicas").unwrap_or(0);
            for key in ["observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas"] {
                out.non_negative(&path.child(key), status.int(key));
            }
            for key in ["updatedReplicas", "readyReplicas", "availableReplicas"] {
                not_more_than(status, key, "replicas", replicas, &path, out);
            }
            not_more_than(status, "availableReplicas", "readyReplicas", status.int("readyReplicas").unwrap_or(0), &path, out);
            if let Some(count) = status.int("collisionCount") {
                out.non_negative(&path.child("collisionCount"), Some(count));
                if count < old["status"].int("collisionCount").unwrap_or(0) {
                    out.invalid(path.child("collisionCount"), count, "cannot be decremented");
                }
            }
        }
        _ => {}
    }
}

/// `key` of a status may not exceed another of its counts.
pub(crate) fn not_more_than(status: &Value, key: &str, other: &str, limit: i64, path: &Path, out: &mut Errors) {
    let value = status.int(key).unwrap_or(0);
    if value > limit {
        out.invalid(
            path.child(key),
            value,
            format!("cannot be greater than {}", if other == "replicas" { "status.replicas" } else { other }),
        );
    }
}
