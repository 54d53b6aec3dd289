#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

fn get(path: &str, accept: &str) -> Option<(Value, Document)> {
    let document = answer(path, accept, "127.0.0.1:6443", &[])?;
    Some((serde_json::from_slice(&document.body).unwrap(), document))
}

fn plain(path: &str) -> Value {
    get(path, "application/json").unwrap().0
}

#[test]
fn groups_and_versions() {
    assert_eq!(plain("/api")["versions"], json!(["v1"]));
    let groups = plain("/apis");
    let names: Vec<&str> = groups["groups"].as_array().unwrap().iter().map(|group| group["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"apps") && names.contains(&"rbac.authorization.k8s.io") && !names.contains(&""));
    let autoscaling = plain("/apis/autoscaling");
    assert_eq!((&autoscaling["kind"], &autoscaling["preferredVersion"]["version"]), (&json!("APIGroup"), &json!("v2")));
    assert_eq!(autoscaling["versions"].as_array().unwrap().len(), 2);
    for path in ["/apis/none.example.com", "/apis/apps/v9", "/api/v2", "/apis/apps/v1/deployments"] {
        assert_eq!(get(path, ""), None, "{path}");
    }
}

#[test]
fn resources_of_a_version() {
    let batch = plain("/apis/batch/v1");
    let rows = batch["resources"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["cronjobs", "cronjobs/status", "jobs", "jobs/status"]);
    assert_eq!((&rows[0]["shortNames"], &rows[0]["categories"]), (&json!(["cj"]), &json!(["all"])));
    assert_eq!(
        rows[1],
        json!({"name": "cronjobs/status", "singularName": "", "namespaced": true, "kind": "CronJob", "verbs": ["get", "patch", "update"]})
    );
    let core = plain("/api/v1");
    let row = |name: &str| core["resources"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap().clone();
    assert_eq!(row("pods")["storageVersionHash"], "xPOwRZ+Yhw8=", "as every upstream server says");
    assert_eq!((&row("pods/eviction")["group"], &row("pods/eviction")["version"]), (&json!("policy"), &json!("v1")));
    assert_eq!(row("bindings").get("storageVersionHash"), None);
}

const KUBECTL_1_33: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
const KUBECTL_1_27: &str = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

#[test]
fn the_aggregated_form() {
    let (core, document) = get("/api", KUBECTL_1_33).unwrap();
    assert_eq!((&core["apiVersion"], core["items"].as_array().unwrap().len()), (&json!("apidiscovery.k8s.io/v2"), 1));
    assert!(document.content_type.ends_with("v=v2;as=APIGroupDiscoveryList") && document.etag.unwrap().len() == 130);
    let (all, _) = get("/apis", KUBECTL_1_27).unwrap();
    assert_eq!(all["apiVersion"], "apidiscovery.k8s.io/v2beta1");
    let apps = all["items"].as_array().unwrap().iter().find(|group| group["metadata"]["name"] == "apps").unwrap();
    let resources = apps["versions"][0]["resources"].as_array().unwrap();
    let deployments = resources.iter().find(|row| row["resource"] == "deployments").unwrap();
    assert_eq!(deployments["responseKind"], json!({"group": "apps", "version": "v1", "kind": "Deployment"}));
    let scale = &deployments["subresources"][0];
    assert_eq!((&scale["subresource"], &scale["responseKind"]["group"]), (&json!("scale"), &json!("autoscaling")));
    assert_eq!(plain("/apis")["kind"], "APIGroupList", "a client that does not ask for it gets the plain form");
    assert_eq!(get("/apis", "").unwrap().0["kind"], "APIGroupList");
    assert_eq!(get("/apis/apps", KUBECTL_1_33).unwrap().0["kind"], "APIGroup");
}

#[test]
fn the_root_lists_paths() {
    let paths = paths(&[]);
    let paths = paths["paths"].as_array().unwrap();
    for path in ["/api/v1", "/apis/apps", "/apis/apps/v1", "/openapi/v3", "/version"] {
        assert!(paths.contains(&json!(path)), "{path}");
    }
}
