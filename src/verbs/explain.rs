//! `explain`: what the fields of a kind are for, from the server's own schemas.

use clap::Args;
use serde_json::Value;

use crate::error::VerbError;
use crate::session::{Out, Session};

/// Explains the fields of a kind
#[derive(Debug, Clone, Args)]
pub struct Explain {
    /// As `pods` or `pod.spec.containers`
    what: String,
    /// All fields below, without their descriptions
    #[arg(long)]
    recursive: bool,
}

/// Lines are no longer than this, the four spaces before them apart.
const WIDTH: usize = 76;

impl Explain {
    /// Explains them.
    pub async fn run(&self, session: &Session, out: &mut Out<'_>) -> Result<(), VerbError> {
        let mut path = self.what.trim_end_matches('.').split('.');
        let kind = session.kind(path.next().unwrap_or_default()).await?;
        let group_version = kind.api_version();
        let root = if kind.group.is_empty() { "api" } else { "apis" };
        let document = session.read(format!("/openapi/v3/{root}/{group_version}")).await?;
        let schemas = Schemas(&document);
        let missing = || VerbError::wrong(format!("couldn't find resource for {:?}", format!("{group_version}, Kind={}", kind.kind)));
        let mut schema = schemas.of_kind(&kind.group, &kind.version, &kind.kind).ok_or_else(missing)?;
        let mut field = None;
        for name in path {
            let found = schemas.fields(schema).into_iter().find(|(field, _)| field.as_str() == name);
            let (_, next) = found.ok_or_else(|| VerbError::wrong(format!("field {name:?} does not exist")))?;
            field = Some((name, schemas.type_of(next), next));
            schema = schemas.inner(next);
        }
        if !kind.group.is_empty() {
            out.line(format!("GROUP:      {}", kind.group));
        }
        out.line(format!("KIND:       {}\nVERSION:    {}\n", kind.kind, kind.version));
        if let Some((name, of, _)) = &field {
            out.line(format!("FIELD: {name} <{of}>\n\n"));
        }
        let mut about = field.map_or("", |(_, _, next)| description(next)).to_owned();
        // a field's own words, then those of its type
        if let Some(of_type) = Some(description(schema)).filter(|words| !words.is_empty() && *words != about) {
            about = if about.is_empty() { of_type.to_owned() } else { format!("{about}\n{of_type}") };
        }
        out.line("DESCRIPTION:");
        let about = if about.is_empty() { "<empty>" } else { &about };
        out.line(format!("{}    ", wrapped(about, 4)));
        let fields = schemas.fields(schema);
        if !fields.is_empty() {
            out.line("FIELDS:");
            self.fields(&schemas, schema, 0, out);
        }
        out.line("");
        Ok(())
    }

    fn fields(&self, schemas: &Schemas<'_>, schema: &Value, depth: usize, out: &mut Out<'_>) {
        let required = schema.get("required").and_then(Value::as_array);
        for (name, field) in schemas.fields(schema) {
            let must = if required.is_some_and(|all| all.iter().any(|one| *one == *name)) { " -required-" } else { "" };
            let indent = "  ".repeat(depth + 1);
            out.line(format!("{indent}{name}\t<{}>{must}", schemas.type_of(field)));
            if let Some(values) = field.get("enum").and_then(Value::as_array) {
                let values: Vec<&str> = values.iter().filter_map(Value::as_str).filter(|value| !value.is_empty()).collect();
                out.line(format!("{indent}enum: {}", values.join(", ")));
            }
            if self.recursive {
                // a type may have itself below
                if depth < 12 {
                    self.fields(schemas, schemas.inner(field), depth + 1, out);
                }
            } else {
                let about = if description(field).is_empty() { "<no description>" } else { description(field) };
                out.line(wrapped(about, 4));
            }
        }
    }
}

fn description(schema: &Value) -> &str {
    schema["description"].as_str().unwrap_or_default()
}

/// The schemas of a group's version.
struct Schemas<'a>(&'a Value);

impl<'a> Schemas<'a> {
    fn of_kind(&self, group: &str, version: &str, kind: &str) -> Option<&'a Value> {
        let is = |schema: &&Value| {
            let known = schema["x-kubernetes-group-version-kind"].as_array();
            known.is_some_and(|all| all.iter().any(|one| one["group"] == *group && one["version"] == *version && one["kind"] == *kind))
        };
        self.0.pointer("/components/schemas")?.as_object()?.values().find(is)
    }

    /// The schema that another one refers to, alone or as the only one of several.
    fn resolved(&self, schema: &'a Value) -> &'a Value {
        let reference = schema.get("$ref").or_else(|| schema.pointer("/allOf/0/$ref")).and_then(Value::as_str);
        reference.and_then(|reference| self.0.pointer(reference.trim_start_matches('#'))).unwrap_or(schema)
    }

    /// What a field is made of: the type of its items, its values, or itself.
    fn inner(&self, field: &'a Value) -> &'a Value {
        let field = self.resolved(field);
        match field.get("items").or_else(|| field.get("additionalProperties").filter(|more| more.is_object())) {
            Some(inner) => self.inner(inner),
            None => field,
        }
    }

    fn fields(&self, schema: &'a Value) -> Vec<(&'a String, &'a Value)> {
        let schema = self.inner(schema);
        schema.get("properties").and_then(Value::as_object).into_iter().flatten().collect()
    }

    fn type_of(&self, field: &'a Value) -> String {
        if let Some(items) = field.get("items") {
            return format!("[]{}", self.type_of(items));
        }
        if let Some(values) = field.get("additionalProperties").filter(|more| more.is_object()) {
            return format!("map[string]{}", self.type_of(values));
        }
        let reference = field.get("$ref").or_else(|| field.pointer("/allOf/0/$ref")).and_then(Value::as_str);
        match reference {
            Some(reference) => reference.rsplit(['.', '/']).next().unwrap_or_default().to_owned(),
            None => match field["type"].as_str() {
                Some("object") | None => "Object".to_owned(),
                Some(other) => other.to_owned(),
            },
        }
    }
}

/// A text in lines of some width, indented.
fn wrapped(text: &str, indent: usize) -> String {
    let indent = " ".repeat(indent);
    let mut out = String::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
                out.push_str(&format!("{indent}{line}\n"));
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        out.push_str(&format!("{indent}{line}\n"));
    }
    out
}
