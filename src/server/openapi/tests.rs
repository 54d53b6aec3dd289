#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashSet;

use super::*;

fn get(path: &str) -> Value {
    serde_json::from_slice(&answer(path, "application/json", &[]).unwrap_or_else(|| panic!("{path}")).body).unwrap()
}

fn references(value: &Value, out: &mut HashSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(reference) = map.get("$ref").and_then(Value::as_str) {
                out.insert(reference.rsplit('/').next().unwrap().to_owned());
            }
            map.values().for_each(|value| references(value, out));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, out)),
        _ => {}
    }
}

#[test]
fn every_document_of_the_index_is_there_and_whole() {
    let index = get("/openapi/v3");
    assert!(index["paths"]["api/v1"]["serverRelativeURL"].is_string());
    for entry in index["paths"].as_object().unwrap().values() {
        let url = entry["serverRelativeURL"].as_str().unwrap();
        let document = get(url);
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let mut used = HashSet::new();
        references(&document, &mut used);
        for name in used {
            assert!(schemas.contains_key(&name), "{url} refers to {name}");
        }
        let mut ids = HashSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap().iter().filter(|(method, _)| *method != "parameters") {
                assert!(ids.insert(operation["operationId"].clone()), "{url} {path} {method}: {}", operation["operationId"]);
            }
        }
    }
    assert_eq!(answer("/openapi/v3/apis/none/v1", "", &[]), None);
    assert_eq!(answer("/openapi/v4", "", &[]), None);
}

/// What kubectl looks for before it sends a create or apply: a PATCH of the kind that takes `fieldValidation`.
#[test]
fn kubectl_finds_field_validation() {
    for kind in kinds::builtin().iter().filter(|kind| kind.has_verb("patch")) {
        let document = get(&format!("/openapi/v3/{}", name(&kind.group, &kind.version)));
        let wanted = json!({"group": kind.group, "kind": kind.kind, "version": kind.version});
        let paths = document["paths"].as_object().unwrap();
        let patches: Vec<&Value> = paths
            .values()
            .filter_map(|item| item.get("patch"))
            .filter(|patch| patch["x-kubernetes-group-version-kind"] == wanted)
            .collect();
        assert!(!patches.is_empty(), "{wanted}");
        for patch in patches {
            let parameters = patch["parameters"].as_array().unwrap();
            assert!(parameters.iter().any(|one| one["name"] == "fieldValidation" && one["in"] == "query"), "{wanted}");
        }
    }
}

/// What explain looks for: the path of the resource, and a schema that carries the kind.
#[test]
fn explain_finds_its_way() {
    let apps = get("/openapi/v3/apis/apps/v1");
    let path = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"];
    assert_eq!(
        (&path["get"]["operationId"], &path["patch"]["x-kubernetes-action"]),
        (&json!("readAppsV1NamespacedDeployment"), &json!("patch"))
    );
    let gvk = json!([{"group": "apps", "kind": "Deployment", "version": "v1"}]);
    assert_eq!(apps["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"]["x-kubernetes-group-version-kind"], gvk);
    let scale = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"];
    assert_eq!(scale["put"]["x-kubernetes-group-version-kind"], json!({"group": "autoscaling", "kind": "Scale", "version": "v1"}));
    let core = get("/openapi/v3/api/v1");
    let ids = ["/api/v1/pods", "/api/v1/nodes", "/api/v1/namespaces/{namespace}/pods"]
        .map(|path| core["paths"][path]["get"]["operationId"].clone());
    assert_eq!(ids, ["listCoreV1PodForAllNamespaces", "listCoreV1Node", "listCoreV1NamespacedPod"]);
    let rbac = get("/openapi/v3/apis/rbac.authorization.k8s.io/v1");
    let roles = &rbac["paths"]["/apis/rbac.authorization.k8s.io/v1/clusterroles"]["post"];
    assert_eq!(
        (&roles["operationId"], &roles["tags"][0]),
        (&json!("createRbacAuthorizationV1ClusterRole"), &json!("rbacAuthorization_v1"))
    );
}

#[test]
fn version_2_has_it_all_in_one() {
    let document = get("/openapi/v2");
    let definitions = document["definitions"].as_object().unwrap();
    let mut used = HashSet::new();
    references(&document, &mut used);
    assert!(used.iter().all(|name| definitions.contains_key(name)) && used.len() > 400);
    assert!(!document.to_string().contains("#/components/"));
    let spec = &definitions["io.k8s.api.apps.v1.Deployment"]["properties"]["spec"];
    assert_eq!(spec["$ref"], "#/definitions/io.k8s.api.apps.v1.DeploymentSpec");
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(patch["parameters"][0]["in"], "body");
    assert!(patch["parameters"].as_array().unwrap().iter().any(|one| one["name"] == "fieldValidation" && one["type"] == "string"));

    let binary = answer("/openapi/v2", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf", &[]).unwrap();
    assert!(binary.content_type.ends_with("+protobuf") && binary.body.starts_with(b"\x0a\x032.0\x12"));
}
