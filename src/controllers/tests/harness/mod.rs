//! A control plane in this process with nodes that only pretend: pods bound to them are ready at once, and gone at once
//! when they are deleted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, missing_docs)]

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock::{Clock, SystemClock};
use coracle_api::identity::Identity;
use coracle_api::seams::NodeDialer;
use coracle_client::{Change, Clients, Informer, Informers};
use coracle_controllers::NodeLifecycle;
use coracle_server::bootstrap::BootstrapConfig;
use coracle_server::{Config, Server};
use coracle_store::{Options, Store};
use k8s_openapi::api::core::v1::{Node, Pod, ServiceAccount};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Resource};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

const HOURS: Duration = Duration::from_secs(36_000);

fn delete(directory: &Path) -> std::io::Result<()> {
    std::fs::remove_dir_all(directory)
}

struct NoNodes;

impl NodeDialer for NoNodes {}

pub struct ControlPlane {
    pub client: kube::Client,
    pub informers: Informers,
    tasks: Vec<JoinHandle<()>>,
    _directory: tempfile::TempDir,
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl ControlPlane {
    /// Server, controllers and scheduler, and this many nodes whose pods get ready (or do not).
    pub async fn start(nodes: usize, pods_get_ready: bool) -> Self {
        Self::with_clock(nodes, pods_get_ready, Arc::new(SystemClock)).await
    }

    /// The same by another clock.
    pub async fn with_clock(nodes: usize, pods_get_ready: bool, clock: Arc<dyn Clock>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &ring::rand::SystemRandom::new()).unwrap();
        let config = Config {
            store: Store::open(&directory.path().join("store"), Options::default()).unwrap(),
            clock: clock.clone(),
            dialer: Arc::new(NoNodes),
            tls: None,
            token_key: key.as_ref().to_vec(),
            authorities: Default::default(),
            bootstrap: BootstrapConfig {
                service_cidr: "10.96.0.0/12".to_owned(),
                service_ip: "10.96.0.1".parse().unwrap(),
                endpoint_ip: "10.244.0.1".parse().unwrap(),
                endpoint_port: 6443,
            },
            control: None,
            tolerations: Default::default(),
        };
        let server = Server::new(config).unwrap();
        server.bootstrap().await.unwrap();
        let clients = Clients::in_process(server, Arc::new(|_| tokio::io::duplex(1).0));
        let informers = Informers::new(clients.as_identity(Identity::new("system:coracle:informer", &[])));
        let client = clients.as_identity(Identity::admin());
        for number in 0..nodes {
            add_node(&client, &format!("node-{number}")).await;
        }
        let context = coracle_controllers::Context {
            clients: clients.clone(),
            informers: informers.clone(),
            clock: clock.clone(),
            root_ca: "CA".to_owned(),
            volumes: directory.path().join("volumes"),
            remove_directory: delete,
            signer: None,
            // nodes that pretend have no leases: however long a story takes, none is lost
            node_lifecycle: NodeLifecycle { node_monitor_grace_period: HOURS, node_startup_grace_period: HOURS, ..Default::default() },
            autoscaling: Default::default(),
        };
        let mut tasks = coracle_controllers::start(context);
        let decisions = coracle_scheduler::Decisions::default();
        tasks.extend(coracle_scheduler::start(coracle_scheduler::Context { clients, informers: informers.clone(), clock, decisions }));
        tasks.push(tokio::spawn(pretend(client.clone(), informers.of(), pods_get_ready)));
        let plane = Self { client, informers, tasks, _directory: directory };
        // Pods are refused before their service account is there.
        let default = |one: &ServiceAccount| one.metadata.namespace.as_deref() == Some("default");
        plane.eventually("the account of the first namespace", |all: &[ServiceAccount]| all.iter().any(default)).await;
        plane
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    pub async fn create<K>(&self, object: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + Clone + Debug + DeserializeOwned + serde::Serialize,
    {
        let object: K = serde_json::from_value(object).unwrap();
        self.api::<K>().create(&PostParams::default(), &object).await.unwrap()
    }

    /// Objects of a kind when they are as expected; fails with what they were last after a while.
    pub async fn eventually<K>(&self, what: &str, expected: impl Fn(&[K]) -> bool) -> Vec<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let api = Api::<K>::all(self.client.clone());
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            let items = api.list(&Default::default()).await.unwrap().items;
            if expected(&items) {
                return items;
            }
            assert!(tokio::time::Instant::now() < deadline, "{what}: {items:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn patch<K>(&self, name: &str, change: Value)
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    }
}

async fn add_node(client: &kube::Client, name: &str) {
    let node: Node = serde_json::from_value(json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}})).unwrap();
    let api = Api::<Node>::all(client.clone());
    api.create(&PostParams::default(), &node).await.unwrap();
    let resources = json!({"cpu": "64", "memory": "256Gi", "pods": "110"});
    let status = json!({"status": {"capacity": resources, "allocatable": resources,
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]}});
    api.patch_status(name, &PatchParams::default(), &Patch::Strategic(status)).await.unwrap();
}

/// Plays the node agents.
async fn pretend(client: kube::Client, pods: Informer<Pod>, get_ready: bool) {
    let mut changes = pods.changes();
    pods.synced().await;
    let mut next = 0u32;
    loop {
        let seen = match changes.recv().await {
            Ok(Change::Added(pod) | Change::Updated { new: pod, .. }) => vec![pod],
            Ok(Change::Deleted(_)) => continue,
            Ok(Change::Resync) | Err(_) => pods.list(),
        };
        for pod in seen {
            let name = pod.metadata.name.clone().unwrap();
            let bound = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
            let running = pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running"));
            let api = Api::<Pod>::namespaced(client.clone(), pod.metadata.namespace.as_deref().unwrap());
            if pod.metadata.deletion_timestamp.is_some() && bound {
                let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
                let _ = api.delete(&name, &now).await;
            } else if bound && !running && get_ready {
                next += 1;
                let ip = format!("10.0.{}.{}", next / 250, next % 250 + 1);
                let time = jiff::Timestamp::now();
                let status = json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [
                    {"type": "Ready", "status": "True", "lastTransitionTime": time}]}});
                let _ = api.patch_status(&name, &PatchParams::default(), &Patch::Strategic(status)).await;
            }
        }
    }
}
