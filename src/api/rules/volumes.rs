//! Persistent volumes and claims.

use serde_json::{Value, json};

use super::check::{Errors, Fill, Path, Read, quantity};
use super::pod::{self, defaults, node_selector, volume};
use super::{Rules, selector};
use crate::names;

pub(crate) static VOLUME: Rules = Rules {
    status: |_| json!({"phase": "Pending"}),
    stamp: stamp_phase,
    default: |object| {
        object.within("spec", |spec| {
            spec.fill_zero("persistentVolumeReclaimPolicy", "Retain");
            spec.fill("volumeMode", "Filesystem");
            spec.with("hostPath", |source| source.fill("type", ""));
            defaults::volume_plugins(spec);
        });
    },
    validate: validate_volume,
    validate_update: |new, old, subresource, out| {
        if subresource.is_empty() {
            let path = Path::new("spec");
            let source = |object: &Value| -> Vec<Value> { SOURCES.iter().map(|kind| object["spec"][*kind].clone()).collect() };
            if source(new) != source(old) {
                let message = "spec.persistentvolumesource is immutable after creation";
                out.forbidden(path.child("persistentvolumesource"), message);
            }
            out.immutable(&path.child("volumeMode"), &new["spec"]["volumeMode"], &old["spec"]["volumeMode"]);
            if old["spec"].has("nodeAffinity") {
                out.immutable(&path.child("nodeAffinity"), &new["spec"]["nodeAffinity"], &old["spec"]["nodeAffinity"]);
            }
        }
    },
    warnings: |object| {
        let annotations = Path::new("metadata").child("annotations");
        let mut out = old_annotations(object, &[CLASS_ANNOTATION, MOUNT_OPTIONS_ANNOTATION], &annotations);
        if object["spec"].text("persistentVolumeReclaimPolicy") == "Recycle" {
            out.push(
                "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use \
                 dynamic provisioning."
                    .to_owned(),
            );
        }
        let gone = pod::warnings::VOLUMES.iter().filter(|(kind, _)| object["spec"].has(kind));
        out.extend(gone.map(|(kind, message)| format!("spec.{kind}: {message}")));
        out
    },
    fields: &["spec.storageClassName"],
    ..Rules::PLAIN
};

/// Annotations that became fields, and what is said of them.
const CLASS_ANNOTATION: (&str, &str) =
    ("volume.beta.kubernetes.io/storage-class", "deprecated since v1.8; use \"storageClassName\" attribute instead");
const MOUNT_OPTIONS_ANNOTATION: (&str, &str) =
    ("volume.beta.kubernetes.io/mount-options", "deprecated since v1.31; use \"mountOptions\" attribute instead");

fn old_annotations(object: &Value, old: &[(&str, &str)], path: &Path) -> Vec<String> {
    let found = old.iter().filter(|(key, _)| object["metadata"]["annotations"].has(key));
    found.map(|(key, message)| format!("{}: {message}", String::from(path.key(key)))).collect()
}

pub(crate) static CLAIM: Rules = Rules {
    status: |_| json!({"phase": "Pending"}),
    default: |object| object.within("spec", |spec| spec.fill("volumeMode", "Filesystem")),
    validate: |object, out| claim_spec(&object["spec"], &Path::new("spec"), out),
    validate_update: update_claim,
    warnings: |object| {
        let mut out = old_annotations(object, &[CLASS_ANNOTATION], &Path::new("metadata").child("annotations"));
        let at = Path::new("spec").child("resources").child("requests").key("storage");
        pod::warnings::fraction(&object["spec"]["resources"]["requests"]["storage"], &at, &mut out);
        out
    },
    ..Rules::PLAIN
};

/// When the phase changed; who changes it may say when.
fn stamp_phase(new: &mut Value, old: Option<&Value>, now: &str) {
    const TIME: &str = "lastPhaseTransitionTime";
    let begins = old.is_none_or(|old| old["status"]["phase"] != new["status"]["phase"] && old["status"][TIME] == new["status"][TIME]);
    if begins {
        new.within("status", |status| status.put(TIME, now));
    }
}

const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const SOURCES: &[&str] = &[
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];

fn access_modes(spec: &Value, path: &Path, out: &mut Errors) {
    let modes: Vec<&str> = spec.items("accessModes").iter().filter_map(Value::as_str).collect();
    if modes.is_empty() {
        out.required(path.child("accessModes"), "");
    }
    for mode in &modes {
        out.one_of(path.child("accessModes"), mode, ACCESS_MODES);
    }
    if modes.contains(&"ReadWriteOncePod") && modes.len() > 1 {
        out.forbidden(path.child("accessModes"), "may not use ReadWriteOncePod with other access modes");
    }
}

fn validate_volume(object: &Value, out: &mut Errors) {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    access_modes(spec, &path, out);
    let at = path.child("capacity");
    if spec.map("capacity").is_empty() {
        out.required(&at, "");
    }
    if spec.map("capacity").keys().any(|name| name != "storage") || spec.map("capacity").len() > 1 {
        out.0.push(crate::field::FieldError::not_supported(&at, spec["capacity"].clone(), &["storage"]));
    }
    for (name, value) in spec.map("capacity") {
        positive_quantity(value, &at.key(name), out);
    }
    let policies = ["Delete", "Recycle", "Retain"];
    out.one_of_if_set(path.child("persistentVolumeReclaimPolicy"), spec.text("persistentVolumeReclaimPolicy"), &policies);
    if spec.has("nodeAffinity") {
        let required = &spec["nodeAffinity"]["required"];
        let at = path.child("nodeAffinity").child("required");
        if required.is_null() {
            out.required(&at, "must specify required node constraints");
        } else {
            node_selector(required, &at, out);
        }
    }
    let kinds: Vec<&str> = SOURCES.iter().copied().filter(|kind| spec.has(kind)).collect();
    for (position, kind) in kinds.iter().enumerate() {
        let at = path.child(kind);
        if position > 0 {
            out.forbidden(at, "may not specify more than 1 volume type");
            continue;
        }
        match *kind {
            "local" => {
                volume::require(&spec["local"], &["path"], &at, out);
                if spec["nodeAffinity"].is_null() {
                    out.required("metadata.annotations", "Local volume requires node affinity");
                }
            }
            "csi" => volume::require(&spec["csi"], &["driver", "volumeHandle"], &at, out),
            "flexVolume" => volume::require(&spec["flexVolume"], &["driver"], &at, out),
            kind => volume::plugin(kind, &spec[kind], &at, out),
        }
    }
    if kinds.is_empty() {
        out.required(&path, "must specify a volume type");
    }
    if spec["hostPath"].text("path") == "/" && spec.text("persistentVolumeReclaimPolicy") == "Recycle" {
        out.forbidden(path.child("persistentVolumeReclaimPolicy"), "may not be 'recycle' for a hostPath mount of '/'");
    }
    let class = spec.text("storageClassName");
    if !class.is_empty() {
        out.all(&path.child("storageClassName"), class, names::dns1123_subdomain(class));
    }
    out.one_of_if_set(path.child("volumeMode"), spec.text("volumeMode"), &["Block", "Filesystem"]);
}

fn positive_quantity(value: &Value, path: &Path, out: &mut Errors) {
    if quantity(value).is_none_or(|amount| amount.signum() <= 0) {
        out.invalid(path, value.clone(), "must be greater than zero");
    }
}

/// `spec` of a claim, or of the template of one.
pub(crate) fn claim_spec(spec: &Value, path: &Path, out: &mut Errors) {
    access_modes(spec, path, out);
    if spec.has("selector") {
        selector::validate(&spec["selector"], &path.child("selector"), out);
    }
    let at = path.child("resources").key("storage");
    match &spec["resources"]["requests"]["storage"] {
        Value::Null => out.required(at, ""),
        value => positive_quantity(value, &at, out),
    }
    let class = spec.text("storageClassName");
    if !class.is_empty() {
        out.all(&path.child("storageClassName"), class, names::dns1123_subdomain(class));
    }
    out.one_of_if_set(path.child("volumeMode"), spec.text("volumeMode"), &["Block", "Filesystem"]);
    for source in ["dataSource", "dataSourceRef"] {
        if spec.has(source) {
            volume::require(&spec[source], &["name", "kind"], &path.child(source), out);
        }
    }
}

const ONLY_RESOURCES: &str = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n";

fn update_claim(new: &Value, old: &Value, subresource: &str, out: &mut Errors) {
    if !subresource.is_empty() {
        return;
    }
    let bound = old["status"].text("phase") == "Bound";
    let mut munged = new["spec"].clone();
    if old["spec"].text("volumeName").is_empty() {
        munged.take_from("volumeName", &old["spec"]);
    }
    // a class may be filled in later, by the default class that came after the claim
    if old["spec"]["storageClassName"].is_null() {
        munged.take_from("storageClassName", &old["spec"]);
    }
    if bound {
        munged.take_from("resources", &old["spec"]);
        munged.take_from("volumeAttributesClassName", &old["spec"]);
        let storage = |object: &Value| quantity(&object["spec"]["resources"]["requests"]["storage"]);
        if storage(new) < quantity(&old["status"]["capacity"]["storage"]).min(storage(old)) {
            out.forbidden("spec.resources.requests.storage", "field can not be less than status.capacity");
        }
    }
    if munged != old["spec"] {
        out.forbidden("spec", ONLY_RESOURCES);
    }
}
