//! How objects are printed: tables, YAML, JSON, names, JSONPath, columns of one's own.

use std::path::{Path, PathBuf};

use coracle_api::yaml;
use serde::Serialize;
use serde_json::{Value, json};

use crate::columns::CustomColumns;
use crate::error::VerbError;
use crate::jsonpath;
use crate::kinds::Kind;
use crate::session::{Out, shown};

/// How objects are printed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Format {
    /// A table.
    #[default]
    Table,
    /// A table with all columns.
    Wide,
    /// `pod/web`.
    Name,
    /// YAML.
    Yaml,
    /// JSON.
    Json,
    /// A JSONPath template.
    JsonPath(String),
    /// A JSONPath template in a file.
    JsonPathFile(PathBuf),
    /// A table of these columns.
    CustomColumns(CustomColumns),
    /// A table of the columns in a file.
    CustomColumnsFile(PathBuf),
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match (text, text.split_once('=')) {
            ("wide", _) => Self::Wide,
            ("name", _) => Self::Name,
            ("yaml", _) => Self::Yaml,
            ("json", _) => Self::Json,
            (_, Some(("jsonpath", template))) => Self::JsonPath(template.to_owned()),
            (_, Some(("jsonpath-file", file))) => Self::JsonPathFile(file.into()),
            (_, Some(("custom-columns", spec))) => Self::CustomColumns(spec.parse()?),
            (_, Some(("custom-columns-file", file))) => Self::CustomColumnsFile(file.into()),
            _ => {
                let templates = "jsonpath=TEMPLATE, jsonpath-file=FILE, custom-columns=SPEC, custom-columns-file=FILE";
                return Err(format!("allowed formats are: wide, name, yaml, json, {templates}"));
            }
        })
    }
}

/// JSON as kubectl prints it: four spaces, and what HTML could take for markup escaped.
pub fn json(value: &Value) -> String {
    let mut text = Vec::new();
    let mut to = serde_json::Serializer::with_formatter(&mut text, serde_json::ser::PrettyFormatter::with_indent(b"    "));
    // writing to memory does not fail
    let _ = value.serialize(&mut to);
    let text = String::from_utf8(text).unwrap_or_default();
    let text = text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    text.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029") + "\n"
}

/// An object without its managed fields.
pub fn without_managed_fields(mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    object
}

/// Prints objects in a form that is no table of the server's; `alone` when one object was asked for by its name, `headed`
/// when columns have headings.
pub fn objects(format: &Format, found: Vec<(&Kind, Value)>, alone: bool, headed: bool, out: &mut Out<'_>) -> Result<(), VerbError> {
    if *format == Format::Name {
        for (kind, object) in &found {
            out.line(shown(kind, object["metadata"]["name"].as_str().unwrap_or_default()));
        }
        return Ok(());
    }
    let columns = match format {
        Format::CustomColumns(columns) => Some(columns.clone()),
        Format::CustomColumnsFile(file) => Some(CustomColumns::of_template(&read(file)?).map_err(VerbError::wrong)?),
        _ => None,
    };
    if let Some(columns) = columns {
        return columns.print(found.iter().map(|(_, object)| object), headed, out);
    }
    let mut found: Vec<Value> = found.into_iter().map(|(_, object)| without_managed_fields(object)).collect();
    let whole = match (alone, found.pop()) {
        (true, Some(one)) => one,
        (_, last) => {
            found.extend(last);
            json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": found})
        }
    };
    match format {
        Format::Yaml => out.put(yaml::to_string(&whole)),
        Format::JsonPath(template) => out.put(filled(template, &whole)?),
        Format::JsonPathFile(file) => out.put(filled(&read(file)?, &whole)?),
        _ => out.put(json(&whole)),
    }
    Ok(())
}

fn filled(template: &str, object: &Value) -> Result<String, VerbError> {
    jsonpath::print(template, object).map_err(|why| VerbError::wrong(format!("error parsing jsonpath {template}, {why}")))
}

fn read(file: &Path) -> Result<String, VerbError> {
    std::fs::read_to_string(file).map_err(|error| VerbError::wrong(format!("error reading template {}, {error}", file.display())))
}

/// Rows under headings, columns as wide as they have to be.
#[derive(Debug, Default)]
pub struct Table {
    widths: Vec<usize>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new<T: Into<String>>(headings: impl IntoIterator<Item = T>) -> Self {
        let mut table = Self::default();
        table.row(headings);
        table
    }

    /// Adds a row.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Prints the rows that were added since this was called last. Columns do not become narrower.
    pub fn print(&mut self, out: &mut Out<'_>) {
        for row in &self.rows {
            for (at, cell) in row.iter().enumerate() {
                let width = (cell.chars().count() + 3).max(6);
                match self.widths.get_mut(at) {
                    Some(widest) => *widest = width.max(*widest),
                    None => self.widths.push(width),
                }
            }
        }
        for row in self.rows.drain(..) {
            let mut line = String::new();
            for (at, cell) in row.iter().enumerate() {
                line.push_str(cell);
                if at + 1 < row.len() {
                    let width = self.widths.get(at).copied().unwrap_or_default();
                    line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
                }
            }
            out.line(line);
        }
    }
}
