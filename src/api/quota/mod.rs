//! Quotas: what an object uses of one, and which objects a quota is about. Upstream's evaluators (`pkg/quota/v1`), shared
//! by admission, which charges what is made, and by the controller, which counts what there is.

mod scope;
mod usage;

pub use scope::covers;
pub use usage::{missing, usage};

use serde_json::Value;

/// Suffix of names that count claims, or their storage, of one class of storage.
const CLASS_SUFFIX: &str = ".storageclass.storage.k8s.io/";
/// Suffix of names that count devices of one class.
const DEVICE_SUFFIX: &str = ".deviceclass.resource.k8s.io/devices";

/// Whether upstream itself defines the resource.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// The resource, as group and plural, whose objects count towards a name in `spec.hard`; `None` for a name that counts nothing.
pub fn counts(name: &str) -> Option<(&str, &str)> {
    if let Some(resource) = name.strip_prefix("count/") {
        let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
        return Some((group, plural));
    }
    match name {
        "configmaps" | "secrets" | "replicationcontrollers" | "resourcequotas" | "services" | "persistentvolumeclaims" | "pods" => {
            Some(("", name))
        }
        "services.nodeports" | "services.loadbalancers" => Some(("", "services")),
        "requests.storage" => Some(("", "persistentvolumeclaims")),
        "cpu"
        | "memory"
        | "ephemeral-storage"
        | "requests.cpu"
        | "requests.memory"
        | "requests.ephemeral-storage"
        | "limits.cpu"
        | "limits.memory"
        | "limits.ephemeral-storage" => Some(("", "pods")),
        name if name.ends_with(DEVICE_SUFFIX) => Some(("resource.k8s.io", "resourceclaims")),
        name if name.contains(CLASS_SUFFIX) => Some(("", "persistentvolumeclaims")),
        name if name.starts_with("hugepages-") || name.starts_with("requests.hugepages-") => Some(("", "pods")),
        name if name.starts_with("requests.") && !is_native(name) => Some(("", "pods")),
        _ => None,
    }
}

/// Whether objects of a resource count towards a name in `spec.hard`.
pub fn tracks(group: &str, plural: &str, name: &str) -> bool {
    counts(name) == Some((group, plural))
}

/// The names in an object of quantities.
pub fn names(hard: &Value) -> impl Iterator<Item = &str> {
    hard.as_object().into_iter().flatten().map(|(name, _)| name.as_str())
}

#[cfg(test)]
mod tests;
