//! Admission policies, asked through the API.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod harness;

use harness::{Cluster, config_map, pod};
use serde_json::{Value, json};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn rule(group: &str, resource: &str) -> Value {
    json!({"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": [resource]})
}

async fn make(cluster: &Cluster, kind: &str, name: &str, spec: Value) {
    let plural =
        if kind.ends_with("Policy") { kind.to_lowercase().replace("policy", "policies") } else { format!("{}s", kind.to_lowercase()) };
    let object = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let made = cluster.post(&format!("{GROUP}/{plural}"), &object).await;
    assert_eq!(made.code, 201, "{}", made.body);
}

fn deployment(name: &str, replicas: u32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {"replicas": replicas, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

#[tokio::test]
async fn a_policy_refuses_by_variables_and_parameters() {
    let cluster = Cluster::start().await;
    let spec = json!({"matchConstraints": {"resourceRules": [rule("apps", "deployments")]}, "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "variables": [{"name": "replicas", "expression": "object.spec.replicas"}, {"name": "odd", "expression": "variables.replicas % 2 == 1"}],
        "matchConditions": [{"name": "not-skipped", "expression": "object.metadata.name != 'skip-me'"}],
        "validations": [{"expression": "variables.replicas <= int(params.data.most)", "messageExpression": "'at most ' + params.data.most", "reason": "Forbidden"},
            {"expression": "variables.odd"}]});
    make(&cluster, "ValidatingAdmissionPolicy", "p", spec).await;
    assert_eq!(cluster.post(DEPLOYMENTS, &deployment("free", 9)).await.code, 201, "a policy that is not bound says nothing");
    let reference = json!({"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"});
    make(
        &cluster,
        "ValidatingAdmissionPolicyBinding",
        "b",
        json!({"policyName": "p", "paramRef": reference, "validationActions": ["Deny"]}),
    )
    .await;
    let missing = cluster.post(DEPLOYMENTS, &deployment("a", 1)).await;
    assert_eq!(missing.code, 422);
    assert!(
        missing.body["message"].as_str().unwrap().contains("no params found for policy binding with `Deny` parameterNotFoundAction"),
        "{}",
        missing.body
    );
    assert_eq!(cluster.post(MAPS, &config_map("limits", &json!({"most": "3"}))).await.code, 201);
    assert_eq!(cluster.post(DEPLOYMENTS, &deployment("a", 3)).await.code, 201);
    assert_eq!(cluster.post(DEPLOYMENTS, &deployment("skip-me", 8)).await.code, 201);
    let many = cluster.post(DEPLOYMENTS, &deployment("b", 5)).await;
    assert_eq!((many.code, many.body["reason"].as_str()), (403, Some("Forbidden")));
    assert_eq!(
        many.body["message"],
        "deployments.apps \"b\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: at most 3"
    );
    let even = cluster.post(DEPLOYMENTS, &deployment("b", 2)).await;
    assert_eq!((even.code, even.body["reason"].as_str()), (422, Some("Invalid")));
    assert!(even.body["message"].as_str().unwrap().ends_with("denied request: failed expression: variables.odd"), "{}", even.body);
}

#[tokio::test]
async fn warnings_failures_and_what_policies_see() {
    let cluster = Cluster::start().await;
    let policy = |failure: &str, expression: &str| json!({"failurePolicy": failure, "matchConstraints": {"resourceRules": [rule("", "configmaps")]}, "validations": [{"expression": expression, "message": "no"}]});
    let sees = "request.operation == 'CREATE' && namespaceObject.metadata.name == request.namespace && oldObject == null \
                && authorizer.group('').resource('secrets').namespace('default').check('delete').allowed() \
                && authorizer.requestResource.check('create').allowed() && request.userInfo.username == 'kubernetes-admin'";
    for (name, policy, actions) in [
        ("sees", policy("Fail", sees), json!(["Deny"])),
        ("warns", policy("Fail", "false"), json!(["Warn", "Audit"])),
        ("breaks", policy("Ignore", "object.data.none == 'x'"), json!(["Deny"])),
    ] {
        make(&cluster, "ValidatingAdmissionPolicy", name, policy).await;
        make(&cluster, "ValidatingAdmissionPolicyBinding", name, json!({"policyName": name, "validationActions": actions})).await;
    }
    let made = cluster.post(MAPS, &config_map("a", &json!({}))).await;
    assert_eq!(made.code, 201, "{}", made.body);
    assert_eq!(
        made.headers["warning"].to_str().unwrap(),
        r#"299 - "Validation failed for ValidatingAdmissionPolicy 'warns' with binding 'warns': no""#
    );
    make(&cluster, "ValidatingAdmissionPolicy", "closed", policy("Fail", "object.data.none == 'x'")).await;
    make(&cluster, "ValidatingAdmissionPolicyBinding", "closed", json!({"policyName": "closed", "validationActions": ["Deny"]})).await;
    let refused = cluster.post(MAPS, &config_map("b", &json!({"k": "v"}))).await;
    let text = "expression 'object.data.none == 'x'' resulted in error: no such key: none";
    assert!(refused.body["message"].as_str().unwrap().ends_with(text), "{}", refused.body);
    let invalid = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "x"}, "spec": policy("Fail", "object.data >")});
    let refused = cluster.post(&format!("{GROUP}/validatingadmissionpolicies"), &invalid).await;
    assert_eq!(refused.code, 422);
    assert!(refused.body["message"].as_str().unwrap().contains("compilation failed"), "{}", refused.body);
}

#[tokio::test]
async fn mutating_policies_apply_and_patch() {
    let cluster = Cluster::start().await;
    let policy = |resource: Value, mutation: Value| json!({"matchConstraints": {"resourceRules": [resource]}, "reinvocationPolicy": "Never", "failurePolicy": "Fail", "mutations": [mutation]});
    let sidecar = "Object{metadata: Object.metadata{labels: {'seen': 'yes'}}, spec: Object.spec{initContainers: \
                   [Object.spec.initContainers{name: 'mesh', image: 'mesh:1', restartPolicy: 'Always'}]}}";
    let apply = json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": sidecar}});
    let patch = "[JSONPatch{op: 'add', path: '/metadata/annotations/' + jsonpatch.escapeKey('a/b'), value: object.metadata.name}]";
    let patch = json!({"patchType": "JSONPatch", "jsonPatch": {"expression": patch}});
    for (name, spec) in [("apply", policy(rule("", "pods"), apply)), ("patch", policy(rule("", "configmaps"), patch))] {
        make(&cluster, "MutatingAdmissionPolicy", name, spec).await;
        make(&cluster, "MutatingAdmissionPolicyBinding", name, json!({"policyName": name})).await;
    }
    let mut own = pod("p");
    own["spec"]["initContainers"] = json!([{"name": "first", "image": "i"}]);
    let made = cluster.post("/api/v1/namespaces/default/pods", &own).await;
    assert_eq!(made.code, 201, "{}", made.body);
    assert_eq!(made.body["metadata"]["labels"], json!({"app": "p", "seen": "yes"}));
    let names: Vec<_> = made.body["spec"]["initContainers"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(made.body["metadata"]["managedFields"].as_array().unwrap().len(), 1, "nobody owns what a policy adds");
    let mut map = config_map("m", &json!({}));
    map["metadata"]["annotations"] = json!({"k": "v"});
    let made = cluster.post(MAPS, &map).await;
    assert_eq!(made.body["metadata"]["annotations"], json!({"a/b": "m", "k": "v"}), "{}", made.body);
}

#[tokio::test]
async fn the_status_says_whether_expressions_fit() {
    let cluster = Cluster::start().await;
    let path = format!("{GROUP}/validatingadmissionpolicies");
    let mut policies = cluster.watch(&format!("{path}?watch=1")).await;
    let spec = |expression: &str| json!({"matchConstraints": {"resourceRules": [rule("apps", "deployments")]}, "validations": [{"expression": expression}]});
    make(&cluster, "ValidatingAdmissionPolicy", "p", spec("object.replicas > 1")).await;
    let mut checked = async |generation: i64| loop {
        let (_, policy) = policies.next().await.expect("the watch ended");
        if policy["status"]["observedGeneration"] == generation {
            return policy;
        }
    };
    let warning = "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'replicas'\n | object.replicas > 1\n | ......^";
    let policy = checked(1).await;
    assert_eq!(
        policy["status"]["typeChecking"],
        json!({"expressionWarnings": [{"fieldRef": "spec.validations[0].expression", "warning": warning}]})
    );
    let manager = policy["metadata"]["managedFields"].as_array().unwrap().iter().find(|entry| entry["subresource"] == "status").unwrap();
    assert_eq!((&manager["manager"], &manager["operation"]), (&json!("validatingadmissionpolicy-status"), &json!("Apply")));
    let patch = json!({"spec": spec("object.spec.replicas > 1")});
    assert_eq!(cluster.patch(&format!("{path}/p"), "application/merge-patch+json", &patch).await.code, 200);
    assert_eq!(checked(2).await["status"]["typeChecking"], json!({}));
}
