//! Judges the schemas of definitions: that they are structural, that defaults fit, that rules compile and are not too dear.

use serde_json::Value;

use super::structural::Schema;
use super::{list, prune, rules, text, validate};
use crate::cel::ESTIMATED_RULE_LIMIT;
use crate::field::FieldError;
use crate::rules::{Errors, Path};

/// Where in a schema a schema stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Root,
    Field,
    Items,
    /// Below allOf, anyOf, oneOf, not: values are judged, nothing is declared.
    Logic,
}

/// The rules of structural schemas.
pub(super) fn structure(json: &Value, path: &Path, place: Place, out: &mut Errors) {
    let given = |name: &str| json.get(name).is_some_and(|value| !value.is_null());
    let int_or_string = json["x-kubernetes-int-or-string"] == true;
    let preserves = json["x-kubernetes-preserve-unknown-fields"] == true;
    let type_ = text(json, "type");
    forbidden(json, path, out);
    match (place, type_) {
        (Place::Logic, "") => {}
        (Place::Logic, _) => out.forbidden(path.child("type"), "must be empty to be structural"),
        (Place::Root, "") => out.required(path.child("type"), "must not be empty at the root"),
        (Place::Root, "object") => {}
        (Place::Root, other) => out.invalid(path.child("type"), other, "must be object at the root"),
        (_, "") if int_or_string || preserves => {}
        (Place::Items, "") => out.required(path.child("type"), "must not be empty for specified array items"),
        (Place::Field, "") => out.required(path.child("type"), "must not be empty for specified object fields"),
        _ => {}
    }
    if place == Place::Logic {
        for name in ["default", "additionalProperties", "nullable", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations"] {
            if given(name) && json[name] != false {
                out.forbidden(path.child(name), "must be undefined to be structural");
            }
        }
    }
    if int_or_string && !type_.is_empty() {
        out.invalid(path.child("type"), type_, "must be empty if x-kubernetes-int-or-string is true");
    }
    if json["x-kubernetes-embedded-resource"] == true {
        if type_ != "object" {
            out.invalid(path.child("type"), type_, "must be object if x-kubernetes-embedded-resource is true");
        }
        if !preserves && json["properties"].as_object().is_none_or(serde_json::Map::is_empty) {
            out.required(
                path.child("properties"),
                "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
            );
        }
    }
    if type_ == "array" && place != Place::Logic && !json["items"].is_object() {
        out.required(path.child("items"), "must be specified");
    }
    lists(json, path, type_, out);
    let next = if place == Place::Logic { Place::Logic } else { Place::Field };
    for (name, json) in json["properties"].as_object().into_iter().flatten() {
        let root_metadata = place == Place::Root && name == "metadata";
        let path = path.child("properties").key(name);
        if root_metadata {
            metadata(json, &path, out);
        }
        structure(json, &path, next, out);
    }
    if json["additionalProperties"].is_object() {
        structure(&json["additionalProperties"], &path.child("additionalProperties"), next, out);
    }
    if json["items"].is_object() {
        structure(&json["items"], &path.child("items"), if place == Place::Logic { Place::Logic } else { Place::Items }, out);
    }
    for name in ["allOf", "anyOf", "oneOf"] {
        for (index, json) in list(&json[name]).enumerate() {
            let is_choice = int_or_string && name == "anyOf";
            if !is_choice {
                structure(json, &path.child(name).index(index), Place::Logic, out);
            }
        }
    }
    if json["not"].is_object() {
        structure(&json["not"], &path.child("not"), Place::Logic, out);
    }
}

fn metadata(json: &Value, path: &Path, out: &mut Errors) {
    if json["type"].is_string() && json["type"] != "object" {
        out.invalid(path.child("type"), text(json, "type"), "must be object");
    }
    for (name, _) in json["properties"].as_object().into_iter().flatten() {
        if name != "name" && name != "generateName" {
            out.forbidden(
                path.child("properties"),
                "must not specify anything other than name and generateName, but metadata is implicitly specified",
            );
        }
    }
}

fn forbidden(json: &Value, path: &Path, out: &mut Errors) {
    if json["uniqueItems"] == true {
        out.forbidden(path.child("uniqueItems"), "uniqueItems cannot be set to true since the runtime complexity becomes quadratic");
    }
    if json["additionalProperties"] == false {
        out.forbidden(path.child("additionalProperties"), "additionalProperties cannot be set to false");
    }
    let has_fields = json["properties"].as_object().is_some_and(|fields| !fields.is_empty());
    let open = matches!(&json["additionalProperties"], Value::Bool(true) | Value::Object(_));
    if has_fields && open {
        out.forbidden(path.child("additionalProperties"), "additionalProperties and properties are mutual exclusive");
    }
    if json["$ref"].is_string() {
        out.forbidden(path.child("$ref"), "$ref is not supported");
    }
    if json["items"].is_array() {
        out.forbidden(path.child("items"), "items must be a schema object and not an array");
    }
    for name in ["definitions", "dependencies", "patternProperties", "additionalItems", "id"] {
        if json.get(name).is_some_and(|value| !value.is_null()) {
            out.forbidden(path.child(name), format!("{name} is not supported"));
        }
    }
    match text(json, "type") {
        "null" => out.forbidden(path.child("type"), "type cannot be set to null, use nullable as an alternative"),
        "" | "array" | "boolean" | "integer" | "number" | "object" | "string" => {}
        other => out.one_of(path.child("type"), other, &["array", "boolean", "integer", "number", "object", "string"]),
    }
    if let Some(pattern) = json["pattern"].as_str()
        && regex::Regex::new(pattern).is_err()
    {
        out.invalid(
            path.child("pattern"),
            pattern,
            format!("must be a valid regular expression, but isn't: error parsing regexp: `{pattern}`"),
        );
    }
}

fn lists(json: &Value, path: &Path, type_: &str, out: &mut Errors) {
    let list_type = text(json, "x-kubernetes-list-type");
    let keys: Vec<&str> = list(&json["x-kubernetes-list-map-keys"]).filter_map(Value::as_str).collect();
    let type_path = path.child("x-kubernetes-list-type");
    if !list_type.is_empty() {
        out.one_of(&type_path, list_type, &["atomic", "map", "set"]);
        if type_ != "array" {
            out.invalid(path.child("type"), type_, "must be array if x-kubernetes-list-type is specified");
        }
    }
    let keys_path = path.child("x-kubernetes-list-map-keys");
    match (list_type, keys.is_empty()) {
        ("map", true) => out.required(&keys_path, "must not be empty if x-kubernetes-list-type is map"),
        ("map", false) => {
            let items = &json["items"];
            if items["type"] != "object" {
                out.invalid(
                    path.child("items").child("type"),
                    text(items, "type"),
                    "must be object if parent array's x-kubernetes-list-type is map",
                );
            }
            for (index, key) in keys.iter().enumerate() {
                if !items["properties"][*key].is_object() {
                    out.invalid(keys_path.index(index), *key, "entries must all be names of item properties");
                } else if !list(&items["required"]).any(|name| name == key) && items["properties"][*key]["default"].is_null() {
                    let path = path.child("items").child("properties").key(key).child("default");
                    out.required(
                        path,
                        "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
                    );
                }
            }
        }
        (_, false) => out.forbidden(&keys_path, "must only be specified if x-kubernetes-list-type is map"),
        _ => {}
    }
    if let Some(map_type) = json["x-kubernetes-map-type"].as_str() {
        out.one_of(path.child("x-kubernetes-map-type"), map_type, &["atomic", "granular"]);
        if type_ != "object" {
            out.invalid(path.child("type"), type_, "must be object if x-kubernetes-map-type is specified");
        }
    }
}

/// Defaults fit the schema, rules compile and are not too dear.
pub(super) fn values(json: &Value, schema: &Schema, path: &Path, times: u64, total: &mut u64, out: &mut Errors) {
    if let Some(default) = &schema.default {
        let mut pruned = default.clone();
        let wrong = prune::prune(schema, &mut pruned);
        if !wrong.is_empty() {
            out.invalid(path.child("default"), default.clone(), "must not have unknown fields");
        }
        let found = validate::validate(schema, default, None, "");
        out.0.extend(found.into_iter().map(|error| {
            let field = format!("{}{}{}", String::from(path.child("default")), if error.field.is_empty() { "" } else { "." }, error.field);
            FieldError { field, ..error }
        }));
    }
    for (index, rule) in schema.rules.iter().enumerate() {
        let path = path.child("x-kubernetes-validations").index(index);
        check_rule(rule, &json["x-kubernetes-validations"][index], &path, times, total, out);
    }
    let inner = rules::cardinality(schema, times);
    for (name, schema) in &schema.properties {
        values(&json["properties"][name], schema, &path.child("properties").key(name), times, total, out);
    }
    if let Some(schema) = &schema.additional {
        values(&json["additionalProperties"], schema, &path.child("additionalProperties"), inner, total, out);
    }
    if let Some(schema) = &schema.items {
        values(&json["items"], schema, &path.child("items"), inner, total, out);
    }
}

fn check_rule(rule: &rules::Rule, json: &Value, path: &Path, times: u64, total: &mut u64, out: &mut Errors) {
    if rule.source.trim().is_empty() {
        out.required(path.child("rule"), "rule is not specified");
        return;
    }
    if json["message"].is_string() && rule.message.trim().is_empty() {
        out.invalid(path.child("message"), rule.message.as_str(), "message must be non-empty if specified");
    }
    if rule.message.contains('\n') {
        out.invalid(path.child("message"), rule.message.as_str(), "message must not contain line breaks");
    }
    let reasons = ["FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired", "FieldValueDuplicate"];
    out.one_of_if_set(path.child("reason"), &rule.reason, &reasons);
    match &rule.program {
        Err(error) => out.0.push(error.of_field(path.child("rule"), json.clone())),
        Ok(program) => {
            if rule.optional_old && !program.uses("oldSelf") {
                out.invalid(path.child("optionalOldSelf"), true, "may not be set to true when oldSelf is not used in rule");
            }
            let cost = program.estimated_cost().saturating_mul(times);
            *total = total.saturating_add(cost);
            if let Some(factor) = rules::excess(cost, ESTIMATED_RULE_LIMIT) {
                let why = format!(
                    "estimated rule cost exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, \
                     and maxLength where arrays, maps, and strings are declared)"
                );
                out.forbidden(path.child("rule"), why);
            }
        }
    }
    if let Some(Err(error)) = &rule.message_program {
        out.0.push(error.of_field(path.child("messageExpression"), json.clone()));
    }
}
