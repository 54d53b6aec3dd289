//! Amounts of several resources, by name: what containers ask for, what quotas allow. And what a pod comes to in all.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::quantity::Quantity;

/// Amounts by resource name.
pub type Amounts = BTreeMap<String, Quantity>;

/// The amounts in an object of quantities; what is no quantity is left out.
pub fn of(map: &Value) -> Amounts {
    map.as_object().into_iter().flatten().filter_map(|(name, amount)| Some((name.clone(), parse(amount)?))).collect()
}

/// The amount in a JSON text or number.
pub fn parse(amount: &Value) -> Option<Quantity> {
    match amount {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// The object of quantities, as the API writes it.
pub fn to_value(amounts: &Amounts) -> Value {
    amounts.iter().map(|(name, amount)| (name.clone(), json!(amount.to_string()))).collect::<serde_json::Map<_, _>>().into()
}

/// Adds `more` to `sum`.
pub fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        match sum.get_mut(name) {
            Some(own) => *own += *amount,
            None => drop(sum.insert(name.clone(), *amount)),
        }
    }
}

/// Raises `floor` to `other` wherever that is more.
pub fn raise(floor: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let own = floor.entry(name.clone()).or_insert(*amount);
        if *own < *amount {
            *own = *amount;
        }
    }
}

/// `name=amount` of each, as upstream's messages list them.
pub fn list(amounts: &Amounts) -> String {
    amounts.iter().map(|(name, amount)| format!("{name}={amount}")).collect::<Vec<_>>().join(",")
}

/// What a pod asks for (`PodRequests`): its containers and sidecars together, or its largest init container if that is more,
/// or what the pod says of itself; its overhead comes on top.
pub fn pod_requests(pod: &Value) -> Amounts {
    let mut sum = containers(pod, "requests");
    own(pod, "requests", &mut sum);
    add(&mut sum, &of(&pod["spec"]["overhead"]));
    sum
}

/// The most a pod may use (`PodLimits`); overhead comes on top of what is limited.
pub fn pod_limits(pod: &Value) -> Amounts {
    let mut sum = containers(pod, "limits");
    own(pod, "limits", &mut sum);
    for (name, amount) in of(&pod["spec"]["overhead"]) {
        sum.entry(name).and_modify(|own| *own += amount);
    }
    sum
}

/// What the pod says of itself counts in place of its containers.
fn own(pod: &Value, list: &str, sum: &mut Amounts) {
    let amounts = of(&pod["spec"]["resources"][list]);
    sum.extend(amounts.into_iter().filter(|(name, _)| matches!(&**name, "cpu" | "memory") || name.starts_with("hugepages-")));
}

fn items<'a>(object: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    object[field].as_array().into_iter().flatten()
}

fn containers(pod: &Value, list: &str) -> Amounts {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let infeasible = items(status, "conditions").any(|one| one["type"] == "PodResizePending" && one["reason"] == "Infeasible");
    let amounts = |container: &Value, statuses: &str| {
        let wanted = of(&container["resources"][list]);
        let Some(status) = items(status, statuses).find(|status| status["name"] == container["name"]) else { return wanted };
        let mut real = of(&status["resources"][list]);
        if list == "requests" {
            raise(&mut real, &of(&status["allocatedResources"]));
        }
        if !infeasible || real.is_empty() {
            raise(&mut real, &wanted);
        }
        real
    };
    let mut sum = Amounts::new();
    for container in items(spec, "containers") {
        add(&mut sum, &amounts(container, "containerStatuses"));
    }
    let (mut sidecars, mut peak) = (Amounts::new(), Amounts::new());
    for container in items(spec, "initContainers") {
        let mut together = amounts(container, "initContainerStatuses");
        if container["restartPolicy"] == "Always" {
            add(&mut sum, &together);
            add(&mut sidecars, &together);
            raise(&mut peak, &sidecars);
        } else {
            add(&mut together, &sidecars);
            raise(&mut peak, &together);
        }
    }
    raise(&mut sum, &peak);
    sum
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use rstest::rstest;

    fn cpu(amount: &str) -> Value {
        json!({"requests": {"cpu": amount}, "limits": {"cpu": amount}})
    }

    #[rstest]
    #[case(json!({"containers": [{"resources": cpu("1")}, {"resources": cpu("500m")}]}), "cpu=1500m")]
    #[case(json!({"containers": [{"resources": cpu("1")}], "initContainers": [{"resources": cpu("2")}]}), "cpu=2")]
    #[case(json!({"containers": [{"resources": cpu("1")}],
        "initContainers": [{"resources": cpu("1"), "restartPolicy": "Always"}, {"resources": cpu("2")}]}), "cpu=3")]
    #[case(json!({"containers": [{"resources": cpu("1")}], "overhead": {"cpu": "100m", "memory": "1Mi"}}), "cpu=1100m,memory=1Mi")]
    #[case(json!({"containers": [{"resources": cpu("1")}], "resources": cpu("4")}), "cpu=4")]
    fn a_pods_requests(#[case] spec: Value, #[case] expected: &str) {
        assert_eq!(list(&pod_requests(&json!({"spec": spec}))), expected);
    }

    #[test]
    fn what_a_container_has_counts_while_it_is_more_than_it_asks_for() {
        let mut pod = json!({"spec": {"containers": [{"name": "c", "resources": cpu("1")}], "overhead": {"memory": "1Mi"}},
            "status": {"containerStatuses": [{"name": "c", "resources": cpu("2")}]}});
        assert_eq!(list(&pod_limits(&pod)), "cpu=2", "overhead adds to no limit that is not there");
        pod["spec"]["containers"][0]["resources"] = cpu("3");
        assert_eq!(list(&pod_limits(&pod)), "cpu=3");
        pod["status"]["conditions"] = json!([{"type": "PodResizePending", "reason": "Infeasible"}]);
        assert_eq!(list(&pod_limits(&pod)), "cpu=2", "what cannot be given does not count");
    }
}
