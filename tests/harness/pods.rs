//! Pods of one container, and what became of them.

use std::time::Duration;

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::wait::{so, until};

/// How long a pod may take to get anywhere.
pub const SOON: Duration = Duration::from_secs(90);
/// The image that every machine can make.
pub const IMAGE: &str = "coracle.local/kubia:1.0";
/// A script that lives until it is told to end.
pub const LIVE: &str = "trap 'exit 0' TERM; sleep 1000 & wait";

/// A pod of one container `c` with a script; `more` goes into its spec, `own` into the container.
pub fn pod(name: &str, script: &str, more: Value, own: Value) -> Value {
    let mut container = json!({"name": "c", "image": IMAGE, "command": ["sh", "-c", script]});
    container.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    let mut spec = json!({"terminationGracePeriodSeconds": 2, "containers": [container]});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
}

/// A pod of the demo server.
pub fn kubia(name: &str, tag: &str, more: Value, own: Value) -> Value {
    let mut pod = pod(name, "", more, own);
    let container = pod["spec"]["containers"][0].as_object_mut().unwrap();
    container.remove("command");
    container.insert("image".to_owned(), json!(format!("coracle.local/kubia:{tag}")));
    pod
}

/// The status of a pod's first container.
pub fn status(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

/// Whether the first container runs and is ready.
pub fn runs(pod: &Value) -> bool {
    status(pod)["state"]["running"].is_object() && status(pod)["ready"] == true
}

impl Cluster {
    /// Creates an object.
    pub fn create(&self, object: &Value) {
        self.kubectl_with(&["create", "-f", "-"], object.to_string().as_bytes()).ok();
    }

    /// Waits until a pod passes a look.
    pub fn until_pod(&self, what: &str, name: &str, mut look: impl FnMut(&Value) -> bool) -> Value {
        until(&format!("{name}: {what}"), SOON, || {
            let pod = self.get(&["pod", name]);
            if look(&pod) { Ok(pod) } else { Err(format!("{}\n{}", pod["status"], self.kubectl(&["get", "events"]).said())) }
        })
    }

    /// Reasons and messages of an object's events, a line each.
    pub fn events_of(&self, name: &str) -> String {
        let selector = format!("involvedObject.name={name}");
        self.kubectl(&["get", "events", "--field-selector", &selector, "-o", "custom-columns=R:.reason,M:.message", "--no-headers"]).ok()
    }

    /// Waits until an event about an object has these words.
    pub fn until_event(&self, name: &str, words: &str) {
        until(&format!("{name}: {words}"), SOON, || {
            let said = self.events_of(name);
            so(said.contains(words), said)
        });
    }

    /// Waits until a pod's object is gone.
    pub fn until_gone(&self, name: &str) {
        until(&format!("{name} is gone"), SOON, || {
            let left = self.kubectl(&["get", "pod", name, "--ignore-not-found"]).ok();
            so(left.is_empty(), left)
        });
    }

    /// Waits until a log passes a look.
    pub fn until_logs(&self, what: &str, arguments: &[&str], look: impl Fn(&str) -> bool) -> String {
        until(&format!("logs {arguments:?}: {what}"), SOON, || {
            let ran = self.kubectl(&[&["logs"], arguments].concat());
            if ran.code == Some(0) && look(&ran.text()) { Ok(ran.text()) } else { Err(ran.said()) }
        })
    }

    /// Removes all pods of the namespace.
    pub fn clear(&self) {
        self.kubectl(&["delete", "pods", "--all", "--grace-period=1"]).ok();
    }
}
