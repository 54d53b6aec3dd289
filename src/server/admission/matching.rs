//! Which writes a webhook or a policy is about: its rules, and the selectors of namespaces and objects.

use coracle_api::kinds::{self, Kind};
use coracle_api::selector::LabelSelector;
use coracle_api::status::Status;
use serde_json::Value;

use super::{Operation, Request, text};
use crate::objects::Lookup;

fn items<'a>(object: &'a Value, field: &str) -> impl Iterator<Item = &'a str> {
    object[field].as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn any(rule: &Value, field: &str, own: &str) -> bool {
    items(rule, field).any(|wanted| wanted == "*" || wanted == own)
}

/// The name of an operation in rules and reviews.
pub(super) fn operation(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
        Operation::Connect => "CONNECT",
    }
}

fn is_namespace(request: &Request<'_>) -> bool {
    request.kind.group.is_empty() && request.kind.plural == "namespaces"
}

/// Whether a rule is about the request, seen as a request for `kind`.
fn rule_matches(rule: &Value, request: &Request<'_>, kind: &Kind) -> bool {
    let scope = match text(rule, "/scope") {
        "Cluster" => request.namespace.is_empty() || is_namespace(request),
        "Namespaced" => !request.namespace.is_empty() && !is_namespace(request),
        _ => true,
    };
    let resource = || {
        items(rule, "resources").any(|wanted| {
            let (plural, subresource) = wanted.split_once('/').unwrap_or((wanted, ""));
            (plural == "*" || *plural == kind.plural) && (subresource == "*" || subresource == request.subresource)
        })
    };
    let named =
        || rule["resourceNames"].as_array().is_none_or(Vec::is_empty) || items(rule, "resourceNames").any(|name| name == request.name);
    scope
        && any(rule, "operations", operation(request.operation))
        && any(rule, "apiGroups", &kind.group)
        && any(rule, "apiVersions", &kind.version)
        && resource()
        && named()
}

/// The version of the request's resource that one of the rules is about: the one asked for or, unless the policy is
/// `Exact`, another it is served in.
pub(super) fn matched<'k>(rules: &Value, policy: &str, request: &Request<'k>) -> Option<&'k Kind> {
    let rules = || rules.as_array().into_iter().flatten();
    if rules().any(|rule| rule_matches(rule, request, request.asked)) {
        return Some(request.asked);
    }
    if policy == "Exact" {
        return None;
    }
    let others = || {
        let asked = request.asked;
        let same = move |kind: &&Kind| kind.plural == asked.plural && kind.storage == asked.storage && *kind != asked;
        kinds::builtin().iter().filter(same).chain(request.others.iter().map(|kind| &**kind))
    };
    rules().find_map(|rule| others().find(|kind| rule_matches(rule, request, kind)))
}

/// Whether the namespace the request is about is selected; what is in none always is.
///
/// # Errors
/// 404 for a namespace that is not there.
pub(super) fn namespace_selected(
    lookup: &dyn Lookup,
    selector: &Value,
    request: &Request<'_>,
    object: Option<&Value>,
) -> Result<bool, Status> {
    let selector = labels(selector)?;
    if selector.is_everything() || (request.namespace.is_empty() && !is_namespace(request)) {
        return Ok(true);
    }
    if is_namespace(request)
        && request.subresource.is_empty()
        && matches!(request.operation, Operation::Create | Operation::Update)
        && let Some(object) = object
    {
        return Ok(selects(&selector, object));
    }
    let name = if is_namespace(request) { request.name } else { request.namespace };
    let namespace = lookup.get("", "namespaces", "", name).ok_or_else(|| Status::not_found("", "namespaces", name))?;
    Ok(selects(&selector, &namespace))
}

/// Whether the object, as it will be or as it was, is selected.
///
/// # Errors
/// The selector is none.
pub(super) fn object_selected(selector: &Value, request: &Request<'_>, object: Option<&Value>) -> Result<bool, Status> {
    let selector = labels(selector)?;
    Ok(selector.is_everything() || [object, request.old].into_iter().flatten().any(|object| selects(&selector, object)))
}

fn labels(selector: &Value) -> Result<LabelSelector, Status> {
    if selector.is_null() {
        return Ok(LabelSelector::everything());
    }
    LabelSelector::from_object(selector).map_err(Status::internal)
}

fn selects(selector: &LabelSelector, object: &Value) -> bool {
    match object["metadata"]["labels"].as_object() {
        Some(labels) => selector.matches(labels),
        None => object["metadata"].is_object() && selector.matches(&serde_json::Map::new()),
    }
}

/// Objects that admission could lock their own repair out with: no webhook and no policy is asked about them.
pub(super) fn is_exempt(request: &Request<'_>) -> bool {
    request.kind.group == "admissionregistration.k8s.io"
}
