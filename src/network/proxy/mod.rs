//! The service proxy: listens where services answer and splices each connection to a ready endpoint.
//!
//! What to listen on is computed from Services and EndpointSlices by [`table::frontends`]; this file makes it so.
//! An address without ready endpoints has no listener, so that connecting to it is refused at once, as upstream does.

mod splice;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use coracle_client::{Change, Clients, Informers};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::lab::Lab;
use splice::Frontend;
use table::{Listen, Place};

/// Changes that come together are applied together.
const QUIET: Duration = Duration::from_millis(5);
/// An address that could not be bound is tried again after this time.
const RETRY: Duration = Duration::from_secs(10);

/// What the proxy needs.
pub struct ProxyConfig {
    /// Where pods and cluster IPs are; without it (simulated pods) only load balancers' addresses are assigned.
    pub lab: Option<Lab>,
    /// Shared informers.
    pub informers: Informers,
    /// For the status of services of type LoadBalancer.
    pub clients: Clients,
    /// Addresses of the host on which node ports and load balancers' ports are opened, besides the node's own.
    pub host_addresses: Vec<IpAddr>,
    /// The node's address: also the external address of load balancers.
    pub node_address: IpAddr,
    /// Cluster IPs that others serve (the DNS server's).
    pub reserved: Vec<IpAddr>,
}

/// Runs the proxy until `shutdown`.
pub fn start(config: ProxyConfig, shutdown: CancellationToken) -> Vec<tokio::task::JoinHandle<()>> {
    let services = config.informers.of::<Service>();
    let slices = config.informers.of::<EndpointSlice>();
    let dirty = Arc::new(Notify::new());
    let mut tasks = vec![notify_on_changes(services.changes(), dirty.clone()), notify_on_changes(slices.changes(), dirty.clone())];
    let config = Arc::new(config);
    tasks.push(coracle_client::supervise("service-proxy", move || {
        let (config, services, slices) = (config.clone(), services.clone(), slices.clone());
        let (dirty, shutdown) = (dirty.clone(), shutdown.clone());
        async move {
            services.synced().await;
            slices.synced().await;
            let mut proxy = Proxy { config: config.clone(), open: BTreeMap::new() };
            loop {
                let (services, slices) = (services.list(), slices.list());
                let wanted = table::frontends(&services, &slices, &config);
                let complete = proxy.reconcile(wanted).await;
                assign_addresses(&services, &config).await;
                let retry = if complete { Duration::MAX } else { RETRY };
                tokio::select! {
                    () = shutdown.cancelled() => return Ok::<(), std::convert::Infallible>(()),
                    () = dirty.notified() => tokio::time::sleep(QUIET).await,
                    () = tokio::time::sleep(retry) => {}
                }
            }
        }
    }));
    tasks
}

fn notify_on_changes<K: Clone + Send + Sync + 'static>(
    mut changes: tokio::sync::broadcast::Receiver<Change<K>>,
    dirty: Arc<Notify>,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        use tokio::sync::broadcast::error::RecvError;
        while !matches!(changes.recv().await, Err(RecvError::Closed)) {
            dirty.notify_one();
        }
    })
}

struct Proxy {
    config: Arc<ProxyConfig>,
    open: BTreeMap<Listen, Frontend>,
}

impl Proxy {
    /// Opens, changes and closes listeners; `false` when an address could not be had.
    async fn reconcile(&mut self, wanted: BTreeMap<Listen, Vec<SocketAddr>>) -> bool {
        let Some(lab) = self.config.lab.clone() else { return true };
        self.open.retain(|listen, _| wanted.contains_key(listen));
        let mut complete = true;
        for (listen, backends) in wanted {
            if let Some(frontend) = self.open.get(&listen) {
                frontend.set_backends(backends);
                continue;
            }
            let bound = match listen.place {
                Place::Lab => lab.listen_tcp(listen.address).await,
                Place::Host => tokio::net::TcpListener::bind(listen.address).await,
            };
            match bound {
                Ok(listener) => drop(self.open.insert(listen, Frontend::start(listener, lab.clone(), backends))),
                Err(error) => {
                    complete = false;
                    tracing::warn!(address = %listen.address, %error, "a service's address cannot be opened");
                }
            }
        }
        complete
    }
}

/// Gives services of type LoadBalancer the node's address, and takes it from those that are no longer of that type.
async fn assign_addresses(services: &[Arc<Service>], config: &ProxyConfig) {
    for service in services {
        let wanted: BTreeSet<String> = if is_load_balancer(service) { [config.node_address.to_string()].into() } else { BTreeSet::new() };
        let ingress = service.status.as_ref().and_then(|status| status.load_balancer.as_ref()).and_then(|lb| lb.ingress.as_ref());
        let present: BTreeSet<String> = ingress.into_iter().flatten().filter_map(|ingress| ingress.ip.clone()).collect();
        if wanted == present || service.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let (Some(namespace), Some(name)) = (&service.metadata.namespace, &service.metadata.name) else { continue };
        let ingress: Vec<_> = wanted.iter().map(|ip| json!({"ip": ip, "ipMode": "VIP"})).collect();
        let patch = json!({"status": {"loadBalancer": {"ingress": if ingress.is_empty() { json!(null) } else { json!(ingress) }}}});
        let identity = coracle_api::identity::Identity::controller("service-controller");
        let api: Api<Service> = Api::namespaced(config.clients.as_identity(identity), namespace);
        if let Err(error) = api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await {
            tracing::warn!(service = %format!("{namespace}/{name}"), %error, "a load balancer's address cannot be written");
        }
    }
}

/// Whether the service is one that gets an external address from us.
fn is_load_balancer(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.is_some_and(|spec| spec.type_.as_deref() == Some("LoadBalancer") && spec.load_balancer_class.is_none())
}
