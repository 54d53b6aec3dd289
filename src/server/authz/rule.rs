//! One policy rule and what it matches, as upstream's RBAC evaluates it.

use serde_json::{Map, Value, json};

use crate::authz::Attributes;

/// A `PolicyRule`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// Verbs; `*` is any.
    pub verbs: Vec<String>,
    /// API groups; `*` is any.
    pub groups: Vec<String>,
    /// Resources, `pods`, `pods/log`, `*/scale` or `*`.
    pub resources: Vec<String>,
    /// Names of objects; none means any.
    pub names: Vec<String>,
    /// Paths outside of the API objects; a `*` at the end is any suffix.
    pub urls: Vec<String>,
}

fn strings(object: &Value, field: &str) -> Vec<String> {
    object
        .get(field)
        .and_then(Value::as_array)
        .map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default()
}

fn contains(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

impl Rule {
    /// The rule in its JSON form.
    pub fn parse(rule: &Value) -> Self {
        Self {
            verbs: strings(rule, "verbs"),
            groups: strings(rule, "apiGroups"),
            resources: strings(rule, "resources"),
            names: strings(rule, "resourceNames"),
            urls: strings(rule, "nonResourceURLs"),
        }
    }

    /// The rules of a role.
    pub fn of_role(role: &Value) -> Vec<Self> {
        role.get("rules").and_then(Value::as_array).map(|rules| rules.iter().map(Self::parse).collect()).unwrap_or_default()
    }

    /// The JSON form; empty lists are left out.
    pub fn to_value(&self) -> Value {
        let fields = [
            ("apiGroups", &self.groups),
            ("nonResourceURLs", &self.urls),
            ("resourceNames", &self.names),
            ("resources", &self.resources),
            ("verbs", &self.verbs),
        ];
        let map: Map<String, Value> =
            fields.into_iter().filter(|(_, list)| !list.is_empty()).map(|(name, list)| (name.to_owned(), json!(list))).collect();
        Value::Object(map)
    }

    /// Whether the rule allows the request.
    pub fn allows(&self, request: &Attributes<'_>) -> bool {
        if !contains(&self.verbs, request.verb) {
            return false;
        }
        if !request.is_resource() {
            return self.urls.iter().any(|url| url_matches(url, request.path));
        }
        contains(&self.groups, request.group)
            && self.resources.iter().any(|rule| resource_matches(rule, request.resource, request.subresource))
            && (self.names.is_empty() || self.names.iter().any(|name| name == request.name))
    }

    /// Whether everything `wanted` allows is allowed by this rule (`wanted` has at most one of each, see [`Rule::parts`]).
    fn covers(&self, wanted: &Rule) -> bool {
        let all = |own: &[String], other: &[String]| contains_star(own) || other.iter().all(|item| own.contains(item));
        if !all(&self.verbs, &wanted.verbs) {
            return false;
        }
        if !wanted.urls.is_empty() {
            return wanted.urls.iter().all(|url| self.urls.iter().any(|own| url_matches(own, url)));
        }
        all(&self.groups, &wanted.groups)
            && wanted.resources.iter().all(|resource| {
                let (plain, sub) = resource.split_once('/').unwrap_or((resource, ""));
                self.resources.iter().any(|own| resource_matches(own, plain, sub))
            })
            && (self.names.is_empty() || (!wanted.names.is_empty() && wanted.names.iter().all(|name| self.names.contains(name))))
    }

    /// The rule broken into rules of one verb and one resource, name or path each.
    fn parts(&self) -> Vec<Rule> {
        let one = |text: &String| vec![text.clone()];
        let mut parts = Vec::new();
        for verb in &self.verbs {
            for group in &self.groups {
                for resource in &self.resources {
                    let part = Rule { verbs: one(verb), groups: one(group), resources: one(resource), ..Rule::default() };
                    if self.names.is_empty() {
                        parts.push(part);
                    } else {
                        parts.extend(self.names.iter().map(|name| Rule { names: one(name), ..part.clone() }));
                    }
                }
            }
            parts.extend(self.urls.iter().map(|url| Rule { verbs: one(verb), urls: one(url), ..Rule::default() }));
        }
        parts
    }

    /// As escalation errors print it: `{APIGroups:["apps"], Resources:["deployments"], Verbs:["get"]}`.
    fn compact(&self) -> String {
        let fields = [
            ("APIGroups", &self.groups),
            ("Resources", &self.resources),
            ("ResourceNames", &self.names),
            ("NonResourceURLs", &self.urls),
            ("Verbs", &self.verbs),
        ];
        let shown: Vec<String> = fields
            .into_iter()
            .filter(|(_, list)| !list.is_empty())
            .map(|(name, list)| format!("{name}:[{}]", list.iter().map(|item| format!("{item:?}")).collect::<Vec<_>>().join(" ")))
            .collect();
        format!("{{{}}}", shown.join(", "))
    }
}

fn contains_star(list: &[String]) -> bool {
    list.iter().any(|item| item == "*")
}

fn url_matches(rule: &str, path: &str) -> bool {
    rule == path || rule.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
}

fn resource_matches(rule: &str, resource: &str, subresource: &str) -> bool {
    if rule == "*" {
        return true;
    }
    if subresource.is_empty() {
        return rule == resource;
    }
    match rule.split_once('/') {
        Some((plain, sub)) => sub == subresource && (plain == "*" || plain == resource),
        None => false,
    }
}

/// What of `wanted` is not allowed by `held`, as printed in an escalation error, joined as upstream does: parts of one
/// rule that differ in the verb only are one again.
pub fn missing(held: &[std::sync::Arc<Rule>], wanted: &[Rule]) -> Vec<String> {
    let mut merged: Vec<Rule> = Vec::new();
    for part in wanted.iter().flat_map(Rule::parts).filter(|part| !held.iter().any(|own| own.covers(part))) {
        let same = |other: &&mut Rule| {
            other.groups == part.groups && other.resources == part.resources && other.names == part.names && other.urls == part.urls
        };
        match merged.iter_mut().find(same) {
            Some(other) => other.verbs.extend(part.verbs),
            None => merged.push(part),
        }
    }
    let mut out: Vec<String> = merged.iter().map(Rule::compact).collect();
    out.sort();
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::sync::Arc;

    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}), "get", "", "pods", "", "a", true)]
    #[case(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}), "list", "", "pods", "", "", false)]
    #[case(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}), "get", "", "pods", "log", "a", false)]
    #[case(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods/log"]}), "get", "", "pods", "log", "a", true)]
    #[case(json!({"verbs": ["get"], "apiGroups": ["*"], "resources": ["*/scale"]}), "get", "apps", "deployments", "scale", "a", true)]
    #[case(json!({"verbs": ["get"], "apiGroups": ["*"], "resources": ["*/scale"]}), "get", "apps", "deployments", "", "a", false)]
    #[case(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}), "delete", "apps", "deployments", "status", "a", true)]
    #[case(json!({"verbs": ["get"], "apiGroups": ["apps"], "resources": ["pods"]}), "get", "", "pods", "", "a", false)]
    #[case(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["b"]}), "get", "", "pods", "", "a", false)]
    #[case(json!({"verbs": ["list"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["b"]}), "list", "", "pods", "", "", false)]
    fn rules_match_resources(
        #[case] rule: Value,
        #[case] verb: &str,
        #[case] group: &str,
        #[case] resource: &str,
        #[case] subresource: &str,
        #[case] name: &str,
        #[case] expected: bool,
    ) {
        let request = Attributes { verb, group, resource, subresource, name, ..Attributes::default() };
        assert_eq!(Rule::parse(&rule).allows(&request), expected);
    }

    #[rstest]
    #[case("/version", "/version", true)]
    #[case("/apis/*", "/apis/apps/v1", true)]
    #[case("/apis/*", "/apis", false)]
    #[case("*", "/anything", true)]
    #[case("/healthz", "/healthz/etcd", false)]
    fn rules_match_paths(#[case] url: &str, #[case] path: &str, #[case] expected: bool) {
        let rule = Rule::parse(&json!({"verbs": ["get"], "nonResourceURLs": [url]}));
        assert_eq!(rule.allows(&Attributes { verb: "get", path, ..Attributes::default() }), expected);
    }

    #[test]
    fn what_is_missing_is_named() {
        let held = [Arc::new(Rule::parse(&json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]})))];
        let wanted = [Rule::parse(&json!({"verbs": ["get", "delete", "patch"], "apiGroups": ["", "apps"], "resources": ["pods"]}))];
        assert_eq!(
            missing(&held, &wanted),
            [
                r#"{APIGroups:[""], Resources:["pods"], Verbs:["delete" "patch"]}"#,
                r#"{APIGroups:["apps"], Resources:["pods"], Verbs:["get" "delete" "patch"]}"#
            ]
        );
        assert!(
            missing(&held, &[Rule::parse(&json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]}))])
                .is_empty()
        );
    }
}
