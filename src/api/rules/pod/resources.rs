//! Validation of resource requests and limits.

use serde_json::Value;

use crate::names;
use crate::rules::check::{Errors, Path, Read, Seen, quantity};

/// Whether upstream itself defines the resource.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && names::qualified_name(&format!("requests.{name}")).is_empty()
}

fn container_resource_name(name: &str, path: &Path, out: &mut Errors) {
    out.all(path, name, names::qualified_name(name));
    if !name.contains('/') {
        if !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !is_huge_page(name) {
            if !is_standard(name) {
                out.invalid(path, name, "must be a standard resource type or fully qualified");
            }
            out.invalid(path, name, "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        out.invalid(path, name, "doesn't follow extended resource name standard");
    }
}

/// Resources that stand for themselves in quotas and nodes.
pub(crate) fn is_standard(name: &str) -> bool {
    is_huge_page(name)
        || name.starts_with("requests.hugepages-")
        || matches!(
            name,
            "cpu"
                | "memory"
                | "ephemeral-storage"
                | "storage"
                | "requests.cpu"
                | "requests.memory"
                | "requests.ephemeral-storage"
                | "limits.cpu"
                | "limits.memory"
                | "limits.ephemeral-storage"
                | "requests.storage"
                | "pods"
                | "resourcequotas"
                | "services"
                | "replicationcontrollers"
                | "secrets"
                | "configmaps"
                | "persistentvolumeclaims"
                | "services.nodeports"
                | "services.loadbalancers"
        )
}

/// A quantity that is not negative, and whole where its resource is counted.
pub(crate) fn validate_amount(name: &str, value: &Value, path: &Path, out: &mut Errors) {
    if quantity(value).is_some_and(|amount| amount.signum() < 0) {
        out.invalid(path, value.clone(), "must be greater than or equal to 0");
    }
    let counted = matches!(
        name,
        "pods"
            | "resourcequotas"
            | "services"
            | "replicationcontrollers"
            | "secrets"
            | "configmaps"
            | "persistentvolumeclaims"
            | "services.nodeports"
            | "services.loadbalancers"
    );
    if (counted || is_extended(name)) && quantity(value).is_some_and(|amount| !amount.is_whole()) {
        out.invalid(path, value.clone(), "must be an integer");
    }
}

/// A list of resources of a container, such as `overhead`.
pub(crate) fn validate_list(list: &Value, path: &Path, out: &mut Errors) {
    for (name, value) in list.as_object().into_iter().flatten() {
        let at = path.key(name);
        container_resource_name(name, &at, out);
        validate_amount(name, value, &at, out);
    }
}

/// `resources` of a container.
pub(crate) fn validate_container(container: &Value, spec: &Value, path: &Path, out: &mut Errors) {
    let resources = &container["resources"];
    requests_and_limits(resources, path, out);
    let mut seen = Seen::default();
    for (at, claim) in resources.each("claims", path) {
        let name = claim.text("name");
        let key = format!("{name}/{}", claim.text("request"));
        if name.is_empty() {
            out.required(at.child("name"), "");
        } else if !seen.first(key) {
            out.duplicate(&at, claim.clone());
        } else if !spec.items("resourceClaims").iter().any(|c| c.text("name") == name) {
            let known = spec.items("resourceClaims").iter().map(|c| format!("{:?}", c.text("name"))).collect::<Vec<_>>().join(", ");
            out.0.push(crate::field::FieldError {
                kind: crate::field::FieldErrorKind::NotFound,
                field: at.child("name").into(),
                value: Value::from(name),
                detail: if known.is_empty() { String::new() } else { format!("known claims: {known}") },
            });
        }
    }
}

/// `spec.resources` of a pod: only compute resources may stand there.
pub(crate) fn validate_pod(resources: &Value, path: &Path, out: &mut Errors) {
    for list in ["limits", "requests"] {
        for name in resources.map(list).keys() {
            if !matches!(name.as_str(), "cpu" | "memory") && !is_huge_page(name) {
                let known = ["cpu", "memory", "hugepages-"];
                out.one_of(path.child(list).key(name), name, &known);
            }
        }
    }
    requests_and_limits(resources, path, out);
}

fn requests_and_limits(resources: &Value, path: &Path, out: &mut Errors) {
    let (limits, requests) = (resources.map("limits"), resources.map("requests"));
    validate_list(&resources["limits"], &path.child("limits"), out);
    for (name, request) in requests {
        let at = path.child("requests");
        container_resource_name(name, &at.key(name), out);
        validate_amount(name, request, &at.key(name), out);
        let overcommit = is_native(name) && !is_huge_page(name);
        let Some(limit) = limits.get(name) else {
            if !overcommit {
                out.required(path.child("limits"), "Limit must be set for non overcommitable resources");
            }
            continue;
        };
        let (Some(asked), Some(most)) = (quantity(request), quantity(limit)) else { continue };
        let shown = limit.as_str().map_or_else(|| limit.to_string(), str::to_owned);
        if asked != most && !overcommit {
            out.invalid(&at, request.clone(), format!("must be equal to {name} limit of {shown}"));
        } else if asked > most {
            out.invalid(&at, request.clone(), format!("must be less than or equal to {name} limit of {shown}"));
        }
    }
    let names: Vec<&String> = limits.keys().chain(requests.keys()).collect();
    if names.iter().any(|n| is_huge_page(n)) && !names.iter().any(|n| matches!(n.as_str(), "cpu" | "memory")) {
        out.forbidden(path, "HugePages require cpu or memory");
    }
}

/// `resizePolicy` of a container.
pub(crate) fn resize_policy(container: &Value, spec: &Value, path: &Path, out: &mut Errors) {
    let mut seen = Seen::default();
    for (at, policy) in container.each("resizePolicy", path) {
        let at = &at;
        out.required_one_of(&at.child("resourceName"), policy.text("resourceName"), &["cpu", "memory"]);
        out.required_one_of(&at.child("restartPolicy"), policy.text("restartPolicy"), &["NotRequired", "RestartContainer"]);
        if spec.text("restartPolicy") == "Never" && policy.text("restartPolicy") == "RestartContainer" {
            out.invalid(at.child("restartPolicy"), "RestartContainer", "must be 'NotRequired' when `restartPolicy` is 'Never'");
        }
        if !seen.first(policy.text("resourceName")) {
            out.duplicate(at, policy.text("resourceName"));
        }
    }
}
