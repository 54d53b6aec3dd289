//! What one object uses.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use super::{CLASS_SUFFIX, DEVICE_SUFFIX, is_native};
use crate::amounts::{self, Amounts};
use crate::quantity::{Format, Quantity};
use crate::status::qualified;
use crate::time;

fn count(count: usize) -> Quantity {
    Quantity::new(i64::try_from(count).unwrap_or(i64::MAX), Format::DecimalSi)
}

/// What an object of a resource uses, by the names that quotas have for it.
pub fn usage(group: &str, plural: &str, object: &Value, now: Timestamp) -> Amounts {
    let mut used = Amounts::from([(format!("count/{}", qualified(group, plural)), count(1))]);
    match (group, plural) {
        ("", "pods") if is_alive(object, now) => used.extend(compute(&amounts::pod_requests(object), &amounts::pod_limits(object))),
        ("", "services") => service(&object["spec"], &mut used),
        ("", "persistentvolumeclaims") => claim(object, &mut used),
        ("resource.k8s.io", "resourceclaims") => devices(&object["spec"]["devices"], &mut used),
        ("", "configmaps" | "secrets" | "replicationcontrollers" | "resourcequotas") => drop(used.insert(plural.to_owned(), count(1))),
        _ => {}
    }
    used
}

/// Whether a pod counts as more than an object: it has not ended, nor should it be gone by now.
fn is_alive(pod: &Value, now: Timestamp) -> bool {
    if matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded")) {
        return false;
    }
    let metadata = &pod["metadata"];
    let (Some(deleted), Some(grace)) =
        (metadata["deletionTimestamp"].as_str().and_then(time::parse), metadata["deletionGracePeriodSeconds"].as_i64())
    else {
        return true;
    };
    deleted.checked_add(jiff::SignedDuration::from_secs(grace)).is_ok_and(|end| now <= end)
}

/// What requests and limits are called in quotas (`podComputeUsageHelper`).
fn compute(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut used = Amounts::from([("pods".to_owned(), count(1))]);
    for (name, amount) in requests {
        if matches!(&**name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-") {
            used.insert(name.clone(), *amount);
            used.insert(format!("requests.{name}"), *amount);
        } else if !is_native(name) {
            used.insert(format!("requests.{name}"), *amount);
        }
    }
    for (name, amount) in limits {
        if matches!(&**name, "cpu" | "memory" | "ephemeral-storage") {
            used.insert(format!("limits.{name}"), *amount);
        }
    }
    used
}

fn service(spec: &Value, used: &mut Amounts) {
    let ports = spec["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let (mut node_ports, mut balancers) = (0, 0);
    match spec["type"].as_str() {
        Some("NodePort") => node_ports = ports.len(),
        Some("LoadBalancer") => {
            balancers = 1;
            let all = spec["allocateLoadBalancerNodePorts"] != false;
            node_ports = ports.iter().filter(|port| all || port["nodePort"].as_i64().is_some_and(|port| port > 0)).count();
        }
        _ => {}
    }
    for (name, amount) in [("services", 1), ("services.nodeports", node_ports), ("services.loadbalancers", balancers)] {
        used.insert(name.to_owned(), count(amount));
    }
}

fn claim(claim: &Value, used: &mut Amounts) {
    let annotated = claim["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"].as_str();
    let class = annotated.or_else(|| claim["spec"]["storageClassName"].as_str()).filter(|class| !class.is_empty());
    let mut storage = amounts::parse(&claim["spec"]["resources"]["requests"]["storage"]);
    let allocated = amounts::parse(&claim["status"]["allocatedResources"]["storage"]);
    if let (Some(wanted), Some(allocated)) = (storage, allocated) {
        storage = Some(if allocated > wanted { allocated } else { wanted });
    }
    let mut charge = |name: &str, amount: Quantity| {
        used.insert(name.to_owned(), amount);
        if let Some(class) = class {
            used.insert(format!("{class}{CLASS_SUFFIX}{name}"), amount);
        }
    };
    charge("persistentvolumeclaims", count(1));
    if let Some(storage) = storage {
        charge("requests.storage", storage);
    }
}

/// Most devices one claim is given.
const MOST_DEVICES: i64 = 32;

fn devices(devices: &Value, used: &mut Amounts) {
    let asked = |request: &Value| {
        let all = request["allocationMode"] == "All";
        let asked = if all { MOST_DEVICES } else { request["count"].as_i64().unwrap_or(1) };
        (request["deviceClassName"].as_str().unwrap_or_default().to_owned(), Quantity::new(asked, Format::DecimalSi))
    };
    for request in devices["requests"].as_array().into_iter().flatten() {
        let mut most = Amounts::new();
        for (class, amount) in request["firstAvailable"].as_array().into_iter().flatten().map(asked) {
            amounts::raise(&mut most, &Amounts::from([(class, amount)]));
        }
        if request["exactly"].is_object() {
            most.extend([asked(&request["exactly"])]);
        }
        for (class, amount) in most {
            amounts::add(used, &Amounts::from([(format!("{class}{DEVICE_SUFFIX}"), amount)]));
        }
    }
}

/// What containers must ask for because a quota counts it and do not, in upstream's words; `required` are names of a quota.
pub fn missing<'a>(group: &str, plural: &str, required: impl Iterator<Item = &'a str>, object: &Value) -> Option<String> {
    const DEMANDED: [&str; 6] = ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
    let spec = &object["spec"];
    let says_itself = ["requests", "limits"].iter().any(|list| spec["resources"][*list].as_object().is_some_and(|map| !map.is_empty()));
    if (group, plural) != ("", "pods") || says_itself {
        return None;
    }
    let required: BTreeSet<&str> = required.filter(|name| DEMANDED.contains(name)).collect();
    let mut lacking = BTreeMap::<&str, BTreeSet<&str>>::new();
    for container in ["containers", "initContainers"].iter().flat_map(|field| spec[*field].as_array().into_iter().flatten()) {
        let resources = &container["resources"];
        let used = compute(&amounts::of(&resources["requests"]), &amounts::of(&resources["limits"]));
        for name in required.iter().filter(|name| !used.contains_key(**name)) {
            lacking.entry(name).or_default().insert(container["name"].as_str().unwrap_or_default());
        }
    }
    let parts: Vec<String> = lacking
        .iter()
        .map(|(name, containers)| format!("{name} for: {}", containers.iter().copied().collect::<Vec<_>>().join(",")))
        .collect();
    (!parts.is_empty()).then(|| format!("must specify {}", parts.join("; ")))
}
