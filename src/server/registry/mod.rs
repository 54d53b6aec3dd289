//! What can be done with the objects of every kind: one file per verb. Kinds differ by their rules, not by code here.

pub(crate) mod body;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod patch;
pub(crate) mod selection;
pub(crate) mod update;
pub(crate) mod watch;

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use coracle_api::identity::Identity;
use coracle_api::kinds::{Kind, KindRef, convert};
use coracle_api::status::Status;
use coracle_store::{Entry, ReadError, WriteError};
use http::Response;
use http::request::Parts;
use serde_json::Value;

use crate::http::body::Body;
use crate::http::query::Query;
use crate::negotiate::{self, Accepted, Form};
use crate::request::RequestInfo;
use crate::server::Server;
use crate::{answer, codec, subresource, table, vocabulary};

/// A request for a resource, authorized, with its body.
pub(crate) struct Call {
    pub(crate) server: Server,
    pub(crate) kind: KindRef,
    pub(crate) info: RequestInfo,
    pub(crate) query: Query,
    pub(crate) identity: Identity,
    pub(crate) parts: Parts,
    pub(crate) content_type: String,
    pub(crate) body: Bytes,
    /// For the answer's `Warning` headers.
    pub(crate) warnings: Vec<String>,
}

/// Answers a request for a resource.
pub(crate) async fn answer(mut call: Call) -> Result<Response<Body>, Status> {
    check_path(&call)?;
    if call.info.is_mutating() && call.info.subresource.is_empty() {
        // Before anything happens.
        call.accepted()?;
    }
    call.warnings.extend(deprecation(&call.kind).map(str::to_owned));
    call.warnings.extend(call.kind.custom.as_ref().and_then(|custom| custom.deprecation.clone()));
    let answered = if !call.info.subresource.is_empty() {
        subresource::answer(&mut call).await
    } else if !call.kind.stored {
        subresource::virtual_resource(&mut call).await
    } else {
        match call.info.verb.as_str() {
            "get" => get::answer(&call).await,
            "list" => list::answer(&call).await,
            "watch" => watch::answer(&call).await,
            "create" => create::answer(&mut call).await,
            "update" => update::answer(&mut call).await,
            "patch" => patch::answer(&mut call).await,
            "delete" => delete::answer(&mut call).await,
            "deletecollection" => delete::collection(&mut call).await,
            _ => Err(Status::method_not_allowed()),
        }
    };
    let mut response = match answered {
        Ok(response) => response,
        Err(status) => answer::error_in(&status, negotiate::of_errors(&call.parts.headers)),
    };
    // A write that was tried again says the same again.
    let mut said = std::collections::BTreeSet::new();
    call.warnings.retain(|warning| said.insert(warning.clone()));
    answer::warn(response.headers_mut(), &call.warnings);
    Ok(response)
}

/// What upstream says of kinds that are on their way out.
fn deprecation(kind: &Kind) -> Option<&'static str> {
    match (&*kind.group, &*kind.plural) {
        ("", "endpoints") => Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
        ("", "componentstatuses") => Some("v1 ComponentStatus is deprecated in v1.19+"),
        _ => None,
    }
}

/// Whether path and verb fit the kind.
fn check_path(call: &Call) -> Result<(), Status> {
    let Call { kind, info, .. } = call;
    let subresource = match &*info.subresource {
        "" => None,
        name => Some(kind.subresource(name).ok_or_else(Status::no_such_path)?),
    };
    if kind.namespaced {
        let single = !info.name.is_empty() && !matches!(&*info.verb, "list" | "watch");
        if info.namespace.is_empty() && (single || info.verb == "deletecollection") {
            return Err(Status::no_such_path());
        }
        if info.namespace.is_empty() && info.verb == "create" {
            return Err(Status::method_not_allowed());
        }
    } else if !info.namespace.is_empty() && kind.plural != "namespaces" {
        return Err(Status::no_such_path());
    }
    let verbs = subresource.map_or(&kind.verbs, |sub| &sub.verbs);
    let named_create = subresource.is_none() && info.verb == "create" && !info.name.is_empty();
    let names_none = info.name.is_empty() && matches!(&*info.verb, "update" | "patch");
    if named_create || names_none || !verbs.iter().any(|verb| *verb == info.verb) {
        return Err(Status::method_not_allowed());
    }
    Ok(())
}

/// An object to show: as stored, or (dry run) as it would be, in its storage version.
pub(crate) enum Shown {
    Entry(Arc<Entry>),
    Object(Value),
}

impl Call {
    /// The namespace of the object asked for; empty where the kind has none.
    pub(crate) fn namespace(&self) -> &str {
        if self.kind.namespaced { &self.info.namespace } else { "" }
    }

    pub(crate) fn key(&self) -> String {
        codec::key(&self.kind, self.namespace(), &self.info.name)
    }

    pub(crate) fn accepted(&self) -> Result<Accepted, Status> {
        negotiate::accepted(&self.parts.headers, vocabulary::is_message(&self.kind))
    }

    pub(crate) fn agent(&self) -> String {
        negotiate::manager_from_user_agent(&self.parts.headers)
    }

    pub(crate) fn not_found(&self) -> Status {
        Status::not_found(&self.kind.group, &self.kind.plural, &self.info.name)
    }

    pub(crate) fn stale(&self) -> Status {
        Status::stale(&self.kind.group, &self.kind.plural, &self.info.name)
    }

    pub(crate) fn conflict(&self, why: &str) -> Status {
        Status::conflict(&self.kind.group, &self.kind.plural, &self.info.name, why)
    }

    /// The entry asked for.
    pub(crate) async fn find(&self) -> Result<Arc<Entry>, Status> {
        self.seek().await?.ok_or_else(|| self.not_found())
    }

    /// The entry asked for, in the version of the call's kind, if it is there.
    pub(crate) async fn seek(&self) -> Result<Option<Arc<Entry>>, Status> {
        match self.server.0.store.get(&self.key()) {
            Some(entry) => self.present(entry).await.map(Some),
            None => Ok(None),
        }
    }

    /// An entry in the version of the call's kind.
    pub(crate) async fn present(&self, entry: Arc<Entry>) -> Result<Arc<Entry>, Status> {
        self.server.0.customs.present_one(&self.kind, entry).await
    }

    /// The stored form of an object.
    pub(crate) async fn encode(&self, object: &Value) -> Result<coracle_store::Value, Status> {
        self.server.0.customs.encode(&self.kind, object).await
    }

    /// What a failed write means to the client.
    pub(crate) fn write_error(&self, error: WriteError) -> Status {
        match error {
            WriteError::Exists(_) => Status::already_exists(&self.kind.group, &self.kind.plural, &self.info.name),
            WriteError::Missing => self.not_found(),
            WriteError::Conflict(_) => self.stale(),
            error @ WriteError::Disk(_) => storage_error(&error),
            WriteError::Closed => Status::unavailable("the server is shutting down"),
        }
    }

    /// The answer that shows one object in the form asked for.
    pub(crate) fn show(&self, code: u16, shown: &Shown) -> Result<Response<Body>, Status> {
        let accepted = self.accepted()?;
        let bytes = match (accepted.form, shown) {
            (Form::Object, Shown::Entry(entry)) => codec::object_bytes(&self.kind, entry)?,
            (Form::Metadata, Shown::Entry(entry)) => metadata_bytes(entry)?,
            (Form::Table, Shown::Entry(entry)) => {
                let object = codec::decode(&self.kind, entry)?;
                return table::one(self, code, &object, accepted.encoding);
            }
            (form, Shown::Object(object)) => {
                let mut object = object.clone();
                convert(self.kind.storage_kind(), &self.kind, &mut object);
                match form {
                    Form::Object => return Ok(answer::object(code, &object, accepted.encoding)),
                    Form::Table => return table::one(self, code, &object, accepted.encoding),
                    Form::Metadata => return Ok(answer::object(code, &metadata_only(&object), accepted.encoding)),
                }
            }
        };
        Ok(answer::encoded(code, bytes, accepted.encoding))
    }
}

/// Why a write was not stored, with its causes: the client did nothing wrong.
fn storage_error(error: &dyn std::error::Error) -> Status {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    tracing::error!(error = text, "the store failed");
    Status::internal(text)
}

/// What a failed read means to the client.
pub(crate) fn read_error(error: ReadError, wanted: u64) -> Status {
    match error {
        ReadError::TooOld { .. } => Status::expired("The resourceVersion for the provided list is too old."),
        ReadError::Future { latest } => too_large_revision(wanted, latest),
        error @ ReadError::Disk(_) => storage_error(&error),
    }
}

/// 504 for a revision that has not happened.
pub(crate) fn too_large_revision(wanted: u64, latest: u64) -> Status {
    Status::new(504, "Timeout", format!("Too large resource version: {wanted}, current: {latest}")).with_details(serde_json::json!({
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }))
}

const METADATA_OPENING: &[u8] = br#"{"apiVersion":"meta.k8s.io/v1","kind":"PartialObjectMetadata","metadata":"#;

/// Appends an entry's metadata as an object.
pub(crate) fn put_metadata(out: &mut BytesMut, entry: &Entry) -> Result<(), Status> {
    let metadata = codec::metadata(entry)?;
    out.put_slice(METADATA_OPENING);
    out.put_slice(metadata.get().as_bytes());
    out.put_u8(b'}');
    Ok(())
}

fn metadata_bytes(entry: &Entry) -> Result<Bytes, Status> {
    let mut out = BytesMut::new();
    put_metadata(&mut out, entry)?;
    Ok(out.freeze())
}

/// The metadata of an object as an object.
pub(crate) fn metadata_only(object: &Value) -> Value {
    serde_json::json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": object["metadata"]})
}
