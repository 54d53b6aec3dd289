//! One operation: a method on a path, with its parameters, body and answer.

use serde_json::{Map, Value, json};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const PATCHES: [&str; 5] = [
    "application/apply-patch+cbor",
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// Kind an operation is about.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) group: &'a str,
    pub(super) version: &'a str,
    pub(super) kind: &'a str,
}

/// An operation about to be written.
pub(super) struct Operation<'a> {
    /// `x-kubernetes-action`.
    pub(super) action: &'static str,
    /// `operationId`.
    pub(super) id: String,
    pub(super) tag: String,
    pub(super) target: Target<'a>,
    pub(super) parameters: Vec<Value>,
    /// Type of the body; empty for none.
    pub(super) body: String,
    /// Type of the answer; empty for text.
    pub(super) answer: String,
}

/// A type of the metadata package.
pub(super) fn meta(kind: &str) -> String {
    format!("{META}.{kind}")
}

fn schema(name: &str) -> Value {
    if name.is_empty() { json!({"type": "string"}) } else { json!({"$ref": format!("#/components/schemas/{name}")}) }
}

fn content(types: &[&str], name: &str) -> Value {
    let map: Map<String, Value> = types.iter().map(|&media| (media.to_owned(), json!({"schema": schema(name)}))).collect();
    Value::Object(map)
}

impl Operation<'_> {
    pub(super) fn to_value(&self) -> Value {
        let media: &[&str] = match (self.action, self.answer.is_empty()) {
            ("connect", _) => &["*/*"],
            (_, true) => &["text/plain"],
            ("list", _) => &["application/json", "application/json;stream=watch", "application/yaml"],
            _ => &["application/json", "application/yaml"],
        };
        let ok = |text: &str| json!({"description": text, "content": content(media, &self.answer)});
        let mut responses = json!({"200": ok("OK"), "401": {"description": "Unauthorized"}});
        let more: &[(&str, &str)] = match self.action {
            "post" => &[("201", "Created"), ("202", "Accepted")],
            "put" | "patch" => &[("201", "Created")],
            "delete" => &[("202", "Accepted")],
            _ => &[],
        };
        for (code, text) in more {
            responses[*code] = ok(text);
        }
        let Target { group, version, kind } = self.target;
        let mut out = json!({
            "description": format!("{} {kind}", self.action),
            "operationId": self.id,
            "responses": responses,
            "tags": [self.tag],
            "x-kubernetes-action": self.action,
            "x-kubernetes-group-version-kind": {"group": group, "kind": kind, "version": version},
        });
        if !self.parameters.is_empty() {
            out["parameters"] = json!(self.parameters);
        }
        if !self.body.is_empty() {
            let types: &[&str] = if self.action == "patch" { &PATCHES } else { &["application/json"] };
            out["requestBody"] = json!({"content": content(types, &self.body)});
            if matches!(self.action, "post" | "put" | "patch") {
                out["requestBody"]["required"] = json!(true);
            }
        }
        out
    }
}
