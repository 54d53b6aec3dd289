//! Pods and pod templates.

pub(crate) mod defaults;
mod qos;

use serde_json::{Value, json};

use super::Rules;
use super::check::{Fill, Read};

pub(crate) static RULES: Rules = Rules {
    generation: true,
    status: |pod| json!({"phase": "Pending", "qosClass": qos::class(pod)}),
    default: defaults::pod,
    create,
    update,
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
            let added = new["spec"]["ephemeralContainers"].clone();
            *new = with_metadata_of(old, new);
            if !added.is_null() {
                new.within("spec", |spec| spec.put("ephemeralContainers", added));
            }
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
