//! The component schemas of OpenAPI v3 documents, as upstream publishes them for a group version: what `kubectl explain`,
//! `create` and `apply` read. Paths are the server's.

use serde_json::{Map, Value, json};

use crate::kinds::{self, Kind};
use crate::schema::{Fact, Shape, Type, definitions, facts_of, try_of};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const RAW_EXTENSION: &str = "io.k8s.apimachinery.pkg.runtime.RawExtension";
const LIST_API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert \
    recognized schemas to the latest internal value, and may reject unrecognized values. More info: \
    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const LIST_KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from \
    the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: \
    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";

/// `components.schemas` for the built-in kinds of a group version, everything they refer to, and the bodies every
/// resource takes or answers (`DeleteOptions`, `Patch`, `Status`, `WatchEvent`).
pub fn schemas(group: &str, version: &str, customs: &[&Kind]) -> Map<String, Value> {
    let mut out = Map::new();
    let builtin = kinds::builtin().iter().filter(|kind| kind.group == group && kind.version == version);
    let rows: Vec<&Kind> = builtin.chain(customs.iter().copied()).collect();
    let bodies = rows.iter().flat_map(|kind| kind.subresources.iter()).map(|sub| (&*sub.schema, &*sub.group, &*sub.version, &*sub.kind));
    let objects = rows.iter().map(|kind| (&*kind.schema, &*kind.group, &*kind.version, &*kind.kind));
    let common = ["DeleteOptions", "Status"].map(|kind| (format!("{META}.{kind}"), kind));
    let common_rows = common.iter().map(|(name, kind)| (name.as_str(), "", "v1", *kind));
    for (name, group, version, kind) in objects.chain(bodies).chain(common_rows).filter(|(name, ..)| !name.is_empty()) {
        for (name, schema) in definitions(name).into_iter().flatten() {
            if !out.contains_key(&name) {
                let schema = component(&name, &schema);
                out.insert(name, schema);
            }
        }
        if let Some(schema) = out.get_mut(name) {
            schema["x-kubernetes-group-version-kind"] = json!([{"group": group, "version": version, "kind": kind}]);
        }
    }
    if !customs.is_empty() {
        let shared = ["ObjectMeta", "ListMeta"].into_iter().flat_map(|kind| definitions(&format!("{META}.{kind}")));
        for (name, schema) in shared.flatten() {
            let schema = component(&name, &schema);
            out.insert(name, schema);
        }
    }
    for kind in customs {
        out.insert(kind.schema.to_string(), custom(kind));
    }
    for kind in rows.iter().filter(|kind| kind.has_verb("list")) {
        out.insert(format!("{}List", kind.schema), list(kind));
    }
    out.insert(
        format!("{META}.Patch"),
        json!({"description": "Patch is provided to give a concrete name and type to the Kubernetes PATCH request body.", "type": "object"}),
    );
    out.insert(format!("{META}.WatchEvent"), watch_event());
    out.insert(
        RAW_EXTENSION.to_owned(),
        json!({"description": "RawExtension is used to hold extensions in external versions.", "type": "object"}),
    );
    if let Some(options) = out.get_mut(&format!("{META}.DeleteOptions")) {
        let mut versions = vec![json!({"group": "", "version": "v1", "kind": "DeleteOptions"})];
        if !group.is_empty() {
            versions.push(json!({"group": group, "version": version, "kind": "DeleteOptions"}));
        }
        options["x-kubernetes-group-version-kind"] = json!(versions);
    }
    out
}

/// The published schema of a custom kind: its own, with what every object has.
fn custom(kind: &Kind) -> Value {
    let Some(custom) = &kind.custom else { return Value::Null };
    let mut schema = published(&custom.published);
    schema["type"] = json!("object");
    with_identity(&mut schema);
    schema["x-kubernetes-group-version-kind"] = json!([{"group": kind.group, "version": kind.version, "kind": kind.kind}]);
    schema
}

const OBJECT_METADATA: &str = "Standard object's metadata. More info: \
    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

fn with_identity(schema: &mut Value) {
    schema["properties"]["apiVersion"] = json!({"type": "string", "description": LIST_API_VERSION});
    schema["properties"]["kind"] = json!({"type": "string", "description": LIST_KIND});
    schema["properties"]["metadata"] =
        json!({"description": OBJECT_METADATA, "allOf": [{"$ref": reference(&format!("{META}.ObjectMeta"))}]});
}

/// A schema as documents carry it.
fn published(schema: &Value) -> Value {
    let Value::Object(fields) = schema else { return schema.clone() };
    let mut out = Map::new();
    for (name, value) in fields {
        let value = match (name.as_str(), value) {
            ("properties", Value::Object(fields)) => {
                Value::Object(fields.iter().map(|(name, schema)| (name.clone(), published(schema))).collect())
            }
            ("items" | "additionalProperties" | "not", value) => published(value),
            ("allOf" | "anyOf" | "oneOf", Value::Array(all)) => all.iter().map(published).collect(),
            (_, value) => value.clone(),
        };
        out.insert(name.clone(), value);
    }
    let mut out = Value::Object(out);
    if schema["x-kubernetes-embedded-resource"] == true {
        with_identity(&mut out);
    }
    out
}

fn reference(name: &str) -> String {
    format!("#/components/schemas/{name}")
}

/// The published form of one definition of the API types' schemas.
fn component(name: &str, schema: &Value) -> Value {
    match name.strip_prefix("io.k8s.apimachinery.pkg.").unwrap_or(name) {
        "api.resource.Quantity" => {
            return json!({"description": schema["description"], "oneOf": [{"type": "string"}, {"type": "number"}]});
        }
        "util.intstr.IntOrString" => {
            return json!({"description": schema["description"], "format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]});
        }
        _ if name.contains(".JSONSchemaPropsOr") || name.ends_with(".v1.JSON") => return json!({"description": schema["description"]}),
        _ => {}
    }
    let ty = try_of(name);
    let mut out = Map::new();
    for key in ["description", "type", "format", "required"] {
        if let Some(value) = schema.get(key) {
            out.insert(key.to_owned(), value.clone());
        }
    }
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        let described = properties.iter().map(|(field, schema)| (field.clone(), property(name, ty.as_deref(), field, schema)));
        out.insert("properties".to_owned(), Value::Object(described.collect()));
    }
    if ty.is_some_and(|ty| ty.atomic) {
        out.insert("x-kubernetes-map-type".to_owned(), json!("atomic"));
    }
    // The API types call every object's metadata required; upstream's document only an event's.
    if name != "io.k8s.api.core.v1.Event" && out.get("properties").is_some_and(|fields| fields.get("apiVersion").is_some()) {
        if let Some(required) = out.get_mut("required").and_then(Value::as_array_mut) {
            required.retain(|field| field != "metadata");
        }
        if out.get("required").is_some_and(|required| required == &json!([])) {
            out.remove("required");
        }
    }
    Value::Object(out)
}

fn property(name: &str, ty: Option<&Type>, field: &str, schema: &Value) -> Value {
    let mut out = shape(schema, false);
    let known = ty.and_then(|ty| ty.field(field));
    if let Some(known) = known {
        let is_object = matches!(known.shape, Shape::Object(_));
        let default = match &known.shape {
            Shape::Object(_) if known.value => Some(json!({})),
            Shape::String if known.required && known.default.is_none() && !known.pointer && !matches!(field, "apiVersion" | "kind") => {
                Some(json!(""))
            }
            _ => known.default.clone(),
        };
        if let Some(default) = default {
            if is_object {
                wrap(&mut out);
            }
            out.insert("default".to_owned(), default);
        }
    }
    let is_list = out.get("type").is_some_and(|kind| kind == "array");
    let facts = facts_of(name).iter().find(|(own, _)| *own == field).map_or(&[][..], |(_, facts)| facts);
    for fact in facts {
        annotate(&mut out, *fact, is_list);
    }
    Value::Object(out)
}

fn annotate(out: &mut Map<String, Value>, fact: Fact, is_list: bool) {
    match fact {
        Fact::Merge(merge) => {
            let (kind, keys) = merge.split_once(':').map_or((merge, None), |(kind, keys)| (kind, Some(keys)));
            let word = if is_list { "x-kubernetes-list-type" } else { "x-kubernetes-map-type" };
            out.insert(word.to_owned(), json!(kind));
            if let Some(keys) = keys {
                out.insert("x-kubernetes-list-map-keys".to_owned(), keys.split(',').map(Value::from).collect());
            }
        }
        Fact::Patch(patch) => {
            let (strategy, key) = patch.split_once(':').map_or((patch, None), |(strategy, key)| (strategy, Some(key)));
            out.insert("x-kubernetes-patch-strategy".to_owned(), json!(strategy));
            if let Some(key) = key {
                out.insert("x-kubernetes-patch-merge-key".to_owned(), json!(key));
            }
        }
        Fact::Enum(values) => {
            let values: Value = values.split('|').map(|value| Value::from(value.replace('_', " "))).collect();
            // The items of a list are what is limited.
            match out.get_mut("items").and_then(Value::as_object_mut) {
                Some(items) if is_list => items.insert("enum".to_owned(), values),
                _ => out.insert("enum".to_owned(), values),
            };
        }
        Fact::Default(_) | Fact::Value | Fact::Pointer => {}
    }
}

/// Moves a reference into `allOf`, where it may have neighbours.
fn wrap(out: &mut Map<String, Value>) {
    if let Some(reference) = out.remove("$ref") {
        out.insert("allOf".to_owned(), json!([{"$ref": reference}]));
    }
}

/// A property's or an item's schema. Items and values of maps have their type's zero value as default.
fn shape(schema: &Value, inner: bool) -> Map<String, Value> {
    let mut out = Map::new();
    let source = schema.as_object();
    for (key, value) in source.into_iter().flatten() {
        match key.as_str() {
            "$ref" => {
                let name = value.as_str().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
                out.insert("$ref".to_owned(), json!(reference(name)));
            }
            "items" | "additionalProperties" => {
                out.insert(key.clone(), Value::Object(shape(value, true)));
            }
            "description" | "type" | "format" => {
                out.insert(key.clone(), value.clone());
            }
            _ => {}
        }
    }
    if inner {
        let is_structure = out.get("$ref").and_then(Value::as_str).is_some_and(|path| {
            let name = path.rsplit('/').next().unwrap_or_default();
            try_of(name).is_some_and(|ty| !ty.fields.is_empty())
        });
        let default = match out.get("type").and_then(Value::as_str) {
            _ if is_structure => Some(json!({})),
            Some("string") if !out.contains_key("format") => Some(json!("")),
            Some("integer" | "number") => Some(json!(0)),
            Some("boolean") => Some(json!(false)),
            _ => None,
        };
        if let Some(default) = default {
            out.insert("default".to_owned(), default);
        }
    }
    if out.len() > 1 {
        wrap(&mut out);
    }
    out
}

fn list(kind: &Kind) -> Value {
    json!({
        "description": format!("{} is a list of {}.", kind.list_kind, kind.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"description": LIST_API_VERSION, "type": "string"},
            "kind": {"description": LIST_KIND, "type": "string"},
            "metadata": {
                "description": "Standard list metadata.",
                "default": {},
                "allOf": [{"$ref": reference(&format!("{META}.ListMeta"))}],
            },
            "items": {
                "description": format!("List of {}.", kind.plural),
                "type": "array",
                "items": {"default": {}, "allOf": [{"$ref": reference(&kind.schema)}]},
            },
        },
        "x-kubernetes-group-version-kind": [{"group": kind.group, "version": kind.version, "kind": kind.list_kind}],
    })
}

fn watch_event() -> Value {
    json!({
        "description": "Event represents a single event to a watched resource.",
        "type": "object",
        "required": ["type", "object"],
        "properties": {
            "type": {"type": "string", "default": ""},
            "object": {"$ref": reference(RAW_EXTENSION)},
        },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn references(value: &Value, out: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                out.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                map.values().for_each(|value| references(value, out));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, out)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_to_a_schema() {
        let mut versions: Vec<(&str, &str)> = kinds::builtin().iter().map(|kind| (&*kind.group, &*kind.version)).collect();
        versions.dedup();
        for (group, version) in versions {
            let schemas = schemas(group, version, &[]);
            let mut found = Vec::new();
            schemas.values().for_each(|schema| references(schema, &mut found));
            for path in found {
                let name = path.strip_prefix("#/components/schemas/").unwrap();
                assert!(schemas.contains_key(name), "{group}/{version}: {name}");
            }
        }
    }

    #[test]
    fn fields_carry_what_upstream_says_of_them() {
        let schemas = schemas("", "v1", &[]);
        let pod = &schemas["io.k8s.api.core.v1.Pod"];
        assert_eq!(pod["x-kubernetes-group-version-kind"], json!([{"group": "", "version": "v1", "kind": "Pod"}]));
        assert_eq!(pod["properties"]["spec"]["allOf"], json!([{"$ref": "#/components/schemas/io.k8s.api.core.v1.PodSpec"}]));
        assert_eq!(pod["properties"]["spec"]["default"], json!({}));
        assert_eq!(pod.get("required"), None);
        assert_eq!(schemas["io.k8s.api.core.v1.Event"]["required"], json!(["involvedObject", "metadata"]));
        let spec = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"];
        assert_eq!(spec["volumes"]["x-kubernetes-patch-strategy"], "merge,retainKeys");
        assert_eq!(spec["containers"]["x-kubernetes-list-map-keys"], json!(["name"]));
        assert_eq!(
            spec["containers"]["items"],
            json!({"default": {}, "allOf": [{"$ref": "#/components/schemas/io.k8s.api.core.v1.Container"}]})
        );
        assert_eq!(spec["restartPolicy"]["enum"], json!(["Always", "Never", "OnFailure"]));
        assert_eq!(spec["securityContext"].get("default"), None);
        assert_eq!(spec["containers"]["type"], "array");
        assert_eq!(schemas["io.k8s.apimachinery.pkg.api.resource.Quantity"]["oneOf"], json!([{"type": "string"}, {"type": "number"}]));
    }
}
