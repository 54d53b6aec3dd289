//! Rows of `[sig-api-machinery]` about custom resources.

mod admission;
mod conversion;
mod definitions;
mod field_validation;
mod openapi;
mod resources;

use serde_json::{Value, json};

use super::here::Here;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// The group of this test's definitions.
fn group(here: &Here) -> String {
    format!("{}.example.com", here.namespace)
}

/// The path of a custom resource of this namespace: `resource(here, "v1", "foos/a")`.
fn resource(here: &Here, version: &str, name: &str) -> String {
    here.path(&format!("{}/{version}", group(here)), name)
}

/// A schema that keeps everything.
fn anything() -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

fn version(name: &str, storage: bool, schema: Value) -> Value {
    json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": schema}})
}

/// A definition of a namespaced kind; its plural is the kind in small letters with an s.
fn definition(here: &Here, kind: &str, versions: Value) -> Value {
    definition_in(&group(here), kind, versions)
}

fn definition_in(group: &str, kind: &str, versions: Value) -> Value {
    let singular = kind.to_lowercase();
    let plural = format!("{singular}s");
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "versions": versions,
            "names": {"plural": plural, "singular": singular, "kind": kind, "listKind": format!("{kind}List")}}})
}

/// Makes a definition and waits until it is served; its path.
async fn define(here: &Here, definition: &Value) -> String {
    here.post(DEFINITIONS, definition).await.ok();
    let path = format!("{DEFINITIONS}/{}", definition["metadata"]["name"].as_str().unwrap());
    here.remove_later(&path);
    established(here, &path).await;
    path
}

async fn established(here: &Here, path: &str) {
    let is = |definition: &Value| {
        let conditions = definition["status"]["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Established" && one["status"] == "True"))
    };
    here.until_object("the definition is established", path, is).await;
}

/// Changes a definition by a JSON patch.
async fn change(here: &Here, path: &str, patch: Value) {
    here.patch(path, super::here::JSON_PATCH, &patch).await.ok();
}

/// An object of this test's group.
fn object(here: &Here, version: &str, kind: &str, name: &str, fields: Value) -> Value {
    let mut object = fields;
    object["apiVersion"] = json!(format!("{}/{version}", group(here)));
    object["kind"] = json!(kind);
    object["metadata"]["name"] = json!(name);
    object
}
