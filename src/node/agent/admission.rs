//! Whether the node takes a pod that was bound to it, as the kubelet checks again what the scheduler should have checked.

use k8s_openapi::api::core::v1::{Node, NodeSelectorTerm, Pod};
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
    let spec = spec(pod);
    let labels = node.metadata.labels.clone().unwrap_or_default();
    let selected = spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let required = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    selected && required.is_none_or(|required| required.node_selector_terms.iter().any(|term| term_matches(term, node)))
}

fn term_matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let holds = |operator: &str, values: &[String], actual: Option<&str>| match operator {
        "In" => actual.is_some_and(|actual| values.iter().any(|value| value == actual)),
        "NotIn" => actual.is_none_or(|actual| values.iter().all(|value| value != actual)),
        "Exists" => actual.is_some(),
        "DoesNotExist" => actual.is_none(),
        "Gt" | "Lt" => {
            let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
            match (number(actual), number(values.first().map(String::as_str))) {
                (Some(actual), Some(value)) => (operator == "Gt" && actual > value) || (operator == "Lt" && actual < value),
                _ => false,
            }
        }
        _ => false,
    };
    let labels = node.metadata.labels.as_ref();
    expressions.iter().all(|expression| {
        let actual = labels.and_then(|labels| labels.get(&expression.key)).map(String::as_str);
        holds(&expression.operator, expression.values.as_deref().unwrap_or_default(), actual)
    }) && fields.iter().all(|field| {
        let actual = node.metadata.name.as_deref().filter(|_| field.key == "metadata.name");
        holds(&field.operator, field.values.as_deref().unwrap_or_default(), actual)
    })
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

    #[rstest]
    #[case(json!([{"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}]), true)]
    #[case(json!([{"matchExpressions": [{"key": "disk", "operator": "NotIn", "values": ["ssd"]}]}]), false)]
    #[case(json!([{"matchExpressions": [{"key": "size", "operator": "Gt", "values": ["2"]}]}]), true)]
    #[case(json!([{"matchExpressions": [{"key": "none", "operator": "Exists"}]}]), false)]
    #[case(json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}]), true)]
    #[case(json!([{}]), false)]
    fn affinity(#[case] terms: Value, #[case] allowed: bool) {
        let required = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
        assert_eq!(verdict(json!({"containers": [], "affinity": required}), &[]) == "ok", allowed);
    }
}
