//! Nodes and what runs on them, kept up to date change by change.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use coracle_api::quantity::Quantity as Number;
use k8s_openapi::api::core::v1::{Node, Pod};

use crate::pod::{HostPort, PodInfo, Resources, tagged};

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
    /// Sizes of the images that are there.
    pub images: Arc<HashMap<String, i64>>,
}

impl NodeInfo {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        let list = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        let max_pods = list.and_then(|list| list.get("pods")).and_then(|quantity| quantity.0.parse::<Number>().ok());
        Self {
            allocatable: Resources::of(list),
            images: Arc::new(images(&node)),
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

    pub(crate) fn labels(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.node.metadata.labels.as_ref().unwrap_or(&NONE)
    }

    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.labels().get(key).map(String::as_str)
    }

    pub(crate) fn put(&mut self, pod: &PodInfo) {
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

fn images(node: &Node) -> HashMap<String, i64> {
    let images = node.status.iter().flat_map(|status| status.images.iter().flatten());
    let named = images.flat_map(|image| image.names.iter().flatten().map(|name| (tagged(name), image.size_bytes.unwrap_or(0))));
    named.collect()
}

/// The cluster as the scheduler believes it to be: seen pods and assumed ones.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    nodes: HashMap<String, NodeInfo>,
    /// Canonical: uid → the pod and its node. A node may not be known (yet, or any more).
    placed: HashMap<String, (String, PodInfo)>,
    /// Uids of placed pods that ask something of other pods.
    with_terms: HashSet<String>,
    /// Pods that made room for themselves on a node and do not run there yet, by uid.
    nominated: HashMap<String, (String, PodInfo)>,
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
                known.images = fresh.images;
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
        if pod.terms.is_some() {
            self.with_terms.insert(pod.uid().to_owned());
        }
        self.nominated.remove(pod.uid());
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
        self.with_terms.remove(uid);
        if let Some(info) = self.nodes.get_mut(&node) {
            info.take(&pod);
        }
        true
    }

    /// What a placed pod asks for.
    pub(crate) fn requests_of(&self, uid: &str) -> Option<&Resources> {
        self.placed.get(uid).map(|(_, pod)| &pod.requests)
    }

    pub(crate) fn node(&self, name: &str) -> Option<&NodeInfo> {
        self.nodes.get(name)
    }

    /// Placed pods with their nodes, as far as these are known.
    pub(crate) fn placed(&self) -> impl Iterator<Item = (&NodeInfo, &PodInfo)> {
        self.placed.values().filter_map(|(node, pod)| Some((self.nodes.get(node)?, pod)))
    }

    /// Those of them that ask something of other pods.
    pub(crate) fn placed_with_terms(&self) -> impl Iterator<Item = (&NodeInfo, &PodInfo)> {
        let placed = self.with_terms.iter().filter_map(|uid| self.placed.get(uid));
        placed.filter_map(|(node, pod)| Some((self.nodes.get(node)?, pod)))
    }

    /// A pod made room for itself on `node`, or has no such claim any more.
    pub(crate) fn nominate(&mut self, pod: &PodInfo, node: Option<&str>) {
        match node {
            Some(node) => drop(self.nominated.insert(pod.uid().to_owned(), (node.to_owned(), pod.clone()))),
            None => drop(self.nominated.remove(pod.uid())),
        }
    }

    pub(crate) fn forget(&mut self, uid: &str) {
        self.nominated.remove(uid);
    }

    /// The node as `pod` must see it: pods of its priority or above that made room there count as if they ran there.
    pub(crate) fn reserved(&self, pod: &PodInfo, node: &NodeInfo) -> Option<NodeInfo> {
        let mut taken = None;
        for (on, other) in self.nominated.values().filter(|(on, _)| on == node.name()) {
            debug_assert_eq!(on, node.name());
            if other.priority >= pod.priority && other.uid() != pod.uid() {
                taken.get_or_insert_with(|| node.clone()).put(other);
            }
        }
        taken
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
