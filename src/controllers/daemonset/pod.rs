//! The pod of a daemon set on one node, and whether the node gets one.

use std::collections::BTreeMap;

use coracle_api::placement::{untolerated, wants_node};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Toleration};

use crate::pod_control::from_template;
use crate::pods;
use crate::wiring::name_of;

pub(super) const HASH: &str = "controller-revision-hash";
const GENERATION: &str = "pod-template-generation";
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// Daemons stay where others must leave.
fn tolerations(spec: &PodSpec) -> Vec<Toleration> {
    let mut all = spec.tolerations.clone().unwrap_or_default();
    let host_network = spec.host_network == Some(true);
    let own = [
        ("not-ready", "NoExecute", true),
        ("unreachable", "NoExecute", true),
        ("disk-pressure", "NoSchedule", true),
        ("memory-pressure", "NoSchedule", true),
        ("pid-pressure", "NoSchedule", true),
        ("unschedulable", "NoSchedule", true),
        ("network-unavailable", "NoSchedule", host_network),
    ];
    for (key, effect, _) in own.into_iter().filter(|(.., wanted)| *wanted) {
        let toleration = Toleration {
            key: Some(format!("node.kubernetes.io/{key}")),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        if !all.contains(&toleration) {
            all.push(toleration);
        }
    }
    all
}

/// Should a pod start on the node, and may one that is there stay.
pub(super) fn belongs_on(set: &DaemonSet, node: &Node) -> (bool, bool) {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    let Some(spec) = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()) else { return (false, false) };
    let labels = node.metadata.labels.as_ref().unwrap_or(&NONE);
    let other = spec.node_name.as_deref().is_some_and(|name| !name.is_empty() && name != name_of(node));
    if other || !wants_node(spec, name_of(node), labels) {
        return (false, false);
    }
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let tolerations = tolerations(spec);
    if untolerated(taints, &tolerations, &["NoSchedule", "NoExecute"]).is_none() {
        return (true, true);
    }
    (false, untolerated(taints, &tolerations, &["NoExecute"]).is_none())
}

/// The node a pod is on, or is meant for.
pub(super) fn node_of(pod: &Pod) -> Option<&str> {
    match pods::node(pod) {
        "" => target(pod.spec.as_ref()?),
        node => Some(node),
    }
}

fn target(spec: &PodSpec) -> Option<&str> {
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let terms = &affinity.required_during_scheduling_ignored_during_execution.as_ref()?.node_selector_terms;
    let names = terms.iter().flat_map(|term| term.match_fields.iter().flatten()).filter(|field| field.key == "metadata.name");
    names.filter_map(|field| field.values.as_ref()?.first()).map(String::as_str).next()
}

pub(super) fn is_updated(pod: &Pod, hash: &str) -> bool {
    pod.metadata.labels.as_ref().and_then(|labels| labels.get(HASH)).is_some_and(|known| known == hash)
}

/// The pod for a node: the scheduler binds it there and nowhere else.
pub(super) fn new_pod(set: &DaemonSet, hash: &str, node: &str) -> Pod {
    let Some(template) = set.spec.as_ref().map(|spec| &spec.template) else { return Pod::default() };
    let mut pod = from_template(set, template);
    pod.metadata.generate_name = Some(format!("{}-", name_of(set)));
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(HASH.to_owned(), hash.to_owned());
    if let Some(generation) = set.metadata.annotations.as_ref().and_then(|all| all.get(TEMPLATE_GENERATION)) {
        labels.insert(GENERATION.to_owned(), generation.clone());
    }
    let spec = pod.spec.get_or_insert_default();
    spec.tolerations = Some(tolerations(spec));
    let field = NodeSelectorRequirement { key: "metadata.name".to_owned(), operator: "In".to_owned(), values: Some(vec![node.to_owned()]) };
    let term = NodeSelectorTerm { match_fields: Some(vec![field]), match_expressions: None };
    let affinity = spec.affinity.get_or_insert_default().node_affinity.get_or_insert_default();
    affinity.required_during_scheduling_ignored_during_execution = Some(NodeSelector { node_selector_terms: vec![term] });
    pod
}
