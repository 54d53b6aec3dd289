//! What an update may change of a pod.

use serde_json::Value;

use crate::names;
use crate::rules::check::{Errors, Fill, Path, Read};

const ONLY: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,\
    `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
    `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n";

/// Checks an update of a pod or of a part of it.
pub(crate) fn validate(new: &Value, old: &Value, subresource: &str, out: &mut Errors) {
    match subresource {
        "" => spec(new, old, out),
        "status" => status(new, old, out),
        "ephemeralcontainers" => ephemeral(new, old, out),
        "resize" => resize(new, old, out),
        _ => {}
    }
}

fn spec(new: &Value, old: &Value, out: &mut Errors) {
    let path = Path::new("spec");
    let (new, old) = (&new["spec"], &old["spec"]);
    for list in ["containers", "initContainers"] {
        if new.items(list).len() != old.items(list).len() {
            let what = if list == "containers" { "containers" } else { "init containers" };
            out.forbidden(path.child(list), format!("pod updates may not add or remove {what}"));
            return;
        }
    }
    if !active_deadline(new, old, &path.child("activeDeadlineSeconds"), out) {
        return;
    }
    added_tolerations(new, old, &path.child("tolerations"), out);
    removed_gates(new, old, &path.child("schedulingGates"), out);
    let munged = munged(new, old);
    if munged != *old {
        out.forbidden(&path, format!("{ONLY}{}", difference(old, &munged, "")));
    }
}

fn active_deadline(new: &Value, old: &Value, path: &Path, out: &mut Errors) -> bool {
    let before = out.0.len();
    match (new.int("activeDeadlineSeconds"), old.int("activeDeadlineSeconds")) {
        (Some(new), old) => {
            out.all(path, new, names::in_range(new, 0, i64::from(i32::MAX)));
            if out.0.len() == before && old.is_some_and(|old| old < new) {
                out.invalid(path, new, "must be less than or equal to previous value");
            }
        }
        (None, Some(_)) => out.invalid(path, Value::Null, "must not update from a positive integer to nil value"),
        (None, None) => {}
    }
    out.0.len() == before
}

fn without_seconds(toleration: &Value) -> Value {
    let mut out = toleration.clone();
    out.cut("tolerationSeconds");
    out
}

fn added_tolerations(new: &Value, old: &Value, path: &Path, out: &mut Errors) {
    let kept = |old: &Value| new.items("tolerations").iter().any(|new| without_seconds(new) == without_seconds(old));
    if !old.items("tolerations").iter().all(kept) {
        out.forbidden(path, "existing toleration can not be modified except its tolerationSeconds");
    }
}

fn removed_gates(new: &Value, old: &Value, path: &Path, out: &mut Errors) {
    for (index, gate) in new.items("schedulingGates").iter().enumerate() {
        if !old.items("schedulingGates").contains(gate) {
            let message = format!("only deletion is allowed, but found new scheduling gate '{}'", gate.text("name"));
            out.forbidden(path.index(index), message);
        }
    }
}

/// The new spec with everything that may change put back to what it was.
fn munged(new: &Value, old: &Value) -> Value {
    let mut out = new.clone();
    for list in ["containers", "initContainers"] {
        let images = old.items(list);
        let mut index = 0;
        out.for_each(list, |container| {
            if let Some(before) = images.get(index) {
                container.take_from("image", before);
            }
            index += 1;
        });
    }
    for key in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        out.take_from(key, old);
    }
    if new.int("terminationGracePeriodSeconds") == Some(1) && old.int("terminationGracePeriodSeconds").is_some_and(|s| s < 0) {
        out.take_from("terminationGracePeriodSeconds", old);
    }
    if !old.items("schedulingGates").is_empty() {
        // a gated pod may be narrowed to fewer nodes
        let kept = old.map("nodeSelector").iter().all(|(key, value)| new["nodeSelector"][key] == *value);
        if kept {
            out.take_from("nodeSelector", old);
        }
        if !old["affinity"].has("nodeAffinity") {
            let same = |key: &str| new["affinity"][key] == old["affinity"][key];
            if same("podAffinity") && same("podAntiAffinity") {
                out.take_from("affinity", old);
            }
        }
    }
    out
}

/// The fields in which two specs differ, one a line.
fn difference(old: &Value, new: &Value, path: &str) -> String {
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
            keys.into_iter()
                .map(|key| {
                    let at = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    difference(a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null), &at)
                })
                .collect()
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().map(|(i, (a, b))| difference(a, b, &format!("{path}[{i}]"))).collect()
        }
        _ if old == new => String::new(),
        _ => format!("  {path}: {old} -> {new}\n"),
    }
}

fn status(new: &Value, old: &Value, out: &mut Errors) {
    let path = Path::new("status");
    let before = old["status"].text("qosClass");
    if !before.is_empty() && new["status"].text("qosClass") != before {
        out.invalid(path.child("qosClass"), new["status"].text("qosClass"), crate::rules::check::IMMUTABLE);
    }
    let policy = old["spec"].text("restartPolicy");
    for list in ["containerStatuses", "initContainerStatuses"] {
        if policy == "Always" {
            continue;
        }
        for (at, now) in new["status"].each(list, &path) {
            let name = now.text("name");
            let own = old["spec"].items("containers").iter().chain(old["spec"].items("initContainers")).find(|c| c.text("name") == name);
            if own.is_some_and(|c| c.has("restartPolicy")) {
                continue;
            }
            let Some(was) = old["status"].items(list).iter().find(|c| c.text("name") == name) else { continue };
            let ended = &was["state"]["terminated"];
            if ended.is_null() || (policy == "OnFailure" && ended.int("exitCode") != Some(0)) {
                continue;
            }
            if now["state"]["terminated"].is_null() {
                out.forbidden(at.child("state"), "may not be transitioned to non-terminated state");
            }
        }
    }
    for (at, address) in new["status"].each("podIPs", &path) {
        out.all(&at, address.text("ip"), names::ip(address.text("ip")));
    }
}

fn ephemeral(new: &Value, old: &Value, out: &mut Errors) {
    let path = Path::new("spec.ephemeralContainers");
    super::spec::validate(&new["spec"], true, &Path::new("spec"), out);
    for was in old["spec"].items("ephemeralContainers") {
        let name = was.text("name");
        match new["spec"].items("ephemeralContainers").iter().find(|c| c.text("name") == name) {
            None => out.forbidden(&path, format!("existing ephemeral containers {name:?} may not be removed\n")),
            Some(now) if now != was => out.forbidden(&path, format!("existing ephemeral containers {name:?} may not be changed\n")),
            Some(_) => {}
        }
    }
}

fn resize(new: &Value, old: &Value, out: &mut Errors) {
    super::spec::validate(&new["spec"], true, &Path::new("spec"), out);
    let (before, after) = (super::qos::class(old), super::qos::class(new));
    if before != after {
        out.invalid("spec", after, "Pod QOS Class may not change as a result of resizing");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case(json!({"containers": [{"name": "c", "image": "new"}]}), "")]
    #[case(json!({"containers": [{"name": "d", "image": "old"}]}), "spec: Forbidden: pod updates may not change fields other than")]
    #[case(json!({"containers": []}), "spec.containers: Forbidden: pod updates may not add or remove containers")]
    #[case(json!({"containers": [{"name": "c", "image": "old"}], "nodeName": "n"}), "spec: Forbidden: pod updates")]
    #[case(json!({"containers": [{"name": "c", "image": "old"}], "activeDeadlineSeconds": 5}), "")]
    #[case(json!({"containers": [{"name": "c", "image": "old"}], "tolerations": [{"operator": "Exists"}]}), "")]
    fn only_some_fields_may_change(#[case] after: Value, #[case] expected: &str) {
        let old = json!({"spec": {"containers": [{"name": "c", "image": "old"}]}});
        let mut out = Errors::default();
        spec(&json!({"spec": after}), &old, &mut out);
        let text = out.0.first().map(ToString::to_string).unwrap_or_default();
        assert!(text.starts_with(expected) && text.is_empty() == expected.is_empty(), "{text}");
    }
}
