//! Rows about what is said of writes before they happen: webhooks, policies, quotas and limits.

#[path = "../../../src/server/tests/harness/hooks.rs"]
pub mod hooks;
mod policies;
mod quotas;
mod webhooks;

use serde_json::{Value, json};

use super::here::Here;

const REGISTRATION: &str = "admissionregistration.k8s.io/v1";
const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

fn rule(group: &str, resource: &str) -> Value {
    json!({"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": [resource]})
}

/// What is only about this namespace.
fn only(here: &Here) -> Value {
    json!({"matchLabels": {"kubernetes.io/metadata.name": here.namespace}})
}
