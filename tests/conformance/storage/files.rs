//! Objects and fields as files in volumes.

use serde_json::{Value, json};

use super::{objects, pod};
use crate::harness::Need;
use crate::here::{Here, row};
use crate::pods::{IMAGE, create, output};

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
    create(here, &pod).await;
    let log = output(here, name).await;
    let files =
        volumes.iter().flat_map(|volume| volume.files.iter().map(|(path, mode, text)| format!("/v/{}/{path} {mode} {text}", volume.name)));
    let expected: Vec<String> = files.collect();
    let seen: Vec<&str> = log.lines().collect();
    assert_eq!(seen, expected);
}

const TWO: [(&str, &str, &str); 2] = [("data-1", "644", "value-1"), ("data-2", "644", "value-2")];

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
        create(here, &pod("p", &volumes, &mounts, script)).await;
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
            create(here, &pod).await;
        }
        let length = names.iter().map(String::len).sum::<usize>().to_string();
        for number in 0..5 {
            assert_eq!(output(here, &format!("p{number}")).await.trim(), length);
        }
    });
}
