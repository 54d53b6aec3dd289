//! What a Job says of failure and success: limits per index, failure policy, success policy, who manages it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::check::{Errors, Path, Read};
use crate::names;

/// More indexes than this need tighter limits.
const MANY_COMPLETIONS: i64 = 100_000;
const FAILED_OF_MANY: i64 = 10_000;
const MOST_RULES: usize = 20;
const MOST_EXIT_CODES: usize = 255;
const MOST_CONDITIONS: usize = 20;
const LONGEST_INDEXES: usize = 64 * 1024;

pub(super) fn validate(spec: &Value, path: &Path, out: &mut Errors) {
    limits_per_index(spec, path, out);
    if spec.has("podFailurePolicy") {
        failure_policy(spec, path, out);
    }
    if spec.has("successPolicy") {
        success_policy(spec, path, out);
    }
    if spec.has("managedBy") {
        let (at, value) = (path.child("managedBy"), spec.text("managedBy"));
        out.all(&at, value, domain_prefixed_path(value));
        if value.len() > 63 {
            out.too_long(&at, 63);
        }
    }
}

/// A domain and a path behind it, as `example.com/queue`.
fn domain_prefixed_path(text: &str) -> Vec<String> {
    match text.split_once('/') {
        Some((domain, path)) if !domain.is_empty() && !path.is_empty() => names::dns1123_subdomain(domain),
        _ => vec!["must be a domain-prefixed path (such as \"acme.io/foo\")".to_owned()],
    }
}

fn limits_per_index(spec: &Value, path: &Path, out: &mut Errors) {
    let at = path.child("maxFailedIndexes");
    let (most, completions) = (spec.int("maxFailedIndexes"), spec.int("completions"));
    out.non_negative(&at, most);
    let per_index = spec.has("backoffLimitPerIndex");
    if most.is_some() && !per_index {
        out.required(path.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    if spec.text("completionMode") != "Indexed" {
        if let Some(most) = most {
            out.invalid(at, most, "requires indexed completion mode");
        }
        return;
    }
    let Some(completions) = completions else { return };
    if let Some(most) = most {
        if most > completions {
            out.invalid(&at, most, "must be less than or equal to completions");
        }
        if most > MANY_COMPLETIONS {
            out.invalid(&at, most, format!("must be less than or equal to {MANY_COMPLETIONS}"));
        }
    }
    if completions > MANY_COMPLETIONS && per_index {
        match most {
            None => out.required(at, &format!("must be specified when completions is above {MANY_COMPLETIONS}")),
            Some(most) if most > FAILED_OF_MANY => {
                out.invalid(
                    at,
                    most,
                    format!("must be less than or equal to {FAILED_OF_MANY} when completions are above {MANY_COMPLETIONS}"),
                );
            }
            Some(_) => {}
        }
        if let Some(parallelism) = spec.int("parallelism").filter(|parallelism| *parallelism > FAILED_OF_MANY) {
            let message = format!(
                "must be less than or equal to {FAILED_OF_MANY} when completions are above {MANY_COMPLETIONS} and used with backoff limit per index"
            );
            out.invalid(path.child("parallelism"), parallelism, message);
        }
    }
}

fn failure_policy(spec: &Value, path: &Path, out: &mut Errors) {
    let template = &spec["template"]["spec"];
    let containers: BTreeSet<&str> =
        ["containers", "initContainers"].iter().flat_map(|key| template.items(key)).map(|one| one.text("name")).collect();
    let policy = path.child("podFailurePolicy");
    let rules = spec["podFailurePolicy"].items("rules");
    if rules.len() > MOST_RULES {
        out.too_many(policy.child("rules"), rules.len(), MOST_RULES);
    }
    if spec.has("podReplacementPolicy") && spec.text("podReplacementPolicy") != "Failed" {
        out.one_of(path.child("podReplacementPolicy"), spec.text("podReplacementPolicy"), &["Failed"]);
    }
    for (at, rule) in spec["podFailurePolicy"].each("rules", &policy) {
        let action = rule.text("action");
        match action {
            "" => out.required(at.child("action"), "valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]"),
            "FailIndex" if !spec.has("backoffLimitPerIndex") => {
                out.invalid(at.child("action"), action, "requires the backoffLimitPerIndex to be specified");
            }
            _ => out.one_of(at.child("action"), action, &["Count", "FailIndex", "FailJob", "Ignore"]),
        }
        let (codes, conditions) = (rule.has("onExitCodes"), !rule.items("onPodConditions").is_empty());
        match (codes, conditions) {
            (true, true) => out.invalid(&at, rule.clone(), "specifying both OnExitCodes and OnPodConditions is not supported"),
            (false, false) => out.invalid(&at, rule.clone(), "specifying one of OnExitCodes and OnPodConditions is required"),
            _ => {}
        }
        if codes {
            exit_codes(&rule["onExitCodes"], &at.child("onExitCodes"), &containers, out);
        }
        let all = rule.items("onPodConditions");
        if all.len() > MOST_CONDITIONS {
            out.too_many(at.child("onPodConditions"), all.len(), MOST_CONDITIONS);
        }
        for (at, condition) in rule.each("onPodConditions", &at) {
            out.all(&at.child("type"), condition.text("type"), names::qualified_name(condition.text("type")));
            out.required_one_of(&at.child("status"), condition.text("status"), &["False", "True", "Unknown"]);
        }
    }
}

fn exit_codes(required: &Value, path: &Path, containers: &BTreeSet<&str>, out: &mut Errors) {
    out.required_one_of(&path.child("operator"), required.text("operator"), &["In", "NotIn"]);
    let container = required.text("containerName");
    if required.has("containerName") && !containers.contains(container) {
        let message = "must be one of the container or initContainer names in the pod template";
        out.invalid(path.child("containerName"), container, message);
    }
    let (at, values) = (path.child("values"), required.items("values"));
    match values.len() {
        0 => return out.invalid(at, required["values"].clone(), "at least one value is required"),
        count if count > MOST_EXIT_CODES => return out.too_many(at, count, MOST_EXIT_CODES),
        _ => {}
    }
    let codes: Vec<i64> = values.iter().filter_map(Value::as_i64).collect();
    let mut seen = BTreeSet::new();
    for (index, &code) in codes.iter().enumerate() {
        if required.text("operator") == "In" && code == 0 {
            out.invalid(at.index(index), 0, "must not be 0 for the In operator");
        }
        if !seen.insert(code) {
            out.duplicate(at.index(index), code);
        }
    }
    if !codes.is_sorted() {
        out.invalid(at, required["values"].clone(), "must be ordered");
    }
}

fn success_policy(spec: &Value, path: &Path, out: &mut Errors) {
    let policy = path.child("successPolicy");
    if spec.text("completionMode") != "Indexed" {
        return out.invalid(policy, spec["successPolicy"].clone(), "requires indexed completion mode");
    }
    let (rules, completions) = (spec["successPolicy"].items("rules"), spec.int("completions").unwrap_or(0));
    if rules.is_empty() {
        out.required(policy.child("rules"), "at least one rules must be specified when the successPolicy is specified");
    }
    if rules.len() > MOST_RULES {
        out.too_many(policy.child("rules"), rules.len(), MOST_RULES);
    }
    for (at, rule) in spec["successPolicy"].each("rules", &policy) {
        if !rule.has("succeededIndexes") && !rule.has("succeededCount") {
            out.required(&at, "at least one of succeededCount or succeededIndexes must be specified");
        }
        let mut named = completions;
        if rule.has("succeededIndexes") {
            let (at, text) = (at.child("succeededIndexes"), rule.text("succeededIndexes"));
            if text.len() > LONGEST_INDEXES {
                out.too_long(&at, LONGEST_INDEXES);
            }
            match indexes(text, completions) {
                Ok(count) => named = count,
                Err(why) => out.invalid(at, text, format!("error parsing succeededIndexes: {why}")),
            }
        }
        let Some(count) = rule.int("succeededCount") else { continue };
        let at = at.child("succeededCount");
        out.non_negative(&at, Some(count));
        if count > completions {
            out.invalid(&at, count, format!("must be less than or equal to {completions} (the number of specified completions)"));
        }
        if rule.has("succeededIndexes") && count > named {
            let message = format!("must be less than or equal to {named} (the number of indexes in the specified succeededIndexes field)");
            out.invalid(at, count, message);
        }
    }
}

/// How many indexes a text as `0-2,5` names; they must rise and be lower than `completions`.
fn indexes(text: &str, completions: i64) -> Result<i64, String> {
    let (mut total, mut last) = (0, -1);
    for part in text.split(',') {
        let limits: Vec<&str> = part.split('-').collect();
        let Some(first) = limits.first() else { continue };
        if limits.len() > 2 {
            return Err(format!(
                "the fragment {part:?} violates the requirement that an index interval can have at most two parts separated by '-'"
            ));
        }
        let number = |text: &str| text.parse::<i64>().map_err(|_| format!("cannot convert string to integer for index: {text:?}"));
        let (low, high) = (number(first)?, number(limits.last().copied().unwrap_or_default())?);
        if let Some(index) = [low, high].into_iter().find(|index| *index >= completions) {
            return Err(format!("too large index: {index:?}"));
        }
        if last >= low {
            return Err(format!("non-increasing order, previous: {last}, current: {low}"));
        }
        if limits.len() == 2 && low >= high {
            return Err(format!("non-increasing order, previous: {low}, current: {high}"));
        }
        total += high - low + 1;
        last = high;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case(json!({"maxFailedIndexes": 1}), "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified")]
    #[case(json!({"backoffLimitPerIndex": 1, "maxFailedIndexes": 9}), "spec.maxFailedIndexes: Invalid value: 9: must be less than or equal to completions")]
    #[case(json!({"podFailurePolicy": {"rules": [{"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [1]}}]}}),
        "spec.podFailurePolicy.rules[0].action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be specified")]
    #[case(json!({"podFailurePolicy": {"rules": [{"action": "Ignore"}]}}),
        "spec.podFailurePolicy.rules[0]: Invalid value: {\"action\":\"Ignore\"}: specifying one of OnExitCodes and OnPodConditions is required")]
    #[case(json!({"podFailurePolicy": {"rules": [{"action": "Ignore", "onExitCodes": {"operator": "In", "values": [0, 2]}}]}}),
        "spec.podFailurePolicy.rules[0].onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator")]
    #[case(json!({"podFailurePolicy": {"rules": [{"action": "Ignore", "onExitCodes": {"operator": "In", "values": [3, 2]}}]}}),
        "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [3,2]: must be ordered")]
    #[case(json!({"podFailurePolicy": {"rules": [{"action": "Ignore", "onExitCodes": {"operator": "In", "values": [2], "containerName": "x"}}]}}),
        "spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: \"x\": must be one of the container or initContainer names in the pod template")]
    #[case(json!({"successPolicy": {"rules": []}}), "spec.successPolicy.rules: Required value: at least one rules must be specified when the successPolicy is specified")]
    #[case(json!({"successPolicy": {"rules": [{}]}}), "spec.successPolicy.rules[0]: Required value: at least one of succeededCount or succeededIndexes must be specified")]
    #[case(json!({"successPolicy": {"rules": [{"succeededCount": 5}]}}),
        "spec.successPolicy.rules[0].succeededCount: Invalid value: 5: must be less than or equal to 4 (the number of specified completions)")]
    #[case(json!({"successPolicy": {"rules": [{"succeededIndexes": "0-1", "succeededCount": 3}]}}),
        "spec.successPolicy.rules[0].succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of indexes in the specified succeededIndexes field)")]
    #[case(json!({"successPolicy": {"rules": [{"succeededIndexes": "2,1"}]}}),
        "spec.successPolicy.rules[0].succeededIndexes: Invalid value: \"2,1\": error parsing succeededIndexes: non-increasing order, previous: 2, current: 1")]
    #[case(json!({"successPolicy": {"rules": [{"succeededIndexes": "0-4"}]}}),
        "spec.successPolicy.rules[0].succeededIndexes: Invalid value: \"0-4\": error parsing succeededIndexes: too large index: 4")]
    #[case(json!({"completionMode": "NonIndexed", "successPolicy": {"rules": [{"succeededCount": 1}]}}),
        "spec.successPolicy: Invalid value: {\"rules\":[{\"succeededCount\":1}]}: requires indexed completion mode")]
    fn what_is_wrong(#[case] extra: Value, #[case] expected: &str) {
        let mut spec = json!({"completionMode": "Indexed", "completions": 4, "template": {"spec": {"containers": [{"name": "c"}]}}});
        spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let mut out = Errors::default();
        validate(&spec, &Path::new("spec"), &mut out);
        assert_eq!(out.0.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
    }

    #[rstest]
    #[case(json!({"backoffLimitPerIndex": 1, "maxFailedIndexes": 4}))]
    #[case(json!({"podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [0, 2], "containerName": "c"}},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]}}))]
    #[case(json!({"successPolicy": {"rules": [{"succeededIndexes": "0,2-3", "succeededCount": 3}]}}))]
    #[case(json!({"managedBy": "example.com/queue"}))]
    fn what_is_right(#[case] extra: Value) {
        let mut spec = json!({"completionMode": "Indexed", "completions": 4, "template": {"spec": {"containers": [{"name": "c"}]}}});
        spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let mut out = Errors::default();
        validate(&spec, &Path::new("spec"), &mut out);
        assert_eq!(out.0.iter().map(ToString::to_string).collect::<Vec<_>>(), Vec::<String>::new());
    }
}
