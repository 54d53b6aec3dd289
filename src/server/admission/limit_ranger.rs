//! LimitRanger: fills containers' requests and limits from a namespace's LimitRanges and refuses what is out of bounds.

use std::collections::BTreeSet;
use std::sync::Arc;

use coracle_api::amounts::{self, Amounts};
use coracle_api::quantity::Quantity;
use coracle_api::status::Status;
use serde_json::{Value, json};

use super::{Operation, Request, text};
use crate::objects::Lookup;

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

fn amounts(object: &Value, path: &str) -> Amounts {
    object.pointer(path).map(amounts::of).unwrap_or_default()
}

fn items(range: &Value) -> impl Iterator<Item = &Value> {
    range.pointer("/spec/limits").and_then(Value::as_array).into_iter().flatten()
}

fn ranges(lookup: &dyn Lookup, namespace: &str) -> Vec<Arc<Value>> {
    lookup.list("", "limitranges", namespace)
}

/// Default limits and requests of a LimitRange: a missing default limit is the maximum, a missing default request the
/// default limit, else the minimum.
fn defaults(range: &Value) -> (Amounts, Amounts) {
    let (mut limits, mut requests) = (Amounts::new(), Amounts::new());
    for item in items(range).filter(|item| item["type"] == "Container") {
        let mut default = amounts(item, "/default");
        for (name, amount) in amounts(item, "/max") {
            default.entry(name).or_insert(amount);
        }
        let mut request = amounts(item, "/defaultRequest");
        for (name, amount) in default.iter().map(|(name, amount)| (name.clone(), *amount)).chain(amounts(item, "/min")) {
            request.entry(name).or_insert(amount);
        }
        limits.extend(default);
        requests.extend(request);
    }
    (limits, requests)
}

/// Fills what containers leave open, and says so in an annotation.
pub(super) fn fill_pod(lookup: &dyn Lookup, request: &Request<'_>, pod: &mut Value) {
    for range in ranges(lookup, request.namespace) {
        let (limits, requests) = defaults(&range);
        let mut notes = Vec::new();
        for (field, what) in [("containers", "container"), ("initContainers", "init container")] {
            for container in pod["spec"].get_mut(field).and_then(Value::as_array_mut).into_iter().flatten() {
                let name = text(container, "/name").to_owned();
                // limits first: upstream looks at both before it changes either, and notes requests first
                let set_limits = fill(container, "limits", &limits);
                let set_requests = fill(container, "requests", &requests);
                for (set, word) in [(set_requests, "request"), (set_limits, "limit")] {
                    if !set.is_empty() {
                        let set = set.into_iter().collect::<Vec<_>>().join(", ");
                        notes.push(format!("{set} {word} for {what} {name}"));
                    }
                }
            }
        }
        if !notes.is_empty() {
            let metadata = &mut pod["metadata"];
            if metadata.get("annotations").is_none_or(Value::is_null) {
                metadata["annotations"] = json!({});
            }
            metadata["annotations"][ANNOTATION] = json!(format!("LimitRanger plugin set: {}", notes.join("; ")));
        }
    }
}

/// Gives a container the amounts it lacks; returns their names.
fn fill(container: &mut Value, field: &str, defaults: &Amounts) -> BTreeSet<String> {
    let mut set = BTreeSet::new();
    for (name, amount) in defaults {
        let resources = &mut container["resources"];
        if resources.is_null() {
            *resources = json!({});
        }
        let own = &mut resources[field];
        if own.is_null() {
            *own = json!({});
        }
        if own.get(name).is_none() {
            own[name] = json!(amount.to_string());
            set.insert(name.clone());
        }
    }
    set
}

/// Refuses what is out of the bounds of a LimitRange.
pub(super) fn check(lookup: &dyn Lookup, request: &Request<'_>, object: &Value) -> Result<(), Status> {
    let pod = request.creates("", "pods") || (request.subresource == "resize" && request.operation == Operation::Update);
    if !pod && !request.is("", "persistentvolumeclaims") {
        return Ok(());
    }
    for range in ranges(lookup, request.namespace) {
        let errors: Vec<String> =
            items(&range).flat_map(|item| if pod { check_pod(item, object) } else { check_claim(item, object) }).collect();
        match errors.as_slice() {
            [] => {}
            [one] => return Err(request.forbidden(one)),
            many => return Err(request.forbidden(&format!("[{}]", many.join(", ")))),
        }
    }
    Ok(())
}

fn check_claim(item: &Value, claim: &Value) -> Vec<String> {
    if item["type"] != "PersistentVolumeClaim" {
        return Vec::new();
    }
    let usage = Usage { kind: "PersistentVolumeClaim", requests: amounts(claim, "/spec/resources/requests"), limits: Amounts::new() };
    let mut errors = Vec::new();
    errors.extend(amounts(item, "/min").iter().filter_map(|(name, bound)| usage.below(name, bound)));
    for (name, bound) in amounts(item, "/max") {
        match usage.requests.get(&name) {
            None => errors.push(format!("maximum {name} usage per {} is {bound}.  No request is specified", usage.kind)),
            Some(asked) if *asked > bound => {
                errors.push(format!("maximum {name} usage per {} is {bound}, but request is {asked}", usage.kind));
            }
            Some(_) => {}
        }
    }
    errors
}

fn check_pod(item: &Value, pod: &Value) -> Vec<String> {
    let containers = |field: &str| pod["spec"].get(field).and_then(Value::as_array).into_iter().flatten();
    let usages: Vec<Usage> = match text(item, "/type") {
        "Container" => containers("containers").chain(containers("initContainers")).map(|one| Usage::of("Container", one)).collect(),
        "Pod" => vec![Usage::of_pod(pod)],
        _ => return Vec::new(),
    };
    let mut errors = Vec::new();
    for usage in &usages {
        errors.extend(amounts(item, "/min").iter().filter_map(|(name, bound)| usage.below(name, bound)));
        errors.extend(amounts(item, "/max").iter().filter_map(|(name, bound)| usage.above(name, bound)));
        errors.extend(amounts(item, "/maxLimitRequestRatio").iter().filter_map(|(name, bound)| usage.ratio(name, bound)));
    }
    errors
}

/// Requests and limits of a container, pod or claim.
struct Usage {
    kind: &'static str,
    requests: Amounts,
    limits: Amounts,
}

impl Usage {
    fn of(kind: &'static str, container: &Value) -> Self {
        Self { kind, requests: amounts(container, "/resources/requests"), limits: amounts(container, "/resources/limits") }
    }

    /// What a pod uses in all.
    fn of_pod(pod: &Value) -> Self {
        Self { kind: "Pod", requests: amounts::pod_requests(pod), limits: amounts::pod_limits(pod) }
    }

    fn below(&self, name: &str, bound: &Quantity) -> Option<String> {
        let head = format!("minimum {name} usage per {} is {bound}", self.kind);
        match (self.requests.get(name), self.limits.get(name)) {
            (None, _) => Some(format!("{head}.  No request is specified")),
            (Some(asked), _) if asked < bound => Some(format!("{head}, but request is {asked}")),
            (_, Some(limit)) if limit < bound => Some(format!("{head}, but limit is {limit}")),
            _ => None,
        }
    }

    fn above(&self, name: &str, bound: &Quantity) -> Option<String> {
        let head = format!("maximum {name} usage per {} is {bound}", self.kind);
        match (self.requests.get(name), self.limits.get(name)) {
            (_, None) => Some(format!("{head}.  No limit is specified")),
            (_, Some(limit)) if limit > bound => Some(format!("{head}, but limit is {limit}")),
            (Some(asked), _) if asked > bound => Some(format!("{head}, but request is {asked}")),
            _ => None,
        }
    }

    fn ratio(&self, name: &str, bound: &Quantity) -> Option<String> {
        let head = format!("{name} max limit to request ratio per {} is {bound}", self.kind);
        match (self.requests.get(name), self.limits.get(name)) {
            (None, _) => Some(format!("{head}, but no request is specified or request is 0")),
            (Some(asked), _) if asked.is_zero() => Some(format!("{head}, but no request is specified or request is 0")),
            (_, None) => Some(format!("{head}, but no limit is specified or limit is 0")),
            (Some(asked), Some(limit)) => {
                let ratio = limit.as_f64() / asked.as_f64();
                (ratio > bound.as_f64()).then(|| format!("{head}, but provided ratio is {ratio:.6}"))
            }
        }
    }
}
