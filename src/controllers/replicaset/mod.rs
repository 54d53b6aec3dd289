//! Replica sets and replication controllers ([`replicated`]): as many pods of a template as asked for.
//!
//! ```text
//! change of a replica set or pod -> key -> claim pods -> plan -> create or delete -> status
//! ```
//! After it created or deleted pods, a replica set is not planned for again before the cache shows what it did
//! ([`expectations`]).

pub(crate) mod expectations;
mod plan;
mod ranking;
mod replicated;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock::Clock;
use coracle_client::{Change, EventRecorder, EventType, Index, Informer, Queue, is_not_found};
use futures::StreamExt;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::core::Request;
use kube::{Api, Resource};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::task::JoinSet;

use crate::Context;
use crate::ownership::{claim_all, controller_key, controller_of, controller_reference, matches, orphans_key, selector};
use crate::pod_control::{is_ending, message_of};
use crate::pods;
use crate::wiring::{Key, Outcome, Run, follow, name_of, namespace_of, uid_of, work};
use expectations::Expectations;
use plan::{Failure, Step};
use replicated::Replicated;

/// Replica sets reconciled at once.
const WORKERS: usize = 5;
/// Creates or deletes of one replica set under way at once.
const IN_FLIGHT: usize = 64;
/// Changes of pods within this time lead to one reconcile; the pods of a large set are longer counted, and more rarely.
const GATHER: Duration = Duration::from_millis(10);
const GATHER_PER_POD: Duration = Duration::from_micros(50);
/// How long a cache that is behind is given, should no change bring the set back.
const SETTLE: Duration = Duration::from_millis(50);

struct Controller<K> {
    client: kube::Client,
    recorder: EventRecorder,
    clock: Arc<dyn Clock>,
    replica_sets: Informer<K>,
    siblings: Index<K>,
    pods: Informer<Pod>,
    pods_of: Index<Pod>,
    /// By uid of the replica set.
    expectations: Mutex<HashMap<String, Expectations>>,
}

/// What is read of the answer to a create: thousands of pods are not decoded for their names.
#[derive(Deserialize)]
struct Created {
    metadata: CreatedMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreatedMeta {
    name: String,
    resource_version: String,
}

async fn create(client: kube::Client, namespace: String, pod: Arc<[u8]>) -> Result<Created, kube::Error> {
    let pods = Request::new(Pod::url_path(&(), Some(&namespace)));
    client.request(pods.create(&PostParams::default(), pod.to_vec()).map_err(kube::Error::BuildRequest)?).await
}

pub(crate) async fn replica_sets(context: Context) -> Run {
    run::<ReplicaSet>(context).await
}

pub(crate) async fn replication_controllers(context: Context) -> Run {
    run::<ReplicationController>(context).await
}

async fn run<K: Replicated>(context: Context) -> Run {
    let pods = context.informers.of::<Pod>();
    let replica_sets = context.informers.of::<K>();
    let controller = Arc::new(Controller {
        client: context.client(K::CONTROLLER),
        recorder: context.recorder(K::CONTROLLER),
        clock: context.clock.clone(),
        pods_of: pods.index("controller", |pod| controller_key(&pod.metadata)),
        siblings: replica_sets.index("controller", |set| controller_key(set.meta())),
        pods,
        replica_sets,
        expectations: Mutex::default(),
    });
    controller.pods.synced().await;
    controller.replica_sets.synced().await;
    let queue = Queue::new();
    let sets = follow(controller.replica_sets.clone(), |change| controller.replica_set_changed(&queue, &change));
    let pods = follow(controller.pods.clone(), |change| controller.pod_changed(&queue, &change));
    let reconciler = controller.clone();
    let workers = work(queue.clone(), WORKERS, move |key: Key| {
        let controller = reconciler.clone();
        async move { controller.reconcile(&key).await }
    });
    tokio::join!(sets, pods, workers).2
}

impl<K: Replicated> Controller<K> {
    fn replica_set_changed(&self, queue: &Queue<Key>, change: &Change<K>) {
        match change {
            Change::Deleted(set) => {
                self.expectations.lock().remove(uid_of(set.as_ref()));
                queue.add(Key::of(set.as_ref()));
            }
            Change::Added(set) | Change::Updated { new: set, .. } => queue.add(Key::of(set.as_ref())),
            Change::Resync => {}
        }
    }

    fn pod_changed(&self, queue: &Queue<Key>, change: &Change<Pod>) {
        match change {
            Change::Added(pod) => self.enqueue_owner(queue, pod, false),
            Change::Updated { old, new } => {
                let before = controller_of(&old.metadata).map(|owner| &owner.uid);
                if before.is_some() && before != controller_of(&new.metadata).map(|owner| &owner.uid) {
                    self.enqueue_owner(queue, old, true);
                }
                self.enqueue_owner(queue, new, pods::is_active(old) && !pods::is_active(new));
            }
            Change::Deleted(pod) => self.enqueue_owner(queue, pod, true),
            Change::Resync => {}
        }
    }

    /// Enqueues the pod's replica set; for an orphan, every one that might adopt it.
    fn enqueue_owner(&self, queue: &Queue<Key>, pod: &Pod, at_once: bool) {
        let namespace = namespace_of(pod);
        let gather = |siblings: usize| match at_once {
            true => Duration::ZERO,
            false => GATHER + GATHER_PER_POD * u32::try_from(siblings).unwrap_or(u32::MAX),
        };
        match controller_of(&pod.metadata) {
            Some(owner) if owner.kind == K::kind(&()) => {
                queue.add_after(Key::new(namespace, &owner.name), gather(self.pods_of.count(&owner.uid)));
            }
            Some(_) => {}
            None => {
                let fits = |set: &Arc<K>| {
                    K::as_set(set)
                        .spec
                        .as_ref()
                        .and_then(|spec| selector(&spec.selector))
                        .is_some_and(|selector| matches(&selector, &pod.metadata))
                };
                let adopters = self.replica_sets.list_in(namespace).into_iter().filter(fits);
                adopters.for_each(|set| queue.add_after(Key::of(set.as_ref()), gather(0)));
            }
        }
    }

    async fn reconcile(&self, key: &Key) -> Outcome {
        let Some(owner) = self.replica_sets.get(&key.namespace, &key.name) else { return Ok(None) };
        let set = K::as_set(&owner);
        let uid = uid_of(set.as_ref()).to_owned();
        if !self.expectations.lock().get(&uid).is_none_or(|expected| expected.are_met(&key.namespace, &self.pods)) {
            return Ok(Some(SETTLE));
        }
        let own = self.own_pods(&owner, &set).await?;
        let (active, terminating): (Vec<_>, Vec<_>) =
            own.into_iter().filter(|pod| !pods::is_terminal(pod)).partition(|pod| !pods::is_terminating(pod));
        let mut failure = None;
        let mut failed = None;
        let mut again = None;
        if set.metadata.deletion_timestamp.is_none() {
            let now = self.clock.now();
            let step = plan::plan(&set, &active, || self.neighbours(&set), now);
            let reason = step.failure_reason();
            let more = step.is_partial(&set, active.len());
            let (expected, outcome) = self.carry_out(&owner, &set, step).await;
            if more && outcome.is_ok() && expected.created_up_to() > 0 {
                // The next part need not wait for changes to gather.
                self.pods.reached(expected.created_up_to()).await;
                again = Some(Duration::ZERO);
            }
            self.expectations.lock().insert(uid, expected);
            if let Err(error) = outcome {
                failure = Some(Failure { reason, message: message_of(&error) });
                failed = Some(error);
            }
        }
        let now = self.clock.now();
        self.write_status(&owner, &set, plan::status(&set, &active, terminating.len(), failure, now)).await?;
        match failed {
            Some(error) => Err(error),
            None => Ok(again.or_else(|| plan::next_look(&set, &active, now))),
        }
    }

    async fn own_pods(&self, owner: &K, set: &ReplicaSet) -> Result<Vec<Arc<Pod>>, kube::Error> {
        let Some(selector) = set.spec.as_ref().and_then(|spec| selector(&spec.selector)) else { return Ok(Vec::new()) };
        let mut candidates = self.pods_of.get(uid_of(set));
        candidates.extend(self.pods_of.get(&orphans_key(namespace_of(set))).into_iter().filter(|pod| pods::is_active(pod)));
        let api = Api::namespaced(self.client.clone(), namespace_of(set));
        claim_all(&api, owner, &selector, candidates).await
    }

    /// How many active pods of the replica sets of the same owner run on each node.
    fn neighbours(&self, set: &ReplicaSet) -> HashMap<String, usize> {
        let family = match controller_of(&set.metadata) {
            Some(owner) => self.siblings.get(&owner.uid).iter().map(|set| uid_of(set.as_ref()).to_owned()).collect(),
            None => vec![uid_of(set).to_owned()],
        };
        let mut per_node = HashMap::new();
        for pod in family.iter().flat_map(|uid| self.pods_of.get(uid)).filter(|pod| pods::is_active(pod)) {
            *per_node.entry(pods::node(&pod).to_owned()).or_default() += 1;
        }
        per_node
    }

    async fn carry_out(&self, owner: &Arc<K>, set: &ReplicaSet, step: Step) -> (Expectations, Result<(), kube::Error>) {
        match step {
            Step::Nothing => (Expectations::default(), Ok(())),
            Step::Create(count) => self.create_pods(owner, set, count).await,
            Step::Delete(doomed) => self.delete_pods(owner, doomed).await,
        }
    }

    /// Creates pods, at first one, and with each success one more at a time: a quota or a bad template fails once and not
    /// hundreds of times.
    async fn create_pods(&self, owner: &Arc<K>, set: &ReplicaSet, count: usize) -> (Expectations, Result<(), kube::Error>) {
        let pod = plan::new_pod(set, controller_reference(owner.as_ref()));
        let pod: Arc<[u8]> = match serde_json::to_vec(&pod) {
            Ok(pod) => pod.into(),
            Err(error) => return (Expectations::default(), Err(kube::Error::SerdeError(error))),
        };
        let (mut expected, mut outcome) = (Expectations::default(), Ok(()));
        let (mut started, mut most, mut creations) = (0, 1, JoinSet::new());
        loop {
            while started < count && creations.len() < most && outcome.is_ok() {
                // A task each: the server's part of a request runs in its caller.
                creations.spawn(create(self.client.clone(), namespace_of(set).to_owned(), pod.clone()));
                started += 1;
            }
            match creations.join_next().await {
                Some(Ok(Ok(created))) => {
                    most = IN_FLIGHT.min(most + 1);
                    expected.created(created.metadata.resource_version.parse().unwrap_or(0));
                    let message = format!("Created pod: {}", created.metadata.name);
                    self.recorder.event(&owner.object_ref(&()), EventType::Normal, "SuccessfulCreate", message);
                }
                Some(Ok(Err(failure))) => {
                    self.create_failed(owner, &failure);
                    outcome = Err(failure);
                }
                Some(Err(panic)) => tracing::error!(%panic, "creating a pod failed"),
                None => return (expected, outcome.or_else(|error| if is_ending(&error) { Ok(()) } else { Err(error) })),
            }
        }
    }

    fn create_failed(&self, owner: &K, error: &kube::Error) {
        if !is_ending(error) {
            let message = format!("Error creating: {}", message_of(error));
            self.recorder.event(&owner.object_ref(&()), EventType::Warning, "FailedCreate", message);
        }
    }

    async fn delete_pods(&self, owner: &Arc<K>, doomed: Vec<Arc<Pod>>) -> (Expectations, Result<(), kube::Error>) {
        let api = Api::<Pod>::namespaced(self.client.clone(), namespace_of(owner.as_ref()));
        let mut expected = Expectations::default();
        let mut outcome = Ok(());
        let deletions = futures::stream::iter(doomed).map(|pod| {
            let api = api.clone();
            tokio::spawn(async move {
                let preconditions = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
                let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
                let answer = api.delete(name_of(pod.as_ref()), &parameters).await;
                (pod, answer.map(|_| ()))
            })
        });
        let mut deletions = deletions.buffer_unordered(IN_FLIGHT);
        while let Some(deleted) = deletions.next().await {
            match deleted {
                Ok((pod, Ok(()))) => {
                    expected.deleted(&pod);
                    let message = format!("Deleted pod: {}", name_of(pod.as_ref()));
                    self.recorder.event(&owner.object_ref(&()), EventType::Normal, "SuccessfulDelete", message);
                }
                Ok((pod, Err(error))) if is_not_found(&error) => expected.deleted(&pod),
                Ok((_, Err(error))) => {
                    let message = format!("Error deleting: {}", message_of(&error));
                    self.recorder.event(&owner.object_ref(&()), EventType::Warning, "FailedDelete", message);
                    outcome = Err(error);
                }
                Err(panic) => tracing::error!(%panic, "deleting a pod failed"),
            }
        }
        (expected, outcome)
    }

    async fn write_status(&self, owner: &K, set: &ReplicaSet, status: ReplicaSetStatus) -> Result<(), kube::Error> {
        if set.status.as_ref().is_some_and(|known| plan::same_status(known, &status)) {
            return Ok(());
        }
        let api = Api::<K>::namespaced(self.client.clone(), namespace_of(set));
        match api.replace_status(name_of(set), &PostParams::default(), &owner.with_status(status)).await {
            Ok(_) => Ok(()),
            Err(error) if is_not_found(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
