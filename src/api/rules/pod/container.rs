//! Validation of containers: regular, init and ephemeral ones.

use serde_json::Value;

use super::volume::Volumes;
use super::{probe, resources, security};
use crate::names;
use crate::rules::check::{Errors, Path, Read, Seen, quantity};

const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
const ONLY_SIDECARS: &str = "may not be set for init containers without restartPolicy=Always";

/// `spec.containers`.
pub(crate) fn validate_all(spec: &Value, volumes: &Volumes, path: &Path, out: &mut Errors) {
    let at = path.child("containers");
    if spec.items("containers").is_empty() {
        out.required(at, "");
        return;
    }
    let mut seen = Seen::default();
    for (at, container) in spec.each("containers", path) {
        common(container, spec, volumes, &at, out);
        if !seen.first(container.text("name")) {
            out.duplicate(at.child("name"), container.text("name"));
        }
        probe::validate_container(container, spec, &at, out);
        restart_policy(container, &at, out);
    }
    host_ports(spec.items("containers"), &at, out);
}

/// `spec.initContainers`.
pub(crate) fn validate_init(spec: &Value, volumes: &Volumes, path: &Path, out: &mut Errors) {
    let mut seen = Seen::default();
    for container in spec.items("containers") {
        seen.first(container.text("name"));
    }
    for (at, container) in spec.each("initContainers", path) {
        common(container, spec, volumes, &at, out);
        if !seen.first(container.text("name")) {
            out.duplicate(at.child("name"), container.text("name"));
        }
        host_ports(std::slice::from_ref(container), &path.child("initContainers"), out);
        if container.text("restartPolicy") == "Always" {
            probe::validate_container(container, spec, &at, out);
        } else {
            for key in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                if container.has(key) {
                    out.forbidden(at.child(key), ONLY_SIDECARS);
                }
            }
            if !container.items("resizePolicy").is_empty() {
                out.invalid(at.child("resizePolicy"), container["resizePolicy"].clone(), "must not be set for init containers");
            }
        }
        restart_policy(container, &at, out);
    }
}

/// `spec.ephemeralContainers`.
pub(crate) fn validate_ephemeral(spec: &Value, volumes: &Volumes, path: &Path, out: &mut Errors) {
    let mut seen = Seen::default();
    let mut others = Seen::default();
    for container in spec.items("containers").iter().chain(spec.items("initContainers")) {
        seen.first(container.text("name"));
        others.first(container.text("name"));
    }
    for (at, container) in spec.each("ephemeralContainers", path) {
        common(container, spec, volumes, &at, out);
        if !seen.first(container.text("name")) {
            out.duplicate(at.child("name"), container.text("name"));
        }
        let target = container.text("targetContainerName");
        if !target.is_empty() && !others.has(target) {
            out.not_found(at.child("targetContainerName"), target);
        }
        for key in ["lifecycle", "livenessProbe", "ports", "readinessProbe", "resizePolicy", "startupProbe"] {
            let empty = container[key].is_null() || container[key].as_array().is_some_and(Vec::is_empty);
            if !empty {
                out.forbidden(at.child(key), "cannot be set for an Ephemeral Container");
            }
        }
        if container["resources"].as_object().is_some_and(|map| !map.is_empty()) {
            out.forbidden(at.child("resources"), "cannot be set for an Ephemeral Container");
        }
        for (at, mount) in container.each("volumeMounts", &at) {
            for key in ["subPath", "subPathExpr"] {
                if !mount.text(key).is_empty() {
                    out.forbidden(at.child(key), "cannot be set for an Ephemeral Container");
                }
            }
        }
    }
}

/// What all containers have in common.
fn common(container: &Value, spec: &Value, volumes: &Volumes, path: &Path, out: &mut Errors) {
    out.required_name(&path.child("name"), container.text("name"), names::dns1123_label);
    if container.text("image").is_empty() {
        out.required(path.child("image"), "");
    }
    let policies = ["FallbackToLogsOnError", "File"];
    out.required_one_of(&path.child("terminationMessagePolicy"), container.text("terminationMessagePolicy"), &policies);
    ports(container, path, out);
    env(container, path, out);
    env_from(container, path, out);
    volumes.mounts(container, path, out);
    volumes.devices(container, path, out);
    out.required_one_of(&path.child("imagePullPolicy"), container.text("imagePullPolicy"), PULL_POLICIES);
    resources::validate_container(container, spec, &path.child("resources"), out);
    resources::resize_policy(container, spec, path, out);
    security::validate_container(&container["securityContext"], spec, &path.child("securityContext"), out);
}

fn restart_policy(container: &Value, path: &Path, out: &mut Errors) {
    let policy = container.text("restartPolicy");
    out.one_of_if_set(path.child("restartPolicy"), policy, &["Always", "Never", "OnFailure"]);
    let rules = container.items("restartPolicyRules");
    if !rules.is_empty() && policy.is_empty() {
        out.required(path.child("restartPolicy"), "must specify restartPolicy when restart rules are used");
    }
    if rules.len() > 20 {
        out.too_many(path.child("restartPolicyRules"), rules.len(), 20);
    }
    for (at, rule) in container.each("restartPolicyRules", path) {
        out.required_one_of(&at.child("action"), rule.text("action"), &["Restart", "RestartAllContainers"]);
        if rule["exitCodes"].is_null() {
            out.required(at.child("exitCodes"), "must be specified");
        } else {
            out.required_one_of(&at.child("exitCodes").child("operator"), rule["exitCodes"].text("operator"), &["In", "NotIn"]);
        }
    }
}

fn ports(container: &Value, path: &Path, out: &mut Errors) {
    let mut seen = Seen::default();
    for (at, port) in container.each("ports", path) {
        let name = port.text("name");
        if !name.is_empty() {
            let wrong = names::port_name(name);
            if !wrong.is_empty() {
                out.all(&at.child("name"), name, wrong);
            } else if !seen.first(name) {
                out.duplicate(at.child("name"), name);
            }
        }
        match port.int("containerPort").unwrap_or(0) {
            0 => out.required(at.child("containerPort"), ""),
            number => out.port(&at.child("containerPort"), number),
        }
        if let Some(number) = port.int("hostPort").filter(|n| *n != 0) {
            out.port(&at.child("hostPort"), number);
        }
        if !port.text("hostIP").is_empty() {
            out.all(&at.child("hostIP"), port.text("hostIP"), names::ip(port.text("hostIP")));
        }
        out.required_one_of(&at.child("protocol"), port.text("protocol"), &["SCTP", "TCP", "UDP"]);
    }
}

/// No two containers may ask for the same port of the host.
fn host_ports(containers: &[Value], path: &Path, out: &mut Errors) {
    let mut seen = Seen::default();
    for (index, container) in containers.iter().enumerate() {
        for (at, port) in container.each("ports", &path.index(index)) {
            let number = port.int("hostPort").unwrap_or(0);
            let key = format!("{}/{}/{number}", port.text("protocol"), port.text("hostIP"));
            if number != 0 && !seen.first(&key) {
                out.duplicate(at.child("hostPort"), key);
            }
        }
    }
}

fn env(container: &Value, path: &Path, out: &mut Errors) {
    for (at, variable) in container.each("env", path) {
        out.required_name(&at.child("name"), variable.text("name"), names::env_var_name);
        if variable.has("valueFrom") {
            value_from(variable, &at.child("valueFrom"), out);
        }
    }
}

fn value_from(variable: &Value, path: &Path, out: &mut Errors) {
    const SOURCES: [&str; 5] = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
    let from = &variable["valueFrom"];
    for source in SOURCES.into_iter().filter(|source| from.has(source)) {
        let (value, at) = (&from[source], path.child(source));
        match source {
            "fieldRef" => field_ref(value, ENV_FIELDS, &at, out),
            "resourceFieldRef" => resource_field_ref(value, false, &at, out),
            "fileKeyRef" => {
                out.required_name(&at.child("volumeName"), value.text("volumeName"), names::dns1123_label);
                out.required_name(&at.child("key"), value.text("key"), names::env_var_name);
                if value.text("path").is_empty() {
                    out.required(at.child("path"), "");
                }
            }
            _ => {
                if value.text("name").is_empty() {
                    out.required(at.child("name"), "");
                }
                out.required_name(&at.child("key"), value.text("key"), names::config_map_key);
            }
        }
    }
    match SOURCES.into_iter().filter(|source| from.has(source)).count() {
        0 => {
            let message = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`";
            out.invalid(path, "", message);
        }
        _ if !variable.text("value").is_empty() => out.invalid(path, "", "may not be specified when `value` is not empty"),
        1 => {}
        _ => out.invalid(path, "", "may not have more than one field specified at a time"),
    }
}

fn env_from(container: &Value, path: &Path, out: &mut Errors) {
    for (at, source) in container.each("envFrom", path) {
        if !source.text("prefix").is_empty() {
            out.all(&at.child("prefix"), source.text("prefix"), names::env_var_name(source.text("prefix")));
        }
        let references: Vec<&str> = ["configMapRef", "secretRef"].into_iter().filter(|key| source.has(key)).collect();
        for key in &references {
            if source[*key].text("name").is_empty() {
                out.required(at.child(key).child("name"), "");
            }
        }
        match references.len() {
            0 => out.invalid(path.child("envFrom"), "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => out.invalid(path.child("envFrom"), "", "may not have more than one field specified at a time"),
        }
    }
}

const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// What the downward API offers to volumes.
pub(crate) const VOLUME_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
/// What the downward API knows at all.
const FIELDS: &[&str] = &["metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.schedulerName", "status.phase"];

/// A reference to a field of the pod, one of `supported`.
pub(crate) fn field_ref(reference: &Value, supported: &[&str], path: &Path, out: &mut Errors) {
    let field = reference.text("fieldPath");
    for key in ["apiVersion", "fieldPath"] {
        if reference.text(key).is_empty() {
            out.required(path.child(key), "");
            return;
        }
    }
    if let Some((base, key)) = field.strip_suffix("']").and_then(|f| f.split_once("['")) {
        match base {
            "metadata.annotations" => out.all(path, key, names::qualified_name(&key.to_lowercase())),
            "metadata.labels" => out.all(path, key, names::qualified_name(key)),
            _ => out.invalid(path, base, "does not support subscript"),
        }
        return;
    }
    if !ENV_FIELDS.contains(&field) && !FIELDS.contains(&field) {
        out.invalid(path.child("fieldPath"), field, format!("error converting fieldPath: field label not supported: {field}"));
        return;
    }
    out.one_of(path.child("fieldPath"), field, supported);
}

const RESOURCE_FIELDS: &[&str] =
    &["limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory"];
const MEMORY_DIVISORS: &[&str] = &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

/// A reference to a resource of a container; in a volume the container must be named.
pub(crate) fn resource_field_ref(reference: &Value, in_volume: bool, path: &Path, out: &mut Errors) {
    let resource = reference.text("resource");
    if in_volume && reference.text("containerName").is_empty() {
        out.required(path.child("containerName"), "");
    } else if resource.is_empty() {
        out.required(path.child("resource"), "");
    } else if !resource.starts_with("limits.hugepages-") && !resource.starts_with("requests.hugepages-") {
        out.one_of(path.child("resource"), resource, RESOURCE_FIELDS);
    }
    let Some(divisor) = quantity(&reference["divisor"]).filter(|amount| !amount.is_zero()) else { return };
    let (allowed, words): (&[&str], String) = match resource.split_once('.').map(|(_, name)| name) {
        Some("cpu") => (&["1m", "1"], "1m and 1 are supported with the cpu resource".to_owned()),
        Some("memory") => (MEMORY_DIVISORS, format!("{} are supported with the memory resource", MEMORY_DIVISORS.join(", "))),
        Some("ephemeral-storage") => {
            (MEMORY_DIVISORS, format!("{} are supported with the local ephemeral storage resource", MEMORY_DIVISORS.join(", ")))
        }
        Some(_) if resource.contains("hugepages-") => {
            (MEMORY_DIVISORS, format!("{} are supported with the hugepages resource", MEMORY_DIVISORS.join(", ")))
        }
        _ => return,
    };
    if !allowed.iter().any(|text| text.parse() == Ok(divisor)) {
        out.invalid(path.child("divisor"), reference["divisor"].clone(), format!("only divisor's values {words}"));
    }
}
