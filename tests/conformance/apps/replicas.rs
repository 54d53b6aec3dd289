//! Replica sets and replication controllers.

use serde_json::{Value, json};

use super::{collection, is_ready, name_of, noted, scale, template, until_pods, workload};
use crate::harness::Need;
use crate::here::{Here, MERGE, STRATEGIC, row};
use crate::operations;
use crate::shared::shared;

fn controller(name: &str, replicas: i32) -> Value {
    json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": {"replicas": replicas, "selector": {"app": name},
        "template": template(name, super::STAYS)}})
}

/// An orphan with the labels is adopted; a pod that loses them is released and replaced.
async fn adopts_and_releases(here: &Here, path: &str, owner: &Value) {
    let kind = if path.contains("replicasets") { "ReplicaSet" } else { "ReplicationController" };
    let mut pod = template("web", super::STAYS);
    pod["metadata"]["name"] = json!("orphan");
    here.post(&here.path("v1", "pods"), &pod).await.ok();
    here.post(path, owner).await.ok();
    let orphan = here.path("v1", "pods/orphan");
    here.until_object("the orphan is adopted", &orphan, |pod| pod["metadata"]["ownerReferences"][0]["kind"] == kind).await;
    here.patch(&orphan, MERGE, &json!({"metadata": {"labels": {"app": "other"}}})).await.ok();
    here.until_object("the pod is released", &orphan, |pod| pod["metadata"]["ownerReferences"].is_null()).await;
    until_pods(here, "its successor", "web", |pods| pods.len() == 1 && name_of(&pods[0]) != "orphan").await;
}

/// Each replica serves its own name.
async fn serves(here: &Here, path: &str, mut owner: Value) {
    owner["spec"]["template"]["spec"]["containers"][0].as_object_mut().unwrap().remove("command");
    here.post(path, &owner).await.ok();
    let pods = until_pods(here, "two ready pods", "web", |pods| pods.len() == 2 && pods.iter().all(is_ready)).await;
    for pod in pods {
        let ip = pod["status"]["podIP"].as_str().unwrap();
        here.until("it answers", async || {
            let said = shared()
                .on_node(ip.parse().unwrap(), || here.cluster.run("curl", &["-sS", "--max-time", "10", &format!("{ip}:8080")]))
                .try_ok()?;
            if said.contains(name_of(&pod)) { Ok(()) } else { Err(said) }
        })
        .await;
    }
}

/// [sig-apps] ReplicaSet Replicaset should have a working scale subresource [Conformance]
/// [sig-apps] ReplicaSet Replace and Patch tests [Conformance]
/// [sig-apps] ReplicaSet should validate Replicaset Status endpoints [Conformance]
/// [sig-apps] ReplicaSet should list and delete a collection of ReplicaSets [Conformance]
#[test]
fn a_replica_set_lives() {
    row("replica set lives", &[Need::Native], async |here| {
        let sets = here.path("apps/v1", "replicasets");
        here.post(&sets, &workload("web", 1, &json!({}))).await.ok();
        until_pods(here, "a pod", "web", |pods| pods.len() == 1 && is_ready(&pods[0])).await;
        scale(here, "replicasets", "web").await;
        let path = format!("{sets}/web");
        let patch = json!({"metadata": {"labels": {"test": "patched"}}, "spec": {"replicas": 2,
            "template": {"spec": {"terminationGracePeriodSeconds": 2}}}});
        let patched = here.patch(&path, STRATEGIC, &patch).await.ok();
        assert_eq!((&patched["spec"]["replicas"], &patched["metadata"]["labels"]["test"]), (&json!(2), &json!("patched")));
        here.until_object("two ready replicas", &path, |set| set["status"]["readyReplicas"] == 2 && set["status"]["replicas"] == 2).await;
        operations::status_is_written(here, &path, &noted()).await;
        collection(here, "apps/v1", "replicasets", |name| workload(name, 1, &json!({}))).await;
    });
}

/// [sig-apps] ReplicaSet should adopt matching pods on creation and release no longer matching pods [Conformance]
#[test]
fn a_replica_set_adopts_and_releases() {
    row("replica set adopts", &[Need::Native], async |here| {
        adopts_and_releases(here, &here.path("apps/v1", "replicasets"), &workload("web", 1, &json!({}))).await;
    });
}

/// [sig-apps] ReplicaSet should serve a basic image on each replica with a public image [Conformance]
#[test]
fn a_replica_set_serves() {
    row("replica set serves", &[Need::Native], async |here| {
        serves(here, &here.path("apps/v1", "replicasets"), workload("web", 2, &json!({}))).await;
    });
}

/// [sig-apps] ReplicationController should adopt matching pods on creation [Conformance]
/// [sig-apps] ReplicationController should release no longer matching pods [Conformance]
#[test]
fn a_replication_controller_adopts_and_releases() {
    row("replication controller adopts", &[Need::Native], async |here| {
        adopts_and_releases(here, &here.path("v1", "replicationcontrollers"), &controller("web", 1)).await;
    });
}

/// [sig-apps] ReplicationController should serve a basic image on each replica with a public image [Conformance]
#[test]
fn a_replication_controller_serves() {
    row("replication controller serves", &[Need::Native], async |here| {
        serves(here, &here.path("v1", "replicationcontrollers"), controller("web", 2)).await;
    });
}

/// [sig-apps] ReplicationController should get and update a ReplicationController scale [Conformance]
/// [sig-apps] ReplicationController should test the lifecycle of a ReplicationController [Conformance]
#[test]
fn a_replication_controller_lives() {
    row("replication controller lives", &[Need::Native], async |here| {
        let all = here.path("v1", "replicationcontrollers");
        here.post(&all, &controller("web", 1)).await.ok();
        let path = format!("{all}/web");
        let mut watch = here.watch(&format!("{all}?labelSelector=app%3Dweb")).await;
        watch.until("MODIFIED", |seen| seen["status"]["readyReplicas"] == 1).await;
        here.patch(&path, MERGE, &json!({"metadata": {"labels": {"test": "patched"}}})).await.ok();
        watch.until("MODIFIED", |seen| seen["metadata"]["labels"]["test"] == "patched").await;
        scale(here, "replicationcontrollers", "web").await;
        operations::status_is_written(here, &path, &noted()).await;
        let everywhere = here.get("/api/v1/replicationcontrollers?labelSelector=test%3Dpatched").await.ok();
        assert!(operations::names(&everywhere).contains(&"web".to_owned()));
        here.delete(&format!("{all}?labelSelector=app%3Dweb")).await.ok();
        watch.until("DELETED", |seen| name_of(seen) == "web").await;
    });
}

/// [sig-apps] ReplicationController should surface a failure condition on a common issue like exceeded quota [Conformance]
#[test]
fn a_replication_controller_tells_of_an_exceeded_quota() {
    row("replication controller quota", &[], async |here| {
        let quota = json!({"metadata": {"name": "two"}, "spec": {"hard": {"pods": "2"}}});
        here.post(&here.path("v1", "resourcequotas"), &quota).await.ok();
        here.until_object("the quota is counted", &here.path("v1", "resourcequotas/two"), |quota| quota["status"]["hard"]["pods"] == "2")
            .await;
        let all = here.path("v1", "replicationcontrollers");
        here.post(&all, &controller("web", 3)).await.ok();
        let path = format!("{all}/web");
        let fails = |set: &Value| {
            let conditions = set["status"]["conditions"].as_array();
            conditions
                .into_iter()
                .flatten()
                .any(|one| one["type"] == "ReplicaFailure" && one["status"] == "True" && one["reason"] == "FailedCreate")
        };
        here.until_object("it says that it failed", &path, fails).await;
        here.patch(&path, MERGE, &json!({"spec": {"replicas": 2}})).await.ok();
        here.until_object("it says so no more", &path, |set| !fails(set)).await;
    });
}
