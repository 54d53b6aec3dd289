//! PersistentVolumeClaimResize: a bound claim grows only where its class of storage lets volumes grow.

use coracle_api::amounts;
use coracle_api::status::Status;
use serde_json::Value;

use super::{Request, text};
use crate::objects::Lookup;

pub(super) fn check(lookup: &dyn Lookup, request: &Request<'_>, claim: &Value) -> Result<(), Status> {
    let Some(old) = request.old.filter(|_| request.is("", "persistentvolumeclaims")) else { return Ok(()) };
    let size = |claim: &Value| amounts::parse(&claim["spec"]["resources"]["requests"]["storage"]);
    let grows = matches!((size(old), size(claim)), (Some(before), Some(after)) if after > before);
    if !grows {
        return Ok(());
    }
    if text(old, "/status/phase") != "Bound" {
        return Err(request.forbidden("Only bound persistent volume claims can be expanded"));
    }
    let annotated = text(&claim["metadata"]["annotations"], "/volume.beta.kubernetes.io~1storage-class");
    let name = if annotated.is_empty() { text(claim, "/spec/storageClassName") } else { annotated };
    let class = Some(name).filter(|name| !name.is_empty()).and_then(|name| lookup.get("storage.k8s.io", "storageclasses", "", name));
    if class.is_some_and(|class| class["allowVolumeExpansion"] == true) {
        return Ok(());
    }
    Err(request
        .forbidden("only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"))
}
