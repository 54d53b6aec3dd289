//! The decision: how many pods to create, which to delete, and what the status says.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};

use super::ranking;
use crate::pods;
use crate::wiring::{name_of, namespace_of};

/// Pods created or deleted by one reconcile, at most.
const BURST: usize = 500;

/// What to do about the number of pods.
#[derive(Debug)]
pub(crate) enum Step {
    Nothing,
    Create(usize),
    Delete(Vec<Arc<Pod>>),
}

impl Step {
    /// The reason of the condition when the step fails.
    pub(crate) fn failure_reason(&self) -> &'static str {
        if matches!(self, Self::Create(_)) { "FailedCreate" } else { "FailedDelete" }
    }

    /// More is to be created after it.
    pub(crate) fn is_partial(&self, set: &ReplicaSet, active: usize) -> bool {
        matches!(self, Self::Create(count) if active + count < desired_replicas(set))
    }
}

/// Why the last step failed.
pub(crate) struct Failure {
    pub reason: &'static str,
    pub message: String,
}

pub(crate) fn desired_replicas(set: &ReplicaSet) -> usize {
    usize::try_from(set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)).unwrap_or(0)
}

fn min_ready_seconds(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
}

/// Compares the active pods with what is asked for. `per_node` counts pods of the family on each node; it is asked for
/// only when some must go.
pub(crate) fn plan(set: &ReplicaSet, active: &[Arc<Pod>], per_node: impl FnOnce() -> HashMap<String, usize>, now: Timestamp) -> Step {
    let desired = desired_replicas(set);
    match active.len() {
        have if have < desired => Step::Create((desired - have).min(BURST)),
        have if have > desired => Step::Delete(ranking::first_to_delete(active, (have - desired).min(BURST), per_node, now)),
        _ => Step::Nothing,
    }
}

/// A pod of the set's template.
pub(crate) fn new_pod(set: &ReplicaSet, owner: OwnerReference) -> Pod {
    let template = set.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default();
    let meta = template.metadata.unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", name_of(set))),
            namespace: Some(namespace_of(set).to_owned()),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}

/// The status of a set with these pods.
pub(crate) fn status(
    set: &ReplicaSet,
    active: &[Arc<Pod>],
    terminating: usize,
    failure: Option<Failure>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let wanted = set.spec.as_ref().and_then(|spec| spec.template.as_ref()?.metadata.as_ref()?.labels.clone()).unwrap_or_default();
    let labelled = |pod: &&Arc<Pod>| {
        let labels = pod.metadata.labels.as_ref();
        wanted.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
    };
    let available = |pod: &&Arc<Pod>| pods::is_available(pod, min_ready_seconds(set), now);
    let known = set.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    ReplicaSetStatus {
        replicas: count(active.len()),
        fully_labeled_replicas: Some(count(active.iter().filter(labelled).count())),
        ready_replicas: Some(count(active.iter().filter(|pod| pods::is_ready(pod)).count())),
        available_replicas: Some(count(active.iter().filter(available).count())),
        terminating_replicas: Some(count(terminating)),
        observed_generation: set.metadata.generation,
        conditions: conditions(known, failure, now),
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// A failure that is there already keeps its text and time, as upstream keeps it.
fn conditions(mut known: Vec<ReplicaSetCondition>, failure: Option<Failure>, now: Timestamp) -> Option<Vec<ReplicaSetCondition>> {
    let there = known.iter().any(|condition| condition.type_ == "ReplicaFailure");
    match failure {
        Some(failure) if !there => known.push(ReplicaSetCondition {
            type_: "ReplicaFailure".to_owned(),
            status: "True".to_owned(),
            reason: Some(failure.reason.to_owned()),
            message: Some(failure.message),
            last_transition_time: Some(Time(now)),
        }),
        Some(_) => {}
        None => known.retain(|condition| condition.type_ != "ReplicaFailure"),
    }
    Some(known).filter(|known| !known.is_empty())
}

/// Equal, where an absent number is zero.
pub(crate) fn same_status(a: &ReplicaSetStatus, b: &ReplicaSetStatus) -> bool {
    let numbers = |status: &ReplicaSetStatus| {
        let fields = [status.fully_labeled_replicas, status.ready_replicas, status.available_replicas, status.terminating_replicas];
        (status.replicas, fields.map(|field| field.unwrap_or(0)), status.observed_generation)
    };
    let conditions = |status: &ReplicaSetStatus| status.conditions.clone().unwrap_or_default();
    numbers(a) == numbers(b) && conditions(a) == conditions(b)
}

/// When the next ready pod becomes available.
pub(crate) fn next_look(set: &ReplicaSet, active: &[Arc<Pod>], now: Timestamp) -> Option<Duration> {
    let waits = active.iter().filter_map(|pod| pods::available_in(pod, min_ready_seconds(set), now)).filter(|wait| !wait.is_zero());
    // A second is the resolution of a condition's time.
    waits.min().and_then(|wait| Duration::try_from(wait).ok()).map(|wait| wait + Duration::from_millis(5))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::ownership::controller_reference;
    use rstest::rstest;
    use serde_json::json;

    fn set(replicas: i32) -> ReplicaSet {
        serde_json::from_value(json!({
            "metadata": {"name": "web-abc", "namespace": "n", "uid": "u", "generation": 3},
            "spec": {"replicas": replicas, "minReadySeconds": 10, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}, "annotations": {"a": "b"}}, "spec": {"containers": []}}},
        }))
        .unwrap()
    }

    fn pod(name: &str, ready_at: Option<i64>, app: &str) -> Arc<Pod> {
        let conditions: Vec<_> = ready_at
            .map(|at| json!({"type": "Ready", "status": "True", "lastTransitionTime": Timestamp::from_second(at).unwrap().to_string()}))
            .into_iter()
            .collect();
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name, "uid": name, "labels": {"app": app}},
            "status": {"phase": "Running", "conditions": conditions}}))
            .unwrap(),
        )
    }

    #[rstest]
    #[case(3, 3, 0)]
    #[case(5, 3, 2)]
    #[case(3000, 0, 500)]
    #[case(0, 2, -2)]
    #[case(1, 600, -500)]
    fn counts(#[case] desired: i32, #[case] have: usize, #[case] expected: i64) {
        let pods: Vec<_> = (0..have).map(|n| pod(&n.to_string(), None, "web")).collect();
        let step = plan(&set(desired), &pods, HashMap::new, Timestamp::UNIX_EPOCH);
        assert_eq!(step.is_partial(&set(desired), have), expected == 500);
        let got = match step {
            Step::Nothing => 0,
            Step::Create(count) => count as i64,
            Step::Delete(doomed) => -(doomed.len() as i64),
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn status_counts_pods_and_the_next_look_is_when_one_becomes_available() {
        let now = Timestamp::from_second(1000).unwrap();
        let pods = [pod("a", Some(980), "web"), pod("b", Some(996), "other"), pod("c", None, "web")];
        let status = status(&set(3), &pods, 2, None, now);
        let numbers = [
            Some(status.replicas),
            status.fully_labeled_replicas,
            status.ready_replicas,
            status.available_replicas,
            status.terminating_replicas,
        ];
        assert_eq!(numbers.map(Option::unwrap), [3, 2, 2, 1, 2]);
        assert_eq!(status.observed_generation, Some(3));
        assert_eq!(next_look(&set(3), &pods, now).unwrap().as_secs(), 6);
        assert_eq!(next_look(&set(3), &pods[..1], now), None);
    }

    #[test]
    fn a_failure_appears_stays_and_goes() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let fail = |message: &str| Some(Failure { reason: "FailedCreate", message: message.to_owned() });
        let mut set = set(3);
        set.status = Some(status(&set, &[], 0, fail("quota"), at(1)));
        set.status = Some(status(&set, &[], 0, fail("another"), at(2)));
        let condition = set.status.clone().unwrap().conditions.unwrap().remove(0);
        assert_eq!((condition.message.as_deref(), condition.last_transition_time), (Some("quota"), Some(Time(at(1)))));
        assert_eq!(status(&set, &[], 0, None, at(3)).conditions, None);
    }

    #[test]
    fn pods_carry_the_template_and_their_controller() {
        let pod = new_pod(&set(1), controller_reference(&set(1)));
        let owner = &pod.metadata.owner_references.unwrap()[0];
        assert_eq!(
            (owner.kind.as_str(), owner.uid.as_str(), owner.controller, owner.block_owner_deletion),
            ("ReplicaSet", "u", Some(true), Some(true))
        );
        assert_eq!(pod.metadata.generate_name.as_deref(), Some("web-abc-"));
        assert_eq!(pod.metadata.annotations.unwrap()["a"], "b");
    }
}
