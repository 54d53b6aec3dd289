//! Validation of volumes, and of the mounts and devices that name them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::container::{VOLUME_FIELDS, field_ref, resource_field_ref};
use crate::names;
use crate::rules::check::{Errors, Path, Read, Seen, quantity};

const MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
const MORE_THAN_ONE: &str = "may not specify more than 1 volume type";
const HOST_PATH_TYPES: &[&str] = &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// The sound volumes of a pod by name; whether each can be a block device.
pub(crate) struct Volumes(BTreeMap<String, bool>);

/// Checks `spec.volumes`.
pub(crate) fn validate_all(spec: &Value, path: &Path, out: &mut Errors) -> Volumes {
    let mut sound = BTreeMap::new();
    for (at, volume) in spec.each("volumes", path) {
        let name = volume.text("name");
        let mut found = Errors::default();
        source(volume, &at, &mut found);
        found.required_name(&at.child("name"), name, names::dns1123_label);
        if sound.contains_key(name) {
            found.duplicate(at.child("name"), name);
        }
        if found.is_empty() {
            sound.insert(name.to_owned(), volume.has("persistentVolumeClaim") || volume.has("ephemeral"));
        }
        out.0.append(&mut found.0);
    }
    Volumes(sound)
}

/// Exactly one source per volume.
fn source(volume: &Value, path: &Path, out: &mut Errors) {
    let kinds: Vec<&str> = SOURCES.iter().copied().filter(|kind| volume.has(kind)).collect();
    for (position, kind) in kinds.iter().enumerate() {
        let at = path.child(kind);
        if position > 0 {
            out.forbidden(at, MORE_THAN_ONE);
        } else {
            one_source(kind, &volume[*kind], &at, out);
        }
    }
    if kinds.is_empty() {
        out.required(path, "must specify a volume type");
    }
}

/// In the order upstream looks at them.
const SOURCES: &[&str] = &[
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "vsphereVolume",
    "configMap",
    "azureFile",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

fn one_source(kind: &str, source: &Value, path: &Path, out: &mut Errors) {
    match kind {
        "emptyDir" => {
            if quantity(&source["sizeLimit"]).is_some_and(|amount| amount.signum() < 0) {
                out.forbidden(path.child("sizeLimit"), "SizeLimit field must be a valid resource quantity");
            }
        }
        "secret" => {
            require(source, &["secretName"], path, out);
            keys(source, path, out);
        }
        "configMap" => {
            require(source, &["name"], path, out);
            keys(source, path, out);
        }
        "persistentVolumeClaim" => require(source, &["claimName"], path, out),
        "downwardAPI" => {
            mode(source, "defaultMode", path, out);
            downward(source, path, out);
        }
        "projected" => projected(source, path, out),
        "csi" => {
            require(source, &["driver"], path, out);
        }
        "ephemeral" => {
            if source["volumeClaimTemplate"].is_null() {
                out.required(path.child("volumeClaimTemplate"), "");
            } else {
                let at = path.child("volumeClaimTemplate").child("spec");
                crate::rules::volumes::claim_spec(&source["volumeClaimTemplate"]["spec"], &at, out);
            }
        }
        "image" => {
            require(source, &["reference"], path, out);
            out.required_one_of(&path.child("pullPolicy"), source.text("pullPolicy"), &["Always", "IfNotPresent", "Never"]);
        }
        _ => plugin(kind, source, path, out),
    }
}

/// Sources that persistent volumes know too.
pub(crate) fn plugin(kind: &str, source: &Value, path: &Path, out: &mut Errors) {
    match kind {
        "hostPath" => {
            require(source, &["path"], path, out);
            no_backsteps(source.text("path"), &path.child("path"), out);
            if source.has("type") {
                out.one_of(path.child("type"), source.text("type"), HOST_PATH_TYPES);
            }
        }
        "nfs" => {
            require(source, &["server", "path"], path, out);
            if !source.text("path").starts_with('/') {
                out.invalid(path.child("path"), source.text("path"), "must be an absolute path");
            }
        }
        "gitRepo" => {
            require(source, &["repository"], path, out);
            non_reserved(source.text("directory"), &path.child("directory"), out);
        }
        "gcePersistentDisk" => {
            require(source, &["pdName"], path, out);
            partition(source, path, out);
        }
        "awsElasticBlockStore" => {
            require(source, &["volumeID"], path, out);
            partition(source, path, out);
        }
        "iscsi" => require(source, &["targetPortal", "iqn"], path, out),
        "glusterfs" => require(source, &["endpoints", "path"], path, out),
        "rbd" => {
            if source.items("monitors").is_empty() {
                out.required(path.child("monitors"), "");
            }
            require(source, &["image"], path, out);
        }
        "cephfs" if source.items("monitors").is_empty() => out.required(path.child("monitors"), ""),
        "cinder" | "portworxVolume" => require(source, &["volumeID"], path, out),
        "azureFile" => require(source, &["secretName", "shareName"], path, out),
        "azureDisk" => require(source, &["diskName", "diskURI"], path, out),
        "vsphereVolume" => require(source, &["volumePath"], path, out),
        "photonPersistentDisk" => require(source, &["pdID"], path, out),
        "quobyte" => require(source, &["registry", "volume"], path, out),
        "scaleIO" => require(source, &["gateway", "system", "volumeName"], path, out),
        _ => {}
    }
}

fn partition(source: &Value, path: &Path, out: &mut Errors) {
    if let Some(partition) = source.int("partition") {
        out.all(&path.child("partition"), partition, names::in_range(partition, 0, 255));
    }
}

/// Fields that may not be empty.
pub(crate) fn require(source: &Value, fields: &[&str], path: &Path, out: &mut Errors) {
    for field in fields {
        if source.text(field).is_empty() {
            out.required(path.child(field), "");
        }
    }
}

fn mode(source: &Value, key: &str, path: &Path, out: &mut Errors) {
    if let Some(mode) = source.int(key).filter(|mode| !(0..=0o777).contains(mode)) {
        out.invalid(path.child(key), mode, MODE);
    }
}

fn no_backsteps(text: &str, path: &Path, out: &mut Errors) {
    if text.split('/').any(|part| part == "..") {
        out.invalid(path, text, "must not contain '..'");
    }
}

/// A path below the volume.
fn descending(text: &str, path: &Path, out: &mut Errors) {
    if text.starts_with('/') {
        out.invalid(path, text, "must be a relative path");
    }
    no_backsteps(text, path, out);
}

/// A path below the volume that does not begin as the node agent's own files do.
fn non_reserved(text: &str, path: &Path, out: &mut Errors) {
    descending(text, path, out);
    if text.starts_with("..") && !text.starts_with("../") {
        out.invalid(path, text, "must not start with '..'");
    }
}

/// Keys of a ConfigMap or Secret and the files they become.
fn keys(source: &Value, path: &Path, out: &mut Errors) {
    mode(source, "defaultMode", path, out);
    items(source, path, out);
}

fn items(source: &Value, path: &Path, out: &mut Errors) {
    for (at, item) in source.each("items", path) {
        require(item, &["key", "path"], &at, out);
        non_reserved(item.text("path"), &at.child("path"), out);
        mode(item, "mode", &at, out);
    }
}

fn downward(source: &Value, path: &Path, out: &mut Errors) {
    for (at, item) in source.each("items", path) {
        require(item, &["path"], &at, out);
        non_reserved(item.text("path"), &at.child("path"), out);
        match (item.has("fieldRef"), item.has("resourceFieldRef")) {
            (true, both) => {
                field_ref(&item["fieldRef"], VOLUME_FIELDS, &at.child("fieldRef"), out);
                if both {
                    out.invalid(&at, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously");
                }
            }
            (false, true) => resource_field_ref(&item["resourceFieldRef"], true, &at.child("resourceFieldRef"), out),
            (false, false) => out.required(&at, "one of fieldRef and resourceFieldRef is required"),
        }
        mode(item, "mode", &at, out);
    }
}

fn projected(projected: &Value, path: &Path, out: &mut Errors) {
    const KINDS: [&str; 6] = ["secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate"];
    let mut paths = Seen::default();
    for (at, source) in projected.each("sources", path) {
        let mut count = 0;
        for kind in KINDS.into_iter().filter(|kind| source.has(kind)) {
            count += 1;
            let (value, at) = (&source[kind], at.child(kind));
            if count > 1 {
                out.forbidden(at, MORE_THAN_ONE);
                continue;
            }
            match kind {
                "secret" | "configMap" => {
                    require(value, &["name"], &at, out);
                    items(value, &at, out);
                }
                "downwardAPI" => downward(value, &at, out),
                "serviceAccountToken" => token(value, &at, out),
                _ => {}
            }
            let own = value.items("items").iter().map(|item| item.text("path")).chain(std::iter::once(value.text("path")));
            for text in own.filter(|text| !text.is_empty()) {
                if !paths.first(text) {
                    out.invalid(path, value.text("name"), "conflicting duplicate paths");
                }
            }
        }
        if count == 0 {
            out.required(at, "must specify a volume type");
        }
    }
    mode(projected, "defaultMode", path, out);
}

fn token(token: &Value, path: &Path, out: &mut Errors) {
    if let Some(seconds) = token.int("expirationSeconds") {
        let at = path.child("expirationSeconds");
        if seconds < 600 {
            out.invalid(at, seconds, "may not specify a duration less than 10 minutes");
        } else if seconds > 1 << 32 {
            out.invalid(at, seconds, "may not specify a duration larger than 2^32 seconds");
        }
    }
    require(token, &["path"], path, out);
    non_reserved(token.text("path"), &path.child("path"), out);
}

impl Volumes {
    /// `volumeMounts` of a container.
    pub(crate) fn mounts(&self, container: &Value, path: &Path, out: &mut Errors) {
        let devices = container.items("volumeDevices");
        let mut points = Seen::default();
        for (at, mount) in container.each("volumeMounts", path) {
            let (name, point) = (mount.text("name"), mount.text("mountPath"));
            if name.is_empty() {
                out.required(at.child("name"), "");
            }
            if !self.0.contains_key(name) {
                out.not_found(at.child("name"), name);
            }
            if point.is_empty() {
                out.required(at.child("mountPath"), "");
            }
            if !points.first(point) {
                out.invalid(at.child("mountPath"), point, "must be unique");
            }
            if devices.iter().any(|device| device.text("name") == name) {
                out.invalid(at.child("name"), name, "must not already exist in volumeDevices");
            }
            if devices.iter().any(|device| device.text("devicePath") == point) {
                out.invalid(at.child("mountPath"), point, "must not already exist as a path in volumeDevices");
            }
            sub_path(mount, &at, &path.child("volumeMounts"), out);
            propagation(mount, container, &at, &path.child("volumeMounts"), out);
        }
    }

    /// `volumeDevices` of a container.
    pub(crate) fn devices(&self, container: &Value, path: &Path, out: &mut Errors) {
        let mounts = container.items("volumeMounts");
        let (mut volumes, mut points) = (Seen::default(), Seen::default());
        for (at, device) in container.each("volumeDevices", path) {
            let (name, point) = (device.text("name"), device.text("devicePath"));
            if name.is_empty() {
                out.required(at.child("name"), "");
            }
            if !volumes.first(name) {
                out.invalid(at.child("name"), name, "must be unique");
            }
            match self.0.get(name) {
                None => out.not_found(at.child("name"), name),
                Some(true) => {}
                Some(false) => {
                    let message = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                    out.invalid(at.child("name"), name, message);
                }
            }
            if point.is_empty() {
                out.required(at.child("devicePath"), "");
            }
            if points.first(point) {
                no_backsteps(point, &at.child("devicePath"), out);
            } else {
                out.invalid(at.child("devicePath"), point, "must be unique");
            }
            if mounts.iter().any(|mount| mount.text("name") == name) {
                out.invalid(at.child("name"), name, "must not already exist in volumeMounts");
            }
            if mounts.iter().any(|mount| mount.text("mountPath") == point) {
                out.invalid(at.child("devicePath"), point, "must not already exist as a path in volumeMounts");
            }
        }
    }
}

/// Upstream names the list, not the item, for what is wrong with a sub path or the propagation.
fn sub_path(mount: &Value, at: &Path, list: &Path, out: &mut Errors) {
    let (plain, expression) = (mount.text("subPath"), mount.text("subPathExpr"));
    descending(plain, &list.child("subPath"), out);
    if !expression.is_empty() {
        if !plain.is_empty() {
            out.invalid(at.child("subPathExpr"), expression, "subPathExpr and subPath are mutually exclusive");
        }
        descending(expression, &list.child("subPathExpr"), out);
    }
}

fn propagation(mount: &Value, container: &Value, at: &Path, list: &Path, out: &mut Errors) {
    let propagation = mount.text("mountPropagation");
    out.one_of_if_set(list.child("mountPropagation"), propagation, &["Bidirectional", "HostToContainer", "None"]);
    if propagation == "Bidirectional" && !container["securityContext"].yes("privileged") {
        let message = "Bidirectional mount propagation is available only to privileged containers";
        out.forbidden(list.child("mountPropagation"), message);
    }
    let recursive = mount.text("recursiveReadOnly");
    let at = at.child("recursiveReadOnly");
    out.one_of_if_set(&at, recursive, &["Disabled", "Enabled", "IfPossible"]);
    if matches!(recursive, "Enabled" | "IfPossible") {
        if !mount.yes("readOnly") {
            out.forbidden(&at, "may only be specified when readOnly is true");
        }
        if !matches!(propagation, "" | "None") {
            out.forbidden(&at, "may only be specified when mountPropagation is None or not specified");
        }
    }
}
