//! Pod disruption budgets: how many pods may be evicted now. The eviction subresource spends what this controller grants.
//!
//! `grants` decides; `stale` takes back what was said of pods that stayed after all. This file asks and writes.

mod grants;
mod stale;

use std::collections::HashMap;
use std::sync::Arc;

use coracle_api::clock::Clock;
use coracle_client::{Change, EventRecorder, EventType, Informer, Queue, is_not_found};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{DynamicObject, PostParams};
use kube::core::{GroupVersionKind, Selector};
use kube::{Api, Resource};

use crate::Context;
use crate::ownership::{as_go_prints, controller_of, matches};
use crate::wiring::{Key, Outcome, Run, follow, follow_latest, name_of, namespace_of, unless_gone, work};
use grants::{failed, not_deleted, recheck, status};

const NAME: &str = "disruption-controller";

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
    tokio::join!(budgets, pods, stale::run(controller.clone()), workers).3
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
        for pod in not_deleted(&budget, &pods, now) {
            let message = format!("Pod was expected by PDB {key} to be deleted but it wasn't");
            self.recorder.event(&pod.object_ref(&()), EventType::Warning, "NotDeleted", message);
        }
        let needs_scale = budget.spec.as_ref().is_some_and(|spec| !matches!(spec.min_available, Some(IntOrString::Int(_))));
        if needs_scale && pods.iter().any(|pod| controller_of(&pod.metadata).is_none()) {
            self.tell_unmanaged(&budget);
        }
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

    fn tell_unmanaged(&self, budget: &PodDisruptionBudget) {
        let selector = as_go_prints(budget.spec.as_ref().and_then(|spec| spec.selector.as_ref()));
        let message = format!(
            "Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a result, the status of the PDB \
             cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set \
             \".spec.minAvailable\" field of the PDB to an integer value."
        );
        self.recorder.event(&budget.object_ref(&()), EventType::Warning, "UnmanagedPods", message);
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
        unless_gone(api.replace_status(name_of(budget), &PostParams::default(), &update).await)
    }
}
