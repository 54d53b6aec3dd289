//! The scheduler's task: takes changes in, decides, and sends binds out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock::Clock;
use coracle_api::identity::Identity;
use coracle_client::{Change, EventRecorder, EventType, Informer, is_conflict, is_not_found};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Resource};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Context;
use crate::cycle::choose;
use crate::pod::{PodInfo, is_pending, is_terminal, node_of};
use crate::queue::SchedulingQueue;
use crate::snapshot::Snapshot;

/// Binds under way at once.
const BINDS: usize = 32;
const FLUSH_EVERY: Duration = Duration::from_secs(30);

struct Scheduler {
    client: kube::Client,
    recorder: EventRecorder,
    clock: Arc<dyn Clock>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
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
        recorder: EventRecorder::with_clock(client.clone(), "default-scheduler", "", context.clock.clone()),
        client,
        clock: context.clock,
        pods: context.informers.of::<Pod>(),
        nodes: context.informers.of::<Node>(),
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
            let info = PodInfo::new(pod);
            // Nothing that counts changes in a bound pod but its requests (resize).
            if self.snapshot.node_of(&uid) != Some(&node) || self.snapshot.requests_of(&uid) != Some(&info.requests) {
                self.snapshot.place(info, &node);
            } else {
                self.snapshot.refresh(&uid, info.pod);
            }
        } else if is_pending(&pod) {
            match self.assumed.get(&uid).cloned() {
                // Its bind is under way; after a rebuild of the snapshot it must still count.
                Some(node) if self.snapshot.node_of(&uid).is_none() => self.snapshot.place(PodInfo::new(pod), &node),
                Some(_) => {}
                None => self.queue.add(PodInfo::new(pod), Instant::now()),
            }
        } else {
            self.queue.remove(&uid);
        }
    }

    fn pod_gone(&mut self, pod: &Pod) {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        self.assumed.remove(uid);
        self.queue.remove(uid);
        if self.snapshot.displace(uid) {
            self.queue.cluster_changed(Instant::now());
        }
    }

    fn schedule_next(&mut self, permit: tokio::sync::OwnedSemaphorePermit) {
        let Some(pod) = self.queue.pop() else { return };
        match choose(&pod, &self.snapshot, &mut rand::rng()) {
            Ok(node) => {
                self.assumed.insert(pod.uid().to_owned(), node.clone());
                self.snapshot.place(pod.clone(), &node);
                self.bind(pod, node, permit);
            }
            Err(message) => {
                self.queue.unschedulable(pod.uid(), Instant::now());
                self.report(&pod, message);
            }
        }
    }

    fn bind(&mut self, pod: PodInfo, node: String, permit: tokio::sync::OwnedSemaphorePermit) {
        let api = Api::<Pod>::namespaced(self.client.clone(), pod.namespace());
        let (recorder, failed) = (self.recorder.clone(), self.failed.clone());
        self.tasks.spawn(async move {
            let object = pod.pod.object_ref(&());
            let outcome = post_binding(&api, &pod, &node).await;
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
    fn report(&mut self, pod: &PodInfo, message: String) {
        self.recorder.event(&pod.pod.object_ref(&()), EventType::Warning, "FailedScheduling", message.clone());
        let known = pod.pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        let known = known.and_then(|conditions| conditions.iter().find(|condition| condition.type_ == "PodScheduled"));
        if known.is_some_and(|known| known.status == "False" && known.message.as_ref() == Some(&message)) {
            return;
        }
        let since = known.filter(|known| known.status == "False").and_then(|known| known.last_transition_time.clone());
        let patch = json!({"metadata": {"uid": pod.uid()}, "status": {"conditions": [{
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
