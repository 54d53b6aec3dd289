//! Validation of a pod's spec, in upstream's order (`ValidatePodSpec`).

use serde_json::Value;

use super::{container, resources, scheduling, security, systems, volume};
use crate::names;
use crate::rules::check::{Errors, Path, Read, Seen};
use crate::rules::meta;

const HOST_NETWORK_PORT: &str = "must match `containerPort` when `hostNetwork` is true";

/// Checks the spec of a pod (`is_pod`) or of a template.
pub(crate) fn validate(spec: &Value, is_pod: bool, path: &Path, out: &mut Errors) {
    let volumes = volume::validate_all(spec, path, out);
    resource_claims(spec, path, out);
    container::validate_all(spec, &volumes, path, out);
    container::validate_init(spec, &volumes, path, out);
    container::validate_ephemeral(spec, &volumes, path, out);
    if spec.has("resources") {
        resources::validate_pod(&spec["resources"], &path.child("resources"), out);
    }
    host_network(spec, is_pod, path, out);
    out.required_one_of(&path.child("restartPolicy"), spec.text("restartPolicy"), &["Always", "OnFailure", "Never"]);
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    out.required_one_of(&path.child("dnsPolicy"), spec.text("dnsPolicy"), &policies);
    meta::labels(&spec["nodeSelector"], &path.child("nodeSelector"), out);
    security::validate_pod(spec, path, out);
    scheduling::affinity(&spec["affinity"], &path.child("affinity"), out);
    dns_config(spec, &path.child("dnsConfig"), out);
    gates(spec, path, out);
    scheduling::topology_spread(spec, path, out);
    if spec["hostUsers"] == false {
        for key in ["hostPID", "hostIPC", "hostNetwork"] {
            if spec.yes(key) && key != "hostNetwork" {
                out.forbidden(path.child(key), format!("when `pod.Spec.HostUsers` is false, {key} is forbidden"));
            }
        }
    }
    references(spec, path, out);
}

fn resource_claims(spec: &Value, path: &Path, out: &mut Errors) {
    let mut seen = Seen::default();
    for (at, claim) in spec.each("resourceClaims", path) {
        let name = claim.text("name");
        out.required_name(&at.child("name"), name, names::dns1123_label);
        if !seen.first(name) {
            out.duplicate(at.child("name"), name);
        }
        match (claim.has("resourceClaimName"), claim.has("resourceClaimTemplateName")) {
            (true, true) => {
                out.invalid(&at, claim.clone(), "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified");
            }
            (false, false) => {
                out.invalid(&at, claim.clone(), "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`");
            }
            _ => {}
        }
    }
}

/// With the host's network a container's port is the host's port; templates may leave it to the pod's defaults.
fn host_network(spec: &Value, is_pod: bool, path: &Path, out: &mut Errors) {
    if !spec.yes("hostNetwork") {
        return;
    }
    for list in ["containers", "initContainers"] {
        for (at, container) in spec.each(list, path) {
            for (at, port) in container.each("ports", &at) {
                let (host, own) = (port.int("hostPort").unwrap_or(0), port.int("containerPort").unwrap_or(0));
                if (is_pod || host != 0) && host != own {
                    out.invalid(at.child("hostPort"), host, HOST_NETWORK_PORT);
                }
            }
        }
    }
}

fn dns_config(spec: &Value, path: &Path, out: &mut Errors) {
    let config = &spec["dnsConfig"];
    let servers = config.items("nameservers");
    if spec.text("dnsPolicy") == "None" {
        if config.is_null() {
            out.required(path, "must provide `dnsConfig` when `dnsPolicy` is `None`");
        } else if servers.is_empty() {
            out.required(path.child("nameservers"), "must provide at least one DNS nameserver when `dnsPolicy` is `None`");
        }
    }
    if servers.len() > 3 {
        out.invalid(path.child("nameservers"), servers.to_vec(), "must not have more than 3 nameservers");
    }
    for (index, server) in servers.iter().filter_map(Value::as_str).enumerate() {
        out.all(&path.child("nameservers").index(index), server, names::ip(server));
    }
    let searches: Vec<&str> = config.items("searches").iter().filter_map(Value::as_str).collect();
    if searches.len() > 32 {
        out.invalid(path.child("searches"), config["searches"].clone(), "must not have more than 32 search paths");
    }
    if searches.join(" ").len() > 2048 {
        let message = "must not have more than 2048 characters (including spaces) in the search list";
        out.invalid(path.child("searches"), config["searches"].clone(), message);
    }
    for (index, search) in searches.iter().enumerate() {
        // a single dot and labels that begin with an underscore are allowed in search paths
        let plain = search.strip_suffix('.').unwrap_or(search).replace("_", "a");
        if *search != "." {
            out.all(&path.child("searches").index(index), *search, names::dns1123_subdomain(&plain));
        }
    }
    for (at, option) in config.each("options", path) {
        if option.text("name").is_empty() {
            out.required(at, "must not be empty");
        }
    }
}

fn gates(spec: &Value, path: &Path, out: &mut Errors) {
    for (at, gate) in spec.each("readinessGates", path) {
        let kind = gate.text("conditionType");
        out.all(&at.child("conditionType"), kind, names::qualified_name(kind));
    }
    let mut seen = Seen::default();
    for (at, gate) in spec.each("schedulingGates", path) {
        let name = gate.text("name");
        if name.is_empty() {
            out.required(&at, "must not be empty");
        } else {
            out.all(&at, name, names::qualified_name(name));
        }
        if !seen.first(name) {
            out.duplicate(at, name);
        }
    }
}

/// Fields of the pod that name other things, and what comes last.
fn references(spec: &Value, path: &Path, out: &mut Errors) {
    let named = |out: &mut Errors, key: &str, check: fn(&str) -> Vec<String>| {
        let value = spec.text(key);
        if !value.is_empty() {
            out.all(&path.child(key), value, check(value));
        }
    };
    named(out, "serviceAccountName", names::dns1123_subdomain);
    named(out, "nodeName", names::dns1123_subdomain);
    if let Some(deadline) = spec.int("activeDeadlineSeconds") {
        out.all(&path.child("activeDeadlineSeconds"), deadline, names::in_range(deadline, 1, i64::from(i32::MAX)));
    }
    named(out, "hostname", names::dns1123_label);
    named(out, "subdomain", names::dns1123_label);
    scheduling::tolerations(spec, path, out);
    for (at, alias) in spec.each("hostAliases", path) {
        out.all(&at.child("ip"), alias.text("ip"), names::ip(alias.text("ip")));
        for name in alias.items("hostnames").iter().filter_map(Value::as_str) {
            out.all(&at.child("hostnames"), name, names::dns1123_subdomain(name));
        }
    }
    named(out, "priorityClassName", names::dns1123_subdomain);
    named(out, "runtimeClassName", names::dns1123_subdomain);
    out.one_of_if_set(path.child("preemptionPolicy"), spec.text("preemptionPolicy"), &["Never", "PreemptLowerPriority"]);
    resources::validate_list(&spec["overhead"], &path.child("overhead"), out);
    systems::validate(spec, path, out);
}
