//! Builds types from JSON schemas and facts.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use parking_lot::RwLock;
use serde_json::{Map, Value};

use super::facts::{Fact, facts_of};
use super::{Field, Merge, Shape, Type, TypeRef, roots};

static TYPES: LazyLock<RwLock<HashMap<Box<str>, Arc<Type>>>> = LazyLock::new(RwLock::default);

/// The built-in type of this full name; one that accepts anything where there is none.
pub fn of(name: &str) -> Arc<Type> {
    try_of(name).unwrap_or_else(|| Arc::new(Type::any(name)))
}

/// The built-in type of this full name.
pub fn try_of(name: &str) -> Option<Arc<Type>> {
    if let Some(found) = TYPES.read().get(name) {
        return Some(found.clone());
    }
    let definitions = roots::definitions(name)?;
    let mut types = TYPES.write();
    for (name, schema) in &definitions {
        if !types.contains_key(name.as_str()) {
            types.insert(name.as_str().into(), Arc::new(build(name, schema)));
        }
    }
    types.get(name).cloned()
}

/// What the schema says of a field of `ty`, a type that `root` is or refers to.
pub fn description(root: &str, ty: &str, field: &str) -> Option<String> {
    let definitions = roots::definitions(root)?;
    let schema = definitions.iter().find(|(name, _)| name.as_str() == ty)?.1;
    Some(schema["properties"][field]["description"].as_str()?.to_owned())
}

fn build(name: &str, schema: &Value) -> Type {
    let facts = facts_of(name);
    let properties = schema.get("properties").and_then(Value::as_object);
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let known = |field: &str| facts.iter().find(|(name, _)| *name == field).map_or(&[][..], |(_, facts)| facts);
    let mut fields: Vec<Field> = properties
        .into_iter()
        .flatten()
        .map(|(field, schema)| {
            let mut out = Field::new(field, shape(schema), required.contains(&field.as_str()));
            for fact in known(field) {
                out.learn(*fact);
            }
            // Top-level kinds and templates carry their metadata in themselves.
            out.value |= matches!(field.as_str(), "metadata" | "template") && out.required && matches!(out.shape, Shape::Object(_));
            out
        })
        .collect();
    fields.sort_by(|a, b| a.name.cmp(&b.name));
    let atomic = known("*").contains(&Fact::Merge("atomic"));
    Type { name: name.into(), fields, atomic, open: properties.is_none(), verbatim: false }
}

impl Field {
    /// A field about which nothing more is known.
    pub fn new(name: &str, shape: Shape, required: bool) -> Self {
        Self {
            name: name.into(),
            shape,
            required,
            value: false,
            pointer: false,
            merge: None,
            patch_merge: false,
            patch_retain_keys: false,
            patch_key: "".into(),
            allowed: Vec::new(),
            default: None,
        }
    }

    fn learn(&mut self, fact: Fact) {
        match fact {
            Fact::Merge("atomic") => self.merge = Some(Merge::Atomic),
            Fact::Merge("granular") => self.merge = Some(Merge::Granular),
            Fact::Merge("set") => self.merge = Some(Merge::Set),
            Fact::Merge(map) => {
                let keys = map.split_once(':').map_or("", |(_, keys)| keys);
                self.merge = Some(Merge::Map(keys.split(',').map(Into::into).collect()));
            }
            Fact::Patch(patch) => {
                let (strategies, key) = patch.split_once(':').unwrap_or((patch, ""));
                self.patch_merge = strategies.split(',').any(|strategy| strategy == "merge");
                self.patch_retain_keys = strategies.split(',').any(|strategy| strategy == "retainKeys");
                self.patch_key = key.into();
            }
            Fact::Enum(values) => self.allowed = values.split('|').map(|value| value.replace('_', " ").into()).collect(),
            Fact::Default(text) => {
                self.default = serde_json::from_str(text).ok();
                // A default of nothing is how upstream marks scalars that are always written.
                self.required |= matches!(text, "0" | "false");
            }
            Fact::Value => {
                let scalar = matches!(self.shape, Shape::String | Shape::Bool | Shape::Int32 | Shape::Int64 | Shape::IntOrString);
                self.required |= scalar;
                self.value = !scalar;
            }
            Fact::Pointer => self.pointer = true,
        }
    }
}

/// The name a `$ref` points at.
pub(super) fn referred(schema: &Value) -> Option<&str> {
    schema.get("$ref")?.as_str()?.rsplit('/').next()
}

fn shape(schema: &Value) -> Shape {
    if let Some(name) = referred(schema) {
        return match name.strip_prefix("io.k8s.apimachinery.pkg.").unwrap_or(name) {
            "api.resource.Quantity" => Shape::Quantity,
            "util.intstr.IntOrString" => Shape::IntOrString,
            "apis.meta.v1.Time" => Shape::Time,
            "apis.meta.v1.MicroTime" => Shape::MicroTime,
            "apis.meta.v1.FieldsV1" | "runtime.RawExtension" => Shape::Any,
            _ if name.contains(".JSONSchemaPropsOr") || name.ends_with(".v1.JSON") => Shape::Any,
            _ => Shape::Object(TypeRef::named(name)),
        };
    }
    let empty = Map::new();
    let map = schema.as_object().unwrap_or(&empty);
    let text = |key: &str| map.get(key).and_then(Value::as_str).unwrap_or_default();
    match (text("type"), text("format")) {
        ("string", "byte") => Shape::Bytes,
        ("string", _) => Shape::String,
        ("integer", "int32") => Shape::Int32,
        ("integer", _) => Shape::Int64,
        ("number", _) => Shape::Float,
        ("boolean", _) => Shape::Bool,
        ("array", _) => Shape::List(Box::new(map.get("items").map_or(Shape::Any, shape))),
        ("object", _) => map.get("additionalProperties").map_or(Shape::Any, |values| Shape::Map(Box::new(shape(values)))),
        _ => Shape::Any,
    }
}
