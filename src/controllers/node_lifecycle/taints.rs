//! Taints that follow from what is wrong with a node, and from cordoning.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::status_of;

/// Keeps new pods away; [`LEAVE`] sends away those that are there.
const STAY_AWAY: &str = "NoSchedule";
const LEAVE: &str = "NoExecute";
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

const MANAGED: [(&str, &str); 9] = [
    (NOT_READY, STAY_AWAY),
    (NOT_READY, LEAVE),
    (UNREACHABLE, STAY_AWAY),
    (UNREACHABLE, LEAVE),
    ("node.kubernetes.io/memory-pressure", STAY_AWAY),
    ("node.kubernetes.io/disk-pressure", STAY_AWAY),
    ("node.kubernetes.io/pid-pressure", STAY_AWAY),
    ("node.kubernetes.io/network-unavailable", STAY_AWAY),
    ("node.kubernetes.io/unschedulable", STAY_AWAY),
];

fn current(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
}

/// The taint that says what ails the node; `None` when it is ready.
fn ailment(node: &Node) -> Option<&'static str> {
    match status_of(node, "Ready") {
        Some("True") => None,
        Some("False") => Some(NOT_READY),
        _ => Some(UNREACHABLE),
    }
}

/// The node is being emptied.
pub(super) fn is_left(node: &Node) -> bool {
    current(node).iter().any(|taint| taint.effect == LEAVE && [NOT_READY, UNREACHABLE].contains(&taint.key.as_str()))
}

/// The node is not ready and its pods are not sent away yet.
pub(super) fn should_be_left(node: &Node) -> bool {
    ailment(node).is_some() && !is_left(node)
}

/// Taints that follow, key and effect; with `leave` pods must go where the node is not ready.
fn implied(node: &Node, leave: bool) -> Vec<(&'static str, &'static str)> {
    let ailment = ailment(node);
    let pressure = [
        ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
        ("DiskPressure", "node.kubernetes.io/disk-pressure"),
        ("PIDPressure", "node.kubernetes.io/pid-pressure"),
        ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
    ];
    let pressed = pressure.into_iter().filter(|(kind, _)| status_of(node, kind) == Some("True")).map(|(_, taint)| taint);
    let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
    let away = ailment.into_iter().chain(pressed).chain(cordoned.then_some("node.kubernetes.io/unschedulable"));
    away.map(|key| (key, STAY_AWAY)).chain(ailment.filter(|_| leave).map(|key| (key, LEAVE))).collect()
}

/// The node's taints as they should be; `None` when they are.
pub(super) fn wanted(node: &Node, leave: bool, now: Timestamp) -> Option<Vec<Taint>> {
    let current = current(node);
    let implied = implied(node, leave);
    let of = |taint: &Taint, (key, effect): &(&str, &str)| taint.key == *key && taint.effect == *effect;
    let in_list = |list: &[(&str, &str)], taint: &Taint| list.iter().any(|one| of(taint, one));
    let mut wanted: Vec<Taint> = current.iter().filter(|taint| !in_list(&MANAGED, taint) || in_list(&implied, taint)).cloned().collect();
    for one in implied {
        if !wanted.iter().any(|taint| of(taint, &one)) {
            wanted.push(Taint { effect: one.1.to_owned(), key: one.0.to_owned(), time_added: Some(Time(now)), value: None });
        }
    }
    (wanted != current).then_some(wanted)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    #[rstest]
    #[case::ready("True", json!({}), true, None)]
    #[case::not_ready("False", json!({}), true, Some("node.kubernetes.io/not-ready:NoSchedule,node.kubernetes.io/not-ready:NoExecute"))]
    #[case::pods_may_stay("False", json!({}), false, Some("node.kubernetes.io/not-ready:NoSchedule"))]
    #[case::lost("Unknown", json!({}), true, Some("node.kubernetes.io/unreachable:NoSchedule,node.kubernetes.io/unreachable:NoExecute"))]
    #[case::cordoned("True", json!({"unschedulable": true}), false, Some("node.kubernetes.io/unschedulable:NoSchedule"))]
    #[case::back("True", json!({"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}]}), true, Some(""))]
    #[case::own("True", json!({"taints": [{"key": "mine", "effect": "NoSchedule"}]}), false, None)]
    #[case::stayed_after_all("Unknown", json!({"taints": [{"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"},
        {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]}), false, Some("node.kubernetes.io/unreachable:NoSchedule"))]
    fn taints_follow_conditions(#[case] ready: &str, #[case] spec: Value, #[case] leave: bool, #[case] expected: Option<&str>) {
        let status = json!({"conditions": [{"type": "Ready", "status": ready}]});
        let node: Node = serde_json::from_value(json!({"metadata": {"name": "n1"}, "spec": spec, "status": status})).unwrap();
        let taints = wanted(&node, leave, Timestamp::UNIX_EPOCH);
        let keys = taints.map(|taints| taints.iter().map(|taint| format!("{}:{}", taint.key, taint.effect)).collect::<Vec<_>>().join(","));
        assert_eq!(keys.as_deref(), expected);
    }
}
