//! A deployment's status and conditions.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::replicas::{available, desired, existing, max_unavailable, ready, told};
use crate::wiring::name_of;

pub(crate) const PROGRESSING: &str = "Progressing";
const AVAILABLE: &str = "Available";
const FAILURE: &str = "ReplicaFailure";
const COMPLETE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";

pub(crate) fn condition(kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) -> DeploymentCondition {
    DeploymentCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_update_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

pub(crate) fn find<'a>(conditions: &'a [DeploymentCondition], kind: &str) -> Option<&'a DeploymentCondition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// Sets a condition, unless one of its type has the same status and reason; the time of transition is that of the status.
pub(crate) fn set(conditions: &mut Vec<DeploymentCondition>, mut new: DeploymentCondition) {
    if let Some(known) = find(conditions, &new.type_) {
        if known.status == new.status && known.reason == new.reason {
            return;
        }
        if known.status == new.status {
            new.last_transition_time.clone_from(&known.last_transition_time);
        }
    }
    remove(conditions, &new.type_);
    conditions.push(new);
}

pub(crate) fn remove(conditions: &mut Vec<DeploymentCondition>, kind: &str) {
    conditions.retain(|condition| condition.type_ != kind);
}

/// Seconds without progress until the rollout counts as stuck; `None` without such a limit.
pub(crate) fn progress_deadline(deployment: &Deployment) -> Option<i32> {
    deployment.spec.as_ref()?.progress_deadline_seconds.filter(|&seconds| seconds != i32::MAX)
}

/// A paused or resumed rollout does not run against its deadline.
pub(crate) fn pause(deployment: &Deployment, conditions: &mut Vec<DeploymentCondition>, now: Timestamp) {
    if progress_deadline(deployment).is_none() {
        return;
    }
    let reason = find(conditions, PROGRESSING).and_then(|condition| condition.reason.as_deref());
    if reason == Some(TIMED_OUT) {
        return;
    }
    let paused = deployment.spec.as_ref().and_then(|spec| spec.paused) == Some(true);
    match (paused, reason == Some("DeploymentPaused")) {
        (true, false) => set(conditions, condition(PROGRESSING, "Unknown", "DeploymentPaused", "Deployment is paused", now)),
        (false, true) => set(conditions, condition(PROGRESSING, "Unknown", "DeploymentResumed", "Deployment is resumed", now)),
        _ => {}
    }
}

/// Counts and availability. `conditions` are those so far.
pub(crate) fn status(
    deployment: &Deployment,
    all: &[&ReplicaSet],
    new: Option<&ReplicaSet>,
    mut conditions: Vec<DeploymentCondition>,
    now: Timestamp,
) -> DeploymentStatus {
    let sum = |count: fn(&ReplicaSet) -> i32| all.iter().map(|set| count(set)).sum::<i32>();
    let ready_for_use = sum(available);
    set(
        &mut conditions,
        if ready_for_use >= desired(deployment) - max_unavailable(deployment) {
            condition(AVAILABLE, "True", "MinimumReplicasAvailable", "Deployment has minimum availability.", now)
        } else {
            condition(AVAILABLE, "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.", now)
        },
    );
    DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: Some(sum(existing)),
        updated_replicas: Some(new.map_or(0, existing)),
        ready_replicas: Some(sum(ready)),
        available_replicas: Some(ready_for_use),
        unavailable_replicas: Some((sum(told) - ready_for_use).max(0)),
        terminating_replicas: all.iter().map(|set| set.status.as_ref()?.terminating_replicas).sum(),
        collision_count: deployment.status.as_ref().and_then(|status| status.collision_count),
        conditions: Some(conditions),
    }
}

/// Adds what a rollout says of itself: progress, completion, a missed deadline, failures of its sets.
pub(crate) fn rollout(
    deployment: &Deployment,
    all: &[&ReplicaSet],
    new: Option<&ReplicaSet>,
    status: &mut DeploymentStatus,
    now: Timestamp,
) {
    let mut conditions = status.conditions.take().unwrap_or_default();
    let known = find(&conditions, PROGRESSING).cloned();
    let reason = known.as_ref().and_then(|condition| condition.reason.as_deref());
    match progress_deadline(deployment) {
        None => remove(&mut conditions, PROGRESSING),
        Some(_) if status.replicas == status.updated_replicas && reason == Some(COMPLETE) => {}
        Some(deadline) => {
            let subject =
                new.map_or_else(|| format!("Deployment \"{}\"", name_of(deployment)), |new| format!("ReplicaSet \"{}\"", name_of(new)));
            if is_complete(deployment, status) {
                set(&mut conditions, condition(PROGRESSING, "True", COMPLETE, &format!("{subject} has successfully progressed."), now));
            } else if progressed(deployment, status) {
                let mut progress = condition(PROGRESSING, "True", "ReplicaSetUpdated", &format!("{subject} is progressing."), now);
                // Progress renews the time it is measured from, though status and reason stay.
                if let Some(known) = known.filter(|known| known.status == "True") {
                    progress.last_transition_time = known.last_transition_time;
                }
                remove(&mut conditions, PROGRESSING);
                conditions.push(progress);
            } else if is_late(known.as_ref(), deadline, now) {
                set(&mut conditions, condition(PROGRESSING, "False", TIMED_OUT, &format!("{subject} has timed out progressing."), now));
            }
        }
    }
    match replica_failure(all, new) {
        Some(failure) => set(&mut conditions, failure),
        None => remove(&mut conditions, FAILURE),
    }
    status.conditions = Some(conditions);
}

/// Every replica is of the new set and available, and nothing of an old one is left.
pub(crate) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let desired = desired(deployment);
    let counts = [status.updated_replicas, status.replicas, status.available_replicas];
    counts.iter().all(|count| count.unwrap_or(0) == desired) && status.observed_generation >= deployment.metadata.generation
}

fn progressed(deployment: &Deployment, new: &DeploymentStatus) -> bool {
    let none = DeploymentStatus::default();
    let old = deployment.status.as_ref().unwrap_or(&none);
    let number = |count: Option<i32>| count.unwrap_or(0);
    let outdated = |status: &DeploymentStatus| number(status.replicas) - number(status.updated_replicas);
    number(new.updated_replicas) > number(old.updated_replicas)
        || outdated(new) < outdated(old)
        || number(new.ready_replicas) > number(old.ready_replicas)
        || number(new.available_replicas) > number(old.available_replicas)
}

fn is_late(known: Option<&DeploymentCondition>, deadline: i32, now: Timestamp) -> bool {
    let Some(known) = known else { return false };
    match known.reason.as_deref() {
        Some(COMPLETE) => false,
        Some(TIMED_OUT) => true,
        _ => known.last_update_time.as_ref().is_some_and(|since| now.duration_since(since.0) > SignedDuration::from_secs(deadline.into())),
    }
}

fn replica_failure(all: &[&ReplicaSet], new: Option<&ReplicaSet>) -> Option<DeploymentCondition> {
    let failure = |set: &ReplicaSet| set.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == FAILURE).cloned();
    let found = new.and_then(failure).or_else(|| all.iter().find_map(|set| failure(set)))?;
    Some(DeploymentCondition {
        type_: FAILURE.to_owned(),
        status: found.status,
        reason: found.reason,
        message: found.message,
        last_update_time: found.last_transition_time.clone(),
        last_transition_time: found.last_transition_time,
    })
}

/// When an unfinished rollout must be looked at again to see that it missed its deadline.
pub(crate) fn next_look(deployment: &Deployment, status: &DeploymentStatus, now: Timestamp) -> Option<Duration> {
    let deadline = progress_deadline(deployment)?;
    let known = find(status.conditions.as_deref()?, PROGRESSING)?;
    if is_complete(deployment, status) || matches!(known.reason.as_deref(), Some(TIMED_OUT | COMPLETE)) {
        return None;
    }
    let due = known.last_update_time.as_ref()?.0.saturating_add(SignedDuration::from_secs(deadline.into())).ok()?;
    Some(Duration::try_from(due.duration_since(now)).unwrap_or_default() + Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn transition_time_is_that_of_the_status() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut conditions = vec![condition(PROGRESSING, "True", "NewReplicaSetCreated", "a", at(1))];
        set(&mut conditions, condition(PROGRESSING, "True", "NewReplicaSetCreated", "b", at(2)));
        assert_eq!(conditions[0].message.as_deref(), Some("a"));
        set(&mut conditions, condition(PROGRESSING, "True", COMPLETE, "c", at(3)));
        assert_eq!(
            (conditions[0].last_transition_time.clone(), conditions[0].last_update_time.clone()),
            (Some(Time(at(1))), Some(Time(at(3))))
        );
        set(&mut conditions, condition(PROGRESSING, "False", TIMED_OUT, "d", at(4)));
        assert_eq!(conditions[0].last_transition_time, Some(Time(at(4))));
        assert_eq!(conditions.len(), 1);
    }
}
