//! Kubernetes' protocol buffers: bodies that typed clients (kubectl from 1.32 on, client-go) send for built-in kinds,
//! read into the same JSON value that a JSON body is; and the answers they ask for, written from such a value. What is a zero value on the wire is one in JSON: decoding by
//! [`crate::schema`] comes after and treats both alike.
//!
//! ```text
//! "k8s\0" Unknown{1: TypeMeta{1: apiVersion, 2: kind}, 2: raw, 3: contentEncoding, 4: contentType}
//!                                                         └── the object's message
//! ```
//! Fields have numbers there: `fields.txt` names them, `schema` says what they hold.

mod encode;
mod fields;
mod message;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt::Write;
use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};

use crate::kinds::{self, Kind, split_api_version};
use crate::schema::{self, Field, Shape, Type, TypeRef};
use crate::status::Status;
pub use encode::{List, put_event};
pub use wire::Message;
use wire::{Malformed, Reader};

/// The media type of bodies in protocol buffers.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

const MAGIC: &[u8] = b"k8s\0";

/// Whether objects of the kind can be read: built-in ones can, custom resources have no messages.
pub fn knows(kind: &Kind) -> bool {
    fields::is_message(&kind.schema)
}

/// Reads a body; `expected` is the `apiVersion` and kind where the body does not say.
///
/// # Errors
/// 400 for bytes that are no object of a built-in kind.
pub fn decode(bytes: &[u8], expected: (&str, &str)) -> Result<Value, Status> {
    let unrecognized = |why: String| {
        let message = format!("the object provided is unrecognized (must be of type {}): {why} ({})", expected.1, summary(bytes));
        Status::bad_request(message)
    };
    let body = match bytes.strip_prefix(MAGIC) {
        None if bytes.is_empty() => return Err(unrecognized("empty data".to_owned())),
        None => {
            let why = "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]".to_owned();
            return Err(unrecognized(why));
        }
        Some([]) => return Err(unrecognized("empty body".to_owned())),
        Some(body) => body,
    };
    let envelope = Envelope::read(body).map_err(|error| unrecognized(error.to_string()))?;
    let or = |given: String, expected: &str| if given.is_empty() { expected.to_owned() } else { given };
    let (api_version, kind) = (or(envelope.api_version, expected.0), or(envelope.kind, expected.1));
    let version = split_api_version(&api_version).1;
    let refused = |why: String| Status::bad_request(format!("{kind} in version {version:?} cannot be handled as a {}: {why}", expected.1));
    let Some(ty) = type_of(&api_version, &kind) else {
        return Err(refused(format!("no kind {kind:?} is registered for version {api_version:?}")));
    };
    let mut object = message::object(&type_named(ty), envelope.raw).map_err(|error| refused(error.to_string()))?;
    object.insert("apiVersion".to_owned(), json!(api_version));
    object.insert("kind".to_owned(), json!(kind));
    let object = Value::Object(object);
    if too_deep(&object, 0) { Err(refused(Malformed::Depth.to_string())) } else { Ok(object) }
}

/// Writes a body: an object of a built-in kind, a list of such, a Status, or an object's metadata. `None` for what has no message.
pub fn encode(value: &Value) -> Option<Vec<u8>> {
    let text = |field: &str| value[field].as_str().unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if let Some(ty) = type_of(api_version, kind) {
        let mut raw = Message::default();
        encode::object(&type_named(ty), value, &mut raw);
        return Some(encode::envelope(api_version, kind, &raw));
    }
    let mut list = List::new(type_of(api_version, kind.strip_suffix("List")?)?, &value["metadata"]);
    value["items"].as_array().into_iter().flatten().for_each(|item| list.push(item));
    Some(list.finish(api_version, kind))
}

/// What is shown of an object where only its metadata is asked for.
pub const METADATA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.PartialObjectMetadata";

/// The type of this name.
fn type_named(name: &str) -> Arc<Type> {
    static PARTIAL: LazyLock<Arc<Type>> = LazyLock::new(|| {
        let metadata = Shape::Object(TypeRef::named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"));
        Arc::new(Type { fields: vec![Field::new("metadata", metadata, true)], open: false, ..Type::any(METADATA) })
    });
    if name == METADATA { PARTIAL.clone() } else { schema::of(name) }
}

/// The type of what a body says it is.
fn type_of(api_version: &str, kind: &str) -> Option<&'static str> {
    match (api_version, kind) {
        // Options are registered in every group.
        (_, "DeleteOptions") => return Some("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"),
        ("v1", "Status") => return Some("io.k8s.apimachinery.pkg.apis.meta.v1.Status"),
        ("meta.k8s.io/v1", "PartialObjectMetadata") => return Some(METADATA),
        _ => {}
    }
    if let Some(kind) = kinds::by_api_version(api_version, kind) {
        return Some(&kind.schema);
    }
    let (group, version) = split_api_version(api_version);
    let mut parts = kinds::builtin().iter().flat_map(|kind| &kind.subresources);
    let part = parts.find(|part| (&*part.group, &*part.version, &*part.kind) == (group, version, kind) && !part.schema.is_empty());
    part.map(|part| &*part.schema)
}

#[derive(Default)]
struct Envelope<'a> {
    api_version: String,
    kind: String,
    raw: &'a [u8],
}

impl<'a> Envelope<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut out = Self::default();
        let mut reader = Reader(bytes);
        while let Some((number, wire)) = reader.next()? {
            match number {
                1 => {
                    let mut meta = Reader(wire.bytes("TypeMeta")?);
                    while let Some((number, wire)) = meta.next()? {
                        let text = |name| wire.bytes(name).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
                        match number {
                            1 => out.api_version = text("APIVersion")?,
                            2 => out.kind = text("Kind")?,
                            _ => {}
                        }
                    }
                }
                2 => out.raw = wire.bytes("Raw")?,
                _ => {}
            }
        }
        Ok(out)
    }
}

/// Whether a value nests deeper than JSON is read: an object that is stored must be readable.
fn too_deep(value: &Value, depth: usize) -> bool {
    const LIMIT: usize = 120;
    let inner = |value| too_deep(value, depth + 1);
    match value {
        Value::Array(_) | Value::Object(_) if depth >= LIMIT => true,
        Value::Array(items) => items.iter().any(inner),
        Value::Object(map) => map.values().any(inner),
        _ => false,
    }
}

/// The beginning of a body, for messages.
fn summary(bytes: &[u8]) -> String {
    const SHOWN: usize = 30;
    if bytes.is_empty() {
        return "<empty>".to_owned();
    }
    let mut out = String::new();
    for byte in bytes.iter().take(SHOWN) {
        // Writing to a text cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    if bytes.len() > SHOWN {
        out.push_str(" ...");
    }
    out
}
