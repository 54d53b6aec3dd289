//! RuntimeClass: a pod's class is there, and gives it its overhead, its nodes and its tolerations.

use coracle_api::amounts;
use coracle_api::status::Status;
use serde_json::Value;

use super::{Request, list, text};
use crate::objects::Lookup;

pub(super) fn fill(lookup: &dyn Lookup, request: &Request<'_>, pod: &mut Value) -> Result<(), Status> {
    let name = text(pod, "/spec/runtimeClassName").to_owned();
    let refuse = |why: &str| Err(request.forbidden(&format!("pod rejected: {why}")));
    let given = amounts::of(&pod["spec"]["overhead"]);
    if name.is_empty() {
        return if given.is_empty() { Ok(()) } else { refuse("Pod Overhead set without corresponding RuntimeClass defined Overhead") };
    }
    let Some(class) = lookup.get("node.k8s.io", "runtimeclasses", "", &name) else {
        return refuse(&format!("RuntimeClass {name:?} not found"));
    };
    let fixed = &class["overhead"]["podFixed"];
    match fixed.as_object().is_some_and(|map| !map.is_empty()) {
        true if given.is_empty() => pod["spec"]["overhead"] = fixed.clone(),
        true if given != amounts::of(fixed) => return refuse("Pod's Overhead doesn't match RuntimeClass's defined Overhead"),
        false if !given.is_empty() => return refuse("Pod Overhead set without corresponding RuntimeClass defined Overhead"),
        _ => {}
    }
    for (key, value) in class["scheduling"]["nodeSelector"].as_object().into_iter().flatten() {
        let own = &pod["spec"]["nodeSelector"][key.as_str()];
        if !own.is_null() && own != value {
            let (wanted, own) = (value.as_str().unwrap_or_default(), own.as_str().unwrap_or_default());
            return refuse(&format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {wanted}; pod.spec.nodeSelector[{key}] = {own}"
            ));
        }
        if !pod["spec"]["nodeSelector"].is_object() {
            pod["spec"]["nodeSelector"] = serde_json::json!({});
        }
        pod["spec"]["nodeSelector"][key.as_str()] = value.clone();
    }
    let more = class["scheduling"]["tolerations"].as_array().cloned().unwrap_or_default();
    if !more.is_empty()
        && let Some(own) = list(&mut pod["spec"], "tolerations")
    {
        let new: Vec<Value> = more.into_iter().filter(|toleration| !own.contains(toleration)).collect();
        own.extend(new);
    }
    Ok(())
}
