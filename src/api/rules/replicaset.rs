//! ReplicaSets and ReplicationControllers.

use serde_json::{Value, json};

use super::check::{Errors, Fill, Path, Read};
use super::deployment::not_more_than;
use super::template::{self, Restart};
use super::{Rules, pod, selector};

pub(crate) static RULES: Rules = Rules {
    generation: true,
    status: |_| json!({"replicas": 0}),
    default: |object| {
        object.within("spec", |spec| {
            spec.fill("replicas", 1);
            spec.within("template", pod::defaults::template);
        });
    },
    validate,
    validate_update,
    name_is_used_in: "Pod names and hostnames",
    warnings: |object| pod::template_warnings(object, &["spec", "template"]),
    fields: &["status.replicas"],
    ..Rules::PLAIN
};

pub(crate) static REPLICATION_CONTROLLER: Rules =
    Rules { default: default_controller, validate: validate_controller, validate_update: validate_status, ..RULES };

/// Labels of the template stand in for the controller's own labels and its selector.
fn default_controller(object: &mut Value) {
    let labels = object["spec"]["template"]["metadata"]["labels"].clone();
    if labels.as_object().is_some_and(|map| !map.is_empty()) {
        if object["metadata"].map("labels").is_empty() {
            object.within("metadata", |meta| meta.put("labels", labels.clone()));
        }
        if object["spec"].map("selector").is_empty() {
            object.within("spec", |spec| spec.put("selector", labels));
        }
    }
    object.within("spec", |spec| {
        spec.fill("replicas", 1);
        spec.with("template", pod::defaults::template);
    });
}

fn validate(object: &Value, out: &mut Errors) {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    out.non_negative(&path.child("replicas"), spec.int("replicas"));
    out.non_negative(&path.child("minReadySeconds"), spec.int("minReadySeconds"));
    template::validate_selector(spec, &path, "empty selector is invalid for deployment", out);
    template::validate_selected(spec, &path, &Restart::Always, out);
}

fn validate_controller(object: &Value, out: &mut Errors) {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    out.non_negative(&path.child("minReadySeconds"), spec.int("minReadySeconds"));
    if spec.map("selector").is_empty() {
        out.required(path.child("selector"), "");
    }
    out.non_negative(&path.child("replicas"), spec.int("replicas"));
    if spec["template"].is_null() {
        out.required(path.child("template"), "");
        return;
    }
    let labels = &spec["template"]["metadata"]["labels"];
    let at = path.child("template");
    if !spec.map("selector").is_empty() && !selector::matches(&json!({"matchLabels": spec["selector"]}), labels) {
        out.invalid(at.child("metadata").child("labels"), labels.clone(), "`selector` does not match template `labels`");
    }
    template::validate(&spec["template"], &at, out);
    out.one_of(at.child("spec").child("restartPolicy"), spec["template"]["spec"].text("restartPolicy"), &["Always"]);
    if spec["template"]["spec"].has("activeDeadlineSeconds") {
        out.forbidden(at.child("spec").child("activeDeadlineSeconds"), "activeDeadlineSeconds in ReplicationController is not Supported");
    }
}

fn validate_update(new: &Value, old: &Value, subresource: &str, out: &mut Errors) {
    if subresource.is_empty() {
        out.immutable(&Path::new("spec.selector"), &new["spec"]["selector"], &old["spec"]["selector"]);
    }
    validate_status(new, old, subresource, out);
}

fn validate_status(new: &Value, _old: &Value, subresource: &str, out: &mut Errors) {
    if subresource != "status" {
        return;
    }
    let (status, path) = (&new["status"], Path::new("status"));
    for key in ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"] {
        out.non_negative(&path.child(key), status.int(key));
    }
    let replicas = status.int("replicas").unwrap_or(0);
    for key in ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"] {
        not_more_than(status, key, "replicas", replicas, &path, out);
    }
    not_more_than(status, "availableReplicas", "readyReplicas", status.int("readyReplicas").unwrap_or(0), &path, out);
}
