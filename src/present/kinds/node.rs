//! Nodes, namespaces and the parts of the control plane.

use serde_json::Value;

use super::{Printer, row};
use crate::Column;
use crate::text::{NONE, age, joined, list_at, or_none, str_at};

pub(crate) static NODE: Printer = Printer {
    columns: &[
        Column::name(),
        Column::text("Status", "The status of the node"),
        Column::text("Roles", "The roles of the node"),
        Column::age(),
        Column::text("Version", "@io.k8s.api.core.v1.NodeSystemInfo.kubeletVersion"),
        Column::wide("Internal-IP", "@io.k8s.api.core.v1.NodeStatus.addresses"),
        Column::wide("External-IP", "@io.k8s.api.core.v1.NodeStatus.addresses"),
        Column::wide("OS-Image", "@io.k8s.api.core.v1.NodeSystemInfo.osImage"),
        Column::wide("Kernel-Version", "@io.k8s.api.core.v1.NodeSystemInfo.kernelVersion"),
        Column::wide("Container-Runtime", "@io.k8s.api.core.v1.NodeSystemInfo.containerRuntimeVersion"),
    ],
    cells: |object, now| {
        let info = |field: &str| {
            let text = str_at(object, &format!("/status/nodeInfo/{field}"));
            if text.is_empty() { crate::text::UNKNOWN.to_owned() } else { text.to_owned() }
        };
        row![
            str_at(object, "/metadata/name"),
            status(object),
            roles(object),
            age(object, now),
            str_at(object, "/status/nodeInfo/kubeletVersion"),
            address(object, "InternalIP"),
            address(object, "ExternalIP"),
            info("osImage"),
            info("kernelVersion"),
            info("containerRuntimeVersion"),
        ]
    },
};

pub(crate) static COMPONENT_STATUS: Printer = Printer {
    columns: &[
        Column::name(),
        Column::text("Status", "Status of the component conditions"),
        Column::text("Message", "Message of the component conditions"),
        Column::text("Error", "Error of the component conditions"),
    ],
    cells: |object, _| {
        let healthy = list_at(object, "/conditions").iter().find(|condition| str_at(condition, "/type") == "Healthy");
        let word = match healthy.map(|condition| str_at(condition, "/status")) {
            Some("True") => "Healthy",
            Some(_) => "Unhealthy",
            None => "Unknown",
        };
        let text = |field: &str| healthy.map_or("", |condition| str_at(condition, field));
        row![str_at(object, "/metadata/name"), word, text("/message"), text("/error")]
    },
};

fn status(node: &Value) -> String {
    let ready = list_at(node, "/status/conditions").iter().find(|condition| str_at(condition, "/type") == "Ready");
    let word = match ready.map(|condition| str_at(condition, "/status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let cordoned = node.pointer("/spec/unschedulable") == Some(&Value::Bool(true));
    if cordoned { format!("{word},SchedulingDisabled") } else { word.to_owned() }
}

fn roles(node: &Value) -> String {
    let labels = node.pointer("/metadata/labels").and_then(Value::as_object);
    let mut roles: Vec<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) if !role.is_empty() => Some(role),
            None if key == "kubernetes.io/role" => value.as_str().filter(|role| !role.is_empty()),
            _ => None,
        })
        .collect();
    roles.sort_unstable();
    roles.dedup();
    joined(roles)
}

fn address<'a>(node: &'a Value, wanted: &str) -> &'a str {
    let found = list_at(node, "/status/addresses").iter().find(|address| str_at(address, "/type") == wanted);
    found.map_or(NONE, |address| or_none(str_at(address, "/address")))
}

pub(crate) static NAMESPACE: Printer = Printer {
    columns: &[Column::name(), Column::text("Status", "The status of the namespace"), Column::age()],
    cells: |object, now| row![str_at(object, "/metadata/name"), str_at(object, "/status/phase"), age(object, now)],
};
