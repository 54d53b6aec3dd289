//! ServiceAccount: a pod runs as an account that exists, with its token mounted and its pull secrets.

use coracle_api::names;
use coracle_api::status::Status;
use serde_json::{Value, json};

use super::{Request, list, text};
use crate::objects::Lookup;

const MIRROR: &str = "kubernetes.io/config.mirror";
const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";

pub(super) fn fill(lookup: &dyn Lookup, request: &Request<'_>, pod: &mut Value) -> Result<(), Status> {
    if pod.pointer("/metadata/annotations").and_then(|annotations| annotations.get(MIRROR)).is_some() {
        return check_mirror(request, pod);
    }
    let name = match (text(pod, "/spec/serviceAccountName"), text(pod, "/spec/serviceAccount")) {
        ("", "") => "default",
        ("", old) => old,
        (name, _) => name,
    }
    .to_owned();
    let namespace = request.namespace;
    let Some(account) = lookup.get("", "serviceaccounts", namespace, &name) else {
        let why = format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found");
        return Err(request.forbidden(&why));
    };
    let spec = &mut pod["spec"];
    spec["serviceAccountName"] = json!(name);
    spec["serviceAccount"] = json!(name);
    if wants_token(spec, &account) {
        mount_token(spec);
    }
    let lacks_secrets = spec.get("imagePullSecrets").and_then(Value::as_array).is_none_or(Vec::is_empty);
    if let Some(secrets) =
        account.get("imagePullSecrets").filter(|secrets| lacks_secrets && secrets.as_array().is_some_and(|all| !all.is_empty()))
    {
        spec["imagePullSecrets"] = secrets.clone();
    }
    Ok(())
}

/// A mirror pod stands for one that runs without the API server, so it has neither account nor secrets.
fn check_mirror(request: &Request<'_>, pod: &Value) -> Result<(), Status> {
    if !text(pod, "/spec/serviceAccountName").is_empty() {
        return Err(request.forbidden("a mirror pod may not reference service accounts"));
    }
    let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array);
    for volume in volumes.into_iter().flatten() {
        if volume.get("secret").is_some_and(|secret| !secret.is_null()) {
            return Err(request.forbidden("a mirror pod may not reference secrets"));
        }
    }
    Ok(())
}

fn wants_token(spec: &Value, account: &Value) -> bool {
    let field = |object: &Value| object.get("automountServiceAccountToken").and_then(Value::as_bool);
    field(spec).or_else(|| field(account)).unwrap_or(true)
}

fn mount_token(spec: &mut Value) {
    let existing = spec
        .get("volumes")
        .and_then(Value::as_array)
        .and_then(|volumes| volumes.iter().find(|volume| text(volume, "/name").starts_with(VOLUME_PREFIX)))
        .map(|volume| text(volume, "/name").to_owned());
    let has_volume = existing.is_some();
    let volume = existing.unwrap_or_else(|| names::generate_name(VOLUME_PREFIX, &mut rand::rng()));
    let mut mounted = false;
    for field in ["initContainers", "containers"] {
        for container in spec.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(mounts) = list(container, "volumeMounts") else { continue };
            if mounts.iter().all(|mount| text(mount, "/mountPath") != TOKEN_PATH) {
                mounts.push(json!({"mountPath": TOKEN_PATH, "name": volume, "readOnly": true}));
                mounted = true;
            }
        }
    }
    if mounted
        && !has_volume
        && let Some(volumes) = list(spec, "volumes")
    {
        volumes.push(token_volume(&volume));
    }
}

fn token_volume(name: &str) -> Value {
    json!({
        "name": name,
        "projected": {
            "defaultMode": 420,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                {"configMap": {"items": [{"key": "ca.crt", "path": "ca.crt"}], "name": "kube-root-ca.crt"}},
                {"downwardAPI": {"items": [{"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}, "path": "namespace"}]}},
            ],
        },
    })
}
