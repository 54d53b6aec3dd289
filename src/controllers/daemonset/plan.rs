//! The decision: on which nodes pods start, which ones go, and what the status says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus, RollingUpdateDaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod};

use super::pod::{belongs_on, is_updated, node_of};
use crate::deployment::scaled;
use crate::pods;
use crate::wiring::{name_of, uid_of};

#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Names of nodes that get a pod.
    pub create: Vec<String>,
    pub delete: Vec<Arc<Pod>>,
    /// Ended pods, to be deleted when their back-off is over.
    pub ended: Vec<Arc<Pod>>,
    pub status: DaemonSetStatus,
    pub again: Option<Duration>,
}

/// A node, and what the set has and wants there.
struct Place<'a> {
    node: &'a str,
    should_run: bool,
    may_stay: bool,
    /// Oldest first.
    pods: Vec<&'a Arc<Pod>>,
}

struct Judge<'a> {
    set: &'a DaemonSet,
    hash: &'a str,
    now: Timestamp,
}

impl Judge<'_> {
    fn min_ready_seconds(&self) -> i32 {
        self.set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
    }

    fn is_available(&self, pod: &Pod) -> bool {
        pods::is_available(pod, self.min_ready_seconds(), self.now)
    }

    fn is_new(&self, pod: &Pod) -> bool {
        is_updated(pod, self.hash)
    }

    /// How many may be missing, and how many there may be beside the old ones, while rolling; `None` when it does not.
    fn fenceposts(&self, desired: i32) -> Option<(i32, i32)> {
        let strategy = self.set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
        if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete") {
            return None;
        }
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.clone()).unwrap_or_default();
        let RollingUpdateDaemonSet { max_surge, max_unavailable } = rolling;
        let count = |value: Option<_>, absent| value.as_ref().map_or(absent, |value| scaled(value, i64::from(desired), true));
        Some(match (count(max_unavailable, 1), count(max_surge, 0)) {
            (0, 0) => (1, 0),
            both => both,
        })
    }
}

/// `hash` is that of the newest revision; `all` are the set's pods.
pub(super) fn plan(set: &DaemonSet, hash: &str, nodes: &[Arc<Node>], all: &[Arc<Pod>], now: Timestamp) -> Plan {
    let judge = Judge { set, hash, now };
    let mut by_node: BTreeMap<&str, Vec<&Arc<Pod>>> = BTreeMap::new();
    for pod in all {
        by_node.entry(node_of(pod).unwrap_or_default()).or_default().push(pod);
    }
    by_node.values_mut().for_each(|pods| pods.sort_by(|a, b| age(a).cmp(&age(b))));
    let places: Vec<Place> = nodes
        .iter()
        .map(|node| {
            let (should_run, may_stay) = belongs_on(set, node);
            let pods = by_node.remove(name_of(node.as_ref())).unwrap_or_default();
            Place { node: name_of(node.as_ref()), should_run, may_stay, pods }
        })
        .collect();
    let mut plan = Plan { status: status(&judge, &places), ..Plan::default() };
    let waits = all.iter().filter_map(|pod| pods::available_in(pod, judge.min_ready_seconds(), now)).filter(|wait| !wait.is_zero());
    plan.again = waits.min().and_then(|wait| Duration::try_from(wait).ok()).map(|wait| wait + Duration::from_millis(5));
    if set.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let rolling = judge.fenceposts(plan.status.desired_number_scheduled);
    let surges = rolling.is_some_and(|(_, surge)| surge > 0);
    places.iter().for_each(|place| manage(&judge, place, surges, &mut plan));
    // Nodes that are gone: what waits for them will never start.
    let lost = by_node.into_values().flatten().filter(|pod| pods::node(pod).is_empty() && !pods::is_terminating(pod));
    plan.delete.extend(lost.cloned());
    match rolling {
        // What was just decided is carried out before more is.
        _ if !plan.create.is_empty() || !plan.delete.is_empty() || !plan.ended.is_empty() => {}
        Some((_, surge)) if surge > 0 => surge_pods(&judge, &places, surge, &mut plan),
        Some((unavailable, _)) => replace_pods(&judge, &places, unavailable, &mut plan),
        None => {}
    }
    plan
}

/// One that has its node comes before one that waits for it, then the older.
fn age(pod: &Pod) -> (bool, Option<Timestamp>, &str) {
    (pods::node(pod).is_empty(), pod.metadata.creation_timestamp.as_ref().map(|time| time.0), uid_of(pod))
}

fn manage(judge: &Judge, place: &Place, surges: bool, plan: &mut Plan) {
    let staying = || place.pods.iter().copied().filter(|pod| !pods::is_terminating(pod));
    if place.should_run && place.pods.is_empty() {
        return plan.create.push(place.node.to_owned());
    }
    if !place.may_stay {
        return plan.delete.extend(staying().cloned());
    }
    plan.ended.extend(staying().filter(|pod| pods::is_terminal(pod)).cloned());
    let running: Vec<_> = staying().filter(|pod| !pods::is_terminal(pod)).collect();
    if !surges {
        return plan.delete.extend(running.into_iter().skip(1).cloned());
    }
    // While surging an old pod and a new one may be here, until the old is of no use any more.
    let (new, old): (Vec<_>, Vec<_>) = running.into_iter().partition(|pod| judge.is_new(pod));
    plan.delete.extend(new.iter().skip(1).chain(old.iter().skip(1)).copied().cloned());
    if let (Some(new), Some(&old)) = (new.first(), old.first())
        && (!pods::is_ready(old) || judge.is_available(new))
    {
        plan.delete.push(old.clone());
    }
}

type One<'a> = Option<&'a Arc<Pod>>;

/// The old and the new pod of a place, terminating ones aside; `None` when there are several of a kind.
fn pair<'a>(judge: &Judge, place: &Place<'a>) -> Option<(One<'a>, One<'a>)> {
    let staying = place.pods.iter().copied().filter(|pod| !pods::is_terminating(pod));
    let (new, old): (Vec<_>, Vec<_>) = staying.partition(|pod| judge.is_new(pod));
    (new.len() < 2 && old.len() < 2).then(|| (old.first().copied(), new.first().copied()))
}

/// Removes old pods so that `manage` fills their places, never making more than `most` nodes go without.
fn replace_pods(judge: &Judge, places: &[Place], most: i32, plan: &mut Plan) {
    let (mut unavailable, mut useless, mut candidates) = (0, Vec::new(), Vec::new());
    for place in places.iter().filter(|place| place.should_run || !place.pods.is_empty()) {
        match pair(judge, place) {
            Some((Some(old), None)) if judge.is_available(old) => candidates.push(old.clone()),
            Some((Some(old), None)) => {
                unavailable += 1;
                useless.push(old.clone());
            }
            Some((None, Some(new))) if judge.is_available(new) => {}
            _ => unavailable += 1,
        }
    }
    let room = usize::try_from(most - unavailable).unwrap_or(0);
    plan.delete.extend(useless);
    plan.delete.extend(candidates.into_iter().take(room));
}

/// Starts new pods beside old ones, on `most` nodes at a time, and where the old one is of no use.
fn surge_pods(judge: &Judge, places: &[Place], most: i32, plan: &mut Plan) {
    let (mut surging, mut candidates) = (0, Vec::new());
    for place in places.iter().filter(|place| place.should_run) {
        let leaving = place.pods.iter().any(|pod| pods::is_terminating(pod) && judge.is_new(pod));
        match pair(judge, place) {
            Some((None, _)) => {}
            _ if leaving => surging += 1,
            Some((Some(old), None)) if judge.is_available(old) => candidates.push(place.node.to_owned()),
            Some((Some(_), None)) => plan.create.push(place.node.to_owned()),
            _ => surging += 1,
        }
    }
    let room = usize::try_from(most - surging).unwrap_or(0);
    plan.create.extend(candidates.into_iter().take(room));
}

fn status(judge: &Judge, places: &[Place]) -> DaemonSetStatus {
    let mut status = DaemonSetStatus { observed_generation: judge.set.metadata.generation, ..DaemonSetStatus::default() };
    let (mut available, mut updated) = (0, 0);
    for place in places {
        if !place.should_run {
            status.number_misscheduled += i32::from(!place.pods.is_empty());
            continue;
        }
        status.desired_number_scheduled += 1;
        let Some(first) = place.pods.first() else { continue };
        status.current_number_scheduled += 1;
        let ready = place.pods.iter().any(|pod| pods::is_ready(pod));
        status.number_ready += i32::from(ready);
        available += i32::from(place.pods.iter().any(|pod| judge.is_available(pod)));
        updated += i32::from(judge.is_new(first) || place.pods.iter().any(|pod| judge.is_new(pod) && pods::is_ready(pod)));
    }
    let known = judge.set.status.clone().unwrap_or_default();
    let shown = |number: i32| (number != 0).then_some(number);
    status.number_available = shown(available);
    status.updated_number_scheduled = shown(updated);
    status.number_unavailable = shown(status.desired_number_scheduled - available);
    status.collision_count = known.collision_count;
    status.conditions = known.conditions;
    status
}
