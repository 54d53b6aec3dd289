//! StorageObjectInUseProtection: volumes, claims and classes of volumes are not gone before nobody uses them.

use serde_json::{Value, json};

use super::{Request, list};

pub(super) fn fill(request: &Request<'_>, object: &mut Value) {
    let finalizer = match () {
        () if request.creates("", "persistentvolumes") => "kubernetes.io/pv-protection",
        () if request.creates("", "persistentvolumeclaims") => "kubernetes.io/pvc-protection",
        () if request.creates("storage.k8s.io", "volumeattributesclasses") => "kubernetes.io/vac-protection",
        () => return,
    };
    if let Some(finalizers) = object.get_mut("metadata").and_then(|metadata| list(metadata, "finalizers"))
        && !finalizers.iter().any(|known| known == finalizer)
    {
        finalizers.push(json!(finalizer));
    }
}
