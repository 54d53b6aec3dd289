//! Empty directories, and parts of volumes.

use serde_json::json;

use super::{objects, pod};
use crate::harness::Need;
use crate::here::row;
use crate::pods::{IMAGE, create, output};

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
            create(here, &pod).await;
        }
        let shared = json!({"metadata": {"name": "shared"}, "spec": {"restartPolicy": "Never", "volumes": [{"name": "v", "emptyDir": {}}], "containers": [
            {"name": "c", "image": IMAGE, "command": ["sh", "-c", "until [ -s /v/f ]; do sleep 0.1; done; cat /v/f"], "volumeMounts": [{"name": "v", "mountPath": "/v"}]},
            {"name": "d", "image": IMAGE, "command": ["sh", "-c", "echo from the other > /v/new; mv /v/new /v/f"], "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]}});
        create(here, &shared).await;
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
        create(here, &pod("p", &volumes, &mounts, script)).await;
        assert_eq!(output(here, "p").await, "value-1\nvalue-2\np\nvalue-1\nvalue-2\n");
    });
}
