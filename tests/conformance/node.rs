//! Rows of `[sig-node]` about pods: what they are told, how they live and end. Kinds of the node are in `node_kinds`.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{AttachParams, LogParams};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use super::here::{Here, MERGE, STRATEGIC, row};
use super::operations;
use crate::harness::Need;

const IMAGE: &str = "coracle.local/kubia:1.0";
const BOTH: [Need; 2] = [Need::Native, Need::Kubectl];

/// A pod of one container `c` that runs a script; `more` is merged into its spec, `own` into the container.
fn pod(name: &str, script: &str, more: Value, own: Value) -> Value {
    let mut container = json!({"name": "c", "image": IMAGE, "command": ["sh", "-c", script]});
    merge(&mut container, own);
    let mut spec = json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]});
    merge(&mut spec, more);
    json!({"metadata": {"name": name, "labels": {"name": name}}, "spec": spec})
}

fn merge(into: &mut Value, more: Value) {
    if let (Some(into), Value::Object(more)) = (into.as_object_mut(), more) {
        into.extend(more);
    }
}

/// A script that lives until it is told to end.
const LIVE: &str = "trap 'exit 0' TERM; sleep 1000 & wait";

async fn create(here: &Here, pod: &Value) {
    here.post(&here.path("v1", "pods"), pod).await.ok();
}

fn path(here: &Here, pod: &str) -> String {
    here.path("v1", &format!("pods/{pod}"))
}

async fn until(here: &Here, what: &str, pod: &str, look: impl FnMut(&Value) -> bool) -> Value {
    here.until_object(&format!("{pod}: {what}"), &path(here, pod), look).await
}

async fn ended(here: &Here, pod: &str) -> Value {
    until(here, "ended", pod, |pod| ["Succeeded", "Failed"].contains(&pod["status"]["phase"].as_str().unwrap_or_default())).await
}

async fn log(here: &Here, pod: &str) -> String {
    here.get(&format!("{}/log?container=c", path(here, pod))).await.text
}

/// Runs pods to their good end, side by side, and compares what each wrote.
async fn wrote(here: &Here, pods: &[(Value, &str)]) {
    for (pod, _) in pods {
        create(here, pod).await;
    }
    for (pod, expected) in pods {
        let name = pod["metadata"]["name"].as_str().unwrap();
        let end = ended(here, name).await;
        let said = log(here, name).await;
        assert_eq!((end["status"]["phase"].as_str(), said.trim_end()), (Some("Succeeded"), *expected), "{name}: {end}");
    }
}

fn is_ready(pod: &Value) -> bool {
    crate::harness::kubectl::is_ready(pod)
}

fn restarts(pod: &Value) -> i64 {
    pod["status"]["containerStatuses"][0]["restartCount"].as_i64().unwrap_or(0)
}

fn event_of(here: &Here, pod: &str, reason: &str) -> String {
    here.path("v1", &format!("events?fieldSelector=involvedObject.name%3D{pod},reason%3D{reason}"))
}

async fn until_event(here: &Here, pod: &str, reason: &str, text: &str) {
    here.until(&format!("an event {reason} of {pod}"), async || {
        let events = here.get(&event_of(here, pod, reason)).await.ok();
        let said = events["items"].as_array().unwrap().iter().any(|event| event["message"].as_str().unwrap_or_default().contains(text));
        if said { Ok(()) } else { Err(events.to_string()) }
    })
    .await;
}

/// [sig-node] ConfigMap should be consumable as environment variable names with various prefixes [Conformance]
/// [sig-node] ConfigMap should be consumable via environment variable [NodeConformance] [Conformance]
/// [sig-node] ConfigMap should be consumable via the environment [NodeConformance] [Conformance]
/// [sig-node] Secrets should be consumable as environment variable names variable names with various prefixes [Conformance]
/// [sig-node] Secrets should be consumable from pods in env vars [NodeConformance] [Conformance]
/// [sig-node] Secrets should be consumable via the environment [NodeConformance] [Conformance]
/// [sig-node] Downward API should provide container's limits.cpu/memory and requests.cpu/memory as env vars [NodeConformance] [Conformance]
/// [sig-node] Downward API should provide default limits.cpu/memory from node allocatable [NodeConformance] [Conformance]
/// [sig-node] Downward API should provide host IP as an env var [NodeConformance] [Conformance]
/// [sig-node] Downward API should provide hostIPs as an env var [NodeConformance] [Conformance]
/// [sig-node] Downward API should provide pod UID as env vars [NodeConformance] [Conformance]
/// [sig-node] Downward API should provide pod name, namespace and IP address as env vars [NodeConformance] [Conformance]
/// [sig-node] Variable Expansion should allow composing env vars into new env vars [NodeConformance] [Conformance]
/// [sig-node] Variable Expansion should allow substituting values in a container's args [NodeConformance] [Conformance]
/// [sig-node] Variable Expansion should allow substituting values in a container's command [NodeConformance] [Conformance]
/// [sig-node] Pods should contain environment variables for services [NodeConformance] [Conformance]
#[test]
fn a_container_is_told_by_its_environment() {
    row("environment", &[Need::Native], async |here| {
        here.post(&here.path("v1", "configmaps"), &json!({"metadata": {"name": "map"}, "data": {"one": "1", "two": "2"}})).await.ok();
        here.post(&here.path("v1", "secrets"), &json!({"metadata": {"name": "secret"}, "stringData": {"three": "3"}})).await.ok();
        let service = json!({"metadata": {"name": "fooservice"}, "spec": {"ports": [{"port": 8765}], "selector": {"name": "none"}}});
        let service = here.post(&here.path("v1", "services"), &service).await.ok();
        let address = service["spec"]["clusterIP"].as_str().unwrap().to_owned();
        let from = json!([{"prefix": "p-", "configMapRef": {"name": "map"}}, {"configMapRef": {"name": "map"}},
            {"prefix": "S_", "secretRef": {"name": "secret"}}, {"secretRef": {"name": "secret"}}]);
        let named = json!([
            {"name": "M", "valueFrom": {"configMapKeyRef": {"name": "map", "key": "one"}}},
            {"name": "S", "valueFrom": {"secretKeyRef": {"name": "secret", "key": "three"}}},
            {"name": "COMPOSED", "value": "$(M);;$(S);;$(NONE)"},
        ]);
        let field = |name: &str, field: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": field}}});
        let resource = |name: &str, resource: &str| json!({"name": name, "valueFrom": {"resourceFieldRef": {"resource": resource}}});
        let fields = json!([
            field("NAME", "metadata.name"),
            field("SPACE", "metadata.namespace"),
            field("IP", "status.podIP"),
            field("ID", "metadata.uid"),
            field("HOST", "status.hostIP"),
            field("HOSTS", "status.hostIPs")
        ]);
        let amounts = json!([
            resource("A", "limits.cpu"),
            resource("B", "limits.memory"),
            resource("C", "requests.cpu"),
            resource("D", "requests.memory")
        ]);
        let sized = json!({"env": amounts, "resources": {"limits": {"cpu": "1250m", "memory": "64Mi"}, "requests": {"cpu": "250m", "memory": "32Mi"}}});
        let script = "printenv one two S_three three M S COMPOSED | tr '\\n' ' '; echo $FOOSERVICE_SERVICE_HOST $FOOSERVICE_SERVICE_PORT \
                      $FOOSERVICE_PORT $FOOSERVICE_PORT_8765_TCP_PROTO $FOOSERVICE_PORT_8765_TCP_ADDR";
        let whole = format!("1 2 3 3 1 3 1;;3;;$(NONE) {address} 8765 tcp://{address}:8765 tcp {address}");
        let node = here.get("/api/v1/nodes").await.ok()["items"][0]["status"]["allocatable"].clone();
        let memory = node["memory"].as_str().unwrap().trim_end_matches("Ki").parse::<i64>().unwrap() * 1024;
        let all = format!("{} {memory} 0 0", node["cpu"].as_str().unwrap());
        let mut args = pod("args", "", json!({}), json!({"env": [{"name": "V", "value": "value"}], "args": ["sh", "$(V)-in-args"]}));
        args["spec"]["containers"][0]["command"] = json!(["sh", "-c", "echo $(V)-in-command $1"]);
        // a shell drops names that are none of its own
        let mut prefixed = pod("prefixed", "", json!({}), json!({"envFrom": [{"prefix": "p-", "configMapRef": {"name": "map"}}]}));
        prefixed["spec"]["containers"][0]["command"] = json!(["printenv", "p-one", "p-two"]);
        let about = pod("about", "echo $NAME $SPACE $IP $ID $HOST $HOSTS", json!({}), json!({"env": fields}));
        create(here, &about).await;
        wrote(
            here,
            &[
                (pod("sources", script, json!({}), json!({"env": named, "envFrom": from})), whole.as_str()),
                (pod("sized", "echo $A $B $C $D", json!({}), sized), "2 67108864 1 33554432"),
                (pod("unsized", "echo $A $B $C $D", json!({}), json!({"env": amounts})), all.as_str()),
                (args, "value-in-command value-in-args"),
                (prefixed, "1\n2"),
            ],
        )
        .await;
        let end = ended(here, "about").await;
        let (status, text) = (&end["status"], |value: &Value| value.as_str().unwrap_or_default().to_owned());
        let (ip, host) = (text(&status["podIP"]), text(&status["hostIP"]));
        let expected = format!("about {} {ip} {} {host} {host}\n", here.namespace, text(&end["metadata"]["uid"]));
        assert_eq!(log(here, "about").await, expected);
    });
}

/// [sig-node] Variable Expansion should allow substituting values in a volume subpath [Conformance]
/// [sig-node] Variable Expansion should fail substituting values in a volume subpath with absolute path [Conformance]
/// [sig-node] Variable Expansion should fail substituting values in a volume subpath with backticks [Conformance]
/// [sig-node] Variable Expansion should succeed in writing subpaths in container [Conformance]
/// [sig-node] Variable Expansion should verify that a failing subpath expansion can be modified during the lifecycle of a container [Slow] [Conformance]
#[test]
fn a_part_of_a_volume_named_by_the_environment() {
    row("subpath expansion", &BOTH, async |here| {
        let volumes = json!([{"name": "v", "emptyDir": {}}]);
        let mounting = |name: &str, value: &str, script: &str| {
            let mounts = json!([{"name": "v", "mountPath": "/part", "subPathExpr": "$(PART)"}, {"name": "v", "mountPath": "/whole"}]);
            let env = json!([{"name": "PART", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['part']"}}}]);
            let mut pod = pod(name, script, json!({"volumes": volumes}), json!({"env": env, "volumeMounts": mounts}));
            pod["metadata"]["annotations"] = json!({"part": value});
            pod
        };
        create(here, &mounting("absolute", "/tmp", LIVE)).await;
        create(here, &mounting("backticks", "..", LIVE)).await;
        wrote(here, &[(mounting("good", "foo/bar", "echo text > /part/f; cat /whole/foo/bar/f"), "text")]).await;
        for name in ["absolute", "backticks"] {
            until(here, "cannot be made", name, |pod| {
                pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CreateContainerConfigError"
            })
            .await;
        }
        here.patch(&path(here, "absolute"), MERGE, &json!({"metadata": {"annotations": {"part": "now/good"}}})).await.ok();
        until(here, "runs once its path is good", "absolute", |pod| pod["status"]["phase"] == "Running").await;
        here.kubectl(&["exec", "absolute", "--", "sh", "-c", "touch /part/test; test -f /whole/now/good/test"]).ok();
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
        let server = json!({"metadata": {"name": "server"}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": IMAGE}]}});
        create(here, &server).await;
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
        let said = log(here, "server").await;
        assert!(all.iter().all(|(name, ..)| said.contains(&format!("/{name}"))), "{said}");
    });
}

/// [sig-node] Container Runtime blackbox test on terminated container should report termination message as empty when pod succeeds and TerminationMessagePolicy FallbackToLogsOnError is set [NodeConformance] [Conformance]
/// [sig-node] Container Runtime blackbox test on terminated container should report termination message from file when pod succeeds and TerminationMessagePolicy FallbackToLogsOnError is set [NodeConformance] [Conformance]
/// [sig-node] Container Runtime blackbox test on terminated container should report termination message from log output if TerminationMessagePolicy FallbackToLogsOnError is set [NodeConformance] [Conformance]
/// [sig-node] Container Runtime blackbox test on terminated container should report termination message if TerminationMessagePath is set as non-root user and at a non-default path [NodeConformance] [Conformance]
/// [sig-node] Container Runtime blackbox test when starting a container that exits should run with the expected status [NodeConformance] [Conformance]
#[test]
fn what_an_end_leaves() {
    row("terminated containers", &[Need::Native], async |here| {
        let logs = json!({"terminationMessagePolicy": "FallbackToLogsOnError"});
        let other_file = json!({"terminationMessagePath": "/dev/other", "securityContext": {"runAsUser": 1000}});
        let cases = [
            (pod("quiet", "echo no; exit 0", json!({}), logs.clone()), "Succeeded", ""),
            (pod("file", "printf yes > /dev/termination-log", json!({}), logs.clone()), "Succeeded", "yes"),
            (pod("fails", "printf why; exit 1", json!({}), logs), "Failed", "why"),
            (pod("other", "printf other > /dev/other", json!({}), other_file), "Succeeded", "other"),
        ];
        for (pod, ..) in &cases {
            create(here, pod).await;
        }
        for (policy, script) in [("Always", "exit 1"), ("OnFailure", "exit 0"), ("Never", "exit 3")] {
            create(here, &pod(&policy.to_lowercase(), script, json!({"restartPolicy": policy}), json!({}))).await;
        }
        for (pod, phase, message) in &cases {
            let end = ended(here, pod["metadata"]["name"].as_str().unwrap()).await;
            let state = &end["status"]["containerStatuses"][0]["state"]["terminated"];
            assert_eq!((&end["status"]["phase"], state["message"].as_str().unwrap_or_default()), (&json!(phase), *message));
        }
        until(here, "restarted", "always", |pod| restarts(pod) >= 2 && pod["status"]["phase"] == "Running").await;
        for (name, phase, code) in [("onfailure", "Succeeded", 0), ("never", "Failed", 3)] {
            let end = ended(here, name).await;
            let status = &end["status"]["containerStatuses"][0];
            let seen = (&end["status"]["phase"], &status["state"]["terminated"]["exitCode"], &status["ready"], &status["restartCount"]);
            assert_eq!(seen, (&json!(phase), &json!(code), &json!(false), &json!(0)));
        }
    });
}

/// [sig-node] Containers should be able to override the image's default arguments (container cmd) [NodeConformance] [Conformance]
/// [sig-node] Containers should be able to override the image's default command (container entrypoint) [NodeConformance] [Conformance]
/// [sig-node] Containers should be able to override the image's default command and arguments [NodeConformance] [Conformance]
/// [sig-node] Containers should use the image defaults if command and args are blank [NodeConformance] [Conformance]
#[test]
fn command_and_args_of_the_image_and_of_the_pod() {
    row("command and args", &BOTH, async |here| {
        let own = |name: &str, own: Value| {
            let mut pod = pod(name, "", json!({}), json!({}));
            pod["spec"]["containers"][0].as_object_mut().unwrap().remove("command");
            merge(&mut pod["spec"]["containers"][0], own);
            pod
        };
        let all = [
            ("neither", json!({})),
            ("args", json!({"args": ["--handle-sigterm"]})),
            ("command", json!({"command": ["sleep", "1000"]})),
            ("both", json!({"command": ["sleep"], "args": ["1001"]})),
        ];
        for (name, fields) in &all {
            create(here, &own(name, fields.clone())).await;
        }
        let mut seen = Vec::new();
        for (name, _) in &all {
            here.until_phase(name, "Running").await;
            seen.push(here.kubectl(&["exec", name, "--", "sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline"]).ok().trim().to_owned());
        }
        let default = &seen[0];
        assert!(default.contains("coracle"), "{seen:?}");
        assert_eq!(seen[1..], [format!("{default} --handle-sigterm"), "sleep 1000".to_owned(), "sleep 1001".to_owned()]);
    });
}

/// [sig-node] Ephemeral Containers [NodeConformance] should update the ephemeral containers in an existing pod [Conformance]
/// [sig-node] Ephemeral Containers [NodeConformance] will start an ephemeral container in an existing pod [Conformance]
#[test]
fn a_container_is_added_for_a_look() {
    row("ephemeral containers", &BOTH, async |here| {
        create(here, &pod("p", "echo main > /tmp/main; trap 'exit 0' TERM; sleep 1000 & wait", json!({}), json!({}))).await;
        here.until_phase("p", "Running").await;
        let added = |name: &str| json!({"name": name, "image": IMAGE, "command": ["sh", "-c", "echo hello; sleep 1000"], "targetContainerName": "c"});
        let sub = format!("{}/ephemeralcontainers", path(here, "p"));
        here.patch(&sub, STRATEGIC, &json!({"spec": {"ephemeralContainers": [added("one")]}})).await.ok();
        let runs = |pod: &Value, count: usize| {
            let list = pod["status"]["ephemeralContainerStatuses"].as_array().cloned().unwrap_or_default();
            list.len() == count && list.iter().all(|status| status["state"]["running"].is_object())
        };
        until(here, "has one more", "p", |pod| runs(pod, 1)).await;
        let mut pod = here.get(&sub).await.ok();
        pod["spec"]["ephemeralContainers"].as_array_mut().unwrap().push(added("two"));
        here.put(&sub, &pod).await.ok();
        until(here, "has two more", "p", |pod| runs(pod, 2)).await;
        // it sees the processes, and so the files, of the container it was made for
        assert_eq!(here.kubectl(&["exec", "p", "-c", "two", "--", "cat", "/proc/1/root/tmp/main"]).ok(), "main\n");
        assert_eq!(here.kubectl(&["logs", "p", "-c", "one"]).ok(), "hello\n");
    });
}

/// [sig-node] ImageVolume should succeed with pod and pull policy of Always [LinuxOnly] [MinimumKubeletVersion:1.35] [Conformance]
#[test]
fn the_files_of_an_image_are_a_volume() {
    row("image volume", &[Need::Native], async |here| {
        let volumes = json!([{"name": "v", "image": {"reference": IMAGE, "pullPolicy": "Always"}}]);
        let mounts = json!([{"name": "v", "mountPath": "/v"}, {"name": "v", "mountPath": "/part", "subPath": "usr/local"}]);
        let script = "test -x /v/usr/local/bin/coracle && ls /part; touch /v/x 2>&1 | sed 's/.*: //'";
        wrote(here, &[(pod("p", script, json!({"volumes": volumes}), json!({"volumeMounts": mounts})), "bin\nRead-only file system")])
            .await;
    });
}

/// [sig-node] InitContainer [NodeConformance] should invoke init containers on a RestartAlways pod [Conformance]
/// [sig-node] InitContainer [NodeConformance] should invoke init containers on a RestartNever pod [Conformance]
/// [sig-node] InitContainer [NodeConformance] should not start app containers and fail the pod if init containers fail on a RestartNever pod [Conformance]
/// [sig-node] InitContainer [NodeConformance] should not start app containers if init containers fail on a RestartAlways pod [Conformance]
#[test]
fn init_containers_come_first() {
    row("init containers", &[Need::Native], async |here| {
        let init = |scripts: [&str; 2]| {
            let one = |(index, script): (usize, &&str)| json!({"name": format!("init{}", index + 1), "image": IMAGE, "command": ["sh", "-c", script]});
            json!(scripts.iter().enumerate().map(one).collect::<Vec<_>>())
        };
        create(here, &pod("always", LIVE, json!({"restartPolicy": "Always", "initContainers": init(["true", "true"])}), json!({}))).await;
        create(here, &pod("never", "true", json!({"initContainers": init(["true", "true"])}), json!({}))).await;
        create(here, &pod("fails", "true", json!({"initContainers": init(["true", "false"])}), json!({}))).await;
        create(here, &pod("repeats", LIVE, json!({"restartPolicy": "Always", "initContainers": init(["false", "true"])}), json!({}))).await;
        let done = |pod: &Value| {
            let list = pod["status"]["initContainerStatuses"].as_array().unwrap();
            list.iter().all(|status| status["ready"] == true && status["state"]["terminated"]["exitCode"] == 0)
        };
        assert!(done(&until(here, "runs", "always", |pod| pod["status"]["phase"] == "Running").await));
        assert!(done(&until(here, "succeeds", "never", |pod| pod["status"]["phase"] == "Succeeded").await));
        let failed = until(here, "fails", "fails", |pod| pod["status"]["phase"] == "Failed").await;
        assert_eq!(failed["status"]["initContainerStatuses"][1]["state"]["terminated"]["exitCode"], 1);
        assert!(failed["status"]["containerStatuses"][0]["containerID"].as_str().unwrap_or_default().is_empty());
        let waits = until(here, "tries again", "repeats", |pod| {
            pod["status"]["initContainerStatuses"][0]["restartCount"].as_i64().is_some_and(|count| count >= 2)
        })
        .await;
        assert_eq!(waits["status"]["phase"], "Pending");
        assert_eq!(waits["status"]["containerStatuses"][0]["state"]["waiting"]["reason"], "PodInitializing");
    });
}

/// [sig-node] Kubelet when scheduling a busybox command in a pod should print the output to logs [NodeConformance] [Conformance]
/// [sig-node] Kubelet when scheduling a busybox command that always fails in a pod should be possible to delete [NodeConformance] [Conformance]
/// [sig-node] Kubelet when scheduling a busybox command that always fails in a pod should have an terminated reason [NodeConformance] [Conformance]
/// [sig-node] Kubelet when scheduling a read only busybox container should not write to root filesystem [LinuxOnly] [NodeConformance] [Conformance]
/// [sig-node] Kubelet when scheduling an agnhost Pod with hostAliases should write entries to /etc/hosts [NodeConformance] [Conformance]
/// [sig-node] KubeletManagedEtcHosts should test kubelet managed /etc/hosts file [NodeConformance] [Conformance]
#[test]
fn small_duties_of_the_node() {
    row("kubelet", &BOTH, async |here| {
        let aliases = json!({"hostAliases": [{"ip": "123.45.67.89", "hostnames": ["foo", "bar"]}]});
        create(here, &pod("fails", "false", json!({"restartPolicy": "Always"}), json!({}))).await;
        let host = json!({"hostNetwork": true});
        let own = json!({"volumeMounts": [{"name": "v", "mountPath": "/etc/hosts"}]});
        let mine = json!({"volumes": [{"name": "v", "hostPath": {"path": "/etc/hostname", "type": "File"}}]});
        let managed = "grep -c '^# Kubernetes-managed hosts file[.]' /etc/hosts; true";
        wrote(
            here,
            &[
                (pod("logs", "echo to stdout; echo to stderr >&2", json!({}), json!({})), "to stdout\nto stderr"),
                (pod("aliases", "tail -n 1 /etc/hosts | tr '\\t' ' '", aliases, json!({})), "123.45.67.89 foo bar"),
                (
                    pod(
                        "readonly",
                        "touch /file 2>/dev/null && echo written || echo refused",
                        json!({}),
                        json!({"securityContext": {"readOnlyRootFilesystem": true}}),
                    ),
                    "refused",
                ),
                (pod("hosts", managed, json!({}), json!({})), "1"),
                (pod("host-network", managed, host, json!({})), "0"),
                (pod("own-hosts", managed, mine, own), "0"),
            ],
        )
        .await;
        let failing = until(here, "has ended", "fails", |pod| {
            let status = &pod["status"]["containerStatuses"][0];
            [&status["state"], &status["lastState"]].iter().any(|state| state["terminated"]["reason"] == "Error")
        })
        .await;
        assert!(failing["status"]["containerStatuses"][0]["containerID"].is_string());
        here.delete(&path(here, "fails")).await.ok();
        here.until_gone(&path(here, "fails")).await;
    });
}

/// [sig-node] Probing container should *not* be restarted with a /healthz http liveness probe [NodeConformance] [Conformance]
/// [sig-node] Probing container should *not* be restarted with a exec "cat /tmp/health" liveness probe [NodeConformance] [Conformance]
/// [sig-node] Probing container should *not* be restarted with a tcp:8080 liveness probe [NodeConformance] [Conformance]
/// [sig-node] Probing container should be restarted with a /healthz http liveness probe [NodeConformance] [Conformance]
/// [sig-node] Probing container should be restarted with a exec "cat /tmp/health" liveness probe [NodeConformance] [Conformance]
/// [sig-node] Probing container should have monotonically increasing restart count [NodeConformance] [Conformance]
/// [sig-node] Probing container with readiness probe should not be ready before initial delay and never restart [NodeConformance] [Conformance]
/// [sig-node] Probing container with readiness probe that fails should never be ready and never restart [NodeConformance] [Conformance]
#[test]
fn probes_decide() {
    row("probes", &[Need::Native], async |here| {
        let often = |mut probe: Value, more: Value| {
            merge(&mut probe, json!({"periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 30}));
            merge(&mut probe, more);
            probe
        };
        let http = |path: &str| json!({"httpGet": {"path": path, "port": 8080}});
        let exec = json!({"exec": {"command": ["cat", "/tmp/health"]}});
        let always = json!({"restartPolicy": "Always"});
        let server = |name: &str, own: Value| {
            let mut pod = pod(name, "", always.clone(), own);
            pod["spec"]["containers"][0].as_object_mut().unwrap().remove("command");
            pod
        };
        let healthy = "touch /tmp/health; trap 'exit 0' TERM; sleep 1000 & wait";
        let sick = "touch /tmp/health; sleep 1; rm /tmp/health; trap 'exit 0' TERM; sleep 1000 & wait";
        let patient = json!({"failureThreshold": 3});
        let good = [
            server("http-good", json!({"livenessProbe": often(http("/"), patient.clone())})),
            server("tcp-good", json!({"livenessProbe": often(json!({"tcpSocket": {"port": 8080}}), patient.clone())})),
            pod(
                "exec-good",
                healthy,
                always.clone(),
                json!({"livenessProbe": often(exec.clone(), json!({"initialDelaySeconds": 1, "failureThreshold": 3}))}),
            ),
        ];
        let bad = [
            server(
                "http-bad",
                json!({"livenessProbe": often(http("/healthz"), json!({})), "lifecycle": {"postStart": http("/healthz/fail")}}),
            ),
            pod("exec-bad", sick, always.clone(), json!({"livenessProbe": often(exec, json!({"initialDelaySeconds": 1}))})),
        ];
        let ready = [
            server("late", json!({"readinessProbe": often(http("/"), json!({"initialDelaySeconds": 5}))})),
            server("never", json!({"readinessProbe": often(json!({"exec": {"command": ["false"]}}), json!({}))})),
        ];
        for pod in good.iter().chain(&bad).chain(&ready) {
            create(here, pod).await;
        }
        let late = until(here, "ready", "late", is_ready).await;
        let second = |value: &Value| value.as_str().unwrap().parse::<k8s_openapi::jiff::Timestamp>().unwrap().as_second();
        let conditions = late["status"]["conditions"].as_array().unwrap();
        let since = conditions.iter().find(|condition| condition["type"] == "Ready").unwrap();
        let started = second(&late["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]);
        assert!(second(&since["lastTransitionTime"]) - started >= 4, "{late}");
        for name in ["http-bad", "exec-bad"] {
            let mut last = 0;
            until(here, "restarted", name, |pod| {
                assert!(restarts(pod) >= last, "the count of restarts went down: {pod}");
                last = restarts(pod);
                last >= 2
            })
            .await;
            until_event(here, name, "Killing", "failed liveness probe").await;
        }
        for name in ["http-good", "tcp-good", "exec-good", "late"] {
            assert_eq!(restarts(&here.get(&path(here, name)).await.ok()), 0, "{name}");
        }
        until_event(here, "never", "Unhealthy", "Readiness probe failed").await;
        let never = here.get(&path(here, "never")).await.ok();
        assert!(!is_ready(&never) && restarts(&never) == 0);
    });
}

/// [sig-node] Security Context When creating a container with runAsUser should run the container with uid 65534 [LinuxOnly] [NodeConformance] [Conformance]
/// [sig-node] Security Context When creating a pod with privileged should run the container as unprivileged when false [LinuxOnly] [NodeConformance] [Conformance]
/// [sig-node] Security Context When creating a pod with readOnlyRootFilesystem should run the container with writable rootfs when readOnlyRootFilesystem=false [NodeConformance] [Conformance]
/// [sig-node] Security Context should support container.SecurityContext.RunAsUser And container.SecurityContext.RunAsGroup [LinuxOnly] [Conformance]
/// [sig-node] Security Context should support pod.Spec.SecurityContext.RunAsUser And pod.Spec.SecurityContext.RunAsGroup [LinuxOnly] [Conformance]
/// [sig-node] Security Context when creating containers with AllowPrivilegeEscalation should not allow privilege escalation when false [LinuxOnly] [NodeConformance] [Conformance]
#[test]
fn who_a_container_is() {
    row("security context", &[Need::Native], async |here| {
        let who = "echo $(id -u) $(id -g)";
        let privileges = "ip link add dummy0 type dummy 2>/dev/null && echo privileged || echo unprivileged";
        let escalation = "grep NoNewPrivs /proc/self/status | tr -s '\\t' ' '";
        let own = |context: Value| json!({"securityContext": context});
        wrote(
            here,
            &[
                (pod("user", who, json!({}), own(json!({"runAsUser": 65534}))), "65534 65534"),
                (pod("container", who, json!({}), own(json!({"runAsUser": 1001, "runAsGroup": 2002}))), "1001 2002"),
                (pod("pod", who, own(json!({"runAsUser": 1001, "runAsGroup": 2002})), json!({})), "1001 2002"),
                (pod("privileged", privileges, json!({}), own(json!({"privileged": false}))), "unprivileged"),
                (pod("writable", "touch /file && echo written", json!({}), own(json!({"readOnlyRootFilesystem": false}))), "written"),
                (
                    pod("escalation", escalation, json!({}), own(json!({"allowPrivilegeEscalation": false, "runAsUser": 1000}))),
                    "NoNewPrivs: 1",
                ),
            ],
        )
        .await;
    });
}

/// [sig-node] Sysctls [LinuxOnly] [NodeConformance] should reject invalid sysctls [Conformance]
/// [sig-node] Sysctls [LinuxOnly] [NodeConformance] should support sysctls [Environment:NotInUserNS] [Conformance]
#[test]
fn settings_of_the_kernel() {
    row("sysctls", &[Need::Native], async |here| {
        let with = |sysctls: Value| json!({"securityContext": {"sysctls": sysctls}});
        let good = with(json!([{"name": "kernel.shm_rmid_forced", "value": "1"}]));
        wrote(here, &[(pod("good", "cat /proc/sys/kernel/shm_rmid_forced", good, json!({})), "1")]).await;
        let bad = with(
            json!([{"name": "foo-", "value": "bar"}, {"name": "kernel.shmmax", "value": "100000000"}, {"name": "bar..", "value": "42"}]),
        );
        let said = here.post(&here.path("v1", "pods"), &pod("bad", "true", bad, json!({}))).await.failed(422, "Invalid");
        assert!(said.contains("foo-") && said.contains("bar..") && !said.contains("kernel.shmmax"), "{said}");
    });
}

/// [sig-node] Pods should allow activeDeadlineSeconds to be updated [NodeConformance] [Conformance]
/// [sig-node] Pods should be submitted and removed [NodeConformance] [Conformance]
/// [sig-node] Pods should be updated [NodeConformance] [Conformance]
/// [sig-node] Pods should delete a collection of pods [Conformance]
/// [sig-node] Pods should get a host IP [NodeConformance] [Conformance]
/// [sig-node] Pods should patch a pod status [Conformance]
/// [sig-node] Pods should run through the lifecycle of Pods and PodStatus [Conformance]
/// [sig-node] Pods Extended Pods Set QOS Class should be set on Pods with matching resource requests and limits for memory and cpu [Conformance]
#[test]
fn a_pod_from_create_to_delete() {
    row("pods", &[Need::Native], async |here| {
        let sized = json!({"resources": {"requests": {"cpu": "100m", "memory": "100Mi"}, "limits": {"cpu": "100m", "memory": "100Mi"}}});
        create(here, &pod("p", LIVE, json!({"terminationGracePeriodSeconds": 30}), sized)).await;
        let mut watch = here.watch(&here.path("v1", "pods?labelSelector=name%3Dp&resourceVersion=0")).await;
        let running = until(here, "runs", "p", is_ready).await;
        assert_eq!(running["status"]["qosClass"], "Guaranteed");
        assert!(running["status"]["hostIP"].as_str().unwrap().parse::<std::net::IpAddr>().is_ok());
        here.patch(&path(here, "p"), STRATEGIC, &json!({"metadata": {"labels": {"time": "now"}}})).await.ok();
        assert_eq!(operations::names(&here.get(&here.path("v1", "pods?labelSelector=time%3Dnow")).await.ok()), ["p"]);
        let gate = json!({"status": {"conditions": [{"type": "example.com/patched", "status": "True"}]}});
        let patched = here.patch(&format!("{}/status", path(here, "p")), STRATEGIC, &gate).await.ok();
        assert!(patched["status"]["conditions"].to_string().contains("example.com/patched"));
        here.delete(&path(here, "p")).await.ok();
        watch.until("DELETED", |seen| seen["metadata"]["name"] == "p").await;
        for name in ["a", "b", "c"] {
            let mut pod = pod(name, LIVE, json!({}), json!({}));
            pod["metadata"]["labels"] = json!({"type": "many"});
            create(here, &pod).await;
        }
        create(here, &pod("deadline", LIVE, json!({}), json!({}))).await;
        here.until_phase("deadline", "Running").await;
        here.patch(&path(here, "deadline"), MERGE, &json!({"spec": {"activeDeadlineSeconds": 1}})).await.ok();
        until(here, "is over", "deadline", |pod| pod["status"]["reason"] == "DeadlineExceeded" || pod["status"]["phase"] == "Succeeded")
            .await;
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
        let pods = here.api::<Pod>();
        let mut session = pods.exec("p", ["echo", "remote execution test"], &AttachParams::default()).await.unwrap();
        let mut text = String::new();
        session.stdout().unwrap().read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "remote execution test\n");
        assert_eq!(pods.logs("p", &LogParams::default()).await.unwrap(), "container is alive\n");
    });
}

/// [sig-node] Pods Extended (pod generation) Pod Generation custom-set generation on new pods and graceful delete [Conformance]
/// [sig-node] Pods Extended (pod generation) Pod Generation issue 500 podspec updates and verify generation and observedGeneration eventually converge [MinimumKubeletVersion:1.34] [Conformance]
/// [sig-node] Pods Extended (pod generation) Pod Generation pod generation should start at 1 and increment per update [MinimumKubeletVersion:1.34] [Conformance]
#[test]
fn the_generation_counts_changes() {
    row("pod generation", &[Need::Native], async |here| {
        let mut made = pod("p", LIVE, json!({"terminationGracePeriodSeconds": 5}), json!({}));
        made["metadata"]["generation"] = json!(100);
        assert_eq!(here.post(&here.path("v1", "pods"), &made).await.ok()["metadata"]["generation"], 1);
        let observed =
            |pod: &Value, generation: i64| pod["status"]["observedGeneration"] == generation && pod["metadata"]["generation"] == generation;
        until(here, "is observed", "p", |pod| pod["status"]["phase"] == "Running" && observed(pod, 1)).await;
        here.patch(&path(here, "p"), MERGE, &json!({"metadata": {"labels": {"x": "y"}}})).await.ok();
        let before = here.get(&path(here, "p")).await.ok();
        assert_eq!(before["metadata"]["generation"], 1);
        for count in 0..500_i64 {
            here.patch(&path(here, "p"), STRATEGIC, &json!({"spec": {"activeDeadlineSeconds": 100_000 - count}})).await.ok();
        }
        until(here, "is observed again", "p", |pod| observed(pod, 501)).await;
        let deleted = here.delete(&path(here, "p")).await.ok();
        assert_eq!(deleted["metadata"]["generation"], 502);
        here.until_gone(&path(here, "p")).await;
    });
}

/// [sig-node] Pod InPlace Resize Container burstable pods - extended 6 containers - various operations performed (including adding limits and requests) [MinimumKubeletVersion:1.34] [Conformance]
/// [sig-node] Pod InPlace Resize Container burstable pods - extended resize with equivalents [MinimumKubeletVersion:1.34] [Conformance]
/// [sig-node] Pod InPlace Resize Container guaranteed pods with multiple containers 3 containers - increase cpu & mem on c1, c2, decrease cpu & mem on c3 - net increase [MinimumKubeletVersion:1.34] [Conformance]
/// [sig-node] Pod InPlace Resize Container guaranteed pods with multiple containers 3 containers - increase cpu & mem on c1, decrease cpu & mem on c2, c3 - net decrease [MinimumKubeletVersion:1.34] [Conformance]
/// [sig-node] Pod InPlace Resize Container guaranteed pods with multiple containers 3 containers - increase: CPU (c1,c3), memory (c2, c3) ; decrease: CPU (c2) [MinimumKubeletVersion:1.34] [Conformance]
/// [sig-node] Pod InPlace Resize Container resize pod via the replace endpoint [MinimumKubeletVersion:1.34] [Conformance]
#[test]
fn resources_change_in_place() {
    row("in-place resize", &[Need::Native], async |here| {
        let set = |cpu: &str, memory: &str| json!({"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}});
        let container =
            |name: &str, resources: Value| json!({"name": name, "image": IMAGE, "command": ["sh", "-c", LIVE], "resources": resources});
        let three = |a: Value, b: Value, c: Value| json!([container("c1", a), container("c2", b), container("c3", c)]);
        let make = |name: &str, containers: Value| {
            let mut pod = pod(name, LIVE, json!({"containers": containers}), json!({}));
            pod["spec"]["restartPolicy"] = json!("Never");
            pod
        };
        let start = || three(set("30m", "40Mi"), set("40m", "50Mi"), set("50m", "60Mi"));
        let burst = |cpu: &str| json!({"requests": {"cpu": cpu, "memory": "20Mi"}, "limits": {"cpu": "200m"}});
        let six: Vec<Value> = (1..=6)
            .map(|n| container(&format!("c{n}"), if n % 2 == 0 { burst("20m") } else { json!({"requests": {"cpu": "20m"}}) }))
            .collect();
        let seven: Vec<Value> = (1..=6)
            .map(|n| {
                container(
                    &format!("c{n}"),
                    if n % 2 == 0 {
                        burst("30m")
                    } else {
                        json!({"requests": {"cpu": "25m", "memory": "30Mi"}, "limits": {"cpu": "100m", "memory": "90Mi"}})
                    },
                )
            })
            .collect();
        let cases = [
            ("net-more", start(), three(set("40m", "50Mi"), set("50m", "60Mi"), set("40m", "55Mi"))),
            ("net-less", start(), three(set("35m", "45Mi"), set("30m", "45Mi"), set("40m", "50Mi"))),
            ("mixed", start(), three(set("40m", "40Mi"), set("30m", "60Mi"), set("60m", "70Mi"))),
            ("six", json!(six), json!(seven)),
            (
                "same",
                json!([container("c1", json!({"requests": {"cpu": "2m"}, "limits": {"cpu": "10m"}}))]),
                json!([container("c1", json!({"requests": {"cpu": "1m"}, "limits": {"cpu": "5m"}}))]),
            ),
        ];
        for (name, before, _) in &cases {
            create(here, &make(name, before.clone())).await;
        }
        for (name, _, after) in &cases {
            until(here, "runs", name, is_ready).await;
            let wanted: Vec<Value> =
                after.as_array().unwrap().iter().map(|one| json!({"name": one["name"], "resources": one["resources"]})).collect();
            let sub = format!("{}/resize", path(here, name));
            if *name == "mixed" {
                let mut whole = here.get(&path(here, name)).await.ok();
                for (one, wanted) in whole["spec"]["containers"].as_array_mut().unwrap().iter_mut().zip(&wanted) {
                    one["resources"] = wanted["resources"].clone();
                }
                here.put(&sub, &whole).await.ok();
            } else {
                here.patch(&sub, STRATEGIC, &json!({"spec": {"containers": wanted}})).await.ok();
            }
        }
        for (name, _, after) in &cases {
            let done = until(here, "resized", name, |pod| {
                let statuses = pod["status"]["containerStatuses"].as_array().unwrap();
                let applied = statuses.iter().zip(after.as_array().unwrap()).all(|(status, wanted)| {
                    ["cpu", "memory"].iter().all(|resource| {
                        ["requests", "limits"].iter().all(|kind| {
                            let wanted = &wanted["resources"][kind][resource];
                            wanted.is_null() || &status["resources"][kind][resource] == wanted
                        })
                    })
                });
                let pending = pod["status"]["conditions"].to_string().contains("PodResize");
                applied && !pending
            })
            .await;
            assert!(done["status"]["containerStatuses"].as_array().unwrap().iter().all(|status| status["restartCount"] == 0), "{done}");
            until_event(here, name, "ResizeCompleted", "Pod resize completed").await;
        }
    });
}

/// [sig-node] RuntimeClass should schedule a Pod requesting a RuntimeClass without PodOverhead [NodeConformance] [Conformance]
#[test]
fn a_class_of_runtimes() {
    row("runtime class", &[Need::Native], async |here| {
        let classes = "/apis/node.k8s.io/v1/runtimeclasses";
        here.post(classes, &json!({"metadata": {"name": here.namespace}, "handler": "native"})).await.ok();
        here.remove_later(format!("{classes}/{}", here.namespace));
        create(here, &pod("p", "true", json!({"runtimeClassName": here.namespace}), json!({}))).await;
        until(here, "is given to a node", "p", |pod| pod["spec"]["nodeName"].is_string()).await;
    });
}
