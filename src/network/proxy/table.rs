//! From Services, EndpointSlices and pods' host ports to addresses and backends: a pure calculation.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::{ProxyConfig, is_load_balancer};
use crate::ranges::Cidr;

/// Where an address is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Place {
    /// In the lab: cluster IPs.
    Lab,
    /// On the host: node ports, load balancers and host ports.
    Host,
}

/// Protocols that are carried. Ports of others are objects without traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    pub(crate) fn named(name: Option<&str>) -> Option<Self> {
        match name.unwrap_or("TCP") {
            "TCP" => Some(Self::Tcp),
            "UDP" => Some(Self::Udp),
            _ => None,
        }
    }
}

/// An address a service answers on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Listen {
    pub(crate) place: Place,
    pub(crate) protocol: Protocol,
    pub(crate) address: SocketAddr,
}

/// One endpoint of a service's port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) node: Option<String>,
    /// Otherwise it still serves while it ends.
    pub(crate) ready: bool,
}

/// What is behind an address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Backends {
    /// `namespace/service:port`: addresses of one port share their session affinity.
    pub(crate) owner: String,
    pub(crate) endpoints: Vec<Endpoint>,
    /// How long a client stays with its endpoint.
    pub(crate) affinity: Option<Duration>,
    /// Clients reach endpoints of their own node only.
    pub(crate) local: bool,
    /// Who may ask; everybody, if empty.
    pub(crate) sources: Vec<Cidr>,
}

impl Backends {
    /// The endpoints that get a client's traffic: the ready ones; where there are none, those that still serve while they
    /// end. `node` is the client's; the host itself is every node.
    pub(crate) fn candidates(&self, node: Option<&str>) -> Vec<SocketAddr> {
        let near = |endpoint: &&Endpoint| !self.local || node.is_none() || endpoint.node.as_deref() == node;
        let any_ready = self.endpoints.iter().filter(near).any(|endpoint| endpoint.ready);
        let mut out: Vec<_> =
            self.endpoints.iter().filter(near).filter(|endpoint| endpoint.ready == any_ready).map(|endpoint| endpoint.address).collect();
        out.dedup();
        out
    }

    /// Whether a client may ask at all.
    pub(crate) fn admits(&self, client: IpAddr) -> bool {
        let inside = |range: &Cidr| matches!(client, IpAddr::V4(client) if range.contains(client));
        self.sources.is_empty() || self.sources.iter().any(inside)
    }
}

/// Every address that services and host ports answer on, with the endpoints behind it; addresses without endpoints are
/// left out.
pub(crate) fn frontends(
    services: &[Arc<Service>],
    slices: &[Arc<EndpointSlice>],
    pods: &[Arc<Pod>],
    config: &ProxyConfig,
) -> BTreeMap<Listen, Backends> {
    let mut of_service: HashMap<(&str, &str), Vec<&EndpointSlice>> = HashMap::new();
    for slice in slices {
        let service = slice.metadata.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/service-name"));
        if let (Some(namespace), Some(service)) = (&slice.metadata.namespace, service) {
            of_service.entry((namespace, service)).or_default().push(slice);
        }
    }
    let mut out = BTreeMap::new();
    let unaddressed = unaddressed(services);
    for service in services {
        let key = (service.metadata.namespace.as_deref().unwrap_or_default(), service.metadata.name.as_deref().unwrap_or_default());
        let (Some(slices), Some(spec)) = (of_service.get(&key), &service.spec) else { continue };
        if spec.type_.as_deref() == Some("ExternalName") || spec.cluster_ip.as_deref() == Some("None") {
            continue;
        }
        for port in spec.ports.iter().flatten() {
            let Some(protocol) = Protocol::named(port.protocol.as_deref()) else { continue };
            let endpoints = endpoints(slices, port);
            if endpoints.is_empty() {
                continue;
            }
            let owner = format!("{}/{}:{}", key.0, key.1, port.name.as_deref().unwrap_or_default());
            let inside = Backends {
                owner,
                endpoints,
                affinity: affinity(service),
                local: spec.internal_traffic_policy.as_deref() == Some("Local"),
                sources: Vec::new(),
            };
            let balanced = is_load_balancer(service) && !unaddressed.contains_key(&name_of(service));
            for (listen, way) in addresses(service, port, protocol, config, balanced) {
                let sources = if way == Way::Balancer { source_ranges(service) } else { Vec::new() };
                // all nodes are this machine: what comes from outside is near to every endpoint
                let local = inside.local && way == Way::Inside;
                out.entry(listen).or_insert_with(|| Backends { local, sources, ..inside.clone() });
            }
        }
    }
    for (listen, backends) in pods.iter().flat_map(|pod| host_ports(pod, config)) {
        out.entry(listen).or_insert(backends);
    }
    out
}

/// `namespace/name`.
pub(crate) fn name_of(service: &Service) -> String {
    let of = |part: &Option<String>| part.clone().unwrap_or_default();
    format!("{}/{}", of(&service.metadata.namespace), of(&service.metadata.name))
}

/// Load balancers that get no address, each with the reason: all of ours share one, and an older one has a port of theirs.
pub(crate) fn unaddressed(services: &[Arc<Service>]) -> BTreeMap<String, String> {
    let mut balancers: Vec<&Arc<Service>> = services.iter().filter(|service| is_load_balancer(service)).collect();
    balancers.sort_by_key(|service| (service.metadata.creation_timestamp.clone(), name_of(service)));
    let (mut owners, mut out) = (BTreeMap::new(), BTreeMap::new());
    for service in balancers {
        let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
        let ports: Vec<_> = ports.map(|port| (port.port, port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()))).collect();
        match ports.iter().find_map(|port| Some((port, owners.get(port)?))) {
            Some(((port, protocol), owner)) => {
                out.insert(name_of(service), format!("port {port}/{protocol} of the node's address is that of the service {owner}"));
            }
            None => owners.extend(ports.into_iter().map(|port| (port, name_of(service)))),
        }
    }
    out
}

fn affinity(service: &Service) -> Option<Duration> {
    let spec = service.spec.as_ref().filter(|spec| spec.session_affinity.as_deref() == Some("ClientIP"))?;
    let seconds = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref()?.timeout_seconds);
    Some(Duration::from_secs(seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(10_800)))
}

fn source_ranges(service: &Service) -> Vec<Cidr> {
    let ranges = service.spec.as_ref().and_then(|spec| spec.load_balancer_source_ranges.as_ref());
    ranges.into_iter().flatten().filter_map(|range| Cidr::around(range.trim())).collect()
}

/// How traffic comes to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Inside,
    Outside,
    Balancer,
}

/// Where one port of a service answers.
fn addresses(service: &Service, port: &ServicePort, protocol: Protocol, config: &ProxyConfig, balanced: bool) -> Vec<(Listen, Way)> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let mut out = Vec::new();
    let mut add = |place, ip: IpAddr, port: i32, way| {
        if let Ok(port) = u16::try_from(port) {
            out.push((Listen { place, protocol, address: SocketAddr::new(ip, port) }, way));
        }
    };
    let parsed = |ips: &[String]| -> Vec<IpAddr> { ips.iter().filter_map(|ip| ip.parse().ok()).filter(IpAddr::is_ipv4).collect() };
    let cluster_ips = spec.cluster_ips.clone().unwrap_or_else(|| spec.cluster_ip.iter().cloned().collect());
    for ip in parsed(&cluster_ips).into_iter().filter(|ip| !config.reserved.contains(ip)) {
        add(Place::Lab, ip, port.port, Way::Inside);
    }
    for ip in parsed(spec.external_ips.as_deref().unwrap_or_default()) {
        // one of the host's own addresses is the host's in the lab, too
        let place = if config.host_addresses.contains(&ip) || config.node_address == ip { Place::Host } else { Place::Lab };
        add(place, ip, port.port, Way::Outside);
    }
    for ip in config.addresses() {
        if let Some(node_port) = port.node_port.filter(|&port| port > 0) {
            add(Place::Host, ip, node_port, Way::Outside);
        }
        if balanced {
            add(Place::Host, ip, port.port, Way::Balancer);
        }
    }
    out
}

/// The usable endpoints of one port.
fn endpoints(slices: &[&EndpointSlice], port: &ServicePort) -> Vec<Endpoint> {
    let mut out = Vec::new();
    for slice in slices.iter().filter(|slice| slice.address_type == "IPv4") {
        let name = port.name.as_deref().unwrap_or_default();
        let protocol = Protocol::named(port.protocol.as_deref());
        let is_it = |target: &&k8s_openapi::api::discovery::v1::EndpointPort| {
            target.name.as_deref().unwrap_or_default() == name && Protocol::named(target.protocol.as_deref()) == protocol
        };
        let target = slice.ports.iter().flatten().find(is_it);
        let Some(target) = target.and_then(|target| u16::try_from(target.port?).ok()) else { continue };
        for endpoint in slice.endpoints.iter().flatten() {
            let Some(address) = endpoint.addresses.first().and_then(|address| address.parse().ok()) else { continue };
            let conditions = endpoint.conditions.as_ref();
            let ready = conditions.and_then(|c| c.ready) != Some(false);
            if ready || conditions.is_some_and(|c| c.serving == Some(true) && c.terminating == Some(true)) {
                out.push(Endpoint { address: SocketAddr::new(address, target), node: endpoint.node_name.clone(), ready });
            }
        }
    }
    out.sort_unstable();
    out.dedup();
    out
}

/// Where one port of a service is answered now; what still serves while it ends, where nothing is ready.
pub(crate) fn ready_endpoints(slices: &[Arc<EndpointSlice>], port: &ServicePort) -> Vec<SocketAddr> {
    let slices: Vec<&EndpointSlice> = slices.iter().map(Arc::as_ref).collect();
    Backends { endpoints: endpoints(&slices, port), ..Backends::default() }.candidates(None)
}

/// Whether a pod's containers ask for ports of the host.
pub(crate) fn has_host_ports(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref();
    spec.is_some_and(|spec| {
        spec.host_network != Some(true)
            && spec.containers.iter().any(|container| container.ports.iter().flatten().any(|port| port.host_port.is_some_and(|n| n > 0)))
    })
}

fn host_ports(pod: &Pod, config: &ProxyConfig) -> Vec<(Listen, Backends)> {
    let status = pod.status.as_ref();
    let ended = status.and_then(|status| status.phase.as_deref()).is_some_and(|phase| matches!(phase, "Succeeded" | "Failed"));
    let ip = status.and_then(|status| status.pod_ip.as_deref()).and_then(|ip| ip.parse::<IpAddr>().ok());
    let (Some(ip), Some(spec), false) = (ip.filter(|_| has_host_ports(pod)), &pod.spec, ended) else { return Vec::new() };
    let mut out = Vec::new();
    for port in spec.containers.iter().flat_map(|container| container.ports.iter().flatten()) {
        let number = port.host_port.and_then(|port| u16::try_from(port).ok()).filter(|&port| port > 0);
        let target = u16::try_from(port.container_port).ok();
        let (Some(number), Some(target), Some(protocol)) = (number, target, Protocol::named(port.protocol.as_deref())) else { continue };
        let backends = Backends {
            owner: format!("pod {}", pod.metadata.uid.as_deref().unwrap_or_default()),
            endpoints: vec![Endpoint { address: SocketAddr::new(ip, target), node: spec.node_name.clone(), ready: true }],
            ..Backends::default()
        };
        let asked = port.host_ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok()).filter(|ip| !ip.is_unspecified());
        let on: Vec<IpAddr> = asked.map_or_else(|| config.addresses().into_iter().collect(), |ip| vec![ip]);
        let listen = |ip| Listen { place: Place::Host, protocol, address: SocketAddr::new(ip, number) };
        out.extend(on.into_iter().map(|ip| (listen(ip), backends.clone())));
    }
    out
}

#[cfg(test)]
mod tests;
