//! Several nodes: cordoned, drained, lost and found again, as tutorials tell it, with times that suit a test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::collections::BTreeSet;
use std::time::Duration;

use harness::kubectl::{is_ready, name};
use harness::wait::so;
use harness::{Cluster, IMPATIENT, Need, story, until};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(90);

#[test]
fn nodes_are_cordoned_drained_lost_and_found_again() {
    story("nodes", &[Need::Kubectl], || {
        let cluster = Cluster::simulated(&[&["--nodes=3", "--node-eviction-rate=1"], &IMPATIENT[..]].concat());
        each_node_has_a_name_and_a_range(&cluster);
        run_something(&cluster);
        a_cordoned_node_gets_no_pods(&cluster);
        a_drain_asks_the_budget(&cluster);
        a_lost_node_loses_its_pods(&cluster);
        cluster.down();
    });
}

/// The containers of a node whose plug was pulled are gone, and those of its neighbours run on.
#[test]
fn a_node_with_processes_is_stopped_and_started() {
    story("nodes with processes", &[Need::Native, Need::Kubectl], || {
        let cluster = Cluster::native(&[&["--nodes=2", "--node-eviction-rate=1"], &IMPATIENT[..]].concat());
        cluster.kubectl_with(&["apply", "-f", "-"], web("web", 2).to_string().as_bytes()).ok();
        cluster.ready_pods("app=web", 2);
        until("each node has a pod", SOON, || {
            let nodes: BTreeSet<String> = pods(&cluster, "app=web").iter().map(node).collect();
            so(nodes.len() == 2, nodes)
        });
        cluster.coracle(&["node", "stop", "node-2"]).ok();
        until("both pods are on the node that is left", SOON, || {
            let pods = pods(&cluster, "app=web");
            so(pods.len() == 2 && pods.iter().all(|pod| node(pod) == "node-1" && is_ready(pod)), json!(pods).to_string())
        });
        cluster.coracle(&["node", "start", "node-2"]).ok();
        until("what was left on the node is cleared away", SOON, || {
            let left = cluster.items(&["pods", "-l", "app=web"]);
            so(left.len() == 2, json!(left).to_string())
        });
        until_back(&cluster, "node-2");
        cluster.kubectl(&["scale", "deployment/web", "--replicas=4"]).ok();
        cluster.ready_pods("app=web", 4);
        assert!(pods(&cluster, "app=web").iter().any(|pod| node(pod) == "node-2"));
        cluster.down();
    });
}

/// Replicas that spread over nodes.
fn web(name: &str, replicas: i32) -> Value {
    let labels = json!({"app": name});
    let spread = json!([{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels}}]);
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {"replicas": replicas,
        "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {
            "terminationGracePeriodSeconds": 1, "topologySpreadConstraints": spread,
            "containers": [{"name": "c", "image": "coracle.local/kubia:1.0"}]}}}})
}

/// Pods that are not going.
fn pods(cluster: &Cluster, selector: &str) -> Vec<Value> {
    let all = cluster.items(&["pods", "-l", selector]);
    all.into_iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).collect()
}

fn until_back(cluster: &Cluster, node: &str) {
    until("the node is back", SOON, || {
        let object = cluster.get(&["node", node]);
        so(is_ready(&object) && object["spec"]["taints"].is_null(), object.to_string())
    });
}

fn node(pod: &Value) -> String {
    pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned()
}

fn each_node_has_a_name_and_a_range(cluster: &Cluster) {
    let nodes = until("three ready nodes", SOON, || {
        let nodes = cluster.items(&["nodes"]);
        if nodes.iter().filter(|node| is_ready(node)).count() == 3 { Ok(nodes) } else { Err(json!(nodes).to_string()) }
    });
    let ranges: Vec<_> = nodes.iter().map(|node| node["spec"]["podCIDR"].as_str().unwrap().to_owned()).collect();
    assert_eq!(nodes.iter().map(name).collect::<Vec<_>>(), ["node-1", "node-2", "node-3"]);
    assert_eq!(ranges, ["10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24"]);
    until("each has a lease", SOON, || {
        let leases: Vec<_> = cluster.items(&["leases", "-n", "kube-node-lease"]).iter().map(name).collect();
        so(leases == ["node-1", "node-2", "node-3"], leases)
    });
}

fn run_something(cluster: &Cluster) {
    cluster.kubectl_with(&["apply", "-f", "-"], web("web", 6).to_string().as_bytes()).ok();
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
        "spec": {"minAvailable": "100%", "selector": {"matchLabels": {"app": "web"}}}});
    cluster.kubectl_with(&["apply", "-f", "-"], budget.to_string().as_bytes()).ok();
    cluster.ready_pods("app=web", 6);
    for pod in pods(cluster, "app=web") {
        let part = format!("10.244.{}.", node(&pod).trim_start_matches("node-").parse::<u32>().unwrap() - 1);
        assert!(pod["status"]["podIP"].as_str().unwrap().starts_with(&part), "{}", pod["status"]);
    }
}

fn a_cordoned_node_gets_no_pods(cluster: &Cluster) {
    cluster.kubectl(&["cordon", "node-2"]).shows(&["node/node-2 cordoned"]);
    until("the node says so", SOON, || {
        let table = cluster.kubectl(&["get", "nodes"]).ok();
        so(table.lines().any(|row| row.starts_with("node-2") && row.contains("Ready,SchedulingDisabled")), table)
    });
    let before = pods(cluster, "app=web").iter().filter(|pod| node(pod) == "node-2").count();
    cluster.kubectl(&["scale", "deployment/web", "--replicas=9"]).ok();
    cluster.ready_pods("app=web", 9);
    assert_eq!(pods(cluster, "app=web").iter().filter(|pod| node(pod) == "node-2").count(), before);
}

fn a_drain_asks_the_budget(cluster: &Cluster) {
    let mut draining = cluster.kubectl_running(&["drain", "node-2"]);
    until("the drain is refused", SOON, || {
        let said = draining.said();
        so(said.contains("Cannot evict pod as it would violate the pod's disruption budget."), said)
    });
    drop(draining);
    cluster.kubectl(&["patch", "pdb", "web", "-p", r#"{"spec":{"minAvailable":"50%"}}"#]).ok();
    until("the budget grants some", SOON, || {
        let budget = cluster.get(&["pdb", "web"]);
        so(budget["status"]["disruptionsAllowed"] == 4, budget["status"].to_string())
    });
    cluster.kubectl(&["drain", "node-2", "--timeout=90s"]).shows(&["node/node-2 drained"]);
    let pods = cluster.ready_pods("app=web", 9);
    let on = cluster.items(&["pods", "--field-selector=spec.nodeName=node-2"]);
    assert!(on.is_empty(), "{pods:?} {on:?}");
    cluster.kubectl(&["uncordon", "node-2"]).shows(&["node/node-2 uncordoned"]);
}

fn a_lost_node_loses_its_pods(cluster: &Cluster) {
    let mut set = web("memo", 3);
    set["kind"] = json!("StatefulSet");
    set["spec"]["serviceName"] = json!("memo");
    set["spec"]["podManagementPolicy"] = json!("Parallel");
    cluster.kubectl_with(&["apply", "-f", "-"], set.to_string().as_bytes()).ok();
    cluster.ready_pods("app=memo", 3);
    let lost = node(&cluster.get(&["pod", "memo-0"]));
    cluster.coracle(&["node", "stop", &lost]).shows(&["stopped"]);
    assert!(cluster.coracle(&["node", "stop", &lost]).failed(1).contains("no node"));

    until("the node is lost", SOON, || {
        let object = cluster.get(&["node", &lost]);
        let taints = object["spec"]["taints"].to_string();
        so(!is_ready(&object) && taints.contains("unreachable") && taints.contains("NoExecute"), object.to_string())
    });
    until("the deployment is whole without it", SOON, || {
        let pods = pods(cluster, "app=web");
        so(
            pods.len() == 9 && pods.iter().all(|pod| node(pod) != lost && is_ready(pod)),
            cluster.kubectl(&["get", "pods", "-o", "wide"]).said(),
        )
    });
    // Nobody says that it has ended.
    let memo = until("the pod of the stateful set is going, and stays so", SOON, || {
        let memo = cluster.get(&["pod", "memo-0"]);
        if memo["metadata"]["deletionTimestamp"].is_string() { Ok(memo) } else { Err(memo.to_string()) }
    });
    let conditions = memo["status"]["conditions"].as_array().unwrap();
    assert!(conditions.iter().any(|one| one["type"] == "DisruptionTarget" && one["reason"] == "DeletionByTaintManager"), "{memo}");

    cluster.coracle(&["node", "start", &lost]).shows(&["started"]);
    until_back(cluster, &lost);
    until("the pod of the stateful set is made again", SOON, || {
        let again = cluster.get(&["pod", "memo-0"]);
        so(again["metadata"]["uid"] != memo["metadata"]["uid"] && is_ready(&again), again.to_string())
    });
    until("nothing is left of the old pods", SOON, || {
        let all = cluster.items(&["pods", "-l", "app=web"]);
        so(all.len() == 9, json!(all).to_string())
    });
}
