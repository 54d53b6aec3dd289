//! Reviews: questions that are answered and not stored. Who am I, is this token good, may somebody do something.

mod access;

use coracle_api::identity::Identity;
use coracle_api::status::Status;
use serde_json::{Map, Value, json};

use crate::authn::{Authenticator, ISSUER};
use crate::authz::Authorizer;

/// Answers the review of this resource; `namespace` is that of the path. `None` for a resource that is no review.
///
/// # Errors
/// 422 for a question that is not well put.
pub fn create(
    authenticator: &Authenticator,
    authorizer: &Authorizer,
    caller: &Identity,
    (group, resource): (&str, &str),
    namespace: &str,
    mut review: Value,
) -> Option<Result<Value, Status>> {
    let status = match (group, resource) {
        ("authentication.k8s.io", "selfsubjectreviews") => Ok(json!({"userInfo": user_info(caller)})),
        ("authentication.k8s.io", "tokenreviews") => token_status(authenticator, &review),
        ("authorization.k8s.io", "subjectaccessreviews") => access::subject(authorizer, &review),
        ("authorization.k8s.io", "localsubjectaccessreviews") => access::local(authorizer, namespace, &review),
        ("authorization.k8s.io", "selfsubjectaccessreviews") => access::own(authorizer, caller, &review),
        ("authorization.k8s.io", "selfsubjectrulesreviews") => access::rules(authorizer, caller, &review),
        _ => return None,
    };
    Some(status.map(|status| {
        review["status"] = status;
        review
    }))
}

/// The authentication API's form of an identity.
fn user_info(identity: &Identity) -> Value {
    let mut info = Map::new();
    let mut add = |key: &str, value: Value| info.insert(key.to_owned(), value);
    if !identity.user.is_empty() {
        add("username", json!(identity.user));
    }
    if !identity.uid.is_empty() {
        add("uid", json!(identity.uid));
    }
    if !identity.groups.is_empty() {
        add("groups", json!(identity.groups));
    }
    if !identity.extra.is_empty() {
        add("extra", json!(identity.extra));
    }
    Value::Object(info)
}

fn token_status(authenticator: &Authenticator, review: &Value) -> Result<Value, Status> {
    let token = review.pointer("/spec/token").and_then(Value::as_str).unwrap_or_default();
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences: Vec<String> = review
        .pointer("/spec/audiences")
        .and_then(Value::as_array)
        .map_or_else(|| vec![ISSUER.to_owned()], |list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect());
    Ok(match authenticator.token(token, &audiences) {
        Ok((identity, audiences)) => json!({"authenticated": true, "user": user_info(&identity), "audiences": audiences}),
        Err(error) => json!({"user": {}, "error": error}),
    })
}

#[cfg(test)]
mod tests;
