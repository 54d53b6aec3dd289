//! Pods from create to delete, their streams, their generation.

use futures::StreamExt;
use http::Request;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::api::AttachParams;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::harness::Need;
use crate::here::{Here, MERGE, PATIENCE, STRATEGIC, row};
use crate::operations;
use crate::pods::*;

/// [sig-node] Pods should be submitted and removed [NodeConformance] [Conformance]
/// [sig-node] Pods should be updated [NodeConformance] [Conformance]
/// [sig-node] Pods should get a host IP [NodeConformance] [Conformance]
/// [sig-node] Pods should patch a pod status [Conformance]
/// [sig-node] Pods should run through the lifecycle of Pods and PodStatus [Conformance]
/// [sig-node] Pods Extended Pods Set QOS Class should be set on Pods with matching resource requests and limits for memory and cpu [Conformance]
#[test]
fn a_pod_from_create_to_delete() {
    row("pods", &[Need::Native], async |here| {
        let sized = json!({"resources": {"requests": {"cpu": "100m", "memory": "100Mi"}, "limits": {"cpu": "100m", "memory": "100Mi"}}});
        let selected = here.path("v1", "pods?labelSelector=name%3Dp");
        assert!(operations::names(&here.get(&selected).await.ok()).is_empty());
        let mut watch = here.watch(&format!("{selected}&resourceVersion=0")).await;
        create(here, &pod("p", LIVE, json!({"terminationGracePeriodSeconds": 30}), sized)).await;
        watch.until("ADDED", |seen| seen["metadata"]["name"] == "p").await;
        assert_eq!(operations::names(&here.get(&selected).await.ok()), ["p"]);
        let running = until(here, "runs", "p", is_ready).await;
        assert_eq!(running["status"]["qosClass"], "Guaranteed");
        assert!(running["status"]["hostIP"].as_str().unwrap().parse::<std::net::IpAddr>().is_ok());
        here.until("the pod is updated", async || {
            let mut pod = here.get(&path(here, "p")).await.ok();
            pod["metadata"]["labels"]["time"] = json!("now");
            here.put(&path(here, "p"), &pod).await.try_ok()
        })
        .await;
        assert_eq!(operations::names(&here.get(&here.path("v1", "pods?labelSelector=time%3Dnow")).await.ok()), ["p"]);
        let change = json!({"metadata": {"labels": {"patched": "true"}}, "spec": {"terminationGracePeriodSeconds": 30, "activeDeadlineSeconds": 3600}});
        let patched = here.patch(&path(here, "p"), STRATEGIC, &change).await.ok();
        assert_eq!((&patched["metadata"]["labels"]["patched"], &patched["spec"]["activeDeadlineSeconds"]), (&json!("true"), &json!(3600)));
        status_is_written(here, "p").await;
        let deleted = here.delete(&path(here, "p")).await.ok();
        assert!(deleted["metadata"]["deletionTimestamp"].is_string(), "{deleted}");
        watch.until("MODIFIED", |seen| seen["metadata"]["deletionTimestamp"].is_string()).await;
        watch.until("DELETED", |seen| seen["metadata"]["name"] == "p").await;
        assert!(operations::names(&here.get(&selected).await.ok()).is_empty());
    });
}

/// What others say about a pod stays beside what its node says.
async fn status_is_written(here: &Here, name: &str) {
    let status = format!("{}/status", path(here, name));
    let condition = |kind: &str, message: &str| json!({"type": kind, "status": "True", "message": message});
    let found = |pod: &Value, kind: &str| {
        let conditions = pod["status"]["conditions"].as_array().unwrap();
        conditions.iter().find(|condition| condition["type"] == kind).cloned().unwrap_or_default()
    };
    let change = json!({"status": {"message": "patched", "reason": "Test", "conditions": [condition("example.com/patched", "by patch")]}});
    let patched = here.patch(&status, STRATEGIC, &change).await.ok();
    assert_eq!((&patched["status"]["message"], &patched["status"]["reason"]), (&json!("patched"), &json!("Test")));
    assert_eq!(found(&patched, "example.com/patched")["message"], "by patch");
    let updated = here
        .until("the status is updated", async || {
            let mut pod = here.get(&status).await.ok();
            pod["status"]["conditions"].as_array_mut().unwrap().push(condition("example.com/updated", "by update"));
            here.put(&status, &pod).await.try_ok()
        })
        .await;
    assert_eq!(found(&updated, "example.com/updated")["message"], "by update");
    assert_eq!(found(&updated, "Ready")["status"], "True");
}

/// [sig-node] Pods should allow activeDeadlineSeconds to be updated [NodeConformance] [Conformance]
/// [sig-node] Pods should delete a collection of pods [Conformance]
#[test]
fn pods_end_by_their_deadline_and_by_collection() {
    row("pod ends", &[Need::Native], async |here| {
        for name in ["a", "b", "c"] {
            let mut pod = pod(name, LIVE, json!({}), json!({}));
            pod["metadata"]["labels"] = json!({"type": "many"});
            create(here, &pod).await;
        }
        create(here, &pod("deadline", LIVE, json!({}), json!({}))).await;
        here.until_phase("deadline", "Running").await;
        here.patch(&path(here, "deadline"), MERGE, &json!({"spec": {"activeDeadlineSeconds": 1}})).await.ok();
        let over = ended(here, "deadline").await;
        assert_eq!((&over["status"]["phase"], &over["status"]["reason"]), (&json!("Failed"), &json!("DeadlineExceeded")));
        until_event(here, "deadline", "DeadlineExceeded", "longer than the specified deadline").await;
        let many = here.path("v1", "pods?labelSelector=type%3Dmany");
        assert_eq!(operations::names(&here.get(&many).await.ok()), ["a", "b", "c"]);
        here.delete(&many).await.ok();
        here.until("the collection is gone", async || {
            let left = operations::names(&here.get(&many).await.ok());
            if left.is_empty() { Ok(()) } else { Err(left) }
        })
        .await;
    });
}

/// [sig-node] Pods should support remote command execution over websockets [NodeConformance] [Conformance]
/// [sig-node] Pods should support retrieving logs from the container over websockets [NodeConformance] [Conformance]
#[test]
fn streams_over_websockets() {
    row("websockets", &[Need::Native], async |here| {
        create(here, &pod("p", "echo container is alive; trap 'exit 0' TERM; sleep 1000 & wait", json!({}), json!({}))).await;
        here.until_phase("p", "Running").await;
        here.until("the log is written", async || {
            let said = log(here, "p").await;
            if said.is_empty() { Err(said) } else { Ok(()) }
        })
        .await;
        let pods = here.api::<Pod>();
        let mut session = pods.exec("p", ["echo", "remote execution test"], &AttachParams::default()).await.unwrap();
        let mut text = String::new();
        session.stdout().unwrap().read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "remote execution test\n");

        let request = Request::get(format!("{}/log?container=c", path(here, "p")))
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-protocol", "binary.k8s.io");
        let answer = here.client.send(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!((answer.status().as_u16(), &answer.headers()["sec-websocket-protocol"]), (101, &"binary.k8s.io".parse().unwrap()));
        let connection = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
        let mut socket = WebSocketStream::from_raw_socket(connection, Role::Client, None).await;
        let mut bytes = Vec::new();
        while let Some(Ok(message)) = timeout(PATIENCE, socket.next()).await.unwrap() {
            match message {
                Message::Binary(data) => bytes.extend_from_slice(&data),
                other => assert!(other.is_close(), "{other}"),
            }
        }
        assert_eq!(String::from_utf8(bytes).unwrap(), "container is alive\n");
    });
}

/// [sig-node] Pods Extended (pod generation) Pod Generation custom-set generation on new pods and graceful delete [Conformance]
/// [sig-node] Pods Extended (pod generation) Pod Generation pod generation should start at 1 and increment per update [MinimumKubeletVersion:1.34] [Conformance]
#[test]
fn the_generation_counts_changes() {
    row("pod generation", &[Need::Native], async |here| {
        let mut made = pod("p", LIVE, json!({"terminationGracePeriodSeconds": 5}), json!({"resources": {"requests": {"cpu": "1m"}}}));
        made["metadata"]["generation"] = json!(100);
        assert_eq!(here.post(&here.path("v1", "pods"), &made).await.ok()["metadata"]["generation"], 1);
        let seen = until(here, "is observed", "p", |pod| pod["status"]["phase"] == "Running" && is_observed(pod, 1)).await;
        // none may be taken away
        let mut tolerations = seen["spec"]["tolerations"].clone();
        tolerations.as_array_mut().unwrap().push(json!({"key": "k", "operator": "Exists", "effect": "NoSchedule"}));
        let added = json!({"name": "e", "image": IMAGE, "command": ["true"]});
        let changes = [
            ("", json!({}), 1),
            ("", json!({"metadata": {"labels": {"x": "y"}, "annotations": {"x": "y"}}}), 1),
            ("", json!({"spec": {"activeDeadlineSeconds": 1000}}), 2),
            ("", json!({"spec": {"tolerations": tolerations}}), 3),
            ("/ephemeralcontainers", json!({"spec": {"ephemeralContainers": [added]}}), 4),
            ("/resize", json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "2m"}}}]}}), 5),
            ("", json!({"spec": {"containers": [{"name": "c", "image": "coracle.local/kubia:latest"}]}}), 6),
        ];
        for (part, change, generation) in changes {
            let patched = here.patch(&format!("{}{part}", path(here, "p")), STRATEGIC, &change).await.ok();
            assert_eq!(patched["metadata"]["generation"], generation, "{change}");
            until(here, "is observed", "p", |pod| is_observed(pod, generation)).await;
        }
        assert_eq!(here.delete(&path(here, "p")).await.ok()["metadata"]["generation"], 7);
        here.until_gone(&path(here, "p")).await;
    });
}

fn is_observed(pod: &Value, generation: i64) -> bool {
    pod["status"]["observedGeneration"] == generation && pod["metadata"]["generation"] == generation
}

/// [sig-node] Pods Extended (pod generation) Pod Generation issue 500 podspec updates and verify generation and observedGeneration eventually converge [MinimumKubeletVersion:1.34] [Conformance]
#[test]
fn five_hundred_generations() {
    row("500 generations", &[Need::Native], async |here| {
        create(here, &pod("p", LIVE, json!({"activeDeadlineSeconds": 100_000}), json!({}))).await;
        for count in 1..500 {
            here.patch(&path(here, "p"), STRATEGIC, &json!({"spec": {"activeDeadlineSeconds": 100_000 - count}})).await.ok();
        }
        until(here, "is observed", "p", |pod| is_observed(pod, 500)).await;
    });
}
