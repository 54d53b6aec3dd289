//! Lanes of a timeline: for an object and all that belongs to it, how it was from when to when, and what happened to it.

use std::collections::HashMap;

use coracle_verbs::call::MANAGER;
use serde_json::Value;

use super::describe::last_seen;
use super::graph::{Object, selects};
use super::printer::moment;
use crate::kinds::Target;
use crate::table::Health;
use crate::text::why::health_of;

/// How something was for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase {
    /// Since when, in seconds since 1970.
    pub from: i64,
    /// Until when; `None` is the present.
    pub until: Option<i64>,
    /// In a word or two.
    pub what: String,
    /// How well.
    pub health: Health,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// When, in seconds since 1970.
    pub at: i64,
    /// What stands for it in the lane.
    pub sign: char,
    /// In a few words.
    pub what: String,
    /// What was said of it.
    pub message: String,
    /// How good or bad that is.
    pub health: Health,
}

/// What there is to say of one object, or of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// How deep below the first one.
    pub depth: usize,
    /// What it is.
    pub label: String,
    /// The object, for a container its pod.
    pub target: Target,
    /// One after the other.
    pub phases: Vec<Phase>,
    /// The latest first.
    pub moments: Vec<Moment>,
}

/// The lane of `root` and of what it owns, runs or selects, parents before children.
pub fn lanes(root: &Object, all: &[Object], events: &[Value]) -> Vec<Lane> {
    let mut owned: HashMap<&str, Vec<&Object>> = HashMap::new();
    for object in all {
        for owner in list(&object.value, "/metadata/ownerReferences") {
            if let Some(uid) = owner["uid"].as_str() {
                owned.entry(uid).or_default().push(object);
            }
        }
    }
    for objects in owned.values_mut() {
        objects.sort_by_key(|object| (moment(&object.value, "/metadata/creationTimestamp"), object.target.name.clone()));
    }
    let mut told: HashMap<(&str, &str), Vec<&Value>> = HashMap::new();
    for event in events {
        let about = |field: &str| event["involvedObject"][field].as_str().unwrap_or_default();
        told.entry((about("kind"), about("name"))).or_default().push(event);
    }
    let mut found = Vec::new();
    grow(root, 0, &owned, &told, &mut found);
    let is = |group: &str, plural: &str| root.target.kind.is(group, plural);
    let beside: Vec<&Object> = all
        .iter()
        .filter(|other| other.target.kind.is("", "pods"))
        .filter(|pod| match (is("", "nodes"), is("", "services")) {
            (true, _) => pod.value["spec"]["nodeName"] == root.target.name.as_str(),
            (_, true) => selects(&root.value, pod.value.pointer("/metadata/labels")),
            _ => false,
        })
        .collect();
    for pod in beside {
        grow(pod, 1, &owned, &told, &mut found);
    }
    found
}

fn grow(
    object: &Object,
    depth: usize,
    owned: &HashMap<&str, Vec<&Object>>,
    told: &HashMap<(&str, &str), Vec<&Value>>,
    found: &mut Vec<Lane>,
) {
    let (value, target) = (&object.value, &object.target);
    let events = told.get(&(target.kind.kind.as_str(), target.name.as_str())).map(Vec::as_slice).unwrap_or_default();
    let statuses: Vec<&Value> = list(value, "/status/initContainerStatuses").chain(list(value, "/status/containerStatuses")).collect();
    let of_container = |event: &Value| {
        let field = text(event, "/involvedObject/fieldPath");
        let name = field.split_once('{').map(|(_, rest)| rest.trim_end_matches('}').to_owned())?;
        statuses.iter().position(|status| status["name"] == name.as_str())
    };
    let own = events.iter().filter(|event| of_container(event).is_none());
    found.push(Lane {
        depth,
        label: target.shown(),
        target: target.clone(),
        phases: if target.kind.is("", "pods") { phases_of_pod(value) } else { phases_of_object(value) },
        moments: latest_first(moments_of_object(value).into_iter().chain(own.filter_map(|event| moment_of_event(event)))),
    });
    for (index, status) in statuses.iter().enumerate() {
        let events = events.iter().filter(|event| of_container(event) == Some(index));
        found.push(Lane {
            depth: depth + 1,
            label: format!("container {}", text(status, "/name")),
            target: target.clone(),
            phases: phases_of_container(status),
            moments: latest_first(moments_of_container(status).into_iter().chain(events.filter_map(|event| moment_of_event(event)))),
        });
    }
    let uid = value.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
    for child in owned.get(uid).into_iter().flatten().filter(|_| depth < 8) {
        grow(child, depth + 1, owned, told, found);
    }
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn latest_first(moments: impl Iterator<Item = Moment>) -> Vec<Moment> {
    let mut moments: Vec<Moment> = moments.filter(|moment| moment.at > 0).collect();
    moments.sort_by_key(|moment| std::cmp::Reverse(moment.at));
    moments
}

/// Each state lasts until the next begins; those whose beginning is not known are left out.
fn in_turn(mut states: Vec<(i64, String, Health)>) -> Vec<Phase> {
    states.retain(|(at, ..)| *at > 0);
    states.sort_by_key(|(at, ..)| *at);
    let ends: Vec<Option<i64>> = states.iter().skip(1).map(|(at, ..)| Some(*at)).chain([None]).collect();
    let phase = |((from, what, health), until)| Phase { from, until, what, health };
    states.into_iter().zip(ends).map(phase).filter(|phase| phase.until != Some(phase.from)).collect()
}

/// Whether a condition holds, and since when.
fn condition(value: &Value, name: &str) -> Option<(bool, i64)> {
    let found = list(value, "/status/conditions").find(|condition| condition["type"] == name)?;
    Some((found["status"] == "True", moment(found, "/lastTransitionTime")))
}

/// When it was told to go, and that it goes.
fn leaving(value: &Value) -> (i64, String, Health) {
    let gone = moment(value, "/metadata/deletionTimestamp");
    let grace = value.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or_default();
    (if gone > 0 { gone - grace } else { 0 }, "going".to_owned(), Health::Leaving)
}

fn phases_of_pod(pod: &Value) -> Vec<Phase> {
    let ended = |field: &str| -> Vec<i64> {
        list(pod, "/status/containerStatuses").map(|status| moment(status, &format!("/state/terminated/{field}"))).collect()
    };
    let mut states = vec![(moment(pod, "/metadata/creationTimestamp"), "waiting for a node".to_owned(), Health::Pending), leaving(pod)];
    let placed = condition(pod, "PodScheduled").filter(|(holds, _)| *holds).map_or(0, |(_, at)| at);
    states.push((placed, "starting".to_owned(), Health::Pending));
    let restarted = list(pod, "/status/containerStatuses").any(|status| status["restartCount"].as_i64().unwrap_or_default() > 0);
    match (text(pod, "/status/phase").as_str(), condition(pod, "Ready")) {
        (phase @ ("Succeeded" | "Failed"), _) => {
            let health = if phase == "Failed" { Health::Faulty } else { Health::Done };
            states.push((
                ended("startedAt").into_iter().filter(|at| *at > 0).min().unwrap_or_default(),
                "running".to_owned(),
                Health::Fine,
            ));
            states.push((ended("finishedAt").into_iter().max().unwrap_or_default(), phase.to_lowercase(), health));
        }
        (_, Some((true, at))) => states.push((at, "ready".to_owned(), Health::Fine)),
        // what was never ready is still starting
        (_, Some((false, at))) if at > placed || restarted => states.push((at, "not ready".to_owned(), Health::Faulty)),
        _ => {}
    }
    in_turn(states)
}

fn phases_of_container(status: &Value) -> Vec<Phase> {
    let mut states = Vec::new();
    for path in ["/lastState/terminated", "/state/terminated"] {
        let Some(ended) = status.pointer(path) else { continue };
        let code = ended.get("exitCode").and_then(Value::as_i64).unwrap_or_default();
        states.push((moment(ended, "/startedAt"), "running".to_owned(), Health::Fine));
        states.push((moment(ended, "/finishedAt"), format!("ended with {code}"), if code == 0 { Health::Done } else { Health::Faulty }));
    }
    states.push((moment(status, "/state/running/startedAt"), "running".to_owned(), Health::Fine));
    in_turn(states)
}

fn phases_of_object(value: &Value) -> Vec<Phase> {
    let created = moment(value, "/metadata/creationTimestamp");
    let mut states = vec![leaving(value)];
    let known = [("Available", Health::Fine), ("Ready", Health::Fine), ("Complete", Health::Done), ("Failed", Health::Faulty)]
        .into_iter()
        .find_map(|(name, health)| Some((name, health, condition(value, name)?)));
    match known {
        Some((name, health, (true, at))) => {
            states.push((created, "on the way".to_owned(), Health::Pending));
            states.push((at.max(created), name.to_lowercase(), health));
        }
        Some((name, Health::Fine, (false, at))) => {
            states.push((created, "on the way".to_owned(), Health::Pending));
            states.push((at.max(created), format!("not {}", name.to_lowercase()), Health::Faulty));
        }
        _ => {
            let health = health_of(value);
            let health = if health == Health::Leaving { Health::Fine } else { health };
            states.push((created, String::new(), health));
        }
    }
    in_turn(states)
}

fn moments_of_object(value: &Value) -> Vec<Moment> {
    let mut found = Vec::new();
    let mut add =
        |at: i64, sign: char, what: String, message: String, health: Health| found.push(Moment { at, sign, what, message, health });
    add(moment(value, "/metadata/creationTimestamp"), '+', "created".to_owned(), String::new(), Health::Done);
    let (at, ..) = leaving(value);
    add(at, '-', "told to go".to_owned(), String::new(), Health::Leaving);
    for entry in list(value, "/metadata/managedFields") {
        let (sub, manager) = (text(entry, "/subresource"), text(entry, "/manager"));
        // the status is written by those who look after it: what it says stands below
        if sub == "status" {
            continue;
        }
        let of = if sub.is_empty() { String::new() } else { format!(" of {sub}") };
        let what = if manager == MANAGER { format!("your edit{of}") } else { format!("{}{of}", text(entry, "/operation").to_lowercase()) };
        add(moment(entry, "/time"), '✎', what, format!("by {manager}"), Health::Fine);
    }
    for condition in list(value, "/status/conditions") {
        let health = if condition["status"] == "False" { Health::Pending } else { Health::Fine };
        let what = format!("{} is {}", text(condition, "/type"), text(condition, "/status"));
        add(moment(condition, "/lastTransitionTime"), '◇', what, text(condition, "/message"), health);
    }
    found
}

fn moments_of_container(status: &Value) -> Vec<Moment> {
    let mut found = Vec::new();
    let mut add =
        |at: i64, sign: char, what: String, message: String, health: Health| found.push(Moment { at, sign, what, message, health });
    for path in ["/state/terminated", "/lastState/terminated"] {
        let Some(ended) = status.pointer(path) else { continue };
        let code = ended.get("exitCode").and_then(Value::as_i64).unwrap_or_default();
        let health = if code == 0 { Health::Done } else { Health::Faulty };
        add(moment(ended, "/startedAt"), '▸', "started".to_owned(), String::new(), Health::Fine);
        add(moment(ended, "/finishedAt"), '■', format!("ended with {code}"), text(ended, "/reason"), health);
    }
    let restarts = status["restartCount"].as_i64().unwrap_or_default();
    let (sign, what) = if restarts > 0 { ('↻', format!("started again, restart {restarts}")) } else { ('▸', "started".to_owned()) };
    add(moment(status, "/state/running/startedAt"), sign, what, String::new(), Health::Fine);
    found
}

fn moment_of_event(event: &Value) -> Option<Moment> {
    let times = event.pointer("/series/count").or_else(|| event.get("count")).and_then(Value::as_i64).filter(|count| *count > 1);
    let (sign, health) = if event["type"] == "Warning" { ('!', Health::Faulty) } else { ('•', Health::Fine) };
    let count = times.map(|count| format!(" ({count} times)")).unwrap_or_default();
    let what = format!("{}{count}", text(event, "/reason"));
    Some(Moment { at: last_seen(event), sign, what, message: text(event, "/message").replace('\n', " "), health })
        .filter(|moment| moment.at > 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;
    use crate::kinds::Kinds;

    fn object(kind: &str, value: Value) -> Object {
        let kind = Kinds::first().find(kind).unwrap();
        Object { target: Target { kind, namespace: "shop".into(), name: value["metadata"]["name"].as_str().unwrap().into() }, value }
    }

    fn pod() -> Object {
        let condition = |name: &str, status: &str, at: &str| json!({"type": name, "status": status, "lastTransitionTime": at});
        object(
            "pods",
            json!({"metadata": {"name": "web-1", "creationTimestamp": "2026-11-21T11:00:00Z", "ownerReferences": [{"uid": "r"}],
                "managedFields": [{"manager": MANAGER, "operation": "Update", "time": "2026-11-21T11:03:00Z"},
                    {"manager": "kubelet", "operation": "Update", "subresource": "status", "time": "2026-11-21T11:04:00Z"}]},
            "status": {"phase": "Running",
                "conditions": [condition("PodScheduled", "True", "2026-11-21T11:00:10Z"), condition("Ready", "False", "2026-11-21T11:05:00Z")],
                "containerStatuses": [{"name": "main", "restartCount": 1, "state": {"running": {"startedAt": "2026-11-21T11:05:20Z"}},
                    "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "startedAt": "2026-11-21T11:00:20Z", "finishedAt": "2026-11-21T11:05:00Z"}}}]}}),
        )
    }

    #[test]
    fn a_replica_set_has_a_lane_and_so_have_its_pods_and_their_containers() {
        let set = object("rs", json!({"metadata": {"name": "web", "uid": "r", "creationTimestamp": "2026-11-21T10:59:00Z"}}));
        let event = |reason: &str, of: Value| json!({"type": "Warning", "reason": reason, "involvedObject": of, "lastTimestamp": "2026-11-21T11:06:00Z"});
        let events = [
            event("Unhealthy", json!({"kind": "Pod", "name": "web-1", "fieldPath": "spec.containers{main}"})),
            event("FailedMount", json!({"kind": "Pod", "name": "web-1"})),
        ];
        let found = lanes(&set, &[set.clone(), pod()], &events);
        let labels: Vec<(usize, &str)> = found.iter().map(|lane| (lane.depth, lane.label.as_str())).collect();
        assert_eq!(labels, [(0, "replicaset web"), (1, "pod web-1"), (2, "container main")]);
        let what = |lane: &Lane| -> Vec<String> { lane.moments.iter().map(|moment| format!("{}{}", moment.sign, moment.what)).collect() };
        assert_eq!(what(&found[1]), ["!FailedMount", "◇Ready is False", "✎your edit", "◇PodScheduled is True", "+created"]);
        assert_eq!(what(&found[2]), ["!Unhealthy", "↻started again, restart 1", "■ended with 1", "▸started"]);
    }

    #[test]
    fn phases_follow_each_other_without_gap_and_the_last_one_lasts() {
        let lanes = lanes(&pod(), &[], &[]);
        let said: Vec<(&str, Health)> = lanes[0].phases.iter().map(|phase| (phase.what.as_str(), phase.health)).collect();
        assert_eq!(said, [("waiting for a node", Health::Pending), ("starting", Health::Pending), ("not ready", Health::Faulty)]);
        let of_container: Vec<&str> = lanes[1].phases.iter().map(|phase| phase.what.as_str()).collect();
        assert_eq!(of_container, ["running", "ended with 1", "running"]);
        for lane in &lanes {
            assert!(lane.phases.windows(2).all(|pair| pair[0].until == Some(pair[1].from)));
            assert_eq!(lane.phases.last().unwrap().until, None);
        }
    }
}
