//! Nodes and what runs on them, kept up to date change by change.

use std::collections::HashMap;
use std::sync::Arc;

use coracle_api::quantity::Quantity as Number;
use k8s_openapi::api::core::v1::{Node, Pod};

use crate::pod::{HostPort, PodInfo, Resources};

/// A node and the sum of what its pods ask for.
#[derive(Debug, Clone)]
pub(crate) struct NodeInfo {
    pub node: Arc<Node>,
    pub allocatable: Resources,
    pub max_pods: i64,
    pub requested: Resources,
    /// Sum of the pods' weights: CPU (milli) and memory.
    pub weight: (i64, i64),
    pub pods: i64,
    /// Pods per controller.
    pub owners: HashMap<String, i64>,
    pub ports: Vec<HostPort>,
}

impl NodeInfo {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        let list = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        let max_pods = list.and_then(|list| list.get("pods")).and_then(|quantity| quantity.0.parse::<Number>().ok());
        Self {
            allocatable: Resources::of(list),
            max_pods: max_pods.map_or(0, |number| number.value()),
            node,
            requested: Resources::default(),
            weight: (0, 0),
            pods: 0,
            owners: HashMap::new(),
            ports: Vec::new(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        self.node.metadata.name.as_deref().unwrap_or_default()
    }

    fn put(&mut self, pod: &PodInfo) {
        self.requested.add(&pod.requests);
        self.weight = (self.weight.0 + pod.weight.0, self.weight.1 + pod.weight.1);
        self.pods += 1;
        self.ports.extend(pod.ports.iter().cloned());
        if let Some(owner) = &pod.owner {
            *self.owners.entry(owner.clone()).or_default() += 1;
        }
    }

    fn take(&mut self, pod: &PodInfo) {
        self.requested.subtract(&pod.requests);
        self.weight = (self.weight.0 - pod.weight.0, self.weight.1 - pod.weight.1);
        self.pods -= 1;
        for port in &pod.ports {
            if let Some(at) = self.ports.iter().position(|known| known == port) {
                self.ports.swap_remove(at);
            }
        }
        if let Some(owner) = &pod.owner
            && let Some(count) = self.owners.get_mut(owner)
        {
            *count -= 1;
            if *count == 0 {
                self.owners.remove(owner);
            }
        }
    }
}

/// The cluster as the scheduler believes it to be: seen pods and assumed ones.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    nodes: HashMap<String, NodeInfo>,
    /// Canonical: uid → the pod and its node. A node may not be known (yet, or any more).
    placed: HashMap<String, (String, PodInfo)>,
}

impl Snapshot {
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &NodeInfo> {
        self.nodes.values()
    }

    pub(crate) fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// A node is new or changed.
    pub(crate) fn put_node(&mut self, node: Arc<Node>) {
        let fresh = NodeInfo::new(node);
        match self.nodes.get_mut(fresh.name()) {
            Some(known) => {
                known.allocatable = fresh.allocatable;
                known.max_pods = fresh.max_pods;
                known.node = fresh.node;
            }
            None => {
                let mut fresh = fresh;
                let here = self.placed.values().filter(|(node, _)| node == fresh.name()).map(|(_, pod)| pod.clone());
                here.collect::<Vec<_>>().iter().for_each(|pod| fresh.put(pod));
                self.nodes.insert(fresh.name().to_owned(), fresh);
            }
        }
    }

    pub(crate) fn remove_node(&mut self, name: &str) {
        self.nodes.remove(name);
    }

    /// A pod is on a node, or assumed to be; replaces what was believed of it.
    pub(crate) fn place(&mut self, pod: PodInfo, node: &str) {
        self.displace(pod.uid());
        if let Some(info) = self.nodes.get_mut(node) {
            info.put(&pod);
        }
        self.placed.insert(pod.uid().to_owned(), (node.to_owned(), pod));
    }

    /// A newer version of a placed pod in which nothing changed that counts: the older one need not be kept.
    pub(crate) fn refresh(&mut self, uid: &str, newer: Arc<Pod>) {
        if let Some((_, known)) = self.placed.get_mut(uid) {
            known.pod = newer;
        }
    }

    /// A pod is on no node (any more). True when it was on one.
    pub(crate) fn displace(&mut self, uid: &str) -> bool {
        let Some((node, pod)) = self.placed.remove(uid) else { return false };
        if let Some(info) = self.nodes.get_mut(&node) {
            info.take(&pod);
        }
        true
    }

    /// What a placed pod asks for.
    pub(crate) fn requests_of(&self, uid: &str) -> Option<&Resources> {
        self.placed.get(uid).map(|(_, pod)| &pod.requests)
    }

    /// Where a pod is.
    pub(crate) fn node_of(&self, uid: &str) -> Option<&str> {
        self.placed.get(uid).map(|(node, _)| node.as_str())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::pod::tests::pod;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    pub(crate) fn node(name: &str, extra: Value) -> Arc<Node> {
        let mut node = json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}, "spec": {},
            "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}}});
        for (key, value) in extra.as_object().unwrap() {
            match node[key].as_object_mut() {
                Some(map) => map.extend(value.as_object().unwrap().clone()),
                None => node[key] = value.clone(),
            }
        }
        Arc::new(serde_json::from_value(node).unwrap())
    }

    fn sized(name: &str, cpu: u32) -> PodInfo {
        pod(
            name,
            json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": format!("{cpu}m")}},
            "ports": [{"containerPort": 1, "hostPort": cpu}]}]}),
        )
    }

    proptest! {
        /// Whatever the order of changes, a node's sums are those of the pods that are on it.
        #[test]
        fn sums_agree_with_pods(steps in prop::collection::vec((0..6u8, 0..4u8, 1..9u32, 0..4u8), 0..60)) {
            let mut snapshot = Snapshot::default();
            for (who, whereto, cpu, what) in steps {
                let (pod, node_name) = (sized(&format!("p{who}"), cpu), format!("n{whereto}"));
                match what {
                    0 => drop(snapshot.displace(pod.uid())),
                    1 => snapshot.put_node(node(&node_name, json!({}))),
                    2 => snapshot.remove_node(&node_name),
                    _ => snapshot.place(pod, &node_name),
                }
            }
            for info in snapshot.nodes() {
                let here: Vec<_> = snapshot.placed.values().filter(|(node, _)| node == info.name()).map(|(_, pod)| pod).collect();
                prop_assert_eq!(info.pods as usize, here.len());
                prop_assert_eq!(info.ports.len(), here.len());
                prop_assert_eq!(info.requested.milli_cpu, here.iter().map(|pod| pod.requests.milli_cpu).sum::<i64>());
            }
        }
    }
}
