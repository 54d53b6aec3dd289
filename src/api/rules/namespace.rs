//! Namespaces.

use serde_json::{Value, json};

use super::Rules;
use super::check::{Errors, Fill, Path, Read};
use crate::names;

pub(crate) static RULES: Rules = Rules {
    name: names::dns1123_label,
    status: |_| json!({"phase": "Active"}),
    default: label,
    create: |object| {
        // a generated name was not there yet when defaults were filled
        label(object);
        object.within("spec", |spec| {
            let mut finalizers = spec.items("finalizers").to_vec();
            if !finalizers.iter().any(|name| name == "kubernetes") {
                finalizers.push(json!("kubernetes"));
            }
            spec.put("finalizers", finalizers);
        });
    },
    update: |new, old, subresource| {
        if subresource.is_empty() {
            new.within("spec", |spec| spec.take_from("finalizers", &old["spec"]));
        }
        if subresource == "finalize" {
            new.take_from("status", old);
        }
    },
    validate: |object, out| {
        for (index, name) in object["spec"].items("finalizers").iter().filter_map(Value::as_str).enumerate() {
            let path = Path::new("spec").child("finalizers");
            out.all(&path, name, names::qualified_name(name));
            if !name.contains('/') && !matches!(name, "kubernetes" | "orphan" | "foregroundDeletion") {
                out.invalid(path.index(index), name, "name is neither a standard finalizer name nor is it fully qualified");
            }
        }
    },
    validate_update: status,
    fields: &["status.phase"],
    ..Rules::PLAIN
};

fn label(object: &mut Value) {
    let name = object["metadata"].text("name").to_owned();
    if !name.is_empty() {
        object.within("metadata", |meta| meta.within("labels", |labels| labels.put("kubernetes.io/metadata.name", name)));
    }
}

fn status(new: &Value, _old: &Value, subresource: &str, out: &mut Errors) {
    if subresource != "status" {
        return;
    }
    let phase = new["status"].text("phase");
    match (new["metadata"].has("deletionTimestamp"), phase) {
        (false, phase) if phase != "Active" => {
            out.invalid("status.Phase", phase, "may only be 'Active' if `deletionTimestamp` is empty");
        }
        (true, phase) if phase != "Terminating" => {
            out.invalid("status.Phase", phase, "may only be 'Terminating' if `deletionTimestamp` is not empty");
        }
        _ => {}
    }
}
