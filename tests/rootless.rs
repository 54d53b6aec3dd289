//! A plain user's cluster: real pods in namespaces of his own, without Docker and without root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::time::Duration;

use harness::pods::{LIVE, SOON, pod, runs, status};
use harness::run::Ran;
use harness::wait::so;
use harness::{Cluster, Need, Place, leftovers, story, until};
use serde_json::{Value, json};

const GREETING: &str = "Hey there, this is web-";

/// Asks until somebody answers with `part`.
fn until_answered(cluster: &Cluster, program: &str, arguments: &[&str], part: &str) {
    until(&format!("{program} {arguments:?} shows {part:?}"), SOON, || {
        let ran = if program == "kubectl" { cluster.kubectl(arguments) } else { cluster.run(program, arguments) };
        so(ran.text().contains(part), ran.said())
    });
}

fn curl(cluster: &Cluster, arguments: &[&str], part: &str) {
    until_answered(cluster, "curl", &[&["-sS", "--max-time", "5"], arguments].concat(), part);
}

fn node_port(cluster: &Cluster) -> String {
    let service = cluster.get(&["service", "web"]);
    format!("http://127.0.0.1:{}", service["spec"]["ports"][0]["nodePort"])
}

/// The containers that run, and how often each began.
fn containers(cluster: &Cluster) -> Vec<(String, i64)> {
    let pods = cluster.items(&["pods", "-l", "app=web"]);
    let of = |pod: &Value| {
        let status = status(pod);
        (status["containerID"].as_str().unwrap_or_default().to_owned(), status["restartCount"].as_i64().unwrap_or_default())
    };
    let mut all: Vec<_> = pods.iter().map(of).collect();
    all.sort();
    all
}

#[test]
fn a_plain_users_cluster() {
    story("rootless", &[Need::Rootless, Need::Kubectl], || {
        let place = Place::plain();
        place.run(&["doctor"]).shows(&["ok native runtime   containers without Docker, rootless", "no control groups"]);
        let mut cluster = Cluster::start(place, &[]);
        assert!(cluster.ready_line.contains("runtime: native (rootless)"), "{}", cluster.ready_line);
        cluster.coracle(&["status"]).shows(&["runtime: native (rootless)"]);
        pods_run_and_are_reached(&cluster);
        what_he_lacks_is_said(&cluster);
        pods_outlive_a_crash(&mut cluster);
        cluster.down();
    });
}

fn pods_run_and_are_reached(cluster: &Cluster) {
    cluster.kubectl(&["create", "deployment", "web", "--image=coracle.local/kubia:1.0", "--replicas=2"]).ok();
    cluster.kubectl(&["expose", "deployment", "web", "--type=NodePort", "--port=80", "--target-port=8080"]).ok();
    cluster.ready_pods("app=web", 2);
    curl(cluster, &[&node_port(cluster)], GREETING);
    // a name, an address of a service, and the API, from inside
    until_answered(cluster, "kubectl", &["exec", "deployment/web", "--", "wget", "-q", "-O-", "http://web.default"], GREETING);
    let api = ["exec", "deployment/web", "--", "curl", "-sk", "--max-time", "5", "https://kubernetes.default.svc/version"];
    until_answered(cluster, "kubectl", &api, "v1.36");
    // endpoints by hand
    let address = cluster.items(&["pods", "-l", "app=web"])[0]["status"]["podIP"].clone();
    cluster.create(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "hand"}, "spec": {"ports": [{"port": 81}]}}));
    cluster.create(&json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "hand", "labels": {"kubernetes.io/service-name": "hand"}},
        "ports": [{"name": "", "port": 8080}], "endpoints": [{"addresses": [address]}]}));
    until_answered(cluster, "kubectl", &["exec", "deployment/web", "--", "wget", "-q", "-O-", "http://hand:81"], GREETING);
    // names beyond the cluster: in a network of the test's own nobody can be asked, which is said at once
    if nix::unistd::geteuid().is_root() {
        let beyond = cluster.kubectl(&["exec", "deployment/web", "--", "curl", "-sS", "--max-time", "60", "http://beyond.example.com"]);
        assert!(beyond.failed(6).contains("Could not resolve host"), "{}", beyond.said());
    }
    let nodes = format!("http://10.244.255.253:{}", node_port(cluster).rsplit(':').next().unwrap());
    until_answered(cluster, "kubectl", &["exec", "deployment/web", "--", "curl", "-s", "--max-time", "5", &nodes], GREETING);
    // ways of the API server
    cluster.kubectl(&["get", "--raw", "/api/v1/namespaces/default/services/web/proxy/"]).shows(&[GREETING]);
    cluster.kubectl(&["logs", "deployment/web"]).shows(&["Listening on port 8080"]);
    let typed = cluster.kubectl_with(&["exec", "-i", "deployment/web", "--", "sh", "-c", "cat; id -u"], b"typed\n");
    assert_eq!(typed.ok(), "typed\n0\n");
    {
        let _forward = cluster.kubectl_running(&["port-forward", "deployment/web", "18480:8080"]);
        curl(cluster, &["http://127.0.0.1:18480"], GREETING);
    }
    cluster.kubectl(&["create", "ingress", "web", "--rule=web.test/*=web:80"]).ok();
    let port = until("the ingress says where it is", SOON, || {
        let told = cluster.get(&["ingress", "web"])["status"]["loadBalancer"]["ingress"][0].clone();
        // one that has the usual ports names none
        if told.is_object() { Ok(told["ports"][0]["port"].as_u64().unwrap_or(80)) } else { Err(told) }
    });
    curl(cluster, &["-H", "Host: web.test", &format!("http://127.0.0.1:{port}/")], GREETING);
}

fn what_he_lacks_is_said(cluster: &Cluster) {
    let nodes = cluster.items(&["nodes"]);
    let conditions = nodes[0]["status"]["conditions"].as_array().unwrap();
    let restricted = conditions.iter().find(|condition| condition["type"] == "Restricted").unwrap();
    assert!(restricted["message"].as_str().unwrap().contains("requests and limits are not enforced"), "{restricted}");
    // limits are no reason not to run; a port of the host and a probe work
    let member = json!({
        "resources": {"limits": {"memory": "64Mi", "cpu": "100m"}},
        "securityContext": {"readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "m", "mountPath": "/m"}],
    });
    let spec = json!({"volumes": [{"name": "m", "emptyDir": {"medium": "Memory"}}], "securityContext": {"fsGroup": 2000}});
    cluster.create(&pod("limited", LIVE, spec, member));
    cluster.until_pod("runs", "limited", runs);
    cluster.kubectl(&["exec", "limited", "--", "sh", "-c", "echo kept > /m/f; cat /m/f"]).shows(&["kept"]);
    // with one user, there is no other; with granted ranges there is
    cluster.create(&pod("other", LIVE, json!({}), json!({"securityContext": {"runAsUser": 1000}})));
    cluster.until_pod("runs as another user, or says why not", "other", |pod| {
        let waiting = &status(pod)["state"]["waiting"];
        runs(pod) || waiting["reason"] == "CreateContainerError" && waiting["message"].to_string().contains("has no user 1000")
    });
    cluster.kubectl(&["delete", "pod", "limited", "other", "--wait=false", "--grace-period=1"]).ok();
}

fn pods_outlive_a_crash(cluster: &mut Cluster) {
    let before = containers(cluster);
    cluster.kill();
    cluster.restart();
    assert!(cluster.ready_line.contains("runtime: native (rootless)"), "{}", cluster.ready_line);
    cluster.ready_pods("app=web", 2);
    assert_eq!(containers(cluster), before);
    curl(cluster, &[&node_port(cluster)], GREETING);
    until_answered(cluster, "kubectl", &["exec", "deployment/web", "--", "wget", "-q", "-O-", "http://web"], GREETING);
}

#[test]
fn what_a_crash_leaves_goes_with_the_data() {
    story("rootless reset", &[Need::Rootless, Need::Kubectl], || {
        let mut cluster = Cluster::start(Place::plain(), &["--runtime", "native"]);
        cluster.create(&pod("left", LIVE, json!({}), json!({})));
        cluster.until_pod("runs", "left", runs);
        cluster.kill();
        let reset = |cluster: &Cluster| -> Ran { cluster.coracle(&["reset", "--yes"]) };
        reset(&cluster).shows(&["deleted"]);
        assert!(!cluster.place.data().exists());
        until("nothing is left", Duration::from_secs(30), || {
            let left = leftovers::of(&cluster.place);
            so(left.is_empty(), left)
        });
        // and a new one begins
        cluster.restart();
        cluster.create(&pod("new", LIVE, json!({}), json!({})));
        cluster.until_pod("runs", "new", runs);
        cluster.kill();
        cluster.clear_away(&["down"], "what one left that ended by itself is removed");
    });
}
