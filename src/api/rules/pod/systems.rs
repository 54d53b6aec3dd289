//! What pods may not ask of their operating system, or of a user namespace of their own.

use serde_json::Value;

use crate::names;
use crate::rules::check::{Errors, Path, Read};

/// Fields of security contexts that Windows does not know.
const POD_CONTEXT: &[&str] = &[
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "runAsUser",
    "runAsGroup",
    "supplementalGroups",
    "supplementalGroupsPolicy",
];
const CONTAINER_CONTEXT: &[&str] = &[
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

pub(super) fn validate(spec: &Value, path: &Path, out: &mut Errors) {
    let at = path.child("os");
    if spec.has("os") {
        out.required_one_of(&at.child("name"), spec["os"].text("name"), &["linux", "windows"]);
    }
    match spec["os"].text("name") {
        "windows" => windows(spec, path, out),
        "linux" => linux(spec, path, out),
        _ => {}
    }
    user_namespace(spec, path, out);
    if let Some(name) = spec["hostnameOverride"].as_str() {
        out.all(&path.child("hostnameOverride"), name, names::dns1123_subdomain(name));
        if name.len() > 64 {
            out.too_long(path.child("hostnameOverride"), 64);
        }
    }
}

fn containers<'a>(spec: &'a Value, path: &Path) -> Vec<(Path, &'a Value)> {
    ["initContainers", "containers", "ephemeralContainers"].iter().flat_map(|list| spec.each(list, path).collect::<Vec<_>>()).collect()
}

fn windows(spec: &Value, path: &Path, out: &mut Errors) {
    const WORDS: &str = "cannot be set for a windows pod";
    let at = path.child("securityContext");
    for key in POD_CONTEXT.iter().filter(|key| spec["securityContext"].has(key)) {
        out.forbidden(at.child(key), WORDS);
    }
    for key in ["hostUsers", "shareProcessNamespace"].iter().filter(|key| spec.has(key)) {
        out.forbidden(path.child(key), WORDS);
    }
    for key in ["hostPID", "hostIPC"].iter().filter(|key| spec.yes(key)) {
        out.forbidden(path.child(key), WORDS);
    }
    for (at, container) in containers(spec, path) {
        for key in CONTAINER_CONTEXT.iter().filter(|key| container["securityContext"].has(key)) {
            out.forbidden(at.child("securityContext").child(key), WORDS);
        }
    }
}

fn linux(spec: &Value, path: &Path, out: &mut Errors) {
    let mut contexts = vec![(path.clone(), spec)];
    contexts.extend(containers(spec, path));
    for (at, _) in contexts.into_iter().filter(|(_, owner)| owner["securityContext"].has("windowsOptions")) {
        out.forbidden(at.child("securityContext").child("windowsOptions"), "windows options cannot be set for a linux pod");
    }
}

/// Users of its own do not go with the host's other namespaces, nor with devices.
fn user_namespace(spec: &Value, path: &Path, out: &mut Errors) {
    const WORDS: &str = "when `hostUsers` is false";
    if spec["hostUsers"] != false {
        return;
    }
    for (key, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if spec.yes(key) {
            out.forbidden(path.child(shown), WORDS);
        }
    }
    for (at, container) in containers(spec, path) {
        if !container.items("volumeDevices").is_empty() {
            out.forbidden(at.child("volumeDevices"), WORDS);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case(json!({"os": {"name": "x"}}), "spec.os.name: Unsupported value: \"x\": supported values: \"linux\", \"windows\"")]
    #[case(json!({"os": {"name": "windows"}, "securityContext": {"runAsUser": 1}, "hostPID": true, "containers": [{"securityContext": {"privileged": true}}]}),
        "spec.securityContext.runAsUser: Forbidden: cannot be set for a windows pod; spec.hostPID: Forbidden: cannot be set for a windows pod; \
         spec.containers[0].securityContext.privileged: Forbidden: cannot be set for a windows pod")]
    #[case(json!({"os": {"name": "linux"}, "securityContext": {"windowsOptions": {}}}),
        "spec.securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod")]
    #[case(json!({"hostUsers": false, "hostNetwork": true, "hostPID": true}),
        "spec.hostNetwork: Forbidden: when `hostUsers` is false; spec.HostPID: Forbidden: when `hostUsers` is false")]
    #[case(json!({"hostUsers": true, "hostNetwork": true, "hostnameOverride": "web"}), "")]
    fn what_does_not_go_together(#[case] spec: Value, #[case] expected: &str) {
        let mut out = Errors::default();
        validate(&spec, &Path::new("spec"), &mut out);
        assert_eq!(out.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "), expected);
    }
}
