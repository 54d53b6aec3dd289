//! Rows of `[sig-storage]`.

use serde_json::{Value, json};

use super::here::{Here, MERGE, row};
use super::operations::{self, Resource};
use crate::harness::Need;

const IMAGE: &str = "coracle.local/kubia:1.0";

/// A pod that runs a script to its end.
fn pod(name: &str, volumes: &Value, mounts: &Value, script: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "volumes": volumes,
        "containers": [{"name": "c", "image": IMAGE, "command": ["sh", "-c", script], "volumeMounts": mounts}]}})
}

/// What a pod's container wrote, once it has ended well.
async fn output(here: &Here, name: &str) -> String {
    let pod = here
        .until_object("the pod has ended", &here.path("v1", &format!("pods/{name}")), |pod| {
            ["Succeeded", "Failed"].contains(&pod["status"]["phase"].as_str().unwrap_or_default())
        })
        .await;
    let log = here.get(&here.path("v1", &format!("pods/{name}/log"))).await.text;
    assert_eq!(pod["status"]["phase"], "Succeeded", "{log}\n{pod}");
    log
}

/// A volume's name, its source, and the files expected in it: path, mode, content.
struct Volume {
    name: String,
    source: Value,
    files: Vec<(&'static str, &'static str, &'static str)>,
}

fn volume(name: &str, source: Value, files: &[(&'static str, &'static str, &'static str)]) -> Volume {
    Volume { name: name.to_owned(), source, files: files.to_vec() }
}

/// The same volume by itself and as the only part of a projected one.
fn both(name: &str, kind: &str, source: &Value, files: &[(&'static str, &'static str, &'static str)]) -> [Volume; 2] {
    let (mut part, mut projected) = (source.clone(), json!({}));
    if let Some(mode) = part.as_object_mut().unwrap().remove("defaultMode") {
        projected["defaultMode"] = mode;
    }
    if let Some(name) = part.as_object_mut().unwrap().remove("secretName") {
        part["name"] = name;
    }
    projected["sources"] = json!([{kind: part}]);
    [volume(name, json!({kind: source}), files), volume(&format!("{name}-projected"), json!({"projected": projected}), files)]
}

/// Mounts all volumes into one pod and compares their files.
async fn files_are(here: &Here, name: &str, security: &Value, volumes: &[Volume]) {
    let list: Vec<Value> = volumes
        .iter()
        .map(|volume| {
            let mut entry = volume.source.clone();
            entry["name"] = json!(volume.name);
            entry
        })
        .collect();
    let mounts: Vec<Value> =
        volumes.iter().map(|volume| json!({"name": volume.name, "mountPath": format!("/v/{}", volume.name)})).collect();
    let paths = volumes.iter().flat_map(|volume| volume.files.iter().map(|(path, ..)| format!("/v/{}/{path}", volume.name)));
    let script = "for f in \"$@\"; do echo \"$f $(stat -L -c %a \"$f\") $(cat \"$f\")\"; done";
    let mut pod = pod(name, &json!(list), &json!(mounts), script);
    let command: Vec<String> = ["sh", "-c", script, "sh"].into_iter().map(str::to_owned).chain(paths).collect();
    pod["spec"]["containers"][0]["command"] = json!(command);
    pod["spec"]["containers"][0]["resources"] =
        json!({"limits": {"cpu": "1250m", "memory": "64Mi"}, "requests": {"cpu": "250m", "memory": "32Mi"}});
    pod["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "unlimited", "image": IMAGE, "command": ["true"]}));
    pod["spec"]["securityContext"] = security.clone();
    here.post(&here.path("v1", "pods"), &pod).await.ok();
    let path = here.path("v1", &format!("pods/{name}"));
    let ended =
        here.until_object("the pod has ended", &path, |pod| pod["status"]["phase"] == "Succeeded" || pod["status"]["phase"] == "Failed");
    ended.await;
    let log = here.get(&format!("{path}/log?container=c")).await.text;
    let files =
        volumes.iter().flat_map(|volume| volume.files.iter().map(|(path, mode, text)| format!("/v/{}/{path} {mode} {text}", volume.name)));
    let expected: Vec<String> = files.collect();
    let seen: Vec<&str> = log.lines().collect();
    assert_eq!(seen, expected);
}

async fn objects(here: &Here) {
    let data = json!({"data-1": "value-1", "data-2": "value-2"});
    here.post(&here.path("v1", "configmaps"), &json!({"metadata": {"name": "map"}, "data": data, "binaryData": {"binary": "3q0="}}))
        .await
        .ok();
    here.post(&here.path("v1", "secrets"), &json!({"metadata": {"name": "secret"}, "stringData": data})).await.ok();
}

const TWO: [(&str, &str, &str); 2] = [("data-1", "644", "value-1"), ("data-2", "644", "value-2")];

/// [sig-node] ConfigMap should be consumable as environment variable names with various prefixes [Conformance]
/// [sig-node] ConfigMap should be consumable via environment variable [NodeConformance] [Conformance]
/// [sig-node] ConfigMap should be consumable via the environment [NodeConformance] [Conformance]
/// [sig-storage] ConfigMap should be consumable from pods in volume [NodeConformance] [Conformance]
/// [sig-storage] ConfigMap should be consumable from pods in volume as non-root [NodeConformance] [Conformance]
/// [sig-storage] ConfigMap should be consumable from pods in volume with defaultMode set [LinuxOnly] [NodeConformance] [Conformance]
/// [sig-storage] ConfigMap should be consumable from pods in volume with mappings [NodeConformance] [Conformance]
/// [sig-storage] ConfigMap should be consumable from pods in volume with mappings and Item mode set [LinuxOnly] [NodeConformance] [Conformance]
/// [sig-storage] ConfigMap should be consumable from pods in volume with mappings as non-root [NodeConformance] [Conformance]
/// [sig-storage] ConfigMap should be consumable in multiple volumes in the same pod [NodeConformance] [Conformance]
/// [sig-storage] Projected configMap should be consumable from pods in volume [NodeConformance] [Conformance]
/// [sig-storage] Projected configMap should be consumable from pods in volume as non-root [NodeConformance] [Conformance]
/// [sig-storage] Projected configMap should be consumable from pods in volume with defaultMode set [LinuxOnly] [NodeConformance] [Conformance]
/// [sig-storage] Projected configMap should be consumable from pods in volume with mappings [NodeConformance] [Conformance]
/// [sig-storage] Projected configMap should be consumable from pods in volume with mappings and Item mode set [LinuxOnly] [NodeConformance] [Conformance]
/// [sig-storage] Projected configMap should be consumable from pods in volume with mappings as non-root [NodeConformance] [Conformance]
/// [sig-storage] Projected configMap should be consumable in multiple volumes in the same pod [NodeConformance] [Conformance]
/// [sig-storage] Secrets should be consumable from pods in volume [NodeConformance] [Conformance]
/// [sig-storage] Secrets should be consumable from pods in volume as non-root with defaultMode and fsGroup set [LinuxOnly] [NodeConformance] [Conformance]
/// [sig-storage] Secrets should be consumable from pods in volume with defaultMode set [LinuxOnly] [NodeConformance] [Conformance]
/// [sig-storage] Secrets should be consumable from pods in volume with mappings [NodeConformance] [Conformance]
/// [sig-storage] Secrets should be consumable from pods in volume with mappings and Item Mode set [LinuxOnly] [NodeConformance] [Conformance]
/// [sig-storage] Secrets should be consumable in multiple volumes in a pod [NodeConformance] [Conformance]
/// [sig-storage] Projected secret should be consumable from pods in volume [NodeConformance] [Conformance]
/// [sig-storage] Projected secret should be consumable from pods in volume as non-root with defaultMode and fsGroup set [LinuxOnly] [NodeConformance] [Conformance]
/// [sig-storage] Projected secret should be consumable from pods in volume with defaultMode set [LinuxOnly] [NodeConformance] [Conformance]
/// [sig-storage] Projected secret should be consumable from pods in volume with mappings [NodeConformance] [Conformance]
/// [sig-storage] Projected secret should be consumable from pods in volume with mappings and Item Mode set [LinuxOnly] [NodeConformance] [Conformance]
/// [sig-storage] Projected secret should be consumable in multiple volumes in a pod [NodeConformance] [Conformance]
#[test]
fn config_maps_and_secrets_are_files() {
    row("files of config maps and secrets", &[Need::Native], async |here| {
        objects(here).await;
        let item = json!([{"key": "data-2", "path": "path/to/data-2"}]);
        let moded = json!([{"key": "data-2", "path": "path/to/data-2", "mode": 0o400}]);
        let mut root = Vec::new();
        for (kind, name) in [("configMap", "name"), ("secret", "secretName")] {
            let (short, object) = (kind.to_lowercase(), if kind == "secret" { "secret" } else { "map" });
            root.extend(both(&short, kind, &json!({name: object}), &TWO));
            root.extend(both(&format!("{short}-twice"), kind, &json!({name: object}), &TWO));
            root.extend(both(
                &format!("{short}-mode"),
                kind,
                &json!({name: object, "defaultMode": 0o400}),
                &[("data-1", "400", "value-1")],
            ));
            root.extend(both(
                &format!("{short}-item"),
                kind,
                &json!({name: object, "items": item}),
                &[("path/to/data-2", "644", "value-2")],
            ));
            root.extend(both(
                &format!("{short}-item-mode"),
                kind,
                &json!({name: object, "items": moded}),
                &[("path/to/data-2", "400", "value-2")],
            ));
        }
        files_are(here, "root", &json!({}), &root).await;
        let mut other = Vec::new();
        for (kind, name, object) in [("configMap", "name", "map"), ("secret", "secretName", "secret")] {
            let short = kind.to_lowercase();
            other.extend(both(&short, kind, &json!({name: object}), &TWO));
            other.extend(both(
                &format!("{short}-item"),
                kind,
                &json!({name: object, "items": item}),
                &[("path/to/data-2", "644", "value-2")],
            ));
        }
        files_are(here, "other-user", &json!({"runAsUser": 1000}), &other).await;
        let group = both("secret-group", "secret", &json!({"secretName": "secret", "defaultMode": 0o440}), &[("data-1", "440", "value-1")]);
        files_are(here, "group", &json!({"runAsUser": 1000, "fsGroup": 1001}), &group).await;
    });
}

/// [sig-storage] ConfigMap binary data should be reflected in volume [NodeConformance] [Conformance]
/// [sig-storage] EmptyDir wrapper volumes should not conflict [Conformance]
/// [sig-storage] Secrets should be able to mount in a volume regardless of a different secret existing with same name in different namespace [NodeConformance] [Conformance]
#[test]
fn binary_data_and_volumes_side_by_side() {
    row("binary data", &[Need::Native], async |here| {
        objects(here).await;
        let other = format!("{}-other", here.namespace);
        here.make_namespace(&other, json!({})).await;
        let same_name = json!({"metadata": {"name": "secret"}, "stringData": {"data-1": "of-another-namespace"}});
        here.post(&format!("/api/v1/namespaces/{other}/secrets"), &same_name).await.ok();
        let volumes = json!([{"name": "map", "configMap": {"name": "map"}}, {"name": "secret", "secret": {"secretName": "secret"}}]);
        let mounts = json!([{"name": "map", "mountPath": "/map"}, {"name": "secret", "mountPath": "/secret"}]);
        let script = "wc -c < /map/binary; head -c 1 /map/binary | wc -c; cat /secret/data-1";
        here.post(&here.path("v1", "pods"), &pod("p", &volumes, &mounts, script)).await.ok();
        assert_eq!(output(here, "p").await.split_whitespace().collect::<Vec<_>>(), ["2", "1", "value-1"]);
    });
}

/// [sig-storage] Downward API volume should provide container's cpu limit [NodeConformance] [Conformance]
/// [sig-storage] Downward API volume should provide container's cpu request [NodeConformance] [Conformance]
/// [sig-storage] Downward API volume should provide container's memory limit [NodeConformance] [Conformance]
/// [sig-storage] Downward API volume should provide container's memory request [NodeConformance] [Conformance]
/// [sig-storage] Downward API volume should provide node allocatable (cpu) as default cpu limit if the limit is not set [NodeConformance] [Conformance]
/// [sig-storage] Downward API volume should provide node allocatable (memory) as default memory limit if the limit is not set [NodeConformance] [Conformance]
/// [sig-storage] Downward API volume should provide podname only [NodeConformance] [Conformance]
/// [sig-storage] Downward API volume should set DefaultMode on files [LinuxOnly] [NodeConformance] [Conformance]
/// [sig-storage] Downward API volume should set mode on item file [LinuxOnly] [NodeConformance] [Conformance]
/// [sig-storage] Projected downwardAPI should provide container's cpu limit [NodeConformance] [Conformance]
/// [sig-storage] Projected downwardAPI should provide container's cpu request [NodeConformance] [Conformance]
/// [sig-storage] Projected downwardAPI should provide container's memory limit [NodeConformance] [Conformance]
/// [sig-storage] Projected downwardAPI should provide container's memory request [NodeConformance] [Conformance]
/// [sig-storage] Projected downwardAPI should provide node allocatable (cpu) as default cpu limit if the limit is not set [NodeConformance] [Conformance]
/// [sig-storage] Projected downwardAPI should provide node allocatable (memory) as default memory limit if the limit is not set [NodeConformance] [Conformance]
/// [sig-storage] Projected downwardAPI should provide podname only [NodeConformance] [Conformance]
/// [sig-storage] Projected downwardAPI should set DefaultMode on files [LinuxOnly] [NodeConformance] [Conformance]
/// [sig-storage] Projected downwardAPI should set mode on item file [LinuxOnly] [NodeConformance] [Conformance]
/// [sig-storage] Projected combined should project all components that make up the projection API [Projection] [NodeConformance] [Conformance]
#[test]
fn a_pod_reads_about_itself_in_files() {
    row("downward api volumes", &[Need::Native], async |here| {
        objects(here).await;
        let node = here.get("/api/v1/nodes").await.ok()["items"][0]["status"]["allocatable"].clone();
        let cores: i64 = node["cpu"].as_str().unwrap().parse().unwrap();
        let bytes = node["memory"].as_str().unwrap().trim_end_matches("Ki").parse::<i64>().unwrap() * 1024;
        let (cores, bytes): (&'static str, &'static str) = (cores.to_string().leak(), bytes.to_string().leak());
        let resource =
            |container: &str, name: &str, divisor: &str| json!({"containerName": container, "resource": name, "divisor": divisor});
        let item = |path: &str, reference: Value| json!({"path": path, "resourceFieldRef": reference});
        let name = json!({"path": "podname", "fieldRef": {"fieldPath": "metadata.name"}});
        let items = json!([
            name,
            item("cpu-limit", resource("c", "limits.cpu", "1m")),
            item("cpu-request", resource("c", "requests.cpu", "1m")),
            item("memory-limit", resource("c", "limits.memory", "1Mi")),
            item("memory-request", resource("c", "requests.memory", "1Mi")),
            item("all-cpu", resource("unlimited", "limits.cpu", "0")),
            item("all-memory", resource("unlimited", "limits.memory", "0")),
        ]);
        let files = [
            ("podname", "644", "p"),
            ("cpu-limit", "644", "1250"),
            ("cpu-request", "644", "250"),
            ("memory-limit", "644", "64"),
            ("memory-request", "644", "32"),
            ("all-cpu", "644", cores),
            ("all-memory", "644", bytes),
        ];
        let mut volumes: Vec<Volume> = both("fields", "downwardAPI", &json!({"items": items}), &files).into();
        volumes.extend(both("mode", "downwardAPI", &json!({"items": [name], "defaultMode": 0o400}), &[("podname", "400", "p")]));
        let mut own = name.clone();
        own["mode"] = json!(0o440);
        volumes.extend(both("item-mode", "downwardAPI", &json!({"items": [own]}), &[("podname", "440", "p")]));
        let all = json!({"projected": {"sources": [
            {"configMap": {"name": "map", "items": [{"key": "data-1", "path": "map/data-1"}]}},
            {"secret": {"name": "secret", "items": [{"key": "data-2", "path": "secret/data-2"}]}},
            {"downwardAPI": {"items": [name]}},
        ]}});
        volumes.push(volume("all", all, &[("map/data-1", "644", "value-1"), ("secret/data-2", "644", "value-2"), ("podname", "644", "p")]));
        files_are(here, "p", &json!({}), &volumes).await;
    });
}

/// [sig-storage] EmptyDir volumes pod should support shared volumes between containers [Conformance]
/// [sig-storage] EmptyDir volumes should support (non-root,0644,default) [LinuxOnly] [NodeConformance] [Conformance]
/// [sig-storage] EmptyDir volumes should support (non-root,0644,tmpfs) [LinuxOnly] [NodeConformance] [Conformance]
/// [sig-storage] EmptyDir volumes should support (non-root,0666,default) [LinuxOnly] [NodeConformance] [Conformance]
/// [sig-storage] EmptyDir volumes should support (non-root,0666,tmpfs) [LinuxOnly] [NodeConformance] [Conformance]
/// [sig-storage] EmptyDir volumes should support (non-root,0777,default) [LinuxOnly] [NodeConformance] [Conformance]
/// [sig-storage] EmptyDir volumes should support (non-root,0777,tmpfs) [LinuxOnly] [NodeConformance] [Conformance]
/// [sig-storage] EmptyDir volumes should support (root,0644,default) [LinuxOnly] [NodeConformance] [Conformance]
/// [sig-storage] EmptyDir volumes should support (root,0644,tmpfs) [LinuxOnly] [NodeConformance] [Conformance]
/// [sig-storage] EmptyDir volumes should support (root,0666,default) [LinuxOnly] [NodeConformance] [Conformance]
/// [sig-storage] EmptyDir volumes should support (root,0666,tmpfs) [LinuxOnly] [NodeConformance] [Conformance]
/// [sig-storage] EmptyDir volumes should support (root,0777,default) [LinuxOnly] [NodeConformance] [Conformance]
/// [sig-storage] EmptyDir volumes should support (root,0777,tmpfs) [LinuxOnly] [NodeConformance] [Conformance]
/// [sig-storage] EmptyDir volumes volume on default medium should have the correct mode [LinuxOnly] [NodeConformance] [Conformance]
/// [sig-storage] EmptyDir volumes volume on tmpfs should have the correct mode [LinuxOnly] [NodeConformance] [Conformance]
#[test]
fn an_empty_directory_on_disk_and_in_memory() {
    row("emptydir", &[Need::Native], async |here| {
        let volumes = json!([{"name": "disk", "emptyDir": {}}, {"name": "memory", "emptyDir": {"medium": "Memory"}}]);
        let mounts = json!([{"name": "disk", "mountPath": "/disk"}, {"name": "memory", "mountPath": "/memory"}]);
        let script = "for v in /disk /memory; do echo $v $(stat -c %a $v); for m in 644 666 777; do echo text > $v/$m; chmod $m $v/$m; \
                      echo $(stat -c '%a %u' $v/$m) $(cat $v/$m); done; done; stat -f -c %T /memory";
        for (name, user) in [("root", 0), ("other", 1001)] {
            let mut pod = pod(name, &volumes, &mounts, script);
            pod["spec"]["securityContext"] = json!({"runAsUser": user});
            here.post(&here.path("v1", "pods"), &pod).await.ok();
        }
        let shared = json!({"metadata": {"name": "shared"}, "spec": {"restartPolicy": "Never", "volumes": [{"name": "v", "emptyDir": {}}], "containers": [
            {"name": "c", "image": IMAGE, "command": ["sh", "-c", "until [ -s /v/f ]; do sleep 0.1; done; cat /v/f"], "volumeMounts": [{"name": "v", "mountPath": "/v"}]},
            {"name": "d", "image": IMAGE, "command": ["sh", "-c", "echo from the other > /v/new; mv /v/new /v/f"], "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]}});
        here.post(&here.path("v1", "pods"), &shared).await.ok();
        for (name, user) in [("root", 0), ("other", 1001)] {
            let files = format!("644 {user} text\n666 {user} text\n777 {user} text\n");
            assert_eq!(output(here, name).await, format!("/disk 777\n{files}/memory 777\n{files}tmpfs\n"));
        }
        here.until_phase("shared", "Succeeded").await;
        assert_eq!(here.get(&here.path("v1", "pods/shared/log?container=c")).await.text, "from the other\n");
    });
}

/// [sig-storage] Subpath Atomic writer volumes should support subpaths with configmap pod [Conformance]
/// [sig-storage] Subpath Atomic writer volumes should support subpaths with configmap pod with mountPath of existing file [Conformance]
/// [sig-storage] Subpath Atomic writer volumes should support subpaths with downward pod [Conformance]
/// [sig-storage] Subpath Atomic writer volumes should support subpaths with projected pod [Conformance]
/// [sig-storage] Subpath Atomic writer volumes should support subpaths with secret pod [Conformance]
#[test]
fn a_part_of_a_volume() {
    row("subpaths", &[Need::Native], async |here| {
        objects(here).await;
        let fields = json!({"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]});
        let volumes = json!([
            {"name": "map", "configMap": {"name": "map"}}, {"name": "secret", "secret": {"secretName": "secret"}},
            {"name": "fields", "downwardAPI": fields}, {"name": "all", "projected": {"sources": [{"configMap": {"name": "map"}}]}},
        ]);
        let mounts = json!([
            {"name": "map", "mountPath": "/one", "subPath": "data-1"}, {"name": "secret", "mountPath": "/two", "subPath": "data-2"},
            {"name": "fields", "mountPath": "/three", "subPath": "name"}, {"name": "all", "mountPath": "/four", "subPath": "data-1"},
            {"name": "map", "mountPath": "/etc/resolv.conf", "subPath": "data-2"},
        ]);
        let script = "for f in /one /two /three /four /etc/resolv.conf; do echo $(cat $f); done";
        here.post(&here.path("v1", "pods"), &pod("p", &volumes, &mounts, script)).await.ok();
        assert_eq!(output(here, "p").await, "value-1\nvalue-2\np\nvalue-1\nvalue-2\n");
    });
}

/// [sig-storage] ConfigMap optional updates should be reflected in volume [NodeConformance] [Conformance]
/// [sig-storage] ConfigMap updates should be reflected in volume [NodeConformance] [Conformance]
/// [sig-storage] Projected configMap optional updates should be reflected in volume [NodeConformance] [Conformance]
/// [sig-storage] Projected configMap updates should be reflected in volume [NodeConformance] [Conformance]
/// [sig-storage] Projected secret optional updates should be reflected in volume [NodeConformance] [Conformance]
/// [sig-storage] Secrets optional updates should be reflected in volume [NodeConformance] [Conformance]
/// [sig-storage] Downward API volume should update annotations on modification [NodeConformance] [Conformance]
/// [sig-storage] Downward API volume should update labels on modification [NodeConformance] [Conformance]
/// [sig-storage] Projected downwardAPI should update annotations on modification [NodeConformance] [Conformance]
/// [sig-storage] Projected downwardAPI should update labels on modification [NodeConformance] [Conformance]
#[test]
fn volumes_follow_their_objects() {
    row("volume updates", &[Need::Native, Need::Kubectl], async |here| {
        for (resource, field) in [("configmaps", "data"), ("secrets", "stringData")] {
            for name in ["update", "delete"] {
                here.post(&here.path("v1", resource), &json!({"metadata": {"name": name}, field: {"key": "before"}})).await.ok();
            }
        }
        let fields = json!([{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
            {"path": "annotations", "fieldRef": {"fieldPath": "metadata.annotations"}}]);
        let mut volumes = vec![
            json!({"name": "fields", "downwardAPI": {"items": fields}}),
            json!({"name": "fields-p", "projected": {"sources": [{"downwardAPI": {"items": fields}}]}}),
        ];
        for name in ["create", "update", "delete"] {
            volumes.push(json!({"name": format!("map-{name}"), "configMap": {"name": name, "optional": true}}));
            volumes.push(json!({"name": format!("secret-{name}"), "secret": {"secretName": name, "optional": true}}));
            for kind in ["configMap", "secret"] {
                let short = format!("p-{}-{name}", kind.to_lowercase());
                volumes.push(json!({"name": short, "projected": {"sources": [{kind: {"name": name, "optional": true}}]}}));
            }
        }
        let mounts: Vec<Value> = volumes
            .iter()
            .map(|volume| json!({"name": volume["name"], "mountPath": format!("/v/{}", volume["name"].as_str().unwrap())}))
            .collect();
        let mut pod = pod("p", &json!(volumes), &json!(mounts), "sleep 1000");
        pod["metadata"]["labels"] = json!({"k": "before"});
        pod["metadata"]["annotations"] = json!({"k": "before"});
        here.post(&here.path("v1", "pods"), &pod).await.ok();
        here.until_phase("p", "Running").await;
        let read = || {
            here.kubectl(&[
                "exec",
                "p",
                "--",
                "sh",
                "-c",
                "for d in /v/*; do for f in $d/*; do [ -f $f ] && echo $f $(cat $f); done; done; true",
            ])
            .ok()
        };
        let expect = |value: &str, optional: &[&str]| {
            let mut lines = vec![];
            for part in ["fields", "fields-p"] {
                lines.push(format!("/v/{part}/annotations k=\"{value}\""));
                lines.push(format!("/v/{part}/labels k=\"{value}\""));
            }
            for part in ["map-", "p-configmap-", "p-secret-", "secret-"] {
                lines.extend(
                    optional.iter().map(|name| format!("/v/{part}{name}/key {}", if *name == "delete" { "before" } else { value })),
                );
            }
            lines.sort();
            lines
        };
        let shown = || {
            let text = read();
            let mut lines: Vec<String> = text.lines().filter(|line| !line.contains("kubernetes.io/")).map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(shown(), expect("before", &["delete", "update"]));
        for (resource, field) in [("configmaps", "data"), ("secrets", "stringData")] {
            here.patch(&here.path("v1", &format!("{resource}/update")), MERGE, &json!({field: {"key": "after"}})).await.ok();
            here.post(&here.path("v1", resource), &json!({"metadata": {"name": "create"}, field: {"key": "after"}})).await.ok();
            here.delete(&here.path("v1", &format!("{resource}/delete"))).await.ok();
        }
        here.patch(&here.path("v1", "pods/p"), MERGE, &json!({"metadata": {"labels": {"k": "after"}, "annotations": {"k": "after"}}}))
            .await
            .ok();
        here.until("the files follow", async || {
            let lines = shown();
            if lines == expect("after", &["create", "update"]) { Ok(()) } else { Err(lines.join("\n")) }
        })
        .await;
    });
}

/// [sig-storage] EmptyDir wrapper volumes should not cause race condition when used for configmaps [Serial] [Conformance]
#[test]
fn many_volumes_of_many_pods() {
    row("fifty volumes", &[Need::Native], async |here| {
        let names: Vec<String> = (0..50).map(|number| format!("map-{number}")).collect();
        for name in &names {
            here.post(&here.path("v1", "configmaps"), &json!({"metadata": {"name": name}, "data": {"key": name}})).await.ok();
        }
        let volumes: Vec<Value> = names.iter().map(|name| json!({"name": name, "configMap": {"name": name}})).collect();
        let mounts: Vec<Value> = names.iter().map(|name| json!({"name": name, "mountPath": format!("/v/{name}")})).collect();
        for number in 0..5 {
            let pod = pod(&format!("p{number}"), &json!(volumes), &json!(mounts), "cat /v/*/key | wc -c");
            here.post(&here.path("v1", "pods"), &pod).await.ok();
        }
        let length = names.iter().map(String::len).sum::<usize>().to_string();
        for number in 0..5 {
            assert_eq!(output(here, &format!("p{number}")).await.trim(), length);
        }
    });
}

/// [sig-storage] ConfigMap should be immutable if `immutable` field is set [Conformance]
/// [sig-storage] Secrets should be immutable if `immutable` field is set [Conformance]
#[test]
fn what_is_immutable_stays() {
    row("immutable", &[], async |here| {
        for resource in ["configmaps", "secrets"] {
            let path = here.path("v1", &format!("{resource}/i"));
            here.post(&here.path("v1", resource), &json!({"metadata": {"name": "i"}, "data": {"a": "MQ=="}})).await.ok();
            here.patch(&path, MERGE, &json!({"data": {"a": "Mg=="}})).await.ok();
            here.patch(&path, MERGE, &json!({"immutable": true})).await.ok();
            for change in [json!({"data": {"a": "Mw=="}}), json!({"immutable": false}), json!({"immutable": null})] {
                here.patch(&path, MERGE, &change).await.failed(422, "Invalid");
            }
            here.patch(&path, MERGE, &json!({"metadata": {"labels": {"a": "b"}}})).await.ok();
            here.delete(&path).await.ok();
        }
    });
}

fn plain(version: &'static str, name: &'static str, namespaced: bool, object: Value) -> Resource {
    Resource { version, name, namespaced, subresources: &[], object, status: None }
}

/// [sig-storage] CSIInlineVolumes should run through the lifecycle of a CSIDriver [Conformance]
/// [sig-storage] CSINodes CSI Conformance should run through the lifecycle of a csinode [Conformance]
/// [sig-storage] CSIStorageCapacity should support CSIStorageCapacities API operations [Conformance]
/// [sig-storage] StorageClasses CSI Conformance should run through the lifecycle of a StorageClass [Conformance]
/// [sig-storage] VolumeAttachment Conformance should run through the lifecycle of a VolumeAttachment [Conformance]
/// [sig-storage] VolumeAttributesClass [FeatureGate:VolumeAttributesClass] should run through the lifecycle of a VolumeAttributesClass [Conformance]
#[test]
fn kinds_of_storage() {
    row("storage kinds", &[], async |here| {
        const GROUP: &str = "storage.k8s.io/v1";
        let attachment =
            json!({"spec": {"attacher": "e2e-test.csi.example.com", "nodeName": "none", "source": {"persistentVolumeName": "none"}}});
        for resource in [
            plain(GROUP, "csidrivers", false, json!({"spec": {"attachRequired": false}})),
            plain(GROUP, "csinodes", false, json!({"spec": {"drivers": []}})),
            plain(GROUP, "csistoragecapacities", true, json!({"storageClassName": "none", "capacity": "100Gi"})),
            plain(GROUP, "storageclasses", false, json!({"provisioner": "e2e-fake-provisioner", "reclaimPolicy": "Retain"})),
            Resource { subresources: &["status"], ..plain(GROUP, "volumeattachments", false, attachment) },
            plain(GROUP, "volumeattributesclasses", false, json!({"driverName": "e2e-fake-csi-driver", "parameters": {"a": "b"}})),
        ] {
            operations::all(here, &resource).await;
        }
    });
}

/// [sig-storage] VolumeAttachment Conformance should apply changes to a volumeattachment status [Conformance]
#[test]
fn the_status_of_an_attachment() {
    row("attachment status", &[], async |here| {
        let path = format!("/apis/storage.k8s.io/v1/volumeattachments/{}", here.namespace);
        let object = json!({"metadata": {"name": here.namespace}, "spec": {"attacher": "e2e-test.csi.example.com", "nodeName": "none",
            "source": {"persistentVolumeName": "none"}}});
        here.post("/apis/storage.k8s.io/v1/volumeattachments", &object).await.ok();
        here.remove_later(&path);
        operations::status_is_written(here, &path, &json!({"attached": true})).await;
    });
}

/// [sig-storage] CSIInlineVolumes should support CSIVolumeSource in Pod API [Conformance]
#[test]
fn a_pod_with_a_volume_of_a_driver() {
    row("csi volumes in pods", &[], async |here| {
        let driver = format!("/apis/storage.k8s.io/v1/csidrivers/{}", here.namespace);
        here.post(
            "/apis/storage.k8s.io/v1/csidrivers",
            &json!({"metadata": {"name": here.namespace},
            "spec": {"volumeLifecycleModes": ["Ephemeral"]}}),
        )
        .await
        .ok();
        here.remove_later(&driver);
        let volumes = json!([{"name": "v", "csi": {"driver": here.namespace, "readOnly": true}}]);
        let path = here.path("v1", "pods/p");
        let made = here.post(&here.path("v1", "pods"), &pod("p", &volumes, &json!([{"name": "v", "mountPath": "/v"}]), "true")).await.ok();
        assert_eq!(made["spec"]["volumes"][0]["csi"]["driver"], json!(here.namespace));
        here.patch(&path, MERGE, &json!({"metadata": {"labels": {"a": "b"}}})).await.ok();
        assert_eq!(operations::names(&here.get(&here.path("v1", "pods?labelSelector=a%3Db")).await.ok()), ["p"]);
        here.delete_with(&path, &json!({"gracePeriodSeconds": 0})).await.ok();
        here.until_gone(&path).await;
    });
}

fn volume_of(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"test": name}}, "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Retain", "storageClassName": name, "volumeMode": "Filesystem",
        "csi": {"driver": "e2e-driver", "volumeHandle": name}}})
}

fn claim_of(class: &str) -> Value {
    json!({"metadata": {"name": "claim", "labels": {"test": class}}, "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class,
        "resources": {"requests": {"storage": "1Gi"}}}})
}

/// [sig-storage] PersistentVolumes CSI Conformance should apply changes to a pv/pvc status [Conformance]
/// [sig-storage] PersistentVolumes CSI Conformance should run through the lifecycle of a PV and a PVC [Conformance]
#[test]
fn a_volume_and_its_claim() {
    row("volumes and claims", &[], async |here| {
        let (volume, claim) = (format!("/api/v1/persistentvolumes/{}", here.namespace), here.path("v1", "persistentvolumeclaims/claim"));
        here.post("/api/v1/persistentvolumes", &volume_of(&here.namespace)).await.ok();
        here.remove_later(&volume);
        here.post(&here.path("v1", "persistentvolumeclaims"), &claim_of(&here.namespace)).await.ok();
        let selector = format!("labelSelector=test%3D{}", here.namespace);
        assert_eq!(operations::names(&here.get(&format!("/api/v1/persistentvolumes?{selector}")).await.ok()), [here.namespace.as_str()]);
        assert_eq!(operations::names(&here.get(&here.path("v1", &format!("persistentvolumeclaims?{selector}"))).await.ok()), ["claim"]);
        here.until_object("the claim is bound", &claim, |claim| claim["status"]["phase"] == "Bound").await;
        here.until_object("the volume is bound", &volume, |volume| volume["status"]["phase"] == "Bound").await;
        for path in [&volume, &claim] {
            operations::status_is_written(here, path, &json!({"conditions": null})).await;
            here.patch(path, MERGE, &json!({"metadata": {"labels": {"patched": "true"}}})).await.ok();
        }
        here.delete(&claim).await.ok();
        here.until_gone(&claim).await;
        here.until_object("the volume is released", &volume, |volume| volume["status"]["phase"] == "Released").await;
        here.delete(&volume).await.ok();
        here.until_gone(&volume).await;
    });
}
