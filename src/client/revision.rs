//! Resource versions as numbers, and the API's reasons in errors.

use kube::Resource;

/// `metadata.resourceVersion` as a number; 0 without one. Versions of one server compare across kinds (KEP-5504).
pub fn revision_of<K: Resource>(object: &K) -> u64 {
    object.meta().resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn reason(error: &kube::Error) -> (u16, &str) {
    match error {
        kube::Error::Api(status) => (status.code, status.reason.as_str()),
        _ => (0, ""),
    }
}

/// The object is not there.
pub fn is_not_found(error: &kube::Error) -> bool {
    reason(error).0 == 404
}

/// The object was changed meanwhile.
pub fn is_conflict(error: &kube::Error) -> bool {
    reason(error) == (409, "Conflict")
}

/// The object to be created is there already.
pub fn is_exists(error: &kube::Error) -> bool {
    reason(error) == (409, "AlreadyExists")
}

/// The revision asked for is no longer kept.
pub fn is_gone(error: &kube::Error) -> bool {
    reason(error).0 == 410
}
