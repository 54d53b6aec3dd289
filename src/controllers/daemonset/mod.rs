//! Daemon sets: a pod on every node that fits.
//!
//! `plan` compares nodes and pods; `pod` says which nodes fit and what a pod looks like. This file carries plans out, and
//! plans again for a set only when its cache shows what was done.

mod plan;
mod pod;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock::Clock;
use coracle_client::{Change, EventType, Informer, Queue, revision_of};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::PostParams;
use parking_lot::Mutex;

use crate::Context;
use crate::family::Family;
use crate::ownership::selector;
use crate::pod_control::{PodControl, is_ending};
use crate::pods;
use crate::replicaset::expectations::Expectations;
use crate::revisions::{self, Failure};
use crate::wiring::{Key, Outcome, Run, follow, follow_latest, name_of, namespace_of, together, uid_of, uids, unless_gone, work};
use plan::Plan;

const NAME: &str = "daemon-set-controller";
const WORKERS: usize = 2;
const GATHER: Duration = Duration::from_millis(10);
/// Creates or deletes of one set under way at once.
const IN_FLIGHT: usize = 32;
const FIRST_BACKOFF: SignedDuration = SignedDuration::from_secs(1);
const LONGEST_BACKOFF: SignedDuration = SignedDuration::from_mins(15);

/// When the last failed pod of a set on a node was removed, and how long the next one is kept.
type Removals = HashMap<(String, String), (Timestamp, SignedDuration)>;

struct Controller {
    hands: PodControl,
    clock: Arc<dyn Clock>,
    pods: Family<DaemonSet, Pod>,
    revisions: Family<DaemonSet, ControllerRevision>,
    nodes: Informer<Node>,
    /// By uid of the set.
    expectations: Mutex<HashMap<String, Expectations>>,
    removals: Mutex<Removals>,
}

pub(crate) async fn run(context: Context) -> Run {
    let selector = |set: &DaemonSet| set.spec.as_ref().and_then(|spec| selector(&spec.selector));
    let controller = Arc::new(Controller {
        hands: PodControl { client: context.client(NAME), recorder: context.recorder(NAME) },
        clock: context.clock.clone(),
        pods: Family::new(&context.informers, selector),
        revisions: Family::new(&context.informers, selector),
        nodes: context.informers.of(),
        expectations: Mutex::default(),
        removals: Mutex::default(),
    });
    controller.pods.synced().await;
    controller.revisions.synced().await;
    controller.nodes.synced().await;
    let queue = Queue::new();
    let sets = follow_latest(controller.pods.owners.clone(), |set| queue.add(Key::of(set.as_ref())));
    let pods = follow(controller.pods.dependents.clone(), |change| controller.pods.changed(&queue, &change, GATHER));
    let nodes = follow(controller.nodes.clone(), |change| controller.node_changed(&queue, &change));
    let reconciler = controller.clone();
    let workers = work(queue.clone(), WORKERS, move |key: Key| {
        let controller = reconciler.clone();
        async move { controller.reconcile(&key).await }
    });
    tokio::join!(sets, pods, nodes, workers).3
}

impl Controller {
    /// A node concerns the sets for which its change makes a difference.
    fn node_changed(&self, queue: &Queue<Key>, change: &Change<Node>) {
        let concerned = |set: &DaemonSet| match change {
            Change::Added(node) => pod::belongs_on(set, node).0,
            Change::Deleted(node) => pod::belongs_on(set, node).1,
            Change::Updated { old, new } => pod::belongs_on(set, old) != pod::belongs_on(set, new),
            Change::Resync => false,
        };
        if let Change::Updated { old, new } = change {
            let taints = |node: &Node| node.spec.as_ref().and_then(|spec| spec.taints.clone());
            if old.metadata.labels == new.metadata.labels && taints(old) == taints(new) {
                return;
            }
        }
        self.pods.owners.list().iter().filter(|set| concerned(set)).for_each(|set| queue.add(Key::of(set.as_ref())));
    }

    async fn reconcile(&self, key: &Key) -> Outcome {
        let Some(set) = self.pods.owners.get(&key.namespace, &key.name) else {
            let known = uids(&self.pods.owners);
            self.expectations.lock().retain(|uid, _| known.contains(uid));
            return Ok(None);
        };
        let uid = uid_of(set.as_ref()).to_owned();
        // Looked at before the pods: what it says was seen is in what is read next.
        let settled = self.expectations.lock().get(&uid).is_none_or(|expected| expected.are_met(&key.namespace, &self.pods.dependents));
        let all = self.pods.members(&self.hands.client, &set, pods::is_active).await?;
        let history = self.revisions.members(&self.hands.client, &set, |_| true).await?;
        let Some(hash) = self.newest(&set, &history).await? else { return Ok(Some(GATHER)) };
        let plan = plan::plan(&set, &hash, &self.nodes.list(), &all, self.clock.now());
        let (status, mut again) = (plan.status.clone(), plan.again);
        let mut outcome = Ok(());
        if settled && set.metadata.deletion_timestamp.is_none() {
            let (doomed, later) = self.due(&set, plan.ended.clone());
            again = [again, later].into_iter().flatten().min();
            let (expected, done) = self.carry_out(&set, &hash, plan, doomed).await;
            self.expectations.lock().insert(uid, expected);
            outcome = done;
        }
        self.write_status(&set, status).await?;
        self.trim(&set, &history, &hash, &all).await?;
        outcome.map(|()| again)
    }

    /// The hash of the newest revision; `None` when its name was taken and another one will be tried.
    async fn newest(&self, set: &DaemonSet, history: &[Arc<ControllerRevision>]) -> Result<Option<String>, kube::Error> {
        let Some(spec) = &set.spec else { return Ok(None) };
        let status = set.status.clone().unwrap_or_default();
        let collisions = status.collision_count.unwrap_or(0);
        let step = revisions::plan(history, &revisions::data(&spec.template));
        match revisions::carry_out(&self.revision_api(set), set, step, &spec.template, collisions, pod::HASH).await {
            Ok(revision) => Ok(revision.metadata.labels.as_ref().and_then(|labels| labels.get(pod::HASH).cloned())),
            Err(Failure::Api(error)) => Err(error),
            Err(Failure::Collision) => {
                self.write_status(set, DaemonSetStatus { collision_count: Some(collisions + 1), ..status }).await?;
                Ok(None)
            }
        }
    }

    /// The ended pods to delete now, and when to look at the others.
    fn due(&self, set: &DaemonSet, ended: Vec<Arc<Pod>>) -> (Vec<Arc<Pod>>, Option<Duration>) {
        let now = self.clock.now();
        let mut removals = self.removals.lock();
        removals.retain(|_, (at, wait)| now.duration_since(*at) < *wait * 2 + LONGEST_BACKOFF);
        let (mut doomed, mut later) = (Vec::new(), None);
        for pod in ended {
            let key = (uid_of(set).to_owned(), pods::node(&pod).to_owned());
            let wait =
                removals.get(&key).map_or(SignedDuration::ZERO, |(at, wait)| (*wait - now.duration_since(*at)).max(SignedDuration::ZERO));
            if wait.is_zero() {
                let next = removals.get(&key).map_or(FIRST_BACKOFF, |(_, wait)| (*wait * 2).min(LONGEST_BACKOFF));
                removals.insert(key, (now, next));
                doomed.push(pod);
            } else {
                later = [later, Duration::try_from(wait).ok()].into_iter().flatten().min();
            }
        }
        (doomed, later)
    }

    async fn carry_out(&self, set: &DaemonSet, hash: &str, plan: Plan, ended: Vec<Arc<Pod>>) -> (Expectations, Result<(), kube::Error>) {
        let mut expected = Expectations::default();
        let mut outcome = Ok(());
        for pod in &ended {
            let (kind, reason, what) = match pods::phase(pod) {
                "Failed" => (EventType::Warning, "FailedDaemonPod", "failed"),
                _ => (EventType::Normal, "SucceededDaemonPod", "succeeded"),
            };
            let (namespace, name, node) = (namespace_of(set), name_of(pod.as_ref()), pods::node(pod));
            let message = format!("Found {what} daemon pod {namespace}/{name} on node {node}, will try to kill it");
            self.hands.tell(set, kind, reason, message);
        }
        let doomed = plan.delete.into_iter().chain(ended);
        let deletions = doomed.map(|pod| async move { (self.hands.delete(set, &pod).await, pod) }).collect();
        for (deleted, pod) in together(deletions, IN_FLIGHT).await {
            match deleted {
                Ok(()) => expected.deleted(&pod),
                Err(error) => outcome = Err(error),
            }
        }
        let creations = plan.create.into_iter().map(|node| async move { self.hands.create(set, &pod::new_pod(set, hash, &node)).await });
        for created in together(creations.collect(), IN_FLIGHT).await {
            match created {
                Ok(created) => expected.created(revision_of(&created)),
                Err(error) if is_ending(&error) => {}
                Err(error) => outcome = Err(error),
            }
        }
        (expected, outcome)
    }

    async fn write_status(&self, set: &DaemonSet, status: DaemonSetStatus) -> Result<(), kube::Error> {
        if set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let update = DaemonSet { status: Some(status), ..set.clone() };
        let api = Api::<DaemonSet>::namespaced(self.hands.client.clone(), namespace_of(set));
        unless_gone(api.replace_status(name_of(set), &PostParams::default(), &update).await)
    }

    async fn trim(&self, set: &DaemonSet, history: &[Arc<ControllerRevision>], newest: &str, all: &[Arc<Pod>]) -> Result<(), kube::Error> {
        let limit = set.spec.as_ref().and_then(|spec| spec.revision_history_limit).unwrap_or(10);
        let used = |one: &ControllerRevision| {
            let hash = one.metadata.labels.as_ref().and_then(|labels| labels.get(pod::HASH)).map_or("", String::as_str);
            hash == newest || all.iter().any(|pod| pod::is_updated(pod, hash))
        };
        revisions::remove(&self.revision_api(set), revisions::surplus(history, limit, used)).await
    }

    fn revision_api(&self, set: &DaemonSet) -> Api<ControllerRevision> {
        Api::namespaced(self.hands.client.clone(), namespace_of(set))
    }
}
