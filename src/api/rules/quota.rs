//! Quotas of a namespace.

use serde_json::{Value, json};

use super::Rules;
use super::check::{Errors, Path, Read};
use super::pod::resources;

/// How often the same is said of a whole list: each time shows all of it.
const MOST_TOLD: usize = 16;

pub(crate) static QUOTA: Rules = Rules {
    status: |_| json!({}),
    validate: |object, out| {
        let path = Path::new("spec");
        hard(&object["spec"]["hard"], &path.child("hard"), out);
        scopes(&object["spec"], &path, out);
        selector(&object["spec"], &path.child("scopeSelector"), out);
    },
    validate_update: |new, old, subresource, out| {
        if subresource == "status" {
            for field in ["hard", "used"] {
                hard(&new["status"][field], &Path::new("status").child(field), out);
            }
            return;
        }
        let sorted = |object: &Value| {
            let mut all = object["spec"].items("scopes").to_vec();
            all.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
            all
        };
        if sorted(new) != sorted(old) {
            out.invalid("spec.scopes", new["spec"]["scopes"].clone(), "field is immutable");
        }
    },
    ..Rules::PLAIN
};

fn hard(amounts: &Value, path: &Path, out: &mut Errors) {
    for (name, value) in amounts.as_object().into_iter().flatten() {
        let at = path.key(name);
        if !name.contains('/') && !name.starts_with("count/") && !resources::is_standard(name) {
            out.invalid(&at, name.as_str(), "must be a standard resource for quota");
        }
        resources::validate_amount(name, value, &at, out);
    }
}

const SCOPES: [&str; 7] =
    ["BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "PriorityClass", "Terminating", "VolumeAttributesClass"];

/// Whether a scope can be told of what a standard name counts.
fn applies(scope: &str, name: &str) -> bool {
    let pods = name == "pods";
    match scope {
        "BestEffort" => pods,
        "VolumeAttributesClass" => matches!(name, "persistentvolumeclaims" | "requests.storage"),
        _ => pods || matches!(name, "cpu" | "memory" | "requests.cpu" | "requests.memory" | "limits.cpu" | "limits.memory"),
    }
}

fn misapplied<'a>(spec: &'a Value, scope: &'a str) -> impl Iterator<Item = &'a String> {
    let names = spec["hard"].as_object().into_iter().flatten().map(|(name, _)| name);
    names.filter(move |name| !name.contains('/') && !applies(scope, name))
}

fn scopes(spec: &Value, path: &Path, out: &mut Errors) {
    let at = path.child("scopes");
    let named: Vec<&str> = spec.items("scopes").iter().filter_map(Value::as_str).collect();
    for _ in named.iter().filter(|scope| !SCOPES.contains(scope)).take(MOST_TOLD) {
        out.invalid(&at, spec["scopes"].clone(), "unsupported scope");
    }
    for _ in named.iter().flat_map(|scope| misapplied(spec, scope)).take(MOST_TOLD) {
        out.invalid(&at, spec["scopes"].clone(), "unsupported scope applied to resource");
    }
    for (one, other) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
        if named.contains(&one) && named.contains(&other) {
            out.invalid(&at, spec["scopes"].clone(), "conflicting scopes");
        }
    }
}

fn selector(spec: &Value, path: &Path, out: &mut Errors) {
    let at = path.child("matchExpressions");
    let mut left = MOST_TOLD;
    for expression in spec["scopeSelector"].items("matchExpressions") {
        let (scope, operator) = (expression.text("scopeName"), expression.text("operator"));
        if !SCOPES.contains(&scope) {
            out.invalid(at.child("scopeName"), scope, "unsupported scope");
        }
        for _ in misapplied(spec, scope).take(left) {
            out.invalid(&at, spec["scopeSelector"].clone(), "unsupported scope applied to resource");
            left -= 1;
        }
        if !matches!(scope, "PriorityClass" | "VolumeAttributesClass") && operator != "Exists" {
            let message = "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, \
                           ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            out.invalid(at.child("operator"), operator, message);
        }
        let none = expression.items("values").is_empty();
        match operator {
            "In" | "NotIn" if none => {
                out.required(at.child("values"), "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector");
            }
            "Exists" | "DoesNotExist" if !none => {
                let message = "must be no value when `operator` is 'Exists' or 'DoesNotExist' for scope selector";
                out.invalid(at.child("values"), expression["values"].clone(), message);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => out.invalid(at.child("operator"), other, "not a valid selector operator"),
        }
    }
}
