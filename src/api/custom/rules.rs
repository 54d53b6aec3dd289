//! `x-kubernetes-validations`: rules in CEL, with the schema's types and the object's values.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::structural::Schema;
use super::validate::child;
use crate::cel::{Budget, CompileError, Environment, Error, Key, List, ListType, Program, RUNTIME_BUDGET, Type, UNBOUNDED, Value};
use crate::field::{FieldError, FieldErrorKind};
use crate::time;

/// Most bytes of a request: what bounds what a schema does not.
const MAX_REQUEST: u64 = 3 << 20;

/// One rule, compiled.
#[derive(Debug, Clone)]
pub struct Rule {
    pub(super) source: String,
    pub(super) message: String,
    pub(super) program: Result<Program, CompileError>,
    pub(super) message_program: Option<Result<Program, CompileError>>,
    pub(super) reason: String,
    pub(super) field_path: String,
    pub(super) optional_old: bool,
}

impl Rule {
    pub(super) fn read(schema: &Schema, json: &Json) -> Self {
        let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        let optional_old = json["optionalOldSelf"] == true;
        let ty = declared(schema, true);
        let old = if optional_old { Type::Optional(Arc::new(ty.clone())) } else { ty.clone() };
        let environment = Environment::new().with("self", ty).with("oldSelf", old);
        let message = Some(text("messageExpression")).filter(|source| !source.is_empty());
        Self {
            program: environment.compile_as(&text("rule"), &[Type::Bool]),
            message_program: message.map(|source| environment.compile_as(&source, &[Type::STRING])),
            source: text("rule"),
            message: text("message"),
            reason: text("reason"),
            field_path: text("fieldPath"),
            optional_old,
        }
    }
}

/// A name as expressions write it; `None` where it cannot be written.
pub(crate) fn escaped(name: &str) -> Option<String> {
    const KEYWORDS: [&str; 22] = [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
        "__none__",
    ];
    if KEYWORDS.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let first = name.chars().next()?;
    if first.is_ascii_digit() || !name.chars().all(|ch| ch.is_ascii_alphanumeric() || "_.-/".contains(ch)) {
        return None;
    }
    Some(name.replace("__", "__underscores__").replace('.', "__dot__").replace('-', "__dash__").replace('/', "__slash__"))
}

/// Fewest bytes a value takes in JSON.
fn least(schema: &Schema) -> u64 {
    match schema.type_.as_str() {
        "string" | "array" => 2,
        "boolean" => 4,
        "object" => {
            let fields = schema.limits.required.iter().filter_map(|name| Some((name, schema.properties.get(name)?)));
            2 + fields
                .filter(|(_, schema)| schema.default.is_none())
                .map(|(name, schema)| name.len() as u64 + 4 + least(schema))
                .sum::<u64>()
        }
        _ => 1,
    }
}

/// The type a schema declares to expressions.
fn declared(schema: &Schema, root: bool) -> Type {
    if schema.int_or_string {
        return Type::Dyn;
    }
    let most = |given: Option<u64>, each: u64| given.unwrap_or((MAX_REQUEST - 2) / each.max(1));
    let inner = |schema: &Schema| Arc::new(declared(schema, schema.embedded));
    match schema.type_.as_str() {
        "boolean" => Type::Bool,
        "integer" => Type::Int,
        "number" => Type::Double,
        "string" => match schema.limits.format.as_str() {
            "byte" => Type::Bytes(most(schema.limits.length.1, 1)),
            "duration" => Type::Duration,
            "date" | "date-time" => Type::Timestamp,
            _ => Type::String(match schema.limits.allowed.iter().filter_map(Json::as_str).map(str::len).max() {
                Some(longest) => longest as u64,
                None => most(schema.limits.length.1.map(|length| length.saturating_mul(4)), 1),
            }),
        },
        "array" => match &schema.items {
            Some(item) => Type::List(inner(item), most(schema.limits.items.1, least(item) + 1)),
            None => Type::list(Type::Dyn),
        },
        "object" => match &schema.additional {
            Some(values) if schema.properties.is_empty() => {
                Type::Map(Arc::new(Type::STRING), inner(values), most(schema.limits.properties.1, least(values) + 4))
            }
            _ => {
                let mut fields: BTreeMap<String, Type> = BTreeMap::new();
                if root || schema.embedded {
                    let metadata = ["name", "generateName"].map(|name| (name.to_owned(), Type::String(253)));
                    fields.insert("metadata".to_owned(), Type::object("ObjectMeta", metadata));
                    fields.insert("apiVersion".to_owned(), Type::String(300));
                    fields.insert("kind".to_owned(), Type::String(63));
                }
                for (name, schema) in &schema.properties {
                    if let Some(name) = escaped(name).filter(|name| !fields.contains_key(name)) {
                        fields.insert(name, declared(schema, schema.embedded));
                    }
                }
                Type::object("object", fields)
            }
        },
        _ => Type::Dyn,
    }
}

/// The value expressions see of a value.
fn typed(schema: &Schema, json: &Json) -> Value {
    match json {
        _ if schema.int_or_string => Value::from_json(json),
        Json::String(text) => match schema.limits.format.as_str() {
            "byte" => {
                use base64::Engine;
                base64::engine::general_purpose::STANDARD.decode(text).map_or(Value::Null, |bytes| Value::Bytes(bytes.into()))
            }
            "duration" => crate::cel::go_duration(text).map_or_else(|| Value::from_json(json), Value::Duration),
            "date" => time::parse(&format!("{text}T00:00:00Z")).map_or_else(|| Value::from_json(json), Value::Timestamp),
            "date-time" => time::parse(text).map_or_else(|| Value::from_json(json), Value::Timestamp),
            _ => Value::from_json(json),
        },
        Json::Number(number) if schema.type_ == "number" => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
        Json::Number(number) if schema.type_ == "integer" && number.as_i64().is_none() => {
            Value::Int(number.as_f64().unwrap_or_default() as i64)
        }
        Json::Array(items) => {
            let any = Schema::default();
            let item = schema.items.as_deref().unwrap_or(&any);
            let items = items.iter().map(|value| typed(item, value)).collect();
            Value::List(Arc::new(List { items, list_type: schema.list_type.clone().unwrap_or(ListType::Atomic) }))
        }
        Json::Object(fields) => {
            let is_map = schema.properties.is_empty() && schema.additional.is_some();
            let known = fields.iter().filter_map(|(name, value)| {
                let value = match schema.field(name) {
                    Some(known) => typed(known, value),
                    None if schema.type_.is_empty() || matches!(name.as_str(), "apiVersion" | "kind" | "metadata") => {
                        Value::from_json(value)
                    }
                    None => return None,
                };
                let name = if is_map || schema.type_.is_empty() { name.clone() } else { escaped(name)? };
                Some((Key::String(name.as_str().into()), value))
            });
            Value::Map(Arc::new(known.collect()))
        }
        other => Value::from_json(other),
    }
}

/// What the rules say of a value; `old` is what was there, for an update.
pub fn evaluate(schema: &Schema, value: &Json, old: Option<&Json>) -> Vec<FieldError> {
    let mut walk = Walk { budget: Budget::new(RUNTIME_BUDGET), errors: Vec::new(), over: false };
    walk.value(schema, value, old, "");
    walk.errors
}

struct Walk {
    budget: Budget,
    errors: Vec<FieldError>,
    over: bool,
}

impl Walk {
    fn value(&mut self, schema: &Schema, value: &Json, old: Option<&Json>, path: &str) {
        if self.over || value.is_null() {
            return;
        }
        if !schema.rules.is_empty() {
            self.rules(schema, value, old, path);
        }
        match value {
            Json::Object(fields) => {
                for (name, value) in fields {
                    if let Some(known) = schema.field(name) {
                        self.value(known, value, old.and_then(|old| old.get(name)), &child(path, name));
                    }
                }
            }
            Json::Array(items) => {
                let Some(item) = &schema.items else { return };
                for (index, value) in items.iter().enumerate() {
                    self.value(item, value, schema.correlated(old, value), &format!("{path}[{index}]"));
                }
            }
            _ => {}
        }
    }

    fn rules(&mut self, schema: &Schema, value: &Json, old: Option<&Json>, path: &str) {
        let this = typed(schema, value);
        let before = old.filter(|old| !old.is_null()).map(|old| typed(schema, old));
        for rule in &schema.rules {
            let Ok(program) = &rule.program else { continue };
            let transition = program.uses("oldSelf");
            let mut variables = BTreeMap::from([("self", this.clone())]);
            match (&before, rule.optional_old) {
                (_, true) => drop(variables.insert("oldSelf", Value::Optional(before.clone().map(Arc::new)))),
                (Some(before), false) => drop(variables.insert("oldSelf", before.clone())),
                (None, false) if transition => continue,
                (None, false) => {}
            }
            // What an update leaves as it was is not judged again.
            if !transition && old == Some(value) {
                continue;
            }
            let path = rule.place(path);
            match program.evaluate(&variables, &self.budget) {
                Ok(Value::Bool(true)) => {}
                Ok(_) => {
                    let message = rule.message(&variables, &self.budget);
                    self.errors.push(rule.error(path, schema, message));
                }
                Err(Error::OverBudget) => {
                    let detail = if self.budget.left() == 0 {
                        self.over = true;
                        "validation failed due to running out of cost budget, no further validation rules will be run".to_owned()
                    } else {
                        format!(
                            "'{}': no further validation rules will be run due to call cost exceeds limit for rule: {}",
                            "", rule.source
                        )
                    };
                    self.errors.push(FieldError::invalid(path, schema.type_.as_str(), detail));
                    return;
                }
                Err(Error::Failed(error)) if error.starts_with("no such overload") => {
                    let detail = format!(
                        "'{error}': call arguments did not match a supported operator, function or macro signature for rule: {}",
                        rule.source
                    );
                    self.errors.push(FieldError::invalid(path, schema.type_.as_str(), detail));
                }
                Err(error) => {
                    self.errors.push(FieldError::invalid(path, schema.type_.as_str(), format!("{error} evaluating rule: {}", rule.source)));
                }
            }
        }
    }
}

impl Rule {
    fn place(&self, path: &str) -> String {
        match self.field_path.strip_prefix('.').unwrap_or(&self.field_path) {
            "" => path.to_owned(),
            below if below.starts_with('[') => format!("{path}{below}"),
            below => child(path, below),
        }
    }

    fn message(&self, variables: &BTreeMap<&str, Value>, budget: &Budget) -> String {
        if let Some(Ok(program)) = &self.message_program
            && let Ok(Value::String(text)) = program.evaluate(variables, budget)
            && !text.trim().is_empty()
            && !text.contains('\n')
        {
            return text.trim().to_owned();
        }
        if self.message.is_empty() { format!("failed rule: {}", self.source) } else { self.message.clone() }
    }

    fn error(&self, path: String, schema: &Schema, message: String) -> FieldError {
        match self.reason.as_str() {
            "FieldValueRequired" => FieldError::required(path, message),
            "FieldValueForbidden" => FieldError::forbidden(path, message),
            "FieldValueDuplicate" => {
                FieldError { kind: FieldErrorKind::Duplicate, field: path, value: schema.type_.as_str().into(), detail: String::new() }
            }
            _ => FieldError::invalid(path, schema.type_.as_str(), message),
        }
    }
}

/// By how much a cost is over its limit, as messages say it; `None` where it is not.
pub(super) fn excess(cost: u64, limit: u64) -> Option<String> {
    (cost > limit).then(|| {
        let factor = cost as f64 / limit as f64;
        if factor > 100.0 || cost == UNBOUNDED { "more than 100x".to_owned() } else { format!("{factor:.1}x") }
    })
}

/// How often a value of the schema can be in an object, below something that can be there `times`.
pub(super) fn cardinality(schema: &Schema, times: u64) -> u64 {
    let most = match declared(schema, false) {
        Type::List(_, most) | Type::Map(_, _, most) => most,
        _ => 1,
    };
    times.saturating_mul(most)
}
