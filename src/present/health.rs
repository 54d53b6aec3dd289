//! Whether an object is as it should be.

use serde_json::Value;

use crate::kinds::pod;
use crate::text::{int_at, list_at, str_at};

/// How an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// As it should be, or nothing says otherwise.
    Healthy,
    /// Has done what it was for.
    Completed,
    /// On its way.
    Progressing,
    /// Something is wrong.
    Faulty,
}

/// The health of an object, of any kind.
pub fn health(object: &Value) -> Health {
    match (str_at(object, "/apiVersion"), str_at(object, "/kind")) {
        ("v1", "Pod") => pod_health(object),
        ("v1", "Node") => condition(object, "Ready", Health::Faulty),
        ("v1", "PersistentVolumeClaim") => phase(object, &["Bound"], &["Lost"]),
        ("v1", "PersistentVolume") => phase(object, &["Bound", "Available"], &["Failed"]),
        ("v1", "Namespace") => phase(object, &["Active"], &[]),
        ("v1", "Event") => match str_at(object, "/type") {
            "Warning" => Health::Faulty,
            _ => Health::Healthy,
        },
        ("apps/v1", "Deployment") => deployment(object),
        ("apps/v1", "DaemonSet") => counts(int_at(object, "/status/numberReady"), int_at(object, "/status/desiredNumberScheduled")),
        ("apps/v1", "ReplicaSet" | "StatefulSet") | ("v1", "ReplicationController") => {
            let wanted = object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
            counts(int_at(object, "/status/readyReplicas"), wanted)
        }
        ("batch/v1", "Job") => job(object),
        _ => Health::Healthy,
    }
}

fn pod_health(pod: &Value) -> Health {
    let reason = pod::reason(pod);
    match str_at(pod, "/status/phase") {
        "Succeeded" => Health::Completed,
        "Failed" => Health::Faulty,
        _ if !str_at(pod, "/metadata/deletionTimestamp").is_empty() => Health::Progressing,
        "Running" if is_true(pod, "Ready") => Health::Healthy,
        _ if pod::is_fault(&reason) => Health::Faulty,
        _ => Health::Progressing,
    }
}

fn is_true(object: &Value, condition: &str) -> bool {
    list_at(object, "/status/conditions").iter().any(|c| str_at(c, "/type") == condition && str_at(c, "/status") == "True")
}

fn condition(object: &Value, wanted: &str, otherwise: Health) -> Health {
    if is_true(object, wanted) { Health::Healthy } else { otherwise }
}

fn phase(object: &Value, good: &[&str], bad: &[&str]) -> Health {
    match str_at(object, "/status/phase") {
        phase if good.contains(&phase) => Health::Healthy,
        phase if bad.contains(&phase) => Health::Faulty,
        _ => Health::Progressing,
    }
}

fn counts(ready: i64, wanted: i64) -> Health {
    if ready >= wanted { Health::Healthy } else { Health::Progressing }
}

fn deployment(deployment: &Value) -> Health {
    let has_condition = |type_: &str, status: &str, reason: &str| {
        list_at(deployment, "/status/conditions").iter().any(|condition| {
            str_at(condition, "/type") == type_
                && str_at(condition, "/status") == status
                && (reason.is_empty() || str_at(condition, "/reason") == reason)
        })
    };
    if has_condition("Progressing", "False", "ProgressDeadlineExceeded") || has_condition("ReplicaFailure", "True", "") {
        return Health::Faulty;
    }
    let wanted = deployment.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    let seen = int_at(deployment, "/status/observedGeneration") >= int_at(deployment, "/metadata/generation");
    let updated = int_at(deployment, "/status/updatedReplicas") >= wanted;
    let no_more = int_at(deployment, "/status/replicas") <= wanted;
    if seen && updated && no_more { counts(int_at(deployment, "/status/availableReplicas"), wanted) } else { Health::Progressing }
}

fn job(job: &Value) -> Health {
    match () {
        () if is_true(job, "Complete") => Health::Completed,
        () if is_true(job, "Failed") => Health::Faulty,
        () => Health::Progressing,
    }
}
