//! Which pods go first when there are too many: upstream's order, most dispensable first.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::pods;
use crate::wiring::uid_of;

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// What the order looks at, computed once per pod.
struct Rank<'a> {
    assigned: bool,
    phase: u8,
    ready: bool,
    cost: i32,
    on_node: usize,
    ready_since: Option<Timestamp>,
    restarts: i32,
    created: Option<Timestamp>,
    uid: &'a str,
}

impl<'a> Rank<'a> {
    fn of(pod: &'a Pod, per_node: &HashMap<String, usize>) -> Self {
        let annotations = pod.metadata.annotations.as_ref();
        Self {
            assigned: !pods::node(pod).is_empty(),
            phase: match pods::phase(pod) {
                "Running" => 2,
                "Unknown" => 1,
                _ => 0,
            },
            ready: pods::is_ready(pod),
            cost: annotations.and_then(|map| map.get(DELETION_COST)).and_then(|cost| cost.parse().ok()).unwrap_or(0),
            on_node: per_node.get(pods::node(pod)).copied().unwrap_or(0),
            ready_since: pods::ready_since(pod),
            restarts: pods::most_restarts(pod),
            created: pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
            uid: uid_of(pod),
        }
    }

    /// Less: to be deleted sooner.
    fn compare(&self, other: &Self, now: Timestamp) -> Ordering {
        (self.assigned, self.phase, self.ready, self.cost)
            .cmp(&(other.assigned, other.phase, other.ready, other.cost))
            // More of the same on the node: sooner.
            .then(other.on_node.cmp(&self.on_node))
            .then_with(|| if self.ready && other.ready { younger(self.ready_since, other.ready_since, now) } else { Ordering::Equal })
            .then(other.restarts.cmp(&self.restarts))
            .then_with(|| younger(self.created, other.created, now))
            .then(self.uid.cmp(other.uid))
    }
}

/// Younger ones go first, by the logarithm of their age, so that pods of about one age go in random order.
fn younger(a: Option<Timestamp>, b: Option<Timestamp>, now: Timestamp) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => magnitude(now, a).cmp(&magnitude(now, b)),
        // Without a time: as young as can be.
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

fn magnitude(now: Timestamp, since: Timestamp) -> u32 {
    u64::try_from(now.duration_since(since).as_secs()).ok().filter(|&seconds| seconds > 0).map_or(0, |seconds| seconds.ilog2() + 1)
}

/// The `count` pods to delete first.
pub(crate) fn first_to_delete(
    active: &[Arc<Pod>],
    count: usize,
    per_node: impl FnOnce() -> HashMap<String, usize>,
    now: Timestamp,
) -> Vec<Arc<Pod>> {
    if count >= active.len() {
        return active.to_vec();
    }
    let per_node = per_node();
    let mut ranked: Vec<_> = active.iter().map(|pod| (Rank::of(pod, &per_node), pod)).collect();
    ranked.sort_by(|(a, _), (b, _)| a.compare(b, now));
    ranked.into_iter().take(count).map(|(_, pod)| pod.clone()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    const NOW: i64 = 1_000_000;

    fn time(age: i64) -> Value {
        json!(Timestamp::from_second(NOW - age).unwrap().to_string())
    }

    /// (uid, node, phase, ready for, cost, restarts, age)
    type Facts<'a> = (&'a str, &'a str, &'a str, Option<i64>, &'a str, i32, i64);

    fn pod((uid, node, phase, ready, cost, restarts, age): Facts) -> Arc<Pod> {
        let ready: Vec<_> =
            ready.map(|age| json!({"type": "Ready", "status": "True", "lastTransitionTime": time(age)})).into_iter().collect();
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"uid": uid, "name": uid, "creationTimestamp": time(age), "annotations": {DELETION_COST: cost}},
                "spec": {"nodeName": node, "containers": []},
                "status": {"phase": phase, "conditions": ready, "containerStatuses": [
                    {"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": restarts}]},
            }))
            .unwrap(),
        )
    }

    #[rstest]
    #[case::unassigned(("b", "", "Pending", None, "", 0, 9), ("a", "n1", "Pending", None, "", 0, 9))]
    #[case::pending(("b", "n1", "Pending", None, "", 0, 9), ("a", "n1", "Running", None, "", 0, 9))]
    #[case::unready(("b", "n1", "Running", None, "", 0, 9), ("a", "n1", "Running", Some(5), "", 0, 9))]
    #[case::cheap(("b", "n1", "Running", Some(5), "-1", 0, 9), ("a", "n1", "Running", Some(5), "", 0, 9))]
    #[case::crowded(("b", "n2", "Running", Some(5), "", 0, 9), ("a", "n1", "Running", Some(5), "", 0, 9))]
    #[case::ready_lately(("b", "n1", "Running", Some(5), "", 0, 900), ("a", "n1", "Running", Some(500), "", 0, 900))]
    #[case::restarted(("b", "n1", "Running", Some(5), "", 4, 9), ("a", "n1", "Running", Some(5), "", 0, 9))]
    #[case::young(("b", "n1", "Running", Some(5), "", 0, 9), ("a", "n1", "Running", Some(5), "", 0, 900))]
    #[case::by_uid(("a", "n1", "Running", Some(5), "", 0, 9), ("b", "n1", "Running", Some(5), "", 0, 9))]
    fn goes_first(#[case] first: Facts, #[case] second: Facts) {
        let per_node = || HashMap::from([("n1".to_owned(), 1), ("n2".to_owned(), 2)]);
        let now = Timestamp::from_second(NOW).unwrap();
        for order in [[pod(first), pod(second)], [pod(second), pod(first)]] {
            assert_eq!(uid_of(first_to_delete(&order, 1, per_node, now)[0].as_ref()), first.0);
        }
    }

    proptest! {
        #[test]
        fn unready_pods_go_before_ready_ones(ready in prop::collection::vec(any::<bool>(), 1..20), share in 0.0..1.0f64) {
            let pods: Vec<_> = ready.iter().enumerate().map(|(n, &ready)| {
                pod((&n.to_string(), "n1", "Running", ready.then_some(5), "", 0, 9))
            }).collect();
            let count = (share * pods.len() as f64) as usize;
            let doomed = first_to_delete(&pods, count, HashMap::new, Timestamp::from_second(NOW).unwrap());
            prop_assert_eq!(doomed.len(), count);
            let unready = ready.iter().filter(|ready| !**ready).count();
            let spared = doomed.iter().filter(|pod| pods::is_ready(pod)).count();
            prop_assert_eq!(spared, count.saturating_sub(unready));
        }
    }
}
