//! Tables: what kubectl prints, one row for an object. The cells are `present`'s.

use coracle_api::field::FieldError;
use coracle_api::kinds::Kind;
use coracle_api::status::Status;
use http::Response;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::http::body::Body;
use crate::http::query::Query;
use crate::negotiate::Encoding;
use crate::registry::list::Page;
use crate::registry::{Call, metadata_only};
use crate::vocabulary::invalid_options;
use crate::{answer, codec};

/// What a row carries of its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IncludeObject {
    None,
    Metadata,
    Object,
}

impl IncludeObject {
    pub(crate) fn parse(query: &Query) -> Result<Self, Status> {
        match query.text("includeObject") {
            None | Some("Metadata") => Ok(Self::Metadata),
            Some("None") => Ok(Self::None),
            Some("Object") => Ok(Self::Object),
            Some(other) => {
                let error = FieldError::not_supported("includeObject", other, &["Metadata", "None", "Object"]);
                Err(invalid_options("TableOptions", error))
            }
        }
    }
}

fn columns(kind: &Kind) -> Value {
    crate::cells::columns(kind)
}

fn row(kind: &Kind, object: &Value, include: IncludeObject, now: Timestamp) -> Value {
    let carried = match include {
        IncludeObject::None => Value::Null,
        IncludeObject::Metadata => metadata_only(object),
        IncludeObject::Object => object.clone(),
    };
    json!({"cells": crate::cells::cells(kind, object, now), "object": carried})
}

fn table(metadata: &Value, columns: Option<Value>, rows: Vec<Value>) -> Value {
    let columns = columns.unwrap_or(Value::Null);
    json!({"apiVersion": "meta.k8s.io/v1", "kind": "Table", "metadata": metadata, "columnDefinitions": columns, "rows": rows})
}

fn headers(query: &Query) -> bool {
    !query.flag("noHeaders")
}

/// A table of one object.
pub(crate) fn one(call: &Call, code: u16, object: &Value, encoding: Encoding) -> Result<Response<Body>, Status> {
    let include = IncludeObject::parse(&call.query)?;
    let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
    let columns = headers(&call.query).then(|| columns(&call.kind));
    let table = table(&metadata, columns, vec![row(&call.kind, object, include, call.server.0.clock.now())]);
    Ok(answer::object(code, &table, encoding))
}

/// A table of objects that are not stored.
pub(crate) fn objects(call: &Call, objects: &[Value], encoding: Encoding) -> Result<Response<Body>, Status> {
    let include = IncludeObject::parse(&call.query)?;
    let now = call.server.0.clock.now();
    let rows = objects.iter().map(|object| row(&call.kind, object, include, now)).collect();
    let columns = headers(&call.query).then(|| columns(&call.kind));
    Ok(answer::object(200, &table(&json!({}), columns, rows), encoding))
}

/// A table of a page.
pub(crate) fn many(call: &Call, page: &Page, encoding: Encoding) -> Result<Response<Body>, Status> {
    let include = IncludeObject::parse(&call.query)?;
    let now = call.server.0.clock.now();
    let mut rows = Vec::with_capacity(page.entries.len());
    for entry in &page.entries {
        rows.push(row(&call.kind, &codec::decode(&call.kind, entry)?, include, now));
    }
    let columns = headers(&call.query).then(|| columns(&call.kind));
    let mut table = table(&page.metadata(), columns, rows);
    if page.entries.is_empty() && crate::cells::is_plain(&call.kind) {
        table["rows"] = Value::Null;
    }
    Ok(answer::object(200, &table, encoding))
}

/// A table of one event of a watch.
pub(crate) fn event(kind: &Kind, object: &Value, include: IncludeObject, with_columns: bool, now: Timestamp) -> Value {
    let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
    table(&metadata, with_columns.then(|| columns(kind)), vec![row(kind, object, include, now)])
}
