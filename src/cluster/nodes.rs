//! The nodes of this process: how one is made, how its plug is pulled, and how it comes back.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock::Clock;
use coracle_api::seams::PodNetwork;
use coracle_api::status::Status;
use coracle_client::{Clients, Informers};
use coracle_network::Ranges;
use coracle_node::runtime::Runtime;
use coracle_node::runtime::docker::{Docker, DockerConfig};
use coracle_node::runtime::native::{Native, NativeConfig, remove_control_groups};
use coracle_node::runtime::simulated::{Options as SimulatedOptions, Simulated};
use coracle_node::{Dialer, Node, NodeConfig, Turns};
use futures::future::join_all;
use parking_lot::Mutex;

use crate::choice::RuntimeKind;
use crate::cluster::{engine, remove_containers};
use crate::directory::{DataDirectory, Identity as ClusterIdentity};
use crate::error::ClusterError;

/// Domain of service names.
pub(crate) const DOMAIN: &str = "cluster.local";

/// What every node is made from.
pub(crate) struct Plan {
    pub(crate) names: Vec<String>,
    pub(crate) program: PathBuf,
    pub(crate) identity: ClusterIdentity,
    pub(crate) directory: DataDirectory,
    pub(crate) clients: Clients,
    pub(crate) informers: Informers,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) network: Arc<dyn PodNetwork>,
    pub(crate) dialer: Dialer,
    /// The ranges that nodes' pod ranges are cut from.
    pub(crate) ranges: Ranges,
    pub(crate) lease_duration: Duration,
    pub(crate) longest_restart_delay: Duration,
}

/// The nodes, by name.
pub(crate) struct Nodes {
    plan: Plan,
    turns: Turns,
    /// Of every node that was started once.
    runtimes: Mutex<BTreeMap<String, Arc<dyn Runtime>>>,
    /// The agents that run.
    running: Mutex<BTreeMap<String, Node>>,
    /// One start or stop at a time.
    turn: tokio::sync::Mutex<()>,
}

impl Nodes {
    pub(crate) fn new(plan: Plan) -> Self {
        Self { plan, turns: Turns::default(), runtimes: Mutex::default(), running: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    /// Starts all of them.
    pub(crate) async fn start_all(&self) -> Result<(), ClusterError> {
        for number in 0..self.plan.names.len() {
            self.start_number(number).await?;
        }
        Ok(())
    }

    pub(crate) fn count(&self) -> usize {
        self.running.lock().len()
    }

    /// The runtimes of all nodes.
    pub(crate) fn runtimes(&self) -> Vec<Arc<dyn Runtime>> {
        self.runtimes.lock().values().cloned().collect()
    }

    /// Starts a node whose plug was pulled.
    pub(crate) async fn start(&self, name: &str) -> Result<(), Status> {
        let _turn = self.turn.lock().await;
        let number = self.plan.names.iter().position(|known| known == name).ok_or_else(|| not_here(name))?;
        if self.running.lock().contains_key(name) {
            return Err(Status::new(409, "Conflict", format!("node {name:?} is running")));
        }
        self.start_number(number).await.map_err(|error| Status::internal(format!("node {name:?} was not started: {error}")))
    }

    /// Pulls the plug of a node: its agent says no more, its containers end, and its objects stay as they were.
    pub(crate) async fn stop(&self, name: &str) -> Result<(), Status> {
        let _turn = self.turn.lock().await;
        let node = self.running.lock().remove(name).ok_or_else(|| not_here(name))?;
        self.plan.dialer.remove(name);
        node.stop(true).await;
        Ok(())
    }

    /// Ends all agents together, for a cluster that goes down.
    pub(crate) async fn stop_all(&self, leave_pods: bool) {
        let _turn = self.turn.lock().await;
        let running = std::mem::take(&mut *self.running.lock());
        join_all(running.values().map(|node| node.stop(!leave_pods))).await;
        if self.plan.identity.runtime == RuntimeKind::Simulated || leave_pods {
            return;
        }
        if self.plan.identity.runtime == RuntimeKind::Docker
            && let Err(error) = remove_containers(&self.plan.identity).await
        {
            tracing::error!(%error, "containers were left at the engine");
        }
        // after what is in them
        for name in self.runtimes.lock().keys() {
            remove_control_groups(&control_group(&self.plan.identity, name));
        }
    }

    async fn start_number(&self, number: usize) -> Result<(), ClusterError> {
        let plan = &self.plan;
        let name = &plan.names[number];
        let node = Node::start(NodeConfig {
            name: name.clone(),
            data_dir: plan.directory.node(name),
            clients: plan.clients.clone(),
            informers: plan.informers.clone(),
            runtime: self.runtime(name).await?,
            network: plan.network.clone(),
            clock: plan.clock.clone(),
            capacity: None,
            pod_cidr: (plan.names.len() <= plan.ranges.most_nodes()).then(|| plan.ranges.node(number as u32).to_string()),
            lease_duration: plan.lease_duration,
            longest_restart_delay: plan.longest_restart_delay,
            cluster_domain: DOMAIN.to_owned(),
            turns: self.turns.clone(),
        });
        plan.dialer.add(&node);
        self.running.lock().insert(name.clone(), node);
        Ok(())
    }

    /// The node's runtime: the same one however often the node is started.
    async fn runtime(&self, name: &str) -> Result<Arc<dyn Runtime>, ClusterError> {
        if let Some(known) = self.runtimes.lock().get(name) {
            return Ok(known.clone());
        }
        let runtime = open(&self.plan, name).await?;
        make_own_image(runtime.clone());
        self.runtimes.lock().insert(name.to_owned(), runtime.clone());
        Ok(runtime)
    }
}

async fn open(plan: &Plan, node: &str) -> Result<Arc<dyn Runtime>, ClusterError> {
    let data_dir = plan.directory.node(node).join("runtime");
    let cgroup_root = control_group(&plan.identity, node);
    let run = |word: &str| -> Vec<OsString> { vec![plan.program.clone().into(), word.into()] };
    match plan.identity.runtime {
        RuntimeKind::Simulated => Ok(Arc::new(Simulated::new(SimulatedOptions::default()))),
        RuntimeKind::Docker => {
            let (cluster, node) = (plan.identity.id.clone(), node.to_owned());
            let docker = Docker::open(DockerConfig { engine: engine()?, cluster, node, data_dir, cgroup_root, demo: run("__kubia") });
            Ok(Arc::new(docker.await.map_err(ClusterError::Runtime)?))
        }
        RuntimeKind::Native => {
            let native = Native::open(NativeConfig { data_dir, cgroup_root, shim: run("__shim"), demo: run("__kubia") });
            Ok(Arc::new(native.await.map_err(ClusterError::Runtime)?))
        }
    }
}

fn not_here(name: &str) -> Status {
    Status::new(404, "NotFound", format!("no node {name:?} runs here"))
}

/// The control group that everything of a node is below.
pub(crate) fn control_group(identity: &ClusterIdentity, node: &str) -> PathBuf {
    PathBuf::from(format!("/coracle-{}-{node}", identity.id))
}

/// Makes the project's own image beside the start, so that the first pod finds it and `image list` shows it.
fn make_own_image(runtime: Arc<dyn Runtime>) {
    tokio::spawn(async move {
        if let Err(error) = runtime.image(&format!("{}:1.0", coracle_node::images::KUBIA)).await {
            tracing::warn!(%error, "the project's own image was not made");
        }
    });
}
