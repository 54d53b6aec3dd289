//! Roles, their bindings, and service accounts.

use serde_json::Value;

use super::Rules;
use super::check::{Errors, Fill, Path, Read};
use crate::names;

const GROUP: &str = "rbac.authorization.k8s.io";

pub(crate) static ROLE: Rules = Rules { name: names::path_segment, create_on_update: true, validate: validate_role, ..Rules::PLAIN };

pub(crate) static BINDING: Rules = Rules {
    name: names::path_segment,
    create_on_update: true,
    default: |object| {
        object.within("roleRef", |role| role.fill_zero("apiGroup", GROUP));
        object.for_each("subjects", |subject| {
            if matches!(subject.text("kind"), "User" | "Group") {
                subject.fill_zero("apiGroup", GROUP);
            }
        });
    },
    validate: validate_binding,
    validate_update: |new, old, _, out| {
        if new["roleRef"] != old["roleRef"] {
            out.invalid("roleRef", new["roleRef"].clone(), "cannot change roleRef");
        }
    },
    ..Rules::PLAIN
};

const MOUNTABLE_SECRETS: &str = "kubernetes.io/enforce-mountable-secrets";

pub(crate) static SERVICE_ACCOUNT: Rules = Rules {
    warnings: |object| {
        let words = format!(
            "metadata.annotations[{MOUNTABLE_SECRETS}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
        );
        if object["metadata"]["annotations"].has(MOUNTABLE_SECRETS) { vec![words] } else { Vec::new() }
    },
    warns_on_update: false,
    ..Rules::PLAIN
};

fn validate_role(object: &Value, out: &mut Errors) {
    let namespaced = !object["metadata"].text("namespace").is_empty();
    for (at, rule) in object.each("rules", &Path::new("")) {
        if rule.items("verbs").is_empty() {
            out.required(at.child("verbs"), "verbs must contain at least one value");
        }
        if !rule.items("nonResourceURLs").is_empty() {
            if namespaced {
                out.invalid(
                    at.child("nonResourceURLs"),
                    rule["nonResourceURLs"].clone(),
                    "namespaced rules cannot apply to non-resource URLs",
                );
            }
            if ["apiGroups", "resources", "resourceNames"].iter().any(|key| !rule.items(key).is_empty()) {
                let message = "rules cannot apply to both regular resources and non-resource URLs";
                out.invalid(at.child("nonResourceURLs"), rule["nonResourceURLs"].clone(), message);
            }
            continue;
        }
        if rule.items("apiGroups").is_empty() {
            out.required(at.child("apiGroups"), "resource rules must supply at least one api group");
        }
        if rule.items("resources").is_empty() {
            out.required(at.child("resources"), "resource rules must supply at least one resource");
        }
    }
}

fn validate_binding(object: &Value, out: &mut Errors) {
    let (role, path) = (&object["roleRef"], Path::new("roleRef"));
    let namespaced = !object["metadata"].text("namespace").is_empty();
    out.one_of(path.child("apiGroup"), role.text("apiGroup"), &[GROUP]);
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    out.one_of(path.child("kind"), role.text("kind"), kinds);
    out.required_name(&path.child("name"), role.text("name"), names::path_segment);
    for (at, subject) in object.each("subjects", &Path::new("")) {
        if subject.text("name").is_empty() {
            out.required(at.child("name"), "");
        }
        let group = subject.text("apiGroup");
        match subject.text("kind") {
            "ServiceAccount" => {
                if !subject.text("name").is_empty() {
                    out.all(&at.child("name"), subject.text("name"), names::dns1123_subdomain(subject.text("name")));
                }
                if !group.is_empty() {
                    out.one_of(at.child("apiGroup"), group, &[""]);
                }
                if subject.text("namespace").is_empty() && !namespaced {
                    out.required(at.child("namespace"), "");
                }
            }
            "User" | "Group" => out.one_of(at.child("apiGroup"), group, &[GROUP]),
            other => out.one_of(at.child("kind"), other, &["ServiceAccount", "User", "Group"]),
        }
    }
}
