//! A custom resource's schema as code walks it: read once from a CustomResourceDefinition's `openAPIV3Schema`.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

use super::rules::Rule;
use crate::cel::ListType;

/// A place in a schema.
#[derive(Debug, Clone, Default)]
pub struct Schema {
    /// `object`, `array`, `string`, `integer`, `number`, `boolean`; empty where any is allowed.
    pub type_: String,
    /// Named fields.
    pub properties: BTreeMap<String, Schema>,
    /// Values of fields without a name of their own; an empty schema where anything goes.
    pub additional: Option<Box<Schema>>,
    /// Items of an array.
    pub items: Option<Box<Schema>>,
    /// Whether null is a value.
    pub nullable: bool,
    /// What is filled in where nothing is given.
    pub default: Option<Value>,
    /// Keeps fields nobody named.
    pub preserves: bool,
    /// A whole object with `apiVersion`, `kind` and `metadata`.
    pub embedded: bool,
    /// Integer or text.
    pub int_or_string: bool,
    /// How a list's items are told apart; `None` where the schema does not say.
    pub list_type: Option<ListType>,
    /// An object that is applied as a whole.
    pub atomic: bool,
    /// Rules in CEL.
    pub rules: Vec<Rule>,
    /// What values have to fulfil.
    pub limits: Limits,
}

/// Value validations.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    pub(super) required: Vec<String>,
    pub(super) allowed: Vec<Value>,
    pub(super) format: String,
    pub(super) pattern: Option<(String, Option<Regex>)>,
    pub(super) minimum: Option<(f64, bool)>,
    pub(super) maximum: Option<(f64, bool)>,
    pub(super) multiple_of: Option<f64>,
    pub(super) length: (Option<u64>, Option<u64>),
    pub(super) items: (Option<u64>, Option<u64>),
    pub(super) properties: (Option<u64>, Option<u64>),
    pub(super) all_of: Vec<Schema>,
    pub(super) any_of: Vec<Schema>,
    pub(super) one_of: Vec<Schema>,
    pub(super) not: Option<Box<Schema>>,
}

fn list(json: &Value) -> impl Iterator<Item = &Value> {
    json.as_array().into_iter().flatten()
}

fn schemas(json: &Value) -> Vec<Schema> {
    list(json).map(Schema::read).collect()
}

impl Limits {
    fn read(json: &Value) -> Self {
        let range = |low: &str, high: &str| (json[low].as_u64(), json[high].as_u64());
        let bound = |name: &str, exclusive: &str| json[name].as_f64().map(|value| (value, json[exclusive] == true));
        Self {
            required: list(&json["required"]).filter_map(Value::as_str).map(str::to_owned).collect(),
            allowed: list(&json["enum"]).cloned().collect(),
            format: json["format"].as_str().unwrap_or_default().to_owned(),
            pattern: json["pattern"].as_str().map(|text| (text.to_owned(), Regex::new(text).ok())),
            minimum: bound("minimum", "exclusiveMinimum"),
            maximum: bound("maximum", "exclusiveMaximum"),
            multiple_of: json["multipleOf"].as_f64().filter(|value| *value > 0.0),
            length: range("minLength", "maxLength"),
            items: range("minItems", "maxItems"),
            properties: range("minProperties", "maxProperties"),
            all_of: schemas(&json["allOf"]),
            any_of: schemas(&json["anyOf"]),
            one_of: schemas(&json["oneOf"]),
            not: json["not"].is_object().then(|| Box::new(Schema::read(&json["not"]))),
        }
    }
}

impl Schema {
    /// Reads a schema; what cannot be understood was refused when the definition was written.
    pub fn read(json: &Value) -> Self {
        let texts = |name: &str| list(&json[name]).filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>();
        let additional = match &json["additionalProperties"] {
            Value::Bool(true) => Some(Box::new(Self { preserves: true, nullable: true, ..Self::default() })),
            schema @ Value::Object(_) => Some(Box::new(Self::read(schema))),
            _ => None,
        };
        let list_type = match json["x-kubernetes-list-type"].as_str() {
            Some("set") => Some(ListType::Set),
            Some("map") => Some(ListType::Map(texts("x-kubernetes-list-map-keys").into())),
            Some(_) => Some(ListType::Atomic),
            None => None,
        };
        let mut schema = Self {
            type_: json["type"].as_str().unwrap_or_default().to_owned(),
            properties: json["properties"].as_object().into_iter().flatten().map(|(name, json)| (name.clone(), Self::read(json))).collect(),
            additional,
            items: json["items"].is_object().then(|| Box::new(Self::read(&json["items"]))),
            nullable: json["nullable"] == true,
            default: json.get("default").filter(|value| !value.is_null()).cloned(),
            preserves: json["x-kubernetes-preserve-unknown-fields"] == true,
            embedded: json["x-kubernetes-embedded-resource"] == true,
            int_or_string: json["x-kubernetes-int-or-string"] == true,
            list_type,
            atomic: json["x-kubernetes-map-type"] == "atomic",
            rules: Vec::new(),
            limits: Limits::read(json),
        };
        schema.rules = list(&json["x-kubernetes-validations"]).map(|rule| Rule::read(&schema, rule)).collect();
        schema
    }

    /// Whether there are rules in CEL anywhere in it.
    pub(super) fn has_rules(&self) -> bool {
        let inner = self.properties.values().chain(self.additional.as_deref()).chain(self.items.as_deref());
        !self.rules.is_empty() || inner.into_iter().any(Self::has_rules)
    }

    /// The schema of a field; `None` where the field is not known.
    pub(super) fn field(&self, name: &str) -> Option<&Self> {
        self.properties.get(name).or(self.additional.as_deref())
    }

    /// The element of the old list that stands for the same thing as an element of the new one.
    pub(super) fn correlated<'a>(&self, old: Option<&'a Value>, item: &Value) -> Option<&'a Value> {
        let Some(ListType::Map(keys)) = &self.list_type else { return None };
        old?.as_array()?.iter().find(|old| keys.iter().all(|key| old[key] == item[key]))
    }
}
