//! PodResizeValidator: what a running pod asks for anew must fit on its node.

use coracle_api::amounts::{self, Amounts};
use coracle_api::status::Status;
use serde_json::{Value, json};

use super::{Request, text};
use crate::objects::Lookup;

pub(super) fn check(lookup: &dyn Lookup, request: &Request<'_>, pod: &Value) -> Result<(), Status> {
    let resizes = request.kind.group.is_empty() && *request.kind.plural == *"pods" && request.subresource == "resize";
    let node = text(pod, "/spec/nodeName");
    if !resizes || node.is_empty() || request.old.is_none_or(|old| old["spec"] == pod["spec"]) {
        return Ok(());
    }
    let Some(node) = lookup.get("", "nodes", "", node) else { return Err(request.forbidden(&format!("node {node:?} not found"))) };
    let because = |why: String, kind: &str| {
        let status = request.forbidden(&why);
        let mut details = status.details.clone();
        details["causes"] = json!([{"reason": kind}]);
        Err(status.with_details(details))
    };
    if let Some(why) = excess(&amounts::pod_requests(pod), &node["status"]["allocatable"]) {
        return because(format!("Node didn't have enough allocatable resources: {why}"), "NodeCapacity");
    }
    let system = text(&node, "/metadata/labels/kubernetes.io~1os");
    if system != "linux" {
        let name = text(&node, "/metadata/name");
        let why = format!("pod resize is only supported on linux nodes, node {name:?} is {system:?}");
        return because(why, "UnsupportedPlatform");
    }
    Ok(())
}

/// What a pod asks for beyond what a node gives to pods.
fn excess(requests: &Amounts, allocatable: &Value) -> Option<String> {
    let over = ["cpu", "memory"].into_iter().filter_map(|name| {
        let given = amounts::parse(&allocatable[name]).unwrap_or_default();
        let asked = requests.get(name).copied().unwrap_or_default();
        let (asked, given) = if name == "cpu" { (asked.milli_value(), given.milli_value()) } else { (asked.value(), given.value()) };
        (asked > given).then(|| format!("{name}, requested: {asked}, allocatable: {given}"))
    });
    Some(over.collect::<Vec<_>>().join("; ")).filter(|why| !why.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn what_a_pod_asks_for_is_compared_with_what_its_node_gives() {
        let asked = |cpu: &str, memory: &str| {
            let requests = json!({"cpu": cpu, "memory": memory});
            amounts::pod_requests(&json!({"spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]}}))
        };
        let node = json!({"cpu": "2", "memory": "1Ki"});
        assert_eq!(excess(&asked("2", "1024"), &node), None);
        assert_eq!(
            excess(&asked("64", "1025"), &node).unwrap(),
            "cpu, requested: 64000, allocatable: 2000; memory, requested: 1025, allocatable: 1024"
        );
    }
}
