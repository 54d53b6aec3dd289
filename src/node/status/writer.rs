//! Sends a pod's status: a strategic merge patch of what changed, bound to the pod's UID.

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Map, Value, json};

use super::conditions::OWNED;
use crate::pod::{name, namespace, uid};

/// The patch that turns `old` into `new`; `None` when nothing changed.
pub(crate) fn difference(old: &PodStatus, new: &PodStatus) -> Option<Value> {
    let (Ok(Value::Object(old)), Ok(Value::Object(new))) = (serde_json::to_value(old), serde_json::to_value(new)) else { return None };
    let mut out = Map::new();
    for (key, value) in &new {
        if old.get(key) == Some(value) {
            continue;
        }
        match key.as_str() {
            "conditions" => conditions(old.get(key), value, &mut out),
            // Lists merged by address: replace the whole of it when one went away.
            "podIPs" | "hostIPs" if old.get(key).is_some_and(|before| before.as_array().is_some_and(|before| !before.is_empty())) => {
                let mut list = vec![json!({"$patch": "replace"})];
                list.extend(value.as_array().into_iter().flatten().cloned());
                out.insert(key.clone(), Value::Array(list));
            }
            "resources" | "allocatedResources" => {
                out.insert(key.clone(), with_removals(old.get(key), value));
            }
            _ => {
                out.insert(key.clone(), value.clone());
            }
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        out.insert(key.clone(), Value::Null);
    }
    (!out.is_empty()).then_some(Value::Object(out))
}

/// Conditions merge by type: only the node's, with what disappeared from them, and their order.
fn conditions(old: Option<&Value>, new: &Value, out: &mut Map<String, Value>) {
    let empty = Vec::new();
    let old = old.and_then(Value::as_array).unwrap_or(&empty);
    let new = new.as_array().unwrap_or(&empty);
    let kind = |condition: &Value| condition["type"].as_str().unwrap_or_default().to_owned();
    let changed: Vec<Value> = new
        .iter()
        .filter(|condition| OWNED.contains(&kind(condition).as_str()))
        .filter_map(|condition| {
            let before = old.iter().find(|before| kind(before) == kind(condition));
            (before != Some(condition)).then(|| with_removals(before, condition))
        })
        .collect();
    let gone = |condition: &&Value| {
        let kind = kind(condition);
        OWNED.contains(&kind.as_str()) && !new.iter().any(|other| other["type"] == kind.as_str())
    };
    let removed = old.iter().filter(gone).map(|condition| json!({"type": kind(condition), "$patch": "delete"}));
    let changed: Vec<Value> = changed.into_iter().chain(removed).collect();
    if changed.is_empty() {
        return;
    }
    let order: Vec<Value> = new.iter().map(|condition| json!({"type": kind(condition)})).collect();
    out.insert("$setElementOrder/conditions".to_owned(), Value::Array(order));
    out.insert("conditions".to_owned(), Value::Array(changed));
}

/// `new`, with null for each key that only `old` has.
fn with_removals(old: Option<&Value>, new: &Value) -> Value {
    let mut out = new.clone();
    if let (Some(Value::Object(old)), Value::Object(out)) = (old, &mut out) {
        for (key, before) in old {
            match out.get_mut(key) {
                None => {
                    out.insert(key.clone(), Value::Null);
                }
                Some(value) if value.is_object() => *value = with_removals(Some(before), value),
                Some(_) => {}
            }
        }
    }
    out
}

/// The text of what is to be sent, which is little to keep while many wait; `None` when nothing changed.
pub(crate) fn patch(pod: &Pod, old: &PodStatus, new: &PodStatus) -> Option<Box<str>> {
    let status = difference(old, new)?;
    Some(json!({"metadata": {"uid": uid(pod)}, "status": status}).to_string().into_boxed_str())
}

/// Sends a change; answers with the pod as the server has it now.
pub(crate) async fn send(client: &kube::Client, pod: &Pod, patch: &str) -> Result<Pod, kube::Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace(pod));
    let patch: Value = serde_json::from_str(patch).map_err(kube::Error::SerdeError)?;
    api.patch_status(name(pod), &PatchParams::default(), &Patch::Strategic(patch)).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn status(value: Value) -> PodStatus {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn nothing_changed_nothing_sent() {
        let one = status(json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}));
        assert_eq!(difference(&one, &one.clone()), None);
    }

    #[test]
    fn only_what_changed_is_sent_and_what_went_is_nulled() {
        let old = status(json!({
            "phase": "Pending", "hostIP": "10.0.0.1",
            "conditions": [
                {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "m"},
                {"type": "PodScheduled", "status": "True"},
                {"type": "example.com/gate", "status": "True"},
            ],
        }));
        let new = status(json!({
            "phase": "Running", "hostIP": "10.0.0.1", "podIP": "10.244.0.2", "podIPs": [{"ip": "10.244.0.2"}],
            "conditions": [
                {"type": "Ready", "status": "True"},
                {"type": "PodScheduled", "status": "True"},
                {"type": "example.com/gate", "status": "True"},
            ],
        }));
        let expected = json!({
            "phase": "Running", "podIP": "10.244.0.2", "podIPs": [{"ip": "10.244.0.2"}],
            "$setElementOrder/conditions": [{"type": "Ready"}, {"type": "PodScheduled"}, {"type": "example.com/gate"}],
            "conditions": [{"type": "Ready", "status": "True", "reason": null, "message": null}],
        });
        assert_eq!(difference(&old, &new), Some(expected));
    }

    #[test]
    fn a_new_address_replaces_the_old_one() {
        let old = status(json!({"podIPs": [{"ip": "10.244.0.2"}], "reason": "x"}));
        let new = status(json!({"podIPs": [{"ip": "10.244.0.3"}]}));
        let expected = json!({"podIPs": [{"$patch": "replace"}, {"ip": "10.244.0.3"}], "reason": null});
        assert_eq!(difference(&old, &new), Some(expected));
    }
}
