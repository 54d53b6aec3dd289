//! A pod that was said to be disrupted, and is still here: it was not disrupted.

use std::sync::Arc;
use std::time::Duration;

use coracle_client::Queue;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::Controller;
use super::grants::EVICTED_WITHIN;
use crate::pods;
use crate::wiring::{Key, Outcome, Run, follow_latest, unless_gone, work};

const CONDITION: &str = "DisruptionTarget";

pub(super) async fn run(controller: Arc<Controller>) -> Run {
    let queue = Queue::new();
    let pods = follow_latest(controller.pods.clone(), |pod| {
        if wait(pod, Timestamp::MIN).is_some() {
            queue.add(Key::of(pod.as_ref()));
        }
    });
    let reconciler = controller.clone();
    let workers = work(queue.clone(), 1, move |key: Key| {
        let controller = reconciler.clone();
        async move { reset(&controller, &key).await }
    });
    tokio::join!(pods, workers).1
}

async fn reset(controller: &Controller, key: &Key) -> Outcome {
    let Some(pod) = controller.pods.get(&key.namespace, &key.name) else { return Ok(None) };
    let now = controller.clock.now();
    let Some(wait) = wait(&pod, now) else { return Ok(None) };
    if !wait.is_zero() {
        return Ok(Some(wait));
    }
    let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [{"type": CONDITION, "status": "False",
        "reason": Value::Null, "message": Value::Null, "lastTransitionTime": Time(now)}]}});
    let api = Api::<Pod>::namespaced(controller.client.clone(), &key.namespace);
    unless_gone(api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await).map(|()| None)
}

/// How long until the condition of a pod is stale; `None` for a pod without it. The kubelet's own is never stale: the pod may
/// take its time.
fn wait(pod: &Pod, now: Timestamp) -> Option<Duration> {
    let condition = pods::condition(pod, CONDITION)?;
    let stays = !pods::is_terminating(pod) && !pods::is_terminal(pod);
    if !stays || condition.status != "True" || condition.reason.as_deref() == Some("TerminationByKubelet") {
        return None;
    }
    let since = condition.last_transition_time.as_ref().map_or(SignedDuration::MAX, |time| now.duration_since(time.0));
    Some(Duration::try_from(EVICTED_WITHIN.saturating_sub(since)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::just_now("True", "EvictionByEvictionAPI", "Running", 30, Some(90))]
    #[case::long_ago("True", "EvictionByEvictionAPI", "Running", 500, Some(0))]
    #[case::taken_back("False", "", "Running", 500, None)]
    #[case::by_the_kubelet("True", "TerminationByKubelet", "Running", 500, None)]
    #[case::ended("True", "DeletionByTaintManager", "Failed", 500, None)]
    fn conditions_get_stale(
        #[case] status: &str,
        #[case] reason: &str,
        #[case] phase: &str,
        #[case] age: i64,
        #[case] expected: Option<u64>,
    ) {
        let condition = json!({"type": CONDITION, "status": status, "reason": reason, "lastTransitionTime": "1970-01-01T00:00:00Z"});
        let mut pod: Pod = serde_json::from_value(json!({"metadata": {}, "status": {"phase": phase, "conditions": [condition]}})).unwrap();
        let now = Timestamp::from_second(age).unwrap();
        assert_eq!(wait(&pod, now).map(|wait| wait.as_secs()), expected);
        pod.metadata.deletion_timestamp = Some(Time(now));
        assert_eq!(wait(&pod, now), None);
    }
}
