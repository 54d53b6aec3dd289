//! Webhooks that look at custom resources.

use serde_json::{Value, json};

use super::{anything, change, define, definition, group, object, resource, version};
use crate::admission::hooks::{Hooks, converted, patched};
use crate::here::{APPLY, Here, MERGE, row};

/// A webhook for all that happens to this test's custom resources, in whatever version.
async fn configure(here: &Here, hooks: &Hooks, kind: &str, paths: &[&str], operations: Value) -> String {
    let webhooks: Vec<Value> = paths
        .iter()
        .map(|path| {
            json!({"name": format!("{path}.example.com"), "clientConfig": hooks.client(&format!("/{path}")), "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "rules": [{"apiGroups": [group(here)], "apiVersions": ["*"], "operations": operations, "resources": ["foos"]}]})
        })
        .collect();
    let collection = format!("/apis/admissionregistration.k8s.io/v1/{}s", kind.to_lowercase());
    let object =
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": here.namespace}, "webhooks": webhooks});
    here.post(&collection, &object).await.ok();
    let path = format!("{collection}/{}", here.namespace);
    here.remove_later(&path);
    path
}

/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to deny custom resource creation, update and deletion [Conformance]
#[test]
fn a_webhook_denies_what_happens_to_custom_resources() {
    row("webhook custom denied", &[], async |here| {
        let hooks = Hooks::start(|_, asked| {
            let bad = ["object", "oldObject"].iter().any(|field| asked[field]["data"]["bad"] == "yes");
            let deleted = asked["operation"] == "DELETE" && asked["oldObject"]["data"]["keep"] == "yes";
            Some(if bad || deleted {
                json!({"allowed": false, "status": {"message": "the custom resource contains unwanted data"}})
            } else {
                json!({"allowed": true})
            })
        })
        .await;
        define(here, &definition(here, "Foo", json!([version("v1", true, anything())]))).await;
        configure(here, &hooks, "ValidatingWebhookConfiguration", &["deny"], json!(["CREATE", "UPDATE", "DELETE"])).await;
        let foos = resource(here, "v1", "foos");
        let denied = |answer: crate::answer::Answer| {
            let wanted = r#"admission webhook "deny.example.com" denied the request: the custom resource contains unwanted data"#;
            assert_eq!(answer.body["message"], wanted, "{}", answer.said());
        };
        denied(here.post(&foos, &object(here, "v1", "Foo", "bad", json!({"data": {"bad": "yes"}}))).await);
        here.post(&foos, &object(here, "v1", "Foo", "a", json!({"data": {"keep": "yes"}}))).await.ok();
        let path = format!("{foos}/a");
        let mut changed = here.get(&path).await.ok();
        changed["data"]["bad"] = json!("yes");
        denied(here.put(&path, &changed).await);
        denied(here.patch(&path, MERGE, &json!({"data": {"bad": "yes"}})).await);
        let applied = object(here, "v1", "Foo", "a", json!({"data": {"bad": "yes"}}));
        denied(here.patch(&format!("{path}?fieldManager=t"), APPLY, &applied).await);
        denied(here.delete(&path).await);
        denied(here.delete(&foos).await);
        here.patch(&path, MERGE, &json!({"data": {"keep": "no"}})).await.ok();
        here.delete(&path).await.ok();
    });
}

fn adds(path: &str, value: &str) -> Value {
    patched(json!([{"op": "add", "path": path, "value": value}]))
}

/// Two webhooks, the second of which builds on what the first did.
async fn in_stages() -> Hooks {
    Hooks::start(|path, asked| {
        let data = &asked["object"]["data"];
        Some(match path {
            "/one" if data["mutation-start"] == "yes" => adds("/data/mutation-stage-1", "yes"),
            "/two" if data["mutation-stage-1"] == "yes" => adds("/data/mutation-stage-2", "yes"),
            _ => json!({"allowed": true}),
        })
    })
    .await
}

/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate custom resource [Conformance]
/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate custom resource with pruning [Conformance]
#[test]
fn webhooks_change_custom_resources_within_their_schema() {
    let known = json!({"type": "object", "properties": {"data": {"type": "object", "properties": {
        "mutation-start": {"type": "string"}, "mutation-stage-1": {"type": "string"}}}}});
    for (name, schema, second) in [("webhook custom", anything(), json!("yes")), ("webhook custom pruned", known, Value::Null)] {
        row(name, &[], async move |here| {
            let hooks = in_stages().await;
            define(here, &definition(here, "Foo", json!([version("v1", true, schema)]))).await;
            configure(here, &hooks, "MutatingWebhookConfiguration", &["one", "two"], json!(["CREATE", "UPDATE"])).await;
            let foo = object(here, "v1", "Foo", "a", json!({"data": {"mutation-start": "yes"}}));
            let made = here.post(&resource(here, "v1", "foos"), &foo).await.ok();
            assert_eq!((&made["data"]["mutation-stage-1"], &made["data"]["mutation-stage-2"]), (&json!("yes"), &second));
            assert_eq!(here.get(&resource(here, "v1", "foos/a")).await.ok()["data"], made["data"]);
        });
    }
}

/// [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate custom resource with different stored version [Conformance]
#[test]
fn webhooks_change_custom_resources_of_another_stored_version() {
    row("webhook custom versions", &[], async |here| {
        let hooks = in_stages().await;
        let definition = definition(here, "Foo", json!([version("v1", true, anything()), version("v2", false, anything())]));
        let path = define(here, &definition).await;
        configure(here, &hooks, "MutatingWebhookConfiguration", &["one", "two"], json!(["CREATE", "UPDATE"])).await;
        let foos = resource(here, "v1", "foos");
        here.post(&foos, &object(here, "v1", "Foo", "a", json!({"data": {"mutation-start": "no"}}))).await.ok();
        change(
            here,
            &path,
            json!([{"op": "replace", "path": "/spec/versions/0/storage", "value": false}, {"op": "replace", "path": "/spec/versions/1/storage", "value": true}]),
        )
        .await;
        let changed = here.patch(&format!("{foos}/a"), MERGE, &json!({"data": {"mutation-start": "yes"}})).await.ok();
        assert_eq!(changed["data"], json!({"mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes"}));
        assert!(changed["apiVersion"].as_str().unwrap().ends_with("/v1"), "{changed}");
        let asked = hooks.seen.lock().last().unwrap().1.clone();
        assert_eq!((&asked["requestKind"]["version"], &asked["object"]["apiVersion"]), (&json!("v1"), &changed["apiVersion"]));
    });
}

/// Versions of a kind whose field has another name in each.
fn renamed(object: &mut Value, to: &str) {
    let (from, to) = if to.ends_with("/v2") { ("one", "two") } else { ("two", "one") };
    if let Some(value) = object.as_object_mut().unwrap().remove(from) {
        object[to] = value;
    }
}

#[test]
fn who_asks_for_one_version_is_told_of_all_in_it() {
    row("webhook custom equivalent", &[], async |here| {
        let hooks = Hooks::start(|path, asked| {
            Some(match path {
                "/convert" => converted(asked, renamed),
                "/change" => adds("/one", "changed"),
                _ => json!({"allowed": asked["object"]["one"] == "changed", "status": {"message": "it was not changed"}}),
            })
        })
        .await;
        let mut definition = definition(here, "Foo", json!([version("v1", true, anything()), version("v2", false, anything())]));
        definition["spec"]["conversion"] =
            json!({"strategy": "Webhook", "webhook": {"clientConfig": hooks.client("/convert"), "conversionReviewVersions": ["v1"]}});
        define(here, &definition).await;
        let rules = json!([{"apiGroups": [group(here)], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["foos"]}]);
        for (kind, path) in [("MutatingWebhookConfiguration", "change"), ("ValidatingWebhookConfiguration", "check")] {
            let made = configure(here, &hooks, kind, &[path], json!(["CREATE"])).await;
            change(here, &made, json!([{"op": "replace", "path": "/webhooks/0/rules", "value": rules}])).await;
        }
        let policy = json!({"matchConstraints": {"resourceRules": rules}, "variables": [{"name": "limit", "expression": "params.limit"}],
            "validations": [{"expression": "size(object.one) <= variables.limit", "message": "too long"}],
            "paramKind": {"apiVersion": format!("{}/v1", group(here)), "kind": "Foo"}});
        here.post(&resource(here, "v1", "foos"), &object(here, "v1", "Foo", "limits", json!({"limit": 7}))).await.ok();
        let binding = json!({"policyName": here.namespace, "validationActions": ["Deny"],
            "paramRef": {"name": "limits", "namespace": here.namespace, "parameterNotFoundAction": "Deny"}});
        for (plural, kind, spec) in [("policies", "Policy", policy), ("policybindings", "PolicyBinding", binding)] {
            let collection = format!("/apis/admissionregistration.k8s.io/v1/validatingadmission{plural}");
            let object = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": format!("ValidatingAdmission{kind}"),
                "metadata": {"name": here.namespace}, "spec": spec});
            here.post(&collection, &object).await.ok();
            here.remove_later(format!("{collection}/{}", here.namespace));
        }
        let foos = resource(here, "v2", "foos");
        let made = here.post(&foos, &object(here, "v2", "Foo", "a", json!({"two": "x"}))).await.ok();
        assert_eq!((&made["two"], &made["one"]), (&json!("changed"), &Value::Null));
        let seen = hooks.seen.lock().iter().rev().find(|(path, _)| path == "/check").unwrap().1.clone();
        assert_eq!((&seen["requestResource"]["version"], &seen["resource"]["version"]), (&json!("v2"), &json!("v1")));
        change(here, &format!("{}/limits", resource(here, "v1", "foos")), json!([{"op": "replace", "path": "/limit", "value": 6}])).await;
        let refused = here.post(&foos, &object(here, "v2", "Foo", "b", json!({"two": "x"}))).await.failed(422, "Invalid");
        assert!(refused.ends_with("denied request: too long"), "{refused}");
    });
}
