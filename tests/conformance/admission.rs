//! Rows of `[sig-api-machinery]` about admission webhooks, admission policies and ResourceQuota, and of LimitRange.

#[path = "../../src/server/tests/harness/hooks.rs"]
pub mod hooks;

use serde_json::{Value, json};

use super::here::{APPLY, Here, MERGE, row, row_alone};
use super::operations::{self, Resource};
use hooks::{Hooks, patched};

const REGISTRATION: &str = "admissionregistration.k8s.io/v1";
const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

fn hard() -> Value {
    json!({"pods": "5", "cpu": "1", "memory": "500Mi", "ephemeral-storage": "50Gi", "requests.example.com/dongle": "3", "services": "10",
        "services.nodeports": "1", "services.loadbalancers": "1", "replicationcontrollers": "10", "resourcequotas": "1", "configmaps": "20",
        "secrets": "20", "persistentvolumeclaims": "10", "requests.storage": "10Gi", "count/replicasets.apps": "5"})
}

async fn quota(here: &Here, name: &str, spec: Value) -> String {
    // every namespace gets it, and a quota counts it
    here.until_object("the namespace has its certificate", &here.path("v1", "configmaps/kube-root-ca.crt"), |_| true).await;
    let quotas = here.path("v1", "resourcequotas");
    here.post(&quotas, &json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": spec})).await.ok();
    let path = format!("{quotas}/{name}");
    let names = |object: &Value| object.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>());
    here.until_object("the quota is counted", &path, |quota| names(&quota["status"]["used"]) == names(&quota["spec"]["hard"])).await;
    path
}

async fn used(here: &Here, quota: &str) -> Value {
    here.get(quota).await.ok()["status"]["used"].clone()
}

async fn until_used(here: &Here, quota: &str, wanted: &Value) {
    here.until_object(&format!("used is {wanted}"), quota, |quota| {
        wanted.as_object().unwrap().iter().all(|(name, amount)| quota["status"]["used"][name] == *amount)
    })
    .await;
}

/// A pod that no node takes.
fn pod(name: &str, resources: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"nodeSelector": {"no": "node"},
        "terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "none.example.com/none", "resources": resources}]}})
}

fn compute(cpu: &str, memory: &str) -> Value {
    json!({"requests": {"cpu": cpu, "memory": memory, "ephemeral-storage": "30Gi"}, "limits": {"cpu": cpu, "memory": memory, "ephemeral-storage": "30Gi"}})
}

/// [sig-api-machinery] ResourceQuota should create a ResourceQuota and ensure its status is promptly calculated. [Conformance]
/// [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a configMap. [Conformance]
/// [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a secret. [Conformance]
/// [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a service. [Conformance]
/// [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a replica set. [Conformance]
/// [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a replication controller. [Conformance]
#[test]
fn a_quota_follows_the_lives_of_what_it_counts() {
    row("quota lives", &[], async |here| {
        let quota = quota(here, "all", json!({"hard": hard()})).await;
        let start = used(here, &quota).await;
        assert_eq!((&start["resourcequotas"], &start["pods"]), (&json!("1"), &json!("0")));
        let workload = |version: &str, kind: &str, selector: Value| {
            json!({"apiVersion": version, "kind": kind, "metadata": {"name": "a"}, "spec": {"replicas": 0, "selector": selector,
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
        };
        let ports = json!([{"port": 80, "name": "a"}]);
        let table = [
            ("v1", "configmaps", json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}), vec!["configmaps"]),
            ("v1", "secrets", json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}}), vec!["secrets"]),
            (
                "v1",
                "services",
                json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"type": "NodePort", "ports": ports}}),
                vec!["services", "services.nodeports"],
            ),
            ("v1", "replicationcontrollers", workload("v1", "ReplicationController", json!({"a": "b"})), vec!["replicationcontrollers"]),
            (
                "apps/v1",
                "replicasets",
                workload("apps/v1", "ReplicaSet", json!({"matchLabels": {"a": "b"}})),
                vec!["count/replicasets.apps"],
            ),
        ];
        for (version, plural, object, counted) in table {
            let path = here.path(version, plural);
            here.post(&path, &object).await.ok();
            let now = used(here, &quota).await;
            for name in &counted {
                let number = |used: &Value| used[*name].as_str().unwrap().parse::<u32>().unwrap();
                assert_eq!(number(&now), number(&start) + 1, "{name}");
            }
            if plural == "services" {
                let mut second = object.clone();
                second["metadata"]["name"] = json!("b");
                let refused = here.post(&path, &second).await.failed(403, "Forbidden");
                let wanted =
                    "exceeded quota: all, requested: services.nodeports=1, used: services.nodeports=1, limited: services.nodeports=1";
                assert!(refused.ends_with(wanted), "{refused}");
            }
            here.delete(&format!("{path}/a")).await.ok();
            until_used(here, &quota, &start).await;
        }
    });
}

/// [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a pod. [Conformance]
#[test]
fn a_quota_follows_a_pods_life() {
    row("quota pods", &[], async |here| {
        let quota = quota(here, "all", json!({"hard": hard()})).await;
        let pods = here.path("v1", "pods");
        let mut resources = compute("500m", "252Mi");
        for list in ["requests", "limits"] {
            resources[list]["example.com/dongle"] = json!("2");
        }
        here.post(&pods, &pod("a", resources.clone())).await.ok();
        let wanted =
            json!({"pods": "1", "cpu": "500m", "memory": "252Mi", "ephemeral-storage": "30Gi", "requests.example.com/dongle": "2"});
        until_used(here, &quota, &wanted).await;
        here.post(&pods, &pod("b", compute("600m", "100Mi"))).await.failed(403, "Forbidden");
        let refused = here
            .post(
                &pods,
                &pod(
                    "b",
                    json!({"requests": {"cpu": "100m", "memory": "1Mi", "ephemeral-storage": "1Gi", "example.com/dongle": "2"},
            "limits": {"example.com/dongle": "2"}}),
                ),
            )
            .await
            .failed(403, "Forbidden");
        assert!(refused.contains("exceeded quota: all, requested: requests.example.com/dongle=2"), "{refused}");
        let change = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "100m"}}}]}});
        let changed = here.patch(&format!("{pods}/a"), super::here::STRATEGIC, &change).await;
        assert_eq!(changed.code, 422, "{}", changed.said());
        until_used(here, &quota, &wanted).await;
        here.delete(&format!("{pods}/a")).await.ok();
        until_used(here, &quota, &json!({"pods": "0", "cpu": "0", "memory": "0", "requests.example.com/dongle": "0"})).await;
    });
}

/// [sig-api-machinery] ResourceQuota should verify ResourceQuota with best effort scope. [Conformance]
/// [sig-api-machinery] ResourceQuota should verify ResourceQuota with terminating scopes. [Conformance]
#[test]
fn quotas_keep_to_their_scopes() {
    row("quota scopes", &[], async |here| {
        let pods = here.path("v1", "pods");
        for (one, other, mine, others) in [
            ("BestEffort", "NotBestEffort", pod("one", json!({})), pod("other", compute("100m", "10Mi"))),
            ("Terminating", "NotTerminating", pod("one", compute("100m", "10Mi")), pod("other", compute("100m", "10Mi"))),
        ] {
            let mut mine = mine;
            if one == "Terminating" {
                mine["spec"]["activeDeadlineSeconds"] = json!(3600);
            }
            let (first, second) = (one.to_lowercase(), other.to_lowercase());
            let first = quota(here, &first, json!({"hard": {"pods": "5"}, "scopes": [one]})).await;
            let second = quota(here, &second, json!({"hard": {"pods": "5"}, "scopes": [other]})).await;
            for (object, name, in_first) in [(mine, "one", true), (others, "other", false)] {
                here.post(&pods, &object).await.ok();
                let (full, empty) = if in_first { (&first, &second) } else { (&second, &first) };
                assert_eq!((used(here, full).await["pods"].as_str(), used(here, empty).await["pods"].as_str()), (Some("1"), Some("0")));
                here.delete(&format!("{pods}/{name}")).await.ok();
                until_used(here, full, &json!({"pods": "0"})).await;
            }
            for quota in [first, second] {
                here.delete(&quota).await.ok();
            }
        }
    });
}

/// [sig-api-machinery] ResourceQuota should be able to update and delete ResourceQuota. [Conformance]
/// [sig-api-machinery] ResourceQuota should manage the lifecycle of a ResourceQuota [Conformance]
/// [sig-api-machinery] ResourceQuota should apply changes to a resourcequota status [Conformance]
#[test]
fn quotas_are_changed_and_go() {
    row("quota changes", &[], async |here| {
        let path = quota(here, "q", json!({"hard": {"cpu": "1", "memory": "500Mi"}})).await;
        let mut object = here.get(&path).await.ok();
        object["spec"]["hard"] = json!({"cpu": "2", "memory": "1Gi"});
        assert_eq!(here.put(&path, &object).await.ok()["spec"]["hard"]["cpu"], "2");
        here.until_object("the status follows", &path, |quota| quota["status"]["hard"] == json!({"cpu": "2", "memory": "1Gi"})).await;
        let status = format!("{path}/status");
        let changed = here
            .patch(&status, MERGE, &json!({"status": {"hard": {"cpu": "1", "memory": "400Mi"}}, "spec": {"hard": {"cpu": "9"}}}))
            .await
            .ok();
        assert_eq!((&changed["status"]["hard"]["memory"], &changed["spec"]["hard"]["cpu"]), (&json!("400Mi"), &json!("2")));
        assert_eq!(here.get(&status).await.ok()["status"]["hard"]["memory"], "400Mi");
        let patched =
            here.patch(&path, MERGE, &json!({"metadata": {"labels": {"quota": "mine"}}, "spec": {"hard": {"memory": "750Mi"}}})).await.ok();
        assert_eq!(patched["spec"]["hard"]["memory"], "750Mi");
        here.until_object("the status follows", &path, |quota| quota["status"]["hard"]["memory"] == "750Mi").await;
        let everywhere = here.get("/api/v1/resourcequotas?labelSelector=quota%3Dmine").await.ok();
        assert!(everywhere["items"].as_array().unwrap().iter().any(|one| one["metadata"]["namespace"] == json!(here.namespace)));
        here.delete(&format!("{}?labelSelector=quota%3Dmine", here.path("v1", "resourcequotas"))).await.ok();
        here.until_gone(&path).await;
    });
}

/// [sig-scheduling] LimitRange should create a LimitRange with defaults and ensure pod has those defaults applied. [Conformance]
#[test]
fn a_limit_range_gives_pods_what_they_leave_open() {
    row("limit range", &[], async |here| {
        let ranges = here.path("v1", "limitranges");
        let limits = json!([{"type": "Container", "min": {"cpu": "50m", "memory": "100Mi", "ephemeral-storage": "100Gi"},
            "max": {"cpu": "500m", "memory": "500Mi", "ephemeral-storage": "500Gi"}, "default": {"cpu": "500m", "memory": "500Mi", "ephemeral-storage": "500Gi"},
            "defaultRequest": {"cpu": "100m", "memory": "200Mi", "ephemeral-storage": "200Gi"}}]);
        let mut watch = here.watch(&ranges).await;
        let made = here
            .post(&ranges, &json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l"}, "spec": {"limits": limits}}))
            .await
            .ok();
        watch.until("ADDED", |range| range["metadata"]["name"] == "l").await;
        assert_eq!(made["spec"]["limits"], limits);
        let pods = here.path("v1", "pods");
        let made = here.post(&pods, &pod("open", json!({}))).await.ok();
        assert_eq!(
            made["spec"]["containers"][0]["resources"],
            json!({"requests": {"cpu": "100m", "memory": "200Mi", "ephemeral-storage": "200Gi"}, "limits": {"cpu": "500m", "memory": "500Mi", "ephemeral-storage": "500Gi"}})
        );
        let partly = json!({"requests": {"cpu": "300m", "memory": "150Mi"}, "limits": {"cpu": "300m", "ephemeral-storage": "300Gi"}});
        let made = here.post(&pods, &pod("partly", partly)).await.ok();
        assert_eq!(
            made["spec"]["containers"][0]["resources"],
            json!({"requests": {"cpu": "300m", "memory": "150Mi", "ephemeral-storage": "300Gi"}, "limits": {"cpu": "300m", "memory": "500Mi", "ephemeral-storage": "300Gi"}})
        );
        here.post(&pods, &pod("small", json!({"requests": {"cpu": "10m", "memory": "50Mi", "ephemeral-storage": "50Gi"}})))
            .await
            .failed(403, "Forbidden");
        let large =
            here.post(&pods, &pod("large", json!({"requests": {"cpu": "600m", "memory": "600Mi", "ephemeral-storage": "600Gi"}}))).await;
        assert!(large.code == 403 || large.code == 422, "{}", large.said());
        let lower = json!({"spec": {"limits": [{"type": "Container", "min": {"cpu": "9m", "memory": "49Mi", "ephemeral-storage": "49Gi"}, "max": limits[0]["max"],
            "default": limits[0]["default"], "defaultRequest": limits[0]["defaultRequest"]}]}});
        here.patch(&format!("{ranges}/l"), MERGE, &lower).await.ok();
        here.post(&pods, &pod("small", json!({"requests": {"cpu": "10m", "memory": "50Mi", "ephemeral-storage": "50Gi"}}))).await.ok();
        here.delete(&format!("{ranges}/l")).await.ok();
        here.until_gone(&format!("{ranges}/l")).await;
        here.post(&pods, &pod("large", json!({"requests": {"cpu": "600m"}}))).await.ok();
    });
}

/// [sig-scheduling] LimitRange should list, patch and delete a LimitRange by collection [Conformance]
#[test]
fn limit_ranges_are_listed_everywhere_and_deleted_here() {
    row("limit range collection", &[], async |here| {
        let other = format!("{}-other", here.namespace);
        here.make_namespace(&other, json!({})).await;
        let label = here.namespace.clone();
        let range = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l", "labels": {"l": label}},
            "spec": {"limits": [{"type": "Container", "min": {"cpu": "50m"}}]}});
        let (mine, theirs) = (here.path("v1", "limitranges"), format!("/api/v1/namespaces/{other}/limitranges"));
        for path in [&mine, &theirs] {
            here.post(path, &range).await.ok();
        }
        let everywhere = format!("/api/v1/limitranges?labelSelector=l%3D{label}");
        assert_eq!(here.get(&everywhere).await.ok()["items"].as_array().unwrap().len(), 2);
        let patched = here
            .patch(
                &format!("{mine}/l"),
                super::here::STRATEGIC,
                &json!({"metadata": {"labels": {"x": "patched"}}, "spec": {"limits": [{"type": "Container", "min": {"cpu": "40m"}}]}}),
            )
            .await
            .ok();
        assert_eq!((&patched["metadata"]["labels"]["x"], &patched["spec"]["limits"][0]["min"]["cpu"]), (&json!("patched"), &json!("40m")));
        here.delete(&format!("{mine}?labelSelector=x%3Dpatched")).await.ok();
        let left = here.get(&everywhere).await.ok();
        assert_eq!(left["items"].as_array().unwrap().len(), 1);
        assert_eq!(left["items"][0]["metadata"]["namespace"], json!(other));
    });
}

fn rule(group: &str, resource: &str) -> Value {
    json!({"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": [resource]})
}

fn deployment(name: &str, replicas: u32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {"replicas": replicas, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"nodeSelector": {"no": "node"}, "containers": [{"name": "c", "image": "i"}]}}}})
}

/// What is only about this namespace.
fn only(here: &Here) -> Value {
    json!({"matchLabels": {"kubernetes.io/metadata.name": here.namespace}})
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

/// A webhook about this namespace's config maps; `changes` are merged into it.
fn webhook(here: &Here, hooks: &Hooks, name: &str, changes: Value) -> Value {
    let mut webhook = json!({"name": format!("{name}.example.com"), "clientConfig": hooks.client(&format!("/{name}")), "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "namespaceSelector": only(here), "rules": [rule("", "configmaps")]});
    for (key, value) in changes.as_object().unwrap() {
        webhook[key] = value.clone();
    }
    webhook
}

async fn configure(here: &Here, kind: &str, name: &str, webhooks: Value) -> String {
    let name = format!("{}-{name}", here.namespace);
    let collection = format!("{GROUP}/{}s", kind.to_lowercase());
    let metadata = json!({"name": name, "labels": {"test": here.namespace}});
    here.post(&collection, &json!({"apiVersion": REGISTRATION, "kind": kind, "metadata": metadata, "webhooks": webhooks})).await.ok();
    let path = format!("{collection}/{name}");
    here.remove_later(&path);
    path
}

const VALIDATING: &str = "ValidatingWebhookConfiguration";
const MUTATING: &str = "MutatingWebhookConfiguration";

fn config_map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] listing mutating webhooks should work [Conformance]
/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] listing validating webhooks should work [Conformance]
/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should include webhook resources in discovery documents [Conformance]
#[test]
fn webhook_configurations_are_listed_and_deleted_together() {
    row("webhook lists", &[], async |here| {
        let served = here.get(GROUP).await.ok();
        let maps = here.path("v1", "configmaps");
        for (kind, answer) in [
            (MUTATING, patched(json!([{"op": "add", "path": "/data/added", "value": "yes"}]))),
            (VALIDATING, json!({"allowed": false, "status": {"message": "no"}})),
        ] {
            let plural = format!("{}s", kind.to_lowercase());
            assert!(served["resources"].as_array().unwrap().iter().any(|one| one["name"] == json!(plural)));
            let hooks = Hooks::start(move |_, _| Some(answer.clone())).await;
            for number in 0..10 {
                configure(here, kind, &number.to_string(), json!([webhook(here, &hooks, &format!("h{number}"), json!({}))])).await;
            }
            let all = format!("{GROUP}/{plural}?labelSelector=test%3D{}", here.namespace);
            assert_eq!(here.get(&all).await.ok()["items"].as_array().unwrap().len(), 10);
            let made = here.post(&maps, &config_map("a", json!({"k": "v"}))).await;
            match kind {
                MUTATING => assert_eq!(made.ok()["data"]["added"], "yes"),
                _ => assert!(made.said().contains("denied the request: no"), "{}", made.said()),
            }
            here.delete(&all).await.ok();
            assert_eq!(here.get(&all).await.ok()["items"], json!([]));
            assert_eq!(here.post(&maps, &config_map("b", json!({"k": "v"}))).await.ok()["data"], json!({"k": "v"}));
            for name in ["a", "b"] {
                here.delete(&format!("{maps}/{name}")).await;
            }
        }
    });
}

/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] patching/updating a mutating webhook should work [Conformance]
/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] patching/updating a validating webhook should work [Conformance]
/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate configmap [Conformance]
#[test]
fn webhooks_count_as_they_are_now() {
    row("webhook updates", &[], async |here| {
        let hooks = Hooks::start(|path, asked| {
            let data = &asked["object"]["data"];
            Some(match path {
                "/one" => patched(json!([{"op": "add", "path": "/data/stage-1", "value": "yes"}])),
                "/two" if data["stage-1"] == "yes" => patched(json!([{"op": "add", "path": "/data/stage-2", "value": "yes"}])),
                "/no" => json!({"allowed": false, "status": {"message": "no"}}),
                _ => json!({"allowed": true}),
            })
        })
        .await;
        let maps = here.path("v1", "configmaps");
        let mutating =
            configure(here, MUTATING, "m", json!([webhook(here, &hooks, "one", json!({})), webhook(here, &hooks, "two", json!({}))])).await;
        let made = here.post(&maps, &config_map("a", json!({"start": "yes"}))).await.ok();
        assert_eq!(made["data"], json!({"start": "yes", "stage-1": "yes", "stage-2": "yes"}));
        let validating = configure(here, VALIDATING, "v", json!([webhook(here, &hooks, "no", json!({}))])).await;
        let refused = here.post(&maps, &config_map("b", json!({"k": "v"}))).await;
        assert_eq!(refused.code, 400, "{}", refused.said());
        for path in [&mutating, &validating] {
            let mut object = here.get(path).await.ok();
            for webhook in object["webhooks"].as_array_mut().unwrap() {
                webhook["rules"][0]["operations"] = json!(["UPDATE"]);
            }
            here.put(path, &object).await.ok();
        }
        assert_eq!(here.post(&maps, &config_map("c", json!({"k": "v"}))).await.ok()["data"], json!({"k": "v"}));
        let create = json!([{"op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["CREATE"]}]);
        here.patch(&mutating, super::here::JSON_PATCH, &create).await.ok();
        assert_eq!(here.post(&maps, &config_map("d", json!({"k": "v"}))).await.ok()["data"], json!({"k": "v", "stage-1": "yes"}));
        here.patch(&validating, super::here::JSON_PATCH, &create).await.ok();
        let refused = here.post(&maps, &config_map("e", json!({"k": "v"}))).await;
        assert!(refused.said().contains("denied the request: no"), "{}", refused.said());
    });
}

/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to create and update mutating webhook configurations with match conditions [Conformance]
/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to create and update validating webhook configurations with match conditions [Conformance]
/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should reject mutating webhook configurations with invalid match conditions [Conformance]
/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should reject validating webhook configurations with invalid match conditions [Conformance]
/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate everything except 'skip-me' configmaps [Conformance]
#[test]
fn webhooks_have_match_conditions() {
    row("webhook conditions", &[], async |here| {
        let hooks = Hooks::start(|_, _| Some(patched(json!([{"op": "add", "path": "/data/added", "value": "yes"}])))).await;
        let condition = |source: &str| json!([{"name": "skip-me", "expression": source}]);
        for kind in [MUTATING, VALIDATING] {
            let outside = json!({"matchConditions": condition("false")});
            let path = configure(here, kind, "c", json!([webhook(here, &hooks, "c", outside)])).await;
            assert_eq!(here.get(&path).await.ok()["webhooks"][0]["matchConditions"], condition("false"));
            let mut object = here.get(&path).await.ok();
            object["webhooks"][0]["matchConditions"] = condition("object.metadata.name == 'never'");
            here.put(&path, &object).await.ok();
            assert_eq!(here.get(&path).await.ok()["webhooks"][0]["matchConditions"], object["webhooks"][0]["matchConditions"]);
            object["webhooks"][0]["matchConditions"] = condition("... [] bad expression");
            object["metadata"] = json!({"name": format!("{}-bad", here.namespace)});
            let refused = here.post(&format!("{GROUP}/{}s", kind.to_lowercase()), &object).await.failed(422, "Invalid");
            assert!(refused.contains("compilation failed"), "{refused}");
        }
        let skipping = json!({"matchConditions": condition("object.metadata.name != 'skip-me'")});
        configure(here, MUTATING, "s", json!([webhook(here, &hooks, "s", skipping)])).await;
        let maps = here.path("v1", "configmaps");
        assert_eq!(here.post(&maps, &config_map("skip-me", json!({"k": "v"}))).await.ok()["data"], json!({"k": "v"}));
        assert_eq!(here.post(&maps, &config_map("other", json!({"k": "v"}))).await.ok()["data"]["added"], "yes");
    });
}

/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to deny pod and configmap creation [Conformance]
/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to deny attaching pod [Conformance]
/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate pod and apply defaults after mutation [Conformance]
/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should honor timeout [Conformance]
/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should unconditionally reject operations on fail closed webhook [Conformance]
#[test]
fn webhooks_refuse_change_and_are_waited_for() {
    row("webhook refusals", &[], async |here| {
        let hooks = Hooks::start(|path, asked| {
            let bad = asked["object"]["data"]["bad"] == "yes" || asked["object"]["metadata"]["name"] == "bad" || path == "/attach";
            match path {
                "/silent" => None,
                "/pods" if asked["object"]["metadata"]["name"] == "hangs" => None,
                "/add" => Some(patched(json!([{"op": "add", "path": "/spec/initContainers", "value": [{"name": "added", "image": "i"}]}]))),
                _ if bad => Some(json!({"allowed": false, "status": {"message": "it is not allowed"}})),
                _ => Some(json!({"allowed": true})),
            }
        })
        .await;
        let (maps, pods) = (here.path("v1", "configmaps"), here.path("v1", "pods"));
        let attach =
            json!({"rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CONNECT"], "resources": ["pods/attach"]}]});
        let own = json!({"rules": [rule("", "pods")], "timeoutSeconds": 1});
        let refusing =
            [webhook(here, &hooks, "maps", json!({})), webhook(here, &hooks, "pods", own), webhook(here, &hooks, "attach", attach)];
        let path = configure(here, VALIDATING, "v", json!(refusing)).await;
        here.post(&maps, &config_map("good", json!({"k": "v"}))).await.ok();
        for answer in [
            here.post(&maps, &config_map("a", json!({"bad": "yes"}))).await,
            here.patch(&format!("{maps}/good"), MERGE, &json!({"data": {"bad": "yes"}})).await,
            here.patch(&format!("{maps}/good?fieldManager=t&force=true"), APPLY, &config_map("good", json!({"bad": "yes"}))).await,
            here.post(&pods, &pod("bad", json!({}))).await,
        ] {
            assert!(answer.said().contains("denied the request: it is not allowed"), "{}", answer.said());
        }
        let hung = here.post(&pods, &pod("hangs", json!({}))).await.failed(500, "InternalError");
        assert!(hung.contains("context deadline exceeded"), "{hung}");
        here.post(&pods, &pod("good", json!({}))).await.ok();
        let attached = here.get(&format!("{pods}/good/attach?container=c&stdout=true")).await;
        assert!(attached.said().contains("it is not allowed"), "{}", attached.said());
        here.delete(&path).await.ok();

        let path = configure(here, MUTATING, "m", json!([webhook(here, &hooks, "add", json!({"rules": [rule("", "pods")]}))])).await;
        let made = here.post(&pods, &pod("added", json!({}))).await.ok();
        let added = &made["spec"]["initContainers"][0];
        assert_eq!((&added["name"], &added["terminationMessagePolicy"]), (&json!("added"), &json!("File")));
        here.delete(&path).await.ok();

        for (policy, code) in [("Fail", 500), ("Ignore", 201)] {
            let silent = json!({"timeoutSeconds": 1, "failurePolicy": policy});
            let path = configure(here, VALIDATING, "silent", json!([webhook(here, &hooks, "silent", silent)])).await;
            let answer = here.post(&maps, &config_map(&policy.to_lowercase(), json!({}))).await;
            assert_eq!(answer.code, code, "{}", answer.said());
            here.delete(&path).await.ok();
        }
        let distrusted = json!({"clientConfig": {"url": format!("https://localhost:{}/", hooks.address.port())}});
        let path = configure(here, VALIDATING, "closed", json!([webhook(here, &hooks, "closed", distrusted)])).await;
        here.post(&maps, &config_map("closed", json!({}))).await.failed(500, "InternalError");
        here.delete(&path).await.ok();
    });
}

/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should not be able to mutate or prevent deletion of webhook configuration objects [Conformance]
/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should deny crd creation [Conformance]
#[test]
fn webhooks_guard_definitions_but_not_themselves() {
    row_alone("webhook guards", &[], async |here| {
        let hooks = Hooks::start(|path, _| {
            Some(match path {
                "/label" => patched(json!([{"op": "add", "path": "/metadata/labels/added", "value": "yes"}])),
                _ => json!({"allowed": false, "status": {"message": "it is not allowed"}}),
            })
        })
        .await;
        let of = |group: &str, resource: &str| {
            let rules = json!([{"apiGroups": [group], "apiVersions": ["*"], "operations": ["*"], "resources": [resource]}]);
            json!({"rules": rules, "namespaceSelector": {}})
        };
        let guard = webhook(here, &hooks, "no", of("admissionregistration.k8s.io", "*"));
        let guard = configure(here, VALIDATING, "guard", json!([guard])).await;
        let labels =
            configure(here, MUTATING, "label", json!([webhook(here, &hooks, "label", of("admissionregistration.k8s.io", "*"))])).await;
        let dummy = configure(here, VALIDATING, "dummy", json!([webhook(here, &hooks, "dummy", json!({}))])).await;
        assert_eq!(here.get(&dummy).await.ok()["metadata"]["labels"]["added"], Value::Null);
        for path in [dummy, labels, guard] {
            here.delete(&path).await.ok();
            here.until_gone(&path).await;
        }
        let definitions = webhook(here, &hooks, "no", of("apiextensions.k8s.io", "customresourcedefinitions"));
        let path = configure(here, VALIDATING, "definitions", json!([definitions])).await;
        let group = format!("{}.example.com", here.namespace);
        let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("foos.{group}")},
            "spec": {"group": group, "scope": "Namespaced", "names": {"plural": "foos", "singular": "foo", "kind": "Foo", "listKind": "FooList"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
        let refused = here.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await;
        assert!(refused.said().contains("it is not allowed"), "{}", refused.said());
        here.delete(&path).await.ok();
    });
}
