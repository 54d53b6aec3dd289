//! `metrics.k8s.io`: what nodes and pods use now, asked of the nodes. A metrics server that somebody registers by an
//! APIService takes its place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use coracle_api::kinds;
use coracle_api::quantity::{Format, Quantity};
use coracle_api::rules;
use coracle_api::seams::{ContainerUsage, NodeUsage, Used};
use coracle_api::selector::{FieldSelector, LabelSelector};
use coracle_api::status::Status;
use coracle_api::time;
use http::Response;
use serde_json::{Value, json};

use crate::answer;
use crate::http::body::Body;
use crate::http::query::Query;
use crate::negotiate::Encoding;
use crate::objects::Lookup;
use crate::request::RequestInfo;
use crate::server::Server;

pub(crate) const GROUP: &str = "metrics.k8s.io";
pub(crate) const VERSION: &str = "v1beta1";

/// Whether a request is for what this file answers.
pub(crate) fn serves(info: &RequestInfo) -> bool {
    info.group == GROUP && info.version == VERSION && matches!(info.resource.as_str(), "nodes" | "pods") && info.subresource.is_empty()
}

/// The group's `APIResourceList`.
pub(crate) fn resources() -> Value {
    let row = |name: &str, namespaced: bool, kind: &str| json!({"name": name, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": ["get", "list"]});
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{GROUP}/{VERSION}"),
        "resources": [row("nodes", false, "NodeMetrics"), row("pods", true, "PodMetrics")]})
}

/// Answers a GET of one, or a list that selectors may narrow.
pub(crate) async fn answer(server: &Server, info: &RequestInfo, query: &Query) -> Result<Response<Body>, Status> {
    if !matches!(info.verb.as_str(), "get" | "list") {
        return Err(Status::method_not_allowed());
    }
    let objects = selected(&*server.0.objects, info, query)?;
    let used = ask(server, nodes_of(info, &objects)).await;
    let items: Vec<Value> = objects.iter().filter_map(|object| item(info, object, &used)).collect();
    let kind = if info.resource == "nodes" { "NodeMetrics" } else { "PodMetrics" };
    if info.verb == "list" {
        let list = json!({"kind": format!("{kind}List"), "apiVersion": format!("{GROUP}/{VERSION}"), "metadata": {}, "items": items});
        return Ok(answer::object(200, &list, Encoding::Json));
    }
    let name = if info.namespace.is_empty() { info.name.clone() } else { format!("{}/{}", info.namespace, info.name) };
    let mut one = items.into_iter().next().ok_or_else(|| Status::not_found(GROUP, &kind.to_lowercase(), &name))?;
    one["kind"] = json!(kind);
    one["apiVersion"] = json!(format!("{GROUP}/{VERSION}"));
    Ok(answer::object(200, &one, Encoding::Json))
}

/// The nodes or pods that are asked about.
fn selected(objects: &dyn Lookup, info: &RequestInfo, query: &Query) -> Result<Vec<Arc<Value>>, Status> {
    if info.verb == "get" {
        return Ok(objects.get("", &info.resource, &info.namespace, &info.name).into_iter().collect());
    }
    let labels = query.text("labelSelector").map(LabelSelector::parse).transpose()?;
    let fields = query.text("fieldSelector").map(FieldSelector::parse).transpose()?;
    let kind = kinds::find("", "v1", &info.resource).ok_or_else(Status::no_such_path)?;
    let mut found = objects.list("", &info.resource, &info.namespace);
    found.retain(|object| {
        labels.as_ref().is_none_or(|labels| labels.matches(&object["metadata"]["labels"]))
            && fields.as_ref().is_none_or(|fields| fields.matches_fields(&rules::selectable_fields(kind, object)))
    });
    Ok(found)
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn nodes_of<'a>(info: &RequestInfo, objects: &'a [Arc<Value>]) -> BTreeSet<&'a str> {
    let pointer = if info.resource == "nodes" { "/metadata/name" } else { "/spec/nodeName" };
    objects.iter().map(|object| text(object, pointer)).filter(|name| !name.is_empty()).collect()
}

/// What each node says; one that does not answer is left out.
async fn ask<'a>(server: &Server, nodes: BTreeSet<&'a str>) -> BTreeMap<&'a str, NodeUsage> {
    let asked = nodes.into_iter().map(|node| async move { (node, server.0.dialer.usage(node).await) });
    futures::future::join_all(asked).await.into_iter().filter_map(|(node, said)| Some((node, said.ok()?))).collect()
}

fn item(info: &RequestInfo, object: &Value, used: &BTreeMap<&str, NodeUsage>) -> Option<Value> {
    let name = text(object, "/metadata/name");
    let mut metadata = json!({"name": name});
    for field in ["namespace", "labels", "creationTimestamp"] {
        if !object["metadata"][field].is_null() {
            metadata[field] = object["metadata"][field].clone();
        }
    }
    let (node, own) = if info.resource == "nodes" {
        let node = used.get(name)?;
        (node, ("usage", amounts(node.used)))
    } else {
        let node = used.get(text(object, "/spec/nodeName"))?;
        let pod = node.pods.iter().find(|pod| pod.uid == text(object, "/metadata/uid"))?;
        (node, ("containers", pod.containers.iter().map(container).collect()))
    };
    Some(json!({"metadata": metadata, "timestamp": time::seconds(node.at), "window": window(node.window), (own.0): own.1}))
}

fn container(container: &ContainerUsage) -> Value {
    json!({"name": container.name, "usage": amounts(container.used)})
}

fn amounts(used: Used) -> Value {
    let cpu = format!("{}n", used.cpu_nanocores).parse::<Quantity>().unwrap_or(Quantity::ZERO);
    let memory = Quantity::new(i64::try_from(used.memory_bytes / 1024 * 1024).unwrap_or(i64::MAX), Format::BinarySi);
    json!({"cpu": cpu.to_string(), "memory": memory.to_string()})
}

/// A duration as Go prints it.
fn window(window: Duration) -> String {
    let (minutes, seconds) = (window.as_secs() / 60, window.as_millis() % 60_000);
    let seconds = format!("{}.{:03}", seconds / 1_000, seconds % 1_000);
    let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
    if minutes > 0 { format!("{minutes}m{seconds}s") } else { format!("{seconds}s") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn amounts_and_windows_are_written_as_upstream_writes_them() {
        let used = |cpu_nanocores, memory_bytes| amounts(Used { cpu_nanocores, memory_bytes });
        assert_eq!(used(1_234_567, 5 << 20), json!({"cpu": "1234567n", "memory": "5Mi"}));
        assert_eq!(used(250_000_000, 1_500), json!({"cpu": "250m", "memory": "1Ki"}));
        let written = [1_000, 15_250, 75_000].map(|millis| window(Duration::from_millis(millis)));
        assert_eq!(written, ["1s", "15.25s", "1m15s"]);
    }
}
