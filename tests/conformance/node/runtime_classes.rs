//! Classes of runtimes.

use serde_json::{Value, json};

use crate::harness::Need;
use crate::here::{Here, row};
use crate::pods::*;

/// Makes a class named after the test's namespace.
async fn class(here: &Here, mut class: Value) -> String {
    class["metadata"] = json!({"name": here.namespace});
    class["handler"] = json!("handler");
    here.post("/apis/node.k8s.io/v1/runtimeclasses", &class).await.ok();
    let path = format!("/apis/node.k8s.io/v1/runtimeclasses/{}", here.namespace);
    here.remove_later(path.clone());
    path
}

fn of_class(here: &Here) -> Value {
    pod("p", "true", json!({"runtimeClassName": here.namespace}), json!({}))
}

/// [sig-node] RuntimeClass should schedule a Pod requesting a RuntimeClass without PodOverhead [NodeConformance] [Conformance]
#[test]
fn a_pod_of_a_class_finds_a_node() {
    row("runtime class", &[Need::Native], async |here| {
        class(here, json!({})).await;
        create(here, &of_class(here)).await;
        let bound = until(here, "is given to a node", "p", |pod| pod["spec"]["nodeName"].is_string()).await;
        assert!(bound["spec"]["overhead"].is_null());
    });
}

/// [sig-node] RuntimeClass should schedule a Pod requesting a RuntimeClass and initialize its Overhead [NodeConformance] [Conformance]
#[test]
fn a_pod_has_the_overhead_of_its_class() {
    row("runtime class overhead", &[Need::Native], async |here| {
        let overhead = json!({"cpu": "10m", "memory": "1Mi"});
        class(here, json!({"overhead": {"podFixed": overhead}})).await;
        create(here, &of_class(here)).await;
        let bound = until(here, "is given to a node", "p", |pod| pod["spec"]["nodeName"].is_string()).await;
        assert_eq!(bound["spec"]["overhead"], overhead);
    });
}

/// [sig-node] RuntimeClass should reject a Pod requesting a deleted RuntimeClass [NodeConformance] [Conformance]
/// [sig-node] RuntimeClass should reject a Pod requesting a non-existent RuntimeClass [NodeConformance] [Conformance]
#[test]
fn a_pod_of_no_class_is_refused() {
    row("no runtime class", &[], async |here| {
        let refused = || async { here.post(&here.path("v1", "pods"), &of_class(here)).await };
        let expected = format!("pods \"p\" is forbidden: pod rejected: RuntimeClass \"{}\" not found", here.namespace);
        assert_eq!(refused().await.failed(403, "Forbidden"), expected);
        let class = class(here, json!({})).await;
        here.delete(&class).await.ok();
        here.until_gone(&class).await;
        assert_eq!(refused().await.failed(403, "Forbidden"), expected);
    });
}
