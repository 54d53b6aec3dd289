//! Removes pods that nobody else will: those of nodes that are gone, those deleted before they had a node, and the oldest
//! ended ones when there are very many.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use coracle_client::Informer;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::{Value, json};

use crate::Context;
use crate::pods;
use crate::wiring::{Run, name_of, namespace_of, unless_gone};

const NAME: &str = "pod-garbage-collector";
const PERIOD: Duration = Duration::from_secs(20);
/// A node must be missing for this long before its pods are given up.
const QUARANTINE: SignedDuration = SignedDuration::from_secs(40);
/// Ended pods that may be kept.
const KEPT: usize = 12_500;

pub(crate) async fn run(context: Context) -> Run {
    let client = context.client(NAME);
    let (pods, nodes): (Informer<Pod>, Informer<Node>) = (context.informers.of(), context.informers.of());
    pods.synced().await;
    nodes.synced().await;
    let mut missing = HashMap::new();
    let mut tick = tokio::time::interval(PERIOD);
    loop {
        tick.tick().await;
        let known: HashSet<String> = nodes.list().iter().map(|node| name_of(node.as_ref()).to_owned()).collect();
        let all = pods.list();
        note_missing(&mut missing, &all, &known, context.clock.now());
        let out: HashSet<String> =
            nodes.list().iter().filter(|node| is_out_of_service(node)).map(|node| name_of(node.as_ref()).to_owned()).collect();
        let shut_down = all.iter().filter(|pod| pods::is_terminating(pod) && out.contains(pods::node(pod)));
        for pod in doomed(&all, &missing, context.clock.now(), KEPT).iter().chain(shut_down) {
            let lost = missing.contains_key(pods::node(pod));
            if let Err(error) = remove(&client, pod, lost.then(|| context.clock.now())).await {
                tracing::debug!(pod = name_of(pod.as_ref()), %error, "pod was not collected");
            }
        }
    }
}

/// Someone says that the node, which does not report, is shut down for good: what was being deleted there is gone.
fn is_out_of_service(node: &Node) -> bool {
    let tainted =
        node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()).any(|taint| taint.key == "node.kubernetes.io/out-of-service");
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    tainted && !conditions.into_iter().any(|one| one.type_ == "Ready" && one.status == "True")
}

/// Keeps since when each node that pods name has been missing.
fn note_missing(missing: &mut HashMap<String, Timestamp>, all: &[Arc<Pod>], known: &HashSet<String>, now: Timestamp) {
    let named: HashSet<&str> = all.iter().map(|pod| pods::node(pod)).filter(|node| !node.is_empty() && !known.contains(*node)).collect();
    missing.retain(|node, _| named.contains(node.as_str()));
    for node in named {
        missing.entry(node.to_owned()).or_insert(now);
    }
}

fn doomed(all: &[Arc<Pod>], missing: &HashMap<String, Timestamp>, now: Timestamp, kept: usize) -> Vec<Arc<Pod>> {
    let mut ended: Vec<&Arc<Pod>> = all.iter().filter(|pod| pods::is_terminal(pod)).collect();
    ended.sort_by_key(|pod| pod.metadata.creation_timestamp.clone());
    let surplus = ended.len().saturating_sub(kept);
    let lost = |pod: &&Arc<Pod>| missing.get(pods::node(pod)).is_some_and(|&since| now.duration_since(since) >= QUARANTINE);
    let never_ran = |pod: &&Arc<Pod>| pods::is_terminating(pod) && pods::node(pod).is_empty();
    let gone = all.iter().filter(|pod| lost(pod) || never_ran(pod));
    let mut doomed: Vec<Arc<Pod>> = ended.into_iter().take(surplus).chain(gone).cloned().collect();
    let mut seen = HashSet::new();
    doomed.retain(|pod| seen.insert(pod.metadata.uid.clone()));
    doomed
}

/// What is written to a pod that did not end: it failed, so that who waits for it learns it did not succeed; and that its node
/// was lost, where it was.
fn failed(pod: &Pod, lost: Option<Timestamp>) -> Value {
    let condition = |now| {
        json!({"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC", "message": "PodGC: node no longer exists",
            "observedGeneration": pod.metadata.generation, "lastTransitionTime": Time(now)})
    };
    let conditions: Vec<Value> = lost.map(condition).into_iter().collect();
    json!({"metadata": {"uid": pod.metadata.uid}, "status": {"phase": "Failed", "conditions": conditions}})
}

async fn remove(client: &kube::Client, pod: &Pod, lost: Option<Timestamp>) -> Result<(), kube::Error> {
    let api = Api::<Pod>::namespaced(client.clone(), namespace_of(pod));
    if !pods::is_terminal(pod) {
        let patch = failed(pod, lost);
        unless_gone(api.patch_status(name_of(pod), &PatchParams::default(), &Patch::Strategic(patch)).await)?;
    }
    let preconditions = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
    let parameters = DeleteParams { grace_period_seconds: Some(0), preconditions: Some(preconditions), ..DeleteParams::default() };
    unless_gone(api.delete(name_of(pod), &parameters).await)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn pod(name: &str, node: &str, phase: &str, deleting: bool) -> Arc<Pod> {
        let deletion = deleting.then_some("2024-01-01T00:00:00Z");
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name, "uid": name, "deletionTimestamp": deletion},
                "spec": {"nodeName": node, "containers": []}, "status": {"phase": phase}}))
            .unwrap(),
        )
    }

    #[test]
    fn lost_and_never_started_pods_go_after_the_quarantine() {
        let all = [
            pod("fine", "n1", "Running", true),
            pod("lost", "n2", "Running", false),
            pod("never", "", "Pending", true),
            pod("waits", "", "Pending", false),
        ];
        let at = |second| Timestamp::from_second(second).unwrap();
        let known = HashSet::from(["n1".to_owned()]);
        let names = |doomed: Vec<Arc<Pod>>| doomed.iter().map(|pod| name_of(pod.as_ref()).to_owned()).collect::<Vec<_>>();
        let mut missing = HashMap::new();
        note_missing(&mut missing, &all, &known, at(0));
        assert_eq!(names(doomed(&all, &missing, at(0), 10)), ["never"]);
        note_missing(&mut missing, &all, &known, at(40));
        assert_eq!(names(doomed(&all, &missing, at(40), 10)), ["lost", "never"]);
        note_missing(&mut missing, &all, &HashSet::from(["n1".to_owned(), "n2".to_owned()]), at(60));
        assert!(missing.is_empty());
    }

    #[test]
    fn a_pod_of_a_lost_node_says_so() {
        let pod = pod("lost", "n2", "Running", false);
        let conditions = |lost| failed(&pod, lost)["status"]["conditions"].as_array().unwrap().len();
        assert_eq!((conditions(Some(Timestamp::UNIX_EPOCH)), conditions(None)), (1, 0));
        let condition = &failed(&pod, Some(Timestamp::UNIX_EPOCH))["status"]["conditions"][0];
        assert_eq!((&condition["type"], &condition["reason"]), (&json!("DisruptionTarget"), &json!("DeletionByPodGC")));
    }

    #[test]
    fn the_oldest_ended_pods_go_when_there_are_too_many() {
        let all = [pod("a", "n1", "Succeeded", false), pod("b", "n1", "Running", false), pod("c", "n1", "Failed", false)];
        assert_eq!(doomed(&all, &HashMap::new(), Timestamp::UNIX_EPOCH, 1).len(), 1);
    }
}
