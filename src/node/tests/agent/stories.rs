//! Lives of pods, as readers of the API see them.

use coracle_api::seams::{LogOptions, NodeDialer, PodRef, StreamOptions};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Event, Node as NodeObject};
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use crate::cluster::Cluster;

fn spec(policy: &str, containers: &[&str]) -> Value {
    let containers: Vec<_> = containers.iter().map(|name| json!({"name": name, "image": "busybox:1.36"})).collect();
    json!({"nodeName": "n1", "restartPolicy": policy, "containers": containers})
}

fn script(pairs: &[(&str, &str)]) -> Value {
    pairs.iter().map(|(key, value)| (format!("simulated.coracle.local/{key}"), json!(value))).collect::<serde_json::Map<_, _>>().into()
}

async fn told(spec: Value, annotations: Value, last: &str) -> String {
    let cluster = Cluster::start().await;
    let node = cluster.node("n1");
    let mut story = cluster.story("p");
    cluster.create("p", spec, annotations).await;
    let told = story.until(last).await;
    node.stop(true).await;
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn a_normal_life() {
    let cluster = Cluster::start().await;
    let node = cluster.node("n1");
    let mut story = cluster.story("p");
    cluster.create("p", spec("Always", &["c"]), json!({})).await;
    assert_eq!(story.until("Running [c=running+]").await, "Pending []\nPending [c=waiting:ContainerCreating]\nRunning [c=running+]");

    let pod = cluster.pods().get("p").await.unwrap();
    let status = serde_json::to_value(pod.status.unwrap()).unwrap();
    let kinds: Vec<_> = status["conditions"].as_array().unwrap().iter().map(|one| one["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]);
    assert!(status["podIP"].is_string() && status["hostIP"].is_string() && status["startTime"].is_string());
    assert!(status["containerStatuses"][0]["containerID"].as_str().unwrap().starts_with("simulated://"));
    assert_eq!(status["containerStatuses"][0]["user"]["linux"], json!({"uid": 0, "gid": 0, "supplementalGroups": [0]}));

    cluster.pods().delete("p", &DeleteParams::default()).await.unwrap();
    assert_eq!(story.until("gone").await, "Succeeded [c=Completed(0)]\ngone");
    assert!(node.runtime().sandboxes().await.unwrap().is_empty());

    let mut seen = Vec::new();
    for _ in 0..3_000 {
        let events: Api<Event> = Api::namespaced(cluster.client.clone(), "default");
        let list = events.list(&ListParams::default().fields("involvedObject.kind=Pod")).await.unwrap();
        seen = list.items.iter().map(|event| event.message.clone().unwrap_or_default()).collect();
        if seen.len() == 4 {
            break;
        }
        tokio::task::yield_now().await;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    seen.sort();
    assert_eq!(
        seen,
        [
            "Container created",
            "Container image \"busybox:1.36\" already present on machine and can be accessed by the pod",
            "Container started",
            "Stopping container c",
        ]
    );
    node.stop(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_ends_well_is_over_on_failure() {
    let told = told(spec("OnFailure", &["c"]), script(&[("exit-code", "0"), ("exit-after", "50ms")]), "Succeeded [c=Completed(0)]").await;
    let expected =
        "Pending []\nPending [c=waiting:ContainerCreating]\nRunning [c=running+]\nRunning [c=Completed(0)]\nSucceeded [c=Completed(0)]";
    assert_eq!(told, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_fails_runs_again_at_once_and_then_waits() {
    let last = "Running [c=waiting:CrashLoopBackOffx1]";
    let told = told(spec("Always", &["c"]), script(&[("exit-code", "3"), ("exit-after", "50ms")]), last).await;
    assert_eq!(
        told,
        "Pending []\nPending [c=waiting:ContainerCreating]\nRunning [c=running+]\nRunning [c=Error(3)]\nRunning [c=running+x1]\n\
         Running [c=Error(3)x1]\nRunning [c=waiting:CrashLoopBackOffx1]"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn init_containers_and_a_sidecar() {
    let mut spec = spec("Never", &["main"]);
    spec["initContainers"] = json!([
        {"name": "side", "image": "busybox:1.36", "restartPolicy": "Always"},
        {"name": "i2", "image": "busybox:1.36"},
    ]);
    let script = script(&[("exit-after.i2", "50ms"), ("exit-after.main", "50ms")]);
    let told = told(spec, script, "Succeeded [side=Completed(0) i2=Completed(0)+ main=Completed(0)]").await;
    assert_eq!(
        told,
        "Pending []\n\
         Pending [side=waiting:PodInitializing i2=waiting:PodInitializing main=waiting:PodInitializing]\n\
         Pending [side=running+ i2=waiting:PodInitializing main=waiting:PodInitializing]\n\
         Pending [side=running+ i2=running main=waiting:PodInitializing]\n\
         Pending [side=running+ i2=Completed(0)+ main=waiting:PodInitializing]\n\
         Running [side=running+ i2=Completed(0)+ main=running+]\n\
         Running [side=running+ i2=Completed(0)+ main=Completed(0)]\n\
         Running [side=Completed(0) i2=Completed(0)+ main=Completed(0)]\n\
         Succeeded [side=Completed(0) i2=Completed(0)+ main=Completed(0)]"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_cannot_start() {
    let script = script(&[("start-error", "exec: \"nosuch\": executable file not found in $PATH")]);
    let told = told(spec("Always", &["c"]), script, "Running [c=waiting:CrashLoopBackOffx1]").await;
    assert_eq!(
        told,
        "Pending []\nPending [c=waiting:ContainerCreating]\nRunning [c=waiting:RunContainerError]\n\
         Running [c=waiting:RunContainerErrorx1]\nRunning [c=waiting:CrashLoopBackOffx1]"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_not_there() {
    let cluster = Cluster::start().await;
    let node = cluster.node("n1");
    let mut story = cluster.story("p");
    let mut spec = spec("Always", &["c"]);
    spec["containers"][0]["image"] = json!("example.com/nosuch:1");
    cluster.create("p", spec, json!({})).await;
    let told = story.until("Pending [c=waiting:ImagePullBackOff]").await;
    assert!(told.contains("Pending [c=waiting:ErrImagePull]"), "{told}");
    cluster.pods().delete("p", &DeleteParams::default()).await.unwrap();
    let told = story.until("gone").await;
    assert!(told.ends_with("Failed [c=ContainerStatusUnknown(137)]\ngone"), "{told}");
    node.stop(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_decide_about_readiness_and_restarts() {
    let mut spec = spec("Always", &["c"]);
    spec["containers"][0]["readinessProbe"] = json!({"exec": {"command": ["true"]}, "periodSeconds": 1});
    spec["containers"][0]["livenessProbe"] = json!({"exec": {"command": ["true"]}, "periodSeconds": 1, "failureThreshold": 1});
    let script = script(&[("readiness", "fail 500ms ok"), ("liveness", "ok 8s fail")]);
    let told = told(spec, script, "Running [c=running+x1]").await;
    assert_eq!(
        told,
        "Pending []\nPending [c=waiting:ContainerCreating]\nRunning [c=running]\nRunning [c=running+]\n\
         Running [c=runningx1]\nRunning [c=running+x1]"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_does_not_fit_is_rejected() {
    let mut spec = spec("Always", &["c"]);
    spec["containers"][0]["resources"] = json!({"requests": {"cpu": "64"}});
    let told = told(spec, json!({}), "Failed/OutOfcpu []").await;
    assert!(["Failed/OutOfcpu []", "Pending []\nFailed/OutOfcpu []"].contains(&&*told), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_a_pod() {
    let mut spec = spec("Always", &["c"]);
    spec["activeDeadlineSeconds"] = json!(4);
    for (code, end) in [("1", "Error(1)"), ("0", "Completed(0)")] {
        let told = told(spec.clone(), script(&[("stop-code", code)]), &format!("Failed/DeadlineExceeded [c={end}]")).await;
        assert!(told.contains("Running [c=running+]"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_delete_leaves_nothing_on_the_node() {
    let cluster = Cluster::start().await;
    let node = cluster.node("n1");
    let mut story = cluster.story("p");
    cluster.create("p", spec("Always", &["c"]), json!({})).await;
    story.until("Running [c=running+]").await;
    cluster.pods().delete("p", &DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() }).await.unwrap();
    story.until("gone").await;
    for _ in 0..6_000 {
        if node.runtime().sandboxes().await.unwrap().is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(node.runtime().sandboxes().await.unwrap().is_empty());
    node.stop(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_reach_the_container() {
    let cluster = Cluster::start().await;
    let node = cluster.node("n1");
    let mut story = cluster.story("p");
    cluster.create("p", spec("Always", &["c"]), script(&[("log", "one\ntwo"), ("exec-code", "7")])).await;
    story.until("Running [c=running+]").await;
    let uid = cluster.pods().get("p").await.unwrap().metadata.uid.unwrap();
    let pod = PodRef { node: "n1".into(), namespace: "default".into(), name: "p".into(), uid };
    let log = cluster.dialer.logs(&pod, "c", LogOptions { tail_lines: Some(1), ..LogOptions::default() }).await.unwrap();
    let pieces: Vec<_> = log.map(|piece| piece.unwrap()).collect().await;
    assert_eq!(pieces.concat(), b"two\n");
    let previous = cluster.dialer.logs(&pod, "c", LogOptions { previous: true, ..LogOptions::default() }).await;
    assert_eq!(previous.err().unwrap().message, "previous terminated container \"c\" in pod \"p\" not found");
    let streams = StreamOptions { stdout: true, ..StreamOptions::default() };
    let mut session = cluster.dialer.exec(&pod, "c", vec!["echo".into(), "hi".into()], streams).await.unwrap();
    let mut text = String::new();
    session.stdout.take().unwrap().read_to_string(&mut text).await.unwrap();
    assert_eq!((text.as_str(), session.exit.await.unwrap()), ("hi\n", 7));
    node.stop(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_adopted_by_the_next_agent() {
    let cluster = Cluster::start().await;
    let node = cluster.node("n1");
    let mut story = cluster.story("p");
    cluster.create("p", spec("Always", &["c"]), json!({})).await;
    story.until("Running [c=running+]").await;
    let before = cluster.pods().get("p").await.unwrap().status.unwrap();
    let runtime = node.runtime();
    node.stop(false).await;
    assert_eq!(runtime.containers().await.unwrap().len(), 1);

    let again = cluster.node_with("n1", runtime.clone());
    cluster.pods().delete("p", &DeleteParams::default()).await.unwrap();
    assert_eq!(story.until("gone").await, "Succeeded [c=Completed(0)]\ngone");
    assert!(before.container_statuses.unwrap()[0].container_id.is_some());
    again.stop(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_says_what_it_has() {
    let cluster = Cluster::start().await;
    let node = cluster.node("n1");
    let api: Api<NodeObject> = Api::all(cluster.client.clone());
    let found = loop {
        match api.get("n1").await {
            Ok(found) if found.status.as_ref().is_some_and(|status| status.conditions.is_some()) => break found,
            _ => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
        }
    };
    let status = serde_json::to_value(found.status.unwrap()).unwrap();
    assert_eq!(status["capacity"]["cpu"], "4");
    assert_eq!(status["allocatable"]["pods"], "110");
    assert_eq!(status["conditions"][3]["reason"], "KubeletReady");
    assert_eq!(status["addresses"].as_array().unwrap().len(), 2, "{status}");
    assert_eq!(status["addresses"][1], json!({"type": "Hostname", "address": "n1"}), "{status}");
    assert_eq!(found.metadata.labels.unwrap()["kubernetes.io/hostname"], "n1");
    node.stop(true).await;
}
