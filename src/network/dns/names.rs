//! What a name of the cluster's domain means (the Kubernetes DNS specification, 1.1), as a calculation on objects.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};

/// Where objects are looked up.
pub(crate) trait Zone {
    fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>>;
    fn slices(&self, namespace: &str, service: &str) -> Vec<Arc<EndpointSlice>>;
    /// Services with this cluster IP.
    fn services_at(&self, address: &str) -> Vec<Arc<Service>>;
    /// Slices with an endpoint of this address.
    fn slices_at(&self, address: &str) -> Vec<Arc<EndpointSlice>>;
    /// Whether the address is in a range of the cluster's.
    fn is_inside(&self, address: &str) -> bool;
    /// Whether there is such a namespace.
    fn namespace_exists(&self, namespace: &str) -> bool;
}

/// Type of record asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    A,
    Aaaa,
    Srv,
    Ptr,
    Cname,
    Txt,
    Any,
    Other,
}

/// A record's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Data {
    Address(IpAddr),
    Service { port: u16, target: String },
    Pointer(String),
    Alias(String),
    Text(String),
}

/// What is to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The name exists; records of the type asked for, each with its owner where that is another name than asked.
    Records(Vec<(Option<String>, Data)>),
    /// The name is in our domain and does not exist.
    NoName,
    /// The name is not in our domain.
    NotOurs,
}

/// Names of this domain are ours alone: they are never asked for elsewhere.
const INTERNAL: &str = "coracle.local";
/// So many names may lead to one another.
const MOST_ALIASES: usize = 8;

/// Whether a name is `domain` or below it.
fn is_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Answers for `name`, absolute or not, in any case of letters.
pub(crate) fn answer(zone: &impl Zone, domain: &str, name: &str, wanted: Wanted) -> Answer {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    if let Some(reverse) = name.strip_suffix(".in-addr.arpa") {
        return pointer(zone, domain, reverse);
    }
    if is_below(&name, INTERNAL) {
        return Answer::NoName;
    }
    if !is_below(&name, domain) {
        return Answer::NotOurs;
    }
    let rest = name.strip_suffix(domain).unwrap_or_default();
    let labels: Vec<&str> = rest.split('.').filter(|label| !label.is_empty()).collect();
    let records = match labels.as_slice() {
        [] | ["svc" | "pod"] => Some(Vec::new()),
        ["dns-version"] => Some(vec![(None, Data::Text("1.1.0".to_owned()))]),
        [namespace, "svc" | "pod"] => zone.namespace_exists(namespace).then(Vec::new),
        [service, namespace, "svc"] => of_service(zone, namespace, service),
        [host, service, namespace, "svc"] => of_host(zone, namespace, service, host),
        [port, protocol, service, namespace, "svc"] if port.starts_with('_') && protocol.starts_with('_') => {
            of_port(zone, domain, namespace, service, &port[1..], &protocol[1..])
        }
        [address, namespace, "pod"] => of_pod(zone, namespace, address),
        _ => None,
    };
    match records {
        Some(records) => Answer::Records(records.into_iter().filter(|(_, data)| fits(data, wanted)).collect()),
        None => Answer::NoName,
    }
}

/// The records of a name with those of the names of ours it is an alias for, and the name of others it leads to at last.
pub(crate) fn resolve(zone: &impl Zone, domain: &str, name: &str, wanted: Wanted) -> (Answer, Option<String>) {
    let mut all = Vec::new();
    let mut owner: Option<String> = None;
    for _ in 0..MOST_ALIASES {
        let found = answer(zone, domain, owner.as_deref().unwrap_or(name), wanted);
        let records = match found {
            Answer::Records(records) => records,
            Answer::NotOurs if owner.is_some() => return (Answer::Records(all), owner),
            // an alias that leads nowhere is an answer
            _ if owner.is_some() => break,
            other => return (other, None),
        };
        let next = records.iter().find_map(|(_, data)| if let Data::Alias(target) = data { Some(target.clone()) } else { None });
        all.extend(records.into_iter().map(|(of, data)| (of.or_else(|| owner.clone()), data)));
        match next.filter(|_| wanted != Wanted::Cname) {
            Some(next) => owner = Some(next),
            None => break,
        }
    }
    (Answer::Records(all), None)
}

type Records = Vec<(Option<String>, Data)>;

fn fits(data: &Data, wanted: Wanted) -> bool {
    match data {
        Data::Address(IpAddr::V4(_)) => matches!(wanted, Wanted::A | Wanted::Any),
        Data::Address(IpAddr::V6(_)) => matches!(wanted, Wanted::Aaaa | Wanted::Any),
        Data::Service { .. } => matches!(wanted, Wanted::Srv | Wanted::Any),
        Data::Pointer(_) => matches!(wanted, Wanted::Ptr | Wanted::Any),
        Data::Text(_) => matches!(wanted, Wanted::Txt | Wanted::Any),
        // an alias answers whatever is asked of its name
        Data::Alias(_) => true,
    }
}

fn cluster_ips(service: &Service) -> Vec<IpAddr> {
    let ips = service.spec.as_ref().and_then(|spec| spec.cluster_ips.clone()).unwrap_or_default();
    ips.iter().filter_map(|ip| ip.parse().ok()).collect()
}

fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

fn external_name(service: &Service) -> Option<String> {
    let spec = service.spec.as_ref()?;
    let target = spec.external_name.as_deref().unwrap_or_default().trim_end_matches('.');
    (spec.type_.as_deref() == Some("ExternalName")).then(|| format!("{target}."))
}

/// Ready endpoints (the controller marks all as ready where not-ready addresses are published), each once.
fn endpoints(zone: &impl Zone, namespace: &str, service: &str) -> Vec<(Endpoint, Vec<EndpointPort>)> {
    let ready = |endpoint: &&Endpoint| endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) != Some(false);
    let slices = zone.slices(namespace, service);
    let all = slices.iter().flat_map(|slice| {
        let ports = slice.ports.clone().unwrap_or_default();
        slice.endpoints.iter().flatten().filter(ready).map(move |endpoint| (endpoint.clone(), ports.clone()))
    });
    let mut out: Vec<_> = all.collect();
    out.sort_by(|(a, _), (b, _)| a.addresses.cmp(&b.addresses));
    out
}

fn addresses(endpoint: &Endpoint) -> impl Iterator<Item = IpAddr> {
    endpoint.addresses.iter().filter_map(|address| address.parse().ok())
}

/// The name of one endpoint below its service: its host name, else its address with dashes.
fn host_of(endpoint: &Endpoint) -> String {
    let dashed = || endpoint.addresses.first().map(|address| address.replace(['.', ':'], "-")).unwrap_or_default();
    endpoint.hostname.clone().filter(|name| !name.is_empty()).unwrap_or_else(dashed)
}

fn of_service(zone: &impl Zone, namespace: &str, name: &str) -> Option<Records> {
    let service = zone.service(namespace, name)?;
    if let Some(target) = external_name(&service) {
        return Some(vec![(None, Data::Alias(target))]);
    }
    if !is_headless(&service) {
        return Some(cluster_ips(&service).into_iter().map(|ip| (None, Data::Address(ip))).collect());
    }
    let endpoints = endpoints(zone, namespace, name);
    let mut all: Vec<IpAddr> = endpoints.iter().flat_map(|(endpoint, _)| addresses(endpoint).collect::<Vec<_>>()).collect();
    all.dedup();
    (!all.is_empty()).then(|| all.into_iter().map(|ip| (None, Data::Address(ip))).collect())
}

fn of_host(zone: &impl Zone, namespace: &str, service: &str, host: &str) -> Option<Records> {
    zone.service(namespace, service).filter(|service| external_name(service).is_none())?;
    let endpoints = endpoints(zone, namespace, service);
    let found: Vec<IpAddr> = endpoints
        .iter()
        .filter(|(endpoint, _)| host_of(endpoint) == host)
        .flat_map(|(endpoint, _)| addresses(endpoint).collect::<Vec<_>>())
        .collect();
    (!found.is_empty()).then(|| found.into_iter().map(|ip| (None, Data::Address(ip))).collect())
}

fn of_port(zone: &impl Zone, domain: &str, namespace: &str, name: &str, port: &str, protocol: &str) -> Option<Records> {
    let service = zone.service(namespace, name)?;
    let suffix = format!("{name}.{namespace}.svc.{domain}.");
    let is_it = |port_name: Option<&String>, port_protocol: Option<&String>| {
        port_name.map(String::as_str) == Some(port) && port_protocol.map_or("tcp".into(), |p| p.to_ascii_lowercase()) == protocol
    };
    let mut out = Records::new();
    if is_headless(&service) {
        for (endpoint, ports) in endpoints(zone, namespace, name) {
            let target = format!("{}.{suffix}", host_of(&endpoint));
            let wanted = ports.iter().filter(|p| is_it(p.name.as_ref(), p.protocol.as_ref()));
            for number in wanted.filter_map(|port| u16::try_from(port.port?).ok()) {
                out.push((None, Data::Service { port: number, target: target.clone() }));
            }
        }
    } else {
        let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
        let wanted = ports.filter(|p| is_it(p.name.as_ref(), p.protocol.as_ref()));
        out.extend(wanted.filter_map(|p| Some((None, Data::Service { port: u16::try_from(p.port).ok()?, target: suffix.clone() }))));
    }
    (!out.is_empty()).then_some(out)
}

/// `10-244-0-7.default.pod`: the address is in the name.
fn of_pod(zone: &impl Zone, namespace: &str, dashed: &str) -> Option<Records> {
    let address: IpAddr = dashed.replace('-', ".").parse().ok()?;
    zone.namespace_exists(namespace).then(|| vec![(None, Data::Address(address))])
}

/// The service, or the endpoint of a service, that has an address.
fn pointer(zone: &impl Zone, domain: &str, reverse: &str) -> Answer {
    let octets: Vec<&str> = reverse.split('.').rev().collect();
    let address = octets.join(".");
    let below = |host: &str, name: &str, namespace: &str| (None, Data::Pointer(format!("{host}{name}.{namespace}.svc.{domain}.")));
    let of_service = |service: &Arc<Service>| Some(below("", service.metadata.name.as_ref()?, service.metadata.namespace.as_ref()?));
    let mut names: Records = zone.services_at(&address).iter().filter_map(of_service).collect();
    if names.is_empty() {
        for slice in zone.slices_at(&address) {
            let service = slice.metadata.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/service-name"));
            let (Some(service), Some(namespace)) = (service, &slice.metadata.namespace) else { continue };
            let has = |endpoint: &&Endpoint| endpoint.addresses.contains(&address);
            names.extend(
                slice.endpoints.iter().flatten().filter(has).map(|endpoint| below(&format!("{}.", host_of(endpoint)), service, namespace)),
            );
        }
    }
    match names.is_empty() {
        true if zone.is_inside(&address) => Answer::NoName,
        true => Answer::NotOurs,
        false => Answer::Records(names),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    struct Fixture(Vec<Arc<Service>>, Vec<Arc<EndpointSlice>>);

    impl Zone for Fixture {
        fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>> {
            let is_it = |s: &&Arc<Service>| s.metadata.namespace.as_deref() == Some(namespace) && s.metadata.name.as_deref() == Some(name);
            self.0.iter().find(is_it).cloned()
        }
        fn slices(&self, namespace: &str, service: &str) -> Vec<Arc<EndpointSlice>> {
            let of = |s: &&Arc<EndpointSlice>| {
                s.metadata.namespace.as_deref() == Some(namespace)
                    && s.metadata.labels.as_ref().unwrap()["kubernetes.io/service-name"] == service
            };
            self.1.iter().filter(of).cloned().collect()
        }
        fn services_at(&self, address: &str) -> Vec<Arc<Service>> {
            self.0.iter().filter(|s| cluster_ips(s).iter().any(|ip| ip.to_string() == address)).cloned().collect()
        }
        fn slices_at(&self, address: &str) -> Vec<Arc<EndpointSlice>> {
            let has = |s: &&Arc<EndpointSlice>| s.endpoints.iter().flatten().any(|e| e.addresses.iter().any(|a| a == address));
            self.1.iter().filter(has).cloned().collect()
        }
        fn is_inside(&self, address: &str) -> bool {
            address.starts_with("10.")
        }
        fn namespace_exists(&self, namespace: &str) -> bool {
            self.0.iter().any(|s| s.metadata.namespace.as_deref() == Some(namespace))
        }
    }

    fn zone() -> Fixture {
        let service = |name: &str, spec: Value| {
            Arc::new(serde_json::from_value(json!({"metadata": {"namespace": "default", "name": name}, "spec": spec})).unwrap())
        };
        let slice = json!({
            "metadata": {"namespace": "default", "name": "db-1", "labels": {"kubernetes.io/service-name": "db"}},
            "addressType": "IPv4", "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}],
            "endpoints": [
                {"addresses": ["10.244.0.8"], "hostname": "db-0", "conditions": {"ready": true}},
                {"addresses": ["10.244.0.9"], "conditions": {"ready": true}},
                {"addresses": ["10.244.0.10"], "hostname": "db-2", "conditions": {"ready": false}},
            ],
        });
        Fixture(
            vec![
                service(
                    "kubia",
                    json!({"clusterIP": "10.96.4.5", "clusterIPs": ["10.96.4.5"], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}),
                ),
                service("db", json!({"clusterIP": "None", "clusterIPs": ["None"]})),
                service("out", json!({"type": "ExternalName", "externalName": "example.org"})),
                service("near", json!({"type": "ExternalName", "externalName": "kubia.default.svc.cluster.local."})),
                service("round", json!({"type": "ExternalName", "externalName": "round.default.svc.cluster.local"})),
            ],
            vec![Arc::new(serde_json::from_value(slice).unwrap())],
        )
    }

    fn ask(name: &str, wanted: Wanted) -> Answer {
        answer(&zone(), "cluster.local", name, wanted)
    }

    fn records(data: &[Data]) -> Answer {
        Answer::Records(data.iter().map(|data| (None, data.clone())).collect())
    }

    fn ip(text: &str) -> Data {
        Data::Address(text.parse().unwrap())
    }

    #[test]
    fn names_mean_what_the_specification_says() {
        let table = [
            ("kubia.default.svc.cluster.local.", Wanted::A, records(&[ip("10.96.4.5")])),
            ("KUBIA.default.svc.Cluster.Local", Wanted::A, records(&[ip("10.96.4.5")])),
            ("kubia.default.svc.cluster.local", Wanted::Aaaa, records(&[])),
            ("db.default.svc.cluster.local", Wanted::A, records(&[ip("10.244.0.8"), ip("10.244.0.9")])),
            ("db-0.db.default.svc.cluster.local", Wanted::A, records(&[ip("10.244.0.8")])),
            ("10-244-0-9.db.default.svc.cluster.local", Wanted::A, records(&[ip("10.244.0.9")])),
            ("db-2.db.default.svc.cluster.local", Wanted::A, Answer::NoName),
            ("out.default.svc.cluster.local", Wanted::A, records(&[Data::Alias("example.org.".into())])),
            (
                "_http._tcp.kubia.default.svc.cluster.local",
                Wanted::Srv,
                records(&[Data::Service { port: 80, target: "kubia.default.svc.cluster.local.".into() }]),
            ),
            ("10-244-0-9.default.pod.cluster.local", Wanted::A, records(&[ip("10.244.0.9")])),
            ("5.4.96.10.in-addr.arpa.", Wanted::Ptr, records(&[Data::Pointer("kubia.default.svc.cluster.local.".into())])),
            ("default.svc.cluster.local", Wanted::A, records(&[])),
            ("kubia.other.svc.cluster.local", Wanted::A, Answer::NoName),
            ("nothing.default.svc.cluster.local", Wanted::A, Answer::NoName),
            ("8.0.244.10.in-addr.arpa.", Wanted::Ptr, records(&[Data::Pointer("db-0.db.default.svc.cluster.local.".into())])),
            ("9.9.244.10.in-addr.arpa.", Wanted::Ptr, Answer::NoName),
            ("9.2.0.192.in-addr.arpa.", Wanted::Ptr, Answer::NotOurs),
            ("dns-version.cluster.local", Wanted::Txt, records(&[Data::Text("1.1.0".into())])),
            ("kubia.coracle.local", Wanted::A, Answer::NoName),
            ("notcoracle.local", Wanted::A, Answer::NotOurs),
            ("example.org", Wanted::A, Answer::NotOurs),
            ("notcluster.local", Wanted::A, Answer::NotOurs),
        ];
        for (name, wanted, expected) in table {
            assert_eq!(ask(name, wanted), expected, "{name}");
        }
        let Answer::Records(ports) = ask("_sql._tcp.db.default.svc.cluster.local", Wanted::Srv) else { unreachable!() };
        let target = |host: &str| Data::Service { port: 5432, target: format!("{host}.db.default.svc.cluster.local.") };
        assert_eq!(ports, [(None, target("db-0")), (None, target("10-244-0-9"))]);
    }

    #[test]
    fn aliases_are_followed() {
        let resolve = |name: &str, wanted| resolve(&zone(), "cluster.local", name, wanted);
        let (near, kubia) = ("near.default.svc.cluster.local", "kubia.default.svc.cluster.local.");
        let alias = (None, Data::Alias(kubia.into()));
        let led = Answer::Records(vec![alias.clone(), (Some(kubia.into()), ip("10.96.4.5"))]);
        assert_eq!(resolve(near, Wanted::A), (led, None));
        assert_eq!(resolve(near, Wanted::Cname), (Answer::Records(vec![alias]), None));
        let out = records(&[Data::Alias("example.org.".into())]);
        assert_eq!(resolve("out.default.svc.cluster.local", Wanted::A), (out, Some("example.org.".into())));
        assert_eq!(resolve("example.org", Wanted::A), (Answer::NotOurs, None));
        let (Answer::Records(round), None) = resolve("round.default.svc.cluster.local", Wanted::A) else { unreachable!() };
        assert_eq!(round.len(), MOST_ALIASES, "a circle ends");
    }
}
