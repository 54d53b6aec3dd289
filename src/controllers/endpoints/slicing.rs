//! The decision: which slices a service's endpoints are written to, touching as few of them as possible.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::ports::{TargetPort, target_ports};
use super::{host_name, inherited_labels, is_reachable, publishes_unready, target_ref};
use crate::ownership::controller_reference;
use crate::pods;
use crate::wiring::{name_of, namespace_of};

pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub(crate) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub(crate) const MANAGER: &str = "endpointslice-controller.k8s.io";
const CAPACITY: usize = 100;

/// What to write.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub create: Vec<EndpointSlice>,
    pub update: Vec<EndpointSlice>,
    pub delete: Vec<Arc<EndpointSlice>>,
}

/// Family and ports: endpoints that agree in both share slices.
type Group = (&'static str, Vec<TargetPort>);

/// Compares what the pods say with the slices there are. `zone` tells a node's zone.
pub(crate) fn plan(service: &Service, pods: &[Arc<Pod>], slices: &[Arc<EndpointSlice>], node: impl Fn(&str) -> Option<Arc<Node>>) -> Plan {
    let mut wanted: BTreeMap<Group, Vec<Endpoint>> = BTreeMap::new();
    for family in families(service) {
        for pod in pods.iter().filter(|pod| is_reachable(pod)) {
            if let Some(endpoint) = endpoint(service, pod, family, &node) {
                let mut ports = target_ports(service, pod);
                ports.sort();
                wanted.entry((family, ports)).or_default().push(endpoint);
            }
        }
        // A service without endpoints has one empty slice, which says that there are none.
        if !wanted.keys().any(|(known, _)| *known == family) {
            wanted.insert((family, Vec::new()), Vec::new());
        }
    }
    let mut plan = Plan::default();
    let mut groups: HashMap<Group, Vec<Arc<EndpointSlice>>> = HashMap::new();
    for slice in slices {
        match group_of(slice).filter(|group| wanted.contains_key(group)) {
            Some(group) => groups.entry(group).or_default().push(slice.clone()),
            None => plan.delete.push(slice.clone()),
        }
    }
    for (group, endpoints) in wanted {
        let known = groups.remove(&group).unwrap_or_default();
        fill(service, &group, endpoints, known, &mut plan);
    }
    plan
}

fn families(service: &Service) -> Vec<&'static str> {
    let families = service.spec.as_ref().and_then(|spec| spec.ip_families.as_ref()).filter(|families| !families.is_empty());
    let Some(families) = families else { return vec!["IPv4"] };
    families.iter().map(|family| if family == "IPv6" { "IPv6" } else { "IPv4" }).collect()
}

fn group_of(slice: &EndpointSlice) -> Option<Group> {
    let family = match slice.address_type.as_str() {
        "IPv4" => "IPv4",
        "IPv6" => "IPv6",
        _ => return None,
    };
    let port = |port: &EndpointPort| TargetPort {
        name: port.name.clone().unwrap_or_default(),
        protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
        port: port.port.unwrap_or(0),
        app_protocol: port.app_protocol.clone(),
    };
    let mut ports: Vec<TargetPort> = slice.ports.iter().flatten().map(port).collect();
    ports.sort();
    Some((family, ports))
}

/// Keeps endpoints where they are, fills gaps, and adds or drops slices only where that is needed.
fn fill(service: &Service, group: &Group, endpoints: Vec<Endpoint>, mut known: Vec<Arc<EndpointSlice>>, plan: &mut Plan) {
    known.sort_by(|a, b| name_of(a.as_ref()).cmp(name_of(b.as_ref())));
    let mut waiting: BTreeMap<String, Endpoint> = endpoints.into_iter().map(|endpoint| (identity(&endpoint), endpoint)).collect();
    let mut seen = HashSet::new();
    let mut kept: Vec<(Arc<EndpointSlice>, Vec<Endpoint>)> = Vec::new();
    for slice in known {
        let stay = slice.endpoints.iter().flatten().filter_map(|old| {
            let key = identity(old);
            seen.insert(key.clone()).then(|| waiting.remove(&key)).flatten()
        });
        let stay = stay.take(CAPACITY).collect();
        kept.push((slice, stay));
    }
    let mut waiting: Vec<Endpoint> = waiting.into_values().collect();
    // The fullest with room first, so that the others may run empty.
    kept.sort_by_key(|(_, stay)| std::cmp::Reverse(stay.len()));
    for (_, stay) in &mut kept {
        let room = CAPACITY.saturating_sub(stay.len()).min(waiting.len());
        stay.extend(waiting.drain(..room));
    }
    let nothing = waiting.is_empty() && kept.iter().all(|(_, stay)| stay.is_empty());
    let mut any = false;
    for (slice, stay) in kept {
        if stay.is_empty() && (any || !nothing) {
            plan.delete.push(slice);
            continue;
        }
        any = true;
        let fresh = with_content(service, (*slice).clone(), group, stay);
        if !same(&slice, &fresh) {
            plan.update.push(fresh);
        }
    }
    while !waiting.is_empty() || !any {
        any = true;
        let rest = waiting.split_off(waiting.len().min(CAPACITY));
        let content = std::mem::replace(&mut waiting, rest);
        plan.create.push(with_content(service, new_slice(service), group, content));
    }
}

fn identity(endpoint: &Endpoint) -> String {
    let target = endpoint.target_ref.as_ref().and_then(|target| target.uid.clone()).unwrap_or_default();
    format!("{target} {}", endpoint.addresses.join(","))
}

fn new_slice(service: &Service) -> EndpointSlice {
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", name_of(service))),
            namespace: Some(namespace_of(service).to_owned()),
            owner_references: Some(vec![controller_reference(service)]),
            ..ObjectMeta::default()
        },
        ..EndpointSlice::default()
    }
}

fn with_content(service: &Service, mut slice: EndpointSlice, group: &Group, endpoints: Vec<Endpoint>) -> EndpointSlice {
    let mut labels = inherited_labels(service);
    labels.insert(SERVICE_NAME.to_owned(), name_of(service).to_owned());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    slice.metadata.labels = Some(labels);
    slice.address_type = group.0.to_owned();
    slice.endpoints = Some(endpoints);
    let ports = group.1.iter().map(|port| EndpointPort {
        name: Some(port.name.clone()),
        protocol: Some(port.protocol.clone()),
        port: Some(port.port),
        app_protocol: port.app_protocol.clone(),
    });
    slice.ports = Some(ports.collect());
    slice
}

fn same(old: &EndpointSlice, new: &EndpointSlice) -> bool {
    let endpoints = |slice: &EndpointSlice| slice.endpoints.clone().unwrap_or_default();
    old.metadata.labels == new.metadata.labels && group_of(old) == group_of(new) && endpoints(old) == endpoints(new)
}

fn endpoint(service: &Service, pod: &Pod, family: &str, node: impl Fn(&str) -> Option<Arc<Node>>) -> Option<Endpoint> {
    let status = pod.status.as_ref()?;
    let listed = status.pod_ips.iter().flatten().map(|ip| ip.ip.clone());
    let addresses: Vec<String> = listed.chain(status.pod_ip.clone()).collect();
    let address = addresses.into_iter().find(|address| address.contains(':') == (family == "IPv6"))?;
    let (serving, terminating) = (pods::is_ready(pod), pods::is_terminating(pod));
    let node_name = Some(pods::node(pod).to_owned()).filter(|name| !name.is_empty());
    let zone =
        node_name.as_deref().and_then(node).and_then(|node| node.metadata.labels.as_ref()?.get("topology.kubernetes.io/zone").cloned());
    Some(Endpoint {
        addresses: vec![address],
        conditions: Some(EndpointConditions {
            ready: Some(publishes_unready(service) || serving && !terminating),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: host_name(service, pod),
        node_name,
        target_ref: Some(target_ref(pod)),
        zone,
        ..Endpoint::default()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn service(spec: Value) -> Service {
        let mut spec = spec;
        spec["selector"] = json!({"app": "web"});
        serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "n", "uid": "s", "labels": {"team": "red"}}, "spec": spec}))
            .unwrap()
    }

    fn pod(number: usize, ready: bool) -> Arc<Pod> {
        let status = if ready { "True" } else { "False" };
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": format!("p{number}"), "namespace": "n", "uid": format!("u{number}")},
                "spec": {"nodeName": "n1", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080 + number % 2}]}]},
                "status": {"phase": "Running", "podIP": format!("10.0.{}.{}", number / 250, number % 250),
                    "conditions": [{"type": "Ready", "status": status}]},
            }))
            .unwrap(),
        )
    }

    fn no_node(_: &str) -> Option<Arc<Node>> {
        None
    }

    /// Carries a plan out as the server would.
    fn apply(slices: &mut Vec<Arc<EndpointSlice>>, plan: Plan, next: &mut usize) {
        slices.retain(|slice| !plan.delete.iter().any(|gone| gone.metadata.name == slice.metadata.name));
        for fresh in plan.update {
            let at = slices.iter().position(|slice| slice.metadata.name == fresh.metadata.name).unwrap();
            slices[at] = Arc::new(fresh);
        }
        for mut fresh in plan.create {
            *next += 1;
            fresh.metadata.name = Some(format!("web-{next:03}"));
            slices.push(Arc::new(fresh));
        }
    }

    #[test]
    fn endpoints_say_what_their_pods_are() {
        let service = service(json!({"ports": [{"port": 80, "targetPort": "http", "name": "web"}]}));
        let plan = plan(&service, &[pod(0, true), pod(2, false)], &[], no_node);
        let slice = serde_json::to_value(&plan.create[0]).unwrap();
        assert_eq!(slice["metadata"]["labels"], json!({"team": "red", SERVICE_NAME: "web", MANAGED_BY: MANAGER}));
        assert_eq!(slice["ports"], json!([{"name": "web", "protocol": "TCP", "port": 8080}]));
        assert_eq!(slice["endpoints"][0]["conditions"], json!({"ready": true, "serving": true, "terminating": false}));
        assert_eq!(slice["endpoints"][1]["conditions"], json!({"ready": false, "serving": false, "terminating": false}));
        assert_eq!(slice["endpoints"][0]["targetRef"], json!({"kind": "Pod", "namespace": "n", "name": "p0", "uid": "u0"}));
        assert_eq!((plan.create.len(), &slice["endpoints"][0]["nodeName"]), (1, &json!("n1")));
    }

    #[test]
    fn a_service_without_pods_has_one_empty_slice_which_is_reused() {
        let service = service(json!({"ports": [{"port": 80}], "clusterIP": "None"}));
        let (mut slices, mut next) = (Vec::new(), 0);
        apply(&mut slices, plan(&service, &[], &[], no_node), &mut next);
        assert_eq!(slices.len(), 1);
        assert_eq!(slices[0].metadata.labels.as_ref().unwrap()["service.kubernetes.io/headless"], "");
        let again = plan(&service, &[], &slices, no_node);
        assert!(again.create.is_empty() && again.update.is_empty() && again.delete.is_empty());
    }

    proptest! {
        /// After any sequence of changes every ready pod is in exactly one slice of its ports, no slice is too big, and
        /// a second look changes nothing.
        #[test]
        fn slices_hold_all_endpoints_once(rounds in prop::collection::vec(prop::collection::btree_set(0..400usize, 0..260), 1..5)) {
            let service = service(json!({"ports": [{"port": 80, "targetPort": "http"}]}));
            let (mut slices, mut next) = (Vec::new(), 0);
            for round in rounds {
                let pods: Vec<_> = round.iter().map(|&number| pod(number, true)).collect();
                let change = plan(&service, &pods, &slices, no_node);
                apply(&mut slices, change, &mut next);
                let mut listed: Vec<String> = slices.iter().flat_map(|slice| slice.endpoints.iter().flatten().map(identity)).collect();
                listed.sort();
                let mut expected: Vec<String> =
                    pods.iter().map(|pod| identity(&endpoint(&service, pod, "IPv4", no_node).unwrap())).collect();
                expected.sort();
                prop_assert_eq!(listed, expected);
                prop_assert!(slices.iter().all(|slice| slice.endpoints.as_ref().unwrap().len() <= CAPACITY));
                let again = plan(&service, &pods, &slices, no_node);
                prop_assert!(again.create.is_empty() && again.update.is_empty() && again.delete.is_empty());
            }
        }
    }
}
