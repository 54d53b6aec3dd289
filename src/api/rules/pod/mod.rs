//! Pods and pod templates.

mod container;
pub(crate) mod defaults;
mod probe;
pub(crate) mod qos;
pub(crate) mod resources;
mod scheduling;
mod security;
pub(crate) mod spec;
mod systems;
mod update;
pub(crate) mod volume;
pub(crate) mod warnings;

pub(crate) use scheduling::{node_selector, taints, tolerations};
pub(crate) use warnings::template as template_warnings;

use serde_json::{Value, json};

use super::Rules;
use super::check::{Errors, Fill, Path, Read};

pub(crate) static RULES: Rules = Rules {
    generation: true,
    status: |pod| json!({"phase": "Pending", "qosClass": qos::class(pod)}),
    default: defaults::pod,
    create,
    update,
    validate,
    validate_update: update::validate,
    warns_on_update: false,
    name_is_used_in: "the Pod's hostname",
    warnings: warnings::pod,
    fields: &[
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ],
    ..Rules::PLAIN
};

fn create(pod: &mut Value) {
    let labels = pod["metadata"]["labels"].clone();
    pod.with("spec", |spec| scheduling::select_by_label_keys(spec, &labels));
    if !pod["spec"].items("schedulingGates").is_empty() {
        pod["status"].put(
            "conditions",
            json!([{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates"}]),
        );
    }
}

fn update(new: &mut Value, old: &Value, subresource: &str) {
    match subresource {
        "status" => {
            new.within("metadata", |meta| {
                meta.take_from("ownerReferences", &old["metadata"]);
                meta.take_from("deletionTimestamp", &old["metadata"]);
            });
            if new["status"].text("qosClass").is_empty() {
                new.within("status", |status| status.take_from("qosClass", &old["status"]));
            }
        }
        "ephemeralcontainers" => {
            let wanted = new["spec"].clone();
            *new = with_metadata_of(old, new);
            new.within("spec", |spec| spec.take_from("ephemeralContainers", &wanted));
        }
        "resize" => {
            let wanted = new["spec"].clone();
            *new = with_metadata_of(old, new);
            new.with("spec", |spec| {
                for list in ["containers", "initContainers"] {
                    spec.for_each(list, |container| {
                        let same = wanted.items(list).iter().find(|c| c.text("name") == container.text("name"));
                        if let Some(same) = same {
                            container.take_from("resources", same);
                            container.take_from("resizePolicy", same);
                        }
                    });
                }
                if wanted.has("resources") {
                    spec.take_from("resources", &wanted);
                }
            });
        }
        _ => {}
    }
}

/// The old pod with the precondition and the bookkeeping of the new one.
fn with_metadata_of(old: &Value, new: &Value) -> Value {
    let mut out = old.clone();
    out.within("metadata", |meta| {
        for key in ["resourceVersion", "managedFields"] {
            meta.take_from(key, &new["metadata"]);
        }
    });
    out
}

fn validate(pod: &Value, out: &mut Errors) {
    let (body, path) = (&pod["spec"], Path::new("spec"));
    spec::validate(body, true, &path, out);
    for list in ["containers", "initContainers"] {
        for (at, container) in body.each(list, &path) {
            if container.text("image") != container.text("image").trim() {
                out.invalid(at.child("image"), container.text("image"), "must not have leading or trailing whitespace");
            }
        }
    }
    if body.text("serviceAccountName").is_empty() {
        for (at, volume) in body.each("volumes", &path) {
            for (at, source) in volume["projected"].each("sources", &at.child("projected")) {
                if source.has("serviceAccountToken") {
                    out.forbidden(at.child("serviceAccountToken"), "must not be specified when serviceAccountName is not set");
                }
            }
        }
    }
    if pod["metadata"].int("generation") == Some(1) && !pod["metadata"].has("resourceVersion") {
        validate_new(body, &path, out);
    }
}

/// What only a pod that exists may have.
fn validate_new(spec: &Value, path: &Path, out: &mut Errors) {
    if !spec.items("ephemeralContainers").is_empty() {
        out.forbidden(path.child("ephemeralContainers"), "cannot be set on create");
    }
    if !spec.text("nodeName").is_empty() && !spec.items("schedulingGates").is_empty() {
        out.forbidden(path.child("nodeName"), "cannot be set until all schedulingGates have been cleared");
    }
}
