//! Kinds that nobody has to run.

use serde_json::{Value, json};

use crate::here::{MERGE, STRATEGIC, row, row_alone};
use crate::operations::{self, Resource, names};

fn plain(version: &'static str, name: &'static str, namespaced: bool, object: Value) -> Resource {
    Resource { version, name, namespaced, subresources: &[], object, status: None }
}

/// [sig-node] Lease lease API should be available [Conformance]
/// [sig-node] RuntimeClass should support RuntimeClasses API operations [Conformance]
/// [sig-node] PodTemplates should delete a collection of pod templates [Conformance]
/// [sig-node] PodTemplates should replace a pod template [Conformance]
/// [sig-node] PodTemplates should run the lifecycle of PodTemplates [Conformance]
#[test]
fn leases_templates_and_classes() {
    row("leases and templates", &[], async |here| {
        let template = json!({"template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}});
        let lease = json!({"spec": {"holderIdentity": "holder", "leaseDurationSeconds": 30, "acquireTime": "2026-01-02T03:04:05.000001Z"}});
        for resource in [
            plain("coordination.k8s.io/v1", "leases", true, lease),
            plain("node.k8s.io/v1", "runtimeclasses", false, json!({"handler": "handler"})),
            plain("v1", "podtemplates", true, template),
        ] {
            operations::all(here, &resource).await;
        }
    });
}

/// [sig-node] ConfigMap should fail to create ConfigMap with empty key [Conformance]
/// [sig-node] ConfigMap should run through a ConfigMap lifecycle [Conformance]
/// [sig-node] ConfigMap should update ConfigMap successfully [NodeConformance] [Conformance]
/// [sig-node] Secrets should fail to create secret due to empty secret key [Conformance]
/// [sig-node] Secrets should patch a secret [Conformance]
#[test]
fn config_maps_and_secrets_as_objects() {
    row("config objects", &[], async |here| {
        for (resource, field, value) in [("configmaps", "data", "one"), ("secrets", "data", "b25l")] {
            let path = here.path("v1", resource);
            let empty = json!({"metadata": {"name": "empty"}, field: {"": value}});
            here.post(&path, &empty).await.failed(422, "Invalid");
            here.post(&path, &json!({"metadata": {"name": "o", "labels": {"test": "x"}}, field: {"key": value}})).await.ok();
            let one = here.path("v1", &format!("{resource}/o"));
            here.patch(&one, MERGE, &json!({"metadata": {"labels": {"patched": "true"}}, field: {"more": value}})).await.ok();
            let mut read = here.get(&one).await.ok();
            assert_eq!((&read[field]["more"], &read["metadata"]["labels"]["patched"]), (&json!(value), &json!("true")));
            read[field]["third"] = json!(value);
            here.put(&one, &read).await.ok();
            assert_eq!(here.get(&one).await.ok()[field]["third"], value);
            let all = format!("/api/v1/{resource}?labelSelector=patched%3Dtrue&fieldSelector=metadata.namespace%3D{}", here.namespace);
            assert_eq!(names(&here.get(&all).await.ok()), ["o"]);
            here.delete(&format!("{path}?labelSelector=patched%3Dtrue")).await.ok();
            here.until_gone(&one).await;
        }
    });
}

/// [sig-node] Node Lifecycle should run through the lifecycle of a node [Conformance]
#[test]
fn a_node_from_create_to_delete() {
    // others count the nodes
    row_alone("node lifecycle", &[], async |here| {
        let path = format!("/api/v1/nodes/{}", here.namespace);
        let labels = json!({"node": here.namespace});
        here.post("/api/v1/nodes", &json!({"metadata": {"name": here.namespace, "labels": labels}})).await.ok();
        here.remove_later(&path);
        let selected = format!("/api/v1/nodes?labelSelector=node%3D{}", here.namespace);
        assert_eq!(names(&here.get(&selected).await.ok()), [here.namespace.as_str()]);
        here.patch(&path, MERGE, &json!({"metadata": {"labels": {"patched": "true"}}})).await.ok();
        assert_eq!(here.get(&path).await.ok()["metadata"]["labels"]["patched"], "true");
        here.until("the node is updated", async || {
            let mut node = here.get(&path).await.ok();
            node["metadata"]["labels"]["updated"] = json!("true");
            here.put(&path, &node).await.try_ok()
        })
        .await;
        let status = json!({"status": {"conditions": [{"type": "Test", "status": "True", "reason": "Test", "message": "m"}]}});
        let patched = here.patch(&format!("{path}/status"), STRATEGIC, &status).await.ok();
        assert!(patched["status"]["conditions"].to_string().contains("Test"));
        here.delete(&path).await.ok();
        here.until_gone(&path).await;
        assert!(names(&here.get(&selected).await.ok()).is_empty());
    });
}

/// [sig-node] [DRA] CRUD Tests resource.k8s.io/v1 DeviceClass [Conformance]
/// [sig-node] [DRA] CRUD Tests resource.k8s.io/v1 ResourceClaim [Conformance]
/// [sig-node] [DRA] CRUD Tests resource.k8s.io/v1 ResourceClaimTemplate [Conformance]
/// [sig-node] [DRA] CRUD Tests resource.k8s.io/v1 ResourceSlice [Conformance]
#[test]
fn kinds_of_dynamic_resources() {
    row("dynamic resources", &[], async |here| {
        const GROUP: &str = "resource.k8s.io/v1";
        let request = json!({"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "class"}}]}});
        let slice = json!({"spec": {"driver": "driver.example.com", "nodeName": "none", "devices": [],
            "pool": {"name": "pool", "generation": 1, "resourceSliceCount": 1}}});
        for resource in [
            plain(GROUP, "deviceclasses", false, json!({"spec": {}})),
            Resource { subresources: &["status"], ..plain(GROUP, "resourceclaims", true, json!({"spec": request})) },
            plain(GROUP, "resourceclaimtemplates", true, json!({"spec": {"spec": request}})),
            plain(GROUP, "resourceslices", false, slice),
        ] {
            operations::all(here, &resource).await;
        }
    });
}
