//! Where admission meets the registry: what may change or refuse a write between reading and storing it.

use coracle_api::status::Status;
use serde_json::Value;

use crate::admission::{Operation, Request};
use crate::allocate::Reservation;
use crate::registry::Call;

/// What admission set aside for a write, as a cluster address: given back unless the write happened.
#[must_use]
pub(crate) struct Reserved(Option<Reservation>);

impl Reserved {
    /// The write happened.
    pub(crate) fn keep(self) {
        if let Some(reservation) = self.0 {
            reservation.keep();
        }
    }
}

fn is_service(call: &Call) -> bool {
    call.kind.group.is_empty() && call.kind.plural == "services"
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
    if is_service(call) && call.info.subresource.is_empty() {
        return call.server.0.services.reserve(object, old).map(Some).map(Reserved);
    }
    Ok(Reserved(None))
}

/// Lets admission refuse a delete.
pub(crate) fn delete(call: &Call, old: &Value, dry_run: bool) -> Result<(), Status> {
    call.server.0.admission.validate(&request(call, Operation::Delete, Some(old), dry_run), None)
}

/// Lets admission refuse a stream to an object.
pub(crate) fn connect(call: &Call, object: &Value) -> Result<(), Status> {
    call.server.0.admission.validate(&request(call, Operation::Connect, Some(object), false), None)
}

/// Tells that an object is gone.
pub(crate) fn deleted(call: &Call, object: &Value) {
    if is_service(call) {
        call.server.0.services.release(object);
    }
}
