//! Why something is as it is: the chain of causes, with evidence, from an object, what belongs to it, and its events.

use serde_json::Value;

use crate::source::graph::{Object, children, references, selects};
use crate::table::Health;

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// How an object is, in a few words.
pub fn note(value: &Value) -> String {
    let number = |pointer: &str| value.pointer(pointer).and_then(Value::as_i64);
    let phase = text(value, "/status/phase");
    if !phase.is_empty() {
        let waiting = value.pointer("/status/containerStatuses").and_then(Value::as_array).into_iter().flatten();
        let reason = waiting.map(|status| text(status, "/state/waiting/reason")).find(|reason| !reason.is_empty());
        return reason.unwrap_or(phase);
    }
    match (number("/spec/replicas"), number("/status/readyReplicas")) {
        (Some(want), have) => format!("{}/{want}", have.unwrap_or_default()),
        _ => String::new(),
    }
}

/// A text that is written with indents.
#[derive(Default)]
struct Page {
    text: String,
    causes: usize,
}

impl Page {
    fn line(&mut self, depth: usize, line: &str) {
        self.text.push_str(&format!("{}{line}\n", "  ".repeat(depth)));
    }

    fn cause(&mut self, depth: usize, line: &str) {
        self.causes += 1;
        self.line(depth, &format!("✗ {line}"));
    }
}

/// The causes of how `object` is, among `all` that may have to do with it; `events` are those of everything.
pub fn explain(object: &Object, all: &[Object], events: &[Value], decision: Option<&Value>) -> String {
    let mut page = Page::default();
    let health = coracle_present::health(&object.value);
    page.line(0, &format!("{}: {}", object.target.shown(), if health == coracle_present::Health::Healthy { "well" } else { "not well" }));
    page.line(0, "");
    causes(&mut page, object, all, events, 1, &mut Vec::new());
    if let Some(decision) = decision {
        decided(&mut page, decision);
    }
    if page.causes == 0 {
        page.line(1, "✓ nothing is wrong with it, as far as the cluster says");
    }
    page.text
}

fn causes(page: &mut Page, object: &Object, all: &[Object], events: &[Value], depth: usize, seen: &mut Vec<String>) {
    let key = object.target.path();
    if depth > 6 || seen.contains(&key) {
        return;
    }
    seen.push(key);
    let before = page.causes;
    if object.value.pointer("/metadata/deletionTimestamp").is_some() {
        let finalizers: Vec<&str> = list(&object.value, "/metadata/finalizers").filter_map(Value::as_str).collect();
        let why = if finalizers.is_empty() {
            "it is going away".to_owned()
        } else {
            format!("it waits for its finalizers: {}", finalizers.join(", "))
        };
        page.cause(depth, &why);
    }
    match object.target.kind.plural.as_str() {
        "pods" => pod(page, object, all, depth),
        "services" => service(page, object, all, depth),
        "persistentvolumeclaims" if text(&object.value, "/status/phase") != "Bound" => {
            let class = text(&object.value, "/spec/storageClassName");
            page.cause(
                depth,
                &format!(
                    "the claim is {}: no volume is bound to it (storage class {})",
                    text(&object.value, "/status/phase").to_lowercase(),
                    if class.is_empty() { "none" } else { &class }
                ),
            );
        }
        _ => {}
    }
    conditions(page, &object.value, depth);
    warnings(page, object, events, depth);
    for (child, _) in children(object, all) {
        let Some(child) = child.filter(|child| child.target.kind.plural != "secrets") else { continue };
        if matches!(coracle_present::health(&child.value), coracle_present::Health::Faulty | coracle_present::Health::Progressing) {
            page.line(depth, &format!("→ {}", child.target.shown()));
            causes(page, child, all, events, depth + 1, seen);
        }
    }
    if page.causes == before && depth > 1 {
        page.line(depth, "(not ready yet, and nothing says why)");
    }
}

/// Conditions that are false, and those whose being true is bad.
fn conditions(page: &mut Page, value: &Value, depth: usize) {
    for condition in list(value, "/status/conditions") {
        let (name, status) = (text(condition, "/type"), text(condition, "/status"));
        let bad_when_true = name.ends_with("Pressure")
            || name.contains("Failure")
            || name.contains("Unavailable")
            || matches!(name.as_str(), "Failed" | "Stalled" | "DisruptionTarget");
        let fine = if bad_when_true { status != "True" } else { status == "True" };
        let message = text(condition, "/message");
        // what containers say themselves says more than these
        let known = matches!(name.as_str(), "ContainersReady" | "Ready" | "Initialized" | "PodReadyToStartContainers")
            && value.get("kind").is_some_and(|kind| kind == "Pod");
        if fine || known || name == "PodScheduled" || message.is_empty() && text(condition, "/reason").is_empty() {
            continue;
        }
        page.cause(depth, &format!("{name} is {status}: {} {message}", text(condition, "/reason")));
    }
}

/// What the scheduler thought of every node.
fn decided(page: &mut Page, decision: &Value) {
    let node = text(decision, "/node");
    page.line(0, "");
    match node.as_str() {
        "" => page.line(0, "the scheduler's last decision: no node"),
        node => page.line(0, &format!("the scheduler's last decision: {node}")),
    }
    for one in list(decision, "/nodes") {
        let name = text(one, "/node");
        if one.get("fits").and_then(Value::as_bool) == Some(true) {
            let score = one.get("score").and_then(Value::as_i64).unwrap_or_default();
            let each = list(one, "/scores").filter_map(|score| {
                let points = score.get("score").and_then(Value::as_i64).filter(|points| *points != 0)?;
                Some(format!("{} {points}", text(score, "/plugin")))
            });
            let each = each.collect::<Vec<_>>().join(", ");
            page.line(1, &format!("✓ {name}: {score} points{}", if each.is_empty() { String::new() } else { format!(" ({each})") }));
        } else {
            let reasons: Vec<&str> = list(one, "/reasons").filter_map(Value::as_str).collect();
            page.line(1, &format!("✗ {name}: {} ({})", reasons.join(", "), text(one, "/filter")));
        }
    }
}

/// The scheduler's words, one node or reason a line.
fn scheduling(page: &mut Page, message: &str, depth: usize) {
    let (head, rest) = message.split_once(": ").unwrap_or((message, ""));
    page.cause(depth, &format!("no node was found for it: {head}"));
    let reasons = rest.split(" preemption:").next().unwrap_or_default();
    for reason in reasons.split(", ").map(|reason| reason.trim().trim_end_matches('.')).filter(|reason| !reason.is_empty()) {
        page.line(depth + 2, &format!("· {reason}"));
    }
}

fn pod(page: &mut Page, object: &Object, all: &[Object], depth: usize) {
    let value = &object.value;
    let scheduled =
        list(value, "/status/conditions").find(|condition| condition["type"] == "PodScheduled" && condition["status"] == "False");
    if let Some(condition) = scheduled {
        scheduling(page, &text(condition, "/message"), depth);
    }
    let phase_reason = text(value, "/status/reason");
    if !phase_reason.is_empty() {
        page.cause(depth, &format!("{phase_reason}: {}", text(value, "/status/message")));
    }
    for reference in references(value).into_iter().filter(|reference| !reference.optional && reference.kind != "priorityclasses") {
        let there = all.iter().find(|other| {
            other.target.kind.plural == reference.kind
                && other.target.name == reference.name
                && other.target.namespace == object.target.namespace
        });
        match there {
            None if all.iter().any(|other| other.target.kind.plural == reference.kind) => {
                page.cause(depth, &format!("it needs {} {}, which does not exist", reference.kind.trim_end_matches('s'), reference.name));
            }
            Some(claim) if reference.kind == "persistentvolumeclaims" && text(&claim.value, "/status/phase") != "Bound" => {
                page.cause(depth, &format!("its claim {} is not bound", reference.name));
            }
            _ => {}
        }
    }
    for statuses in ["/status/initContainerStatuses", "/status/containerStatuses"] {
        for status in list(value, statuses) {
            container(page, value, status, depth);
        }
    }
    for gate in list(value, "/spec/schedulingGates") {
        page.cause(depth, &format!("it is held back by the scheduling gate {}", text(gate, "/name")));
    }
}

fn container(page: &mut Page, pod: &Value, status: &Value, depth: usize) {
    let name = text(status, "/name");
    let waiting = text(status, "/state/waiting/reason");
    let last = ["/state/terminated", "/lastState/terminated"].iter().find_map(|path| status.pointer(path));
    let restarts = status.get("restartCount").and_then(Value::as_i64).unwrap_or_default();
    if !waiting.is_empty() && !matches!(waiting.as_str(), "ContainerCreating" | "PodInitializing") {
        page.cause(depth, &format!("container {name} waits: {waiting}"));
        let message = text(status, "/state/waiting/message");
        if !message.is_empty() {
            page.line(depth + 2, &message);
        }
    }
    let Some(last) = last else {
        if status.get("ready") == Some(&Value::Bool(false)) && status.pointer("/state/running").is_some() {
            page.cause(depth, &format!("container {name} runs, but is not ready: its readiness probe has not succeeded"));
        }
        return;
    };
    let code = last.get("exitCode").and_then(Value::as_i64).unwrap_or_default();
    let reason = text(last, "/reason");
    if code == 0 && waiting.is_empty() {
        return;
    }
    page.cause(depth, &format!("container {name} ended with {code} ({reason}), {restarts} restarts"));
    let spec = list(pod, "/spec/containers").find(|container| text(container, "/name") == name);
    match (reason.as_str(), code) {
        ("OOMKilled", _) => {
            let limit =
                spec.and_then(|spec| spec.pointer("/resources/limits/memory")).map(crate::source::printer::shown).unwrap_or_default();
            page.line(
                depth + 2,
                &format!("it used more memory than its limit{}", if limit.is_empty() { String::new() } else { format!(" of {limit}") }),
            );
        }
        (_, 127) => page.line(depth + 2, "the command was not found in its image"),
        (_, 126) => page.line(depth + 2, "the command cannot be executed"),
        (_, 137) => page.line(depth + 2, "it was killed (SIGKILL): by its probe, its memory limit, or by hand"),
        (_, 143) => page.line(depth + 2, "it was told to end (SIGTERM)"),
        _ => {}
    }
    let message = text(last, "/message");
    if !message.is_empty() {
        page.line(depth + 2, message.trim());
    }
    page.line(depth + 2, "its log before it ended: p");
}

fn service(page: &mut Page, object: &Object, all: &[Object], depth: usize) {
    if object.value.pointer("/spec/selector").and_then(Value::as_object).is_none_or(serde_json::Map::is_empty) {
        return;
    }
    let pods: Vec<&Object> = all
        .iter()
        .filter(|other| other.target.kind.plural == "pods" && other.target.namespace == object.target.namespace)
        .filter(|pod| selects(&object.value, pod.value.pointer("/metadata/labels")))
        .collect();
    let ready = |pod: &&&Object| list(&pod.value, "/status/conditions").any(|one| one["type"] == "Ready" && one["status"] == "True");
    let count = pods.iter().filter(ready).count();
    match (pods.len(), count) {
        (0, _) => page.cause(
            depth,
            &format!("no pod has the labels it selects: {}", crate::actions::object::selector(&object.value).unwrap_or_default()),
        ),
        (many, 0) => page.cause(depth, &format!("none of its {many} pods is ready")),
        _ => {}
    }
    for port in list(&object.value, "/spec/ports") {
        let wanted = port.get("targetPort").map(crate::source::printer::shown).unwrap_or_default();
        let named = !wanted.is_empty() && wanted.parse::<u16>().is_err();
        let has = |pod: &&Object| {
            list(&pod.value, "/spec/containers").flat_map(|container| list(container, "/ports")).any(|port| text(port, "/name") == wanted)
        };
        if named && !pods.is_empty() && !pods.iter().any(has) {
            page.cause(depth, &format!("its port {wanted} is none of its pods' ports"));
        }
    }
}

/// Warnings about the object, the last three.
fn warnings(page: &mut Page, object: &Object, events: &[Value], depth: usize) {
    let about = |event: &&Value| {
        text(event, "/involvedObject/name") == object.target.name
            && text(event, "/involvedObject/kind") == object.target.kind.kind
            && text(event, "/type") == "Warning"
    };
    let mut found: Vec<&Value> = events.iter().filter(about).collect();
    found.sort_by_key(|event| std::cmp::Reverse(crate::source::describe::last_seen(event)));
    let mut said: Vec<String> = Vec::new();
    for event in found {
        let line = format!("{}: {}", text(event, "/reason"), text(event, "/message").replace('\n', " "));
        if said.len() < 3 && !said.contains(&line) {
            page.line(depth, &format!("! {line}"));
            said.push(line);
        }
    }
}

/// How well an object is, as the tree shows it.
pub fn health_of(value: &Value) -> Health {
    match coracle_present::health(value) {
        _ if value.pointer("/metadata/deletionTimestamp").is_some() => Health::Leaving,
        coracle_present::Health::Healthy => Health::Fine,
        coracle_present::Health::Completed => Health::Done,
        coracle_present::Health::Progressing => Health::Pending,
        coracle_present::Health::Faulty => Health::Faulty,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;
    use crate::kinds::{Kinds, Target};

    fn object(kind: &str, mut value: Value) -> Object {
        let kind = Kinds::first().find(kind).unwrap();
        value["kind"] = kind.kind.clone().into();
        value["apiVersion"] = kind.api_version().into();
        Object { target: Target { kind, namespace: "shop".into(), name: value["metadata"]["name"].as_str().unwrap().into() }, value }
    }

    #[test]
    fn a_pod_that_is_not_scheduled_says_the_reason_of_every_node() {
        let pod = object(
            "pods",
            json!({"metadata": {"name": "web"}, "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/3 nodes are available: 1 node(s) had untolerated taint {a: b}, 2 Insufficient cpu. preemption: 0/3 nodes are available."}]}}),
        );
        let text = explain(&pod, std::slice::from_ref(&pod), &[], None);
        assert!(text.contains("✗ no node was found for it: 0/3 nodes are available"), "{text}");
        assert!(text.contains("· 2 Insufficient cpu\n"), "{text}");
    }

    #[test]
    fn a_deployment_is_followed_down_to_the_container() {
        let set = object(
            "rs",
            json!({"metadata": {"name": "web-1", "uid": "r", "ownerReferences": [{"uid": "d"}]}, "spec": {"replicas": 1}, "status": {"replicas": 1, "readyReplicas": 0}}),
        );
        let deployment = object(
            "deploy",
            json!({"metadata": {"name": "web", "uid": "d"}, "spec": {"replicas": 1}, "status": {"replicas": 1, "unavailableReplicas": 1,
            "conditions": [{"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable", "message": "does not have minimum availability"}]}}),
        );
        let pod = object(
            "pods",
            json!({"metadata": {"name": "web-1-x", "uid": "p", "ownerReferences": [{"uid": "r"}]},
            "spec": {"containers": [{"name": "main", "resources": {"limits": {"memory": "64Mi"}}}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "x"}], "containerStatuses": [{"name": "main", "ready": false, "restartCount": 4, "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
                "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]}}),
        );
        let events = [
            json!({"type": "Warning", "reason": "BackOff", "message": "Back-off restarting", "involvedObject": {"kind": "Pod", "name": "web-1-x"}}),
        ];
        let text = explain(&deployment, &[deployment.clone(), set, pod], &events, None);
        for part in [
            "Available is False",
            "→ replicaset web-1",
            "→ pod web-1-x",
            "container main waits: CrashLoopBackOff",
            "OOMKilled",
            "limit of 64Mi",
            "! BackOff: Back-off restarting",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_service_without_pods_says_what_it_selects() {
        let service = object("svc", json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "wbe"}}}));
        let text = explain(&service, std::slice::from_ref(&service), &[], None);
        assert!(text.contains("no pod has the labels it selects: app=wbe"), "{text}");
    }

    #[test]
    fn what_is_well_is_said_to_be() {
        let node = object(
            "nodes",
            json!({"metadata": {"name": "laptop"}, "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "MemoryPressure", "status": "False", "reason": "x", "message": "y"}]}}),
        );
        assert!(explain(&node, &[], &[], None).contains("✓ nothing is wrong"));
    }
}
