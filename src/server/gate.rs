//! Where admission meets the registry: what may change or refuse a write between reading and storing it.

use coracle_api::status::Status;
use serde_json::Value;

use crate::admission::{Operation, Request};
use crate::registry::Call;

/// What admission set aside for a write, as a cluster address: given back unless the write happened.
#[must_use]
pub(crate) struct Reserved;

impl Reserved {
    /// The write happened.
    pub(crate) fn keep(self) {}
}

fn request<'a>(call: &'a Call, operation: Operation, old: Option<&'a Value>, dry_run: bool) -> Request<'a> {
    Request {
        identity: &call.identity,
        kind: call.kind.storage_kind(),
        namespace: call.namespace(),
        name: &call.info.name,
        subresource: &call.info.subresource,
        operation,
        dry_run,
        old,
    }
}

fn write<'a>(call: &'a Call, old: Option<&'a Value>, dry_run: bool) -> Request<'a> {
    let operation = if old.is_some() { Operation::Update } else { Operation::Create };
    request(call, operation, old, dry_run)
}

/// Lets admission change a new object, or (`old` given) an update.
pub(crate) async fn mutate(call: &Call, object: &mut Value, old: Option<&Value>, dry_run: bool) -> Result<(), Status> {
    call.server.0.admission.mutate(&write(call, old, dry_run), object)
}

/// Lets admission refuse it, and sets aside what it needs.
pub(crate) async fn validate(call: &Call, object: &mut Value, old: Option<&Value>, dry_run: bool) -> Result<Reserved, Status> {
    call.server.0.admission.validate(&write(call, old, dry_run), Some(object))?;
    Ok(Reserved)
}

/// Lets admission refuse a delete.
pub(crate) fn delete(call: &Call, old: &Value, dry_run: bool) -> Result<(), Status> {
    call.server.0.admission.validate(&request(call, Operation::Delete, Some(old), dry_run), None)
}

/// Tells that an object is gone.
pub(crate) fn deleted(_call: &Call, _object: &Value) {}
