//! Warnings about pods and pod templates that are valid but surely not meant.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::rules::check::{Path, Read, Seen, quantity};

/// Labels of nodes that have newer names.
const RENAMED: &[(&str, &str)] = &[
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    ("failure-domain.beta.kubernetes.io/region", "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead"),
    ("failure-domain.beta.kubernetes.io/zone", "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"),
    ("beta.kubernetes.io/instance-type", "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"),
];

/// Warnings for the template at `path` in an object.
pub(crate) fn template(object: &Value, path: &[&str]) -> Vec<String> {
    let template = path.iter().fold(object, |value, part| &value[*part]);
    spec(&template["spec"], &template["metadata"], &format!("{}.spec", path.join(".")))
}

/// Warnings for a pod's spec at `path`.
pub(crate) fn spec(spec: &Value, _metadata: &Value, path: &str) -> Vec<String> {
    let mut out = Vec::new();
    let path = Path::new(path);
    let text = |path: &Path| String::from(path);
    for key in spec.map("nodeSelector").keys() {
        if let Some((_, message)) = RENAMED.iter().find(|(old, _)| old == key) {
            out.push(format!("{}: {message}", text(&path.child("nodeSelector").key(key))));
        }
    }
    pull_secrets(spec, &path, &mut out);
    for (at, volume) in spec.each("volumes", &path) {
        for (kind, message) in [
            ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
            ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
            ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
            ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
        ] {
            if volume.has(kind) {
                out.push(format!("{}: {message}", text(&at.child(kind))));
            }
        }
    }
    for list in ["initContainers", "containers"] {
        for (at, container) in spec.each(list, &path) {
            container_warnings(container, &at, &mut out);
        }
    }
    if spec.int("terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        let at = text(&path.child("terminationGracePeriodSeconds"));
        out.push(format!("{at}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    out
}

fn pull_secrets(spec: &Value, path: &Path, out: &mut Vec<String>) {
    let mut seen = Seen::default();
    for (at, secret) in spec.each("imagePullSecrets", path) {
        let at = String::from(at);
        match secret.text("name") {
            "" => out.push(format!("{at}: invalid empty name {:?}", "")),
            name if !seen.first(name) => out.push(format!("{at}: duplicate name {name:?}")),
            _ => {}
        }
    }
}

fn container_warnings(container: &Value, path: &Path, out: &mut Vec<String>) {
    let resources = path.child("resources");
    for list in ["limits", "requests"] {
        for name in ["ephemeral-storage", "memory"] {
            let value = &container["resources"][list][name];
            if quantity(value).is_some_and(|amount| !amount.is_whole()) {
                let at = String::from(resources.child(list).key(name));
                out.push(format!("{at}: fractional byte value {value} is invalid, must be an integer"));
            }
        }
    }
    let mut earlier: BTreeMap<&str, bool> = BTreeMap::new();
    for (at, variable) in container.each("env", path) {
        let name = variable.text("name");
        let refers = variable.text("value").contains(&format!("$({name})"));
        if earlier.insert(name, true).is_some() && !refers {
            out.push(format!("{}: hides previous definition of {name:?}, which may be dropped when using apply", String::from(at)));
        }
    }
    let mut ports: BTreeMap<String, String> = BTreeMap::new();
    for (at, port) in container.each("ports", path) {
        let key = format!("{}/{}/{}/{}", port["hostPort"], port.text("hostIP"), port["containerPort"], port.text("protocol"));
        let at = String::from(at);
        if let Some(first) = ports.get(&key) {
            out.push(format!("{at}: duplicate port definition with {first}"));
        } else {
            ports.insert(key, at);
        }
    }
}
