//! Priority and fairness: flow schemas and priority levels.

use serde_json::{Value, json};

use super::Rules;
use super::check::{Errors, Fill, Path, Read};
use crate::names;

pub(crate) static SCHEMA: Rules = Rules {
    generation: true,
    status: |_| json!({}),
    default: |object| object.within("spec", |spec| spec.fill_zero("matchingPrecedence", 1000)),
    validate: validate_schema,
    ..Rules::PLAIN
};

pub(crate) static LEVEL: Rules =
    Rules { generation: true, status: |_| json!({}), default: default_level, validate: validate_level, ..Rules::PLAIN };

const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

fn validate_schema(object: &Value, out: &mut Errors) {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let (name, precedence, at) =
        (object["metadata"].text("name"), spec.int("matchingPrecedence").unwrap_or(0), path.child("matchingPrecedence"));
    if precedence <= 0 {
        out.invalid(&at, precedence, "must be a positive value");
    }
    if precedence > 10_000 {
        out.invalid(&at, precedence, "must not be greater than 10000");
    }
    if precedence == 1 && name != "exempt" {
        out.invalid(&at, precedence, "only the schema named 'exempt' may have matchingPrecedence 1");
    }
    if spec.has("distinguisherMethod") {
        let at = path.child("distinguisherMethod").child("type");
        out.one_of(at, spec["distinguisherMethod"].text("type"), &["ByNamespace", "ByUser"]);
    }
    let (level, at) = (spec["priorityLevelConfiguration"].text("name"), path.child("priorityLevelConfiguration").child("name"));
    if level.is_empty() {
        out.required(at, "must reference a priority level");
    } else {
        out.all(&at, level, names::dns1123_subdomain(level));
    }
    for (at, rule) in spec.each("rules", &path) {
        schema_rule(rule, &at, out);
    }
}

fn schema_rule(rule: &Value, path: &Path, out: &mut Errors) {
    if rule.items("subjects").is_empty() {
        out.required(path.child("subjects"), "subjects must contain at least one value");
    }
    for (at, one) in rule.each("subjects", path) {
        subject(one, &at, out);
    }
    if rule.items("resourceRules").is_empty() && rule.items("nonResourceRules").is_empty() {
        out.required(path, "at least one of resourceRules and nonResourceRules has to be non-empty");
    }
    for (at, rule) in rule.each("resourceRules", path) {
        verbs(rule, &at, out);
        listed(rule, "apiGroups", ("resource rules must supply at least one api group", "api groups"), &at, out);
        listed(rule, "resources", ("resource rules must supply at least one resource", "resources"), &at, out);
        namespaces(rule, &at, out);
    }
    for (at, rule) in rule.each("nonResourceRules", path) {
        verbs(rule, &at, out);
        listed(rule, "nonResourceURLs", ("nonResourceURLs must contain at least one value", "non-resource URLs"), &at, out);
    }
}

/// What subjects of a kind are described in.
const SUBJECTS: [(&str, &str); 3] = [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];

fn subject(subject: &Value, path: &Path, out: &mut Errors) {
    let kind = subject.text("kind");
    let Some((_, own)) = SUBJECTS.iter().find(|(name, _)| *name == kind) else {
        out.one_of(path.child("kind"), kind, &["Group", "ServiceAccount", "User"]);
        return;
    };
    let (described, at) = (&subject[*own], path.child(own));
    let name = described.text("name");
    if described.is_null() {
        out.required(&at, &format!("{own} is required when subject kind is '{kind}'"));
    } else if name.is_empty() {
        out.required(at.child("name"), "");
    } else if kind == "ServiceAccount" && name != "*" {
        out.all(&at.child("name"), name, names::dns1123_subdomain(name));
    }
    if kind == "ServiceAccount" && !described.is_null() {
        match described.text("namespace") {
            "" => out.required(at.child("namespace"), "must specify namespace for service account"),
            namespace => out.all(&at.child("namespace"), namespace, names::dns1123_label(namespace)),
        }
    }
    for (other, field) in SUBJECTS.iter().filter(|(name, field)| *name != kind && subject.has(field)) {
        out.forbidden(path.child(field), format!("{field} is forbidden when subject kind is not '{other}'"));
    }
}

fn verbs(rule: &Value, path: &Path, out: &mut Errors) {
    let at = path.child("verbs");
    let verbs: Vec<&str> = rule.items("verbs").iter().filter_map(Value::as_str).collect();
    if verbs.is_empty() {
        out.required(at, "verbs must contain at least one value");
    } else if verbs.contains(&"*") {
        if verbs.len() > 1 {
            out.invalid(at, rule["verbs"].clone(), "if '*' is present, must not specify other verbs");
        }
    } else if verbs.iter().any(|verb| !VERBS.contains(verb)) {
        out.0.push(crate::field::FieldError::not_supported(at, rule["verbs"].clone(), VERBS));
    }
}

/// A list that may not be empty, nor name `*` among others.
fn listed(rule: &Value, field: &str, (missing, others): (&str, &str), path: &Path, out: &mut Errors) {
    let (items, at) = (rule.items(field), path.child(field));
    if items.is_empty() {
        out.required(at, missing);
    } else if items.len() > 1 && items.iter().any(|item| item == "*") {
        out.invalid(at, rule[field].clone(), format!("if '*' is present, must not specify other {others}"));
    }
}

fn namespaces(rule: &Value, path: &Path, out: &mut Errors) {
    let (items, at) = (rule.items("namespaces"), path.child("namespaces"));
    if items.is_empty() {
        if !rule.yes("clusterScope") {
            out.required(at, "resource rules that are not cluster scoped must supply at least one namespace");
        }
    } else if items.iter().any(|item| item == "*") {
        if items.len() > 1 {
            out.invalid(at, rule["namespaces"].clone(), "if '*' is present, must not specify other namespaces");
        }
    } else {
        for (index, name) in items.iter().filter_map(Value::as_str).enumerate() {
            out.all(&at.index(index), name, names::dns1123_label(name));
        }
    }
}

fn default_level(object: &mut Value) {
    object.within("spec", |spec| {
        if spec.text("type") == "Exempt" {
            spec.within("exempt", |exempt| {
                exempt.fill("nominalConcurrencyShares", 0);
                exempt.fill("lendablePercent", 0);
            });
        }
        spec.with("limited", |limited| {
            limited.fill("nominalConcurrencyShares", 30);
            limited.fill("lendablePercent", 0);
            limited.with("limitResponse", |response| {
                response.with("queuing", |queuing| {
                    queuing.fill_zero("handSize", 8);
                    queuing.fill_zero("queues", 64);
                    queuing.fill_zero("queueLengthLimit", 50);
                });
            });
        });
    });
}

fn validate_level(object: &Value, out: &mut Errors) {
    let (spec, path, kind) = (&object["spec"], Path::new("spec"), object["spec"].text("type"));
    if (object["metadata"].text("name") == "exempt") != (kind == "Exempt") {
        out.invalid(path.child("type"), kind, "type must be 'Exempt' if and only if name is 'exempt'");
    }
    match kind {
        "Exempt" => {
            if spec.has("limited") {
                out.forbidden(path.child("limited"), "must be nil if the type is not Limited");
            }
            shares(&spec["exempt"], &path.child("exempt"), out);
            lendable(&spec["exempt"], &path.child("exempt"), out);
        }
        "Limited" => {
            if spec.has("exempt") {
                out.forbidden(path.child("exempt"), "must be nil if the type is Limited");
            }
            match &spec["limited"] {
                Value::Null => out.required(path.child("limited"), "must not be empty when type is Limited"),
                limited => validate_limited(limited, &path.child("limited"), out),
            }
        }
        other => out.one_of(path.child("type"), other, &["Exempt", "Limited"]),
    }
}

fn shares(level: &Value, path: &Path, out: &mut Errors) {
    if let Some(shares) = level.int("nominalConcurrencyShares").filter(|shares| *shares < 0) {
        out.invalid(path.child("nominalConcurrencyShares"), shares, "must be a non-negative integer");
    }
}

fn lendable(level: &Value, path: &Path, out: &mut Errors) {
    if let Some(percent) = level.int("lendablePercent").filter(|percent| !(0..=100).contains(percent)) {
        out.invalid(path.child("lendablePercent"), percent, "must be between 0 and 100, inclusive");
    }
}

fn validate_limited(limited: &Value, path: &Path, out: &mut Errors) {
    shares(limited, path, out);
    let (response, at) = (&limited["limitResponse"], path.child("limitResponse"));
    match response.text("type") {
        "Reject" => {
            if response.has("queuing") {
                out.forbidden(at.child("queuing"), "must be nil if limited.limitResponse.type is not Limited");
            }
        }
        "Queue" => match &response["queuing"] {
            Value::Null => out.required(at.child("queuing"), "must not be empty if limited.limitResponse.type is Limited"),
            queuing => validate_queuing(queuing, &at.child("queuing"), out),
        },
        other => out.one_of(at.child("type"), other, &["Queue", "Reject"]),
    }
    lendable(limited, path, out);
    if let Some(percent) = limited.int("borrowingLimitPercent").filter(|percent| *percent < 0) {
        out.invalid(path.child("borrowingLimitPercent"), percent, "if specified, must be a non-negative integer");
    }
}

/// Most bits a hand that is dealt may take.
const MAX_BITS: u32 = 60;

fn validate_queuing(queuing: &Value, path: &Path, out: &mut Errors) {
    let number = |key: &str| queuing.int(key).unwrap_or(0);
    let (queues, hand) = (number("queues"), number("handSize"));
    if number("queueLengthLimit") <= 0 {
        out.invalid(path.child("queueLengthLimit"), number("queueLengthLimit"), "must be positive");
    }
    if queues <= 0 {
        out.invalid(path.child("queues"), queues, "must be positive");
    } else if queues > 10_000_000 {
        out.invalid(path.child("queues"), queues, "must not be greater than 10000000");
    }
    let at = path.child("handSize");
    if hand <= 0 {
        out.invalid(at, hand, "must be positive");
    } else if hand > queues {
        out.invalid(at, hand, format!("should not be greater than queues ({queues})"));
    } else if bits_of_a_hand(queues, hand) > MAX_BITS {
        let words = format!("required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {MAX_BITS}");
        out.invalid(at, hand, words);
    }
}

/// How many bits say which hand was dealt, rather more than less.
fn bits_of_a_hand(deck: i64, hand: i64) -> u32 {
    ((deck as f64).log2() * hand as f64).ceil() as u32
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use rstest::rstest;

    use super::*;

    fn faults(rules: &Rules, spec: Value) -> String {
        let mut object = json!({"metadata": {"name": "x"}, "spec": spec});
        (rules.default)(&mut object);
        let mut out = Errors::default();
        (rules.validate)(&object, &mut out);
        out.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    #[rstest]
    #[case(json!({"priorityLevelConfiguration": {"name": "a"}}), "")]
    #[case(json!({"matchingPrecedence": 20_000}), "spec.matchingPrecedence: Invalid value: 20000: must not be greater than 10000; \
        spec.priorityLevelConfiguration.name: Required value: must reference a priority level")]
    #[case(json!({"priorityLevelConfiguration": {"name": "a"}, "distinguisherMethod": {"type": "X"}, "rules": [{}]}),
        "spec.distinguisherMethod.type: Unsupported value: \"X\": supported values: \"ByNamespace\", \"ByUser\"; \
         spec.rules[0].subjects: Required value: subjects must contain at least one value; \
         spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty")]
    #[case(json!({"priorityLevelConfiguration": {"name": "a"}, "rules": [{"subjects": [{"kind": "User", "group": {"name": "g"}}],
        "resourceRules": [{"verbs": ["*", "get"], "apiGroups": ["*"], "resources": ["pods"]}]}]}),
        "spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'; \
         spec.rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'; \
         spec.rules[0].resourceRules[0].verbs: Invalid value: [\"*\",\"get\"]: if '*' is present, must not specify other verbs; \
         spec.rules[0].resourceRules[0].namespaces: Required value: resource rules that are not cluster scoped must supply at least one namespace")]
    fn schemas(#[case] spec: Value, #[case] expected: &str) {
        assert_eq!(faults(&SCHEMA, spec), expected);
    }

    #[rstest]
    #[case(json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {}}}}), "")]
    #[case(json!({"type": "X"}), "spec.type: Unsupported value: \"X\": supported values: \"Exempt\", \"Limited\"")]
    #[case(json!({"type": "Limited"}), "spec.limited: Required value: must not be empty when type is Limited")]
    #[case(json!({"type": "Limited", "limited": {"lendablePercent": 101, "limitResponse": {"type": "Queue", "queuing": {"queues": 4, "handSize": 9}}}}),
        "spec.limited.limitResponse.queuing.handSize: Invalid value: 9: should not be greater than queues (4); \
         spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive")]
    #[case(json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {"queues": 512, "handSize": 8}}}}),
        "spec.limited.limitResponse.queuing.handSize: Invalid value: 8: required entropy bits of deckSize 512 and handSize 8 should not be greater than 60")]
    #[case(json!({"type": "Exempt"}), "spec.type: Invalid value: \"Exempt\": type must be 'Exempt' if and only if name is 'exempt'")]
    fn levels(#[case] spec: Value, #[case] expected: &str) {
        assert_eq!(faults(&LEVEL, spec), expected);
    }
}
