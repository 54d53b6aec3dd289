//! PodSecurity: pods keep to the level their namespace's labels ask for; whoever writes what makes such pods is warned.

mod checks;

use std::collections::BTreeMap;
use std::fmt;

use coracle_api::field::FieldError;
use coracle_api::status::Status;
use serde_json::Value;

use super::{Operation, Request, text};
use crate::objects::Lookup;

/// How strict; the later the stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Privileged,
    Baseline,
    Restricted,
}

/// A level as it was in a version: the minor one, or the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standard {
    level: Level,
    minor: Option<u32>,
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        match self.minor {
            None => write!(f, "{level}:latest"),
            Some(minor) => write!(f, "{level}:v1.{minor}"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Policy {
    enforce: Standard,
    warn: Standard,
}

fn level(text: &str) -> Option<Level> {
    match text {
        "privileged" => Some(Level::Privileged),
        "baseline" => Some(Level::Baseline),
        "restricted" => Some(Level::Restricted),
        _ => None,
    }
}

fn minor(text: &str) -> Option<Option<u32>> {
    if text == "latest" {
        return Some(None);
    }
    let digits = text.strip_prefix("v1.")?;
    let plain = digits == "0" || (!digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit()));
    digits.parse().ok().filter(|_| plain).map(Some)
}

impl Policy {
    /// What a namespace's labels ask for, and what is wrong with them.
    fn of(namespace: &Value) -> (Self, Vec<FieldError>) {
        let mut wrong = Vec::new();
        let labels = &namespace["metadata"]["labels"];
        // Who enforces fails closed, who only tells fails open.
        let mut standard = |mode: &str, otherwise: Level| {
            let mut label = |suffix: &str, why: &str, is_valid: fn(&str) -> bool| {
                let key = format!("pod-security.kubernetes.io/{mode}{suffix}");
                let value = labels[&key].as_str();
                if let Some(value) = value.filter(|value| !is_valid(value)) {
                    wrong.push(FieldError::invalid(format!("metadata.labels[{key}]"), value, why));
                }
                value
            };
            let wanted = label("", "must be one of privileged, baseline, restricted", |text| level(text).is_some());
            let version = label("-version", "must be \"latest\" or \"v1.x\"", |text| minor(text).is_some());
            let level = wanted.map_or(Level::Privileged, |text| level(text).unwrap_or(otherwise));
            Standard { level, minor: version.and_then(minor).flatten() }
        };
        let enforce = standard("enforce", Level::Restricted);
        standard("audit", Level::Privileged);
        let warn = standard("warn", Level::Privileged);
        (Self { enforce, warn }, wrong)
    }
}

/// The pod, or template of pods, in an object of a kind that has one.
fn template<'a>(request: &Request<'_>, object: &'a Value) -> Option<&'a Value> {
    let template = match (&*request.kind.group, &*request.kind.plural) {
        ("", "pods") => object,
        ("", "podtemplates") => &object["template"],
        ("", "replicationcontrollers") | ("apps", "replicasets" | "deployments" | "statefulsets" | "daemonsets") | ("batch", "jobs") => {
            &object["spec"]["template"]
        }
        ("batch", "cronjobs") => &object["spec"]["jobTemplate"]["spec"]["template"],
        _ => return None,
    };
    Some(template).filter(|template| template.is_object())
}

/// Refuses or warns.
pub(super) fn check(lookup: &dyn Lookup, request: &Request<'_>, object: &Value, warnings: &mut Vec<String>) -> Result<(), Status> {
    if request.is("", "namespaces") {
        return check_namespace(lookup, request, object, warnings);
    }
    let is_pod = request.kind.group.is_empty() && request.kind.plural == "pods";
    let about = if is_pod { matches!(request.subresource, "" | "ephemeralcontainers" | "resize") } else { request.subresource.is_empty() };
    let Some(template) = template(request, object).filter(|_| about) else { return Ok(()) };
    let Some(namespace) = lookup.get("", "namespaces", "", request.namespace) else { return Ok(()) };
    let (policy, _) = Policy::of(&namespace);
    if policy.warn.level == Level::Privileged && (policy.enforce.level == Level::Privileged || !is_pod) {
        return Ok(());
    }
    if is_pod && request.old.is_some_and(|old| !is_significant(object, old)) {
        return Ok(());
    }
    if is_pod {
        let violated = checks::violations(policy.enforce, template);
        if !violated.is_empty() {
            return Err(request.forbidden(&format!("violates PodSecurity \"{}\": {}", policy.enforce, details(&violated))));
        }
    }
    let violated = checks::violations(policy.warn, template);
    if !violated.is_empty() {
        warnings.push(format!("would violate PodSecurity \"{}\": {}", policy.warn, details(&violated)));
    }
    Ok(())
}

fn details(violated: &[checks::Violation]) -> String {
    violated.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Whether an update of a pod changes what levels are about: an image, or another container.
fn is_significant(new: &Value, old: &Value) -> bool {
    let images = |pod: &Value| {
        let containers = ["containers", "initContainers", "ephemeralContainers"].map(|field| pod["spec"][field].as_array().cloned());
        containers
            .map(|list| list.unwrap_or_default().into_iter().map(|one| (one["name"].clone(), one["image"].clone())).collect::<Vec<_>>())
    };
    images(new) != images(old)
}

/// Labels must be understood; of pods that a stricter level would refuse its writer is told.
fn check_namespace(lookup: &dyn Lookup, request: &Request<'_>, namespace: &Value, warnings: &mut Vec<String>) -> Result<(), Status> {
    let (policy, wrong) = Policy::of(namespace);
    let before = request.old.filter(|_| request.operation == Operation::Update).map(Policy::of);
    if !wrong.is_empty() && before.as_ref().is_none_or(|(_, before)| *before != wrong) {
        return Err(Status::invalid("", "Namespace", &request.called, &wrong));
    }
    let Some((before, _)) = before else { return Ok(()) };
    let (new, old) = (policy.enforce, before.enforce);
    if new == old || new.level == Level::Privileged || (new.minor == old.minor && new.level <= old.level) {
        return Ok(());
    }
    let mut found = BTreeMap::<String, Vec<String>>::new();
    for pod in lookup.list("", "pods", &request.called) {
        let violated = checks::violations(new, &pod);
        if !violated.is_empty() {
            let reasons = violated.iter().map(|one| one.reason.as_str()).collect::<Vec<_>>().join(", ");
            found.entry(reasons).or_default().push(text(&pod, "/metadata/name").to_owned());
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    warnings.push(format!("existing pods in namespace {:?} violate the new PodSecurity enforce level \"{new}\"", request.called));
    let mut told: Vec<String> = found
        .iter()
        .map(|(reasons, pods)| {
            let first = pods.iter().min().map(String::as_str).unwrap_or_default();
            match pods.len() - 1 {
                0 => format!("{first}: {reasons}"),
                1 => format!("{first} (and 1 other pod): {reasons}"),
                more => format!("{first} (and {more} other pods): {reasons}"),
            }
        })
        .collect();
    told.sort();
    warnings.extend(told);
    Ok(())
}

#[cfg(test)]
mod tests;
