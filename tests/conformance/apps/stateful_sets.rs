//! Stateful sets.

use serde_json::{Value, json};

use super::{another_template, collection, is_ready, name_of, noted, pods, scale, until_pods, version_of, workload};
use crate::harness::Need;
use crate::here::{Here, MERGE, STRATEGIC, row};
use crate::operations;

fn set(replicas: i32, extra: &Value) -> Value {
    let mut set = workload("web", replicas, extra);
    set["spec"]["serviceName"] = json!("web");
    set
}

/// Becomes ready when the file is there.
fn probed() -> Value {
    let probe = json!({"exec": {"command": ["cat", "/tmp/ready"]}, "periodSeconds": 1});
    let mut template = super::template("web", &format!("touch /tmp/ready; {}", super::STAYS));
    template["spec"]["containers"][0]["readinessProbe"] = probe;
    json!({"template": template})
}

async fn create(here: &Here, set: &Value) -> String {
    here.post(&here.path("apps/v1", "statefulsets"), set).await.ok();
    here.path("apps/v1", "statefulsets/web")
}

async fn until_ready(here: &Here, replicas: usize) -> Vec<Value> {
    until_pods(here, "all replicas are ready", "web", |pods| pods.len() == replicas && pods.iter().all(is_ready)).await
}

fn names(pods: &[Value]) -> Vec<&str> {
    pods.iter().map(name_of).collect()
}

fn make_ready(here: &Here, pod: &str, ready: bool) {
    let command = if ready { "touch /tmp/ready" } else { "rm -f /tmp/ready" };
    here.kubectl(&["exec", pod, "--", "sh", "-c", command]).ok();
}

/// [sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] should have a working scale subresource [Conformance]
/// [sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] should validate Statefulset Status endpoints [Conformance]
/// [sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] should list, patch and delete a collection of StatefulSets [Conformance]
#[test]
fn a_stateful_set_lives() {
    row("stateful set lives", &[Need::Native], async |here| {
        let path = create(here, &set(1, &json!({}))).await;
        until_ready(here, 1).await;
        scale(here, "statefulsets", "web").await;
        operations::status_is_written(here, &path, &noted()).await;
        collection(here, "apps/v1", "statefulsets", |name| workload(name, 1, &json!({"serviceName": "s"}))).await;
    });
}

/// [sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] Scaling should happen in predictable order and halt if any stateful pod is unhealthy [Slow] [Conformance]
#[test]
fn scaling_goes_in_order_and_halts() {
    row("stateful set order", &[Need::Native, Need::Kubectl], async |here| {
        let mut watch = here.watch(&here.path("v1", "pods?labelSelector=app%3Dweb")).await;
        let path = create(here, &set(1, &probed())).await;
        until_ready(here, 1).await;
        make_ready(here, "web-0", false);
        until_pods(here, "the first is not ready", "web", |pods| pods.len() == 1 && !is_ready(&pods[0])).await;
        here.patch(&path, MERGE, &json!({"spec": {"replicas": 3}})).await.ok();
        here.until_object("the change is seen", &path, |set| set["status"]["observedGeneration"] == set["metadata"]["generation"]).await;
        assert_eq!(names(&pods(here, "web").await), ["web-0"]);
        make_ready(here, "web-0", true);
        until_ready(here, 3).await;
        ["web-0", "web-1", "web-2"].into_iter().for_each(|pod| make_ready(here, pod, false));
        until_pods(here, "none is ready", "web", |pods| !pods.iter().any(is_ready)).await;
        here.patch(&path, MERGE, &json!({"spec": {"replicas": 0}})).await.ok();
        here.until_object("the change is seen", &path, |set| set["status"]["observedGeneration"] == set["metadata"]["generation"]).await;
        assert_eq!(names(&pods(here, "web").await), ["web-0", "web-1", "web-2"]);
        // the last one goes when it is ready, and so on; the first has none to wait for
        ["web-2", "web-1"].into_iter().for_each(|pod| make_ready(here, pod, true));
        until_pods(here, "all are gone", "web", <[Value]>::is_empty).await;
        let (mut came, mut went) = (Vec::new(), Vec::new());
        while went.len() < 3 {
            let event = watch.next().await;
            let name = name_of(&event["object"]).to_owned();
            match event["type"].as_str() {
                Some("ADDED") => came.push(name),
                Some("DELETED") => went.push(name),
                _ => {}
            }
        }
        assert_eq!((came.join(" "), went.join(" ")), ("web-0 web-1 web-2".to_owned(), "web-2 web-1 web-0".to_owned()));
    });
}

/// [sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] Burst scaling should run to completion even with unhealthy pods [Slow] [Conformance]
#[test]
fn a_parallel_set_does_not_wait() {
    row("stateful set burst", &[Need::Native, Need::Kubectl], async |here| {
        let mut extra = probed();
        extra["podManagementPolicy"] = json!("Parallel");
        let path = create(here, &set(1, &extra)).await;
        until_ready(here, 1).await;
        make_ready(here, "web-0", false);
        until_pods(here, "the first is not ready", "web", |pods| pods.iter().any(|pod| !is_ready(pod))).await;
        here.patch(&path, MERGE, &json!({"spec": {"replicas": 3}})).await.ok();
        until_pods(here, "the others run", "web", |pods| pods.len() == 3 && pods[1..].iter().all(is_ready)).await;
        here.patch(&path, MERGE, &json!({"spec": {"replicas": 0}})).await.ok();
        until_pods(here, "all are gone", "web", <[Value]>::is_empty).await;
    });
}

/// [sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] should perform rolling updates and roll backs of template modifications [Conformance]
#[test]
fn an_update_rolls_and_rolls_back() {
    row("stateful set rolling", &[Need::Native], async |here| {
        let path = create(here, &set(3, &json!({}))).await;
        until_ready(here, 3).await;
        let quiet =
            |set: &Value| set["status"]["currentRevision"] == set["status"]["updateRevision"] && set["status"]["readyReplicas"] == 3;
        let before = here.until_object("the set is up", &path, quiet).await;
        here.patch(&path, STRATEGIC, &another_template("2")).await.ok();
        let moved = |set: &Value| set["status"]["updateRevision"] != before["status"]["updateRevision"];
        let during = here.until_object("an update revision", &path, moved).await;
        assert_ne!(during["status"]["updateRevision"], before["status"]["currentRevision"]);
        let after =
            here.until_object("the update is done", &path, |set| moved(set) && quiet(set) && set["status"]["updatedReplicas"] == 3).await;
        assert!(pods(here, "web").await.iter().all(|pod| version_of(pod) == "2"));
        assert_ne!(after["status"]["currentRevision"], before["status"]["currentRevision"]);
        let back = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "env": null}]}}}});
        here.patch(&path, STRATEGIC, &back).await.ok();
        let returned = |set: &Value| set["status"]["currentRevision"] == before["status"]["currentRevision"] && quiet(set);
        here.until_object("the roll-back is done", &path, returned).await;
        let revisions = here.get(&here.path("apps/v1", "controllerrevisions")).await.ok();
        assert_eq!(operations::names(&revisions).len(), 2, "a roll-back makes no new revision");
    });
}

/// [sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] should perform canary updates and phased rolling updates of template modifications [Conformance]
#[test]
fn a_partition_holds_the_update_back() {
    row("stateful set canary", &[Need::Native], async |here| {
        let partition = |at: i32| json!({"spec": {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": at}}}});
        let path = create(here, &set(3, &partition(3)["spec"])).await;
        until_ready(here, 3).await;
        here.patch(&path, STRATEGIC, &another_template("2")).await.ok();
        let versions = |pods: &[Value]| pods.iter().map(|pod| version_of(pod).to_owned()).collect::<Vec<_>>().join(",");
        let until_versions = async |wanted: &str| {
            let settled = |pods: &[Value]| versions(pods) == wanted && pods.iter().all(is_ready);
            until_pods(here, wanted, "web", settled).await;
        };
        here.until_object("the change is seen", &path, |set| set["status"]["updateRevision"] != set["status"]["currentRevision"]).await;
        until_versions(",,").await;
        here.patch(&path, MERGE, &partition(2)).await.ok();
        until_versions(",,2").await;
        for name in ["web-0", "web-2"] {
            here.delete(&here.path("v1", &format!("pods/{name}"))).await.ok();
        }
        until_versions(",,2").await;
        here.patch(&path, MERGE, &partition(0)).await.ok();
        until_versions("2,2,2").await;
    });
}

/// [sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] Should recreate evicted statefulset [Conformance]
#[test]
fn a_pod_that_a_node_refused_is_made_again() {
    row("stateful set evicted", &[Need::Native], async |here| {
        let nodes = operations::names(&here.get("/api/v1/nodes").await.ok());
        let port = json!([{"containerPort": 21017, "hostPort": 21017}]);
        let mut blocker = super::template("blocker", super::STAYS);
        blocker["metadata"]["name"] = json!("blocker");
        blocker["spec"]["nodeName"] = json!(nodes[0]);
        blocker["spec"]["containers"][0]["ports"] = port.clone();
        here.post(&here.path("v1", "pods"), &blocker).await.ok();
        here.until_phase("blocker", "Running").await;
        let mut set = set(1, &json!({"template": {"spec": {"nodeName": nodes[0]}}}));
        set["spec"]["template"]["spec"]["containers"][0]["ports"] = port;
        let mut watch = here.watch(&here.path("v1", "pods?labelSelector=app%3Dweb")).await;
        create(here, &set).await;
        let failed = watch.until("MODIFIED", |pod| pod["status"]["phase"] == "Failed").await;
        watch.until("DELETED", |pod| pod["metadata"]["uid"] == failed["metadata"]["uid"]).await;
        here.delete(&here.path("v1", "pods/blocker")).await.ok();
        until_ready(here, 1).await;
    });
}
