//! Rows of `[sig-apps]`, a file per kind of workload.

mod budgets;
mod cron_jobs;
mod daemon_sets;
mod deployments;
mod jobs;
mod replicas;
mod stateful_sets;

use serde_json::{Value, json};

use crate::here::{Here, MERGE};

const IMAGE: &str = "coracle.local/kubia:1.0";
/// Runs until it is told to end, and ends at once.
const STAYS: &str = "trap 'exit 0' TERM; while :; do sleep 1; done";

/// A pod template that runs a shell script.
fn template(app: &str, script: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}}, "spec": {"terminationGracePeriodSeconds": 1,
        "containers": [{"name": "c", "image": IMAGE, "command": ["sh", "-c", script]}]}})
}

/// A workload with a selector and replicas.
fn workload(name: &str, replicas: i32, extra: &Value) -> Value {
    let mut spec = json!({"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template(name, STAYS)});
    merge(&mut spec, extra);
    json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": spec})
}

fn merge(into: &mut Value, extra: &Value) {
    for (key, value) in extra.as_object().into_iter().flatten() {
        match (into.get_mut(key), value) {
            (Some(known @ Value::Object(_)), Value::Object(_)) => merge(known, value),
            _ => into[key.as_str()] = value.clone(),
        }
    }
}

/// The pods with this `app` label that are not going.
async fn pods(here: &Here, app: &str) -> Vec<Value> {
    let list = here.get(&here.path("v1", &format!("pods?labelSelector=app%3D{app}"))).await.ok();
    let items = list["items"].as_array().cloned().unwrap_or_default();
    items.into_iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).collect()
}

async fn until_pods(here: &Here, what: &str, app: &str, look: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    here.until(what, async || {
        let pods = pods(here, app).await;
        if look(&pods) { Ok(pods) } else { Err(json!(pods).to_string()) }
    })
    .await
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

fn image_of(pod: &Value) -> &str {
    pod["spec"]["containers"][0]["image"].as_str().unwrap()
}

/// A change of the template: another environment variable.
fn another_template(value: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "env": [{"name": "VERSION", "value": value}]}]}}}})
}

fn version_of(pod: &Value) -> &str {
    pod["spec"]["containers"][0]["env"][0]["value"].as_str().unwrap_or_default()
}

/// Reads, updates and patches the scale of a workload that has one replica.
async fn scale(here: &Here, resource: &str, name: &str) {
    let path = here.path(if resource == "replicationcontrollers" { "v1" } else { "apps/v1" }, &format!("{resource}/{name}"));
    let scale_path = format!("{path}/scale");
    let mut scale = here.get(&scale_path).await.ok();
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(1)));
    scale["spec"]["replicas"] = json!(2);
    scale["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    assert_eq!(here.put(&scale_path, &scale).await.ok()["spec"]["replicas"], 2);
    assert_eq!(here.get(&path).await.ok()["spec"]["replicas"], 2);
    assert_eq!(here.patch(&scale_path, MERGE, &json!({"spec": {"replicas": 3}})).await.ok()["spec"]["replicas"], 3);
    assert_eq!(here.get(&path).await.ok()["spec"]["replicas"], 3);
    here.until_object("the status follows", &scale_path, |scale| scale["status"]["replicas"] == 3).await;
}

/// A status with a condition of ours, which its controller leaves alone.
fn noted() -> Value {
    json!({"conditions": [{"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"}]})
}

/// Creates two objects with a label, lists and patches them, and deletes them together.
async fn collection(here: &Here, version: &str, resource: &str, make: impl Fn(&str) -> Value) {
    let path = here.path(version, resource);
    let selected = format!("{path}?labelSelector=e2e%3Dyes");
    for name in ["one", "two"] {
        let mut object = make(name);
        object["metadata"]["labels"]["e2e"] = json!("yes");
        here.post(&path, &object).await.ok();
    }
    let patched = here.patch(&format!("{path}/one"), MERGE, &json!({"metadata": {"labels": {"test": "patched"}}})).await.ok();
    assert_eq!(patched["metadata"]["labels"]["test"], "patched");
    assert_eq!(here.get(&selected).await.ok()["items"].as_array().unwrap().len(), 2);
    here.delete_with(&selected, &json!({"propagationPolicy": "Background"})).await.ok();
    here.until("the collection is gone", async || {
        let left = here.get(&selected).await.ok()["items"].as_array().unwrap().len();
        if left == 0 { Ok(()) } else { Err(left) }
    })
    .await;
}
