//! Brings an object into the form its schema gives it: unknown fields go, defaults come.

use serde_json::Value;

use super::structural::Schema;

/// Whether a field of an object with identity is always kept.
fn is_identity(name: &str) -> bool {
    matches!(name, "apiVersion" | "kind" | "metadata")
}

/// Removes what the schema does not know; answers with the paths of what was removed.
pub fn prune(schema: &Schema, value: &mut Value) -> Vec<String> {
    let mut removed = Vec::new();
    walk(schema, value, true, schema.preserves, &mut String::new(), &mut removed);
    removed
}

/// Runs with a step more in the path.
pub(super) fn below<T>(path: &mut String, step: &str, run: impl FnOnce(&mut String) -> T) -> T {
    let length = path.len();
    if !path.is_empty() && !step.starts_with('[') {
        path.push('.');
    }
    path.push_str(step);
    let out = run(path);
    path.truncate(length);
    out
}

/// `keeps`: fields nobody named stay. The items of a list that keeps them keep theirs.
fn walk(schema: &Schema, value: &mut Value, identity: bool, keeps: bool, path: &mut String, removed: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| {
                if identity && is_identity(name) {
                    return true;
                }
                let known = schema.field(name);
                below(path, name, |path| match known {
                    Some(known) => walk(known, value, known.embedded, known.preserves, path, removed),
                    None if !keeps => removed.push(path.clone()),
                    None => {}
                });
                known.is_some() || keeps
            });
        }
        Value::Array(items) => {
            let Some(item) = &schema.items else { return };
            for (index, value) in items.iter_mut().enumerate() {
                below(path, &format!("[{index}]"), |path| walk(item, value, item.embedded, keeps || item.preserves, path, removed));
            }
        }
        _ => {}
    }
}

/// Whether a null stands where null is no value and nothing can take its place.
fn is_stray_null(schema: &Schema, value: &Value) -> bool {
    value.is_null() && !schema.nullable && schema.default.is_none()
}

/// Removes nulls where null is no value and there is no default: such a field counts as not given.
pub fn drop_nulls(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| schema.field(name).is_none_or(|known| !is_stray_null(known, value)));
            for (name, value) in fields.iter_mut() {
                if let Some(known) = schema.field(name) {
                    drop_nulls(known, value);
                }
            }
        }
        Value::Array(items) => {
            let Some(item) = &schema.items else { return };
            items.iter_mut().for_each(|value| drop_nulls(item, value));
        }
        _ => {}
    }
}

/// Fills in defaults, in place of nulls too where null is no value.
pub fn default(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, schema) in &schema.properties {
                let Some(filled) = &schema.default else { continue };
                let absent = fields.get(name).is_none_or(|value| value.is_null() && !schema.nullable);
                if absent {
                    fields.insert(name.clone(), filled.clone());
                }
            }
            for (name, value) in fields.iter_mut() {
                let Some(known) = schema.field(name) else { continue };
                if let (true, false, Some(filled)) = (value.is_null(), known.nullable, &known.default) {
                    *value = filled.clone();
                }
                default(known, value);
            }
        }
        Value::Array(items) => {
            let Some(item) = &schema.items else { return };
            for value in items {
                if let (true, false, Some(filled)) = (value.is_null(), item.nullable, &item.default) {
                    *value = filled.clone();
                }
                default(item, value);
            }
        }
        _ => {}
    }
}
