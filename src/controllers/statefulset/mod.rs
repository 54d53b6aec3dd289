//! Stateful sets: pods with names that stay, their claims, and rolling updates in order.
//!
//! `plan` decides the next steps from the set, its two revisions and its pods; `pod` and `claims` say what a place's pod
//! and its claims look like. This file carries the steps out. Names are known beforehand, so a cache that is behind leads
//! to a refused write and another try, never to a second pod.

mod claims;
mod plan;
mod pod;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock::Clock;
use coracle_client::{EventType, Informer, Queue, is_exists, is_not_found};
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use crate::Context;
use crate::family::Family;
use crate::ownership::selector;
use crate::pod_control::{PodControl, is_ending, message_of, same_pod};
use crate::revisions::{self, Failure};
use crate::wiring::{Key, Outcome, Run, follow, follow_latest, name_of, namespace_of, unless_gone, work};
use plan::{Action, Version, Versions};

const NAME: &str = "statefulset-controller";
const WORKERS: usize = 4;
const GATHER: Duration = Duration::from_millis(10);
const HASH: &str = "controller.kubernetes.io/hash";

struct Controller {
    hands: PodControl,
    clock: Arc<dyn Clock>,
    pods: Family<StatefulSet, Pod>,
    revisions: Family<StatefulSet, ControllerRevision>,
    claims: Informer<PersistentVolumeClaim>,
}

pub(crate) async fn run(context: Context) -> Run {
    let selector = |set: &StatefulSet| set.spec.as_ref().and_then(|spec| selector(&spec.selector));
    let controller = Arc::new(Controller {
        hands: PodControl { client: context.client(NAME), recorder: context.recorder(NAME) },
        clock: context.clock.clone(),
        pods: Family::new(&context.informers, selector),
        revisions: Family::new(&context.informers, selector),
        claims: context.informers.of(),
    });
    controller.pods.synced().await;
    controller.revisions.synced().await;
    controller.claims.synced().await;
    let queue = Queue::new();
    let sets = follow_latest(controller.pods.owners.clone(), |set| queue.add(Key::of(set.as_ref())));
    let pods = follow(controller.pods.dependents.clone(), |change| controller.pods.changed(&queue, &change, GATHER));
    let reconciler = controller.clone();
    let workers = work(queue.clone(), WORKERS, move |key: Key| {
        let controller = reconciler.clone();
        async move { controller.reconcile(&key).await }
    });
    tokio::join!(sets, pods, workers).2
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Outcome {
        let Some(set) = self.pods.owners.get(&key.namespace, &key.name) else { return Ok(None) };
        let mine = |pod: &Pod| pod::ordinal_of(&set, pod).is_some();
        let all = self.pods.members(&self.hands.client, &set, mine).await?;
        let history = self.revisions.members(&self.hands.client, &set, |_| true).await?;
        let Some(versions) = self.versions(&set, &history).await? else { return Ok(Some(Duration::from_millis(5))) };
        let plan = plan::plan(&set, &versions, &all, self.clock.now());
        if set.metadata.deletion_timestamp.is_none() {
            self.keep_claims(&set, &all).await?;
            self.fill_claims(&set, &all).await?;
        }
        let mut outcome = Ok(plan.again);
        for action in plan.actions {
            if let Err(error) = self.carry_out(&set, action).await {
                outcome = Err(error);
                break;
            }
        }
        self.write_status(&set, plan.status).await?;
        self.trim(&set, &history, &versions, &all).await?;
        outcome
    }

    /// The revisions of now and of before; `None` when a name was taken and another one will be tried.
    async fn versions(&self, set: &StatefulSet, history: &[Arc<ControllerRevision>]) -> Result<Option<Versions>, kube::Error> {
        let Some(spec) = &set.spec else { return Ok(None) };
        let status = set.status.clone().unwrap_or_default();
        let collisions = status.collision_count.unwrap_or(0);
        let step = revisions::plan(history, &revisions::data(&spec.template));
        let update = match revisions::carry_out(&self.revision_api(set), set, step, &spec.template, collisions, HASH).await {
            Ok(update) => update,
            Err(Failure::Api(error)) => return Err(error),
            Err(Failure::Collision) => {
                self.write_status(set, StatefulSetStatus { collision_count: Some(collisions + 1), ..status }).await?;
                return Ok(None);
            }
        };
        let current = history.iter().find(|one| status.current_revision.as_deref() == Some(name_of(one.as_ref())));
        let version = |revision: &ControllerRevision| Version {
            name: name_of(revision).to_owned(),
            template: revisions::template(revision).unwrap_or_else(|| spec.template.clone()),
        };
        Ok(Some(Versions { current: version(current.unwrap_or(&update)), update: version(&update) }))
    }

    async fn carry_out(&self, set: &StatefulSet, action: Action) -> Result<(), kube::Error> {
        match action {
            Action::Create(ordinal, pod) => self.create(set, ordinal, &pod).await,
            Action::Delete(pod) => self.delete(set, &pod).await,
            Action::Recreate(pod) => {
                let (namespace, name, pod_name) = (namespace_of(set), name_of(set), name_of(pod.as_ref()));
                let (kind, reason, what) = match crate::pods::phase(&pod) {
                    "Failed" => (EventType::Warning, "RecreatingFailedPod", "failed"),
                    _ => (EventType::Normal, "RecreatingTerminatedPod", "terminated"),
                };
                self.hands.tell(set, kind, reason, format!("StatefulSet {namespace}/{name} is recreating {what} Pod {pod_name}"));
                self.delete(set, &pod).await
            }
            Action::Identify(ordinal, pod) => {
                let (name, pod_name) = (name_of(set), name_of(pod.as_ref()));
                let patch = json!({"metadata": {"uid": pod.metadata.uid, "labels": pod::identity(set, ordinal)}});
                let done = self.hands.patch(set, &pod, patch).await;
                let (kind, reason, end) = match &done {
                    Ok(()) => (EventType::Normal, "SuccessfulUpdate", "successful".to_owned()),
                    Err(error) => (EventType::Warning, "FailedUpdate", format!("failed error: {}", message_of(error))),
                };
                self.hands.tell(set, kind, reason, format!("Update Pod {pod_name} in StatefulSet {name} {end}"));
                done
            }
        }
    }

    async fn create(&self, set: &StatefulSet, ordinal: i32, pod: &Pod) -> Result<(), kube::Error> {
        let (name, pod_name) = (name_of(set), name_of(pod));
        for claim in pod::claims(set, ordinal) {
            match self.claims.get(namespace_of(set), name_of(&claim)) {
                // The garbage collector takes it; its end wakes nobody, so look again.
                Some(known) if claims::is_stale(&known, pod, None) => return Err(not_yet(name_of(&claim))),
                Some(_) => {}
                None => self.create_claim(set, &claim, pod_name).await?,
            }
        }
        match self.pod_api(set).create(&PostParams::default(), pod).await {
            Ok(_) => {
                let message = format!("Create Pod {pod_name} in StatefulSet {name} successful");
                self.hands.tell(set, EventType::Normal, "SuccessfulCreate", message);
                Ok(())
            }
            Err(error) if is_ending(&error) => Ok(()),
            Err(error) if is_exists(&error) => Err(error),
            Err(error) => {
                let message = format!("Create Pod {pod_name} in StatefulSet {name} failed error: {}", message_of(&error));
                self.hands.tell(set, EventType::Warning, "FailedCreate", message);
                Err(error)
            }
        }
    }

    async fn create_claim(&self, set: &StatefulSet, claim: &PersistentVolumeClaim, pod: &str) -> Result<(), kube::Error> {
        let (name, claim_name) = (name_of(set), name_of(claim));
        match self.claim_api(set).create(&PostParams::default(), claim).await {
            Ok(_) => {
                let message = format!("create Claim {claim_name} Pod {pod} in StatefulSet {name} success");
                self.hands.tell(set, EventType::Normal, "SuccessfulCreate", message);
                Ok(())
            }
            Err(error) if is_exists(&error) || is_ending(&error) => Ok(()),
            Err(error) => {
                let message = format!("create Claim {claim_name} for Pod {pod} in StatefulSet {name} failed error: {}", message_of(&error));
                self.hands.tell(set, EventType::Warning, "FailedCreate", message);
                Err(error)
            }
        }
    }

    async fn delete(&self, set: &StatefulSet, pod: &Pod) -> Result<(), kube::Error> {
        let (name, pod_name) = (name_of(set), name_of(pod));
        match self.pod_api(set).delete(pod_name, &same_pod(pod)).await {
            Ok(_) => {
                let message = format!("Delete Pod {pod_name} in StatefulSet {name} successful");
                self.hands.tell(set, EventType::Normal, "SuccessfulDelete", message);
                Ok(())
            }
            Err(error) if is_not_found(&error) => Ok(()),
            Err(error) => {
                let message = format!("Delete Pod {pod_name} in StatefulSet {name} failed error: {}", message_of(&error));
                self.hands.tell(set, EventType::Warning, "FailedDelete", message);
                Err(error)
            }
        }
    }

    /// Tells the garbage collector what the claims of these pods go with.
    async fn keep_claims(&self, set: &StatefulSet, all: &[Arc<Pod>]) -> Result<(), kube::Error> {
        for pod in all {
            let Some(ordinal) = pod::ordinal_of(set, pod) else { continue };
            for name in pod::claim_names(set, ordinal) {
                let Some(claim) = self.claims.get(namespace_of(set), &name) else { continue };
                if claims::is_stale(&claim, pod, Some(pod.as_ref())) {
                    continue;
                }
                let Some(owners) = claims::owners(set, pod, ordinal, &claim) else { continue };
                // Written whole: its role may update claims, not patch them.
                let mut update = PersistentVolumeClaim::clone(&claim);
                update.metadata.owner_references = Some(owners);
                unless_gone(self.claim_api(set).replace(&name, &PostParams::default(), &update).await)?;
            }
        }
        Ok(())
    }

    /// A pod that waits may wait for a claim that somebody deleted.
    async fn fill_claims(&self, set: &StatefulSet, all: &[Arc<Pod>]) -> Result<(), kube::Error> {
        let waits = |pod: &&Arc<Pod>| crate::pods::phase(pod) == "Pending" && !crate::pods::is_terminating(pod);
        for pod in all.iter().filter(waits) {
            let Some(ordinal) = pod::ordinal_of(set, pod) else { continue };
            for claim in pod::claims(set, ordinal) {
                if self.claims.get(namespace_of(set), name_of(&claim)).is_none() {
                    self.create_claim(set, &claim, name_of(pod.as_ref())).await?;
                }
            }
        }
        Ok(())
    }

    async fn write_status(&self, set: &StatefulSet, status: StatefulSetStatus) -> Result<(), kube::Error> {
        if set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let update = StatefulSet { status: Some(status), ..set.clone() };
        let api = Api::<StatefulSet>::namespaced(self.hands.client.clone(), namespace_of(set));
        unless_gone(api.replace_status(name_of(set), &PostParams::default(), &update).await)
    }

    async fn trim(
        &self,
        set: &StatefulSet,
        history: &[Arc<ControllerRevision>],
        versions: &Versions,
        all: &[Arc<Pod>],
    ) -> Result<(), kube::Error> {
        let limit = set.spec.as_ref().and_then(|spec| spec.revision_history_limit).unwrap_or(10);
        let used = |one: &ControllerRevision| {
            let name = name_of(one);
            name == versions.current.name || name == versions.update.name || all.iter().any(|pod| pod::revision_of(pod) == name)
        };
        revisions::remove(&self.revision_api(set), revisions::surplus(history, limit, used)).await
    }

    fn pod_api(&self, set: &StatefulSet) -> Api<Pod> {
        Api::namespaced(self.hands.client.clone(), namespace_of(set))
    }

    fn claim_api(&self, set: &StatefulSet) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.hands.client.clone(), namespace_of(set))
    }

    fn revision_api(&self, set: &StatefulSet) -> Api<ControllerRevision> {
        Api::namespaced(self.hands.client.clone(), namespace_of(set))
    }
}

fn not_yet(claim: &str) -> kube::Error {
    let message = format!("claim {claim} is about to be deleted");
    kube::Error::Api(Box::new(kube::core::Status::failure(&message, "Conflict").with_code(409)))
}
