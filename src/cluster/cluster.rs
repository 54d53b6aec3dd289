//! A running cluster: what it is made of, and the order in which it comes up and goes down.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coracle_api::clock::{Clock, SystemClock};
use coracle_api::identity::Identity;
use coracle_api::seams::PodNetwork;
use coracle_client::{Clients, Informers};
use coracle_controllers::{Autoscaling, NodeLifecycle};
use coracle_network::{Lab, LabConfig, Ranges, SimulatedNetwork};
use coracle_node::Dialer;
use coracle_node::rootless::is_rootless;
use coracle_node::runtime::docker::{Docker, Engine};
use coracle_server::admission::TolerationSeconds;
use coracle_server::bootstrap::BootstrapConfig;
use coracle_server::pki::{Pki, PkiOptions};
use coracle_server::{Config as ServerConfig, Server};
use coracle_store::{Options as StoreOptions, Store};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, Patch, PatchParams};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::choice::{RuntimeChoice, RuntimeKind, docker_engine};
use crate::claim::{claim, node_names, ranges_of};
use crate::control::{Controls, Request};
use crate::directory::{DataDirectory, Held, Holder, Identity as ClusterIdentity};
use crate::error::ClusterError;
use crate::listen::{API_PORT, listen, serve, unusable};
use crate::nodes::{DOMAIN, Nodes, Plan};
use crate::steps::Steps;

/// How long a start waits for the first service account at most.
const ACCOUNT_PATIENCE: Duration = Duration::from_secs(10);
/// `off` keeps services and policies out of the kernel's packet tables.
const NFT: &str = "CORACLE_NFT";

/// What a cluster is started with.
pub struct ClusterConfig {
    /// Where its data is.
    pub directory: DataDirectory,
    /// Where the API listens; `None`: 127.0.0.1:6443, or the next port that is free.
    pub listen: Option<SocketAddr>,
    /// The runtime.
    pub runtime: RuntimeChoice,
    /// How many nodes; more than one are `node-1`, `node-2`, ….
    pub nodes: usize,
    /// Address ranges, at the first start.
    pub ranges: Option<Ranges>,
    /// Longest wait before a container that keeps failing is started again.
    pub longest_restart_delay: Duration,
    /// Program that is run as `PROGRAM __shim …` and `PROGRAM __kubia …`.
    pub program: PathBuf,
    /// How nodes are watched, and how long pods stay on lost ones.
    pub lifecycle: Lifecycle,
    /// How horizontal pod autoscalers work.
    pub autoscaling: Autoscaling,
}

/// The life and death of nodes: flags of the controller manager, the API server and the kubelet.
#[derive(Debug, Clone, PartialEq)]
pub struct Lifecycle {
    /// How nodes are watched.
    pub watched: NodeLifecycle,
    /// How long pods stay on lost nodes when they do not say it.
    pub tolerations: TolerationSeconds,
    /// How long a node's lease is good for; it is renewed after a quarter of it.
    pub lease_duration: Duration,
}

impl Default for Lifecycle {
    fn default() -> Self {
        let (watched, tolerations) = (NodeLifecycle::default(), TolerationSeconds::default());
        Self { watched, tolerations, lease_duration: Duration::from_secs(40) }
    }
}

/// A running cluster.
pub struct Cluster {
    directory: DataDirectory,
    identity: ClusterIdentity,
    server: Server,
    clients: Clients,
    address: SocketAddr,
    nodes: Option<Arc<Nodes>>,
    lab: Option<Lab>,
    actors: Vec<JoinHandle<()>>,
    serving: Vec<JoinHandle<()>>,
    shutdown: CancellationToken,
    requests: mpsc::UnboundedReceiver<Request>,
    took: Duration,
    informers: Informers,
    store: Store,
    // the directory is free when this is dropped
    _held: Held,
}

impl Cluster {
    /// Brings a cluster up, step by step. When this returns, the API answers and every actor runs.
    pub async fn start(config: ClusterConfig, steps: &Steps) -> Result<Self, ClusterError> {
        let begun = Instant::now();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let directory = config.directory.clone();
        let (mut held, identity) = steps.take("data directory", claim(&config)).await?;
        let ranges = ranges_of(&identity)?;
        let listener = steps.take("address", listen(config.listen)).await?;
        let address = listener.local_addr().map_err(|source| unusable(config.listen, source))?;
        let (keys_of, made_by) = (directory.clone(), clock.clone());
        let keys = in_thread(move || keys(&keys_of, address, ranges, made_by.as_ref()));
        let path = directory.store();
        let store = in_thread(move || Ok(Store::open(&path, StoreOptions::default())?));
        let (pki, store) = tokio::try_join!(steps.take("keys", keys), steps.take("store", store))?;
        let (pki, url) = (Arc::new(pki), format!("https://{address}"));
        directory.write(&directory.kubeconfig(), pki.kubeconfig("coracle", &url).as_bytes())?;
        let holder = Holder { pid: std::process::id(), server: url };
        held.note(&holder).map_err(|source| file(&directory, "note who has it", source))?;

        let names = node_names(config.nodes);
        if identity.runtime != RuntimeKind::Simulated && names.len() > ranges.most_nodes() {
            return Err(ClusterError::TooManyNodes { asked: names.len(), most: ranges.most_nodes(), range: identity.pod_cidr });
        }
        let lab = match identity.runtime {
            RuntimeKind::Docker | RuntimeKind::Native => {
                Some(steps.take("pod network", Lab::start(lab_config(&directory, &identity, ranges, &names))).await?)
            }
            RuntimeKind::Simulated => None,
        };
        let (sender, requests) = mpsc::unbounded_channel();
        let controls = Arc::new(Controls {
            requests: sender,
            store: store.clone(),
            outlook: Mutex::default(),
            nodes: Mutex::default(),
            decisions: Default::default(),
            facts: Mutex::new(json!({
                "pid": holder.pid, "server": holder.server, "runtime": shown_runtime(identity.runtime), "nodes": names,
                "dataDirectory": directory.path(), "podCIDR": identity.pod_cidr, "serviceCIDR": identity.service_cidr, "linked": !is_rootless(),
                "ready": false,
            })),
        });
        let dialer = Dialer::default();
        let server = steps
            .take("API server", async {
                let server = Server::new(ServerConfig {
                    store: store.clone(),
                    clock: clock.clone(),
                    dialer: Arc::new(dialer.clone()),
                    tls: Some(Arc::new(pki.tls_config()?)),
                    token_key: pki.token_key().to_vec(),
                    authorities: pki.authorities()?,
                    bootstrap: bootstrap(&identity, ranges),
                    control: Some(controls.clone()),
                    tolerations: config.lifecycle.tolerations,
                })?;
                server.set_ready(false);
                server.bootstrap().await?;
                Ok::<_, ClusterError>(server)
            })
            .await?;
        let shutdown = CancellationToken::new();
        let mut serving = vec![serve(&server, listener, &shutdown)];
        if let Some(lab) = &lab {
            let in_pods = SocketAddr::from((ranges.api_server(), API_PORT));
            let listener = lab.listen_tcp(in_pods).await.map_err(|source| unusable(Some(in_pods), source))?;
            serving.push(serve(&server, listener, &shutdown));
        }
        let clients = in_process(&server);
        let informers = Informers::new(clients.as_identity(Identity::new("system:coracle:informer", &[])));
        *controls.outlook.lock() = Some(Box::new(informers.outlook()));
        let mut cluster = Self {
            directory,
            identity,
            server,
            clients,
            address,
            nodes: None,
            lab,
            actors: Vec::new(),
            serving,
            shutdown,
            requests,
            took: Duration::ZERO,
            informers: informers.clone(),
            store,
            _held: held,
        };
        let made = cluster.start_actors(&config, steps, &informers, &clock, &names, &pki, &dialer, &controls).await;
        if let Err(error) = made {
            cluster.stop(false).await;
            return Err(error);
        }
        steps.take("default service account", first_account(&informers)).await?;
        cluster.server.set_ready(true);
        controls.facts.lock()["ready"] = json!(true);
        cluster.took = begun.elapsed();
        cluster.actors.push(tokio::spawn(crate::pages::give_back()));
        Ok(cluster)
    }

    #[allow(clippy::too_many_arguments, reason = "the second half of the list of steps")]
    async fn start_actors(
        &mut self,
        config: &ClusterConfig,
        steps: &Steps,
        informers: &Informers,
        clock: &Arc<dyn Clock>,
        names: &[String],
        pki: &Arc<Pki>,
        dialer: &Dialer,
        controls: &Controls,
    ) -> Result<(), ClusterError> {
        let (clients, clock) = (self.clients.clone(), clock.clone());
        let network: Arc<dyn PodNetwork> = match &self.lab {
            Some(lab) => lab.pod_network(),
            None => Arc::new(SimulatedNetwork::with_nodes(ranges_of(&self.identity)?, names)),
        };
        steps
            .take("controllers", async {
                let context = coracle_controllers::Context {
                    clients: clients.clone(),
                    informers: informers.clone(),
                    clock: clock.clone(),
                    root_ca: pki.authority_certificate().to_owned(),
                    signer: Some(pki.clone()),
                    volumes: self.directory.path().join("volumes"),
                    remove_directory: coracle_node::remove_directory,
                    node_lifecycle: config.lifecycle.watched.clone(),
                    autoscaling: config.autoscaling.clone(),
                };
                self.actors.extend(coracle_controllers::start(context));
                let decisions = controls.decisions.clone();
                let context =
                    coracle_scheduler::Context { clients: clients.clone(), informers: informers.clone(), clock: clock.clone(), decisions };
                self.actors.extend(coracle_scheduler::start(context));
                Ok::<_, ClusterError>(())
            })
            .await?;
        if let Some(lab) = self.lab.clone() {
            steps.take("services and DNS", self.start_services(lab, informers, network.node_address(""))).await?;
        }
        if let Some(first) = names.first() {
            self.actors.push(tokio::spawn(mark_control_plane(clients.as_identity(Identity::admin()), first.clone())));
        }
        let nodes = Arc::new(Nodes::new(Plan {
            names: names.to_vec(),
            program: config.program.clone(),
            identity: self.identity.clone(),
            directory: self.directory.clone(),
            clients,
            informers: informers.clone(),
            clock,
            network,
            dialer: dialer.clone(),
            ranges: ranges_of(&self.identity)?,
            lease_duration: config.lifecycle.lease_duration,
            longest_restart_delay: config.longest_restart_delay,
        }));
        self.nodes = Some(nodes.clone());
        *controls.nodes.lock() = Some(nodes.clone());
        steps.take("nodes", nodes.start_all()).await
    }

    async fn start_services(&mut self, lab: Lab, informers: &Informers, node_address: IpAddr) -> Result<(), ClusterError> {
        self.actors.push(coracle_network::dns::start(&lab, informers, DOMAIN, self.shutdown.clone()).await?);
        let (policies, tasks) = coracle_network::policy::start(&lab, informers, &self.clients, self.shutdown.clone());
        self.actors.extend(tasks);
        // services are IPv4's: an API that listens on all of the machine's addresses has them on all of these
        let host = match self.address.ip() {
            ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            ip => ip,
        };
        let (informers, clients, host_addresses) = (informers.clone(), self.clients.clone(), vec![host]);
        let ingress = coracle_network::ingress::IngressConfig {
            lab: lab.clone(),
            informers: informers.clone(),
            clients: clients.clone(),
            host_addresses: host_addresses.clone(),
            node_address,
        };
        self.actors.extend(coracle_network::ingress::start(ingress, self.shutdown.clone()));
        let reserved = vec![IpAddr::V4(lab.ranges().dns())];
        let config = coracle_network::proxy::ProxyConfig { reserved, lab: Some(lab), informers, clients, host_addresses, node_address };
        self.actors.extend(coracle_network::proxy::start(config, policies, self.shutdown.clone()));
        Ok(())
    }

    /// A client that acts as `identity`.
    pub fn client(&self, identity: Identity) -> kube::Client {
        self.clients.as_identity(identity)
    }

    /// From now on, workloads whose images are made anew under the same name are restarted.
    pub fn restart_on_image(&mut self) {
        let runtimes = self.nodes.as_ref().map(|nodes| nodes.runtimes()).unwrap_or_default();
        self.actors.push(tokio::spawn(crate::restart::follow(self.client(Identity::admin()), runtimes)));
    }

    /// Where the API answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The data directory.
    pub fn directory(&self) -> &DataDirectory {
        &self.directory
    }

    /// The runtime in use, as users are told of it.
    pub fn shown_runtime(&self) -> String {
        shown_runtime(self.identity.runtime)
    }

    /// How many nodes there are.
    pub fn node_count(&self) -> usize {
        self.nodes.as_ref().map_or(0, |nodes| nodes.count())
    }

    /// How long the start took.
    pub fn took(&self) -> Duration {
        self.took
    }

    /// Waits for what another process asks.
    pub async fn request(&mut self) -> Option<Request> {
        self.requests.recv().await
    }

    /// Takes the cluster down: pods (unless they are to stay), actors, what watches for them, API, network, store, in this order.
    pub async fn stop(mut self, leave_pods: bool) {
        if let Some(nodes) = self.nodes.take() {
            nodes.stop_all(leave_pods).await;
        }
        self.shutdown.cancel();
        for actor in &self.actors {
            actor.abort();
        }
        // whoever watches a server that stops asks again and again
        self.informers.stop();
        self.server.stop();
        for task in self.actors.drain(..).chain(self.serving.drain(..)) {
            // aborted, or ended by itself
            let _ = tokio::time::timeout(Duration::from_secs(2), task).await;
        }
        if let Some(lab) = self.lab.take().filter(|_| !leave_pods)
            && let Err(error) = lab.stop().await
        {
            tracing::error!(%error, "the pod network was not removed");
        }
        if is_rootless() && !leave_pods {
            coracle_node::rootless::end_anchor(self.directory.path());
        }
        // requests under way may still have it: without a proper end the next start would have to repair it
        let store = self.store.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || store.close()).await {
            tracing::error!(%error, "the store was not closed");
        }
    }
}

/// Waits for the account that pods of the first namespace run as: without it none is admitted.
async fn first_account(informers: &Informers) -> Result<(), ClusterError> {
    let accounts = informers.of::<ServiceAccount>();
    let mut changes = accounts.changes();
    let made = async {
        while accounts.get("default", "default").is_none() {
            // whatever happened, it may be there now
            let _ = changes.recv().await;
        }
    };
    if tokio::time::timeout(ACCOUNT_PATIENCE, made).await.is_err() {
        tracing::warn!("the first namespace has no default service account yet");
    }
    Ok(())
}

/// `native (rootless)` says what is different.
fn shown_runtime(kind: RuntimeKind) -> String {
    let how = if kind == RuntimeKind::Native && is_rootless() { " (rootless)" } else { "" };
    format!("{kind}{how}")
}

pub(crate) fn engine() -> Result<Engine, ClusterError> {
    docker_engine().map_err(|reason| ClusterError::NoRuntime { reasons: vec![reason] })
}

/// Removes what a cluster has at the engine: it keeps its containers where everybody sees them.
pub(crate) async fn remove_containers(identity: &ClusterIdentity) -> Result<(), ClusterError> {
    Docker::remove_all(&engine()?, &identity.id).await.map_err(ClusterError::Runtime)
}

pub(crate) fn lab_config(directory: &DataDirectory, identity: &ClusterIdentity, ranges: Ranges, nodes: &[String]) -> LabConfig {
    let linked = !is_rootless();
    LabConfig {
        cluster_id: identity.id.clone(),
        ranges,
        nodes: nodes.to_vec(),
        run_directory: if linked { PathBuf::from("/run/coracle") } else { directory.run() }.join(&identity.id),
        linked,
        owner: directory.path().to_owned(),
        nft: std::env::var_os(NFT).is_none_or(|value| value != "off"),
    }
}

/// What waits for the disk or computes for long, beside others of its kind.
async fn in_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T, ClusterError> + Send + 'static) -> Result<T, ClusterError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

fn keys(directory: &DataDirectory, address: SocketAddr, ranges: Ranges, clock: &dyn Clock) -> Result<Pki, ClusterError> {
    let options = PkiOptions {
        directory: directory.keys(),
        names: vec![address.ip().to_string(), ranges.host().to_string()],
        service_ip: IpAddr::V4(ranges.services.nth(1)),
        pod_network_ip: IpAddr::V4(ranges.api_server()),
    };
    Ok(Pki::load_or_create(&options, clock.now())?)
}

fn bootstrap(identity: &ClusterIdentity, ranges: Ranges) -> BootstrapConfig {
    BootstrapConfig {
        service_cidr: identity.service_cidr.clone(),
        service_ip: IpAddr::V4(ranges.services.nth(1)),
        endpoint_ip: IpAddr::V4(ranges.api_server()),
        endpoint_port: API_PORT,
    }
}

/// The first node is the one of the control plane, as `kubectl get nodes` shows it. No node may say that of itself.
async fn mark_control_plane(client: kube::Client, node: String) {
    let api: Api<k8s_openapi::api::core::v1::Node> = Api::all(client);
    let mark = Patch::Merge(json!({"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}}));
    while let Err(error) = api.patch(&node, &PatchParams::default(), &mark).await {
        tracing::debug!(node, %error, "the node is not marked yet");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn file(directory: &DataDirectory, what: &'static str, source: io::Error) -> ClusterError {
    ClusterError::File { path: directory.path().to_owned(), what, source }
}

/// Clients that call the server directly, and over a connection in memory where they upgrade.
fn in_process(server: &Server) -> Clients {
    let connecting = server.clone();
    let connect = Arc::new(move |identity: Identity| {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let server = connecting.clone();
        tokio::spawn(async move { server.serve_stream(far, Some(identity)).await });
        near
    });
    Clients::in_process(server.clone(), connect)
}
