//! Deployments: rollouts of templates over replica sets.
//!
//! `plan` decides one step from the deployment and its sets; `strategy` holds the phases, `revision` the history,
//! `conditions` the status. This file carries plans out.

mod conditions;
mod plan;
mod replicas;
mod revision;
mod strategy;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock::Clock;
use coracle_client::{Change, EventRecorder, EventType, Index, Informer, Queue, is_exists};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Resource};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::Context;
use crate::ownership::{claim_all, controller_key, controller_of, matches, orphans_key, selector};
use crate::pods;
use crate::wiring::{Key, Outcome, Run, follow, follow_latest, name_of, namespace_of, uid_of, unless_gone, work};
use plan::{Plan, Write};
pub(crate) use replicas::scaled;

const NAME: &str = "deployment-controller";
const WORKERS: usize = 5;
/// A status that no longer holds is written this much later: of the changes until then only the last costs a write, and
/// who writes to a new deployment at once does not meet the controller.
const STATUS_PAUSE: Duration = Duration::from_millis(100);

struct Controller {
    client: kube::Client,
    recorder: EventRecorder,
    clock: Arc<dyn Clock>,
    deployments: Informer<Deployment>,
    sets: Informer<ReplicaSet>,
    sets_of: Index<ReplicaSet>,
    pods_of: Index<Pod>,
    /// Since when the status of a deployment no longer holds.
    outdated: Mutex<HashMap<Key, Instant>>,
}

pub(crate) async fn run(context: Context) -> Run {
    let sets = context.informers.of::<ReplicaSet>();
    let pods = context.informers.of::<Pod>();
    let controller = Arc::new(Controller {
        client: context.client(NAME),
        recorder: context.recorder(NAME),
        clock: context.clock.clone(),
        deployments: context.informers.of::<Deployment>(),
        sets_of: sets.index("controller", |set| controller_key(&set.metadata)),
        pods_of: pods.index("controller", |pod| controller_key(&pod.metadata)),
        sets,
        outdated: Mutex::default(),
    });
    controller.deployments.synced().await;
    controller.sets.synced().await;
    pods.synced().await;
    let queue = Queue::new();
    let from_deployments = follow_latest(controller.deployments.clone(), |deployment| queue.add(Key::of(deployment.as_ref())));
    let from_sets = follow(controller.sets.clone(), |change| controller.set_changed(&queue, &change));
    let from_pods = follow(pods, |change| controller.pod_changed(&queue, &change));
    let reconciler = controller.clone();
    let workers = work(queue.clone(), WORKERS, move |key: Key| {
        let controller = reconciler.clone();
        async move { controller.reconcile(&key).await }
    });
    tokio::join!(from_deployments, from_sets, from_pods, workers).3
}

impl Controller {
    fn set_changed(&self, queue: &Queue<Key>, change: &Change<ReplicaSet>) {
        match change {
            Change::Added(set) | Change::Deleted(set) => self.enqueue_owner(queue, set),
            Change::Updated { old, new } => {
                if controller_of(&old.metadata).map(|owner| &owner.uid) != controller_of(&new.metadata).map(|owner| &owner.uid) {
                    self.enqueue_owner(queue, old);
                }
                self.enqueue_owner(queue, new);
            }
            Change::Resync => {}
        }
    }

    fn enqueue_owner(&self, queue: &Queue<Key>, set: &ReplicaSet) {
        match controller_of(&set.metadata) {
            Some(owner) if owner.kind == "Deployment" => queue.add(Key::new(namespace_of(set), &owner.name)),
            Some(_) => {}
            None => {
                let fits = |deployment: &Arc<Deployment>| {
                    let selector = deployment.spec.as_ref().and_then(|spec| selector(&spec.selector));
                    selector.is_some_and(|selector| matches(&selector, &set.metadata))
                };
                let adopters = self.deployments.list_in(namespace_of(set)).into_iter().filter(fits);
                adopters.for_each(|deployment| queue.add(Key::of(deployment.as_ref())));
            }
        }
    }

    /// Recreate waits for the last old pod to end.
    fn pod_changed(&self, queue: &Queue<Key>, change: &Change<Pod>) {
        let pod = match change {
            Change::Deleted(pod) => pod,
            Change::Updated { old, new } if pods::is_terminal(new) && !pods::is_terminal(old) => new,
            _ => return,
        };
        let Some(owner) = controller_of(&pod.metadata).filter(|owner| owner.kind == "ReplicaSet") else { return };
        let Some(set) = self.sets.get(namespace_of(pod.as_ref()), &owner.name) else { return };
        let Some(owner) = controller_of(&set.metadata).filter(|owner| owner.kind == "Deployment") else { return };
        let deployment = self.deployments.get(namespace_of(pod.as_ref()), &owner.name);
        if let Some(deployment) = deployment.filter(|deployment| !replicas::is_rolling(deployment)) {
            queue.add(Key::of(deployment.as_ref()));
        }
    }

    async fn reconcile(&self, key: &Key) -> Outcome {
        let Some(deployment) = self.deployments.get(&key.namespace, &key.name) else {
            self.outdated.lock().remove(key);
            return Ok(None);
        };
        let Some(selector) = deployment.spec.as_ref().and_then(|spec| selector(&spec.selector)) else {
            self.selects_all(&deployment).await?;
            return Ok(None);
        };
        let mut candidates = self.sets_of.get(uid_of(deployment.as_ref()));
        candidates.extend(self.sets_of.get(&orphans_key(&key.namespace)));
        let api = Api::namespaced(self.client.clone(), &key.namespace);
        let sets = claim_all(&api, deployment.as_ref(), &selector, candidates).await?;
        let now = self.clock.now();
        let plan = plan::plan(&deployment, &sets, |new| self.runs_old_pods(&sets, new), now);
        self.carry_out(&deployment, &api, plan).await
    }

    fn runs_old_pods(&self, sets: &[Arc<ReplicaSet>], new: Option<&ReplicaSet>) -> bool {
        let old = sets.iter().filter(|set| Some(uid_of(set.as_ref())) != new.map(uid_of));
        old.flat_map(|set| self.pods_of.get(uid_of(set.as_ref()))).any(|pod| !pods::is_terminal(&pod))
    }

    async fn carry_out(&self, deployment: &Deployment, api: &Api<ReplicaSet>, plan: Plan) -> Outcome {
        let mut status = plan.status;
        for write in plan.writes {
            if !write.create {
                api.replace(name_of(&write.set), &PostParams::default(), &write.set).await?;
            } else if let Err(failure) = self.create(deployment, api, &write).await {
                return self.create_failed(deployment, status, &write, failure).await;
            }
            if let Some(message) = write.scaled {
                self.recorder.event(&deployment.object_ref(&()), EventType::Normal, "ScalingReplicaSet", message);
            }
        }
        for set in &plan.deletes {
            let preconditions = Preconditions { uid: set.metadata.uid.clone(), resource_version: None };
            let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
            unless_gone(api.delete(name_of(set), &parameters).await)?;
        }
        let mut current = deployment.clone();
        if let Some(revision) = plan.revision {
            current.metadata.annotations.get_or_insert_default().insert(revision::REVISION.to_owned(), revision);
            current = self.api(deployment).replace(name_of(deployment), &PostParams::default(), &current).await?;
            status.observed_generation = deployment.metadata.generation;
        }
        let pause = self.status_pause(&current, &status);
        if pause.is_zero() {
            self.write_status(current, status).await?;
            return Ok(plan.again);
        }
        Ok(Some(plan.again.map_or(pause, |again| again.min(pause))))
    }

    /// How long to wait before this status is written.
    fn status_pause(&self, deployment: &Deployment, status: &DeploymentStatus) -> Duration {
        let (key, mut outdated) = (Key::of(deployment), self.outdated.lock());
        if holds(deployment, status) {
            outdated.remove(&key);
            return Duration::ZERO;
        }
        let since = *outdated.entry(key.clone()).or_insert_with(Instant::now);
        let left = STATUS_PAUSE.saturating_sub(since.elapsed());
        if left.is_zero() {
            outdated.remove(&key);
        }
        left
    }

    /// Creates a set; one that exists already is fine when it is the same.
    async fn create(&self, deployment: &Deployment, api: &Api<ReplicaSet>, write: &Write) -> Result<(), CreateFailure> {
        let error = match api.create(&PostParams::default(), &write.set).await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        if !is_exists(&error) {
            return Err(CreateFailure::Other(error));
        }
        let existing = api.get(name_of(&write.set)).await.map_err(CreateFailure::Other)?;
        let ours = controller_of(&existing.metadata).is_some_and(|owner| owner.uid == uid_of(deployment));
        let template = existing.spec.as_ref().and_then(|spec| spec.template.as_ref());
        let same = template.zip(deployment.spec.as_ref()).is_some_and(|(template, spec)| revision::same_template(template, &spec.template));
        // It is there and the cache is behind, or its name is taken by another template.
        Err(if ours && same { CreateFailure::Behind(error) } else { CreateFailure::Collision(error) })
    }

    async fn create_failed(&self, deployment: &Deployment, mut status: DeploymentStatus, write: &Write, failure: CreateFailure) -> Outcome {
        match failure {
            CreateFailure::Behind(error) => Err(error),
            CreateFailure::Collision(error) => {
                let mut known = deployment.status.clone().unwrap_or_default();
                known.collision_count = Some(known.collision_count.unwrap_or(0) + 1);
                self.write_status(deployment.clone(), known).await?;
                Err(error)
            }
            CreateFailure::Other(error) => {
                let message = format!("Failed to create new replica set \"{}\": {error}", name_of(&write.set));
                if conditions::progress_deadline(deployment).is_some() {
                    let failed =
                        conditions::condition(conditions::PROGRESSING, "False", "ReplicaSetCreateError", &message, self.clock.now());
                    conditions::set(status.conditions.get_or_insert_default(), failed);
                    self.write_status(deployment.clone(), status).await?;
                }
                self.recorder.event(&deployment.object_ref(&()), EventType::Warning, "ReplicaSetCreateError", message);
                Err(error)
            }
        }
    }

    async fn selects_all(&self, deployment: &Deployment) -> Result<(), kube::Error> {
        let message = "This deployment is selecting all pods. A non-empty selector is required.";
        self.recorder.event(&deployment.object_ref(&()), EventType::Warning, "SelectingAll", message);
        let mut status = deployment.status.clone().unwrap_or_default();
        status.observed_generation = deployment.metadata.generation;
        self.write_status(deployment.clone(), status).await
    }

    async fn write_status(&self, mut deployment: Deployment, status: DeploymentStatus) -> Result<(), kube::Error> {
        if holds(&deployment, &status) {
            return Ok(());
        }
        deployment.status = Some(status);
        unless_gone(self.api(&deployment).replace_status(name_of(&deployment), &PostParams::default(), &deployment).await)
    }

    fn api(&self, deployment: &Deployment) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), namespace_of(deployment))
    }
}

enum CreateFailure {
    /// It exists and is ours.
    Behind(kube::Error),
    /// Another one has its name.
    Collision(kube::Error),
    Other(kube::Error),
}

/// Whether a deployment has this status already.
fn holds(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    deployment.status.as_ref().is_some_and(|known| normal(known) == normal(status))
}

/// An absent number is zero.
fn normal(status: &DeploymentStatus) -> DeploymentStatus {
    let zero = |number: Option<i32>| number.filter(|&number| number != 0);
    DeploymentStatus {
        replicas: zero(status.replicas),
        updated_replicas: zero(status.updated_replicas),
        ready_replicas: zero(status.ready_replicas),
        available_replicas: zero(status.available_replicas),
        unavailable_replicas: zero(status.unavailable_replicas),
        terminating_replicas: zero(status.terminating_replicas),
        ..status.clone()
    }
}
