//! New objects.

use coracle_api::kinds::Kind;
use coracle_api::status::Status;
use coracle_api::{names, rules, time};
use coracle_store::{Change, Expect, Write, WriteError};
use http::Response;
use serde_json::{Value, json};

use super::{Call, Shown, body};
use crate::http::body::Body;
use crate::options::WriteOptions;
use crate::vocabulary::{self, Manager};
use crate::{certificates, codec, gate};

/// How often another generated name is tried when one is taken.
const NAME_ATTEMPTS: usize = 8;

/// Answers a POST.
pub(crate) async fn answer(call: &mut Call) -> Result<Response<Body>, Status> {
    let options = WriteOptions::parse("CreateOptions", &call.query, &call.agent())?;
    let object = body::object(call, &options)?;
    let shown = create(call, object, &options).await?;
    call.show(201, &shown)
}

/// Creates an object that was read and checked, in its storage version; books the creator as its manager.
pub(crate) async fn create(call: &mut Call, mut object: Value, options: &WriteOptions) -> Result<Shown, Status> {
    let kind = call.kind.clone();
    let kind = kind.storage_kind();
    body::place(call, &mut object)?;
    if !body::text(&object, "resourceVersion").is_empty() {
        return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
    }
    drop_status(kind, &mut object);
    rules::default(kind, &mut object);
    let manager = Manager { name: &options.manager, subresource: "", now: call.server.0.clock.now() };
    let object = vocabulary::book(kind, None, object, &manager);
    store(call, object, options).await
}

/// The status of a new object is not the creator's to give.
pub(crate) fn drop_status(kind: &Kind, object: &mut Value) {
    if kind.subresource("status").is_some()
        && let Some(fields) = object.as_object_mut()
    {
        fields.remove("status");
    }
}

/// What only the system gives a new object.
fn fill_system_fields(call: &Call, object: &mut Value) {
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion", "selfLink"] {
        body::remove(object, field);
    }
    let metadata = &mut object["metadata"];
    metadata["uid"] = json!(uuid::Uuid::new_v4().to_string());
    metadata["creationTimestamp"] = json!(time::seconds(call.server.0.clock.now()));
}

/// Admits, validates and stores a new object whose managers are booked.
pub(crate) async fn store(call: &mut Call, mut object: Value, options: &WriteOptions) -> Result<Shown, Status> {
    let kind = call.kind.clone();
    let kind = kind.storage_kind();
    let prefix = body::text(&object, "generateName").to_owned();
    let generated = body::text(&object, "name").is_empty() && !prefix.is_empty();
    let generate = |object: &mut Value| {
        object["metadata"]["name"] = json!(names::generate_name(&prefix, &mut rand::rng()));
    };
    gate::mutate(call, &mut object, None, options.dry_run).await?;
    // A webhook may have given it a name.
    let generated = generated && body::text(&object, "name").is_empty();
    if generated {
        generate(&mut object);
    }
    fill_system_fields(call, &mut object);
    certificates::name_requester(call, &mut object);
    rules::prepare_create(kind, &mut object);
    rules::stamp(kind, &mut object, None, call.server.0.clock.now());
    name_call(call, &object);
    let errors = rules::validate_create(kind, &object);
    if !errors.is_empty() {
        let name = body::text(&object, "name");
        return Err(Status::invalid(&kind.group, &kind.kind, name, &errors));
    }
    certificates::admit(call, &object, None)?;
    let mut reserved = gate::validate(call, &mut object, None, options.dry_run).await?;
    call.warnings.extend(rules::warnings(kind, &object, None, ""));
    for attempt in 1.. {
        let key = codec::key(kind, call.namespace(), body::text(&object, "name"));
        if options.dry_run {
            if call.server.0.store.get(&key).is_some() {
                return Err(Status::already_exists(&kind.group, &call.kind.plural, body::text(&object, "name")));
            }
            return Ok(Shown::Object(object));
        }
        let write = Write { key, expect: Expect::Absent, change: Change::Put(call.encode(&object).await?) };
        match reserved.write(&call.server.0.store, write).await {
            Ok(written) => return Ok(Shown::Entry(call.present(written.entry).await?)),
            Err(WriteError::Exists(_)) if generated && attempt < NAME_ATTEMPTS => {
                generate(&mut object);
                name_call(call, &object);
            }
            Err(error) => return Err(call.write_error(error)),
        }
    }
    Err(Status::internal("no name was free"))
}

/// From here on messages name the object.
fn name_call(call: &mut Call, object: &Value) {
    call.info.name = body::text(object, "name").to_owned();
}
