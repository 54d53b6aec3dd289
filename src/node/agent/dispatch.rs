//! Hands changes (of pods, of what pods name, of the runtime) to the workers of the pods they concern.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use coracle_client::Change;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret};
use kube::Resource;
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;

use super::Agent;
use crate::pod::life;
use crate::pod::worker::PodWorker;
use crate::pod::{is_terminal, name, namespace, uid};
use crate::runtime::RuntimeEvent;
use crate::volumes;

/// The runtime's hints may be lost: it is asked for everything this often.
const RELIST: Duration = Duration::from_secs(30);

/// Runs until stopped.
pub(crate) async fn run(agent: Arc<Agent>) {
    let mut pods = agent.pods.changes();
    let mut runtime = agent.runtime.events();
    agent.pods.synced().await;
    agent.nodes.synced().await;
    // before a pod starts that has the name, and the disks, of one that is gone
    remove_orphans(&agent).await;
    if agent.runtime.has_files()
        && let Err(error) = volumes::share(&agent.data_dir.join("pods"))
    {
        tracing::warn!(node = agent.name, %error, "parts of volumes may not be seen by pods");
    }
    resync(&agent);
    let left = Notify::new();
    let remove_left = remove_orphans_when(&agent, &left);
    tokio::pin!(remove_left);
    let objects: [BoxFuture<'static, ()>; 3] = [
        Box::pin(follow_objects::<ConfigMap>(agent.clone(), agent.objects.config_maps().changes())),
        Box::pin(follow_objects::<Secret>(agent.clone(), agent.objects.secrets().changes())),
        Box::pin(follow_objects::<PersistentVolumeClaim>(agent.clone(), agent.objects.claims().changes())),
    ];
    let follow_objects = futures::future::join_all(objects);
    tokio::pin!(follow_objects);
    let mut relist = tokio::time::interval(RELIST);
    relist.reset();
    loop {
        tokio::select! {
            change = pods.recv() => match change {
                Ok(change) => on_pod(&agent, change),
                Err(RecvError::Lagged(_)) => resync(&agent),
                Err(RecvError::Closed) => return,
            },
            event = runtime.recv() => match event {
                Ok(RuntimeEvent::Images) => agent.status_changed.notify_one(),
                Ok(event) => on_runtime(&agent, &event, &left),
                Err(RecvError::Lagged(_)) => poke_all(&agent),
                Err(RecvError::Closed) => return,
            },
            _ = relist.tick() => {
                poke_changed(&agent).await;
                left.notify_one();
            }
            () = &mut remove_left => return,
            _ = &mut follow_objects => return,
        }
    }
}

/// Wakes the worker of the pod that it is about; where there is none, what is left may be its sandbox.
fn on_runtime(agent: &Agent, event: &RuntimeEvent, left: &Notify) {
    let (RuntimeEvent::Container { pod_uid } | RuntimeEvent::Sandbox { pod_uid }) = event else { return };
    match agent.worker(pod_uid) {
        Some(worker) => worker.poke(),
        None if matches!(event, RuntimeEvent::Sandbox { .. }) => left.notify_one(),
        None => {}
    }
}

fn is_ours(agent: &Agent, pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(agent.name.as_str())
}

fn on_pod(agent: &Arc<Agent>, change: Change<Pod>) {
    match change {
        Change::Added(pod) | Change::Updated { new: pod, .. } if is_ours(agent, &pod) => observe(agent, pod),
        Change::Deleted(pod) if is_ours(agent, &pod) => {
            if let Some(worker) = agent.worker(uid(&pod)) {
                worker.update(pod);
                worker.remove();
            }
        }
        Change::Resync => resync(agent),
        _ => {}
    }
}

/// Gives the pod to its worker, or a worker to the pod.
fn observe(agent: &Arc<Agent>, pod: Arc<Pod>) {
    if agent.stop.is_cancelled() {
        return;
    }
    let mut workers = agent.workers.lock();
    if let Some(worker) = workers.get(uid(&pod)) {
        worker.update(pod);
        return;
    }
    let worker = Arc::new(PodWorker::new(pod.clone(), &agent.stop));
    workers.insert(worker.uid.clone(), worker.clone());
    drop(workers);
    let (agent, stop) = (agent.clone(), agent.stop.clone());
    agent.tasks.clone().spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = life::run(agent, worker) => {}
        }
    });
}

/// Compares all workers with all pods of the node.
fn resync(agent: &Arc<Agent>) {
    let pods = agent.by_node.get(&agent.name);
    let known: HashSet<String> = pods.iter().map(|pod| uid(pod).to_owned()).collect();
    for pod in pods {
        observe(agent, pod);
    }
    for worker in agent.workers.lock().values() {
        if !known.contains(&worker.uid) {
            worker.remove();
        }
    }
}

fn poke_all(agent: &Agent) {
    agent.workers.lock().values().for_each(|worker| worker.poke());
}

/// Wakes workers whose containers do not run any more, or run though they should not.
async fn poke_changed(agent: &Agent) {
    let Ok(containers) = agent.runtime.containers().await else { return };
    for worker in agent.workers.lock().values() {
        if worker.probes.is_outdated(containers.iter().filter(|container| container.pod_uid == worker.uid)) {
            worker.poke();
        }
    }
}

/// Removes what is left whenever there may be something: beside the pods, for a runtime may take long. Ends never.
async fn remove_orphans_when(agent: &Agent, left: &Notify) {
    loop {
        left.notified().await;
        remove_orphans(agent).await;
    }
}

/// Sandboxes of pods that no longer exist are ended and forgotten; so are their files and network. There may be some at any
/// time: an engine that dies may have made what it did not answer.
async fn remove_orphans(agent: &Agent) {
    // what there is, before who is known: what a new pod makes meanwhile is not among it
    let sandboxes = agent.runtime.sandboxes().await.unwrap_or_default();
    let attached = agent.network.attached(&agent.name).await.unwrap_or_default();
    let mut directories = Vec::new();
    if let Ok(mut found) = tokio::fs::read_dir(agent.data_dir.join("pods")).await {
        while let Ok(Some(entry)) = found.next_entry().await {
            directories.push(entry);
        }
    }
    let workers: Vec<String> = agent.workers.lock().keys().cloned().collect();
    let pods = agent.by_node.get(&agent.name);
    let known: HashSet<String> = pods.iter().map(|pod| uid(pod).to_owned()).chain(workers).collect();
    for sandbox in sandboxes.iter().filter(|sandbox| !known.contains(&sandbox.pod_uid)) {
        tracing::info!(node = agent.name, pod = sandbox.name, uid = sandbox.pod_uid, "a sandbox whose pod is gone is removed");
        for step in [agent.runtime.stop_sandbox(&sandbox.id).await, agent.runtime.remove_sandbox(&sandbox.id).await] {
            if let Err(error) = step {
                tracing::warn!(sandbox = sandbox.id, %error, "an orphaned sandbox was not removed");
            }
        }
        let logs = format!("{}_{}_{}", sandbox.namespace, sandbox.name, sandbox.pod_uid);
        let _ = tokio::fs::remove_dir_all(agent.data_dir.join("logs").join(logs)).await;
    }
    for id in attached {
        let uid = id.rsplit_once('_').map_or(id.as_str(), |(uid, _)| uid);
        if !known.contains(uid)
            && let Err(error) = agent.network.detach(&agent.name, &id).await
        {
            tracing::warn!(node = agent.name, id, %error, "an orphaned network was not removed");
        }
    }
    for entry in directories.iter().filter(|entry| !known.contains(&*entry.file_name().to_string_lossy())) {
        agent.remove(entry.path()).await;
    }
}

/// Wakes the pods of a namespace in which a config map or secret changed.
async fn follow_objects<K>(agent: Arc<Agent>, mut changes: tokio::sync::broadcast::Receiver<Change<K>>)
where
    K: Resource<DynamicType = ()> + Named,
{
    loop {
        match changes.recv().await {
            Ok(Change::Added(object) | Change::Updated { new: object, .. } | Change::Deleted(object)) => {
                let meta = object.meta();
                let (namespace_of, name_of) = (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
                for worker in agent.workers.lock().values() {
                    let pod = worker.pod();
                    if namespace(&pod) == namespace_of && K::is_named(&pod, name_of) {
                        worker.poke_objects();
                    }
                }
            }
            Ok(Change::Resync) | Err(RecvError::Lagged(_)) => agent.workers.lock().values().for_each(|worker| worker.poke_objects()),
            Err(RecvError::Closed) => return,
        }
    }
}

/// Kinds that pods name in their specs.
trait Named {
    fn is_named(pod: &Pod, name: &str) -> bool;
}

impl Named for ConfigMap {
    fn is_named(pod: &Pod, name: &str) -> bool {
        volumes::config_maps(pod).iter().any(|known| known == name)
            || crate::pod::members(pod).any(|member| crate::pod::environment::references(&member.spec).0.iter().any(|known| known == name))
    }
}

impl Named for Secret {
    fn is_named(pod: &Pod, name: &str) -> bool {
        volumes::secrets(pod).iter().any(|known| known == name)
            || crate::pod::members(pod).any(|member| crate::pod::environment::references(&member.spec).1.iter().any(|known| known == name))
    }
}

impl Named for PersistentVolumeClaim {
    fn is_named(pod: &Pod, name: &str) -> bool {
        let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        volumes.filter_map(|volume| volumes::claim_name(pod, volume)).any(|known| known == name)
    }
}

/// The worker's pod is gone: a pod of the same name that waited may start.
pub(crate) fn finished(agent: &Agent, worker: &PodWorker) {
    let mut workers = agent.workers.lock();
    workers.remove(&worker.uid);
    let gone = worker.pod();
    for other in workers.values() {
        let pod = other.pod();
        if name(&pod) == name(&gone) && namespace(&pod) == namespace(&gone) {
            other.poke();
        }
    }
}

/// Whether an earlier pod of the same name still has something on the node.
pub(crate) fn name_is_taken(agent: &Agent, worker: &PodWorker) -> bool {
    let pod = worker.pod();
    agent.workers.lock().values().any(|other| {
        let before = other.pod();
        other.uid != worker.uid
            && name(&before) == name(&pod)
            && namespace(&before) == namespace(&pod)
            && before.metadata.creation_timestamp <= pod.metadata.creation_timestamp
    })
}

/// Pods that use the node's resources, without `except`.
pub(crate) fn active_pods(agent: &Agent, except: &str) -> Vec<Arc<Pod>> {
    let pods = agent.workers.lock().values().filter(|worker| worker.uid != except).map(|worker| worker.pod()).collect::<Vec<_>>();
    pods.into_iter().filter(|pod| !is_terminal(pod)).collect()
}
