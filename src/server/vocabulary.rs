//! Where this room meets what `api` says of types: decoding, patches, field managers, YAML.

use bytes::Bytes;
use coracle_api::field::FieldError;
use coracle_api::kinds::Kind;
use coracle_api::schema::{self, Decoder, Findings};
use coracle_api::status::Status;
use coracle_api::{apply, patch, protobuf, yaml};
use jiff::Timestamp;
use serde_json::Value;

pub(crate) use coracle_api::schema::{FieldValidation, Parsed};

/// Reads JSON.
pub(crate) fn parse_json(bytes: &Bytes) -> Result<Parsed, Status> {
    schema::parse_json(bytes)
}

/// Reads a patch as JSON; what is wrong with it is said after `before`.
pub(crate) fn parse_patch(bytes: &[u8], before: &str) -> Result<Parsed, Status> {
    schema::parse_patch(bytes, before)
}

/// Reads the first document of a YAML body.
pub(crate) fn parse_yaml(bytes: &[u8]) -> Result<Parsed, Status> {
    let text = std::str::from_utf8(bytes).map_err(|_| Status::bad_request("error converting YAML to JSON: yaml: invalid UTF-8"))?;
    let Some(document) = yaml::documents(text).into_iter().next() else {
        return Ok(Parsed { value: Value::Null, findings: Findings::default() });
    };
    let document = document.map_err(|error| Status::bad_request(format!("error converting YAML to JSON: yaml: {error}")))?;
    let twice: Vec<String> = document.duplicates.iter().map(|key| format!("\n  line {}: {}", key.line, key.message)).collect();
    let duplicates = if twice.is_empty() { Vec::new() } else { vec![format!("yaml: unmarshal errors:{}", twice.concat())] };
    Ok(Parsed { value: document.value, findings: Findings::sorted(duplicates) })
}

/// Reads protocol buffers; `expected` is `apiVersion` and kind where the body does not say.
pub(crate) fn parse_protobuf(bytes: &[u8], expected: (&str, &str)) -> Result<Parsed, Status> {
    Ok(Parsed { value: protobuf::decode(bytes, expected)?, findings: Findings::default() })
}

/// Whether objects of the kind are read from protocol buffers.
pub(crate) fn is_message(kind: &Kind) -> bool {
    protobuf::knows(kind)
}

/// An object as YAML.
pub(crate) fn to_yaml(value: &Value) -> String {
    yaml::to_string(value)
}

/// Checks an object against its type and brings it into upstream's form; answers with warnings.
pub(crate) fn decode(kind: &Kind, object: &mut Value, findings: &Findings, validation: FieldValidation) -> Result<Vec<String>, Status> {
    match &kind.custom {
        Some(custom) => custom.decode(kind, object, &findings.duplicates, validation),
        None => Decoder::new(&kind.ty(), &kind.kind, &kind.version).decode(object, findings, validation),
    }
}

/// Checks a patched object against its type; `duplicates` is what was found in the patch. The reason alone, if it is refused.
pub(crate) fn examine(kind: &Kind, object: &mut Value, duplicates: &[String], validation: FieldValidation) -> Result<Vec<String>, String> {
    match &kind.custom {
        Some(custom) => custom.decode(kind, object, duplicates, validation).map_err(|status| {
            let reason = status.message.split_once(": ").map(|(_, reason)| reason.to_owned());
            reason.unwrap_or(status.message)
        }),
        None => {
            let findings = Findings::sorted(duplicates.to_vec());
            Decoder::new(&kind.ty(), &kind.kind, &kind.version).examine(object, &findings, validation)
        }
    }
}

/// Checks the body of a subresource against its type.
pub(crate) fn decode_as(
    schema: &str,
    (kind, version): (&str, &str),
    parsed: &mut Parsed,
    validation: FieldValidation,
) -> Result<Vec<String>, Status> {
    Decoder::new(&schema::of(schema), kind, version).decode(&mut parsed.value, &parsed.findings, validation)
}

/// A JSON patch (RFC 6902).
pub(crate) fn json_patch(document: &Value, changes: &Value) -> Result<Value, Status> {
    patch::json(document, changes)
}

/// A JSON merge patch (RFC 7386).
pub(crate) fn merge_patch(document: &mut Value, changes: &Value) {
    patch::merge(document, changes);
}

/// A strategic merge patch of an object of this type.
pub(crate) fn strategic_patch(schema: &str, document: &mut Value, changes: &Value) -> Result<(), Status> {
    patch::strategic(document, changes, &schema::of(schema))
}

/// Who wrote, and how.
pub(crate) struct Manager<'a> {
    pub(crate) name: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) now: Timestamp,
}

/// Server-side apply, of an object in the version of `kind`.
pub(crate) fn apply(kind: &Kind, live: Option<&Value>, config: Value, manager: &Manager<'_>, force: bool) -> Result<Value, Status> {
    apply::apply(live, config, manager.name, force, &kind.ty(), manager.now, manager.subresource)
}

/// Refuses a configuration with fields that its type does not have, or that are no lists or objects where those are wanted.
pub(crate) fn check_declared(kind: &Kind, config: &Value) -> Result<(), Status> {
    apply::check(config, &kind.ty())
}

/// Books in `managedFields` what a write that is no apply changed, of an object in the version of `kind`.
pub(crate) fn book(kind: &Kind, live: Option<&Value>, new: Value, manager: &Manager<'_>) -> Value {
    apply::update(live, new, manager.name, &kind.ty(), manager.now, manager.subresource)
}

/// 422 for options of a request.
pub(crate) fn invalid_options(kind: &str, error: FieldError) -> Status {
    Status::invalid("meta.k8s.io", kind, "", &[error])
}
