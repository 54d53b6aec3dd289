//! Objects with identity inside of objects: `apiVersion` and `kind` are texts, `metadata` is of the type that all objects share.

use serde_json::{Value, json};

use super::prune::below;
use super::structural::Schema;
use super::validate::child;
use crate::field::FieldError;
use crate::names;
use crate::rules::{Errors, check_metadata};
use crate::schema::{Decoder, Field, FieldValidation, Findings, Shape, Type, TypeRef};

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// A type that has nothing but metadata.
pub(super) fn envelope(name: &str) -> Type {
    let metadata = Field::new("metadata", Shape::Object(TypeRef::named(OBJECT_META)), false);
    Type { name: name.into(), fields: vec![metadata], atomic: false, open: false, verbatim: false }
}

/// Brings the metadata of the object at `path` into form; answers with the paths of fields that metadata does not have.
pub(super) fn shape(ty: &Type, object: &mut Value, path: &str) -> Result<Vec<String>, String> {
    let Some(metadata) = object.get_mut("metadata") else { return Ok(Vec::new()) };
    let mut enclosed = json!({"metadata": metadata.take()});
    let shaped = Decoder::new(ty, "", "").examine(&mut enclosed, &Findings::default(), FieldValidation::Warn);
    *metadata = enclosed["metadata"].take();
    let unknown = shaped?.into_iter().filter_map(|told| Some(told.strip_prefix("unknown field \"")?.strip_suffix('"')?.to_owned()));
    Ok(unknown.map(|below| child(path, &below)).collect())
}

/// Brings the metadata of embedded objects into form; answers with the paths of fields that metadata does not have.
///
/// # Errors
/// The metadata, or a text, is something else.
pub(super) fn coerce(schema: &Schema, value: &mut Value) -> Result<Vec<String>, String> {
    let mut unknown = Vec::new();
    walk(schema, value, &mut String::new(), &mut unknown)?;
    Ok(unknown)
}

fn walk(schema: &Schema, value: &mut Value, path: &mut String, unknown: &mut Vec<String>) -> Result<(), String> {
    if schema.embedded && value.is_object() {
        for name in ["apiVersion", "kind"] {
            if value.get(name).is_some_and(|text| !text.is_string()) {
                return Err(format!("{path}.{name}: Invalid value: {}: must be a string", value[name]));
            }
        }
        unknown.extend(shape(&envelope("ObjectMeta"), value, path).map_err(|why| format!("{path}.metadata: {why}"))?);
    }
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                if let Some(known) = schema.field(name) {
                    below(path, name, |path| walk(known, value, path, unknown))?;
                }
            }
        }
        Value::Array(items) => {
            let Some(item) = &schema.items else { return Ok(()) };
            for (index, value) in items.iter_mut().enumerate() {
                below(path, &format!("[{index}]"), |path| walk(item, value, path, unknown))?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// What is wrong with the identities of embedded objects.
pub(super) fn validate(schema: &Schema, value: &Value, path: &mut String, errors: &mut Vec<FieldError>) {
    match value {
        Value::Object(fields) => {
            if schema.embedded {
                identity(value, path, errors);
            }
            for (name, value) in fields {
                if let Some(known) = schema.field(name) {
                    below(path, name, |path| validate(known, value, path, errors));
                }
            }
        }
        Value::Array(items) => {
            let Some(item) = &schema.items else { return };
            for (index, value) in items.iter().enumerate() {
                below(path, &format!("[{index}]"), |path| validate(item, value, path, errors));
            }
        }
        _ => {}
    }
}

fn identity(object: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let place = |name: &str| format!("{path}.{name}");
    for name in ["apiVersion", "kind"] {
        match object[name].as_str() {
            None | Some("") => errors.push(FieldError::required(place(name), "")),
            Some(version) if name == "apiVersion" => {
                if version.matches('/').count() > 1 {
                    let why = format!("unexpected GroupVersion string: {version}");
                    errors.push(FieldError::invalid(place(name), version, why));
                }
            }
            Some(kind) => {
                let wrong = names::dns1035_label(&kind.to_lowercase());
                if !wrong.is_empty() {
                    let why = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
                    errors.push(FieldError::invalid(place(name), kind, why));
                }
            }
        }
    }
    if !object["metadata"].is_object() {
        return;
    }
    let mut named = json!({"metadata": object["metadata"]});
    if named["metadata"]["name"].as_str().is_none_or(str::is_empty) {
        // It may have none, but what may have none has no rule for names.
        named["metadata"]["name"] = json!("fakename");
    }
    let namespaced = named["metadata"]["namespace"].as_str().is_some_and(|namespace| !namespace.is_empty());
    let mut found = Errors::default();
    check_metadata(&named, namespaced, names::path_segment, &mut found);
    errors.extend(found.0.into_iter().map(|error| FieldError { field: place(&error.field), ..error }));
}
