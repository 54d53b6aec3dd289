//! Volumes, claims and classes.

use serde_json::Value;

use super::{Printer, row};
use crate::Column;
use crate::text::{UNKNOWN, access_modes, age, list_at, or_none, str_at};

fn phase(object: &Value) -> &str {
    if str_at(object, "/metadata/deletionTimestamp").is_empty() { str_at(object, "/status/phase") } else { "Terminating" }
}

fn or_unset(text: &str) -> &str {
    if text.is_empty() { "<unset>" } else { text }
}

pub(crate) static PERSISTENT_VOLUME: Printer = Printer {
    columns: &[
        Column::name(),
        Column::text("Capacity", "@io.k8s.api.core.v1.PersistentVolumeSpec.capacity"),
        Column::text("Access Modes", "@io.k8s.api.core.v1.PersistentVolumeSpec.accessModes"),
        Column::text("Reclaim Policy", "@io.k8s.api.core.v1.PersistentVolumeSpec.persistentVolumeReclaimPolicy"),
        Column::text("Status", "@io.k8s.api.core.v1.PersistentVolumeStatus.phase"),
        Column::text("Claim", "@io.k8s.api.core.v1.PersistentVolumeSpec.claimRef"),
        Column::text("StorageClass", "StorageClass of the pv"),
        Column::text("VolumeAttributesClass", "VolumeAttributesClass of the pv"),
        Column::text("Reason", "@io.k8s.api.core.v1.PersistentVolumeStatus.reason"),
        Column::age(),
        Column::wide("VolumeMode", "@io.k8s.api.core.v1.PersistentVolumeSpec.volumeMode"),
    ],
    cells: |object, now| {
        let claim = object
            .pointer("/spec/claimRef")
            .map_or(String::new(), |claim| format!("{}/{}", str_at(claim, "/namespace"), str_at(claim, "/name")));
        row![
            str_at(object, "/metadata/name"),
            str_at(object, "/spec/capacity/storage"),
            access_modes(list_at(object, "/spec/accessModes")),
            str_at(object, "/spec/persistentVolumeReclaimPolicy"),
            phase(object),
            claim,
            str_at(object, "/spec/storageClassName"),
            or_unset(str_at(object, "/spec/volumeAttributesClassName")),
            str_at(object, "/status/reason"),
            age(object, now),
            or_unset(str_at(object, "/spec/volumeMode")),
        ]
    },
};

pub(crate) static PERSISTENT_VOLUME_CLAIM: Printer = Printer {
    columns: &[
        Column::name(),
        Column::text("Status", "@io.k8s.api.core.v1.PersistentVolumeClaimStatus.phase"),
        Column::text("Volume", "@io.k8s.api.core.v1.PersistentVolumeClaimSpec.volumeName"),
        Column::text("Capacity", "@io.k8s.api.core.v1.PersistentVolumeClaimStatus.capacity"),
        Column::text("Access Modes", "@io.k8s.api.core.v1.PersistentVolumeClaimStatus.accessModes"),
        Column::text("StorageClass", "StorageClass of the pvc"),
        Column::text("VolumeAttributesClass", "VolumeAttributesClass of the pvc"),
        Column::age(),
        Column::wide("VolumeMode", "@io.k8s.api.core.v1.PersistentVolumeClaimSpec.volumeMode"),
    ],
    cells: |object, now| {
        let bound = !str_at(object, "/spec/volumeName").is_empty();
        row![
            str_at(object, "/metadata/name"),
            phase(object),
            str_at(object, "/spec/volumeName"),
            if bound { str_at(object, "/status/capacity/storage") } else { "" },
            if bound { access_modes(list_at(object, "/status/accessModes")) } else { String::new() },
            str_at(object, "/spec/storageClassName"),
            or_unset(str_at(object, "/spec/volumeAttributesClassName")),
            age(object, now),
            or_unset(str_at(object, "/spec/volumeMode")),
        ]
    },
};

pub(crate) static STORAGE_CLASS: Printer = Printer {
    columns: &[
        Column::name(),
        Column::text("Provisioner", "@io.k8s.api.storage.v1.StorageClass.provisioner"),
        Column::text("ReclaimPolicy", "@io.k8s.api.storage.v1.StorageClass.reclaimPolicy"),
        Column::text("VolumeBindingMode", "@io.k8s.api.storage.v1.StorageClass.volumeBindingMode"),
        Column::text("AllowVolumeExpansion", "@io.k8s.api.storage.v1.StorageClass.allowVolumeExpansion"),
        Column::age(),
    ],
    cells: |object, now| {
        let is_default = object
            .pointer("/metadata/annotations")
            .and_then(|annotations| annotations.get("storageclass.kubernetes.io/is-default-class"))
            .is_some_and(|value| value == "true");
        let name = str_at(object, "/metadata/name");
        row![
            if is_default { format!("{name} (default)") } else { name.to_owned() },
            str_at(object, "/provisioner"),
            str_at(object, "/reclaimPolicy"),
            str_at(object, "/volumeBindingMode"),
            object.get("allowVolumeExpansion").and_then(Value::as_bool).unwrap_or_default(),
            age(object, now),
        ]
    },
};

pub(crate) static VOLUME_ATTACHMENT: Printer = Printer {
    columns: &[
        Column::name(),
        Column::text("Attacher", "@io.k8s.api.storage.v1.VolumeAttachmentSpec.attacher"),
        Column::text("PV", "@io.k8s.api.storage.v1.VolumeAttachmentSource.persistentVolumeName"),
        Column::text("Node", "@io.k8s.api.storage.v1.VolumeAttachmentSpec.nodeName"),
        Column::boolean("Attached", "@io.k8s.api.storage.v1.VolumeAttachmentStatus.attached"),
        Column::age(),
    ],
    cells: |object, now| {
        row![
            str_at(object, "/metadata/name"),
            str_at(object, "/spec/attacher"),
            str_at(object, "/spec/source/persistentVolumeName"),
            str_at(object, "/spec/nodeName"),
            object.pointer("/status/attached").and_then(Value::as_bool).unwrap_or_default(),
            age(object, now),
        ]
    },
};

pub(crate) static VOLUME_ATTRIBUTES_CLASS: Printer = Printer {
    columns: &[Column::name(), Column::text("DriverName", "@io.k8s.api.storage.v1.VolumeAttributesClass.driverName"), Column::age()],
    cells: |object, now| row![str_at(object, "/metadata/name"), str_at(object, "/driverName"), age(object, now)],
};

pub(crate) static CSI_NODE: Printer = Printer {
    columns: &[
        Column::name(),
        Column::integer("Drivers", "Drivers indicates the number of CSI drivers registered on the node"),
        Column::age(),
    ],
    cells: |object, now| row![str_at(object, "/metadata/name"), list_at(object, "/spec/drivers").len(), age(object, now)],
};

pub(crate) static CSI_DRIVER: Printer = Printer {
    columns: &[
        Column::name(),
        Column::boolean("AttachRequired", "@io.k8s.api.storage.v1.CSIDriverSpec.attachRequired"),
        Column::boolean("PodInfoOnMount", "@io.k8s.api.storage.v1.CSIDriverSpec.podInfoOnMount"),
        Column::boolean("StorageCapacity", "@io.k8s.api.storage.v1.CSIDriverSpec.storageCapacity"),
        Column::text("TokenRequests", "@io.k8s.api.storage.v1.CSIDriverSpec.tokenRequests"),
        Column::boolean("RequiresRepublish", "@io.k8s.api.storage.v1.CSIDriverSpec.requiresRepublish"),
        Column::text("Modes", "@io.k8s.api.storage.v1.CSIDriverSpec.volumeLifecycleModes"),
        Column::age(),
    ],
    cells: |object, now| {
        let flag = |field: &str, unset: bool| object.pointer(&format!("/spec/{field}")).and_then(Value::as_bool).unwrap_or(unset);
        let audiences = list_at(object, "/spec/tokenRequests").iter().map(|request| str_at(request, "/audience"));
        let audiences = audiences.collect::<Vec<_>>().join(",");
        let modes = list_at(object, "/spec/volumeLifecycleModes").iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",");
        row![
            str_at(object, "/metadata/name"),
            flag("attachRequired", true),
            flag("podInfoOnMount", false),
            flag("storageCapacity", false),
            or_unset(&audiences),
            flag("requiresRepublish", false),
            if modes.is_empty() { UNKNOWN } else { or_none(&modes) },
            age(object, now),
        ]
    },
};
