//! The agent of one node: registers it, keeps it alive, and gives each of its pods a worker.

pub(crate) mod admission;
pub(crate) mod dispatch;
pub(crate) mod eviction;
pub(crate) mod forbidden;
pub(crate) mod health;
pub(crate) mod image_gc;
pub(crate) mod lease;
pub(crate) mod machine;
pub(crate) mod objects;
pub(crate) mod pressure;
pub(crate) mod register;
mod shutdown;

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock::Clock;
use coracle_api::identity::Identity;
use coracle_api::seams::PodNetwork;
use coracle_client::{Clients, EventRecorder, EventType, Index, Informer, Informers, Pace, Throttle, supervise};
use k8s_openapi::api::core::v1::{Node as NodeObject, Pod};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::objects::Objects;
use crate::pod::worker::PodWorker;
use crate::runtime::Runtime;
use crate::usage::Usages;
use crate::volumes;

pub use self::machine::Capacity;

/// How many statuses the nodes of a process write at once: nodes full of new pods must not flood the server, nor hold up
/// the scheduler.
const WRITES: usize = 4;
/// How long a node that stops waits for what it has begun on the machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Turns at writing, shared by the nodes of a process: statuses, and events, which give way.
#[derive(Clone)]
pub struct Turns {
    statuses: Arc<Semaphore>,
    events: Throttle,
}

impl Default for Turns {
    fn default() -> Self {
        Self { statuses: Arc::new(Semaphore::new(WRITES)), events: Throttle::new(Pace::NODES) }
    }
}

/// What a node is started with.
pub struct NodeConfig {
    /// Name of the node.
    pub name: String,
    /// Directory of this node alone: pods' files, volumes and logs.
    pub data_dir: PathBuf,
    /// Clients; the agent writes as `system:node:<name>`.
    pub clients: Clients,
    /// The process' informers.
    pub informers: Informers,
    /// The runtime of this node alone: every sandbox in it is taken for one of this node's.
    pub runtime: Arc<dyn Runtime>,
    /// Addresses and namespaces of pods.
    pub network: Arc<dyn PodNetwork>,
    /// Where times come from.
    pub clock: Arc<dyn Clock>,
    /// What the node has; `None`: what the machine has.
    pub capacity: Option<Capacity>,
    /// Range of its pods' addresses, as `spec.podCIDR` shows it.
    pub pod_cidr: Option<String>,
    /// How long a lease is good for; it is renewed after a quarter of it. The kubelet's default is 40 s.
    pub lease_duration: Duration,
    /// Domain of service names, as `cluster.local`.
    pub cluster_domain: String,
    /// Longest wait before a container that keeps failing is started again, as `crashLoopBackOff.maxContainerRestartPeriod`.
    pub longest_restart_delay: Duration,
    /// Turns at writing, shared with the process' other nodes.
    pub turns: Turns,
}

/// A running node.
pub struct Node {
    agent: Arc<Agent>,
}

/// What the parts of an agent share.
pub(crate) struct Agent {
    pub(crate) name: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) client: kube::Client,
    pub(crate) events: EventRecorder,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) network: Arc<dyn PodNetwork>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) capacity: Capacity,
    pub(crate) pod_cidr: Option<String>,
    pub(crate) lease_duration: Duration,
    pub(crate) cluster_domain: String,
    pub(crate) longest_restart_delay: Duration,
    pub(crate) objects: Objects,
    pub(crate) pods: Informer<Pod>,
    pub(crate) by_node: Index<Pod>,
    pub(crate) nodes: Informer<NodeObject>,
    /// Stands for the object in workers that are idle.
    pub(crate) no_pod: Arc<Pod>,
    pub(crate) workers: Mutex<HashMap<String, Arc<PodWorker>>>,
    /// One pull of an image at a time.
    pub(crate) pulls: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// When an image was last used, by id.
    pub(crate) images_used: Mutex<HashMap<String, jiff::Timestamp>>,
    /// What the machine is short of.
    pub(crate) pressures: pressure::Watch,
    pub(crate) health: health::Health,
    pub(crate) usages: Usages,
    pub(crate) turns: Turns,
    /// Something that the node's status shows has changed.
    pub(crate) status_changed: Notify,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Agent {
    /// Addresses of the node, as pods' `hostIPs` show them.
    pub(crate) fn host_ips(&self) -> Vec<IpAddr> {
        vec![self.network.node_address(&self.name)]
    }

    /// Waits for a turn at writing a status.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turns.statuses.acquire().await.ok()
    }

    /// Does `work` to its end, also when nobody waits for it any more: a stop waits, and takes back what was made.
    pub(crate) async fn see_through<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T, String> {
        self.tasks.spawn(work).await.map_err(|error| error.to_string())
    }

    /// Deletes a directory of pods, but nothing that is mounted there; `false`: it could not be, and is there still.
    pub(crate) async fn remove(&self, dir: PathBuf) -> bool {
        let shown = dir.display().to_string();
        let removed = self.tasks.spawn_blocking(move || volumes::remove(&dir)).await.map_err(std::io::Error::other);
        match removed.flatten() {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(node = self.name, path = shown, %error, "a directory of pods was not deleted: it is tried again");
                false
            }
        }
    }

    /// Records an event about a pod or, with a field path, one of its containers.
    pub(crate) fn event(&self, pod: &Pod, field_path: Option<String>, kind: EventType, reason: &str, message: impl Into<String>) {
        self.events.event(&crate::pod::reference(pod, field_path), kind, reason, message);
    }

    /// An image is used now: it is not removed soon.
    pub(crate) fn image_used(&self, id: &str) {
        self.images_used.lock().insert(id.to_owned(), self.clock.now());
    }

    /// Directory of a pod's files.
    pub(crate) fn pod_dir(&self, uid: &str) -> PathBuf {
        self.data_dir.join("pods").join(uid)
    }

    /// Directory of a pod's logs.
    pub(crate) fn log_dir(&self, pod: &Pod) -> PathBuf {
        use crate::pod::{name, namespace, uid};
        self.data_dir.join("logs").join(format!("{}_{}_{}", namespace(pod), name(pod), uid(pod)))
    }

    /// The worker of a pod.
    pub(crate) fn worker(&self, uid: &str) -> Option<Arc<PodWorker>> {
        self.workers.lock().get(uid).cloned()
    }
}

/// Runs a part of the agent until the node stops; one that panics is run again.
fn supervised<Fut: Future<Output = ()> + Send + 'static>(agent: &Arc<Agent>, name: &str, run: impl Fn(Arc<Agent>) -> Fut + Send + 'static) {
    let (own, stop) = (agent.clone(), agent.stop.clone());
    let part = supervise(name, move || {
        let work = run(own.clone());
        async move {
            work.await;
            Ok::<(), Infallible>(())
        }
    });
    agent.tasks.spawn(async move {
        stop.cancelled().await;
        part.abort();
        let _ = part.await;
    });
}

impl Node {
    /// Starts the agent: adopts what the runtime still runs, registers the node, and goes to work in the background.
    /// Returns as soon as that is under way; the Node object's condition says when it is ready.
    pub fn start(config: NodeConfig) -> Self {
        let client = config.clients.as_identity(Identity::node(&config.name));
        let pods = config.informers.of::<Pod>();
        let by_node =
            pods.index("spec.nodeName", |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).into_iter().collect());
        let agent = Arc::new(Agent {
            events: EventRecorder::throttled(
                client.clone(),
                "kubelet",
                &config.name,
                config.clock.clone(),
                Some(config.turns.events.clone()),
            ),
            objects: Objects::new(client.clone(), &config.informers),
            capacity: config.capacity.unwrap_or_else(|| Capacity::of_machine(&config.data_dir)),
            nodes: config.informers.of::<NodeObject>(),
            name: config.name,
            data_dir: config.data_dir,
            client,
            runtime: config.runtime,
            network: config.network,
            clock: config.clock,
            pod_cidr: config.pod_cidr,
            lease_duration: config.lease_duration,
            cluster_domain: config.cluster_domain,
            longest_restart_delay: config.longest_restart_delay,
            pods,
            by_node,
            no_pod: Arc::default(),
            workers: Mutex::default(),
            pulls: Mutex::default(),
            images_used: Mutex::default(),
            pressures: pressure::Watch::default(),
            health: health::Health::default(),
            usages: Usages::default(),
            turns: config.turns,
            status_changed: Notify::new(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        supervised(&agent, "node dispatch", dispatch::run);
        supervised(&agent, "node status", register::run);
        supervised(&agent, "node lease", lease::run);
        supervised(&agent, "node health", health::run);
        supervised(&agent, "node eviction", eviction::run);
        supervised(&agent, "node images", image_gc::run);
        Self { agent }
    }

    /// Name of the node.
    pub fn name(&self) -> &str {
        &self.agent.name
    }

    /// The node's runtime.
    pub fn runtime(&self) -> Arc<dyn Runtime> {
        self.agent.runtime.clone()
    }

    pub(crate) fn agent(&self) -> &Arc<Agent> {
        &self.agent
    }

    /// Ends the agent. With `stop_pods`, every container is asked to end and given at most 10 s, and nothing of the pods is
    /// left in the kernel; their objects stay, and the next start runs them anew. Without, they keep running and are adopted.
    pub async fn stop(&self, stop_pods: bool) {
        self.agent.stop.cancel();
        self.agent.tasks.close();
        // What makes sandboxes and volumes ends first: what comes of it is taken back.
        if tokio::time::timeout(PATIENCE, self.agent.tasks.wait()).await.is_err() {
            tracing::warn!(node = self.agent.name, "the node stops though some of its work does not end");
        }
        if stop_pods {
            shutdown::stop_pods(&self.agent).await;
        }
    }
}
