//! A server, informers and nodes in one process.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock::SystemClock;
use coracle_api::identity::Identity;
use coracle_client::{Change, Clients, Informers};
use coracle_network::{Ranges, SimulatedNetwork};
use coracle_node::runtime::Runtime;
use coracle_node::runtime::simulated::Simulated;
use coracle_node::{Capacity, Dialer, Node, NodeConfig};
use coracle_server::bootstrap::BootstrapConfig;
use coracle_server::{Config, Server};
use coracle_store::{Options, Store};
use k8s_openapi::api::core::v1::{ConfigMap, ContainerStatus, Pod, ServiceAccount};
use kube::api::{Api, PostParams};
use serde_json::{Value, json};
use tokio::sync::mpsc;

pub struct Cluster {
    pub client: kube::Client,
    pub clients: Clients,
    pub informers: Informers,
    pub dialer: Dialer,
    pub network: Arc<SimulatedNetwork>,
    pub directory: tempfile::TempDir,
}

fn key() -> Vec<u8> {
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
    EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &ring::rand::SystemRandom::new()).unwrap().as_ref().to_vec()
}

impl Cluster {
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store"), Options::default()).unwrap();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let dialer = Dialer::new();
        let server = Server::new(Config {
            store,
            clock: Arc::new(SystemClock),
            dialer: Arc::new(dialer.clone()),
            tls: None,
            token_key: key(),
            authorities: Default::default(),
            bootstrap: BootstrapConfig {
                service_cidr: "10.96.0.0/12".to_owned(),
                service_ip: address("10.96.0.1"),
                endpoint_ip: address("10.244.0.1"),
                endpoint_port: 6443,
            },
            control: None,
            tolerations: Default::default(),
        })
        .unwrap();
        server.bootstrap().await.unwrap();
        let streams = server.clone();
        let connect = Arc::new(move |identity| {
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            let server = streams.clone();
            tokio::spawn(async move { server.serve_stream(theirs, Some(identity)).await });
            ours
        });
        let clients = Clients::in_process(server, connect);
        let client = clients.as_identity(Identity::admin());
        let informers = Informers::new(client.clone());
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
        let account = serde_json::from_value(json!({"metadata": {"name": "default"}})).unwrap();
        accounts.create(&PostParams::default(), &account).await.unwrap();
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
        let map = serde_json::from_value(json!({"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": ""}})).unwrap();
        maps.create(&PostParams::default(), &map).await.unwrap();
        let network = Arc::new(SimulatedNetwork::new(Ranges::default()));
        Self { client, clients, informers, dialer, network, directory }
    }

    pub fn node(&self, name: &str) -> Node {
        self.node_with(name, Arc::new(Simulated::default()))
    }

    pub fn node_with(&self, name: &str, runtime: Arc<dyn Runtime>) -> Node {
        let node = Node::start(NodeConfig {
            turns: coracle_node::Turns::default(),
            name: name.to_owned(),
            data_dir: self.directory.path().join(name),
            clients: self.clients.clone(),
            informers: self.informers.clone(),
            runtime,
            network: self.network.clone(),
            clock: Arc::new(SystemClock),
            capacity: Some(Capacity { cpu_milli: 4_000, memory: 8 << 30, storage: 100 << 30, pods: 110 }),
            pod_cidr: None,
            lease_duration: Duration::from_secs(40),
            cluster_domain: "cluster.local".to_owned(),
            longest_restart_delay: Duration::from_secs(300),
        });
        self.dialer.add(&node);
        node
    }

    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    /// The story of pod `name` from now on, one line per change of what a reader sees.
    pub fn story(&self, name: &str) -> Story {
        let mut changes = self.informers.of::<Pod>().changes();
        let (lines, receiver) = mpsc::unbounded_channel();
        let wanted = name.to_owned();
        tokio::spawn(async move {
            let mut last = String::new();
            while let Ok(change) = changes.recv().await {
                let line = match change {
                    Change::Added(pod) | Change::Updated { new: pod, .. } if pod.metadata.name.as_ref() == Some(&wanted) => tell(&pod),
                    Change::Deleted(pod) if pod.metadata.name.as_ref() == Some(&wanted) => "gone".to_owned(),
                    _ => continue,
                };
                if line != last && lines.send(line.clone()).is_err() {
                    return;
                }
                last = line;
            }
        });
        Story { lines: receiver, told: Vec::new() }
    }

    pub async fn create(&self, name: &str, spec: Value, annotations: Value) {
        // or its story begins later
        self.informers.of::<Pod>().synced().await;
        let pod = json!({"metadata": {"name": name, "annotations": annotations}, "spec": spec});
        self.pods().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    }
}

pub struct Story {
    lines: mpsc::UnboundedReceiver<String>,
    told: Vec<String>,
}

impl Story {
    /// Waits for a line, and gives all up to it.
    pub async fn until(&mut self, last: &str) -> String {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(60), self.lines.recv()).await;
            match next {
                Ok(Some(line)) => self.told.push(line.clone()),
                _ => panic!("no `{last}` after:\n{}", self.told.join("\n")),
            }
            if self.told.last().is_some_and(|line| line == last) {
                return std::mem::take(&mut self.told).join("\n");
            }
        }
    }
}

fn tell(pod: &Pod) -> String {
    let status = pod.status.clone().unwrap_or_default();
    let one = |status: &ContainerStatus| {
        let state = status.state.clone().unwrap_or_default();
        let text = match (&state.waiting, &state.terminated) {
            (Some(waiting), _) => format!("waiting:{}", waiting.reason.clone().unwrap_or_default()),
            (_, Some(end)) => format!("{}({})", end.reason.clone().unwrap_or_default(), end.exit_code),
            _ => "running".to_owned(),
        };
        let restarts = if status.restart_count > 0 { format!("x{}", status.restart_count) } else { String::new() };
        format!("{}={text}{}{restarts}", status.name, if status.ready { "+" } else { "" })
    };
    let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let reason = status.reason.clone().map(|reason| format!("/{reason}")).unwrap_or_default();
    format!("{}{reason} [{}]", status.phase.clone().unwrap_or_default(), all.map(one).collect::<Vec<_>>().join(" "))
}
