//! Namespaces and what happens to their content.

use serde_json::{Value, json};

use crate::here::{Here, MERGE, STRATEGIC, row};
use crate::operations::names;

async fn another(here: &Here) -> (String, String) {
    let name = format!("{}-x", here.namespace);
    here.make_namespace(&name, json!({})).await;
    let path = format!("/api/v1/namespaces/{name}");
    (name, path)
}

/// [sig-api-machinery] Namespaces [Serial] should patch a Namespace [Conformance]
/// [sig-api-machinery] Namespaces [Serial] should apply an update to a Namespace [Conformance]
#[test]
fn a_namespace_is_patched_and_updated() {
    row("namespace update", &[], async |here| {
        let (_, path) = another(here).await;
        here.patch(&path, STRATEGIC, &json!({"metadata": {"labels": {"testLabel": "testValue"}}})).await.ok();
        let mut namespace = here.get(&path).await.ok();
        assert_eq!(namespace["metadata"]["labels"]["testLabel"], "testValue");
        namespace["metadata"]["labels"]["updated"] = json!("yes");
        here.put(&path, &namespace).await.ok();
        let read = here.get(&path).await.ok();
        assert_eq!(
            (&read["metadata"]["labels"]["updated"], &read["metadata"]["labels"]["testLabel"]),
            (&json!("yes"), &json!("testValue"))
        );
    });
}

/// [sig-api-machinery] Namespaces [Serial] should apply changes to a namespace status [Conformance]
#[test]
fn the_status_of_a_namespace_is_written() {
    row("namespace status", &[], async |here| {
        let (_, path) = another(here).await;
        let status = format!("{path}/status");
        assert_eq!(here.get(&status).await.ok()["status"]["phase"], "Active");
        let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "E2E", "message": "Set by a test"});
        let patch = json!({"metadata": {"annotations": {"patched": "true"}}, "status": {"conditions": [condition("Patched")]}});
        let patched = here.patch(&status, MERGE, &patch).await.ok();
        assert_eq!((&patched["status"]["conditions"][0]["type"], &patched["status"]["phase"]), (&json!("Patched"), &json!("Active")));
        assert_eq!(patched["metadata"]["annotations"]["patched"], "true");
        let mut updated = patched.clone();
        updated["status"]["conditions"].as_array_mut().unwrap().push(condition("Updated"));
        updated["spec"]["finalizers"] = json!([]);
        let updated = here.put(&status, &updated).await.ok();
        assert_eq!(updated["status"]["conditions"][1]["message"], "Set by a test");
        assert_eq!(updated["spec"], patched["spec"], "what is wished is not the status' to change");
    });
}

/// [sig-api-machinery] Namespaces [Serial] should apply a finalizer to a Namespace [Conformance]
#[test]
fn a_finalizer_holds_a_namespace() {
    row("namespace finalizer", &[], async |here| {
        let (_, path) = another(here).await;
        let finalize = format!("{path}/finalize");
        let mut namespace = here.get(&path).await.ok();
        assert_eq!(namespace["spec"]["finalizers"], json!(["kubernetes"]));
        namespace["spec"]["finalizers"] = json!(["kubernetes", "e2e.example.com/fakeFinalizer"]);
        let namespace = here.put(&finalize, &namespace).await.ok();
        assert_eq!(namespace["spec"]["finalizers"], json!(["kubernetes", "e2e.example.com/fakeFinalizer"]));
        here.delete(&path).await.ok();
        let wanted = json!(["e2e.example.com/fakeFinalizer"]);
        let mut held = here.until_object("only it is left", &path, |namespace| namespace["spec"]["finalizers"] == wanted).await;
        assert_eq!(held["status"]["phase"], "Terminating");
        held["spec"]["finalizers"] = json!([]);
        let left = here.put(&finalize, &held).await.ok();
        assert!(left["spec"]["finalizers"].as_array().is_none_or(Vec::is_empty), "{left}");
        here.until_gone(&path).await;
    });
}

/// Deletes a namespace that has an object, waits for its end, makes it again: it is empty.
async fn emptied(here: &Here, resource: &str, object: &Value) {
    let (name, path) = another(here).await;
    let objects = format!("{path}/{resource}");
    here.post(&objects, object).await.ok();
    assert!(!names(&here.get(&objects).await.ok()).is_empty());
    here.delete(&path).await.ok();
    here.until_gone(&path).await;
    here.make_namespace(&name, json!({})).await;
    assert!(names(&here.get(&objects).await.ok()).is_empty());
}

/// [sig-api-machinery] Namespaces [Serial] should ensure that all services are removed when a namespace is deleted [Conformance]
#[test]
fn services_go_with_their_namespace() {
    row("namespace services", &[], async |here| {
        let service = json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 80}]}});
        emptied(here, "services", &service).await;
    });
}

/// [sig-api-machinery] Namespaces [Serial] should ensure that all pods are removed when a namespace is deleted [Conformance]
#[test]
fn pods_go_with_their_namespace() {
    row("namespace pods", &[], async |here| {
        let (name, path) = another(here).await;
        let pod = json!({"metadata": {"name": "web"}, "spec": {"terminationGracePeriodSeconds": 1,
            "containers": [{"name": "c", "image": "coracle.local/kubia:1.1"}]}});
        here.post(&format!("{path}/pods"), &pod).await.ok();
        here.until_object("the pod runs", &format!("{path}/pods/web"), |pod| pod["status"]["phase"] == "Running").await;
        here.delete(&path).await.ok();
        here.until_gone(&path).await;
        here.make_namespace(&name, json!({})).await;
        assert!(names(&here.get(&format!("{path}/pods")).await.ok()).is_empty());
    });
}

/// [sig-api-machinery] OrderedNamespaceDeletion namespace deletion should delete pod first [Conformance]
#[test]
fn pods_of_a_namespace_go_first() {
    row("namespace order", &[], async |here| {
        let (_, path) = another(here).await;
        let pod = json!({"metadata": {"name": "held", "finalizers": ["example.com/held"]},
            "spec": {"nodeSelector": {"no": "node"}, "containers": [{"name": "c", "image": "coracle.local/kubia:1.0"}]}});
        here.post(&format!("{path}/pods"), &pod).await.ok();
        here.post(&format!("{path}/configmaps"), &json!({"metadata": {"name": "after"}})).await.ok();
        here.delete(&path).await.ok();
        let pod = format!("{path}/pods/held");
        here.until_object("the pod is told to go", &pod, |pod| pod["metadata"]["deletionTimestamp"].is_string()).await;
        here.until_object("the namespace says what it waits for", &path, |namespace| {
            let conditions = namespace["status"]["conditions"].as_array().into_iter().flatten();
            let mut remaining = conditions.filter(|condition| condition["type"] == "NamespaceContentRemaining");
            remaining
                .any(|condition| condition["message"].as_str().is_some_and(|message| message.contains("pods. has 1 resource instances")))
        })
        .await;
        let map = here.get(&format!("{path}/configmaps/after")).await.ok();
        assert!(map["metadata"]["deletionTimestamp"].is_null(), "{map}");
        here.patch(&pod, MERGE, &json!({"metadata": {"finalizers": null}})).await.ok();
        here.until_gone(&path).await;
    });
}
