//! Deployments.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{another_template, name_of, noted, pods, scale, until_pods, version_of, workload};
use crate::harness::Need;
use crate::here::{Here, MERGE, STRATEGIC, row};
use crate::operations;

fn done(deployment: &Value, replicas: i32) -> bool {
    let status = &deployment["status"];
    status["observedGeneration"] == deployment["metadata"]["generation"]
        && ["replicas", "updatedReplicas", "availableReplicas"].iter().all(|field| status[*field] == replicas)
}

async fn until_done(here: &Here, name: &str, replicas: i32) -> Value {
    let path = here.path("apps/v1", &format!("deployments/{name}"));
    here.until_object("the rollout is done", &path, |deployment| done(deployment, replicas)).await
}

async fn create(here: &Here, name: &str, replicas: i32, extra: &Value) -> String {
    here.post(&here.path("apps/v1", "deployments"), &workload(name, replicas, extra)).await.ok();
    here.path("apps/v1", &format!("deployments/{name}"))
}

/// [sig-apps] Deployment Deployment should have a working scale subresource [Conformance]
/// [sig-apps] Deployment should run the lifecycle of a Deployment [Conformance]
/// [sig-apps] Deployment should validate Deployment Status endpoints [Conformance]
#[test]
fn a_deployment_lives() {
    row("deployment lives", &[Need::Native], async |here| {
        let path = create(here, "web", 1, &json!({})).await;
        until_done(here, "web", 1).await;
        scale(here, "deployments", "web").await;
        until_done(here, "web", 3).await;
        here.patch(&path, STRATEGIC, &another_template("2")).await.ok();
        until_done(here, "web", 3).await;
        assert!(pods(here, "web").await.iter().all(|pod| version_of(pod) == "2"));
        operations::status_is_written(here, &path, &noted()).await;
        let all = here.get("/apis/apps/v1/deployments?labelSelector=app%3Dweb").await.ok();
        assert!(operations::names(&all).contains(&"web".to_owned()));
        here.delete(&here.path("apps/v1", "deployments?labelSelector=app%3Dweb")).await.ok();
        here.until_gone(&path).await;
    });
}

/// [sig-apps] Deployment RecreateDeployment should delete old pods and create new ones [Conformance]
#[test]
fn recreate_never_mixes() {
    row("deployment recreated", &[Need::Native], async |here| {
        let path = create(here, "web", 2, &json!({"strategy": {"type": "Recreate"}})).await;
        until_done(here, "web", 2).await;
        let mut watch = here.watch(&here.path("v1", "pods?labelSelector=app%3Dweb")).await;
        here.patch(&path, STRATEGIC, &another_template("2")).await.ok();
        let mut old = BTreeSet::new();
        loop {
            let event = watch.next().await;
            let pod = &event["object"];
            let ended = event["type"] == "DELETED" || matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
            match version_of(pod) {
                "2" => break assert!(old.is_empty(), "{old:?} run when a new one comes"),
                _ if ended => drop(old.remove(name_of(pod))),
                _ => drop(old.insert(name_of(pod).to_owned())),
            }
        }
        until_done(here, "web", 2).await;
    });
}

/// [sig-apps] Deployment RollingUpdateDeployment should delete old pods and create new ones [Conformance]
/// [sig-apps] ReplicaSet should adopt matching pods on creation and release no longer matching pods [Conformance]
#[test]
fn a_rolling_update_adopts_and_replaces() {
    row("deployment rolling", &[Need::Native], async |here| {
        let sets = here.path("apps/v1", "replicasets");
        here.post(&sets, &workload("web", 1, &json!({}))).await.ok();
        let pod = until_pods(here, "a pod", "web", |pods| pods.len() == 1).await.remove(0);
        create(here, "web", 1, &json!({"template": {"spec": {"containers": super::template("web", super::STAYS)["spec"]["containers"]}}}))
            .await;
        here.patch(&here.path("apps/v1", "deployments/web"), STRATEGIC, &another_template("2")).await.ok();
        until_done(here, "web", 1).await;
        until_pods(here, "the old pod is replaced", "web", |pods| pods.len() == 1 && pods[0]["metadata"]["uid"] != pod["metadata"]["uid"])
            .await;
        let set = here.get(&here.path("apps/v1", "replicasets/web")).await.ok();
        assert_eq!((&set["metadata"]["ownerReferences"][0]["kind"], &set["spec"]["replicas"]), (&json!("Deployment"), &json!(0)));
    });
}

/// [sig-apps] Deployment deployment should delete old replica sets [Conformance]
/// [sig-apps] Deployment deployment should support rollover [Conformance]
#[test]
fn history_is_limited_and_rollouts_may_be_overtaken() {
    row("deployment history", &[Need::Native], async |here| {
        let path = create(here, "web", 2, &json!({"revisionHistoryLimit": 0})).await;
        until_done(here, "web", 2).await;
        let broken = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "coracle.local/no-such-image:1"}]}}}});
        here.patch(&path, STRATEGIC, &broken).await.ok();
        until_pods(here, "a pod that cannot start", "web", |pods| pods.iter().any(|pod| super::image_of(pod) != super::IMAGE)).await;
        let fine = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": super::IMAGE, "env": [{"name": "VERSION", "value": "3"}]}]}}}});
        here.patch(&path, STRATEGIC, &fine).await.ok();
        until_done(here, "web", 2).await;
        here.until("old sets are gone", async || {
            let sets = here.get(&here.path("apps/v1", "replicasets")).await.ok();
            if operations::names(&sets).len() == 1 { Ok(()) } else { Err(operations::names(&sets)) }
        })
        .await;
    });
}

/// [sig-apps] Deployment deployment should support proportional scaling [Conformance]
#[test]
fn a_rollout_that_hangs_is_scaled_in_proportion() {
    row("deployment proportional", &[Need::Native], async |here| {
        let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}});
        let path = create(here, "web", 5, &json!({"strategy": strategy})).await;
        until_done(here, "web", 5).await;
        let broken = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "coracle.local/no-such-image:1"}]}}}});
        here.patch(&path, STRATEGIC, &broken).await.ok();
        let sizes = async || {
            let sets = here.get(&here.path("apps/v1", "replicasets")).await.ok();
            let mut sizes: Vec<_> = sets["items"].as_array().unwrap().iter().map(|set| set["spec"]["replicas"].as_i64().unwrap()).collect();
            sizes.sort_unstable();
            sizes
        };
        let until_sizes = async |wanted: &[i64]| {
            here.until("sizes of the sets", async || {
                let sizes = sizes().await;
                if sizes == wanted { Ok(()) } else { Err(sizes) }
            })
            .await;
        };
        until_sizes(&[3, 5]).await;
        here.patch(&path, MERGE, &json!({"spec": {"replicas": 15}})).await.ok();
        until_sizes(&[7, 11]).await;
    });
}
