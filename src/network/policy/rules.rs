//! What policies mean for each pod: a pure calculation.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::ranges::{Cidr, Ranges};

/// Ports of one protocol, as nft names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ports {
    pub(super) protocol: &'static str,
    /// First and last; every port, if absent.
    pub(super) range: Option<(u16, u16)>,
}

/// Somebody who is let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Peers {
    Everybody,
    /// Pods.
    Addresses(BTreeSet<Ipv4Addr>),
    /// A range without parts of it.
    Block(Cidr, Vec<Cidr>),
}

impl Peers {
    fn contains(&self, address: Ipv4Addr) -> bool {
        match self {
            Self::Everybody => true,
            Self::Addresses(all) => all.contains(&address),
            Self::Block(range, except) => range.contains(address) && !except.iter().any(|part| part.contains(address)),
        }
    }
}

/// Traffic that is let through: from or to these peers, to these ports (all, if none is named).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Allow {
    pub(super) peers: Peers,
    pub(super) ports: Vec<Ports>,
}

impl Allow {
    fn covers(&self, peer: Ipv4Addr, port: u16, protocol: &str) -> bool {
        let fits = |ports: &Ports| ports.protocol == protocol && ports.range.is_none_or(|(first, last)| (first..=last).contains(&port));
        self.peers.contains(peer) && (self.ports.is_empty() || self.ports.iter().any(fits))
    }
}

/// What holds for pods: those without an entry are not isolated in that direction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Rules {
    pub(super) ingress: BTreeMap<Ipv4Addr, Vec<Allow>>,
    pub(super) egress: BTreeMap<Ipv4Addr, Vec<Allow>>,
    pods: Option<Cidr>,
}

impl Rules {
    /// Whether one address may connect to another. The node itself (all of the pod range that is no pod, and the
    /// host's own addresses) may always come in, and a pod may always talk to itself.
    pub(super) fn allow(&self, from: Ipv4Addr, to: Ipv4Addr, port: u16, protocol: &str) -> bool {
        let covered =
            |rules: Option<&Vec<Allow>>, peer| rules.is_none_or(|rules| rules.iter().any(|allow| allow.covers(peer, port, protocol)));
        let is_node = from.is_loopback() || self.pods.is_some_and(|range| range.contains(from) && !is_pods(range, from));
        from == to || covered(self.egress.get(&from), to) && (is_node || covered(self.ingress.get(&to), from))
    }
}

fn is_pods(range: Cidr, address: Ipv4Addr) -> bool {
    Ranges { pods: range, services: range }.node_of(address).is_some()
}

fn address(pod: &Pod) -> Option<Ipv4Addr> {
    let status = pod.status.as_ref()?;
    let ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    let host = pod.spec.as_ref()?.host_network == Some(true);
    status.pod_ip.as_ref()?.parse().ok().filter(|_| !ended && !host)
}

pub(super) fn has_address(pod: &Pod) -> bool {
    address(pod).is_some()
}

fn matches(selector: Option<&LabelSelector>, labels: Option<&BTreeMap<String, String>>) -> bool {
    let none = BTreeMap::new();
    let labels = labels.unwrap_or(&none);
    let Some(selector) = selector else { return true };
    let exact = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    exact
        && selector.match_expressions.iter().flatten().all(|wanted| {
            let value = labels.get(&wanted.key);
            let listed = value.is_some_and(|value| wanted.values.iter().flatten().any(|other| other == value));
            match wanted.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

/// A pod, or what stands for one: the cluster's DNS server answers in place of the pods that serve it elsewhere.
struct Place<'a> {
    address: Ipv4Addr,
    namespace: &'a str,
    labels: Option<&'a BTreeMap<String, String>>,
    pod: Option<&'a Pod>,
}

/// Per pod, what the policies that select it let through.
pub(super) fn compile(policies: &[Arc<NetworkPolicy>], pods: &[Arc<Pod>], namespaces: &[Arc<Namespace>], ranges: Ranges) -> Rules {
    let dns_labels = BTreeMap::from([("k8s-app".to_owned(), "kube-dns".to_owned())]);
    let dns = Place { address: ranges.dns(), namespace: "kube-system", labels: Some(&dns_labels), pod: None };
    let mut places: Vec<Place<'_>> = pods
        .iter()
        .filter_map(|pod| {
            let (namespace, labels) = (pod.metadata.namespace.as_deref()?, pod.metadata.labels.as_ref());
            Some(Place { address: address(pod)?, namespace, labels, pod: Some(pod.as_ref()) })
        })
        .collect();
    places.push(dns);
    let namespace_labels: BTreeMap<&str, Option<&BTreeMap<String, String>>> =
        namespaces.iter().filter_map(|one| Some((one.metadata.name.as_deref()?, one.metadata.labels.as_ref()))).collect();
    let mut rules = Rules { pods: Some(ranges.pods), ..Rules::default() };
    for policy in policies {
        let (Some(spec), Some(namespace)) = (&policy.spec, policy.metadata.namespace.as_deref()) else { continue };
        let reach = Reach { namespace, places: &places, namespace_labels: &namespace_labels };
        let types = spec.policy_types.clone().unwrap_or_else(|| vec!["Ingress".to_owned()]);
        let has = |kind: &str| types.iter().any(|other| other == kind);
        let selected = places.iter().filter(|place| place.namespace == namespace && matches(spec.pod_selector.as_ref(), place.labels));
        for place in selected.filter(|place| place.pod.is_some()) {
            if has("Ingress") {
                let allows = rules.ingress.entry(place.address).or_default();
                for rule in spec.ingress.iter().flatten() {
                    let ports = fixed_ports(rule.ports.as_deref(), place.pod);
                    reach.add(allows, rule.from.as_deref(), &ports, rule.ports.as_deref());
                }
            }
            if has("Egress") {
                let allows = rules.egress.entry(place.address).or_default();
                for rule in spec.egress.iter().flatten() {
                    reach.add_egress(allows, rule.to.as_deref(), rule.ports.as_deref());
                }
            }
        }
    }
    rules
}

struct Reach<'a> {
    namespace: &'a str,
    places: &'a [Place<'a>],
    namespace_labels: &'a BTreeMap<&'a str, Option<&'a BTreeMap<String, String>>>,
}

impl Reach<'_> {
    /// `wanted` are the ports as the policy names them, `ports` as they are numbered: names that nobody has let nothing in.
    fn add(&self, allows: &mut Vec<Allow>, peers: Option<&[NetworkPolicyPeer]>, ports: &[Ports], wanted: Option<&[NetworkPolicyPort]>) {
        if ports.is_empty() && wanted.is_some_and(|wanted| !wanted.is_empty()) {
            return;
        }
        allows.extend(self.peers(peers).into_iter().map(|peers| Allow { peers, ports: ports.to_vec() }));
    }

    /// A name of a port means another number at each pod it leads to.
    fn add_egress(&self, allows: &mut Vec<Allow>, peers: Option<&[NetworkPolicyPeer]>, wanted: Option<&[NetworkPolicyPort]>) {
        self.add(allows, peers, &fixed_ports(wanted, None), wanted);
        let named: Vec<&NetworkPolicyPort> =
            wanted.into_iter().flatten().filter(|port| matches!(port.port, Some(IntOrString::String(_)))).collect();
        if named.is_empty() {
            return;
        }
        let reached = self.peers(peers);
        for place in self.places.iter().filter(|place| reached.iter().any(|peers| peers.contains(place.address))) {
            let ports: Vec<Ports> = named.iter().filter_map(|port| number(port, place.pod)).collect();
            if !ports.is_empty() {
                allows.push(Allow { peers: Peers::Addresses([place.address].into()), ports });
            }
        }
    }

    fn peers(&self, peers: Option<&[NetworkPolicyPeer]>) -> Vec<Peers> {
        let peers = peers.unwrap_or_default();
        if peers.is_empty() {
            return vec![Peers::Everybody];
        }
        peers.iter().filter_map(|peer| self.peer(peer)).collect()
    }

    fn peer(&self, peer: &NetworkPolicyPeer) -> Option<Peers> {
        if let Some(block) = &peer.ip_block {
            let except = block.except.iter().flatten().filter_map(|part| Cidr::around(part)).collect();
            return Some(Peers::Block(Cidr::around(&block.cidr)?, except));
        }
        let in_namespace = |name: &str| match &peer.namespace_selector {
            None => name == self.namespace,
            Some(selector) => self.namespace_labels.get(name).is_some_and(|labels| matches(Some(selector), *labels)),
        };
        let chosen = self.places.iter().filter(|place| in_namespace(place.namespace) && matches(peer.pod_selector.as_ref(), place.labels));
        Some(Peers::Addresses(chosen.map(|place| place.address).collect())).filter(|peers| *peers != Peers::Addresses(BTreeSet::new()))
    }
}

/// The ports of a rule that have numbers; names are `pod`'s.
fn fixed_ports(ports: Option<&[NetworkPolicyPort]>, pod: Option<&Pod>) -> Vec<Ports> {
    ports.into_iter().flatten().filter_map(|port| number(port, pod)).collect()
}

fn protocol(name: Option<&str>) -> &'static str {
    match name.unwrap_or("TCP") {
        "UDP" => "udp",
        "SCTP" => "sctp",
        _ => "tcp",
    }
}

fn number(port: &NetworkPolicyPort, pod: Option<&Pod>) -> Option<Ports> {
    let protocol_name = port.protocol.as_deref().unwrap_or("TCP");
    let range = match &port.port {
        None => None,
        Some(IntOrString::Int(first)) => {
            let first = u16::try_from(*first).ok()?;
            Some((first, port.end_port.and_then(|last| u16::try_from(last).ok()).unwrap_or(first)))
        }
        Some(IntOrString::String(name)) => {
            let mut named = pod?.spec.as_ref()?.containers.iter().flat_map(|container| container.ports.iter().flatten());
            let found =
                named.find(|port| port.name.as_ref() == Some(name) && port.protocol.as_deref().unwrap_or("TCP") == protocol_name)?;
            let number = u16::try_from(found.container_port).ok()?;
            Some((number, number))
        }
    };
    Some(Ports { protocol: protocol(Some(protocol_name)), range })
}

#[cfg(test)]
mod tests;
