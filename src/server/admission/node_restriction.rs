//! NodeRestriction: a node agent changes its own node, the pods on it and its own lease, and nothing that would bring it
//! other pods.

use coracle_api::status::Status;
use serde_json::Value;

use super::{Operation, Request, text};

const LEASES: &str = "kube-node-lease";

/// Labels that a node agent may give its node, apart from those of its own domain.
const OWN_LABELS: [&str; 13] = [
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "node.kubernetes.io/windows-build",
    "failure-domain.kubernetes.io/zone",
];

fn is_free(label: &str) -> bool {
    let Some((domain, _)) = label.split_once('/') else { return true };
    let of = |parent: &str| domain == parent || domain.ends_with(&format!(".{parent}"));
    if of("node-restriction.kubernetes.io") {
        return false;
    }
    OWN_LABELS.contains(&label) || of("kubelet.kubernetes.io") || of("node.kubernetes.io") || !(of("kubernetes.io") || of("k8s.io"))
}

pub(super) fn check(request: &Request<'_>, object: Option<&Value>) -> Result<(), Status> {
    let Some(node) =
        request.identity.user.strip_prefix("system:node:").filter(|_| request.identity.groups.iter().any(|group| group == "system:nodes"))
    else {
        return Ok(());
    };
    let forbid = |why: String| Err(request.forbidden(&why));
    let on_it = |pod: &Value| text(pod, "/spec/nodeName") == node;
    let whole = Value::Null;
    let (new, old) = (object.unwrap_or(&whole), request.old.unwrap_or(&whole));
    match (&*request.kind.group, &*request.kind.plural, request.subresource, request.operation) {
        ("", "pods", "", Operation::Create) => {
            let mirror = new["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_string();
            if !mirror {
                return forbid(format!(
                    "pod does not have \"kubernetes.io/config.mirror\" annotation, node {node:?} can only create mirror pods"
                ));
            }
            if !on_it(new) {
                return forbid(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
            }
            Ok(())
        }
        ("", "pods", "", Operation::Delete) if !on_it(old) => {
            forbid(format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
        }
        ("", "pods", "status", Operation::Update) if !on_it(old) => {
            forbid(format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself"))
        }
        ("", "pods", "status", Operation::Update) if new["metadata"]["labels"] != old["metadata"]["labels"] => {
            forbid(format!("node {node:?} cannot update labels through pod status"))
        }
        ("", "nodes", ..) => check_node(node, request, new, old),
        ("coordination.k8s.io", "leases", ..) if request.namespace != LEASES => {
            forbid(format!("can only access leases in the {LEASES:?} system namespace"))
        }
        ("coordination.k8s.io", "leases", ..) if request.called != node => {
            forbid("can only access node lease with the same name as the requesting node".to_owned())
        }
        ("storage.k8s.io", "csinodes", ..) if request.called != node => {
            forbid("can only access CSINode with the same name as the requesting node".to_owned())
        }
        _ => Ok(()),
    }
}

fn check_node(node: &str, request: &Request<'_>, new: &Value, old: &Value) -> Result<(), Status> {
    let forbid = |why: String| Err(request.forbidden(&why));
    if request.called != node {
        return forbid(format!("node {node:?} is not allowed to modify node {:?}", request.called));
    }
    if !request.writes() {
        return Ok(());
    }
    let labels = |object: &Value| object["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    let (before, after) = (labels(old), labels(new));
    let changed = before.keys().chain(after.keys()).filter(|label| before.get(*label) != after.get(*label) && !is_free(label));
    let changed: std::collections::BTreeSet<&str> = changed.map(String::as_str).collect();
    if !changed.is_empty() {
        let (labels, verb) = (
            changed.into_iter().collect::<Vec<_>>().join(", "),
            if request.operation == Operation::Create { "set the following" } else { "modify" },
        );
        return forbid(format!("is not allowed to {verb} labels: {labels}"));
    }
    if request.operation == Operation::Update && new["spec"]["taints"] != old["spec"]["taints"] {
        return forbid(format!("node {node:?} is not allowed to modify taints"));
    }
    Ok(())
}
