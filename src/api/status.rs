//! The API's error value, `metav1.Status`, with upstream's reasons, codes and message forms.

use serde_json::{Map, Value, json};

use crate::field::FieldError;

/// Bytes that the errors of one answer have together at most.
const MOST_TOLD: usize = 1 << 20;

/// An answer of kind `Status`: every error the API server gives is one of these, and so are some successes.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// Machine-readable reason (`NotFound`, `Conflict`, …); empty for successes.
    pub reason: String,
    /// What a person reads.
    pub message: String,
    /// `details`, or null.
    pub details: Value,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

/// `plural.group`, or `plural` in the core group, as upstream writes a resource in messages.
pub fn qualified(group: &str, plural: &str) -> String {
    if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") }
}

/// `details` naming one object; empty parts are left out.
fn details(group: &str, kind: &str, name: &str) -> Value {
    let mut map = Map::new();
    for (key, value) in [("group", group), ("kind", kind), ("name", name)] {
        if !value.is_empty() {
            map.insert(key.to_owned(), json!(value));
        }
    }
    Value::Object(map)
}

impl Status {
    /// A status without details.
    pub fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self { code, reason: reason.to_owned(), message: message.into(), details: Value::Null }
    }

    /// 404 for an object of a resource (`plural` in `group`).
    pub fn not_found(group: &str, plural: &str, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} \"{name}\" not found", qualified(group, plural))).with_details(details(group, plural, name))
    }

    /// 404 for a path that names no resource.
    pub fn no_such_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource").with_details(json!({}))
    }

    /// 409 for a create of what exists.
    pub fn already_exists(group: &str, plural: &str, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{} \"{name}\" already exists", qualified(group, plural)))
            .with_details(details(group, plural, name))
    }

    /// 409 for a write whose precondition did not hold.
    pub fn conflict(group: &str, plural: &str, name: &str, why: &str) -> Self {
        Self::new(409, "Conflict", format!("Operation cannot be fulfilled on {} \"{name}\": {why}", qualified(group, plural)))
            .with_details(details(group, plural, name))
    }

    /// 409 for a write with a stale `metadata.resourceVersion`.
    pub fn stale(group: &str, plural: &str, name: &str) -> Self {
        Self::conflict(group, plural, name, "the object has been modified; please apply your changes to the latest version and try again")
    }

    /// 403 with the reason in words.
    pub fn forbidden(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let subject = qualified(group, plural);
        let message = match (subject.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (_, true) => format!("{subject} is forbidden: {why}"),
            _ => format!("{subject} \"{name}\" is forbidden: {why}"),
        };
        Self::new(403, "Forbidden", message).with_details(details(group, plural, name))
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 405 for a verb the resource does not have.
    pub fn method_not_allowed() -> Self {
        Self::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource").with_details(json!({}))
    }

    /// 410: the revision asked for is no longer kept.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 413.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(413, "RequestEntityTooLarge", message)
    }

    /// 415 for a body of a type the server does not read.
    pub fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 500.
    pub fn internal(message: impl std::fmt::Display) -> Self {
        Self::new(500, "InternalError", format!("Internal error occurred: {message}"))
            .with_details(json!({"causes": [{"message": message.to_string()}]}))
    }

    /// 503.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    /// 422 with every field that is wrong, as far as an answer goes that is no larger than what it is about may be; `kind` is the
    /// object's kind, not its plural.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let mut texts = Vec::new();
        let mut left = MOST_TOLD;
        for error in errors {
            let text = error.to_string();
            left = left.saturating_sub(text.len());
            if left == 0 && !texts.is_empty() {
                texts.push(format!("and {} more", errors.len() - texts.len()));
                break;
            }
            texts.push(text);
        }
        let text = if texts.len() == 1 { texts.concat() } else { format!("[{}]", texts.join(", ")) };
        let mut details = details(group, kind, name);
        details["causes"] = errors.iter().take(texts.len()).map(FieldError::to_cause).collect();
        Self::new(422, "Invalid", format!("{} \"{name}\" is invalid: {text}", qualified(group, kind))).with_details(details)
    }

    /// A successful answer, as upstream gives to a delete that left nothing behind.
    pub fn success(group: &str, plural: &str, name: &str, uid: &str) -> Self {
        let mut details = details(group, plural, name);
        if !uid.is_empty() {
            details["uid"] = json!(uid);
        }
        Self::new(200, "", "").with_details(details)
    }

    /// The same status with these `details`.
    #[must_use]
    pub fn with_details(mut self, details: Value) -> Self {
        self.details = details;
        self
    }

    /// Whether this status is an error.
    pub fn is_error(&self) -> bool {
        self.code >= 400
    }

    /// The object as the wire carries it.
    pub fn to_value(&self) -> Value {
        let mut out = json!({
            "apiVersion": "v1",
            "kind": "Status",
            "metadata": {},
            "status": if self.is_error() { "Failure" } else { "Success" },
        });
        if self.is_error() {
            out["code"] = json!(self.code);
        }
        for (key, text) in [("message", &self.message), ("reason", &self.reason)] {
            if !text.is_empty() {
                out[key] = json!(text);
            }
        }
        if !self.details.is_null() {
            out["details"] = self.details.clone();
        }
        out
    }
}
