//! Garbage collection.

use serde_json::{Value, json};

use crate::here::{Here, MERGE, STRATEGIC, row};
use crate::operations::names;

/// Replicas of something that no node takes, so that pods exist and need nothing.
fn template(app: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}}, "spec": {"nodeSelector": {"no": "node"}, "containers": [{"name": "c", "image": "coracle.local/kubia:1.0"}]}})
}

async fn make_controller(here: &Here, name: &str, replicas: u32) -> Value {
    let spec = json!({"replicas": replicas, "selector": {"app": name}, "template": template(name)});
    here.post(&here.path("v1", "replicationcontrollers"), &json!({"metadata": {"name": name}, "spec": spec})).await.ok()
}

/// The pods of an app, when there are so many.
async fn until_pods(here: &Here, app: &str, count: usize) -> Vec<Value> {
    here.until(&format!("{count} pods of {app}"), async || {
        let list = here.get(&here.path("v1", &format!("pods?labelSelector=app%3D{app}"))).await.ok();
        let pods = list["items"].as_array().unwrap().clone();
        if pods.len() == count { Ok(pods) } else { Err(names(&list)) }
    })
    .await
}

async fn until_orphaned(here: &Here, path: &str) -> Value {
    here.until_object("it has no owner any more", path, |object| object["metadata"]["ownerReferences"].is_null()).await
}

fn policy(propagation: &str) -> Value {
    json!({"propagationPolicy": propagation})
}

/// [sig-api-machinery] Garbage collector should delete pods created by rc when not orphaning [Conformance]
#[test]
fn pods_go_with_their_controller() {
    row("gc background", &[], async |here| {
        make_controller(here, "simple", 2).await;
        until_pods(here, "simple", 2).await;
        let path = here.path("v1", "replicationcontrollers/simple");
        here.delete_with(&path, &policy("Background")).await.ok();
        assert_eq!(here.get(&path).await.code, 404);
        until_pods(here, "simple", 0).await;
    });
}

/// [sig-api-machinery] Garbage collector should orphan pods created by rc if delete options say so [Serial] [Conformance]
#[test]
fn pods_stay_without_their_controller() {
    row("gc orphan", &[], async |here| {
        make_controller(here, "simple", 10).await;
        let pods = until_pods(here, "simple", 10).await;
        let path = here.path("v1", "replicationcontrollers/simple");
        here.delete_with(&path, &policy("Orphan")).await.ok();
        here.until_gone(&path).await;
        for pod in &pods {
            let name = pod["metadata"]["name"].as_str().unwrap();
            let left = until_orphaned(here, &here.path("v1", &format!("pods/{name}"))).await;
            assert_eq!((&left["metadata"]["uid"], &left["metadata"]["deletionTimestamp"]), (&pod["metadata"]["uid"], &Value::Null));
        }
    });
}

/// Makes a deployment; the path of its replica set.
async fn deployment_with_replica_set(here: &Here) -> String {
    let spec = json!({"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template("web")});
    here.post(&here.path("apps/v1", "deployments"), &json!({"metadata": {"name": "web"}, "spec": spec})).await.ok();
    until_pods(here, "web", 2).await;
    let sets = here.get(&here.path("apps/v1", "replicasets")).await.ok();
    here.path("apps/v1", &format!("replicasets/{}", names(&sets)[0]))
}

/// [sig-api-machinery] Garbage collector should delete RS created by deployment when not orphaning [Conformance]
#[test]
fn a_replica_set_goes_with_its_deployment() {
    row("gc deployment", &[], async |here| {
        let set = deployment_with_replica_set(here).await;
        here.delete_with(&here.path("apps/v1", "deployments/web"), &policy("Background")).await.ok();
        here.until_gone(&set).await;
        until_pods(here, "web", 0).await;
    });
}

/// [sig-api-machinery] Garbage collector should orphan RS created by deployment when deleteOptions.PropagationPolicy is Orphan [Conformance]
#[test]
fn a_replica_set_stays_without_its_deployment() {
    row("gc deployment orphan", &[], async |here| {
        let set = deployment_with_replica_set(here).await;
        let deployment = here.path("apps/v1", "deployments/web");
        here.delete_with(&deployment, &policy("Orphan")).await.ok();
        here.until_gone(&deployment).await;
        let left = until_orphaned(here, &set).await;
        assert!(left["metadata"]["deletionTimestamp"].is_null(), "{left}");
        for pod in until_pods(here, "web", 2).await {
            assert_eq!(pod["metadata"]["ownerReferences"][0]["uid"], left["metadata"]["uid"]);
        }
    });
}

/// [sig-api-machinery] Garbage collector should keep the rc around until all its pods are deleted if the deleteOptions says so [Serial] [Conformance]
#[test]
fn a_controller_waits_for_its_pods() {
    row("gc foreground", &[], async |here| {
        make_controller(here, "simple", 10).await;
        let pods = until_pods(here, "simple", 10).await;
        let held = here.path("v1", &format!("pods/{}", pods[0]["metadata"]["name"].as_str().unwrap()));
        here.patch(&held, MERGE, &json!({"metadata": {"finalizers": ["example.com/held"]}})).await.ok();
        let path = here.path("v1", "replicationcontrollers/simple");
        here.delete_with(&path, &policy("Foreground")).await.ok();
        here.until_object("the held pod is told to go", &held, |pod| pod["metadata"]["deletionTimestamp"].is_string()).await;
        until_pods(here, "simple", 1).await;
        let controller = here.get(&path).await.ok();
        assert!(controller["metadata"]["deletionTimestamp"].is_string(), "{controller}");
        assert_eq!(controller["metadata"]["finalizers"], json!(["foregroundDeletion"]));
        here.patch(&held, MERGE, &json!({"metadata": {"finalizers": null}})).await.ok();
        here.until_gone(&path).await;
        until_pods(here, "simple", 0).await;
    });
}

/// [sig-api-machinery] Garbage collector should not delete dependents that have both valid owner and owner that's waiting for dependents to be deleted [Serial] [Conformance]
#[test]
fn pods_of_two_owners_stay_with_one() {
    row("gc two owners", &[], async |here| {
        make_controller(here, "going", 10).await;
        let staying = make_controller(here, "staying", 0).await;
        let pods = until_pods(here, "going", 10).await;
        let owner = json!({"apiVersion": "v1", "kind": "ReplicationController", "name": "staying", "uid": staying["metadata"]["uid"]});
        for pod in &pods[..5] {
            let path = here.path("v1", &format!("pods/{}", pod["metadata"]["name"].as_str().unwrap()));
            here.patch(&path, STRATEGIC, &json!({"metadata": {"ownerReferences": [owner]}})).await.ok();
        }
        let path = here.path("v1", "replicationcontrollers/going");
        here.delete_with(&path, &policy("Foreground")).await.ok();
        here.until_gone(&path).await;
        for pod in until_pods(here, "going", 5).await {
            assert!(pod["metadata"]["deletionTimestamp"].is_null(), "{pod}");
            assert_eq!(pod["metadata"]["ownerReferences"], json!([owner]));
        }
    });
}

/// [sig-api-machinery] Garbage collector should not be blocked by dependency circle [Conformance]
#[test]
fn a_circle_of_owners_goes() {
    row("gc circle", &[], async |here| {
        let mut uids = Vec::new();
        for name in ["pod1", "pod2", "pod3"] {
            let pod = json!({"metadata": {"name": name, "labels": {"app": "circle"}}, "spec": template("circle")["spec"]});
            uids.push(here.post(&here.path("v1", "pods"), &pod).await.ok()["metadata"]["uid"].clone());
        }
        for (of, owner) in [(0, 2), (1, 0), (2, 1)] {
            let path = here.path("v1", &format!("pods/pod{}", of + 1));
            let reference = json!({"apiVersion": "v1", "kind": "Pod", "name": format!("pod{}", owner + 1), "uid": uids[owner],
                "controller": true, "blockOwnerDeletion": true});
            here.patch(&path, MERGE, &json!({"metadata": {"ownerReferences": [reference]}})).await.ok();
        }
        here.delete_with(&here.path("v1", "pods/pod1"), &policy("Foreground")).await.ok();
        until_pods(here, "circle", 0).await;
    });
}
