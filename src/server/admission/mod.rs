//! Admission: what the server adds to or refuses in a write, after authorization and defaults, one file per plugin of
//! upstream's with its name and its order.
//!
//! [`Admission::mutate`] runs before the strategy and validation of the kind, [`Admission::validate`] on the finished
//! object right before it is written.

mod default_class;
mod limit_ranger;
mod namespace_lifecycle;
mod priority;
mod service_account;
mod storage_protection;
mod tolerations;

use std::sync::Arc;

use coracle_api::identity::Identity;
use coracle_api::kinds::Kind;
use coracle_api::status::Status;
use serde_json::Value;

use crate::authz::Authorizer;
use crate::objects::Lookup;

/// What a write does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Makes an object, or a subresource by POST.
    Create,
    /// Changes one.
    Update,
    /// Deletes one.
    Delete,
    /// Opens a stream to one (exec, attach, port-forward, proxy).
    Connect,
}

/// A write to be admitted.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Who writes.
    pub identity: &'a Identity,
    /// Kind of the object (of the resource, for a subresource).
    pub kind: &'a Kind,
    /// Namespace; empty at cluster scope.
    pub namespace: &'a str,
    /// Name; may be empty in a create with `generateName`.
    pub name: &'a str,
    /// Subresource; may be empty.
    pub subresource: &'a str,
    /// What is done.
    pub operation: Operation,
    /// Whether nothing will be stored.
    pub dry_run: bool,
    /// The object as it is, for update and delete.
    pub old: Option<&'a Value>,
}

impl Request<'_> {
    fn is(&self, group: &str, plural: &str) -> bool {
        self.kind.group == group && self.kind.plural == plural && self.subresource.is_empty()
    }

    fn creates(&self, group: &str, plural: &str) -> bool {
        self.operation == Operation::Create && self.is(group, plural)
    }

    /// 403 for the object, in upstream's form.
    fn forbidden(&self, why: &str) -> Status {
        let name = if self.name.is_empty() { "Unknown" } else { self.name };
        Status::forbidden(&self.kind.group, &self.kind.plural, name, why)
    }
}

/// The chain of plugins.
pub struct Admission {
    lookup: Arc<dyn Lookup>,
    authorizer: Arc<Authorizer>,
}

impl Admission {
    /// A chain that reads what it needs in `lookup`.
    pub fn new(lookup: Arc<dyn Lookup>, authorizer: Arc<Authorizer>) -> Self {
        Self { lookup, authorizer }
    }

    /// Adds to the object what plugins add; an object that cannot be admitted is refused.
    ///
    /// # Errors
    /// The answer that refuses the write.
    pub fn mutate(&self, request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
        let lookup = &*self.lookup;
        namespace_lifecycle::check(lookup, request)?;
        if request.creates("", "pods") {
            limit_ranger::fill_pod(lookup, request, object);
            service_account::fill(lookup, request, object)?;
            priority::fill(lookup, request, object)?;
        }
        if request.is("", "pods") && matches!(request.operation, Operation::Create | Operation::Update) {
            tolerations::fill(object);
        }
        default_class::fill(lookup, request, object);
        storage_protection::fill(request, object);
        Ok(())
    }

    /// Checks a finished object, or (`None`) a delete or a stream.
    ///
    /// # Errors
    /// The answer that refuses the write.
    pub fn validate(&self, request: &Request<'_>, object: Option<&Value>) -> Result<(), Status> {
        let lookup = &*self.lookup;
        if matches!(request.operation, Operation::Delete | Operation::Connect) {
            return namespace_lifecycle::check(lookup, request);
        }
        let Some(object) = object else { return Ok(()) };
        if request.operation == Operation::Create {
            limit_ranger::check(lookup, request, object)?;
        }
        if request.is("scheduling.k8s.io", "priorityclasses") {
            priority::check_class(lookup, request, object)?;
        }
        if request.kind.group == "rbac.authorization.k8s.io" && request.subresource.is_empty() {
            let Request { identity, kind, namespace, name, old, .. } = *request;
            self.authorizer.check_escalation(identity, &kind.plural, namespace, name, object, old)?;
        }
        Ok(())
    }
}

/// The text at a JSON pointer; empty if there is none.
fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// The list of a field, made if missing.
fn list<'a>(object: &'a mut Value, field: &str) -> Option<&'a mut Vec<Value>> {
    let object = object.as_object_mut()?;
    let value = object.entry(field).or_insert(Value::Null);
    if value.is_null() {
        *value = Value::Array(Vec::new());
    }
    value.as_array_mut()
}

#[cfg(test)]
mod tests;
