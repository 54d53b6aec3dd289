//! Probes and hooks.

use serde_json::{Value, json};

use crate::harness::Need;
use crate::here::{Here, row};
use crate::pods::*;

/// A probe every second, whose first failure counts.
fn often(handler: Value) -> Value {
    let mut probe = json!({"periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 30});
    merge(&mut probe, handler);
    probe
}

/// A probe every second that a busy machine may fail some times.
fn patiently(handler: Value) -> Value {
    let mut probe = often(handler);
    probe["failureThreshold"] = json!(30);
    probe
}

fn http(path: &str) -> Value {
    json!({"httpGet": {"path": path, "port": 8080}})
}

fn health() -> Value {
    json!({"exec": {"command": ["cat", "/tmp/health"]}})
}

/// The web server, with a liveness probe and a hook that breaks `/healthz` once it answers.
fn breaking(name: &str, probe: Value) -> Value {
    let script = "until wget -q -O /dev/null http://127.0.0.1:8080/healthz/fail; do sleep 0.1; done";
    let hook = json!({"postStart": {"exec": {"command": ["sh", "-c", script]}}});
    pod_of_the_image(name, json!({"restartPolicy": "Always"}), json!({"livenessProbe": probe, "lifecycle": hook}))
}

/// Waits until a pod was restarted so often, one by one.
async fn restarted(here: &Here, name: &str, times: i64) {
    let mut last = 0;
    until(here, "restarted", name, |pod| {
        let count = restarts(pod);
        assert!(count >= last, "the count of restarts went down from {last}: {pod}");
        last = count;
        last >= times
    })
    .await;
    until_event(here, name, "Killing", "failed liveness probe, will be restarted").await;
}

/// [sig-node] Probing container should be restarted with a /healthz http liveness probe [NodeConformance] [Conformance]
/// [sig-node] Probing container should be restarted with a GRPC liveness probe [NodeConformance] [Conformance]
/// [sig-node] Probing container should be restarted with a exec "cat /tmp/health" liveness probe [NodeConformance] [Conformance]
/// [sig-node] Probing container should have monotonically increasing restart count [NodeConformance] [Conformance]
#[test]
fn a_container_that_is_not_alive_is_restarted() {
    row("bad liveness", &[Need::Native], async |here| {
        let always = json!({"restartPolicy": "Always"});
        let sick = format!("echo ok > /tmp/health; sleep 1; rm /tmp/health; {LIVE}");
        let mut exec = often(health());
        exec["initialDelaySeconds"] = json!(1);
        // nobody listens there
        let grpc = json!({"args": ["--grpc-port", "5000"], "livenessProbe": often(json!({"grpc": {"port": 2333}}))});
        let grpc = pod_of_the_image("grpc", always.clone(), grpc);
        for pod in [breaking("http", often(http("/healthz"))), pod("exec", &sick, always, json!({"livenessProbe": exec})), grpc] {
            create(here, &pod).await;
        }
        for (name, times) in [("exec", 1), ("grpc", 1), ("http", 5)] {
            restarted(here, name, times).await;
        }
    });
}

/// [sig-node] Probing container should *not* be restarted with a /healthz http liveness probe [NodeConformance] [Conformance]
/// [sig-node] Probing container should *not* be restarted with a GRPC liveness probe [NodeConformance] [Conformance]
/// [sig-node] Probing container should *not* be restarted with a exec "cat /tmp/health" liveness probe [NodeConformance] [Conformance]
/// [sig-node] Probing container should *not* be restarted with a tcp:8080 liveness probe [NodeConformance] [Conformance]
/// [sig-node] Probing container with readiness probe should not be ready before initial delay and never restart [NodeConformance] [Conformance]
/// [sig-node] Probing container with readiness probe that fails should never be ready and never restart [NodeConformance] [Conformance]
#[test]
fn a_container_that_is_well_is_left_alone() {
    row("good probes", &[Need::Native, Need::Kubectl], async |here| {
        let always = || json!({"restartPolicy": "Always"});
        let mut exec = patiently(health());
        exec["initialDelaySeconds"] = json!(1);
        let grpc = json!({"args": ["--grpc-port", "5000"], "livenessProbe": patiently(json!({"grpc": {"port": 5000}}))});
        let mut late = patiently(http("/"));
        late["initialDelaySeconds"] = json!(5);
        let pods = [
            pod_of_the_image("http", always(), json!({"livenessProbe": patiently(http("/healthz"))})),
            pod_of_the_image("grpc", always(), grpc),
            pod("exec", &format!("echo ok > /tmp/health; {LIVE}"), always(), json!({"livenessProbe": exec})),
            // what the port answers does not matter
            breaking("tcp", patiently(json!({"tcpSocket": {"port": 8080}}))),
            pod_of_the_image("late", always(), json!({"readinessProbe": late})),
            pod_of_the_image("never", always(), json!({"readinessProbe": often(json!({"exec": {"command": ["false"]}}))})),
        ];
        for pod in &pods {
            create(here, pod).await;
        }
        let late = until(here, "ready", "late", is_ready).await;
        let second = |value: &Value| value.as_str().unwrap().parse::<k8s_openapi::jiff::Timestamp>().unwrap().as_second();
        let conditions = late["status"]["conditions"].as_array().unwrap();
        let since = conditions.iter().find(|condition| condition["type"] == "Ready").unwrap();
        let started = second(&late["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]);
        // both times are cut to seconds
        assert!(second(&since["lastTransitionTime"]) - started >= 4, "{late}");
        until_event(here, "never", "Unhealthy", "Readiness probe failed").await;
        for name in ["http", "grpc", "exec", "tcp"] {
            until(here, "ready", name, is_ready).await;
        }
        for name in ["http", "grpc", "exec", "tcp", "late", "never"] {
            let seen = here.get(&path(here, name)).await.ok();
            assert_eq!((restarts(&seen), is_ready(&seen)), (0, name != "never"), "{name}: {seen}");
        }
        let healthz = here.kubectl(&["exec", "tcp", "--", "sh", "-c", "wget -q -O /dev/null http://127.0.0.1:8080/healthz"]);
        assert_ne!(healthz.code, Some(0), "{}", healthz.said());
    });
}

/// [sig-node] Container Lifecycle Hook when create a pod with lifecycle hook should execute poststart exec hook properly [NodeConformance] [Conformance]
/// [sig-node] Container Lifecycle Hook when create a pod with lifecycle hook should execute poststart http hook properly [NodeConformance] [Conformance]
/// [sig-node] Container Lifecycle Hook when create a pod with lifecycle hook should execute prestop exec hook properly [NodeConformance] [Conformance]
/// [sig-node] Container Lifecycle Hook when create a pod with lifecycle hook should execute prestop http hook properly [NodeConformance] [Conformance]
/// [sig-node] PreStop should call prestop when killing a pod [Conformance]
#[test]
fn hooks_run() {
    row("lifecycle hooks", &[Need::Native], async |here| {
        create(here, &pod_of_the_image("server", json!({}), json!({}))).await;
        let ready = until(here, "ready", "server", is_ready).await;
        let ip = ready["status"]["podIP"].as_str().unwrap();
        let exec = |which: &str| json!({"exec": {"command": ["sh", "-c", format!("wget -q -O /dev/null http://{ip}:8080/{which}")]}});
        let http = |which: &str| json!({"httpGet": {"host": ip, "port": 8080, "path": format!("/{which}")}});
        let all = [
            ("poststart-exec", "postStart", exec("poststart-exec")),
            ("poststart-http", "postStart", http("poststart-http")),
            ("prestop-exec", "preStop", exec("prestop-exec")),
            ("prestop-http", "preStop", http("prestop-http")),
        ];
        for (name, hook, handler) in &all {
            create(here, &pod(name, LIVE, json!({"terminationGracePeriodSeconds": 30}), json!({"lifecycle": {(*hook): handler}}))).await;
        }
        for (name, ..) in &all {
            until(here, "ready", name, is_ready).await;
            here.delete(&path(here, name)).await.ok();
            here.until_gone(&path(here, name)).await;
        }
        here.until("all have called", async || {
            let said = log(here, "server").await;
            if all.iter().all(|(name, ..)| said.contains(&format!("/{name}"))) { Ok(()) } else { Err(said) }
        })
        .await;
    });
}
