//! Documents the server has: tables, discovery, schemas.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::KINDS;

pub(super) fn to_table(plural: &str, items: &[Value], metadata: Value) -> Value {
    let columns: &[&str] = match plural {
        "pods" => &["Name", "Ready", "Status", "Restarts", "Age", "IP", "Node"],
        "deployments" => &["Name", "Ready", "Up-to-date", "Available", "Age"],
        "boats" => &["Name", "Crew", "Age"],
        _ => &["Name", "Status", "Age"],
    };
    let cell = |object: &Value, column: &str| match column {
        "Name" => object["metadata"]["name"].clone(),
        "Status" => object["status"]["phase"].clone(),
        "Ready" if plural == "deployments" => format!("{}/{}", object["status"]["readyReplicas"], object["spec"]["replicas"]).into(),
        "Ready" => if object["status"]["phase"] == "Running" { "1/1" } else { "0/1" }.into(),
        "Restarts" => object.pointer("/status/containerStatuses/0/restartCount").cloned().unwrap_or_default(),
        "IP" => object["status"]["podIP"].clone(),
        "Node" => object["spec"]["nodeName"].clone(),
        "Crew" => object["spec"]["crew"].clone(),
        "Age" => "18m".into(),
        _ => object["spec"]["replicas"].clone(),
    };
    let rows: Vec<Value> = items
        .iter()
        .map(|object| {
            let cells: Vec<Value> = columns.iter().map(|column| cell(object, column)).collect();
            json!({"cells": cells, "object": {"kind": "PartialObjectMetadata", "metadata": object["metadata"]}})
        })
        .collect();
    let definitions: Vec<Value> =
        columns.iter().map(|name| json!({"name": name, "type": if *name == "Crew" { "integer" } else { "string" }, "priority": u8::from(matches!(*name, "IP" | "Node"))})).collect();
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": definitions, "rows": rows})
}

pub(super) fn discovery(belongs: impl Fn(&str) -> bool) -> Value {
    let mut groups: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (version, kind, plural, namespaced, scale) in KINDS.iter().filter(|kind| belongs(kind.0)) {
        groups.entry(version).or_default().push(json!({
            "resource": plural, "responseKind": {"kind": kind}, "scope": if *namespaced { "Namespaced" } else { "Cluster" },
            "singularResource": kind.to_lowercase(), "verbs": ["get", "list", "watch", "patch", "delete"],
            "shortNames": match *plural { "pods" => json!(["po"]), "deployments" => json!(["deploy"]), "events" => json!(["ev"]), "configmaps" => json!(["cm"]), "replicasets" => json!(["rs"]), "services" => json!(["svc"]), "nodes" => json!(["no"]), _ => json!([]) },
            "subresources": if *scale { json!([{"subresource": "scale"}]) } else { json!([]) },
        }));
    }
    let items: Vec<Value> = groups
        .into_iter()
        .map(|(version, resources)| {
            let (group, version) = version.split_once('/').unwrap_or(("", version));
            json!({"metadata": {"name": group}, "versions": [{"version": version, "resources": resources}]})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": items})
}

/// The schema of deployments, cut down.
pub(super) fn openapi() -> Value {
    let of = |kind: &str, doc: &str| json!({"type": kind, "description": doc});
    let object = |properties: Value| json!({"type": "object", "properties": properties});
    let any = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let container = object(json!({"name": of("string", "Name of the container."), "image": of("string", "Container image name."),
        "imagePullPolicy": {"type": "string", "enum": ["Always", "IfNotPresent", "Never"]}, "ports": {"type": "array", "items": {"type": "object"}}}));
    let template = object(json!({"metadata": object(json!({"labels": any})),
        "spec": object(json!({"containers": {"type": "array", "items": container}, "serviceAccountName": of("string", "The account it runs as.")}))}));
    let spec = object(json!({
        "replicas": of("integer", "Number of desired pods. Defaults to 1."),
        "minReadySeconds": of("integer", "How long a pod must be ready before it counts as available."),
        "paused": of("boolean", "Whether the deployment is paused."),
        "selector": object(json!({"matchLabels": any})),
        "template": template,
    }));
    let metadata = object(json!({"name": of("string", "Name of the object."), "namespace": of("string", "Its namespace."), "labels": any,
        "annotations": any}));
    json!({"components": {"schemas": {"io.k8s.api.apps.v1.Deployment": {
        "x-kubernetes-group-version-kind": [{"group": "apps", "version": "v1", "kind": "Deployment"}],
        "type": "object",
        "properties": {"apiVersion": of("string", "Version of the schema."), "kind": of("string", "What it is."), "metadata": metadata, "spec": spec},
    }}}})
}
