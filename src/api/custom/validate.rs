//! Validates objects against their schema, in upstream's words. What an update leaves as it was is not judged again.

use std::collections::HashSet;

use serde_json::Value;

use super::structural::{Limits, Schema};
use crate::cel::{self, ListType};
use crate::field::{FieldError, FieldErrorKind};

/// What is wrong with a value at `path`; `old` is what was there, for an update.
pub fn validate(schema: &Schema, value: &Value, old: Option<&Value>, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check(schema, value, old, path, &mut errors);
    errors
}

/// What lists that are sets or maps hold more than once.
pub fn duplicates(schema: &Schema, value: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    twice(schema, value, "", &mut errors);
    errors
}

/// `path.name`.
pub(super) fn child(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() && number.as_f64().is_some_and(|number| number.fract() != 0.0) => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// What Go calls the type of a value read from JSON.
pub(super) fn go_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

fn invalid(path: &str, value: &Value, detail: &str) -> FieldError {
    FieldError::invalid(path, value.clone(), format!("{path} in body {detail}"))
}

fn check(schema: &Schema, value: &Value, old: Option<&Value>, path: &str, errors: &mut Vec<FieldError>) {
    if old == Some(value) || value.is_null() && schema.nullable {
        return;
    }
    if !has_type(schema, value) {
        let wanted = if schema.int_or_string { "integer,string" } else { &schema.type_ };
        let mut error = invalid(path, &Value::from(go_type(value)), &format!("must be of type {wanted}: {:?}", go_type(value)));
        error.kind = FieldErrorKind::TypeInvalid;
        errors.push(error);
        return;
    }
    limits(&schema.limits, value, path, errors);
    match value {
        Value::Object(fields) => {
            for name in &schema.limits.required {
                if !fields.contains_key(name) {
                    errors.push(FieldError::required(child(path, name), ""));
                }
            }
            for (name, value) in fields {
                if let Some(known) = schema.field(name) {
                    check(known, value, old.and_then(|old| old.get(name)), &child(path, name), errors);
                }
            }
        }
        Value::Array(items) => {
            if let Some(item) = &schema.items {
                for (index, value) in items.iter().enumerate() {
                    check(item, value, schema.correlated(old, value), &format!("{path}[{index}]"), errors);
                }
            }
        }
        _ => {}
    }
}

fn has_type(schema: &Schema, value: &Value) -> bool {
    if schema.int_or_string {
        return matches!(go_type(value), "integer" | "string");
    }
    let found = go_type(value);
    schema.type_.is_empty() || schema.type_ == found || schema.type_ == "number" && found == "integer"
}

fn twice(schema: &Schema, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if let Some(known) = schema.field(name) {
                    twice(known, value, &child(path, name), errors);
                }
            }
        }
        Value::Array(items) => {
            let mut seen = HashSet::new();
            for (index, item) in items.iter().enumerate() {
                let path = format!("{path}[{index}]");
                let identity = match &schema.list_type {
                    Some(ListType::Set) => Some(item.clone()),
                    Some(ListType::Map(keys)) => Some(keys.iter().map(|key| (key.clone(), item[key].clone())).collect()),
                    _ => None,
                };
                if let Some(identity) = identity.filter(|identity| !seen.insert(identity.to_string())) {
                    errors.push(FieldError::duplicate(path.as_str(), identity));
                }
                if let Some(known) = &schema.items {
                    twice(known, item, &path, errors);
                }
            }
        }
        _ => {}
    }
}

fn limits(limits: &Limits, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    match value {
        Value::String(text) => of_text(limits, text, path, errors),
        Value::Number(_) => of_number(limits, value, path, errors),
        Value::Array(items) => {
            let count = items.len() as u64;
            if let Some(max) = limits.items.1.filter(|max| count > *max) {
                errors.push(FieldError::too_many(path, items.len(), usize::try_from(max).unwrap_or(usize::MAX)));
            }
            if let Some(min) = limits.items.0.filter(|min| count < *min) {
                errors.push(FieldError::invalid(path, count, format!("{path} in body should have at least {min} items")));
            }
        }
        Value::Object(fields) => {
            let count = fields.len() as u64;
            if let Some(max) = limits.properties.1.filter(|max| count > *max) {
                errors.push(FieldError::too_many(path, fields.len(), usize::try_from(max).unwrap_or(usize::MAX)));
            }
            if let Some(min) = limits.properties.0.filter(|min| count < *min) {
                errors.push(FieldError::invalid(path, count, format!("{path} in body should have at least {min} properties")));
            }
        }
        _ => {}
    }
    if !limits.allowed.is_empty() && !limits.allowed.contains(value) {
        let supported: Vec<String> =
            limits.allowed.iter().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).collect();
        let supported: Vec<&str> = supported.iter().map(String::as_str).collect();
        errors.push(FieldError::not_supported(path, value.clone(), &supported));
    }
    choices(limits, value, path, errors);
}

fn of_text(limits: &Limits, text: &str, path: &str, errors: &mut Vec<FieldError>) {
    let value = Value::from(text);
    let length = text.chars().count() as u64;
    if let Some(max) = limits.length.1.filter(|max| length > *max) {
        errors.push(FieldError::too_long(path, usize::try_from(max).unwrap_or(usize::MAX)));
    }
    if let Some(min) = limits.length.0.filter(|min| length < *min) {
        errors.push(invalid(path, &value, &format!("should be at least {min} chars long")));
    }
    if let Some((pattern, Some(regex))) = &limits.pattern
        && !regex.is_match(text)
    {
        errors.push(invalid(path, &value, &format!("should match '{pattern}'")));
    }
    if !limits.format.is_empty() && !cel::is_format(&limits.format, text) {
        errors.push(invalid(path, &value, &format!("must be of type {}: {text:?}", limits.format)));
    }
}

fn of_number(limits: &Limits, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let number = value.as_f64().unwrap_or_default();
    if let Some((max, exclusive)) = limits.maximum
        && (number > max || exclusive && number == max)
    {
        errors.push(invalid(path, value, &format!("should be less than {}{max}", if exclusive { "" } else { "or equal to " })));
    }
    if let Some((min, exclusive)) = limits.minimum
        && (number < min || exclusive && number == min)
    {
        errors.push(invalid(path, value, &format!("should be greater than {}{min}", if exclusive { "" } else { "or equal to " })));
    }
    if let Some(factor) = limits.multiple_of
        && (number / factor).fract().abs() > f64::EPSILON
    {
        errors.push(invalid(path, value, &format!("should be a multiple of {factor}")));
    }
    let whole = match limits.format.as_str() {
        "int32" => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        "int64" => value.as_i64().is_some() || number.fract() == 0.0,
        _ => true,
    };
    if !whole {
        errors.push(invalid(path, value, &format!("must be of type {}: {value:?}", limits.format)));
    }
}

fn choices(limits: &Limits, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let wrong = |schema: &Schema| {
        let mut found = Vec::new();
        check(schema, value, None, path, &mut found);
        found
    };
    let shown = if path.is_empty() { "\"\"" } else { path };
    let mut refuse = |detail: &str| errors.push(FieldError::invalid(path, value.clone(), format!("{shown} in body {detail}")));
    let mut inner = Vec::new();
    for schema in &limits.all_of {
        let found = wrong(schema);
        if !found.is_empty() {
            refuse("must validate all the schemas (allOf)");
            inner.extend(found);
            break;
        }
    }
    if !limits.any_of.is_empty() {
        let all: Vec<Vec<FieldError>> = limits.any_of.iter().map(wrong).collect();
        if all.iter().all(|found| !found.is_empty()) {
            refuse("must validate at least one schema (anyOf)");
            inner.extend(all.into_iter().next().unwrap_or_default());
        }
    }
    if !limits.one_of.is_empty() {
        let all: Vec<Vec<FieldError>> = limits.one_of.iter().map(wrong).collect();
        match all.iter().filter(|found| found.is_empty()).count() {
            1 => {}
            0 => {
                refuse("must validate one and only one schema (oneOf). Found none valid");
                inner.extend(all.into_iter().next().unwrap_or_default());
            }
            count => refuse(&format!("must validate one and only one schema (oneOf). Found {count} valid alternatives")),
        }
    }
    if let Some(schema) = &limits.not
        && wrong(schema).is_empty()
    {
        refuse("must not validate the schema (not)");
    }
    errors.extend(inner);
}
