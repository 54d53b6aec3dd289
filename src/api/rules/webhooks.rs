//! Webhook configurations, and the rules that webhooks and policies share: which requests they are about.

use serde_json::{Value, json};

use super::check::{Errors, Fill, Path, Read, Seen};
use super::{Rules, selector};
use crate::cel::Type;
use crate::names;

pub(crate) static RULES: Rules = Rules {
    generation: true,
    desired: &["webhooks"],
    default: |object| {
        let mutating = object.text("kind").starts_with("Mutating");
        object.for_each("webhooks", |hook| default(hook, mutating));
    },
    validate: |object, out| {
        let mut seen = Seen::default();
        for (at, hook) in object.each("webhooks", &Path::new("")) {
            validate(hook, &at, out);
            let name = hook.text("name");
            if !name.is_empty() && !seen.first(name) {
                out.duplicate(at.child("name"), name);
            }
        }
    },
    ..Rules::PLAIN
};

fn default(hook: &mut Value, mutating: bool) {
    hook.fill("failurePolicy", "Fail");
    hook.fill("matchPolicy", "Equivalent");
    hook.fill("namespaceSelector", json!({}));
    hook.fill("objectSelector", json!({}));
    hook.fill("timeoutSeconds", 10);
    if mutating {
        hook.fill("reinvocationPolicy", "Never");
    }
    hook.for_each("rules", |rule| rule.fill("scope", "*"));
    hook.with("clientConfig", |config| config.with("service", |service| service.fill("port", 443)));
}

fn validate(hook: &Value, path: &Path, out: &mut Errors) {
    qualified(hook.text("name"), &path.child("name"), out);
    let versions = hook.items("admissionReviewVersions");
    let at = path.child("admissionReviewVersions");
    if versions.is_empty() {
        out.required(&at, "must specify one of v1, v1beta1");
    } else if !versions.iter().any(|version| version == "v1" || version == "v1beta1") {
        out.invalid(&at, hook["admissionReviewVersions"].clone(), "must include at least one of v1, v1beta1");
    }
    for (at, rule) in hook.each("rules", path) {
        validate_rule(rule, &at, out);
    }
    out.one_of_if_set(path.child("failurePolicy"), hook.text("failurePolicy"), &["Fail", "Ignore"]);
    out.one_of_if_set(path.child("matchPolicy"), hook.text("matchPolicy"), &["Equivalent", "Exact"]);
    match hook.text("sideEffects") {
        "" => out.required(path.child("sideEffects"), "must specify one of None, NoneOnDryRun"),
        value => out.one_of(path.child("sideEffects"), value, &["None", "NoneOnDryRun"]),
    }
    out.one_of_if_set(path.child("reinvocationPolicy"), hook.text("reinvocationPolicy"), &["IfNeeded", "Never"]);
    if let Some(seconds) = hook.int("timeoutSeconds").filter(|seconds| !(1..=30).contains(seconds)) {
        out.invalid(path.child("timeoutSeconds"), seconds, "the timeout value must be between 1 and 30 seconds");
    }
    for field in ["namespaceSelector", "objectSelector"] {
        selector::validate(&hook[field], &path.child(field), out);
    }
    client(&hook["clientConfig"], &path.child("clientConfig"), out);
    condition_names(hook, path, out);
    let environment = super::expression_variables(super::Place::Webhook);
    for (at, condition) in hook.each("matchConditions", path) {
        let source = condition.text("expression");
        if source.trim().is_empty() {
            out.required(at.child("expression"), "");
        } else if let Err(error) = environment.compile_as(source, &[Type::Bool]) {
            out.0.push(error.of_field(at.child("expression"), source));
        }
    }
}

/// A name of three parts at least.
pub(crate) fn qualified(name: &str, path: &Path, out: &mut Errors) {
    if name.is_empty() {
        out.required(path, "");
        return;
    }
    let wrong = names::dns1123_subdomain(name);
    if !wrong.is_empty() {
        out.invalid(path, name, wrong.join(","));
    } else if name.split('.').count() < 3 {
        out.invalid(path, name, "should be a domain with at least three segments separated by dots");
    }
}

/// `clientConfig` of a webhook.
pub(crate) fn client(config: &Value, path: &Path, out: &mut Errors) {
    let service = &config["service"];
    match (config.text("url"), service.is_object()) {
        ("", true) => {
            for field in ["name", "namespace"] {
                if service.text(field).is_empty() {
                    out.required(
                        path.child("service").child(field),
                        if field == "name" { "service name is required" } else { "service namespace is required" },
                    );
                }
            }
            if let Some(port) = service.int("port").filter(|port| !(1..=65535).contains(port)) {
                out.invalid(path.child("service").child("port"), port, "port is not valid: must be between 1 and 65535, inclusive");
            }
            let at = path.child("service").child("path");
            let way = service.text("path");
            if !way.is_empty() && way != "/" {
                if !way.starts_with('/') {
                    out.invalid(&at, way, "must start with a '/'");
                } else if way.trim_start_matches('/').trim_end_matches('/').split('/').any(str::is_empty) {
                    out.invalid(&at, way, "segment[0] may not be empty");
                }
            }
        }
        (url, false) if !url.is_empty() => {
            let at = path.child("url");
            let form = "; desired format: https://host[/path]";
            let Some(rest) = url.strip_prefix("https://") else {
                return out.invalid(&at, url, format!("'https' is the only allowed URL scheme{form}"));
            };
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            if authority.is_empty() {
                out.invalid(&at, url, format!("host must be specified{form}"));
            }
            for (mark, place, what) in
                [("@", authority, "user information is"), ("#", rest, "fragments are"), ("?", rest, "query parameters are")]
            {
                if place.contains(mark) {
                    out.invalid(&at, url, format!("{what} not permitted in the URL"));
                }
            }
        }
        _ => out.required(path, "exactly one of url or service is required"),
    }
}

/// A rule with operations: what requests it is about.
pub(crate) fn validate_rule(rule: &Value, path: &Path, out: &mut Errors) {
    let at = path.child("operations");
    let operations = rule.items("operations");
    if operations.is_empty() {
        out.required(&at, "");
    }
    if operations.len() > 1 && operations.iter().any(|operation| operation == "*") {
        out.invalid(&at, rule["operations"].clone(), "if '*' is present, must not specify other operations");
    }
    for (index, operation) in operations.iter().enumerate() {
        out.one_of(at.index(index), operation.as_str().unwrap_or_default(), &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"]);
    }
    for (field, words) in [("apiGroups", "API groups"), ("apiVersions", "API versions")] {
        let (at, values) = (path.child(field), rule.items(field));
        if values.is_empty() {
            out.required(&at, "");
        }
        if values.len() > 1 && values.iter().any(|value| value == "*") {
            out.invalid(&at, rule[field].clone(), format!("if '*' is present, must not specify other {words}"));
        }
        if field == "apiVersions" {
            for (index, _) in values.iter().enumerate().filter(|(_, value)| *value == "") {
                out.required(at.index(index), "");
            }
        }
    }
    resources(rule, &path.child("resources"), out);
    out.one_of_if_set(path.child("scope"), rule.text("scope"), &["*", "Cluster", "Namespaced"]);
}

fn resources(rule: &Value, path: &Path, out: &mut Errors) {
    let named: Vec<&str> = rule.items("resources").iter().filter_map(Value::as_str).collect();
    if named.is_empty() {
        out.required(path, "");
    }
    let with = |suffix: &str| named.contains(&suffix);
    for (index, resource) in named.iter().enumerate() {
        let at = path.index(index);
        let (plural, part) = resource.split_once('/').unwrap_or((resource, ""));
        match (plural, part) {
            ("", "") => out.required(&at, ""),
            (_, part) if !part.is_empty() && plural != "*" && part != "*" && with(&format!("{plural}/*")) => {
                out.invalid(&at, *resource, format!("if '{plural}/*' is present, must not specify {resource}"));
            }
            (plural, part) if !part.is_empty() && plural != "*" && with(&format!("*/{part}")) => {
                out.invalid(&at, *resource, format!("if '*/{part}' is present, must not specify {resource}"));
            }
            _ => {}
        }
    }
    if named.len() > 1 && with("*/*") {
        out.invalid(path, rule["resources"].clone(), "if '*/*' is present, must not specify other resources");
    }
    if with("*") && named.iter().any(|resource| *resource != "*" && !resource.contains('/')) {
        out.invalid(path, rule["resources"].clone(), "if '*' is present, must not specify other resources without subresources");
    }
}

/// Names in `matchConditions` of a webhook or a policy.
pub(crate) fn condition_names(object: &Value, path: &Path, out: &mut Errors) {
    const MOST: usize = 64;
    let count = object.items("matchConditions").len();
    if count > MOST {
        out.too_many(path.child("matchConditions"), count, MOST);
    }
    let mut seen = Seen::default();
    for (at, condition) in object.each("matchConditions", path) {
        let name = condition.text("name");
        if name.is_empty() {
            out.required(at.child("name"), "");
        } else {
            out.all(&at.child("name"), name, names::qualified_name(name));
            if !seen.first(name) {
                out.duplicate(at.child("name"), name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(json!({}), &[])]
    #[case(json!({"name": "a.b"}), &["webhooks[0].name: Invalid value: \"a.b\": should be a domain with at least three segments separated by dots"])]
    #[case(json!({"sideEffects": null}), &["webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun"])]
    #[case(json!({"sideEffects": "Some"}), &["webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\""])]
    #[case(json!({"timeoutSeconds": 31}), &["webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds"])]
    #[case(json!({"admissionReviewVersions": []}), &["webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1"])]
    #[case(json!({"clientConfig": {"url": null}}), &["webhooks[0].clientConfig: Required value: exactly one of url or service is required"])]
    #[case(json!({"clientConfig": {"url": "http://a"}}),
        &["webhooks[0].clientConfig.url: Invalid value: \"http://a\": 'https' is the only allowed URL scheme; desired format: https://host[/path]"])]
    #[case(json!({"rules": [{"operations": ["CREATE", "*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}),
        &["webhooks[0].rules[0].operations: Invalid value: [\"CREATE\",\"*\"]: if '*' is present, must not specify other operations"])]
    #[case(json!({"matchConditions": [{"name": "a", "expression": ""}]}), &["webhooks[0].matchConditions[0].expression: Required value"])]
    fn faults_of_a_webhook(#[case] changes: Value, #[case] expected: &[&str]) {
        let mut hook =
            json!({"name": "a.b.c", "sideEffects": "None", "admissionReviewVersions": ["v1"], "clientConfig": {"url": "https://a/b"}});
        crate::patch::merge(&mut hook, &changes);
        let mut out = Errors::default();
        (RULES.validate)(&json!({"webhooks": [hook]}), &mut out);
        assert_eq!(out.0.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
    }
}
