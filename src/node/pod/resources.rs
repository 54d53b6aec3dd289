//! Requests and limits: quality of service, control group values, sums over a pod.

use std::collections::BTreeMap;

use coracle_api::quantity::Quantity as Amount;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{Role, members};
use crate::runtime::Limits;

type Resources = BTreeMap<String, Quantity>;

/// An amount; nothing for a text that is none.
fn amount(quantity: &Quantity) -> Amount {
    quantity.0.parse().unwrap_or_default()
}

/// Thousandths of a quantity, rounded up.
pub(crate) fn milli_of(quantity: &Quantity) -> i64 {
    amount(quantity).milli_value()
}

/// A quantity as a whole number, rounded up.
pub(crate) fn whole(quantity: &Quantity) -> i64 {
    amount(quantity).value()
}

/// Division, rounded up.
pub(crate) fn ceil_div(a: i64, b: i64) -> i64 {
    if b == 0 { 0 } else { a.div_euclid(b) + i64::from(a.rem_euclid(b) != 0) }
}

/// Adds `more` to `sum`.
fn add(sum: &mut Resources, more: &Resources) {
    for (name, quantity) in more {
        match sum.get_mut(name) {
            Some(known) => known.0 = (amount(known) + amount(quantity)).to_string(),
            None => {
                sum.insert(name.clone(), quantity.clone());
            }
        }
    }
}

/// The larger of each.
fn raise(to: &mut Resources, at_least: &Resources) {
    for (name, quantity) in at_least {
        match to.get(name) {
            Some(known) if amount(known) >= amount(quantity) => {}
            _ => {
                to.insert(name.clone(), quantity.clone());
            }
        }
    }
}

/// What the pod as a whole asks for: the sum of its containers and sidecars, or what its init containers need at once,
/// whichever is more, and the overhead.
pub(crate) fn pod_total(pod: &Pod, of: impl Fn(&ResourceRequirements) -> Option<&Resources>) -> Resources {
    let pick = |container: &Container| container.resources.as_ref().and_then(&of).cloned().unwrap_or_default();
    let (mut sum, mut sidecars, mut init) = (Resources::new(), Resources::new(), Resources::new());
    for member in members(pod) {
        let own = pick(&member.spec);
        match member.role {
            Role::Main => add(&mut sum, &own),
            Role::Sidecar => {
                add(&mut sum, &own);
                add(&mut sidecars, &own);
                raise(&mut init, &sidecars);
            }
            Role::Init => {
                let mut at_once = sidecars.clone();
                add(&mut at_once, &own);
                raise(&mut init, &at_once);
            }
            Role::Ephemeral => {}
        }
    }
    raise(&mut sum, &init);
    if let Some(spec) = &pod.spec {
        if let Some(own) = spec.resources.as_ref().and_then(&of) {
            sum.extend(own.clone());
        }
        if let Some(overhead) = &spec.overhead {
            add(&mut sum, overhead);
        }
    }
    sum
}

/// Requests of the whole pod.
pub(crate) fn pod_requests(pod: &Pod) -> Resources {
    pod_total(pod, |resources| resources.requests.as_ref())
}

/// Limits of the whole pod.
pub(crate) fn pod_limits(pod: &Pod) -> Resources {
    pod_total(pod, |resources| resources.limits.as_ref())
}

/// Quality of service, as `status.qosClass` names it.
pub(crate) fn qos_class(pod: &Pod) -> &'static str {
    if let Some(class) = pod.status.as_ref().and_then(|status| status.qos_class.as_deref()) {
        return match class {
            "Guaranteed" => "Guaranteed",
            "Burstable" => "Burstable",
            _ => "BestEffort",
        };
    }
    let (mut any, mut all) = (false, true);
    for member in members(pod).filter(|member| member.role != Role::Ephemeral) {
        let resources = member.spec.resources.clone().unwrap_or_default();
        let (limits, requests) = (resources.limits.unwrap_or_default(), resources.requests.unwrap_or_default());
        for name in ["cpu", "memory"] {
            let limit = limits.get(name).map(milli_of).filter(|&value| value > 0);
            let request = requests.get(name).map(milli_of).filter(|&value| value > 0);
            any |= limit.is_some() || request.is_some();
            all &= limit.is_some() && request.is_none_or(|request| Some(request) == limit);
        }
    }
    match (any, all) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// The pod's control group, relative to the node's.
pub(crate) fn cgroup_parent(pod: &Pod) -> String {
    let own = format!("pod{}", super::uid(pod));
    match qos_class(pod) {
        "Guaranteed" => own,
        "Burstable" => format!("burstable/{own}"),
        _ => format!("besteffort/{own}"),
    }
}

/// The values of a container's control group on a machine with `memory` bytes.
pub(crate) fn limits(pod: &Pod, container: &Container, memory: i64) -> Limits {
    let resources = container.resources.clone().unwrap_or_default();
    let (limits, requests) = (resources.limits.unwrap_or_default(), resources.requests.unwrap_or_default());
    let cpu_limit = limits.get("cpu").map_or(0, milli_of);
    let cpu_request = requests.get("cpu").map_or(cpu_limit, milli_of);
    let memory_request = requests.get("memory").map_or(0, whole);
    Limits {
        cpu_shares: u64::try_from(cpu_request * 1_024 / 1_000).unwrap_or(0).clamp(2, 262_144),
        cpu_quota: if cpu_limit == 0 { 0 } else { (cpu_limit * 100).max(1_000) },
        memory: limits.get("memory").map_or(0, whole),
        pids: 0,
        oom_score_adj: oom_score_adj(qos_class(pod), memory_request, memory),
    }
}

/// The limits of the pod as a whole: those of all containers, where all have one.
pub(crate) fn pod_group_limits(pod: &Pod, memory: i64) -> Limits {
    let own = pod.spec.as_ref().and_then(|spec| spec.resources.as_ref()).and_then(|resources| resources.limits.as_ref());
    let bounded = |name: &str| {
        let of_all = members(pod).filter(|member| member.role != Role::Ephemeral).all(|member| {
            let limits = member.spec.resources.as_ref().and_then(|resources| resources.limits.as_ref());
            limits.and_then(|limits| limits.get(name)).is_some_and(|limit| milli_of(limit) > 0)
        });
        of_all || own.is_some_and(|own| own.contains_key(name))
    };
    let (limits, requests) = (pod_limits(pod), pod_requests(pod));
    let cpu_request = requests.get("cpu").map_or(0, milli_of);
    let cpu_limit = limits.get("cpu").filter(|_| bounded("cpu")).map_or(0, milli_of);
    Limits {
        cpu_shares: u64::try_from(cpu_request * 1_024 / 1_000).unwrap_or(0).clamp(2, 262_144),
        cpu_quota: if cpu_limit == 0 { 0 } else { (cpu_limit * 100).max(1_000) },
        memory: limits.get("memory").filter(|_| bounded("memory")).map_or(0, whole),
        pids: 0,
        oom_score_adj: oom_score_adj(qos_class(pod), requests.get("memory").map_or(0, whole), memory),
    }
}

/// How early the kernel kills a container when memory runs out.
fn oom_score_adj(qos: &str, request: i64, memory: i64) -> i32 {
    match qos {
        "Guaranteed" => -997,
        "BestEffort" => 1_000,
        _ => {
            let share = 1_000 - request.saturating_mul(1_000) / memory.max(1);
            i32::try_from(share.clamp(3, 999)).unwrap_or(999)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn pod(containers: serde_json::Value, init: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"uid": "u"}, "spec": {"containers": containers, "initContainers": init}})).unwrap()
    }

    #[rstest]
    #[case(json!({}), "BestEffort", "besteffort/podu", 2, 0, 1000)]
    #[case(json!({"limits": {"cpu": "100m", "memory": "64Mi"}, "requests": {"cpu": "100m", "memory": "64Mi"}}), "Guaranteed", "podu", 102, 10000, -997)]
    #[case(json!({"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "50m", "memory": "32Mi"}}), "Burstable", "burstable/podu", 51, 50000, 969)]
    #[case(json!({"requests": {"memory": "512Mi"}}), "Burstable", "burstable/podu", 2, 0, 500)]
    fn control_groups(
        #[case] resources: serde_json::Value,
        #[case] qos: &str,
        #[case] parent: &str,
        #[case] shares: u64,
        #[case] quota: i64,
        #[case] oom: i32,
    ) {
        let pod = pod(json!([{"name": "c", "resources": resources}]), json!([]));
        let limits = limits(&pod, &pod.spec.as_ref().unwrap().containers[0], 1 << 30);
        assert_eq!(qos_class(&pod), qos);
        assert_eq!(cgroup_parent(&pod), parent);
        assert_eq!((limits.cpu_shares, limits.cpu_quota), (shares, quota));
        assert_eq!(limits.oom_score_adj, oom);
    }

    #[test]
    fn sums_keep_their_notation_and_count_init_containers_once() {
        let pod = pod(
            json!([{"name": "a", "resources": {"requests": {"cpu": "250m", "memory": "64Mi"}}},
                   {"name": "b", "resources": {"requests": {"cpu": "750m", "memory": "64Mi"}}}]),
            json!([{"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}},
                   {"name": "i", "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}}]),
        );
        let total = pod_requests(&pod);
        assert_eq!((total["cpu"].0.as_str(), total["memory"].0.as_str()), ("2", "1Gi"));
    }
}
