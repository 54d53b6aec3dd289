//! `custom-columns`: objects as a table of the fields that somebody asks for.

use std::collections::BTreeMap;
use std::str::{FromStr, Lines};

use serde_json::Value;

use crate::error::VerbError;
use crate::jsonpath;
use crate::output::Table;
use crate::session::Out;

/// Headings, each with the path of what stands below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomColumns(Vec<(String, String)>);

impl FromStr for CustomColumns {
    type Err = String;

    /// Reads `NAME:.metadata.name,IMAGES:.spec.containers[*].image`.
    fn from_str(spec: &str) -> Result<Self, String> {
        if spec.is_empty() {
            return Err("custom-columns format specified but no custom columns given".to_owned());
        }
        let column = |column: &str| -> Result<(String, String), String> {
            let split = column.split_once(':');
            let (heading, path) =
                split.ok_or_else(|| format!("unexpected custom-columns spec: {column}, expected <header>:<json-path-expr>"))?;
            Ok((heading.to_owned(), jsonpath::relaxed(path)?))
        };
        Ok(Self(spec.split(',').map(column).collect::<Result<_, String>>()?))
    }
}

impl CustomColumns {
    /// Reads a line of headings and, under it, a line of paths.
    ///
    /// # Errors
    /// What is wrong with the lines, in words.
    pub fn of_template(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        let (headings, paths) = (words(&mut lines, "header")?, words(&mut lines, "spec")?);
        if headings.len() != paths.len() {
            return Err(format!("number of headers ({}) and field specifications ({}) don't match", headings.len(), paths.len()));
        }
        let mut columns = Vec::new();
        for (heading, path) in headings.into_iter().zip(paths) {
            columns.push((heading.to_owned(), jsonpath::relaxed(path)?));
        }
        Ok(Self(columns))
    }

    /// Prints a row for each object, under the headings if there are to be some.
    ///
    /// # Errors
    /// A path that is none.
    pub fn print<'a>(&self, objects: impl Iterator<Item = &'a Value>, headed: bool, out: &mut Out<'_>) -> Result<(), VerbError> {
        let mut table = Table::default();
        if headed {
            table.row(self.0.iter().map(|(heading, _)| heading.clone()));
        }
        for object in objects {
            let mut cells = Vec::new();
            for (_, path) in &self.0 {
                cells.push(cell(&jsonpath::find(path, object).map_err(VerbError::wrong)?));
            }
            table.row(cells);
        }
        table.print(out);
        Ok(())
    }
}

fn words<'a>(lines: &mut Lines<'a>, what: &str) -> Result<Vec<&'a str>, String> {
    let format = "Expected format is one line of space separated headers, one line of space separated column specs.";
    let line = lines.next().ok_or_else(|| format!("invalid template, missing {what} line. {format}"))?;
    Ok(line.split_whitespace().collect())
}

fn cell(found: &[&Value]) -> String {
    if found.is_empty() {
        return "<none>".to_owned();
    }
    found.iter().map(|value| plain(value)).collect::<Vec<_>>().join(",")
}

/// A value as kubectl has it in a cell: lists and maps as its language prints them.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(" ")),
        Value::Object(fields) => {
            let sorted: BTreeMap<&String, &Value> = fields.iter().collect();
            let fields: Vec<String> = sorted.into_iter().map(|(name, value)| format!("{name}:{}", plain(value))).collect();
            format!("map[{}]", fields.join(" "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    fn printed(columns: &CustomColumns, headed: bool) -> String {
        let (mut text, mut beside) = (Vec::new(), Vec::new());
        let pod = |name: &str, images: Value| json!({"metadata": {"name": name, "labels": {"b": "2", "a": "1"}}, "c": images, "n": null});
        let pods = [pod("web", json!([{"i": "x:1"}, {"i": "y:1"}])), pod("a-longer-name", json!([]))];
        columns.print(pods.iter(), headed, &mut Out { text: &mut text, beside: &mut beside }).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn columns_are_kubectls() {
        let columns: CustomColumns = "NAME:.metadata.name,IMAGES:{.c[*].i},L:metadata.labels,N:{n},X:.x".parse().unwrap();
        let rows = "web             x:1,y:1   map[a:1 b:2]   <nil>   <none>\na-longer-name   <none>    map[a:1 b:2]   <nil>   <none>\n";
        assert_eq!(printed(&columns, true), format!("NAME            IMAGES    L              N       X\n{rows}"));
        assert_eq!(printed(&columns, false), rows);
        let template = "NAME  IMAGES L\tN X\n.metadata.name {.c[*].i} metadata.labels {n} .x\n";
        assert_eq!(CustomColumns::of_template(template).unwrap(), columns);
    }

    #[test]
    fn what_is_wrong_with_columns_is_said() {
        for (spec, why) in [
            ("", "no custom columns given"),
            ("NAME", "unexpected custom-columns spec: NAME, expected <header>:<json-path-expr>"),
            ("NAME:", "unexpected path string"),
            ("NAME:{.a}{.b}", "unexpected path string"),
            ("NAME:.a[", "unterminated array"),
        ] {
            let said = spec.parse::<CustomColumns>().unwrap_err();
            assert!(said.contains(why), "{spec}: {said}");
        }
        for (template, why) in
            [("", "missing header line"), ("A B\n", "missing spec line"), ("A B\n.a\n", "headers (2) and field specifications (1)")]
        {
            let said = CustomColumns::of_template(template).unwrap_err();
            assert!(said.contains(why), "{template}: {said}");
        }
    }
}
