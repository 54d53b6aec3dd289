//! NamespaceLifecycle: nothing is made in a namespace that is not there or is being deleted; three namespaces stay.

use coracle_api::status::Status;
use serde_json::{Value, json};

use super::{Operation, Request, text};
use crate::objects::Lookup;

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub(super) fn check(lookup: &dyn Lookup, request: &Request<'_>) -> Result<(), Status> {
    if request.is("", "namespaces") {
        if request.operation == Operation::Delete && IMMORTAL.contains(&request.name) {
            return Err(request.forbidden("this namespace may not be deleted"));
        }
        return Ok(());
    }
    let namespace = request.namespace;
    let changes = matches!(request.operation, Operation::Create | Operation::Update);
    if namespace.is_empty() || !changes || request.kind.plural == "namespaces" || request.kind.plural == "localsubjectaccessreviews" {
        return Ok(());
    }
    let found = lookup.get("", "namespaces", "", namespace).ok_or_else(|| Status::not_found("", "namespaces", namespace))?;
    if request.operation == Operation::Create && text(&found, "/status/phase") == "Terminating" {
        let mut refused =
            request.forbidden(&format!("unable to create new content in namespace {namespace} because it is being terminated"));
        if let Value::Object(details) = &mut refused.details {
            let cause = json!({
                "reason": "NamespaceTerminating",
                "message": format!("namespace {namespace} is being terminated"),
                "field": "metadata.namespace",
            });
            details.insert("causes".to_owned(), json!([cause]));
        }
        return Err(refused);
    }
    Ok(())
}
