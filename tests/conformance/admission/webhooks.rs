//! Rows of `[sig-api-machinery]` about admission webhooks.

use serde_json::{Value, json};

use super::super::here::{APPLY, Here, JSON_PATCH, MERGE, row, row_alone};
use super::hooks::{Hooks, patched};
use super::quotas::pod;
use super::{GROUP, REGISTRATION, only, rule};

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
        here.patch(&mutating, JSON_PATCH, &create).await.ok();
        assert_eq!(here.post(&maps, &config_map("d", json!({"k": "v"}))).await.ok()["data"], json!({"k": "v", "stage-1": "yes"}));
        here.patch(&validating, JSON_PATCH, &create).await.ok();
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
