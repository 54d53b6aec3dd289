//! Replacing an object, and what every write to an existing object shares.

use std::sync::Arc;

use coracle_api::field::FieldError;
use coracle_api::rules;
use coracle_api::status::Status;
use coracle_store::{Change, Entry, Expect, Write, WriteError};
use http::Response;
use serde_json::{Value, json};

use super::{Call, Shown, body, create};
use crate::gate::Reserved;
use crate::http::body::Body;
use crate::options::{WriteOptions, parse_revision};
use crate::vocabulary::{self, Manager};
use crate::{certificates, codec, gate};

/// How often a write without a precondition of its own is tried anew on fresh state.
pub(crate) const CONFLICT_ATTEMPTS: usize = 16;

/// Answers a PUT, of the object or of a subresource that is a part of it.
pub(crate) async fn answer(call: &mut Call) -> Result<Response<Body>, Status> {
    let options = WriteOptions::parse("UpdateOptions", &call.query, &call.agent())?;
    let mut object = body::object(call, &options)?;
    body::check_name(call, &mut object)?;
    body::place(call, &mut object)?;
    let wanted = revision_of(&object)?;
    for _ in 0..CONFLICT_ATTEMPTS {
        let Some(entry) = call.seek().await? else {
            return missing(call, object, &options).await;
        };
        check_revision(call, wanted, &entry)?;
        let old = codec::decode_stored(&call.kind, &entry)?;
        let (uid, own) = (body::text(&object, "uid"), body::text(&old, "uid"));
        if !uid.is_empty() && uid != own {
            return Err(call.conflict(&format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {own}")));
        }
        match replace_known(call, &entry, old, object.clone(), &options, Booking::Update).await? {
            Some(shown) => return call.show(200, &shown),
            None if wanted.is_some() => return Err(call.stale()),
            None => {}
        }
    }
    Err(call.stale())
}

/// The revision a writer saw; `None` if it says none.
pub(crate) fn revision_of(object: &Value) -> Result<Option<u64>, Status> {
    match body::text(object, "resourceVersion") {
        "" | "0" => Ok(None),
        text => parse_revision(text).map(Some),
    }
}

/// A writer who says what it saw must have seen the latest; some kinds demand that it says so.
pub(crate) fn check_revision(call: &Call, wanted: Option<u64>, entry: &Entry) -> Result<(), Status> {
    let kind = call.kind.clone();
    let kind = kind.storage_kind();
    match wanted {
        Some(wanted) if wanted != entry.revision => Err(call.stale()),
        None if !rules::allows_unconditional_update(kind) => {
            let error = FieldError::invalid("metadata.resourceVersion", 0, "must be specified for an update");
            Err(Status::invalid(&kind.group, &kind.kind, &call.info.name, &[error]))
        }
        _ => Ok(()),
    }
}

/// A PUT of what does not exist.
async fn missing(call: &mut Call, mut object: Value, options: &WriteOptions) -> Result<Response<Body>, Status> {
    if !rules::allows_create_on_update(call.kind.storage_kind()) || !call.info.subresource.is_empty() {
        return Err(call.not_found());
    }
    // Whoever may replace it need not be allowed to make it.
    let attributes = crate::authz::Attributes { verb: "create", ..call.info.attributes() };
    call.server.0.authorizer.authorize(&call.identity, &attributes)?;
    body::remove(&mut object, "resourceVersion");
    let shown = create::create(call, object, options).await?;
    call.show(201, &shown)
}

/// How a write is booked in `managedFields`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Booking {
    /// What it changed becomes the writer's.
    Update,
    /// It is booked already (apply), or never is (what the system writes).
    Done,
}

/// Writes `new` in place of the entry. `None` if the entry was written meanwhile.
pub(crate) async fn replace(
    call: &mut Call,
    entry: &Arc<Entry>,
    new: Value,
    options: &WriteOptions,
    booking: Booking,
) -> Result<Option<Shown>, Status> {
    let old = codec::decode_stored(&call.kind, entry)?;
    replace_known(call, entry, old, new, options, booking).await
}

/// [`replace`] of an entry that is decoded already, in its storage version.
pub(crate) async fn replace_known(
    call: &mut Call,
    entry: &Arc<Entry>,
    old: Value,
    mut new: Value,
    options: &WriteOptions,
    booking: Booking,
) -> Result<Option<Shown>, Status> {
    let kind = call.kind.clone();
    let kind = kind.storage_kind();
    let subresource = call.info.subresource.clone();
    new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
    rules::default(kind, &mut new);
    rules::prepare_update(kind, &mut new, &old, &subresource);
    rules::stamp(kind, &mut new, Some(&old), call.server.0.clock.now());
    if booking == Booking::Update {
        let manager = Manager { name: &options.manager, subresource: &subresource, now: call.server.0.clock.now() };
        new = vocabulary::book(kind, Some(&old), new, &manager);
    }
    // A Scale was admitted as what it is.
    let admitted = subresource == "scale";
    if !admitted {
        gate::mutate(call, &mut new, Some(&old), options.dry_run).await?;
    }
    let errors = rules::validate_update(kind, &new, &old, &subresource);
    if !errors.is_empty() {
        return Err(Status::invalid(&kind.group, &kind.kind, &call.info.name, &errors));
    }
    certificates::admit(call, &new, Some(&old))?;
    let mut reserved = if admitted { Reserved::default() } else { gate::validate(call, &mut new, Some(&old), options.dry_run).await? };
    call.warnings.extend(rules::warnings(kind, &new, Some(&old), &subresource));
    let stored = call.encode(&new).await?;
    let unchanged = match &kind.custom {
        None => stored == entry.value,
        // The entry is what readers see of it; what counts is what is stored.
        Some(_) => call.server.0.store.get(&call.key()).is_some_and(|raw| raw.revision == entry.revision && raw.value == stored),
    };
    if unchanged {
        return Ok(Some(Shown::Entry(entry.clone())));
    }
    let last = is_last_write(call, &new);
    if options.dry_run {
        return Ok(Some(Shown::Object(new)));
    }
    let change = if last { Change::Delete } else { Change::Put(stored) };
    let write = Write { key: call.key(), expect: Expect::Revision(entry.revision), change };
    match reserved.write(&call.server.0.store, write).await {
        Ok(written) => {
            if last {
                new["metadata"]["resourceVersion"] = json!(written.entry.revision.to_string());
                gate::deleted(call, &new);
                return Ok(Some(Shown::Object(new)));
            }
            Ok(Some(Shown::Entry(call.present(written.entry).await?)))
        }
        Err(WriteError::Conflict(_) | WriteError::Missing) => Ok(None),
        Err(error) => Err(call.write_error(error)),
    }
}

/// Whether a write takes away the last thing that kept a deleted object.
fn is_last_write(call: &Call, new: &Value) -> bool {
    let metadata = &new["metadata"];
    let empty = |list: &Value| list.as_array().is_none_or(Vec::is_empty);
    let namespace_is_done = call.kind.plural != "namespaces" || !call.kind.group.is_empty() || empty(&new["spec"]["finalizers"]);
    metadata["deletionTimestamp"].is_string()
        && metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        && empty(&metadata["finalizers"])
        && namespace_is_done
}
