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

/// Annotations that do nothing any more.
const ANNOTATIONS: &[(&str, &str)] = &[
    ("scheduler.alpha.kubernetes.io/critical-pod", "non-functional in v1.16+; use the \"priorityClassName\" field instead"),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
];
const SECCOMP: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
const SECCOMP_OF_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const APP_ARMOR: &str = "deprecated since v1.30; use the \"appArmorProfile\" field instead";

/// Volumes that are on their way out or gone.
pub(crate) const VOLUMES: &[(&str, &str)] = &[
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// Warnings for the template at `path` in an object.
pub(crate) fn template(object: &Value, path: &[&str]) -> Vec<String> {
    let template = path.iter().fold(object, |value, part| &value[*part]);
    all(&template["spec"], &template["metadata"], &Path::new(&path.join(".")), true)
}

/// Warnings for a pod.
pub(crate) fn pod(object: &Value) -> Vec<String> {
    all(&object["spec"], &object["metadata"], &Path::new(""), false)
}

fn warn(out: &mut Vec<String>, at: &Path, message: &str) {
    out.push(format!("{}: {message}", String::from(at)));
}

fn renamed(label: &str) -> Option<&'static str> {
    RENAMED.iter().find(|(old, _)| *old == label).map(|(_, message)| *message)
}

fn all(spec: &Value, metadata: &Value, root: &Path, is_template: bool) -> Vec<String> {
    let mut out = Vec::new();
    let path = root.child("spec");
    for key in spec.map("nodeSelector").keys() {
        if let Some(message) = renamed(key) {
            warn(&mut out, &path.child("nodeSelector").key(key), message);
        }
    }
    node_affinity(&spec["affinity"]["nodeAffinity"], &path.child("affinity").child("nodeAffinity"), &mut out);
    for (at, constraint) in spec.each("topologySpreadConstraints", &path) {
        let key = constraint.text("topologyKey");
        if let Some(message) = renamed(key) {
            warn(&mut out, &at.child("topologyKey"), &format!("{key} is {message}"));
        }
        no_selector(constraint, &at, &mut out);
    }
    let annotations = root.child("metadata").child("annotations");
    let annotated = |key: &str| metadata["annotations"].has(key);
    for (key, message) in ANNOTATIONS.iter().filter(|(key, _)| annotated(key)) {
        warn(&mut out, &annotations.key(key), message);
    }
    for (at, volume) in spec.each("volumes", &path) {
        for (kind, message) in VOLUMES.iter().filter(|(kind, _)| volume.has(kind)) {
            warn(&mut out, &at.child(kind), message);
        }
    }
    repeated(spec, "hostAliases", "ip", &path, &mut out);
    repeated(spec, "imagePullSecrets", "name", &path, &mut out);
    for (at, _) in spec.each("imagePullSecrets", &path).filter(|(_, secret)| secret.text("name").is_empty()) {
        warn(&mut out, &at.child("name"), "invalid empty name \"\"");
    }
    fractions(&spec["overhead"], &path.child("overhead"), &mut out);
    let security = &spec["securityContext"];
    if !security.has("seccompProfile") && annotated(SECCOMP_OF_POD) {
        warn(&mut out, &annotations.key(SECCOMP_OF_POD), SECCOMP);
    }
    for list in ["initContainers", "containers"] {
        for (at, container) in spec.each(list, &path) {
            let name = container.text("name");
            let seccomp = format!("container.seccomp.security.alpha.kubernetes.io/{name}");
            if !container["securityContext"].has("seccompProfile") && annotated(&seccomp) {
                warn(&mut out, &annotations.key(&seccomp), SECCOMP);
            }
            let armor = format!("container.apparmor.security.beta.kubernetes.io/{name}");
            let has_field = security.has("appArmorProfile") || container["securityContext"].has("appArmorProfile");
            if !is_template && !has_field && annotated(&armor) {
                warn(&mut out, &annotations.key(&armor), APP_ARMOR);
            }
            container_warnings(container, &at, &mut out);
        }
    }
    if spec.int("terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        let at = path.child("terminationGracePeriodSeconds");
        warn(&mut out, &at, "must be >= 0; negative values are invalid and will be treated as 1");
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        pod_affinity(&spec["affinity"][kind], &path.child("affinity").child(kind), &mut out);
    }
    out
}

/// A selector that is not there selects nothing, which is seldom meant.
fn no_selector(object: &Value, at: &Path, out: &mut Vec<String>) {
    if !object.has("labelSelector") {
        warn(out, &at.child("labelSelector"), "a null labelSelector results in matching no pod");
    }
}

fn node_affinity(affinity: &Value, path: &Path, out: &mut Vec<String>) {
    let (required, preferred) = ("requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution");
    let mut terms: Vec<(Path, &Value)> = affinity[required].each("nodeSelectorTerms", &path.child(required)).collect();
    terms.extend(affinity.each(preferred, path).map(|(at, term)| (at.child("preference"), &term["preference"])));
    for (at, term) in terms {
        for (at, requirement) in term.each("matchExpressions", &at) {
            let key = requirement.text("key");
            if let Some(message) = renamed(key) {
                warn(out, &at.child("key"), &format!("{key} is {message}"));
            }
        }
    }
}

fn pod_affinity(affinity: &Value, path: &Path, out: &mut Vec<String>) {
    for (at, term) in affinity.each("requiredDuringSchedulingIgnoredDuringExecution", path) {
        no_selector(term, &at, out);
    }
    for (at, term) in affinity.each("preferredDuringSchedulingIgnoredDuringExecution", path) {
        no_selector(&term["podAffinityTerm"], &at.child("podAffinityTerm"), out);
    }
}

fn repeated(spec: &Value, list: &str, field: &str, path: &Path, out: &mut Vec<String>) {
    let mut seen = Seen::default();
    for (at, item) in spec.each(list, path) {
        let value = item.text(field);
        if !seen.first(value) {
            warn(out, &at.child(field), &format!("duplicate {field} {value:?}"));
        }
    }
}

fn fractions(amounts: &Value, path: &Path, out: &mut Vec<String>) {
    for name in ["ephemeral-storage", "memory"] {
        fraction(&amounts[name], &path.key(name), out);
    }
}

/// Bytes come whole.
pub(crate) fn fraction(amount: &Value, path: &Path, out: &mut Vec<String>) {
    if quantity(amount).is_some_and(|bytes| !bytes.is_whole()) {
        warn(out, path, &format!("fractional byte value {amount} is invalid, must be an integer"));
    }
}

fn container_warnings(container: &Value, path: &Path, out: &mut Vec<String>) {
    let resources = path.child("resources");
    for list in ["limits", "requests"] {
        fractions(&container["resources"][list], &resources.child(list), out);
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case(json!({"imagePullSecrets": [{"name": ""}, {"name": "a"}, {"name": "a"}]}),
        &["spec.imagePullSecrets[2].name: duplicate name \"a\"", "spec.imagePullSecrets[0].name: invalid empty name \"\""])]
    #[case(json!({"hostAliases": [{"ip": "1.1.1.1"}, {"ip": "1.1.1.1"}]}), &["spec.hostAliases[1].ip: duplicate ip \"1.1.1.1\""])]
    #[case(json!({"topologySpreadConstraints": [{"topologyKey": "failure-domain.beta.kubernetes.io/zone"}]}),
        &["spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
          "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod"])]
    #[case(json!({"affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": {"topologyKey": "a"}}]}}}),
        &["spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.labelSelector: a null labelSelector results in matching no pod"])]
    #[case(json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "beta.kubernetes.io/os", "operator": "Exists"}]}]}}}}),
        &["spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].key: beta.kubernetes.io/os is deprecated since v1.14; use \"kubernetes.io/os\" instead"])]
    #[case(json!({"volumes": [{"name": "a", "rbd": {}}]}), &["spec.volumes[0].rbd: deprecated in v1.28, non-functional in v1.31+"])]
    #[case(json!({"overhead": {"memory": "1500m"}}), &["spec.overhead[memory]: fractional byte value \"1500m\" is invalid, must be an integer"])]
    fn what_is_said_of_a_pod(#[case] spec: Value, #[case] expected: &[&str]) {
        assert_eq!(pod(&json!({"metadata": {}, "spec": spec})), expected);
    }

    #[test]
    fn annotations_that_became_fields() {
        let annotations = json!({"seccomp.security.alpha.kubernetes.io/pod": "x", "container.apparmor.security.beta.kubernetes.io/c": "x"});
        let mut object = json!({"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "c"}]}});
        let of_pod = "metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the \"seccompProfile\" field instead";
        let of_container = "metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: deprecated since v1.30; use the \"appArmorProfile\" field instead";
        assert_eq!(pod(&object), [of_pod, of_container]);
        let of_template = template(&json!({"spec": {"template": object}}), &["spec", "template"]);
        assert_eq!(of_template, [format!("spec.template.{of_pod}")]);
        object["spec"]["securityContext"] = json!({"seccompProfile": {}, "appArmorProfile": {}});
        assert!(pod(&object).is_empty());
    }
}
