//! Priority: a pod's priority and preemption policy come from its class.

use std::sync::Arc;

use coracle_api::status::Status;
use serde_json::{Value, json};

use super::{Request, text};
use crate::objects::Lookup;

const GROUP: &str = "scheduling.k8s.io";

/// The class for pods that name none: of those marked as default the one with the lowest value.
fn default_class(lookup: &dyn Lookup) -> Option<Arc<Value>> {
    let mut classes = lookup.list(GROUP, "priorityclasses", "");
    classes.retain(|class| class["globalDefault"] == json!(true));
    classes.into_iter().min_by_key(|class| class["value"].as_i64().unwrap_or(0))
}

pub(super) fn fill(lookup: &dyn Lookup, request: &Request<'_>, pod: &mut Value) -> Result<(), Status> {
    let name = text(pod, "/spec/priorityClassName").to_owned();
    let class = if name.is_empty() {
        default_class(lookup)
    } else {
        let class = lookup.get(GROUP, "priorityclasses", "", &name);
        Some(class.ok_or_else(|| request.forbidden(&format!("no PriorityClass with name {name} was found")))?)
    };
    let (value, policy) = match &class {
        Some(class) => {
            pod["spec"]["priorityClassName"] = class["metadata"]["name"].clone();
            (class["value"].as_i64().unwrap_or(0), text(class, "/preemptionPolicy"))
        }
        None => (0, ""),
    };
    let policy = if policy.is_empty() { "PreemptLowerPriority" } else { policy };
    let spec = &mut pod["spec"];
    match spec.get("priority").and_then(Value::as_i64) {
        Some(given) if given != value => {
            return Err(request.forbidden(&format!(
                "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
            )));
        }
        _ => spec["priority"] = json!(value),
    }
    match spec.get("preemptionPolicy").and_then(Value::as_str) {
        Some(given) if given != policy => Err(request.forbidden(&format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        ))),
        _ => {
            spec["preemptionPolicy"] = json!(policy);
            Ok(())
        }
    }
}

/// There is at most one default class.
pub(super) fn check_class(lookup: &dyn Lookup, request: &Request<'_>, class: &Value) -> Result<(), Status> {
    if class["globalDefault"] != json!(true) {
        return Ok(());
    }
    match default_class(lookup) {
        Some(other) if text(&other, "/metadata/name") != request.name => Err(request.forbidden(&format!(
            "PriorityClass {} is already marked as default. Only one default can exist",
            text(&other, "/metadata/name")
        ))),
        _ => Ok(()),
    }
}
