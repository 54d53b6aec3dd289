//! The scheduler's task: takes changes in, decides, and sends binds out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock::Clock;
use coracle_api::identity::Identity;
use coracle_client::{Change, EventRecorder, EventType, Informer, Pace, Throttle, is_conflict, is_not_found};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Resource};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Context;
use crate::cycle::{Cycle, Misfit, choose};
use crate::explain::Decisions;
use crate::plugins::volumes::{self, ClaimToBind};
use crate::pod::{self, PodInfo, is_pending, is_terminal, node_of, nominated};
use crate::queue::SchedulingQueue;
use crate::snapshot::Snapshot;
use crate::world::World;
use crate::{message, preemption};

/// Binds under way at once.
const BINDS: usize = 32;
const BIND_VOLUMES_WITHIN: Duration = Duration::from_secs(10 * 60);
const FLUSH_EVERY: Duration = Duration::from_secs(30);

struct Scheduler {
    client: kube::Client,
    recorder: EventRecorder,
    clock: Arc<dyn Clock>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    world: Arc<World>,
    decisions: Decisions,
    snapshot: Snapshot,
    queue: SchedulingQueue,
    /// Uids of pods whose bind is under way or not yet seen, and their node.
    assumed: HashMap<String, String>,
    permits: Arc<Semaphore>,
    failed: mpsc::UnboundedSender<PodInfo>,
    /// Binds and status writes; they end with the scheduler.
    tasks: JoinSet<()>,
}

pub(crate) async fn run(context: Context) {
    let client = context.clients.as_identity(Identity::new("system:kube-scheduler", &[]));
    let (failed, mut failures) = mpsc::unbounded_channel();
    let mut scheduler = Scheduler {
        recorder: EventRecorder::throttled(
            client.clone(),
            "default-scheduler",
            "",
            context.clock.clone(),
            Some(Throttle::new(Pace::SCHEDULER)),
        ),
        client,
        clock: context.clock,
        pods: context.informers.of::<Pod>(),
        nodes: context.informers.of::<Node>(),
        world: Arc::new(World::new(&context.informers)),
        decisions: context.decisions,
        snapshot: Snapshot::default(),
        queue: SchedulingQueue::default(),
        assumed: HashMap::new(),
        permits: Arc::new(Semaphore::new(BINDS)),
        failed,
        tasks: JoinSet::new(),
    };
    let (mut pod_changes, mut node_changes) = (scheduler.pods.changes(), scheduler.nodes.changes());
    scheduler.nodes.synced().await;
    scheduler.pods.synced().await;
    scheduler.world.synced().await;
    let (wakes, mut woken) = mpsc::unbounded_channel();
    scheduler.world.announce(&mut scheduler.tasks, &wakes);
    scheduler.look_at_everything();
    let mut flush = tokio::time::interval(FLUSH_EVERY);
    loop {
        let due = scheduler.queue.next_due();
        let permits = scheduler.permits.clone();
        // In this order: what is known first, then decisions.
        tokio::select! {
            biased;
            change = node_changes.recv() => match change {
                Ok(Change::Resync) | Err(RecvError::Lagged(_)) => {
                    node_changes = scheduler.nodes.changes();
                    scheduler.look_at_everything();
                }
                Ok(change) => scheduler.node_changed(change),
                Err(RecvError::Closed) => return,
            },
            change = pod_changes.recv() => match change {
                Ok(Change::Resync) | Err(RecvError::Lagged(_)) => {
                    pod_changes = scheduler.pods.changes();
                    scheduler.look_at_everything();
                }
                Ok(change) => scheduler.pod_changed(change),
                Err(RecvError::Closed) => return,
            },
            Some(()) = woken.recv() => {
                while woken.try_recv().is_ok() {}
                scheduler.queue.wake(Instant::now(), |pod| !pod.claims.is_empty());
            }
            Some(pod) = failures.recv() => scheduler.bind_failed(&pod),
            Some(_) = scheduler.tasks.join_next() => {}
            _ = flush.tick() => scheduler.queue.release(Instant::now()),
            () = sleep_until(due) => scheduler.queue.release(Instant::now()),
            Ok(permit) = permits.acquire_owned(), if scheduler.queue.has_ready() => scheduler.schedule_next(permit),
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

impl Scheduler {
    /// Builds the snapshot anew; the queue keeps the attempts of pods that still wait.
    fn look_at_everything(&mut self) {
        self.snapshot = Snapshot::default();
        self.nodes.list().into_iter().for_each(|node| self.snapshot.put_node(node));
        let pods = self.pods.list();
        let known: std::collections::HashSet<&str> = pods.iter().filter_map(|pod| pod.metadata.uid.as_deref()).collect();
        self.queue.retain(|uid| known.contains(uid));
        self.assumed.retain(|uid, _| known.contains(uid.as_str()));
        pods.into_iter().for_each(|pod| self.pod_seen(pod));
        self.queue.cluster_changed(Instant::now());
    }

    fn node_changed(&mut self, change: Change<Node>) {
        let matters = match change {
            Change::Added(node) => {
                self.snapshot.put_node(node);
                true
            }
            Change::Updated { old, new } => {
                let matters = schedules_differently(&old, &new);
                self.snapshot.put_node(new);
                matters
            }
            Change::Deleted(node) => {
                self.snapshot.remove_node(node.metadata.name.as_deref().unwrap_or_default());
                false
            }
            Change::Resync => false,
        };
        if matters {
            self.queue.cluster_changed(Instant::now());
        }
    }

    fn pod_changed(&mut self, change: Change<Pod>) {
        match change {
            Change::Added(pod) => self.pod_seen(pod),
            Change::Updated { old, new } => {
                if old.metadata.uid != new.metadata.uid {
                    self.pod_gone(&old);
                }
                self.pod_seen(new);
            }
            Change::Deleted(pod) => self.pod_gone(&pod),
            Change::Resync => {}
        }
    }

    fn pod_seen(&mut self, pod: Arc<Pod>) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if is_terminal(&pod) {
            return self.pod_gone(&pod);
        }
        let node = node_of(&pod).to_owned();
        if !node.is_empty() {
            self.assumed.remove(&uid);
            self.queue.remove(&uid);
            let known = self.snapshot.node_of(&uid);
            if known.is_none() {
                // Someone may have waited for this one to be near.
                self.queue.wake(Instant::now(), |waiting| waiting.terms.is_some() || !waiting.spread.is_empty());
            }
            // Nothing that counts changes in a bound pod but its requests (resize).
            if known == Some(&node) && self.snapshot.requests_of(&uid) == Some(&pod::requested(&pod)) {
                self.snapshot.refresh(&uid, pod);
            } else {
                self.snapshot.place(PodInfo::new(pod), &node);
            }
        } else if is_pending(&pod) {
            match self.assumed.get(&uid).cloned() {
                // Its bind is under way; after a rebuild of the snapshot it must still count.
                Some(node) if self.snapshot.node_of(&uid).is_none() => self.snapshot.place(PodInfo::new(pod), &node),
                Some(_) => {}
                None => {
                    let info = PodInfo::new(pod);
                    self.snapshot.nominate(&info, nominated(&info.pod));
                    self.queue.add(info, Instant::now());
                }
            }
        } else {
            self.queue.remove(&uid);
        }
    }

    fn pod_gone(&mut self, pod: &Pod) {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        self.assumed.remove(uid);
        self.queue.remove(uid);
        self.snapshot.forget(uid);
        if self.snapshot.displace(uid) {
            self.queue.cluster_changed(Instant::now());
        }
    }

    fn schedule_next(&mut self, permit: tokio::sync::OwnedSemaphorePermit) {
        let Some(pod) = self.queue.pop() else { return };
        match choose(&pod, &self.snapshot, &self.world, &mut rand::rng()) {
            Ok(choice) => {
                let node = choice.node.clone();
                self.decisions.chose(&pod, choice, self.clock.now());
                self.assumed.insert(pod.uid().to_owned(), node.clone());
                let claims = self.claims_to_bind(&pod, &node);
                self.snapshot.place(pod.clone(), &node);
                self.bind(pod, node, claims, permit);
            }
            Err(misfit) => {
                self.queue.unschedulable(pod.uid(), Instant::now());
                let (preemption, nominated) = self.preempt(&pod, &misfit);
                let message = misfit.message(self.snapshot.node_count(), &preemption);
                self.decisions.found_none(&pod, misfit, message.clone(), self.clock.now());
                self.report(&pod, message, nominated);
            }
        }
    }

    fn claims_to_bind(&self, pod: &PodInfo, node: &str) -> Vec<ClaimToBind> {
        if pod.claims.is_empty() {
            return Vec::new();
        }
        let cycle = Cycle::new(pod, &self.snapshot, &self.world);
        self.snapshot.node(node).zip(cycle.ok()).map(|(node, cycle)| cycle.volumes.to_bind(node)).unwrap_or_default()
    }

    /// Makes room where lower priorities can give way; says what came of it, empty when there will be room on a node.
    fn preempt(&mut self, pod: &PodInfo, misfit: &Misfit) -> (String, Option<String>) {
        let total = self.snapshot.node_count();
        if pod.pod.spec.as_ref().and_then(|spec| spec.preemption_policy.as_deref()) == Some("Never") {
            return (message::NEVER.to_owned(), None);
        }
        let leaving = |node: &str| {
            let lower = |other: &PodInfo| other.priority < pod.priority && other.pod.metadata.deletion_timestamp.is_some();
            self.snapshot.placed().any(|(on, other)| on.name() == node && lower(other))
        };
        if let Some(node) = nominated(&pod.pod).filter(|node| leaving(node)) {
            return (message::TERMINATING.to_owned(), Some(node.to_owned()));
        }
        let Some(found) = preemption::find(pod, &mut self.snapshot, &self.world, misfit.helpable()) else {
            self.snapshot.nominate(pod, None);
            return (message::no_victims(misfit, total), None);
        };
        self.snapshot.nominate(pod, Some(&found.node));
        for victim in found.victims {
            self.evict(pod, victim, &found.node);
        }
        (String::new(), Some(found.node))
    }

    fn evict(&mut self, pod: &PodInfo, victim: PodInfo, node: &str) {
        if victim.pod.metadata.deletion_timestamp.is_some() {
            return;
        }
        let message = format!("Preempted by pod {} on node {node}", pod.uid());
        self.recorder.event(&victim.pod.object_ref(&()), EventType::Normal, "Preempted", message);
        let api = Api::<Pod>::namespaced(self.client.clone(), victim.namespace());
        let patch = json!({"metadata": {"uid": victim.uid()}, "status": {"conditions": [{"type": "DisruptionTarget", "status": "True",
            "reason": "PreemptionByScheduler", "message": "default-scheduler: preempting to accommodate a higher priority pod",
            "lastTransitionTime": Time(self.clock.now())}]}});
        self.tasks.spawn(async move {
            let marked = api.patch_status(victim.name(), &PatchParams::default(), &Patch::Strategic(patch)).await.map(drop);
            let preconditions = Preconditions { uid: Some(victim.uid().to_owned()), resource_version: None };
            let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            let gone = api.delete(victim.name(), &parameters).await.map(drop);
            if let Err(error) = marked.and(gone) {
                tracing::debug!(pod = victim.name(), %error, "victim was not removed");
            }
        });
    }

    fn bind(&mut self, pod: PodInfo, node: String, claims: Vec<ClaimToBind>, permit: tokio::sync::OwnedSemaphorePermit) {
        let api = Api::<Pod>::namespaced(self.client.clone(), pod.namespace());
        let (recorder, failed) = (self.recorder.clone(), self.failed.clone());
        let (client, world) = (self.client.clone(), self.world.clone());
        self.tasks.spawn(async move {
            let object = pod.pod.object_ref(&());
            let mut permit = Some(permit);
            if !claims.is_empty() {
                // Others need not wait for volumes.
                permit = None;
            }
            let outcome = match bind_claims(&client, &world, claims, &node).await {
                Ok(()) => post_binding(&api, &pod, &node).await,
                Err(error) => Err(error),
            };
            drop(permit);
            match outcome {
                Ok(()) => {
                    let message = format!("Successfully assigned {}/{} to {node}", pod.namespace(), pod.name());
                    recorder.event(&object, EventType::Normal, "Scheduled", message);
                }
                Err(error) => {
                    if !is_not_found(&error) && !is_conflict(&error) {
                        recorder.event(&object, EventType::Warning, "FailedScheduling", format!("binding rejected: {error}"));
                    }
                    tracing::debug!(pod = pod.name(), %node, %error, "bind failed");
                    // The scheduler ends only together with this task.
                    let _ = failed.send(pod);
                }
            }
        });
    }

    /// Takes an assumption back. What the cache shows of the pod decides what comes next.
    fn bind_failed(&mut self, pod: &PodInfo) {
        if self.assumed.remove(pod.uid()).is_none() {
            return;
        }
        self.snapshot.displace(pod.uid());
        match self.pods.get(pod.namespace(), pod.name()).filter(|seen| seen.metadata.uid == pod.pod.metadata.uid) {
            Some(seen) if is_pending(&seen) => self.queue.retry(pod.uid(), Instant::now()),
            _ => self.queue.remove(pod.uid()),
        }
        self.queue.cluster_changed(Instant::now());
    }

    /// Tells people, in an event and in the pod's condition.
    fn report(&mut self, pod: &PodInfo, message: String, nominated_node: Option<String>) {
        self.recorder.event(&pod.pod.object_ref(&()), EventType::Warning, "FailedScheduling", message.clone());
        let known = pod.pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        let known = known.and_then(|conditions| conditions.iter().find(|condition| condition.type_ == "PodScheduled"));
        let same_node = nominated(&pod.pod) == nominated_node.as_deref();
        if same_node && known.is_some_and(|known| known.status == "False" && known.message.as_ref() == Some(&message)) {
            return;
        }
        let since = known.filter(|known| known.status == "False").and_then(|known| known.last_transition_time.clone());
        let patch = json!({"metadata": {"uid": pod.uid()}, "status": {"nominatedNodeName": nominated_node, "conditions": [{
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "observedGeneration": pod.pod.metadata.generation,
            "lastProbeTime": Value::Null,
            "lastTransitionTime": since.unwrap_or(Time(self.clock.now())),
        }]}});
        let api = Api::<Pod>::namespaced(self.client.clone(), pod.namespace());
        let name = pod.name().to_owned();
        self.tasks.spawn(async move {
            if let Err(error) = api.patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch)).await {
                tracing::debug!(pod = name, %error, "condition was not written");
            }
        });
    }
}

/// Tells claims that waited for a consumer where they are wanted, and waits until they are bound.
async fn bind_claims(client: &kube::Client, world: &World, claims: Vec<ClaimToBind>, node: &str) -> Result<(), kube::Error> {
    for (claim, volume) in &claims {
        let (namespace, name) =
            (claim.metadata.namespace.as_deref().unwrap_or_default(), claim.metadata.name.as_deref().unwrap_or_default());
        match volume {
            Some(volume) => {
                let reference = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace, "name": name,
                    "uid": claim.metadata.uid, "resourceVersion": claim.metadata.resource_version});
                let patch = json!({"metadata": {"resourceVersion": volume.metadata.resource_version}, "spec": {"claimRef": reference}});
                let api = Api::<PersistentVolume>::all(client.clone());
                let name = volume.metadata.name.as_deref().unwrap_or_default();
                api.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
            }
            None => {
                let patch = json!({"metadata": {"uid": claim.metadata.uid, "annotations": {"volume.kubernetes.io/selected-node": node}}});
                let api = Api::<PersistentVolumeClaim>::namespaced(client.clone(), namespace);
                api.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
            }
        }
    }
    let is_bound = |claim: &PersistentVolumeClaim| {
        let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
        world.claims.get(namespace, claim.metadata.name.as_deref().unwrap_or_default()).is_some_and(|known| volumes::is_bound(&known))
    };
    let mut changes = world.claims.changes();
    let bound =
        async { while !claims.iter().all(|(claim, _)| is_bound(claim)) && !matches!(changes.recv().await, Err(RecvError::Closed)) {} };
    match tokio::time::timeout(BIND_VOLUMES_WITHIN, bound).await {
        Ok(()) => Ok(()),
        Err(_) => {
            let status = kube::core::Status::failure("binding volumes: timed out waiting for the condition", "Timeout").with_code(504);
            Err(kube::Error::Api(Box::new(status)))
        }
    }
}

async fn post_binding(api: &Api<Pod>, pod: &PodInfo, node: &str) -> Result<(), kube::Error> {
    let binding = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": pod.name(), "namespace": pod.namespace(), "uid": pod.uid()},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    api.create_subresource::<Value, Value>("binding", pod.name(), &PostParams::default(), &binding).await.map(drop)
}

/// A change of a node that may let a pod run there; heartbeats are none.
fn schedules_differently(old: &Node, new: &Node) -> bool {
    let spec = |node: &Node| node.spec.as_ref().map(|spec| (spec.taints.clone(), spec.unschedulable.unwrap_or(false)));
    let allocatable = |node: &Node| node.status.as_ref().and_then(|status| status.allocatable.clone());
    spec(old) != spec(new) || old.metadata.labels != new.metadata.labels || allocatable(old) != allocatable(new)
}
