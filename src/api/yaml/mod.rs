//! YAML as kubectl reads and prints it (`sigs.k8s.io/yaml`, which speaks YAML 1.1 for scalars): `yes` is true and `0644`
//! is octal, merge keys and anchors work, JSON is accepted, several documents stand in one text.
//!
//! Syntax comes from `granit-parser`, whose events carry positions and which goes on after a broken document; serde's
//! readers lose positions and read scalars as YAML 1.2. Anchors cannot be used to blow a small text up.

mod emit;
mod scalar;
mod tree;

use serde_json::Value;

pub use emit::to_string;
use tree::Tree;

/// One document of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Position among the documents of the text, from 0; empty documents do not count.
    pub index: usize,
    /// Line on which the document's content begins, from 1.
    pub line: usize,
    /// The content, as JSON.
    pub value: Value,
    /// Keys that were set twice in one map; the last value counts.
    pub duplicates: Vec<YamlError>,
}

/// What is wrong in a text, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct YamlError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// The documents of a text, in order; a broken document does not hide those after it. Empty documents are left out.
pub fn documents(text: &str) -> Vec<Result<Document, YamlError>> {
    let read: Vec<Result<Document, YamlError>> = tree::read(text)
        .into_iter()
        .enumerate()
        .map(|(index, tree)| {
            tree.and_then(|tree| {
                let (value, duplicates) = tree.to_value()?;
                Ok(Document { index, line: tree.line(), value, duplicates })
            })
        })
        .collect();
    // JSON knows escapes that YAML does not
    let json = if text.trim_start().starts_with('{') && read.iter().any(Result::is_err) { json_documents(text) } else { None };
    json.unwrap_or(read)
}

fn json_documents(text: &str) -> Option<Vec<Result<Document, YamlError>>> {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let mut out = Vec::new();
    loop {
        let rest = text.get(stream.byte_offset()..)?;
        let begin = text.len() - rest.trim_start().len();
        match stream.next() {
            None => return Some(out),
            Some(Err(_)) => return None,
            Some(Ok(value)) => {
                let line = text[..begin].matches('\n').count() + 1;
                out.push(Ok(Document { index: out.len(), line, value, duplicates: Vec::new() }));
            }
        }
    }
}

/// Line and column, from 1, at which a field stands in a document of a text: `spec.containers[0].image`,
/// `metadata.labels[app]`. A field that is absent is located at the nearest one around it that is there; `None` when
/// there is no such document.
pub fn locate(text: &str, document: usize, field_path: &str) -> Option<(usize, usize)> {
    match tree::read(text).into_iter().nth(document) {
        Some(Ok(tree)) => Some(tree.locate(&steps(field_path))),
        _ => None,
    }
}

/// The parts of a field path; what stands in brackets may hold dots.
fn steps(path: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let (step, after) = inside.split_once(']').unwrap_or((inside, ""));
            out.push(step.trim_matches('"').to_owned());
            rest = after.strip_prefix('.').unwrap_or(after);
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            if end > 0 {
                out.push(rest[..end].to_owned());
            }
            rest = rest[end..].strip_prefix('.').unwrap_or(&rest[end..]);
        }
    }
    out
}

impl Tree {
    fn error(line: usize, column: usize, message: impl Into<String>) -> YamlError {
        YamlError { line, column, message: message.into() }
    }
}

#[cfg(test)]
mod tests;
