//! What a container is told by its environment.

use serde_json::{Value, json};

use crate::harness::Need;
use crate::here::{MERGE, row};
use crate::pods::*;

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
        here.post(&here.path("v1", "configmaps"), &json!({"metadata": {"name": "con"}, "data": {"one": "1", "two": "2"}})).await.ok();
        here.post(&here.path("v1", "secrets"), &json!({"metadata": {"name": "sec"}, "stringData": {"three": "3"}})).await.ok();
        let service = json!({"metadata": {"name": "fooservice"}, "spec": {"ports": [{"port": 8765}], "selector": {"name": "none"}}});
        let service = here.post(&here.path("v1", "services"), &service).await.ok();
        let address = service["spec"]["clusterIP"].as_str().unwrap().to_owned();
        let from = json!([{"prefix": "p-", "configMapRef": {"name": "con"}}, {"configMapRef": {"name": "con"}},
            {"prefix": "S_", "secretRef": {"name": "sec"}}, {"secretRef": {"name": "sec"}}]);
        let named = json!([
            {"name": "M", "valueFrom": {"configMapKeyRef": {"name": "con", "key": "one"}}},
            {"name": "S", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "three"}}},
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
                      $FOOSERVICE_PORT $FOOSERVICE_PORT_8765_TCP $FOOSERVICE_PORT_8765_TCP_PORT $FOOSERVICE_PORT_8765_TCP_PROTO $FOOSERVICE_PORT_8765_TCP_ADDR";
        let whole = format!("1 2 3 3 1 3 1;;3;;$(NONE) {address} 8765 tcp://{address}:8765 tcp://{address}:8765 8765 tcp {address}");
        let node = here.get("/api/v1/nodes").await.ok()["items"][0]["status"]["allocatable"].clone();
        let memory = node["memory"].as_str().unwrap().trim_end_matches("Ki").parse::<i64>().unwrap() * 1024;
        let all = format!("{} {memory} 0 0", node["cpu"].as_str().unwrap());
        let mut args = pod("args", "", json!({}), json!({"env": [{"name": "V", "value": "value"}], "args": ["sh", "$(V)-in-args"]}));
        args["spec"]["containers"][0]["command"] = json!(["sh", "-c", "echo $(V)-in-command $1"]);
        // a shell would drop names that are none of its own
        let odd = ["p-", "1-", "$_-", "!\"#$%&'()*+,-./:;<>?@[\\]^_`{|}~ "];
        let sources: Vec<Value> = odd
            .iter()
            .flat_map(|prefix| {
                ["configMapRef", "secretRef"].map(|kind| json!({"prefix": prefix, kind: {"name": kind[..3].to_lowercase()}}))
            })
            .collect();
        let mut command = vec!["printenv".to_owned()];
        command.extend(odd.iter().flat_map(|prefix| ["one", "three"].map(|key| format!("{prefix}{key}"))));
        let prefixed = pod("prefixed", "", json!({}), json!({"envFrom": sources, "command": command}));
        let about = pod("about", "echo $NAME $SPACE $IP $ID $HOST $HOSTS", json!({}), json!({"env": fields}));
        create(here, &about).await;
        wrote(
            here,
            &[
                (pod("sources", script, json!({}), json!({"env": named, "envFrom": from})), whole.as_str()),
                (pod("sized", "echo $A $B $C $D", json!({}), sized), "2 67108864 1 33554432"),
                (pod("unsized", "echo $A $B $C $D", json!({}), json!({"env": amounts})), all.as_str()),
                (args, "value-in-command value-in-args"),
                (prefixed, "1\n3\n1\n3\n1\n3\n1\n3"),
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
    row("subpath expansion", &[Need::Native, Need::Kubectl], async |here| {
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
