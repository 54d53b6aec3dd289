//! The decision: which pods to create and delete next, and what the status says. Upstream's `updateStatefulSet`.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{RollingUpdateStatefulSetStrategy, StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};

use super::pod::{has_identity, new_pod, ordinal_of, revision_of};
use crate::deployment::scaled;
use crate::pods;

/// A template and the name of the revision that keeps it.
#[derive(Debug, Clone)]
pub(super) struct Version {
    pub name: String,
    pub template: PodTemplateSpec,
}

/// The two versions that may exist at a time; equal when no update is under way.
#[derive(Debug, Clone)]
pub(super) struct Versions {
    pub current: Version,
    pub update: Version,
}

#[derive(Debug, Clone)]
pub(super) enum Action {
    /// Create the pod of this ordinal, and its claims before it.
    Create(i32, Box<Pod>),
    /// Give back the labels that say who the pod is.
    Identify(i32, Arc<Pod>),
    /// An ended pod makes room for its successor.
    Recreate(Arc<Pod>),
    Delete(Arc<Pod>),
}

#[derive(Debug)]
pub(super) struct Plan {
    pub actions: Vec<Action>,
    pub status: StatefulSetStatus,
    /// When a ready pod becomes available.
    pub again: Option<Duration>,
}

pub(super) fn desired_replicas(set: &StatefulSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

pub(super) fn start(set: &StatefulSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.ordinals.as_ref()?.start).unwrap_or(0)
}

fn min_ready_seconds(set: &StatefulSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
}

fn is_monotonic(set: &StatefulSet) -> bool {
    set.spec.as_ref().and_then(|spec| spec.pod_management_policy.as_deref()) != Some("Parallel")
}

fn is_rolling(set: &StatefulSet) -> bool {
    let strategy = set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete")
}

fn rolling(set: &StatefulSet) -> Option<&RollingUpdateStatefulSetStrategy> {
    set.spec.as_ref()?.update_strategy.as_ref()?.rolling_update.as_ref()
}

fn max_unavailable(set: &StatefulSet) -> usize {
    let value = rolling(set).and_then(|rolling| rolling.max_unavailable.as_ref());
    let number = value.map_or(1, |value| scaled(value, i64::from(desired_replicas(set)), false));
    usize::try_from(number.max(1)).unwrap_or(1)
}

struct Judge<'a> {
    set: &'a StatefulSet,
    now: Timestamp,
}

impl Judge<'_> {
    fn is_ready(&self, pod: &Pod) -> bool {
        pods::phase(pod) == "Running" && pods::is_ready(pod)
    }

    fn is_available(&self, pod: &Pod) -> bool {
        self.is_ready(pod) && pods::is_available(pod, min_ready_seconds(self.set), self.now)
    }

    /// Available and staying.
    fn is_healthy(&self, pod: &Pod) -> bool {
        self.is_available(pod) && !pods::is_terminating(pod)
    }
}

/// Compares the set's pods with what is asked for. The first thing in the way of an ordered set stops the rest.
pub(super) fn plan(set: &StatefulSet, versions: &Versions, all: &[Arc<Pod>], now: Timestamp) -> Plan {
    let judge = Judge { set, now };
    let (first, count) = (start(set), usize::try_from(desired_replicas(set)).unwrap_or(0));
    let mut replicas: Vec<Option<Arc<Pod>>> = vec![None; count];
    let mut condemned = Vec::new();
    for pod in all {
        let Some(ordinal) = ordinal_of(set, pod) else { continue };
        let slot = ordinal.checked_sub(first).and_then(|slot| usize::try_from(slot).ok());
        match slot.and_then(|slot| replicas.get_mut(slot)) {
            Some(slot) => *slot = Some(pod.clone()),
            None => condemned.push((ordinal, pod.clone())),
        }
    }
    condemned.sort_by_key(|(ordinal, _)| std::cmp::Reverse(*ordinal));
    let condemned: Vec<_> = condemned.into_iter().map(|(_, pod)| pod).collect();
    let actions = if set.metadata.deletion_timestamp.is_some() { Vec::new() } else { actions(&judge, versions, &replicas, &condemned) };
    let waits = all.iter().filter_map(|pod| pods::available_in(pod, min_ready_seconds(set), now)).filter(|wait| !wait.is_zero());
    let again = waits.min().and_then(|wait| Duration::try_from(wait).ok()).map(|wait| wait + Duration::from_millis(5));
    Plan { actions, status: status(&judge, versions, all), again }
}

fn actions(judge: &Judge, versions: &Versions, replicas: &[Option<Arc<Pod>>], condemned: &[Arc<Pod>]) -> Vec<Action> {
    let mut actions = Vec::new();
    if !fill(judge, versions, replicas, &mut actions) || !shrink(judge, replicas, condemned, &mut actions) {
        return actions;
    }
    if is_rolling(judge.set) && actions.is_empty() {
        roll(judge, versions, replicas, &mut actions);
    }
    actions
}

/// Fills the places in order. False when the rest has to wait.
fn fill(judge: &Judge, versions: &Versions, replicas: &[Option<Arc<Pod>>], actions: &mut Vec<Action>) -> bool {
    let monotonic = is_monotonic(judge.set);
    let mut go_on = true;
    for (slot, pod) in replicas.iter().enumerate() {
        let ordinal = start(judge.set) + i32::try_from(slot).unwrap_or(i32::MAX);
        match pod {
            None => actions.push(Action::Create(ordinal, Box::new(version_for(judge.set, versions, ordinal)))),
            Some(pod) if pods::is_terminal(pod) => {
                if !pods::is_terminating(pod) {
                    actions.push(Action::Recreate(pod.clone()));
                }
                go_on = false;
            }
            Some(pod) => {
                if !has_identity(judge.set, pod, ordinal) && !pods::is_terminating(pod) {
                    actions.push(Action::Identify(ordinal, pod.clone()));
                }
                if judge.is_healthy(pod) || !monotonic {
                    continue;
                }
            }
        }
        if monotonic {
            return false;
        }
    }
    go_on
}

/// Removes pods beyond the last place, the highest ordinal first. False when the rest has to wait.
fn shrink(judge: &Judge, replicas: &[Option<Arc<Pod>>], condemned: &[Arc<Pod>], actions: &mut Vec<Action>) -> bool {
    let monotonic = is_monotonic(judge.set);
    let in_order = replicas.iter().flatten().chain(condemned.iter().rev());
    let first_unhealthy = in_order.into_iter().find(|pod| !judge.is_healthy(pod));
    for pod in condemned {
        if pods::is_terminating(pod) {
            if monotonic {
                return false;
            }
            continue;
        }
        // An ordered set does not scale down past a sick pod, except by that pod itself.
        let is_first_unhealthy = first_unhealthy.is_some_and(|first| Arc::ptr_eq(first, pod));
        if monotonic && !judge.is_available(pod) && !is_first_unhealthy {
            return false;
        }
        actions.push(Action::Delete(pod.clone()));
        if monotonic {
            return false;
        }
    }
    true
}

/// Replaces pods of an older version from the highest ordinal down to the partition, never making more unavailable than
/// allowed.
fn roll(judge: &Judge, versions: &Versions, replicas: &[Option<Arc<Pod>>], actions: &mut Vec<Action>) {
    let most = max_unavailable(judge.set);
    let mut unavailable = replicas.iter().filter(|pod| !pod.as_ref().is_some_and(|pod| judge.is_healthy(pod))).count();
    let partition = rolling(judge.set).and_then(|rolling| rolling.partition).unwrap_or(0);
    let lowest = usize::try_from(partition).unwrap_or(0);
    for pod in replicas.iter().skip(lowest).rev().flatten() {
        if revision_of(pod) == versions.update.name || pods::is_terminating(pod) {
            continue;
        }
        if judge.is_healthy(pod) {
            unavailable += 1;
        }
        if unavailable > most {
            return;
        }
        actions.push(Action::Delete(pod.clone()));
    }
}

/// The pod a place gets: below the partition the version that is being replaced.
fn version_for(set: &StatefulSet, versions: &Versions, ordinal: i32) -> Pod {
    let status = set.status.as_ref();
    let keep = match rolling(set) {
        _ if !is_rolling(set) => 0,
        Some(rolling) => rolling.partition.unwrap_or(0),
        None => status.and_then(|status| status.current_replicas).unwrap_or(0),
    };
    let version = if ordinal < start(set).saturating_add(keep) { &versions.current } else { &versions.update };
    new_pod(set, &version.template, &version.name, ordinal)
}

fn status(judge: &Judge, versions: &Versions, all: &[Arc<Pod>]) -> StatefulSetStatus {
    let set = judge.set;
    let created = all.iter().filter(|pod| ordinal_of(set, pod).is_some());
    let count = |fits: &dyn Fn(&Pod) -> bool| i32::try_from(created.clone().filter(|pod| fits(pod)).count()).unwrap_or(i32::MAX);
    let of = |version: &Version| count(&|pod| !pods::is_terminating(pod) && revision_of(pod) == version.name);
    let known = set.status.clone().unwrap_or_default();
    let mut status = StatefulSetStatus {
        observed_generation: set.metadata.generation,
        replicas: count(&|_| true),
        ready_replicas: Some(count(&|pod| judge.is_ready(pod))),
        available_replicas: Some(count(&|pod| judge.is_available(pod))),
        current_replicas: Some(of(&versions.current)),
        updated_replicas: Some(of(&versions.update)),
        current_revision: Some(versions.current.name.clone()),
        update_revision: Some(versions.update.name.clone()),
        collision_count: Some(known.collision_count.unwrap_or(0)),
        conditions: known.conditions,
    };
    let desired = desired_replicas(set);
    let all_of_them = [Some(status.replicas), status.updated_replicas, status.ready_replicas].iter().all(|count| *count == Some(desired));
    if is_rolling(set) && all_of_them {
        status.current_replicas = status.updated_replicas;
        status.current_revision.clone_from(&status.update_revision);
    }
    status
}
