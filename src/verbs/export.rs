//! `export`: manifests of what runs, as somebody would write them by hand.

use std::path::{Path, PathBuf};

use coracle_api::{kinds, rules, yaml};
use serde_json::{Map, Value};

use crate::error::VerbError;
use crate::kinds::Kind;
use crate::session::Session;

/// Kinds whose objects come and go by themselves, or belong to the machine.
const LEFT_OUT: &[&str] = &[
    "apiservices",
    "certificatesigningrequests",
    "componentstatuses",
    "controllerrevisions",
    "csinodes",
    "csistoragecapacities",
    "endpoints",
    "endpointslices",
    "events",
    "flowschemas",
    "ipaddresses",
    "leases",
    "nodes",
    "persistentvolumes",
    "prioritylevelconfigurations",
    "resourceslices",
    "servicecidrs",
    "volumeattachments",
];
/// Namespaces that every cluster has.
const SYSTEM: &[&str] = &["kube-system", "kube-public", "kube-node-lease"];
/// Objects that every cluster has, by resource and name.
const GIVEN: &[(&str, &str)] = &[
    ("namespaces", "default"),
    ("services", "kubernetes"),
    ("configmaps", "kube-root-ca.crt"),
    ("serviceaccounts", "default"),
    ("priorityclasses", "system-cluster-critical"),
    ("priorityclasses", "system-node-critical"),
    ("storageclasses", "local-path"),
    ("ingressclasses", "coracle"),
];

/// A manifest: where it goes below the folder, and its text.
pub type Exported = (PathBuf, String);

/// The manifests of everything that somebody made: `NAMESPACE/KIND-NAME.yaml`, and `KIND-NAME.yaml` for what has no namespace.
pub async fn export(session: &Session) -> Result<Vec<Exported>, VerbError> {
    let mut out = Vec::new();
    for kind in session.kinds().await?.all().iter().filter(|kind| kind.can("create") && kind.can("get")) {
        if LEFT_OUT.contains(&kind.plural.as_str()) || kind.group == "metrics.k8s.io" {
            continue;
        }
        let list = session.read(kind.path(None)).await?;
        for object in list["items"].as_array().into_iter().flatten() {
            if let Some(manifest) = manifest(kind, object) {
                let name = manifest["metadata"]["name"].as_str().unwrap_or_default();
                let namespace = manifest["metadata"]["namespace"].as_str().unwrap_or_default();
                let file = format!("{}-{}.yaml", kind.singular, name.replace([':', '/'], "-"));
                out.push((Path::new(namespace).join(file), yaml::to_string(&manifest)));
            }
        }
    }
    Ok(out)
}

/// An object as somebody would write it; `None` if nobody would.
fn manifest(kind: &Kind, object: &Value) -> Option<Value> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (name, namespace) = (text("/metadata/name"), text("/metadata/namespace"));
    let labels = object.pointer("/metadata/labels");
    let has_label = |label: &str| labels.is_some_and(|labels| labels.get(label).is_some());
    let owned = object.pointer("/metadata/ownerReferences").and_then(Value::as_array).is_some_and(|owners| !owners.is_empty());
    let given = GIVEN.contains(&(kind.plural.as_str(), name)) || (kind.plural == "namespaces" && SYSTEM.contains(&name));
    let bootstrapped =
        has_label("kubernetes.io/bootstrapping") || (kind.group == "rbac.authorization.k8s.io" && name.starts_with("system:"));
    let leaving = object.pointer("/metadata/deletionTimestamp").is_some();
    let of_machinery = has_label("applyset.kubernetes.io/id") || text("/type") == "kubernetes.io/service-account-token";
    if owned || given || bootstrapped || leaving || of_machinery || SYSTEM.contains(&namespace) {
        return None;
    }
    let mut object = object.clone();
    let map = object.as_object_mut()?;
    map.insert("apiVersion".to_owned(), kind.api_version().into());
    map.insert("kind".to_owned(), kind.kind.clone().into());
    map.remove("status");
    clean_metadata(map.get_mut("metadata")?.as_object_mut()?);
    forget_given(kind, &mut object);
    if let Some(known) = kinds::find(&kind.group, &kind.version, &kind.plural) {
        forget_defaults(known, &mut object);
    }
    Some(object)
}

fn clean_metadata(metadata: &mut Map<String, Value>) {
    metadata.retain(|field, _| matches!(field.as_str(), "name" | "namespace" | "labels" | "annotations" | "finalizers"));
    let machinery = |key: &str| {
        key == "kubectl.kubernetes.io/last-applied-configuration"
            || key == "applyset.kubernetes.io/part-of"
            || key == "kubernetes.io/metadata.name"
            || key.starts_with("deployment.kubernetes.io/")
            || key.starts_with("deprecated.daemonset.template.")
            || key.starts_with("pv.kubernetes.io/")
            || key.starts_with("volume.kubernetes.io/")
            || key.starts_with("batch.kubernetes.io/")
    };
    for field in ["labels", "annotations"] {
        if let Some(map) = metadata.get_mut(field).and_then(Value::as_object_mut) {
            map.retain(|key, _| !machinery(key));
            if map.is_empty() {
                metadata.remove(field);
            }
        }
    }
    if let Some(finalizers) = metadata.get_mut("finalizers").and_then(Value::as_array_mut) {
        finalizers.retain(|one| !one.as_str().is_some_and(|one| one.starts_with("kubernetes.io/") || one == "foregroundDeletion"));
        if finalizers.is_empty() {
            metadata.remove("finalizers");
        }
    }
}

/// Takes away what the server and controllers gave.
fn forget_given(kind: &Kind, object: &mut Value) {
    if (kind.group.as_str(), kind.plural.as_str()) == ("", "namespaces") {
        object.as_object_mut().map(|object| object.remove("spec"));
    }
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    match (kind.group.as_str(), kind.plural.as_str()) {
        ("", "services") => {
            let headless = spec.get("clusterIP").and_then(Value::as_str) == Some("None");
            spec.retain(|field, _| {
                !matches!(field.as_str(), "clusterIPs" | "ipFamilies" | "ipFamilyPolicy" | "healthCheckNodePort")
                    && (headless || field != "clusterIP")
            });
            for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut) {
                port.remove("nodePort");
                if port.get("targetPort") == port.get("port") {
                    port.remove("targetPort");
                }
            }
        }
        ("", "persistentvolumeclaims") => drop(spec.remove("volumeName")),
        ("", "pods") => forget_given_to_pods(spec),
        ("batch", "jobs") if spec.get("manualSelector") != Some(&Value::Bool(true)) => {
            spec.remove("selector");
            if let Some(labels) = spec.get_mut("template").and_then(|it| it.pointer_mut("/metadata/labels")).and_then(Value::as_object_mut)
            {
                labels.retain(|key, _| !matches!(key.as_str(), "controller-uid" | "job-name") && !key.starts_with("batch.kubernetes.io/"));
            }
        }
        _ => {}
    }
}

fn forget_given_to_pods(spec: &mut Map<String, Value>) {
    for field in ["nodeName", "priority", "preemptionPolicy"] {
        spec.remove(field);
    }
    let is_given = |named: &Value| named["name"].as_str().is_some_and(|name| name.starts_with("kube-api-access-"));
    let forget = |list: &mut Value| {
        if let Some(list) = list.as_array_mut() {
            list.retain(|one| !is_given(one));
        }
    };
    if let Some(volumes) = spec.get_mut("volumes") {
        forget(volumes);
    }
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(mounts) = container.get_mut("volumeMounts") {
                forget(mounts);
            }
        }
    }
    if let Some(tolerations) = spec.get_mut("tolerations").and_then(Value::as_array_mut) {
        let added = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
        tolerations.retain(|one| !(one["tolerationSeconds"] == 300 && one["key"].as_str().is_some_and(|key| added.contains(&key))));
    }
    for field in ["serviceAccountName", "serviceAccount"] {
        if spec.get(field).and_then(Value::as_str) == Some("default") {
            spec.remove(field);
        }
    }
}

/// Takes away every field that the server would fill in again just so.
fn forget_defaults(kind: &kinds::Kind, object: &mut Value) {
    let defaulted = |object: &Value| {
        let mut object = object.clone();
        rules::default(kind, &mut object);
        object
    };
    let whole = defaulted(object);
    let mut paths = Vec::new();
    collect(object, String::new(), &mut paths);
    // the deepest first: what is empty then may go too
    for path in paths.into_iter().rev() {
        let Some((parent, field)) = path.rsplit_once('/') else { continue };
        // a volume that says nothing is an emptyDir too, and nobody leaves that out
        if matches!(path.as_str(), "/apiVersion" | "/kind" | "/metadata") || path.starts_with("/metadata/") || field == "emptyDir" {
            continue;
        }
        let mut without = object.clone();
        let field = field.replace("~1", "/").replace("~0", "~");
        let removed = without.pointer_mut(parent).and_then(Value::as_object_mut).and_then(|map| map.remove(&field));
        let Some(removed) = removed else { continue };
        let is_nothing = removed.as_object().is_some_and(Map::is_empty) && is_optional_when_empty(&field)
            || removed.as_array().is_some_and(Vec::is_empty);
        if is_nothing || defaulted(&without) == whole {
            *object = without;
        }
    }
}

/// Whether an empty map says nothing; that of a volume or a selector does.
fn is_optional_when_empty(field: &str) -> bool {
    matches!(field, "resources" | "securityContext" | "strategy" | "updateStrategy" | "metadata" | "rollingUpdate")
}

fn collect(value: &Value, path: String, out: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.replace('~', "~0").replace('/', "~1"), value)).collect(),
        Value::Array(list) => list.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect(),
        _ => return,
    };
    for (key, child) in children {
        let path = format!("{path}/{key}");
        out.push(path.clone());
        collect(child, path, out);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    fn kind(group: &str, plural: &str, kind: &str) -> Kind {
        let singular = kind.to_lowercase();
        Kind { group: group.into(), version: "v1".into(), kind: kind.into(), plural: plural.into(), singular, ..Kind::default() }
    }

    #[test]
    fn a_manifest_is_what_was_written() {
        let written = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"}, "spec": {
            "replicas": 3, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
                "containers": [{"name": "c", "image": "web:1", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
                "volumes": [{"name": "v", "emptyDir": {}}]}}}});
        let known = kinds::find("apps", "v1", "deployments").unwrap();
        let mut live = written.clone();
        rules::default(known, &mut live);
        assert_ne!(live, written);
        live["status"] = json!({"replicas": 3});
        live["metadata"]["uid"] = json!("u");
        live["metadata"]["annotations"] = json!({"deployment.kubernetes.io/revision": "1"});
        assert_eq!(manifest(&kind("apps", "deployments", "Deployment"), &live).unwrap(), written);
    }

    #[test]
    fn what_nobody_wrote_is_left_out() {
        let metadata = |extra: Value| {
            let mut metadata = json!({"name": "a", "namespace": "default"});
            metadata.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            json!({"metadata": metadata})
        };
        let pods = kind("", "pods", "Pod");
        assert!(manifest(&pods, &metadata(json!({"ownerReferences": [{"kind": "ReplicaSet"}]}))).is_none());
        assert!(manifest(&pods, &metadata(json!({"namespace": "kube-system"}))).is_none());
        assert!(manifest(&kind("", "services", "Service"), &metadata(json!({"name": "kubernetes"}))).is_none());
        let service = json!({"metadata": {"name": "a"}, "spec": {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "ports": [{"port": 80, "targetPort": 80, "nodePort": 30001}]}});
        let spec = manifest(&kind("", "services", "Service"), &service).unwrap()["spec"].clone();
        assert_eq!(spec, json!({"ports": [{"port": 80}]}));
    }
}
