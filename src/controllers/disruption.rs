//! Pod disruption budgets: how many pods may be evicted now. The eviction subresource spends what this controller grants.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock::Clock;
use coracle_client::{Change, EventRecorder, EventType, Informer, Queue, is_not_found};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, OwnerReference, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{DynamicObject, PostParams};
use kube::core::{GroupVersionKind, Selector};
use kube::{Api, Resource};

use crate::Context;
use crate::deployment::scaled;
use crate::ownership::{controller_of, matches};
use crate::pods;
use crate::wiring::{Key, Outcome, Run, follow, follow_latest, name_of, namespace_of, work};

const NAME: &str = "disruption-controller";
/// An evicted pod that is still here after this was not evicted.
const EVICTED_WITHIN: SignedDuration = SignedDuration::from_mins(2);

struct Controller {
    client: kube::Client,
    recorder: EventRecorder,
    clock: Arc<dyn Clock>,
    budgets: Informer<PodDisruptionBudget>,
    pods: Informer<Pod>,
    sets: Informer<ReplicaSet>,
    deployments: Informer<Deployment>,
    controllers: Informer<ReplicationController>,
    stateful_sets: Informer<StatefulSet>,
}

pub(crate) async fn run(context: Context) -> Run {
    let controller = Arc::new(Controller {
        client: context.client(NAME),
        recorder: context.recorder(NAME),
        clock: context.clock.clone(),
        budgets: context.informers.of(),
        pods: context.informers.of(),
        sets: context.informers.of(),
        deployments: context.informers.of(),
        controllers: context.informers.of(),
        stateful_sets: context.informers.of(),
    });
    controller.budgets.synced().await;
    controller.pods.synced().await;
    let queue = Queue::new();
    let budgets = follow_latest(controller.budgets.clone(), |budget| queue.add(Key::of(budget.as_ref())));
    let pods = follow(controller.pods.clone(), |change| controller.pod_changed(&queue, &change));
    let reconciler = controller.clone();
    let workers = work(queue.clone(), 1, move |key: Key| {
        let controller = reconciler.clone();
        async move { controller.reconcile(&key).await }
    });
    tokio::join!(budgets, pods, workers).2
}

/// What a budget selects; an empty selector selects all, an absent one nothing.
fn selector(budget: &PodDisruptionBudget) -> Option<Selector> {
    Selector::try_from(budget.spec.as_ref()?.selector.clone()?).ok()
}

impl Controller {
    fn pod_changed(&self, queue: &Queue<Key>, change: &Change<Pod>) {
        let concerned = |pod: &Pod| {
            let budgets = self.budgets.list_in(namespace_of(pod)).into_iter();
            let selects = |budget: &Arc<PodDisruptionBudget>| selector(budget).is_some_and(|selector| matches(&selector, &pod.metadata));
            budgets.filter(selects).for_each(|budget| queue.add(Key::of(budget.as_ref())));
        };
        match change {
            _ if self.budgets.is_empty() => {}
            Change::Added(pod) | Change::Deleted(pod) => concerned(pod),
            Change::Updated { old, new } => {
                if old.metadata.labels != new.metadata.labels {
                    concerned(old);
                }
                concerned(new);
            }
            Change::Resync => {}
        }
    }

    async fn reconcile(&self, key: &Key) -> Outcome {
        let Some(budget) = self.budgets.get(&key.namespace, &key.name) else { return Ok(None) };
        let selector = selector(&budget);
        let selected = |pod: &Arc<Pod>| selector.as_ref().is_some_and(|selector| matches(selector, &pod.metadata));
        let pods: Vec<_> = self.pods.list_in(&key.namespace).into_iter().filter(selected).collect();
        if pods.is_empty() {
            self.recorder.event(&budget.object_ref(&()), EventType::Normal, "NoPods", "No matching pods found");
        }
        let now = self.clock.now();
        let needs_scale = budget.spec.as_ref().is_some_and(|spec| !matches!(spec.min_available, Some(IntOrString::Int(_))));
        let scale = if needs_scale { self.scale(&key.namespace, &pods).await } else { Ok(0) };
        let status = match &scale {
            Ok(scale) => status(&budget, &pods, *scale, now),
            Err(message) => {
                let message = format!("Failed to calculate the number of expected pods: {message}");
                self.recorder.event(&budget.object_ref(&()), EventType::Warning, "CalculateExpectedPodCountFailed", message.clone());
                failed(&budget, &message, now)
            }
        };
        let again = recheck(&status, now);
        self.write_status(&budget, status).await?;
        Ok(again)
    }

    /// The sum of the replicas that the pods' controllers ask for.
    async fn scale(&self, namespace: &str, pods: &[Arc<Pod>]) -> Result<i32, String> {
        let mut scales: HashMap<String, i32> = HashMap::new();
        for pod in pods {
            let Some(owner) = controller_of(&pod.metadata) else { continue };
            let (uid, replicas) = match self.known_scale(namespace, owner) {
                Some(known) => known,
                None if scales.contains_key(&owner.uid) => continue,
                None => (owner.uid.clone(), self.foreign_scale(namespace, owner).await?),
            };
            scales.insert(uid, replicas);
        }
        Ok(scales.values().sum())
    }

    /// The scale of a built-in controller, and its uid; a replica set's is its deployment's.
    fn known_scale(&self, namespace: &str, owner: &OwnerReference) -> Option<(String, i32)> {
        let uid = owner.uid.clone();
        let built_in = |group: &str| owner.api_version.split('/').next() == Some(group);
        match owner.kind.as_str() {
            "ReplicaSet" if built_in("apps") => {
                let set = self.sets.get(namespace, &owner.name).filter(|set| set.metadata.uid.as_ref() == Some(&uid))?;
                let above = controller_of(&set.metadata).filter(|owner| owner.kind == "Deployment");
                match above.and_then(|owner| self.deployments.get(namespace, &owner.name)) {
                    Some(deployment) => {
                        let replicas = deployment.spec.as_ref()?.replicas.unwrap_or(1);
                        Some((deployment.metadata.uid.clone().unwrap_or_default(), replicas))
                    }
                    None => Some((uid, set.spec.as_ref()?.replicas.unwrap_or(1))),
                }
            }
            "ReplicationController" if built_in("v1") => {
                Some((uid, self.controllers.get(namespace, &owner.name)?.spec.as_ref()?.replicas.unwrap_or(1)))
            }
            "StatefulSet" if built_in("apps") => {
                Some((uid, self.stateful_sets.get(namespace, &owner.name)?.spec.as_ref()?.replicas.unwrap_or(1)))
            }
            _ => None,
        }
    }

    /// The scale of any other controller, by its `scale` subresource.
    async fn foreign_scale(&self, namespace: &str, owner: &OwnerReference) -> Result<i32, String> {
        let (group, version) = owner.api_version.split_once('/').unwrap_or(("", &owner.api_version));
        let kind = GroupVersionKind::gvk(group, version, &owner.kind);
        let found = kube::discovery::pinned_kind(&self.client, &kind).await;
        let (resource, _) = found.map_err(|error| error.to_string())?;
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, &resource);
        match api.get_scale(&owner.name).await {
            Ok(scale) => Ok(scale.spec.and_then(|spec| spec.replicas).unwrap_or(0)),
            Err(error) if is_not_found(&error) => {
                Err(format!("{}.{} does not implement the scale subresource", resource.plural, resource.group))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    async fn write_status(&self, budget: &PodDisruptionBudget, status: PodDisruptionBudgetStatus) -> Result<(), kube::Error> {
        if budget.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let update = PodDisruptionBudget { status: Some(status), ..budget.clone() };
        let api = Api::<PodDisruptionBudget>::namespaced(self.client.clone(), namespace_of(budget));
        match api.replace_status(name_of(budget), &PostParams::default(), &update).await {
            Err(error) if !is_not_found(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

/// What the budget grants now. `scale` is what the pods' controllers ask for.
fn status(budget: &PodDisruptionBudget, pods: &[Arc<Pod>], scale: i32, now: Timestamp) -> PodDisruptionBudgetStatus {
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
fn failed(budget: &PodDisruptionBudget, message: &str, now: Timestamp) -> PodDisruptionBudgetStatus {
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

/// When the first of the evicted pods counts as healthy again.
fn recheck(status: &PodDisruptionBudgetStatus, now: Timestamp) -> Option<Duration> {
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
