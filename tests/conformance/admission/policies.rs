//! Rows of `[sig-api-machinery]` about admission policies.

use serde_json::{Value, json};

use super::super::here::{Here, row};
use super::super::operations::{self, Resource};
use super::{GROUP, REGISTRATION, only, rule};

fn deployment(name: &str, replicas: u32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {"replicas": replicas, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"nodeSelector": {"no": "node"}, "containers": [{"name": "c", "image": "i"}]}}}})
}

async fn policy(here: &Here, kind: &str, mut spec: Value, mut binding: Value) {
    spec["matchConstraints"]["namespaceSelector"] = only(here);
    binding["policyName"] = json!(here.namespace);
    for (kind, plural, spec) in [(kind.to_owned(), "policies", spec), (format!("{kind}Binding"), "policybindings", binding)] {
        let path = format!("{GROUP}/{}{plural}", if kind.starts_with("Mutating") { "mutatingadmission" } else { "validatingadmission" });
        here.post(&path, &json!({"apiVersion": REGISTRATION, "kind": kind, "metadata": {"name": here.namespace}, "spec": spec})).await.ok();
        here.remove_later(format!("{path}/{}", here.namespace));
    }
}

/// [sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] should validate against a Deployment [Conformance]
/// [sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] should allow expressions to refer variables. [Conformance]
#[test]
fn a_policy_judges_deployments() {
    row("validating policy", &[], async |here| {
        let spec = json!({"matchConstraints": {"resourceRules": [rule("apps", "deployments")]},
            "variables": [{"name": "replicas", "expression": "object.spec.replicas"}, {"name": "oddReplicas", "expression": "variables.replicas % 2 == 1"}],
            "validations": [{"expression": "variables.replicas > 1"}, {"expression": "variables.oddReplicas"}]});
        policy(here, "ValidatingAdmissionPolicy", spec, json!({"validationActions": ["Deny"]})).await;
        let deployments = here.path("apps/v1", "deployments");
        for (replicas, failed) in [(1, "variables.replicas > 1"), (2, "variables.oddReplicas")] {
            let refused = here.post(&deployments, &deployment("a", replicas)).await.failed(422, "Invalid");
            assert!(refused.ends_with(&format!("denied request: failed expression: {failed}")), "{refused}");
        }
        here.post(&deployments, &deployment("a", 3)).await.ok();
    });
}

/// [sig-api-machinery] MutatingAdmissionPolicy [Privileged:ClusterAdmin] should mutate a Deployment [Conformance]
/// [sig-api-machinery] MutatingAdmissionPolicy [Privileged:ClusterAdmin] should mutate a Deployment with annotations [Conformance]
#[test]
fn a_policy_changes_deployments() {
    row("mutating policy", &[], async |here| {
        let apply = |source: &str| json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": source}});
        let spec = json!({"matchConstraints": {"resourceRules": [rule("apps", "deployments")]}, "reinvocationPolicy": "Never", "failurePolicy": "Fail",
            "mutations": [apply("Object{spec: Object.spec{replicas: object.spec.replicas + 2}}"), apply("Object{metadata: Object.metadata{annotations: {'my-foo': 'myAnnotation'}}}")]});
        policy(here, "MutatingAdmissionPolicy", spec, json!({})).await;
        let made = here.post(&here.path("apps/v1", "deployments"), &deployment("a", 0)).await.ok();
        assert_eq!((&made["spec"]["replicas"], &made["metadata"]["annotations"]["my-foo"]), (&json!(2), &json!("myAnnotation")));
    });
}

async fn policy_operations(here: &Here, name: &'static str, spec: Value, status: Option<Value>) {
    let subresources: &[&str] = if status.is_some() { &["status"] } else { &[] };
    operations::all(
        here,
        &Resource { version: REGISTRATION, name, namespaced: false, subresources, object: json!({"spec": spec}), status },
    )
    .await;
}

/// [sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] should support ValidatingAdmissionPolicy API operations [Conformance]
/// [sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] should support ValidatingAdmissionPolicyBinding API operations [Conformance]
/// [sig-api-machinery] MutatingAdmissionPolicy [Privileged:ClusterAdmin] should support MutatingAdmissionPolicy API operations [Conformance]
/// [sig-api-machinery] MutatingAdmissionPolicy [Privileged:ClusterAdmin] should support MutatingAdmissionPolicyBinding API operations [Conformance]
#[test]
fn policies_have_all_operations() {
    row("policy operations", &[], async |here| {
        let constraints = json!({"resourceRules": [rule("none.example.com", "nothings")]});
        let mutation = json!({"patchType": "JSONPatch", "jsonPatch": {"expression": "[]"}});
        let status = json!({"conditions": [{"type": "StatusUpdated", "status": "True", "reason": "a", "message": "b", "lastTransitionTime": "2026-01-02T03:04:05Z"}]});
        let validating = json!({"matchConstraints": constraints, "validations": [{"expression": "true"}]});
        policy_operations(here, "validatingadmissionpolicies", validating, Some(status)).await;
        policy_operations(here, "validatingadmissionpolicybindings", json!({"policyName": "none", "validationActions": ["Deny"]}), None)
            .await;
        let mutating = json!({"matchConstraints": constraints, "mutations": [mutation], "reinvocationPolicy": "Never"});
        policy_operations(here, "mutatingadmissionpolicies", mutating, None).await;
        policy_operations(here, "mutatingadmissionpolicybindings", json!({"policyName": "none"}), None).await;
    });
}
