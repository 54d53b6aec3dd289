//! Whether the node takes a pod that was bound to it, as the kubelet checks again what the scheduler should have checked.

use coracle_api::placement::{untolerated, wants_node};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::machine::Capacity;
use crate::pod::resources::{milli_of, pod_requests, whole};
use crate::pod::{main_members, spec};
use crate::status::Reason;

fn reject(reason: &str, message: impl Into<String>) -> Result<(), Reason> {
    Err(Reason { reason: reason.to_owned(), message: message.into() })
}

/// Checks `pod` against the node, its capacity, and the pods that are already there.
pub(crate) fn admit(pod: &Pod, node: Option<&Node>, capacity: &Capacity, others: &[std::sync::Arc<Pod>]) -> Result<(), Reason> {
    let label = pod.metadata.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/os"));
    if label.is_some_and(|os| os != "linux") {
        let message = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label";
        return reject("PodOSSelectorNodeLabelDoesNotMatch", message);
    }
    if spec(pod).os.as_ref().is_some_and(|os| os.name != "linux") {
        return reject("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS");
    }
    resources(pod, capacity, others)?;
    if node.is_some_and(|node| !matches_node(pod, node)) {
        return reject("NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector");
    }
    let wanted = host_ports(pod);
    let taken: Vec<_> = others.iter().flat_map(|other| host_ports(other)).collect();
    if wanted.iter().any(|one| taken.iter().any(|other| conflict(one, other))) {
        return reject("NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports");
    }
    if node.is_some_and(|node| !tolerates(pod, node)) {
        return reject("TaintToleration", "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate");
    }
    Ok(())
}

/// How a quantity is counted.
type Amount = fn(&Quantity) -> i64;

fn resources(pod: &Pod, capacity: &Capacity, others: &[std::sync::Arc<Pod>]) -> Result<(), Reason> {
    let outof = |name: &str, requested: i64, used: i64, capacity: i64| {
        let message = format!("Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}");
        reject(&format!("OutOf{name}"), message)
    };
    let count = i64::try_from(others.len()).unwrap_or(i64::MAX);
    if count + 1 > capacity.pods {
        return outof("pods", 1, count, capacity.pods);
    }
    let requests = pod_requests(pod);
    let used: Vec<_> = others.iter().map(|other| pod_requests(other)).collect();
    let checks: [(&str, i64, Amount); 3] =
        [("cpu", capacity.cpu_milli, milli_of), ("memory", capacity.memory, whole), ("ephemeral-storage", capacity.storage, whole)];
    for (name, capacity, amount) in checks {
        let requested = requests.get(name).map_or(0, amount);
        let used: i64 = used.iter().filter_map(|requests| requests.get(name)).map(amount).sum();
        if requested > 0 && requested > capacity - used {
            return outof(name, requested, used, capacity);
        }
    }
    Ok(())
}

fn matches_node(pod: &Pod, node: &Node) -> bool {
    let labels = node.metadata.labels.clone().unwrap_or_default();
    wants_node(&spec(pod), node.metadata.name.as_deref().unwrap_or_default(), &labels)
}

/// Only what would end the pod again counts: the scheduler has looked at the rest.
fn tolerates(pod: &Pod, node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    untolerated(taints, spec(pod).tolerations.as_deref().unwrap_or_default(), &["NoExecute"]).is_none()
}

type HostPort = (String, i32, String);

fn host_ports(pod: &Pod) -> Vec<HostPort> {
    main_members(pod)
        .flat_map(|member| member.spec.ports.clone().unwrap_or_default())
        .filter_map(|port| {
            let number = port.host_port.filter(|&number| number > 0)?;
            Some((port.protocol.unwrap_or_else(|| "TCP".to_owned()), number, port.host_ip.unwrap_or_default()))
        })
        .collect()
}

fn conflict(one: &HostPort, other: &HostPort) -> bool {
    let any = |ip: &str| matches!(ip, "" | "0.0.0.0" | "::");
    one.0 == other.0 && one.1 == other.1 && (any(&one.2) || any(&other.2) || one.2 == other.2)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::sync::Arc;

    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
    }

    fn node() -> Node {
        serde_json::from_value(json!({"metadata": {"name": "n1", "labels": {"disk": "ssd", "size": "3"}}})).unwrap()
    }

    const CAPACITY: Capacity = Capacity { cpu_milli: 2_000, memory: 1 << 30, storage: 1 << 40, pods: 2 };

    fn verdict(spec: Value, others: &[Value]) -> String {
        let others: Vec<_> = others.iter().map(|spec| Arc::new(pod(spec.clone()))).collect();
        match admit(&pod(spec), Some(&node()), &CAPACITY, &others) {
            Ok(()) => "ok".to_owned(),
            Err(reason) => format!("{}: {}", reason.reason, reason.message),
        }
    }

    fn cpu(amount: &str) -> Value {
        json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": amount}}}]})
    }

    fn port(number: i32, ip: &str) -> Value {
        json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": number, "hostIP": ip}]}]})
    }

    #[rstest]
    #[case(cpu("64"), vec![], "OutOfcpu: Node didn't have enough resource: cpu, requested: 64000, used: 0, capacity: 2000")]
    #[case(cpu("1500m"), vec![cpu("1")], "OutOfcpu: Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000")]
    #[case(cpu("1"), vec![cpu("1")], "ok")]
    #[case(cpu("0"), vec![cpu("1"), cpu("1")], "OutOfpods: Node didn't have enough resource: pods, requested: 1, used: 2, capacity: 2")]
    #[case(json!({"containers": [], "os": {"name": "windows"}}), vec![], "PodOSNotSupported: Failed to admit pod as the OS field doesn't match node OS")]
    #[case(json!({"containers": [], "nodeSelector": {"disk": "ssd"}}), vec![], "ok")]
    #[case(json!({"containers": [], "nodeSelector": {"disk": "hdd"}}), vec![], "NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector")]
    #[case(port(80, ""), vec![port(80, "127.0.0.1")], "NodePorts: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports")]
    #[case(port(80, "127.0.0.2"), vec![port(80, "127.0.0.1")], "ok")]
    fn admission(#[case] spec: Value, #[case] others: Vec<Value>, #[case] expected: &str) {
        assert_eq!(verdict(spec, &others), expected);
    }

    #[test]
    fn labels_affinity_and_taints() {
        let terms = json!([{"matchExpressions": [{"key": "disk", "operator": "NotIn", "values": ["ssd"]}]}]);
        let required = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
        assert!(verdict(json!({"containers": [], "affinity": required}), &[]).starts_with("NodeAffinity: "));
        let mut windows = pod(json!({"containers": []}));
        windows.metadata.labels = Some([("kubernetes.io/os".to_owned(), "windows".to_owned())].into());
        assert_eq!(admit(&windows, Some(&node()), &CAPACITY, &[]).unwrap_err().reason, "PodOSSelectorNodeLabelDoesNotMatch");
        let mut tainted = node();
        let taint = |effect| json!({"taints": [{"key": "k", "effect": effect}]});
        tainted.spec = serde_json::from_value(taint("NoSchedule")).unwrap();
        let plain = pod(json!({"containers": []}));
        assert!(admit(&plain, Some(&tainted), &CAPACITY, &[]).is_ok());
        tainted.spec = serde_json::from_value(taint("NoExecute")).unwrap();
        assert_eq!(admit(&plain, Some(&tainted), &CAPACITY, &[]).unwrap_err().reason, "TaintToleration");
        let tolerant = pod(json!({"containers": [], "tolerations": [{"operator": "Exists"}]}));
        assert!(admit(&tolerant, Some(&tainted), &CAPACITY, &[]).is_ok());
    }
}
