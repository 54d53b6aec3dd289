#![allow(clippy::unwrap_used)]
use super::*;
use serde_json::{Value, json};

fn pod(name: &str, namespace: &str, ip: &str) -> Arc<Pod> {
    let ports = json!([{"name": "http", "containerPort": if name == "web" { 8080 } else { 9090 }}]);
    let object = json!({"metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "ports": ports}]}, "status": {"phase": "Running", "podIP": ip}});
    Arc::new(serde_json::from_value(object).unwrap())
}

fn rules(policies: &[Value]) -> Rules {
    let policy = |(at, spec): (usize, &Value)| {
        Arc::new(serde_json::from_value(json!({"metadata": {"name": format!("p{at}"), "namespace": "shop"}, "spec": spec})).unwrap())
    };
    let policies: Vec<_> = policies.iter().enumerate().map(policy).collect();
    let pods = [pod("web", "shop", "10.244.0.2"), pod("client", "shop", "10.244.0.3"), pod("client", "other", "10.244.1.4")];
    let namespace = |name: &str| Arc::new(serde_json::from_value(json!({"metadata": {"name": name, "labels": {"name": name}}})).unwrap());
    compile(&policies, &pods, &[namespace("shop"), namespace("other"), namespace("kube-system")], Ranges::default())
}

/// Who gets through to `to`: the two clients, the node, an address outside.
fn gets(rules: &Rules, to: &str, port: u16) -> [bool; 4] {
    let (to, port) = (to.parse().unwrap(), port);
    ["10.244.0.3", "10.244.1.4", "10.244.0.1", "192.0.2.9"].map(|from| rules.allow(from.parse().unwrap(), to, port, "tcp"))
}

#[test]
fn ingress() {
    let web = json!({"matchLabels": {"app": "web"}});
    let from =
        |peers: Value, ports: Value| json!({"podSelector": web, "policyTypes": ["Ingress"], "ingress": [{"from": peers, "ports": ports}]});
    let other = json!({"namespaceSelector": {"matchLabels": {"name": "other"}}});
    let table = [
        (json!({"podSelector": {}, "policyTypes": ["Ingress"]}), [false, false, true, false]),
        (json!({"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress"]}), [true, true, true, true]),
        (json!({"podSelector": web, "policyTypes": ["Ingress"], "ingress": [{}]}), [true, true, true, true]),
        (from(json!([{"podSelector": {"matchLabels": {"app": "client"}}}]), json!([])), [true, false, true, false]),
        (from(json!([other]), json!([])), [false, true, true, false]),
        (from(json!([other]), json!([{"port": 8080}])), [false, true, true, false]),
        (from(json!([other]), json!([{"port": 8000, "endPort": 8100}])), [false, true, true, false]),
        (from(json!([other]), json!([{"port": "http"}])), [false, true, true, false]),
        (from(json!([other]), json!([{"port": "https"}])), [false, false, true, false]),
        (from(json!([other]), json!([{"port": 81}])), [false, false, true, false]),
        (from(json!([other]), json!([{"port": 8080, "protocol": "UDP"}])), [false, false, true, false]),
        (
            from(
                json!([{"namespaceSelector": {}, "podSelector": {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["x"]}]}}]),
                json!([]),
            ),
            [true, true, true, false],
        ),
        (from(json!([{"ipBlock": {"cidr": "192.0.2.0/24"}}]), json!([])), [false, false, true, true]),
        (from(json!([{"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.8/29"]}}]), json!([])), [false, false, true, false]),
    ];
    for (spec, expected) in table {
        assert_eq!(gets(&rules(std::slice::from_ref(&spec)), "10.244.0.2", 8080), expected, "{spec}");
    }
    let both = [
        json!({"podSelector": {}, "policyTypes": ["Ingress"]}),
        json!({"podSelector": web, "policyTypes": ["Ingress"], "ingress": [{"from": [other]}]}),
    ];
    assert_eq!(gets(&rules(&both), "10.244.0.2", 8080), [false, true, true, false], "policies add up");
}

#[test]
fn egress() {
    let client = json!({"matchLabels": {"app": "client"}});
    let to = |rules: Value| json!({"podSelector": client, "policyTypes": ["Egress"], "egress": rules});
    let reaches = |spec: &Value| {
        let rules = rules(std::slice::from_ref(spec));
        let targets = [("10.244.0.2", 8080, "tcp"), ("10.244.1.4", 9090, "tcp"), ("10.96.0.10", 53, "udp"), ("192.0.2.9", 443, "tcp")];
        targets.map(|(to, port, protocol)| rules.allow("10.244.0.3".parse().unwrap(), to.parse().unwrap(), port, protocol))
    };
    let dns =
        json!({"namespaceSelector": {"matchLabels": {"name": "kube-system"}}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}});
    let table = [
        (to(json!([])), [false; 4]),
        (to(json!([{}])), [true; 4]),
        (to(json!([{"to": [dns], "ports": [{"port": 53, "protocol": "UDP"}]}])), [false, false, true, false]),
        (to(json!([{"to": [{"podSelector": {}}]}])), [true, false, false, false]),
        (to(json!([{"to": [{"namespaceSelector": {}}], "ports": [{"port": "http"}]}])), [true, true, false, false]),
        (to(json!([{"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}]}])), [false, false, false, true]),
        (to(json!([{"ports": [{"port": 443}]}])), [false, false, false, true]),
    ];
    for (spec, expected) in table {
        assert_eq!(reaches(&spec), expected, "{spec}");
    }
    let rules = rules(&[to(json!([])), json!({"podSelector": {}, "policyTypes": ["Ingress"]})]);
    let client = "10.244.0.3".parse().unwrap();
    assert!(rules.allow(client, client, 80, "tcp"), "a pod reaches itself");
}
