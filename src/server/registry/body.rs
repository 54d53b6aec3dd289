//! The object in a request's body: read, checked against its type, named, and brought into its storage version.

use bytes::Bytes;
use coracle_api::kinds::{convert, split_api_version};
use coracle_api::status::Status;
use serde_json::{Value, json};

use super::Call;
use crate::negotiate::{BodyEncoding, body_encoding};
use crate::options::WriteOptions;
use crate::vocabulary::{self, Parsed};

/// Reads a body as JSON, YAML or, of what is built in, protocol buffers, by its content type; `expected` is the
/// `apiVersion` and kind of bodies that do not say theirs.
pub(crate) fn parse(content_type: &str, body: &Bytes, built_in: bool, expected: (&str, &str)) -> Result<Parsed, Status> {
    match body_encoding(content_type, built_in)? {
        BodyEncoding::Json => vocabulary::parse_json(body),
        BodyEncoding::Yaml => vocabulary::parse_yaml(body),
        BodyEncoding::Protobuf => vocabulary::parse_protobuf(body, expected),
    }
}

/// Reads the object in the body, as `api_version` and `kind`; its warnings go to the call.
pub(crate) fn object(call: &mut Call, options: &WriteOptions) -> Result<Value, Status> {
    let kind = call.kind.clone();
    let parsed = parse(&call.content_type, &call.body, vocabulary::is_message(&kind), (&kind.api_version(), &kind.kind))?;
    checked(call, parsed, options)
}

/// Checks an object that was read against the call's kind, and brings it into its storage version.
pub(crate) fn checked(call: &mut Call, parsed: Parsed, options: &WriteOptions) -> Result<Value, Status> {
    let Parsed { value: mut object, duplicates } = parsed;
    typed(&mut object, &call.kind.api_version(), &call.kind.kind)?;
    check(call, &mut object, &duplicates, options)?;
    Ok(object)
}

/// Reads the body of a subresource that has a kind of its own.
pub(crate) fn own_kind(call: &mut Call, api_version: &str, kind: &str, schema: &str, options: &WriteOptions) -> Result<Value, Status> {
    let mut parsed = parse(&call.content_type, &call.body, true, (api_version, kind))?;
    typed(&mut parsed.value, api_version, kind)?;
    let version = split_api_version(api_version).1;
    call.warnings.extend(vocabulary::decode_as(schema, (kind, version), &mut parsed, options.validation)?);
    Ok(parsed.value)
}

/// Checks `apiVersion` and `kind` of a body, and fills them in where they are absent.
pub(crate) fn typed(object: &mut Value, api_version: &str, kind: &str) -> Result<(), Status> {
    if !object.is_object() {
        return Err(Status::bad_request(
            "couldn't get version/kind; json parse error: json: cannot unmarshal into Go value of type struct",
        ));
    }
    let given = |name: &str| object[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let (version, given_kind) =
        (given("apiVersion").unwrap_or_else(|| api_version.to_owned()), given("kind").unwrap_or_else(|| kind.to_owned()));
    if (version.as_str(), given_kind.as_str()) != (api_version, kind) {
        let (group, short) = split_api_version(&version);
        let (own_group, own_short) = split_api_version(api_version);
        let (group, own_group) = (if group.is_empty() { "" } else { group }, own_group);
        return Err(Status::bad_request(format!(
            "{given_kind} in version \"{short}\" cannot be handled as a {kind}: no kind \"{given_kind}\" is registered for version \"{}\"",
            if group == own_group { own_short.to_owned() } else { format!("{group}/{short}") }
        )));
    }
    object["apiVersion"] = json!(api_version);
    object["kind"] = json!(kind);
    Ok(())
}

/// Checks an object against its type, and brings it into its storage version.
pub(crate) fn check(call: &mut Call, object: &mut Value, duplicates: &[String], options: &WriteOptions) -> Result<(), Status> {
    let warnings = vocabulary::decode(&call.kind, object, duplicates, options.validation)?;
    call.warnings.extend(warnings);
    stored_form(call, object);
    Ok(())
}

/// Brings a checked object into its storage version.
pub(crate) fn stored_form(call: &Call, object: &mut Value) {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    convert(&call.kind, call.kind.storage_kind(), object);
}

/// Puts the object where the path says, if it does not say otherwise itself.
pub(crate) fn place(call: &Call, object: &mut Value) -> Result<(), Status> {
    let namespace = call.namespace();
    let own = text(object, "namespace");
    if !own.is_empty() && own != namespace {
        let message = if namespace.is_empty() {
            "namespace may not be set on a cluster-scoped resource"
        } else {
            "the namespace of the provided object does not match the namespace sent on the request"
        };
        return Err(Status::bad_request(message));
    }
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = json!(namespace);
    }
    Ok(())
}

/// The object of an update is the one the path names.
pub(crate) fn check_name(call: &Call, object: &mut Value) -> Result<(), Status> {
    let name = text(object, "name");
    if name.is_empty() {
        object["metadata"]["name"] = json!(call.info.name);
    } else if name != call.info.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.info.name
        )));
    }
    Ok(())
}

/// A text in an object's metadata; empty where it is absent.
pub(crate) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

/// Removes a field of an object's metadata.
pub(crate) fn remove(object: &mut Value, field: &str) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove(field);
    }
}
