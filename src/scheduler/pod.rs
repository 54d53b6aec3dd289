//! What scheduling needs to know of a pod, worked out once.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::quantity::Quantity as Number;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements, Volume};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::terms::{Spread, Terms};

/// Amounts of resources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Resources {
    pub milli_cpu: i64,
    pub memory: i64,
    pub ephemeral_storage: i64,
    /// Everything else, by name.
    pub extended: BTreeMap<String, i64>,
}

/// What a container without requests counts for when nodes are compared.
const DEFAULT_MILLI_CPU: i64 = 100;
const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

impl Resources {
    pub(crate) fn of(list: Option<&BTreeMap<String, Quantity>>) -> Self {
        let mut resources = Self::default();
        for (name, quantity) in list.into_iter().flatten() {
            let Ok(number) = quantity.0.parse::<Number>() else { continue };
            match name.as_str() {
                "cpu" => resources.milli_cpu = number.milli_value(),
                "memory" => resources.memory = number.value(),
                "ephemeral-storage" => resources.ephemeral_storage = number.value(),
                "pods" => {}
                _ => drop(resources.extended.insert(name.clone(), number.value())),
            }
        }
        resources
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.milli_cpu += other.milli_cpu;
        self.memory += other.memory;
        self.ephemeral_storage += other.ephemeral_storage;
        for (name, amount) in &other.extended {
            *self.extended.entry(name.clone()).or_default() += amount;
        }
    }

    pub(crate) fn subtract(&mut self, other: &Self) {
        self.milli_cpu -= other.milli_cpu;
        self.memory -= other.memory;
        self.ephemeral_storage -= other.ephemeral_storage;
        for (name, amount) in &other.extended {
            *self.extended.entry(name.clone()).or_default() -= amount;
        }
    }

    fn raise(&mut self, other: &Self) {
        self.milli_cpu = self.milli_cpu.max(other.milli_cpu);
        self.memory = self.memory.max(other.memory);
        self.ephemeral_storage = self.ephemeral_storage.max(other.ephemeral_storage);
        for (name, amount) in &other.extended {
            let known = self.extended.entry(name.clone()).or_default();
            *known = (*known).max(*amount);
        }
    }
}

/// A port of the node that a pod takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct HostPort {
    pub ip: String,
    pub protocol: String,
    pub port: i32,
}

impl HostPort {
    /// Both cannot be on one node.
    pub(crate) fn collides(&self, other: &Self) -> bool {
        const ANY: &str = "0.0.0.0";
        self.port == other.port && self.protocol == other.protocol && (self.ip == other.ip || self.ip == ANY || other.ip == ANY)
    }
}

/// A pod as the scheduler sees it.
#[derive(Debug, Clone)]
pub(crate) struct PodInfo {
    pub pod: Arc<Pod>,
    pub requests: Resources,
    /// Requests of CPU (milli) and memory, with defaults for containers that state none: for scores.
    pub weight: (i64, i64),
    pub ports: Vec<HostPort>,
    /// Uid of the controller: its replicas are spread over nodes.
    pub owner: Option<String>,
    pub priority: i32,
    pub created: Option<Timestamp>,
    /// What it asks of other pods.
    pub terms: Option<Arc<Terms>>,
    pub spread: Vec<Arc<Spread>>,
    /// Names of its claims.
    pub claims: Vec<String>,
    /// Names of its images, with tags.
    pub images: Vec<String>,
}

impl PodInfo {
    pub(crate) fn new(pod: Arc<Pod>) -> Self {
        let owners = pod.metadata.owner_references.iter().flatten();
        let owner = owners.filter(|owner| owner.controller == Some(true)).map(|owner| owner.uid.clone()).next();
        let spec = pod.spec.as_ref();
        Self {
            requests: requested(&pod),
            weight: weight(&pod),
            ports: host_ports(&pod),
            owner,
            priority: spec.and_then(|spec| spec.priority).unwrap_or(0),
            created: pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
            terms: Terms::of(&pod),
            spread: Spread::of(&pod),
            claims: claims(&pod),
            images: images(&pod),
            pod,
        }
    }

    pub(crate) fn uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap_or_default()
    }

    pub(crate) fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    pub(crate) fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    pub(crate) fn node(&self) -> &str {
        node_of(&self.pod)
    }
}

/// Claims it names, and those made for its ephemeral volumes.
fn claims(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let claim = |volume: &Volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(claim), _) => Some(claim.claim_name.clone()),
        (None, Some(_)) => Some(format!("{}-{}", pod.metadata.name.as_deref().unwrap_or_default(), volume.name)),
        (None, None) => None,
    };
    volumes.filter_map(claim).collect()
}

fn images(pod: &Pod) -> Vec<String> {
    let containers = pod.spec.iter().flat_map(|spec| spec.containers.iter());
    containers.filter_map(|container| container.image.as_deref()).map(tagged).collect()
}

/// The image with `:latest` where it has neither tag nor digest.
pub(crate) fn tagged(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or_default();
    if last.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

/// The node a pod made room on for itself.
pub(crate) fn nominated(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.nominated_node_name.as_deref().filter(|node| !node.is_empty())
}

pub(crate) fn node_of(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

/// Ended pods hold no resources.
pub(crate) fn is_terminal(pod: &Pod) -> bool {
    matches!(pod.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"))
}

/// Waits for this scheduler to give it a node.
pub(crate) fn is_pending(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let ours = spec.scheduler_name.as_deref().is_none_or(|name| name.is_empty() || name == "default-scheduler");
    let gated = spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty());
    ours && !gated && node_of(pod).is_empty() && pod.metadata.deletion_timestamp.is_none() && !is_terminal(pod)
}

/// What the pod asks for.
pub(crate) fn requested(pod: &Pod) -> Resources {
    requests(pod, &|resources| Resources::of(resources.and_then(|resources| resources.requests.as_ref())))
}

/// The sum of the containers, or what an init container needs beside the sidecars before it, if that is more; then the
/// pod's own figures and its overhead.
fn requests(pod: &Pod, of: &dyn Fn(Option<&ResourceRequirements>) -> Resources) -> Resources {
    let Some(spec) = &pod.spec else { return Resources::default() };
    let mut total = Resources::default();
    for container in &spec.containers {
        total.add(&of(container.resources.as_ref()));
    }
    let (mut sidecars, mut peak) = (Resources::default(), Resources::default());
    for container in spec.init_containers.iter().flatten() {
        let mut own = of(container.resources.as_ref());
        if is_sidecar(container) {
            total.add(&own);
            sidecars.add(&own);
            peak.raise(&sidecars);
        } else {
            own.add(&sidecars);
            peak.raise(&own);
        }
    }
    total.raise(&peak);
    if let Some(own) = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()) {
        let stated = Resources::of(Some(own));
        if own.contains_key("cpu") {
            total.milli_cpu = stated.milli_cpu;
        }
        if own.contains_key("memory") {
            total.memory = stated.memory;
        }
    }
    total.add(&Resources::of(spec.overhead.as_ref()));
    total
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

fn weight(pod: &Pod) -> (i64, i64) {
    let with_defaults = |resources: Option<&ResourceRequirements>| {
        let list = resources.and_then(|resources| resources.requests.as_ref());
        let mut own = Resources::of(list);
        let lacks = |name: &str| list.is_none_or(|list| !list.contains_key(name));
        if lacks("cpu") {
            own.milli_cpu = DEFAULT_MILLI_CPU;
        }
        if lacks("memory") {
            own.memory = DEFAULT_MEMORY;
        }
        own
    };
    let total = requests(pod, &with_defaults);
    (total.milli_cpu, total.memory)
}

fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten().filter(|container| is_sidecar(container)));
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    let taken = ports.filter_map(|port| {
        Some(HostPort {
            port: port.host_port.filter(|&port| port > 0)?,
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            ip: port.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".to_owned()),
        })
    });
    taken.collect()
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::{Value, json};

    pub(crate) fn pod(name: &str, spec: Value) -> PodInfo {
        let mut spec = spec;
        if spec.get("containers").is_none() {
            spec["containers"] = json!([{"name": "c"}]);
        }
        PodInfo::new(Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name, "namespace": "n", "uid": name}, "spec": spec})).unwrap(),
        ))
    }

    /// The same pod with the label `app`.
    pub(crate) fn labelled(info: PodInfo, app: &str) -> PodInfo {
        let mut pod = info.pod.as_ref().clone();
        pod.metadata.labels.get_or_insert_default().insert("app".to_owned(), app.to_owned());
        PodInfo::new(Arc::new(pod))
    }

    fn asks(cpu: &str, memory: &str) -> Value {
        json!({"requests": {"cpu": cpu, "memory": memory}})
    }

    #[test]
    fn requests_are_the_larger_of_containers_and_init_containers() {
        let info = pod(
            "p",
            json!({
                "containers": [{"name": "a", "resources": asks("100m", "1Gi")}, {"name": "b", "resources": asks("1", "1Mi")}],
                "initContainers": [
                    {"name": "early", "resources": asks("3", "1Mi")},
                    {"name": "side", "restartPolicy": "Always", "resources": asks("500m", "1Mi")},
                    {"name": "late", "resources": asks("2800m", "1Mi")},
                ],
                "overhead": {"cpu": "10m"},
            }),
        );
        assert_eq!(info.requests.milli_cpu, 3310);
        assert_eq!(info.requests.memory, (1 << 30) + (2 << 20));
    }

    #[test]
    fn containers_without_requests_weigh_something_but_ask_for_nothing() {
        let info = pod("p", json!({"containers": [{"name": "a"}, {"name": "b", "resources": asks("1", "1Mi")}]}));
        assert_eq!((info.requests.milli_cpu, info.requests.memory), (1000, 1 << 20));
        assert_eq!(info.weight, (1100, DEFAULT_MEMORY + (1 << 20)));
    }

    #[test]
    fn host_ports_collide_by_address_protocol_and_number() {
        let port = |ip: &str, protocol: &str, port| HostPort { ip: ip.into(), protocol: protocol.into(), port };
        assert!(port("0.0.0.0", "TCP", 80).collides(&port("10.0.0.1", "TCP", 80)));
        assert!(!port("10.0.0.2", "TCP", 80).collides(&port("10.0.0.1", "TCP", 80)));
        assert!(!port("0.0.0.0", "UDP", 80).collides(&port("0.0.0.0", "TCP", 80)));
        let info =
            pod("p", json!({"containers": [{"name": "c", "ports": [{"containerPort": 1}, {"containerPort": 2, "hostPort": 8080}]}]}));
        assert_eq!(info.ports, [port("0.0.0.0", "TCP", 8080)]);
    }
}
