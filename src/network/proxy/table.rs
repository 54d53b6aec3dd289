//! From Services and EndpointSlices to addresses and backends: a pure calculation.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::{ProxyConfig, is_load_balancer};

/// Where an address is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// In the lab: cluster IPs.
    Lab,
    /// On the host: node ports and load balancers.
    Host,
}

/// An address a service answers on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Listen {
    pub(crate) place: Place,
    pub(crate) address: SocketAddr,
}

/// Every TCP address that services answer on, with the endpoints behind it; addresses without endpoints are left out.
pub(crate) fn frontends(
    services: &[Arc<Service>],
    slices: &[Arc<EndpointSlice>],
    config: &ProxyConfig,
) -> BTreeMap<Listen, Vec<SocketAddr>> {
    let mut of_service: HashMap<(&str, &str), Vec<&EndpointSlice>> = HashMap::new();
    for slice in slices {
        let service = slice.metadata.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/service-name"));
        if let (Some(namespace), Some(service)) = (&slice.metadata.namespace, service) {
            of_service.entry((namespace, service)).or_default().push(slice);
        }
    }
    let mut out = BTreeMap::new();
    for service in services {
        let key = (service.metadata.namespace.as_deref().unwrap_or_default(), service.metadata.name.as_deref().unwrap_or_default());
        let Some(slices) = of_service.get(&key) else { continue };
        for port in service.spec.iter().filter_map(|spec| spec.ports.as_ref()).flatten() {
            if port.protocol.as_deref().unwrap_or("TCP") != "TCP" {
                continue;
            }
            let backends = backends(slices, port);
            if backends.is_empty() {
                continue;
            }
            for listen in addresses(service, port, config) {
                out.entry(listen).or_insert_with(|| backends.clone());
            }
        }
    }
    out
}

/// Where one port of a service answers.
fn addresses(service: &Service, port: &ServicePort, config: &ProxyConfig) -> Vec<Listen> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let mut out = Vec::new();
    let mut add = |place, ip: IpAddr, port: i32| {
        if let Ok(port) = u16::try_from(port) {
            out.push(Listen { place, address: SocketAddr::new(ip, port) });
        }
    };
    let cluster_ips = spec.cluster_ips.clone().unwrap_or_else(|| spec.cluster_ip.iter().cloned().collect());
    for ip in cluster_ips.iter().filter_map(|ip| ip.parse::<IpAddr>().ok()).filter(|ip| !config.reserved.contains(ip)) {
        add(Place::Lab, ip, port.port);
    }
    for &ip in config.host_addresses.iter().chain([&config.node_address]) {
        if let Some(node_port) = port.node_port.filter(|&port| port > 0) {
            add(Place::Host, ip, node_port);
        }
        if is_load_balancer(service) {
            add(Place::Host, ip, port.port);
        }
    }
    out
}

/// The endpoints that get a port's traffic: the ready ones; where there are none, those that still serve while they end.
fn backends(slices: &[&EndpointSlice], port: &ServicePort) -> Vec<SocketAddr> {
    let (mut ready, mut serving) = (Vec::new(), Vec::new());
    for slice in slices.iter().filter(|slice| slice.address_type == "IPv4") {
        let name = port.name.as_deref().unwrap_or_default();
        let target = slice.ports.iter().flatten().find(|target| target.name.as_deref().unwrap_or_default() == name);
        let Some(target) = target.and_then(|target| u16::try_from(target.port?).ok()) else { continue };
        for endpoint in slice.endpoints.iter().flatten() {
            let Some(address) = endpoint.addresses.first().and_then(|address| address.parse().ok()) else { continue };
            let address = SocketAddr::new(address, target);
            let conditions = endpoint.conditions.as_ref();
            if conditions.and_then(|c| c.ready) != Some(false) {
                ready.push(address);
            } else if conditions.is_some_and(|c| c.serving == Some(true) && c.terminating == Some(true)) {
                serving.push(address);
            }
        }
    }
    let mut out = if ready.is_empty() { serving } else { ready };
    out.sort_unstable();
    out.dedup();
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use coracle_client::{Clients, Informers};
    use serde_json::json;

    fn config() -> ProxyConfig {
        let client = kube::Client::new(tower_service(), "default");
        ProxyConfig {
            lab: None,
            informers: Informers::new(client.clone()),
            clients: Clients::remote(client),
            host_addresses: vec!["127.0.0.1".parse().unwrap()],
            node_address: "10.244.255.253".parse().unwrap(),
            reserved: vec!["10.96.0.10".parse().unwrap()],
        }
    }

    fn tower_service() -> impl tower::Service<
        http::Request<kube::client::Body>,
        Response = http::Response<kube::client::Body>,
        Error = std::io::Error,
        Future = std::future::Ready<Result<http::Response<kube::client::Body>, std::io::Error>>,
    > + Send
    + 'static {
        tower::service_fn(|_| std::future::ready(Err(std::io::Error::other("no server"))))
    }

    fn service(spec: serde_json::Value) -> Arc<Service> {
        Arc::new(serde_json::from_value(json!({"metadata": {"namespace": "default", "name": "web"}, "spec": spec})).unwrap())
    }

    fn slice(endpoints: serde_json::Value) -> Arc<EndpointSlice> {
        let metadata = json!({"namespace": "default", "name": "web-1", "labels": {"kubernetes.io/service-name": "web"}});
        let ports = json!([{"name": "http", "port": 8080}]);
        Arc::new(
            serde_json::from_value(json!({"metadata": metadata, "addressType": "IPv4", "ports": ports, "endpoints": endpoints})).unwrap(),
        )
    }

    fn table(services: &[Arc<Service>], slices: &[Arc<EndpointSlice>]) -> Vec<String> {
        let shown = |(listen, backends): (Listen, Vec<SocketAddr>)| format!("{:?} {} {backends:?}", listen.place, listen.address);
        frontends(services, slices, &config()).into_iter().map(shown).collect()
    }

    #[tokio::test]
    async fn ready_endpoints_answer_on_every_address() {
        let ports = json!([{"name": "http", "port": 80, "nodePort": 30080}, {"name": "udp", "port": 53, "protocol": "UDP"}]);
        let spec = json!({"type": "LoadBalancer", "clusterIP": "10.96.1.2", "clusterIPs": ["10.96.1.2"], "ports": ports});
        let endpoints = json!([
            {"addresses": ["10.244.0.7"], "conditions": {"ready": true}},
            {"addresses": ["10.244.0.5"]},
            {"addresses": ["10.244.0.6"], "conditions": {"ready": false, "serving": true, "terminating": true}},
        ]);
        let backends = "[10.244.0.5:8080, 10.244.0.7:8080]";
        let expected = [
            format!("Lab 10.96.1.2:80 {backends}"),
            format!("Host 10.244.255.253:80 {backends}"),
            format!("Host 10.244.255.253:30080 {backends}"),
            format!("Host 127.0.0.1:80 {backends}"),
            format!("Host 127.0.0.1:30080 {backends}"),
        ];
        assert_eq!(table(&[service(spec)], &[slice(endpoints)]), expected);
    }

    #[tokio::test]
    async fn without_ready_endpoints_the_terminating_ones_serve_or_nobody_listens() {
        let spec = json!({"clusterIP": "10.96.1.2", "ports": [{"name": "http", "port": 80}]});
        let terminating = json!([{"addresses": ["10.244.0.6"], "conditions": {"ready": false, "serving": true, "terminating": true}}]);
        assert_eq!(table(&[service(spec.clone())], &[slice(terminating)]), ["Lab 10.96.1.2:80 [10.244.0.6:8080]"]);
        let starting = json!([{"addresses": ["10.244.0.6"], "conditions": {"ready": false, "serving": false}}]);
        assert!(table(&[service(spec)], &[slice(starting)]).is_empty());
        let dns = json!({"clusterIP": "10.96.0.10", "ports": [{"name": "http", "port": 53}]});
        assert!(table(&[service(dns)], &[slice(json!([{"addresses": ["10.244.0.6"]}]))]).is_empty(), "reserved");
    }
}
