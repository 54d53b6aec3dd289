//! Disruption budgets and evictions.

use serde_json::{Value, json};

use super::{is_ready, name_of, template, until_pods};
use crate::harness::Need;
use crate::here::{Here, MERGE, STRATEGIC, row};
use crate::operations::{self, Resource};

fn budget(least: i32) -> Value {
    json!({"metadata": {"name": "b", "labels": {"app": "web"}}, "spec": {"minAvailable": least, "selector": {"matchLabels": {"app": "web"}}}})
}

async fn run_pods(here: &Here, count: usize) -> Vec<Value> {
    for number in 0..count {
        let mut pod = template("web", super::STAYS);
        pod["metadata"]["name"] = json!(format!("p{number}"));
        here.post(&here.path("v1", "pods"), &pod).await.ok();
    }
    until_pods(here, "the pods run", "web", |pods| pods.len() == count && pods.iter().all(is_ready)).await
}

/// [sig-apps] DisruptionController Listing PodDisruptionBudgets for all namespaces should list and delete a collection of PodDisruptionBudgets [Conformance]
/// [sig-apps] DisruptionController should create a PodDisruptionBudget [Conformance]
/// [sig-apps] DisruptionController should update/patch PodDisruptionBudget status [Conformance]
#[test]
fn operations_on_budgets() {
    row("budget operations", &[], async |here| {
        let mut object = budget(1);
        object["metadata"] = json!({});
        let resource = Resource {
            version: "policy/v1",
            name: "poddisruptionbudgets",
            namespaced: true,
            subresources: &["status"],
            object,
            status: Some(json!({"conditions": [{"type": "E2E", "status": "True", "reason": "E2E", "message": "",
                "lastTransitionTime": "2024-01-01T00:00:00Z"}]})),
        };
        operations::all(here, &resource).await;
        let path = here.path("policy/v1", "poddisruptionbudgets");
        here.post(&path, &budget(1)).await.ok();
        let path = format!("{path}/b");
        here.until_object("it is looked at", &path, |budget| budget["status"]["observedGeneration"] == 1).await;
        assert_eq!(here.patch(&path, STRATEGIC, &json!({"spec": {"minAvailable": "50%"}})).await.ok()["spec"]["minAvailable"], "50%");
        here.delete(&path).await.ok();
        here.until_gone(&path).await;
    });
}

/// [sig-apps] DisruptionController should observe PodDisruptionBudget status updated [Conformance]
#[test]
fn a_budget_counts() {
    row("budget counts", &[Need::Native], async |here| {
        here.post(&here.path("policy/v1", "poddisruptionbudgets"), &budget(1)).await.ok();
        run_pods(here, 3).await;
        let path = here.path("policy/v1", "poddisruptionbudgets/b");
        let counted = here.until_object("three are counted", &path, |budget| budget["status"]["currentHealthy"] == 3).await;
        let status = &counted["status"];
        assert_eq!((&status["disruptionsAllowed"], &status["desiredHealthy"], &status["expectedPods"]), (&json!(2), &json!(1), &json!(3)));
        assert_eq!(status["conditions"][0]["reason"], "SufficientPods");
    });
}

/// [sig-apps] DisruptionController should block an eviction until the PDB is updated to allow it [Conformance]
#[test]
fn a_budget_blocks_evictions() {
    row("budget blocks", &[Need::Native, Need::Kubectl], async |here| {
        let pods = run_pods(here, 2).await;
        let budgets = here.path("policy/v1", "poddisruptionbudgets");
        here.post(&budgets, &budget(2)).await.ok();
        let path = format!("{budgets}/b");
        here.until_object("two are counted", &path, |budget| budget["status"]["currentHealthy"] == 2).await;
        let pod = here.path("v1", &format!("pods/{}", name_of(&pods[0])));
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name_of(&pods[0])}});
        // Not by the client library: it asks again by itself when it is told to come later.
        let refused = here.kubectl_with(&["create", "--raw", &format!("{pod}/eviction"), "-f", "-"], eviction.to_string().as_bytes());
        assert!(refused.failed(1).contains("Cannot evict pod as it would violate the pod's disruption budget."));
        assert_eq!(here.get(&pod).await.ok()["metadata"]["deletionTimestamp"], Value::Null);
        here.patch(&path, MERGE, &json!({"spec": {"minAvailable": 1}})).await.ok();
        here.until_object("one may go", &path, |budget| budget["status"]["disruptionsAllowed"] == 1).await;
        here.post(&format!("{pod}/eviction"), &eviction).await.ok();
        here.until_gone(&pod).await;
    });
}
