//! Making room: which pods of lower priority have to go so that a pod fits.

use std::cmp::Reverse;
use std::sync::Arc;

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::{Selector, SelectorExt};

use crate::cycle::Cycle;
use crate::pod::PodInfo;
use crate::snapshot::Snapshot;
use crate::world::World;

/// Nodes that are looked at, at most.
const CANDIDATES: usize = 100;

/// Who goes where.
#[derive(Debug)]
pub(crate) struct Preemption {
    pub node: String,
    pub victims: Vec<PodInfo>,
    /// How many of them a disruption budget would have kept.
    violations: usize,
}

/// More important pods are spared first: the higher priority, then the longer life.
fn importance(pod: &PodInfo) -> (Reverse<i32>, Option<jiff::Timestamp>) {
    let start = pod.pod.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
    (Reverse(pod.priority), start.or(pod.created))
}

/// The node where making room costs least; `None` where nobody of lower priority is in the way.
pub(crate) fn find(pod: &PodInfo, snapshot: &mut Snapshot, world: &World, mut nodes: Vec<String>) -> Option<Preemption> {
    nodes.sort();
    let budgets = world.budgets.list_in(pod.namespace());
    let all = if budgets.is_empty() && world.budgets.is_empty() { Vec::new() } else { world.budgets.list() };
    let found = nodes.into_iter().filter_map(|node| victims(pod, snapshot, world, node, &all)).take(CANDIDATES);
    found.collect::<Vec<_>>().into_iter().min_by_key(cost)
}

/// Upstream's order: broken budgets, the most important victim, the sum of importance, their number, the shortest life.
#[allow(clippy::type_complexity, reason = "a list of criteria")]
fn cost(found: &Preemption) -> (usize, i32, i64, usize, Reverse<Option<jiff::Timestamp>>) {
    let highest = found.victims.iter().map(|victim| victim.priority).max().unwrap_or(i32::MIN);
    let sum = found.victims.iter().map(|victim| i64::from(victim.priority) + i64::from(i32::MAX) + 1).sum();
    let eldest = found.victims.iter().filter(|victim| victim.priority == highest).map(|victim| importance(victim).1).min().flatten();
    (found.violations, highest, sum, found.victims.len(), Reverse(eldest))
}

fn fits(pod: &PodInfo, snapshot: &Snapshot, world: &World, node: &str) -> bool {
    let cycle = Cycle::new(pod, snapshot, world);
    cycle.ok().zip(snapshot.node(node)).is_some_and(|(cycle, node)| cycle.why_not(snapshot, node).is_none())
}

/// Removes all lower priorities, then puts back whom it can, those first whom a budget protects. Leaves the snapshot as it
/// was.
fn victims(
    pod: &PodInfo,
    snapshot: &mut Snapshot,
    world: &World,
    node: String,
    budgets: &[Arc<PodDisruptionBudget>],
) -> Option<Preemption> {
    let lower = |(on, other): &(&crate::snapshot::NodeInfo, &PodInfo)| on.name() == node && other.priority < pod.priority;
    let mut all: Vec<PodInfo> = snapshot.placed().filter(lower).map(|(_, other)| other.clone()).collect();
    if all.is_empty() {
        return None;
    }
    all.sort_by_key(importance);
    for other in &all {
        snapshot.displace(other.uid());
    }
    let mut gone = Vec::new();
    let possible = fits(pod, snapshot, world, &node);
    let mut violations = 0;
    if possible {
        let (protected, others) = split(&all, budgets);
        for (other, is_protected) in protected.into_iter().map(|other| (other, true)).chain(others.into_iter().map(|other| (other, false)))
        {
            snapshot.place(other.clone(), &node);
            if !fits(pod, snapshot, world, &node) {
                snapshot.displace(other.uid());
                violations += usize::from(is_protected);
                gone.push(other);
            }
        }
        gone.iter().for_each(|other| snapshot.place(other.clone(), &node));
        gone.sort_by_key(importance);
    } else {
        all.into_iter().for_each(|other| snapshot.place(other, &node));
    }
    (possible && !gone.is_empty()).then_some(Preemption { node, victims: gone, violations })
}

/// Those whose going would break a budget, and the others.
fn split(pods: &[PodInfo], budgets: &[Arc<PodDisruptionBudget>]) -> (Vec<PodInfo>, Vec<PodInfo>) {
    let mut left: Vec<i32> =
        budgets.iter().map(|budget| budget.status.as_ref().and_then(|status| status.disruptions_allowed).unwrap_or(0)).collect();
    let breaks = |pod: &PodInfo| {
        let mut broken = false;
        for (budget, left) in budgets.iter().zip(&mut left).filter(|(budget, _)| selects(budget, pod)) {
            let known = budget.status.as_ref().and_then(|status| status.disrupted_pods.as_ref());
            if known.is_some_and(|pods| pods.contains_key(pod.name())) {
                continue;
            }
            *left -= 1;
            broken |= *left < 0;
        }
        broken
    };
    let mut breaks = breaks;
    pods.iter().cloned().partition(|pod| breaks(pod))
}

fn selects(budget: &PodDisruptionBudget, pod: &PodInfo) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| Selector::try_from(spec.selector.clone()?).ok());
    let labels = pod.pod.metadata.labels.clone().unwrap_or_default();
    budget.metadata.namespace.as_deref() == Some(pod.namespace())
        && selector.is_some_and(|selector| !selector.selects_all() && selector.matches(&labels))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::cycle::tests::cluster;
    use crate::pod::tests::{labelled, pod};
    use crate::world::tests::plain;
    use proptest::prelude::*;
    use serde_json::json;

    fn sized(name: &str, cpu: u32, priority: i32) -> PodInfo {
        pod(name, json!({"priority": priority, "containers": [{"name": "c", "resources": {"requests": {"cpu": format!("{cpu}m")}}}]}))
    }

    fn names(found: &Preemption) -> Vec<&str> {
        found.victims.iter().map(PodInfo::name).collect()
    }

    #[test]
    fn the_least_important_go_and_no_more_than_needed() {
        let mut snapshot = cluster(&[("n1", json!({})), ("n2", json!({}))]);
        snapshot.place(sized("high", 2000, 50), "n1");
        snapshot.place(sized("low", 1000, 1), "n1");
        snapshot.place(sized("lower", 1000, 0), "n1");
        snapshot.place(sized("middle", 4000, 40), "n2");
        let all = || vec!["n1".to_owned(), "n2".to_owned()];
        let found = find(&sized("p", 1500, 100), &mut snapshot, &plain(), all()).unwrap();
        assert_eq!((found.node.as_str(), names(&found)), ("n1", vec!["low", "lower"]));
        assert_eq!(snapshot.node("n1").unwrap().pods, 3, "the snapshot is as it was");
        assert!(find(&sized("p", 1500, 0), &mut snapshot, &plain(), all()).is_none(), "nobody is below");
        assert!(find(&sized("p", 9000, 100), &mut snapshot, &plain(), all()).is_none(), "there is no such node");
    }

    #[test]
    fn budgets_are_broken_only_when_nothing_else_helps() {
        let world = plain();
        world.budgets.put(
            serde_json::from_value(json!({"metadata": {"name": "b", "namespace": "n"}, "status": {"disruptionsAllowed": 0},
            "spec": {"selector": {"matchLabels": {"app": "kept"}}}}))
            .unwrap(),
        );
        let mut snapshot = cluster(&[("n1", json!({})), ("n2", json!({}))]);
        snapshot.place(labelled(sized("a", 4000, 0), "kept"), "n1");
        snapshot.place(sized("b", 4000, 5), "n2");
        let all = vec!["n1".to_owned(), "n2".to_owned()];
        let found = find(&sized("p", 4000, 10), &mut snapshot, &world, all.clone()).unwrap();
        assert_eq!(names(&found), ["b"]);
        snapshot.remove_node("n2");
        assert_eq!(names(&find(&sized("p", 4000, 10), &mut snapshot, &world, all).unwrap()), ["a"]);
    }

    proptest! {
        /// Victims are of lower priority, with them gone the pod fits, and without any one of them gone it does not.
        #[test]
        fn victims_are_needed(pods in prop::collection::vec((1..40u32, 0..10i32), 1..8), cpu in 1..40u32, priority in 0..10i32) {
            let mut snapshot = cluster(&[("n1", json!({}))]);
            for (n, (cpu, priority)) in pods.iter().enumerate() {
                snapshot.place(sized(&format!("p{n}"), cpu * 100, *priority), "n1");
            }
            let (wanted, world) = (sized("new", cpu * 100, priority), plain());
            prop_assume!(!fits(&wanted, &snapshot, &world, "n1"));
            let Some(found) = find(&wanted, &mut snapshot, &world, vec!["n1".to_owned()]) else { return Ok(()) };
            prop_assert!(found.victims.iter().all(|victim| victim.priority < priority));
            for victim in &found.victims {
                snapshot.displace(victim.uid());
            }
            prop_assert!(fits(&wanted, &snapshot, &world, "n1"));
            for victim in found.victims {
                snapshot.place(victim.clone(), "n1");
                prop_assert!(!fits(&wanted, &snapshot, &world, "n1"), "{} need not have gone", victim.name());
                snapshot.displace(victim.uid());
            }
        }
    }
}
