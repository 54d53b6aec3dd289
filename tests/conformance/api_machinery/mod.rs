//! Rows of `[sig-api-machinery]` about discovery, lists, watches, garbage collection and namespaces.

mod chunking;
mod discovery;
mod field_validation;
mod garbage;
mod namespaces;
mod watchers;

use serde_json::json;

use super::here::row;
use super::operations::{self, Resource};

/// [sig-api-machinery] API priority and fairness should support FlowSchema API operations [Conformance]
#[test]
fn flow_schemas_have_all_operations() {
    row("flowschema operations", &[], async |here| {
        let resource = Resource {
            version: "flowcontrol.apiserver.k8s.io/v1",
            name: "flowschemas",
            namespaced: false,
            subresources: &["status"],
            object: json!({"spec": {"matchingPrecedence": 10000, "priorityLevelConfiguration": {"name": "exempt"},
                "distinguisherMethod": {"type": "ByUser"},
                "rules": [{"subjects": [{"kind": "User", "user": {"name": "nobody-asks"}}],
                    "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/nothing"]}]}]}}),
            status: Some(json!({"conditions": [{"type": "PatchStatusFailed", "status": "True", "reason": "a", "message": "b",
                "lastTransitionTime": "2026-01-02T03:04:05Z"}]})),
        };
        operations::all(here, &resource).await;
    });
}

/// [sig-api-machinery] API priority and fairness should support PriorityLevelConfiguration API operations [Conformance]
#[test]
fn priority_levels_have_all_operations() {
    row("prioritylevel operations", &[], async |here| {
        let resource = Resource {
            version: "flowcontrol.apiserver.k8s.io/v1",
            name: "prioritylevelconfigurations",
            namespaced: false,
            subresources: &["status"],
            object: json!({"spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}}}}),
            status: Some(json!({"conditions": [{"type": "PatchStatusFailed", "status": "True", "reason": "a", "message": "b",
                "lastTransitionTime": "2026-01-02T03:04:05Z"}]})),
        };
        operations::all(here, &resource).await;
    });
}
