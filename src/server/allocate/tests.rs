#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::objects::testing::Fixture;

fn service(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "y"}, "spec": spec})
}

fn services(cidr: &str, stored: &[Value]) -> Arc<Services> {
    let objects: Vec<(&str, &str, Value)> = stored.iter().map(|service| ("", "services", service.clone())).collect();
    Services::new(&*Fixture::with(&objects), cidr, (30000, 32767)).unwrap()
}

fn kubernetes() -> Value {
    service("kubernetes", json!({"type": "ClusterIP", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"]}))
}

fn plain() -> Value {
    service("s", json!({"type": "ClusterIP"}))
}

#[test]
fn addresses_are_from_the_upper_part_of_the_range() {
    let services = services("10.96.0.0/12", &[kubernetes()]);
    let mut seen = std::collections::HashSet::new();
    for _ in 0..200 {
        let mut one = plain();
        services.reserve(&*Fixture::with(&[]), &mut one, None).unwrap().keep();
        let ip: std::net::Ipv4Addr = one["spec"]["clusterIP"].as_str().unwrap().parse().unwrap();
        assert!(ip.to_bits() > std::net::Ipv4Addr::new(10, 96, 1, 0).to_bits() && ip.octets()[1] < 112, "{ip}");
        assert_eq!(one["spec"]["clusterIPs"], json!([ip.to_string()]));
        assert!(seen.insert(ip), "{ip} twice");
    }
}

#[test]
fn an_address_by_hand_must_be_free_and_in_range() {
    let services = services("10.96.0.0/12", &[kubernetes()]);
    let message = |ip: &str| {
        services
            .reserve(&*Fixture::with(&[]), &mut service("s", json!({"type": "ClusterIP", "clusterIP": ip})), None)
            .err()
            .unwrap()
            .message
    };
    assert_eq!(
        message("10.96.0.1"),
        r#"Service "s" is invalid: spec.clusterIPs: Invalid value: ["10.96.0.1"]: failed to allocate IP 10.96.0.1: provided IP is already allocated"#
    );
    assert!(message("10.0.0.1").ends_with("the provided IP (10.0.0.1) is not in the valid range. The range of valid IPs is 10.96.0.0/12"));
    assert!(message("10.96.0.0").contains("not in the valid range"));
    let mut free = service("s", json!({"type": "ClusterIP", "clusterIP": "10.96.0.10"}));
    services.reserve(&*Fixture::with(&[]), &mut free, None).unwrap().keep();
    assert!(message("10.96.0.10").contains("already allocated"));
    services.release(&free);
    services.reserve(&*Fixture::with(&[]), &mut free, None).unwrap().keep();
}

#[test]
fn what_is_not_kept_is_free_again() {
    let services = services("10.96.0.0/12", &[]);
    let mut one = service("s", json!({"type": "NodePort", "clusterIP": "10.96.0.9", "ports": [{"port": 80, "nodePort": 30080}]}));
    drop(services.reserve(&*Fixture::with(&[]), &mut one, None).unwrap());
    services.reserve(&*Fixture::with(&[]), &mut one, None).unwrap().keep();
    let mut both = one.clone();
    both["spec"]["ports"][0]["nodePort"] = json!(30081);
    assert!(services.reserve(&*Fixture::with(&[]), &mut both, None).is_err(), "the address is taken");
    both["spec"]["clusterIP"] = json!("10.96.0.8");
    services.reserve(&*Fixture::with(&[]), &mut both, None).unwrap().keep();
    let mut clash = service("t", json!({"type": "NodePort", "clusterIP": "10.96.0.7", "ports": [{"port": 80, "nodePort": 30081}]}));
    assert_eq!(
        services.reserve(&*Fixture::with(&[]), &mut clash, None).err().unwrap().message,
        r#"Service "t" is invalid: spec.ports[0].nodePort: Invalid value: 30081: provided port is already allocated"#
    );
    clash["spec"]["ports"][0]["nodePort"] = json!(30082);
    services.reserve(&*Fixture::with(&[]), &mut clash, None).expect("its address was given back when its port was refused").keep();
}

#[test]
fn node_ports() {
    let services = services("10.96.0.0/12", &[]);
    let ports = json!([{"name": "a", "port": 53, "protocol": "UDP"}, {"name": "b", "port": 53, "protocol": "TCP"}, {"name": "c", "port": 80, "protocol": "TCP"}]);
    let mut dns = service("s", json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": ports}));
    services.reserve(&*Fixture::with(&[]), &mut dns, None).unwrap().keep();
    let port = |index: usize| dns["spec"]["ports"][index]["nodePort"].as_u64().unwrap();
    assert_eq!(port(0), port(1), "the same port of two protocols shares its node port");
    assert_ne!(port(0), port(2));
    assert!((30086..=32767).contains(&port(2)) && dns["spec"]["healthCheckNodePort"].is_u64());
    let outside = services.reserve(
        &*Fixture::with(&[]),
        &mut service("s", json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]})),
        None,
    );
    assert!(outside.err().unwrap().message.ends_with("provided port is not in the valid range. The range of valid ports is 30000-32767"));

    let mut inside = dns.clone();
    inside["spec"]["type"] = json!("ClusterIP");
    inside["spec"]["ports"].as_array_mut().unwrap().iter_mut().for_each(|port| drop(port.as_object_mut().unwrap().remove("nodePort")));
    inside["spec"].as_object_mut().unwrap().remove("healthCheckNodePort");
    services.reserve(&*Fixture::with(&[]), &mut inside, Some(&dns)).unwrap().keep();
    assert_eq!(inside["spec"]["clusterIP"], dns["spec"]["clusterIP"]);
    let mut taker = service("t", json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": port(0)}]}));
    services.reserve(&*Fixture::with(&[]), &mut taker, None).expect("a change of type frees the ports").keep();
}

#[test]
fn an_update_keeps_what_it_has() {
    let services = services("10.96.0.0/12", &[]);
    let mut old = service("s", json!({"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}]}));
    services.reserve(&*Fixture::with(&[]), &mut old, None).unwrap().keep();
    let mut new = old.clone();
    new["spec"]["ports"].as_array_mut().unwrap().push(json!({"port": 81, "protocol": "TCP"}));
    services.reserve(&*Fixture::with(&[]), &mut new, Some(&old)).unwrap().keep();
    assert_eq!((&new["spec"]["clusterIP"], &new["spec"]["ports"][0]), (&old["spec"]["clusterIP"], &old["spec"]["ports"][0]));
    drop(services.reserve(&*Fixture::with(&[]), &mut new.clone(), Some(&new)).unwrap());
    assert!(services.reserve(&*Fixture::with(&[]), &mut service("t", json!({"clusterIP": new["spec"]["clusterIP"]})), None).is_err());
}

#[test]
fn a_restart_knows_what_is_taken_and_a_full_range_says_so() {
    let stored = service(
        "s",
        json!({"type": "NodePort", "clusterIP": "10.0.0.2", "clusterIPs": ["10.0.0.2"], "ports": [{"port": 1, "nodePort": 30500}]}),
    );
    let services = services("10.0.0.0/29", &[stored]);
    assert!(services.reserve(&*Fixture::with(&[]), &mut service("t", json!({"clusterIP": "10.0.0.2"})), None).is_err());
    assert!(
        services
            .reserve(&*Fixture::with(&[]), &mut service("t", json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 30500}]})), None)
            .is_err()
    );
    for _ in 0..5 {
        services.reserve(&*Fixture::with(&[]), &mut plain(), None).unwrap().keep();
    }
    let full = services.reserve(&*Fixture::with(&[]), &mut plain(), None).err().unwrap();
    assert_eq!((full.code, full.message.as_str()), (500, "Internal error occurred: failed to allocate a serviceIP: range is full"));
    for spec in [json!({"type": "ExternalName", "externalName": "x"}), json!({"clusterIP": "None"})] {
        services.reserve(&*Fixture::with(&[]), &mut service("u", spec), None).unwrap().keep();
    }
}

#[test]
fn added_ranges_and_held_addresses() {
    let range = |ready: &str| {
        let status = json!({"conditions": [{"type": "Ready", "status": ready}]});
        json!({"metadata": {"name": "more"}, "spec": {"cidrs": ["10.1.0.0/30", "fd00::/120"]}, "status": status})
    };
    let held = json!({"metadata": {"name": "10.1.0.1", "labels": {"ipaddress.kubernetes.io/managed-by": "somebody"}}, "spec": {}});
    let group = "networking.k8s.io";
    let services = services("10.0.0.0/30", &[]);
    let (none, unready) = (Fixture::with(&[]), Fixture::with(&[(group, "servicecidrs", range("False"))]));
    let ready = Fixture::with(&[(group, "servicecidrs", range("True")), (group, "ipaddresses", held)]);
    for _ in 0..2 {
        services.reserve(&*none, &mut plain(), None).unwrap().keep();
    }
    assert!(services.reserve(&*none, &mut plain(), None).is_err() && services.reserve(&*unready, &mut plain(), None).is_err());
    let mut last = plain();
    services.reserve(&*ready, &mut last, None).unwrap().keep();
    assert_eq!(last["spec"]["clusterIP"], "10.1.0.2");
    let refused = services.reserve(&*ready, &mut service("s", json!({"clusterIP": "10.1.0.1"})), None).err().unwrap();
    assert!(refused.message.ends_with("provided IP is already allocated"), "{}", refused.message);
    services.release(&last);
    services.reserve(&*none, &mut last, None).err().expect("the range is gone");
}

#[test]
fn ranges_are_checked() {
    for cidr in ["", "10.96.0.0", "10.96.0.0/40", "fd00::/108", "10.96.0.0/31"] {
        assert!(Services::new(&*Fixture::with(&[]), cidr, (30000, 32767)).is_err(), "{cidr}");
    }
}
