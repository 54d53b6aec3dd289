//! The object in a request's body: read, checked against its type, named, and brought into its storage version.

use bytes::Bytes;
use coracle_api::field::FieldError;
use coracle_api::kinds::{self, convert, split_api_version};
use coracle_api::schema::{self, Findings};
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
    let parsed = parse(&call.content_type, &call.body, vocabulary::is_message(&kind), (&kind.api_version(), &kind.kind))
        .and_then(|parsed| is_structure(&parsed.value).map(|()| parsed))
        .map_err(|status| unrecognized(status, &kind.kind, &call.body))?;
    checked(call, parsed, options)
}

/// 400 for a body that is no object.
fn is_structure(value: &Value) -> Result<(), Status> {
    if value.is_object() {
        return Ok(());
    }
    let wanted = r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
    let found = schema::json_name(value);
    Err(Status::bad_request(format!(
        "couldn't get version/kind; json parse error: json: cannot unmarshal {found} into Go value of type {wanted}"
    )))
}

/// Says of a body that cannot be read what it should have been and how it begins.
fn unrecognized(status: Status, kind: &str, body: &Bytes) -> Status {
    const SHOWN: usize = 30;
    if status.code != 400 {
        return status;
    }
    let (start, more) = if body.len() > SHOWN { (&body[..SHOWN], " ...") } else { (&body[..], "") };
    let shown = match start.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(start).into_owned(),
        Some(_) => start.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    Status::bad_request(format!("the object provided is unrecognized (must be of type {kind}): {} ({shown}{more})", status.message))
}

/// Checks an object that was read against the call's kind, and brings it into its storage version.
pub(crate) fn checked(call: &mut Call, parsed: Parsed, options: &WriteOptions) -> Result<Value, Status> {
    let Parsed { value: mut object, findings } = parsed;
    typed(&mut object, &call.kind.api_version(), &call.kind.kind)?;
    check(call, &mut object, &findings, options)?;
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
    is_structure(object)?;
    let given = |name: &str| object[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let (version, given_kind) =
        (given("apiVersion").unwrap_or_else(|| api_version.to_owned()), given("kind").unwrap_or_else(|| kind.to_owned()));
    if (version.as_str(), given_kind.as_str()) != (api_version, kind) {
        return Err(unlike(object, &version, &given_kind, api_version, kind));
    }
    object["apiVersion"] = json!(api_version);
    object["kind"] = json!(kind);
    Ok(())
}

/// Refuses a body of another kind. Of built-in kinds, one that upstream knows cannot be converted, another is not
/// registered; of custom resources any kind of the version can be read, and is found to be the wrong one.
fn unlike(object: &Value, given_version: &str, given: &str, api_version: &str, kind: &str) -> Status {
    let known = kinds::by_api_version(given_version, given).is_some();
    let ((own_group, _), short) = (split_api_version(api_version), split_api_version(given_version).1);
    let custom = !kinds::builtin().iter().any(|kind| kind.group == own_group);
    if given_version != api_version && (custom || known && given == kind) {
        return Status::bad_request(format!(
            "the API version in the data ({given_version}) does not match the expected API version ({api_version})"
        ));
    }
    if custom {
        let error = FieldError::invalid("kind", given, format!("must be {kind}"));
        return Status::invalid(own_group, given, text(object, "name"), &[error]);
    }
    let why = if known {
        let package = if own_group.is_empty() { "core" } else { own_group.split('.').next().unwrap_or_default() };
        format!("converting ({short}.{given}) to ({package}.{kind}): unknown conversion")
    } else {
        format!("no kind \"{given}\" is registered for version \"{given_version}\" in scheme \"pkg/api/legacyscheme/scheme.go:30\"")
    };
    Status::bad_request(format!("{given} in version \"{short}\" cannot be handled as a {kind}: {why}"))
}

/// Checks an object against its type, and brings it into its storage version.
pub(crate) fn check(call: &mut Call, object: &mut Value, findings: &Findings, options: &WriteOptions) -> Result<(), Status> {
    let warnings = vocabulary::decode(&call.kind, object, findings, options.validation)?;
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
