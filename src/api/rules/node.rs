//! Nodes.

use serde_json::{Value, json};

use super::Rules;
use super::check::{Errors, Fill, Path, Read, Seen};
use super::pod::{resources, taints};
use crate::names;

pub(crate) static RULES: Rules = Rules {
    default: |object| {
        object.with("status", |status| {
            if !status.has("allocatable") && status.has("capacity") {
                let capacity = status["capacity"].clone();
                status.put("allocatable", capacity);
            }
        });
        object.with("spec", |spec| {
            // the old single field and the list say the same
            if !spec.text("podCIDR").is_empty() && spec["podCIDRs"][0] != spec["podCIDR"] {
                let range = spec["podCIDR"].clone();
                spec.put("podCIDRs", json!([range]));
            }
            if spec.text("podCIDR").is_empty() && !spec.items("podCIDRs").is_empty() {
                let range = spec["podCIDRs"][0].clone();
                spec.put("podCIDR", range);
            }
        });
    },
    validate,
    validate_update,
    fields: &["spec.unschedulable"],
    ..Rules::PLAIN
};

fn validate(object: &Value, out: &mut Errors) {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    taints(spec, &path, out);
    let ranges: Vec<&str> = spec.items("podCIDRs").iter().filter_map(Value::as_str).collect();
    for (index, range) in ranges.iter().enumerate() {
        out.all(&path.child("podCIDRs").index(index), *range, names::cidr(range));
    }
    if ranges.len() > 2 {
        out.invalid(path.child("podCIDRs"), spec["podCIDRs"].clone(), "may specify no more than one CIDR for each IP family");
    }
}

fn validate_update(new: &Value, old: &Value, _subresource: &str, out: &mut Errors) {
    let path = Path::new("spec");
    let mut seen = Seen::default();
    for (at, address) in new["status"].each("addresses", &Path::new("status")) {
        if !seen.first(address) {
            out.duplicate(at, address.clone());
        }
    }
    for list in ["capacity", "allocatable"] {
        for (name, value) in new["status"].map(list) {
            resources::validate_amount(name, value, &Path::new("status").child(list).key(name), out);
        }
    }
    let (new, old) = (&new["spec"], &old["spec"]);
    if !old.items("podCIDRs").is_empty() && new["podCIDRs"] != old["podCIDRs"] {
        out.forbidden(path.child("podCIDRs"), "node updates may not change podCIDR except from \"\" to valid");
    }
    if !old.text("providerID").is_empty() && new["providerID"] != old["providerID"] {
        out.forbidden(path.child("providerID"), "node updates may not change providerID except from \"\" to valid");
    }
    let mut munged = new.clone();
    for key in ["podCIDR", "podCIDRs", "providerID", "taints", "unschedulable", "configSource"] {
        munged.take_from(key, old);
    }
    if munged.as_object().is_some_and(|map| !map.is_empty()) && munged != *old {
        let message = "node updates may only change labels, taints, or capacity (or configSource, if the DynamicKubeletConfig feature \
                       gate is enabled)";
        out.forbidden("", message);
    }
}
