//! "May they?" as upstream answers it: SubjectAccessReview and its kin.

use std::collections::BTreeMap;

use coracle_api::field::FieldError;
use coracle_api::identity::Identity;
use coracle_api::status::Status;
use serde_json::{Map, Value, json};

use crate::authz::rule::Rule;
use crate::authz::{Attributes, Authorizer};

const GROUP: &str = "authorization.k8s.io";

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn present<'a>(spec: &'a Value, field: &str) -> Option<&'a Value> {
    spec.get(field).filter(|value| !value.is_null())
}

/// The request a review asks about.
fn attributes(spec: &Value) -> Attributes<'_> {
    if let Some(resource) = present(spec, "resourceAttributes") {
        return Attributes {
            verb: text(resource, "/verb"),
            group: text(resource, "/group"),
            version: text(resource, "/version"),
            resource: text(resource, "/resource"),
            subresource: text(resource, "/subresource"),
            namespace: text(resource, "/namespace"),
            name: text(resource, "/name"),
            path: "",
        };
    }
    let path = present(spec, "nonResourceAttributes").unwrap_or(&Value::Null);
    Attributes { verb: text(path, "/verb"), path: text(path, "/path"), ..Attributes::default() }
}

/// What is wrong with the question itself.
fn check_attributes(spec: &Value, errors: &mut Vec<FieldError>) {
    match (present(spec, "resourceAttributes"), present(spec, "nonResourceAttributes")) {
        (Some(_), Some(path)) => errors.push(FieldError::invalid(
            "spec.nonResourceAttributes",
            path.clone(),
            "cannot be specified in combination with resourceAttributes",
        )),
        (None, None) => errors.push(FieldError::invalid(
            "spec.resourceAttributes",
            Value::Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )),
        _ => {}
    }
}

fn checked(kind: &str, errors: &[FieldError]) -> Result<(), Status> {
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(GROUP, kind, "", errors)) }
}

fn status(authorizer: &Authorizer, identity: &Identity, spec: &Value) -> Value {
    let decision = authorizer.decide(identity, &attributes(spec));
    let mut status = Map::from_iter([("allowed".to_owned(), json!(decision.allowed))]);
    for (field, text) in [("reason", decision.reason), ("evaluationError", decision.error)] {
        if !text.is_empty() {
            status.insert(field.to_owned(), json!(text));
        }
    }
    Value::Object(status)
}

fn strings(list: Option<&Value>) -> Vec<String> {
    list.and_then(Value::as_array).map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect()).unwrap_or_default()
}

fn identity(spec: &Value) -> Identity {
    let extra = spec.get("extra").and_then(Value::as_object);
    let extra: BTreeMap<String, Vec<String>> =
        extra.into_iter().flatten().map(|(key, values)| (key.to_lowercase(), strings(Some(values)))).collect();
    Identity { user: text(spec, "/user").to_owned(), uid: text(spec, "/uid").to_owned(), groups: strings(spec.get("groups")), extra }
}

fn check_subject(spec: &Value, errors: &mut Vec<FieldError>) {
    if text(spec, "/user").is_empty() && strings(spec.get("groups")).is_empty() {
        errors.push(FieldError::invalid("spec.user", "", "at least one of user or group must be specified"));
    }
}

pub(super) fn subject(authorizer: &Authorizer, review: &Value) -> Result<Value, Status> {
    let spec = &review["spec"];
    let mut errors = Vec::new();
    check_attributes(spec, &mut errors);
    check_subject(spec, &mut errors);
    checked("SubjectAccessReview", &errors)?;
    Ok(status(authorizer, &identity(spec), spec))
}

pub(super) fn local(authorizer: &Authorizer, namespace: &str, review: &Value) -> Result<Value, Status> {
    let spec = &review["spec"];
    let mut errors = Vec::new();
    check_attributes(spec, &mut errors);
    check_subject(spec, &mut errors);
    match present(spec, "resourceAttributes") {
        Some(resource) if text(resource, "/namespace") != namespace => errors.push(FieldError::invalid(
            "spec.resourceAttributes.namespace",
            text(resource, "/namespace"),
            "must match metadata.namespace",
        )),
        _ => {}
    }
    if let Some(path) = present(spec, "nonResourceAttributes") {
        errors.push(FieldError::invalid("spec.nonResourceAttributes", path.clone(), "disallowed on this kind of request"));
    }
    checked("LocalSubjectAccessReview", &errors)?;
    Ok(status(authorizer, &identity(spec), spec))
}

pub(super) fn own(authorizer: &Authorizer, caller: &Identity, review: &Value) -> Result<Value, Status> {
    let spec = &review["spec"];
    let mut errors = Vec::new();
    check_attributes(spec, &mut errors);
    checked("SelfSubjectAccessReview", &errors)?;
    Ok(status(authorizer, caller, spec))
}

pub(super) fn rules(authorizer: &Authorizer, caller: &Identity, review: &Value) -> Result<Value, Status> {
    let namespace = text(review, "/spec/namespace");
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let (rules, error) = authorizer.rules_for(caller, namespace);
    let resource = |rule: &Rule| {
        let mut out = json!({"verbs": rule.verbs, "apiGroups": rule.groups, "resources": rule.resources});
        if !rule.names.is_empty() {
            out["resourceNames"] = json!(rule.names);
        }
        out
    };
    let resources: Vec<Value> = rules.iter().filter(|rule| !rule.resources.is_empty()).map(|rule| resource(rule)).collect();
    let paths: Vec<Value> =
        rules.iter().filter(|rule| !rule.urls.is_empty()).map(|rule| json!({"verbs": rule.verbs, "nonResourceURLs": rule.urls})).collect();
    let mut status = json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false});
    if !error.is_empty() {
        status["evaluationError"] = json!(error);
    }
    Ok(status)
}
