//! OpenAPI v2 for clients that read no v3, as kubectl up to 1.28: one document of all groups, made from the v3 ones. They
//! ask for it in protobuf (`gnostic`'s `openapi.v2.Document`), others in JSON.

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::kinds::Kind;
use coracle_api::protobuf::Message;
use serde_json::{Map, Value, json};

use super::{RELEASE, make, versions};

/// The document in JSON.
pub(super) fn json(customs: &[Arc<Kind>]) -> Bytes {
    Bytes::from(document(customs).to_string())
}

/// The document in protobuf.
pub(super) fn protobuf(customs: &[Arc<Kind>]) -> Bytes {
    let document = document(customs);
    let mut out = Message::default();
    out.text(1, "2.0");
    out.message(2, |info| {
        info.text(1, "Kubernetes");
        info.text(2, RELEASE);
    });
    out.message(8, |paths| {
        for (path, item) in fields(&document["paths"]) {
            paths.message(2, |named| {
                named.text(1, path);
                named.message(2, |out| path_item(out, item));
            });
        }
    });
    out.message(9, |definitions| named_schemas(definitions, &document["definitions"]));
    Bytes::from(out.finish())
}

fn document(customs: &[Arc<Kind>]) -> Value {
    let (mut definitions, mut paths) = (Map::new(), Map::new());
    for (group, version) in versions(customs).into_values() {
        let mut document = make(group, version, customs);
        if let Value::Object(mut schemas) = document["components"]["schemas"].take() {
            for kind in customs.iter().filter(|kind| kind.group == group && kind.version == version) {
                if let Some(schema) = schemas.get_mut(&*kind.schema) {
                    custom(schema);
                }
            }
            definitions.extend(schemas.into_iter().map(|(name, schema)| (name, definition(schema))));
        }
        if let Value::Object(items) = document["paths"].take() {
            paths.extend(items.into_iter().map(|(path, item)| (path, swagger_path(item))));
        }
    }
    json!({"swagger": "2.0", "info": {"title": "Kubernetes", "version": RELEASE}, "paths": paths, "definitions": definitions})
}

/// Takes out of a custom kind's schema what v2 has no words for. Of one that keeps all fields nothing is said: clients
/// would take every other field for unknown.
fn custom(schema: &mut Value) {
    const NAMES: &str = "x-kubernetes-group-version-kind";
    if keeps_fields(schema) {
        *schema = json!({"type": "object", NAMES: schema[NAMES]});
    }
    simplify(schema);
}

fn keeps_fields(schema: &Value) -> bool {
    schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true))
}

fn simplify(schema: &mut Value) {
    let keeps = keeps_fields(schema);
    let Value::Object(fields) = schema else { return };
    for choice in ["anyOf", "oneOf", "not"] {
        fields.remove(choice);
    }
    let nullable = fields.remove("nullable") == Some(Value::Bool(true));
    if nullable || keeps {
        fields.remove("items");
        fields.remove("properties");
    }
    let of_type = |name: &str| fields.get("type").is_some_and(|own| own == name);
    if nullable || (keeps && of_type("object")) || (of_type("array") && !fields.contains_key("items")) {
        fields.remove("type");
    }
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        let nullable: Vec<String> =
            properties.iter().filter(|(_, schema)| schema["nullable"] == true).map(|(name, _)| name.clone()).collect();
        properties.values_mut().for_each(simplify);
        if let Some(Value::Array(required)) = fields.get_mut("required") {
            required.retain(|name| !nullable.iter().any(|own| name == own));
        }
    }
    for name in ["items", "additionalProperties"] {
        if let Some(inner) = fields.get_mut(name) {
            simplify(inner);
        }
    }
}

/// A v3 schema in v2's words: references point elsewhere and stand alone, choices become text.
fn definition(schema: Value) -> Value {
    let Value::Object(schema) = schema else { return schema };
    let mut out = Map::new();
    for (key, value) in schema {
        match key.as_str() {
            "$ref" => drop(out.insert(key, reference(&value))),
            "allOf" => {
                if let Some(target) = value.get(0).and_then(|one| one.get("$ref")) {
                    out.insert("$ref".to_owned(), reference(target));
                }
            }
            "oneOf" => drop(out.insert("type".to_owned(), json!("string"))),
            "items" | "additionalProperties" => drop(out.insert(key, definition(value))),
            "properties" => {
                let Value::Object(properties) = value else { continue };
                let properties: Map<String, Value> = properties.into_iter().map(|(name, schema)| (name, definition(schema))).collect();
                out.insert(key, Value::Object(properties));
            }
            _ => drop(out.insert(key, value)),
        }
    }
    Value::Object(out)
}

fn reference(target: &Value) -> Value {
    let name = target.as_str().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
    json!(format!("#/definitions/{name}"))
}

fn swagger_path(item: Value) -> Value {
    let Value::Object(item) = item else { return item };
    let converted = item.into_iter().map(|(key, value)| {
        let value = if key == "parameters" { parameters(value) } else { operation(value) };
        (key, value)
    });
    Value::Object(converted.collect())
}

fn parameters(list: Value) -> Value {
    let Value::Array(list) = list else { return json!([]) };
    list.into_iter()
        .map(|mut parameter| {
            let kind = parameter["schema"]["type"].take();
            if let Some(fields) = parameter.as_object_mut() {
                fields.remove("schema");
                fields.insert("type".to_owned(), kind);
                fields.insert("uniqueItems".to_owned(), json!(true));
            }
            parameter
        })
        .collect()
}

fn operation(mut operation: Value) -> Value {
    let media = |content: &Value| content.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    let schema = |content: &Value| content.as_object().and_then(|map| map.values().next()).map(|one| definition(one["schema"].clone()));
    let mut own = parameters(operation["parameters"].take());
    let body = operation["requestBody"].take();
    if let Some(fields) = operation.as_object_mut() {
        fields.remove("requestBody");
    }
    if let Some(schema) = schema(&body["content"]) {
        let parameter = json!({"name": "body", "in": "body", "required": body["required"] == true, "schema": schema});
        if let Some(list) = own.as_array_mut() {
            list.insert(0, parameter);
        }
        operation["consumes"] = json!(media(&body["content"]));
    }
    operation["parameters"] = own;
    let mut produces = Vec::new();
    for response in operation["responses"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        let content = response["content"].take();
        if produces.is_empty() {
            produces = media(&content);
        }
        if let Some(fields) = response.as_object_mut() {
            fields.remove("content");
            if let Some(schema) = schema(&content) {
                fields.insert("schema".to_owned(), schema);
            }
        }
    }
    operation["produces"] = json!(produces);
    operation
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text_of<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// `Any` holds a value as YAML, of which JSON is a part.
fn any(out: &mut Message, field: u32, value: &Value) {
    out.message(field, |any| any.text(2, &value.to_string()));
}

fn extensions(out: &mut Message, field: u32, object: &Value) {
    for (name, value) in fields(object).filter(|(name, _)| name.starts_with("x-")) {
        out.message(field, |named| {
            named.text(1, name);
            any(named, 2, value);
        });
    }
}

fn path_item(out: &mut Message, item: &Value) {
    for (name, field) in [("get", 2), ("put", 3), ("post", 4), ("delete", 5), ("patch", 8)] {
        if let Some(operation) = item.get(name) {
            out.message(field, |out| write_operation(out, operation));
        }
    }
    items(&item["parameters"]).for_each(|parameter| write_parameter(out, 9, parameter));
}

fn write_operation(out: &mut Message, operation: &Value) {
    let texts = |out: &mut Message, field: u32, name: &str| {
        items(&operation[name]).filter_map(Value::as_str).for_each(|text| out.text(field, text))
    };
    texts(out, 1, "tags");
    out.text(3, text_of(operation, "description"));
    out.text(5, text_of(operation, "operationId"));
    texts(out, 6, "produces");
    texts(out, 7, "consumes");
    items(&operation["parameters"]).for_each(|parameter| write_parameter(out, 8, parameter));
    out.message(9, |responses| {
        for (code, response) in fields(&operation["responses"]) {
            responses.message(1, |named| {
                named.text(1, code);
                named.message(2, |value| value.message(1, |out| write_response(out, response)));
            });
        }
    });
    extensions(out, 13, operation);
}

fn write_response(out: &mut Message, response: &Value) {
    out.text(1, text_of(response, "description"));
    if let Some(schema) = response.get("schema") {
        out.message(2, |item| item.message(1, |out| write_schema(out, schema)));
    }
}

fn write_parameter(out: &mut Message, field: u32, parameter: &Value) {
    let required = parameter["required"] == true;
    let place = text_of(parameter, "in");
    out.message(field, |item| {
        item.message(1, |choice| {
            if place == "body" {
                choice.message(1, |body| {
                    body.text(2, text_of(parameter, "name"));
                    body.text(3, place);
                    body.flag(4, required);
                    body.message(5, |out| write_schema(out, &parameter["schema"]));
                });
                return;
            }
            // a path parameter's fields have the numbers of a query parameter's, but for the type
            let (kind, type_field) = if place == "path" { (4, 5) } else { (3, 6) };
            choice.message(2, |other| {
                other.message(kind, |out| {
                    out.flag(1, required);
                    out.text(2, place);
                    out.text(3, text_of(parameter, "description"));
                    out.text(4, text_of(parameter, "name"));
                    out.text(type_field, text_of(parameter, "type"));
                });
            });
        });
    });
}

fn named_schemas(out: &mut Message, schemas: &Value) {
    for (name, schema) in fields(schemas) {
        out.message(1, |named| {
            named.text(1, name);
            named.message(2, |out| write_schema(out, schema));
        });
    }
}

fn write_schema(out: &mut Message, schema: &Value) {
    for (field, name) in [(1, "$ref"), (2, "format"), (4, "description")] {
        out.text(field, text_of(schema, name));
    }
    if let Some(default) = schema.get("default") {
        any(out, 5, default);
    }
    items(&schema["required"]).filter_map(Value::as_str).for_each(|name| out.text(19, name));
    items(&schema["enum"]).for_each(|value| any(out, 20, value));
    if let Some(values) = schema.get("additionalProperties") {
        out.message(21, |item| item.message(1, |out| write_schema(out, values)));
    }
    let kind = text_of(schema, "type");
    if !kind.is_empty() {
        out.message(22, |item| item.text(1, kind));
    }
    if let Some(values) = schema.get("items") {
        out.message(23, |item| item.message(1, |out| write_schema(out, values)));
    }
    if let Some(properties) = schema.get("properties") {
        out.message(25, |out| named_schemas(out, properties));
    }
    extensions(out, 31, schema);
}
