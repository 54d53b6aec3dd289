#![allow(clippy::unwrap_used)]
use super::*;
use coracle_client::{Clients, Informers};
use serde_json::{Value, json};

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

fn service(spec: Value) -> Arc<Service> {
    Arc::new(serde_json::from_value(json!({"metadata": {"namespace": "default", "name": "web"}, "spec": spec})).unwrap())
}

fn slice(endpoints: Value) -> Arc<EndpointSlice> {
    let metadata = json!({"namespace": "default", "name": "web-1", "labels": {"kubernetes.io/service-name": "web"}});
    let ports = json!([{"name": "http", "port": 8080}, {"name": "names", "port": 5353, "protocol": "UDP"}]);
    Arc::new(serde_json::from_value(json!({"metadata": metadata, "addressType": "IPv4", "ports": ports, "endpoints": endpoints})).unwrap())
}

fn table(services: &[Arc<Service>], slices: &[Arc<EndpointSlice>], pods: &[Arc<Pod>]) -> Vec<String> {
    let shown = |(listen, backends): (Listen, Backends)| {
        let to: Vec<String> = backends.candidates(None).iter().map(ToString::to_string).collect();
        format!("{:?} {:?} {} {}", listen.place, listen.protocol, listen.address, to.join(" "))
    };
    frontends(services, slices, pods, &config()).into_iter().map(shown).collect()
}

#[tokio::test]
async fn ready_endpoints_answer_on_every_address() {
    let ports = json!([{"name": "http", "port": 80, "nodePort": 30080}, {"name": "names", "port": 53, "protocol": "UDP"},
        {"name": "calls", "port": 90, "protocol": "SCTP"}]);
    let spec = json!({"type": "LoadBalancer", "clusterIP": "10.96.1.2", "clusterIPs": ["10.96.1.2"], "ports": ports,
        "externalIPs": ["192.0.2.7", "127.0.0.1"]});
    let endpoints = json!([
        {"addresses": ["10.244.0.7"], "conditions": {"ready": true}},
        {"addresses": ["10.244.0.5"]},
        {"addresses": ["10.244.0.6"], "conditions": {"ready": false, "serving": true, "terminating": true}},
    ]);
    let (http, names) = ("10.244.0.5:8080 10.244.0.7:8080", "10.244.0.5:5353 10.244.0.7:5353");
    let expected = [
        format!("Lab Tcp 10.96.1.2:80 {http}"),
        format!("Lab Tcp 192.0.2.7:80 {http}"),
        format!("Lab Udp 10.96.1.2:53 {names}"),
        format!("Lab Udp 192.0.2.7:53 {names}"),
        format!("Host Tcp 10.244.255.253:80 {http}"),
        format!("Host Tcp 10.244.255.253:30080 {http}"),
        format!("Host Tcp 127.0.0.1:80 {http}"),
        format!("Host Tcp 127.0.0.1:30080 {http}"),
        format!("Host Udp 10.244.255.253:53 {names}"),
        format!("Host Udp 127.0.0.1:53 {names}"),
    ];
    assert_eq!(table(&[service(spec)], &[slice(endpoints)], &[]), expected);
}

#[tokio::test]
async fn without_ready_endpoints_the_terminating_ones_serve_or_nobody_listens() {
    let spec = json!({"clusterIP": "10.96.1.2", "ports": [{"name": "http", "port": 80}]});
    let terminating = json!([{"addresses": ["10.244.0.6"], "conditions": {"ready": false, "serving": true, "terminating": true}}]);
    assert_eq!(table(&[service(spec.clone())], &[slice(terminating)], &[]), ["Lab Tcp 10.96.1.2:80 10.244.0.6:8080"]);
    let starting = json!([{"addresses": ["10.244.0.6"], "conditions": {"ready": false, "serving": false}}]);
    assert!(table(&[service(spec)], &[slice(starting)], &[]).is_empty());
    let dns = json!({"clusterIP": "10.96.0.10", "ports": [{"name": "http", "port": 53}]});
    assert!(table(&[service(dns)], &[slice(json!([{"addresses": ["10.244.0.6"]}]))], &[]).is_empty(), "reserved");
    for spec in [json!({"clusterIP": "None"}), json!({"type": "ExternalName", "externalName": "x", "externalIPs": ["192.0.2.7"]})] {
        let mut spec = spec;
        spec["ports"] = json!([{"name": "http", "port": 80}]);
        assert!(table(&[service(spec)], &[slice(json!([{"addresses": ["10.244.0.6"]}]))], &[]).is_empty());
    }
}

#[tokio::test]
async fn local_traffic_stays_on_the_clients_node_and_outside_traffic_has_the_whole_machine() {
    let spec = json!({"type": "NodePort", "clusterIP": "10.96.1.2", "internalTrafficPolicy": "Local", "externalTrafficPolicy": "Local",
        "ports": [{"name": "http", "port": 80, "nodePort": 30080}]});
    let endpoints = json!([
        {"addresses": ["10.244.0.5"], "nodeName": "one"},
        {"addresses": ["10.244.1.5"], "nodeName": "two", "conditions": {"ready": false, "serving": true, "terminating": true}},
    ]);
    let all = frontends(&[service(spec)], &[slice(endpoints)], &[], &config());
    let (one, two) = ("10.244.0.5:8080".parse().unwrap(), "10.244.1.5:8080".parse().unwrap());
    for (listen, backends) in all {
        let expected: [Vec<SocketAddr>; 4] = match listen.place {
            Place::Lab => [vec![one], vec![two], vec![], vec![one]],
            Place::Host => [vec![one], vec![one], vec![one], vec![one]],
        };
        let nodes = [Some("one"), Some("two"), Some("three"), None];
        assert_eq!(nodes.map(|node| backends.candidates(node)), expected, "{listen:?}");
    }
}

#[tokio::test]
async fn affinity_and_sources_are_the_services() {
    let spec = json!({"type": "LoadBalancer", "clusterIP": "10.96.1.2", "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 7}}, "loadBalancerSourceRanges": ["192.0.2.0/24"],
        "ports": [{"name": "http", "port": 80, "nodePort": 30080}]});
    let all = frontends(&[service(spec)], &[slice(json!([{"addresses": ["10.244.0.5"]}]))], &[], &config());
    for (listen, backends) in all {
        assert_eq!(backends.affinity, Some(Duration::from_secs(7)));
        let admits = ["192.0.2.9", "192.0.3.1"].map(|client| backends.admits(client.parse().unwrap()));
        let balancer = listen.place == Place::Host && listen.address.port() == 80;
        assert_eq!(admits, [true, !balancer], "{listen:?}");
    }
}

#[tokio::test]
async fn host_ports_lead_to_their_pod() {
    let pod = |name: &str, ip: &str, ports: Value, phase: &str| {
        let spec = json!({"nodeName": "one", "containers": [{"name": "c", "ports": ports}]});
        let status = json!({"phase": phase, "podIP": ip});
        Arc::new(serde_json::from_value(json!({"metadata": {"name": name, "uid": name}, "spec": spec, "status": status})).unwrap())
    };
    let pods = [
        pod("a", "10.244.0.2", json!([{"containerPort": 8080, "hostPort": 54321, "hostIP": "127.0.0.1"}]), "Running"),
        pod("b", "10.244.0.3", json!([{"containerPort": 8080, "hostPort": 54321, "hostIP": "10.244.255.253"}]), "Running"),
        pod("c", "10.244.0.4", json!([{"containerPort": 53, "hostPort": 54321, "protocol": "UDP"}]), "Running"),
        pod("d", "10.244.0.5", json!([{"containerPort": 8080, "hostPort": 54322}]), "Succeeded"),
        pod("e", "10.244.0.6", json!([{"containerPort": 8080}]), "Running"),
    ];
    let expected = [
        "Host Tcp 10.244.255.253:54321 10.244.0.3:8080",
        "Host Tcp 127.0.0.1:54321 10.244.0.2:8080",
        "Host Udp 10.244.255.253:54321 10.244.0.4:53",
        "Host Udp 127.0.0.1:54321 10.244.0.4:53",
    ];
    assert_eq!(table(&[], &[], &pods), expected);
}

#[test]
fn the_oldest_load_balancer_has_the_port() {
    let balancer = |name: &str, made: &str, ports: &[i32]| -> Arc<Service> {
        let ports: Vec<Value> = ports.iter().map(|port| json!({"port": port})).collect();
        let metadata = json!({"namespace": "default", "name": name, "creationTimestamp": made});
        Arc::new(serde_json::from_value(json!({"metadata": metadata, "spec": {"type": "LoadBalancer", "ports": ports}})).unwrap())
    };
    let all = [
        balancer("a", "2026-01-01T00:00:02Z", &[80]),
        balancer("b", "2026-01-01T00:00:01Z", &[443, 80]),
        balancer("c", "2026-01-01T00:00:03Z", &[81]),
    ];
    let left = unaddressed(&all);
    let why = "port 80/TCP of the node's address is that of the service default/b".to_owned();
    assert_eq!(left, BTreeMap::from([("default/a".to_owned(), why)]));
    assert!(unaddressed(&[all[0].clone(), all[2].clone()]).is_empty());
}
