//! OpenAPI v3: the index and one document for each group version, as kubectl's create, apply and explain read them; and one
//! document of v2 for kubectl before 1.29.
//! Schemas are `api`'s; paths and their parameters follow from the registry of kinds. Documents are made when first
//! asked for, and kept.

mod operation;
mod parameters;
mod paths;
mod swagger;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use coracle_api::kinds::{self, Kind};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::discovery::{Document, etag};

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const RELEASE: &str = "v1.36.0";

/// Documents already made, by their name in the index.
static MADE: LazyLock<Mutex<BTreeMap<String, Arc<Document>>>> = LazyLock::new(Mutex::default);

/// The document at a path below `/openapi`, in a form that `accept` takes; `None` where there is none.
pub fn answer(path: &str, accept: &str, customs: &[Arc<Kind>]) -> Option<Document> {
    let path = path.trim_end_matches('/');
    if path == "/openapi/v2" {
        return Some(kept("v2", accept.contains("protobuf"), customs));
    }
    let name = path.strip_prefix("/openapi/v3")?;
    match name.strip_prefix('/') {
        None if name.is_empty() => Some(index(customs)),
        None => None,
        Some(name) => document(name, customs).map(|document| (*document).clone()),
    }
}

/// The document of all groups, made once in each form.
fn kept(name: &str, protobuf: bool, customs: &[Arc<Kind>]) -> Document {
    let name = if protobuf { format!("{name} in protobuf") } else { name.to_owned() };
    if customs.is_empty()
        && let Some(made) = MADE.lock().get(&name)
    {
        return (**made).clone();
    }
    let (content_type, body) = if protobuf { (PROTOBUF, swagger::protobuf(customs)) } else { (JSON, swagger::json(customs)) };
    let document = Document { content_type, etag: Some(etag(&body)), body };
    if customs.is_empty() {
        MADE.lock().insert(name, Arc::new(document.clone()));
    }
    document
}

/// Name in the index, group and version of every group version.
fn versions(customs: &[Arc<Kind>]) -> BTreeMap<String, (&str, &str)> {
    let all = kinds::builtin().iter().chain(customs.iter().map(|kind| &**kind));
    all.map(|kind| (name(&kind.group, &kind.version), (&*kind.group, &*kind.version))).collect()
}

fn name(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// Where the documents are. They come without a hash in their addresses: clients ask whether theirs is still good by its
/// ETag, and no document is made that nobody reads.
fn index(customs: &[Arc<Kind>]) -> Document {
    let paths: BTreeMap<String, Value> =
        versions(customs).into_keys().map(|name| (name.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{name}")}))).collect();
    let body = Bytes::from(json!({"paths": paths}).to_string());
    Document { content_type: JSON, etag: Some(etag(&body)), body }
}

fn document(name: &str, customs: &[Arc<Kind>]) -> Option<Arc<Document>> {
    let has_customs = customs.iter().any(|kind| self::name(&kind.group, &kind.version) == name);
    if !has_customs && let Some(made) = MADE.lock().get(name) {
        return Some(made.clone());
    }
    let (group, version) = *versions(customs).get(name)?;
    let body = Bytes::from(make(group, version, customs).to_string());
    let document = Arc::new(Document { content_type: JSON, etag: Some(etag(&body)), body });
    if !has_customs {
        MADE.lock().insert(name.to_owned(), document.clone());
    }
    Some(document)
}

fn make(group: &str, version: &str, customs: &[Arc<Kind>]) -> Value {
    let customs: Vec<&Kind> = customs.iter().map(|kind| &**kind).filter(|kind| kind.group == group && kind.version == version).collect();
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": RELEASE},
        "paths": paths::of(group, version, &customs),
        "components": {
            "schemas": coracle_api::openapi::schemas(group, version, &customs),
            "securitySchemes": {
                "BearerToken": {"description": "Bearer Token authentication", "in": "header", "name": "authorization", "type": "apiKey"},
            },
        },
    })
}

#[cfg(test)]
mod tests;
