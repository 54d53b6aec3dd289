//! Parts of a resource with paths of their own, resources that are only answered, and paths that name no resource.

mod binding;
mod components;
mod eviction;
mod log;
pub(crate) mod paths;
mod scale;
mod streams;

use coracle_api::status::Status;
use http::Response;
use serde_json::{Value, json};

use crate::answer;
use crate::http::body::Body;
use crate::negotiate::{self, Form};
use crate::options::WriteOptions;
use crate::registry::{Call, body, get, patch, update};
use crate::review;
use crate::vocabulary::{self, Manager};

/// Answers a request for a subresource.
pub(crate) async fn answer(call: &mut Call) -> Result<Response<Body>, Status> {
    let kind = call.kind.clone();
    match (&*kind.group, &*kind.plural, call.info.subresource.clone().as_str()) {
        (_, _, "scale") => scale::answer(call).await,
        ("", "pods", "binding") => binding::answer(call).await,
        ("", "pods", "eviction") => eviction::answer(call).await,
        ("", "pods", "log") => log::answer(call).await,
        ("", "pods", "exec" | "attach" | "portforward") => streams::answer(call).await,
        ("", "serviceaccounts", "token") => token(call),
        // status, approval, finalize, ephemeralcontainers, resize: the object itself, of which rules let a part be changed.
        _ => match call.info.verb.as_str() {
            "get" => get::answer(call).await,
            "update" => update::answer(call).await,
            "patch" => patch::answer(call).await,
            _ => Err(Status::method_not_allowed()),
        },
    }
}

/// Answers a request for a resource of which no objects are kept.
pub(crate) async fn virtual_resource(call: &mut Call) -> Result<Response<Body>, Status> {
    if call.kind.group.is_empty() && call.kind.plural == "bindings" {
        return binding::answer(call).await;
    }
    if call.kind.plural == "componentstatuses" {
        return components::answer(call);
    }
    if call.info.verb != "create" {
        return Err(Status::method_not_allowed());
    }
    let accepted = call.accepted()?;
    // These have no metadata that a table could show.
    if accepted.form != Form::Object {
        return Err(negotiate::not_acceptable("application/json, application/yaml, application/vnd.kubernetes.protobuf"));
    }
    let options = WriteOptions::parse("CreateOptions", &call.query, &call.agent())?;
    let question = body::object(call, &options)?;
    let manager = Manager { name: &options.manager, subresource: "", now: call.server.0.clock.now() };
    let question = vocabulary::book(&call.kind, None, question, &manager);
    let inner = &call.server.0;
    let resource = (&*call.kind.group, &*call.kind.plural);
    let answer = review::create(&inner.authenticator, &inner.authorizer, &call.identity, resource, call.namespace(), question);
    Ok(answer::object(201, &answer.ok_or_else(Status::method_not_allowed)??, accepted.encoding))
}

/// A token for a service account.
fn token(call: &mut Call) -> Result<Response<Body>, Status> {
    let options = WriteOptions::parse("CreateOptions", &call.query, &call.agent())?;
    let schema = "io.k8s.api.authentication.v1.TokenRequest";
    let request = body::own_kind(call, "authentication.k8s.io/v1", "TokenRequest", schema, &options)?;
    let answer = call.server.0.authenticator.request_token(&call.identity, call.namespace(), &call.info.name, request)?;
    Ok(answer::object(201, &answer, call.accepted()?.encoding))
}

/// A success that made something without showing it.
fn created() -> Value {
    json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Success", "code": 201})
}
