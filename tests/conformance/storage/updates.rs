//! Objects that change while they are mounted, and objects that may not.

use serde_json::{Value, json};

use super::pod;
use crate::harness::Need;
use crate::here::{MERGE, row};
use crate::pods::create;

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
        create(here, &pod).await;
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
