//! Pods of one container that runs a script, and what they came to.

use serde_json::{Value, json};

use super::here::Here;

pub const IMAGE: &str = "coracle.local/kubia:1.0";

/// A script that lives until it is told to end.
pub const LIVE: &str = "trap 'exit 0' TERM; sleep 1000 & wait";

/// A pod of one container `c` that runs a script; `more` is merged into its spec, `own` into the container.
pub fn pod(name: &str, script: &str, more: Value, own: Value) -> Value {
    let mut container = json!({"name": "c", "image": IMAGE, "command": ["sh", "-c", script]});
    merge(&mut container, own);
    let mut spec = json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]});
    merge(&mut spec, more);
    json!({"metadata": {"name": name, "labels": {"name": name}}, "spec": spec})
}

/// The same, running what the image runs.
pub fn pod_of_the_image(name: &str, more: Value, own: Value) -> Value {
    let mut pod = pod(name, "", more, json!({}));
    pod["spec"]["containers"][0].as_object_mut().unwrap().remove("command");
    merge(&mut pod["spec"]["containers"][0], own);
    pod
}

pub fn merge(into: &mut Value, more: Value) {
    if let (Some(into), Value::Object(more)) = (into.as_object_mut(), more) {
        into.extend(more);
    }
}

pub async fn create(here: &Here, pod: &Value) -> Value {
    here.post(&here.path("v1", "pods"), pod).await.ok()
}

pub fn path(here: &Here, pod: &str) -> String {
    here.path("v1", &format!("pods/{pod}"))
}

pub async fn until(here: &Here, what: &str, pod: &str, look: impl FnMut(&Value) -> bool) -> Value {
    here.until_object(&format!("{pod}: {what}"), &path(here, pod), look).await
}

pub async fn ended(here: &Here, pod: &str) -> Value {
    until(here, "ended", pod, |pod| ["Succeeded", "Failed"].contains(&pod["status"]["phase"].as_str().unwrap_or_default())).await
}

pub async fn log(here: &Here, pod: &str) -> String {
    here.get(&format!("{}/log?container=c", path(here, pod))).await.text
}

/// What the pod's container wrote, once the pod has ended well.
pub async fn output(here: &Here, pod: &str) -> String {
    let end = ended(here, pod).await;
    let said = log(here, pod).await;
    assert_eq!(end["status"]["phase"], "Succeeded", "{said}\n{end}");
    said
}

/// Runs pods to their good end, side by side, and compares what each wrote.
pub async fn wrote(here: &Here, pods: &[(Value, &str)]) {
    for (pod, _) in pods {
        create(here, pod).await;
    }
    for (pod, expected) in pods {
        let name = pod["metadata"]["name"].as_str().unwrap();
        assert_eq!(output(here, name).await.trim_end(), *expected, "{name}");
    }
}

pub fn is_ready(pod: &Value) -> bool {
    crate::harness::kubectl::is_ready(pod)
}

pub fn restarts(pod: &Value) -> i64 {
    pod["status"]["containerStatuses"][0]["restartCount"].as_i64().unwrap_or(0)
}

/// Waits for an event of a pod whose message has a text in it.
pub async fn until_event(here: &Here, pod: &str, reason: &str, text: &str) {
    let path = here.path("v1", &format!("events?fieldSelector=involvedObject.name%3D{pod},reason%3D{reason}"));
    here.until(&format!("an event {reason} of {pod}: {text}"), async || {
        let events = here.get(&path).await.ok();
        let said = events["items"].as_array().unwrap().iter().any(|event| event["message"].as_str().unwrap_or_default().contains(text));
        if said { Ok(()) } else { Err(events.to_string()) }
    })
    .await;
}
