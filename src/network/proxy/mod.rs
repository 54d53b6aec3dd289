//! The service proxy: listens where services answer and leads each client to a ready endpoint.
//!
//! What to listen on is computed from Services and EndpointSlices by [`table::frontends`]; this file makes it so.
//! An address without endpoints has no listener, so that connecting to it is refused at once, as upstream does.
//! Connections are spliced ([`splice`]) and datagrams passed on ([`datagrams`]) in user space; where the kernel has nft,
//! it leads plain TCP services' clients to their endpoints itself ([`dnat`]), and then endpoints see who asks.

mod choice;
mod datagrams;
mod dnat;
mod health;
mod splice;
pub(crate) mod table;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::identity::Identity;
use coracle_client::{Change, Clients, EventRecorder, EventType, Informers};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::Resource;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::lab::Lab;
use crate::policy::Policies;
use crate::ranges::Cidr;
use choice::{Affinity, Choice};
use dnat::Dnat;
use health::Health;
use table::{Backends, Listen, Place, Protocol};

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
    /// Addresses of the host on which node ports and load balancers' ports are opened, besides the node's own; an unspecified
    /// one is all of them.
    pub host_addresses: Vec<IpAddr>,
    /// The node's address: also the external address of load balancers.
    pub node_address: IpAddr,
    /// Cluster IPs that others serve (the DNS server's).
    pub reserved: Vec<IpAddr>,
}

impl ProxyConfig {
    /// The addresses on which node ports and load balancers' ports are opened.
    pub(crate) fn addresses(&self) -> BTreeSet<IpAddr> {
        match &self.lab {
            Some(lab) => lab.outside(&self.host_addresses, self.node_address),
            None => self.host_addresses.iter().copied().chain([self.node_address]).collect(),
        }
    }
}

/// Runs the proxy until `shutdown`.
pub fn start(config: ProxyConfig, policies: Policies, shutdown: CancellationToken) -> Vec<JoinHandle<()>> {
    let services = config.informers.of::<Service>();
    let slices = config.informers.of::<EndpointSlice>();
    let pods = config.informers.of::<Pod>();
    let ranges = config.informers.of::<ServiceCIDR>();
    let dirty = Arc::new(Notify::new());
    let mut tasks = vec![
        notify_on_changes(services.changes(), dirty.clone(), |_| true),
        notify_on_changes(slices.changes(), dirty.clone(), |_| true),
        notify_on_changes(pods.changes(), dirty.clone(), table::has_host_ports),
        notify_on_changes(ranges.changes(), dirty.clone(), |_| true),
    ];
    let config = Arc::new(config);
    tasks.push(coracle_client::supervise("service-proxy", move || {
        let (config, services, slices, pods) = (config.clone(), services.clone(), slices.clone(), pods.clone());
        let (ranges, policies, dirty, shutdown) = (ranges.clone(), policies.clone(), dirty.clone(), shutdown.clone());
        async move {
            services.synced().await;
            slices.synced().await;
            pods.synced().await;
            ranges.synced().await;
            if config.lab.is_some() {
                policies.known().await;
            }
            let recorder = EventRecorder::new(config.clients.as_identity(identity()), "service-controller", "");
            let mut told = BTreeMap::new();
            let mut proxy = Proxy::new(config.clone(), policies);
            loop {
                let services = services.list();
                let with_host_ports: Vec<_> = pods.list().into_iter().filter(|pod| table::has_host_ports(pod)).collect();
                let wanted = table::frontends(&services, &slices.list(), &with_host_ports, &config);
                let health = health::wanted(&services, &wanted, &config);
                let mut complete = proxy.add_ranges(&ranges.list()).await;
                complete &= proxy.reconcile(wanted).await;
                if let Some(lab) = &config.lab {
                    complete &= proxy.health.reconcile(lab, health).await;
                }
                let unaddressed = table::unaddressed(&services);
                assign_addresses(&services, &config, &unaddressed).await;
                tell(&recorder, &services, &unaddressed, &told);
                told = unaddressed;
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

/// Tells of changes of objects that matter.
pub(crate) fn notify_on_changes<K: Clone + Send + Sync + 'static>(
    mut changes: tokio::sync::broadcast::Receiver<Change<K>>,
    dirty: Arc<Notify>,
    matters: impl Fn(&K) -> bool + Send + 'static,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        use tokio::sync::broadcast::error::RecvError;
        loop {
            let matters = match changes.recv().await {
                Ok(Change::Added(object) | Change::Deleted(object)) => matters(&object),
                Ok(Change::Updated { old, new }) => matters(&old) || matters(&new),
                Ok(Change::Resync) | Err(RecvError::Lagged(_)) => true,
                Err(RecvError::Closed) => return,
            };
            if matters {
                dirty.notify_one();
            }
        }
    })
}

/// An open address. Dropping it closes the address; connections through it live on.
struct Frontend {
    choice: Arc<Choice>,
    serving: JoinHandle<()>,
}

impl Drop for Frontend {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

struct Proxy {
    config: Arc<ProxyConfig>,
    policies: Policies,
    open: BTreeMap<Listen, Frontend>,
    /// Of each port of a service, whatever address its clients come by.
    affinities: HashMap<String, Arc<Affinity>>,
    dnat: Option<Dnat>,
    /// Ranges that users added to the cluster's own.
    ranges: BTreeSet<String>,
    /// Addresses of others that the lab has for services.
    owned: BTreeSet<IpAddr>,
    health: Health,
}

impl Proxy {
    fn new(config: Arc<ProxyConfig>, policies: Policies) -> Self {
        let dnat = config.lab.as_ref().and_then(Lab::nft).map(Dnat::new);
        Self {
            config,
            policies,
            open: BTreeMap::new(),
            affinities: HashMap::new(),
            dnat,
            ranges: BTreeSet::new(),
            owned: BTreeSet::new(),
            health: Health::default(),
        }
    }

    /// Leads the host to added ranges of services; `false` when one could not be had.
    async fn add_ranges(&mut self, all: &[Arc<ServiceCIDR>]) -> bool {
        let Some(lab) = &self.config.lab else { return true };
        let mut complete = true;
        let listed = all.iter().flat_map(|range| range.spec.iter().flat_map(|spec| spec.cidrs.iter().flatten()));
        for text in listed.filter(|text| !self.ranges.contains(*text)).cloned().collect::<BTreeSet<_>>() {
            let Some(range) = Cidr::around(&text).filter(|range| *range != lab.ranges().services) else { continue };
            match lab.serve(range).await {
                Ok(()) => drop(self.ranges.insert(text)),
                Err(error) => {
                    complete = false;
                    tracing::warn!(%range, %error, "the host is not led to a range of services");
                }
            }
        }
        complete
    }

    /// Opens, changes and closes listeners; `false` when an address could not be had.
    async fn reconcile(&mut self, wanted: BTreeMap<Listen, Backends>) -> bool {
        let Some(lab) = self.config.lab.clone() else { return true };
        let mut complete = true;
        if let Some(dnat) = &mut self.dnat
            && let Err(error) = dnat.reconcile(&wanted).await
        {
            tracing::warn!(%error, "the kernel's table of services was not changed");
            complete = false;
        }
        self.open.retain(|listen, _| wanted.contains_key(listen));
        let owners: BTreeSet<&str> = wanted.values().filter(|backends| backends.affinity.is_some()).map(|b| b.owner.as_str()).collect();
        self.affinities.retain(|owner, _| owners.contains(owner.as_str()));
        let used: BTreeSet<IpAddr> = wanted.keys().filter(|listen| listen.place == Place::Lab).map(|listen| listen.address.ip()).collect();
        let unused: Vec<IpAddr> = self.owned.extract_if(.., |address| !used.contains(address)).collect();
        for address in unused {
            complete &= lab.disown(address).await.is_ok();
        }
        for (listen, backends) in wanted {
            if let Some(frontend) = self.open.get(&listen).filter(|frontend| !frontend.serving.is_finished()) {
                frontend.choice.set(backends);
                continue;
            }
            let affinity = match backends.affinity {
                Some(_) => self.affinities.entry(backends.owner.clone()).or_default().clone(),
                None => Arc::default(),
            };
            if listen.place == Place::Lab && lab.own(listen.address.ip()).await.unwrap_or(false) {
                self.owned.insert(listen.address.ip());
            }
            let choice = Arc::new(Choice::new(lab.clone(), self.policies.clone(), backends, affinity));
            match open(&lab, listen, choice).await {
                Ok(frontend) => drop(self.open.insert(listen, frontend)),
                Err(error) => {
                    complete = false;
                    tracing::warn!(address = %listen.address, protocol = ?listen.protocol, %error, "a service's address cannot be opened");
                }
            }
        }
        complete
    }
}

async fn open(lab: &Lab, listen: Listen, choice: Arc<Choice>) -> std::io::Result<Frontend> {
    let address = listen.address;
    let sharing = choice.clone();
    let serving = match (listen.place, listen.protocol) {
        (Place::Lab, Protocol::Tcp) => tokio::spawn(splice::accept(lab.listen_tcp(address).await?, sharing)),
        (Place::Host, Protocol::Tcp) => tokio::spawn(splice::accept(lab.listen_outside(address).await?, sharing)),
        (Place::Lab, Protocol::Udp) => tokio::spawn(datagrams::serve(lab.bind_udp(address).await?, sharing)),
        (Place::Host, Protocol::Udp) => tokio::spawn(datagrams::serve(lab.bind_outside(address).await?, sharing)),
    };
    Ok(Frontend { choice, serving })
}

fn identity() -> Identity {
    Identity::controller("service-controller")
}

/// Tells load balancers that get no address why, once.
fn tell(recorder: &EventRecorder, services: &[Arc<Service>], unaddressed: &BTreeMap<String, String>, told: &BTreeMap<String, String>) {
    for service in services {
        let name = table::name_of(service);
        let Some(why) = unaddressed.get(&name).filter(|why| told.get(&name) != Some(why)) else { continue };
        recorder.event(&service.object_ref(&()), EventType::Warning, "AllocationFailed", why);
    }
}

/// Gives services of type LoadBalancer the node's address, and takes it from those that are no longer of that type.
async fn assign_addresses(services: &[Arc<Service>], config: &ProxyConfig, unaddressed: &BTreeMap<String, String>) {
    for service in services {
        let refused = unaddressed.contains_key(&table::name_of(service));
        let own: BTreeSet<String> = [config.node_address.to_string()].into();
        let ours = is_load_balancer(service) && !refused;
        let ingress = service.status.as_ref().and_then(|status| status.load_balancer.as_ref()).and_then(|lb| lb.ingress.as_ref());
        let present: BTreeSet<String> = ingress.into_iter().flatten().filter_map(|ingress| ingress.ip.clone()).collect();
        // other classes' addresses are theirs, and what others wrote into other services stays
        let is_balancer = service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("LoadBalancer");
        let wanted = match (ours, present == own) {
            (true, false) => own,
            (false, true) if !is_balancer || refused => BTreeSet::new(),
            _ => continue,
        };
        if service.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let (Some(namespace), Some(name)) = (&service.metadata.namespace, &service.metadata.name) else { continue };
        let ingress: Vec<_> = wanted.iter().map(|ip| json!({"ip": ip, "ipMode": "VIP"})).collect();
        let patch = json!({"status": {"loadBalancer": {"ingress": if ingress.is_empty() { json!(null) } else { json!(ingress) }}}});
        let api: Api<Service> = Api::namespaced(config.clients.as_identity(identity()), namespace);
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
