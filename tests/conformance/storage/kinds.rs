//! Kinds that only drivers of storage use.

use serde_json::{Value, json};

use super::pod;
use crate::here::{MERGE, row};
use crate::operations::{self, Resource};
use crate::pods::create;

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
        let made = create(here, &pod("p", &volumes, &json!([{"name": "v", "mountPath": "/v"}]), "true")).await;
        assert_eq!(made["spec"]["volumes"][0]["csi"]["driver"], json!(here.namespace));
        here.patch(&path, MERGE, &json!({"metadata": {"labels": {"a": "b"}}})).await.ok();
        assert_eq!(operations::names(&here.get(&here.path("v1", "pods?labelSelector=a%3Db")).await.ok()), ["p"]);
        here.delete_with(&path, &json!({"gracePeriodSeconds": 0})).await.ok();
        here.until_gone(&path).await;
    });
}
