//! PodTopologyLabels: a pod that is given to a node gets the node's zone and region as labels.

use serde_json::Value;

use super::{Operation, Request, text};
use crate::objects::Lookup;

const LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

pub(super) fn fill(lookup: &dyn Lookup, request: &Request<'_>, binding: &mut Value) {
    if request.operation != Operation::Create
        || !request.kind.group.is_empty()
        || request.kind.plural != "pods"
        || request.subresource != "binding"
    {
        return;
    }
    if !matches!(text(binding, "/target/kind"), "" | "Node") {
        return;
    }
    let Some(node) = lookup.get("", "nodes", "", text(binding, "/target/name")) else { return };
    for label in LABELS {
        let value = &node["metadata"]["labels"][label];
        if value.is_string() {
            if !binding["metadata"]["labels"].is_object() {
                binding["metadata"]["labels"] = serde_json::json!({});
            }
            binding["metadata"]["labels"][label] = value.clone();
        }
    }
}
