//! Admission: what the server adds to or refuses in a write, after authorization and defaults, one file per plugin of
//! upstream's with its name and its order.
//!
//! [`Admission::mutate`] runs before the strategy and validation of the kind, [`Admission::validate`] on the finished
//! object right before it is written. Webhooks and policies come last in each, then the quotas.

mod certificates;
mod claim_resize;
mod default_class;
mod expressions;
mod limit_ranger;
mod matching;
mod namespace_lifecycle;
mod node_restriction;
mod pod_resize;
mod pod_security;
mod policies;
mod priority;
pub(crate) mod quota;
mod runtime_class;
mod service_account;
mod storage_protection;
mod tolerations;
mod topology;
pub(crate) mod type_checking;
mod webhooks;

use std::sync::Arc;

use coracle_api::clock::Clock;
use coracle_api::identity::Identity;
use coracle_api::kinds::{Kind, Subresource};
use coracle_api::seams::NodeDialer;
use coracle_api::status::Status;
use serde_json::{Value, json};

use crate::authz::Authorizer;
use crate::custom::Customs;
use crate::http::query::Query;
use crate::objects::Lookup;
use crate::webhook::WebhookClient;

pub use tolerations::TolerationSeconds;

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
pub struct Request<'a> {
    /// Who writes.
    pub identity: &'a Identity,
    /// Kind of the object (of the resource, for a subresource), in its storage version.
    pub kind: &'a Kind,
    /// The same in the version the client speaks.
    pub asked: &'a Kind,
    /// Of a custom kind, the other versions it is served in.
    pub(crate) others: &'a [Arc<Kind>],
    /// Where custom kinds are known; a test may do without.
    pub(crate) customs: Option<&'a Customs>,
    /// Namespace; empty at cluster scope. For a namespace itself, its name.
    pub namespace: &'a str,
    /// Name; empty in a create with `generateName`.
    pub name: &'a str,
    /// What messages call the object.
    pub called: String,
    /// Subresource; may be empty.
    pub subresource: &'a str,
    /// What is done.
    pub operation: Operation,
    /// Whether nothing will be stored.
    pub dry_run: bool,
    /// The object as it is, for update and delete.
    pub old: Option<&'a Value>,
    /// The request's query.
    pub query: &'a Query,
}

impl<'a> Request<'a> {
    fn is(&self, group: &str, plural: &str) -> bool {
        self.kind.group == group && self.kind.plural == plural && self.subresource.is_empty()
    }

    fn creates(&self, group: &str, plural: &str) -> bool {
        self.operation == Operation::Create && self.is(group, plural)
    }

    /// Whether something is made or changed.
    fn writes(&self) -> bool {
        matches!(self.operation, Operation::Create | Operation::Update)
    }

    /// The subresource, where its objects have a kind of their own.
    fn own_type(&self) -> Option<&'a Subresource> {
        self.asked.subresource(self.subresource).filter(|own| own.kind != self.asked.kind)
    }

    /// The options of the request, as an object.
    fn options(&self) -> Value {
        let kind = match self.operation {
            Operation::Create => "CreateOptions",
            Operation::Update => "UpdateOptions",
            Operation::Delete => "DeleteOptions",
            Operation::Connect => return Value::Null,
        };
        let mut options = json!({"apiVersion": "meta.k8s.io/v1", "kind": kind});
        for field in ["fieldManager", "fieldValidation"] {
            if let Some(value) = self.query.text(field) {
                options[field] = json!(value);
            }
        }
        if self.dry_run {
            options["dryRun"] = json!(["All"]);
        }
        options
    }

    /// 403 for the object, in upstream's form.
    fn forbidden(&self, why: &str) -> Status {
        let name = if self.called.is_empty() { "Unknown" } else { &self.called };
        Status::forbidden(&self.kind.group, &self.kind.plural, name, why)
    }
}

/// The chain of plugins.
pub struct Admission {
    lookup: Arc<dyn Lookup>,
    authorizer: Arc<Authorizer>,
    clock: Arc<dyn Clock>,
    webhooks: WebhookClient,
    programs: expressions::Programs,
    turns: quota::Turns,
    tolerations: TolerationSeconds,
}

impl Admission {
    /// A chain that reads what it needs in `lookup` and reaches webhooks in the cluster through `dialer`.
    pub fn new(lookup: Arc<dyn Lookup>, authorizer: Arc<Authorizer>, clock: Arc<dyn Clock>, dialer: Arc<dyn NodeDialer>) -> Self {
        let webhooks = WebhookClient::new(dialer);
        let (programs, turns) = (expressions::Programs::default(), quota::Turns::default());
        Self { lookup, authorizer, clock, webhooks, programs, turns, tolerations: TolerationSeconds::default() }
    }

    /// The same with other seconds that pods stay on lost nodes.
    #[must_use]
    pub fn tolerating(self, tolerations: TolerationSeconds) -> Self {
        Self { tolerations, ..self }
    }

    fn caller(&self) -> webhooks::Caller<'_> {
        webhooks::Caller { judge: self.judge(), client: &self.webhooks }
    }

    fn judge(&self) -> policies::Judge<'_> {
        policies::Judge { lookup: &*self.lookup, programs: &self.programs, authorizer: &self.authorizer }
    }

    /// Adds to the object what plugins, policies and webhooks add; an object that cannot be admitted is refused.
    ///
    /// # Errors
    /// The answer that refuses the write.
    pub async fn mutate(&self, request: &Request<'_>, object: &mut Value, warnings: &mut Vec<String>) -> Result<(), Status> {
        let mut rounds = webhooks::Rounds::default();
        self.fill(request, object)?;
        while webhooks::mutate(self.caller(), request, object, &mut rounds, warnings).await? {
            self.fill(request, object)?;
        }
        Ok(())
    }

    /// The plugins that need nobody outside.
    fn fill(&self, request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
        let lookup = &*self.lookup;
        namespace_lifecycle::check(lookup, request)?;
        if request.creates("", "pods") {
            limit_ranger::fill_pod(lookup, request, object);
            service_account::fill(lookup, request, object)?;
            priority::fill(lookup, request, object)?;
        }
        if request.is("", "pods") && request.writes() {
            tolerations::fill(object, self.tolerations);
        }
        if request.creates("", "pods") {
            runtime_class::fill(lookup, request, object)?;
        }
        topology::fill(lookup, request, object);
        default_class::fill(lookup, request, object);
        storage_protection::fill(request, object);
        Ok(())
    }

    /// Checks a finished object, or (`None`) a delete; says what the write costs, which is to be applied once it happened.
    ///
    /// # Errors
    /// The answer that refuses the write.
    pub(crate) async fn validate(
        &self,
        request: &Request<'_>,
        object: Option<&Value>,
        warnings: &mut Vec<String>,
    ) -> Result<Option<quota::Charge>, Status> {
        self.check(request, object, warnings)?;
        self.judge().validate(request, object, warnings).await?;
        webhooks::validate(self.caller(), request, object, warnings).await?;
        match object {
            Some(object) if request.writes() => quota::check(&self.turns, &*self.lookup, &*self.clock, request, object).await,
            _ => Ok(None),
        }
    }

    /// The plugins that need nobody outside.
    fn check(&self, request: &Request<'_>, object: Option<&Value>, warnings: &mut Vec<String>) -> Result<(), Status> {
        let lookup = &*self.lookup;
        node_restriction::check(request, object)?;
        if !request.writes() {
            return namespace_lifecycle::check(lookup, request);
        }
        let Some(object) = object else { return Ok(()) };
        limit_ranger::check(lookup, request, object)?;
        pod_security::check(lookup, request, object, warnings)?;
        claim_resize::check(lookup, request, object)?;
        pod_resize::check(lookup, request, object)?;
        certificates::check(&self.authorizer, request, object)?;
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
