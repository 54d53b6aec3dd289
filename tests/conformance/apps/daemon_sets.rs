//! Daemon sets and the revisions they keep.

use serde_json::{Value, json};

use super::{another_template, collection, is_ready, noted, pods, template, until_pods, version_of};
use crate::harness::Need;
use crate::here::{Here, MERGE, STRATEGIC, row};
use crate::operations;

fn daemon(extra: &Value) -> Value {
    let mut spec = json!({"selector": {"matchLabels": {"app": "web"}}, "template": template("web", super::STAYS)});
    super::merge(&mut spec, extra);
    json!({"metadata": {"name": "web", "labels": {"app": "web"}}, "spec": spec})
}

async fn create(here: &Here, extra: &Value) -> String {
    here.post(&here.path("apps/v1", "daemonsets"), &daemon(extra)).await.ok();
    here.path("apps/v1", "daemonsets/web")
}

async fn until_ready(here: &Here, count: usize) -> Vec<Value> {
    until_pods(here, "a ready pod on each node", "web", |pods| pods.len() == count && pods.iter().all(is_ready)).await
}

/// [sig-apps] Daemon set [Serial] should run and stop simple daemon [Conformance]
/// [sig-apps] Daemon set [Serial] should retry creating failed daemon pods [Conformance]
/// [sig-apps] Daemon set [Serial] should verify changes to a daemon set status [Conformance]
/// [sig-apps] Daemon set [Serial] should list and delete a collection of DaemonSets [Conformance]
#[test]
fn a_daemon_runs_everywhere() {
    row("daemon set lives", &[Need::Native], async |here| {
        let path = create(here, &json!({})).await;
        let pods = until_ready(here, 2).await;
        assert_ne!(pods[0]["spec"]["nodeName"], pods[1]["spec"]["nodeName"]);
        let gone =
            |uid: Value| move |pods: &[Value]| pods.len() == 2 && pods.iter().all(|pod| is_ready(pod) && pod["metadata"]["uid"] != uid);
        here.delete(&here.path("v1", &format!("pods/{}", super::name_of(&pods[0])))).await.ok();
        let pods = until_pods(here, "a replacement", "web", gone(pods[0]["metadata"]["uid"].clone())).await;
        let failed = here.path("v1", &format!("pods/{}/status", super::name_of(&pods[0])));
        here.patch(&failed, MERGE, &json!({"status": {"phase": "Failed"}})).await.ok();
        until_pods(here, "a replacement for a failed one", "web", gone(pods[0]["metadata"]["uid"].clone())).await;
        operations::status_is_written(here, &path, &noted()).await;
        here.delete(&path).await.ok();
        collection(here, "apps/v1", "daemonsets", |name| {
            let mut set = daemon(&json!({}));
            set["metadata"]["name"] = json!(name);
            set
        })
        .await;
    });
}

/// [sig-apps] Daemon set [Serial] should run and stop complex daemon [Conformance]
#[test]
fn a_daemon_follows_labels_of_nodes() {
    row("daemon set labels", &[Need::Native], async |here| {
        let nodes = operations::names(&here.get("/api/v1/nodes").await.ok());
        let node = format!("/api/v1/nodes/{}", nodes[0]);
        let color = |color: Option<&str>| json!({"metadata": {"labels": {format!("color-{}", here.namespace): color}}});
        let selector = |color: &str| json!({"template": {"spec": {"nodeSelector": {format!("color-{}", here.namespace): color}}}});
        let path = create(here, &selector("blue")).await;
        here.until_object("it is looked at", &path, |set| set["status"]["observedGeneration"] == 1).await;
        assert!(pods(here, "web").await.is_empty());
        here.patch(&node, MERGE, &color(Some("blue"))).await.ok();
        assert_eq!(until_ready(here, 1).await[0]["spec"]["nodeName"], json!(nodes[0]));
        here.patch(&node, MERGE, &color(Some("green"))).await.ok();
        until_pods(here, "the daemon leaves", "web", <[Value]>::is_empty).await;
        here.patch(&path, STRATEGIC, &json!({"spec": selector("green")})).await.ok();
        until_ready(here, 1).await;
        here.patch(&node, MERGE, &color(None)).await.ok();
    });
}

/// [sig-apps] Daemon set [Serial] should update pod when spec was updated and update strategy is RollingUpdate [Conformance]
/// [sig-apps] Daemon set [Serial] should rollback without unnecessary restarts [Conformance]
/// [sig-apps] ControllerRevision [Serial] should manage the lifecycle of a ControllerRevision [Conformance]
#[test]
fn a_daemon_is_updated_rolled_back_and_remembered() {
    row("daemon set updates", &[Need::Native], async |here| {
        let path = create(here, &json!({})).await;
        let first = until_ready(here, 2).await;
        let revisions = here.path("apps/v1", "controllerrevisions?labelSelector=app%3Dweb");
        let before = here.get(&revisions).await.ok();
        assert_eq!(before["items"].as_array().unwrap().len(), 1);
        let broken = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "coracle.local/no-such-image:1"}]}}}});
        here.patch(&path, STRATEGIC, &broken).await.ok();
        let started =
            until_pods(here, "one pod is replaced", "web", |pods| pods.iter().any(|pod| super::image_of(pod) != super::IMAGE)).await;
        let untouched: Vec<_> =
            started.iter().filter(|pod| super::image_of(pod) == super::IMAGE).map(|pod| pod["metadata"]["uid"].clone()).collect();
        let back = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": super::IMAGE}]}}}});
        here.patch(&path, STRATEGIC, &back).await.ok();
        let whole = |pods: &[Value]| pods.len() == 2 && pods.iter().all(|pod| is_ready(pod) && super::image_of(pod) == super::IMAGE);
        let now = until_pods(here, "the roll-back", "web", whole).await;
        assert!(untouched.iter().all(|uid| now.iter().any(|pod| &pod["metadata"]["uid"] == uid)), "a pod that was right was restarted");
        assert!(first.iter().any(|pod| untouched.contains(&pod["metadata"]["uid"])) || untouched.is_empty());
        here.patch(&path, STRATEGIC, &another_template("2")).await.ok();
        until_pods(here, "all are new", "web", |pods| pods.len() == 2 && pods.iter().all(|pod| is_ready(pod) && version_of(pod) == "2"))
            .await;

        let name = operations::names(&before).remove(0);
        let one = here.path("apps/v1", &format!("controllerrevisions/{name}"));
        let patched = here.patch(&one, MERGE, &json!({"metadata": {"labels": {"e2e": "patched"}}})).await.ok();
        assert_eq!(patched["metadata"]["labels"]["e2e"], "patched");
        let mut copy = json!({"metadata": {"name": "copy", "labels": {"e2e": "patched"}}, "data": patched["data"], "revision": 77});
        let copied = here.post(&here.path("apps/v1", "controllerrevisions"), &copy).await.ok();
        copy["metadata"]["resourceVersion"] = copied["metadata"]["resourceVersion"].clone();
        copy["revision"] = json!(78);
        assert_eq!(here.put(&here.path("apps/v1", "controllerrevisions/copy"), &copy).await.ok()["revision"], 78);
        let ours = here.path("apps/v1", "controllerrevisions?labelSelector=e2e%3Dpatched");
        assert_eq!(operations::names(&here.get(&ours).await.ok()).len(), 2);
        here.delete(&one).await.ok();
        here.delete(&ours).await.ok();
        here.until_gone(&here.path("apps/v1", "controllerrevisions/copy")).await;
    });
}
