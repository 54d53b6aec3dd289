//! Where admission meets the registry: what may change or refuse a write between reading and storing it.

use std::sync::Arc;

use coracle_api::kinds::Kind;
use coracle_api::status::Status;
use coracle_store::{Store, Write, WriteError, Written};
use serde_json::{Value, json};

use crate::admission::quota::Charge;
use crate::admission::{Operation, Request};
use crate::allocate::Reservation;
use crate::registry::{Call, body};

/// What admission set aside for a write, as a cluster address: given back unless the write happens.
#[must_use]
#[derive(Default)]
pub(crate) struct Reserved {
    addresses: Option<Reservation>,
    charge: Option<Charge>,
}

impl Reserved {
    /// Writes, and keeps what was set aside if the write happened.
    pub(crate) async fn write(&mut self, store: &Store, write: Write) -> Result<Written, WriteError> {
        let written = match self.charge.take() {
            None => store.write(write).await?,
            // To its end, whoever stops waiting for it: what is written is charged.
            Some(charge) => {
                let store = store.clone();
                let charged = tokio::spawn(async move {
                    let written = store.write(write).await;
                    if written.is_ok() {
                        charge.apply(&store).await;
                        return (written, None);
                    }
                    (written, Some(charge))
                });
                let (written, charge) = charged.await.map_err(|_| WriteError::Closed)?;
                self.charge = charge;
                written?
            }
        };
        if let Some(addresses) = self.addresses.take() {
            addresses.keep();
        }
        Ok(written)
    }
}

fn is_service(call: &Call) -> bool {
    call.kind.group.is_empty() && call.kind.plural == "services"
}

/// The other versions of the call's kind.
fn others(call: &Call) -> Vec<Arc<Kind>> {
    call.server.0.customs.others(&call.kind)
}

fn request<'a>(
    call: &'a Call,
    others: &'a [Arc<Kind>],
    operation: Operation,
    object: Option<&Value>,
    old: Option<&'a Value>,
    dry_run: bool,
) -> Request<'a> {
    let named = |field| object.or(old).map(|object| body::text(object, field)).filter(|name| !name.is_empty());
    let is_namespace = call.kind.group.is_empty() && call.kind.plural == "namespaces";
    let called = [Some(&*call.info.name).filter(|name| !name.is_empty()), named("name"), named("generateName")];
    Request {
        identity: &call.identity,
        kind: call.kind.storage_kind(),
        asked: &call.kind,
        others,
        customs: Some(&call.server.0.customs),
        namespace: if is_namespace { &call.info.name } else { call.namespace() },
        name: &call.info.name,
        called: called.into_iter().flatten().next().unwrap_or_default().to_owned(),
        subresource: &call.info.subresource,
        operation,
        dry_run,
        old,
        query: &call.query,
    }
}

fn write<'a>(call: &'a Call, others: &'a [Arc<Kind>], object: &Value, old: Option<&'a Value>, dry_run: bool) -> Request<'a> {
    let operation = if old.is_some() { Operation::Update } else { Operation::Create };
    request(call, others, operation, Some(object), old, dry_run)
}

/// Lets admission change a new object, or (`old` given) an update.
pub(crate) async fn mutate(call: &mut Call, object: &mut Value, old: Option<&Value>, dry_run: bool) -> Result<(), Status> {
    let mut warnings = Vec::new();
    let others = others(call);
    let request = write(call, &others, object, old, dry_run);
    let admitted = call.server.0.admission.mutate(&request, object, &mut warnings).await;
    call.warnings.extend(warnings);
    admitted
}

/// Lets admission refuse it, and sets aside what it needs.
pub(crate) async fn validate(call: &mut Call, object: &mut Value, old: Option<&Value>, dry_run: bool) -> Result<Reserved, Status> {
    let mut warnings = Vec::new();
    let others = others(call);
    let request = write(call, &others, object, old, dry_run);
    let admitted = call.server.0.admission.validate(&request, Some(object), &mut warnings).await;
    call.warnings.extend(warnings);
    let charge = admitted?;
    let takes = is_service(call) && call.info.subresource.is_empty();
    let addresses = if takes { Some(call.server.0.services.reserve(&*call.server.0.objects, object, old)?) } else { None };
    Ok(Reserved { addresses, charge })
}

/// Lets admission change and refuse what a subresource with a kind of its own is given.
pub(crate) async fn admit(call: &mut Call, object: &mut Value, old: Option<&Value>, dry_run: bool) -> Result<(), Status> {
    mutate(call, object, old, dry_run).await?;
    validate(call, object, old, dry_run).await.map(drop)
}

async fn look(call: &mut Call, operation: Operation, object: Option<&Value>, old: Option<&Value>, dry_run: bool) -> Result<(), Status> {
    let mut warnings = Vec::new();
    let others = others(call);
    let request = request(call, &others, operation, object, old, dry_run);
    let admitted = call.server.0.admission.validate(&request, object, &mut warnings).await;
    call.warnings.extend(warnings);
    admitted.map(drop)
}

/// Lets admission refuse a delete.
pub(crate) async fn delete(call: &mut Call, old: &Value, dry_run: bool) -> Result<(), Status> {
    look(call, Operation::Delete, None, Some(old), dry_run).await
}

/// Lets admission refuse a stream to an object; what it sees is the query as options.
pub(crate) async fn connect(call: &mut Call) -> Result<(), Status> {
    let mut options = json!({});
    for field in ["stdin", "stdout", "stderr", "tty"] {
        if call.query.flag(field) {
            options[field] = json!(true);
        }
    }
    for field in ["container", "path"] {
        if let Some(value) = call.query.text(field) {
            options[field] = json!(value);
        }
    }
    for field in ["command", "ports"] {
        let values: Vec<Value> = call
            .query
            .all(field)
            .map(|value| value.parse::<u16>().ok().filter(|_| field == "ports").map_or(json!(value), |port| json!(port)))
            .collect();
        if !values.is_empty() {
            options[field] = json!(values);
        }
    }
    look(call, Operation::Connect, Some(&options), None, false).await
}

/// Tells that an object is gone.
pub(crate) fn deleted(call: &Call, object: &Value) {
    if is_service(call) {
        call.server.0.services.release(object);
    }
}
