//! The network from the outside: services that the kernel leads to, and services in user space, as on machines whose kernel
//! has no packet tables for us; what a crash leaves, and that it goes; updates under load; where services and ingresses are
//! told to be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use harness::wait::so;
use harness::{Cluster, Need, Place, story, until};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(90);

/// The pods stay for a while when they are told to go: whoever was led to one is answered.
const APPLICATION: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 2}}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 10
      containers:
      - name: c
        image: coracle.local/kubia:1.0
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1, timeoutSeconds: 10}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed}
spec: {podSelector: {matchLabels: {app: other}}}
";

fn service(cluster: &Cluster, name: &str) -> (String, u64) {
    allocated(&cluster.get(&["service", name]))
}

fn allocated(service: &Value) -> (String, u64) {
    (service["spec"]["clusterIP"].as_str().unwrap().to_owned(), service["spec"]["ports"][0]["nodePort"].as_u64().unwrap())
}

fn until_served(cluster: &Cluster, arguments: &[&str]) {
    until(&format!("{arguments:?} is answered"), SOON, || {
        let ran = cluster.run("curl", &[&["-sS", "--max-time", "5"], arguments].concat());
        so(ran.text().contains("this is web-"), ran.said())
    });
}

/// From the host and from a pod, as tutorials do it.
fn served_everywhere(cluster: &Cluster, ip: &str, port: u64) {
    until_served(cluster, &[&format!("http://{ip}")]);
    until_served(cluster, &[&format!("http://127.0.0.1:{port}")]);
    let pods = cluster.ready_pods("app=web", 2);
    for name in ["web", ip] {
        until(&format!("a pod reaches {name}"), SOON, || {
            let ran = cluster.kubectl(&["exec", &pods[0], "--", "curl", "-sS", "--max-time", "5", &format!("http://{name}")]);
            so(ran.text().contains("this is web-"), ran.said())
        });
    }
}

#[test]
fn services_outlive_crashes_with_packet_tables_and_without() {
    story("services", &[Need::Native, Need::Kubectl], || {
        let mut cluster = Cluster::start(Place::new(), &["--runtime", "native"]);
        let file = cluster.place.write("application.yaml", APPLICATION);
        cluster.kubectl(&["apply", "-f", file.to_str().unwrap()]).ok();
        cluster.kubectl(&["expose", "deployment", "web", "--type=NodePort", "--port=80", "--target-port=8080"]).ok();
        cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"]).ok();
        let (ip, port) = service(&cluster, "web");
        served_everywhere(&cluster, &ip, port);
        cluster.kill();
        cluster.restart();
        served_everywhere(&cluster, &ip, port);
        cluster.kill();
        // nobody else runs in this process
        unsafe { std::env::set_var("CORACLE_NFT", "off") };
        cluster.restart();
        assert_eq!(service(&cluster, "web"), (ip.clone(), port), "what was allocated stays");
        served_everywhere(&cluster, &ip, port);
        until("the policy warns", SOON, || {
            let events = cluster.kubectl(&["get", "events", "--field-selector", "reason=NotEnforced,involvedObject.name=closed"]).ok();
            so(events.contains("no nft that works"), events)
        });
        let told = cluster.coracle(&["service", "web"]).ok();
        for part in [format!("cluster IP     http://{ip} "), format!("node port      http://127.0.0.1:{port}")] {
            assert!(told.contains(&part), "{told}");
        }
        a_rolling_update_loses_no_request(&cluster, &ip);
        nothing_is_given_twice(&cluster, &ip, port);
        ingresses_find_other_ports(&cluster);
        cluster.kill();
        cluster.clear_away(&["down"], "what one left that ended by itself is removed");
        cluster.restart();
        served_everywhere(&cluster, &ip, port);
        cluster.kill();
        cluster.clear_away(&["reset", "--yes"], "deleted");
    });
}

const REQUESTS: usize = 10_000;
const AT_ONCE: usize = 8;

/// One request over a connection of its own.
fn ask(ip: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect((ip, 80))?;
    stream.set_read_timeout(Some(SOON))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    so(answer.starts_with("HTTP/1.1 200"), std::io::Error::other(answer))
}

/// Here in user space; through the kernel: `network::rollout` of the conformance tests.
fn a_rolling_update_loses_no_request(cluster: &Cluster, ip: &str) {
    let asked = AtomicUsize::new(0);
    let some = || {
        let mut lost = Vec::new();
        while asked.fetch_add(1, Ordering::Relaxed) < REQUESTS {
            lost.extend(ask(ip).err().map(|error| error.to_string()));
        }
        lost
    };
    let lost: Vec<String> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(some)).collect();
        // update after update, until all has been asked
        let mut updates = 0;
        while asked.load(Ordering::Relaxed) < REQUESTS || updates == 0 {
            updates += 1;
            let patch = json!({"spec": {"template": {"metadata": {"annotations": {"update": updates.to_string()}}}}});
            cluster.kubectl(&["patch", "deployment", "web", "-p", &patch.to_string()]).ok();
            cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"]).ok();
        }
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    assert!(lost.is_empty(), "{} of {REQUESTS} lost: {:?}", lost.len(), &lost[..lost.len().min(5)]);
}

fn nothing_is_given_twice(cluster: &Cluster, ip: &str, port: u64) {
    let more = |number: u32| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("more-{number}"), "labels": {"more": "yes"}},
            "spec": {"type": "NodePort", "ports": [{"port": 80}]}})
    };
    cluster.create(&json!({"apiVersion": "v1", "kind": "List", "items": (0..20).map(more).collect::<Vec<_>>()}));
    let mut seen = BTreeSet::from([ip.to_owned(), "10.96.0.1".to_owned(), "10.96.0.10".to_owned()]);
    let mut ports = BTreeSet::from([port]);
    for service in cluster.items(&["services", "-l", "more=yes"]) {
        let (ip, port) = allocated(&service);
        assert!(seen.insert(ip.clone()) && ports.insert(port), "{ip} or {port} is given twice");
    }
    assert_eq!(ports.len(), 21);
    cluster.kubectl(&["create", "service", "clusterip", "thief", "--tcp=80", &format!("--clusterip={ip}")]).failed(1);
}

/// What the ingress says of the ports where it is reached.
fn until_ports(cluster: &Cluster, wanted: &Value) {
    until(&format!("the ingress is at {wanted}"), SOON, || {
        let told = cluster.get(&["ingress", "web"])["status"]["loadBalancer"]["ingress"][0].clone();
        let ports: Value = told["ports"].as_array().into_iter().flatten().map(|one| one["port"].clone()).collect();
        so(told["ip"].is_string() && ports == *wanted, told)
    });
}

/// Where somebody else has the usual ports; where somebody has the others, too, it is said, until one is free.
fn ingresses_find_other_ports(cluster: &Cluster) {
    let create = || cluster.kubectl(&["create", "ingress", "web", "--rule=web.test/*=web:80"]).ok();
    let named = ["-H", "Host: web.test"];
    let usual = TcpListener::bind("127.0.0.1:80").unwrap();
    create();
    until_ports(cluster, &json!([8080, 443]));
    until_served(cluster, &[&named[..], &["http://127.0.0.1:8080/"]].concat());
    cluster.kubectl(&["delete", "ingress", "web"]).ok();
    let other = until("its port is free again", SOON, || TcpListener::bind("127.0.0.1:8080"));
    create();
    until("the ingress says that nobody can reach it", SOON, || {
        let events = cluster.kubectl(&["get", "events", "--field-selector", "reason=NotServed,involvedObject.name=web"]).ok();
        so(events.contains("neither port 80 nor port 8080 can be had"), events)
    });
    assert_eq!(cluster.get(&["ingress", "web"])["status"]["loadBalancer"], json!({}));
    drop((usual, other));
    // it tries again by itself; a change is a reason, too
    cluster.kubectl(&["annotate", "ingress", "web", "touched=yes"]).ok();
    until_ports(cluster, &json!([]));
    until_served(cluster, &[&named[..], &["http://127.0.0.1/"]].concat());
}
