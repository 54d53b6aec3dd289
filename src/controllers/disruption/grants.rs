//! The decision: what a budget grants now.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::deployment::scaled;
use crate::pods;
use crate::wiring::name_of;

/// An evicted pod that is still here after this was not evicted.
pub(super) const EVICTED_WITHIN: SignedDuration = SignedDuration::from_mins(2);

/// What the budget grants now. `scale` is what the pods' controllers ask for.
pub(super) fn status(budget: &PodDisruptionBudget, pods: &[Arc<Pod>], scale: i32, now: Timestamp) -> PodDisruptionBudgetStatus {
    let spec = budget.spec.clone().unwrap_or_default();
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    let (expected, desired) = match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => (scale, (scale - scaled(most, scale.into(), true)).max(0)),
        (None, Some(IntOrString::Int(least))) => (count(pods.len()), *least),
        (None, Some(least)) => (scale, scaled(least, scale.into(), true)),
        (None, None) => (count(pods.len()), 0),
    };
    let disrupted = disrupted(budget, pods, now);
    let healthy =
        pods.iter().filter(|pod| !pods::is_terminating(pod) && !disrupted.contains_key(name_of(pod.as_ref())) && pods::is_ready(pod));
    let healthy = count(healthy.count());
    let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
    let (verdict, reason) = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    PodDisruptionBudgetStatus {
        current_healthy: Some(healthy),
        desired_healthy: Some(desired),
        expected_pods: Some(expected),
        disruptions_allowed: Some(allowed),
        disrupted_pods: Some(disrupted).filter(|pods| !pods.is_empty()),
        observed_generation: budget.metadata.generation,
        conditions: Some(conditions(budget, verdict, reason, "", now)),
    }
}

/// Nothing is granted by a budget that cannot be understood.
pub(super) fn failed(budget: &PodDisruptionBudget, message: &str, now: Timestamp) -> PodDisruptionBudgetStatus {
    PodDisruptionBudgetStatus {
        disruptions_allowed: Some(0),
        observed_generation: budget.metadata.generation,
        conditions: Some(conditions(budget, "False", "SyncFailed", message, now)),
        ..budget.status.clone().unwrap_or_default()
    }
}

fn conditions(budget: &PodDisruptionBudget, status: &str, reason: &str, message: &str, now: Timestamp) -> Vec<Condition> {
    let mut all = budget.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let known = all.iter().position(|one| one.type_ == "DisruptionAllowed");
    let since = known.map(|at| &all[at]).filter(|one| one.status == status).map_or(Time(now), |one| one.last_transition_time.clone());
    let condition = Condition {
        type_: "DisruptionAllowed".to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: budget.metadata.generation,
        last_transition_time: since,
    };
    match known {
        Some(at) => all[at] = condition,
        None => all.push(condition),
    }
    all
}

/// Pods that were evicted and are not seen to go yet.
fn disrupted(budget: &PodDisruptionBudget, pods: &[Arc<Pod>], now: Timestamp) -> BTreeMap<String, Time> {
    let known = budget.status.as_ref().and_then(|status| status.disrupted_pods.clone()).unwrap_or_default();
    let waits = |(name, at): &(String, Time)| {
        let here = pods.iter().any(|pod| name_of(pod.as_ref()) == name && !pods::is_terminating(pod));
        here && now.duration_since(at.0) < EVICTED_WITHIN
    };
    known.into_iter().filter(waits).collect()
}

/// Evicted pods that stay all the same.
pub(super) fn not_deleted<'a>(budget: &PodDisruptionBudget, pods: &'a [Arc<Pod>], now: Timestamp) -> Vec<&'a Arc<Pod>> {
    let known = budget.status.as_ref().and_then(|status| status.disrupted_pods.as_ref());
    let late = |pod: &&Arc<Pod>| {
        let at = known.and_then(|known| known.get(name_of(pod.as_ref())));
        !pods::is_terminating(pod) && at.is_some_and(|at| now.duration_since(at.0) >= EVICTED_WITHIN)
    };
    pods.iter().filter(late).collect()
}

/// When the first of the evicted pods counts as healthy again.
pub(super) fn recheck(status: &PodDisruptionBudgetStatus, now: Timestamp) -> Option<Duration> {
    let waits = status.disrupted_pods.iter().flatten().map(|(_, at)| EVICTED_WITHIN - now.duration_since(at.0));
    waits.min().map(|wait| Duration::try_from(wait).unwrap_or_default() + Duration::from_millis(5))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn pod(name: &str, ready: &str) -> Arc<Pod> {
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}))
                .unwrap(),
        )
    }

    #[rstest]
    #[case::at_least(json!({"minAvailable": 2}), 0, (2, 4, 1))]
    #[case::at_least_of_more(json!({"minAvailable": 4}), 0, (4, 4, 0))]
    #[case::percent_up(json!({"minAvailable": "34%"}), 4, (2, 4, 1))]
    #[case::at_most(json!({"maxUnavailable": 1}), 4, (3, 4, 0))]
    #[case::at_most_percent_up(json!({"maxUnavailable": "30%"}), 4, (2, 4, 1))]
    #[case::nobody_asks(json!({"maxUnavailable": 1}), 0, (0, 0, 0))]
    fn grants(#[case] spec: Value, #[case] scale: i32, #[case] expected: (i32, i32, i32)) {
        let budget = serde_json::from_value(json!({"metadata": {"generation": 3}, "spec": spec})).unwrap();
        let pods = [pod("a", "True"), pod("b", "True"), pod("c", "True"), pod("d", "False")];
        let status = status(&budget, &pods, scale, Timestamp::UNIX_EPOCH);
        let got = (status.desired_healthy.unwrap(), status.expected_pods.unwrap(), status.disruptions_allowed.unwrap());
        assert_eq!((got, status.current_healthy, status.observed_generation), (expected, Some(3), Some(3)));
    }

    #[test]
    fn an_evicted_pod_counts_no_more_until_its_eviction_is_forgotten() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let evicted = json!({"a": at(10).to_string(), "gone": at(10).to_string()});
        let budget =
            serde_json::from_value(json!({"metadata": {}, "spec": {"minAvailable": 1}, "status": {"disruptedPods": evicted}})).unwrap();
        let pods = [pod("a", "True"), pod("b", "True")];
        let early = status(&budget, &pods, 0, at(20));
        assert_eq!((early.current_healthy, early.disruptions_allowed), (Some(1), Some(0)));
        assert_eq!(early.disrupted_pods.as_ref().unwrap().keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(recheck(&early, at(20)).unwrap().as_secs(), 110);
        assert!(not_deleted(&budget, &pods, at(129)).is_empty());
        assert_eq!(not_deleted(&budget, &pods, at(130)).iter().map(|pod| name_of(pod.as_ref())).collect::<Vec<_>>(), ["a"]);
        assert_eq!(status(&budget, &pods, 0, at(130)).disruptions_allowed, Some(1));
    }

    /// Pods as they are, or as the controller's cache shows them: ready, and on their way out.
    type Pods = BTreeMap<usize, (bool, bool)>;

    fn listed(pods: &Pods) -> Vec<Arc<Pod>> {
        let one = |(number, (ready, going)): (&usize, &(bool, bool))| {
            let ready = if *ready { "True" } else { "False" };
            let mut pod = Pod::clone(&pod(&format!("p{number}"), ready));
            pod.metadata.deletion_timestamp = going.then_some(Time(Timestamp::UNIX_EPOCH));
            Arc::new(pod)
        };
        pods.iter().map(one).collect()
    }

    proptest! {
        /// However late the controller sees what evictions did: none that is granted leaves less healthy pods than asked for.
        #[test]
        fn evictions_leave_enough(
            count in 1..8usize, number in 0..9i32, kind in 0..4u8, fates in prop::collection::vec((0..8usize, 0..6u8), 0..100),
        ) {
            let spec = match kind {
                0 => json!({"minAvailable": number}),
                1 => json!({"maxUnavailable": number}),
                2 => json!({"minAvailable": format!("{}%", number * 12)}),
                _ => json!({"maxUnavailable": format!("{}%", number * 12)}),
            };
            let mut budget: PodDisruptionBudget = serde_json::from_value(json!({"metadata": {"generation": 1}, "spec": spec})).unwrap();
            let (scale, now) = (i32::try_from(count).unwrap(), Timestamp::UNIX_EPOCH);
            let mut pods: Pods = (0..count).map(|number| (number, (true, false))).collect();
            let mut seen = pods.clone();
            for (which, fate) in fates {
                match fate {
                    // An eviction is asked for: the server spends what the status grants.
                    0 | 1 => {
                        let Some(pod) = pods.get_mut(&which).filter(|(ready, going)| *ready && !*going) else { continue };
                        let Some(status) = budget.status.as_mut().filter(|status| status.disruptions_allowed > Some(0)) else { continue };
                        status.disruptions_allowed = status.disruptions_allowed.map(|allowed| allowed - 1);
                        status.disrupted_pods.get_or_insert_default().insert(format!("p{which}"), Time(now));
                        pod.1 = true;
                        let healthy = pods.values().filter(|(ready, going)| *ready && !*going).count();
                        prop_assert!(i32::try_from(healthy).unwrap() >= status.desired_healthy.unwrap(), "{pods:?} {status:?}");
                        continue;
                    }
                    // The cache catches up.
                    2 => seen.clone_from(&pods),
                    // A pod that is on its way out is gone, and seen to be; another one comes in its place.
                    3 if pods.get(&which).is_some_and(|(_, going)| *going) => {
                        pods.insert(which + 100, (false, false));
                        seen.insert(which + 100, (false, false));
                        pods.remove(&which);
                        seen.remove(&which);
                    }
                    // What happens by itself is seen at once: no budget can keep it.
                    _ => {
                        for number in [which, which + 100] {
                            if let Some(pod) = pods.get_mut(&number) {
                                pod.0 = fate == 4;
                                seen.insert(number, *pod);
                            }
                        }
                    }
                }
                budget.status = Some(status(&budget, &listed(&seen), scale, now));
            }
        }
    }
}
