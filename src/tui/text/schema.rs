//! What a server's OpenAPI says about an object: its fields, what they mean, and what is wrong with a value.

use std::sync::Arc;

use serde_json::{Map, Value};

/// One step from a node of an object to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A field of a map.
    Field(String),
    /// Any item of a list.
    Item,
}

/// The schema of a kind, in the document it came in.
#[derive(Debug, Clone)]
pub struct Schema {
    document: Arc<Value>,
    root: String,
}

/// A field that may stand somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type, as `[]string`.
    pub kind: String,
    /// The first sentence about it.
    pub doc: String,
    /// It must be there.
    pub required: bool,
}

/// Something that is not as the schema says: at which field, and what.
pub type Complaint = (String, String);

/// How deep a value is looked at: schemas may lead back to themselves.
const DEEPEST: usize = 64;

impl Schema {
    /// The schema of a kind in an OpenAPI v3 document.
    pub fn find(document: Arc<Value>, group: &str, version: &str, kind: &str) -> Option<Self> {
        let is_of = |schema: &Value| {
            let names = schema.get("x-kubernetes-group-version-kind").and_then(Value::as_array).into_iter().flatten();
            names.into_iter().any(|name| {
                let is = |field: &str, wanted: &str| name.get(field).and_then(Value::as_str).unwrap_or_default() == wanted;
                is("group", group) && is("version", version) && is("kind", kind)
            })
        };
        let schemas = document.pointer("/components/schemas")?.as_object()?;
        let root = schemas.iter().find(|(_, schema)| is_of(schema)).map(|(name, _)| name.clone())?;
        Some(Self { document, root })
    }

    fn named(&self, name: &str) -> Option<&Value> {
        self.document.pointer("/components/schemas")?.get(name)
    }

    /// A schema with what it refers to; `allOf` of one is that one.
    fn resolved<'a>(&'a self, mut schema: &'a Value) -> &'a Value {
        for _ in 0..16 {
            let next = match (schema.get("$ref").and_then(Value::as_str), schema.get("allOf").and_then(Value::as_array)) {
                (Some(reference), _) => reference.rsplit('/').next().and_then(|name| self.named(name)),
                (None, Some(all)) if all.len() == 1 => all.first(),
                _ => None,
            };
            match next {
                Some(next) => schema = next,
                None => break,
            }
        }
        schema
    }

    fn step<'a>(&'a self, schema: &'a Value, step: &Step) -> Option<&'a Value> {
        let schema = self.resolved(schema);
        match step {
            Step::Field(name) => schema
                .get("properties")
                .and_then(|properties| properties.get(name))
                .or_else(|| schema.get("additionalProperties").filter(|more| more.is_object())),
            Step::Item => schema.get("items"),
        }
    }

    /// The node a path leads to, with whatever is said about it where it is used.
    fn at(&self, path: &[Step]) -> Option<&Value> {
        path.iter().try_fold(self.named(&self.root)?, |schema, step| self.step(schema, step))
    }

    /// Fields that may stand in the map at a path; the required first, then by name.
    pub fn fields(&self, path: &[Step]) -> Vec<Field> {
        let Some(schema) = self.at(path).map(|schema| self.resolved(schema)) else { return Vec::new() };
        let required = strings(schema, "required");
        let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        let mut fields: Vec<Field> = properties
            .map(|(name, of)| Field {
                name: name.clone(),
                kind: self.type_of(of),
                doc: self.doc_of(of),
                required: required.contains(&name.as_str()),
            })
            .collect();
        fields.sort_by(|a, b| b.required.cmp(&a.required).then_with(|| a.name.cmp(&b.name)));
        fields
    }

    /// Type and documentation of what stands at a path.
    pub fn about(&self, path: &[Step]) -> Option<(String, String)> {
        let schema = self.at(path)?;
        Some((self.type_of(schema), self.doc_of(schema)))
    }

    /// Values that may stand at a path, where they are few.
    pub fn values(&self, path: &[Step]) -> Vec<String> {
        let Some(schema) = self.at(path).map(|schema| self.resolved(schema)) else { return Vec::new() };
        if schema.get("type").and_then(Value::as_str) == Some("boolean") {
            return vec!["true".to_owned(), "false".to_owned()];
        }
        schema.get("enum").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Whether a map or a list stands below the field at a path, not a plain value.
    pub fn is_nested(&self, path: &[Step]) -> Option<&'static str> {
        match self.at(path).map(|schema| self.resolved(schema))?.get("type").and_then(Value::as_str)? {
            "array" => Some("list"),
            "object" => Some("map"),
            _ => None,
        }
    }

    fn type_of(&self, schema: &Value) -> String {
        let schema = self.resolved(schema);
        if is_int_or_string(schema) {
            return "integer or string".to_owned();
        }
        match schema.get("type").and_then(Value::as_str) {
            Some("array") => format!("[]{}", schema.get("items").map(|items| self.type_of(items)).unwrap_or_default()),
            Some("object") => match schema.get("additionalProperties").filter(|more| more.is_object()) {
                Some(more) => format!("map of {}", self.type_of(more)),
                None => "object".to_owned(),
            },
            Some(plain) => plain.to_owned(),
            None => "any".to_owned(),
        }
    }

    /// What is said where it is used, else where it is described.
    fn doc_of(&self, schema: &Value) -> String {
        let text = |schema: &Value| schema.get("description").and_then(Value::as_str).map(str::to_owned);
        let text = text(schema).or_else(|| text(self.resolved(schema))).unwrap_or_default();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// What is wrong with an object.
    pub fn complaints(&self, object: &Value) -> Vec<Complaint> {
        let mut found = Vec::new();
        if let Some(schema) = self.named(&self.root) {
            self.check(object, schema, "", 0, &mut found);
        }
        found
    }

    fn check(&self, value: &Value, schema: &Value, path: &str, depth: usize, found: &mut Vec<Complaint>) {
        let schema = self.resolved(schema);
        if depth > DEEPEST || value.is_null() || is_int_or_string(schema) {
            return;
        }
        let wanted = schema.get("type").and_then(Value::as_str).unwrap_or_default();
        let fits = match wanted {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            _ => true,
        };
        // quantities are written as numbers too, and the server takes them
        let quantity = wanted == "string" && value.is_number() && path.contains("resources");
        if !fits && !quantity {
            return found.push((path.to_owned(), format!("{} is wanted here, not {}", article(wanted), name_of(value))));
        }
        let values: Vec<&str> = schema.get("enum").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        if let Some(text) = value.as_str().filter(|text| !values.is_empty() && !values.contains(text)) {
            found.push((path.to_owned(), format!("{text:?} is none of {}", values.join(", "))));
        }
        match value {
            Value::Object(map) => self.check_map(map, schema, path, depth, found),
            Value::Array(items) => {
                let Some(of) = schema.get("items") else { return };
                for (index, item) in items.iter().enumerate() {
                    self.check(item, of, &format!("{path}[{index}]"), depth + 1, found);
                }
            }
            _ => {}
        }
    }

    fn check_map(&self, map: &Map<String, Value>, schema: &Value, path: &str, depth: usize, found: &mut Vec<Complaint>) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let more = schema.get("additionalProperties");
        let open = properties.is_none()
            || schema.get("x-kubernetes-preserve-unknown-fields").and_then(Value::as_bool) == Some(true)
            || more.is_some_and(|more| more == &Value::Bool(true));
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        for (name, value) in map {
            match properties.and_then(|properties| properties.get(name)).or(more.filter(|more| more.is_object())) {
                Some(of) => self.check(value, of, &below(name), depth + 1, found),
                None if open => {}
                None => found.push((below(name), format!("unknown field{}", self.meant(name, properties)))),
            }
        }
        for name in strings(schema, "required").into_iter().filter(|name| !map.contains_key(*name)) {
            found.push((path.to_owned(), format!("{name} is missing")));
        }
    }

    /// `; did you mean replicas?`
    fn meant(&self, name: &str, properties: Option<&Map<String, Value>>) -> String {
        let near = properties.into_iter().flatten().map(|(known, _)| (distance(name, known), known)).min();
        near.filter(|(far, _)| *far <= 2 && *far < name.len()).map(|(_, known)| format!("; did you mean {known}?")).unwrap_or_default()
    }
}

fn is_int_or_string(schema: &Value) -> bool {
    schema.get("x-kubernetes-int-or-string").and_then(Value::as_bool) == Some(true)
        || schema.get("format").and_then(Value::as_str) == Some("int-or-string")
        || schema.get("oneOf").is_some()
        || schema.get("anyOf").is_some()
}

fn article(kind: &str) -> String {
    match kind {
        "object" => "a map".to_owned(),
        "array" => "a list".to_owned(),
        "integer" => "an integer".to_owned(),
        other => format!("a {other}"),
    }
}

fn name_of(value: &Value) -> String {
    match value {
        Value::Object(_) => "a map".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        other => other.to_string(),
    }
}

fn strings<'a>(schema: &'a Value, field: &str) -> Vec<&'a str> {
    schema.get(field).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// How many letters must be changed to make one of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let cost = (corner + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            corner = std::mem::replace(&mut row[j + 1], cost);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    /// The form upstream serves, cut down.
    pub fn document() -> Value {
        let reference = |name: &str| json!({"allOf": [{"$ref": format!("#/components/schemas/{name}")}], "default": {}});
        json!({"components": {"schemas": {
            "io.k8s.api.apps.v1.Deployment": {
                "x-kubernetes-group-version-kind": [{"group": "apps", "version": "v1", "kind": "Deployment"}],
                "type": "object",
                "properties": {
                    "apiVersion": {"type": "string"}, "kind": {"type": "string"},
                    "metadata": {"type": "object", "properties": {"name": {"type": "string"}, "labels": {"type": "object", "additionalProperties": {"type": "string"}}}},
                    "spec": {"description": "Specification of the desired behavior.", "allOf": [{"$ref": "#/components/schemas/Spec"}]},
                }
            },
            "Spec": {"type": "object", "required": ["selector"], "properties": {
                "replicas": {"type": "integer", "description": "Number of desired pods.\n Defaults to 1."},
                "paused": {"type": "boolean"},
                "selector": {"type": "object"},
                "template": reference("Template"),
            }},
            "Template": {"type": "object", "properties": {"containers": {"type": "array", "items": reference("Container")}}},
            "Container": {"type": "object", "required": ["name"], "properties": {
                "name": {"type": "string"}, "image": {"type": "string"},
                "imagePullPolicy": {"type": "string", "enum": ["Always", "IfNotPresent", "Never"]},
                "ports": {"type": "array", "items": {"type": "object", "properties": {"containerPort": {"type": "integer"}}}},
                "port": {"x-kubernetes-int-or-string": true},
            }},
        }}})
    }

    fn schema() -> Schema {
        Schema::find(Arc::new(document()), "apps", "v1", "Deployment").unwrap()
    }

    #[test]
    fn fields_values_and_documentation_are_found_through_references() {
        let schema = schema();
        let spec = [Step::Field("spec".into())];
        let names: Vec<String> = schema.fields(&spec).into_iter().map(|field| field.name).collect();
        assert_eq!(names, ["selector", "paused", "replicas", "template"]);
        let container = ["spec", "template", "containers"].map(|name| Step::Field(name.into()));
        let container: Vec<Step> = container.into_iter().chain([Step::Item]).collect();
        assert_eq!(schema.fields(&container)[0].name, "name");
        let policy: Vec<Step> = container.iter().cloned().chain([Step::Field("imagePullPolicy".into())]).collect();
        assert_eq!(schema.values(&policy), ["Always", "IfNotPresent", "Never"]);
        let replicas = [Step::Field("spec".into()), Step::Field("replicas".into())];
        assert_eq!(schema.about(&replicas), Some(("integer".into(), "Number of desired pods. Defaults to 1.".into())));
        assert_eq!(schema.about(&spec).unwrap().1, "Specification of the desired behavior.");
        assert_eq!(schema.is_nested(&container[..3]), Some("list"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_field() {
        let object = json!({"kind": "Deployment", "metadata": {"name": "web", "labels": {"a": "b"}}, "spec": {
            "replcas": 2, "paused": "yes", "template": {"containers": [{"image": 7, "imagePullPolicy": "Sometimes", "port": "http"}]}}});
        let complaints = schema().complaints(&object);
        let said: Vec<String> = complaints.iter().map(|(field, message)| format!("{field}: {message}")).collect();
        assert_eq!(
            said,
            [
                "spec.paused: a boolean is wanted here, not \"yes\"",
                "spec.replcas: unknown field; did you mean replicas?",
                "spec.template.containers[0].image: a string is wanted here, not 7",
                "spec.template.containers[0].imagePullPolicy: \"Sometimes\" is none of Always, IfNotPresent, Never",
                "spec.template.containers[0]: name is missing",
                "spec: selector is missing",
            ]
        );
    }
}
