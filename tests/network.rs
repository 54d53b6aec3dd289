//! The network from the outside: services in user space, as on machines whose kernel has no packet tables for us; what a
//! crash leaves; where services are told to be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::collections::BTreeSet;
use std::time::Duration;

use harness::wait::so;
use harness::{Cluster, Need, Place, story, until};

const SOON: Duration = Duration::from_secs(60);

const APPLICATION: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: c
        image: coracle.local/kubia:1.0
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed}
spec: {podSelector: {matchLabels: {app: other}}}
";

fn service(cluster: &Cluster, name: &str) -> (String, u64) {
    let service = cluster.get(&["service", name]);
    (service["spec"]["clusterIP"].as_str().unwrap().to_owned(), service["spec"]["ports"][0]["nodePort"].as_u64().unwrap())
}

fn until_served(cluster: &Cluster, url: &str) {
    until(&format!("{url} is answered"), SOON, || {
        let ran = cluster.run("curl", &["-sS", "--max-time", "5", url]);
        so(ran.text().contains("this is web-"), ran.said())
    });
}

#[test]
fn services_outlive_a_crash_without_packet_tables() {
    // nobody else runs in this process
    unsafe { std::env::set_var("CORACLE_NFT", "off") };
    story("services in user space", &[Need::Native, Need::Kubectl], || {
        let mut cluster = Cluster::start(Place::new(), &["--runtime", "native"]);
        let file = cluster.place.write("application.yaml", APPLICATION);
        cluster.kubectl(&["apply", "-f", file.to_str().unwrap()]).ok();
        cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).ok();
        let (ip, port) = service(&cluster, "web");
        let pods = cluster.ready_pods("app=web", 2);
        let everywhere = |cluster: &Cluster| {
            until_served(cluster, &format!("http://{ip}"));
            until_served(cluster, &format!("http://127.0.0.1:{port}"));
            until("a pod reaches the service by name", SOON, || {
                let ran = cluster.kubectl(&["exec", &pods[0], "--", "curl", "-sS", "--max-time", "5", "http://web"]);
                so(ran.text().contains("this is web-"), ran.said())
            });
        };
        everywhere(&cluster);
        until("the policy warns", SOON, || {
            let events = cluster.kubectl(&["get", "events", "--field-selector", "reason=NotEnforced,involvedObject.name=closed"]).ok();
            so(events.contains("no nft that works"), events)
        });
        let told = cluster.coracle(&["service", "web"]).ok();
        for part in [format!("cluster IP     http://{ip} "), format!("node port      http://127.0.0.1:{port}")] {
            assert!(told.contains(&part), "{told}");
        }
        cluster.kill();
        cluster.restart();
        assert_eq!(service(&cluster, "web"), (ip.clone(), port), "what was allocated stays");
        everywhere(&cluster);
        let mut seen = BTreeSet::from([ip.clone(), "10.96.0.1".to_owned(), "10.96.0.10".to_owned()]);
        let mut ports = BTreeSet::from([port]);
        for number in 0..20 {
            let name = format!("more-{number}");
            cluster.kubectl(&["create", "service", "nodeport", &name, "--tcp=80"]).ok();
            let (ip, port) = service(&cluster, &name);
            assert!(seen.insert(ip.clone()) && ports.insert(port), "{ip} or {port} is given twice");
        }
        cluster.kubectl(&["create", "service", "clusterip", "thief", "--tcp=80", &format!("--clusterip={ip}")]).failed(1);
        cluster.down();
    });
}
